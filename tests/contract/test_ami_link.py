"""The link to Asterisk: against the simulated switch, and against a socket that answers as it likes."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from callctl.adapters.asterisk.link import AmiLink, LinkBounds, LinkEvents, LinkTimes
from callctl.adapters.asterisk.wire import MAX_MESSAGE_BYTES, Message
from callctl.clock import SystemClock
from callctl.errors import SwitchUnavailable
from callctl.simulators.ami import AmiSimulator, Script, User
from tests.certificates import certify
from tests.patient import PatientClock
from tests.waiting import until

QUICK = LinkTimes(
    action_ms=400,
    connect_ms=1_000,
    ping_every_ms=60,
    ping_answer_ms=150,
    retry_first_ms=10,
    retry_longest_ms=40,
    refused_ms=80,
    tick_ms=10,
)
PATIENT = LinkTimes(retry_first_ms=10, retry_longest_ms=40, ping_every_ms=60_000)
USERS = {"callctl": User("s3cret")}


class Heard:
    """What a link told its consumer, in order."""

    def __init__(self) -> None:
        self.events: list[Message] = []
        self.states: list[str] = []

    def listener(self, on_event: Callable[[Message], None] | None = None) -> LinkEvents:
        return LinkEvents(
            on_event=on_event or self.events.append,
            on_up=lambda: self.states.append("up"),
            on_down=lambda reason: self.states.append(f"down: {reason}"),
            on_refused=lambda message: self.states.append(f"refused: {message}"),
        )

    def names(self) -> list[str]:
        return [event.event for event in self.events]


@asynccontextmanager
async def linked(link: AmiLink, *, is_up: bool = True) -> AsyncIterator[AmiLink]:
    running = asyncio.create_task(link.run())
    try:
        if is_up:
            await until(lambda: link.up)
        yield link
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def link_to(port: int, heard: Heard, times: LinkTimes = QUICK, **options: object) -> AmiLink:
    listener = options.pop("listener", None) or heard.listener()
    options = {"times": times, "clock": PatientClock(), **options}
    return AmiLink("127.0.0.1", port, "callctl", "s3cret", listener, **options)


@pytest.fixture
async def switch() -> AsyncIterator[AmiSimulator]:
    async with AmiSimulator(USERS, clock=PatientClock()) as simulator:
        yield simulator


@pytest.fixture
def heard() -> Heard:
    return Heard()


async def test_up_comes_before_the_first_event(switch: AmiSimulator, heard: Heard) -> None:
    listener = LinkEvents(
        on_event=lambda event: heard.states.append(event.event), on_up=lambda: heard.states.append("up")
    )
    async with linked(link_to(switch.port, heard, listener=listener)) as link:
        await until(lambda: len(heard.states) == 2)
        assert heard.states == ["up", "FullyBooted"]
        assert link.version == "11.0.0"


async def test_many_actions_at_once_each_get_their_own_answer(switch: AmiSimulator, heard: Heard) -> None:
    async with linked(link_to(switch.port, heard, PATIENT)) as link:
        call = switch.place_call(Script(caller="1", called="2"))
        await until(lambda: "UserEvent" in heard.names())
        channel = ("Channel", call.uniqueid)
        variables = [("Variable", f"V{n}") for n in range(300)]
        setting = [link.action("Setvar", [channel, name, ("Value", name[1] + "!")]) for name in variables]
        await asyncio.gather(*setting)
        answers = await asyncio.gather(*(link.action("Getvar", [channel, name]) for name in variables))
        assert [answer["Value"] for answer in answers] == [f"V{n}!" for n in range(300)]


async def test_an_error_is_an_answer_and_no_exception(switch: AmiSimulator, heard: Heard) -> None:
    async with linked(link_to(switch.port, heard)) as link:
        answer = await link.action("Hangup", [("Channel", "PJSIP/gone-1")])
        assert (answer.succeeded, answer["Message"]) == (False, "No such channel")


async def test_a_list_is_gathered_and_is_no_event(switch: AmiSimulator, heard: Heard) -> None:
    async with linked(link_to(switch.port, heard)) as link:
        assert await link.query("CoreShowChannels") == []
        calls = [switch.place_call(Script(caller="1", called=str(n))) for n in range(20)]
        await until(lambda: heard.names().count("UserEvent") == 20)
        listed = await link.query("Status", [("Variables", "CC_CALL,TIMEOUT(absolute)")])
        assert [item["Uniqueid"] for item in listed] == [call.uniqueid for call in calls]
        assert listed[0].variables("Variable") == {"CC_CALL": calls[0].uniqueid, "TIMEOUT(absolute)": "0"}
        assert "Status" not in heard.names()


async def test_a_refused_list_is_no_empty_list(switch: AmiSimulator, heard: Heard) -> None:
    async with linked(link_to(switch.port, heard)) as link:
        with pytest.raises(SwitchUnavailable, match="No such channel"):
            await link.query("Status", [("Channel", "PJSIP/gone-1")])


@pytest.mark.parametrize("value", ["1\r\nAction: Originate", "1\n2", "1\0", "1\r"])
async def test_a_header_cannot_be_smuggled_in(switch: AmiSimulator, heard: Heard, value: str) -> None:
    async with linked(link_to(switch.port, heard)) as link:
        with pytest.raises(ValueError, match="control character"):
            await link.action("Setvar", [("Channel", "c"), ("Variable", "v"), ("Value", value)])
        assert (await link.action("Ping"))["Ping"] == "Pong"


async def test_without_a_link_an_action_fails_at_once(heard: Heard) -> None:
    link = link_to(1, heard)
    with pytest.raises(SwitchUnavailable, match="Hangup: not connected yet"):
        await link.action("Hangup", [("Channel", "c")])


async def test_a_frozen_switch_is_noticed_by_ping(switch: AmiSimulator, heard: Heard) -> None:
    async with linked(link_to(switch.port, heard)) as link:
        switch.freeze()
        with pytest.raises(SwitchUnavailable, match="whether it was done is unknown"):
            await link.action("Hangup", [("Channel", "c")], timeout_ms=60_000)
        await until(lambda: len(heard.states) > 1)
        assert heard.states == ["up", "down: no answer to Ping"]
        switch.thaw()
        await until(lambda: link.up)


async def test_an_unanswered_action_times_out_and_the_link_stays(switch: AmiSimulator, heard: Heard) -> None:
    async with linked(link_to(switch.port, heard, PATIENT)) as link:
        switch.freeze()
        with pytest.raises(SwitchUnavailable, match="Getvar: no answer in time"):
            await link.action("Getvar", [("Channel", "c"), ("Variable", "v")], timeout_ms=50)
        assert link.counts.timeouts == 1
        switch.thaw()
        await until(lambda: link.counts.unasked_responses == 1)  # the late answer wakes nobody
        assert (await link.action("Ping")).succeeded
        assert heard.states == ["up"]


async def test_nothing_is_sent_again_after_a_lost_connection(heard: Heard) -> None:
    received: list[bytes] = []

    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await greet(reader, writer)
        received.append(await reader.readuntil(b"\r\n\r\n"))
        writer.close()
        if len(received) > 1:
            await reader.read()

    async with scripted(swallow) as port, linked(link_to(port, heard, PATIENT)) as link:
        with pytest.raises(SwitchUnavailable, match="Hangup: the connection is lost"):
            await link.action("Hangup", [("Channel", "c")])
        await until(lambda: heard.states.count("up") == 2)
        with pytest.raises(SwitchUnavailable):
            await link.action("Getvar", [("Channel", "c")])
        assert [data.split(b"\r\n")[0] for data in received] == [b"Action: Hangup", b"Action: Getvar"]


async def test_answers_may_come_in_any_order(heard: Heard) -> None:
    async def backwards(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await greet(reader, writer)
        actions = [await reader.readuntil(b"\r\n\r\n") for _ in range(3)]
        for action in reversed(actions):
            name = action.split(b"\r\n")[0].removeprefix(b"Action: ")
            writer.write(b"Response: Success\r\nEcho: " + name + b"\r\n" + id_of(action) + b"\r\n\r\n")
        await reader.read()

    async with scripted(backwards) as port, linked(link_to(port, heard, PATIENT)) as link:
        answers = await asyncio.gather(*(link.action(name) for name in ("One", "Two", "Three")))
        assert [answer["Echo"] for answer in answers] == ["One", "Two", "Three"]


async def test_a_broken_connection_is_made_again(switch: AmiSimulator, heard: Heard) -> None:
    async with linked(link_to(switch.port, heard, PATIENT)) as link:
        await switch.stop_listening()
        await switch.drop_links()
        await until(lambda: not link.up)
        with pytest.raises(SwitchUnavailable):
            await link.action("Ping")
        await until(lambda: "refused" in link.detail.lower() or "connect" in link.detail.lower())
        await switch.listen_again()
        await until(lambda: link.up)
        assert heard.states == ["up", "down: Asterisk closed the connection", "up"]
        assert link.counts.connections == 2


async def test_an_outage_is_told_once_however_often_it_is_tried(heard: Heard) -> None:
    attempts: list[int] = []

    async def hang_up(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        attempts.append(1)

    async with scripted(hang_up) as port, linked(link_to(port, heard), is_up=False) as link:
        await until(lambda: len(attempts) > 3)
        assert heard.states == [f"down: {link.detail}"]


class StoppedClock(SystemClock):
    """Sleeps for ever, and keeps how long it was asked to."""

    def __init__(self) -> None:
        super().__init__()
        self.asked_ms: list[int] = []

    async def sleep_ms(self, ms: int) -> None:
        self.asked_ms.append(ms)
        await asyncio.Event().wait()


async def test_a_wrong_password_is_told_once_and_tried_seldom(switch: AmiSimulator, heard: Heard) -> None:
    switch.faults.refuse_logins = True
    clock = StoppedClock()
    async with linked(link_to(switch.port, heard, LinkTimes(), clock=clock), is_up=False) as link:
        await until(lambda: clock.asked_ms)
        assert heard.states == ["refused: Authentication failed"]
        assert link.detail == "login refused: Authentication failed"
        assert LinkTimes().refused_ms // 2 <= clock.asked_ms[0] <= LinkTimes().refused_ms
        assert not link.up


async def test_after_a_corrected_password_the_link_comes_up(switch: AmiSimulator, heard: Heard) -> None:
    switch.faults.refuse_logins = True
    async with linked(link_to(switch.port, heard), is_up=False) as link:
        await until(lambda: switch.logins >= 2)
        assert heard.states == ["refused: Authentication failed"]
        switch.faults.refuse_logins = False
        await until(lambda: link.up)
        assert heard.states == ["refused: Authentication failed", "up"]


async def test_a_consumer_that_fails_costs_no_event(switch: AmiSimulator, heard: Heard) -> None:
    def fails_first(event: Message) -> None:
        heard.events.append(event)
        raise RuntimeError("a mistake of the consumer")

    async with linked(link_to(switch.port, heard, listener=heard.listener(fails_first))) as link:
        switch.place_call(Script(caller="1", called="2"))
        await until(lambda: heard.names() == ["FullyBooted", "Newchannel", "UserEvent"])
        assert link.counts.failed_callbacks == 3
        assert heard.states == ["up"]


async def test_a_full_queue_of_events_drops_the_connection(switch: AmiSimulator, heard: Heard) -> None:
    queue: asyncio.Queue[Message] = asyncio.Queue(maxsize=2)
    async with linked(link_to(switch.port, heard, listener=heard.listener(queue.put_nowait))) as link:
        switch.place_call(Script(caller="1", called="2"))
        await until(lambda: len(heard.states) > 1)
        assert heard.states[:2] == ["up", "down: the queue of events is full"]
        assert link.counts.overflows == 1


async def test_too_many_actions_under_way_are_refused(switch: AmiSimulator, heard: Heard) -> None:
    async with linked(link_to(switch.port, heard, PATIENT, bounds=LinkBounds(in_flight=3))) as link:
        switch.freeze()
        waiting = [asyncio.create_task(link.action("Getvar", [("Channel", "c")])) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(SwitchUnavailable, match="3 actions are unanswered"):
            await link.action("Getvar", [("Channel", "c")])
        assert link.counts.overflows == 1
        switch.thaw()
        answers = await asyncio.gather(*waiting)
        assert [answer["Message"] for answer in answers] == ["No such channel"] * 3
        assert (await link.action("Ping")).succeeded


async def test_a_given_up_action_leaves_the_window(switch: AmiSimulator, heard: Heard) -> None:
    async with linked(link_to(switch.port, heard, PATIENT, bounds=LinkBounds(in_flight=1))) as link:
        switch.freeze()
        waiting = asyncio.create_task(link.action("Getvar", [("Channel", "c")]))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        switch.thaw()
        assert (await link.action("Ping")).succeeded


async def test_a_switch_that_does_not_read_is_dropped(heard: Heard) -> None:
    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await greet(reader, writer)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.sleep(3_600)

    bounds = LinkBounds(unsent_bytes=100_000, in_flight=1_000_000)
    async with scripted(deaf) as port, linked(link_to(port, heard, PATIENT, bounds=bounds)) as link:
        action = [("Value", "x" * 1_000)]
        waiting = []
        while link.up:
            waiting.append(asyncio.create_task(link.action("Setvar", action)))
            await asyncio.sleep(0)
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(result, SwitchUnavailable) for result in results)
        assert heard.states[:2] == ["up", "down: Asterisk does not read"]


@asynccontextmanager
async def scripted(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], object],
) -> AsyncIterator[int]:
    """A socket on which every connection is handled by `serve`; cancelled at the end."""
    tasks: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await serve(reader, writer)  # type: ignore[misc]
        except (OSError, EOFError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Greeting and an accepted login."""
    writer.write(b"Asterisk Call Manager/11.0.0\r\n")
    login = await reader.readuntil(b"\r\n\r\n")
    writer.write(b"Response: Success\r\n" + id_of(login) + b"\r\nMessage: Authentication accepted\r\n\r\n")


