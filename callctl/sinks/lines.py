"""One CDR, one line: how JSON-lines and CSV write it, and how a line says whose it is.

CSV is read by spreadsheets, which run a cell that begins with = + - or @ as a formula. Such a text gets an apostrophe
in front (as OWASP advises on "CSV Injection") unless it is a number: +31201234567 and -0.0500 stay as they are. So does
what follows a semicolon, where half of Europe's spreadsheets split a line whatever the quotes say. Control characters,
the line feed among them, become blanks, so that a line is always a whole record. Lists are written as JSON.
"""

import csv
import io
import re
from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from callctl.sinks.record import COLUMNS

_FORMULA = re.compile(
    r"(^|;)(?=[\s\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]*"  # blanks and what nobody sees
    r"[=+\-@\uff1d\uff0b\uff0d\uff20])"  # full-width ones too
    r"(?![+-]?[0-9]+(?:\.[0-9]+)?(?:;|$))"
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_ID = COLUMNS.index("id")

_encode = msgspec.json.Encoder().encode


class LineFormat(Protocol):
    """`key` of a record is `key_of` its line; `key_of` is None for a line that is none of ours."""

    suffix: str
    header: bytes

    def line(self, columns: Mapping[str, Any]) -> bytes: ...
    def key(self, columns: Mapping[str, Any]) -> str: ...
    def key_of(self, line: bytes) -> str | None: ...


class _Identified(msgspec.Struct):
    id: str


class JsonLines:
    """One JSON object a line, as the API answers it."""

    suffix = ".jsonl"
    header = b""

    def line(self, columns: Mapping[str, Any]) -> bytes:
        return _encode(columns) + b"\n"

    def key(self, columns: Mapping[str, Any]) -> str:
        return str(columns["id"])

    def key_of(self, line: bytes) -> str | None:
        try:
            return msgspec.json.decode(line, type=_Identified).id
        except ValueError:
            return None


class Csv:
    """Comma-separated UTF-8 with a header line; quoted where needed (RFC 4180), lines ended by LF."""

    suffix = ".csv"
    header = (",".join(COLUMNS) + "\n").encode()

    def line(self, columns: Mapping[str, Any]) -> bytes:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerow([_cell(columns[column]) for column in COLUMNS])
        return text.getvalue().encode()

    def key(self, columns: Mapping[str, Any]) -> str:
        return _cell(columns["id"])

    def key_of(self, line: bytes) -> str | None:
        cells = next(csv.reader([line.decode("utf-8", "replace")]), [])
        return cells[_ID] if len(cells) == len(COLUMNS) else None


def _cell(value: Any) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else _encode(value).decode()
    return _FORMULA.sub(r"\1'", _CONTROL.sub(" ", text))
