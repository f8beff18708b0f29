"""Connections: slow, silent, broken and too many clients, and the end of the server."""

import asyncio
import json
import re
import socket
import ssl
import struct
from typing import Any

import pytest

from callctl.http import connection, server
from callctl.http.fast_path import LARGEST
from callctl.http.server import HttpServer, Limits
from tests.e2e.front_door import NL_MOB
from tests.e2e.test_tls import certify
from tests.waiting import PATIENCE_S, until


class Served:
    """The application behind its real listening socket."""

    def __init__(self, door, tls: ssl.SSLContext | None = None, **limits: float) -> None:
        self.refusals = 0
        self.server = HttpServer(door.site, "127.0.0.1", 0, refused=self._refused, limits=Limits(**limits), tls=tls)

    def _refused(self) -> None:
        self.refusals += 1

    async def __aenter__(self) -> "Served":
        self.port = await self.server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.server.stop()

    async def stop(self) -> None:
        await self.server.stop()

    async def connect(self, **how: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port, **how)


def plain(call_id: str, path: str = "/v1/calls") -> bytes:
    """A request for the fast path."""
    body = json.dumps({"call_id": call_id, "from": "+31201234567", "to": NL_MOB, "account": "acme"})
    return (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ops\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


async def answer(reader: asyncio.StreamReader) -> Any:
    """The next one; its status must be 200."""
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n"), head
    (length,) = re.findall(rb"Content-Length: (\d+)", head)
    return json.loads(await reader.readexactly(int(length)))


def hold_back(door, monkeypatch) -> tuple[asyncio.Event, asyncio.Event]:
    """Decisions are `entered`, and not made before `go_on`."""
    entered, go_on = asyncio.Event(), asyncio.Event()
    authorize = door.calls.authorize

    async def slow(offered):
        entered.set()
        await go_on.wait()
        return await authorize(offered)

    monkeypatch.setattr(door.calls, "authorize", slow)
    return entered, go_on


HEALTH = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


async def test_connections_that_say_nothing_hurt_nobody_and_are_closed(door) -> None:
    async with Served(door, silence_s=1) as served:
        silent = [await served.connect() for _ in range(1000)]
        reader, writer = await served.connect()
        writer.write(HEALTH)
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        async with asyncio.timeout(PATIENCE_S):
            for reader, _ in silent:
                assert await reader.read() == b""
        for _, closing in silent:
            closing.close()
        writer.close()


async def test_headers_that_come_drop_by_drop_are_not_waited_for(door) -> None:
    async with Served(door, silence_s=1) as served:
        reader, writer = await served.connect()
        ended = asyncio.ensure_future(reader.read())
        async with asyncio.timeout(PATIENCE_S):
            for byte in HEALTH[:-1] * 1000:
                if ended.done():
                    break
                writer.write(bytes([byte]))
                await asyncio.wait([ended], timeout=0.05)
        assert b"200" not in await ended
        writer.close()


async def test_a_connection_too_many_is_closed_and_counted(door) -> None:
    async with Served(door, connections=2) as served:
        kept = [await served.connect() for _ in range(2)]
        for _, writer in kept:
            writer.write(HEALTH)
        for reader, _ in kept:
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        reader, extra = await served.connect()
        assert await reader.read() == b""
        await until(lambda: served.refusals == 1)
        for writer in (extra, *(writer for _, writer in kept)):
            writer.close()


async def test_a_body_that_does_not_arrive_is_given_up(door, monkeypatch) -> None:
    monkeypatch.setattr("callctl.http.body.ARRIVAL_TIMEOUT_S", 0.05)
    monkeypatch.setattr(connection, "PATIENCE_S", 0)
    monkeypatch.setattr(server, "_LOOK_EVERY_S", 0.01)
    async with Served(door) as served:
        reader, writer = await served.connect()
        writer.write(b"POST /v1/calls HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ops\r\nContent-Length: 10\r\n\r\n{")
        assert (await reader.readline()).startswith(b"HTTP/1.1 408")
        writer.close()


async def test_garbage_is_answered_and_the_server_goes_on(door) -> None:
    async with Served(door) as served:
        for raw in (
            b"\x00\xff\xfe\r\n\r\n",
            b"GET / HTTP/9.9\r\n\r\n",
            b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n",
        ):
            reader, writer = await served.connect()
            writer.write(raw)
            assert (await reader.readline()).startswith(b"HTTP/1.")
            writer.close()
        reader, writer = await served.connect()
        writer.write(HEALTH)
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        writer.close()


async def test_a_broken_request_does_not_bring_its_token_into_the_log(door, caplog) -> None:
    async with Served(door) as served:
        reader, writer = await served.connect()
        writer.write(plain("c1").replace(b"\r\n", b"\n"))
        assert b" 400 " in await reader.readline()
        writer.close()
    assert caplog.text == ""


async def test_whoever_closes_its_half_is_answered_first(door) -> None:
    async with Served(door) as served:
        reader, writer = await served.connect()
        writer.write(plain("c1") + plain("c2") + plain("c3")[:-1])
        writer.write_eof()
        assert (await answer(reader))["call_id"] == "c1"
        assert (await answer(reader))["call_id"] == "c2"
        assert await reader.read() == b""
        writer.close()
    assert len(door.calls.live()) == 2


async def test_a_connection_may_mix_all_routes(door) -> None:
    async with Served(door) as served:
        reader, writer = await served.connect()
        for number in range(2):
            writer.write(plain(f"c{number}"))
            assert (await answer(reader))["verdict"] == "allowed"
            writer.write(HEALTH)
            assert await answer(reader) == {"status": "ok"}
        writer.write(plain("c1", "/v1/explain") + HEALTH + plain("c3"))
        assert (await answer(reader))["call_id"] == "c1"
        assert await answer(reader) == {"status": "ok"}
        assert (await answer(reader))["call_id"] == "c3"
        writer.close()
    assert [session.call.call_id for session in door.calls.live()] == ["c0", "c1", "c3"]


async def test_the_same_over_tls(door, tmp_path) -> None:
    certify(tmp_path, "callctl")
    ours = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ours.load_cert_chain(tmp_path / "callctl.crt", tmp_path / "callctl.key")
    async with Served(door, ours) as served:
        reader, writer = await served.connect(ssl=ssl.create_default_context(cafile=tmp_path / "callctl.crt"))
        for number in range(2):
            writer.write(plain(f"c{number}"))
            assert (await answer(reader))["call_id"] == f"c{number}"
        writer.write(HEALTH + plain("c2"))
        assert await answer(reader) == {"status": "ok"}
        assert (await answer(reader))["call_id"] == "c2"
        writer.close()


async def test_what_comes_before_it_is_asked_for_is_answered_in_order(door) -> None:
    names = [f"call-{number}" for number in range(LARGEST // 100)]
    async with Served(door) as served:
        reader, writer = await served.connect()
        writer.write(b"".join(map(plain, names)))
        assert [(await answer(reader))["call_id"] for _ in names] == names
        writer.close()


async def test_who_takes_no_answers_gets_no_more_decisions_and_is_closed(door, monkeypatch) -> None:
    asked, authorize = 0, door.calls.authorize

    async def counted(offered):
        nonlocal asked
        asked += 1
        return await authorize(offered)

    monkeypatch.setattr(door.calls, "authorize", counted)
    async with Served(door, silence_s=0.1, connections=1) as served:
        small = socket.socket()
        small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        small.connect(("127.0.0.1", served.port))
        _, writer = await asyncio.open_connection(sock=small)
        writer.write(plain("c1") * 20_000)
        await until(lambda: asked)
        async with asyncio.timeout(PATIENCE_S):
            while not await listened_to(served):
                pass
        assert 0 < asked < 20_000
        writer.transport.abort()


async def test_who_closes_its_half_and_takes_no_answers_counts_until_it_is_closed(door) -> None:
    async with Served(door, silence_s=0.1, connections=1) as served:
        small = socket.socket()
        small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        small.connect(("127.0.0.1", served.port))
        _, writer = await asyncio.open_connection(sock=small)
        writer.transport.pause_reading()
        await until(lambda: served.server._connections)
        (theirs,) = (each._transport for each in served.server._connections)
        theirs.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        while not theirs.get_write_buffer_size():  # more answers than the sockets take, fewer than make us wait
            writer.write(plain("c1"))
            await asyncio.sleep(0)
        writer.write_eof()
        await until(theirs.is_closing)
        assert served.server._connections
        async with asyncio.timeout(PATIENCE_S):
            while not await listened_to(served):
                pass
        assert not served.server._connections
        writer.transport.abort()


async def test_a_decision_that_is_broken_off_closes_its_connection(door, monkeypatch) -> None:
    async def broken_off(_):
        raise asyncio.CancelledError

    monkeypatch.setattr(door.calls, "authorize", broken_off)
    async with Served(door) as served:
        reader, writer = await served.connect()
        writer.write(plain("c1"))
        async with asyncio.timeout(PATIENCE_S):
            assert await reader.read() == b""
        writer.close()


async def listened_to(served: Served) -> bool:
    reader, writer = await served.connect()
    try:
        writer.write(HEALTH)
        return (await reader.readline()).startswith(b"HTTP/1.1 200")
    except ConnectionError:
        return False
    finally:
        writer.close()


async def test_a_connection_that_says_nothing_more_is_closed(door) -> None:
    async with Served(door, silence_s=1) as served:
        reader, writer = await served.connect()
        writer.write(plain("c1"))
        assert (await answer(reader))["call_id"] == "c1"
        async with asyncio.timeout(PATIENCE_S):
            assert await reader.read() == b""
        writer.close()


async def test_the_rest_of_a_request_is_waited_for(door, monkeypatch) -> None:
    monkeypatch.setattr(connection, "PATIENCE_S", 0)
    monkeypatch.setattr(server, "_LOOK_EVERY_S", 0.01)
    async with Served(door) as served:
        reader, writer = await served.connect()
        raw = plain("c1")
        writer.write(raw[:-1])
        await until(lambda: served.server._runner.server.connections)  # it is aiohttp's meanwhile
        writer.write(raw[-1:])
        assert (await answer(reader))["call_id"] == "c1"
        writer.close()


async def test_a_client_that_goes_away_leaves_its_decision(door, monkeypatch, caplog) -> None:
    entered, go_on = hold_back(door, monkeypatch)
    async with Served(door, connections=1) as served:
        _, writer = await served.connect()
        writer.write(plain("c1") + plain("c2"))
        await entered.wait()
        gone = struct.pack("ii", 1, 0)  # a reset: an end of the stream could be that of a half
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, gone)
        writer.close()
        await writer.wait_closed()
        go_on.set()
        await until(door.calls.live)
        async with asyncio.timeout(PATIENCE_S):
            while not await listened_to(served):
                pass
    assert [session.call.call_id for session in door.calls.live()] == ["c1"]
    assert not caplog.records


async def test_what_is_under_way_is_finished_when_the_server_stops(door, monkeypatch) -> None:
    entered, go_on = hold_back(door, monkeypatch)
    async with Served(door) as served:
        reader, writer = await served.connect()
        silent, other = await served.connect()
        writer.write(plain("c1") + plain("c2"))
        await entered.wait()
        stopping = asyncio.ensure_future(served.stop())
        assert await silent.read() == b""
        go_on.set()
        assert (await answer(reader))["call_id"] == "c1"
        assert await reader.read() == b""
        await stopping
        writer.close()
        other.close()
        with pytest.raises(OSError, match=r"refused|Connect"):
            await served.connect()
    assert len(door.calls.live()) == 1


async def test_what_takes_too_long_is_cut_off_when_the_server_stops(door, monkeypatch) -> None:
    entered, _ = hold_back(door, monkeypatch)
    async with Served(door, shutdown_s=0.05) as served:
        reader, writer = await served.connect()
        writer.write(plain("c1"))
        await entered.wait()
        async with asyncio.timeout(PATIENCE_S):
            await served.stop()
        assert await reader.read() == b""
        writer.close()
    assert not door.calls.live()
