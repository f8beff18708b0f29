"""The call's life when answers are lost, ends are guessed and processes change: found by the simulation."""

import msgspec
import pytest

from callctl.accounts import Kind, Warnings
from callctl.call import machine
from callctl.call.effects import (
    AdmitCall,
    ArmCall,
    ExtendNow,
    Forget,
    HangUpCall,
    JournalNow,
    RejectCall,
    SetDeadline,
    SettleNow,
    Unexpected,
)
from callctl.call.ending import knows_better
from callctl.call.events import (
    Answered,
    Deadline,
    DeadlineReached,
    Extended,
    HangUpAsked,
    Recalled,
    Released,
    SeenAlive,
    Settled,
    StoreFailed,
    SwitchFailed,
    Taken,
)
from callctl.call.session import State
from callctl.causes import Refusal
from callctl.limits.concurrency import Caps, Overflow
from tests.core.calls import CALL, POLICY, START, Played, account, facts, offered, price
from tests.core.test_machine import admitted, answered, due


def blind(**kwargs: object) -> Played:
    """A postpaid call, admitted while the store was away."""
    played = Played(facts(chain=(account(kind=Kind.POSTPAID),)), **kwargs)  # type: ignore[arg-type]
    played.put(StoreFailed(CALL))
    assert played.session.state is State.BLIND
    return played


def test_the_store_hears_of_the_answer_of_a_call_that_it_took_without_our_knowing() -> None:
    """Its take was done too late for its answer, for longer than the switch was told then."""
    played = blind()
    took = msgspec.structs.replace(played.session, state=State.ADMITTED, granted_s=3_600, version=1)
    played.put(Answered(CALL, START.plus_ms(1_000)))
    played.put(DeadlineReached(CALL, Deadline.RETRY), after_ms=1_000)
    played.put(Recalled(CALL, took))
    saving = played.wanted(ExtendNow).extension
    assert (saving.session.answered, saving.session.granted_s) == (START.plus_ms(1_000), 3_600)
    assert saving.lease_until_ms > START.wall_ms + 3_600_000


def test_an_emergency_call_beyond_a_cap_costs_nothing() -> None:
    chain = (account(caps=Caps(total=0, overflow=Overflow(1, per_call=50_000))),)
    played = Played(facts(chain=chain, prices=(price(0),), emergency=True))
    played.put(Taken(CALL, (None,), (True,)))
    played.put(Answered(CALL, START.plus_ms(1_000)))
    played.put(Extended(CALL, (None,)))
    played.put(Released(CALL, START.plus_ms(9_000)), after_ms=9_000)
    settlement = played.wanted(SettleNow).settlement
    assert [post.amount for post in settlement.posts] == [0]
    assert msgspec.json.decode(settlement.records[0].payload)["surcharge"] == "0.0000"


def test_an_answered_emergency_call_of_nobody_we_know_has_a_record() -> None:
    played = Played(facts(chain=(), emergency=True))
    played.put(Taken(CALL, (), ()))
    played.put(Answered(CALL, START.plus_ms(1_000)))
    played.put(Extended(CALL, ()))
    played.put(Released(CALL, START.plus_ms(9_000)), after_ms=9_000)
    (record,) = (msgspec.json.decode(record.payload) for record in played.wanted(SettleNow).settlement.records)
    assert (record["account"], record["duration_s"], record["charge"]) == (None, 8, "0.0000")


def test_a_correction_charges_prepaid_no_more_than_the_estimate_did() -> None:
    played = answered()
    played.put(HangUpAsked(CALL), after_ms=4_000)
    played.put(DeadlineReached(CALL, Deadline.LOST))
    assert [post.amount for post in played.wanted(SettleNow).settlement.posts] == [4_000]
    played.put(Settled(CALL))
    played.put(Released(CALL, START.plus_ms(12_000)))
    correction = played.wanted(SettleNow).settlement
    assert [post.amount for post in correction.posts] == [0]  # nothing was held for it any more
    assert msgspec.json.decode(correction.records[0].payload)["unbilled_s"] == 5


@pytest.mark.parametrize("voided", [False, True])
def test_a_guess_of_the_end_does_not_replace_the_truth(voided: bool) -> None:
    played = blind()
    played.put(Answered(CALL, START.plus_ms(1_000)), after_ms=1_000)
    played.put(DeadlineReached(CALL, Deadline.RETRY))
    played.put(Released(CALL, START.plus_ms(9_000)), after_ms=8_000)
    guess = DeadlineReached(CALL, Deadline.LOST) if voided else Released(CALL, START.plus_ms(20_000), estimated=True)
    played.put(guess, after_ms=11_000)
    assert (played.session.released, played.session.estimated) == (START.plus_ms(9_000), False)


