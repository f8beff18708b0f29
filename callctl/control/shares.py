"""Credits affiliates with their shares, from the records that are about to leave the outbox.

A share is credited before its record is moved on, under an id that is the record's: whoever dies between the two, it
is credited once. Ids are remembered for seven days.
"""

import asyncio
from collections.abc import Sequence

import msgspec
import structlog

from callctl.call.affiliates import ROLE
from callctl.call.takes import TopUp
from callctl.errors import CallConflict
from callctl.money import parse_amount
from callctl.ports import Clock, Takes, Tariffs

log = structlog.get_logger(__name__)

_SIGN = b'"role":"%b"' % ROLE.encode()  # quotes within a text are escaped, so that no text looks like it


class _Share(msgspec.Struct):
    id: str
    account: str
    share: str


_decode = msgspec.json.Decoder(_Share).decode


class Shares:
    """The ledgers of affiliates, which may be under any root."""

    def __init__(self, *, takes: Takes, tariffs: Tariffs, clock: Clock) -> None:
        self._takes = takes
        self._tariffs = tariffs
        self._clock = clock

    async def credit(self, payloads: Sequence[bytes]) -> None:
        """Of these records those that are shares. StoreUnavailable: to be asked again, for all of them."""
        found = [_decode(payload) for payload in payloads if _SIGN in payload]
        await asyncio.gather(*map(self._credit, found))

    async def _credit(self, share: _Share) -> None:
        amount, root = parse_amount(share.share), self._tariffs.directory.root(share.account)
        if not amount:
            return
        if root is None:
            log.error("share_not_credited", record=share.id, account=share.account, error="no such account")
            return
        credit = TopUp(share.account, root, share.id, amount, self._clock.now().wall_ms, cause=ROLE)
        try:
            await self._takes.top_up(credit)
        except (CallConflict, ValueError) as wrong:
            log.error("share_not_credited", record=share.id, account=share.account, error=str(wrong))
