"""FreeSWITCH's clock beside ours. Its times are microseconds since the epoch, of a clock that ticks every 20 ms."""

from callctl.clock import Instant


class SwitchTime:
    """Places FreeSWITCH's moments on our monotonic clock; their wall half stays as FreeSWITCH says it.

    Until they are compared, what is told has happened when we read it. Comparing errs by the way of an event at most,
    and late: nothing is ever placed before it happened, nor after it was read.
    """

    def __init__(self) -> None:
        self._ahead_ms: int | None = None

    def compare(self, us: str, now: Instant) -> None:
        """FreeSWITCH has just said that it is `us`."""
        told_us = to_us(us)
        if told_us:
            self._ahead_ms = now.monotonic_ms - told_us // 1000

    def place(self, wall_ms: int, now: Instant) -> Instant:
        """When it happened, at the latest `now`."""
        monotonic_ms = now.monotonic_ms if self._ahead_ms is None else wall_ms + self._ahead_ms
        return Instant(wall_ms, min(monotonic_ms, now.monotonic_ms))


def to_us(text: str) -> int:
    """A time of FreeSWITCH; 0 for none, as it says itself, and for anything else."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 17 else 0
