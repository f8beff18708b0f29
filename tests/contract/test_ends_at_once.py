"""Thousands of calls that are over at once: after an outage, or with the switch that carried them."""

import asyncio
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

from callctl.call.effects import Advance, SetDeadline, SettleNow, TakeNow
from callctl.call.events import CallEvent, Deadline, DeadlineReached, Released, SeenAlive, Settled
from callctl.call.session import Session, State
from callctl.call.takes import Settlement, Take
from callctl.clock import SystemClock
from callctl.control.deadlines import AT_ONCE, Deadlines
from callctl.control.mailbox import Mailbox
from callctl.control.performer import SETTLED_AT_ONCE, Performer
from callctl.control.reconciler import COMPARED_AT_ONCE, Reconciler
from callctl.errors import StoreUnavailable
from callctl.ports import Capabilities
from callctl.promise import Promise
from callctl.turn import Turn
from tests.contract.calls import session, settlement, take
from tests.control_room import Notes
from tests.waiting import until

CALLS = 3 * SETTLED_AT_ONCE


class SlowStore:
    """Answers when it is told to."""

    def __init__(self) -> None:
        self.asked: list[Promise[None]] = []

    def admit(self, _: Take) -> Promise[None]:
        return Promise()

    def settle(self, _: Settlement) -> Promise[None]:
        self.asked.append(Promise())
        return self.asked[-1]


class Ends:
    """Calls of which so many begin, and then so many end now."""

    def __init__(self, calls: int = CALLS, begun: int = 0) -> None:
        self.store = SlowStore()
        self.heard: list[CallEvent] = []
        no: Any = None
        unused: Any = SimpleNamespace(together=nullcontext)
        self.performer = Performer(
            self.store, {}, Deadlines(SystemClock(), {}, no), unused, Notes(),  # type: ignore[arg-type]  # both have what an end needs, no more
            decided=no, forget=no, settled=lambda _: None,
        )  # fmt: skip
        for n in range(begun):
            call = session(f"b{n}")
            Mailbox(call, self._step, self.performer.ways, Turn(Mailbox.tell)).follow((call, (TakeNow(take(call)),)))
        for n in range(calls):
            call = session(f"c{n}")
            box = Mailbox(call, self._step, self.performer.ways, Turn(Mailbox.tell))
            box.follow((call, (SettleNow(settlement(call, 1)),)))

    def _step(self, call: Session, event: CallEvent) -> Advance:
        self.heard.append(event)
        return call, ()


async def test_no_more_settlements_are_under_way_than_the_store_takes() -> None:
    ends = Ends()
    assert len(ends.store.asked) == SETTLED_AT_ONCE
    for answered in range(CALLS):
        asked = min(CALLS, SETTLED_AT_ONCE + answered)
        await until(lambda asked=asked: len(ends.store.asked) == asked)
        ends.store.asked[answered].keep(None)
    await ends.performer.drain()
    assert [type(event) for event in ends.heard] == [Settled] * CALLS


async def test_a_store_that_is_away_refuses_them_one_by_one() -> None:
    ends = Ends()
    draining = asyncio.create_task(ends.performer.drain())
    refused = 0
    while not draining.done():
        for promise in ends.store.asked[refused:]:
            promise.keep(StoreUnavailable("away"))
            refused += 1
        await asyncio.sleep(0)
    assert refused == len(ends.heard) == CALLS


async def test_an_end_does_not_wait_for_calls_that_begin() -> None:
    assert len(Ends(calls=1, begun=SETTLED_AT_ONCE).store.asked) == 1


async def test_others_have_their_turn_between_deadlines_that_are_due_together() -> None:
    reached: list[int] = [0]

    def reach(_: DeadlineReached) -> None:
        reached[-1] += 1

    clock = SystemClock()
    unused: Any = None
    boxes = {each.call: Mailbox(each, unused, {}, unused, ticks={}) for each in (session(f"c{n}") for n in range(950))}
    deadlines = Deadlines(clock, boxes, reach)
    for call, box in boxes.items():
        deadlines.set(box, SetDeadline(call, Deadline.LOST, clock.now()))
    running = asyncio.create_task(deadlines.run())
    while sum(reached) < len(boxes):
        await asyncio.sleep(0)
        reached.append(0)
    running.cancel()
    assert max(reached) == AT_ONCE


class Restarted:
    """A switch that has lost all of its calls."""

    capabilities = Capabilities(lists=True)

    async def live_calls(self) -> list[SeenAlive]:
        return []


async def test_others_have_their_turn_while_a_restarted_switch_is_compared() -> None:
    ended: list[int] = [0]

    def step(call: Session, event: CallEvent) -> Advance:
        assert isinstance(event, Released)
        ended[-1] += 1
        return call, ()

    no: Any = None
    calls: Any = SimpleNamespace(
        boxes=lambda _: [
            Mailbox(session(f"c{n}", state=State.ADMITTED), step, {}, Turn(Mailbox.tell)) for n in range(950)
        ]
    )
    switches: Any = {"pbx": Restarted()}
    clock = SystemClock()
    reconciler = Reconciler(
        clock=clock, calls=calls, switches=switches, takes=no, sessions=no, journal=no, observer=no, policy=no, roots=no
    )
    comparing = asyncio.create_task(reconciler.compare("pbx"))
    while not comparing.done():
        await asyncio.sleep(0)
        ended.append(0)
    assert sum(ended) == 950
    assert max(ended) == COMPARED_AT_ONCE