def test_a_blind_call_that_was_given_up_and_is_answered_goes_on() -> None:
    played = blind()
    played.put(DeadlineReached(CALL, Deadline.RETRY), after_ms=1_000)
    played.put(DeadlineReached(CALL, Deadline.LOST), after_ms=1_000)
    assert played.session.released is not None
    played.put(Answered(CALL, START.plus_ms(3_000)), after_ms=1_000)
    assert (played.session.answered, played.session.released) == (START.plus_ms(3_000), None)


def test_an_estimate_that_the_journal_keeps_is_replaced_by_the_truth_there() -> None:
    played = answered()
    played.put(Released(CALL, START.plus_ms(13_000), estimated=True), after_ms=10_000)
    played.put(StoreFailed(CALL))
    assert played.wanted(JournalNow).session.estimated
    played.put(Released(CALL, START.plus_ms(9_000)))
    assert played.wanted(JournalNow).session.released == START.plus_ms(9_000)
    assert not played.wanted(JournalNow).session.estimated
    played.put(Released(CALL, START.plus_ms(9_500)))
    assert not played.wants(JournalNow)  # the truth is told once
    assert played.wants(Forget)


def test_a_warning_whose_time_is_over_is_not_waited_for() -> None:
    played = answered(0, chain=(account(warnings=Warnings((5,))),))
    played.put(DeadlineReached(CALL, Deadline.WARN), after_ms=12_000)
    played.put(Extended(CALL, (0,)))
    assert due(played, Deadline.WARN) is None


@pytest.mark.parametrize("away", [False, True], ids=["taken", "blind"])
def test_an_emergency_call_of_whose_answer_nothing_was_heard_is_given_up_and_not_hung_up(away: bool) -> None:
    played = Played(facts(chain=(), emergency=True))
    played.put(StoreFailed(CALL) if away else Taken(CALL, (), ()))
    played.put(DeadlineReached(CALL, Deadline.SETUP), after_ms=120_000)
    assert due(played, Deadline.LOST) == 120_000 + POLICY.lease_grace_s * 1000
    assert not played.wants(HangUpCall)
    played.put(DeadlineReached(CALL, Deadline.LOST), after_ms=POLICY.lease_grace_s * 1000)
    assert played.session.released is not None
    assert not played.wants(HangUpCall)


def test_an_emergency_call_that_is_heard_of_at_last_goes_on() -> None:
    played = Played(facts(chain=(), emergency=True))
    played.put(Taken(CALL, (), ()))
    played.put(DeadlineReached(CALL, Deadline.SETUP), after_ms=120_000)
    played.put(SeenAlive(CALL, START.plus_ms(121_000), answered_at=START.plus_ms(60_000)), after_ms=1_000)
    assert due(played, Deadline.LOST) == 60_000 + played.session.granted_s * 1000
    assert played.session.state is State.ANSWERED


def test_a_call_that_answered_after_we_gave_up_its_ringing_goes_on() -> None:
    played = admitted()
    played.put(DeadlineReached(CALL, Deadline.SETUP), after_ms=120_000)
    played.put(SwitchFailed(CALL))
    played.put(SeenAlive(CALL, START.plus_ms(121_000), answered_at=START.plus_ms(119_000)), after_ms=1_000)
    assert due(played, Deadline.LOST) is None
    assert (played.session.state, played.session.cut) == (State.ANSWERED, False)


def test_a_call_that_is_taken_up_may_have_been_answered_meanwhile() -> None:
    played = admitted()
    later = START.plus_ms(1_000_000)
    session, effects = machine.resume(played.session, later, POLICY)
    (setup,) = (e for e in effects if isinstance(e, SetDeadline) and e.deadline is Deadline.SETUP)
    assert setup.at == later.plus_ms(POLICY.setup_timeout_s * 1000)
    assert session.state is State.ADMITTED


def test_the_channel_list_places_the_answer_after_a_restart() -> None:
    played = answered()
    known = played.session.answered
    assert known is not None
    there = msgspec.structs.replace(known, monotonic_ms=known.monotonic_ms - 1_500)
    played.put(SeenAlive(CALL, played.now, answered_at=there), after_ms=2_000)
    assert played.wanted(ArmCall).remaining_ms == 10_000 - 2_000 - 1_500
    other = msgspec.structs.replace(known, wall_ms=known.wall_ms + 1)  # not the moment that we were told
    played.put(SeenAlive(CALL, played.now, answered_at=other))
    assert played.session.answered == there


