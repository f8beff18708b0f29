"""What decks have said of one number is said of another where they would say the same, and only there."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callctl.errors import InvariantViolation
from callctl.numbering import Number, NumberType
from callctl.rating import ladder as ladder_module
from callctl.rating.builder import DeckBuilder, RowConflictError
from callctl.rating.exchange import DatedRate, Exchange
from callctl.rating.ladder import Ladder, Ladders
from callctl.rating.levels import LevelPrice, NoRate, price_levels
from callctl.rating.match import Deck
from callctl.rating.tariff import PERCENT, Direction, Plan, Row

NOW_MS = 1_800_000_000_000
EXCHANGES = {"USD-EUR": Exchange("USD-EUR", (DatedRate("2020-01-01", 900_000_000_000),))}
MOB = NumberType.MOB

TIMES = st.sampled_from((NOW_MS - 1, NOW_MS, NOW_MS + 1))
DIGITS = st.text("12", max_size=10).map("31".__add__)
ROWS = st.builds(
    Row,
    st.one_of(st.just(""), DIGITS),
    per_minute=st.integers(1, 5).map(PERCENT.__mul__),
    type=st.sampled_from((None, None, None, MOB, NumberType.FIX)),
    direction=st.sampled_from((Direction.OUTBOUND, Direction.OUTBOUND, Direction.OUTBOUND, Direction.INBOUND)),
    valid_from_ms=st.sampled_from((None, None, None, NOW_MS)),
    valid_until_ms=st.sampled_from((None, None, None, NOW_MS + 1)),
)
PLANS = st.builds(
    Plan,
    st.just("plan"),
    currency=st.sampled_from(("EUR", "EUR", "USD")),
    effective_ms=st.sampled_from((None, None, None, NOW_MS)),
)
NUMBERS = st.tuples(DIGITS, st.sampled_from((MOB, NumberType.FIX, NumberType.PREMIUM)))
CALLS = st.tuples(NUMBERS, TIMES, st.sampled_from((Direction.OUTBOUND, *Direction)))


def deck(*rows: Row, plan: Plan | None = None, parent: Deck | None = None) -> Deck:
    builder = DeckBuilder(plan or Plan("plan"), parent)
    for row in rows:
        try:
            builder.add(row)
        except RowConflictError:
            continue
    return builder.build()


def row(prefix: str, cents: int) -> Row:
    return Row(prefix, per_minute=cents * 10**6)


def inheriting(plan: Plan, rows: list[Row], inherited: list[Row]) -> Deck:
    return deck(*rows, plan=plan, parent=deck(*inherited, plan=Plan("base", plan.currency)))


DECKS = st.builds(inheriting, PLANS, st.lists(ROWS, max_size=12), st.lists(ROWS, max_size=4))


def number(digits: str, kind: NumberType = MOB) -> Number:
    return Number(f"+{digits}", digits, "NL", "31", kind)


def levels_of(decks: list[Deck]) -> list[tuple[str, Deck]]:
    return [(f"level-{depth}", each) for depth, each in enumerate(decks)]


def ask(ladder: Ladder, decks: list[Deck], digits: str) -> tuple[LevelPrice, ...] | NoRate:
    return ladder.prices(levels_of(decks), number(digits), NOW_MS, Direction.OUTBOUND, {})


@given(st.lists(DECKS, min_size=1, max_size=2), st.none() | DECKS, st.lists(CALLS, min_size=2, max_size=20))
def test_every_call_is_priced_as_if_it_were_the_first(
    decks: list[Deck], carrier: Deck | None, calls: list[tuple[tuple[str, NumberType], int, Direction]]
) -> None:
    levels = levels_of(decks)
    ladder = Ladders().of(levels, carrier)
    for (digits, kind), at_ms, direction in calls:
        call = number(digits, kind), at_ms, direction, EXCHANGES
        assert ladder.prices(levels, *call) == price_levels(levels, carrier, *call)


def test_numbers_that_begin_alike_are_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    decks = [deck(row("31", 1), row("316123", 2), row("31612345", 3))]
    ladder = Ladders().of(levels_of(decks), deck(row("", 1)))
    first = ask(ladder, decks, "31612312345"), ask(ladder, decks, "31612345678")
    assert first[0] != first[1]

    def never(*_: object) -> None:
        raise InvariantViolation("looked up again")

    monkeypatch.setattr(ladder_module, "price_levels", never)
    assert (ask(ladder, decks, "31612354321"), ask(ladder, decks, "31612345000")) == first
    with pytest.raises(InvariantViolation):
        ask(ladder, decks, "31612212345")


@pytest.mark.parametrize(
    "decks",
    [
        [deck(Row("316123", per_minute=10**6, valid_until_ms=NOW_MS + 1), row("31", 2))],
        [deck(Row("316123", per_minute=10**6, type=NumberType.FIX), row("31", 2))],
        [deck(Row("316123", per_minute=10**6, direction=Direction.INBOUND), row("31", 2))],
        [deck(row("31", 2), row("316123456", 3))],
        [deck(row("31", 2), plan=Plan("to come", effective_ms=NOW_MS))],
        [deck(row("31", 2)), deck(row("31", 2), plan=Plan("american", "USD"))],
    ],
    ids=["for some time", "of a type", "inbound", "more than two digits more", "dated", "another currency"],
)
def test_what_may_be_otherwise_is_looked_up_for_every_number(
    decks: list[Deck], monkeypatch: pytest.MonkeyPatch
) -> None:
    ladder, asked = Ladders().of(levels_of(decks), None), list[str]()

    def counted(*of: object) -> NoRate:
        asked.append("again")
        return NoRate("", "", "")

    ask(ladder, decks, "31612399999")
    monkeypatch.setattr(ladder_module, "price_levels", counted)
    ask(ladder, decks, "31612399999")
    assert asked


def test_no_more_is_kept_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """By all ladders together, and of them: many have a plan of their own, and all plans many destinations."""
    monkeypatch.setattr(ladder_module, "BEGINNINGS_KEPT", 2)
    monkeypatch.setattr(ladder_module, "LADDERS_KEPT", 2)
    ladders, digits = Ladders(), range(5)
    of_plans = [[deck(*(row(f"31612{digit}", digit + dearer) for digit in digits))] for dearer in (1, 6, 11)]
    of_ladders = [(ladders.of(levels_of(decks), None), decks) for decks in of_plans]
    asked = [(*of_ladder, f"31612{digit}99999") for digit in digits for of_ladder in of_ladders]
    before = [ask(*each) for each in asked]
    assert len(set(before)) == len(before)
    assert [ask(*each) for each in reversed(asked)] == before[::-1]
    assert len(ladders._kept.prices) <= 2
    assert len(ladders._kept.longer) <= 2
    assert len(ladders._by_decks) <= 2


def test_chains_with_the_same_decks_have_one_ladder() -> None:
    ladders, own, carrier = Ladders(), deck(row("31", 1)), deck(row("", 1))
    ladder = ladders.of([("a", own)], carrier)
    assert ladders.of([("b", own)], carrier) is ladder
    assert ladders.of([("a", own)], None) is not ladder
    ladders.clear()
    assert ladders.of([("a", own)], carrier) is not ladder
