"""The deliverer: every sink gets every record in order, and none waits for another."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from callctl.call.takes import Record
from callctl.clock import Instant, SystemClock
from callctl.control import outbox as deliverer
from callctl.control.outbox import Outbox
from callctl.errors import SinkUnavailable, StoreUnavailable
from callctl.ports import CdrSink, FeedRecord
from callctl.sinks.broker import Broker
from callctl.sinks.file import FileSink
from callctl.sinks.lines import JsonLines
from callctl.sinks.mqtt import MqttSink
from callctl.store import keys
from callctl.store.feeds import RedisFeeds
from callctl.store.link import Link
from callctl.store.memory.feeds import MemoryFeeds
from callctl.store.memory.feeds import Outbox as WrittenRecords
from tests.contract.feed import START
from tests.contract.subscriber import LastingMosquitto, Subscriber
from tests.waiting import until


class ManualClock:
    """Time passes when the test says so."""

    def __init__(self) -> None:
        self.instant = START
        self.sleepers: list[tuple[int, asyncio.Future[None]]] = []

    def now(self) -> Instant:
        return self.instant

    async def sleep_ms(self, ms: int) -> None:
        future = asyncio.get_running_loop().create_future()
        self.sleepers.append((self.instant.monotonic_ms + ms, future))
        await future

    def pass_ms(self, ms: int) -> None:
        self.instant = self.instant.plus_ms(ms)
        due = [future for at, future in self.sleepers if at <= self.instant.monotonic_ms]
        self.sleepers = [sleeper for sleeper in self.sleepers if sleeper[1] not in due]
        for future in due:
            if not future.done():
                future.set_result(None)


class ScriptedSink:
    """Takes what it is given, or raises `trouble`; `gate` closed: does not answer."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.batches: list[list[int]] = []
        self.trouble: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.tries = 0
        self.closed = False

    async def deliver(self, records: Sequence[FeedRecord]) -> None:
        self.tries += 1
        await self.gate.wait()
        if self.trouble is not None:
            raise self.trouble
        if records:
            self.batches.append([record.sequence for record in records])

    async def close(self) -> None:
        self.closed = True
        if self.trouble is not None:
            raise self.trouble

    @property
    def taken(self) -> list[int]:
        return [sequence for batch in self.batches for sequence in batch]


class House:
    """An outbox over feeds in memory, with two sinks and the archive."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.written: dict[str, WrittenRecords] = {}
        self.feeds = MemoryFeeds(self.written)
        self.good, self.bad = ScriptedSink("good"), ScriptedSink("bad")
        self.roots = ["", "acme", "globex"]
        self.outbox = self.make([self.good, self.bad])
        self.tasks: list[asyncio.Task[None]] = []

    def make(self, sinks: Sequence[CdrSink]) -> Outbox:
        return Outbox(feeds=self.feeds, sinks=sinks, archives=["api"], roots=lambda: self.roots, clock=self.clock)

    def write(self, root: str, count: int = 1, *, wake: bool = True) -> None:
        of = self.written.setdefault(root, WrittenRecords())
        for _ in range(count):
            of.add(Record(root, b'{"id":"x"}'), self.clock.now().wall_ms)
        if wake:
            self.outbox.wake(root)

    async def start(self) -> None:
        self.tasks.append(asyncio.create_task(self.outbox.run()))
        await until(lambda: self.good.tries and self.bad.tries)

    async def stop(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def archived(self) -> list[int]:
        return [record.sequence for record in await self.feeds.pending("api", 0, 10_000)]


@pytest.fixture
async def house() -> AsyncIterator[House]:
    house = House()
    yield house
    await house.stop()


@pytest.fixture
async def running(house: House) -> House:
    await house.start()
    return house


def state(house: House, name: str) -> tuple[bool, str]:
    (found,) = [state for state in house.outbox.states() if state.name == name]
    return found.up, found.detail


async def test_a_settled_call_is_delivered_at_once(running: House) -> None:
    running.write("acme")
    await until(lambda: running.good.taken == running.bad.taken == [1])
    await until(lambda: state(running, "good") == (True, ""))
    assert await running.archived() == [1]
    assert await running.feeds.pending("good", 0, 10) == []


async def test_what_no_one_told_of_is_found_by_the_scan(running: House) -> None:
    """Another process has written it."""
    running.write("globex", wake=False)
    running.write("", wake=False)  # an attempt of nobody that we know
    running.clock.pass_ms(deliverer.SCAN_MS)
    await until(lambda: running.good.taken == [1, 2])


async def test_only_outboxes_that_have_something_are_gone_through(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There may be tens of thousands."""
    house.roots = [f"root-{i}" for i in range(5_000)]
    gone_through: list[str] = []
    move, trim = house.feeds.move, house.feeds.trim

    async def moved(feed: str, roots: Sequence[str], *rest: Any) -> int:
        gone_through.extend(roots)
        return await move(feed, roots, *rest)

    async def trimmed(roots: Sequence[str], feeds: Sequence[str]) -> None:
        gone_through.extend(roots)
        await trim(roots, feeds)

    monkeypatch.setattr(house.feeds, "move", moved)
    monkeypatch.setattr(house.feeds, "trim", trimmed)
    await house.start()
    house.write("root-4321", wake=False)
    house.clock.pass_ms(deliverer.SCAN_MS)
    await until(lambda: house.good.taken == house.bad.taken == [1])
    house.clock.pass_ms(deliverer.TRIM_MS)
    await until(lambda: house.written["root-4321"].entries == [])
    assert set(gone_through) == {"root-4321"}


