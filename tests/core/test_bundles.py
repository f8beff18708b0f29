"""Bundles and blocks: what a call draws upon, in which order, and what is left to pay; against a model by seconds."""

import json
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from callctl.accounts import Kind
from callctl.call import drawing
from callctl.call.bill import bill
from callctl.call.effects import ExtendNow, SettleNow, TakeNow
from callctl.call.ending import released
from callctl.call.events import (
    Answered,
    Deadline,
    DeadlineReached,
    Extended,
    ExtendRefused,
    Released,
    Taken,
    TakeRefused,
)
from callctl.call.session import Level
from callctl.call.settlement import correct
from callctl.clock import parse_time
from callctl.money import MICROS
from callctl.numbering import Number, NumberType
from callctl.prepaid import slicing
from callctl.rating.bundles import Block, Source, Sources, month_before, sources
from callctl.rating.charge import charge
from callctl.rating.price import Price, fold_tiers
from callctl.rating.tariff import Bundle, Direction, IncrementBasis
from callctl.rating.tax import Tax
from tests.core.calls import CALL, START, Played, account, facts, price

NL = Number("+31612345678", "31612345678", "NL", "31", NumberType.MOB)
NOON = parse_time("2026-11-21T12:00:00Z")
FREE = Bundle(name="free", seconds=600)


def seconds(left: int, id: str = "s", held: int = 0) -> Source:
    return Source(id, id, False, left, left, held)


def money(left: int, id: str = "m", held: int = 0) -> Source:
    return Source(id, id, True, 0, left, held)


def payer(sell: Price, drawn_upon: Sources = (), **other: Any) -> Level:
    return Level("acme", True, False, "EUR", "plan", "31", "", "MOB", "MOB", sell, sources=drawn_upon, **other)


def held(level: Level) -> list[int]:
    return [source.held for source in level.sources]


# ---- which sources a call has


def names(
    *bundles: Bundle, blocks: tuple[Block, ...] = (), at: str = "2026-11-21T12:00:00Z", **other: Any
) -> list[str]:
    zone = {"zone": "Europe/Amsterdam", "at_ms": parse_time(at)}
    return [each.id for each in sources(bundles, blocks, NL, "MOB", Direction.OUTBOUND, **(zone | other))]


def test_the_order() -> None:
    blocks = (
        Block(id="money", name="", amount=1),
        Block(id="b", name="", seconds=1, order=1),
        Block(id="a", name="", seconds=1, order=1),
        Block(id="soon", name="", seconds=1, order=1, expires_ms=NOON + 2),
        Block(id="first", name="", seconds=1),
        Block(id="over", name="", seconds=1, expires_ms=NOON),
    )
    rolls = replace(FREE, name="rolls", rollover=True)
    assert names(FREE, rolls, blocks=blocks) == [
        "2026-10/rolls", "2026-11/free", "2026-11/rolls",
        "block/first", "block/soon", "block/a", "block/b", "block/money",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("at", "month"),
    [
        ("2026-11-30T22:59:59Z", "2026-11"),
        ("2026-11-30T23:00:00Z", "2026-12"),
        ("2026-12-31T23:00:00Z", "2027-01"),
        ("2026-05-31T21:59:59Z", "2026-05"),
        ("2026-05-31T22:00:00Z", "2026-06"),
    ],
)
def test_months_turn_where_the_account_is(at: str, month: str) -> None:
    assert names(FREE, at=at) == [f"{month}/free"]


def test_the_month_before() -> None:
    assert [month_before(month) for month in ("2026-12", "2027-01")] == ["2026-11", "2026-12"]


@pytest.mark.parametrize(
    ("since", "rolled"),
    [("2026-10-31T22:59:59Z", True), ("2026-10-31T23:00:00Z", False), ("2026-11-21T00:00:00Z", False)],
)
def test_what_was_not_there_last_month_is_not_rolled_over(since: str, rolled: bool) -> None:
    rolls = replace(FREE, rollover=True)
    months = (["2026-10/free"] if rolled else []) + ["2026-11/free"]
    assert names(replace(rolls, since_ms=parse_time(since))) == months
    assert names(rolls, plan_since_ms=parse_time(since)) == months


