"""What one decision costs in our own Python, and what a deck costs: to compile, to look up in, to replace."""

import asyncio
import time
from pathlib import Path
from typing import Any, cast

from bench.figures import Figure, at_least, at_most, best, percentile
from bench.provider import ROWS, Callers, Counting, control, rows
from callctl.clock import SystemClock
from callctl.numbering import Number, NumberType
from callctl.rating.match import Deck
from callctl.rating.tariff import Direction
from callctl.store.link import Argument, Link, LinkTimes, Reply, Then, pack
from callctl.store.memory.definitions import MemoryDefinitions
from callctl.store.redis import RedisStore

ROUNDS = 60
DECISIONS = 512  # of a round: the shorter, the likelier that nobody disturbs one of them
IN_FLIGHT = 128
LOOKUPS = 100_000
ADMITTED = b"T 0 9000000 0 1 1"  # what admit.lua says of an account with two counters
BEAT_MS = 1


class AnsweringLink:
    """A link to a Redis that takes no time: every script is answered at once. What is sent is packed all the same."""

    times = LinkTimes()

    def __init__(self) -> None:
        self._answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._answer.set_result(ADMITTED)

    def post(self, *command: Argument) -> None:
        pack(command)

    def ask(self, command: tuple[Argument, ...], then: Then) -> None:
        pack(command)
        then(ADMITTED)

    def call(self, *command: Argument, timeout_ms: int | None = None) -> "asyncio.Future[Reply]":
        pack(command)
        return self._answer


async def decision(defined: MemoryDefinitions, scratch: Path) -> list[Figure]:
    """From the offered call to the verdict: facts, checks, trace, the take's arguments, its answer."""
    clock, callers = SystemClock(), Callers()
    rounds: list[float] = []
    for _ in range(ROUNDS):
        observer = Counting()
        calls = control(defined, RedisStore(cast(Link, AnsweringLink())), observer, scratch)
        offers = callers.offers(DECISIONS, clock)
        before = time.process_time()
        for start in range(0, DECISIONS, IN_FLIGHT):
            for offered in offers[start : start + IN_FLIGHT]:
                calls.receive(offered)
            await observer.until(min(start + IN_FLIGHT, DECISIONS))
        rounds.append((time.process_time() - before) / DECISIONS)
    cpu_s = best(rounds)
    return [
        Figure("a whole decision, our own Python", cpu_s * 1e6, "us CPU", (at_most(60),)),
        Figure("decisions per process, Redis aside", 1 / cpu_s, "/s", (at_least(10_000),)),
    ]


def lookup(deck: Deck) -> Figure:
    """The longest prefix of numbers all over the deck."""
    numbers = [_number(row.prefix, n) for n, row in enumerate(rows(ROWS)) if row.prefix][: LOOKUPS * 2 : 2]
    now_ms, find = SystemClock().now().wall_ms, deck.find
    rounds = []
    for _ in range(5):
        before = time.process_time()
        for number in numbers:
            find(number, now_ms, Direction.OUTBOUND)
        rounds.append((time.process_time() - before) / len(numbers))
    return Figure(f"longest prefix in {ROWS:,} rows", best(rounds) * 1e6, "us", (at_most(2),))


def _number(prefix: str, n: int) -> Number:
    digits = (prefix + f"{n:09}")[:12]
    return Number(f"+{digits}", digits, "", prefix[:1], NumberType.MOB)


async def swap(defined: MemoryDefinitions) -> list[Figure]:
    """A deck of 200,000 rows compiled and put in the place of the old one, while a heart beats beside it."""
    deck = rows(ROWS)
    lags_ms: list[float] = []
    heart = asyncio.create_task(_beat(lags_ms))
    await asyncio.sleep(0.2)  # how long the loop is watched while it has nothing to do
    quiet_ms = max(lags_ms)
    lags_ms.clear()
    before = time.perf_counter()
    await defined.put_rows("carrier", deck)
    took_s = time.perf_counter() - before
    heart.cancel()
    lags_ms.sort()
    return [
        Figure(f"deck of {len(deck):,} rows compiled and swapped", took_s, "s"),
        Figure("longest pause of the loop meanwhile", lags_ms[-1], "ms", (at_most(20),)),
        Figure("its pauses, 99th percentile", percentile(lags_ms, 99), "ms"),
        Figure("longest pause of the idle loop", quiet_ms, "ms"),
    ]


async def _beat(lags_ms: list[float]) -> Any:
    """How much later than asked for the loop came back, again and again."""
    while True:
        before = time.perf_counter()
        await asyncio.sleep(BEAT_MS / 1000)
        lags_ms.append((time.perf_counter() - before) * 1000 - BEAT_MS)
