"""CDRs as JSON-lines or CSV files, exactly once each, whatever dies in between.

    billing-20261121T101500Z-000000000042.jsonl        finished: its name says time and first sequence
    billing-20261121T111500Z-000000000108.jsonl.part   being written: consumers leave it alone

A batch is on the disk before `deliver` returns. A crash in the middle leaves a torn last line, which the next
start cuts off, and a batch that comes again, of which the lines already there are skipped.
"""

import asyncio
import fcntl
import re
import threading
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from callctl.clock import parse_time
from callctl.errors import SinkUnavailable
from callctl.ports import Clock, FeedRecord
from callctl.sinks.lines import LineFormat
from callctl.sinks.part import PART, Part
from callctl.sinks.record import columns_of

REMEMBERED = 5_000
"""The newest lines, by which a repeated batch is recognised: many times a batch."""


class FileSink:
    """One directory, one format. A file is finished at `rotate_bytes`, or `rotate_ms` after it was begun."""

    def __init__(
        self,
        name: str,
        directory: Path,
        form: LineFormat,
        *,
        rotate_bytes: int,
        rotate_ms: int,
        clock: Clock,
    ) -> None:
        self.name = name
        self._directory = directory
        self._form = form
        self._rotate_bytes = rotate_bytes
        self._rotate_ms = rotate_ms
        self._clock = clock
        self._names = re.compile(rf"{re.escape(name)}-(\d{{8}}T\d{{6}}Z)-\d{{12,}}\.(jsonl|csv)({PART})?")
        self._one_at_a_time = threading.Lock()  # the thread of a cancelled delivery runs to its end
        self._claim: BinaryIO | None = None
        self._part: Part | None = None
        self._newest_ms = 0
        self._written: deque[str] = deque(maxlen=REMEMBERED)

    async def deliver(self, records: Sequence[FeedRecord]) -> None:
        """Writes what is not there yet. An empty batch only finishes a file that has come of age.

        Raises SinkUnavailable; then nothing, or a part of the batch, is written, and it may come again.
        """
        await asyncio.to_thread(self._guarded, self._deliver, records)

    async def close(self) -> None:
        """Finishes the file that is being written."""
        await asyncio.to_thread(self._guarded, self._close)

    def _guarded(self, work: Callable[..., None], *arguments: Any) -> None:
        with self._one_at_a_time:
            try:
                work(*arguments)
            except OSError as failed:
                self._let_go()
                raise SinkUnavailable(f"{self._directory}: {failed.strerror or failed}") from failed

    def _deliver(self, records: Sequence[FeedRecord]) -> None:
        if self._claim is None:
            self._take_up()
        known = set(self._written)
        for record in records:
            columns = columns_of(record.payload)
            key = self._form.key(columns)
            if key in known:
                continue
            if self._part is None:
                self._part = self._begin(record.sequence)
            self._part.add(self._form.line(columns))
            self._written.append(key)
            if self._part.size >= self._rotate_bytes:
                self._finish(self._part)
        if self._part is not None:
            self._part.sync()
            if self._clock.now().since_ms(self._part.begun) >= self._rotate_ms:
                self._finish(self._part)

    def _close(self) -> None:
        if self._part is not None:
            self._part.sync()
            self._finish(self._part)
        self._let_go()

    def _begin(self, sequence: int) -> Part:
        begun = self._clock.now()
        self._newest_ms = max(self._newest_ms, begun.wall_ms)  # names ascend, also when the clock steps back
        time = datetime.fromtimestamp(self._newest_ms // 1000, UTC)
        final = self._directory / f"{self.name}-{time:%Y%m%dT%H%M%SZ}-{sequence:012d}{self._form.suffix}"
        if final.exists():  # a feed that began anew within the second; the next one is its own
            raise FileExistsError(f"{final.name} exists")
        part = Part(final.with_name(final.name + PART), begun, size=0)
        part.add(self._form.header)
        return part

    def _finish(self, part: Part) -> None:
        part.finish()
        self._part = None

    def _take_up(self) -> None:
        """Claims the directory and makes whole what a crash has left."""
        self._directory.mkdir(parents=True, exist_ok=True)
        claim = (self._directory / f".{self.name}.lock").open("ab")
        try:
            fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as taken:
            claim.close()
            raise SinkUnavailable(f"{self._directory}: another process writes {self.name} here") from taken
        self._claim = claim
        files = self._files()
        self._newest_ms = max(map(self._begun_ms, files), default=0)
        parts = [path for path in files if path.suffix == PART]
        for path in parts:
            part = Part.resume(path, self._clock.now().at_wall(self._begun_ms(path)))
            if part is None:
                continue
            if path is parts[-1] and self._continues(part):
                self._part = part
            else:
                part.finish()
        self._remember()

    def _begun_ms(self, path: Path) -> int:
        named = self._names.fullmatch(path.name)
        return parse_time(named[1]) if named else 0

    def _continues(self, part: Part) -> bool:
        """It is of our format, and was begun by a version with the same columns."""
        return part.path.name.endswith(self._form.suffix + PART) and part.starts_with(self._form.header)

    def _files(self) -> list[Path]:
        """Ours, oldest first: the time stands first in their names."""
        return sorted(path for path in self._directory.iterdir() if self._names.fullmatch(path.name))

    def _remember(self) -> None:
        """The keys of the newest lines, oldest first."""
        self._written.clear()
        room = REMEMBERED
        for path in reversed(self._files()):
            with path.open("rb") as file:
                lines = deque(file, maxlen=room)
            keys = [key for key in map(self._form.key_of, lines) if key is not None]
            self._written.extendleft(reversed(keys))
            room -= len(lines)
            if room <= 0:
                return

    def _let_go(self) -> None:
        if self._part is not None:
            self._part.abandon()
            self._part = None
        if self._claim is not None:
            self._claim.close()
            self._claim = None
