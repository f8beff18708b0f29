"""Prices in time bands against an independent model: increment by increment, asking a local clock at each."""

from datetime import date, datetime, timedelta
from fractions import Fraction
from functools import cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

import holidays
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callctl.numbering import Number, NumberType
from callctl.rating.bands import parse_band
from callctl.rating.builder import DeckBuilder
from callctl.rating.charge import (
    Charge,
    affordable_seconds,
    anchored,
    anchored_for,
    bundled,
    charge,
    exact_charge,
    first_charged_second,
    stretch,
)
from callctl.rating.levels import LevelPrice, NoRate, price_levels
from callctl.rating.margin import MarginRule, MaxCost, cost_within, margin_kept
from callctl.rating.match import Deck
from callctl.rating.price import Price
from callctl.rating.tariff import PERCENT, Band, Direction, IncrementBasis, Plan, Row

NUMBER = Number("+31201234567", "31201234567", "NL", "31", NumberType.FIX)
ZONES = ("UTC", "Europe/Amsterdam", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "America/Havana")
EURO = 10**8  # in units of `Row.per_minute`
DAY_S = 86_400
DUTCH = holidays.country_holidays("NL")


def band(
    days: str = "", from_: str = "", to: str = "", dates: str = "", holidays: str = "", weight: str = ""
) -> Band | None:
    return parse_band((days, from_, to, dates, holidays, weight))


def row(when: Band | None = None, per_minute: int | None = EURO, **terms: object) -> Row:
    return Row("31", per_minute=per_minute, band=when, **terms)  # type: ignore[arg-type]


def deck(*rows: Row, plan: Plan | None = None) -> Deck:
    builder = DeckBuilder(plan or Plan("plan"))
    for each in rows:
        builder.add(each)
    return builder.build()


def level(where: Deck, at_s: int, *above: Deck, carrier: Deck | None = None) -> LevelPrice:
    named = [(f"level-{depth}", each) for depth, each in enumerate((where, *above))]
    found = price_levels(named, carrier, NUMBER, at_s * 1000, Direction.OUTBOUND)
    assert not isinstance(found, NoRate), found
    return found[0]


def price(where: Deck, at_s: int) -> Price:
    return level(where, at_s).sell


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp())


class Tariff(NamedTuple):
    """Rows with their plan, and the plan's purchase, for the model."""

    plan: Plan
    rows: tuple[Row, ...]
    purchase: "Tariff | None" = None


def holds(when: Band, wall_s: int, zone: str) -> bool:
    local = datetime.fromtimestamp(wall_s, ZoneInfo(zone))
    minute = local.hour * 60 + local.minute
    if when.from_min < when.until_min:
        return begins(when, local.date()) and when.from_min <= minute < when.until_min
    if minute >= when.from_min:
        return begins(when, local.date())
    return minute < when.until_min and begins(when, local.date() - timedelta(days=1))


def begins(when: Band, day: date) -> bool:
    if when.days and day.isoweekday() not in when.days:
        return False
    if when.holidays and day not in DUTCH:
        return False
    if not when.dates:
        return True
    for first, last in when.dates:
        shown = f"{day:%Y%m%d}" if last > 1231 else f"{day:%m%d}"
        ends = f"{first:0{len(shown)}}", f"{last:0{len(shown)}}"
        inside = ends[0] <= shown <= ends[1] if ends[0] <= ends[1] else shown >= ends[0] or shown <= ends[1]
        if inside:
            return True
    return False


