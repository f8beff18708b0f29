"""Tariff decks as CSV: read with every error by its line, written so that they read again to the same.

The first line names the columns, in any order. Delimiter `;`, `,` or tab; decimal comma or point. A deck is taken
whole or not at all.
"""

import csv
import io
import re
from collections.abc import Callable, Generator, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import lru_cache, partial
from itertools import chain
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

import msgspec

from callctl.clock import format_time
from callctl.errors import DeckError
from callctl.money import (
    MICROS,
    format_amount,
    format_percent,
    format_rate,
    parse_amount,
    parse_percent,
    parse_rate,
)
from callctl.numbering import NumberType
from callctl.rating.builder import DeckBuilder, RowConflictError
from callctl.rating.tariff import MAX_PREFIX_DIGITS, MAX_UNITS, PERCENT, Direction, Plan, Row, TrafficClass

MAX_ERRORS = 100
MAX_SECONDS = 86_400
MAX_PERCENT = 10_000
MAX_NAME = 100
STEP_ROWS = 1_000  # between two signs of progress

BAND_COLUMNS = ("days", "from", "to", "dates", "holidays", "weight")

_NOT_STATED = Row(prefix="")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_Choice = TypeVar("_Choice", bound=StrEnum)
_FORMULA = re.compile(r"'*[=+\-@\t\r]")


class DeckImport(msgspec.Struct, frozen=True):
    """A deck that was read: its rows, or what is wrong with it (then there are no rows)."""

    rows: tuple[Row, ...]
    errors: tuple[DeckError, ...]


def import_deck(lines: Iterable[str], plan: Plan, progress: Callable[[int], None] | None = None) -> DeckImport:
    """Read a whole deck. `progress` hears of the lines read so far, every `STEP_ROWS` rows."""
    reading = read_deck(lines, plan)
    while True:
        try:
            line = next(reading)
        except StopIteration as done:
            result: DeckImport = done.value
            return result
        if progress is not None:
            progress(line)


def read_deck(lines: Iterable[str], plan: Plan) -> Generator[int, None, DeckImport]:
    """Read a deck step by step: yields the line reached every `STEP_ROWS` rows, and returns what was read."""
    builder = DeckBuilder(plan)
    rows: list[Row] = []
    at_lines: list[int] = []
    errors: list[DeckError] = []
    for count, (line, read) in enumerate(_scan(lines, ZoneInfo(plan.timezone)), 1):
        if isinstance(read, DeckError):
            errors.append(read)
        else:
            rows.append(read)
            at_lines.append(line)
            try:
                builder.add(read)
            except RowConflictError as error:
                errors.append(DeckError(line, f"{error} (line {_line_of(error.other, rows, at_lines)})"))
        if len(errors) >= MAX_ERRORS:
            break
        if count % STEP_ROWS == 0:
            yield line
    if not errors:
        try:
            builder.build()
        except RowConflictError as error:
            errors.append(DeckError(_line_of(error.other, rows, at_lines), str(error)))
    return DeckImport(() if errors else tuple(rows), tuple(errors))


def _line_of(row: Row, rows: list[Row], at_lines: list[int]) -> int:
    return next(line for line, each in zip(at_lines, rows, strict=True) if each is row)


def _scan(lines: Iterable[str], zone: ZoneInfo) -> Iterator[tuple[int, Row | DeckError]]:
    """Every line that is not blank, with its number, as a row or as what is wrong with it."""
    source = iter(lines)
    line = 1
    for first in source:
        if first.strip("\ufeff \t\r\n"):
            break
        line += 1
    else:
        yield 1, DeckError(1, "the deck is empty: its first line names the columns")
        return
    delimiter = next((sign for sign in "\t;" if sign in first), ",")
    reader = csv.reader(chain((first.removeprefix("\ufeff"),), source), delimiter=delimiter, strict=True)
    parsers = _parsers(zone)
    columns: list[str] | None = None
    before = line
    try:
        for cells in reader:
            if columns is None:
                columns = [name.strip().lower() for name in cells]
                if problem := _header_problem(columns, parsers):
                    yield line, DeckError(line, problem)
                    return
            elif any(map(str.strip, cells)):
                try:
                    yield line, _row(columns, parsers, cells)
                except ValueError as error:
                    yield line, DeckError(line, str(error))
            line = before + reader.line_num
    except csv.Error as error:
        yield line, DeckError(line, f"not CSV: {error}")


def _header_problem(columns: list[str], parsers: "Parsers") -> str | None:
    for name in columns:
        if name not in parsers:
            return f"unknown column {name[:40]!r}; known are {', '.join(parsers)}"
        if columns.count(name) > 1:
            return f"column {name!r} is there twice"
    return None if "prefix" in columns else "no column 'prefix'"


def _row(columns: list[str], parsers: "Parsers", cells: list[str]) -> Row:
    """Raises ValueError that names the column."""
    if len(cells) > len(columns):
        raise ValueError(f"{len(cells)} cells, but {len(columns)} columns (is a decimal comma not quoted?)")
    fields: dict[str, Any] = {"prefix": ""}
    for name, cell in zip(columns, cells, strict=False):
        text = cell.strip()
        if text:
            field, parse = parsers[name]
            try:
                fields[field] = parse(text)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
    row = Row(**fields)
    if (row.per_minute is None) is (row.percent is None):
        raise ValueError("per_minute or percent: one of them, not both")
    if row.max_charge is not None and row.max_charge < row.min_charge:
        raise ValueError("max_charge: is less than min_charge")
    if row.extra_fee and row.extra_at_s is None:
        raise ValueError("extra_at_s: an extra_fee needs it")
    if row.valid_from_ms is not None and row.valid_until_ms is not None and row.valid_until_ms <= row.valid_from_ms:
        raise ValueError("valid_until: is not after valid_from")
    return row


