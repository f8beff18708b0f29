"""Events against a real mosquitto: bounded, in order, over a broker that is away, slow or strict."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import structlog
from msgspec.structs import replace

from callctl.call import news
from callctl.call.events import CallKey
from callctl.call.news import Kind
from callctl.call.session import Session, State
from callctl.call.takes import Settlement
from callctl.clock import Instant, SystemClock
from callctl.rating.tariff import Direction
from callctl.sinks import events as module
from callctl.sinks.broker import Broker
from callctl.sinks.events import Events
from tests.contract.subscriber import GuardedMosquitto, LastingMosquitto, Subscriber
from tests.servers import Mosquitto
from tests.waiting import PATIENCE_S, until


def session(call_id: str, account: str = "acme", **fields: Any) -> Session:
    seen = Instant(1_795_255_200_000, 5_000)
    known = {"direction": Direction.OUTBOUND, "a_number": "+31201234567", "b_number": "+31612345678", **fields}
    return Session(
        CallKey("http", call_id), "00", State.ADMITTED, seen, root=account, account=account, levels=(), **known
    )


def admit(events: Events, first: int, last: int, account: str = "acme") -> None:
    for number in range(first, last + 1):
        events.decided(session(f"c{number}", account), 0.001)


class Ear(Subscriber):
    """Whoever listens to the events."""

    def topics(self) -> list[str]:
        return [topic for topic, _, _ in self.heard]

    def calls(self) -> list[int]:
        """In the order in which they came first."""
        told = [int(json.loads(payload)["call_id"][1:]) for _, payload, _ in self.heard]
        return list(dict.fromkeys(told))


@pytest.fixture
async def stage(mosquitto: Mosquitto) -> AsyncIterator[Callable[..., Any]]:
    """Events that run, to a broker that is heard."""
    tasks: list[asyncio.Task[None]] = []

    async def begin(
        prefix: str, broker: Mosquitto = mosquitto, kinds: tuple[str, ...] = tuple(Kind)
    ) -> tuple[Events, Ear]:
        ear = Ear(broker.port, prefix)
        tasks.append(asyncio.create_task(ear.run()))
        await ear.listening.wait()
        to = Broker("127.0.0.1", broker.port, f"callctl-{prefix}")
        events = Events("broker", to, topic_prefix=prefix, kinds=kinds, clock=SystemClock())
        tasks.append(asyncio.create_task(events.run()))
        await until(lambda: events.state().up)
        return events, ear

    yield begin
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_what_happened_before_there_was_a_connection_is_told_in_order(stage) -> None:
    events, ear = await stage("e1")
    admit(events, 1, 500)
    await until(lambda: ear.calls() == list(range(1, 501)))
    await until(lambda: events.counts.published == 500)
    assert events.counts.dropped == 0


@pytest.mark.parametrize("account", ["a/b", "+", "#", "a/#", "$SYS", "\x00", "Zoë", "%2F", "../..", "a b\r\n", ""])
async def test_no_account_id_leaves_its_level(stage, account: str) -> None:
    events, ear = await stage("e2")
    admit(events, 1, 1, account)
    await until(lambda: ear.calls() == [1])
    (topic,) = ear.topics()
    assert topic.startswith("e2/event/admitted/")
    assert topic.count("/") == 3


async def test_nothing_is_made_of_what_nobody_wants(stage, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    monkeypatch.setattr(news, "admitted", lambda it: made.append(it.account))
    events, ear = await stage("e3", kinds=(Kind.EMERGENCY_CALL,))
    admit(events, 1, 3)
    events.decided(session("c4", emergency=True), 0.001)
    await until(lambda: ear.calls() == [4])
    assert made == []
    assert ear.topics() == ["e3/event/emergency_call/acme"]


async def test_the_oldest_is_dropped_and_counted_where_too_many_wait(
    stage, mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_WAITING", 100)
    events, ear = await stage("e4")
    mosquitto.kill()
    try:
        await until(lambda: not events.state().up)
        admit(events, 1, 250)
        assert events.counts.dropped == 150
    finally:
        mosquitto.start()
    await until(lambda: ear.listening.is_set() and ear.calls() == list(range(151, 251)))
    await until(lambda: events.counts.published == 100)


async def test_a_broker_that_restarts_in_the_middle_leaves_no_gap(stage, tmp_path: Path) -> None:
    """What was on its way comes again."""
    broker = LastingMosquitto(tmp_path)
    broker.start()
    try:
        events, ear = await stage("e5", broker)
        admit(events, 1, 2_000)
        await until(lambda: len(ear.calls()) > 300)
        broker.stop()
        await until(lambda: not ear.listening.is_set())
        admit(events, 2_001, 2_500)
        broker.start()
        await until(lambda: len(ear.calls()) == 2_500)
        assert ear.calls() == list(range(1, 2_501))
    finally:
        broker.kill()


async def test_a_broker_that_hangs_delays_nothing_and_hears_all_of_it_later(
    stage, mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("callctl.sinks.broker.ANSWER_S", 0.3)
    events, ear = await stage("e6")
    mosquitto.freeze()
    try:
        admit(events, 1, 200)  # returns at once
        await until(lambda: not events.state().up)
        assert "timed out" in events.state().detail
        admit(events, 201, 300)
    finally:
        monkeypatch.undo()  # a busy machine may need more time than that
        mosquitto.resume()
    await until(lambda: ear.calls() == list(range(1, 301)))
    await until(lambda: events.state().up)


async def test_it_ends_also_when_the_broker_goes_at_the_same_moment(mosquitto: Mosquitto) -> None:
    for turns in range(12):
        to = Broker("127.0.0.1", mosquitto.port, "e10")
        events = Events("broker", to, topic_prefix="e10", kinds=tuple(Kind), clock=SystemClock())
        running = asyncio.create_task(events.run())
        await until(lambda events=events: events.state().up)
        admit(events, 1, turns)
        mosquitto.kill()
        try:
            for _ in range(turns):
                await asyncio.sleep(0)
            running.cancel()
            await asyncio.wait_for(asyncio.wait({running}), PATIENCE_S)
        finally:
            mosquitto.start()
        assert running.cancelled()


async def test_our_own_mistake_costs_one_event_and_is_in_the_log(stage, monkeypatch: pytest.MonkeyPatch) -> None:
    events, ear = await stage("e7")
    with structlog.testing.capture_logs() as logs:
        events.decided(session("c1", a_number="\ud800"), 0.001)  # no text that JSON could have
        admit(events, 2, 4)
        await until(lambda: ear.calls() == [2, 3, 4])
    assert [line["sink"] for line in logs if line["event"] == "events_broken"] == ["broker"]


async def test_a_correction_and_a_refusal_are_no_ends(stage) -> None:
    events, ear = await stage("e8")
    events.settled(Settlement(replace(session("c1"), state=State.ENDED, corrections=1), (), ()))
    events.settled(Settlement(replace(session("c2"), state=State.REFUSED), (), ()))
    admit(events, 3, 3)
    await until(lambda: ear.calls() == [3])
    assert ear.topics() == ["e8/event/admitted/acme"]


async def test_with_password_and_tls(tmp_path: Path, mosquitto: Mosquitto) -> None:
    broker = GuardedMosquitto(tmp_path)
    broker.start()
    try:
        tls = ssl.create_default_context(cafile=broker.certificate)
        for password, detail in (("open-sesame", ""), ("hush", "uthori")):
            to = Broker("127.0.0.1", broker.port, "e9", "callctl", password, tls)
            events = Events("broker", to, topic_prefix="e9", kinds=tuple(Kind), clock=SystemClock())
            with structlog.testing.capture_logs() as logs:
                running = asyncio.create_task(events.run())
                admit(events, 1, 1)
                await until(lambda events=events: events.counts.published or "not tried" not in events.state().detail)
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
            assert detail in events.state().detail
            assert bool(detail) is not events.state().up
            assert "hush" not in f"{logs}{events.state()}"
    finally:
        broker.kill()
