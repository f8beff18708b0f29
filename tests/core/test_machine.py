"""The call's life, event by event: what is asked, commanded, charged and recorded at each step."""

import itertools

import msgspec
import pytest
from msgspec.structs import replace

from callctl.accounts import Kind, Trunk, Warnings
from callctl.call import judgement, machine
from callctl.call.answer import decision
from callctl.call.checks import PROVIDER
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
    TakeNow,
    Unexpected,
    WarnCall,
)
from callctl.call.events import (
    Answered,
    CallKey,
    Deadline,
    DeadlineReached,
    ExtendAsked,
    Extended,
    ExtendRefused,
    Forgotten,
    HangUpAsked,
    LimitUse,
    Recalled,
    Released,
    ReleasedBy,
    SeenAlive,
    Settled,
    SlotUse,
    StoreFailed,
    SwitchFailed,
    Taken,
    TakeRefused,
)
from callctl.call.session import State
from callctl.causes import Refusal
from callctl.limits.concurrency import Caps, Overflow, Package, Rate, Slot
from callctl.limits.ids import Rule, Seen
from callctl.limits.licence import Licence, LicenceChange
from tests.core.calls import CALL, NUMBER, POLICY, START, Played, account, facts, offered, price

RICH = 10_000_000
CAPPED = Caps(outbound=4, since_ms=1_796_000_000_000)
TOO_MUCH = Seen(0, Rule.THRESHOLD, True, 0, RICH, 0, RICH, RICH + 20_000, RICH, 0, 20_000)


def due(played: Played, deadline: Deadline) -> int | None:
    """Milliseconds from the start at which the deadline was last set; None where it was dropped."""
    found = [e for e in played.effects if isinstance(e, SetDeadline) and e.deadline is deadline]
    assert found, f"{deadline} was not touched"
    return None if found[-1].at is None else found[-1].at.since_ms(START)


def admitted(available: int | None = RICH, **kwargs: object) -> Played:
    played = Played(facts(**kwargs))  # type: ignore[arg-type]
    played.put(Taken(CALL, (available,) * len(played.session.levels), (False,) * len(played.session.levels)))
    assert played.session.state is State.ADMITTED
    return played


def answered(available: int | None = RICH, **kwargs: object) -> Played:
    played = admitted(available, **kwargs)
    played.put(Answered(CALL, START.plus_ms(3000)), after_ms=3000)
    played.put(Extended(CALL, (available,) * len(played.session.levels)))
    return played


def refusal_of(played: Played) -> Refusal | None:
    """What the switch is told once the record is written, and not before."""
    assert not played.wants(RejectCall)
    assert len(played.wanted(SettleNow).settlement.records) == 1
    played.put(Settled(CALL))
    assert played.wants(Forget)
    assert played.wants(RejectCall)
    return played.session.refusal


def test_a_call_takes_its_first_slice_before_anything_else() -> None:
    played = Played(facts())
    take = played.wanted(TakeNow).take
    assert [(level.account, level.hold) for level in take.levels] == [("acme", 10_000)]
    assert due(played, Deadline.SETUP) == POLICY.budget_ms
    assert not played.wants(AdmitCall)


def test_taken_goes_ahead_with_what_is_held() -> None:
    played = admitted()
    assert played.wanted(AdmitCall) == AdmitCall(CALL, 10, POLICY.setup_timeout_s, NUMBER.e164, "acme")
    assert played.session.levels[0].held == 10_000
    assert due(played, Deadline.SETUP) == POLICY.setup_timeout_s * 1000


def test_a_call_that_was_answered_before_its_take_is_answered_since_then() -> None:
    """Its switch has let it pass: an emergency call, or a switch without a gate."""
    played = Played(facts())
    played.put(Answered(CALL, START.plus_ms(20), stated=True), after_ms=25)
    assert played.session.state is State.TAKING
    played.put(Taken(CALL, (RICH,), (False,)), after_ms=50)
    assert (played.session.state, played.session.answered) == (State.ANSWERED, START.plus_ms(20))
    assert played.session.answer_stated
    assert played.wants(AdmitCall)
    assert played.wanted(ArmCall).remaining_ms == 10_000 - 55
    assert due(played, Deadline.SETUP) is None


def test_so_is_an_emergency_call_whose_store_is_away() -> None:
    played = Played(facts(emergency=True))
    played.put(Answered(CALL, START.plus_ms(20), stated=True), after_ms=25)
    played.put(StoreFailed(CALL), after_ms=50)
    assert (played.session.state, played.session.answered) == (State.BLIND, START.plus_ms(20))
    assert played.wanted(JournalNow).session.answered == played.session.answered
    assert due(played, Deadline.SETUP) is None
    assert played.wants(AdmitCall)


def test_one_that_is_refused_was_not() -> None:
    played = Played(facts())
    played.put(Answered(CALL, START.plus_ms(20)), after_ms=25)
    played.put(TakeRefused(CALL, (0,), (False,), ()))
    assert played.session.answered is None
    assert refusal_of(played) is Refusal.NO_CREDIT


