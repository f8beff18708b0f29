"""The store: admissions beside what Redis itself does with the same script, memory, re-checks, customers at rest."""

import asyncio
import gc
import time
import tracemalloc
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import msgspec
from msgspec.structs import replace

from bench.deciding import AnsweringLink
from bench.figures import Figure, Limit, at_most, best, fastest, ratio_at_least, ratio_at_most
from bench.provider import ACCOUNTS, Callers, Counting, account, control
from bench.server import Redis, redis_benchmark
from callctl.call.admission import Policy, propose
from callctl.call.events import Answered, Deadline, DeadlineReached, ExtendAsked, Taken
from callctl.call.session import State
from callctl.call.takes import Extension, Take, TopUp
from callctl.clock import SystemClock
from callctl.control.calls import CallControl
from callctl.control.facts import gather
from callctl.control.outbox import SCAN_MS, TRIM_MS
from callctl.control.reconciler import SWEEP_MS
from callctl.store import keys
from callctl.store.feeds import RedisFeeds
from callctl.store.link import Argument, Link, Then
from callctl.store.memory.definitions import MemoryDefinitions
from callctl.store.redis import RedisStore

IN_FLIGHT = 128
ADMISSIONS = 20_000  # of a round; redis-benchmark cannot tell the time of fewer
ROUNDS = 4
TYPED = "0000__rand_int__"  # a trace id: the round, as redis-benchmark may draw the same digits in two, and the digits
LIVE = 20_000
RECHECKED = 4_000
RECHECKS_PER_S = 100_000 / 60
CUSTOMERS = 50_000
SCANS_PER_S = 1000 / SCAN_MS + 1000 / TRIM_MS
SWEEPS_PER_S = 1000 / SWEEP_MS


class Recorder(AnsweringLink):
    """A link that remembers the last script it was asked to run."""

    def ask(self, command: tuple[Argument, ...], then: Then) -> None:
        self.asked = command
        super().ask(command, then)


def takes(defined: MemoryDefinitions, count: int) -> Iterator[Take]:
    """Admissions as call control proposes them."""
    clock, policy = SystemClock(), Policy()
    for offered in Callers(seed=time.time_ns()).offers(count, clock):
        now = clock.now()
        yield propose(offered, gather(offered, defined.tariffs, now, policy.lists), now, policy).take


async def fund(server: Redis) -> None:
    """Every account has more money than the bench can spend."""
    store = RedisStore(server.link)
    ids = [account(number).id for number in range(ACCOUNTS)]
    await asyncio.gather(*(store.top_up(TopUp(id, id, "bench", 10**12, 0)) for id in ids))


async def throughput(defined: MemoryDefinitions, server: Redis) -> list[Figure]:
    """Admissions with 128 in flight, and redis-benchmark with the same script and arguments."""
    store = RedisStore(server.link)
    command = await _as_typed(defined, server)
    ours, theirs, cpu_s = [], [], []
    for number in range(ROUNDS):
        others = [argument.replace(TYPED, f"{number:04}{TYPED[4:]}") for argument in command]
        theirs.append(await redis_benchmark(server.port, ADMISSIONS, 4, 32, others))
        waiting = list(takes(defined, ADMISSIONS))
        before = time.process_time()
        ours.append(await _admissions(store, waiting))
        cpu_s.append((time.process_time() - before) / ADMISSIONS)
    limit = Limit("redis-benchmark -c 4 -P 32", fastest(theirs))
    return [
        Figure(f"store.admit, {IN_FLIGHT} in flight", fastest(ours), "/s", (ratio_at_least(0.8),), limit),
        Figure("its CPU here", best(cpu_s) * 1e6, "us CPU"),
    ]


async def _admissions(store: RedisStore, waiting: Sequence[Take]) -> float:
    remaining = iter(waiting)

    async def work() -> None:
        for take in remaining:
            assert isinstance(await store.admit(take), Taken)

    before = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))
    return len(waiting) / (time.perf_counter() - before)


async def _as_typed(defined: MemoryDefinitions, server: Redis) -> list[str]:
    """An admission as redis-benchmark can repeat it: each a call of its own, the session as long but plain text."""
    recorder = Recorder()
    (take,) = takes(defined, 1)
    await RedisStore(cast(Link, recorder)).admit(take)
    await RedisStore(server.link).admit(take)  # the server knows the script
    *command, asked, session = (
        each.decode("latin-1") if isinstance(each, bytes) else str(each) for each in recorder.asked
    )
    nonce, *_ = msgspec.json.decode(asked)
    command += [asked.replace(nonce, "bench__rand_int__"), "x" * len(session)]
    return [argument.replace(take.session.trace_id, TYPED) for argument in command]


