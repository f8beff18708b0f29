"""Thousands of calls that are over at once: after an outage, or with the switch that carried them."""

import asyncio
from typing import Any

from callctl.call.effects import Advance, SetDeadline, SettleNow
from callctl.call.events import CallEvent, Deadline, DeadlineReached, Settled
from callctl.call.session import Session
from callctl.call.takes import Settlement
from callctl.clock import SystemClock
from callctl.control.deadlines import AT_ONCE, Deadlines
from callctl.control.mailbox import Mailbox
from callctl.control.performer import SETTLED_AT_ONCE, Performer
from callctl.errors import StoreUnavailable
from callctl.promise import Promise
from tests.contract.calls import session, settlement
from tests.control_room import Notes
from tests.waiting import until

CALLS = 3 * SETTLED_AT_ONCE


class SlowStore:
    """Answers when it is told to."""

    def __init__(self) -> None:
        self.asked: list[Promise[None]] = []

    def settle(self, _: Settlement) -> Promise[None]:
        self.asked.append(Promise())
        return self.asked[-1]


class Ends:
    """Calls that all end now."""

    def __init__(self) -> None:
        self.store = SlowStore()
        self.heard: list[CallEvent] = []
        no: Any = None
        self.performer = Performer(
            self.store, {}, Deadlines(SystemClock(), {}, no), no, Notes(),  # type: ignore[arg-type]
            decided=no, forget=no, settled=lambda _: None,
        )  # fmt: skip
        for n in range(CALLS):
            call = session(f"c{n}")
            box = Mailbox(call, self._step, self.performer.ways)
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


async def test_others_have_their_turn_between_deadlines_that_are_due_together() -> None:
    reached: list[int] = [0]

    def reach(_: DeadlineReached) -> None:
        reached[-1] += 1

    clock = SystemClock()
    unused: Any = None
    boxes = {each.call: Mailbox(each, unused, {}, ticks={}) for each in (session(f"c{n}") for n in range(950))}
    deadlines = Deadlines(clock, boxes, reach)
    for call, box in boxes.items():
        deadlines.set(box, SetDeadline(call, Deadline.LOST, clock.now()))
    running = asyncio.create_task(deadlines.run())
    while sum(reached) < len(boxes):
        await asyncio.sleep(0)
        reached.append(0)
    running.cancel()
    assert max(reached) == AT_ONCE
