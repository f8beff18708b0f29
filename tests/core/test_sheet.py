"""Spreadsheets as people have them: encodings, delimiters, headings of their own, numbers and dates by the sheet."""

import pytest

from callctl.errors import DeckError
from callctl.rating.decks import deck
from callctl.rating.decks.deck import DeckImport, import_deck
from callctl.rating.decks.notation import DateOrder, DecimalSign
from callctl.rating.decks.sheet import Layout, decode, parse_headings
from callctl.rating.tariff import Band, Plan

PLAN = Plan("plan", timezone="UTC")
DAY_MS = 86_400_000
JANUARY_MS = 1_767_225_600_000  # 2026-01-01


def read(text: str, **said: object) -> DeckImport:
    return import_deck(text, PLAN, Layout(**said))  # type: ignore[arg-type]


def prices(text: str, **said: object) -> dict[str, int | None]:
    result = read(text, **said)
    assert result.errors == ()
    return {row.prefix: row.per_minute for row in result.rows}


def errors(text: str, **said: object) -> list[str]:
    result = read(text, **said)
    assert result.rows == ()
    return [str(error) for error in result.errors]


ACME = (
    "ACME Telecom;;;\n\nCountry;Dial Code;Rate (EUR);Change\nNetherlands;+31;0,01;none\nUK mobile;4479-4480;0,05;up\n"
)
MAPPED = parse_headings('prefix="Dial Code",per_minute=rate (eur) , destination=Country')


def test_a_sheet_with_headings_of_its_own() -> None:
    result = read(ACME, headings=MAPPED)
    assert result.errors == ()
    assert [(row.prefix, row.destination, row.per_minute) for row in result.rows] == [
        ("31", "Netherlands", 1_000_000),
        ("4479", "UK mobile", 5_000_000),
        ("4480", "UK mobile", 5_000_000),
    ]
    assert (result.lines, result.asides, result.ignored) == ([4, 5, 5], (), ("Change",))


def test_our_own_names_need_no_mapping_and_can_be_left_out() -> None:
    text = "Code;Type;Connection Fee;Per minute\n31;Landline;0,1;1\n"
    headings = parse_headings("prefix=Code,type=")
    [row] = read(text, headings=headings).rows
    assert (row.prefix, row.type, row.connection_fee) == ("31", None, 100_000)
    [error] = errors(text, headings={"prefix": "Code"})
    assert error.startswith("line 2: type: 'Landline' is none of")


@pytest.mark.parametrize(
    ("headings", "says"),
    [
        ("prefix=Dial Code,per_minute=Price", "line 3: no heading 'Price', which per_minute was mapped to"),
        ("prefix=Code,per_minute=Rate (EUR)", "line 1: no column 'Code' for the prefix"),
        ("prefix=Dial Code,price=Rate (EUR)", "line 1: unknown column 'price'"),
        ("per_minute=Rate (EUR)", "line 1: no column 'prefix': names of destinations do not say which numbers"),
    ],
)
def test_a_mapping_that_does_not_fit(headings: str, says: str) -> None:
    [error] = errors(ACME, headings=parse_headings(headings))
    assert error.startswith(says)


