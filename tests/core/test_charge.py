"""Charges against an independent model that walks the call increment by increment in exact fractions."""

from fractions import Fraction
from typing import NamedTuple

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callctl.money import Rounding
from callctl.rating.charge import (
    Charge,
    Price,
    Tier,
    affordable_seconds,
    charge,
    exact_charge,
    first_charged_second,
    fold_tiers,
    round_duration,
    stretch,
)
from callctl.rating.tariff import IncrementBasis

AFTER, TOTAL, BEYOND = IncrementBasis
LONG_S = 5_000


class Stated(NamedTuple):
    """A price as a deck states it: steps of (from_s, per_minute, increment_s)."""

    steps: list[tuple[int, int, int]]
    initial_s: int
    basis: IncrementBasis
    price: Price


def make(*steps: tuple[int, int, int], initial_s: int = 0, basis: IncrementBasis = AFTER, **terms: object) -> Price:
    """A price of steps in 10^-8 per minute; no fee and a denominator of 100 unless stated."""
    tiers = fold_tiers(steps, initial_s=initial_s, basis=basis)
    minimum_s = initial_s if basis is TOTAL else 0
    price = Price(connection_fee=0, denominator=100, tiers=tiers, minimum_s=minimum_s)
    return msgspec.structs.replace(price, **terms)


seconds = st.integers(0, 400)
fees = st.sampled_from((0, 0, 1, 25_000, 33_333, 1_000_000))


@st.composite
def stated_prices(draw: st.DrawFn) -> Stated:
    starts = [0, *sorted(draw(st.sets(st.integers(1, 200), max_size=3)))]
    rates = st.sampled_from((0, 1, 137, 12_345, 1_000_000, 8_000_000, 6_000_000_000))
    increments = st.sampled_from((1, 6, 7, 20, 30, 60))
    steps = [(start_s, draw(rates), draw(increments)) for start_s in starts]
    initial_s, basis = draw(st.sampled_from((0, 1, 10, 30, 60))), draw(st.sampled_from(IncrementBasis))
    price = make(
        *steps,
        initial_s=initial_s,
        basis=basis,
        connection_fee=draw(fees),
        denominator=draw(st.sampled_from((1, 100, 700))),
        min_charge=draw(fees),
        max_charge=draw(st.none() | st.integers(0, 3_000_000)),
        grace_s=draw(st.sampled_from((0, 0, 3, 70))),
        free_s=draw(st.sampled_from((0, 0, 6, 61))),
        extra_at_s=draw(st.none() | st.integers(0, 120)),
        extra_fee=draw(fees),
        decimals=draw(st.integers(0, 6)),
        rounding=draw(st.sampled_from(Rounding)),
    )
    return Stated(steps, initial_s, basis, price)


@st.composite
def straight_prices(draw: st.DrawFn) -> Stated:
    """A fee and equal steps, as most decks have."""
    step = (0, draw(st.integers(1, 9_000_000)), draw(st.sampled_from((1, 6, 30, 60))))
    initial_s = draw(st.sampled_from((0, 1, step[2], 90)))
    price = make(
        step,
        initial_s=initial_s,
        basis=TOTAL,
        connection_fee=draw(fees),
        denominator=draw(st.sampled_from((1, 100, 700))),
        decimals=draw(st.integers(0, 6)),
        rounding=draw(st.sampled_from(Rounding)),
    )
    return Stated([step], initial_s, TOTAL, price)


