"""The call as a state machine: `advance(session, event, now, policy) -> (session, effects)`. Pure.

Rules. A pair of state and event that is not in `TABLE` changes nothing and is reported as `Unexpected`. At most one
store request of a call is under way (`busy`); what happens meanwhile is kept in the session and acted upon when its
answer comes. A failed request is repeated: takes are idempotent. Deadlines are absolute.

    TAKING ─▶ ADMITTED ─▶ ANSWERED ─▶ SETTLING ─▶ ENDED ─▶ (correction) ENDED
       ├─▶ REFUSED
       └─▶ BLIND      admitted without the store: journalled, and taken after all when the store is back
"""

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from callctl.call import admission, blind, ending, grant, running, taking
from callctl.call.admission import Policy, Proposal
from callctl.call.effects import (
    Advance,
    JournalNow,
    SetDeadline,
    SettleNow,
    TakeNow,
    Unexpected,
    deadline_at,
    forget,
)
from callctl.call.events import (
    Alerting,
    Answered,
    CallEvent,
    Deadline,
    DeadlineReached,
    ExtendAsked,
    Extended,
    ExtendRefused,
    Forgotten,
    HangUpAsked,
    Recalled,
    Released,
    SeenAlive,
    Settled,
    StoreFailed,
    SwitchFailed,
    Taken,
    TakeRefused,
)
from callctl.call.session import Session, State
from callctl.call.settlement import anchored, refuse
from callctl.clock import Instant

Handler = Callable[[Session, Any, Instant, Policy], Advance]
_SETUP = Deadline.SETUP


def advance(session: Session, event: CallEvent, now: Instant, policy: Policy) -> Advance:
    """The next session, and what is to be done. Never raises for any order, repetition or lack of events."""
    try:
        handler = TABLE[session.state, type(event)]
    except KeyError:
        unexpected = Unexpected(session.call, session.state, type(event).__name__)
        over = session.state in (State.SETTLING, State.ENDED) and not session.busy
        return session, (unexpected, *(forget(session) if over else ()))
    return handler(session, event, now, policy)


def begin(proposal: Proposal, now: Instant, policy: Policy) -> Advance:
    """The first step of an offered call: take; or, where the core refuses, only look at what the store would say."""
    session, take = proposal.session, proposal.take
    if proposal.refused is not None:
        session = admission.refuse(session, proposal.refused)
        take = replace(take, probe=True)
    return session, (SetDeadline(session.call, _SETUP, now.plus_ms(policy.budget_ms)), TakeNow(take))


def _recalled(session: Session, event: Recalled, now: Instant, policy: Policy) -> Advance:
    """Adopt what the store remembers, keep what only we have seen, and go on from there."""
    stored = replace(event.session, busy=False)
    if session.state is State.REFUSED and event.ours and stored.state not in (State.ENDED, State.REFUSED):
        session = replace(session, version=stored.version)  # taken after all, too late: give it back
        return session, (SettleNow(refuse(session)),)
    if session.state is State.REFUSED:  # elsewhere it is up: that take is not ours to give back
        session, told = taking.tell(session)
        return session, (*told, *forget(session))
    if stored.state in (State.ENDED, State.REFUSED):
        return ending.reopened(stored, session)
    merged = replace(
        stored,
        alerting=session.alerting or stored.alerting,
        answered=session.answered or stored.answered,
        answer_stated=session.answer_stated if session.answered else stored.answer_stated,
        purchase=session.purchase or stored.purchase,
        cut=session.cut or stored.cut,
    )
    if session.released is not None:
        return ending.settle(ending.carry_over(session, merged))
    state = State.ADMITTED if merged.answered is None else State.ANSWERED
    running_on, effects = resume(replace(merged, state=state), now, policy)
    if session.state is State.BLIND:  # the journal has nothing to remember any more
        effects = (*effects, JournalNow(running_on))
    news = session.granted_s > running_on.granted_s or (stored.answered is None and session.answered is not None)
    if session.state is State.BLIND and news:  # what it was told is to be held for, and as long as it lasts
        told_s = max(session.granted_s, running_on.granted_s)
        running_on, saving = running.save(replace(running_on, granted_s=told_s), now, policy)
        return running_on, (*effects, *grant.watch(running_on, now), *saving)
    if session.state is State.TAKING:  # it was decided before; whoever asks now is told the same
        effects = (*effects, *grant.watch(running_on, now))
        return running_on, (*effects, taking.go_ahead(running_on, policy))
    return running_on, (*effects, *grant.armed(running_on, now), *grant.watch(running_on, now))


