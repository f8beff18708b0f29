"""A spreadsheet's text as lines of cells under our columns: its encoding, delimiter and headings.

What its user does not say (`Layout`) is found out from the sheet itself.
"""

import codecs
import csv
import io
import re
from collections.abc import Collection, Iterator
from itertools import islice

import msgspec

from callctl.errors import DeckError
from callctl.rating.decks.notation import DateOrder, DecimalSign

HEADINGS_WITHIN = 50
"""Lines of a sheet that may stand above its headings: a title, an address, `sep=;`."""

KEYS = ("prefix", "country_code")
"""Columns of which a sheet must have one."""

_WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")  # xlsx and ods, xls
_DELIMITERS = ";\t|,"
_MAPPED = re.compile(r'\s*(?P<ours>[a-z_]+)\s*=\s*(?:"(?P<quoted>[^"]*)"|(?P<plain>[^,"]*))\s*(?:,|$)')
ASIDE = r"#|(?:grand |sub)?-?(?:totals?|totaal|totale|summe|gesamt|somme|suma|soma)\b"
"""How a line begins that is a comment, or has totals and no prefix."""

_ASIDE = re.compile(ASIDE, re.IGNORECASE)


class Layout(msgspec.Struct, frozen=True):
    """What is said of a sheet; None and empty: to be found out.

    `headings`: by our column the sheet's; "": our column is not read from this sheet. With it, headings that are
    neither mapped nor ours are passed over; without it they are an error.
    `columns`: our columns in the order of a sheet that has no headings, "" for those to pass over.
    """

    headings: dict[str, str] = {}
    columns: tuple[str, ...] = ()
    delimiter: str | None = None
    decimal: DecimalSign | None = None
    dates: DateOrder | None = None
    encoding: str | None = None


class Form(msgspec.Struct, frozen=True):
    """How a sheet is made up.

    `columns`: ours, by position; "" passed over; None: without a heading, to be empty. `ignored`: headings passed over.
    `headings_line`: the line of the headings; 0 without.
    """

    delimiter: str
    columns: tuple[str | None, ...]
    ignored: tuple[str, ...] = ()
    headings_line: int = 0


def parse_headings(text: str) -> dict[str, str]:
    """`prefix=Code,per_minute="Rate (EUR)"`. ValueError for anything else."""
    headings: dict[str, str] = {}
    at = 0
    while at < len(text):
        found = _MAPPED.match(text, at)
        if found is None:
            raise ValueError(f"{text[at : at + 40]!r} is not COLUMN=HEADING")
        if found["ours"] in headings:
            raise ValueError(f"{found['ours']} is mapped twice")
        headings[found["ours"]] = (found["quoted"] or found["plain"] or "").strip()
        at = found.end()
    if len(filled := [*filter(None, map(_folded, headings.values()))]) > len(set(filled)):
        raise ValueError("one heading cannot be two columns")
    return headings


def decode(raw: bytes, encoding: str | None = None) -> str:
    """The text: UTF-8, or UTF-16, or else Windows-1252 (which Latin-1 is part of), unless `encoding` says.

    Raises DeckError at the line that is not so encoded, LookupError for an encoding that nobody knows.
    """
    if raw.startswith(_WORKBOOKS):
        raise DeckError(1, "is a workbook, not text: save the sheet as CSV")
    try:
        return raw.decode(encoding or _encoding_of(raw)).removeprefix("\ufeff")
    except UnicodeDecodeError as wrong:
        line = raw.count(b"\n", 0, wrong.start) + 1
        raise DeckError(line, f"is not {wrong.encoding}: name its encoding") from None
    except UnicodeError as wrong:  # of codecs that do not say where
        raise DeckError(1, f"is not {encoding}: {wrong}") from None


def _encoding_of(raw: bytes) -> str:
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if 0 in raw[:2]:
        return "utf-16-be" if raw[0] == 0 else "utf-16-le"
    try:
        raw.decode()
    except UnicodeDecodeError:
        # Of both kinds at once: as Windows-1252 the names that are UTF-8 would be spoilt.
        signs = set(raw.decode(errors="surrogateescape"))
        return "utf-8" if any(sign > "\x7f" and not "\ud800" <= sign <= "\udfff" for sign in signs) else "cp1252"
    return "utf-8"


