"""The switchboard: links that come and go, and faults that stay where they are."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from structlog.testing import capture_logs

from callctl.control.switchboard import Switchboard
from callctl.ports import Report
from callctl.simulators.scaled_clock import ScaledClock
from tests.patient import PatientClock
from tests.waiting import until


class Line:
    """A switch whose link can be watched, and broken by a fault of its adapter."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.begun = self.ended = 0
        self.fault = asyncio.Event()

    async def run(self, report: Report, relinked: Callable[[], None]) -> None:
        self.begun += 1
        relinked()
        try:
            await self.fault.wait()
            self.fault.clear()
            raise KeyError("nobody foresaw this")
        finally:
            self.ended += 1


class Room:
    """A running switchboard of some lines, and whose links came up."""

    def __init__(self, *lines: Any) -> None:
        self.board = Switchboard(lines, ScaledClock(PatientClock(), 100))
        self.relinked: list[str] = []

    async def has_relinked(self, name: str) -> None:
        self.relinked.append(name)


@asynccontextmanager
async def running(*lines: Any) -> AsyncIterator[Room]:
    room = Room(*lines)
    task = asyncio.create_task(room.board.run(lambda name: lambda event: None, room.has_relinked))
    await until(lambda: all(line.begun for line in lines))
    yield room
    assert not task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert all(line.begun == line.ended for line in lines)


async def test_who_comes_is_linked_and_who_goes_is_not_while_nobody_else_notices() -> None:
    one, two = Line("one"), Line("two")
    three: Any = Line("three")
    async with running(one, two) as room:
        await room.board.change([three], ["two"])
        await until(lambda: room.relinked == ["one", "two", "three"])
        assert list(room.board) == ["one", "three"]
        assert (one.begun, one.ended, two.ended, three.ended) == (1, 0, 1, 0)
    assert three.ended == 1


async def test_who_comes_under_a_known_name_takes_its_place_when_the_former_is_gone() -> None:
    former = Line("one")
    latter: Any = Line("one")
    async with running(former) as room:
        await room.board.change([latter], [])
        assert former.ended == 1
        await until(lambda: latter.begun == 1)
        assert room.board["one"] is latter


async def test_a_fault_of_one_adapter_is_logged_and_its_link_alone_begins_anew() -> None:
    one, two = Line("one"), Line("two")
    with capture_logs() as logs:
        async with running(one, two) as room:
            one.fault.set()
            await until(lambda: one.begun == 2)
            assert (two.begun, two.ended) == (1, 0)
            await until(lambda: room.relinked == ["one", "two", "one"])
    assert [(log["event"], log["switch"]) for log in logs] == [("switch_adapter_failed", "one")]


async def test_who_comes_before_anybody_runs_is_linked_with_the_others() -> None:
    one: Any = Line("one")
    two: Any = Line("two")
    room = Room(one)
    await room.board.change([two], [])
    assert two.begun == 0
    task = asyncio.create_task(room.board.run(lambda name: lambda event: None, room.has_relinked))
    await until(lambda: room.relinked == ["one", "two"])
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
