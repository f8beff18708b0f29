"""What other processes have done with a call. One that no switch of ours carries is reported to any of them: each knows
its own part, the store the whole of it."""

import contextlib
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from itertools import islice
from operator import attrgetter
from typing import TypeVar

from msgspec.structs import replace

from callctl.call.events import CallKey, Deadline, DeadlineReached, Recalled
from callctl.call.session import Session
from callctl.clock import Instant, give_way, is_one_clock
from callctl.control.mailbox import Mailbox
from callctl.control.within import LIVE
from callctl.errors import PortError
from callctl.ports import Sessions

_SET_UP = attrgetter("setup.wall_ms")
_Each = TypeVar("_Each")
_ENDS = frozenset({Deadline.SETUP, Deadline.CUT, Deadline.LOST})
LOOKED_AT_ONCE = 1_000  # some milliseconds


def may_go_on(session: Session, event: DeadlineReached) -> bool:
    """Whether this deadline would end a call of which another process may know more."""
    return event.deadline in _ENDS and session.state in LIVE and not session.linked


async def catch_up(box: Mailbox, sessions: Sessions) -> bool:
    """Have the call know what was reported elsewhere; whether anything was. Nothing, where the store does not say."""
    await box.idle()
    if box.session.linked:
        return False
    try:
        stored = await sessions.find(box.session.call)
    except PortError:
        return False
    return stored is not None and _hear(box, stored)


def _hear(box: Mailbox, stored: Session) -> bool:
    """Whether the store's record is news."""
    if box.session.busy or stored.version <= box.session.version:
        return False
    box.put(Recalled(stored.call, stored))
    return True


async def everywhere(boxes: Mapping[CallKey, Mailbox], sessions: Sessions, roots: Sequence[str]) -> list[Session]:
    """The live calls of these roots, oldest first: ours, as other processes have left them, and theirs.

    Where the store is away nobody knows of other processes.
    """
    asked, ours, wanted = frozenset(roots), set[str](), list[tuple[str, str]]()
    async for some in _by_steps(boxes.values()):
        here = [box.session for box in some if box.session.root in asked]
        ours.update(session.trace_id for session in here)
        wanted += ((it.root, it.trace_id) for it in here if it.state in LIVE and not it.linked)
    found: Sequence[Session] = ()
    with contextlib.suppress(PortError):
        async for listed in _by_steps(await sessions.listed(roots)):
            wanted += (call for call in listed if call[1] not in ours)
        found = await sessions.read(wanted)
    live: dict[str, Session] = {}
    async for stored in _by_steps(found):
        for session in stored:
            box = boxes.get(session.call)
            if box is not None:
                _hear(box, session)
            elif session.state in LIVE:
                live[session.trace_id] = session
    async for some in _by_steps(boxes.values()):
        here = [box.session for box in some if box.session.root in asked and box.session.state in LIVE]
        live.update((session.trace_id, session) for session in here)
    return sorted(live.values(), key=_SET_UP)


async def _by_steps(all_: Collection[_Each]) -> AsyncIterator[Sequence[_Each]]:
    """Some at a time, between which others have their turn. What comes or goes meanwhile is not noticed."""
    waiting = iter(tuple(all_))
    while some := tuple(islice(waiting, LOOKED_AT_ONCE)):
        yield some
        await give_way()


async def unless_it_goes_on(box: Mailbox, end: DeadlineReached, sessions: Sessions) -> None:
    """It is answered or extended elsewhere; or this is its end."""
    if not await catch_up(box, sessions):
        box.put(end)


def in_our_time(session: Session, now: Instant, clock: str) -> Session:
    """The call with its moments on the monotonic clock of this process (`clock`).

    Those by another clock (of another machine, or before it was booted anew) are as long ago as our wall clock says;
    none lies ahead of now, where that was set back since. All keep their distances.
    """
    known = is_one_clock(session.clock, clock)
    earlier_ms = 0 if known else now.wall_ms - now.monotonic_ms - session.ahead_ms
    moments = (session.setup, session.alerting, session.answered)  # an estimated end may well lie ahead
    latest_ms = max(moment.monotonic_ms for moment in moments if moment is not None)
    earlier_ms = max(earlier_ms, latest_ms - now.monotonic_ms)

    def ours(moment: Instant | None) -> Instant | None:
        return None if moment is None else Instant(moment.wall_ms, moment.monotonic_ms - earlier_ms)

    setup = Instant(session.setup.wall_ms, session.setup.monotonic_ms - earlier_ms)
    return replace(
        session,
        clock=clock,
        ahead_ms=now.wall_ms - now.monotonic_ms,
        setup=setup,
        taken_up=(clock, setup),
        alerting=ours(session.alerting),
        answered=ours(session.answered),
        released=ours(session.released),
    )
