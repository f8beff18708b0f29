"""Tariff decks as CSV: read with every error by its line, written so that they read again to the same.

A deck is taken whole or not at all. `sheet` says which spreadsheets are understood, `prefixes` and `cells` what may
stand in them.
"""

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import msgspec

from callctl.clock import format_time
from callctl.errors import DeckError
from callctl.money import format_amount, format_percent, format_rate
from callctl.rating.bands import BAND_COLUMNS, format_band, parse_band
from callctl.rating.builder import DeckBuilder, RowConflictError
from callctl.rating.decks.cells import (
    DATE_COLUMNS,
    INCREMENTS,
    MISREAD,
    NUMBER_COLUMNS,
    Parsers,
    parse_increments,
    parsers_of,
)
from callctl.rating.decks.notation import Notation, notation_of
from callctl.rating.decks.prefixes import parse_prefixes
from callctl.rating.decks.sheet import KEYS, Form, Layout, form_of, rows_of
from callctl.rating.match import Deck
from callctl.rating.tariff import Plan, Row

MAX_ERRORS = 100
MAX_ROWS = 1_000_000
STEP_LINES = 1_000  # between two signs of progress

_NOT_STATED = Row(prefix="")
_FOUND_OUT = Layout()


class DeckImport(msgspec.Struct, frozen=True):
    """A deck that was read: its rows, or what is wrong with it (then there are none).

    `deck`: they, ready to be looked up in, without those that the plan inherits. `lines`: where each row stands.
    Passed over: the lines `asides` (comments, totals), the headings `ignored`.
    """

    rows: tuple[Row, ...]
    errors: tuple[DeckError, ...]
    deck: Deck | None = None
    lines: Sequence[int] = ()
    asides: tuple[int, ...] = ()
    ignored: tuple[str, ...] = ()


def import_deck(
    sheet: str | Iterable[str], plan: Plan, layout: Layout = _FOUND_OUT, progress: Callable[[int], None] | None = None
) -> DeckImport:
    """Read a whole deck, from its text or the lines of it.

    `progress` hears of the lines read so far, every `STEP_LINES` of them.
    """
    text = sheet if isinstance(sheet, str) else "".join(sheet)
    try:
        form = form_of(text, layout, COLUMNS)
    except DeckError as error:
        return DeckImport((), (error,))
    reading = _Reading(plan, form, _notation(text, form, layout))
    try:
        for count, (line, cells) in enumerate(rows_of(text, form, reading.asides), 1):
            reading.take(line, cells)
            if reading.is_hopeless:
                break
            if progress is not None and count % STEP_LINES == 0:
                progress(line)
    except DeckError as error:
        reading.errors.append(error)
    return reading.done()


def _notation(text: str, form: Form, layout: Layout) -> Notation:
    """How numbers and dates are written: as is said, else as the whole sheet shows."""
    numbers: set[str] = set()
    dates: set[str] = set()
    seen = [(at, numbers) for at, column in enumerate(form.columns) if column in NUMBER_COLUMNS]
    seen += [(at, dates) for at, column in enumerate(form.columns) if column in DATE_COLUMNS]
    try:
        for _, cells in rows_of(text, form, []):
            for at, texts in seen:
                if at < len(cells):
                    texts.add(cells[at])
    except DeckError:
        pass  # told when the rows are read
    stated = ({text.strip().removesuffix("%").rstrip() for text in texts} for texts in (numbers, dates))
    shown = notation_of(*stated, our_form=not layout.headings and not layout.columns)
    return Notation(layout.decimal or shown.decimal, layout.dates or shown.dates)


class _Reading:
    """The rows so far, and what is wrong so far."""

    def __init__(self, plan: Plan, form: Form, notation: Notation) -> None:
        self.errors: list[DeckError] = []
        self.asides: list[int] = []
        self._ignored = form.ignored
        self._cells = _RowCells(form.columns, parsers_of(plan, notation))
        self._builder = DeckBuilder(plan)
        self._rows: list[Row] = []
        self._lines: list[int] = []

    @property
    def is_hopeless(self) -> bool:
        return len(self.errors) >= MAX_ERRORS or len(self._rows) > MAX_ROWS

    def take(self, line: int, cells: list[str]) -> None:
        try:
            for row in self._cells.rows(cells):
                self._rows.append(row)
                self._lines.append(line)
                self._builder.add(row)
        except RowConflictError as error:
            self.errors.append(DeckError(line, f"{error} (line {self._line_of(error.other)})"))
        except ValueError as error:
            self.errors.append(DeckError(line, str(error)))
        if len(self._rows) > MAX_ROWS:
            self.errors.append(DeckError(line, f"more than {MAX_ROWS} rows"))

    def done(self) -> DeckImport:
        if not self.errors:
            for _ in self._builder.checking():
                pass
            self.errors += [self._flaw(flaw) for flaw in self._builder.flaws]
        if self.errors:
            return DeckImport((), tuple(self.errors))
        deck = self._builder.build()
        return DeckImport(tuple(self._rows), (), deck, self._lines, tuple(self.asides), self._ignored)

    def _flaw(self, flaw: RowConflictError) -> DeckError:
        line = self._line_of(flaw.other)
        if flaw.row is None:
            return DeckError(line, str(flaw))
        return DeckError(self._line_of(flaw.row), f"{flaw} (line {line})")

    def _line_of(self, row: Row) -> int:
        return next(line for line, each in zip(self._lines, self._rows, strict=True) if each is row)


