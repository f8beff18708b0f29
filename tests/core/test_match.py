"""Which row prices a call, contradictions between rows, and the prices of a chain of levels."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from callctl.call import packing
from callctl.money import Rounding, format_amount
from callctl.numbering import Number, NumberType
from callctl.rating.builder import MAX_ROWS_OF_PREFIX, DeckBuilder, RowConflictError
from callctl.rating.charge import Price, charge, exact_charge
from callctl.rating.levels import LevelPrice, NoRate, price_levels
from callctl.rating.match import Deck
from callctl.rating.tariff import PERCENT, Direction, IncrementBasis, Plan, Row, TrafficClass

FIX, MOB = NumberType.FIX, NumberType.MOB
OUT, IN, INTERNAL = Direction
NOW_MS = 1_800_000_000_000
EURO = 10**8  # in units of `Row.per_minute`


def number(digits: str, kind: NumberType = FIX, calling_code: str = "31") -> Number:
    return Number("+" + digits, digits, "NL", calling_code, kind)


def deck(*rows: Row, parent: Deck | None = None, plan: Plan | None = None) -> Deck:
    builder = DeckBuilder(plan or Plan("plan"), parent)
    for row in rows:
        builder.add(row)
    return builder.build()


def row(prefix: str, per_minute: int = 1, **terms: object) -> Row:
    return Row(prefix, per_minute=per_minute, **terms)  # type: ignore[arg-type]


def found(where: Deck, to: Number, at_ms: int = NOW_MS, direction: Direction = OUT) -> str | None:
    match = where.find(to, at_ms, direction)
    return match.rows[0].name if match else None


def priced(
    *levels: Deck, carrier: Deck | None = None, to: Number | None = None, at_ms: int = NOW_MS
) -> tuple[LevelPrice, ...] | NoRate:
    named = [(f"level-{depth}", each) for depth, each in enumerate(levels)]
    return price_levels(named, carrier, to or number("31201234567"), at_ms, OUT)


def prices(*levels: Deck, carrier: Deck | None = None, to: Number | None = None) -> tuple[LevelPrice, ...]:
    answer = priced(*levels, carrier=carrier, to=to)
    assert not isinstance(answer, NoRate), answer
    return answer


STANDAARD = deck(
    Row("", "Standaard", FIX, connection_fee=25_000, percent=175 * PERCENT),
    Row("", "Standaard", MOB, connection_fee=25_000, percent=175 * PERCENT),
    Row("31", "Netherlands", FIX, connection_fee=25_000, per_minute=2_000_000),
    Row("31", "Netherlands", MOB, connection_fee=25_000, per_minute=8_000_000),
    plan=Plan("standaard", buy_plan="carrier"),
)
CARRIER = deck(row("", EURO // 10), plan=Plan("carrier"))


@pytest.mark.parametrize(
    ("to", "seconds", "amount", "name"),
    [
        (number("31612345678", MOB), 90, "0.1450", "31:MOB"),
        (number("31201234567", FIX), 61, "0.0453", "31:FIX"),
        (number("4930123456", FIX, "49"), 60, "0.2000", "default:FIX"),
    ],
)
def test_the_worked_plan(to: Number, seconds: int, amount: str, name: str) -> None:
    [level] = prices(STANDAARD, carrier=CARRIER, to=to)
    assert format_amount(charge(level.sell, seconds).micros) == amount
    assert (level.plan, level.row) == ("standaard", name)
    assert (level.buy_plan, level.buy_row, level.type) == ("carrier", "default", to.type)
    assert level.buy is not None
    assert level.buy.per_minute == "0.1000"


HEAD = "010101"  # longer prefixes are kept by their first six digits
DIGITS = st.text("01", max_size=6) | st.text("01", max_size=5).map(HEAD.__add__)
PREFIXES = st.sets(DIGITS, max_size=20)


@given(PREFIXES, DIGITS.filter(bool))
def test_the_longest_prefix_wins(prefixes: set[str], digits: str) -> None:
    where = deck(*(row(prefix) for prefix in prefixes))
    longest = max((prefix for prefix in prefixes if digits.startswith(prefix)), key=len, default=None)
    expected = None if longest is None else longest or "default"
    assert found(where, number(digits, calling_code="9")) == expected


@given(PREFIXES, PREFIXES, DIGITS.filter(bool))
def test_inherited_rows_count_where_they_are_longer(own: set[str], inherited: set[str], digits: str) -> None:
    parent = deck(*(row(prefix, destination="inherited") for prefix in inherited))
    where = deck(*(row(prefix, destination="own") for prefix in own), parent=parent)
    candidates = [(len(prefix), "own") for prefix in own if digits.startswith(prefix)]
    candidates += [(len(prefix), "inherited") for prefix in inherited if digits.startswith(prefix)]
    match = where.find(number(digits, calling_code="9"), NOW_MS, OUT)
    assert (match.rows[0].destination if match else None) == max(candidates, default=(0, None))[1]


FILTERS = deck(row("31", type=FIX), row("31", type=MOB))


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (FIX, "31:FIX"),
        (MOB, "31:MOB"),
        (NumberType.FIX_OR_MOB, "31:FIX"),
        (NumberType.VOIP, "31:FIX"),
        (NumberType.UAN, "31:FIX"),
        (NumberType.VOICEMAIL, "31:FIX"),
        (NumberType.UNKNOWN, "31:FIX"),
        (NumberType.PAGER, "31:MOB"),
        (NumberType.PREMIUM, None),
        (NumberType.FREEPHONE, None),
        (NumberType.SHARED, None),
        (NumberType.PERSONAL, None),
    ],
)
def test_a_country_row_is_for_its_types_of_number(kind: NumberType, name: str | None) -> None:
    assert found(FILTERS, number("31900123", kind)) == name


def test_a_number_that_may_be_mobile_takes_a_mobile_row_where_there_is_no_other() -> None:
    assert found(deck(row("1", type=MOB)), number("12125550123", NumberType.FIX_OR_MOB, "1")) == "1:MOB"


def test_an_exact_type_then_a_near_one_then_none() -> None:
    voip = number("31851234", NumberType.VOIP)
    untyped, fix, exact = row("31"), row("31", type=FIX), row("31", type=NumberType.VOIP)
    assert found(deck(untyped), voip) == "31"
    assert found(deck(untyped, fix), voip) == "31:FIX"
    assert found(deck(untyped, fix, exact), voip) == "31:VOIP"


def test_a_premium_number_passes_its_countrys_rows_and_falls_to_the_default() -> None:
    where = deck(row("31", type=FIX), row("", type=NumberType.PREMIUM))
    assert found(where, number("31900123", NumberType.PREMIUM)) == "default:PREMIUM"


def test_a_specific_prefix_states_its_type() -> None:
    where = deck(row("3190", type=NumberType.PREMIUM, destination="Premium"))
    match = where.find(number("31900123", FIX), NOW_MS, OUT)
    assert match is not None
    assert match.type is NumberType.PREMIUM


def test_the_type_of_a_country_row_is_that_of_the_number() -> None:
    match = FILTERS.find(number("31851234", NumberType.VOIP), NOW_MS, OUT)
    assert match is not None
    assert match.type is NumberType.VOIP


def test_at_a_specific_prefix_the_rows_type_still_decides_between_rows() -> None:
    where = deck(row("3161", type=FIX), row("3161", type=MOB))
    assert found(where, number("31612345678", MOB)) == "3161:MOB"


def test_inbound_and_outbound_rows_are_apart_and_internal_calls_look_outbound() -> None:
    where = deck(row("31", type=FIX), row("", direction=IN))
    to = number("31201234567")
    assert found(where, to) == "31:FIX"
    assert found(where, to, direction=INTERNAL) == "31:FIX"
    assert found(where, to, direction=IN) == "default"
    assert found(FILTERS, to, direction=IN) is None


def test_validity_and_the_price_that_takes_over() -> None:
    where = deck(
        row("31", destination="old"),
        row("31", destination="new", valid_from_ms=1000, valid_until_ms=2000),
    )

    def name(at_ms: int) -> str:
        match = where.find(number("31201234567"), at_ms, OUT)
        assert match is not None
        return match.rows[0].destination

    assert [name(at_ms) for at_ms in (999, 1000, 1999, 2000)] == ["old", "new", "new", "old"]
    lone = deck(row("31", valid_from_ms=1000, valid_until_ms=2000))
    assert [found(lone, number("312"), at_ms) for at_ms in (999, 1000, 1999, 2000)] == [None, "31", "31", None]


def test_a_plan_is_what_it_extends_until_it_is_effective() -> None:
    old = deck(row("31", 1), plan=Plan("old", round_seconds=60))
    new = deck(row("31", 2), parent=old, plan=Plan("new", effective_ms=1000, extends="old"))
    heir = deck(row("49", 3), parent=new, plan=Plan("heir", extends="new"))
    to = number("31201234567")
    for at_ms, plan, per_minute in ((999, "old", 1), (1000, "new", 2)):
        [level] = priced(new, at_ms=at_ms)  # type: ignore[misc]
        assert (level.plan, level.sell.tiers[0].per_minute) == (plan, per_minute)
        match = heir.find(to, at_ms, OUT)
        assert match is not None
        assert match.rows[0].per_minute == per_minute
    assert isinstance(priced(deck(row("31"), plan=Plan("p", effective_ms=NOW_MS + 1))), NoRate)


@pytest.mark.parametrize(
    ("first", "second", "says"),
    [
        (row("31"), row("31", 2), "the same prefix, type, direction, validity and tier"),
        (row("31"), row("31", valid_until_ms=5), "at the same time"),
        (row("31", valid_until_ms=6), row("31", valid_from_ms=5), "at the same time"),
        (row("31", valid_from_ms=5), row("31", valid_until_ms=6), "at the same time"),
        (row("31", connection_fee=2), row("31", tier_from_s=60, connection_fee=1), "connection_fee"),
        (row("31", tier_from_s=60, grace_s=1), row("31"), "grace_s"),
    ],
)
def test_rows_that_contradict_each_other_are_refused(first: Row, second: Row, says: str) -> None:
    builder = DeckBuilder(Plan("p"))
    builder.add(first)
    with pytest.raises(RowConflictError, match=says) as caught:
        builder.add(second)
    assert caught.value.other is first


@pytest.mark.parametrize(
    "other",
    [
        row("31", type=FIX),
        row("31", direction=IN),
        row("31", valid_from_ms=5),
        row("31", tier_from_s=60),
        row("31", tier_from_s=60, connection_fee=7, increment_s=6),
        row("3"),
    ],
)
def test_rows_that_differ_stand_side_by_side(other: Row) -> None:
    deck(row("31", connection_fee=7), other)


def test_a_stepped_price_starts_at_0() -> None:
    builder = DeckBuilder(Plan("p"))
    builder.add(row("31", tier_from_s=60))
    with pytest.raises(RowConflictError, match="without a row from second 0"):
        builder.build()


def test_a_prefix_has_a_bounded_number_of_rows() -> None:
    builder = DeckBuilder(Plan("p"))
    for at_ms in range(MAX_ROWS_OF_PREFIX):
        builder.add(row("31", valid_from_ms=at_ms))
    with pytest.raises(RowConflictError, match="more than 256 rows"):
        builder.add(row("31", valid_from_ms=MAX_ROWS_OF_PREFIX))


def test_a_plan_does_not_extend_one_of_another_currency() -> None:
    with pytest.raises(ValueError, match="plan b in USD extends a in EUR"):
        DeckBuilder(Plan("b", currency="USD"), deck(plan=Plan("a")))


def test_a_stepped_price_takes_its_rows_together() -> None:
    [level] = prices(
        deck(
            row("31", 2 * EURO, initial_s=60, increment_s=60, connection_fee=50_000),
            row("31", EURO, tier_from_s=60, increment_s=6),
            row("31", 9 * EURO, type=MOB),
        )
    )
    assert charge(level.sell, 61).micros == 2_150_000
    assert charge(level.sell, 61).billed_s == 66


def test_row_terms_win_over_the_plans_and_the_plans_are_the_default() -> None:
    plan = Plan("p", round_seconds=60, round_decimals=2, rounding=Rounding.UP, duration_rounding=Rounding.DOWN)
    terms = {"min_charge": 1, "max_charge": 2, "grace_s": 3, "free_s": 4, "extra_at_s": 5, "extra_fee": 6}
    [level] = prices(deck(row("31", connection_fee=7, **terms), plan=plan))
    sell = level.sell
    assert [tier.increment_s for tier in sell.tiers] == [60]
    assert (sell.decimals, sell.rounding, sell.duration_rounding) == (2, Rounding.UP, Rounding.DOWN)
    assert {name: getattr(sell, name) for name in terms} == terms
    assert sell.connection_fee == 7
    [level] = prices(deck(row("31", initial_s=30, increment_s=6), plan=plan))
    assert [tier.increment_s for tier in level.sell.tiers] == [30, 6]
    total = Plan("p", increment_basis=IncrementBasis.TOTAL)
    [level] = prices(deck(row("31", initial_s=20, increment_s=6), plan=total))
    assert charge(level.sell, 21).billed_s == 24


@pytest.mark.parametrize(
    ("terms", "frees"),
    [({}, True), ({"initial_s": 60}, False), ({"min_charge": 1}, False), ({"initial_s": 0, "increment_s": 60}, True)],
)
def test_where_the_minimum_beats_grace(terms: dict[str, int], frees: bool) -> None:
    plan = Plan("p", grace_beats_minimum=False)
    [level] = prices(deck(row("31", EURO, grace_s=3, **terms), plan=plan))
    assert (charge(level.sell, 3).billed_s == 0) is frees


def test_a_row_without_a_destination_has_that_of_its_purchase() -> None:
    named, nameless = deck(row("31", destination="Netherlands")), deck(row("31"))
    assert [level.destination for level in prices(nameless, named)] == ["Netherlands", "Netherlands"]
    assert [level.destination for level in prices(nameless, carrier=named)] == ["Netherlands"]
    assert [level.destination for level in prices(nameless)] == [""]


def test_rows_that_cost_the_same_have_one_price() -> None:
    """What is kept by price is found without comparing what they are made of."""
    where = deck(row("31", 7), row("32", 7), row("33", 8))
    sold = [prices(where, to=number(digits))[0].sell for digits in ("3161", "3261", "3361")]
    assert sold[0] is sold[1]
    assert sold[0] != sold[2]


def test_the_class_is_the_rows_or_empty() -> None:
    [level] = prices(deck(row("31", traffic_class=TrafficClass.PREMIUM)))
    assert level.traffic_class == "PREMIUM"
    [level] = prices(deck(row("31")))
    assert level.traffic_class == ""


def test_a_percentage_is_of_the_level_above() -> None:
    """Payer, reseller, root: 200 % of 150 % of the carrier's 0.10 is 0.30; each buys what the one above sells."""
    payer = deck(Row("", percent=200 * PERCENT), plan=Plan("payer"))
    reseller = deck(Row("", percent=150 * PERCENT), plan=Plan("reseller", buy_plan="ignored"))
    levels = prices(payer, reseller, carrier=CARRIER)
    assert [level.plan for level in levels] == ["payer", "reseller"]
    assert [level.sell.per_minute for level in levels] == ["0.3000", "0.1500"]
    assert [level.buy_plan for level in levels] == ["reseller", "carrier"]
    assert levels[0].buy == levels[1].sell


