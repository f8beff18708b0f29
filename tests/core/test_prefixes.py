"""Cells of prefixes as carriers write them, as exactly the prefixes that they mean."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callctl.rating.decks.prefixes import parse_prefixes


@pytest.mark.parametrize(
    ("text", "prefixes"),
    [
        ("4479", "4479"),
        ("+4479", "4479"),
        ("+44 79", "4479"),
        ("0044 79", "4479"),
        ("'4479", "4479"),
        ('="0044"', "44"),
        ("4479-4484", "4479 4480 4481 4482 4483 4484"),
        ("44791-44795", "44791 44792 44793 44794 44795"),
        ("44790-44799", "4479"),
        ("447900 - 448099", "4479 4480"),
        ("+4479\N{EN DASH}+4480", "4479 4480"),
        ("1000-1999", "1"),
        ("120-131", "12 130 131"),
        ("4479-4479", "4479"),
        ("4479, 4480; 4481", "4479 4480 4481"),
        ("4479/4480|4481", "4479 4480 4481"),
        ("3161\n3162", "3161 3162"),
        ("3161 3162", "3161 3162"),
        ("+31 6 +32 4", "316 324"),
        ("4479,", "4479"),
        ("44 (79,80,81)", "4479 4480 4481"),
        ("44(79, 80-84); 353", "4479 4480 4481 4482 4483 4484 353"),
        ("1-242", "1242"),
        ("316,317", "316 317"),
    ],
)
def test_a_cell_means_these_prefixes(text: str, prefixes: str) -> None:
    assert parse_prefixes(text) == tuple(prefixes.split())


@pytest.mark.parametrize(
    ("country_code", "areas", "prefixes"),
    [
        ("44", "20,121,3-5", "4420 44121 443 444 445"),
        ("+44", "", "44"),
        ("0044", "0-9", "44"),
        ("39", "06", "3906"),
        ("1-242", "", "1242"),
        ("44", "79(1, 2)", "44791 44792"),
        ("44", "(79, 80)", "4479 4480"),
    ],
)
def test_area_codes_beside_a_country_code(country_code: str, areas: str, prefixes: str) -> None:
    assert parse_prefixes(areas, country_code) == tuple(prefixes.split())


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("31a", "is not 1 to 15 digits"),
        ("1" * 16, "is not 1 to 15 digits"),
        ("٣١", "is not 1 to 15 digits"),
        ("31.0", "is not 1 to 15 digits"),
        ("4.47E+09", "what a spreadsheet has made of a number: its digits are lost"),
        ("4,47E+09", "what a spreadsheet has made of a number"),
        ("4e11", "what a spreadsheet has made of a number"),
        ("31E", "is not 1 to 15 digits"),
        ("-1", "is not 1 to 15 digits"),
        ("+", "is not 1 to 15 digits"),
        ("00", "is not 1 to 15 digits"),
        ("44 (0)79", "is not 1 to 15 digits"),
        ("020", "begins with 0: a prefix is international"),
        ("44 79", "could be one prefix or several"),
        ("31 32 352", "could be one prefix or several"),
        ("44,479", "could be a list, or one number with thousands separators"),
        ("4484-4479", "is no range"),
        ("4479-84", "is no range"),
        ("4479-", "is not 1 to 15 digits"),
        ("(79)", "has nothing before its brackets"),
        ("44 (79", "brackets that do not match"),
        (",;", "has no digits"),
    ],
)
def test_what_is_no_prefix_or_could_be_two_things_is_refused(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        parse_prefixes(text)


@pytest.mark.parametrize(
    ("country_code", "areas"), [("44", "20 121"), ("44", "+20"), ("44-45", "1"), ("44", "1" * 14), ("UK", "20")]
)
def test_area_codes_that_are_refused(country_code: str, areas: str) -> None:
    with pytest.raises(ValueError, match=r"is not 1 to 15|could be one|more than one"):
        parse_prefixes(areas, country_code)


@given(st.integers(100, 99_999), st.integers(0, 3_000))
def test_a_range_is_exactly_and_minimally_covered(first: int, width: int) -> None:
    last = min(first + width, 10 ** len(str(first)) - 1)
    prefixes = parse_prefixes(f"{first}-{last}")
    digits = len(str(first))
    covered = [
        number
        for prefix in prefixes
        for number in range(int(prefix.ljust(digits, "0")), int(prefix.ljust(digits, "9")) + 1)
    ]
    assert covered == list(range(first, last + 1))
    siblings = {prefix[:-1] for prefix in prefixes}
    assert not any({f"{each}{last_digit}" for last_digit in range(10)} <= set(prefixes) for each in siblings)
