"""Minimum margins and bounds on the purchase price: what holds, what does not, and what the trace says."""

import pytest
from msgspec.structs import replace

from callctl.rating.charge import Price, fold_tiers
from callctl.rating.levels import LevelPrice, Part
from callctl.rating.margin import NO_BUY, MarginRule, MaxCost, cost_within, costs_within, margin_kept, margins_kept
from callctl.rating.tariff import PERCENT, IncrementBasis

CENT = 10**6  # in 10^-8 per minute


def price(*cents: int, from_s: tuple[int, ...] = (0,), fee: int = 0, increment_s: int = 1, free_s: int = 0) -> Price:
    steps = [(start_s, cent * CENT, increment_s) for start_s, cent in zip(from_s, cents, strict=True)]
    tiers = fold_tiers(steps, initial_s=0, basis=IncrementBasis.AFTER_INITIAL)
    return Price(connection_fee=fee, denominator=100, tiers=tiers, free_s=free_s)


def sale(sell: Price, buy: Price | None) -> LevelPrice:
    return LevelPrice("plan", "31", "Netherlands", "FIX", "", sell, "carrier", "31", buy)


@pytest.mark.parametrize(
    ("rule", "sell", "buy", "kept"),
    [
        (MarginRule(min_per_minute=5 * CENT), 15, 10, True),
        (MarginRule(min_per_minute=5 * CENT + 1), 15, 10, False),
        (MarginRule(min_percent=50 * PERCENT), 15, 10, True),
        (MarginRule(min_percent=50 * PERCENT + 1), 15, 10, False),
        (MarginRule(min_per_minute=5 * CENT, min_percent=60 * PERCENT), 15, 10, False),
        (MarginRule(min_per_minute=6 * CENT, min_percent=50 * PERCENT), 15, 10, False),
        (MarginRule(min_per_minute=0), 0, 10, False),
        (MarginRule(min_percent=0), 0, 10, False),
        (MarginRule(min_percent=50 * PERCENT), 0, 0, True),
        (MarginRule(min_per_minute=1), 0, 0, False),
        (MarginRule(), 0, 10, True),
    ],
)
def test_margins_per_minute_are_judged_together(rule: MarginRule, sell: int, buy: int, kept: bool) -> None:
    assert margin_kept(rule, sale(price(sell), price(buy))).kept is kept


def test_a_shortfall_names_both_prices() -> None:
    found = margin_kept(MarginRule(min_per_minute=5 * CENT), sale(price(12), price(10)))
    assert found.saw == "sell 0.1200 (plan 31), buy 0.1000 (carrier 31) per minute"
    assert found.limit == "at least 0.0500 per minute more than the purchase, 0.0300 short"
    found = margin_kept(MarginRule(min_percent=255_000), sale(price(12), price(10)))
    assert found.limit == "at least 25.5 % more than the purchase, 0.0055 short"


def test_a_margin_that_holds_shows_the_prices() -> None:
    assert (
        margin_kept(MarginRule(min_percent=0), sale(price(12), price(10))).saw
        == "sell 0.1200 (plan 31), buy 0.1000 (carrier 31) per minute"
    )


def test_without_a_purchase_price_no_rule_can_be_judged() -> None:
    unbought = sale(price(12), None)
    assert margin_kept(MarginRule(), unbought) == NO_BUY
    assert cost_within(MaxCost(), unbought) == NO_BUY
    assert NO_BUY.no_buy
    assert not NO_BUY.kept


def test_every_tier_that_the_grant_can_reach_counts() -> None:
    rule = MarginRule(min_per_minute=0)
    falling = sale(price(20, 5, from_s=(0, 60)), price(10))
    assert margin_kept(rule, falling, until_s=60).kept
    assert not margin_kept(rule, falling, until_s=61).kept
    assert not margin_kept(rule, falling).kept
    rising = sale(price(20), price(10, 30, from_s=(0, 60)))
    assert margin_kept(rule, rising, until_s=60).kept
    assert not margin_kept(rule, rising, until_s=61).kept


def test_free_seconds_move_the_tiers_of_their_own_price() -> None:
    late = sale(price(20, 5, from_s=(0, 60), free_s=10), price(10))
    assert margin_kept(MarginRule(min_per_minute=0), late, until_s=70).kept
    assert not margin_kept(MarginRule(min_per_minute=0), late, until_s=71).kept


