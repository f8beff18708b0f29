"""Deadlines of all calls: a timer wheel. Setting and moving one costs the same for ten calls as for 100,000."""

from collections import defaultdict
from collections.abc import Callable

from callctl.call.effects import SetDeadline
from callctl.call.events import CallKey, Deadline, DeadlineReached
from callctl.ports import Clock

TICK_MS = 20
Key = tuple[CallKey, Deadline]


class Deadlines:
    """At most one deadline of a kind per call. `reached` gets each one once, at its time or up to a tick later."""

    def __init__(self, clock: Clock, reached: Callable[[DeadlineReached], None]) -> None:
        self._clock = clock
        self._reached = reached
        self._ticks: dict[Key, int] = {}
        self._slots: defaultdict[int, list[Key]] = defaultdict(list)
        self._next = clock.now().monotonic_ms // TICK_MS

    def set(self, _: object, wanted: SetDeadline) -> None:
        """Wait for it, whoever wants it; one of the same kind is replaced, or not waited for any more."""
        key, at = (wanted.call, wanted.deadline), wanted.at
        if at is None:
            self._ticks.pop(key, None)
            return
        tick = max(-(-at.monotonic_ms // TICK_MS), self._next)
        if self._ticks.get(key) != tick:
            self._ticks[key] = tick
            self._slots[tick].append(key)

    def turn(self) -> None:
        """Report everything that is due now. A moved or dropped deadline lies in its old slot and is passed over."""
        now = self._clock.now().monotonic_ms // TICK_MS
        while self._next <= now:
            tick, self._next = self._next, self._next + 1
            for key in self._slots.pop(tick, ()):
                if self._ticks.get(key) == tick:
                    del self._ticks[key]
                    self._reached(DeadlineReached(*key))

    def next_ms(self) -> int | None:
        """The monotonic moment of the nearest deadline, for a clock that jumps; None when nothing is waited for."""
        return min(self._ticks.values()) * TICK_MS if self._ticks else None

    async def run(self) -> None:
        while True:
            self.turn()
            await self._clock.sleep_ms(TICK_MS)
