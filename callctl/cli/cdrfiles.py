"""CDRs out of the files that the file sink writes, plain or gzipped, and out of the daemon's feed: one at a time.

What cannot be read is named by file and line, and counted.
"""

import csv
import glob
import io
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from gzip import BadGzipFile, GzipFile
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

import msgspec

from callctl.cli.client import Client
from callctl.cli.exits import WrongUseError
from callctl.clock import format_time
from callctl.rating.whatif.calls import Known, PastRecord

LONGEST_LINE = 1_000_000  # bytes: more is no record
NAMED_AT_MOST = 20  # broken lines that are named; all are counted
_STEP = 1_000  # lines between two signs of progress
_CLOCKS_APART_MS = 60_000  # a switch may state a set-up that lies ahead of when its record was written

Advance = Callable[[int], None]
Decode = Callable[[bytes], PastRecord]

_GZIP = b"\x1f\x8b"
_RECORDS = re.compile(r".+\.(jsonl|csv)(\.gz)?")
_FORMULA = tuple("=+-@\uff1d\uff0b\uff0d\uff20")  # what the sink keeps a spreadsheet from calculating
_FIELDS = PastRecord.__struct_fields__
_NEEDED = _FIELDS[: -len(PastRecord.__struct_defaults__)]
_LISTS = ("parts",)  # JSON in a cell
_call_of = msgspec.json.Decoder(PastRecord).decode


class _Told(msgspec.Struct):
    """What a record says that it is."""

    role: str | None = None
    kind: str | None = None


_told_by = msgspec.json.Decoder(_Told).decode


class NotACallError(Exception):
    """A whole record, but a subscription's charge or an affiliate's share."""


def expand(names: Sequence[str]) -> list[Path]:
    """The files that are meant, each once, in the order of their names: files, patterns and directories.

    WrongUseError for a name that means none.
    """
    found: dict[Path, Path] = {}
    for name in names:
        if Path(name).is_dir():
            meant = sorted(path for path in Path(name).iterdir() if _RECORDS.fullmatch(path.name))
        elif Path(name).is_file():
            meant = [Path(name)]
        else:
            meant = sorted(path for path in map(Path, glob.glob(name)) if path.is_file())  # noqa: PTH207 - absolute too
        if not meant:
            raise WrongUseError(f"--cdrs {name}: there is no such file, or none that is complete")
        found.update((path.resolve(), path) for path in meant)
    return list(found.values())


class CdrReader:
    """Reads records, and keeps account of what it could not read.

    `broken`: lines that are no records; `named`: the first of them, and why; `torn`: files whose last line is half;
    `besides`: records of what is no call; `repeated`: those that were read before, in another file perhaps.
    """

    def __init__(self) -> None:
        self.records = 0
        self.broken = 0
        self.named: list[str] = []
        self.torn: list[str] = []
        self.besides = 0
        self.repeated = 0
        self._known = Known()

    def files(self, paths: Sequence[Path], advance: Advance) -> Iterator[PastRecord]:
        """Every record of every file, once. `advance` hears how many bytes are behind. WrongUseError: no CDR file."""
        behind = 0
        for path in paths:
            try:
                with path.open("rb") as file:
                    yield from self._file(path, file, partial(_further, advance, behind))
                    behind += file.tell()
            except OSError as failed:
                raise WrongUseError(f"{path}: {failed.strerror or failed}") from failed

    def feed(self, client: Client, since_ms: int | None, advance: Advance) -> Iterator[PastRecord]:
        """Every record that the daemon has of calls since then, and perhaps some before."""
        since = None if since_ms is None else format_time(since_ms - _CLOCKS_APART_MS)
        after: int | None = None
        while True:
            page = client.get("/v1/cdrs", since=since, after=after, limit=1000)
            for shown in page["cdrs"]:
                try:
                    _refuse_no_call(shown.get("role"), shown.get("kind"))
                    yield msgspec.convert(shown, PastRecord)
                except NotACallError:
                    self.besides += 1
                except msgspec.ValidationError as wrong:
                    self._broken("feed", shown.get("sequence"), str(wrong))
                else:
                    self.records += 1
            advance(self.records)
            if not page["more"]:
                return
            after = page["next"]

    def _file(self, path: Path, file: BinaryIO, advance: Advance) -> Iterator[PastRecord]:
        number = 0
        decode: Decode | None = _from_json if ".jsonl" in path.name else None
        try:
            for number, line in enumerate(_lines(_unpacked(file)), 1):
                if decode is None:
                    decode = _from_json if line.lstrip().startswith(b"{") else _from_csv(path, line)
                    if decode is not _from_json:
                        continue
                if number % _STEP == 0:
                    advance(file.tell())
                try:
                    record = decode(line)
                except NotACallError:
                    self.besides += 1
                    continue
                except (ValueError, csv.Error) as wrong:  # msgspec's errors are ValueErrors
                    self._unread(path, number, line, wrong)
                    continue
                if self._known.again(record):
                    self.repeated += 1
                    continue
                self.records += 1
                yield record
        except (EOFError, BadGzipFile, zlib.error) as wrong:
            self._broken(path, number + 1, f"the archive breaks off here: {wrong}")
        advance(file.tell())

    def _unread(self, path: Path, number: int, line: bytes, wrong: Exception) -> None:
        if not line.endswith(b"\n"):
            self.torn.append(f"{path}: line {number} is half a line, and was left out")
        elif line.strip():
            self._broken(path, number, str(wrong))

    def _broken(self, file: object, line: object, reason: str) -> None:
        self.broken += 1
        if len(self.named) < NAMED_AT_MOST:
            self.named.append(f"{file}: line {line}: {reason}")


