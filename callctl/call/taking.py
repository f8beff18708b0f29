"""A call that is being taken, and one that was refused. Handlers of `machine.TABLE`."""

from msgspec.structs import replace

from callctl.call import admission, blind, drawing, ending, grant, judgement, running
from callctl.call.admission import Policy
from callctl.call.checks import Finding, deciding
from callctl.call.effects import (
    AdmitCall,
    Advance,
    JournalNow,
    RejectCall,
    SetDeadline,
    SettleNow,
    TakeNow,
    deadline_at,
    forget,
)
from callctl.call.events import (
    Answered,
    Deadline,
    DeadlineReached,
    Released,
    ReleasedBy,
    Settled,
    StoreFailed,
    Taken,
    TakeRefused,
)
from callctl.call.grant import holding
from callctl.call.session import Session, State
from callctl.call.settlement import refuse
from callctl.call.trace import Check, Verdict, encode_trace
from callctl.causes import Cause, Refusal, cause_of
from callctl.clock import Instant
from callctl.prepaid import slicing
from callctl.rating.tariff import Direction

_SETUP = Deadline.SETUP


def taken(session: Session, event: Taken, now: Instant, policy: Policy) -> Advance:
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
        return session, (go_ahead(session, policy), *effects)
    setup = SetDeadline(session.call, _SETUP, now.plus_ms(policy.setup_timeout_s * 1000))
    return session, (setup, go_ahead(session, policy))


def go_ahead(session: Session, policy: Policy) -> AdmitCall:
    return AdmitCall(session.call, session.granted_s, policy.setup_timeout_s, session.b_number, session.account)


def take_refused(session: Session, event: TakeRefused, now: Instant, policy: Policy) -> Advance:
    over = holding(session, 0, event.overflow, event.left)
    session = replace(over, granted_s=session.granted_s, busy=False, tries=session.tries + 1)
    findings = judgement.judged(session, event)
    refused = deciding(findings)
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


def tell(session: Session) -> Advance:
    """Tell the switch, once, that the call may not go on."""
    if session.cut:
        return session, ()
    return replace(session, cut=True), (
        deadline_at(session, _SETUP, None),
        RejectCall(session.call, _cause(session)),
    )


def _without_store(session: Session, refusal: Refusal, now: Instant, policy: Policy) -> Advance:
    """No answer in time: emergency passes, postpaid for as long as the policy says, all others are refused."""
    postpaid = bool(session.levels) and not any(level.prepaid for level in session.levels)
    if session.emergency or (session.refusal is None and postpaid and policy.blind_s):
        granted_s = session.granted_s if session.emergency else min(policy.blind_s, session.ceiling_s)
        line = Check("store", Verdict.SKIP, f"{refusal}: admitted without it, for {granted_s} s")
        trace = encode_trace([line], session.trace)
        session = replace(session, granted_s=granted_s, first_granted_s=granted_s, trace=trace)
        session, effects = blind.admitted(session, now, policy)
        return session, (*effects, go_ahead(session, policy))
    if session.refusal is None:
        session = admission.refuse(session, Finding("store", "no answer within the admission budget", refusal))
    session, _ = _say_no(session, now)  # its record follows when the store answers, or from the journal
    return tell(session)


def take_failed(session: Session, _: StoreFailed, now: Instant, policy: Policy) -> Advance:
    session, effects = _without_store(session, Refusal.STORE_UNAVAILABLE, now, policy)
    session = replace(session, busy=False)
    if session.state is State.REFUSED:
        return session, (JournalNow(session), *effects, *forget(session))
    return session, effects


def budget_exceeded(session: Session, event: DeadlineReached, now: Instant, policy: Policy) -> Advance:
    if event.deadline is not _SETUP:
        return session, ()
    return _without_store(session, Refusal.BUDGET_EXCEEDED, now, policy)


def answered_already(session: Session, event: Answered, now: Instant, policy: Policy) -> Advance:
    """Its switch did not wait: an emergency call, or one without a gate. It counts once its take went through."""
    return replace(session, answered=event.at, answer_stated=event.stated), ()


def given_up(session: Session, event: Released, now: Instant, policy: Policy) -> Advance:
    """The caller left while we asked; what is taken is given back when the answer comes."""
    return ending.released(session, event), ()


def refused_answer(session: Session, event: Taken | TakeRefused, now: Instant, policy: Policy) -> Advance:
    """An answer that came after the budget: what it took is given back with the record of the refusal."""
    if isinstance(event, Taken):
        session = replace(session, version=session.version + 1)
    return session, (SettleNow(refuse(session)),)


def refused_recorded(session: Session, _: Settled, now: Instant, policy: Policy) -> Advance:
    session, told = tell(replace(session, busy=False, version=session.version + 1))
    return session, (*told, *forget(session))


def refused_unrecorded(session: Session, _: StoreFailed, now: Instant, policy: Policy) -> Advance:
    session, told = tell(replace(session, busy=False))
    return session, (JournalNow(session), *told, *forget(session))


def refused_deadline(session: Session, event: DeadlineReached, now: Instant, policy: Policy) -> Advance:
    return tell(session) if event.deadline is _SETUP else (session, ())
