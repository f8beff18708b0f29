"""Port Takes: what an admission takes, and when it takes nothing."""

import asyncio

import pytest
from msgspec.structs import replace

from callctl.call.events import CallKey, SlotUse, Taken, TakeRefused
from callctl.call.session import State
from callctl.call.takes import Take, TakeLevel
from callctl.limits.concurrency import Slot
from callctl.ports import Existing
from tests.contract.calls import (
    COUNTED,
    ROOT,
    admitted,
    all_live,
    extend,
    extension,
    figures,
    outbox,
    rate,
    refusal,
    session,
    set_limit,
    settlement,
    take,
    top_up,
)

CHAIN = ("shop", "city", "country", ROOT)


async def test_takes_money_and_channels(store):
    await store.top_up(top_up(1_000_000))
    answer = await store.admit(take(session(), 38_300))
    assert answer == Taken(
        CallKey("http", "c1"),
        available=(961_700,),
        overflow=(False,),
        uses=(SlotUse(0, "outbound", 0, None, None), SlotUse(0, "total", 0, None, None)),
    )
    assert await figures(store) == (1_000_000, 38_300, {"outbound": 1, "total": 1})


async def test_exactly_the_calls_that_a_balance_affords_get_through(store):
    await store.top_up(top_up(8 * 38_300 + 38_299))
    answers = await asyncio.gather(*(store.admit(take(session(f"c{n}"), 38_300)) for n in range(50)))
    assert sum(isinstance(answer, Taken) for answer in answers) == 8
    assert await figures(store) == (344_699, 306_400, {"outbound": 8, "total": 8})


async def test_an_account_that_was_never_put_owes_nothing(store):
    answer = await store.admit(take(session(), 1))
    assert isinstance(answer, TakeRefused)
    assert answer.available == (0,)
    assert await figures(store) == (0, 0, {})


async def test_a_call_that_costs_nothing_needs_no_credit(store):
    await store.top_up(top_up(-1))
    assert isinstance(await store.admit(take(session(), 0)), Taken)


async def test_a_credit_limit_can_be_used_to_the_last_unit(store):
    await set_limit(store, ROOT, ROOT, 500)
    refused = await store.admit(take(session("c1"), 501))
    assert isinstance(refused, TakeRefused)
    assert refused.available == (500,)
    taken = await store.admit(take(session("c2"), 500))
    assert isinstance(taken, Taken)
    assert taken.available == (0,)


async def test_postpaid_without_a_limit(store):
    await set_limit(store, ROOT, ROOT, None)
    answer = await store.admit(take(session(), 10**15))
    assert isinstance(answer, Taken)
    assert answer.available == (None,)
    (balance,) = await store.balances(ROOT, [ROOT])
    assert (balance.held, balance.available) == (10**15, None)


async def test_amounts_stay_exact_far_above_what_a_float_prints(store):
    await store.top_up(top_up(9_007_199_254_740_991))
    answer = await store.admit(take(session(), 1_234_567_890_123_457))
    assert answer.available == (7_772_631_364_617_534,)


@pytest.mark.parametrize("poor", range(4))
async def test_a_chain_takes_at_every_level_or_at_none(store, poor):
    for depth, account in enumerate(CHAIN):
        await store.top_up(top_up(100 if depth != poor else 99, account))
    call = session(accounts=CHAIN)
    answer = await store.admit(take(call, 100))
    assert isinstance(answer, TakeRefused)
    assert answer.available == tuple(100 if depth != poor else 99 for depth in range(4))
    for account in CHAIN:
        balance, held, slots = await figures(store, account)
        assert (held, slots) == (0, {})
        assert balance in (99, 100)
    assert await all_live(store, [ROOT]) == []
    assert await store.find(call.call) is None

    await store.top_up(top_up(1, CHAIN[poor], id="pay-2"))
    assert isinstance(await store.admit(take(call, 100)), Taken)
    assert [await figures(store, account) for account in CHAIN] == [(100, 100, {"outbound": 1, "total": 1})] * 4


@pytest.mark.parametrize("full", range(4))
async def test_a_full_level_stops_the_call_everywhere(store, full):
    capped = (Slot("outbound", 1, 1),)

    def proposal(call_id: str) -> Take:
        call = session(call_id, CHAIN)
        levels = tuple(
            TakeLevel(account, capped if depth == full else COUNTED, 0, 0) for depth, account in enumerate(CHAIN)
        )
        return replace(take(call), levels=levels)

    assert isinstance(await store.admit(proposal("c1")), Taken)
    answer = await store.admit(proposal("c2"))
    assert isinstance(answer, TakeRefused)
    assert [use for use in answer.uses if use.full] == [SlotUse(full, "outbound", 1, 1, 1)]
    for account in CHAIN:
        assert (await figures(store, account))[2]["outbound"] == 1


async def test_every_counter_and_every_level_is_answered_at_once(store):
    """A trace names all that is short, not the first."""
    slots = (Slot("outbound", 0, 0), Slot("total", 2, 2), Slot("group:mobile phones:outbound", 0, 0))
    answer = await store.admit(take(session(accounts=("shop", ROOT)), 7, slots=slots))
    assert isinstance(answer, TakeRefused)
    assert answer.available == (0, 0)
    assert [(use.level, use.slot, use.full) for use in answer.uses] == [
        (level, slot.name, slot.hard_limit == 0) for level in (0, 1) for slot in slots
    ]