def form_of(text: str, layout: Layout, known: Collection[str]) -> Form:
    """Find delimiter and headings. DeckError where there are none, or some that are not `known`."""
    strange = [name for name in (*layout.headings, *layout.columns) if name and name not in known]
    if strange:
        raise DeckError(1, _unknown(strange[0], known))
    if layout.columns:
        return _without_headings(text, layout)
    best: tuple[int, int, str, list[str]] | None = None
    for delimiter in layout.delimiter or _DELIMITERS:
        found = _headings(text, delimiter, layout, known)
        if found is not None:
            read = sum(1 for cell in found[1] if _ours(cell, layout, known))
            if best is None or read > best[0]:
                best = (read, found[0], delimiter, found[1])
    if best is None:
        raise _no_headings(text, layout)
    _, line, delimiter, cells = best
    return _form(line, delimiter, cells, layout, known)


def records(text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Cells with the line on which they begin. DeckError at a line that is not CSV."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    line = 1
    try:
        for cells in reader:
            yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        raise DeckError(line, f"not CSV: {error}") from None


def rows_of(text: str, form: Form, asides: list[int]) -> Iterator[tuple[int, list[str]]]:
    """The lines that are neither blank nor above the headings; of a comment or a total `asides` gets the number."""
    keys = [at for at, column in enumerate(form.columns) if column in KEYS]
    for line, cells in records(text, form.delimiter):
        first = next(filter(None, map(str.strip, cells)), "")
        if not first or line <= form.headings_line:
            continue
        if not first[0].isdigit() and _is_aside(first, cells, keys):
            asides.append(line)
        else:
            yield line, cells


def _is_aside(first: str, cells: list[str], keys: list[int]) -> bool:
    prefixes = "".join(cells[at] for at in keys if at < len(cells))
    return _ASIDE.match(first) is not None and (first[0] == "#" or not any(map(str.isdigit, prefixes)))


def _folded(heading: str) -> str:
    return " ".join(heading.split()).casefold()


def _ours(cell: str, layout: Layout, known: Collection[str]) -> str:
    """Our column under a heading; empty where it is none of ours."""
    heading = _folded(cell)
    mapped = next((ours for ours, theirs in layout.headings.items() if theirs and _folded(theirs) == heading), None)
    if mapped is not None:
        return mapped
    name = re.sub(r"[^a-z0-9]+", "_", heading).strip("_")
    return name if name in known and name not in layout.headings else ""


def _headings(text: str, delimiter: str, layout: Layout, known: Collection[str]) -> tuple[int, list[str]] | None:
    """The first line that could be the headings."""
    try:
        for line, cells in islice(records(text, delimiter), HEADINGS_WITHIN):
            if any(_ours(cell, layout, known) in KEYS for cell in cells):
                return line, cells
    except DeckError:
        pass  # not with this delimiter
    return None


def _no_headings(text: str, layout: Layout) -> DeckError:
    line = next((number for number, each in enumerate(io.StringIO(text), 1) if each.strip()), None)
    if line is None:
        return DeckError(1, "the deck is empty: its first line names the columns")
    heading = layout.headings.get("prefix")
    sought = f"{heading!r} for the prefix" if heading else "'prefix'"
    return DeckError(line, f"no column {sought}: names of destinations do not say which numbers have the price")


def _form(line: int, delimiter: str, cells: list[str], layout: Layout, known: Collection[str]) -> Form:
    columns: list[str | None] = []
    ignored: list[str] = []
    for cell in cells:
        ours = _ours(cell, layout, known)
        if ours and ours in columns:
            raise DeckError(line, f"column {ours!r} is there twice")
        if not ours and cell.strip():
            if not layout.headings:
                raise DeckError(line, _unknown(cell.strip(), known))
            ignored.append(cell.strip())
        columns.append(ours if cell.strip() else None)
    for ours, heading in layout.headings.items():
        if heading and ours not in columns:
            raise DeckError(line, f"no heading {heading!r}, which {ours} was mapped to")
    return Form(delimiter, tuple(columns), tuple(ignored), line)


def _unknown(name: str, known: Collection[str]) -> str:
    return f"unknown column {name[:40]!r}; known are {', '.join(known)}"


def _without_headings(text: str, layout: Layout) -> Form:
    """The delimiter that makes most of the first lines as wide as is said."""
    width = len(layout.columns)

    def fitting(delimiter: str) -> int:
        try:
            return sum(1 for _, cells in islice(records(text, delimiter), HEADINGS_WITHIN) if len(cells) == width)
        except DeckError:
            return 0

    delimiter = layout.delimiter or max(_DELIMITERS, key=fitting)
    if not set(layout.columns) & set(KEYS):
        raise DeckError(1, f"the columns have no {' or '.join(KEYS)}")
    if twice := [column for at, column in enumerate(layout.columns) if column and column in layout.columns[:at]]:
        raise DeckError(1, f"column {twice[0]!r} is there twice")
    return Form(delimiter, layout.columns)