@pytest.mark.parametrize("text", ["prefix", "=Code", "prefix=A,prefix=B", "prefix=A,type=a", 'prefix="A', "Prefix=A"])
def test_a_mapping_is_columns_and_headings(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not COLUMN=HEADING|mapped twice|cannot be two columns"):
        parse_headings(text)


def test_quoted_headings_may_have_commas() -> None:
    assert parse_headings('prefix=Code,per_minute="Rate, EUR"') == {"prefix": "Code", "per_minute": "Rate, EUR"}


def test_a_sheet_without_headings() -> None:
    said = {"columns": ("prefix", "", "per_minute")}
    for delimiter in ";,|\t":
        assert prices(f"31{delimiter}NL{delimiter}0.05\n", **said) == {"31": 5_000_000}
    assert errors("31;0,05\n", columns=("destination", "per_minute")) == [
        "line 1: the columns have no prefix or country_code"
    ]
    assert errors("31;1;32\n", columns=("prefix", "per_minute", "prefix")) == ["line 1: column 'prefix' is there twice"]
    assert errors("31;1\n", columns=("prefix", "price"))[0].startswith("line 1: unknown column 'price'")
    assert errors("31;1;2\n", columns=("prefix", "per_minute"), delimiter=";")[0].startswith("line 1: 3 cells")


def test_the_delimiter_is_the_one_that_finds_most_columns() -> None:
    assert prices('prefix;per_minute;destination\n31;0,5;"a, b"\n') == {"31": 50_000_000}
    assert prices('prefix,"destination;type",per_minute\n31,x,0.5\n', headings={"prefix": "prefix"}) == {
        "31": 50_000_000
    }
    assert errors("prefix;per_minute\n31;1\n", delimiter=",")[0].startswith("line 1: no column 'prefix'")


def test_headings_may_stand_below_a_title_but_not_anywhere() -> None:
    assert prices("\n" * 5 + "Rates;2026\n" * 10 + "prefix;per_minute\n31;1\n") == {"31": 10**8}
    assert errors("Rates;2026\n" * 60 + "prefix;per_minute\n31;1\n")[0].startswith("line 1: no column 'prefix'")


def test_a_cell_without_a_heading_is_refused() -> None:
    assert prices("prefix;per_minute;\n31;1;\n") == {"31": 10**8}
    assert errors("prefix;per_minute;\n31;1;x\n") == ["line 2: 'x' stands under no heading"]


def test_comments_and_totals_are_passed_over_and_told() -> None:
    text = "prefix;destination;per_minute\n# old;;\n31;Total Telecom;1\nTotal;;5\n;Grand Total;5\n;Totaal: 1;5\n"
    result = read(text)
    assert ([row.destination for row in result.rows], result.asides) == (["Total Telecom"], (2, 4, 5, 6))


def test_country_code_and_area_codes() -> None:
    text = "Country;Code;Area codes;Rate\nUK;44;20,3-4;0,01\nUK;44;;0,02\n"
    headings = parse_headings("country_code=Code,prefix=Area codes,per_minute=Rate,destination=Country")
    assert prices(text, headings=headings) == {"4420": 10**6, "443": 10**6, "444": 10**6, "44": 2 * 10**6}


def test_both_increments_in_one_cell() -> None:
    text = "prefix;per_minute;increments\n31;1;60/60\n32;1;30 / 6\n33;1;\n"
    assert [(row.initial_s, row.increment_s) for row in read(text).rows] == [(60, 60), (30, 6), (None, None)]
    assert errors("prefix;per_minute;increments;initial_s\n31;1;60/60;60\n") == [
        "line 2: increments: they are in columns of their own too"
    ]


@pytest.mark.parametrize(
    ("others", "price"), [("0,5", 1234 * 10**8), ("0.5", 123_400_000), ("12.345.678,9", None), ("1,000.5", 123_400_000)]
)
def test_a_number_of_two_meanings_is_read_as_the_others_of_its_sheet(others: str, price: int | None) -> None:
    text = f"prefix;per_minute;min_charge\n31;1.234;\n32;1;{others}\n"
    if price is None:
        assert errors(text)[0].startswith("line 3: min_charge: '12.345.678,9' is not between")
    else:
        assert prices(text)["31"] == price


def test_a_point_is_a_decimal_point_where_no_number_has_a_comma() -> None:
    assert prices("prefix;per_minute\n31;1.234\n32;2.000\n33;7\n") == {
        "31": 123_400_000,
        "32": 2 * 10**8,
        "33": 7 * 10**8,
    }
    assert errors("prefix;per_minute\n31;1.234\n32;2,000\n")[0].startswith("line 2: per_minute: '1.234' could be")


def test_a_comma_is_a_decimal_comma_under_headings_of_our_own_where_no_number_has_a_point() -> None:
    assert prices("prefix;per_minute\n31;1,234\n33;7\n") == {"31": 123_400_000, "33": 7 * 10**8}
    assert errors("Code;per_minute\n31;1,234\n", headings={"prefix": "Code"})[0].startswith(
        "line 2: per_minute: '1,234' c"
    )


def test_where_the_sheet_is_of_two_minds_it_must_be_said() -> None:
    text = "prefix;per_minute\n31;1.234\n32;0.5\n33;0,5\n"
    assert errors(text) == [
        "line 2: per_minute: '1.234' could be 1234 or 1.234: say whether decimals follow a point or a comma"
    ]
    assert errors(text, decimal=DecimalSign.POINT) == ["line 4: per_minute: '0,5' is not written with a decimal point"]
    assert prices("prefix;per_minute\n31;1.234\n", decimal=DecimalSign.COMMA) == {"31": 1234 * 10**8}
    assert prices("prefix;per_minute\n31;1.234\n", decimal=DecimalSign.POINT) == {"31": 123_400_000}


def test_a_date_of_two_meanings_is_read_as_the_others_of_its_sheet() -> None:
    text = "prefix;per_minute;valid_from\n31;1;02/01/2026\n32;1;{}\n"

    def begins(**said: object) -> int | None:
        return read(text.format(said.pop("other", "")), **said).rows[0].valid_from_ms

    assert begins(other="31/12/2026") == begins(dates=DateOrder.DAY_FIRST) == JANUARY_MS + DAY_MS
    assert begins(other="12/31/2026") == begins(dates=DateOrder.MONTH_FIRST) == JANUARY_MS + 31 * DAY_MS
    [error] = errors(text.format("31.12.2026"))
    assert (
        error == "line 2: valid_from: '02/01/2026' could be two dates: say whether day or month comes first, dmy or mdy"
    )


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252", "latin-1"])
def test_names_are_kept_right_in_any_usual_encoding(encoding: str) -> None:
    text = "prefix;destination;per_minute\n262;R\u00e9union \u00d8\u00df;0,05\n"
    assert read(decode(text.encode(encoding))).rows[0].destination == "R\u00e9union \u00d8\u00df"


@pytest.mark.parametrize("begins", [b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"])
def test_a_workbook_is_no_sheet(begins: bytes) -> None:
    with pytest.raises(DeckError, match=r"^line 1: is a workbook, not text: save the sheet as CSV$"):
        decode(begins + bytes(range(256)))


def test_an_encoding_is_taken_at_its_word() -> None:
    assert decode("R\u00e9union".encode("cp850"), "cp850") == "R\u00e9union"
    with pytest.raises(DeckError, match="line 2: is not ascii"):
        decode(b"a\n\xe9", "ascii")
    with pytest.raises(LookupError):
        decode(b"a", "x-klingon")
    with pytest.raises(DeckError, match="line 1: is not punycode"):
        decode(b"a;b", "punycode")


def test_two_encodings_at_once_are_refused() -> None:
    """As Windows-1252 the first name would be spoilt in silence."""
    with pytest.raises(DeckError, match="line 3: is not utf-8"):
        decode("prefix\nR\u00e9union\n".encode() + b"C\xf4te\n")


def test_bands() -> None:
    text = "prefix;per_minute;days;from;to\n31;1;1-5;08:00;18:00\n31;0,5;;;\n"
    assert [row.band for row in read(text).rows] == [Band(days=(1, 2, 3, 4, 5), from_min=480, until_min=1080), None]
    assert errors("prefix;per_minute;from;to\n31;1;8:00;8:00\n") == ["line 2: to: is the same time as from"]


def test_every_gap_and_overlap_of_bands_is_told_by_its_lines() -> None:
    text = "prefix;per_minute;days;from;to\n31;1;1-5;;\n32;1;;;\n32;2;1-5;;\n32;3;5-7;;\n33;1;;8:00;18:00\n"
    gap, overlap, other_gap = errors(text)
    assert gap.startswith("line 2: ")
    assert overlap.startswith("line 5: ")
    assert overlap.endswith("(line 4)")
    assert other_gap.startswith("line 6: ")


def test_a_deck_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deck, "MAX_ROWS", 10)
    assert len(prices("prefix;per_minute\n311-319;1\n32;1\n")) == 10
    assert errors("prefix;per_minute\n311-319;1\n32;1\n33;1\n34;1\n") == ["line 4: more than 10 rows"]


def test_every_mistake_is_told_by_its_line() -> None:
    text = 'prefix;destination;per_minute;percent\n31;"a\nb";1;\n4479-;x;1;\n31;x;2;\n32;x;1;100\n33;x;;\n34;"x\n'
    assert [error.partition(":")[0] for error in errors(text)] == ["line 4", "line 5", "line 6", "line 7", "line 8"]
