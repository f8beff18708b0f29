"""The journal of what the store could not be told: written through once for many calls, on a disk that fills up."""

import asyncio
import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from callctl.accounts import Kind
from callctl.call.admission import propose
from callctl.call.events import Answered, CallKey, Offered, Released
from callctl.call.session import Session, State
from callctl.control.journal import Journal
from callctl.errors import StoreUnavailable
from tests.control_room import ControlRoom
from tests.core.calls import POLICY, START, facts, offered


@pytest.fixture
def written_through(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How much of the file was on the disk each time."""
    sizes: list[int] = []

    def fsync(fd: int) -> None:
        real(fd)
        sizes.append(os.fstat(fd).st_size)

    real = os.fsync
    monkeypatch.setattr(os, "fsync", fsync)
    return sizes


def blind(call_id: str) -> Session:
    session = propose(offered(), facts(), START, POLICY).session
    return replace(session, call=CallKey("pbx1", call_id), state=State.BLIND)


def remembered(file: Path) -> list[Session]:
    """By the next process."""
    journal = Journal(file)
    journal.close()
    return list(journal.pending.values())


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
    assert remembered(tmp_path / "journal") == [first, third]


def test_what_is_appended_together_is_written_through_once(tmp_path: Path, written_through: list[int]) -> None:
    file, calls = tmp_path / "journal", [blind(f"c{n}") for n in range(5)]
    journal = Journal(file)
    with journal.together():
        for call in calls[:3]:
            journal.append(call)
        assert written_through == []
    assert written_through == [file.stat().st_size]
    with journal.together():
        pass
    assert len(written_through) == 1
    for call in calls[3:]:
        journal.append(call)
    assert len(written_through) == 3
    journal.close()
    assert remembered(file) == calls


async def test_thousands_of_ends_without_the_store_are_on_the_disk_before_any_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written_through: list[int]
) -> None:
    async def away(_: object) -> NoReturn:
        raise StoreUnavailable("away")

    async def ends(name: CallKey) -> None:
        ended, _ = await room.calls.end(Released(name, room.clock.now()))
        file = (tmp_path / "journal").read_bytes()
        assert file.rindex(ended.trace_id.encode()) < written_through[-1]

    async with ControlRoom(tmp_path) as room:
        await room.furnish(kind=Kind.POSTPAID, credit_limit=None)
        await room.start()
        names = [CallKey("http", f"c{n}") for n in range(300)]
        for name in names:
            await room.calls.authorize(Offered(name, room.clock.now(), "", "0612345678", account="acme"))
            await room.calls.report(Answered(name, room.clock.now()))
        monkeypatch.setattr(room.store, "settle", away)
        await asyncio.gather(*map(ends, names))
    assert len(written_through) < len(names) / 10
    assert {call.call for call in remembered(tmp_path / "journal")} == set(names)