def holding(tariff: Tariff, wall_s: int) -> list[Row]:
    """The tiers of the band that holds; bands change on the minute, so each is asked for once."""
    return holding_at(tariff, wall_s // 60)


@cache
def holding_at(tariff: Tariff, minute: int) -> list[Row]:
    wall_s = minute * 60

    def rank(each: Row) -> tuple[int, int]:
        when = each.band
        if when is None:
            return 0, 0
        stated = (
            3 if when.dates else 2 if when.holidays else 1 if when.days or when.from_min or when.until_min < 1440 else 0
        )
        return when.weight, stated

    rows = [each for each in tariff.rows if each.band is None or holds(each.band, wall_s, tariff.plan.timezone)]
    best = max(map(rank, rows))
    return sorted((each for each in rows if rank(each) == best), key=lambda each: each.tier_from_s)


def per_minute(tariff: Tariff, wall_s: int, billed_s: int) -> Fraction:
    """Micro-units."""
    tier = [each for each in holding(tariff, wall_s) if each.tier_from_s <= billed_s][-1]
    if tier.percent is None:
        return Fraction(tier.per_minute or 0, 100)
    assert tariff.purchase is not None
    return per_minute(tariff.purchase, wall_s, billed_s) * tier.percent / 1_000_000


def walk(tariff: Tariff, answer_s: int, duration_s: int, bundle_s: int = 0) -> tuple[int, Fraction]:
    """Billed seconds and exact micro-units, as the rules say it."""
    plan, head = tariff.plan, holding(tariff, answer_s)[0]
    initial_s = plan.round_seconds if head.initial_s is None else head.initial_s
    if duration_s <= head.grace_s or duration_s <= head.free_s:
        return 0, Fraction(0)
    left_s = duration_s - head.free_s
    if plan.increment_basis is IncrementBasis.TOTAL:
        left_s, initial_s = max(left_s, initial_s), 0
    billed_s, micros = 0, Fraction(head.connection_fee)
    while billed_s < left_s:
        wall_s = answer_s + head.free_s + billed_s
        tier = [each for each in holding(tariff, wall_s) if each.tier_from_s <= billed_s][-1]
        increment_s = tier.increment_s or plan.round_seconds
        if plan.increment_basis is IncrementBasis.TOTAL_BEYOND_INITIAL and billed_s == initial_s:
            increment_s = -billed_s % increment_s or increment_s
        if initial_s and not billed_s:
            increment_s = initial_s
        paid_s = increment_s - min(increment_s, max(0, bundle_s - billed_s))
        micros += per_minute(tariff, wall_s, billed_s) * paid_s / 60
        billed_s += increment_s
    if head.extra_at_s is not None and duration_s > head.extra_at_s:
        micros += head.extra_fee
    micros = max(micros, Fraction(head.min_charge))
    return billed_s, micros if head.max_charge is None else min(micros, Fraction(head.max_charge))


TRANSITIONS = tuple(
    at(text)
    for text in (
        "2026-03-29T01:00:00+00:00",  # Amsterdam: 02:00 becomes 03:00
        "2026-10-25T01:00:00+00:00",  # and 03:00 becomes 02:00
        "2026-03-08T07:00:00+00:00",  # New York
        "2026-11-01T06:00:00+00:00",
        "2026-04-04T15:00:00+00:00",  # Lord Howe: half an hour
        "2026-10-03T15:30:00+00:00",
        "2026-03-08T05:00:00+00:00",  # Havana: a day without its first hour
        "2026-11-01T05:00:00+00:00",
        "2028-02-28T23:00:00+00:00",
        "2028-02-29T22:00:00+00:00",
        "2026-02-28T23:00:00+00:00",
        "2026-12-31T23:00:00+00:00",
        "2026-04-26T22:00:00+00:00",  # King's Day in Amsterdam
        "2026-12-24T22:30:00+00:00",
        "2026-06-30T22:00:00+00:00",
    )
)
moments = st.builds(int.__add__, st.sampled_from(TRANSITIONS), st.integers(-DAY_S, DAY_S) | st.integers(-5_000, 5_000))
minutes_of_day = st.integers(0, 47).map(lambda half: half * 30) | st.integers(0, 1439)
fees = st.sampled_from((0, 0, 25_000, 33_333, 1_000_000))


@st.composite
def whens(draw: st.DrawFn, weight: int) -> Band:
    from_min, until_min = draw(minutes_of_day), draw(minutes_of_day)
    return Band(
        days=tuple(sorted(draw(st.sets(st.integers(1, 7), max_size=6)))),
        from_min=from_min,
        until_min=until_min if until_min != from_min else 1440,
        dates=draw(
            st.sampled_from(
                (
                    (),
                    (),
                    (),
                    ((229, 301),),
                    ((1224, 102),),
                    ((20261025, 20261025), (329, 404)),
                    ((1225, 1225), (701, 704)),
                )
            )
        ),
        holidays=draw(st.sampled_from((None, None, None, "NL"))),
        weight=weight,
    )


@st.composite
def rows_of(draw: st.DrawFn, *, percent: bool = False) -> tuple[Row, ...]:
    """A row without a band, and some heavier bands, each with tiers and terms of the whole call."""
    rates = st.sampled_from((0, 137, 12_345, 1_000_000, 8_000_000, 600_000_000))
    increments = st.sampled_from((None, 1, 6, 7, 30, 60))
    rows = []
    for when in (None, *(draw(whens(weight)) for weight in range(1, 1 + draw(st.integers(1, 4))))):
        terms = {
            "connection_fee": draw(fees),
            "initial_s": draw(st.sampled_from((None, 0, 1, 10, 60))),
            "min_charge": draw(fees),
            "max_charge": draw(st.none() | st.integers(1_000_000, 9_000_000)),
            "grace_s": draw(st.sampled_from((0, 0, 3))),
            "free_s": draw(st.sampled_from((0, 0, 6, 61))),
            "extra_at_s": draw(st.none() | st.integers(0, 120)),
            "extra_fee": draw(fees),
        }
        for from_s in (0, *sorted(draw(st.sets(st.integers(1, 3000), max_size=2)))):
            rate = draw(rates)
            share = (
                draw(st.sampled_from((0, 1_000_000, 1_750_000, 330_000))) if percent and draw(st.booleans()) else None
            )
            rows.append(
                Row(
                    "31",
                    per_minute=rate if share is None else None,
                    percent=share,
                    increment_s=draw(increments),
                    tier_from_s=from_s,
                    band=when,
                    **terms if from_s == 0 else {},
                )
            )
    return tuple(rows)


def plans(name: str, **terms: object) -> st.SearchStrategy[Plan]:
    return st.builds(
        Plan,
        st.just(name),
        timezone=st.sampled_from(ZONES),
        round_seconds=st.sampled_from((1, 1, 30)),
        round_decimals=st.integers(0, 6),
        increment_basis=st.sampled_from(IncrementBasis),
        **terms,  # type: ignore[arg-type]
    )


tariffs = st.builds(Tariff, plans("plan"), rows_of())


@settings(max_examples=80)
@given(tariffs, moments, st.integers(0, 9_000), st.integers(-7_200, 7_200))
def test_charge_is_the_walk(tariff: Tariff, answer_s: int, duration_s: int, rings_s: int) -> None:
    """Whenever the call was set up: what counts is the answer."""
    where = deck(*tariff.rows, plan=tariff.plan)
    at_setup = price(where, answer_s - abs(rings_s))
    assert exact_charge(anchored(at_setup, answer_s), duration_s) == walk(tariff, answer_s, duration_s)
    assert exact_charge(price(where, answer_s), duration_s) == walk(tariff, answer_s, duration_s)


@settings(max_examples=40)
@given(
    st.builds(
        Tariff,
        plans("plan"),
        rows_of(percent=True),
        st.builds(Tariff, plans("reseller"), rows_of(percent=True), st.builds(Tariff, plans("carrier"), rows_of())),
    ),
    moments,
    st.integers(0, 9_000),
)
def test_percentages_follow_the_bands_of_the_purchase_in_its_own_zone(
    tariff: Tariff, answer_s: int, duration_s: int
) -> None:
    reseller = tariff.purchase
    assert reseller is not None
    assert reseller.purchase is not None
    carrier = deck(*reseller.purchase.rows, plan=reseller.purchase.plan)
    above = deck(*reseller.rows, plan=reseller.plan)
    found = level(deck(*tariff.rows, plan=tariff.plan), answer_s, above, carrier=carrier)
    assert exact_charge(found.sell, duration_s) == walk(tariff, answer_s, duration_s)
    assert found.buy is not None
    assert exact_charge(found.buy, duration_s) == walk(reseller, answer_s, duration_s)


coarse = st.builds(
    Tariff,
    plans("plan"),
    rows_of().map(lambda rows: tuple(msgspec.structs.replace(each, increment_s=60) for each in rows)),
)


@settings(max_examples=30)
@given(coarse, moments, st.integers(0, 6 * DAY_S))
def test_calls_of_several_days(tariff: Tariff, answer_s: int, duration_s: int) -> None:
    where = deck(*tariff.rows, plan=tariff.plan)
    assert exact_charge(price(where, answer_s), duration_s) == walk(tariff, answer_s, duration_s)


@settings(max_examples=40)
@given(tariffs, moments, st.integers(0, 4_000), st.integers(0, 3_000))
def test_bundle_seconds_have_no_minute_price(tariff: Tariff, answer_s: int, duration_s: int, bundle_s: int) -> None:
    covered = bundled(price(deck(*tariff.rows, plan=tariff.plan), answer_s), bundle_s)
    assert exact_charge(covered, duration_s) == walk(tariff, answer_s, duration_s, bundle_s)
    assert anchored(covered, answer_s) == covered


LONG_S = 40 * DAY_S


@settings(max_examples=80)
@given(tariffs, moments, st.integers(0, 12_000_000) | st.integers(0, 10**11), st.sampled_from((0, 0, 645, 90_000)))
def test_affordable_is_the_inverse(tariff: Tariff, answer_s: int, credit: int, bundle_s: int) -> None:
    sell = bundled(price(deck(*tariff.rows, plan=tariff.plan), answer_s), bundle_s)
    seconds = affordable_seconds(sell, credit, LONG_S)
    assert charge(sell, seconds).micros <= credit
    if seconds < LONG_S:
        assert credit < charge(sell, seconds + 1).micros


@settings(max_examples=40)
@given(tariffs, moments, st.integers(0, 3 * DAY_S), st.sampled_from((0, 0, 645, 90_000)))
def test_a_call_stretches_to_the_last_second_of_its_cost(
    tariff: Tariff, answer_s: int, duration_s: int, bundle_s: int
) -> None:
    sell = bundled(price(deck(*tariff.rows, plan=tariff.plan), answer_s), bundle_s)
    stretched_s = stretch(sell, duration_s, LONG_S)
    assert stretched_s >= duration_s
    assert charge(sell, stretched_s).micros == charge(sell, duration_s).micros
    assert stretched_s == LONG_S or charge(sell, stretched_s + 1).micros > charge(sell, duration_s).micros
    first_s = first_charged_second(sell)
    if first_s is not None:
        assert charge(sell, first_s - 1).micros == 0 < charge(sell, first_s).micros


@settings(max_examples=50)
@given(tariffs, moments)
def test_a_price_survives_its_own_serialisation(tariff: Tariff, answer_s: int) -> None:
    sell = bundled(price(deck(*tariff.rows, plan=tariff.plan), answer_s), 60)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(sell), type=Price) == sell


