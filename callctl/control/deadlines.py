"""Deadlines of all calls: a timer wheel. Setting and moving one costs the same for ten calls as for 100,000."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping

from callctl.call.effects import SetDeadline
from callctl.call.events import CallKey, DeadlineReached
from callctl.clock import give_way
from callctl.control.mailbox import Mailbox
from callctl.ports import Clock

TICK_MS = 20
AT_ONCE = 100  # after an outage thousands of calls are over at once: their ends are not to fill the store's window


class Deadlines:
    """At most one deadline of a kind per call. `reached` gets each one once, at its time or up to a tick later.

    The mailbox of a call says what it waits for. A moved or dropped deadline lies in its old slot and is passed over,
    as are those of calls that are no more in `boxes`.
    """

    def __init__(
        self, clock: Clock, boxes: Mapping[CallKey, Mailbox], reached: Callable[[DeadlineReached], None]
    ) -> None:
        self._clock = clock
        self._boxes = boxes
        self._reached = reached
        self._slots: defaultdict[int, list[DeadlineReached]] = defaultdict(list)
        self._next = clock.now().monotonic_ms // TICK_MS

    def set(self, box: Mailbox, wanted: SetDeadline) -> None:
        """Wait for it; one of the same kind is replaced, or not waited for any more."""
        ticks, deadline, at = box.ticks, wanted.deadline, wanted.at
        if at is None:
            ticks.pop(deadline, None)
            return
        tick = -(-at.monotonic_ms // TICK_MS)
        tick = tick if tick > self._next else self._next
        if ticks.get(deadline) != tick:
            ticks[deadline] = tick
            self._slots[tick].append(DeadlineReached(wanted.call, deadline))

    def turn(self) -> None:
        """Report everything that is due now."""
        for _ in self._steps():
            pass

    def _steps(self) -> Iterator[None]:
        """Report what is due now, some at once."""
        boxes, now = self._boxes, self._clock.now().monotonic_ms // TICK_MS
        while self._next <= now:
            tick, self._next = self._next, self._next + 1
            due = self._slots.pop(tick, [])
            for start in range(0, len(due), AT_ONCE):
                for event in due[start : start + AT_ONCE]:
                    box = boxes.get(event.call)
                    if box is not None and box.ticks.get(event.deadline) == tick:
                        del box.ticks[event.deadline]
                        self._reached(event)
                yield

    def next_ms(self) -> int | None:
        """The monotonic moment of the nearest deadline, for a clock that jumps; None when nothing is waited for."""
        ticks = [tick for box in self._boxes.values() for tick in box.ticks.values()]
        return min(ticks) * TICK_MS if ticks else None

    async def run(self) -> None:
        while True:
            for _ in self._steps():
                await give_way()
            await self._clock.sleep_ms(TICK_MS)