async def alone(defined: MemoryDefinitions, server: Redis) -> Figure:
    """One admission with nothing else under way, beside the round trip of the bare command for another."""
    recorder = Recorder()
    recording, store = RedisStore(cast(Link, recorder)), RedisStore(server.link)
    trips_us: list[float] = []
    admissions_us: list[float] = []
    pair = takes(defined, 3_000)
    for other, take in zip(pair, pair, strict=True):
        await recording.admit(other)
        before = time.perf_counter()
        await server.link.call(*recorder.asked)
        between = time.perf_counter()
        await store.admit(take)
        admissions_us.append((time.perf_counter() - between) * 1e6)
        trips_us.append((between - before) * 1e6)
    limit = Limit("round trip of the same script, bare", _median(trips_us))
    return Figure("one admission alone, median", _median(admissions_us), "us", (ratio_at_most(2),), limit)


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


async def memory(defined: MemoryDefinitions, server: Redis, scratch: Path) -> list[Figure]:
    """What a live call occupies: in Redis (record, what has changed, lease, where it is found), and in our process."""
    store, taken = RedisStore(server.link), list(takes(defined, LIVE))
    before = await server.info("used_memory")
    await _admissions(store, taken)
    for start in range(0, LIVE, IN_FLIGHT):
        await store.extend([_saved(take) for take in taken[start : start + IN_FLIGHT]])
    in_redis = (await server.info("used_memory") - before) / LIVE
    observer = Counting()
    calls = control(defined, RedisStore(cast(Link, AnsweringLink())), observer, scratch)
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    await _live(calls, observer, LIVE)
    gc.collect()
    in_process = (tracemalloc.get_traced_memory()[0] - before) / LIVE
    tracemalloc.stop()
    return [
        Figure("Redis memory per live call", in_redis, "bytes", (at_most(2_000),)),
        Figure("memory of our process per live call", in_process, "bytes", (at_most(4_000),)),
    ]


def _saved(take: Take) -> Extension:
    """As call control saves a call that was answered."""
    answered = replace(take.session, version=1, state=State.ANSWERED, answered=take.session.setup)
    return Extension(answered, tuple(0 for _ in take.levels), take.lease_until_ms)


async def _live(calls: CallControl, observer: Counting, count: int) -> list[Any]:
    """So many admitted calls."""
    clock, callers = SystemClock(), Callers(seed=time.time_ns())
    begun = observer.allowed
    offers = []
    for start in range(0, count, IN_FLIGHT):
        some = callers.offers(min(IN_FLIGHT, count - start), clock)
        for offered in some:
            calls.receive(offered)
        offers += [offered.call for offered in some]
        await observer.until(begun + len(offers))
    return offers


async def rechecks(defined: MemoryDefinitions, server: Redis, scratch: Path) -> list[Figure]:
    """Live calls that ask for their next slice, all within a moment: the CPU that each costs, here and in Redis."""
    observer = Counting()
    calls = control(defined, RedisStore(server.link), observer, scratch)
    keys = await _live(calls, observer, RECHECKED)
    now = SystemClock().now()
    for call in keys:
        calls.receive(Answered(call, now))
    await calls.performer.drain()
    ours, theirs = [], []
    for _ in range(ROUNDS):
        redis_before, before = await server.cpu_s(), time.process_time()
        for start in range(0, RECHECKED, IN_FLIGHT):
            *others, last = keys[start : start + IN_FLIGHT]
            for call in others:
                calls.receive(DeadlineReached(call, Deadline.EXTEND))
            await calls.report(ExtendAsked(last))  # the last to be answered; to wait for each would be measured, too
        ours.append((time.process_time() - before) / RECHECKED)
        theirs.append((await server.cpu_s() - redis_before) / RECHECKED)
    assert (await calls.find(keys[0])).state is State.ANSWERED
    share = RECHECKS_PER_S * 100
    name = "100,000 live calls re-checked once a minute"
    return [
        Figure(f"{name}: Redis", best(theirs) * share, "% CPU", (at_most(3),)),
        Figure(f"{name}: callctl", best(ours) * share, "% CPU", (at_most(3),)),
    ]


async def at_rest(server: Redis) -> list[Figure]:
    """Customers without a reseller who do nothing: what it costs to ask whether they have something."""
    roots = [f"at-rest-{number:05}" for number in range(CUSTOMERS)]
    for start in range(0, CUSTOMERS, IN_FLIGHT):  # each has called once
        some = roots[start : start + IN_FLIGHT]
        await asyncio.gather(*(server.link.call("XADD", keys.outbox(root), "MAXLEN", 0, "*", "", "") for root in some))
    feeds, store = RedisFeeds(server.link), RedisStore(server.link)
    ours, theirs = [], []
    for _ in range(ROUNDS):
        here = there = 0.0
        for ask, per_s in ((feeds.filled(roots), SCANS_PER_S), (store.lapsed(roots, 0, 1), SWEEPS_PER_S)):
            redis_before, before = await server.cpu_s(), time.process_time()
            assert not await ask
            here += (time.process_time() - before) * per_s
            there += (await server.cpu_s() - redis_before) * per_s
        ours.append(here)
        theirs.append(there)
    name = f"{CUSTOMERS:,} direct customers at rest"
    return [
        Figure(f"{name}: Redis", best(theirs) * 100, "% CPU", (at_most(2),)),
        Figure(f"{name}: callctl", best(ours) * 100, "% CPU", (at_most(2),)),
    ]
