"""A switch's clock beside ours."""

from typing import Final

from callctl.clock import Instant

MOST_DISORDER_MS: Final = 500
"""A switch tells things in the order in which they happen, give or take the work of its threads or processes."""

MOST_APART_MS: Final = 2_000
"""How much two clocks may disagree on the length of a call, by drift and by how exactly they were compared."""


class SwitchTime:
    """A switch's clock beside ours, where it tells the time as `1795293598.872345`: seconds of the Unix epoch.

    Until they are compared, or where an event has no timestamp, what is told has happened when we read it. Comparing
    errs by the way of an answer at most, and late: an event is never placed before it happened.
    """

    def __init__(self) -> None:
        self._ahead_ms: int | None = None
        self._last_ms = 0  # when the last event happened, on our monotonic clock

    def compare(self, timestamp: str, now: Instant) -> None:
        """The switch has just said that it is `timestamp`."""
        wall_ms = to_ms(timestamp)
        if wall_ms is not None:
            self._ahead_ms = now.monotonic_ms - wall_ms
            self._last_ms = now.monotonic_ms

    def at(self, now: Instant) -> Instant:
        """Now, with the wall time that the switch would tell."""
        return now if self._ahead_ms is None else Instant(now.monotonic_ms - self._ahead_ms, now.monotonic_ms)

    def place_next(self, timestamp: str, now: Instant) -> tuple[Instant, bool]:
        """`place` for what the switch tells in order, as it happens.

        What has happened before that which was told before it means that the switch's clock was set meanwhile: then it
        has happened now, and is not stated. What is merely old was told while this process stood still.
        """
        at, stated = self.place(timestamp, now)
        if at.monotonic_ms < self._last_ms - MOST_DISORDER_MS:
            return now, False
        self._last_ms = at.monotonic_ms
        return at, stated

    def place(self, timestamp: str, now: Instant) -> tuple[Instant, bool]:
        """When it happened, at the latest `now`; and whether the switch itself said so."""
        wall_ms = to_ms(timestamp)
        if wall_ms is None:
            return now, False
        monotonic_ms = now.monotonic_ms if self._ahead_ms is None else wall_ms + self._ahead_ms
        return Instant(wall_ms, min(monotonic_ms, now.monotonic_ms)), True


def agree(answered: Instant | None, ended: Instant) -> bool:
    """Whether the switch's clock, which tells the wall times, and ours tell the same length of a call.

    Else that was set meanwhile: what it states is no length.
    """
    if answered is None:
        return True
    theirs_ms, ours_ms = ended.wall_ms - answered.wall_ms, ended.monotonic_ms - answered.monotonic_ms
    return abs(theirs_ms - ours_ms) <= MOST_APART_MS


def to_ms(timestamp: str) -> int | None:
    """`1795293598.872345`, cut to whole ms since the epoch; None for anything else, and for 0."""
    seconds, _, fraction = timestamp.partition(".")
    digits = seconds + fraction[:3].ljust(3, "0")
    return int(digits) or None if digits.isascii() and digits.isdigit() and len(digits) <= 16 else None