OFFICE = band(days="1-5", from_="08:00", to="18:00")


def test_an_increment_belongs_to_the_band_in_which_it_starts() -> None:
    where = deck(row(None, EURO), row(OFFICE, 6 * EURO), plan=Plan("plan", round_seconds=60))
    monday = price(where, at("2026-11-23T17:58:30Z"))
    assert charge(monday, 120) == Charge(120, 12_000_000)  # the second minute starts at 17:59:30
    assert charge(monday, 121) == Charge(180, 13_000_000)


def test_terms_of_the_whole_call_are_those_of_the_answer() -> None:
    where = deck(
        row(None, 60 * EURO, connection_fee=500_000, initial_s=30, grace_s=5),
        row(OFFICE, 120 * EURO, connection_fee=900_000, initial_s=10, min_charge=40_000_000),
    )
    rings = price(where, at("2026-11-23T17:59:50Z"))
    before, after = (anchored(rings, at(f"2026-11-23T{time}Z")) for time in ("17:59:55", "18:00:00"))
    assert charge(before, 4) == Charge(10, 40_000_000)
    assert charge(before, 60) == Charge(60, 900_000 + 20_000_000 + 50_000_000)
    assert charge(after, 5) == Charge(0, 0)
    assert charge(after, 6) == Charge(30, 30_500_000)
    assert anchored(after, at("2026-11-23T17:59:55Z")) == before
    assert (before.first_increment_s, after.first_increment_s) == (10, 30)
    assert (before.per_minute, after.per_minute) == ("120.0000", "60.0000")


