"""The days of an account's spend thresholds: what counts in them, what they allow, what a call leaves behind.

The scripts of the store do the same in the same order (`lua/watch.lua`); the memory store calls these functions.
"""

from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec.structs import replace

from callctl.limits.ids import ALERTS, Alert, Ask, Mode, Rule, Seen

DAYS: Final = 60
"""How many complete days make the average."""
FEWEST_DAYS: Final = 14  # a new account's average is over as many
FREE_AT_ONCE: Final = 3  # watched calls at once that no statistics forbid
BURST_MS: Final = 60_000
_ALERT_OF: Final = {
    Rule.THRESHOLD: Alert.TRIPPED,
    Rule.HOUR: Alert.HOUR,
    Rule.COUNTRY: Alert.COUNTRY,
    Rule.CONCURRENT: Alert.CONCURRENT,
    Rule.BURST: Alert.BURST,
}


class Day(msgspec.Struct, array_like=True):
    """An account's watched calls of one local day. The scripts keep the same fields in the same order.

    `spent` is all that counts: settled, and `held` by the last slices of running calls. `estimated`: of it, by calls
    whose end nobody saw. `released`: what an operator has made not count; `extra`: what may be spent besides.
    `most`: highest number of watched calls at once in the days of the average; `peak`: of this day. `told`: alerts, as
    bits. `cap`: the threshold that clips the day in later averages. `incident`: it is left out of them.
    """

    day: int
    spent: int = 0
    held: int = 0
    estimated: int = 0
    released: int = 0
    extra: int = 0
    baseline: int = 0
    most: int = 0
    tripped_ms: int = 0
    told: int = 0
    free_until_ms: int = 0
    hour: int = 0
    in_hour: int = 0
    peak: int = 0
    cap: int = 0
    incident: int = 0

    @property
    def exposure(self) -> int:
        return self.spent - self.released

    @property
    def settled(self) -> int:
        return self.spent - self.held


def average(day: int, since: int, past: Mapping[int, Day]) -> int:
    """The baseline of a day: the mean of the 60 before, each clipped at its own threshold. Floored to micro-units.

    `since`: the first day that is known. Incidents are left out, days without calls are not.
    """
    before = [past[each] for each in range(day - DAYS, day) if each in past]
    counted = min(day - since, DAYS) - sum(1 for each in before if each.incident)
    spent = sum(min(each.spent, each.cap) for each in before if not each.incident)
    return spent // max(counted, FEWEST_DAYS)


def begun(day: int, since: int, past: Mapping[int, Day]) -> Day:
    """A day that nothing was spent in yet."""
    most = max((each.peak for number, each in past.items() if day - DAYS <= number < day), default=0)
    return Day(day, baseline=average(day, since, past), most=most)


def threshold(day: Day, range: int, ceiling: int | None) -> int:
    """How much the day's exposure may be. What an operator allows besides goes beyond the ceiling."""
    limit = day.baseline + range
    return (limit if ceiling is None else min(limit, ceiling)) + day.extra


class Counters(msgspec.Struct, frozen=True):
    """What is counted beside the day. None: that rule is not asked.

    `in_use`: watched calls at once. `country`: spent today on a high-risk country that is new. `attempts`: in the last
    60 seconds, this one among them.
    """

    in_use: int | None = None
    country: int | None = None
    attempts: int | None = None


def broken(day: Day, ask: Ask, counters: Counters) -> tuple[Rule, int, int]:
    """The first rule that the call breaks, what its counter would be, and its limit. `Rule.NONE`: it keeps them all."""
    agreed = ask.watch.thresholds
    limit = threshold(day, ask.range, ask.ceiling)
    if ask.amount < 0:
        return Rule.NONE, 0, 0
    in_hour = day.in_hour if day.hour == ask.hour else 0
    if agreed.mode is Mode.HARD and day.tripped_ms:
        return Rule.BLOCKED, day.exposure, limit
    if day.exposure + ask.amount > limit:
        return Rule.THRESHOLD, day.exposure + ask.amount, limit
    per_hour = day.baseline // 4 + ask.range // 2  # six hours' worth of the average, and half the range
    if agreed.hourly and in_hour + ask.amount > per_hour:
        return Rule.HOUR, in_hour + ask.amount, per_hour
    if counters.country is not None and agreed.new_country is not None:
        country = counters.country + ask.amount
        if country > agreed.new_country:
            return Rule.COUNTRY, country, agreed.new_country
    at_once = max(FREE_AT_ONCE, 2 * day.most)
    if agreed.concurrent and counters.in_use is not None and counters.in_use + 1 > at_once:
        return Rule.CONCURRENT, counters.in_use + 1, at_once
    most = agreed.attempts_per_minute
    if most is not None and counters.attempts is not None and counters.attempts > most:
        return Rule.BURST, counters.attempts, most
    return Rule.NONE, 0, 0


