"""Spend thresholds as the memory store keeps them: what `lua/watch.lua` does, by the functions of `limits`."""

from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from callctl.limits.exposure import BURST_MS, DAYS, Counters, Day, Exposure, begun, judged, noted, shares, told
from callctl.limits.ids import Ask, Seen, Settled
from callctl.limits.watching import Allow, Note, Release, Tell, Told, Word


class Country(msgspec.Struct):
    """A high-risk country: the day it was called last, what was spent there then, and the day it was called before."""

    day: int
    spent: int = 0
    before: int | None = None

    @property
    def is_new(self) -> bool:
        return self.before is None or self.day - self.before > DAYS


class WatchedDays(msgspec.Struct):
    """Of one account: the day that is kept, those before it, and since when any is."""

    day: Day | None = None
    past: dict[int, Day] = {}
    since: int | None = None
    countries: dict[str, Country] = {}
    attempts: list[int] = []
    notes: list[Note] = []

    def look(self, level: int, ask: Ask, in_use: int | None, *, counts: bool) -> "Look":
        """What the thresholds say of a call; of one that is up already `in_use` is None."""
        day = self._day(ask.day)
        country = self._country(ask)
        attempts = None
        most = ask.watch.thresholds.attempts_per_minute
        if in_use is not None and most is not None and not ask.again:
            if counts:
                self.attempts = [ask.now_ms, *self.attempts][: most + 1]
            others = most + counts  # a look sees as many as the attempt itself will
            recent = [at for at in self.attempts[:others] if at > ask.now_ms - BURST_MS]
            attempts = len(recent) + (not counts)
        spent_there = country.spent if country is not None and country.is_new else None
        counters = Counters(in_use, spent_there, attempts)
        return Look(self, ask, day, country, counters, judged(level, day, ask, counters))

    def _day(self, number: int) -> Day:
        if self.day is not None and self.day.day == number:
            return self.day
        known = {**self.past, **({self.day.day: self.day} if self.day is not None else {})}
        since = self.since if self.since is not None else self.day.day if self.day is not None else number
        day = begun(number, since, known)
        if number in self.past:  # the clock was set back, or the day is known because it was told
            return replace(self.past[number], baseline=day.baseline, most=day.most)
        day.free_until_ms = self.day.free_until_ms if self.day is not None else 0
        return day

    def _country(self, ask: Ask) -> Country | None:
        name = ask.watch.country
        if not name or ask.watch.thresholds.new_country is None:
            return None
        known = self.countries.get(name) or Country(ask.day)
        return known if known.day >= ask.day else Country(ask.day, 0, known.day)

    def keep(self, day: Day) -> None:
        if self.day is not day:
            if self.since is None:
                self.since = self.day.day if self.day is not None else day.day
            if self.day is not None:
                self.past[self.day.day] = self.day
            self.past = {each: past for each, past in self.past.items() if each >= day.day - DAYS - 1}
            self.day = day

    def over(self, exposure: Exposure, used: int | None, *, is_estimate: bool) -> None:
        """A call is over: what it held and did not use is given back."""
        changes = shares(exposure, used)
        final, _, more = changes[-1]
        for number, amount, change in changes[:-1]:
            self.change(number, change, amount if is_estimate else 0)
        self.change(final, more, changes[-1][1] if is_estimate else 0, -exposure.last)
        day = self.day
        if day is not None and day.day == final and day.hour == exposure.hour:
            day.in_hour = max(0, day.in_hour + max(more, -exposure.last))
        country = self.countries.get(exposure.country)
        if country is not None and country.day == final:
            country.spent = max(0, country.spent + more)

    def corrected(self, settled: Settled) -> None:
        """What came to light later, or belongs to a call whose holds were lost."""
        amount = settled.amount or 0
        if settled.more:
            self._correct(settled.day, amount, settled.guessed)
        else:
            self.change(settled.day, amount, amount if settled.estimated else 0)

    def _correct(self, number: int, more: int, guessed: int) -> None:
        """A guess is none any more, and was wrong by so much: on the latest days that have one, up to `number`."""
        latest = None
        for each in range(number, number - DAYS, -1):
            day = self.day if self.day is not None and self.day.day == each else self.past.get(each)
            part = 0 if day is None else min(day.estimated, guessed)
            if part:
                back = max(-part, min(more, 0))
                self.change(each, back, -part)
                latest, guessed, more = latest or each, guessed - part, more - back
        self.change(latest or number, more)

    def say(self, word: Word) -> None:
        """What an operator says, and that it was said."""
        day = self._day(word.day)
        self.keep(day)
        match word.said:
            case Release(until_ms):
                day.released, day.free_until_ms = day.settled, until_ms
                day.tripped_ms = day.told = 0
            case Allow(extra):
                day.extra += extra
                day.tripped_ms = day.told = 0
            case Tell(days):
                for told in days:
                    self._tell(day, told)
                known = {**self.past, day.day: day}
                fresh = begun(day.day, self.since if self.since is not None else day.day, known)
                day.baseline, day.most = fresh.baseline, fresh.most
        self.notes.append(word.note)

    def _tell(self, today: Day, told: Told) -> None:
        day = today if told.day == today.day else self.past.setdefault(told.day, Day(told.day))
        day.spent = day.spent if told.spent is None else told.spent
        cap = day.cap or told.spent or 0  # a threshold that nobody knows clips nothing of what is told
        day.cap = cap if told.cap is None else told.cap
        day.peak = day.peak if told.peak is None else told.peak
        day.incident = day.incident if told.incident is None else int(told.incident)
        self.since = told.day if self.since is None else min(self.since, told.day)

    def change(self, number: int, spent: int = 0, estimated: int = 0, held: int = 0) -> None:
        """The day that is kept, or one of the past. What was released of it is settled in any case."""
        if self.day is not None and self.day.day == number:
            day = self.day
        elif spent or estimated or held:
            day = self.past.setdefault(number, Day(number, cap=spent))
        else:
            return
        day.spent += spent
        day.estimated = max(0, day.estimated + estimated)
        day.held = max(0, day.held + held)
        day.released = min(day.released, day.settled)


