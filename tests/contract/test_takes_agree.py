"""Memory says what the scripts mean: any sequence of takes gets the same answers and leaves the same figures."""

import asyncio
import itertools
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from msgspec.structs import replace

from callctl.call.events import Extended, Taken
from callctl.call.purchase import Stocks
from callctl.call.session import Session
from callctl.call.takes import Draw, LedgerEntry, TakeLevel
from callctl.call.watched import WATCHED_CALLS
from callctl.errors import CallConflict, UnknownCall
from callctl.limits.concurrency import Slot
from callctl.limits.ids import Ask, Mode, Settled, Thresholds, Watch, asked
from callctl.limits.watching import Allow, Release, Statistics, Tell, Told, Word
from callctl.rating.bundles import Source
from callctl.store.address import parse_address
from callctl.store.link import Link
from callctl.store.memory.store import MemoryStore
from callctl.store.redis import RedisStore
from tests.contract.calls import (
    LEASE_MS,
    NOW,
    extension,
    outbox,
    rate,
    refusal,
    session,
    set_limit,
    settlement,
    take,
    top_up,
)
from tests.contract.links import PATIENT
from tests.contract.watched import DAY, day_ms

amounts = st.integers(0, 60)
agreements = st.none() | st.builds(
    Thresholds,
    range=st.integers(20, 120),
    mode=st.sampled_from([Mode.MONITOR, Mode.SOFT, Mode.HARD]),
    ceiling=st.none() | st.just(90),
    hourly=st.booleans(),
    concurrent=st.booleans(),
    new_country=st.none() | st.just(50),
    attempts_per_minute=st.none() | st.just(4),
)
words = (
    st.builds(Release, st.sampled_from([0, day_ms(1)]))
    | st.builds(Allow, amounts)
    | st.builds(
        lambda *days: Tell(days),
        st.builds(
            Told,
            st.integers(DAY - 70, DAY + 1),
            amounts,
            st.none() | amounts,
            st.none() | st.integers(0, 3),
            st.booleans(),
        ),
        st.builds(Told, st.integers(DAY - 3, DAY), st.none() | amounts, amounts),
    )
)
each_draws = st.tuples(*[st.integers(0, 25)] * 3)
caps = st.none() | st.integers(0, 3)
numbers = st.integers(0, 3)


