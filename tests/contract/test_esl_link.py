"""The connection to an event socket: a simulated one, and peers that are none or have gone mad."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callctl.adapters.freeswitch.link import EslLink, LinkBounds, LinkEvents, LinkTimes
from callctl.adapters.freeswitch.wire import Event, Unsendable
from callctl.clock import Instant
from callctl.errors import SwitchUnavailable
from callctl.simulators.esl import EslSimulator, Script
from tests.patient import PatientClock
from tests.waiting import until

SOON = LinkTimes(retry_first_ms=10, retry_longest_ms=20, tick_ms=5, connect_ms=1_000)
CORE = "7123a8b1-fed0-4ef7-ab44-7c5e56ea81de"

Peer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Listener:
    """What a link told."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.cores: list[str] = []
        self.downs: list[str] = []
        self.refusals: list[str] = []
        self.fails: Exception | None = None

    def on_event(self, event: Event) -> None:
        self.events.append(event)
        if self.fails is not None:
            raise self.fails

    def all(self) -> LinkEvents:
        return LinkEvents(
            on_event=self.on_event,
            on_up=self.cores.append,
            on_down=lambda reason, _: self.downs.append(reason),
            on_refused=self.refusals.append,
        )


@asynccontextmanager
async def linked(port: int, **options: Any) -> AsyncIterator[tuple[EslLink, Listener]]:
    heard = Listener()
    options = {"times": SOON, "clock": PatientClock(), "secret": "ClueCon", **options}
    link = EslLink("127.0.0.1", port, options.pop("secret"), heard.all(), **options)
    running = asyncio.create_task(link.run())
    try:
        yield link, heard
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