def walk(stated: Stated, duration_s: int) -> tuple[int, Fraction]:
    """Billed seconds and exact micro-units, increment by increment, as the rules say it."""
    price = stated.price
    if duration_s <= price.grace_s or duration_s <= price.free_s:
        return 0, Fraction(0)
    left_s = duration_s - price.free_s
    if stated.basis is TOTAL:
        left_s = max(left_s, stated.initial_s)
    billed_s, micros = 0, Fraction(price.connection_fee)
    while billed_s < left_s:
        _, per_minute, increment_s = [step for step in stated.steps if step[0] <= billed_s][-1]
        if stated.basis is BEYOND and billed_s == stated.initial_s:
            increment_s = -billed_s % increment_s or increment_s
        if billed_s == 0 and stated.basis is not TOTAL and stated.initial_s:
            increment_s = stated.initial_s
        micros += Fraction(per_minute, price.denominator) * increment_s / 60
        billed_s += increment_s
    if price.extra_at_s is not None and duration_s > price.extra_at_s:
        micros += price.extra_fee
    micros = max(micros, Fraction(price.min_charge))
    if price.max_charge is not None:
        micros = min(micros, Fraction(price.max_charge))
    return billed_s, micros


@given(stated_prices(), seconds)
def test_charge_is_the_walk_rounded_once(stated: Stated, duration_s: int) -> None:
    price = stated.price
    billed_s, exact = walk(stated, duration_s)
    assert exact_charge(price, duration_s) == (billed_s, exact)
    charged = charge(price, duration_s)
    quantum = 10 ** (6 - price.decimals)
    assert charged.billed_s == billed_s
    assert charged.micros % quantum == 0
    off = Fraction(charged.micros) - exact
    match price.rounding:
        case Rounding.HALF_UP:
            assert -Fraction(quantum, 2) < off <= Fraction(quantum, 2)
        case Rounding.UP:
            assert 0 <= off < quantum
        case Rounding.DOWN:
            assert -quantum < off <= 0


@given(stated_prices(), seconds)
def test_a_longer_call_never_costs_less(stated: Stated, duration_s: int) -> None:
    assert charge(stated.price, duration_s).micros <= charge(stated.price, duration_s + 1).micros


@given(stated_prices() | straight_prices(), st.integers(0, 12_000_000) | seconds)
def test_affordable_is_the_inverse(stated: Stated, credit: int) -> None:
    price = stated.price
    affordable_s = affordable_seconds(price, credit, LONG_S)
    assert charge(price, affordable_s).micros <= credit
    if affordable_s < LONG_S:
        assert credit < charge(price, affordable_s + 1).micros


@given(stated_prices() | straight_prices(), seconds)
def test_what_a_call_costs_affords_that_call(stated: Stated, duration_s: int) -> None:
    price = stated.price
    stretched_s = stretch(price, duration_s, LONG_S)
    assert stretched_s >= duration_s
    assert charge(price, stretched_s).micros == charge(price, duration_s).micros
    if stretched_s < LONG_S:
        assert charge(price, stretched_s + 1).micros > charge(price, duration_s).micros


@given(stated_prices())
def test_first_charged_second(stated: Stated) -> None:
    price = stated.price
    first_s = first_charged_second(price)
    if first_s is None:
        assert charge(price, 10**9).micros == 0
    else:
        assert charge(price, first_s).micros > 0
        assert charge(price, first_s - 1).micros == 0


@given(stated_prices())
def test_a_price_survives_its_own_serialisation(stated: Stated) -> None:
    assert msgspec.json.decode(msgspec.json.encode(stated.price), type=Price) == stated.price


@given(st.integers(0, 10**9), st.sampled_from(Rounding), st.integers(0, 6))
def test_rounding_a_rounded_amount_changes_nothing(fee: int, rounding: Rounding, decimals: int) -> None:
    once = charge(make((0, 0, 1), connection_fee=fee, rounding=rounding, decimals=decimals), 1).micros
    assert charge(make((0, 0, 1), connection_fee=once, rounding=rounding, decimals=decimals), 1).micros == once


def test_a_long_call_is_one_rounding_away_from_exact() -> None:
    """0.005/min for ten minutes in 1 s increments is 0.05, not the 0.048 of rounding each increment."""
    assert charge(make((0, 500_000, 1)), 600) == Charge(600, 50_000)


