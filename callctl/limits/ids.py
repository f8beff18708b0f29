"""Spend thresholds (IDS): how much a customer's watched calls may go beyond its daily average (`docs/limits.md`).

What running calls hold counts before it is spent, so a day's spend stays within its threshold however many calls run
at once. Here is what was agreed, and what a call asks; `exposure.py` has the days.

Amounts are micro-units of the account's currency: sell prices without tax, before bundles. Days are counted from
1970-01-01, as the account's time zone has them.
"""

from enum import StrEnum
from typing import Final

import msgspec

from callctl.clock import local_moment
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
    """Hours (minutes of the local day) on some weekdays (Monday is 0), and what is left of the range outside them."""

    days: tuple[int, ...]
    from_minute: int
    until_minute: int
    outside_percent: int

    def open_at(self, weekday: int, minute: int) -> bool:
        return weekday in self.days and self.from_minute <= minute < self.until_minute


class Thresholds(msgspec.Struct, frozen=True, cache_hash=True):
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


class Watch(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Why a call counts against the thresholds of one payer. `country`: that of a high-risk number."""

    thresholds: Thresholds
    timezone: str
    country: str = ""


class Ask(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a take or an extension would add to the day: `amount`, in the local `day`, under the `range` of now."""

    amount: int
    day: int
    now_ms: int
    range: int
    watch: Watch

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
