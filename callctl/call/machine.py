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

from callctl.call import admission, blind, drawing, ending, grant, judgement, running
from callctl.call.admission import Policy, Proposal
from callctl.call.checks import Finding
from callctl.call.effects import (
    AdmitCall,
    Advance,
    JournalNow,
    RejectCall,
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
    ReleasedBy,
    SeenAlive,
    Settled,
    StoreFailed,
    SwitchFailed,
    Taken,
    TakeRefused,
)
from callctl.call.grant import holding
from callctl.call.session import Session, State
from callctl.call.settlement import anchored, refuse
from callctl.call.trace import Check, Verdict, encode_trace
from callctl.causes import Cause, Refusal, cause_of
from callctl.clock import Instant
from callctl.prepaid import slicing
from callctl.rating.tariff import Direction

Handler = Callable[[Session, Any, Instant, Policy], Advance]


def advance(session: Session, event: CallEvent, now: Instant, policy: Policy) -> Advance:
    """The next session, and what is to be done. Never raises for any order, repetition or lack of events."""
    handler = TABLE.get((session.state, type(event)))
    if handler is None:
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
    return session, (deadline_at(session, Deadline.SETUP, now.plus_ms(policy.budget_ms)), TakeNow(take))


def _taken(session: Session, event: Taken, now: Instant, policy: Policy) -> Advance:
    admitted = grant.admitted(session, event)
    short = judgement.shortfall(admitted, event) if session.refusal is None else None
    if short is not None:
        session = admission.refuse(replace(session, version=admitted.version), short)
    if session.refusal is not None:  # or the core had refused, and this was only a look
        return _say_no(replace(session, busy=False, trace=judgement.whole_trace(admitted)), now)
    session = admitted
    if session.released is not None:  # the caller gave up while we asked
        return ending.settle(session)
    if session.answered is not None:  # its switch did not wait for us
        since = Answered(session.call, session.answered, session.answer_stated)
        session, effects = running.answered(session, since, now, policy)
        return session, (_go_ahead(session, policy), *effects)
    return session, (
        deadline_at(session, Deadline.SETUP, now.plus_ms(policy.setup_timeout_s * 1000)),
        _go_ahead(session, policy),
    )


def _go_ahead(session: Session, policy: Policy) -> AdmitCall:
    return AdmitCall(session.call, session.granted_s, policy.setup_timeout_s, session.b_number, session.account)


def _take_refused(session: Session, event: TakeRefused, now: Instant, policy: Policy) -> Advance:
    over = holding(session, 0, event.overflow, event.left)
    session = replace(over, granted_s=session.granted_s, busy=False, tries=session.tries + 1)
    findings = judgement.judged(session, event)
    refused = admission.deciding(findings)
    if session.refusal is None and refused is None and session.tries <= running.MOST_TRIES:
        return _take_less(session, event, now, policy)
    if session.refusal is None:
        session = admission.refuse(session, refused or Finding("credit", "others were faster", Refusal.NO_CREDIT))
    return _say_no(replace(session, trace=judgement.longer(session.trace, findings)), now)


def _take_less(session: Session, event: TakeRefused, now: Instant, policy: Policy) -> Advance:
    """Only money or a bundle fell short: ask again for what they pay; at the last try for the least that can be sold.

    A bundle that falls short is drawn upon for what it has left, and money pays the rest.
    """
    over = holding(session, 0, event.overflow, event.left)
    paid_s = slicing.affordable_by_all(over.levels, event.available)
    least_s = slicing.stretched(over.levels, 1, session.granted_s)
    wanted_s = session.granted_s if paid_s is None else min(session.granted_s, max(1, paid_s))
    if session.tries == running.MOST_TRIES and paid_s is not None:
        wanted_s = least_s
    elif session.tries == running.MOST_TRIES:  # others are faster, and money there is
        over = replace(over, levels=tuple(map(drawing.kept, over.levels)))
    session = replace(over, granted_s=wanted_s, wanted_s=wanted_s, busy=True)
    return session, (TakeNow(admission.take_for(session, now, policy)),)


def _say_no(session: Session, now: Instant) -> Advance:
    """Record the refusal, then say it: so no attempt is refused without a record, whenever we are killed."""
    cause = _cause(session)
    session = replace(
        session,
        state=State.REFUSED,
        answered=None,
        released=now,
        granted_s=0,
        q850=cause.q850,
        sip_code=cause.sip,
        released_by=ReleasedBy.CALLCTL,
        busy=True,
    )
    return session, (SettleNow(refuse(session)),)


def _cause(session: Session) -> Cause:
    return cause_of(session.refusal or Refusal.STORE_UNAVAILABLE, inbound=session.direction is Direction.INBOUND)