def test_short_of_money_takes_what_is_paid_for_to_the_second() -> None:
    played = Played(facts())
    played.put(TakeRefused(CALL, (7_400,), (False,), ()))
    assert played.wanted(TakeNow).take.levels[0].hold == 7_000
    played.put(Taken(CALL, (400,), (False,)))
    assert played.wanted(AdmitCall).granted_s == 7
    assert played.session.affordable_s == 7


def test_credit_that_does_not_cover_the_first_charged_second_is_refused() -> None:
    played = Played(facts())
    played.put(TakeRefused(CALL, (999,), (False,), ()))
    assert refusal_of(played) is Refusal.NO_CREDIT
    cause = played.wanted(RejectCall).cause
    assert (cause.sip, cause.q850) == (402, 21)
    assert played.session.detail == "0.000999 EUR available, the first increment costs 0.0010 EUR"


def test_a_race_for_the_last_money_ends() -> None:
    played = Played(facts())
    for _ in range(machine.running.MOST_TRIES):
        played.put(TakeRefused(CALL, (5_000,), (False,), ()))
        assert played.wants(TakeNow)
    assert played.wanted(TakeNow).take.levels[0].hold == 1_000  # the last try asks for the least that can be sold
    played.put(TakeRefused(CALL, (5_000,), (False,), ()))
    assert refusal_of(played) is Refusal.NO_CREDIT


def test_a_full_cap_is_refused_with_the_counter_and_its_limit() -> None:
    played = Played(facts(chain=(account(caps=CAPPED),)))
    played.put(TakeRefused(CALL, (RICH,), (False,), (SlotUse(0, "outbound", 4, 4, 4),)))
    assert refusal_of(played) is Refusal.CHANNEL_LIMIT
    since = "2026-11-30T00:53:20.000Z"
    assert played.session.detail == f"outbound: 4 in use, 1 more asked for, at most 4 since {since}"


def test_a_full_licence_is_a_refusal_of_its_own() -> None:
    pbx = account(licence=Licence(16, changes=(LicenceChange("2027-01-10", 4),)), caps=Caps(total=5))
    played = Played(facts(chain=(pbx,)))
    played.put(TakeRefused(CALL, (RICH,), (False,), (SlotUse(0, "total", 4, 4, 4),)))
    assert refusal_of(played) is Refusal.LICENCE_LIMIT
    assert played.session.detail == "licence: 4 in use, 1 more asked for, at most 4 since 2027-01-10"


def test_a_soft_cap_is_told_and_refuses_nothing() -> None:
    played = Played(facts(chain=(account(caps=replace(CAPPED, enforce=False)),)))
    played.put(
        Taken(CALL, (RICH,), (False,), (SlotUse(0, "outbound", 4, None, None), SlotUse(0, "total", 4, None, None)))
    )
    assert played.session.state is State.ADMITTED
    (finding,) = judgement.not_enforced(played.session)
    assert (finding.refusal, finding.limit) == (Refusal.CHANNEL_LIMIT, "not enforced: at most 4")
    assert b'"verdict":"would_refuse"' in judgement.whole_trace(played.session)


def test_below_a_soft_cap_there_is_nothing_to_tell() -> None:
    played = Played(facts(chain=(account(caps=replace(CAPPED, enforce=False)),)))
    played.put(
        Taken(CALL, (RICH,), (False,), (SlotUse(0, "outbound", 3, None, None), SlotUse(0, "total", 3, None, None)))
    )
    assert judgement.not_enforced(played.session) == []


def test_a_full_limit_of_the_provider_gives_back_what_was_taken() -> None:
    slot = Slot("carrier:outbound", 5, 5, since="2027-01-10")
    played = Played(replace(facts(), limits=(slot,)))
    played.put(Taken(CALL, (RICH,), (False,), (), limits=(LimitUse(slot, 5),)))
    settlement = played.wanted(SettleNow).settlement
    assert (settlement.session.version, settlement.session.state) == (1, State.REFUSED)
    assert refusal_of(played) is Refusal.PROVIDER_LIMIT
    assert played.session.refused_at == PROVIDER
    assert played.session.detail == "carrier:outbound: 5 in use, 1 more asked for, at most 5 since 2027-01-10"


def test_an_emergency_call_passes_a_full_limit_of_the_provider() -> None:
    slot = Slot("carrier:outbound", 5, 5)
    played = Played(replace(facts(emergency=True), limits=(slot,)))
    played.put(Taken(CALL, (RICH,), (False,), (), limits=(LimitUse(slot, 5),)))
    assert played.session.state is State.ADMITTED


def test_a_limit_of_a_level_above_is_the_providers() -> None:
    played = Played(facts(chain=(account(), account("reseller"))))
    played.put(TakeRefused(CALL, (RICH, 0), (False, False), ()))
    assert refusal_of(played) is Refusal.PROVIDER_LIMIT
    assert played.session.refused_at == "reseller"


