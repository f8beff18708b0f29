"""What a deck earns over its buy plan, wherever the purchase price under a row changes."""

from fractions import Fraction

import pytest

from callctl.numbering import NumberType
from callctl.rating.builder import DeckBuilder
from callctl.rating.decks.margins import DeckMargin, Purchases, all_rows, judge_deck
from callctl.rating.margin import MarginRule
from callctl.rating.match import Deck
from callctl.rating.tariff import PERCENT, Band, Direction, Plan, Row

NOW_MS = 1_767_265_200_000  # 2026-01-01T11:00Z
CENT = 1_000_000  # per minute
FIX, MOB = NumberType.FIX, NumberType.MOB
NOTHING = MarginRule(min_per_minute=0)


def deck(*rows: Row, plan: str = "plan", parent: Deck | None = None) -> Deck:
    builder = DeckBuilder(Plan(plan), parent)
    for row in rows:
        builder.add(row)
    return builder.build()


def judged(sell: Deck, buy: Deck, rule: MarginRule = NOTHING) -> DeckMargin:
    return judge_deck(sell, buy, rule, NOW_MS)


def short(sell: Deck, buy: Deck, rule: MarginRule = NOTHING) -> list[tuple[str, str, int]]:
    """Row, where it does worst, and what is missing in cents."""
    found = judged(sell, buy, rule).short
    return [(each.row.name, each.prefix, int(each.short / 10_000)) for each in found]


def test_a_row_below_its_purchase() -> None:
    sell, buy = deck(Row("31", per_minute=2 * CENT)), deck(Row("31", per_minute=5 * CENT))
    [found] = judged(sell, buy).short
    assert (found.row.prefix, found.buy_row.prefix) == ("31", "31")
    assert (found.sell, found.buy, found.short) == (Fraction(20_000), Fraction(50_000), Fraction(30_000))
    assert judged(sell, deck(Row("31", per_minute=2 * CENT))) == DeckMargin((), ())


@pytest.mark.parametrize(
    ("rule", "missing"),
    [
        (MarginRule(min_per_minute=5 * CENT), []),
        (MarginRule(min_per_minute=6 * CENT), [("31", "31", 1)]),
        (MarginRule(min_percent=100 * PERCENT), []),
        (MarginRule(min_percent=140 * PERCENT), [("31", "31", 2)]),
        (MarginRule(min_per_minute=6 * CENT, min_percent=140 * PERCENT), [("31", "31", 2)]),
    ],
)
def test_a_least_margin(rule: MarginRule, missing: list[tuple[str, str, int]]) -> None:
    assert short(deck(Row("31", per_minute=10 * CENT)), deck(Row("31", per_minute=5 * CENT)), rule) == missing


def test_a_dearer_prefix_of_the_purchase_is_seen() -> None:
    buy = deck(Row("31", per_minute=CENT), Row("3197", per_minute=9 * CENT), Row("31970", per_minute=8 * CENT))
    assert short(deck(Row("31", per_minute=2 * CENT)), buy) == [("31", "3197", 7)]
    overridden = deck(Row("31", per_minute=2 * CENT), Row("3197", per_minute=10 * CENT))
    assert short(overridden, buy) == []


def test_a_cheaper_prefix_of_the_sale_is_seen() -> None:
    sell = deck(Row("31", per_minute=5 * CENT), Row("316", per_minute=CENT), Row("", per_minute=9 * CENT))
    assert short(sell, deck(Row("31", per_minute=3 * CENT))) == [("316", "316", 2)]


def test_types_are_judged_apart() -> None:
    sell = deck(Row("31", type=FIX, per_minute=2 * CENT), Row("31", type=MOB, per_minute=4 * CENT))
    buy = deck(Row("31", type=FIX, per_minute=CENT), Row("31", type=MOB, per_minute=5 * CENT))
    assert short(sell, buy) == [("31:MOB", "31", 1)]
    assert short(deck(Row("31", per_minute=2 * CENT)), buy) == [("31", "31", 3)]