@asynccontextmanager
async def served(peer: Peer) -> AsyncIterator[int]:
    """The port at which `peer` meets whoever connects."""
    meetings: set[asyncio.Task[None]] = set()

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        meetings.add(task)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await peer(reader, writer)
        writer.close()

    server = await asyncio.start_server(meet, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in meetings:
            task.cancel()
        await asyncio.gather(*meetings, return_exceptions=True)


async def command(reader: asyncio.StreamReader) -> str:
    return (await reader.readuntil(b"\n\n")).decode().strip()


def reply(text: str) -> bytes:
    return f"Content-Type: command/reply\nReply-Text: {text}\n\n".encode()


def answer(text: str) -> bytes:
    return f"Content-Type: api/response\nContent-Length: {len(text)}\n\n{text}".encode()


def event(name: str) -> bytes:
    body = f'{{"Event-Name":"{name}"}}'
    return f"Content-Length: {len(body)}\nContent-Type: text/event-json\n\n{body}".encode()


async def let_in(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> list[str]:
    """All of the login; what was asked."""
    asked = []
    writer.write(b"Content-Type: auth/request\n\n")
    for said in (reply("+OK accepted"), reply("+OK event listener enabled json"), answer(CORE)):
        asked.append(await command(reader))
        writer.write(said)
    return asked


# -------------------------------------------------------------------- in order


async def test_it_subscribes_before_it_looks_which_core_it_is() -> None:
    asked: list[str] = []

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.extend(await let_in(reader, writer))
        await reader.read()

    async with served(peer) as port, linked(port, subscribed="HEARTBEAT CUSTOM a::b") as (link, heard):
        await until(lambda: link.up)
        assert asked == ["auth ClueCon", "event json HEARTBEAT CUSTOM a::b", "api global_getvar core_uuid"]
        assert heard.cores == [CORE]


async def test_an_event_during_the_login_comes_after_it() -> None:
    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"Content-Type: auth/request\n\n")
        for said in (reply("+OK accepted"), event("CHANNEL_PARK") + reply("+OK"), event("HEARTBEAT") + answer(CORE)):
            await command(reader)
            writer.write(said)
        await reader.read()

    order: list[str] = []
    async with served(peer) as port:
        told = LinkEvents(on_event=lambda it: order.append(it["Event-Name"]), on_up=order.append)
        link = EslLink("127.0.0.1", port, "ClueCon", told, times=SOON, clock=PatientClock())
        running = asyncio.create_task(link.run())
        await until(lambda: len(order) == 3)
        running.cancel()
    assert order == [CORE, "CHANNEL_PARK", "HEARTBEAT"]


async def test_five_hundred_commands_at_once_are_each_answered() -> None:
    async with EslSimulator("ClueCon") as switch, linked(switch.port) as (link, _):
        await until(lambda: link.up)
        frames = await asyncio.gather(*[link.api(f"uuid_exists {number}") for number in range(250)])
        assert {frame.text for frame in frames} == {"false"}
        frames = await asyncio.gather(*[link.api(f"no{number}") for number in range(250)])
        assert [frame.text for frame in frames] == [f"-ERR no{number} Command not found!" for number in range(250)]


async def test_what_is_not_subscribed_does_not_come() -> None:
    async with EslSimulator("ClueCon") as switch, linked(switch.port, subscribed="CHANNEL_CREATE") as (link, heard):
        await until(lambda: link.up)
        switch.place_call(Script(caller="1", called="112"))
        await until(lambda: len(heard.events) == 2)
        assert {told["Event-Name"] for told in heard.events} == {"CHANNEL_CREATE"}


async def test_a_second_command_cannot_be_smuggled_in() -> None:
    async with EslSimulator("ClueCon") as switch, linked(switch.port) as (link, _):
        await until(lambda: link.up)
        with pytest.raises(Unsendable):
            link.api("uuid_kill x\n\napi hupall")
        assert (await link.api("uuid_exists x")).text == "false"
        assert "hupall" not in " ".join(switch.commands.done)


# -------------------------------------------------------------------- out of order


async def test_a_late_reply_is_not_taken_for_another() -> None:
    may_answer = asyncio.Event()

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await let_in(reader, writer)
        first, second = await command(reader), await command(reader)
        await may_answer.wait()
        writer.write(answer(f"to {first}") + answer(f"to {second}"))
        await reader.read()

    async with served(peer) as port, linked(port) as (link, _):
        await until(lambda: link.up)
        first = link.api("first", timeout_ms=10)
        second = link.api("second", timeout_ms=5_000)
        with pytest.raises(SwitchUnavailable, match="whether it was done is unknown"):
            await first
        may_answer.set()
        assert (await second).text == "to api second"
        assert link.counts.timeouts == 1


async def test_who_stops_waiting_leaves_the_others_their_answers() -> None:
    async with EslSimulator("ClueCon") as switch, linked(switch.port) as (link, _):
        await until(lambda: link.up)
        first, second = link.api("uuid_exists x"), link.api("no")
        first.cancel()
        assert (await second).text == "-ERR no Command not found!"


async def test_a_reply_to_nothing_ends_the_connection() -> None:
    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await let_in(reader, writer)
        writer.write(answer("who asked?"))
        await reader.read()

    async with served(peer) as port, linked(port) as (link, heard):
        await until(lambda: heard.downs)
        assert "out of step" in heard.downs[0]
        assert link.counts.unasked_replies


@pytest.mark.parametrize(
    "end", [b"", b"Content-Type: api/resp", b"Content-Type: api/response\nContent-Length: 10\n\n+OK", b"\n"]
)
async def test_the_end_in_the_middle_fails_all_that_waits(end: bytes) -> None:
    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await let_in(reader, writer)
        await command(reader)
        await command(reader)
        writer.write(end)

    async with served(peer) as port, linked(port) as (link, heard):
        await until(lambda: link.up)
        outcomes = await asyncio.gather(link.api("first"), link.api("second"), return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [SwitchUnavailable] * 2
        assert heard.downs[0] == "FreeSWITCH closed the connection"
        await until(lambda: link.counts.connections == 2)  # and nothing is asked again
        with pytest.raises(SwitchUnavailable):
            await asyncio.wait_for(link.api("third", timeout_ms=20), 5)


async def test_the_end_of_the_connection_is_the_last_that_is_heard() -> None:
    """A killed FreeSWITCH is heard of until then, though it has said nothing for long."""
    clock, heard = PatientClock(), []

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await let_in(reader, writer)
        said = clock.now()
        await until(lambda: clock.now().since_ms(said) > 50)
        heard.append(clock.now())

    def on_down(reason: str, last: Instant) -> None:
        heard.append(last)

    async with served(peer) as port:
        events = LinkEvents(on_event=lambda _: None, on_down=on_down)
        running = asyncio.create_task(EslLink("127.0.0.1", port, "ClueCon", events, times=SOON, clock=clock).run())
        await until(lambda: len(heard) >= 2)
        running.cancel()
        closed, last = heard[:2]
        assert last.monotonic_ms >= closed.monotonic_ms


async def test_goodbye_is_the_end() -> None:
    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await let_in(reader, writer)
        writer.write(b"Content-Type: text/disconnect-notice\nContent-Length: 4\n\nBye\n")
        await reader.read()

    async with served(peer) as port, linked(port) as (_, heard):
        await until(lambda: heard.downs)
        assert heard.downs == ["FreeSWITCH says goodbye"]


async def test_a_frame_without_a_sound_length_ends_the_connection() -> None:
    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await let_in(reader, writer)
        writer.write(b"Content-Length: lots\n\n")
        await reader.read()

    async with served(peer) as port, linked(port) as (link, heard):
        await until(lambda: heard.downs)
        assert "lots" in heard.downs[0]
        assert link.counts.overflows


@given(garbage=st.binary(max_size=300))
@settings(max_examples=30)
def test_whatever_comes_the_link_lives(garbage: bytes) -> None:
    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await let_in(reader, writer)
        writer.write(garbage)

    async def story() -> None:
        async with served(peer) as port, linked(port) as (link, _):
            await until(lambda: link.counts.connections >= 2)

    asyncio.run(story())


async def test_a_garbled_event_is_counted_and_no_more() -> None:
    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await let_in(reader, writer)
        writer.write(b"Content-Length: 3\nContent-Type: text/event-json\n\n{\xe9}" + event("HEARTBEAT"))
        await reader.read()

    async with served(peer) as port, linked(port) as (link, heard):
        await until(lambda: heard.events)
        assert (link.counts.garbled_events, link.up) == (1, True)


async def test_a_name_in_latin_1_kills_nothing() -> None:
    async with EslSimulator("ClueCon") as switch, linked(switch.port, subscribed="CHANNEL_PARK") as (link, heard):
        await until(lambda: link.up)
        name = b"Ren\xe9".decode("utf-8", "surrogateescape")
        switch.place_call(Script(caller="1", called="2", caller_name=name))
        await until(lambda: heard.events)
        assert heard.events[0]["Caller-Caller-ID-Name"] == "Ren\ufffd"
        switch.core.setup = type(switch.core.setup)(list_lag_ms=0)
        assert "Ren\ufffd" in (await link.api("show channels as json")).text


# -------------------------------------------------------------------- bounds


async def test_a_consumer_that_is_full_ends_the_connection() -> None:
    async with EslSimulator("ClueCon") as switch, linked(switch.port, subscribed="CHANNEL_CREATE") as (link, heard):
        await until(lambda: link.up)
        heard.fails = asyncio.QueueFull()
        switch.place_call(Script(caller="1", called="2"))
        await until(lambda: heard.downs)
        assert heard.downs == ["the queue of events is full"]


async def test_a_mistake_of_a_consumer_does_not() -> None:
    async with EslSimulator("ClueCon") as switch, linked(switch.port, subscribed="CHANNEL_CREATE") as (link, heard):
        await until(lambda: link.up)
        heard.fails = ZeroDivisionError()
        switch.place_call(Script(caller="1", called="2"))
        await until(lambda: link.counts.failed_callbacks)
        assert link.up


async def test_so_many_commands_and_no_more() -> None:
    bounds = LinkBounds(in_flight=3)
    async with EslSimulator("ClueCon") as switch, linked(switch.port, bounds=bounds) as (link, _):
        await until(lambda: link.up)
        switch.freeze()
        asked = [link.api("uuid_exists x", timeout_ms=60_000) for _ in range(3)]
        with pytest.raises(SwitchUnavailable, match="3 commands are unanswered"):
            link.api("uuid_exists x")
        switch.thaw()
        assert len(await asyncio.gather(*asked)) == 3
        assert link.counts.overflows == 1


async def test_a_switch_that_does_not_read_is_left() -> None:
    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await let_in(reader, writer)
        await asyncio.Event().wait()

    bounds = LinkBounds(in_flight=1_000_000, unsent_bytes=100_000)
    async with served(peer) as port, linked(port, bounds=bounds) as (link, heard):
        await until(lambda: link.up)

        def ask_until_full() -> None:
            for _ in range(10_000):
                link.api("x" * 10_000, timeout_ms=60_000)

        with pytest.raises(SwitchUnavailable, match="does not read"):
            ask_until_full()
        await until(lambda: heard.downs)


async def test_a_frozen_switch_is_noticed_by_its_silence() -> None:
    times = LinkTimes(ping_every_ms=20, ping_answer_ms=30, retry_first_ms=10, tick_ms=5, connect_ms=100)
    async with EslSimulator("ClueCon") as switch, linked(switch.port, times=times) as (link, heard):
        await until(lambda: link.up)
        switch.freeze()
        await until(lambda: heard.downs)
        assert heard.downs == ["no answer to a question"]
        switch.thaw()
        await until(lambda: link.up)
        assert len(heard.downs) == 1


# -------------------------------------------------------------------- no entry


@pytest.mark.parametrize(
    ("greeting", "told"),
    [
        (b"Content-Type: auth/request\n\n" + reply("-ERR invalid"), "auth: -ERR invalid"),
        (b"Content-Type: auth/request\n\n" + reply("+OK accepted") + reply("-ERR permission denied"), "event: -ERR"),
        (
            b"Content-Type: auth/request\n\n" + reply("+OK accepted") + reply("+OK") + answer("-ERR permission denied"),
            "global_getvar: -ERR",
        ),
    ],
)
async def test_a_refusal_is_told_once_and_not_tried_again_soon(greeting: bytes, told: str) -> None:
    visits = 0

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal visits
        visits += 1
        writer.write(greeting)
        await reader.read()

    async with served(peer) as port, linked(port, secret="hush") as (link, heard):
        await until(lambda: heard.refusals)
        assert told in heard.refusals[0]
        assert "hush" not in heard.refusals[0] + link.detail
        assert (visits, heard.downs) == (1, [])
        with pytest.raises(SwitchUnavailable, match="login refused"):
            link.api("status")


@pytest.mark.parametrize("times_away", [1, 2])
async def test_an_address_is_refused_when_it_is_turned_away_twice(times_away: int) -> None:
    """A FreeSWITCH that begins listens before it has its lists of addresses."""
    visits = 0

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal visits
        visits += 1
        if visits > times_away:
            await let_in(reader, writer)
        else:
            writer.write(b"Content-Type: text/rude-rejection\nContent-Length: 24\n\nAccess Denied, go away.\n")
        await reader.read()

    told = "this address is not allowed: Access Denied, go away."
    async with served(peer) as port, linked(port) as (link, heard):
        await until(lambda: link.up or heard.refusals)
        assert (heard.downs, heard.refusals) == ([told], [told] * (times_away - 1))
        assert (visits, link.up) == (2, times_away == 1)


@pytest.mark.parametrize("greeting", [b"SSH-2.0-OpenSSH\n\n", b"HTTP/1.1 400 Bad\nContent-Type: text/html\n\n", b""])
async def test_what_is_no_event_socket_is_tried_again(greeting: bytes) -> None:
    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)

    async with served(peer) as port, linked(port) as (link, heard):
        await until(lambda: heard.downs)
        assert (link.up, heard.refusals) == (False, [])


async def test_a_socket_that_says_nothing_is_not_waited_for() -> None:
    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    times = LinkTimes(connect_ms=30, retry_first_ms=10, tick_ms=5)
    async with served(peer) as port, linked(port, times=times) as (_, heard):
        await until(lambda: heard.downs)
        assert heard.downs == ["no answer to connecting or logging in"]


async def test_a_user_logs_in_with_its_name() -> None:
    asked: list[str] = []

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.extend(await let_in(reader, writer))
        await reader.read()

    async with served(peer) as port, linked(port, user="meter@rig", secret="s3cret") as (link, _):
        await until(lambda: link.up)
        assert asked[0] == "userauth meter@rig:s3cret"
