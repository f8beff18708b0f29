"""Purchases in another currency, against fractions."""

from datetime import date, datetime, timedelta
from fractions import Fraction
from math import floor
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from callctl.money import MICROS, parse_exchange_rate
from callctl.numbering import Number, NumberType
from callctl.rating.bands import parse_band
from callctl.rating.builder import DeckBuilder
from callctl.rating.charge import anchored, charge, exact_charge
from callctl.rating.exchange import MAX_RATE, Conversion, DatedRate, Exchange
from callctl.rating.levels import LevelPrice, NoRate, Priced, carrier_price, price_levels
from callctl.rating.margin import MarginRule, MaxCost, cost_within, margin_kept
from callctl.rating.match import Deck
from callctl.rating.tariff import PERCENT, Direction, Plan, Row

NUMBER = Number("+31201234567", "31201234567", "NL", "31", NumberType.FIX)
OUT = Direction.OUTBOUND
DOLLARS = Plan("carrier", currency="USD")
NOON_MS = 1_795_262_400_000  # 2026-11-21T12:00:00Z
CENT = 10**6  # in units of `Row.per_minute`


def deck(*rows: Row, plan: Plan | None = None) -> Deck:
    builder = DeckBuilder(plan or Plan("plan"))
    for row in rows:
        builder.add(row)
    return builder.build()


def usd_eur(rate: str, day: str = "2026-11-01") -> dict[str, Exchange]:
    return {"USD-EUR": Exchange("USD-EUR", (DatedRate(day, parse_exchange_rate(rate)),))}


def found(
    *levels: Deck, carrier: Deck, exchanges: dict[str, Exchange], at_ms: int = NOON_MS
) -> tuple[LevelPrice, ...] | NoRate:
    named = [(f"level-{depth}", each) for depth, each in enumerate(levels)]
    return price_levels(named, carrier, NUMBER, at_ms, OUT, exchanges)


def level(*levels: Deck, carrier: Deck, exchanges: dict[str, Exchange], at_ms: int = NOON_MS) -> LevelPrice:
    answer = found(*levels, carrier=carrier, exchanges=exchanges, at_ms=at_ms)
    assert not isinstance(answer, NoRate), answer
    return answer[0]


def half_up(value: Fraction) -> int:
    return floor(value + Fraction(1, 2))


# ---- Rates by day


def test_a_rate_holds_from_its_day_until_the_next() -> None:
    exchange = Exchange("USD-EUR", (DatedRate("2026-11-01", 9), DatedRate("2026-12-01", 8)))
    assert exchange.on("2026-10-31") is None
    assert exchange.on("2026-11-01") == Conversion("USD", "EUR", 9, "2026-11-01")
    assert exchange.on("2026-11-30") == Conversion("USD", "EUR", 9, "2026-11-30")
    assert exchange.on("2026-12-01") == Conversion("USD", "EUR", 8, "2026-12-01")
    assert exchange.on("2031-01-01") == Conversion("USD", "EUR", 8, "2031-01-01")
    assert Exchange("USD-EUR").on("2026-11-01") is None


