"""The end of a call: settled once, estimated where nobody saw it, corrected when the truth comes late.

Handlers of `machine.TABLE`.
"""

from msgspec.structs import replace

from callctl.call import settlement, watched
from callctl.call.admission import Policy
from callctl.call.due import dues
from callctl.call.effects import Advance, Forget, JournalNow, SettleNow, quiet
from callctl.call.events import Extended, ExtendRefused, Released, ReleasedBy, Settled, StoreFailed
from callctl.call.session import Session, State
from callctl.call.takes import Settlement
from callctl.clock import Instant


def released(session: Session, event: Released) -> Session:
    """The session with what the switch says of its end. A guess does not replace what is known."""
    if event.estimated and session.released is not None and not _is_news(session, event):
        return session
    begun, stated = session.answered, session.answer_stated
    elsewhere = not session.attended and event.released_by is not None  # where callctl could not hang up itself
    if begun is None and event.answered_at is not None:
        begun, stated = event.answered_at, event.stated
    return replace(
        session,
        answered=begun,
        answer_stated=stated,
        released=event.at,
        release_stated=event.stated,
        q850=event.q850,
        sip_code=event.sip_code,
        released_by=ReleasedBy.CALLCTL if (session.cut or session.unwanted) and not elsewhere else event.released_by,
        estimated=event.estimated and begun is not None,
    )


def carry_over(ours: Session, stored: Session) -> Session:
    """The stored session with the end that we saw, and the answer if only we saw it.

    The store does not remember who has agreed thresholds since the call was admitted.
    """
    watches = {(level.role, level.account): level.watch for level in ours.levels}
    levels = [replace(lv, watch=lv.watch or watches.get((lv.role, lv.account))) for lv in stored.levels]
    return replace(
        stored,
        levels=tuple(levels),
        answered=stored.answered or ours.answered,
        purchase=stored.purchase or ours.purchase,
        released=ours.released,
        release_stated=ours.release_stated,
        q850=ours.q850,
        sip_code=ours.sip_code,
        released_by=ours.released_by,
        estimated=ours.estimated,
        cut=ours.cut,
        answer_stated=ours.answer_stated if stored.answered is None else stored.answer_stated,
    )


def unseen(session: Session, now: Instant) -> Released:
    """The end of a call that nobody saw end: it is taken to have used its grant, and not a second more."""
    end = now
    if session.answered is not None:
        granted_end = session.answered.plus_ms(session.granted_s * 1000)
        end = granted_end if granted_end.monotonic_ms < now.monotonic_ms else now
    return Released(session.call, end, estimated=True)


def lost(session: Session, now: Instant) -> Advance:
    """Given up: estimated; what was not answered is voided."""
    return settle(replace(released(session, unseen(session, now)), voided=session.answered is None))


def settle(session: Session) -> Advance:
    """Ask the store to post and record; where a request is under way, when its answer comes."""
    session = replace(settlement.anchored(session), state=State.SETTLING)
    if session.busy:
        return session, quiet(session)
    return replace(session, busy=True), (*quiet(session), SettleNow(settlement.settle(session)))


def answered_late(session: Session, event: Extended | ExtendRefused, now: Instant, policy: Policy) -> Advance:
    """The extension that was under way when the call ended: now settle, from the version it left."""
    session = replace(session, busy=False)
    if isinstance(event, Extended):
        granted_s = max(session.granted_s, session.wanted_s)
        session = replace(session, version=session.version + 1, granted_s=granted_s)
    return settle(session)


def journalled(session: Session, _: StoreFailed, now: Instant, policy: Policy) -> Advance:
    """The store is away: the local journal keeps the end, and it is replayed."""
    return replace(session, busy=False), (JournalNow(session), Forget(session.call))


def closed(session: Session, _: Settled, now: Instant, policy: Policy) -> Advance:
    ended = settlement.closed(session, dues(session))
    return replace(ended, busy=False, version=session.version + 1), (Forget(session.call),)


# ---- a late true end


def true_end(session: Session, event: Released, now: Instant, policy: Policy) -> Advance:
    """What is known already changes nothing; the truth about an estimate is posted as a correction."""
    if event.estimated and not _is_news(session, event):
        return session, (Forget(session.call),)
    return reopened(session, released(session, event))


def noted_end(session: Session, event: Released, now: Instant, policy: Policy) -> Advance:
    """The store has not heard of the end yet, the journal keeps it: there too the truth replaces an estimate."""
    if session.busy:
        return session, ()
    if not _is_news(session, event):
        return session, (Forget(session.call),)
    session = released(session, event)
    return session, (JournalNow(session), Forget(session.call))


def _is_news(session: Session, event: Released) -> bool:
    """Of an end that was guessed: whether this is the truth, or proves that a call was answered that was given up
    unanswered."""
    given_up = session.voided and session.answered is None
    return given_up and event.answered_at is not None if event.estimated else given_up or session.estimated


def reopened(stored: Session, ours: Session) -> Advance:
    """The store has closed the call."""
    correction = None if stored.busy else corrected(stored, ours)
    if correction is None:
        return stored, (Forget(stored.call),)
    return replace(correction.session, busy=True), (SettleNow(correction),)


def corrected(stored: Session, ours: Session) -> Settlement | None:
    """Of a call that the store has closed: where it guessed and we know, or had not heard of the answer."""
    if _knew_the_answer(ours, stored):
        ours = carry_over(stored, ours)
    elif not knows_better(ours, stored):
        return None
    return settlement.correct(stored, carry_over(ours, stored))


def knows_better(ours: Session, stored: Session) -> bool:
    """Whether the store has closed the call by guess, and we have its true end.

    Of one that was given up unanswered, and was indeed, only the thresholds have kept anything.
    """
    guessed = stored.state is State.ENDED and (stored.estimated or stored.voided) and not stored.corrections
    kept = ours.answered is not None or any(map(watched.counts, stored.levels))
    known = not ours.estimated or stored.voided
    return guessed and ours.released is not None and known and kept


def _knew_the_answer(ours: Session, stored: Session) -> bool:
    """Whether another process was told the end of a call of whose answer only we had heard."""
    answered, end = ours.answered, stored.released
    if answered is None or end is None or ours.state is State.ENDED or stored.state is not State.ENDED:
        return False
    unheard = stored.answered is None and not stored.voided and not stored.corrections
    return unheard and answered.monotonic_ms < end.monotonic_ms


def written(session: Session, _: Settled, now: Instant, policy: Policy) -> Advance:
    return replace(session, busy=False, version=session.version + 1), (Forget(session.call),)
