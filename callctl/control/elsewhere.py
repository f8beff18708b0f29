"""What other processes have done with a call. One that no switch of ours carries is reported to any of them: each knows
its own part, the store the whole of it."""

import contextlib
from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from callctl.call.events import CallKey, Deadline, DeadlineReached, Recalled
from callctl.call.session import Session
from callctl.clock import Instant, is_one_clock
from callctl.control.mailbox import Mailbox
from callctl.control.within import LIVE
from callctl.errors import PortError
from callctl.ports import Sessions

_ENDS = frozenset({Deadline.SETUP, Deadline.CUT, Deadline.LOST})


def may_go_on(session: Session, event: DeadlineReached) -> bool:
    """Whether this deadline would end a call of which another process may know more."""
    return event.deadline in _ENDS and session.state in LIVE and not session.linked


async def catch_up(box: Mailbox, sessions: Sessions) -> bool:
    """Have the call know what was reported elsewhere; whether anything was. Nothing, where the store does not say."""
    await box.until(lambda it: not it.session.busy)
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
    asked = frozenset(roots)
    ours = {box.session.trace_id: box.session for box in boxes.values() if box.session.root in asked}
    found: Sequence[Session] = ()
    with contextlib.suppress(PortError):
        theirs = [(root, id) for root, id in await sessions.listed(roots) if id not in ours]
        shared = [(it.root, id) for id, it in ours.items() if it.state in LIVE and not it.linked]
        found = await sessions.read([*theirs, *shared])
    for stored in found:
        if stored.call in boxes:
            _hear(boxes[stored.call], stored)
    here = [box.session for box in boxes.values() if box.session.root in asked]
    live = [session for session in (*here, *(it for it in found if it.call not in boxes)) if session.state in LIVE]
    return sorted(live, key=lambda session: session.setup.wall_ms)


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