@pytest.mark.parametrize(("least", "kept"), [(178_300, True), (178_301, False)])
def test_a_margin_per_call_has_fees_and_increments_in_it(least: int, kept: bool) -> None:
    sold = sale(price(12, fee=50_000, increment_s=60), price(10, fee=10_000))
    assert margin_kept(MarginRule(min_per_call=least, assumed_seconds=61), sold).kept is kept


def test_a_shortfall_per_call_names_both_charges() -> None:
    sold = sale(price(12, fee=50_000, increment_s=60), price(10, fee=10_000))
    found = margin_kept(MarginRule(min_per_call=200_000, assumed_seconds=61), sold)
    assert found.saw == "sell 0.2900 (plan 31), buy 0.1117 (carrier 31) for 61 s"
    assert found.limit == "at least 0.2000 per call, 0.0217 short"


def test_defaults_assume_a_call_of_three_minutes() -> None:
    assert MarginRule().assumed_seconds == 180


@pytest.mark.parametrize(
    ("rule", "kept", "saw", "limit"),
    [
        (MaxCost(), True, "buy 0.3000 per minute", ""),
        (MaxCost(per_minute=30 * CENT), True, "buy 0.3000 per minute", ""),
        (MaxCost(per_minute=30 * CENT - 1), False, "buy 0.3000 per minute", "at most 0.29999999"),
        (MaxCost(connection=50_000), True, "buy 0.3000 per minute", ""),
        (MaxCost(connection=49_999), False, "buy 0.0500 per connection", "at most 0.049999"),
    ],
)
def test_bounds_of_the_purchase_price(rule: MaxCost, kept: bool, saw: str, limit: str) -> None:
    buy = price(10, 30, from_s=(0, 60), fee=50_000, increment_s=60)
    found = cost_within(rule, sale(price(0), buy))
    assert (found.kept, found.saw, found.limit, found.no_buy) == (kept, saw, limit, False)


def test_a_bound_per_call_refuses_what_the_first_increment_exceeds() -> None:
    bought = sale(price(0), price(10, 30, from_s=(0, 60), fee=50_000, increment_s=60))
    [kept] = costs_within(MaxCost(per_call=150_000), bought)
    assert (kept.kept, kept.saw) == (True, "buy 0.3000 per minute")
    kept, broken = costs_within(MaxCost(per_call=149_999), bought)
    assert kept.kept
    assert (broken.kept, broken.no_buy) == (False, False)
    assert (broken.saw, broken.limit) == ("buy 0.1500 for the first increment", "at most 0.149999 per call")


def test_a_bound_per_call_is_of_a_row_and_its_parts_together() -> None:
    part = Part("airtime", "31", price(0), (), "network", "31", price(6, increment_s=60, free_s=30))
    bought = replace(sale(price(0), price(10, increment_s=60)), parts=(part,))
    for per_call, refused in ((160_000, False), (100_000, False), (99_999, True)):  # in 30 s the part costs nothing
        *rows, last = costs_within(MaxCost(per_call=per_call), bought)
        assert last.kept is not refused
        assert all(each.kept for each in rows)
    at_once = replace(part, buy=price(6, increment_s=60))
    *_, broken = costs_within(MaxCost(per_call=159_999), replace(bought, parts=(at_once,)))
    assert (broken.kept, broken.saw) == (False, "buy 0.1600 for the first increment with parts")
    assert all(each.kept for each in costs_within(MaxCost(per_call=160_000), replace(bought, parts=(at_once,))))


def test_of_a_call_that_nobody_sells_its_parts_are_judged() -> None:
    part = Part("airtime", "31", price(5), (), "network", "31", price(6))
    free = replace(sale(price(0), None), unsold=True)
    assert margins_kept(MarginRule(min_per_minute=0), free) == ()
    assert costs_within(MaxCost(per_call=0), free) == ()
    [kept] = margins_kept(MarginRule(min_per_minute=0), replace(free, parts=(part,)))
    assert not kept.kept


def test_a_dear_tier_that_is_out_of_reach_is_within_bounds() -> None:
    buy = price(10, 30, from_s=(0, 60))
    rule = MaxCost(per_minute=10 * CENT)
    assert cost_within(rule, sale(price(0), buy), until_s=60).kept
    assert not cost_within(rule, sale(price(0), buy), until_s=61).kept


def test_a_free_purchase_is_within_every_bound() -> None:
    [found] = costs_within(MaxCost(per_minute=0, connection=0, per_call=0), sale(price(1), price(0)))
    assert found.kept
