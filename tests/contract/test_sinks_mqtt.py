"""The MQTT sink against a real mosquitto: acknowledged, in order, gap-free over a broker that dies."""

import asyncio
import json
import signal
import ssl
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from callctl.errors import SinkUnavailable
from callctl.sinks.broker import Broker
from callctl.sinks.mqtt import MqttSink
from tests.contract.feed import feed, feed_record
from tests.contract.subscriber import GuardedMosquitto, LastingMosquitto, Subscriber
from tests.servers import Mosquitto
from tests.waiting import until


@pytest.fixture
async def subscribe(mosquitto: Mosquitto) -> AsyncIterator[Callable[..., Subscriber]]:
    tasks: list[asyncio.Task[None]] = []

    async def begin(prefix: str, port: int = mosquitto.port) -> Subscriber:
        subscriber = Subscriber(port, prefix)
        tasks.append(asyncio.create_task(subscriber.run()))
        await subscriber.listening.wait()
        return subscriber

    yield begin
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
async def open_sink(mosquitto: Mosquitto) -> AsyncIterator[Callable[..., MqttSink]]:
    opened: list[MqttSink] = []

    def open_one(prefix: str, port: int = mosquitto.port) -> MqttSink:
        sink = MqttSink("events", Broker("127.0.0.1", port, f"callctl-{prefix}"), topic_prefix=prefix)
        opened.append(sink)
        return sink

    yield open_one
    for sink in opened:
        await sink.close()


async def test_every_record_goes_to_its_account(open_sink, subscribe) -> None:
    subscriber = await subscribe("t1")
    await open_sink("t1").deliver([feed_record(1, "acme"), feed_record(2, "reseller-1"), feed_record(3, "acme")])
    await until(lambda: len(subscriber.sequences) == 3)
    topics = [topic for topic, _, _ in subscriber.heard if "/cdr/" in topic]
    assert topics == ["t1/cdr/acme", "t1/cdr/reseller-1", "t1/cdr/acme"]


async def test_the_payload_is_the_record_with_its_id(open_sink, subscribe) -> None:
    subscriber = await subscribe("t2")
    await open_sink("t2").deliver([feed_record(7, charge="0.1450", chain=[["acme", "0.1450"]])])
    await until(lambda: subscriber.sequences)
    record = json.loads(next(payload for topic, payload, _ in subscriber.heard if "/cdr/" in topic))
    assert (record["sequence"], record["id"], record["charge"]) == (7, "http/c7:acme", "0.1450")
    assert "chain" not in record


async def test_a_batch_far_beyond_the_window_arrives_in_order(open_sink, subscribe) -> None:
    subscriber = await subscribe("t3")
    await open_sink("t3").deliver(feed(1, 500))
    await until(lambda: len(subscriber.sequences) == 500)
    assert subscriber.sequences == list(range(1, 501))


@pytest.mark.parametrize("account", ["a/b", "+", "#", "a/#", "$SYS", "\x00", "Zoë", "%2F", "../..", "a b\r\n", ""])
async def test_no_account_id_leaves_its_level(open_sink, subscribe, account: str) -> None:
    subscriber = await subscribe("t4")
    sink = open_sink("t4")
    await sink.deliver([feed_record(1, account)])
    await until(lambda: subscriber.sequences)
    (topic,) = [topic for topic, _, _ in subscriber.heard if "/cdr" in topic]
    assert topic.startswith("t4/cdr/")
    assert topic.count("/") == 2
    assert sink.topic_of("a/b") != sink.topic_of("a%2Fb")


async def test_the_status_is_retained(open_sink, subscribe) -> None:
    sink = open_sink("t5")
    await sink.deliver([])
    late = await subscribe("t5")
    await until(lambda: late.heard)
    assert late.heard == [("t5/status", b"online", True)]
    await sink.close()
    await until(lambda: late.statuses == [b"online", b"offline"])


KILLED = """
    import asyncio, sys
    from callctl.sinks.broker import Broker
    from callctl.sinks.mqtt import MqttSink

    async def main():
        sink = MqttSink("events", Broker("127.0.0.1", int(sys.argv[1]), "t6"), topic_prefix="t6")
        await sink.deliver([])
        print("online", flush=True)
        await asyncio.sleep(60)

    asyncio.run(main())
"""


async def test_a_killed_callctl_is_offline(mosquitto: Mosquitto, subscribe) -> None:
    subscriber = await subscribe("t6")
    command = [sys.executable, "-c", textwrap.dedent(KILLED), str(mosquitto.port)]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    await until(lambda: subscriber.statuses == [b"online"])
    process.send_signal(signal.SIGKILL)
    await process.wait()
    await until(lambda: subscriber.statuses == [b"online", b"offline"])


async def test_no_broker_is_an_unavailable_sink(open_sink, mosquitto: Mosquitto) -> None:
    mosquitto.stop()
    try:
        with pytest.raises(SinkUnavailable, match=f"127.0.0.1:{mosquitto.port}"):
            await open_sink("t7").deliver(feed(1, 1))
    finally:
        mosquitto.start()


