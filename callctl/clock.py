"""Time: one value that carries both clocks, and the only place that reads them or sleeps.

Subtract and compare on the monotonic half (a stepped wall clock must not change a bill); show and store the wall
half. The monotonic half is the machine's time since it booted: all processes of one boot have it in common, so what one
of them has stored means the same to the next, however the wall clock was set meanwhile. It goes on while the machine is
suspended, as calls on a switch elsewhere do. All numbers are whole milliseconds.
"""

import asyncio
from collections.abc import Coroutine
from datetime import UTC, date, datetime
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from secrets import token_hex
from time import CLOCK_BOOTTIME, clock_gettime_ns, time_ns
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

_MIDST_NS = 500_000 - (time_ns() - clock_gettime_ns(CLOCK_BOOTTIME)) % 1_000_000
"""Added to how far the wall clock is ahead: it is then in the midst of a millisecond, and the time that passes between
the reading of the one clock and of the other makes none of it."""
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_OFFSETS = Path("/proc/self/timens_offsets")
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_FIRST, _LAST = datetime(1000, 1, 1, tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


class Instant(msgspec.Struct, frozen=True, order=False, array_like=True, gc=False):
    """A moment on both clocks, in ms: since the Unix epoch, and on the monotonic clock, which is never set."""

    wall_ms: int
    monotonic_ms: int

    def since_ms(self, earlier: "Instant") -> int:
        """Milliseconds from `earlier` to this, by the monotonic clock; never negative."""
        return max(0, self.monotonic_ms - earlier.monotonic_ms)

    def plus_ms(self, ms: int) -> "Instant":
        """The moment `ms` later (earlier when negative) on both clocks."""
        return Instant(self.wall_ms + ms, self.monotonic_ms + ms)

    def at_wall(self, wall_ms: int) -> "Instant":
        """The moment that a wall clock called `wall_ms`, placed on our monotonic clock by today's offset."""
        return Instant(wall_ms, self.monotonic_ms + wall_ms - self.wall_ms)


class SystemClock:
    """The machine's clocks. Tests own time through another implementation of `ports.Clock`."""

    def __init__(self) -> None:
        self._ahead_ms: int | None = None

    def now(self) -> Instant:
        """Both halves begin a millisecond at once: two moments that are stated by the wall clock are as far apart on
        the other one, whenever they were stated. A call of whole seconds is none of a second more. So the monotonic
        half moves by less than a millisecond where the wall clock is set to a part of one."""
        while True:
            wall_ns = time_ns()
            ahead_ms = (wall_ns - clock_gettime_ns(CLOCK_BOOTTIME) + _MIDST_NS) // 1_000_000
            if ahead_ms == self._ahead_ms:
                wall_ms = wall_ns // 1_000_000
                return Instant(wall_ms, wall_ms - ahead_ms)
            self._ahead_ms = ahead_ms  # the wall clock was set, or much came between: it is read again

    async def sleep_ms(self, ms: int) -> None:
        await asyncio.sleep(ms / 1000)


def clock_name() -> str:
    """A name for this process among those that share a store; before its dot, one for the monotonic clock that it goes
    by. A machine that does not say when it was booted has its clock named by the process: as nobody else's."""
    own = token_hex(4)
    try:
        return f"{_origin()}.{own}"
    except OSError:
        return own


def _origin() -> str:
    """What the monotonic clock counts from: this boot, as the time namespace of this process sees it."""
    offsets = _OFFSETS.read_bytes() if _OFFSETS.exists() else b""  # where the kernel knows of such namespaces
    return blake2b(_BOOT_ID.read_bytes() + offsets, digest_size=6).hexdigest()


def is_one_clock(one: str, other: str) -> bool:
    """Whether processes of these names go by the same monotonic clock."""
    return one.partition(".")[0] == other.partition(".")[0]


async def give_way() -> None:
    """Let everything else that is ready run first: between the steps of long work."""
    await asyncio.sleep(0)


async def first_of(*waits: Coroutine[Any, Any, object]) -> None:
    """Wait until one of them is over; the others are given up."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


def format_time(wall_ms: int) -> str:
    """RFC 3339 in UTC with milliseconds: "2026-11-21T10:00:00.250Z"."""
    seconds, ms = divmod(wall_ms, 1000)
    return f"{_to_the_second(seconds)}.{ms:03}Z"


@lru_cache(maxsize=1024)
def _to_the_second(seconds: int) -> str:
    """Most of what is shown at a time happened in the same few seconds."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


@lru_cache(maxsize=4096)
def local_day(timezone: str, minute: int) -> str:
    """The local ISO day at a minute since the epoch."""
    return datetime.fromtimestamp(minute * 60, UTC).astimezone(ZoneInfo(timezone)).date().isoformat()


@lru_cache(maxsize=4096)
def local_days(timezones: tuple[str, ...], minute: int) -> tuple[str, ...]:
    """The local ISO day in each of them."""
    return tuple(local_day(timezone, minute) for timezone in timezones)


@lru_cache(maxsize=4096)
def local_moment(timezone: str, minute: int) -> tuple[int, int, int]:
    """At a minute since the epoch: the local day, counted from 1970-01-01; its weekday, Monday is 0; its minute."""
    there = datetime.fromtimestamp(minute * 60, UTC).astimezone(ZoneInfo(timezone))
    return there.toordinal() - _EPOCH_DAY, there.weekday(), there.hour * 60 + there.minute


def day_of(iso_day: str) -> int:
    """An ISO day as `local_moment` counts it. ValueError."""
    return date.fromisoformat(iso_day).toordinal() - _EPOCH_DAY


def iso_day(day: int) -> str:
    """The ISO day of `local_moment`'s day."""
    return date.fromordinal(day + _EPOCH_DAY).isoformat()


def parse_time(text: str) -> int:
    """Milliseconds since the epoch of an RFC 3339 time. ValueError without a zone, and as `wall_ms`."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return wall_ms(moment)


def wall_ms(moment: datetime) -> int:
    """Milliseconds since the epoch of a moment with a zone. ValueError beyond the years that `format_time` shows."""
    if not _FIRST <= moment <= _LAST:
        raise ValueError(f"{moment.isoformat()} is not in the years 1000 to 9999")
    delta = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * 1000 + delta.microseconds // 1000