def test_a_percentage_without_a_purchase_is_no_rate() -> None:
    percent = deck(Row("", percent=100 * PERCENT), plan=Plan("percent"))
    empty = deck(plan=Plan("carrier"))
    dollars = deck(row(""), plan=Plan("carrier", currency="USD"))
    missing = NoRate("level-0", "percent", "a percentage of a purchase price that is missing")
    for carrier in (None, empty):
        assert priced(percent, carrier=carrier) == missing
    unexchanged = replace(missing, no_buy="no exchange rate USD-EUR on 2027-01-15")
    assert priced(percent, carrier=dollars) == unexchanged


def test_a_level_without_a_row_is_named() -> None:
    assert priced(deck(row("")), deck(row("49")), carrier=CARRIER) == NoRate("level-1", "plan", "no row")


def test_an_amount_needs_no_purchase() -> None:
    [level] = prices(deck(row("")))
    assert (level.buy_plan, level.buy_row, level.buy) == (None, None, None)


@given(st.lists(st.integers(0, 10_000_000), max_size=5), st.integers(0, 10**8), st.integers(1, 10_000))
def test_percentages_are_exact_over_levels(percents: list[int], bought: int, seconds: int) -> None:
    """Up to five levels of up to 1,000.0000 %, of a price with eight decimals."""
    carrier = deck(row("", bought), plan=Plan("carrier"))
    levels = prices(*(deck(Row("", percent=percent)) for percent in percents), carrier=carrier)
    exact = Fraction(bought, 100)
    for level, percent in zip(reversed(levels), reversed(percents), strict=True):
        exact *= Fraction(percent, 1_000_000)
        assert exact_charge(level.sell, seconds)[1] == exact * seconds / 60
        assert packing.Decoder(Price).decode(packing.encode(level.sell)) == level.sell