async def test_overflow_is_flagged_and_held_for(store):
    await store.top_up(top_up(1_000))
    slots = (Slot("outbound", 1, 2), Slot("total", 5, 5))
    first = await store.admit(take(session("c1"), 100, slots=slots, overflow=11))
    second = await store.admit(take(session("c2"), 100, slots=slots, overflow=11))
    third = await store.admit(take(session("c3"), 100, slots=slots, overflow=11))
    assert (first.overflow, first.available) == ((False,), (900,))
    assert (second.overflow, second.available) == ((True,), (789,))
    assert isinstance(third, TakeRefused)
    assert third.overflow == (True,)
    assert (await figures(store))[1] == 211
    remembered = await store.find(CallKey("http", "c2"))
    assert (remembered.levels[0].held, remembered.levels[0].overflow) == (111, True)


async def test_overflow_is_refused_where_only_the_plain_hold_fits(store):
    await store.top_up(top_up(205))
    slots = (Slot("outbound", 1, 9),)
    await admitted(store, take(session("c1"), 100, slots=slots))
    assert isinstance(await store.admit(take(session("c2"), 100, slots=slots, overflow=6)), TakeRefused)
    assert isinstance(await store.admit(take(session("c2"), 100, slots=slots, overflow=5)), Taken)


async def test_overflow_of_one_level_is_not_that_of_another(store):
    call = session(accounts=("shop", ROOT))
    levels = (TakeLevel("shop", COUNTED, 0, 0), TakeLevel(ROOT, (Slot("outbound", 0, 1),), 0, 0))
    answer = await store.admit(replace(take(call), levels=levels))
    assert answer.overflow == (False, True)


async def test_a_trunk_has_counters_of_its_own(store):
    def proposal(call_id: str) -> Take:
        return take(session(call_id, trunk="line 1"), trunk_slots=(Slot("outbound", 1, 1),))

    assert isinstance(await store.admit(proposal("c1")), Taken)
    refused = await store.admit(proposal("c2"))
    assert isinstance(refused, TakeRefused)
    assert refused.uses[-1] == SlotUse(1, "outbound", 1, 1, 1)
    assert (await figures(store))[2]["outbound"] == 1
    await store.settle(settlement(await store.find(CallKey("http", "c1"))))
    assert isinstance(await store.admit(proposal("c2")), Taken)


async def test_the_overflow_of_a_trunk_is_its_accounts(store):
    await store.top_up(top_up(100, "shop"))
    await store.top_up(top_up(100))
    call = session(accounts=("shop", ROOT), trunk="t1")
    answer = await store.admit(take(call, 10, overflow=5, trunk_slots=(Slot("outbound", 0, 1),)))
    assert answer.overflow == (True, False)
    assert answer.available == (85, 90)


async def test_a_known_call_is_answered_as_it_is_remembered(store):
    await store.top_up(top_up(1_000))
    await admitted(store, take(session(detail="first"), 100))
    answer = await store.admit(take(session(detail="second"), 300))
    assert isinstance(answer, Existing)
    assert (answer.session.detail, answer.session.version) == ("first", 1)
    assert answer.session.levels[0].held == 100
    assert await figures(store) == (1_000, 100, {"outbound": 1, "total": 1})


async def test_an_ended_call_is_not_admitted_again(store):
    call = await admitted(store, take(session()))
    await store.settle(settlement(call))
    answer = await store.admit(take(session()))
    assert isinstance(answer, Existing)
    assert answer.session.state is State.ENDED
    assert await figures(store) == (0, 0, {})


async def test_a_refused_call_may_come_again(store):
    refused = session()
    assert await store.settle(refusal(refused)) is None
    assert (await store.find(refused.call)).state is State.REFUSED
    call = await admitted(store, take(session()))
    assert (await store.find(call.call)).version == 1
    assert await store.settle(settlement(call)) is None
    assert len(await outbox(store)) == 1


async def test_force_knows_no_limit(store):
    full = (Slot("outbound", 0, 0),)
    answer = await store.admit(take(session(), 700, slots=full, rates=(rate("t1", 0),), force=True))
    assert isinstance(answer, Taken)
    assert (answer.available, answer.overflow) == ((-700,), (True,))
    assert await figures(store) == (0, 700, {"outbound": 1})


async def test_a_probe_answers_as_a_take_would_and_takes_nothing(store):
    await store.top_up(top_up(100))
    call = session()
    assert (await store.admit(take(call, 30, probe=True))).available == (70,)
    assert isinstance(await store.admit(take(call, 101, probe=True)), TakeRefused)
    assert await figures(store) == (100, 0, {})
    assert await store.find(call.call) is None
    await admitted(store, take(call, 30))
    assert isinstance(await store.admit(take(call, 30, probe=True)), Existing)