def test_a_blind_call_that_the_list_shows_answered_is_armed() -> None:
    played = blind()
    played.put(SeenAlive(CALL, START, answered_at=START.plus_ms(1_000)), after_ms=3_000)
    assert played.session.answered == START.plus_ms(1_000)
    assert played.wanted(ArmCall).remaining_ms == POLICY.blind_s * 1000 - 2_000
    assert played.wants(JournalNow)


def test_a_blind_call_is_held_for_what_it_was_told() -> None:
    played = blind()
    played.put(DeadlineReached(CALL, Deadline.RETRY), after_ms=1_000)
    level = msgspec.structs.replace(played.session.levels[0], held=10_000)
    first = msgspec.structs.replace(played.session, state=State.ADMITTED, version=1, granted_s=10, levels=(level,))
    played.put(Recalled(CALL, first))  # the take whose answer was lost
    extension = played.wanted(ExtendNow).extension
    assert (extension.more, extension.force) == ((POLICY.blind_s * 1_000 - 10_000,), True)
    played.put(StoreFailed(CALL))
    played.put(DeadlineReached(CALL, Deadline.RETRY), after_ms=1_000)
    assert played.wanted(ExtendNow).extension.more == extension.more


def test_a_grant_that_only_the_store_knew_is_armed() -> None:
    played = answered()
    longer = msgspec.structs.replace(played.session, version=9, granted_s=30)
    played.put(DeadlineReached(CALL, Deadline.EXTEND), after_ms=5_000)
    played.put(Recalled(CALL, longer))
    assert played.wanted(ArmCall).remaining_ms == 25_000


def test_who_asks_about_a_call_that_was_decided_elsewhere_is_told() -> None:
    decided = admitted().session
    played = Played(facts())
    played.put(Recalled(CALL, decided))
    assert played.wanted(AdmitCall).granted_s == 10
    assert due(played, Deadline.SETUP) == POLICY.setup_timeout_s * 1000


@pytest.mark.parametrize("is_ours", [False, True])
def test_what_was_taken_too_late_is_given_back_unless_another_process_has_it(is_ours: bool) -> None:
    played = Played(facts())
    played.put(DeadlineReached(CALL, Deadline.SETUP))
    assert (played.session.refusal, played.wants(RejectCall)) == (Refusal.BUDGET_EXCEEDED, True)
    played.put(Recalled(CALL, admitted().session, ours=is_ours))
    assert (played.wants(SettleNow), played.wants(Forget)) == (is_ours, not is_ours)


def test_what_is_told_of_a_call_that_is_over_leaves_no_mailbox_behind() -> None:
    played = answered()
    played.put(Released(CALL, START.plus_ms(9_000)), after_ms=6_000)
    played.put(Settled(CALL))
    played.put(Answered(CALL, START.plus_ms(3_000)))
    assert played.wants(Unexpected)
    assert played.wants(Forget)


def test_a_call_taken_up_is_extended_only_once_its_switch_has_told_of_it() -> None:
    """It may have ended while nobody listened: what is held more would be charged by guess."""
    played = answered()
    granted_s = played.session.granted_s
    later = START.plus_ms(1_000 * granted_s - 1_000)
    played.session, effects = machine.resume(played.session, later, POLICY)
    waits = {effect.deadline for effect in effects if isinstance(effect, SetDeadline) and effect.at is not None}
    assert waits == {Deadline.CUT}
    played.put(SeenAlive(CALL, later), after_ms=1_000 * granted_s - 1_000)
    assert Deadline.EXTEND in {effect.deadline for effect in played.effects if isinstance(effect, SetDeadline)}


def test_a_call_that_was_told_to_end_before_we_restarted_is_given_up() -> None:
    """Nobody may ever tell of its end."""
    played = answered()
    played.put(HangUpAsked(CALL))
    played.session, effects = machine.resume(played.session, played.now, POLICY)
    lost = [it.at for it in effects if isinstance(it, SetDeadline) and it.deadline is Deadline.LOST]
    assert lost == [played.now.plus_ms(POLICY.lease_grace_s * 1000)]


