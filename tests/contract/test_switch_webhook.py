"""Webhooks over real sockets: what is told, how it is signed, and every way in which it is not confirmed."""

import asyncio
import hashlib
import hmac
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from aiohttp import web

from callctl.accounts import WarnTo
from callctl.adapters.webhook import delivery
from callctl.adapters.webhook.delivery import Courier
from callctl.adapters.webhook.switch import WebhookSwitch
from callctl.call.events import CallEvent, CallKey, Offered, Released
from callctl.causes import NORMAL_CLEARING, RECOVERY_ON_TIMER
from callctl.clock import Instant, parse_time
from callctl.errors import SwitchUnavailable
from callctl.ports import Capabilities, HttpSwitch, SwitchAdapter
from callctl.rating.tariff import Direction
from callctl.settings import load
from callctl.simulators.scaled_clock import ScaledClock
from callctl.wiring import switch_of
from tests.certificates import certify
from tests.e2e.command import callctl
from tests.patient import PatientClock
from tests.servers import free_port
from tests.waiting import until
from tests.webhooks import PATH, SECRET, Receiver, Told, is_genuine, silence

CALL = CallKey("sbc", "c1")
SPEED = 20
ALL = {"extends": True, "warns": True}


class Desk:
    """A running switch, with a clerk in call control's place."""

    def __init__(self, switch: SwitchAdapter) -> None:
        self.switch = switch
        self.events: list[CallEvent] = []
        self.linked = 0

    async def __aenter__(self) -> "Desk":
        self._running = asyncio.create_task(self.switch.run(self.events.append, self._link))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)

    def _link(self) -> None:
        self.linked += 1


def switch_at(url: str, *, secret: str = SECRET, timeout_ms: int = 2_000, **options: object) -> WebhookSwitch:
    clock = ScaledClock(PatientClock(), SPEED)
    courier = Courier(url, secret.encode(), clock=clock, timeout_ms=timeout_ms)
    return WebhookSwitch(name="sbc", courier=courier, clock=clock, **options)  # type: ignore[arg-type]


@pytest.fixture
async def sbc() -> AsyncIterator[Receiver]:
    async with Receiver() as sbc:
        yield sbc


@pytest.fixture
async def opened(sbc: Receiver) -> AsyncIterator[Callable[..., object]]:
    """Makes a desk at the SBC's URL, with the link up."""
    desks: list[Desk] = []

    async def open_(**options: object) -> Desk:
        desk = Desk(switch_at(sbc.url, **options))  # type: ignore[arg-type]
        desks.append(await desk.__aenter__())
        await until(lambda: desk.switch.state().up)
        return desk

    yield open_
    for desk in desks:
        await desk.__aexit__()


# ---- what is told


async def test_a_call_is_told_to_end(sbc: Receiver, opened) -> None:
    desk = await opened()
    await desk.switch.hang_up(CALL, NORMAL_CLEARING)
    await desk.switch.hang_up(CALL, RECOVERY_ON_TIMER)
    first, second = sbc.told
    assert parse_time(first.pop("at")) <= parse_time(second.pop("at"))
    assert first == {
        "event": "hang_up", "switch": "sbc", "call_id": "c1", "q850": 16, "reason": "Normal call clearing",
    }  # fmt: skip
    assert (second["q850"], second["reason"]) == (102, "Recovery on timer expiry")
    assert desk.switch.counts.confirmed >= 3  # with the ping


async def test_an_extension_says_until_when(sbc: Receiver, opened) -> None:
    desk = await opened(**ALL)
    await desk.switch.arm(CALL, 12_345)
    (told,) = sbc.told
    assert (told["event"], told["switch"], told["call_id"], told["remaining_ms"]) == ("extended", "sbc", "c1", 12_345)
    assert parse_time(told["granted_until"]) - parse_time(told["at"]) == 12_345


async def test_a_warning_says_what_is_left_and_to_whom(sbc: Receiver, opened) -> None:
    desk = await opened(**ALL)
    await desk.switch.warn(CALL, 30, WarnTo.BOTH)
    (told,) = sbc.told
    assert (told["event"], told["call_id"], told["left_s"], told["to"]) == ("warn", "c1", 30, "both")


async def test_what_is_not_wanted_is_not_told(sbc: Receiver, opened) -> None:
    desk = await opened()
    await desk.switch.arm(CALL, 1_000)
    await desk.switch.warn(CALL, 30, WarnTo.CALLER)
    await desk.switch.admit(CALL, granted_s=1, setup_s=1, b_number="", account="")
    await desk.switch.hang_up(CALL, NORMAL_CLEARING)
    assert [told["event"] for told in sbc.told] == ["hang_up"]