def test_defaults_are_half_up_to_four_decimals() -> None:
    assert charge(make((0, 0, 1), connection_fee=25_050), 1).micros == 25_100
    assert charge(make((0, 0, 1), connection_fee=25_049), 1).micros == 25_000


@pytest.mark.parametrize(("duration_s", "billed_s"), [(0, 0), (1, 30), (30, 30), (31, 36), (36, 36), (37, 42)])
def test_initial_block_then_increments(duration_s: int, billed_s: int) -> None:
    price = make((0, 1_000_000, 6), initial_s=30)
    assert charge(price, duration_s).billed_s == billed_s
    assert price.first_increment_s == 30


@pytest.mark.parametrize(("basis", "billed"), [(AFTER, (20, 26)), (TOTAL, (24, 24)), (BEYOND, (20, 24))])
def test_increment_basis(basis: IncrementBasis, billed: tuple[int, int]) -> None:
    price = make((0, 6_000_000, 6), initial_s=20, basis=basis)
    assert tuple(charge(price, seconds).billed_s for seconds in (15, 21)) == billed


def test_a_one_second_initial_block_folds_into_its_increments() -> None:
    assert fold_tiers([(0, 7, 1)], initial_s=1, basis=AFTER) == (Tier(0, 7, 1),)


def test_an_increment_belongs_to_the_tier_in_which_it_starts() -> None:
    """A tier from second 50 waits for the minute that is running; one inside the minute never gets a turn."""
    assert fold_tiers([(0, 60, 60), (10, 50, 1), (50, 6, 6)], initial_s=0, basis=AFTER) == (
        Tier(0, 60, 60),
        Tier(60, 6, 6),
    )


def test_grace_is_inclusive_and_beats_fee_and_minimum() -> None:
    price = make((0, 6_000_000, 60), initial_s=60, connection_fee=25_000, min_charge=100_000, grace_s=3)
    assert charge(price, 3) == Charge(0, 0)
    assert charge(price, 4) == Charge(60, 100_000)


def test_free_seconds_come_off_before_increments() -> None:
    price = make((0, 6_000_000, 60), initial_s=60, free_s=6)
    assert charge(price, 6) == Charge(0, 0)
    assert charge(price, 66) == Charge(60, 60_000)
    assert charge(price, 67) == Charge(120, 120_000)


def test_minimum_and_maximum_bound_the_whole_charge_with_its_fee() -> None:
    price = make((0, 60_000_000, 1), connection_fee=50_000, min_charge=100_000, max_charge=200_000)
    assert charge(price, 1).micros == 100_000
    assert charge(price, 6).micros == 110_000
    assert charge(price, 3600).micros == 200_000
    assert affordable_seconds(price, 200_000, 7200) == 7200


def test_no_credit_affords_only_what_is_free() -> None:
    price = make((0, 6_000_000, 60), grace_s=3)
    assert affordable_seconds(price, 0, 3600) == 3
    assert affordable_seconds(price, 59_999, 3600) == 3
    assert affordable_seconds(price, 60_000, 3600) == 60
    assert affordable_seconds(price, -1, 3600) == 0


@pytest.mark.parametrize(
    ("rounding", "seconds"),
    [(Rounding.UP, (11, 2, 1)), (Rounding.HALF_UP, (11, 2, 0)), (Rounding.DOWN, (10, 1, 0))],
)
def test_duration_is_rounded_to_whole_seconds(rounding: Rounding, seconds: tuple[int, ...]) -> None:
    price = make((0, 1, 1), duration_rounding=rounding)
    assert tuple(round_duration(price, ms) for ms in (10_500, 1_999, 1)) == seconds


def test_a_measured_duration_is_rounded_up_by_default() -> None:
    assert round_duration(make((0, 1, 1)), 1) == 1


def test_the_price_per_minute_is_shown_as_the_deck_has_it() -> None:
    assert make((0, 8_000_000, 1)).per_minute == "0.0800"
    assert make((0, 1_250, 1)).per_minute == "0.0000125"
