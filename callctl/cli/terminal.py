"""What people see: tables and lines in which no caller can hide a terminal command. JSON for machines."""

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from callctl.printable import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_WIDE = 1000  # columns of what is not a terminal: nothing is cut off
_READ_AT_MOST = 1_000  # rows of a table for people; rich takes a ms for each


def print_json(value: object) -> None:
    """One value on one line, in ASCII: nothing in it can command a terminal."""
    print(json.dumps(value), flush=True)


def say(line: str) -> None:
    """A line of plain text."""
    print(printable(line), flush=True)


def console(*, stderr: bool = False) -> "Console":
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, width=None if stream.isatty() else _WIDE, highlight=False)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, right: Sequence[str] = ()) -> "Table":
    """Rows under headings; `right`: the columns of numbers."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    made = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left", no_wrap=column in right)
    for row in rows:
        made.add_row(*(Text(cell_text(cell)) for cell in row))
    return made


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, right: Sequence[str] = ()) -> None:
    """For people on a terminal as it fits there; whatever else reads it gets the same without end.

    Where the output has no lines to draw with, rich finds others.
    """
    cells, out = [tuple(map(cell_text, row)) for row in rows], console()
    if out.options.ascii_only or (out.is_terminal and len(cells) <= _READ_AT_MOST):
        out.print(table(columns, cells, right=right))
    else:
        sys.stdout.writelines(_lines(columns, cells, right))
        sys.stdout.flush()


def _lines(columns: Sequence[str], cells: Sequence[Sequence[str]], right: Sequence[str]) -> Iterator[str]:
    """As rich draws `table` where there is room for it."""
    from rich.cells import cell_len

    widths = [max(map(cell_len, column)) for column in zip(columns, *cells, strict=True)]
    shapes = [(width, column in right) for column, width in zip(columns, widths, strict=True)]

    def line(row: Sequence[str]) -> str:
        placed = []
        for text, (width, to_the_right) in zip(row, shapes, strict=True):
            blank = " " * (width - cell_len(text))
            placed.append(blank + text if to_the_right else text + blank)
        return "   ".join(placed) + "\n"

    yield line(columns)
    yield "─" * (sum(widths) + 3 * (len(widths) - 1)) + "\n"
    yield from map(line, cells)


def cell_text(value: Any) -> str:
    """A value as a cell of a table."""
    if value is None:
        return "-"
    if isinstance(value, (dict, list)):
        return printable(json.dumps(value, ensure_ascii=False))
    return printable(str(value))


def clock_time(rfc3339: str | None) -> str:
    """A moment of the API, to the second."""
    return (rfc3339 or "-")[:19].replace("T", " ")


def minutes(seconds: int | None) -> str:
    """A duration for people: 5:40, 1:00:00."""
    if seconds is None:
        return "no limit"
    hours, rest = divmod(seconds, 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"