def id_of(action: bytes) -> bytes:
    return next(line for line in action.split(b"\r\n") if line.startswith(b"ActionID"))


async def test_every_outage_is_told(switch: AmiSimulator, heard: Heard) -> None:
    async with linked(link_to(switch.port, heard, PATIENT)) as link:
        for outage in (1, 2):
            await switch.drop_links()
            await until(lambda: link.counts.connections == outage + 1)  # noqa: B023  awaited within the turn
        assert [state[:4] for state in heard.states] == ["up", "down", "up", "down", "up"]


async def test_patience_ends_with_the_login(switch: AmiSimulator, heard: Heard) -> None:
    times = LinkTimes(connect_ms=150)
    async with linked(link_to(switch.port, heard, times)) as link:
        await asyncio.sleep(2 * times.connect_ms / 1_000)
        assert (await link.action("Ping")).succeeded
        assert link.counts.connections == 1


async def test_a_full_window_does_not_stop_the_ping(heard: Heard) -> None:
    pings = []

    async def answers_pings_only(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await greet(reader, writer)
        while action := await reader.readuntil(b"\r\n\r\n"):
            if action.startswith(b"Action: Ping"):
                pings.append(action)
                writer.write(b"Response: Success\r\n" + id_of(action) + b"\r\n\r\n")

    times = LinkTimes(ping_every_ms=20, action_ms=60_000)
    bounds = LinkBounds(in_flight=1)
    async with scripted(answers_pings_only) as port, linked(link_to(port, heard, times, bounds=bounds)) as link:
        waiting = asyncio.create_task(link.action("Getvar"))
        await until(lambda: len(pings) >= 3)
        assert heard.states == ["up"]
    with pytest.raises(SwitchUnavailable, match="Getvar"):
        await waiting


async def test_an_event_with_the_id_of_an_action_is_not_its_answer(heard: Heard) -> None:
    async def event_first(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await greet(reader, writer)
        action_id = id_of(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"Event: OriginateResponse\r\n" + action_id + b"\r\nResponse: Failure\r\n\r\n")
        writer.write(b"Response: Success\r\n" + action_id + b"\r\nMessage: queued\r\n\r\n")
        await reader.read()

    async with scripted(event_first) as port, linked(link_to(port, heard, PATIENT)) as link:
        assert (await link.action("Originate"))["Message"] == "queued"
        assert heard.names() == ["OriginateResponse"]


@pytest.mark.parametrize("greeting", [b"SSH-2.0-OpenSSH\r\n", b"", b"\xff\xfe\r\n", b"x" * 100_000])
async def test_something_else_on_the_port_is_told(heard: Heard, greeting: bytes) -> None:
    async def other(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        writer.write_eof()
        await reader.read()

    async with scripted(other) as port, linked(link_to(port, heard), is_up=False):
        await until(lambda: heard.states)
        assert heard.states[0].startswith("down: not an Asterisk manager")


async def test_a_port_that_says_nothing_is_given_up(heard: Heard) -> None:
    async def silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()

    times = LinkTimes(connect_ms=50, retry_first_ms=10)
    async with scripted(silent) as port, linked(link_to(port, heard, times), is_up=False):
        await until(lambda: heard.states)
        assert heard.states == ["down: no answer to connecting or logging in"]


ITEM = b"Event: Status\r\n%s\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (
            b"Event: Status\r\n%s\r\n\r\nEvent: StatusComplete\r\n%s\r\nEventList: Complete\r\nListItems: 2",
            "1 of 2",
        ),
        (b"Event: StatusComplete\r\n%s\r\nEventList: cancelled", "the list was cancelled"),
    ],
)
async def test_half_a_list_is_no_list(heard: Heard, answer: bytes, error: str) -> None:
    async def halves(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await greet(reader, writer)
        action_id = id_of(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"Response: Success\r\n" + action_id + b"\r\nEventList: start\r\n\r\n")
        writer.write(answer.replace(b"%s", action_id) + b"\r\n\r\n")
        await reader.read()

    async with scripted(halves) as port, linked(link_to(port, heard, PATIENT)) as link:
        with pytest.raises(SwitchUnavailable, match=error):
            await link.query("Status")


async def test_a_pong_tells_the_time(switch: AmiSimulator, heard: Heard) -> None:
    pongs: list[Message] = []
    async with linked(
        link_to(switch.port, heard, listener=LinkEvents(on_event=heard.events.append, on_pong=pongs.append))
    ):
        await until(lambda: len(pongs) == 2)
    assert all(pong["Timestamp"] for pong in pongs)


TORN = b"Event: Status\r\nChannel: PJSIP/mallory-1\r\nCallerIDNum: 1\r\n"


@pytest.mark.parametrize(
    "rest",
    [b"\r\nEvent: Hangup\r\nUniqueid: 1.1\r\n\r\n", b"Uniqueid: 1.1\r\nUniqueid: 1.2\r\n%s\r\n\r\n"],
    ids=["an event", "another channel"],
)
async def test_what_follows_a_torn_list_is_not_believed(heard: Heard, rest: bytes) -> None:
    """A number with line breaks goes on as it likes; an empty line ends the item before its ActionID."""

    async def torn(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await greet(reader, writer)
        action_id = id_of(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"Response: Success\r\n" + action_id + b"\r\nEventList: start\r\n\r\n")
        writer.write(TORN + rest.replace(b"%s", action_id))
        await reader.read()

    async with scripted(torn) as port, linked(link_to(port, heard, PATIENT)) as link:
        with pytest.raises(SwitchUnavailable, match="the connection is lost"):
            await link.query("Status")
        assert heard.names() == []
        await until(lambda: "down: a list was torn" in heard.states)
        assert link.forger == "PJSIP/mallory-1"


async def test_a_number_cannot_end_a_list(heard: Heard) -> None:
    async def forged(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await greet(reader, writer)
        action_id = id_of(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"Response: Success\r\n" + action_id + b"\r\nEventList: start\r\n\r\n")
        writer.write(TORN + b"EventList: Complete\r\nUniqueid: 1.1\r\n" + action_id + b"\r\n\r\n")
        writer.write(b"Event: Status\r\nUniqueid: 1.2\r\n" + action_id + b"\r\n\r\n")
        writer.write(b"Event: StatusComplete\r\nEventList: Complete\r\nListItems: 2\r\n" + action_id + b"\r\n\r\n")
        await reader.read()

    async with scripted(forged) as port, linked(link_to(port, heard, PATIENT)) as link:
        assert [item["Uniqueid"] for item in await link.query("Status")] == ["1.1", "1.2"]


async def test_an_endless_list_is_given_up(heard: Heard) -> None:
    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await greet(reader, writer)
        action_id = id_of(await reader.readuntil(b"\r\n\r\n"))
        while True:
            writer.write(b"Event: Status\r\n" + action_id + b"\r\n\r\n")
            await writer.drain()

    bounds = LinkBounds(list_items=10)
    async with scripted(endless) as port, linked(link_to(port, heard, PATIENT, bounds=bounds)) as link:
        with pytest.raises(SwitchUnavailable, match="a list of more than 10 items"):
            await link.query("Status")


async def test_a_message_without_end_drops_the_connection(heard: Heard) -> None:
    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await greet(reader, writer)
        writer.write(b"x" * (MAX_MESSAGE_BYTES + 1))
        await reader.read()

    async with scripted(flood) as port, linked(link_to(port, heard, PATIENT), is_up=False) as link:
        await until(lambda: len(heard.states) > 1)
        assert heard.states[1].startswith("down: a message of more than")
        assert link.counts.overflows >= 1


async def test_latin_1_and_cut_characters_do_no_harm(heard: Heard) -> None:
    async def odd(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await greet(reader, writer)
        for piece in (
            b"Event: A\r\nName: Zo",
            b"\xc3",
            b"\xab\r\n\r",
            b"\nEvent: B\r\nName: J\xf6rg\r\n\r\n",
        ):
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.01)
        await reader.read()

    async with scripted(odd) as port, linked(link_to(port, heard, PATIENT)):
        await until(lambda: len(heard.events) == 2)
        assert [event["Name"] for event in heard.events] == ["Zoë", "J\ufffdrg"]


async def test_over_tls(tmp_path: Path, heard: Heard) -> None:
    certificate, key = certify(tmp_path, "asterisk")
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(certificate, key)
    trusting = ssl.create_default_context(cafile=str(certificate))
    async with AmiSimulator(USERS, tls=serving) as switch:
        async with linked(link_to(switch.port, heard, PATIENT, tls=trusting)) as link:
            assert (await link.action("Ping")).succeeded
        suspicious = link_to(switch.port, heard, PATIENT, tls=ssl.create_default_context())
        async with linked(suspicious, is_up=False):
            await until(lambda: len(heard.states) > 1)
            assert "CERTIFICATE_VERIFY_FAILED" in heard.states[1]
            assert not suspicious.up