def _further(advance: Advance, behind: int, at: int) -> None:
    advance(behind + at)


def _unpacked(file: BinaryIO) -> IO[bytes]:
    packed = file.read(2) == _GZIP
    file.seek(0)
    return io.BufferedReader(cast(io.RawIOBase, GzipFile(fileobj=file))) if packed else file


def _lines(stream: IO[bytes]) -> Iterator[bytes]:
    """Lines with their ends. Of one that is too long the beginning: memory stays bounded."""
    begin = b"\xef\xbb\xbf"  # what some programs mark UTF-8 with
    while line := stream.readline(LONGEST_LINE).removeprefix(begin):
        begin, rest = b"", line
        while len(rest) == LONGEST_LINE and not rest.endswith(b"\n"):
            rest = stream.readline(LONGEST_LINE)
        yield line if rest is line else line + b"\n"


def _refuse_no_call(role: str | None, kind: str | None) -> None:
    if role == "affiliate" or kind:
        raise NotACallError


def _from_json(line: bytes) -> PastRecord:
    try:
        return _call_of(line)
    except msgspec.ValidationError:  # seldom: who reads only calls, reads each line once
        told = _told_by(line)
        _refuse_no_call(told.role, told.kind)
        raise


def _from_csv(path: Path, header: bytes) -> Decode:
    try:
        columns = _cells(header) if header.strip() else []
    except (ValueError, csv.Error):
        columns = []
    missing = [name for name in _NEEDED if name not in columns]
    if missing:
        raise WrongUseError(f"{path}: neither JSON lines nor a CSV of CDRs: no column {', '.join(missing)}")
    places = [(name, columns.index(name)) for name in _FIELDS if name in columns]
    role, kind = columns.index("role"), columns.index("kind") if "kind" in columns else None
    count = len(columns)

    def decode(line: bytes) -> PastRecord:
        cells = _cells(line)
        if len(cells) != count:
            raise ValueError(f"{len(cells)} cells, but {count} columns")
        _refuse_no_call(cells[role], cells[kind] if kind is not None else None)
        fields: dict[str, Any] = {name: _value(cells[place]) for name, place in places}
        for name in _LISTS:
            if fields.get(name):
                fields[name] = msgspec.json.decode(fields[name])
        return msgspec.convert(
            {k: v for k, v in fields.items() if v is not None or k in _NEEDED}, PastRecord, strict=False
        )

    return decode


def _cells(line: bytes) -> list[str]:
    return next(csv.reader([line.decode()], strict=True))


def _value(cell: str) -> str | None:
    """What the record has: an empty cell is null, and the quote in front of a formula is the sink's."""
    if not cell:
        return None
    return cell[1:] if cell[0] == "'" and cell[1:].startswith(_FORMULA) else cell