@pytest.mark.parametrize(
    ("terms", "takes"),
    [
        ({}, True),
        ({"prefixes": ("32", "316")}, True),
        ({"prefixes": ("32",)}, False),
        ({"types": ("MOB",)}, True),
        ({"types": ("FIX",)}, False),
        ({"prefixes": ("31",), "types": ("FIX",)}, False),
        ({"direction": Direction.INBOUND}, False),
    ],
)
def test_which_calls_it_is_for(terms: dict[str, Any], takes: bool) -> None:
    assert bool(names(replace(FREE, **terms))) is takes
    assert bool(names(blocks=(Block(id="b", name="", seconds=1, **terms),))) is takes


# ---- what a call of so many seconds draws and costs


def test_seconds_pay_in_their_order_and_then_money() -> None:
    level = payer(price(), (seconds(10, "a"), seconds(20, "b"), money(5_000)))
    for length, drawn, cost in (
        (0, [0, 0, 0], 0),
        (15, [10, 5, 0], 0),
        (33, [10, 20, 3_000], 0),
        (40, [10, 20, 5_000], 5_000),
    ):
        assert (held(drawing.drawing(level, length)), slicing.cost(level, length)) == (drawn, cost)


def test_what_is_held_counts_with_what_is_left() -> None:
    level = payer(price(), (seconds(10, held=30),))
    assert slicing.cost(level, 40) == 0
    assert slicing.cost(drawing.kept(level), 40) == 10_000


def test_a_bundle_is_not_stretched_over() -> None:
    """A slice ends with its increment, whatever is free: who talks at once shares the bundle."""
    level = payer(price(increment_s=6), (seconds(600),))
    assert slicing.stretched((level,), 10, 3600) == 12


def test_an_empty_balance_can_call_by_its_bundle_but_not_without_the_fee() -> None:
    assert slicing.first_cost(payer(price(), (seconds(1),))) == 0
    assert slicing.first_cost(payer(price(increment_s=60), (seconds(59),))) == 1_000
    assert slicing.first_cost(payer(price(fee=50_000), (seconds(600),))) == 50_000
    assert slicing.first_cost(payer(price(fee=50_000), (seconds(600), money(50_000)))) == 0


def test_an_overflow_is_paid_beside_what_is_free() -> None:
    over = payer(price(), (seconds(60), money(3_000)), surcharge_call=10_000, overflow=True)
    assert slicing.cost(over, 60) == 7_000


micros = st.sampled_from((0, 1, 600, 6_000, 60_000, 1_234_567))


@st.composite
def prices(draw: st.DrawFn) -> Price:
    starts = sorted({0, *draw(st.lists(st.integers(1, 200), max_size=2))})
    steps = [(from_s, draw(micros), draw(st.sampled_from((1, 6, 30, 60)))) for from_s in starts]
    tiers = fold_tiers(steps, initial_s=draw(st.sampled_from((0, 30))), basis=IncrementBasis.AFTER_INITIAL)
    free_s, grace_s = draw(st.sampled_from((0, 0, 20))), draw(st.sampled_from((0, 5)))
    return Price(draw(micros), 1, tiers, free_s=free_s, grace_s=grace_s, decimals=6)


@st.composite
def stocks(draw: st.DrawFn) -> Sources:
    pools = [
        seconds(draw(st.integers(0, 120)), f"s{n}", draw(st.integers(0, 60))) for n in range(draw(st.integers(0, 3)))
    ]
    purses = [money(draw(micros), f"m{n}", draw(micros)) for n in range(draw(st.integers(0, 2)))]
    return (*pools, *purses)


def model(sell: Price, free_s: int, length: int) -> tuple[int, Fraction]:
    """Billed seconds and exact cost, increment by increment, the first `free_s` billed seconds for nothing."""
    if length <= max(sell.grace_s, sell.free_s):
        return 0, Fraction(0)
    billed_s, usage = 0, Fraction(0)
    while billed_s < length - sell.free_s:
        tier = [tier for tier in sell.tiers if tier.from_s <= billed_s][-1]
        for second in range(billed_s, billed_s + tier.increment_s):
            usage += Fraction(tier.per_minute, 60) if second >= free_s else 0
        billed_s += tier.increment_s
    return billed_s, sell.connection_fee + usage


def half_up(exact: Fraction) -> int:
    return int(exact + Fraction(1, 2))


