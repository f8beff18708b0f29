"""Webhooks under attack: signatures that are none, answers that are none, and TLS that fails."""

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callctl.adapters.webhook import delivery
from callctl.adapters.webhook.delivery import Courier
from callctl.adapters.webhook.switch import WebhookSwitch
from callctl.causes import NORMAL_CLEARING
from callctl.errors import SwitchUnavailable
from callctl.simulators.scaled_clock import ScaledClock
from tests.certificates import certify
from tests.contract.test_switch_webhook import CALL, SPEED, Desk, switch_at
from tests.patient import PatientClock
from tests.waiting import until
from tests.webhooks import PATH, SECRET, Receiver

# ---- what the documentation says of signatures


def documented_check() -> Callable[[str, str, bytes, float], bool]:
    """The lines of the documentation, executed with what they import."""
    text = (Path(__file__).parents[2] / "docs/adapters.md").read_text()
    (lines,) = re.findall(r"```python\n(.*?def is_genuine.*?)```", text, re.DOTALL)
    documented: dict[str, Any] = {}
    exec(lines, documented)
    return documented["is_genuine"]


BODY = '{"call_id":"\u00fc"}'.encode()
SIGNED = delivery.signature(SECRET.encode(), 1_795_255_200, BODY)
V1 = SIGNED.partition("v1=")[2]


def test_the_documented_check_holds() -> None:
    is_genuine = documented_check()
    for now_s in (1_795_255_140.5, 1_795_255_200.0, 1_795_255_259.9):
        assert is_genuine(SECRET, SIGNED, BODY, now_s)
    for now_s in (0.0, 1_795_255_140.0, 1_795_255_260.0, 1_795_341_600.0):  # a replay, or the clocks are apart
        assert not is_genuine(SECRET, SIGNED, BODY, now_s)
    for body in (b"", BODY + b" ", BODY[:-1], b"." + BODY):
        assert not is_genuine(SECRET, SIGNED, body, 1_795_255_200.0)
    assert not is_genuine("another", SIGNED, BODY, 1_795_255_200.0)


@pytest.mark.parametrize(
    "header",
    [
        "", ",", "=", "t", "t=1795255200", f"v1={V1}", f"t=,v1={V1}", f"t=now,v1={V1}", f"t=-1,v1={V1}",
        "t=1795255200,v1=", "t=1795255200,v1=\u00fc", "t=1795255200,v1=\udcff", f"t=\udcff,v1={V1}", f"t=1e9,v1={V1}",
        f"t=1795255201,v1={V1}", f"t=1_795_255_200,v1={V1}", f"t={'9' * 5000},v1={V1}", f"t=\u0661,v1={V1}",
        f"t=1795255200,v1={V1},v1=", f"t=1795255200,v1={V1.upper()}", f"t=1795255200,v1={V1}00", f"{SIGNED},{SIGNED}",
        f"t=1795255200;v1={V1}", f"T=1795255200,V1={V1}", f" {SIGNED}", f"{SIGNED}\n", "\0" * 9_000,
    ],
)  # fmt: skip
def test_a_garbled_signature_is_not_genuine_and_no_error(header: str) -> None:
    assert documented_check()(SECRET, header, BODY, 1_795_255_200.0) is False


@given(st.text())
def test_no_signature_is_an_error(header: str) -> None:
    assert documented_check()(SECRET, header, BODY, 1_795_255_200.0) is False


def test_nobody_moves_the_time_into_the_body() -> None:
    """What is signed reads "<t>.<body>": the same characters, parted elsewhere, are another message."""
    stated = delivery.signature(SECRET.encode(), 1_795_255_200, b"1.x").partition("v1=")[2]
    assert not documented_check()(SECRET, f"t=1795255200.1,v1={stated}", b"x", 1_795_255_200.0)


# ---- what comes for an answer


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


@asynccontextmanager
async def serving(serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]) -> AsyncIterator[int]:
    """The port at which connections are served so. When it is left all askers have gone."""
    served: set[asyncio.Task[None]] = set()

    async def serve_until_gone(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        served.add(task)
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await serve(reader, writer)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(serve_until_gone, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
    await asyncio.gather(*served)


@asynccontextmanager
async def raw(*answers: bytes) -> AsyncIterator[str]:
    """A URL that answers with these bytes, whatever it is asked: the last one is for all that follow."""
    left = list(answers)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]))
            writer.write(left.pop(0) if len(left) > 1 else left[0])
            await writer.drain()

    async with serving(serve) as port:
        yield f"http://127.0.0.1:{port}/"