@pytest.mark.parametrize("force", [False, True])
async def test_dry_takes_no_token_and_no_money_even_with_force(store, force):
    rates = (rate("t1", 1),)
    for _ in range(3):
        answer = await store.admit(take(session(), 5, rates=rates, dry=True, force=force))
        assert isinstance(answer, Taken if force else TakeRefused)
        assert getattr(answer, "rate_exceeded", None) is None
    assert await figures(store) == (0, 0, {})


async def test_attempts_per_second(store):
    rates = (rate("acme", 3), rate("t1", 2))
    answers = [await store.admit(take(session(f"c{n}"), rates=rates)) for n in range(4)]
    exceeded = [getattr(answer, "rate_exceeded", "taken") for answer in answers]
    assert exceeded == ["taken", "taken", rates[1], rates[0]]
    assert (await figures(store))[2]["outbound"] == 2
    later = take(session("c5"), rates=(rate("t1", 2, after_s=1),))
    assert isinstance(await store.admit(later), Taken)


async def test_a_refused_attempt_uses_its_token_up(store):
    rates = (rate("t1", 1),)
    refused = await store.admit(take(session("c1"), 5, rates=rates))
    assert (refused.available, refused.rate_exceeded) == ((0,), None)
    assert (await store.admit(take(session("c2"), rates=rates))).rate_exceeded == rates[0]
    assert (await store.admit(take(session("c3"), rates=rates, dry=True))).rate_exceeded == rates[0]


async def test_a_known_call_uses_no_token_up(store):
    rates = (rate("t1", 2),)
    await admitted(store, take(session("c1"), rates=rates))
    assert isinstance(await store.admit(take(session("c1"), rates=rates)), Existing)
    assert isinstance(await store.admit(take(session("c2"), rates=rates)), Taken)


async def test_an_emergency_call_of_nobody(store):
    """It has no payer, and is live all the same."""
    call = session(levels=(), root="", account="")
    assert await store.admit(take(call, force=True)) == Taken(call.call, ())
    assert [live.call for live in await all_live(store, [""])] == [call.call]
    assert await store.settle(settlement(replace(call, version=1))) is None
    assert await all_live(store, [""]) == []


async def test_names_may_hold_anything(store):
    nasty = "a}b {c}\r\n\t,%41é"
    await store.top_up(top_up(100, nasty, root=nasty))
    slots = (Slot(f"group:{nasty}:outbound", 5, 5),)
    call = session("c 1\n\n2", (nasty,), trunk=nasty)
    call = await admitted(store, take(call, 40, slots=slots, trunk_slots=slots, rates=(rate(nasty, 9),)))
    assert await figures(store, nasty, nasty) == (100, 40, {slots[0].name: 1})
    assert (await store.find(call.call)).levels[0].held == 40
    await store.settle(settlement(call, 30))
    assert await figures(store, nasty, nasty) == (70, 0, {})
    (_, posted) = await store.ledger(nasty, nasty, "", 10)
    assert posted.call == f"http/{call.call.call_id}"


async def test_two_calls_never_share_a_name(store):
    """The switch and the call id are told apart, and roots keep their accounts to themselves."""
    assert CallKey("ab", "c").trace_id != CallKey("a", "bc").trace_id
    await store.top_up(top_up(5, "same", root="r1"))
    assert await figures(store, "same", "r2") == (0, 0, {})


async def test_a_call_has_one_payer_whoever_asks_again(store):
    """The same call id for an account of another root finds the first call, and takes nothing."""
    await store.top_up(top_up(100))
    await store.top_up(top_up(100, "shop", root="shop"))
    first = await admitted(store, take(session("c1"), 10))
    for state in ("live", "ended"):
        answer = await store.admit(take(session("c1", accounts=("shop",)), 10))
        assert isinstance(answer, Existing), state
        assert answer.session.root == ROOT
        assert (await store.balances("shop", ["shop"]))[0].held == 0
        assert await all_live(store, ["shop"]) == []
        found = await store.find(CallKey("http", "c1"))
        assert found is not None
        assert found.root == ROOT
        if state == "live":
            assert await store.settle(settlement(replace(first, version=1), 10)) is None


@pytest.mark.parametrize("root", ["", "".join(map(chr, range(1, 127))) + "é€😀"])
async def test_a_call_of_any_root_is_found_by_its_name(store, root):
    """Whatever the root is called: nobody's, or one that needs quoting."""
    first = await admitted(store, take(session("c1", levels=(), root=root)))
    for _ in range(2):
        assert await store.admit(take(session("c1"))) == Existing(await store.find(first.call))
        assert await all_live(store, [ROOT]) == []
    await extend(store, extension(first))
    assert await store.admit(take(session("c1"))) == Existing(await store.find(first.call))
    assert await store.settle(settlement(replace(first, version=2))) is None
    assert (await store.admit(take(session("c1")))).session.state is State.ENDED


async def test_a_refused_call_may_find_another_payer(store):
    await store.settle(refusal(session("c1")))
    await store.top_up(top_up(100, "shop", root="shop"))
    assert isinstance(await store.admit(take(session("c1", accounts=("shop",)), 10)), Taken)
    found = await store.find(CallKey("http", "c1"))
    assert found is not None
    assert found.root == "shop"