@given(
    terms=st.fixed_dictionaries(
        {
            "free_s": st.sampled_from((0, 20)),
            "initial_s": st.sampled_from((1, 45)),
            "increment_s": st.sampled_from((1, 30)),
            "connection_fee": fees,
        }
    ),
    seconds=st.integers(0, 200),
    early_s=st.integers(-5, 150),
)
def test_a_call_within_one_band_is_charged_by_that_band_alone(
    terms: dict[str, int], seconds: int, early_s: int
) -> None:
    day, night = row(band(from_="08:00", to="18:00"), **terms), row(band(from_="18:00", to="08:00"), 7 * EURO, **terms)
    answer_s = at("2026-11-23T18:00:00Z") - early_s
    both = price(deck(day, night), answer_s - 60)
    alone = anchored_for(both, answer_s, seconds)
    assert charge(alone, seconds) == charge(anchored(both, answer_s), seconds)
    assert (alone.course is None) == (terms["free_s"] + seconds <= early_s or early_s <= 0)


def test_free_seconds_may_end_in_another_band() -> None:
    where = deck(row(None, 60 * EURO), row(OFFICE, 120 * EURO, free_s=10))
    assert charge(price(where, at("2026-11-23T17:59:45Z")), 30) == Charge(20, 5 * 2_000_000 + 15_000_000)
    assert charge(price(where, at("2026-11-23T17:59:55Z")), 30) == Charge(20, 20_000_000)


