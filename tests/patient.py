"""Time for tests on a slow, busy machine: it waits for whoever was kept waiting."""

import asyncio
import selectors
import time
from weakref import WeakKeyDictionary

from callctl.clock import Instant, SystemClock

TURN_NS = 1_000_000
LONGEST_NS = 3_000_000


class PatientLoop(asyncio.SelectorEventLoop):
    """An event loop whose time is real time without the pauses of the machine: a turn counts for `LONGEST_NS` at most.

    Where the machine stops the process for a second, or lets its loop turn ten times as slowly, every time-out and
    every sleep of the process is so much longer, and who answered in time has answered in time.
    """

    def __init__(self) -> None:
        self._passed_ns = 0
        self._turned_ns = time.monotonic_ns()
        super().__init__(_Turning(self))

    def time(self) -> float:
        return self._now_ns() / 1e9

    def turn(self) -> None:
        self._passed_ns = self._now_ns()
        self._turned_ns = time.monotonic_ns()

    def _now_ns(self) -> int:
        return self._passed_ns + min(time.monotonic_ns() - self._turned_ns, LONGEST_NS)


class _Turning(selectors.DefaultSelector):
    """Lets the loop turn often, whatever it waits for."""

    def __init__(self, loop: PatientLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self._loop.turn()
        turn_s = TURN_NS / 1e9
        return super().select(turn_s if timeout is None else min(timeout, turn_s))


_ZERO: WeakKeyDictionary[asyncio.AbstractEventLoop, Instant] = WeakKeyDictionary()


class PatientClock:
    """`ports.Clock` by the time of the event loop that it is made in; all of one loop agree."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._zero = _ZERO.setdefault(self._loop, SystemClock().now().plus_ms(-self._passed_ms()))

    def now(self) -> Instant:
        return self._zero.plus_ms(self._passed_ms())

    async def sleep_ms(self, ms: int) -> None:
        await asyncio.sleep(ms / 1_000)

    def _passed_ms(self) -> int:
        return int(self._loop.time() * 1_000)