def _tell(session: Session) -> Advance:
    """Tell the switch, once, that the call may not go on."""
    if session.cut:
        return session, ()
    return replace(session, cut=True), (
        deadline_at(session, Deadline.SETUP, None),
        RejectCall(session.call, _cause(session)),
    )


def _without_store(session: Session, refusal: Refusal, now: Instant, policy: Policy) -> Advance:
    """No answer in time: emergency passes, postpaid for as long as the policy says, all others are refused."""
    postpaid = bool(session.levels) and not any(level.prepaid for level in session.levels)
    if session.emergency or (session.refusal is None and postpaid and policy.blind_s):
        granted_s = session.granted_s if session.emergency else min(policy.blind_s, session.ceiling_s)
        line = Check("store", Verdict.SKIP, f"{refusal}: admitted without it, for {granted_s} s")
        trace = session.trace + encode_trace([line])
        session = replace(session, granted_s=granted_s, first_granted_s=granted_s, trace=trace)
        session, effects = blind.admitted(session, now, policy)
        return session, (*effects, _go_ahead(session, policy))
    if session.refusal is None:
        session = admission.refuse(session, Finding("store", "no answer within the admission budget", refusal))
    session, _ = _say_no(session, now)  # its record follows when the store answers, or from the journal
    return _tell(session)


def _take_failed(session: Session, _: StoreFailed, now: Instant, policy: Policy) -> Advance:
    session, effects = _without_store(session, Refusal.STORE_UNAVAILABLE, now, policy)
    session = replace(session, busy=False)
    if session.state is State.REFUSED:
        return session, (JournalNow(session), *effects, *forget(session))
    return session, effects


def _budget_exceeded(session: Session, event: DeadlineReached, now: Instant, policy: Policy) -> Advance:
    if event.deadline is not Deadline.SETUP:
        return session, ()
    return _without_store(session, Refusal.BUDGET_EXCEEDED, now, policy)


def _answered_already(session: Session, event: Answered, now: Instant, policy: Policy) -> Advance:
    """Its switch did not wait: an emergency call, or one without a gate. It counts once its take went through."""
    return replace(session, answered=event.at, answer_stated=event.stated), ()


def _given_up(session: Session, event: Released, now: Instant, policy: Policy) -> Advance:
    """The caller left while we asked; what is taken is given back when the answer comes."""
    return ending.released(session, event), ()


def _refused_answer(session: Session, event: Taken | TakeRefused, now: Instant, policy: Policy) -> Advance:
    """An answer that came after the budget: what it took is given back with the record of the refusal."""
    if isinstance(event, Taken):
        session = replace(session, version=session.version + 1)
    return session, (SettleNow(refuse(session)),)


def _refused_recorded(session: Session, _: Settled, now: Instant, policy: Policy) -> Advance:
    session, told = _tell(replace(session, busy=False, version=session.version + 1))
    return session, (*told, *forget(session))


def _refused_unrecorded(session: Session, _: StoreFailed, now: Instant, policy: Policy) -> Advance:
    session, told = _tell(replace(session, busy=False))
    return session, (JournalNow(session), *told, *forget(session))


def _refused_deadline(session: Session, event: DeadlineReached, now: Instant, policy: Policy) -> Advance:
    return _tell(session) if event.deadline is Deadline.SETUP else (session, ())


# ---- the store knows better


def _recalled(session: Session, event: Recalled, now: Instant, policy: Policy) -> Advance:
    """Adopt what the store remembers, keep what only we have seen, and go on from there."""
    stored = replace(event.session, busy=False)
    if session.state is State.REFUSED and stored.state not in (State.ENDED, State.REFUSED):
        session = replace(session, version=stored.version)  # taken after all, too late: give it back
        return session, (SettleNow(refuse(session)),)
    if session.state is State.REFUSED:
        session, told = _tell(session)
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
        return running_on, (*effects, _go_ahead(running_on, policy))
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
    (State.TAKING, Taken): _taken,
    (State.TAKING, TakeRefused): _take_refused,
    (State.TAKING, StoreFailed): _take_failed,
    (State.TAKING, Recalled): _recalled,
    (State.TAKING, DeadlineReached): _budget_exceeded,
    (State.TAKING, Answered): _answered_already,
    (State.TAKING, Alerting): running.alerting,
    (State.TAKING, Released): _given_up,
    (State.REFUSED, Taken): _refused_answer,
    (State.REFUSED, TakeRefused): _refused_answer,
    (State.REFUSED, StoreFailed): _refused_unrecorded,
    (State.REFUSED, Settled): _refused_recorded,
    (State.REFUSED, DeadlineReached): _refused_deadline,
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