def test_a_call_that_the_store_has_after_all_is_forgotten_by_the_journal() -> None:
    """Its line would hide what became of the call from whoever asks for it later."""
    played = blind()
    played.put(DeadlineReached(CALL, Deadline.RETRY))
    stored = msgspec.structs.replace(played.session, state=State.ADMITTED, version=1, busy=False)
    played.put(Recalled(CALL, stored))
    assert played.wanted(JournalNow).session.state is State.ADMITTED


def test_the_truth_of_a_voided_call_is_posted_once() -> None:
    """The answer to the correction was lost, and the journal tells it again."""
    played = admitted()
    played.put(DeadlineReached(CALL, Deadline.LOST), after_ms=150_000)
    played.put(Settled(CALL))
    played.put(Released(CALL, START.plus_ms(12_000), answered_at=START.plus_ms(2_000)))
    corrected = played.wanted(SettleNow).settlement.session
    assert (corrected.voided, corrected.corrections) == (True, 1)
    assert not knows_better(played.session, corrected)


def unattended() -> Played:
    """A call that callctl does not extend, answered."""
    played = Played(facts(), offered(attended=False))
    played.put(Taken(CALL, (None,), (False,)))
    played.put(Answered(CALL, START))
    played.put(Extended(CALL, (None,)))
    return played


def test_a_hang_up_that_failed_is_asked_for_again() -> None:
    played = unattended()
    played.put(HangUpAsked(CALL))
    assert played.wants(HangUpCall)
    played.put(Extended(CALL, (None,)))
    played.put(SwitchFailed(CALL))
    assert played.wanted(SetDeadline).deadline is Deadline.RETRY
    played.put(DeadlineReached(CALL, Deadline.RETRY), after_ms=1_000)
    assert played.wants(HangUpCall)


def test_what_nobody_wants_to_end_is_not_ended_for_a_failure() -> None:
    played = unattended()
    played.put(SwitchFailed(CALL))
    played.put(DeadlineReached(CALL, Deadline.RETRY), after_ms=1_000)
    assert not played.wants(HangUpCall)


@pytest.mark.parametrize("fingerprint", ["", "f"])
def test_after_a_restart_what_no_link_can_tell_of_is_extended_at_once(fingerprint: str) -> None:
    session = msgspec.structs.replace(answered().session, fingerprint=fingerprint)
    _, effects = machine.resume(session, START.plus_ms(2_000), POLICY)
    extends = any(isinstance(it, SetDeadline) and it.deadline is Deadline.EXTEND and it.at for it in effects)
    assert extends is bool(fingerprint)


def given_up() -> Played:
    """A postpaid call of which nothing was heard since it was admitted."""
    played = admitted(chain=(account(kind=Kind.POSTPAID),))
    played.put(DeadlineReached(CALL, Deadline.LOST), after_ms=150_000)
    assert played.session.voided
    return played


@pytest.mark.parametrize("estimated", [False, True])
def test_an_answer_that_is_proved_after_the_call_was_given_up_is_charged_once(estimated: bool) -> None:
    """Also where its end is an estimate, as the note that a switch has left."""
    proof = Released(CALL, START.plus_ms(12_000), answered_at=START.plus_ms(2_000), estimated=estimated)
    played = given_up()
    played.put(Settled(CALL))
    played.put(proof)
    correction = played.wanted(SettleNow).settlement
    assert [post.amount for post in correction.posts] == [10_000]
    assert msgspec.json.decode(correction.records[0].payload)["estimated"] == estimated
    played.put(Settled(CALL))
    played.put(proof)
    assert not played.wants(SettleNow)


@pytest.mark.parametrize("estimated", [False, True])
def test_an_answer_that_is_proved_before_the_store_has_heard_of_the_end_is_kept_by_the_journal(estimated: bool) -> None:
    played = given_up()
    played.put(StoreFailed(CALL))
    proof = Released(CALL, START.plus_ms(12_000), answered_at=START.plus_ms(2_000), estimated=estimated)
    for _ in range(2):
        played.put(proof)
        assert (played.session.answered, played.session.released) == (START.plus_ms(2_000), START.plus_ms(12_000))
    assert not played.wants(JournalNow)  # it is told once


def test_a_guess_of_the_end_of_a_call_that_was_given_up_unanswered_is_no_news() -> None:
    played = given_up()
    played.put(Settled(CALL))
    played.put(Released(CALL, START.plus_ms(12_000), estimated=True))
    assert not played.wants(SettleNow)
    assert played.wants(Forget)
