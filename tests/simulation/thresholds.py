"""The auditor's reading of spend thresholds: what every account's watched calls hold and have spent, day by day.

It keeps its own days, by the calendar of the standard library, and its own average: it says what each answer should
have seen, and that nothing goes ahead beyond it.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import chain
from zoneinfo import ZoneInfo

from callctl.call.events import CallKey, Extended, ExtendRefused, Taken, TakeRefused
from callctl.call.takes import Extension, Settlement, Take
from callctl.limits.ids import Alert, Ask, Mode, Rule, Seen
from callctl.limits.ids import Settled as Used
from callctl.limits.watching import Allow, Release, Statistics, Tell, Word
from callctl.store.memory.store import MemoryStore
from tests.simulation.clock import VirtualLoop
from tests.simulation.store import at_once
from tests.simulation.story import TrueCall

BEGINNING = date(1970, 1, 1)
SOON_MS = 1_000
HUNG_UP = "hung up by a threshold"
Slices = list[tuple[int, int]]


def local_day(wall_ms: int, timezone: str) -> int:
    """Days since the beginning, by the account's clock."""
    moment = datetime.fromtimestamp(wall_ms // 1000, UTC).astimezone(ZoneInfo(timezone))
    return (moment.date() - BEGINNING) // timedelta(days=1)


def used_of(slices: Slices, used: int) -> Slices:
    """So much of slices that were held, in their order; what is more belongs to the last."""
    parts, rest = [], used
    for day, amount in slices:
        parts.append((day, min(amount, rest)))
        rest -= parts[-1][1]
    last, amount = parts[-1]
    return [*parts[:-1], (last, amount + rest)]


def _affords(request: Take | Extension, answer: Taken | TakeRefused | Extended | ExtendRefused) -> bool:
    """Whether there are money, sources and channels for it: then nothing but thresholds can refuse it."""
    if isinstance(request, Take) and isinstance(answer, TakeRefused):
        levels = zip(request.levels, answer.overflow, strict=True)
        holds = [level.hold_overflow if over else level.hold for level, over in levels]
        draws = [tuple(draw.amount for draw in level.draws) for level in request.levels]
        full = any(use.hard_limit is not None and use.in_use >= use.hard_limit for use in answer.uses)
        if full or answer.rate_exceeded:
            return False
    else:
        assert isinstance(request, Extension)
        holds, draws = list(request.more), list(request.draws)
    money = zip(holds, answer.available, strict=True)
    sources = chain.from_iterable(map(zip, draws, answer.left))
    return all(wanted <= 0 or left is None or wanted <= left for wanted, left in [*money, *sources])


@dataclass
class Account:
    """One account's days. `calls`: what running calls have; `guessed`: what calls have whose end nobody saw."""

    calls: dict[CallKey, Slices] = field(default_factory=dict)
    guessed: dict[CallKey, tuple[Slices, Slices]] = field(default_factory=dict)
    over: Counter[int] = field(default_factory=Counter)  # by day: what calls have used that are over
    told: Counter[int] = field(default_factory=Counter)
    released: Counter[int] = field(default_factory=Counter)
    extra: Counter[int] = field(default_factory=Counter)
    averages: dict[int, int] = field(default_factory=dict)
    caps: dict[int, int] = field(default_factory=dict)
    free_until_ms: dict[int, int] = field(default_factory=dict)
    incidents: set[int] = field(default_factory=set)
    tripped: set[int] = field(default_factory=set)
    first: int | None = None
    kept: int | None = None

    def spent(self, day: int) -> int:
        running = sum(amount for slices in self.calls.values() for on, amount in slices if on == day)
        return self.told[day] + self.over[day] + running

    def held(self, day: int) -> int:
        return sum(slices[-1][1] for slices in self.calls.values() if slices[-1][0] == day)

    def forget_no_more_than_settled(self, parts: Slices) -> None:
        """What a call gives back that was released is not there to be forgotten."""
        for day, _ in parts:
            self.released[day] = min(self.released[day], self.spent(day) - self.held(day))

    def average(self, day: int) -> int:
        return self.averages[day] if day == self.kept else self.anew(day)

    def anew(self, day: int) -> int:
        first = day if self.first is None else self.first
        past = [each for each in range(day - 60, day) if each not in self.incidents]
        left_out = sum(day - 60 <= each < day for each in self.incidents)
        spent = sum(min(self.spent(each), self.caps.get(each, 0)) for each in past)
        return spent // max(14, min(60, day - first) - left_out)

    def keep(self, day: int) -> None:
        """The day is the account's day from now on: its average stays what it is."""
        self.averages[day] = self.average(day)
        self.free_until_ms.setdefault(day, 0 if self.kept is None else self.free_until_ms[self.kept])
        self.first = day if self.first is None else self.first
        self.kept = day

    def is_free(self, ask: Ask) -> bool:
        inherited = 0 if self.kept is None else self.free_until_ms[self.kept]
        return ask.now_ms < self.free_until_ms.get(ask.day, inherited)


class ThresholdsAudit:
    """Sees every write, as the auditor does.

    `used`: what each answered call has used of each account's days; `corrected`: how many guesses were.
    `all_heard`: no answer of the store gets lost, and no command.
    """

    def __init__(
        self,
        loop: VirtualLoop,
        store: MemoryStore,
        calls: Mapping[CallKey, TrueCall],
        timezone: Callable[[str], str],
        objects: Callable[[str], None],
    ) -> None:
        self._loop = loop
        self._store = store
        self._calls = calls
        self._timezone = timezone
        self._object = objects
        self._accounts: defaultdict[tuple[str, str], Account] = defaultdict(Account)
        self.corrected = 0
        self.all_heard = True
        self._unwanted_ms: dict[CallKey, int] = {}
        self.used: dict[tuple[CallKey, str], int] = {}

    def wrote(self, request: Take | Extension | Settlement, answer: object) -> None:
        if isinstance(request, Take) and isinstance(answer, Taken | TakeRefused):
            asks = [level.watch for level in request.levels]
            self._judged(request, asks, answer, goes=isinstance(answer, Taken), leaves=not request.probe)
        elif isinstance(request, Extension) and isinstance(answer, Extended | ExtendRefused):
            self._judged(request, request.watch, answer, goes=isinstance(answer, Extended), leaves=True)
        elif isinstance(request, Settlement) and answer is None:
            self._settled(request)

    def _judged(
        self,
        request: Take | Extension,
        asks: Sequence[Ask | None],
        answer: Taken | TakeRefused | Extended | ExtendRefused,
        *,
        goes: bool,
        leaves: bool,
    ) -> None:
        session = request.session
        for seen in answer.watched:
            ask, name = asks[seen.level], session.levels[seen.level].account
            assert ask is not None
            account = self._accounts[session.root, name]
            who = f"{session.call} at {name}"
            broken = self._expected(who, name, account, ask, seen)
            enforced = ask.watch.thresholds.mode is not Mode.MONITOR and not account.is_free(ask)
            if goes and not request.force and broken is not Rule.NONE and enforced:
                self._object(f"{who} goes beyond its threshold: {seen}")
            if seen.refuses and not enforced:
                self._object(f"{who}: nothing is enforced, and it is refused: {seen}")
            trips = leaves and broken is Rule.THRESHOLD and seen.refuses and (goes or _affords(request, answer))
            if trips and ask.day not in account.tripped and Alert.TRIPPED not in seen.alerts:
                self._object(f"{who} is the first that its threshold refuses, and nobody is told: {seen}")
            if leaves and (goes or seen.news):
                self._left(account, session.call, ask, goes=goes)
            if trips:
                account.tripped.add(ask.day)
            if seen.refuses and ask.watch.thresholds.mode is Mode.HARD and (trips or broken is Rule.BLOCKED):
                self._hung_up(account)

    def _expected(self, who: str, name: str, account: Account, ask: Ask, seen: Seen) -> Rule:
        """The rule that is broken, by our own figures."""
        agreed = ask.watch.thresholds
        if ask.day != local_day(ask.now_ms, self._timezone(name)):
            self._object(f"{who} asks of day {ask.day} at {ask.now_ms}")
        exposure, average = account.spent(ask.day) - account.released[ask.day], account.average(ask.day)
        limit = average + agreed.range
        limit = (limit if agreed.ceiling is None else min(limit, agreed.ceiling)) + account.extra[ask.day]
        rule = Rule.NONE
        if agreed.mode is Mode.HARD and ask.day in account.tripped and ask.amount >= 0:
            rule = Rule.BLOCKED
        elif ask.amount >= 0 and exposure + ask.amount > limit:
            rule = Rule.THRESHOLD
        ours, theirs = (rule, exposure, average, limit), (seen.rule, seen.exposure, seen.baseline, seen.threshold)
        if ours != theirs:
            self._object(f"{who}: rule, exposure, average and threshold are {theirs}, should be {ours}")
        return rule

    def _left(self, account: Account, call: CallKey, ask: Ask, *, goes: bool) -> None:
        """What an answer leaves behind."""
        account.keep(ask.day)
        agreed = ask.watch.thresholds
        cap = account.average(ask.day) + agreed.range
        account.caps[ask.day] = cap if agreed.ceiling is None else min(cap, agreed.ceiling)
        if not goes:
            return
        slices = account.calls.setdefault(call, [])
        if ask.amount >= 0:
            slices.append((ask.day, ask.amount))
        elif slices[-1][0] == ask.day:
            slices[-1] = ask.day, max(0, slices[-1][1] + ask.amount)

    def _hung_up(self, account: Account) -> None:
        """By callctl, for the account is blocked."""
        for call in account.calls:
            self._unwanted_ms.setdefault(call, self._loop.now_ms)
            self._calls[call].hang_up_asked = True
            self._calls[call].harmed.add(HUNG_UP)

    def _settled(self, settlement: Settlement) -> None:
        session = settlement.session
        told = {used.account: used for used in settlement.watched}
        for level in session.levels:
            account, used = self._accounts[session.root, level.account], told.get(level.account)
            slices = account.calls.pop(session.call, None)
            if slices is None and used is not None and not used.more:  # agreed since it was asked for last
                slices = [(used.day, used.amount or 0)]
                if used.amount and used.day != account.kept:
                    account.caps.setdefault(used.day, used.amount)
            if slices is not None:
                parts = self._over(account, session.call, slices, used)
            elif used is not None and used.more:
                parts = self._corrected(account, session.call, used)
            else:
                continue
            if session.answered is not None:
                self.used[session.call, level.account] = sum(amount for _, amount in parts)

    def _over(self, account: Account, call: CallKey, slices: Slices, used: Used | None) -> Slices:
        amount = 0 if used is None else used.amount
        parts = slices if amount is None else used_of(slices, amount)
        for day, part in parts:
            account.over[day] += part
        account.forget_no_more_than_settled(parts)
        if used is not None and used.estimated:
            account.guessed[call] = slices, parts
        return parts

    def _corrected(self, account: Account, call: CallKey, used: Used) -> Slices:
        self.corrected += 1
        slices, parts = account.guessed[call]
        guessed = sum(amount for _, amount in parts)
        if used.guessed != guessed:
            self._object(f"{call}: {used.guessed} are no longer estimated, {guessed} were")
        truth = used_of(slices, guessed + (used.amount or 0))
        for (day, part), (_, right) in zip(parts, truth, strict=True):
            account.over[day] += right - part
        account.forget_no_more_than_settled(parts)
        account.guessed[call] = slices, truth
        return truth

    def said(self, word: Word) -> None:
        account, day = self._accounts[word.root, word.account], word.day
        account.keep(day)
        match word.said:
            case Release(until_ms):
                account.released[day] = account.spent(day) - account.held(day)
                account.free_until_ms[day] = until_ms
                account.tripped.discard(day)
            case Allow(extra):
                account.extra[day] += extra
                account.tripped.discard(day)
            case Tell(days):
                for each in days:
                    account.told[each.day] += (each.spent or 0) - account.spent(each.day)
                    account.caps[each.day] = account.caps.get(each.day) or each.spent or 0
                    account.first = each.day if account.first is None else min(account.first, each.day)
                    if each.incident:
                        account.incidents.add(each.day)
                account.averages[day] = account.anew(day)

    def close(self) -> None:
        """Every account's days are what we have counted, and calls of a blocked account were hung up at once.

        Where callctl has not heard that the account is blocked, they are when it asks again.
        """
        for key, at_ms in self._unwanted_ms.items() if self.all_heard else ():
            call = self._calls[key]
            if call.attended and call.harmed == {HUNG_UP} and (call.ended_ms or self._loop.now_ms) > at_ms + SOON_MS:
                self._object(f"{key} went on after its account was blocked")
        for (root, name), account in self._accounts.items():
            if account.kept is None:
                continue
            shown: Statistics = at_once(self._store.statistics(root, name, account.kept))
            for day in (shown.today, *shown.past):
                ours = account.spent(day.day), account.held(day.day)
                if (day.spent, day.held) != ours:
                    self._object(f"{name} shows {day.spent} spent and {day.held} held on {day.day}, should be {ours}")