class Look(msgspec.Struct):
    """One payer's thresholds, looked at for one call; `seen` is what is answered."""

    account: WatchedDays
    ask: Ask
    day: Day
    country: Country | None
    counters: Counters
    seen: Seen

    def judge(self, *, poor: bool) -> bool:
        """Whether it refuses the call."""
        self.seen = judged(self.seen.level, self.day, self.ask, self.counters, poor=poor)
        return self.seen.refuses

    def told(self, *, goes: bool, tells: bool) -> Seen:
        if tells:
            self.seen = told(self.day, self.seen, goes=goes)
        return self.seen

    def refused(self) -> None:
        if self.seen.news:
            noted(self.day, self.seen, self.ask)
            self.account.keep(self.day)

    def add(self, exposure: Exposure | None) -> Exposure:
        """Count what is held, with what the call holds already."""
        exposure = exposure or Exposure(self.ask.watch.country if self.country is not None else "")
        if exposure.last_day not in (None, self.day.day) and self.ask.amount >= 0:
            self.account.change(exposure.last_day, held=-exposure.last)  # used up
        exposure.add(self.day, self.ask)
        if self.ask.watch.thresholds.concurrent and self.counters.in_use is not None:
            self.day.peak = max(self.day.peak, self.counters.in_use + 1)
        if self.country is not None and self.ask.amount > 0:
            self.country.spent += self.ask.amount
            self.account.countries[self.ask.watch.country] = self.country
        noted(self.day, self.seen, self.ask)
        self.account.keep(self.day)
        return exposure


def looks(
    accounts: Sequence[WatchedDays], asks: Sequence[Ask | None], in_use: Sequence[int | None], *, counts: bool
) -> list[Look]:
    """A look at each payer whose thresholds are asked; `in_use`: watched calls at once there."""
    return [
        account.look(depth, ask, calls, counts=counts)
        for depth, (account, ask, calls) in enumerate(zip(accounts, asks, in_use, strict=True))
        if ask is not None
    ]


def allowed(looks: Sequence[Look], *, poor: bool) -> bool:
    """Whether no threshold refuses the call."""
    refusing = [look for look in looks if look.judge(poor=poor)]
    return not refusing


def seen(looks: Sequence[Look], *, goes: bool, tells: bool) -> tuple[Seen, ...]:
    """What is answered. A refusal leaves its trip and its alerts behind, if it `tells`: only thresholds refuse."""
    found = tuple([look.told(goes=goes, tells=tells) for look in looks])
    if not goes:
        for look in looks:
            look.refused()
    return found