BY_AMOUNT: Final = (Rule.THRESHOLD, Rule.HOUR, Rule.COUNTRY)
"""Rules that a smaller slice may keep: where money does not pay for the slice either, nothing is decided yet."""


def judged(level: int, day: Day, ask: Ask, counters: Counters, *, poor: bool = False) -> Seen:
    """What one payer's thresholds say. Changes nothing.

    `poor`: money or a bundle falls short of this slice.
    """
    rule, seen, limit = broken(day, ask, counters)
    enforced = ask.watch.thresholds.mode is not Mode.MONITOR and ask.now_ms >= day.free_until_ms
    refuses = enforced and rule is not Rule.NONE and not (poor and rule in BY_AMOUNT)
    goes = threshold(day, ask.range, ask.ceiling)
    return Seen(level, rule, refuses, 0, day.exposure, day.baseline, goes, seen, limit, day.tripped_ms, ask.amount)


def told(day: Day, seen: Seen, *, goes: bool) -> Seen:
    """With the alerts that are due and were not told today. Only thresholds may refuse the call, or it `goes`.

    The trip is told whenever it happens, though the threshold may have been broken before: by a call that was let pass.
    """
    alert = _ALERT_OF.get(seen.rule)
    due = 0 if alert is None else _bit(alert)
    after = seen.exposure + (seen.amount if goes else 0)
    if 5 * (after - seen.baseline) >= 4 * (seen.threshold - seen.baseline):
        due |= _bit(Alert.WARNED)
    news = due & ~day.told
    if alert is Alert.TRIPPED and seen.refuses and not day.tripped_ms:
        news |= _bit(Alert.TRIPPED)
    return replace(seen, news=news)


def noted(day: Day, seen: Seen, ask: Ask) -> None:
    """What a call leaves behind, admitted or not: the trip, the alerts that were told, and the threshold it was held
    against.
    """
    if seen.refuses and seen.news & _bit(Alert.TRIPPED):
        day.tripped_ms = ask.now_ms
    day.told |= seen.news
    day.cap = _cap(day, ask)


def _bit(alert: Alert) -> int:
    return 1 << ALERTS.index(alert)


def _cap(day: Day, ask: Ask) -> int:
    """The day's own threshold: neither the office's hours nor an operator's extra move it."""
    limit = day.baseline + ask.watch.thresholds.range
    return limit if ask.ceiling is None else min(limit, ask.ceiling)


class Exposure(msgspec.Struct):
    """What a running call has of one payer's days. `last`: its last slice, taken in `hour`.

    `by_day`: (day, amount) of all its slices, in order; a day comes twice where the clock was set back over midnight.
    """

    country: str
    hour: int = 0
    last: int = 0
    by_day: list[tuple[int, int]] = []

    @property
    def amount(self) -> int:
        return sum(amount for _, amount in self.by_day)

    @property
    def last_day(self) -> int | None:
        return self.by_day[-1][0] if self.by_day else None

    def add(self, day: Day, ask: Ask) -> None:
        """Count a slice; the one before it is used up. A negative one makes the last slice smaller."""
        if ask.amount < 0:
            if self.last_day == day.day:
                self.take_back(day, -ask.amount)
            return
        so_far = 0
        if self.last_day == day.day:
            day.held -= self.last
            _, so_far = self.by_day.pop()
        self.hour, self.last = ask.hour, ask.amount
        self.by_day.append((day.day, so_far + ask.amount))
        day.spent += ask.amount
        day.held += ask.amount
        day.in_hour = ask.amount + (day.in_hour if day.hour == ask.hour else 0)
        day.hour = ask.hour
        day.cap = _cap(day, ask)

    def take_back(self, day: Day, amount: int) -> None:
        """Of the last slice, when its price is known better. `day`: that of the slice."""
        back = min(self.last, amount)
        self.last -= back
        self.by_day[-1] = day.day, self.by_day[-1][1] - back
        day.spent -= back
        day.held -= back
        if day.hour == self.hour:
            day.in_hour = max(0, day.in_hour - back)


def shares(exposure: Exposure, used: int | None) -> list[tuple[int, int, int]]:
    """(day, amount, change) of a call that is over, when it has used so much in all; None: what it held.

    What it used fills its days in order; more than it held belongs to the last.
    """
    rest = exposure.amount if used is None else used
    found = []
    for place, (day, held) in enumerate(exposure.by_day, 1):
        amount = rest if place == len(exposure.by_day) else min(held, rest)
        rest -= amount
        found.append((day, amount, amount - held))
    return found