class TakesAgree(RuleBasedStateMachine):
    """Four calls of a shop, its reseller and a trunk, in a root of their own per example."""

    runner: asyncio.Runner
    link: Link
    roots = itertools.count()

    @initialize()
    def begin(self) -> None:
        self.memory, self.redis = MemoryStore(), RedisStore(self.link)
        self.root = f"root-{next(self.roots)}"
        self.accounts = ("shop", self.root)
        self.seen: dict[str, Session] = {}

    def both(self, method: str, *arguments: Any) -> Any:
        """The answer of both stores, which must be one."""
        of_memory, of_redis = (
            self.runner.run(_outcome(store, method, arguments)) for store in (self.memory, self.redis)
        )
        assert of_memory == of_redis
        return of_memory

    def live(self) -> Any:
        return self.both("read", self.both("listed", [self.root]))

    def call(self, number: int) -> Session:
        """The call as its caller saw it last."""
        return self.seen.get(f"{self.root}/{number}", self._new(number))

    def _new(self, number: int) -> Session:
        """Calls 2 and 3 draw upon something at every level."""
        call = session(f"{self.root}/{number}", self._payers(number), trunk="t1")
        if number < 2:
            return call
        sources = [(Source(f"month/s{depth}", "s", False, 40, 40),) for depth in range(len(call.levels))]
        levels = zip(call.levels, sources, strict=True)
        return replace(call, levels=tuple(replace(level, sources=drawn_upon) for level, drawn_upon in levels))

    def _watched(self, call: Session, agreed: Thresholds | None) -> Session:
        """With thresholds on the caller's side."""
        watch = None if agreed is None else Watch(agreed, "UTC", "CU" if agreed.new_country else "")
        levels = [replace(level, watch=watch if depth < 2 else None) for depth, level in enumerate(call.levels)]
        return replace(call, levels=tuple(levels))

    def saw(self, call: Session) -> None:
        self.seen[call.call.call_id] = call

    @rule(amount=st.integers(-20, 100), who=st.integers(0, 1), id=numbers)
    def top_up(self, amount: int, who: int, id: int) -> None:
        self.both("top_up", top_up(amount, self.accounts[who], root=self.root, id=str(id)))

    @rule(who=st.integers(0, 1), floor=st.none() | amounts)
    def set_limit(self, who: int, floor: int | None) -> None:
        for store in (self.memory, self.redis):
            self.runner.run(set_limit(store, self.root, self.accounts[who], floor))

    @rule(
        number=numbers,
        holds=st.tuples(amounts, amounts, amounts),
        draws=each_draws,
        extra=amounts,
        cap=caps,
        over=st.integers(0, 2),
        trunk_cap=caps,
        per_second=st.none() | st.integers(1, 3),
        second=st.integers(0, 1),
        how=st.sampled_from([{}, {}, {}, {"probe": True}, {"dry": True}, {"force": True}]),
        agreed=agreements,
        day=st.integers(0, 2),
    )
    def admit(self, number, holds, draws, extra, cap, over, trunk_cap, per_second, second, how, agreed, day) -> None:
        call = self._watched(self._new(number), agreed)
        slots = (Slot("outbound", cap, None if cap is None else cap + over), Slot("total"), WATCHED_CALLS)
        proposed = take(
            call,
            slots=slots,
            trunk_slots=(Slot("outbound", trunk_cap, trunk_cap),),
            rates=() if per_second is None else (rate("t1", per_second, after_s=second),),
            now_ms=NOW.wall_ms + 1_000 * second,
            lease_until_ms=LEASE_MS + number,
            **how,
        )
        drawn = [
            tuple(Draw(source.id, source.allowance, amount) for source in level.sources)
            for level, amount in zip(call.levels, draws, strict=False)
        ]
        levels = zip(call.levels, holds, drawn, strict=False)
        proposed = replace(
            proposed,
            levels=tuple(
                TakeLevel(
                    level.account, slots, hold, hold + extra, of, watch=_ask(level.watch, hold, day_ms(day) + second)
                )
                for level, hold, of in levels
            ),
        )
        answer = self.both("admit", proposed)
        if isinstance(answer, Taken) and not proposed.probe and not proposed.dry:
            self.saw(replace(call, version=1))

    def _payers(self, number: int) -> tuple[str, ...]:
        if number == 3:
            return *self.accounts, self.root  # the reseller is on the called side, too
        return self.accounts if number % 2 else self.accounts[1:]

    @rule(
        number=numbers,
        more=st.tuples(amounts, amounts, amounts),
        draws=each_draws,
        stale=st.booleans(),
        force=st.booleans(),
        less=st.integers(0, 30),
        day=st.integers(0, 2),
    )
    def extend(self, number, more, draws, stale, force, less, day) -> None:
        call = self.call(number)
        call = replace(call, version=call.version - 1) if stale and call.version else call
        more = more[: len(call.levels)]
        drawn = tuple((amount,) for amount, _ in zip(draws, call.levels, strict=False)) if number > 1 else ()
        watch = tuple(_ask(lv.watch, it - less, day_ms(day)) for lv, it in zip(call.levels, more, strict=True))
        asked = extension(call, *more, force=force, lease_until_ms=LEASE_MS - number, draws=drawn, watch=watch)
        (answer,) = self.both("extend", [asked])
        if isinstance(answer, Extended):
            self.saw(replace(call, version=call.version + 1))

    @rule(
        number=numbers, charges=st.tuples(amounts, amounts, amounts), how=st.sampled_from(["end", "refuse", "correct"])
    )
    def settle(self, number: int, charges: tuple[int, ...], how: str) -> None:
        call = self.call(number)
        charges = charges[: len(call.levels)]
        if how == "refuse":
            answer = self.both("settle", refusal(call))
        else:
            closing = settlement(call, *charges, kind="correction" if how == "correct" else "post")
            posts = [
                replace(post, used=tuple((source.id, post.amount % 5) for source in level.sources))
                for post, level in zip(closing.posts, call.levels, strict=True)
            ]
            if any(up.call == call.call for up in self.live()):
                how = "end"  # nobody corrects what is up
            told = [(lv.account, it) for lv, it in zip(call.levels, charges, strict=True) if lv.watch is not None]
            used = tuple(_used(account, it, how) for account, it in told)
            answer = self.both("settle", replace(closing, posts=tuple(posts), watched=used))
        if answer is None:
            self.saw(replace(call, version=0 if how == "refuse" else call.version + 1))

    @rule(who=st.integers(0, 1), day=st.integers(0, 2), said=words)
    def say(self, who: int, day: int, said: Any) -> None:
        account = self.accounts[who]
        self.both("say", Word(account, self.root, DAY + day, NOW.wall_ms, "ops", "", said))

    @invariant()
    def everything_agrees(self) -> None:
        for balance in self.both("balances", self.root, self.accounts):
            entries = self.both("ledger", self.root, balance.account, "", 1_000)
            assert sum(entry.amount for entry in entries) == balance.balance
            live = self.live()
            held = [lv.held for call in live for lv in call.levels if lv.account == balance.account]
            assert sum(held) == balance.held
            assert balance.slots.get("total", 0) == len(held)
            stocks = self.both("stocks", self.root, balance.account)
            for source, stock in stocks.by_source.items():
                levels = [lv for call in live for lv in call.levels if lv.account == balance.account]
                assert stock.held == sum(it.held for lv in levels for it in lv.sources if it.id == source)
            for day in range(3):
                self.both("statistics", self.root, balance.account, DAY + day)
        self.both("lapsed", [self.root], LEASE_MS, 2)
        for number in range(4):
            self.both("find", self.call(number).call)
        assert self.runner.run(outbox(self.memory, self.root)) == self.runner.run(outbox(self.redis, self.root))
        assert self.runner.run(self.redis.recount(self.root, self.accounts, ["t1"])) == []