async def test_a_scan_that_fails_is_made_again(running: House, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(_roots: object) -> list[str]:
        failed.set()
        raise StoreUnavailable("away")

    failed = asyncio.Event()
    running.write("globex", wake=False)
    with monkeypatch.context() as patch:
        patch.setattr(running.feeds, "filled", away)
        running.clock.pass_ms(deliverer.SCAN_MS)
        await failed.wait()
    running.clock.pass_ms(deliverer.SCAN_MS)
    await until(lambda: running.good.taken == [1])


async def test_an_account_made_later_is_scanned(running: House) -> None:
    running.roots.append("initech")
    running.write("initech", wake=False)
    running.clock.pass_ms(deliverer.SCAN_MS)
    await until(lambda: running.good.taken == [1])


async def test_more_than_a_batch_and_more_than_one_reach_of_outboxes(house: House) -> None:
    house.roots = [f"root-{i}" for i in range(150)]
    for root in house.roots:
        house.write(root, count=7, wake=False)
    await house.start()
    await until(lambda: len(house.good.taken) == len(house.bad.taken) == 1050)
    assert house.good.taken == list(range(1, 1051))
    assert max(map(len, house.good.batches)) <= deliverer.BATCH
    assert await house.archived() == list(range(1, 1051))


async def test_a_dead_sink_delays_no_other(running: House) -> None:
    running.bad.trouble = SinkUnavailable("no broker")
    for _ in range(3):
        running.write("acme")
    await until(lambda: running.good.taken == [1, 2, 3])
    await until(lambda: state(running, "bad") == (False, "no broker"))
    assert state(running, "good") == (True, "")
    running.bad.trouble = None
    running.clock.pass_ms(deliverer.BACK_OFF_MAX_MS)
    await until(lambda: running.bad.taken == [1, 2, 3])
    await until(lambda: state(running, "bad") == (True, ""))


async def test_a_sink_that_does_not_answer_delays_no_other_and_is_seen(running: House) -> None:
    running.bad.gate.clear()
    running.write("acme")
    await until(lambda: running.good.taken == [1])
    running.write("acme")
    await until(lambda: running.good.taken == [1, 2])
    running.clock.pass_ms(deliverer.STUCK_MS - 1)
    assert state(running, "bad") == (True, "")
    running.clock.pass_ms(1)
    assert state(running, "bad") == (False, "does not answer a delivery")
    running.bad.gate.set()
    await until(lambda: running.bad.taken == [1, 2])
    assert state(running, "bad") == (True, "")


async def test_a_dead_sink_is_tried_less_and_less(running: House) -> None:
    running.bad.trouble = SinkUnavailable("no broker")
    running.write("acme")
    await until(lambda: state(running, "bad") == (False, "no broker"))
    waits = []
    for _ in range(8):
        tries, waited = running.bad.tries, 0
        while running.bad.tries == tries:
            running.clock.pass_ms(100)
            waited += 100
            for _ in range(20):
                await asyncio.sleep(0)
        waits.append(waited)
    assert waits == [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]


async def test_a_settled_call_does_not_shorten_the_back_off(running: House) -> None:
    running.bad.trouble = SinkUnavailable("no broker")
    running.write("acme")
    await until(lambda: not state(running, "bad")[0])
    tries = running.bad.tries
    running.write("acme")
    await until(lambda: running.good.taken == [1, 2])
    assert running.bad.tries == tries


async def test_down_since_the_first_failure(running: House) -> None:
    running.bad.trouble = SinkUnavailable("no broker")
    running.write("acme")
    await until(lambda: not state(running, "bad")[0])
    since_ms = running.clock.now().wall_ms
    running.bad.trouble = SinkUnavailable("wrong password")
    running.clock.pass_ms(deliverer.BACK_OFF_MS)
    await until(lambda: state(running, "bad") == (False, "wrong password"))
    assert [s.since_ms for s in running.outbox.states() if s.name == "bad"] == [since_ms]


async def test_a_sink_that_breaks_is_down_and_comes_back(running: House) -> None:
    running.bad.trouble = ValueError("surprise")
    running.write("acme")
    await until(lambda: state(running, "bad") == (False, "ValueError: surprise"))
    running.bad.trouble = None
    running.clock.pass_ms(deliverer.BACK_OFF_MAX_MS)
    await until(lambda: running.bad.taken == [1])


async def test_an_idle_sink_keeps_house(running: House) -> None:
    tries = running.good.tries
    running.clock.pass_ms(deliverer.POLL_MS)
    await until(lambda: running.good.tries > tries)
    assert running.good.batches == []


@pytest.mark.parametrize("method", ["move", "pending", "accepted"])
async def test_a_store_that_fails_loses_nothing(running: House, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    async def fail(*_arguments: object) -> int:
        failures.append(method)
        raise StoreUnavailable("gone")

    failures: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(running.feeds, method, fail)
        running.write("acme", count=3)
        await until(lambda: failures)
    for _ in range(20):
        running.clock.pass_ms(deliverer.BACK_OFF_MAX_MS)
        await asyncio.sleep(0)
    await until(lambda: list(dict.fromkeys(running.good.taken)) == [1, 2, 3])
    await until(lambda: list(dict.fromkeys(running.bad.taken)) == [1, 2, 3])
    assert state(running, "good") == (True, "")


async def test_what_all_feeds_have_is_trimmed(running: House) -> None:
    running.bad.trouble = SinkUnavailable("no broker")
    running.write("acme", count=3)
    await until(lambda: running.good.taken == [1, 2, 3])
    await until(lambda: running.bad.tries > 1)
    running.clock.pass_ms(deliverer.TRIM_MS)
    await until(lambda: running.written["acme"].entries == [])


async def test_the_end_closes_every_sink(running: House) -> None:
    running.bad.trouble = SinkUnavailable("no broker")
    await running.stop()
    assert running.good.closed
    assert running.bad.closed


async def test_a_restart_goes_on_where_it_was(running: House) -> None:
    running.write("acme", count=3)
    await until(lambda: running.good.taken == [1, 2, 3])
    await running.stop()
    running.outbox = running.make([running.good, running.bad])
    running.write("acme")
    running.tasks = [asyncio.create_task(running.outbox.run())]
    await until(lambda: running.good.taken == [1, 2, 3, 4])


@pytest.mark.usefixtures("mosquitto")  # skipped where there is none
async def test_the_real_ones_together(link: Link, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Redis, files and MQTT. The broker is dead at first; the files do not wait, and it misses nothing."""
    clock = SystemClock()
    files = FileSink("files", tmp_path, JsonLines(), rotate_bytes=10**6, rotate_ms=10**6, clock=clock)
    broker = LastingMosquitto(tmp_path_factory.mktemp("broker"))
    broker.start()
    subscriber = Subscriber(broker.port, "cdrs")
    listening = asyncio.create_task(subscriber.run())
    await subscriber.listening.wait()
    messages = MqttSink("messages", Broker("127.0.0.1", broker.port, "callctl"), topic_prefix="cdrs")
    outbox = Outbox(
        feeds=RedisFeeds(link), sinks=[files, messages], archives=["api"], roots=lambda: ["acme"], clock=clock
    )

    async def write(n: int) -> None:
        fields = ("account", "acme", "payload", json.dumps({"id": f"c{n}"}))
        await link.call("XADD", keys.outbox("acme"), f"{n}-0", *fields)
        outbox.wake("acme")

    def in_files() -> list[int]:
        text = "".join(path.read_text() for path in sorted(tmp_path.glob("files-*")))
        whole, _, _ = text.rpartition("\n")  # a line may be half there
        return [json.loads(line)["sequence"] for line in whole.splitlines()]

    broker.stop()
    running = asyncio.create_task(outbox.run())
    try:
        for n in range(1, 301):
            await write(n)
        await until(lambda: in_files() == list(range(1, 301)))
        await until(lambda: any(not s.up and s.detail != "not tried yet" for s in outbox.states()))
        broker.start()
        await until(lambda: list(dict.fromkeys(subscriber.sequences)) == list(range(1, 301)))
        await until(lambda: all(state.up for state in outbox.states()))
    finally:
        running.cancel()
        listening.cancel()
        await asyncio.gather(running, listening, return_exceptions=True)
        broker.kill()
    assert in_files() == list(range(1, 301))