class _RowCells:
    """Makes rows of a line's cells."""

    def __init__(self, columns: Sequence[str | None], parsers: Parsers) -> None:
        self._width = len(columns)
        self._prefix_at, self._code_at = (columns.index(key) if key in columns else None for key in KEYS)
        self._increments_at = columns.index(INCREMENTS) if INCREMENTS in columns else None
        self._bands_at = [columns.index(name) if name in columns else None for name in BAND_COLUMNS]
        self._has_bands = any(at is not None for at in self._bands_at)
        self._unnamed_at = [at for at, name in enumerate(columns) if name is None]
        self._parsed = [(at, name, *parsers[name]) for at, name in enumerate(columns) if name in parsers]

    def rows(self, cells: list[str]) -> Iterator[Row]:
        """A row for each prefix. Raises ValueError that names the column."""
        stated = list(map(str.strip, cells))
        if len(stated) != self._width:
            if any(stated[self._width :]):
                raise ValueError(f"{len(cells)} cells, but {self._width} columns (is a decimal comma not quoted?)")
            stated += [""] * (self._width - len(stated))
        for at in self._unnamed_at:
            if stated[at]:
                raise ValueError(f"{stated[at][:40]!r} stands under no heading")
        fields: dict[str, Any] = {}
        column = ""
        try:
            for at, column, field, parse in self._parsed:  # noqa: B007  named where its cell is wrong
                if text := stated[at]:
                    fields[field] = parse(text)
            if self._increments_at is not None and (text := stated[self._increments_at]):
                column = INCREMENTS
                if "initial_s" in fields or "increment_s" in fields:
                    raise ValueError("they are in columns of their own too")
                fields["initial_s"], fields["increment_s"] = parse_increments(text)
        except ValueError as error:
            raise ValueError(f"{column}: {error}") from None
        if self._has_bands:
            fields["band"] = parse_band(tuple("" if at is None else stated[at] for at in self._bands_at))
        for prefix in self._prefixes(stated):
            yield _checked(Row(prefix, **fields))

    def _prefixes(self, stated: list[str]) -> tuple[str, ...]:
        code = "" if self._code_at is None else stated[self._code_at]
        text = "" if self._prefix_at is None else stated[self._prefix_at]
        try:
            return parse_prefixes(text, code) if text or code else ("",)
        except ValueError as error:
            raise ValueError(f"prefix: {error}") from None


def _checked(row: Row) -> Row:
    """Raises ValueError where the row contradicts itself."""
    if (row.per_minute is None) is (row.percent is None):
        raise ValueError("per_minute or percent: one of them, not both")
    if row.max_charge is not None and row.max_charge < row.min_charge:
        raise ValueError("max_charge: is less than min_charge")
    if row.extra_fee and row.extra_at_s is None:
        raise ValueError("extra_at_s: an extra_fee needs it")
    if row.valid_from_ms is not None and row.valid_until_ms is not None and row.valid_until_ms <= row.valid_from_ms:
        raise ValueError("valid_until: is not after valid_from")
    return row


def export_deck(rows: Iterable[Row]) -> Iterator[str]:
    """The rows as CSV lines, which `import_deck` reads to the same rows. What a row does not state is empty."""
    line = io.StringIO()
    writer = csv.writer(line)
    writer.writerow((*(column for column, _, _ in _EXPORTED), *BAND_COLUMNS))
    yield line.getvalue()
    for row in rows:
        line.seek(0)
        line.truncate()
        writer.writerow((*(_cell(row, field, shown) for _, field, shown in _EXPORTED), *format_band(row.band)))
        yield line.getvalue()


def _cell(row: Row, field: str, shown: Callable[[Any], str]) -> str:
    value = getattr(row, field)
    return "" if value == getattr(_NOT_STATED, field) else shown(value)


def _quoted(name: str) -> str:
    """A name that would be misread is kept from it by a quote in front."""
    return "'" + name if MISREAD.match(name) else name


def _shown_rate(rate: int) -> str:
    return format_rate(rate, 100)


def _shown_percent(millionths: int) -> str:
    """Never with three decimals, which could be thousands."""
    shown = format_percent(millionths)
    return f"{shown}0" if shown[-4:-3] == "." else shown


_EXPORTED: tuple[tuple[str, str, Callable[[Any], str]], ...] = (
    ("prefix", "prefix", str),
    ("destination", "destination", _quoted),
    ("type", "type", str),
    ("connection_fee", "connection_fee", format_amount),
    ("per_minute", "per_minute", _shown_rate),
    ("percent", "percent", _shown_percent),
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

COLUMNS = (*(column for column, _, _ in _EXPORTED), *BAND_COLUMNS, "country_code", INCREMENTS)
"""What a sheet may have: what an export has, and two more that spreadsheets have instead of some of them."""
