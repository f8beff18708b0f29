"""A call that was admitted: answered, extended, warned, cut off. Handlers of `machine.TABLE`."""

from msgspec.structs import replace

from callctl.call import drawing, ending, grant
from callctl.call.admission import Policy
from callctl.call.effects import Advance, Effect, ExtendNow, HangUpCall, WarnCall, deadline_at
from callctl.call.events import (
    Alerting,
    Answered,
    Deadline,
    DeadlineReached,
    ExtendAsked,
    Extended,
    ExtendRefused,
    HangUpAsked,
    Released,
    SeenAlive,
    StoreFailed,
    SwitchFailed,
)
from callctl.call.session import Session, State
from callctl.call.settlement import anchored
from callctl.call.takes import Extension
from callctl.call.watched import further_asks
from callctl.causes import NORMAL_CLEARING, RECOVERY_ON_TIMER
from callctl.clock import Instant
from callctl.limits.ids import Ask
from callctl.prepaid import slicing

RETRY_AFTER_MS = 1_000
MOST_TRIES = 5

_EXTEND = Deadline.EXTEND


def alerting(session: Session, event: Alerting, now: Instant, policy: Policy) -> Advance:
    return (session if session.alerting else replace(session, alerting=event.at)), ()


def answered(session: Session, event: Answered, now: Instant, policy: Policy) -> Advance:
    session = replace(session, state=State.ANSWERED, answered=event.at, answer_stated=event.stated, cut=False)
    session = anchored(session)
    rung_out = (deadline_at(session, Deadline.SETUP, None), deadline_at(session, Deadline.LOST, None))
    arming = grant.armed(session, now)
    session, saving = save(session, now, policy)
    return session, (*rung_out, *arming, *grant.watch(session, now), *saving)


def seen_alive(session: Session, event: SeenAlive, now: Instant, policy: Policy) -> Advance:
    """After a reconnect: the switch's timer is set anew, in case that the last command was lost."""
    if session.answered is None and event.answered_at is not None:
        return answered(session, Answered(session.call, event.answered_at, stated=True), now, policy)
    session = placed(session, event)
    return session, (*grant.armed(session, now), *grant.watch(session, now))


def placed(session: Session, event: SeenAlive) -> Session:
    """After a restart, the switch knows better than our wall clock how long ago it was that it answered."""
    seen_at, ours = event.answered_at, session.answered
    if seen_at is None or ours is None or seen_at.wall_ms != ours.wall_ms:
        return session
    return replace(session, answered=seen_at)


def ignored(session: Session, _: object, now: Instant, policy: Policy) -> Advance:
    """Expected, and of no consequence in this state."""
    return session, ()


def released(session: Session, event: Released, now: Instant, policy: Policy) -> Advance:
    return ending.settle(ending.released(session, event))


def deadline(session: Session, event: DeadlineReached, now: Instant, policy: Policy) -> Advance:
    if event.deadline is _EXTEND:
        return _extend(session, now, policy)
    match event.deadline:
        case Deadline.WARN:
            return save(replace(session, warn_due=True), now, policy)
        case Deadline.CUT:
            return _cut(session, now, policy)
        case Deadline.SETUP if session.emergency and session.answered is None:
            # Its answer may be unheard: it is not cut off, and given up for lost where nothing comes.
            return session, (deadline_at(session, Deadline.LOST, now.plus_ms(policy.lease_grace_s * 1000)),)
        case Deadline.SETUP if session.answered is None:
            return _end(session, RECOVERY_ON_TIMER, now, policy)
        case Deadline.LOST:
            return ending.lost(session, now)
        case Deadline.RETRY if session.cut:
            return _end(session, NORMAL_CLEARING, now, policy)
        case Deadline.RETRY:
            session, saving = save(session, now, policy)
            again = (HangUpCall(session.call, NORMAL_CLEARING),) if session.unwanted else ()
            return session, (*again, *grant.armed(session, now), *grant.watch(session, now), *saving)
        case _:
            return session, ()


def extend_asked(session: Session, _: ExtendAsked, now: Instant, policy: Policy) -> Advance:
    return _extend(session, now, policy)


def _extend(session: Session, now: Instant, policy: Policy) -> Advance:
    """Hold the next, longer slice."""
    granted_s, ceiling_s = session.granted_s, session.ceiling_s
    if session.busy or session.answered is None or session.emergency or session.unwanted or granted_s >= ceiling_s:
        return session, ()
    slice_s, planned_s = slicing.following(
        session.levels, granted_s, session.slice_s, policy.slice_max_s, ceiling_s, policy.longest_unattended_s
    )
    return ask(session, planned_s, now, policy, slice_s=slice_s)


def ask(session: Session, planned_s: int, now: Instant, policy: Policy, *, slice_s: int = 0, tries: int = 0) -> Advance:
    """Ask the store to hold what the call costs until `planned_s`, beyond what it holds already.

    What was granted before is held for in any case. `slice_s`: of the slice that this is, where it is another one.
    """
    levels, force = session.levels, planned_s <= session.granted_s
    draws: tuple[tuple[int, ...], ...] = ()
    watch: tuple[Ask | None, ...] = ()
    if not grant.money_alone(levels):
        if force:
            session = replace(session, levels=tuple(map(drawing.kept, levels)))
            levels = session.levels
        held = grant.held(session, planned_s)
        more = tuple([after.held - level.held for after, level in zip(held, levels, strict=True)])
        draws = drawing.more(levels, held)
        watch = further_asks(levels, held, now)
    else:
        paid_s = 0 if session.emergency else planned_s
        more = tuple([slicing.cost(level, paid_s) - level.held for level in levels])
    session = replace(
        session,
        slice_s=slice_s or session.slice_s,
        wanted_s=planned_s,
        asked_ms=session.sliced_ms if force else now.wall_ms,
        ahead_ms=now.wall_ms - now.monotonic_ms,
        tries=tries,
        busy=True,
    )
    left_ms = grant.left_ms(session, policy.setup_timeout_s if session.answered is None else planned_s, now)
    lease_until_ms = now.wall_ms + policy.lease_grace_s * 1000  # a grace after the ringing, or the grant
    if left_ms > 0:
        lease_until_ms += left_ms
    return session, (ExtendNow(Extension(session, more, lease_until_ms, force, draws, watch)),)