Parsers = dict[str, tuple[str, Callable[[str], Any]]]
"""By column: the row's field, and what makes its value of a cell that is not empty. Raises ValueError."""


def _parsers(zone: ZoneInfo) -> Parsers:
    """Cells repeat from row to row, so each parser remembers what it has seen."""
    amount, seconds = lru_cache(4096)(_amount), lru_cache(4096)(_seconds)
    moment = lru_cache(4096)(partial(_moment, zone))
    return {
        "prefix": ("prefix", _prefix),
        "destination": ("destination", lru_cache(4096)(_name)),
        "type": ("type", lru_cache(64)(partial(_one_of, NumberType))),
        "connection_fee": ("connection_fee", amount),
        "per_minute": ("per_minute", lru_cache(4096)(_rate)),
        "percent": ("percent", lru_cache(4096)(_percent)),
        "initial_s": ("initial_s", seconds),
        "increment_s": ("increment_s", lru_cache(64)(_increment)),
        "min_charge": ("min_charge", amount),
        "max_charge": ("max_charge", amount),
        "grace_s": ("grace_s", seconds),
        "free_s": ("free_s", seconds),
        "tier_from_s": ("tier_from_s", seconds),
        "extra_at_s": ("extra_at_s", seconds),
        "extra_fee": ("extra_fee", amount),
        **{name: (name, _unsupported) for name in BAND_COLUMNS},
        "valid_from": ("valid_from_ms", moment),
        "valid_until": ("valid_until_ms", moment),
        "direction": ("direction", _direction),
        "class": ("traffic_class", lru_cache(64)(partial(_one_of, TrafficClass))),
    }


def _prefix(text: str) -> str:
    if not (text.isascii() and text.isdigit()) or len(text) > MAX_PREFIX_DIGITS:
        raise ValueError(f"{text[:40]!r} is not 1 to {MAX_PREFIX_DIGITS} digits")
    return text


def _name(text: str) -> str:
    """A name as it is; the quote that keeps a spreadsheet from calculating it is taken off."""
    name = text[1:] if text[0] == "'" and _FORMULA.match(text) else text
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


def _point(text: str) -> str:
    """A decimal comma as a point. "1.234,5" stays as it is, and is then no number: it could mean either."""
    return text.replace(",", ".") if "." not in text else text


def _amount(text: str) -> int:
    micros = parse_amount(_point(text))
    if not 0 <= micros <= MAX_UNITS * MICROS:
        raise ValueError(f"{text!r} is not between 0 and {MAX_UNITS}")
    return micros


def _rate(text: str) -> int:
    rate = parse_rate(_point(text))
    if rate > MAX_UNITS * 10**8:
        raise ValueError(f"{text!r} is more than {MAX_UNITS}")
    return rate


def _percent(text: str) -> int:
    millionths = parse_percent(_point(text.removesuffix("%").rstrip()))
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


def _moment(zone: ZoneInfo, text: str) -> int:
    """A date (its midnight) or time, in the plan's zone unless it names its own, in ms since the epoch."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text[:40]!r} is neither a date nor a time") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=zone)
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def _unsupported(_: str) -> None:
    raise ValueError("time bands are not supported yet")


def export_deck(rows: Iterable[Row]) -> Iterator[str]:
    """The rows as CSV lines, which `import_deck` reads to the same rows. What a row does not state is empty."""
    line = io.StringIO()
    writer = csv.writer(line)
    writer.writerow(column for column, _, _ in _EXPORTED)
    yield line.getvalue()
    for row in rows:
        line.seek(0)
        line.truncate()
        writer.writerow(_cell(row, field, shown) for _, field, shown in _EXPORTED)
        yield line.getvalue()


def _cell(row: Row, field: str, shown: Callable[[Any], str]) -> str:
    value = getattr(row, field)
    return "" if value == getattr(_NOT_STATED, field) else shown(value)


def _quoted(name: str) -> str:
    """A name that a spreadsheet would calculate is kept from it by a quote in front."""
    return "'" + name if _FORMULA.match(name) else name


def _shown_rate(rate: int) -> str:
    return format_rate(rate, 100)


_EXPORTED: tuple[tuple[str, str, Callable[[Any], str]], ...] = (
    ("prefix", "prefix", str),
    ("destination", "destination", _quoted),
    ("type", "type", str),
    ("connection_fee", "connection_fee", format_amount),
    ("per_minute", "per_minute", _shown_rate),
    ("percent", "percent", format_percent),
    ("initial_s", "initial_s", str),
    ("increment_s", "increment_s", str),
    ("min_charge", "min_charge", format_amount),
    ("max_charge", "max_charge", format_amount),
    ("grace_s", "grace_s", str),
    ("free_s", "free_s", str),
    ("tier_from_s", "tier_from_s", str),
    ("extra_at_s", "extra_at_s", str),
    ("extra_fee", "extra_fee", format_amount),
    ("valid_from", "valid_from_ms", format_time),
    ("valid_until", "valid_until_ms", format_time),
    ("direction", "direction", str),
    ("class", "traffic_class", str),
)