def test_a_prefix_without_a_type_is_judged_as_what_its_numbers_are() -> None:
    buy = deck(Row("31", type=FIX, per_minute=CENT), Row("31", type=MOB, per_minute=5 * CENT))
    assert short(deck(Row("316", per_minute=2 * CENT)), buy) == [("316", "316", 3)]
    assert short(deck(Row("3120", per_minute=2 * CENT)), buy) == []


def test_percentages() -> None:
    buy = deck(Row("31", per_minute=10 * CENT), Row("316", per_minute=20 * CENT))
    assert short(deck(Row("", percent=100 * PERCENT)), buy) == []
    assert short(deck(Row("", percent=90 * PERCENT)), buy) == [("default", "316", 2)]


def test_tiers_and_bands_are_held_against_each_other_where_they_meet() -> None:
    night = Band(from_min=22 * 60, until_min=6 * 60, weight=1)
    buy = deck(Row("31", per_minute=5 * CENT), Row("31", per_minute=CENT, band=night))
    assert short(deck(Row("31", per_minute=6 * CENT), Row("31", per_minute=2 * CENT, band=night)), buy) == []
    assert short(deck(Row("31", per_minute=4 * CENT), Row("31", per_minute=2 * CENT, band=night)), buy) == [
        ("31", "31", 1)
    ]
    stepped = deck(Row("31", per_minute=9 * CENT), Row("31", per_minute=2 * CENT, tier_from_s=60))
    assert short(stepped, buy) == [("31", "31", 3)]


def test_future_rows_are_judged_when_they_begin() -> None:
    later = NOW_MS + 86_400_000
    sell = deck(Row("31", per_minute=5 * CENT))
    buy = deck(Row("31", per_minute=CENT, valid_until_ms=later), Row("31", per_minute=7 * CENT, valid_from_ms=later))
    assert short(sell, buy) == [("31", "31", 2)]
    over = deck(Row("31", per_minute=9 * CENT, valid_until_ms=NOW_MS), Row("31", per_minute=CENT, valid_from_ms=NOW_MS))
    assert short(sell, over) == []


def test_rows_for_which_nothing_is_bought_are_named() -> None:
    sell = deck(Row("31", per_minute=CENT), Row("32", per_minute=CENT), Row("33", percent=100 * PERCENT))
    assert [row.prefix for row in judged(sell, deck(Row("31", per_minute=CENT))).unbought] == ["32", "33"]


def test_inherited_rows_are_not_this_decks() -> None:
    parent = deck(Row("316", per_minute=1), plan="parent")
    sell = deck(Row("31", per_minute=5 * CENT), parent=parent)
    buy = deck(Row("31", per_minute=CENT), Row("316", per_minute=9 * CENT))
    assert judged(sell, buy) == DeckMargin((), ())
    assert short(deck(Row("31", per_minute=CENT)), deck(plan="heir", parent=buy)) == [("31", "316", 8)]


def test_a_percentage_of_what_is_not_bought_at_all() -> None:
    buy = deck(
        Row("316", per_minute=CENT), Row("44", per_minute=CENT), Row("32", per_minute=1, direction=Direction.INBOUND)
    )
    rows = [
        Row("", percent=1), Row("31", percent=1), Row("3161", percent=1), Row("4420", percent=1),
        Row("33", percent=1), Row("32", percent=1), Row("3", percent=1), Row("1", per_minute=1),
    ]  # fmt: skip
    assert [rows[index].prefix for index in Purchases(all_rows(buy), NOW_MS).missing(rows)] == ["33", "32"]
    assert list(Purchases((), NOW_MS).missing([Row("", percent=1)])) == [0]


def test_what_is_bought_no_more_is_no_purchase() -> None:
    over, coming = Row("31", per_minute=1, valid_until_ms=NOW_MS), Row("32", per_minute=1, valid_from_ms=NOW_MS + 1)
    percentages = [Row("31", percent=1), Row("32", percent=1)]
    assert list(Purchases((over, coming), NOW_MS).missing(percentages)) == [0]
    assert list(Purchases((over, coming), NOW_MS - 1).missing(percentages)) == []