@pytest.mark.parametrize(
    ("zone", "answer", "hours", "cost"),
    [
        ("Europe/Amsterdam", "2026-10-25T00:00:00+02:00", 5, 1 + 1 + 2 * 10 + 1),  # 02:00 to 03:00 comes twice
        ("Europe/Amsterdam", "2026-03-29T00:00:00+01:00", 3, 1 + 1 + 1),  # and not at all
        ("Asia/Kolkata", "2026-10-25T00:00:00+05:30", 5, 1 + 1 + 10 + 1 + 1),
    ],
)
def test_the_nights_of_dst(zone: str, answer: str, hours: int, cost: int) -> None:
    night = band(from_="02:00", to="03:00")
    where = deck(row(None, EURO), row(night, 10 * EURO), plan=Plan("plan", timezone=zone))
    assert charge(price(where, at(answer)), hours * 3600).micros == cost * 60_000_000


def test_half_an_hour_of_dst() -> None:
    """Lord Howe: 01:30 to 02:00 comes twice in April, and 02:00 to 02:30 not at all in October."""
    night = band(from_="01:30", to="02:30")
    where = deck(row(None, 0), row(night, EURO), plan=Plan("plan", timezone="Australia/Lord_Howe"))
    assert charge(price(where, at("2026-04-05T00:00:00+11:00")), 5 * 3600).micros == 90_000_000
    assert charge(price(where, at("2026-10-04T00:00:00+10:30")), 5 * 3600).micros == 30_000_000
    assert charge(price(where, at("2026-10-05T00:00:00+11:00")), 5 * 3600).micros == 60_000_000


def test_a_call_over_a_leap_day_and_the_end_of_a_month() -> None:
    where = deck(row(None, EURO), row(band(dates="02-29"), 0))
    assert charge(price(where, at("2028-02-28T23:00:00Z")), 26 * 3600).micros == 2 * 60_000_000
    assert charge(price(where, at("2026-02-28T23:00:00Z")), 2 * 3600).micros == 2 * 60_000_000


def test_a_band_over_midnight_belongs_to_the_day_on_which_it_begins() -> None:
    where = deck(row(None, 0), row(band(days="5", from_="22:00", to="06:00"), EURO))
    assert charge(price(where, at("2026-11-27T21:00:00Z")), 12 * 3600).micros == 8 * 60_000_000
    assert charge(price(where, at("2026-11-28T21:00:00Z")), 12 * 3600).micros == 0


def test_while_one_band_alone_is_near_the_price_is_flat() -> None:
    where = deck(row(None, EURO), row(band(dates="12-25"), 0))
    spring = price(where, at("2026-04-01T00:00:00Z"))
    assert spring.course is None
    assert anchored(spring, at("2026-12-25T12:00:00Z")) is spring
    assert price(where, at("2026-12-01T00:00:00Z")).course is not None


def test_what_no_band_of_the_next_32_days_charges_costs_nothing() -> None:
    where = deck(row(None, 0), row(OFFICE, 0, connection_fee=0))
    monday = price(where, at("2026-11-23T12:00:00Z"))
    assert first_charged_second(monday) is None
    assert affordable_seconds(monday, 0, 10**9) == 10**9


def test_margins_and_bounds_are_judged_in_every_band_that_the_grant_reaches() -> None:
    carrier = deck(row(None, 3 * EURO), row(OFFICE, 5 * EURO), plan=Plan("carrier"))
    found = level(deck(row(None, 4 * EURO)), at("2026-11-23T07:00:00Z"), carrier=carrier)
    rule, bound = MarginRule(min_per_minute=EURO), MaxCost(per_minute=3 * EURO)
    assert margin_kept(rule, found, until_s=3600).kept
    assert cost_within(bound, found, until_s=3600).kept
    for until_s in (3601, None):
        assert not margin_kept(rule, found, until_s=until_s).kept
        assert not cost_within(bound, found, until_s=until_s).kept


def test_a_percentage_that_no_purchase_backs_is_no_rate() -> None:
    where = deck(row(None, EURO), row(OFFICE, None, percent=150 * PERCENT))
    answer = price_levels([("level-0", where)], None, NUMBER, at("2026-11-23T07:00:00Z") * 1000, Direction.OUTBOUND)
    assert answer == NoRate("level-0", "plan", "a percentage of a purchase price that is missing")