@pytest.mark.parametrize(
    "answer",
    [
        b"\0" * 100,
        b"220 mail ESMTP\r\n",
        b"SIP/2.0 200 OK\r\n\r\n",
        b"HTTP/1.1\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 -20 OK\r\n\r\n",
        b"HTTP/1.1 200 " + b"O" * 100_000,
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100_000 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 1_000_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: \0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\xff\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 1_000,
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\n\r\n",
    ],
    ids=lambda answer: repr(answer[:32]),
)
async def test_what_is_no_answer_confirms_nothing(answer: bytes) -> None:
    async with raw(OK, answer, OK) as url, Desk(switch_at(url, timeout_ms=300)) as desk:
        await until(lambda: desk.switch.state().up)
        with pytest.raises(SwitchUnavailable):
            await desk.switch.hang_up(CALL, NORMAL_CLEARING)
        await desk.switch.hang_up(CALL, NORMAL_CLEARING)
        assert desk.switch.state().up


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 999999999999",
        b"Transfer-Encoding: chunked\r\n\r\nffff",
        b"Connection: close",
        b"Content-Type: \xff/x",
        b"Content-Type: text/html; charset=nonsense\r\nContent-Length: 3",
        b"Content-Encoding: br\r\nContent-Length: 3",
        b"Set-Cookie: a=b; Domain=\xff\r\nContent-Length: 3",
        b"Location: http://127.0.0.1:1/\r\nContent-Length: 3",
        b"Keep-Alive: timeout=-1\r\nContent-Length: 3",
    ],
)
async def test_what_else_stands_in_an_answer_does_not_matter(head: bytes) -> None:
    answer = b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n\xff\0{"
    async with raw(OK, answer, answer, OK) as url, Desk(switch_at(url, timeout_ms=300)) as desk:
        await until(lambda: desk.switch.state().up)
        for _ in range(3):
            await desk.switch.hang_up(CALL, NORMAL_CLEARING)
        assert desk.switch.state().up


async def test_one_answer_confirms_one_delivery() -> None:
    """Two answers to one request: the second is not that to the next one."""
    no = b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"
    async with raw(OK, OK + OK, no) as url, Desk(switch_at(url)) as desk:
        await until(lambda: desk.switch.state().up)
        await desk.switch.hang_up(CALL, NORMAL_CLEARING)
        with pytest.raises(SwitchUnavailable, match="500"):
            await desk.switch.hang_up(CALL, NORMAL_CLEARING)


async def test_an_answer_that_trickles_is_given_up_in_time() -> None:
    """Each byte comes soon, and the last never."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        while not writer.is_closing():
            writer.write(b"X: y\r\n")
            await writer.drain()
            await asyncio.sleep(0.01)

    async with serving(serve) as port, Desk(switch_at(f"http://127.0.0.1:{port}/", timeout_ms=200)) as desk:
        await until(lambda: desk.switch.state().detail != "not asked yet")
        with pytest.raises(SwitchUnavailable):
            await desk.switch.hang_up(CALL, NORMAL_CLEARING)


# ---- TLS


@pytest.mark.parametrize("trouble", ["another name", "another certificate", "no TLS", "silence"])
async def test_where_tls_fails_nothing_is_told(tmp_path: Path, trouble: str) -> None:
    certificate, key = certify(tmp_path, "sbc", "192.0.2.1" if trouble == "another name" else "127.0.0.1")
    trusted = certify(tmp_path, "other")[0] if trouble == "another certificate" else certificate
    served = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    served.load_cert_chain(certificate, key)

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with serving(say_nothing) as deaf, Receiver(None if trouble == "no TLS" else served) as sbc:
        port = deaf if trouble == "silence" else sbc.port
        tls = ssl.create_default_context(cafile=str(trusted))
        clock = ScaledClock(PatientClock(), SPEED)
        courier = Courier(f"https://127.0.0.1:{port}{PATH}", SECRET.encode(), clock=clock, timeout_ms=500, tls=tls)
        async with Desk(WebhookSwitch(name="sbc", courier=courier, clock=clock)) as desk:
            await until(lambda: courier.counts.unanswered)
            with pytest.raises(SwitchUnavailable):
                await desk.switch.hang_up(CALL, NORMAL_CLEARING)
            assert not desk.switch.state().up
        assert (sbc.told, sbc.pings) == ([], 0)