def _ask(watch: Watch | None, amount: int, at_ms: int) -> Ask | None:
    return None if watch is None else asked(watch, amount, at_ms)


def _used(account: str, amount: int, how: str) -> Settled:
    """Now and then nobody knows."""
    if how == "correct":
        return Settled(account, amount - 30, DAY, more=True, guessed=30)
    return Settled(account, None if amount == 13 else amount, DAY + 1, estimated=amount % 2 == 1)


async def _outcome(store: Any, method: str, arguments: tuple[Any, ...]) -> Any:
    try:
        answer = await getattr(store, method)(*arguments)
    except (CallConflict, UnknownCall, ValueError) as error:
        return type(error)
    if isinstance(answer, Stocks):  # what was looked at without being drawn upon is nothing yet
        return replace(answer, by_source={name: it for name, it in answer.by_source.items() if it.held or it.balance})
    if isinstance(answer, Statistics):  # each notes in its own words
        return replace(answer, notes=())
    entries = answer if isinstance(answer, list) else [answer]
    plain = [replace(entry, cursor="") if isinstance(entry, LedgerEntry) else entry for entry in entries]
    plain = [type(entry) if isinstance(entry, UnknownCall) else entry for entry in plain]
    return plain if isinstance(answer, list) else plain[0]


def test_memory_and_redis_agree(redis_server):
    with asyncio.Runner() as runner:

        async def open_link() -> Link:
            link = Link(parse_address(redis_server.url), times=PATIENT)
            await link.open()
            await link.call("FLUSHALL")
            return link

        TakesAgree.runner, TakesAgree.link = runner, runner.run(open_link())
        run_state_machine_as_test(
            TakesAgree,
            settings=settings(
                max_examples=60,
                stateful_step_count=25,
                suppress_health_check=[HealthCheck.too_slow],
            ),
        )
        runner.run(TakesAgree.link.close())
