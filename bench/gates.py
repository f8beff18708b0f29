"""Whole calls over the adapters whose switches ask: a 3CX, and the smallest client of each protocol of the SBCs."""

import asyncio
import contextlib
import itertools
import socket
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import msgspec

from bench.figures import Figure
from bench.provider import Callers, account
from bench.server import Redis
from bench.serving import Daemon, callctl, idle, linked
from callctl.adapters.kamailio.wire import Reader
from callctl.simulators.threecx import Far, Setup, ThreeCxSimulator
from tests.contract.nas import ACCEPT, HOST, START, STOP, Nas
from tests.contract.proxy import Worker, init, start, stop
from tests.radius_packets import SECRET
from tests.servers import free_port

CLIENTS = 50
CALLS = 20  # of each client, one after the other
DECIDED_WITHIN_S = 10
PAYER = account(0).id

Caller = Callable[[str, str], Awaitable[bool]]
"""Makes the whole call of this id to this number; whether it was admitted."""


async def threecx(server: Redis, scratch: Path) -> list[Figure]:
    """Through the route point of the simulated 3CX."""
    async with ThreeCxSimulator(Setup(sim_calls=2 * CLIENTS)) as pbx:
        pbx.pbx.any_far = Far(rings_s=0, talks_s=0)
        told = {"port": int(pbx.url.rpartition(":")[2]), "tls": False, "client_id": "900", "secret": pbx.setup.secret}
        table = {"kind": "threecx", "name": "pbx", "account": PAYER, **told}

        async def call(_: str, number: str) -> bool:
            placed = pbx.pbx.phone_dials("112", number, via=pbx.setup.client_id)
            assert placed is not None
            await placed.over.wait()
            return placed.answered is not None

        async with callctl(server, scratch, table) as door:
            return await _figures("through the 3CX simulator", door, [call] * CLIENTS)


async def evapi(server: Redis, scratch: Path) -> list[Figure]:
    """As Kamailio's evapi."""
    gate = Gate()
    listening = await asyncio.get_running_loop().create_server(lambda: gate, HOST, 0)
    port = listening.sockets[0].getsockname()[1]
    async with listening, callctl(server, scratch, {"kind": "kamailio", "name": "sbc", "port": port}) as door:
        return await _figures("over evapi", door, [gate.call] * CLIENTS)


async def call_control(server: Redis, scratch: Path) -> list[Figure]:
    """As the workers of a proxy with the module call_control."""
    port = free_port(socket.SOCK_STREAM)
    table = {"kind": "call_control", "name": "proxy", "tcp_host": HOST, "tcp_port": port, "trust_diverter": True}
    async with callctl(server, scratch, table) as door, contextlib.AsyncExitStack() as stack:
        workers = [await stack.enter_async_context(RemoteWorker(port)) for _ in range(CLIENTS)]
        return await _figures("over call_control", door, [_through(worker) for worker in workers])


class RemoteWorker(Worker):
    """Over TCP: at a unix socket, this process with its child that is callctl would look like a proxy that forked."""

    def __init__(self, port: int) -> None:
        super().__init__(Path())
        self._port = port

    async def _ask_first(self, octets: bytes) -> None:
        self._reader, self._writer = await asyncio.open_connection(HOST, self._port)
        self._writer.write(octets)


def _through(worker: Worker) -> Caller:
    async def call(call_id: str, number: str) -> bool:
        admitted = await worker.ask(init(call_id, to=number, diverter=PAYER)) == "Limited"
        return admitted and [await worker.ask(told) for told in (start(call_id), stop(call_id))] == ["Ok", "Ok"]

    return call


async def radius(server: Redis, scratch: Path) -> list[Figure]:
    """As gateways: a question, a start and a stop."""
    auth_port, acct_port = (free_port(socket.SOCK_DGRAM) for _ in range(2))
    client = {"address": HOST, "secret": SECRET.decode()}
    table = {"kind": "radius", "name": "gateways", "auth_port": auth_port, "acct_port": acct_port, "client": [client]}
    async with callctl(server, scratch, table) as door, contextlib.AsyncExitStack() as stack:
        gateways = [await stack.enter_async_context(Nas(auth_port, acct_port)) for _ in range(CLIENTS)]
        return await _figures("over RADIUS", door, [_from(gateway) for gateway in gateways])


def _from(gateway: Nas) -> Caller:
    async def call(call_id: str, number: str) -> bool:
        code, _ = await gateway.ask(call_id, to=number, user=PAYER)
        for status in (START, STOP):
            await gateway.tell(status, call_id, 0)
        return code == ACCEPT

    return call


class Gate(asyncio.Protocol):
    """Kamailio's end of the link: does all that it is told at once."""

    def __init__(self) -> None:
        self._reader = Reader()
        self._waiting: dict[int, asyncio.Future[bool]] = {}
        self._dialogs = itertools.count(1)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        for frame in self._reader.feed(data):
            command = msgspec.json.decode(frame)
            result = {"hello": "welcome", "list": []}.get(command["do"], "done")
            self._send({"id": command["id"], "result": result, "at": f"{time.time():.6f}", "missed": 0})
            if command["do"] in ("admit", "reject"):
                self._waiting.pop(command["index"]).set_result(command["do"] == "admit")

    async def call(self, call_id: str, number: str) -> bool:
        dialog = next(self._dialogs)
        admitted = self._waiting[dialog] = asyncio.get_running_loop().create_future()
        asked = {"index": dialog, "label": dialog, "from": "+31201234567", "to": number, "account": PAYER}
        self._tell("offer", call_id, dialog, **asked, source=HOST, direction="outbound")
        if await admitted:
            self._tell("answered", call_id, dialog)
            self._tell("ended", call_id, dialog, by="caller")
        return await admitted

    def _tell(self, event: str, call_id: str, dialog: int, **more: str | int) -> None:
        named = {"call": call_id, "tag": "t", "h_entry": 1, "h_id": dialog}
        self._send({"event": event, "at": f"{time.time():.6f}", **named, **more})

    def _send(self, message: dict[str, Any]) -> None:
        body = msgspec.json.encode(message)
        self._transport.write(b"%d:%b," % (len(body), body))


async def _figures(how: str, door: Daemon, callers: list[Caller]) -> list[Figure]:
    """All clients at once, until every call has ended."""
    async with door.api() as api:
        await linked(api)
        numbers = Callers()
        await _calls(callers[0], numbers)
        cpu_s, before = door.cpu_s(), time.perf_counter()
        await asyncio.gather(*(_calls(caller, numbers) for caller in callers))
        await idle(api)
        took_s, made = time.perf_counter() - before, CALLS * len(callers)
    return [
        Figure(f"whole calls {how}", made / took_s, "calls/s"),
        Figure(f"callctl's CPU for such a call {how}", (door.cpu_s() - cpu_s) / made * 1e6, "us CPU"),
    ]


async def _calls(caller: Caller, numbers: Callers) -> None:
    """TimeoutError where one is not decided, RuntimeError where it is refused."""
    for _ in range(CALLS):
        call_id, _, _, dialled = numbers.dial()
        async with asyncio.timeout(DECIDED_WITHIN_S):
            if not await caller(call_id, f"+31{dialled[1:]}"):
                raise RuntimeError("a call was not admitted: what is measured is not what was meant")
