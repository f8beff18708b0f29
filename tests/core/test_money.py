"""Money as text: what is read, what is refused, and that what is shown is read as the same number."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callctl.money import (
    MAX_MICROS,
    format_amount,
    format_percent,
    format_rate,
    parse_amount,
    parse_percent,
    parse_rate,
)

Parse = Callable[[str], int]


@pytest.mark.parametrize(
    ("parse", "text", "number"),
    [
        (parse_amount, "10.00", 10_000_000),
        (parse_amount, "-3.25", -3_250_000),
        (parse_amount, "007", 7_000_000),
        (parse_amount, "0.000001", 1),
        (parse_amount, "1.0000000", 1_000_000),
        (parse_rate, "0.00000001", 1),
        (parse_percent, "12.5", 125_000),
    ],
)
def test_a_plain_decimal_number_is_read(parse: Parse, text: str, number: int) -> None:
    assert parse(text) == number


NOT_PLAIN = (
    *("", "-", ".", "+1", ".5", "1.", "-.5", "--1", " 1", "1 ", "1\n", "1e3", "1_000", "1,5", "1.2.3", "0x10"),
    *("\uff11", "1.\uff15", "\u0661", "\u00bd", "NaN", "Infinity", "9" * 41),
)


@pytest.mark.parametrize("parse", [parse_amount, parse_rate, parse_percent])
@pytest.mark.parametrize("text", NOT_PLAIN)
def test_everything_else_is_refused(parse: Parse, text: str) -> None:
    with pytest.raises(ValueError, match="is not a decimal number"):
        parse(text)


@pytest.mark.parametrize(
    ("parse", "text", "reason"),
    [
        (parse_amount, "0.0000001", "more than 6 decimals"),
        (parse_amount, "1" + "0" * 39, "larger than this system counts"),
        (parse_amount, "-9007199254.740992", "larger than this system counts"),
        (parse_rate, "-0.01", "not a price per minute"),
        (parse_rate, "0.000000001", "more than 8 decimals"),
        (parse_percent, "-1", "not a percentage"),
        (parse_percent, "0.00001", "more than 4 decimals"),
    ],
)
def test_a_number_too_fine_too_large_or_negative_is_refused(parse: Parse, text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse(text)


@given(st.integers(-MAX_MICROS, MAX_MICROS))
def test_an_amount_is_read_as_it_is_shown(micros: int) -> None:
    assert parse_amount(format_amount(micros)) == micros


@given(st.integers(0, MAX_MICROS))
def test_a_rate_and_a_percentage_are_read_as_they_are_shown(number: int) -> None:
    assert parse_rate(format_rate(number, 100)) == number
    assert parse_percent(format_percent(number)) == number