def resume(session: Session, now: Instant, policy: Policy) -> Advance:
    """Take up a call that the store remembers: after a restart, or from another process.

    One that its switch can tell of is not extended before the switch has: it may be over.
    """
    session = anchored(session)
    session = replace(session, busy=False, wanted_s=session.granted_s)
    # Its answer may have come while nobody listened: it is given the time to be seen or reported.
    setup = now.plus_ms(policy.setup_timeout_s * 1000) if session.answered is None else None
    retry = now if session.state is State.BLIND else None
    watched = grant.watch(session, now)
    if session.linked:
        watched = tuple(effect for effect in watched if effect.deadline is not Deadline.EXTEND)
    lost = now.plus_ms(policy.lease_grace_s * 1000) if session.cut else None  # it was told to end
    waits = ((Deadline.SETUP, setup), (Deadline.RETRY, retry), (Deadline.LOST, lost))
    return session, (*(deadline_at(session, deadline, at) for deadline, at in waits), *watched)


TABLE: dict[tuple[State, type], Handler] = {
    (State.TAKING, Taken): taking.taken,
    (State.TAKING, TakeRefused): taking.take_refused,
    (State.TAKING, StoreFailed): taking.take_failed,
    (State.TAKING, Recalled): _recalled,
    (State.TAKING, DeadlineReached): taking.budget_exceeded,
    (State.TAKING, Answered): taking.answered_already,
    (State.TAKING, Alerting): running.alerting,
    (State.TAKING, Released): taking.given_up,
    (State.REFUSED, Taken): taking.refused_answer,
    (State.REFUSED, TakeRefused): taking.refused_answer,
    (State.REFUSED, StoreFailed): taking.refused_unrecorded,
    (State.REFUSED, Settled): taking.refused_recorded,
    (State.REFUSED, DeadlineReached): taking.refused_deadline,
    (State.REFUSED, Released): running.ignored,
    (State.REFUSED, Recalled): _recalled,
    (State.BLIND, Alerting): running.alerting,
    (State.BLIND, Answered): blind.answered,
    (State.BLIND, SeenAlive): blind.seen_alive,
    (State.BLIND, Released): blind.released,
    (State.BLIND, HangUpAsked): running.hang_up,
    (State.BLIND, DeadlineReached): blind.deadline,
    (State.BLIND, Taken): blind.taken,
    (State.BLIND, TakeRefused): blind.failed,
    (State.BLIND, StoreFailed): blind.failed,
    (State.BLIND, Recalled): _recalled,
    (State.ADMITTED, Alerting): running.alerting,
    (State.ADMITTED, Answered): running.answered,
    (State.ADMITTED, SeenAlive): running.seen_alive,
    (State.ADMITTED, Released): running.released,
    (State.ADMITTED, ExtendAsked): running.ignored,
    (State.ADMITTED, HangUpAsked): running.hang_up,
    (State.ADMITTED, DeadlineReached): running.deadline,
    (State.ADMITTED, Extended): running.extended,
    (State.ADMITTED, ExtendRefused): running.extend_refused,
    (State.ADMITTED, StoreFailed): running.extend_failed,
    (State.ADMITTED, SwitchFailed): running.switch_failed,
    (State.ADMITTED, Forgotten): blind.forgotten,
    (State.ADMITTED, Recalled): _recalled,
    (State.ANSWERED, SeenAlive): running.seen_alive,
    (State.ANSWERED, Released): running.released,
    (State.ANSWERED, ExtendAsked): running.extend_asked,
    (State.ANSWERED, HangUpAsked): running.hang_up,
    (State.ANSWERED, DeadlineReached): running.deadline,
    (State.ANSWERED, Extended): running.extended,
    (State.ANSWERED, ExtendRefused): running.extend_refused,
    (State.ANSWERED, StoreFailed): blind.unsaved,
    (State.ANSWERED, SwitchFailed): running.switch_failed,
    (State.ANSWERED, Forgotten): blind.forgotten,
    (State.ANSWERED, Recalled): _recalled,
    (State.SETTLING, Extended): ending.answered_late,
    (State.SETTLING, ExtendRefused): ending.answered_late,
    (State.SETTLING, Forgotten): ending.journalled,
    (State.SETTLING, StoreFailed): ending.journalled,
    (State.SETTLING, Settled): ending.closed,
    (State.SETTLING, Released): ending.noted_end,
    (State.SETTLING, Recalled): _recalled,
    (State.ENDED, Released): ending.true_end,
    (State.ENDED, Settled): ending.written,
    (State.ENDED, StoreFailed): ending.journalled,
    (State.ENDED, Recalled): _recalled,
}
