"""The journal of what the store could not be told, on a disk that fills up."""

import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from callctl.call.admission import propose
from callctl.call.events import CallKey
from callctl.call.session import Session, State
from callctl.control.journal import Journal
from tests.core.calls import POLICY, START, facts, offered


def blind(call_id: str) -> Session:
    session = propose(offered(), facts(), START, POLICY).session
    return replace(session, call=CallKey("pbx1", call_id), state=State.BLIND)


@contextmanager
def disk_with_room_for(size: int) -> Iterator[None]:
    """A limit on the size of files makes the kernel write a part of a line: as a disk does that fills up."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, previous)


@pytest.mark.parametrize("room", [0, 1, 20, 200])
def test_half_a_line_of_a_full_disk_does_not_spoil_the_next(tmp_path: Path, room: int) -> None:
    first, second, third = map(blind, ("c1", "c2", "c3"))
    journal = Journal(tmp_path / "journal")
    journal.append(first)
    with disk_with_room_for((tmp_path / "journal").stat().st_size + room), capture_logs() as logs:
        journal.append(second)
    assert [entry["event"] for entry in logs] == ["journal_not_written"]
    journal.append(third)
    assert list(journal.pending.values()) == [first, second, third]
    journal.close()
    again = Journal(tmp_path / "journal")
    assert list(again.pending.values()) == [first, third]
    again.close()