@given(prices(), stocks(), st.integers(0, 400))
def test_draws_and_cost_are_those_of_a_model(sell: Price, drawn_upon: Sources, length: int) -> None:
    free_s = sum(source.pool for source in drawn_upon if not source.is_money)
    billed_s, exact = model(sell, free_s, length)
    due = half_up(exact)
    level = payer(sell, drawn_upon)
    expected, rest_s, rest = [], billed_s, due
    for source in drawn_upon:
        used = min(source.pool, rest if source.is_money else rest_s)
        rest, rest_s = (rest - used, rest_s) if source.is_money else (rest, rest_s - used)
        expected.append(used)
    assert held(drawing.drawing(level, length)) == expected
    assert slicing.cost(level, length) == rest
    assert bill(level, length).charges[0].billed_s == charge(sell, length).billed_s == billed_s


@given(prices(), stocks(), st.integers(0, 400))
def test_what_is_held_for_a_length_pays_it_alone(sell: Price, drawn_upon: Sources, length: int) -> None:
    level = payer(sell, drawn_upon)
    alone = drawing.kept(drawing.drawing(level, length))
    assert slicing.cost(alone, length) == slicing.cost(level, length)
    assert held(drawing.drawing(alone, length)) == held(alone)


@given(prices(), stocks(), st.integers(0, 2 * MICROS), st.booleans(), st.booleans())
def test_affordable_is_the_inverse_of_the_cost(
    sell: Price, drawn_upon: Sources, credit: int, taxed: bool, over: bool
) -> None:
    other = {"taxes": (Tax("VAT", percent=210_000),)} if taxed else {}
    level = payer(sell, drawn_upon, overflow=over, surcharge_minute=77, **other)
    longest_s = slicing.affordable(level, credit, 2_000)
    assert slicing.cost(level, longest_s) <= credit
    assert longest_s == 2_000 or slicing.cost(level, longest_s + 1) > credit


# ---- a call is decided, extended and settled with them


def played(*drawn_upon: Source, credit: int | None = 10_000_000, **terms: Any) -> Played:
    looked_up = facts((account(**terms),))
    return Played(replace(looked_up, prices=(replace(looked_up.prices[0], sources=drawn_upon),)))


def drawn(take: TakeNow) -> list[int]:
    return [draw.amount for draw in take.take.levels[0].draws]


def test_a_take_asks_for_seconds_and_for_the_money_of_the_rest() -> None:
    call = played(seconds(4))
    take = call.wanted(TakeNow)
    assert (drawn(take), take.take.levels[0].hold) == ([4], 6_000)


def test_a_bundle_that_has_less_than_was_thought_is_asked_for_that() -> None:
    call = played(seconds(600))
    take = call.wanted(TakeNow)
    assert (drawn(take), take.take.levels[0].hold) == ([10], 0)
    call.put(TakeRefused(CALL, (20_000,), (False,), (), left=((3,),)))
    take = call.wanted(TakeNow)
    assert (drawn(take), take.take.levels[0].hold, call.session.granted_s) == ([3], 7_000, 10)
    call.put(Taken(CALL, (13_000,), (False,), left=((0,),)))
    assert (held(call.session.customer), call.session.customer.held) == ([3], 7_000)
    assert call.session.affordable_s == 3 + 20


def test_a_payer_without_limit_is_not_cut_short_by_an_empty_bundle() -> None:
    call = played(seconds(600))
    call.put(TakeRefused(CALL, (None,), (False,), (), left=((0,),)))
    take = call.wanted(TakeNow)
    assert (drawn(take), call.session.granted_s) == ([0], 10)


def test_who_always_comes_too_late_pays_with_money() -> None:
    call = played(seconds(600))
    for left in (8, 6, 4, 2):
        call.put(TakeRefused(CALL, (None,), (False,), (), left=((left,),)))
        assert drawn(call.wanted(TakeNow)) == [left]
    call.put(TakeRefused(CALL, (None,), (False,), (), left=((1,),)))
    take = call.wanted(TakeNow)
    assert (drawn(take), take.take.levels[0].hold, call.session.granted_s) == ([0], 10_000, 10)


def test_nothing_left_and_no_money_is_no_credit() -> None:
    call = played(seconds(600))
    call.put(TakeRefused(CALL, (0,), (False,), (), left=((0,),)))
    assert call.session.refusal == "no_credit"


def running(*drawn_upon: Source, available: int | None = 10_000_000) -> Played:
    call = played(*drawn_upon)
    take = call.wanted(TakeNow)
    left = tuple(source.left - amount for source, amount in zip(drawn_upon, drawn(take), strict=True))
    call.put(Taken(CALL, (available,), (False,), left=(left,)))
    call.put(Answered(CALL, START, stated=True))
    saving = call.wanted(ExtendNow)
    assert (saving.extension.more, saving.extension.draws) == ((0,), ((0,) * len(left),))
    call.put(Extended(CALL, (available,), (left,)))
    return call


