"""Virtual time: an event loop that never waits. When nothing is ready it jumps to the next thing that will be."""

import asyncio
import selectors
from collections.abc import Callable
from typing import Any

from callctl.clock import Instant

EPOCH_MS = 1_776_981_450_000  # 2026-04-23T21:57:30Z: in Cairo, that night, midnight is skipped


class VirtualLoop(asyncio.SelectorEventLoop):
    """Time stands still while anything runs. `earliest`: another source of moments (ms), served by `due`."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.earliest: Callable[[], int | None] = lambda: None
        self.due: Callable[[], None] = lambda: None
        super().__init__(_Jumping(self))

    def time(self) -> float:
        return self.now_s

    @property
    def now_ms(self) -> int:
        return round(self.now_s * 1000)

    def after_ms(self, ms: int, act: Callable[..., Any], *args: Any) -> None:
        self.call_later(ms / 1000, act, *args)

    def jump(self, timeout_s: float | None) -> None:
        until_s = None if timeout_s is None else self.now_s + timeout_s
        other_ms = self.earliest()
        if other_ms is not None and (until_s is None or other_ms <= until_s * 1000):
            self.now_s = max(self.now_s, other_ms / 1000)
            self.call_soon(self.due)
        elif until_s is None:
            raise RuntimeError("everybody waits for something that nobody will do")
        else:
            self.now_s = until_s


class _Jumping(selectors.SelectSelector):
    """There is no input and no output: what would be waited is jumped over."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout > 0:
            self._loop.jump(timeout)
        return []


class WallClock:
    """What a machine calls the time: virtual time, and how far its wall clock is off (ms)."""

    def __init__(self, loop: VirtualLoop, off_ms: int = 0) -> None:
        self._loop = loop
        self.off_ms = off_ms

    def at(self, virtual_ms: int) -> int:
        return EPOCH_MS + virtual_ms + self.off_ms

    def now_ms(self) -> int:
        return self.at(self._loop.now_ms)


class SimClock:
    """`ports.Clock` of one life of callctl: the machine's wall clock, and a monotonic one, `booted_ms` at the start."""

    def __init__(self, loop: VirtualLoop, wall: WallClock, booted_ms: int) -> None:
        self._loop = loop
        self._wall = wall
        self._booted_ms = booted_ms

    def now(self) -> Instant:
        return self.at(self._loop.now_ms)

    def at(self, virtual_ms: int, wall_ms: int | None = None) -> Instant:
        """A moment of virtual time as this life sees it."""
        wall_ms = self._wall.at(virtual_ms) if wall_ms is None else wall_ms
        return Instant(wall_ms, virtual_ms + self._booted_ms)

    def virtual_ms(self, monotonic_ms: int) -> int:
        return monotonic_ms - self._booted_ms

    async def sleep_ms(self, ms: int) -> None:
        await asyncio.sleep(ms / 1000)