@pytest.mark.parametrize(
    ("id", "rates", "why"),
    [
        ("EUR-EUR", (), "no rate in itself"),
        ("USD-EUR", (DatedRate("2026-11-01", 1), DatedRate("2026-11-01", 2)), "two rates from the same day"),
        ("USD-EUR", (DatedRate("2026-11-02", 1), DatedRate("2026-11-01", 2)), "do not ascend"),
        ("USD-EUR", (DatedRate("2026-11-01", 0),), "above 0 and at most 1000000"),
        ("USD-EUR", (DatedRate("2026-11-01", MAX_RATE + 1),), "above 0 and at most 1000000"),
    ],
)
def test_rates_that_say_nothing_are_refused(id: str, rates: tuple[DatedRate, ...], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Exchange(id, rates)


@given(st.integers(0, 3 * 24 * 3600), st.sampled_from(["UTC", "Pacific/Auckland", "America/New_York"]))
def test_the_day_is_that_of_the_setup_where_the_purchase_plan_is_at_home(second: int, zone: str) -> None:
    at_ms = NOON_MS + second * 1000
    days = [date(2026, 11, 19) + timedelta(days=n) for n in range(8)]
    rates = tuple(DatedRate(day.isoformat(), day.day * 10**11) for day in days)
    carrier = deck(Row("31", per_minute=CENT), plan=Plan("carrier", currency="USD", timezone=zone))
    priced = level(
        deck(Row("31", per_minute=CENT)),
        carrier=carrier,
        exchanges={"USD-EUR": Exchange("USD-EUR", rates)},
        at_ms=at_ms,
    )
    local = datetime.fromtimestamp(at_ms / 1000, ZoneInfo(zone)).date()
    assert priced.conversion == Conversion("USD", "EUR", local.day * 10**11, local.isoformat())
    assert priced.buy is not None
    assert Fraction(priced.buy.tiers[0].per_minute, priced.buy.denominator) == Fraction(10_000 * local.day, 10)


# ---- What is converted

RATES = st.integers(1, 10**13)
PRICES = st.integers(0, 10 * 10**8)
MONEY = st.integers(0, 10**7)


@given(RATES, PRICES, MONEY, MONEY, st.none() | MONEY, MONEY, st.integers(1, 4000))
def test_a_purchase_costs_what_fractions_say(
    rate: int, per_minute: int, fee: int, least: int, most: int | None, extra: int, seconds: int
) -> None:
    if most is not None:
        most = max(most, least)
    row = Row(
        "31", per_minute=per_minute, connection_fee=fee, min_charge=least, max_charge=most, extra_fee=extra,
        extra_at_s=600, initial_s=30, increment_s=6,
    )  # fmt: skip
    exact = Fraction(rate, 10**12)
    carrier = deck(row, plan=DOLLARS)
    exchange = {"USD-EUR": Exchange("USD-EUR", (DatedRate("2026-01-01", rate),))}
    buy = level(deck(Row("31", per_minute=CENT)), carrier=carrier, exchanges=exchange).buy
    assert buy is not None
    billed_s = 30 + -(-max(0, seconds - 30) // 6) * 6
    cost = half_up(fee * exact) + Fraction(per_minute, 100) * exact * billed_s / 60
    if seconds > 600:
        cost += half_up(extra * exact)
    cost = max(cost, half_up(least * exact))
    if most is not None:
        cost = min(cost, half_up(most * exact))
    assert exact_charge(buy, seconds) == (billed_s, cost)


@given(RATES, PRICES, st.integers(0, 300 * PERCENT))
def test_percentages_and_margins_are_exact_over_a_conversion(rate: int, per_minute: int, percent: int) -> None:
    exchange = {"USD-EUR": Exchange("USD-EUR", (DatedRate("2026-01-01", rate),))}
    carrier, sell = deck(Row("31", per_minute=per_minute), plan=DOLLARS), deck(Row("31", percent=percent))
    answer = found(sell, carrier=carrier, exchanges=exchange)
    assume(not isinstance(answer, NoRate))
    assert not isinstance(answer, NoRate)
    (priced,) = answer
    assert priced.buy is not None
    bought = Fraction(per_minute, 100) * Fraction(rate, 10**12)
    sold = bought * percent / MICROS
    assert Fraction(priced.sell.tiers[0].per_minute, priced.sell.denominator) == sold
    assert Fraction(priced.buy.tiers[0].per_minute, priced.buy.denominator) == bought
    for least in (percent - 1_000_000, percent - 1_000_000 + 1):
        if least >= 0:
            kept = margin_kept(MarginRule(min_percent=least), priced).kept
            assert kept is (sold >= bought * (1 + Fraction(least, MICROS)))
    for most in (floor(bought * 100), floor(bought * 100) + 1):
        assert cost_within(MaxCost(per_minute=most), priced).kept is (bought <= Fraction(most, 100))


def test_the_worked_figure() -> None:
    """0.0100 USD at 0.9217 is 0.009217 EUR; 175 % of it is 0.01612975 a minute."""
    carrier = deck(Row("31", per_minute=CENT, connection_fee=5_000), plan=DOLLARS)
    sell = deck(Row("31", percent=175 * PERCENT, connection_fee=25_000))
    priced = level(sell, carrier=carrier, exchanges=usd_eur("0.9217"))
    assert (priced.buy_plan, priced.buy_row) == ("carrier", "31")
    assert priced.conversion == Conversion("USD", "EUR", 921_700_000_000, "2026-11-21")
    assert priced.sell.per_minute == "0.01612975"
    assert priced.buy is not None
    assert (priced.buy.per_minute, priced.buy.connection_fee) == ("0.009217", 4_609)
    assert charge(priced.sell, 60).micros == 41_100
    assert charge(priced.buy, 60).micros == 13_800


def test_bands_and_tiers_of_a_purchase_are_converted_each() -> None:
    night = parse_band(("", "20:00", "08:00", "", "", "1"))
    carrier = deck(
        Row("31", per_minute=10 * CENT),
        Row("31", per_minute=5 * CENT, tier_from_s=60),
        Row("31", per_minute=2 * CENT, connection_fee=10_000, band=night),
        plan=DOLLARS,
    )
    priced = level(deck(Row("31", percent=200 * PERCENT)), carrier=carrier, exchanges=usd_eur("0.5"))
    assert priced.buy is not None
    noon_s = NOON_MS // 1000
    for hours, price, cost in (
        (0, priced.buy, 75_000),
        (0, priced.sell, 150_000),
        (9, priced.buy, 25_000),
        (9, priced.sell, 40_000),
    ):
        assert charge(anchored(price, noon_s + hours * 3600), 120).micros == cost
    across = anchored(priced.buy, noon_s + 8 * 3600 - 60)
    assert charge(across, 120).micros == 60_000


def test_of_a_chain_only_the_carrier_is_converted() -> None:
    carrier = deck(Row("31", per_minute=10 * CENT), plan=DOLLARS)
    root, payer = deck(Row("31", percent=150 * PERCENT)), deck(Row("31", percent=200 * PERCENT))
    answer = found(payer, root, carrier=carrier, exchanges=usd_eur("0.9"))
    assert not isinstance(answer, NoRate)
    assert [each.sell.per_minute for each in answer] == ["0.2700", "0.1350"]
    assert [each.conversion is not None for each in answer] == [False, True]


# ---- What cannot be converted


@pytest.mark.parametrize(
    "exchanges",
    [
        {},
        usd_eur("0.9", "2026-11-22"),
        {"EUR-USD": Exchange("EUR-USD", (DatedRate("2026-01-01", 10**12),))},
        {"USD-EUR": Exchange("USD-EUR")},
    ],
)
def test_without_a_rate_of_the_day_there_is_no_purchase_price(exchanges: dict[str, Exchange]) -> None:
    why = "no exchange rate USD-EUR on 2026-11-21"
    carrier = deck(Row("31", per_minute=CENT), plan=DOLLARS)
    priced = level(deck(Row("31", per_minute=CENT)), carrier=carrier, exchanges=exchanges)
    assert (priced.buy, priced.buy_plan, priced.buy_row, priced.conversion, priced.no_buy) == (None,) * 4 + (why,)
    for rule in (margin_kept(MarginRule(min_percent=0), priced), cost_within(MaxCost(per_minute=1), priced)):
        assert (rule.kept, rule.no_buy, rule.saw) == (False, True, f"no purchase price: {why}")
    refused = found(deck(Row("31", percent=100 * PERCENT)), carrier=carrier, exchanges=exchanges)
    assert refused == NoRate("level-0", "plan", "a percentage of a purchase price that is missing", why)
    assert carrier_price(carrier, "EUR", NUMBER, NOON_MS, OUT, exchanges) == why


def test_a_missing_rate_is_told_at_the_level_that_buys_and_no_other() -> None:
    carrier = deck(Row("31", per_minute=CENT), plan=DOLLARS)
    answer = found(
        deck(Row("31", percent=200 * PERCENT)), deck(Row("31", per_minute=CENT)), carrier=carrier, exchanges={}
    )
    assert not isinstance(answer, NoRate)
    assert [bool(each.no_buy) for each in answer] == [False, True]


def test_a_carrier_of_the_same_currency_is_paid_without_a_rate() -> None:
    bought = carrier_price(deck(Row("31", per_minute=CENT)), "EUR", NUMBER, NOON_MS, OUT, {})
    assert isinstance(bought, Priced)
    assert bought.conversion is None
    assert carrier_price(deck(), "EUR", NUMBER, NOON_MS, OUT, {}) == "no row"


def test_a_conversion_is_stored_with_the_call() -> None:
    conversion = Conversion("USD", "EUR", MAX_RATE, "2026-11-21")
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(conversion), type=Conversion) == conversion
