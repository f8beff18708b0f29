"""What the store could not be told: an append-only file, written through to the disk, replayed when the store is back.

A line is a session; the last line of a call says what is to be done. A line of a call that the store has taken over
(admitted, answered) or a bare name means: nothing any more. A torn last line (a crash in the middle) is dropped.
"""

import errno
import os
from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import structlog

from callctl.call import packing
from callctl.call.session import Session, State

log = structlog.get_logger(__name__)

_decode = packing.Decoder(Session).decode
TO_REPLAY = frozenset({State.BLIND, State.REFUSED, State.SETTLING, State.ENDED})


class Journal:
    """`pending` holds what must still be replayed. Raises nothing: a full disk must not stop an emergency call."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.pending: dict[str, Session] = {}
        self._gathers = False  # what is appended waits to be written through
        self._is_due = False
        path.parent.mkdir(parents=True, exist_ok=True)
        self._load()
        self._file = path.open("ab", buffering=0)
        os.fchmod(self._file.fileno(), 0o600)  # who called whom is nobody else's business

    def _load(self) -> None:
        raw = self._path.read_bytes() if self._path.exists() else b""
        for line in raw.split(b"\n")[:-1]:
            name, _, packed = line.partition(b" ")
            try:
                session = _decode(b64decode(packed, validate=True)) if packed else None
            except (ValueError, msgspec.MsgspecError) as error:
                log.error("journal_line_unreadable", error=str(error), line=line[:80].decode("ascii", "replace"))
                continue
            self._keep(name.decode("ascii", "replace"), session)
        whole = raw.rfind(b"\n") + 1
        if whole < len(raw):
            os.truncate(self._path, whole)

    def append(self, session: Session) -> None:
        """Remember this state of a call, on the disk; once."""
        name = session.call.trace_id
        if self.pending.get(name) == session:
            return
        self._keep(name, session)
        self._write(name.encode() + b" " + b64encode(packing.encode(session)) + b"\n")

    @contextmanager
    def together(self) -> Iterator[None]:
        """What is appended within is on the disk when this is over: written through once, and not before."""
        self._gathers = True
        try:
            yield
        finally:
            self._gathers = False
            if self._is_due:
                self._write_through()

    def done(self, session: Session) -> None:
        """The store knows it now. When nothing is left the file starts anew."""
        name = session.call.trace_id
        if self.pending.get(name) is not session:
            return  # something newer was written meanwhile
        del self.pending[name]
        if self.pending:
            self._write(name.encode() + b"\n")
        else:
            os.ftruncate(self._file.fileno(), 0)

    def _keep(self, name: str, session: Session | None) -> None:
        if session is not None and session.state in TO_REPLAY:
            self.pending[name] = session
        else:
            self.pending.pop(name, None)

    def _write(self, line: bytes) -> None:
        fd = self._file.fileno()
        end = os.fstat(fd).st_size
        try:
            if self._file.write(line) < len(line):
                os.ftruncate(fd, end)  # half a line would spoil the next one
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            log.critical("journal_not_written", error=str(error))
            return
        self._is_due = True
        if not self._gathers:
            self._write_through()

    def _write_through(self) -> None:
        self._is_due = False
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            log.critical("journal_not_written", error=str(error))

    def close(self) -> None:
        self._file.close()