def test_percentages_of_percentages_stay_countable() -> None:
    hundredfold = deck(Row("", percent=10_000 * PERCENT), plan=Plan("hundredfold"))
    carrier = deck(row("", EURO), plan=Plan("carrier"))
    levels = prices(*[hundredfold] * 3, carrier=carrier)
    assert levels[0].sell.per_minute == "1000000.0000"
    answer = priced(*[hundredfold] * 4, carrier=carrier)
    assert answer == NoRate("level-0", "hundredfold", "a percentage that makes more than 1000000 per minute")


def test_percentages_of_percentages_are_exact_however_fine_they_are() -> None:
    fine = deck(Row("", percent=1_234_567), plan=Plan("fine"))
    levels = prices(*[fine] * 6, carrier=deck(row("", 12_345_679), plan=Plan("carrier")))
    exact = Fraction(12_345_679, 100) * Fraction(1_234_567, 1_000_000) ** 6
    assert exact_charge(levels[0].sell, 7) == (7, exact * 7 / 60)


def test_a_percentage_of_a_stepped_purchase_goes_tier_by_tier() -> None:
    carrier = deck(row("", EURO, increment_s=1), row("", EURO // 2, tier_from_s=60), plan=Plan("carrier"))
    sell = deck(
        Row("", percent=200 * PERCENT, connection_fee=1_000_000),
        Row("", percent=300 * PERCENT, tier_from_s=120),
        Row("", per_minute=0, tier_from_s=180),
    )
    [level] = prices(sell, carrier=carrier)
    assert charge(level.sell, 600).micros == 1_000_000 + 2_000_000 + 1_000_000 + 1_500_000
