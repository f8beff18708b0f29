"""What other processes have done with a call. One that no switch of ours carries is reported to any of them: each knows
its own part, the store the whole of it."""

from msgspec.structs import replace

from callctl.call.events import Deadline, DeadlineReached, Recalled
from callctl.call.session import Session
from callctl.clock import Instant
from callctl.control.mailbox import Mailbox
from callctl.errors import PortError
from callctl.ports import Sessions

_ENDS = (Deadline.SETUP, Deadline.CUT, Deadline.LOST)


def may_go_on(session: Session, event: DeadlineReached) -> bool:
    """Whether this deadline would end a call of which another process may know more."""
    return event.deadline in _ENDS and not session.linked


async def catch_up(box: Mailbox, sessions: Sessions) -> bool:
    """Have the call know what was reported elsewhere; whether anything was. Nothing, where the store does not say."""
    await box.until(lambda it: not it.session.busy)
    if box.session.linked:
        return False
    try:
        stored = await sessions.find(box.session.call)
    except PortError:
        return False
    if stored is None or box.session.busy or stored.version <= box.session.version:
        return False
    box.put(Recalled(stored.call, stored))
    return True


async def unless_it_goes_on(box: Mailbox, end: DeadlineReached, sessions: Sessions) -> None:
    """It is answered or extended elsewhere; or this is its end."""
    if not await catch_up(box, sessions):
        box.put(end)


def not_ahead(session: Session, now: Instant) -> Session:
    """The moments of a call that another process has written: none lies ahead of now, all keep their distances.

    They would, where the wall clock was set back before this process started.
    """
    moments = (session.setup, session.alerting, session.answered)  # an estimated end may well lie ahead
    ahead_ms = max(moment.monotonic_ms for moment in moments if moment is not None) - now.monotonic_ms
    if ahead_ms <= 0:
        return session

    def earlier(moment: Instant | None) -> Instant | None:
        return None if moment is None else Instant(moment.wall_ms, moment.monotonic_ms - ahead_ms)

    return replace(
        session,
        setup=Instant(session.setup.wall_ms, session.setup.monotonic_ms - ahead_ms),
        alerting=earlier(session.alerting),
        answered=earlier(session.answered),
        released=earlier(session.released),
    )