def asks_for_more(call: Played) -> ExtendNow:
    call.put(DeadlineReached(CALL, Deadline.EXTEND), after_ms=5_000)
    return call.wanted(ExtendNow)


def test_an_extension_goes_on_from_the_bundle_into_money() -> None:
    call = running(seconds(15), money(8_000))
    asked = asks_for_more(call)
    assert (asked.extension.more, asked.extension.draws) == ((7_000,), ((5, 8_000),))
    call.put(Extended(CALL, (9_000_000,), ((0, 0),)))
    assert (held(call.session.customer), call.session.customer.held) == ([15, 8_000], 7_000)
    assert call.session.granted_s == 30
    assert (asks_for_more(call).extension.draws) == ((0, 0),)


def test_what_others_have_used_meanwhile_is_paid_with_money() -> None:
    call = running(seconds(100))
    assert asks_for_more(call).extension.draws == ((20,),)
    call.put(ExtendRefused(CALL, (10_000_000,), ((2,),)))
    asked = call.wanted(ExtendNow)
    assert (asked.extension.more, asked.extension.draws) == ((18_000,), ((2,),))


def test_a_payer_without_limit_goes_on_when_a_bundle_is_used_up() -> None:
    call = running(seconds(100), available=None)
    asks_for_more(call)
    call.put(ExtendRefused(CALL, (None,), ((0,),)))
    asked = call.wanted(ExtendNow)
    assert (asked.extension.session.wanted_s, asked.extension.more, asked.extension.draws) == (30, (20_000,), ((0,),))


def test_what_comes_back_into_a_bundle_is_used_again() -> None:
    call = running(seconds(10))
    asks_for_more(call)
    call.put(Extended(CALL, (9_980_000,), ((300,),)))
    asked = asks_for_more(call)
    assert (asked.extension.more, asked.extension.draws) == ((-20_000,), ((60,),))


def test_only_money_and_no_bundle_left_cuts_to_what_there_is() -> None:
    call = running(seconds(12))
    asks_for_more(call)
    call.put(ExtendRefused(CALL, (1_000,), ((2,),)))
    asked = call.wanted(ExtendNow)
    assert (asked.extension.session.wanted_s, asked.extension.draws) == (13, ((2,),))


def settled(call: Played, lasted_s: int) -> Any:
    call.put(Released(CALL, START.plus_ms(lasted_s * 1000), stated=True))
    return call.wanted(SettleNow).settlement


def test_the_end_uses_what_the_call_has_talked_and_no_more() -> None:
    ended = settled(running(seconds(6), money(3_000)), 8)
    assert (ended.posts[0].amount, ended.posts[0].used) == (0, (("s", 6), ("m", 2_000)))
    assert [source.held for source in ended.session.customer.sources] == [6, 2_000]


def test_seconds_beyond_a_prepaid_grant_use_no_bundle() -> None:
    ended = settled(running(seconds(100)), 25)
    assert (ended.posts[0].amount, ended.posts[0].used) == (0, (("s", 10),))


def test_seconds_beyond_a_postpaid_grant_are_paid_with_money() -> None:
    call = played(seconds(100), kind=Kind.POSTPAID, credit_limit=None)
    call.put(Taken(CALL, (None,), (False,), left=((90,),)))
    call.put(Answered(CALL, START, stated=True))
    call.put(Extended(CALL, (None,), ((90,),)))
    ended = settled(call, 25)
    assert (ended.posts[0].amount, ended.posts[0].used) == (15_000, (("s", 10),))


def test_a_correction_gives_back_what_was_not_talked() -> None:
    call = running(seconds(6), money(3_000))
    call.put(Released(CALL, START.plus_ms(10_000), estimated=True))
    estimate = call.wanted(SettleNow).settlement
    assert (estimate.posts[0].kind, estimate.posts[0].used) == ("estimate", (("s", 6), ("m", 3_000)))
    late = released(replace(estimate.session, version=3), Released(CALL, START.plus_ms(4_000), stated=True))
    corrected = correct(estimate.session, late)
    assert (corrected.posts[0].amount, corrected.posts[0].used) == (-1_000, (("s", -2), ("m", -3_000)))
    told = json.loads(corrected.records[0].payload)
    assert (told["bundle_s"], told["from_blocks"], told["charge"]) == (-2, "-0.0030", "-0.0040")
    assert told["bundles"] == [{"name": "s", "seconds": -2}]