async def test_an_idle_connection_that_is_lost_is_made_anew(open_sink, subscribe, mosquitto: Mosquitto) -> None:
    sink = open_sink("t8")
    await sink.deliver([])
    mosquitto.kill()
    await until(lambda: sink._lost is not None and sink._lost.done())
    with pytest.raises(SinkUnavailable):
        await sink.deliver([])
    mosquitto.start()
    subscriber = await subscribe("t8")
    await sink.deliver(feed(1, 1))
    await until(lambda: subscriber.sequences == [1])


@pytest.mark.usefixtures("mosquitto")  # skipped where there is none
async def test_a_broker_restarted_in_the_middle_leaves_no_gap(open_sink, subscribe, tmp_path: Path) -> None:
    """A batch is repeated until it is accepted: every record arrives, in order but for the repetitions."""
    broker = LastingMosquitto(tmp_path)
    broker.start()
    try:
        subscriber = await subscribe("t9", broker.port)
        sink = open_sink("t9", broker.port)
        refused = 0

        async def deliver_all() -> None:
            nonlocal refused
            for first in range(1, 2001, 100):
                while True:
                    try:
                        await sink.deliver(feed(first, first + 99))
                        break
                    except SinkUnavailable:
                        refused += 1
                        await asyncio.sleep(0.05)

        delivering = asyncio.create_task(deliver_all())
        for heard in (150, 700):
            await until(lambda heard=heard: len(subscriber.sequences) > heard)
            broker.stop()
            await until(lambda: not subscriber.listening.is_set())
            broker.start()
        await asyncio.wait_for(delivering, 60)
        await until(lambda: len(set(subscriber.sequences)) == 2000)
        assert refused >= 1
        assert list(dict.fromkeys(subscriber.sequences)) == list(range(1, 2001))
    finally:
        broker.kill()


async def test_a_batch_under_way_when_the_broker_dies_comes_again(open_sink, subscribe, mosquitto: Mosquitto) -> None:
    sink = open_sink("t12")
    await sink.deliver(feed(1, 1))
    mosquitto.freeze()
    delivering = asyncio.create_task(sink.deliver(feed(2, 300)))
    await asyncio.sleep(0)  # it has begun to send
    mosquitto.kill()
    with pytest.raises(SinkUnavailable):
        await delivering
    mosquitto.start()
    subscriber = await subscribe("t12")
    await sink.deliver(feed(2, 300))
    await until(lambda: subscriber.sequences == list(range(2, 301)))


async def test_a_frozen_broker_is_an_unavailable_sink(
    open_sink, mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = open_sink("t10")
    with monkeypatch.context() as impatient:
        impatient.setattr("callctl.sinks.broker.ANSWER_S", 0.3)
        await sink.deliver([])
        mosquitto.freeze()
        try:
            for _ in range(2):  # on the old connection, then on a new one
                with pytest.raises(SinkUnavailable, match="timed out"):
                    await sink.deliver(feed(1, 1))
        finally:
            mosquitto.resume()
    await sink.deliver(feed(1, 1))


async def test_a_delivery_may_be_cancelled(open_sink, subscribe, mosquitto: Mosquitto) -> None:
    subscriber = await subscribe("t11")
    sink = open_sink("t11")
    await sink.deliver([])
    mosquitto.freeze()
    delivering = asyncio.create_task(sink.deliver(feed(1, 50)))
    await asyncio.sleep(0)
    delivering.cancel()
    await asyncio.gather(delivering, return_exceptions=True)
    mosquitto.resume()
    await sink.deliver(feed(1, 50))
    await until(lambda: set(subscriber.sequences) == set(range(1, 51)))


@pytest.fixture
def guarded(mosquitto: Mosquitto, tmp_path: Path) -> Iterator[GuardedMosquitto]:
    broker = GuardedMosquitto(tmp_path)
    broker.start()
    yield broker
    broker.kill()


def guarded_sink(broker: GuardedMosquitto, password: str, authorities: Path | None) -> MqttSink:
    tls = ssl.create_default_context(cafile=authorities)
    return MqttSink("events", Broker("127.0.0.1", broker.port, "t13", "callctl", password, tls), topic_prefix="t13")


async def test_with_password_and_tls(guarded: GuardedMosquitto) -> None:
    sink = guarded_sink(guarded, "open-sesame", guarded.certificate)
    await sink.deliver(feed(1, 100))
    await sink.close()


async def test_a_wrong_password_is_an_unavailable_sink(guarded: GuardedMosquitto) -> None:
    sink = guarded_sink(guarded, "hush", guarded.certificate)
    with pytest.raises(SinkUnavailable, match=r"(?i)not authori[sz]ed") as raised:
        await sink.deliver(feed(1, 1))
    assert "hush" not in str(raised.value)
    await sink.close()


# paho leaves the socket of a handshake that failed to the garbage collector.
@pytest.mark.filterwarnings("ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning")
async def test_a_broker_that_nobody_vouches_for_is_an_unavailable_sink(guarded: GuardedMosquitto) -> None:
    sink = guarded_sink(guarded, "open-sesame", None)
    with pytest.raises(SinkUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
        await sink.deliver(feed(1, 1))
    await sink.close()
