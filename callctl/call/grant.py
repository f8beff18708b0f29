"""What a live call is granted: what every level holds for it and can still afford, and when it is looked at again."""

from collections.abc import Sequence

from msgspec.structs import replace

from callctl.call import drawing
from callctl.call.effects import ArmCall, Effect, SetDeadline
from callctl.call.events import Deadline, Left, Taken
from callctl.call.session import Level, Session, State
from callctl.call.watched import exposed
from callctl.clock import Instant
from callctl.prepaid import slicing

EXTEND_LEAD_MS = 5_000  # before the end of a slice the next one is asked for (`docs/rules.md`, Slice)
LAST_LOOK_MS = 2_000  # so near to its end, a call whose credit is used up is not looked at again

_ADMITTED = State.ADMITTED
_CUT, _EXTEND, _WARN, _LOST = Deadline.CUT, Deadline.EXTEND, Deadline.WARN, Deadline.LOST


def holding(session: Session, granted_s: int, overflow: Sequence[bool] = (), left: Left = ()) -> Session:
    """The session granted `granted_s`, each level holding what that costs, with what the store saw."""
    return replace(session, levels=drawing.seen(held(session, granted_s, overflow), left), granted_s=granted_s)


def held(session: Session, granted_s: int, overflow: Sequence[bool] = ()) -> tuple[Level, ...]:
    """The levels, each holding what `granted_s` cost it. `overflow`: whose channel is beyond its cap."""
    paid_s = 0 if session.emergency else granted_s
    draw = drawing.proposed if overflow else drawing.drawing  # as the take has asked for
    levels = []
    for depth, payer in enumerate(session.levels):
        level = draw(payer, paid_s) if payer.sources else payer
        if overflow and overflow[depth] is not level.overflow:
            level = replace(level, overflow=overflow[depth])
        level = replace(level, held=slicing.cost(drawing.kept(level), paid_s))
        levels.append(level if level.watch is None else exposed(level, paid_s))
    return tuple(levels)


def money_alone(levels: Sequence[Level]) -> bool:
    """Whether money is all that the payers hold: most draw upon nothing, and nobody watches what they spend."""
    alone = True
    for level in levels:
        alone = alone and not level.sources and level.watch is None
    return alone


def admitted(session: Session, event: Taken) -> Session:
    """The session when its take went through."""
    granted_s = session.wanted_s
    levels = drawing.seen(held(session, granted_s, event.overflow), event.left)
    affordable_s = affordable(session, levels, event.available)
    return replace(
        session,
        state=_ADMITTED,
        busy=False,
        tries=0,
        version=session.version + 1,
        levels=levels,
        granted_s=granted_s,
        affordable_s=affordable_s,
        first_granted_s=granted_s,
        first_affordable_s=affordable_s,
        taken=event,
    )


def seen(session: Session, available: Sequence[int | None], left: Left = ()) -> Session:
    """The session with what its payers can still afford, as the store has just said; None where nothing limits it."""
    levels = drawing.seen(session.levels, left)
    return replace(session, levels=levels, affordable_s=affordable(session, levels, available))


def affordable(session: Session, levels: Sequence[Level], available: Sequence[int | None]) -> int | None:
    """Seconds until the first payer's money ends; None where nothing limits it."""
    return None if session.emergency else slicing.affordable_by_all(levels, available)


def armed(session: Session, now: Instant) -> tuple[Effect, ...]:
    """The switch's own timer, so that the call ends with its grant even when callctl is dead."""
    if session.emergency or not session.attended or session.answered is None:
        return ()
    return (ArmCall(session.call, max(1, left_ms(session, session.granted_s, now))),)


def watch(session: Session, now: Instant) -> tuple[SetDeadline, ...]:
    """The deadlines of an answered call: next slice, next warning, the end. One of an emergency is lost, never cut."""
    answered = session.answered
    if answered is None:
        return ()
    call, end = session.call, answered.plus_ms(session.granted_s * 1000)
    if session.emergency:
        return (SetDeadline(call, _LOST, end),)
    cut = SetDeadline(call, _CUT, end)
    if not session.attended:
        return (cut,)
    return (
        cut,
        SetDeadline(call, _EXTEND, next_look(session, now)),
        SetDeadline(call, _WARN, _next_warning(session, now)),
    )


def left_ms(session: Session, seconds: int, now: Instant) -> int:
    """Milliseconds until the call has lasted `seconds`; negative when it has."""
    return (session.answered or now).monotonic_ms + seconds * 1000 - now.monotonic_ms


def next_look(session: Session, now: Instant) -> Instant | None:
    """When to ask for more. Once the credit is used up ever closer to the end: money may come back or be topped up."""
    if not session.attended or session.granted_s >= session.ceiling_s or session.busy:
        return None
    paid_ms = left_ms(session, session.granted_s, now)
    if session.affordable_s is None or session.affordable_s > session.granted_s:
        return now.plus_ms(max(0, paid_ms - EXTEND_LEAD_MS))
    return now.plus_ms(paid_ms // 2) if paid_ms > LAST_LOOK_MS else None


def _next_warning(session: Session, now: Instant) -> Instant | None:
    if session.affordable_s is None or session.answered is None:
        return None
    unsaid = [lead for lead in session.warnings if session.warned_s is None or lead < session.warned_s]
    if not unsaid or left_ms(session, session.affordable_s, now) <= 0:
        return None
    return session.answered.plus_ms((session.affordable_s - max(unsaid)) * 1000)
