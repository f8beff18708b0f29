"""How the store's answers reach a call: by promises, at once or late, and what waits for them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from callctl.call.events import Answered, CallKey, Offered, Released
from callctl.call.session import Session, State
from callctl.call.takes import Settlement, Take
from callctl.errors import StoreUnavailable
from callctl.promise import Promise
from callctl.store.memory.definitions import MemoryDefinitions
from callctl.store.memory.store import MemoryStore
from tests.control_room import ControlRoom
from tests.simulation.store import at_once
from tests.waiting import until

CALL = CallKey("http", "c1")


class PromisingStore(MemoryStore):
    """Promises its answers. They are kept before anybody hears them, or when the test says so: one by one."""

    def __init__(self) -> None:
        super().__init__()
        self.late = False
        self.waiting: list[Callable[[], None]] = []

    def admit(self, take: Take) -> Any:
        return self._promised(super().admit(take))

    def settle(self, settlement: Settlement) -> Any:
        return self._promised(super().settle(settlement))

    def _promised(self, work: Coroutine[Any, Any, Any]) -> Promise[Any]:
        promise: Promise[Any] = Promise()
        keep = partial(_keep, promise, work)
        if self.late:
            self.waiting.append(keep)
        else:
            keep()
        return promise


def _keep(promise: Promise[Any], work: Coroutine[Any, Any, Any]) -> None:
    promise.keep(at_once(work))


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[ControlRoom]:
    async with ControlRoom(tmp_path) as room:
        room.store = PromisingStore()
        room.definitions = MemoryDefinitions(room.store, room.clock)
        room.tariffs = room.definitions.tariffs
        await room.furnish()
        await room.start()
        yield room


def offered(room: ControlRoom) -> Offered:
    return Offered(CALL, room.clock.now(), "", "0612345678", account="acme", can_extend=True)


def states(room: ControlRoom) -> list[State]:
    return [box.session.state for box in room.calls.boxes(CALL.switch)]


async def test_an_answer_that_is_there_at_once_is_heard_when_all_that_was_wanted_is_done(room: ControlRoom) -> None:
    room.calls.receive(offered(room))
    assert states(room) == [State.TAKING]
    await until(lambda: states(room) == [State.ADMITTED])
    room.calls.receive(Answered(CALL, room.clock.now()))
    await until(lambda: not room.calls.live()[0].busy)
    room.calls.receive(Released(CALL, room.clock.now()))
    assert states(room) == [State.SETTLING]
    await until(lambda: not states(room))
    assert len(room.cdrs()) == 1
    assert not room.notes.unexpected_events


async def test_an_answer_is_heard_in_the_turn_in_which_it_comes(room: ControlRoom) -> None:
    room.store.late = True
    room.calls.receive(offered(room))
    (keep,) = room.store.waiting
    keep()
    assert states(room) == [State.ADMITTED]


async def test_what_fails_at_once_fails_the_call_in_the_next_turn(room: ControlRoom, monkeypatch: Any) -> None:
    failed: Promise[Any] = Promise()
    failed.keep(StoreUnavailable("away"))
    monkeypatch.setattr(room.store, "admit", lambda take: failed)
    room.calls.receive(offered(room))
    assert states(room) == [State.TAKING]
    await until(lambda: not states(room))


@pytest.mark.parametrize("promised", [True, False])
async def test_draining_waits_for_what_is_under_way(room: ControlRoom, monkeypatch: Any, promised: bool) -> None:
    asked, gate, admit = asyncio.Event(), asyncio.Event(), MemoryStore.admit

    async def slowly(take: Take) -> Any:
        asked.set()
        await gate.wait()
        return await admit(room.store, take)

    if promised:
        room.store.late = True
    else:
        monkeypatch.setattr(room.store, "admit", slowly)
    room.calls.receive(offered(room))
    draining = asyncio.ensure_future(room.calls.performer.drain())
    await until(lambda: room.store.waiting if promised else asked.is_set())
    await asyncio.sleep(0)
    assert not draining.done()
    if promised:
        room.store.waiting.pop()()
    gate.set()
    await draining
    assert states(room) == [State.ADMITTED]
    await room.calls.performer.drain()  # nothing is left of it


async def test_a_call_that_is_only_asked_about_awaits_the_promise(room: ControlRoom) -> None:
    room.store.late = True
    asking: asyncio.Task[Session] = asyncio.create_task(room.calls.explain(offered(room)))
    await until(lambda: room.store.waiting)
    room.store.waiting.pop()()
    assert (await asking).state is State.ADMITTED
