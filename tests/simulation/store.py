"""The memory store behind a bad line: requests fail before or after they are done, or are done long after that."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from random import Random
from typing import Any, Protocol, TypeVar

from callctl.call.events import CallKey, Taken, TakeRefused
from callctl.call.session import Session
from callctl.call.takes import Extension, LedgerEntry, Settlement, Take, TopUp
from callctl.errors import CallctlError, SinkUnavailable, StoreUnavailable
from callctl.limits.concurrency import Slot
from callctl.ports import Existing, ExtendAnswer, FeedPage, FeedRecord, Hear
from callctl.promise import Promise
from callctl.store.memory.feeds import MemoryFeeds
from callctl.store.memory.store import MemoryStore
from callctl.store.provider import MemoryProviderChannels
from tests.simulation.clock import VirtualLoop
from tests.simulation.faults import Faults
from tests.simulation.story import Story

DEADLINE_MS = 500  # how long a request to the store is waited for
T = TypeVar("T")


def at_once(work: Coroutine[Any, Any, T]) -> T:
    """The answer of a coroutine that never waits."""
    try:
        work.send(None)
    except StopIteration as done:
        answer: T = done.value
        return answer
    raise AssertionError("it waits")


def _promised(work: Coroutine[Any, Any, T]) -> Promise[T]:
    """Kept by a task of who asks, and with its life it ends."""
    promise: Promise[T] = Promise()

    async def keep() -> None:
        try:
            kept: T | Exception = await work
        except CallctlError as error:
            kept = error
        promise.keep(kept)

    asyncio.get_running_loop().create_task(keep())
    return promise


class Witness(Protocol):
    """Who sees each write at the moment in which it is done."""

    def wrote(self, request: Take | Extension | Settlement, answer: object) -> None: ...


class FaultyStore:
    """`Takes` and `Sessions`. A write happens at one moment of its own, whatever its caller gets to know of it."""

    def __init__(
        self, store: MemoryStore, loop: VirtualLoop, rng: Random, faults: Faults, story: Story, witness: Witness
    ) -> None:
        self.inner = store
        self.channels = FaultyChannels(self, rng, faults)
        self.away = False
        self.healed = False
        self.kills: Callable[[], None] = lambda: None
        self._loop = loop
        self._rng = rng
        self._faults = faults
        self._story = story
        self._witness = witness

    # ---- Takes

    def admit(self, take: Take) -> Promise[Taken | TakeRefused | Existing]:
        return _promised(self._write("admit", take, self.inner.admit))

    async def extend(self, extensions: Sequence[Extension]) -> list[ExtendAnswer]:
        one_by_one = (self._write("extend", extension, self._extend) for extension in extensions)
        return await asyncio.gather(*one_by_one, return_exceptions=True)

    async def _extend(self, extension: Extension) -> ExtendAnswer:
        (answer,) = await self.inner.extend([extension])
        if isinstance(answer, Exception):
            raise answer
        return answer

    def settle(self, settlement: Settlement) -> Promise[Existing | None]:
        return _promised(self._write("settle", settlement, self.inner.settle))

    async def top_up(self, top_up: TopUp) -> LedgerEntry:
        return await self.inner.top_up(top_up)

    # ---- Sessions

    async def find(self, call: CallKey) -> Session | None:
        return await self._asked(lambda: at_once(self.inner.find(call)))

    async def by_trace(self, trace_id: str) -> Session | None:
        return await self._asked(lambda: at_once(self.inner.by_trace(trace_id)))

    async def listed(self, roots: Sequence[str]) -> list[tuple[str, str]]:
        return await self._asked(lambda: at_once(self.inner.listed(roots)))

    async def read(self, calls: Sequence[tuple[str, str]]) -> list[Session]:
        return await self._asked(lambda: at_once(self.inner.read(calls)))

    async def lapsed(self, roots: Sequence[str], now_ms: int, limit: int) -> list[Session]:
        return await self._asked(lambda: at_once(self.inner.lapsed(roots, now_ms, limit)))

    # ---- the line

    async def _write(self, verb: str, request: Any, method: Any) -> Any:
        def done() -> Any:
            answer = at_once(method(request))
            name = "nothing" if answer is None else type(answer).__name__
            self._story.tell(f"store: {verb}", request.session.call, f"v{request.session.version}", "->", name)
            self._witness.wrote(request, answer)
            if not self.healed and self._rng.random() < self._faults.kill_on_write:
                self.kills()
            return answer

        return await self._asked(done)

    async def _asked(self, do: Any) -> Any:
        reply: asyncio.Future[Any] = self._loop.create_future()
        done_after_ms, told = self._fate()

        def arrive() -> None:
            try:
                answer, error = do(), None
            except CallctlError as failed:
                answer, error = None, failed
            if told:
                self._loop.after_ms(self._rng.randint(0, 3), _tell, reply, answer, error)

        if done_after_ms is not None:
            self._loop.after_ms(done_after_ms, arrive)
        await asyncio.wait({reply}, timeout=DEADLINE_MS / 1000)
        if not reply.done():
            reply.cancel()
            raise StoreUnavailable("no answer in time")
        return reply.result()

    def _fate(self) -> tuple[int | None, bool]:
        """After how many ms it is done, if ever, and whether its caller hears of it."""
        rng, faults = self._rng, self._faults
        if self.healed:
            return 1, True
        if self.away:
            return None, False
        if rng.random() < faults.store_late:
            return rng.randint(DEADLINE_MS, 6_000), False
        if rng.random() < faults.store_failing:
            return (None, False) if rng.random() < 0.5 else (rng.randint(0, 5), False)
        if rng.random() < faults.store_slow:
            return rng.randint(5, 2 * DEADLINE_MS), True
        return rng.randint(0, 3), True


class FaultyChannels:
    """`ProviderChannels` on the same bad line. What nobody waits for may get lost, too."""

    def __init__(self, store: FaultyStore, rng: Random, faults: Faults) -> None:
        self.inner = MemoryProviderChannels()
        self._store = store
        self._rng = rng
        self._faults = faults

    async def take(self, slots: Sequence[Slot], *asked: Any, **how: bool) -> Sequence[int]:
        return await self._store._asked(lambda: at_once(self.inner.take(slots, *asked, **how)))

    def renew(self, slots: Sequence[Slot], call: str, until_ms: int) -> None:
        lost = self._store.away or self._rng.random() < self._faults.store_failing
        if self._store.healed or not lost:
            self.inner.renew(slots, call, until_ms)

    async def give_back(self, slots: Sequence[Slot], call: str) -> None:
        await self._store._asked(lambda: at_once(self.inner.give_back(slots, call)))


def _tell(reply: "asyncio.Future[Any]", answer: Any, error: Exception | None) -> None:
    if reply.done():
        return
    if error is None:
        reply.set_result(answer)
    else:
        reply.set_exception(error)


class FaultyFeeds:
    """`Feeds`: as the store, it fails before or after it has done what was asked."""

    def __init__(self, feeds: MemoryFeeds, store: FaultyStore, rng: Random, faults: Faults) -> None:
        self._feeds = feeds
        self._store = store
        self._rng = rng
        self._faults = faults

    async def _perhaps(self, work: Coroutine[Any, Any, T]) -> T:
        bad = not self._store.healed and self._rng.random() < self._faults.store_failing
        if (bad and self._rng.random() < 0.5) or self._store.away:
            work.close()
            raise StoreUnavailable("not done")
        answer = await work
        await asyncio.sleep(0.001)
        if bad:
            raise StoreUnavailable("done, but nobody heard")
        return answer

    async def filled(self, roots: Sequence[str]) -> list[str]:
        return await self._perhaps(self._feeds.filled(roots))

    async def move(self, feed: str, roots: Sequence[str], limit: int, before: Hear | None = None) -> int:
        return await self._perhaps(self._feeds.move(feed, roots, limit, before))

    async def pending(self, feed: str, after: int, limit: int) -> list[FeedRecord]:
        return await self._perhaps(self._feeds.pending(feed, after, limit))

    async def accepted(self, feed: str, sequence: int) -> None:
        await self._perhaps(self._feeds.accepted(feed, sequence))

    async def depth(self, feed: str, roots: Sequence[str]) -> tuple[int, int | None]:
        return await self._feeds.depth(feed, roots)

    async def trim(self, roots: Sequence[str], feeds: Sequence[str]) -> None:
        await self._perhaps(self._feeds.trim(roots, feeds))

    async def page(self, *asked: Any) -> FeedPage:
        return await self._feeds.page(*asked)


class Archive:
    """A `CdrSink` that keeps what it got; it fails before or after it has kept it."""

    name = "billing"

    def __init__(self, rng: Random, faults: Faults) -> None:
        self.records: list[FeedRecord] = []
        self.healed = False
        self._rng = rng
        self._faults = faults

    async def deliver(self, records: Sequence[FeedRecord]) -> None:
        bad = not self.healed and self._rng.random() < self._faults.sink_failing
        if bad and self._rng.random() < 0.5:
            raise SinkUnavailable("nothing was accepted")
        self.records += records
        await asyncio.sleep(0.002)
        if bad:
            raise SinkUnavailable("accepted, but nobody heard")

    async def close(self) -> None:
        """Nothing is open."""
