"""A cell of a deck as the value that it states of its row."""

import re
from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from functools import lru_cache, partial
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from callctl.clock import wall_ms
from callctl.money import MICROS, parse_amount, parse_percent, parse_rate
from callctl.numbering import NumberType
from callctl.rating.decks.notation import DateOrder, Notation, iso_date, plain_number
from callctl.rating.decks.sheet import ASIDE
from callctl.rating.tariff import MAX_UNITS, PERCENT, Direction, Plan, TrafficClass

MAX_SECONDS = 86_400
MAX_PERCENT = 10_000
MAX_NAME = 100

NUMBER_COLUMNS = ("connection_fee", "per_minute", "percent", "min_charge", "max_charge", "extra_fee")
INCREMENTS = "increments"  # initial_s and increment_s in one
DATE_COLUMNS = ("valid_from", "valid_until")

MISREAD = re.compile(rf"'*(?:[=+\-@\t\r]|{ASIDE})", re.IGNORECASE)
"""How a name begins that a spreadsheet would calculate or we would pass over, but for a quote in front of it."""

_INCREMENTS = re.compile(r"(\d+)\s*[/+]\s*(\d+)", re.ASCII)
_BREAK = re.compile(r"[^\S ]+")  # line breaks, tabs, blanks that do not break
_Choice = TypeVar("_Choice", bound=StrEnum)

Parsers = dict[str, tuple[str, Callable[[str], Any]]]
"""By column: the row's field, and what makes its value of a cell that is not empty. Raises ValueError."""


def parsers_of(plan: Plan, notation: Notation) -> Parsers:
    """Cells repeat from row to row, so each parser remembers what it has seen."""
    number = partial(plain_number, decimal=notation.decimal)
    amount = lru_cache(4096)(partial(_amount, partial(number, currency=plan.currency)))
    rate = lru_cache(4096)(partial(_rate, partial(number, currency=plan.currency)))
    moment = lru_cache(4096)(partial(_moment, ZoneInfo(plan.timezone), notation.dates))
    seconds = lru_cache(4096)(_seconds)
    by_field: dict[str, Callable[[str], Any]] = {
        "destination": lru_cache(4096)(_name),
        "type": lru_cache(64)(partial(_one_of, NumberType)),
        "connection_fee": amount,
        "per_minute": rate,
        "percent": lru_cache(4096)(partial(_percent, number)),
        "initial_s": seconds,
        "increment_s": lru_cache(64)(_increment),
        "min_charge": amount,
        "max_charge": amount,
        "grace_s": seconds,
        "free_s": seconds,
        "tier_from_s": seconds,
        "extra_at_s": seconds,
        "extra_fee": amount,
        "direction": _direction,
    }
    return {
        **{field: (field, parse) for field, parse in by_field.items()},
        "valid_from": ("valid_from_ms", moment),
        "valid_until": ("valid_until_ms", moment),
        "class": ("traffic_class", lru_cache(64)(partial(_one_of, TrafficClass))),
    }


def _name(text: str) -> str:
    """A name as it is, on one line; the quote that keeps it from being misread is taken off."""
    name = _BREAK.sub(" ", text[1:] if text[0] == "'" and MISREAD.match(text) else text)
    if len(name) > MAX_NAME or not name.isprintable():
        raise ValueError(f"{name[:40]!r} is longer than {MAX_NAME} characters, or has control characters")
    return name


def _one_of(choices: type[_Choice], text: str) -> _Choice:
    try:
        return choices(text.upper())
    except ValueError:
        raise ValueError(f"{text[:40]!r} is none of {', '.join(choices)}") from None


def _direction(text: str) -> Direction:
    if text.lower() not in (Direction.OUTBOUND, Direction.INBOUND):
        raise ValueError(f"{text[:40]!r} is neither outbound nor inbound")
    return Direction(text.lower())


def _amount(number: Callable[[str], str], text: str) -> int:
    micros = parse_amount(number(text))
    if not 0 <= micros <= MAX_UNITS * MICROS:
        raise ValueError(f"{text!r} is not between 0 and {MAX_UNITS}")
    return micros


def _rate(number: Callable[[str], str], text: str) -> int:
    rate = parse_rate(number(text))
    if rate > MAX_UNITS * 10**8:
        raise ValueError(f"{text!r} is more than {MAX_UNITS}")
    return rate


def _percent(number: Callable[[str], str], text: str) -> int:
    millionths = parse_percent(number(text.removesuffix("%").rstrip()))
    if millionths > MAX_PERCENT * PERCENT:
        raise ValueError(f"{text!r} is more than {MAX_PERCENT} %")
    return millionths


def _seconds(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 9 or int(text) > MAX_SECONDS:
        raise ValueError(f"{text[:40]!r} is not whole seconds from 0 to {MAX_SECONDS}")
    return int(text)


def _increment(text: str) -> int:
    seconds = _seconds(text)
    if not seconds:
        raise ValueError("must be at least 1")
    return seconds


def parse_increments(text: str) -> tuple[int, int]:
    """Initial and subsequent, "60/60"."""
    found = _INCREMENTS.fullmatch(text)
    if found is None:
        raise ValueError(f"{text[:40]!r} is not the initial and the subsequent increment, such as 30/6")
    return _seconds(found[1]), _increment(found[2])


def _moment(zone: ZoneInfo, order: DateOrder | None, text: str) -> int:
    """A date (its midnight) or time, in the plan's zone unless it names its own, in ms since the epoch."""
    iso = iso_date(text, order)
    try:
        moment = datetime.fromisoformat(iso)
    except ValueError:
        raise ValueError(f"{text[:40]!r} is neither a date nor a time") from None
    return wall_ms(moment if moment.tzinfo is not None else moment.replace(tzinfo=zone))