@pytest.mark.parametrize("call_id", ['"},{"event":"hang_up', "c1@192.0.2.1;x=\\n", "ü €", "\u2028"])
async def test_a_call_id_is_told_as_it_is(sbc: Receiver, opened, call_id: str) -> None:
    desk = await opened()
    await desk.switch.hang_up(CallKey("sbc", call_id), NORMAL_CLEARING)
    assert sbc.told[0]["call_id"] == call_id


async def test_each_event_is_signed_with_its_time_and_has_a_name_of_its_own(sbc: Receiver, opened) -> None:
    """The receiver refuses what is not genuine: here, that it would."""
    desk = await opened()
    for _ in range(2):
        await desk.switch.hang_up(CALL, NORMAL_CLEARING)
    assert len(set(sbc.deliveries)) == 2
    assert all(len(name) == 32 for name in sbc.deliveries)
    stated = hmac.new(b"k", b'17.{"a":1}', hashlib.sha256).hexdigest()
    assert delivery.signature(b"k", 17, b'{"a":1}') == f"t=17,v1={stated}"
    assert is_genuine("k", f"t=17,v1={stated}", b'{"a":1}')
    for forged in ("t=18,v1=" + stated, "t=17,v1=" + stated[::-1]):
        assert not is_genuine("k", forged, b'{"a":1}')


async def test_with_another_secret_nothing_is_confirmed(sbc: Receiver) -> None:
    async with Desk(switch_at(sbc.url, secret="another")) as desk:
        await until(lambda: desk.switch.state().detail == "it answered 401")
        with pytest.raises(SwitchUnavailable, match="401"):
            await desk.switch.hang_up(CALL, NORMAL_CLEARING)
    assert sbc.told == []


# ---- what is answered


@pytest.mark.parametrize("status", [200, 202, 204, 299])
async def test_every_success_confirms(sbc: Receiver, opened, status: int) -> None:
    desk = await opened()
    sbc.status = status
    await desk.switch.hang_up(CALL, NORMAL_CLEARING)
    assert desk.switch.counts.refused == 0


@pytest.mark.parametrize("status", [300, 304, 400, 401, 403, 409, 429, 500, 503])
async def test_nothing_else_does_and_the_next_command_may(sbc: Receiver, opened, status: int) -> None:
    desk = await opened()
    sbc.status = status
    with pytest.raises(SwitchUnavailable, match=f"sbc: it answered {status}"):
        await desk.switch.hang_up(CALL, NORMAL_CLEARING)
    assert (desk.switch.state().up, desk.switch.counts.refused) == (False, 1)
    sbc.status = 200
    await desk.switch.hang_up(CALL, NORMAL_CLEARING)
    assert desk.switch.state().up
    assert len(set(sbc.deliveries)) == 2


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_is_not_followed(sbc: Receiver, opened, status: int) -> None:
    async with Receiver() as elsewhere:
        desk = await opened()

        async def away(request: web.Request, told: Told) -> web.Response:
            return web.Response(status=status, headers={"Location": elsewhere.url})

        sbc.answer = away
        with pytest.raises(SwitchUnavailable, match=str(status)):
            await desk.switch.hang_up(CALL, NORMAL_CLEARING)
        assert (elsewhere.told, elsewhere.pings) == ([], 0)


@pytest.mark.parametrize("status", [404, 410])
@pytest.mark.parametrize("command", ["hang_up", "arm", "warn"])
async def test_a_call_that_is_gone_is_no_failure_and_its_end_is_noted(
    sbc: Receiver, opened, status: int, command: str
) -> None:
    desk = await opened(**ALL)
    sbc.status = status
    if command == "warn":
        await desk.switch.warn(CALL, 30, WarnTo.CALLER)
    else:
        await getattr(desk.switch, command)(CALL, 16)
    assert (desk.switch.state().up, desk.switch.counts.gone) == (True, 1)
    await until(lambda: desk.events)
    (released,) = desk.events
    assert isinstance(released, Released)
    assert (released.call, released.estimated) == (CALL, True)


async def test_where_the_url_is_wrong_no_call_is_taken_for_gone(sbc: Receiver) -> None:
    sbc.pinged = sbc.status = 404
    async with Desk(switch_at(sbc.url, **ALL)) as desk:
        await until(lambda: desk.switch.state().detail == "it does not know the URL")
        with pytest.raises(SwitchUnavailable, match="or not the URL"):
            await desk.switch.hang_up(CALL, NORMAL_CLEARING)
        assert (desk.events, desk.linked) == ([], 0)