def save(session: Session, now: Instant, policy: Policy) -> Advance:
    """Have the store's record say what the session says, and see what money is left.

    Nothing more is held by it, but for a call that was granted more than the store knew (`machine._recalled`).
    """
    if session.busy:
        return session, ()
    return ask(session, session.granted_s, now, policy)


def extended(session: Session, event: Extended, now: Instant, policy: Policy) -> Advance:
    longer = session.wanted_s > session.granted_s
    granted_s = session.wanted_s if longer else session.granted_s
    levels = drawing.seen(grant.held(session, granted_s), event.left)
    session = replace(
        session,
        busy=False,
        version=session.version + 1,
        levels=levels,
        granted_s=granted_s,
        affordable_s=grant.affordable(session, levels, event.available),
        sliced_ms=session.asked_ms if longer else session.sliced_ms,
    )
    warning: tuple[Effect, ...] = ()
    if session.warn_due:
        session, warning = _warn(session, now)
    arming = grant.armed(session, now) if longer and session.attended else ()
    told = arming + warning + grant.watch(session, now)
    if granted_s >= session.first_granted_s or session.answered is None or session.unwanted:
        return session, told
    # Its answer in other bands than it was set up in has cut the grant to what was held: what is missing is asked for.
    paid_s = session.first_granted_s if session.affordable_s is None else session.affordable_s
    if paid_s <= granted_s:
        return session, told
    session, asking = ask(session, min(paid_s, session.first_granted_s), now, policy)
    return session, (*told, *asking)


def extend_refused(session: Session, event: ExtendRefused, now: Instant, policy: Policy) -> Advance:
    """Not enough for the whole slice: take what there is, to the second. What may not be spent is not cut."""
    session = grant.seen(replace(session, busy=False, tries=session.tries + 1), event.available, event.left)
    if any(payer.refuses for payer in event.watched):  # of which a look at the money would tell nothing
        session = replace(session, affordable_s=session.granted_s, warn_due=session.attended)
    paid_s = session.wanted_s if session.affordable_s is None else min(session.affordable_s, session.wanted_s)
    if paid_s > session.granted_s and session.tries < MOST_TRIES:
        return ask(session, paid_s, now, policy, tries=session.tries)
    session, warning = _warn(session, now)
    return session, (*warning, *grant.watch(session, now))


def extend_failed(session: Session, _: StoreFailed, now: Instant, policy: Policy) -> Advance:
    """The outcome is unknown. The grant stands; ask again soon, while there is time."""
    session = replace(session, busy=False)
    soon = now.plus_ms(RETRY_AFTER_MS)
    look = grant.next_look(session, now) if session.answered is not None else None
    if look is not None and look.monotonic_ms < soon.monotonic_ms:
        look = soon
    return session, (deadline_at(session, Deadline.RETRY, soon), deadline_at(session, Deadline.EXTEND, look))


def switch_failed(session: Session, event: SwitchFailed, now: Instant, policy: Policy) -> Advance:
    return session, (deadline_at(session, Deadline.RETRY, now.plus_ms(RETRY_AFTER_MS)),)


def _warn(session: Session, now: Instant) -> Advance:
    """Announce the credit that is left, if the fresh look shows that a lead time is reached."""
    if not session.warn_due or session.answered is None:
        return session, ()
    session = replace(session, warn_due=False)
    left_ms = grant.left_ms(session, session.affordable_s, now) if session.affordable_s is not None else None
    if left_ms is None or left_ms <= 0:
        return session, ()
    reached = [lead for lead in session.warnings if lead * 1000 >= left_ms - grant.EXTEND_LEAD_MS // 10]
    unsaid = [lead for lead in reached if session.warned_s is None or lead < session.warned_s]
    if not unsaid:
        return session, ()
    left_s = max(1, (left_ms + 500) // 1000)
    return replace(session, warned_s=min(unsaid)), (WarnCall(session.call, left_s, session.warn_to),)


def _cut(session: Session, now: Instant, policy: Policy) -> Advance:
    """The paid time is over."""
    if grant.left_ms(session, session.granted_s, now) > 0:  # extended while this deadline was on its way
        return session, grant.watch(session, now)
    return _end(session, NORMAL_CLEARING, now, policy)


def hang_up(session: Session, _: HangUpAsked, now: Instant, policy: Policy) -> Advance:
    """It gets no more time, and who carries it is told to end it. Where callctl does not extend it, nobody waits for
    that: its grant stands until the end is reported."""
    session = replace(session, unwanted=True)
    if session.attended:
        return _end(session, NORMAL_CLEARING, now, policy)
    command = HangUpCall(session.call, NORMAL_CLEARING)
    if session.state is State.BLIND:
        return session, (command,)
    session, saving = save(session, now, policy)
    return session, (command, *saving)


def _end(session: Session, q850: int, now: Instant, policy: Policy) -> Advance:
    """Hang up. The call is over when the switch says so, or a grace later."""
    command = HangUpCall(session.call, q850)
    if session.cut:
        return session, (command,)
    lost = deadline_at(session, Deadline.LOST, now.plus_ms(policy.lease_grace_s * 1000))
    return replace(session, cut=True), (command, lost)