def test_call_attempts_per_second_are_refused_before_channels() -> None:
    played = Played(facts(chain=(account(caps=CAPPED),)))
    uses = (SlotUse(0, "outbound", 4, 4, 4),)
    rate = Rate("trunk t1", 5, 1_800_000_000)
    played.put(TakeRefused(CALL, (RICH,), (False,), uses, rate_exceeded=rate))
    assert refusal_of(played) is Refusal.CALL_RATE_LIMIT
    since = "2027-01-15T08:00:00.000Z"
    assert played.session.detail == f"trunk t1: 5 attempts, 1 more asked for, at most 5 a second since {since}"


def test_every_account_above_has_its_own_attempts_per_second() -> None:
    chain = (account(calls_per_second=3), account("middle"), account("top", calls_per_second=9))
    played = Played(facts(chain=chain, trunk=on_trunk()))
    second = START.wall_ms // 1000
    rates = (Rate("trunk t1", 5, second), Rate("account acme", 3, second), Rate("account top", 9, second, "top"))
    assert played.wanted(TakeNow).take.rates == rates
    played.put(TakeRefused(CALL, (RICH,) * 3, (False,) * 3, (), rate_exceeded=rates[2]))
    assert (refusal_of(played), played.session.refused_at) == (Refusal.PROVIDER_LIMIT, "top")


def test_what_the_core_refuses_is_only_looked_at_in_the_store() -> None:
    played = Played(facts(chain=(account(active=False, caps=CAPPED),)))
    assert played.wanted(TakeNow).take.probe
    played.put(TakeRefused(CALL, (0,), (False,), (SlotUse(0, "outbound", 4, 4, 4),)))
    record = msgspec.json.decode(played.wanted(SettleNow).settlement.records[0].payload)
    assert refusal_of(played) is Refusal.ACCOUNT_SUSPENDED
    assert [line["check"] for line in record["trace"] if line["verdict"] == "refuse"] == [
        "account",
        "channels",
        "credit",
    ]


def test_the_answer_arms_the_switch_and_is_saved() -> None:
    played = admitted()
    played.put(Answered(CALL, START.plus_ms(3000)), after_ms=3200)
    assert played.wanted(ArmCall).remaining_ms == 9_800
    assert played.wanted(ExtendNow).extension.more == (0,)
    assert due(played, Deadline.CUT) == 13_000
    assert due(played, Deadline.SETUP) is None


def test_a_slice_is_extended_before_its_end_by_twice_its_length() -> None:
    played = answered()
    assert due(played, Deadline.EXTEND) == 8_000
    played.put(DeadlineReached(CALL, Deadline.EXTEND), after_ms=5_000)
    assert played.wanted(ExtendNow).extension.more == (20_000,)
    played.put(Extended(CALL, (RICH,)))
    assert played.session.granted_s == 30
    assert played.wanted(ArmCall).remaining_ms == 25_000


def test_the_record_of_a_slice_says_when_it_was_asked_for() -> None:
    played = answered()
    assert played.session.sliced_ms == START.wall_ms
    played.put(DeadlineReached(CALL, Deadline.EXTEND), after_ms=5_000)
    assert played.wanted(ExtendNow).extension.session.asked_ms == played.now.wall_ms > START.wall_ms
    sliced_ms = played.now.wall_ms
    played.put(Extended(CALL, (RICH,)))
    played.put(DeadlineReached(CALL, Deadline.WARN), after_ms=1_000)  # looks, and asks for no slice
    assert played.wanted(ExtendNow).extension.session.asked_ms == sliced_ms


def test_slices_double_to_their_ceiling() -> None:
    played = answered()
    ends = []
    for _ in range(7):
        played.put(DeadlineReached(CALL, Deadline.EXTEND))
        played.put(Extended(CALL, (RICH,)))
        ends.append(played.session.granted_s)
    assert ends == [30, 70, 150, 310, 610, 910, 1210]


def test_the_last_slice_is_what_is_left_to_the_second() -> None:
    played = answered(5_500)
    played.put(DeadlineReached(CALL, Deadline.EXTEND), after_ms=5_000)
    played.put(ExtendRefused(CALL, (5_500,)))
    assert played.wanted(ExtendNow).extension.more == (5_000,)
    played.put(Extended(CALL, (500,)))
    assert played.session.granted_s == 15
    assert due(played, Deadline.CUT) == 18_000


def test_with_nothing_left_it_looks_again_and_is_then_cut() -> None:
    played = answered(0)
    assert due(played, Deadline.EXTEND) == 3_000 + 5_000
    played.put(DeadlineReached(CALL, Deadline.EXTEND), after_ms=5_000)
    played.put(ExtendRefused(CALL, (0,)))
    assert due(played, Deadline.EXTEND) == 8_000 + 2_500
    played.put(DeadlineReached(CALL, Deadline.CUT), after_ms=5_000)
    assert played.wanted(HangUpCall).q850 == 16
    assert due(played, Deadline.LOST) == 13_000 + POLICY.lease_grace_s * 1000


def test_a_cut_that_an_extension_overtook_does_nothing() -> None:
    played = answered()
    played.put(DeadlineReached(CALL, Deadline.EXTEND), after_ms=9_900)
    played.put(Extended(CALL, (RICH,)))
    played.put(DeadlineReached(CALL, Deadline.CUT), after_ms=200)
    assert not played.wants(HangUpCall)