# ---- troubles


async def test_silence_is_given_up_in_time(sbc: Receiver, opened) -> None:
    desk = await opened(timeout_ms=100)
    sbc.answer = silence
    with pytest.raises(SwitchUnavailable, match="no answer in time"):
        await desk.switch.hang_up(CALL, NORMAL_CLEARING)
    assert desk.switch.counts.unanswered >= 1
    sbc.answer = None
    await desk.switch.hang_up(CALL, NORMAL_CLEARING)


async def test_a_slow_answer_is_waited_for(sbc: Receiver, opened) -> None:
    desk = await opened()
    go = asyncio.Event()

    async def slow(request: web.Request, told: Told) -> web.Response:
        await go.wait()
        return web.Response()

    sbc.answer = slow
    command = asyncio.create_task(desk.switch.hang_up(CALL, NORMAL_CLEARING))
    await until(lambda: sbc.told)
    assert not command.done()
    go.set()
    await command


@pytest.mark.parametrize("coding", [None, "gzip"])
async def test_an_endless_answer_is_not_read(sbc: Receiver, opened, coding: str | None) -> None:
    desk = await opened()
    sent, broken = 0, asyncio.Event()

    async def endless(request: web.Request, told: Told) -> web.StreamResponse:
        nonlocal sent
        answer = web.StreamResponse(headers={"Content-Encoding": coding} if coding else {})
        await answer.prepare(request)
        try:
            while sent < 1 << 30:
                await answer.write(bytes(65_536))
                sent += 65_536
        except ConnectionError:
            broken.set()
        return answer

    sbc.answer = endless
    await desk.switch.hang_up(CALL, NORMAL_CLEARING)
    async with asyncio.timeout(5):
        await broken.wait()
    assert sent < 1 << 26  # what the buffers of two sockets hold


