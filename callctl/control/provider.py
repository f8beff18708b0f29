"""The provider's own limits around the takes of calls: taken after the account's atomic step, given back at the end.

They bind calls of all customers, so they cannot be in that step. A call that finds them full has taken its account's
channels and money by then; the record of its refusal gives those back. One that goes on without having been counted
(the store has done its take, but too late for its answer) is counted when it is taken again. Only calls that such a
limit is about pay for the round trip.
"""

from collections.abc import Awaitable, Sequence

import structlog
from msgspec.structs import replace

from callctl.call.events import LimitUse, Taken, TakeRefused
from callctl.call.takes import Extension, LedgerEntry, Settlement, Take, TopUp
from callctl.control.within import LIVE
from callctl.errors import StoreUnavailable
from callctl.ports import Existing, ExtendAnswer, ProviderChannels, Takes

log = structlog.get_logger(__name__)


class LimitedTakes:
    """`ports.Takes`, with the provider's channels beside what `takes` has."""

    def __init__(self, takes: Takes, channels: ProviderChannels) -> None:
        self._takes = takes
        self._channels = channels

    def admit(self, take: Take) -> Awaitable[Taken | TakeRefused | Existing]:
        return self._admit(take) if take.session.limits else self._takes.admit(take)

    async def _admit(self, take: Take) -> Taken | TakeRefused | Existing:
        answer = await self._takes.admit(take)
        taken_late = take.force and isinstance(answer, Existing) and answer.session.state in LIVE
        if not taken_late and not isinstance(answer, Taken):
            return answer
        slots, call, look = take.session.limits, take.session.trace_id, take.probe or take.dry
        in_use = await self._channels.take(slots, call, take.now_ms, take.lease_until_ms, force=take.force, look=look)
        return replace(answer, limits=tuple(map(LimitUse, slots, in_use))) if isinstance(answer, Taken) else answer

    def extend(self, extensions: Sequence[Extension]) -> Awaitable[Sequence[ExtendAnswer]]:
        for extension in extensions:
            session = extension.session
            if session.limits:
                self._channels.renew(session.limits, session.trace_id, extension.lease_until_ms)
        return self._takes.extend(extensions)

    def settle(self, settlement: Settlement) -> Awaitable[Existing | None]:
        return self._settle(settlement) if settlement.session.limits else self._takes.settle(settlement)

    async def _settle(self, settlement: Settlement) -> Existing | None:
        session = settlement.session
        answer = await self._takes.settle(settlement)
        try:
            await self._channels.give_back(session.limits, session.trace_id)
        except StoreUnavailable as error:
            log.warning("provider_channel_lapses", call_id=str(session.call), error=str(error))
        return answer

    async def top_up(self, top_up: TopUp) -> LedgerEntry:
        return await self._takes.top_up(top_up)
