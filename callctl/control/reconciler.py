"""Compares what we believe with what is: the switches' channel lists, lapsed leases, the journal.

A switch's silence is not absence: a query that fails changes nothing. Its channel list is the truth, ours a cache.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from itertools import islice

import structlog
from msgspec.structs import replace

from callctl.call import settlement
from callctl.call.admission import Policy, take_for
from callctl.call.drawing import seen
from callctl.call.ending import carry_over, corrected, unseen
from callctl.call.events import Deadline, DeadlineReached, SeenAlive, Taken, TakeRefused
from callctl.call.grant import holding
from callctl.call.session import Session, State
from callctl.call.takes import Settlement
from callctl.causes import NORMAL_CLEARING
from callctl.clock import Instant, give_way
from callctl.control.calls import CallControl
from callctl.control.elsewhere import in_our_time
from callctl.control.journal import Journal
from callctl.control.within import LIVE
from callctl.errors import PortError
from callctl.ports import Clock, Observer, Sessions, Switch, Takes

log = structlog.get_logger(__name__)

SWEEP_MS = 5_000
LIST_EVERY_SWEEPS = 12
BATCH = 100
COMPARED_AT_ONCE = 100  # a switch that was restarted has lost thousands of calls
STALE_MS = 10_000  # a request to the store that was given up for lost is not done later than this


class Reconciler:
    """`roots` names every root account whose leases this process watches."""

    def __init__(
        self,
        *,
        clock: Clock,
        calls: CallControl,
        switches: Mapping[str, Switch],
        takes: Takes,
        sessions: Sessions,
        journal: Journal,
        observer: Observer,
        policy: Policy,
        roots: Callable[[], Sequence[str]],
    ) -> None:
        self._clock = clock
        self._calls = calls
        self._switches = switches
        self._takes = takes
        self._sessions = sessions
        self._journal = journal
        self._observer = observer
        self._policy = policy
        self._roots = roots

    async def recover(self) -> None:
        """After a start: take up every live call of ours that the journal or the store remembers, some at a time.

        Calls may be reported meanwhile. Each is taken up in the turn in which it was read, as it is by then.
        """
        await self._replay()
        waiting = iter(await self._sessions.listed(self._roots()))
        while some := tuple(islice(waiting, BATCH)):
            for session in await self._sessions.read(some):
                if session.state in LIVE and self._is_ours(session) and not self._calls.knows(session.call):
                    self._calls.adopt(session)
            await give_way()
        self._calls.end_left_within()

    async def run(self) -> None:
        """Sweep for ever: leases every few seconds, channel lists every minute, the journal when it has something."""
        sweeps = 0
        while True:
            await self._clock.sleep_ms(SWEEP_MS)
            sweeps += 1
            await self.sweep()
            if sweeps % LIST_EVERY_SWEEPS == 0:
                await asyncio.gather(*(self.compare(name) for name in self._switches))

    async def sweep(self) -> None:
        """Close what lapsed and replay what the store missed. A store that is away leaves all for the next time."""
        try:
            await self._replay()
            now = self._clock.now()
            for session in await self._sessions.lapsed(self._roots(), now.wall_ms, BATCH):
                if not self._calls.knows(session.call):
                    log.warning("lease_lapsed", call_id=str(session.call), state=session.state)
                    self._calls.adopt(session).put(DeadlineReached(session.call, Deadline.LOST))
        except PortError as error:
            log.warning("sweep_failed", error=str(error))

    async def compare(self, name: str) -> None:
        """Settle the calls that the switch no longer has; have the timers of the others set anew.

        A call that was given up for lost, and is up after all, is held for by nobody: it is hung up; one that only the
        store remembers is taken up. Of a switch that has no list, or is gone meanwhile, nothing is learnt.
        """
        switch = self._switches.get(name)
        if switch is None or not switch.capabilities.lists:
            return
        known = self._calls.boxes(name)  # what is offered while we ask need not be in the list
        try:
            alive = {seen.call: seen for seen in await switch.live_calls()}
        except PortError as error:
            log.warning("channel_list_failed", switch=name, error=str(error))
            return
        for n, box in enumerate([box for box in known if box.session.state in LIVE], start=1):
            if n % COMPARED_AT_ONCE == 0:
                await give_way()
            session = box.session
            if session.state not in LIVE:
                continue
            seen = alive.get(session.call)
            if seen is not None:
                box.put(seen)
            else:
                log.warning("call_vanished", call_id=str(session.call), switch=name)
                box.put(unseen(session, self._clock.now()))
        for seen in alive.values():
            if not self._calls.knows(seen.call):
                await self._unknown(switch, seen)

    async def _unknown(self, switch: Switch, seen: SeenAlive) -> None:
        """The switch has a call that this process does not know."""
        try:
            session = await self._sessions.find(seen.call)
            if session is None or self._calls.knows(seen.call) or seen.call.trace_id in self._journal.pending:
                return
            if session.state in LIVE and switch is self._switches.get(switch.name):
                self._calls.adopt(session).put(seen)
            elif (session.estimated or session.voided) and not session.emergency:
                log.warning("call_hung_up", call_id=str(seen.call), switch=switch.name, why="it was given up for lost")
                await switch.hang_up(seen.call, NORMAL_CLEARING)
        except PortError as error:
            log.warning("unknown_call_left_alone", call_id=str(seen.call), switch=switch.name, error=str(error))

    # ---- the journal

    async def _replay(self) -> None:
        now = self._clock.now()
        for session in tuple(self._journal.pending.values()):
            if self._calls.knows(session.call):
                continue  # still running here: its own mailbox looks after it
            if session.state is State.REFUSED and 0 <= now.wall_ms - _refused_ms(session) < STALE_MS:
                continue  # its take may still be done, and must be found then
            try:
                await self._replay_one(session)
            except PortError:
                raise
            except Exception:  # our fault, and this line's alone: the others are replayed all the same
                log.exception("journal_line_not_replayed", call_id=str(session.call))

    async def _replay_one(self, session: Session) -> None:
        goes_on = session.state is State.BLIND and session.released is None and self._is_ours(session)
        if goes_on and await self._took_up(session):
            return
        if await self._replayed(session):
            self._journal.done(session)
            log.info("journal_replayed", call_id=str(session.call), state=session.state)

    async def _took_up(self, ours: Session) -> bool:
        """It goes on from what the store knows of it, if that knows it, and from what we saw; unless it has ended."""
        stored = await self._sessions.find(ours.call)
        if stored is not None and stored.state in LIVE:
            if stored.answered is None and ours.answered is not None:
                answer = {"answered": ours.answered, "answer_stated": ours.answer_stated, "purchase": ours.purchase}
                stored = replace(stored, state=State.ANSWERED, **answer)
            ours = stored
        elif stored is not None and stored.state is State.ENDED:
            return False
        self._calls.adopt(ours)
        return True

    def _is_ours(self, session: Session) -> bool:
        return session.call.switch in self._switches or not session.attended

    def _in_our_time(self, session: Session, now: Instant) -> Session:
        """What two processes tell of a call is compared, and charged, on one clock."""
        return in_our_time(session, now, self._policy.clock)

    async def _replayed(self, ours: Session) -> bool:
        now = self._clock.now()
        stored = await self._sessions.find(ours.call)
        if ours.state is State.REFUSED and stored is not None and stored.state in LIVE and stored.clock != ours.clock:
            return True  # asked again elsewhere, it was allowed: that take is not ours to give back
        ours, stored = self._in_our_time(ours, now), stored and self._in_our_time(stored, now)
        if ours.state is State.BLIND and (stored is None or stored.state is State.REFUSED):
            take = replace(take_for(ours, now, self._policy), force=True)
            answer = await self._takes.admit(take)
            if isinstance(answer, TakeRefused):  # a bundle has less than was thought: now it is known
                ours = replace(ours, levels=seen(ours.levels, answer.left))
                take = replace(take_for(ours, now, self._policy), force=True)
                answer = await self._takes.admit(take)
            if not isinstance(answer, Taken):
                return False  # another process was faster; look again at the next sweep
            ours = holding(ours, ours.granted_s)
            stored = replace(take.session, version=1, levels=ours.levels)
        closing = _closing(ours, stored)
        if closing is not None:
            if await self._takes.settle(closing) is not None:
                return False
            self._observer.settled(closing)
        return True


def _refused_ms(session: Session) -> int:
    return (session.released or session.setup).wall_ms


def _closing(ours: Session, stored: Session | None) -> Settlement | None:
    """What the store must still be told; None where it knows already."""
    if ours.state is State.REFUSED:
        if stored is None:
            return settlement.refuse(replace(ours, version=0))
        same = stored.setup.wall_ms == ours.setup.wall_ms
        if stored.state is State.ENDED or (same and stored.state is State.REFUSED):
            return None
        return settlement.refuse(replace(ours, version=0 if stored.state is State.REFUSED else stored.version))
    if stored is None:
        return settlement.settle(replace(ours, version=0))
    if stored.state is State.ENDED:
        return corrected(stored, ours)
    if ours.released is None:  # admitted blind, and then we died: nobody knows more than its grant
        end = ours.answered or ours.setup
        ours = replace(ours, released=end.plus_ms(ours.granted_s * 1000 if ours.answered else 0), estimated=True)
    granted_s = max(ours.granted_s, stored.granted_s)  # extended elsewhere, or admitted blind here
    return settlement.settle(carry_over(ours, replace(stored, granted_s=granted_s)))