async def test_a_kept_connection_that_broke_is_replaced_for_the_same_delivery() -> None:
    """The SBC answers the first request of each connection, and closes it upon the second."""
    names: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answers in (True, False):
            head = await reader.readuntil(b"\r\n\r\n")
            fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:] if line)
            await reader.readexactly(int(fields["Content-Length"]))
            names.append(fields["Callctl-Delivery"])
            if answers:
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, Desk(switch_at(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")) as desk:
        await until(lambda: desk.switch.state().up)
        await desk.switch.hang_up(CALL, NORMAL_CLEARING)
        ping, first, again = names[:3]
        assert first == again != ping
        assert desk.switch.counts.unanswered == 0


async def test_so_many_at_once_and_no_more(sbc: Receiver, opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "MOST_UNDER_WAY", 3)
    monkeypatch.setattr(delivery, "CONNECTIONS", 2)
    desk = await opened()
    sbc.answer = silence
    waiting = [asyncio.create_task(desk.switch.hang_up(CALL, NORMAL_CLEARING)) for _ in range(3)]
    await until(lambda: len(sbc.told) == 2)
    with pytest.raises(SwitchUnavailable, match="3 deliveries are under way"):
        await desk.switch.hang_up(CALL, NORMAL_CLEARING)
    assert (len(sbc.told), desk.switch.counts.overflowed) == (2, 1)  # the third waits for a connection
    sbc.answer = None
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    await desk.switch.hang_up(CALL, NORMAL_CLEARING)


async def test_nothing_is_delivered_before_it_runs_and_after(sbc: Receiver) -> None:
    switch = switch_at(sbc.url)
    with pytest.raises(SwitchUnavailable, match="nothing is delivered now"):
        await switch.hang_up(CALL, NORMAL_CLEARING)
    async with Desk(switch):
        await until(lambda: switch.state().up)
    with pytest.raises(SwitchUnavailable, match="nothing is delivered now"):
        await switch.hang_up(CALL, NORMAL_CLEARING)
    assert sbc.told == []


# ---- its link


async def test_the_link_is_down_while_nobody_answers_and_up_again(sbc: Receiver, opened) -> None:
    desk = await opened()
    await sbc.down()
    with pytest.raises(SwitchUnavailable):
        await desk.switch.hang_up(CALL, NORMAL_CLEARING)
    assert not desk.switch.state().up
    await sbc.up()
    await until(lambda: desk.switch.state().up)
    assert desk.linked == 2


async def test_no_trouble_shows_the_url_or_the_secret(caplog: pytest.LogCaptureFixture, capsys) -> None:
    url = f"http://127.0.0.1:{free_port(socket.SOCK_STREAM)}{PATH}?key=k3y-in-the-url"
    async with Desk(switch_at(url)) as desk:
        with pytest.raises(SwitchUnavailable) as raised:
            await desk.switch.hang_up(CALL, NORMAL_CLEARING)
        await until(lambda: desk.switch.state().detail != "not asked yet")
        shown = f"{raised.value} {desk.switch.state()} {caplog.text} {''.join(capsys.readouterr())}"
    assert "k3y-in-the-url" not in shown
    assert SECRET not in shown


async def test_over_tls_only_a_trusted_receiver_is_told(tmp_path: Path) -> None:
    certificate, key = certify(tmp_path, "sbc")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate, key)
    async with Receiver(tls) as sbc:
        table = f'[[switch]]\nname = "sbc"\nkind = "webhook"\nurl = "{sbc.url}"\nsecret = "{SECRET}"\n'
        for ca, trusted in ((f'tls_ca = "{certificate}"\n', True), ("", False)):
            file = tmp_path / "callctl.toml"
            file.write_text(table + ca)
            (settings,) = load(file, {}).switch
            async with Desk(switch_of(settings, PatientClock(), lambda _: False, tuple)) as desk:
                await until(lambda: desk.switch.state().detail != "not asked yet")
                assert desk.switch.state().up is trusted, desk.switch.state()
        assert sbc.pings == 1


async def test_the_doctor_looks_for_it_without_a_daemon(sbc: Receiver, tmp_path: Path) -> None:
    table = f'[[switch]]\nname = "sbc"\nkind = "webhook"\nurl = "{sbc.url}?key=k3y"\nsecret = "{SECRET}"\n'
    (tmp_path / "config").mkdir()
    (tmp_path / "config/callctl.toml").write_text(table + f"[http]\nport = {free_port(socket.SOCK_STREAM)}\n")
    ended = await callctl("doctor", "--json", cwd=tmp_path)
    (found,) = [it for it in ended.json if it["check"] == "switch sbc"]
    assert (found["verdict"], found["detail"]) == ("fine", f"127.0.0.1:{sbc.port} accepts connections")
    assert "k3y" not in ended.out + ended.err


@pytest.mark.parametrize(
    ("url", "host", "port", "tls"),
    [("https://h/x", "h", 443, True), ("http://h", "h", 80, False), ("HTTPS://[::1]:8443/", "::1", 8443, True)],
)
def test_where_it_is(tmp_path: Path, url: str, host: str, port: int, tls: bool) -> None:
    file = tmp_path / "callctl.toml"
    file.write_text(f'[[switch]]\nname = "sbc"\nkind = "webhook"\nurl = "{url}"\nsecret = "{SECRET}"\n')
    (settings,) = load(file, {}).switch
    assert (settings.host, settings.port, settings.tls) == (host, port, tls)


# ---- whose calls come over HTTP


async def test_what_it_can_do() -> None:
    url = "http://127.0.0.1:1/"
    assert switch_at(url).capabilities == Capabilities(timer=False, extends=False, warns=(), lists=False)
    assert switch_at(url, extends=True).capabilities == Capabilities(warns=(), lists=False)
    assert switch_at(url, **ALL).capabilities == Capabilities(lists=False)
    assert isinstance(switch_at(url), HttpSwitch)


async def test_it_has_no_list() -> None:
    with pytest.raises(SwitchUnavailable, match="does not list"):
        await switch_at("http://127.0.0.1:1/").live_calls()


@pytest.mark.parametrize("extends", [True, False])
async def test_a_call_is_attended_where_extensions_are_told(extends: bool) -> None:
    asked = Offered(CALL, Instant(0, 0), "+31201234567", "+31612345678", fingerprint="f")
    offered = switch_at("http://127.0.0.1:1/", extends=extends).offered(asked)
    assert (offered.attended, offered.can_extend, offered.linked) == (extends, extends, False)


@pytest.mark.parametrize(
    ("direction", "stated", "leaves_by"),
    [
        (Direction.OUTBOUND, None, "carrier-a"),
        (Direction.OUTBOUND, "carrier-b", "carrier-b"),
        (Direction.INBOUND, None, None),
    ],
)
async def test_its_carrier(direction: Direction, stated: str | None, leaves_by: str | None) -> None:
    asked = Offered(CALL, Instant(0, 0), "+31201234567", "+31612345678", direction, trunk_out=stated)
    assert switch_at("http://127.0.0.1:1/", carrier="carrier-a").offered(asked).trunk_out == leaves_by
