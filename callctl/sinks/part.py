"""A file that is being written: whole lines, on the disk when `sync` returns, its final name at the end."""

import contextlib
import os
from pathlib import Path
from typing import Self

from callctl.clock import Instant

PART = ".part"
_CHUNK = 65_536


class Part:
    """`path` ends in PART. `size` in bytes counts lines that still wait for `sync`. May raise OSError."""

    def __init__(self, path: Path, begun: Instant, size: int) -> None:
        self.path = path
        self.begun = begun
        self.size = size
        self._safe_bytes = size
        self._waiting: list[bytes] = []
        self._file = path.open("ab", buffering=0)

    @classmethod
    def resume(cls, path: Path, begun: Instant) -> Self | None:
        """What a crash left, its torn last line cut off; None when no record is left, and then no file."""
        with path.open("r+b") as file:
            whole_bytes = _end_of_last_line(file.fileno(), path.stat().st_size)
            file.truncate(whole_bytes)
            os.fsync(file.fileno())
        if whole_bytes == 0:
            path.unlink()
            return None
        return cls(path, begun, whole_bytes)

    def starts_with(self, header: bytes) -> bool:
        with self.path.open("rb") as file:
            return file.read(len(header)) == header

    def add(self, line: bytes) -> None:
        """To be written by the next `sync`."""
        self._waiting.append(line)
        self.size += len(line)

    def sync(self) -> None:
        """All lines are on the disk."""
        if not self._waiting:
            return
        rest = memoryview(b"".join(self._waiting))
        while rest:
            rest = rest[self._file.write(rest) :]
        os.fsync(self._file.fileno())
        self._waiting.clear()
        self._safe_bytes = self.size

    def finish(self) -> None:
        """Gives the file its final name, for good."""
        self.sync()
        self._file.close()
        self.path.rename(self.path.with_suffix(""))
        sync_directory(self.path.parent)

    def abandon(self) -> None:
        """Leaves what the last `sync` had secured, as far as the disk still does as it is told."""
        if not self._file.closed:
            with contextlib.suppress(OSError):
                self._file.truncate(self._safe_bytes)
            self._file.close()


def sync_directory(path: Path) -> None:
    """A name in `path` survives a power cut only once its directory is on the disk."""
    directory = os.open(path, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _end_of_last_line(file: int, size: int) -> int:
    """How many of `size` bytes end with a line feed."""
    end = size
    while end > 0:
        begin = max(0, end - _CHUNK)
        found = os.pread(file, end - begin, begin).rfind(b"\n")
        if found >= 0:
            return begin + found + 1
        end = begin
    return 0
