"""Decks from CSV as people have them, every error by its line, and back to CSV."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callctl.errors import DeckError
from callctl.numbering import NumberType
from callctl.rating.decks.deck import MAX_ERRORS, STEP_LINES, DeckImport, export_deck, import_deck
from callctl.rating.decks.difference import Change, DeckDiff, Movement, diff_decks
from callctl.rating.tariff import PERCENT, Band, Direction, Plan, Row, TrafficClass

PLAN = Plan("plan", timezone="Europe/Amsterdam")
NOON_MS = 1_767_265_200_000  # 2026-01-01T12:00:00+01:00


def read(text: str) -> DeckImport:
    return import_deck(text, PLAN)


def rows(text: str) -> list[Row]:
    result = read(text)
    assert result.errors == ()
    return list(result.rows)


def errors(text: str) -> list[str]:
    result = read(text)
    assert result.rows == ()
    return [str(error) for error in result.errors]


def cell(column: str, value: str) -> Row:
    """The one row of a deck that states this one cell beside a price."""
    price = "" if column in ("per_minute", "percent") else ";per_minute"
    [row] = rows(f"prefix;{column}{price}\n31;{value}{price and ';1'}\n")
    return row


def refusal(column: str, value: str) -> str:
    price = "" if column in ("per_minute", "percent") else ";per_minute"
    [error] = errors(f"prefix;{column}{price}\n31;{value}{price and ';1'}\n")
    assert error.startswith("line 2: ")
    return error.removeprefix("line 2: ")


def test_the_worked_plan_as_a_spreadsheet_saves_it() -> None:
    assert rows(
        "\ufeffPrefix;Destination;Type;Connection_Fee;Per_Minute;Percent\r\n"
        ";Standaard;FIX;0,0250;;175 %\r\n"
        ";;;;;\r\n"
        "\r\n"
        '31;"Netherlands; all";mob;0.0250;0,0800;\r\n'
    ) == [
        Row("", "Standaard", NumberType.FIX, connection_fee=25_000, percent=175 * PERCENT),
        Row("31", "Netherlands; all", NumberType.MOB, connection_fee=25_000, per_minute=8_000_000),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "prefix;destination;per_minute\n31;NL;0,05\n",
        'prefix,destination,per_minute\n31,NL,"0,05"\n',
        "prefix\tdestination\tper_minute\n31\tNL\t0,05\n",
        "per_minute;prefix;destination\n0.05;31;NL\n",
        "\n \n prefix ; destination ; per_minute \n 31 ; NL ; 0.05 \n",
        'prefix;destination;per_minute;type\n"31";"NL";"0.05"\n',
        "prefix;destination;per_minute;days;from;to;dates;holidays;weight\n31;NL;0.05;;;;;;\n",
        "prefix|destination|per_minute\n31|NL|0,05\n",
        "sep=;\nPrices of ACME, 2026\n\nPrefix;Destination;Per Minute;\n31;NL;0,05;\n",
        "prefix;destination;per_minute\n# 30;Old;0,01\n31;NL;0,05\nTotal;1 row;0,05\n",
    ],
)
def test_delimiters_decimals_order_and_blanks(text: str) -> None:
    assert rows(text) == [Row("31", "NL", per_minute=5_000_000)]


@pytest.mark.parametrize(
    ("column", "value", "field", "stated"),
    [
        ("destination", "Nederland", "destination", "Nederland"),
        ("destination", "'=1+1", "destination", "=1+1"),
        ("destination", "=1+1", "destination", "=1+1"),
        ("destination", '"Netherlands\r\nmobile"', "destination", "Netherlands mobile"),
        ("destination", "R\u00e9union\u00a0Mobile", "destination", "R\u00e9union Mobile"),
        ("destination", "'s-Gravenhage", "destination", "'s-Gravenhage"),
        ("type", "premium", "type", NumberType.PREMIUM),
        ("connection_fee", "0,0250", "connection_fee", 25_000),
        ("connection_fee", "1.234,50", "connection_fee", 1_234_500_000),
        ("connection_fee", "1,234.50", "connection_fee", 1_234_500_000),
        ("connection_fee", "1 234,5", "connection_fee", 1_234_500_000),
        ("connection_fee", "1'234", "connection_fee", 1_234_000_000),
        ("connection_fee", "0.125", "connection_fee", 125_000),
        ("connection_fee", "1234.567", "connection_fee", 1_234_567_000),
        ("connection_fee", ",05", "connection_fee", 50_000),
        ("connection_fee", "€ 0,05", "connection_fee", 50_000),
        ("connection_fee", "0.05 EUR", "connection_fee", 50_000),
        ("per_minute", "0.00000001", "per_minute", 1),
        ("per_minute", "0", "per_minute", 0),
        ("percent", "175.5 %", "percent", 1_755_000),
        ("percent", "100", "percent", 100 * PERCENT),
        ("initial_s", "0", "initial_s", 0),
        ("increment_s", "60", "increment_s", 60),
        ("min_charge", "0.01", "min_charge", 10_000),
        ("max_charge", "0", "max_charge", 0),
        ("grace_s", "3", "grace_s", 3),
        ("free_s", "6", "free_s", 6),
        ("extra_at_s", "90", "extra_at_s", 90),
        ("valid_from", "2026-01-01", "valid_from_ms", NOON_MS - 12 * 3_600_000),
        ("valid_from", "2026-01-01 12:00", "valid_from_ms", NOON_MS),
        ("valid_until", "2026-01-01T11:00:00Z", "valid_until_ms", NOON_MS),
        ("valid_until", "31.12.2025", "valid_until_ms", NOON_MS - 36 * 3_600_000),
        ("valid_until", "12/31/2025", "valid_until_ms", NOON_MS - 36 * 3_600_000),
        ("valid_until", "31/12/2025 12:00", "valid_until_ms", NOON_MS - 24 * 3_600_000),
        ("valid_until", "31-Dec-2025", "valid_until_ms", NOON_MS - 36 * 3_600_000),
        ("valid_until", "2025/12/31", "valid_until_ms", NOON_MS - 36 * 3_600_000),
        ("valid_from", "01/01/2026", "valid_from_ms", NOON_MS - 12 * 3_600_000),
        ("valid_until", "2026-07-01", "valid_until_ms", 1_782_856_800_000),
        ("direction", "Inbound", "direction", Direction.INBOUND),
        ("class", "premium", "traffic_class", TrafficClass.PREMIUM),
    ],
)
def test_a_cell_states_its_field(column: str, value: str, field: str, stated: object) -> None:
    assert getattr(cell(column, value), field) == stated


def test_what_is_not_stated() -> None:
    assert rows("prefix;per_minute\n31;1\n") == [Row("31", per_minute=10**8)]
    assert rows("prefix;per_minute\n31;1\n")[0].direction is Direction.OUTBOUND


@pytest.mark.parametrize(
    ("column", "value", "says"),
    [
        ("destination", "x" * 101, "longer than 100 characters"),
        ("destination", "a\x07b", "control characters"),
        ("type", "LAND", "type: 'LAND' is none of FIX, MOB"),
        ("connection_fee", "-0.01", "connection_fee: '-0.01' is not between 0 and 1000000"),
        ("connection_fee", "1000000.01", "not between 0 and 1000000"),
        ("connection_fee", "NaN", "connection_fee: 'NaN' is not a decimal number"),
        ("connection_fee", "1e3", "not a decimal number"),
        ("connection_fee", "1.234,50.1", "not a decimal number"),
        ("connection_fee", "0.05 USD", "USD is not the plan's currency, EUR"),
        ("connection_fee", "£1", "£ is not the plan's currency, EUR"),
        ("percent", "175 EUR", "EUR is not the plan's currency"),
        ("connection_fee", "=1+1", "not a decimal number"),
        ("connection_fee", "0.0000001", "more than 6 decimals"),
        ("per_minute", "Infinity", "per_minute: 'Infinity' is not a decimal number"),
        ("per_minute", "-1", "per_minute: '-1' is not a price per minute"),
        ("per_minute", "1000000.1", "more than 1000000"),
        ("per_minute", "9" * 39, "per_minute"),
        ("per_minute", "9" * 10_000, "not a decimal number"),
        ("per_minute", "0.000000001", "more than 8 decimals"),
        ("per_minute", "", "per_minute or percent: one of them, not both"),
        ("percent", "-1", "percent: '-1' is not a percentage"),
        ("percent", "10001", "more than 10000 %"),
        ("percent", "%", "not a decimal number"),
        ("initial_s", "86401", "initial_s: '86401' is not whole seconds from 0 to 86400"),
        ("initial_s", "1.5", "not whole seconds"),
        ("initial_s", "²", "not whole seconds"),
        ("increment_s", "0", "increment_s: must be at least 1"),
        ("increment_s", "-6", "not whole seconds"),
        ("grace_s", "9" * 5_000, "not whole seconds"),
        ("extra_fee", "1", "extra_at_s: an extra_fee needs it"),
        ("valid_from", "tomorrow", "valid_from: 'tomorrow' is neither a date nor a time"),
        ("direction", "internal", "direction: 'internal' is neither outbound nor inbound"),
        ("class", "CHEAP", "class: 'CHEAP' is none of EMERGENCY"),
        ("valid_from", "01/02/2026", "'01/02/2026' could be two dates"),
        ("valid_from", "31/12/26", "neither a date nor a time"),
        ("valid_from", "31.02.2026", "neither a date nor a time"),
        ("valid_from", "0001-01-01", "is not in the years 1000 to 9999"),
        ("valid_until", "9999-12-31T23:59:59-05:00", "is not in the years 1000 to 9999"),
        ("increments", "60", "increments: '60' is not the initial and the subsequent increment"),
        ("increments", "60/0", "increments: must be at least 1"),
        ("days", "8", "days: '8' is no day"),
        ("from", "25:00", "from: "),
    ],
)
def test_a_wrong_cell_is_named(column: str, value: str, says: str) -> None:
    assert says in refusal(column, value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "line 1: the deck is empty"),
        ("\n\n", "line 1: the deck is empty"),
        ("prefix;price\n31;1\n", "line 1: unknown column 'price'; known are prefix, destination"),
        ("prefix;prefix\n31;1\n", "line 1: column 'prefix' is there twice"),
        ("per_minute\n1\n", "line 1: no column 'prefix'"),
        ("\n\nprefix;price\n", "line 3: unknown column 'price'"),
        ("prefix;per_minute;percent\n31;1;100\n", "line 2: per_minute or percent: one of them, not both"),
        ("prefix,per_minute\n31,0,05\n", "line 2: 3 cells, but 2 columns"),
        ('prefix;per_minute\n31;"1\n', "line 2: not CSV"),
        ("prefix;per_minute\n31;1\x00\n", "line 2: per_minute: "),
        ("prefix;per_minute;min_charge;max_charge\n31;1;2;1\n", "line 2: max_charge: is less than min_charge"),
        (
            "prefix;per_minute;valid_from;valid_until\n31;1;2026-01-02;2026-01-02\n",
            "line 2: valid_until: is not after valid_from",
        ),
        (
            "prefix;per_minute\n31;1\n\n32;1\n31;2\n",
            "line 5: the same prefix, type, direction, validity and tier (line 2)",
        ),
        (
            "prefix;per_minute;valid_from;valid_until\n31;1;2026-01-01;2026-03-01\n31;1;2026-02-01;\n",
            "line 3: the same prefix and type at the same time (line 2)",
        ),
        (
            "prefix;per_minute;tier_from_s\n31;1;60\n32;1;0\n",
            "line 2: a stepped price without a row from second 0",
        ),
        (
            "prefix;per_minute;tier_from_s;connection_fee\n31;1;0;0.1\n31;1;60;0.2\n",
            "line 3: connection_fee is a term of the whole call, and differs (line 2)",
        ),
    ],
)
def test_a_wrong_deck_is_refused_by_line(text: str, says: str) -> None:
    [error] = errors(text)
    assert error.startswith(says)


def test_lines_are_counted_over_quoted_line_breaks() -> None:
    text = 'prefix;destination;per_minute\n31;"a\r\nb";1\r\nx;NL;1\n'
    assert [error.line for error in read(text).errors] == [4]


def test_all_errors_are_told_and_nothing_is_taken() -> None:
    result = read("prefix;per_minute\nx;1\n31;1\n32;y\n")
    assert result.rows == ()
    assert [error.line for error in result.errors] == [2, 4]
    assert all(isinstance(error, DeckError) for error in result.errors)


def test_errors_stop_at_a_limit() -> None:
    assert len(read("prefix;per_minute\n" + "x;1\n" * (MAX_ERRORS + 50)).errors) == MAX_ERRORS


def test_progress_is_told() -> None:
    seen: list[int] = []
    text = "prefix;per_minute\n" + "".join(f"{n};1\n" for n in range(1, 2 * STEP_LINES + 2))
    import_deck(text, PLAN, progress=seen.append)
    assert seen == [STEP_LINES + 1, 2 * STEP_LINES + 1]


amounts = st.integers(0, 10**12)
seconds = st.integers(0, 86_400)
names = st.text(max_size=60).filter(str.isprintable).map(str.strip)


@st.composite
def any_rows(draw: st.DrawFn) -> Row:
    percent = draw(st.none() | st.integers(0, 10_000 * PERCENT))
    from_ms, until_ms = draw(st.tuples(st.integers(0, 10**12), st.integers(10**12 + 1, 4 * 10**12)))
    extra_at_s = draw(st.none() | seconds)
    return Row(
        prefix=draw(st.just("") | st.from_regex(r"[1-9][0-9]{0,14}", fullmatch=True)),
        destination=draw(
            names
            | st.sampled_from(("=1+1", "'=1", "''@x", "'s", "+31", "-", "a;b", 'a"b', "a,b", "a|b", "# no", "Total"))
        ),
        type=draw(st.none() | st.sampled_from(NumberType)),
        connection_fee=draw(amounts),
        per_minute=draw(st.integers(0, 10**14)) if percent is None else None,
        percent=percent,
        initial_s=draw(st.none() | seconds),
        increment_s=draw(st.none() | st.integers(1, 86_400)),
        min_charge=draw(st.integers(0, 10**6)),
        max_charge=draw(st.none() | st.integers(10**6, 10**12)),
        grace_s=draw(seconds),
        free_s=draw(seconds),
        extra_at_s=extra_at_s,
        extra_fee=0 if extra_at_s is None else draw(amounts),
        valid_from_ms=draw(st.none() | st.just(from_ms)),
        valid_until_ms=draw(st.none() | st.just(until_ms)),
        direction=draw(st.sampled_from((Direction.OUTBOUND, Direction.INBOUND))),
        traffic_class=draw(st.none() | st.sampled_from(TrafficClass)),
    )


BANDS = (
    Band(days=(1, 2, 3, 4, 5), from_min=480, until_min=1080),
    Band(from_min=1320, until_min=360, weight=7),
    Band(days=(2,), dates=((20261224, 20261226), (1231, 101)), weight=1_000_000),
    Band(holidays="DE-BY"),
)


@st.composite
def any_decks(draw: st.DrawFn) -> list[Row]:
    """Rows of different prefixes, some with a row for a band beside them."""
    deck = []
    for row in draw(st.lists(any_rows(), max_size=5, unique_by=lambda row: row.prefix)):
        band = draw(st.none() | st.sampled_from(BANDS))
        deck += [row] if band is None else [row, msgspec.structs.replace(row, band=band)]
    return deck


@given(any_decks())
def test_an_export_imports_to_the_same_rows(deck: list[Row]) -> None:
    result = import_deck("".join(export_deck(deck)), PLAN)
    assert (list(result.rows), result.asides, result.ignored) == (deck, (), ())


def test_an_export_does_not_calculate_in_a_spreadsheet() -> None:
    header, line = export_deck([Row("31", "=HYPERLINK()", per_minute=1)])
    assert header.startswith("prefix,destination,type,connection_fee,per_minute,percent,")
    assert line.startswith("31,'=HYPERLINK(),,,0.00000001,")


def test_diff() -> None:
    kept, gone, come = (Row(prefix, per_minute=5) for prefix in ("1", "2", "3"))
    assert diff_decks([kept, gone], [come, kept]) == DeckDiff((come,), (gone,), (), 1)


@pytest.mark.parametrize(
    ("new", "movement"),
    [
        (Row("1", per_minute=6, connection_fee=5), Movement.DEARER),
        (Row("1", per_minute=5, connection_fee=6), Movement.DEARER),
        (Row("1", per_minute=4, connection_fee=5), Movement.CHEAPER),
        (Row("1", per_minute=4, connection_fee=4), Movement.CHEAPER),
        (Row("1", per_minute=6, connection_fee=4), Movement.OTHER),
        (Row("1", percent=100, connection_fee=5), Movement.OTHER),
        (Row("1", per_minute=5, connection_fee=5, increment_s=60), Movement.OTHER),
    ],
)
def test_a_changed_row_is_dearer_cheaper_or_other(new: Row, movement: Movement) -> None:
    old = Row("1", per_minute=5, connection_fee=5)
    assert diff_decks([old], [new]) == DeckDiff((), (), (Change(old, new, movement),))


def test_a_percentage_that_rises_is_dearer() -> None:
    old, new = Row("1", percent=100), Row("1", percent=101)
    [change] = diff_decks([old], [new]).changed
    assert change.movement is Movement.DEARER


@pytest.mark.parametrize(
    ("old", "new", "difference", "percent"),
    [
        (Row("1", per_minute=5_000_000), Row("1", per_minute=6_000_000), 1_000_000, 20_00),
        (Row("1", per_minute=3), Row("1", per_minute=2), -1, -33_33),
        (Row("1", per_minute=0), Row("1", per_minute=2), 2, None),
        (Row("1", percent=100 * PERCENT), Row("1", percent=175 * PERCENT), 75 * PERCENT, 75_00),
        (Row("1", percent=100 * PERCENT), Row("1", per_minute=1), None, None),
    ],
)
def test_by_how_much_a_price_changed(old: Row, new: Row, difference: int | None, percent: int | None) -> None:
    [change] = diff_decks([old], [new]).changed
    assert (change.difference, change.difference_percent) == (difference, percent)


def test_rows_of_another_band_are_other_rows() -> None:
    old, new = Row("1", per_minute=5, band=BANDS[0]), Row("1", per_minute=5, band=BANDS[1])
    assert diff_decks([old], [new]) == DeckDiff((new,), (old,), ())


def test_rows_of_another_validity_are_other_rows() -> None:
    old, new = Row("1", per_minute=5), Row("1", per_minute=5, valid_from_ms=1)
    assert diff_decks([old], [new]) == DeckDiff((new,), (old,), ())
