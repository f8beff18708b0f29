"""Money: integers of a stated scale, end to end, and the only rounding there is.

An *amount* is an `int` of micro-units (10^-6 of a currency). A *rate* is an exact rational number of
micro-units per minute, so that a percentage of a purchase price stays exact. `Decimal` appears only while
text is parsed; `float` never. Redis' Lua counts in doubles, so an amount stays below 2^53 (`MAX_MICROS`).
"""

import re
from decimal import Context, Decimal
from enum import StrEnum
from functools import lru_cache

MICROS = 1_000_000
MAX_MICROS = 2**53 - 1
EXCHANGE_DECIMALS = 12
_RATE_DECIMALS = 8
_EXACT = Context(prec=100)  # the default of 28 digits would round a long number in silence
_PLAIN = re.compile(r"-?[0-9]+(\.[0-9]+)?")
_LONGEST = 40  # characters: more is no amount of money, and a number that takes long to count


class Rounding(StrEnum):
    """How the last kept decimal is found. Half-up is the trade's default (`docs/rules.md`, Rounding)."""

    HALF_UP = "half_up"
    UP = "up"
    DOWN = "down"


_HALF_UP, _UP = Rounding.HALF_UP, Rounding.UP  # looking them up in the enum takes longer than the division


def round_ratio(numerator: int, denominator: int, mode: Rounding) -> int:
    """The integer nearest to numerator / denominator (denominator > 0, numerator >= 0) by `mode`."""
    if mode is _HALF_UP:
        return (2 * numerator + denominator) // (2 * denominator)
    if mode is _UP:
        return -(-numerator // denominator)
    return numerator // denominator


def largest_rounding_to(whole: int, denominator: int, mode: Rounding) -> int:
    """The largest numerator for which `round_ratio` answers `whole` or less: its inverse."""
    if mode is _HALF_UP:
        return ((2 * whole + 1) * denominator - 1) // 2
    if mode is _UP:
        return whole * denominator
    return (whole + 1) * denominator - 1


def parse_decimal(text: str, *, decimals: int) -> int:
    """`text` as an integer of 10^-decimals. ValueError when it is no plain decimal or needs more digits.

    Plain is "12", "0.5" or "-3.25": what reads otherwise (".5", "+1", "1e3") is a typing error more often than money.
    """
    if len(text) > _LONGEST or not _PLAIN.fullmatch(text):
        raise ValueError(f"{text[:_LONGEST]!r} is not a decimal number")
    scaled = Decimal(text).scaleb(decimals, _EXACT)
    whole = int(scaled)
    if whole != scaled:
        raise ValueError(f"{text!r} has more than {decimals} decimals")
    return whole


def parse_amount(text: str) -> int:
    """An amount such as "10.00" in micro-units. ValueError on anything else, or beyond +-2^53."""
    micros = parse_decimal(text, decimals=6)
    if abs(micros) > MAX_MICROS:
        raise ValueError(f"{text!r} is larger than this system counts")
    return micros


def parse_rate(text: str) -> int:
    """A price per minute in units of 10^-8 of the currency. ValueError when negative, finer or too large."""
    rate = parse_decimal(text, decimals=_RATE_DECIMALS)
    if not 0 <= rate <= MAX_MICROS:
        raise ValueError(f"{text!r} is not a price per minute")
    return rate


def parse_percent(text: str) -> int:
    """A percentage such as "175" or "12.5" in millionths of the whole. ValueError when negative or finer."""
    millionths = parse_decimal(text, decimals=4)
    if not 0 <= millionths <= MAX_MICROS:
        raise ValueError(f"{text!r} is not a percentage")
    return millionths


def parse_exchange_rate(text: str) -> int:
    """What one unit of a currency costs in another, such as "1.0850", in 10^-12. ValueError when negative or finer."""
    rate = parse_decimal(text, decimals=EXCHANGE_DECIMALS)
    if rate < 0:
        raise ValueError(f"{text!r} is not an exchange rate")
    return rate


def format_exchange_rate(rate: int) -> str:
    """The same as text, with at least four decimals."""
    return _format(rate, EXCHANGE_DECIMALS)


def format_amount(micros: int) -> str:
    """The decimal string of the front door: at least four decimals, no more than needed ("0.1450")."""
    if micros < 0 or micros % 100:
        return _format(micros, 6)
    digits = str(micros // 100).zfill(5)  # as most amounts are
    return f"{digits[:-4]}.{digits[-4:]}"


repeated_amount = lru_cache(maxsize=8_192)(format_amount)
"""The same of what many calls have in common: fees, holds, what they come to, and nothing at all."""


def format_rate(numerator: int, denominator: int) -> str:
    """A rate of numerator/denominator micro-units per minute, to eight decimals (half up) at the most."""
    return _format(round_ratio(numerator * 100, denominator, Rounding.HALF_UP), _RATE_DECIMALS)


def format_percent(millionths: int) -> str:
    """A percentage as it is written in a deck, without the sign: "175", "12.5"."""
    whole, rest = divmod(millionths, 10_000)
    return f"{whole}.{rest:04d}".rstrip("0").rstrip(".")


def _format(scaled: int, decimals: int) -> str:
    digits = str(abs(scaled)).zfill(decimals + 1)
    return f"{'-' if scaled < 0 else ''}{digits[:-decimals]}.{digits[-decimals:].rstrip('0').ljust(4, '0')}"
