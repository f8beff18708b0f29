"""Spend thresholds (IDS): how much a customer's watched calls may go beyond its daily average (`docs/limits.md`).

What running calls hold counts before it is spent, so a day's spend stays within its threshold however many calls run
at once. Here is what was agreed, and what a call asks; `exposure.py` has the days.

Amounts are micro-units of the account's currency: sell prices without tax, before bundles. Days are counted from
1970-01-01, as the account's time zone has them.
"""

from enum import StrEnum
from functools import lru_cache
from typing import Final

import msgspec

from callctl.clock import local_moment
from callctl.money import MICROS
from callctl.rating.bands import parse_days, parse_time
from callctl.rating.tariff import TrafficClass

HOUR_MS: Final = 3_600_000
WATCHED: Final = (TrafficClass.INTL, TrafficClass.PREMIUM, TrafficClass.HIGHRISK)


class Mode(StrEnum):
    """What a broken threshold does: nothing but an alert; refuse what is new; also hang up, and block for the day."""

    OFF = "off"
    MONITOR = "monitor"
    SOFT = "soft"
    HARD = "hard"


class Rule(StrEnum):
    """What a watched call is held against, in the order in which they decide."""

    NONE = "-"
    BLOCKED = "blocked"  # hard: since the day's first refusal
    THRESHOLD = "threshold"
    HOUR = "hour"
    COUNTRY = "country"
    CONCURRENT = "concurrent"
    BURST = "burst"


class Alert(StrEnum):
    """What ops hear of, once a day and account."""

    WARNED = "warned"
    TRIPPED = "tripped"
    HOUR = "hour"
    COUNTRY = "country"
    CONCURRENT = "concurrent"
    BURST = "burst"


ALERTS: Final = tuple(Alert)
"""Their places in a day's `told` and in an answer's `news`, as bits."""


class Office(msgspec.Struct, frozen=True):
    """Office hours as a deck writes them (`1-5`, `08:00`), and how much of the range is left outside them.

    ValueError where they are none.
    """

    outside_percent: int
    days: str = "1-5"
    from_time: str = "08:00"
    until_time: str = "18:00"

    def __post_init__(self) -> None:
        _hours(self)

    def open_at(self, weekday: int, minute: int) -> bool:
        """At a minute of the local day; Monday is 0."""
        days, opens, closes = _hours(self)
        return (not days or weekday + 1 in days) and opens <= minute < closes


@lru_cache(maxsize=1024)
def _hours(office: Office) -> tuple[tuple[int, ...], int, int]:
    days, opens, closes = parse_days(office.days), parse_time(office.from_time), parse_time(office.until_time)
    if not opens < closes:
        raise ValueError(f"{office.from_time} is not before {office.until_time}")
    return days, opens, closes


class Thresholds(msgspec.Struct, frozen=True, omit_defaults=True, cache_hash=True):
    """What was agreed for an account. `range`: how far a day may go beyond the average; `ceiling`: and in all.

    Further rules: `hourly` and `concurrent` by the account's own statistics; `new_country`, the range of a high-risk
    country that was not called for 60 days; `attempts_per_minute` at most.
    """

    range: int
    mode: Mode = Mode.SOFT
    ceiling: int | None = None
    watch: tuple[TrafficClass, ...] = WATCHED
    hourly: bool = False
    concurrent: bool = False
    new_country: int | None = None
    attempts_per_minute: int | None = None
    office: Office | None = None

    def range_at(self, weekday: int, minute: int) -> int:
        """The range now: a part of it outside office hours."""
        if self.office is None or self.office.open_at(weekday, minute):
            return self.range
        return self.range * self.office.outside_percent // 100


RECOMMENDED: Final = Thresholds(
    50 * MICROS, hourly=True, concurrent=True, new_country=5 * MICROS, attempts_per_minute=20
)
"""For whoever has no figures of their own yet."""


class Watch(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Why a call counts against the thresholds of one payer. `country`: that of a high-risk number."""

    thresholds: Thresholds
    timezone: str
    country: str = ""


class Ask(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a take or an extension would add to the day: `amount`, in the local `day`, under the `range` of now.

    `again`: the same attempt, for less.
    """

    amount: int
    day: int
    now_ms: int
    range: int
    watch: Watch
    again: bool = False

    @property
    def hour(self) -> int:
        return self.now_ms // HOUR_MS

    @property
    def ceiling(self) -> int | None:
        return self.watch.thresholds.ceiling


def asked(watch: Watch, amount: int, now_ms: int) -> Ask:
    """The question for a call that would hold `amount` more from now on."""
    day, weekday, minute = local_moment(watch.timezone, now_ms // 60_000)
    return Ask(amount, day, now_ms, watch.thresholds.range_at(weekday, minute), watch)


class Seen(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What the store saw of one payer's thresholds, this call not counted.

    `rule`: the first that the call breaks; `refuses`: and is refused for. `exposure`: spent or held today; `seen` and
    `limit` are the rule's own counter; `since_ms`: since when it is blocked. `news`: alerts, as bits of `ALERTS`.
    """

    level: int
    rule: Rule
    refuses: bool
    news: int
    exposure: int
    baseline: int
    threshold: int
    seen: int
    limit: int
    since_ms: int
    amount: int

    @property
    def alerts(self) -> tuple[Alert, ...]:
        return tuple([alert for place, alert in enumerate(ALERTS) if self.news >> place & 1])


class Settled(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a call that is over has used of one payer's day. None: nobody knows; what it held stays, as an estimate.

    `day`: when it ended, for a call whose holds the store has lost, and for a correction. `more`: a correction; then
    `amount` is the difference, and `guessed` what is no longer an estimate.
    """

    account: str
    amount: int | None
    day: int
    estimated: bool = False
    more: bool = False
    guessed: int = 0
    root: str = ""


def high_risk(country: str, digits: str) -> str:
    """The name under which a high-risk destination is remembered: its country, or how its number begins."""
    return country or digits[:4]