def test_a_top_up_brings_the_next_look_forward() -> None:
    played = answered(0)
    played.put(DeadlineReached(CALL, Deadline.RETRY), after_ms=1_000)
    played.put(Extended(CALL, (RICH,)))
    assert due(played, Deadline.EXTEND) == 8_000


@pytest.mark.parametrize(("leads", "said_at"), [((60, 30, 10), [40, 70, 90]), ((10,), [90]), ((200, 10), [0, 90])])
def test_warnings_come_at_their_lead_times_once(leads: tuple[int, ...], said_at: list[int]) -> None:
    played = answered(90_000, chain=(account(warnings=Warnings(leads)),))  # ten seconds are held already
    spoken = []
    left = 90_000
    while (at := due(played, Deadline.WARN)) is not None:
        played.put(DeadlineReached(CALL, Deadline.WARN), after_ms=max(0, at - played.now.since_ms(START)))
        played.put(Extended(CALL, (left,)))
        spoken += [(played.now.since_ms(START) - 3_000) // 1000 for e in played.effects if isinstance(e, WarnCall)]
    assert spoken == said_at


def test_a_warning_is_dropped_when_there_is_money_again() -> None:
    played = answered(90_000, chain=(account(warnings=Warnings((30,))),))
    played.put(DeadlineReached(CALL, Deadline.WARN), after_ms=70_000)
    played.put(Extended(CALL, (RICH,)))
    assert not played.wants(WarnCall)


@pytest.mark.parametrize(("leads", "left_s"), [((30, 10), 5), ((3,), 3)])
def test_the_end_that_a_threshold_sets_is_warned_of_once_and_not_asked_about_without_end(
    leads: tuple[int, ...], left_s: int
) -> None:
    """Each fresh look at the money says that there is enough of it."""
    played = answered(None, chain=(account(warnings=Warnings(leads)),))
    asked, warned = 0, []
    while waits := [(at, it) for it in (Deadline.WARN, Deadline.EXTEND) if (at := due(played, it)) is not None]:
        at_ms, deadline = min(waits)
        played.put(DeadlineReached(CALL, deadline), after_ms=max(0, at_ms - played.now.since_ms(START)))
        asked += 1
        assert asked < 6
        look = played.wanted(ExtendNow).extension.force
        played.put(Extended(CALL, (None,)) if look else ExtendRefused(CALL, (None,), watched=(TOO_MUCH,)))
        warned += [effect.left_s for effect in played.effects if isinstance(effect, WarnCall)]
    assert warned == [left_s]


def test_an_answered_call_is_settled_by_the_switchs_own_clock() -> None:
    played = admitted()
    played.put(Answered(CALL, START.at_wall(1_900_000_000_250), stated=True), after_ms=3_000)
    played.put(Extended(CALL, (RICH,)))
    end = START.at_wall(1_900_000_008_250)
    played.put(Released(CALL, end, stated=True, q850=16, released_by=ReleasedBy.CALLEE), after_ms=9_000)
    settlement = played.wanted(SettleNow).settlement
    assert [(post.account, post.kind, post.amount) for post in settlement.posts] == [("acme", "post", 8_000)]
    record = msgspec.json.decode(settlement.records[0].payload)
    assert (record["duration_ms"], record["billed_s"], record["released_by"]) == (8_000, 8, "callee")
    played.put(Settled(CALL))
    assert played.session.state is State.ENDED
    assert played.wants(Forget)


def test_prepaid_is_never_charged_beyond_its_grant() -> None:
    played = answered(0)
    played.put(Released(CALL, START.plus_ms(3_000 + 11_400)), after_ms=11_400)
    settlement = played.wanted(SettleNow).settlement
    record = msgspec.json.decode(settlement.records[0].payload)
    assert settlement.posts[0].amount == 10_000
    assert (record["duration_s"], record["billed_s"], record["unbilled_s"]) == (12, 10, 2)


def test_postpaid_is_billed_in_full() -> None:
    played = answered(0, chain=(account(kind=Kind.POSTPAID),))
    played.put(Released(CALL, START.plus_ms(3_000 + 11_400)), after_ms=11_400)
    assert played.wanted(SettleNow).settlement.posts[0].amount == 12_000


def test_every_level_is_charged_by_its_own_price() -> None:
    chain = (account(), account("reseller"), account("root"))
    played = answered(chain=chain, prices=(price(60_000), price(48_000), price(30_000)), buy=price(12_000))
    played.put(Released(CALL, START.plus_ms(8_000)), after_ms=5_000)
    settlement = played.wanted(SettleNow).settlement
    assert [(post.account, post.amount) for post in settlement.posts] == [
        ("acme", 5_000),
        ("reseller", 4_000),
        ("root", 2_500),
    ]
    records = [msgspec.json.decode(record.payload) for record in settlement.records]
    assert [(r["role"], r["charge"], r["cost"], r["margin"]) for r in records] == [
        ("customer", "0.0050", "0.0040", "0.0010"),
        ("reseller", "0.0040", "0.0025", "0.0015"),
        ("reseller", "0.0025", "0.0010", "0.0015"),
    ]


def test_an_unanswered_call_costs_nothing_and_has_one_record() -> None:
    played = admitted(chain=(account(), account("reseller")))
    played.put(Released(CALL, START.plus_ms(20_000), q850=17), after_ms=20_000)
    settlement = played.wanted(SettleNow).settlement
    assert settlement.posts == ()
    assert len(settlement.records) == 1
    assert msgspec.json.decode(settlement.records[0].payload)["charge"] == "0.0000"


def test_ringing_too_long_is_given_up_and_voided() -> None:
    played = admitted()
    played.put(DeadlineReached(CALL, Deadline.SETUP), after_ms=POLICY.setup_timeout_s * 1000)
    assert played.wanted(HangUpCall).q850 == 102
    played.put(DeadlineReached(CALL, Deadline.LOST), after_ms=POLICY.lease_grace_s * 1000)
    assert played.wanted(SettleNow).settlement.posts == ()
    assert played.session.voided


def test_an_end_that_nobody_saw_is_estimated_at_the_grant_and_corrected_by_the_truth() -> None:
    played = answered(0)
    played.put(DeadlineReached(CALL, Deadline.CUT), after_ms=10_000)
    played.put(DeadlineReached(CALL, Deadline.LOST), after_ms=30_000)
    settlement = played.wanted(SettleNow).settlement
    assert [(post.kind, post.amount) for post in settlement.posts] == [("estimate", 10_000)]
    played.put(Settled(CALL))
    played.put(Released(CALL, START.plus_ms(7_000)))
    correction = played.wanted(SettleNow).settlement
    assert [(post.kind, post.amount) for post in correction.posts] == [("correction", -6_000)]
    record = msgspec.json.decode(correction.records[0].payload)
    assert (record["corrects"], record["charge"], record["billed_s"]) == ("sw/c1:acme", "-0.0060", 4)
    played.put(Settled(CALL))
    played.put(Released(CALL, START.plus_ms(7_000)))
    assert not played.wants(SettleNow)  # the truth is told once


def test_what_was_voided_costs_a_prepaid_payer_nothing_later() -> None:
    played = admitted()
    played.put(DeadlineReached(CALL, Deadline.LOST), after_ms=150_000)
    played.put(Settled(CALL))
    played.put(Released(CALL, START.plus_ms(160_000), answered_at=START.plus_ms(150_000)))
    assert [post.amount for post in played.wanted(SettleNow).settlement.posts] == [0]


def test_the_end_waits_for_the_extension_that_is_under_way() -> None:
    played = answered()
    played.put(DeadlineReached(CALL, Deadline.EXTEND), after_ms=5_000)
    version = played.session.version
    played.put(Released(CALL, START.plus_ms(8_100)), after_ms=100)
    assert not played.wants(SettleNow)
    played.put(Extended(CALL, (RICH,)))
    assert played.wanted(SettleNow).settlement.session.version == version + 1


def test_a_caller_who_gives_up_during_the_decision_leaves_nothing_behind() -> None:
    played = Played(facts())
    played.put(Released(CALL, START.plus_ms(50)), after_ms=50)
    played.put(Taken(CALL, (RICH,), (False,)))
    assert not played.wants(AdmitCall)
    assert played.wanted(SettleNow).settlement.posts == ()


def test_an_answer_after_the_budget_is_given_back_with_the_refusals_record() -> None:
    played = Played(facts())
    played.put(DeadlineReached(CALL, Deadline.SETUP), after_ms=POLICY.budget_ms)
    assert (played.wants(RejectCall), played.session.refusal) == (True, Refusal.BUDGET_EXCEEDED)
    assert not played.wants(Forget)
    played.put(Taken(CALL, (RICH,), (False,)))
    settlement = played.wanted(SettleNow).settlement
    assert (settlement.session.state, settlement.session.version) == (State.REFUSED, 1)


def test_a_refusal_does_not_wait_for_its_record_beyond_the_budget() -> None:
    played = Played(facts(chain=(account(active=False),)))
    played.put(Taken(CALL, (RICH,), (False,)))
    played.put(DeadlineReached(CALL, Deadline.SETUP), after_ms=POLICY.budget_ms)
    assert (played.wants(RejectCall), played.session.refusal) == (True, Refusal.ACCOUNT_SUSPENDED)
    played.put(StoreFailed(CALL))
    assert not played.wants(RejectCall)  # once is enough
    assert played.wanted(JournalNow).session.refusal is Refusal.ACCOUNT_SUSPENDED


@pytest.mark.parametrize("kind", [Kind.PREPAID, Kind.CARD])
def test_without_the_store_prepaid_is_refused_and_journalled(kind: Kind) -> None:
    played = Played(facts(chain=(account(kind=kind),)))
    played.put(StoreFailed(CALL))
    assert (played.wants(RejectCall), played.session.refusal) == (True, Refusal.STORE_UNAVAILABLE)
    assert played.wanted(JournalNow).session.state is State.REFUSED


def test_without_the_store_postpaid_passes_for_a_while_and_is_taken_when_it_is_back() -> None:
    played = Played(facts(chain=(account(kind=Kind.POSTPAID),)))
    played.put(StoreFailed(CALL))
    assert played.wanted(AdmitCall).granted_s == POLICY.blind_s
    assert played.wanted(JournalNow).session.state is State.BLIND
    played.put(Answered(CALL, START.plus_ms(2_000)), after_ms=2_000)
    played.put(DeadlineReached(CALL, Deadline.RETRY), after_ms=1_000)
    assert played.wanted(TakeNow).take.force
    played.put(Taken(CALL, (RICH,), (False,)))
    assert played.session.state is State.ANSWERED
    assert played.wanted(JournalNow).session.state is State.ANSWERED  # nothing is left to replay


def test_a_postpaid_reseller_does_not_open_the_door_for_a_prepaid_customer() -> None:
    played = Played(facts(chain=(account(), account("reseller", kind=Kind.POSTPAID))))
    played.put(StoreFailed(CALL))
    assert played.wants(RejectCall)


def test_emergency_passes_without_store_money_or_account() -> None:
    for chain in ((), (account(active=False),)):
        played = Played(facts(chain=chain, emergency=True))
        assert played.wanted(TakeNow).take.force
        assert all(level.hold == 0 for level in played.wanted(TakeNow).take.levels)
        played.put(StoreFailed(CALL))
        assert played.wants(AdmitCall)
        played.put(Answered(CALL, START.plus_ms(1_000)))
        assert not played.wants(ArmCall)


def test_an_emergency_call_of_an_unknown_caller_is_recorded() -> None:
    played = Played(facts(chain=(), emergency=True))
    played.put(Taken(CALL, (), ()))
    played.put(Answered(CALL, START.plus_ms(1_000)), after_ms=1_000)
    played.put(Extended(CALL, ()))
    played.put(Released(CALL, START.plus_ms(8_500)), after_ms=7_500)
    settlement = played.wanted(SettleNow).settlement
    assert settlement.posts == ()
    (record,) = (msgspec.json.decode(record.payload) for record in settlement.records)
    assert (record["account"], record["verdict"], record["duration_s"], record["charge"]) == (
        None,
        "allowed",
        8,
        "0.0000",
    )


def test_blind_and_over_is_left_to_the_journal() -> None:
    played = Played(facts(chain=(account(kind=Kind.POSTPAID),)))
    played.put(StoreFailed(CALL))
    played.put(Answered(CALL, START.plus_ms(2_000)), after_ms=2_000)
    played.put(Released(CALL, START.plus_ms(9_000)), after_ms=7_000)
    assert played.wanted(JournalNow).session.released is not None
    assert played.wants(Forget)


def test_an_end_without_the_store_is_journalled() -> None:
    played = answered()
    played.put(Released(CALL, START.plus_ms(8_000)), after_ms=5_000)
    played.put(StoreFailed(CALL))
    assert played.wanted(JournalNow).session.state is State.SETTLING


def test_a_call_that_the_store_lost_is_taken_anew() -> None:
    played = answered()
    played.put(DeadlineReached(CALL, Deadline.EXTEND), after_ms=5_000)
    played.put(Forgotten(CALL))
    assert played.session.state is State.BLIND
    played.put(DeadlineReached(CALL, Deadline.RETRY))
    take = played.wanted(TakeNow).take
    assert (take.force, take.session.version) == (True, 0)


def test_another_processes_end_is_adopted() -> None:
    played = answered()
    stored = msgspec.structs.replace(played.session, state=State.ENDED, version=9)
    played.put(DeadlineReached(CALL, Deadline.EXTEND), after_ms=5_000)
    played.put(Recalled(CALL, stored))
    assert played.session.state is State.ENDED
    assert played.wants(Forget)


def test_a_failed_extension_is_asked_again_soon_and_not_at_once() -> None:
    played = answered()
    played.put(DeadlineReached(CALL, Deadline.EXTEND), after_ms=5_000)
    played.put(StoreFailed(CALL))
    assert due(played, Deadline.EXTEND) == 9_000


def test_a_hang_up_that_failed_is_repeated() -> None:
    played = answered(0)
    played.put(DeadlineReached(CALL, Deadline.CUT), after_ms=10_000)
    played.put(SwitchFailed(CALL))
    assert due(played, Deadline.RETRY) == 14_000
    played.put(DeadlineReached(CALL, Deadline.RETRY), after_ms=1_000)
    assert played.wants(HangUpCall)


def test_an_operators_hang_up_is_recorded_as_ours() -> None:
    played = answered()
    played.put(HangUpAsked(CALL))
    assert played.wants(HangUpCall)
    played.put(Released(CALL, START.plus_ms(5_000), released_by=ReleasedBy.NETWORK), after_ms=2_000)
    assert played.session.released_by is ReleasedBy.CALLCTL


def test_a_call_that_callctl_does_not_extend_gets_no_more_time_and_its_switch_is_told() -> None:
    """Where it has one: a call that was asked for over HTTP has none, and is ended by whoever reports it."""
    played = Played(facts(), offered(attended=False, can_extend=True))
    played.put(Taken(CALL, (RICH,), (False,)))
    played.put(HangUpAsked(CALL))
    assert [type(effect) for effect in played.effects] == [HangUpCall, ExtendNow]  # its record says so
    played.put(Extended(CALL, (RICH,)))
    played.put(Answered(CALL, START))
    played.put(Extended(CALL, (RICH,)))
    played.put(ExtendAsked(CALL), after_ms=4_000)
    assert played.effects == ()
    assert decision(played.session)["hang_up"] == "requested"
    played.put(DeadlineReached(CALL, Deadline.CUT), after_ms=6_000)
    assert due(played, Deadline.LOST) == 10_000 + POLICY.lease_grace_s * 1_000
    played.put(Released(CALL, START.plus_ms(11_000)), after_ms=1_000)
    assert (played.session.released_by, played.session.estimated) == (ReleasedBy.CALLCTL, False)


def test_a_call_that_is_being_hung_up_is_not_extended() -> None:
    played = answered()
    played.put(HangUpAsked(CALL))
    played.put(DeadlineReached(CALL, Deadline.EXTEND), after_ms=5_000)
    assert played.effects == ()
    assert decision(played.session)["hang_up"] == "commanded"


def test_unattended_calls_hold_their_whole_grant_and_are_left_alone() -> None:
    played = Played(facts(chain=(account(warnings=Warnings((10,))),)), offered(attended=False))
    assert played.wanted(TakeNow).take.levels[0].hold == POLICY.longest_unattended_s * 1_000
    played.put(Taken(CALL, (RICH,), (False,)))
    played.put(Answered(CALL, START))
    assert not played.wants(ArmCall)
    waited_for = {e.deadline for e in played.effects if isinstance(e, SetDeadline) and e.at is not None}
    assert waited_for == {Deadline.CUT}
    assert due(played, Deadline.CUT) == POLICY.longest_unattended_s * 1_000


def test_an_unattended_call_is_not_warned_of_a_threshold() -> None:
    played = Played(facts(chain=(account(warnings=Warnings((10,))),)), offered(attended=False, can_extend=True))
    played.put(Taken(CALL, (RICH,), (False,)))
    played.put(Answered(CALL, START))
    played.put(Extended(CALL, (RICH,)))
    played.put(ExtendAsked(CALL), after_ms=5_000)
    played.put(ExtendRefused(CALL, (RICH,), watched=(TOO_MUCH,)))
    assert not played.wants(WarnCall)


def test_a_free_call_is_granted_no_longer_than_one_may_run_unattended() -> None:
    played = admitted(prices=(price(0),))
    assert played.session.granted_s == POLICY.longest_unattended_s
    assert played.session.affordable_s is None


def test_max_cost_per_call_bounds_the_grant() -> None:
    from callctl.rating.margin import MaxCost

    chain = (account(max_cost=MaxCost(per_call=24_000)),)
    played = Played(facts(chain=chain, buy=price(12_000)), offered(attended=False))
    assert played.session.ceiling_s == 120
    assert played.wanted(TakeNow).take.levels[0].hold == 120_000


def test_an_event_that_a_state_has_no_use_for_changes_nothing() -> None:
    played = admitted()
    before = played.session
    played.put(Settled(CALL))
    assert played.wanted(Unexpected) == Unexpected(CALL, State.ADMITTED, "Settled")
    assert played.session == before


EVENTS = [
    Answered(CALL, START.plus_ms(2_000)),
    Released(CALL, START.plus_ms(9_000)),
    Released(CALL, START.plus_ms(9_000), estimated=True),
    SeenAlive(CALL, START, answered_at=START.plus_ms(1_000)),
    ExtendAsked(CALL),
    HangUpAsked(CALL),
    Taken(CALL, (RICH,), (False,)),
    TakeRefused(CALL, (5_000,), (False,), ()),
    Extended(CALL, (RICH,)),
    ExtendRefused(CALL, (0,)),
    Settled(CALL),
    StoreFailed(CALL),
    Forgotten(CALL),
    SwitchFailed(CALL),
    *(DeadlineReached(CALL, deadline) for deadline in Deadline),
]


@pytest.mark.parametrize("emergency", [False, True])
def test_no_order_of_any_three_events_breaks_it(emergency: bool) -> None:
    for events in itertools.product(EVENTS, repeat=3):
        played = Played(facts(emergency=emergency))
        for event in events:
            played.put(event, after_ms=700)
            takes = [e for e in played.effects if isinstance(e, TakeNow | ExtendNow | SettleNow)]
            assert len(takes) <= 1, f"{events}: {takes}"


def on_trunk(**caps: object) -> Trunk:
    return Trunk("t1", "acme", caps=Caps(outbound=1, **caps), calls_per_second=5)  # type: ignore[arg-type]


def test_a_take_for_less_money_still_takes_the_trunks_channels_and_no_second_attempt() -> None:
    played = Played(facts(trunk=on_trunk()))
    first = played.wanted(TakeNow).take
    played.put(TakeRefused(CALL, (7_400,), (False,), (SlotUse(1, "outbound", 0, 1, 1),)))
    again = played.wanted(TakeNow).take
    assert [slot.name for slot in again.trunk_slots] == ["outbound", "total"]
    assert (again.trunk_slots, first.rates, again.rates) == (
        first.trunk_slots,
        (Rate("trunk t1", 5, START.wall_ms // 1000),),
        (),
    )


def test_a_blind_call_takes_its_trunks_channels_after_all() -> None:
    played = Played(facts(chain=(account(kind=Kind.POSTPAID),), trunk=on_trunk()))
    played.put(StoreFailed(CALL))
    played.put(DeadlineReached(CALL, Deadline.RETRY))
    assert played.wanted(TakeNow).take.trunk_slots == played.proposal.take.trunk_slots != ()


def test_a_trunks_overflow_costs_what_the_trunk_says_unless_its_payer_has_a_price() -> None:
    trunk = on_trunk(overflow=Overflow(2, per_call=50_000))
    assert Played(facts(trunk=trunk)).wanted(TakeNow).take.levels[0].hold_overflow == 60_000
    chain = (account(caps=Caps(overflow=Overflow(1, per_call=20_000))), account("top"))
    levels = Played(facts(chain=chain, trunk=trunk)).wanted(TakeNow).take.levels
    assert [level.hold_overflow for level in levels] == [30_000, 10_000]


def test_a_trunks_package_counts_on_its_days() -> None:
    for until, limit in (("2027-01-15", 3), ("2027-01-14", 1)):
        trunk = on_trunk(packages=(Package(2, "2026-12-20", until),))
        assert Played(facts(trunk=trunk)).proposal.take.trunk_slots[0].limit == limit


@pytest.mark.parametrize("free", [{"grace_s": 30}, {"free_s": 30}, {"grace_s": 7_200}, {"free_s": 7_200}])
@pytest.mark.parametrize("attended", [True, False])
def test_grace_and_free_seconds_do_not_make_an_empty_balance_callable(free: dict[str, int], attended: bool) -> None:
    played = Played(facts(prices=(price(**free),)), offered(attended=attended))
    first = played.wanted(TakeNow).take.levels[0].hold
    if first:
        played.put(TakeRefused(CALL, (0,), (False,), ()))
    else:
        played.put(Taken(CALL, (0,), (False,)))
        assert played.wanted(SettleNow).settlement.session.version == 1  # gives back the channels that were taken
    assert refusal_of(played) is Refusal.NO_CREDIT


def test_a_row_that_can_never_charge_is_callable_with_an_empty_balance() -> None:
    played = Played(facts(prices=(price(0),)))
    played.put(Taken(CALL, (0,), (False,)))
    assert played.wants(AdmitCall)


@pytest.mark.parametrize(("attended", "by"), [(True, ReleasedBy.CALLCTL), (False, ReleasedBy.CALLER)])
def test_a_cut_is_ours_where_we_can_cut(attended: bool, by: ReleasedBy) -> None:
    played = Played(facts(), offered(attended=attended))
    played.put(Taken(CALL, (RICH,), (False,)))
    played.put(Answered(CALL, START))
    played.put(Extended(CALL, (RICH,)))
    played.put(DeadlineReached(CALL, Deadline.CUT), after_ms=played.session.granted_s * 1000)
    assert played.session.cut
    played.put(Released(CALL, START.plus_ms(5_000), released_by=ReleasedBy.CALLER))
    assert played.wanted(SettleNow).settlement.session.released_by is by


def test_a_suspended_reseller_is_the_providers_business() -> None:
    played = Played(facts(chain=(account(), account("reseller", active=False))))
    played.put(Taken(CALL, (RICH, RICH), (False, False)))
    assert refusal_of(played) is Refusal.PROVIDER_LIMIT


def test_a_call_taken_for_unanswered_gives_its_resellers_originals_when_the_truth_comes() -> None:
    postpaid = (account(kind=Kind.POSTPAID), account("reseller", kind=Kind.POSTPAID))
    played = admitted(chain=postpaid)
    played.put(DeadlineReached(CALL, Deadline.LOST), after_ms=150_000)
    assert len(played.wanted(SettleNow).settlement.records) == 1
    played.put(Settled(CALL))
    played.put(Released(CALL, START.plus_ms(160_000), answered_at=START.plus_ms(150_000)))
    records = [msgspec.json.decode(record.payload) for record in played.wanted(SettleNow).settlement.records]
    assert [(r["account"], r["corrects"], r["charge"]) for r in records] == [
        ("acme", "sw/c1:acme", "0.0100"),
        ("reseller", None, "0.0100"),
    ]


def test_the_name_of_a_call_does_not_imitate_another_record() -> None:
    from callctl.call.cdr import record_id

    session = admitted().session
    named = msgspec.structs.replace(session, call=CallKey("sw", "c1:acme"))
    assert record_id(named, "c1") != record_id(session, "acme", 1)
    assert record_id(named, "x") == "sw/c1%3Aacme:x"


def test_an_attempt_that_is_given_back_is_not_the_one_that_was_refused_before() -> None:
    from callctl.call.cdr import record_id

    refused = msgspec.structs.replace(admitted().session, state=State.REFUSED, version=0)
    given_back = msgspec.structs.replace(refused, version=1)  # asked for again with the same `at`, and taken too late
    assert record_id(given_back, "acme") != record_id(refused, "acme")
