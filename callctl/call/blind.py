"""A call that was admitted without the store: by policy, because it is an emergency, or because the store lost it.

It is journalled, and taken after all when the store is back. Handlers of `machine.TABLE`.
"""

from msgspec.structs import replace

from callctl.call import admission, drawing, ending, grant, running
from callctl.call.admission import Policy
from callctl.call.effects import Advance, JournalNow, TakeNow, deadline_at, forget
from callctl.call.events import (
    Answered,
    Deadline,
    DeadlineReached,
    Forgotten,
    Released,
    SeenAlive,
    StoreFailed,
    Taken,
    TakeRefused,
)
from callctl.call.grant import holding, seen
from callctl.call.session import Session, State
from callctl.call.settlement import anchored
from callctl.clock import Instant


def admitted(session: Session, now: Instant, policy: Policy) -> Advance:
    """It rings from now on; or talks already, where its switch did not wait for us."""
    session = replace(session, state=State.BLIND)
    again = deadline_at(session, Deadline.RETRY, now.plus_ms(running.RETRY_AFTER_MS))
    if session.answered is None:
        rings = deadline_at(session, Deadline.SETUP, now.plus_ms(policy.setup_timeout_s * 1000))
        return session, (rings, again, JournalNow(session))
    since = Answered(session.call, session.answered, session.answer_stated)
    session, effects = answered(session, since, now, policy)
    return session, (again, *effects)


def answered(session: Session, event: Answered, now: Instant, policy: Policy) -> Advance:
    if session.released is not None and session.released.monotonic_ms < event.at.monotonic_ms:
        session = replace(session, released=None)  # it had been given up, and rings no longer
    session = anchored(replace(session, answered=event.at, answer_stated=event.stated))
    rung_out = deadline_at(session, Deadline.SETUP, None)
    return session, (rung_out, JournalNow(session), *grant.armed(session, now), *grant.watch(session, now))


def seen_alive(session: Session, event: SeenAlive, now: Instant, policy: Policy) -> Advance:
    if session.answered is None and event.answered_at is not None:
        return answered(session, Answered(session.call, event.answered_at, stated=True), now, policy)
    session = running.placed(session, event)
    return session, (*grant.armed(session, now), *grant.watch(session, now))


def released(session: Session, event: Released, now: Instant, policy: Policy) -> Advance:
    session = ending.released(session, event)
    if session.busy:  # a take is under way: its answer decides whether the store or the journal closes the call
        return session, ()
    return session, (JournalNow(session), *forget(session))


def deadline(session: Session, event: DeadlineReached, now: Instant, policy: Policy) -> Advance:
    match event.deadline:
        case Deadline.RETRY if not session.busy:
            session = replace(session, wanted_s=session.granted_s, busy=True)
            return session, (TakeNow(replace(admission.take_for(session, now, policy), force=True)),)
        case Deadline.LOST:
            return released(session, ending.unseen(session, now), now, policy)
        case Deadline.CUT | Deadline.SETUP:
            return running.deadline(session, event, now, policy)
        case _:
            return session, ()


def taken(session: Session, event: Taken, now: Instant, policy: Policy) -> Advance:
    """The store is back: from here on it is a call like any other."""
    session = replace(session, busy=False, version=session.version + 1)
    state = State.ADMITTED if session.answered is None else State.ANSWERED
    granted_s = session.granted_s
    session = seen(
        holding(replace(session, state=state), session.wanted_s, event.overflow), event.available, event.left
    )
    if session.released is not None:
        session, effects = ending.settle(replace(holding(session, session.wanted_s), granted_s=granted_s))
        return session, (JournalNow(session), *effects)
    session, asking = running.save(session, now, policy)
    return session, (JournalNow(session), *asking)


def failed(session: Session, event: StoreFailed | TakeRefused, now: Instant, policy: Policy) -> Advance:
    session = replace(session, busy=False)
    if isinstance(event, TakeRefused):  # no force takes more of a bundle than there is: the next try knows
        session = replace(session, levels=drawing.seen(session.levels, event.left))
    if session.released is not None:
        return session, (JournalNow(session), *forget(session))
    return session, (deadline_at(session, Deadline.RETRY, now.plus_ms(running.RETRY_AFTER_MS)),)


def forgotten(session: Session, _: Forgotten, now: Instant, policy: Policy) -> Advance:
    """The store lost the call; it runs on, as one that was admitted without the store, until it is taken anew."""
    session = replace(session, state=State.BLIND, busy=False, version=0)
    return session, (JournalNow(session), deadline_at(session, Deadline.RETRY, now))


def unsaved(session: Session, event: StoreFailed, now: Instant, policy: Policy) -> Advance:
    """The store is away. Where it has not heard of the answer either, the journal keeps that: we may be killed."""
    session, effects = running.extend_failed(session, event, now, policy)
    if session.version > 1:  # it was written since its take
        return session, effects
    return session, (JournalNow(replace(session, state=State.BLIND)), *effects)
