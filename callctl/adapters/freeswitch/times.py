"""FreeSWITCH's clock beside ours. Its times are microseconds since the epoch, of a clock that ticks every 20 ms."""

from typing import Final

from callctl.clock import Instant

WINDOW_MS: Final = 60_000
TICK_MS: Final = 50
"""More than its clock stands still between two ticks."""


class SwitchTime:
    """Places FreeSWITCH's moments on our monotonic clock; their wall half stays as FreeSWITCH says it.

    Until they are compared, its clock is taken to show what ours does. What is told late compares badly, so of the
    last minute or two the comparison counts that was the least late. Nothing is ever placed after it was read.
    """

    def __init__(self) -> None:
        self._ahead_ms: int | None = None
        self._before_ms: int | None = None
        self._since_ms = 0

    def compare(self, us: str, now: Instant) -> None:
        """FreeSWITCH says that it is `us`, or was when it began to tell."""
        told_us = to_us(us)
        if not told_us:
            return
        if self._ahead_ms is None or now.monotonic_ms - self._since_ms > WINDOW_MS:
            self._before_ms, self._ahead_ms, self._since_ms = self._ahead_ms, None, now.monotonic_ms
        ahead_ms = now.monotonic_ms - told_us // 1000
        self._ahead_ms = ahead_ms if self._ahead_ms is None else min(self._ahead_ms, ahead_ms)

    def place(self, wall_ms: int, now: Instant) -> Instant:
        """When it happened, at the latest `now`."""
        ahead_ms = self._least_ahead_ms()
        if ahead_ms is None:
            ahead_ms = now.monotonic_ms - now.wall_ms
        return Instant(wall_ms, min(wall_ms + ahead_ms, now.monotonic_ms))

    def at(self, now: Instant) -> int:
        """What FreeSWITCH's clock shows at the least, in ms; 0 where nothing was compared yet."""
        ahead_ms = self._least_ahead_ms()
        return 0 if ahead_ms is None else now.monotonic_ms - ahead_ms - TICK_MS

    def _least_ahead_ms(self) -> int | None:
        return min((ms for ms in (self._ahead_ms, self._before_ms) if ms is not None), default=None)


def to_us(text: str) -> int:
    """A time of FreeSWITCH; 0 for none, as it says itself, and for anything else."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 17 else 0
