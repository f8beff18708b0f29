"""The front door: decisions over HTTP beside an aiohttp that does nothing, and whole calls."""

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import ClientSession

from bench.daemon import TOKEN
from bench.figures import Figure, Limit, at_least, percentile, ratio_at_least
from bench.load import CONNECTIONS, post, run
from bench.provider import Callers
from bench.server import Redis

AUTHORIZATIONS = 200  # of each connection, in a round
WHOLE_CALLS = 60
ROUNDS = 4
LINKED_WITHIN_S = 30
IDLE_WITHIN_S = 20
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class Daemon:
    """A process that listens, and the CPU it has used."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self.port = port
        self._process = process

    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S

    def api(self) -> ClientSession:
        """Requests to it, with its token."""
        return ClientSession(f"http://127.0.0.1:{self.port}", headers={"Authorization": f"Bearer {TOKEN}"})


@contextlib.asynccontextmanager
async def daemon(*arguments: str) -> AsyncIterator[Daemon]:
    """`bench.daemon` with these arguments, once it listens."""
    command = (sys.executable, "-m", "bench.daemon", *arguments)
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        yield Daemon(process, int(await process.stdout.readline()))
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def callctl(server: Redis, scratch: Path, *switches: dict[str, Any]) -> contextlib.AbstractAsyncContextManager[Daemon]:
    """callctl on this Redis, linked to the switches of these tables."""
    tables = (msgspec.json.encode(switch).decode() for switch in switches)
    return daemon("callctl", f"redis://127.0.0.1:{server.port}/0", str(scratch), *tables)


async def linked(api: ClientSession) -> None:
    """Wait until it is linked to all of its switches; TimeoutError where it is not."""
    async with asyncio.timeout(LINKED_WITHIN_S):
        while (await api.get("/readyz")).status != 200:  # noqa: ASYNC110  another process
            await asyncio.sleep(0.05)


async def idle(api: ClientSession) -> None:
    """Wait until every call has ended; TimeoutError where one stays. The last may be being settled."""
    async with asyncio.timeout(IDLE_WITHIN_S):
        while (await (await api.get("/v1/calls")).json())["total"]:  # noqa: ASYNC110  another process
            await asyncio.sleep(0.01)


async def http(server: Redis, scratch: Path) -> list[Figure]:
    """Authorizations and whole calls per second of one process, all of them distinct."""
    async with daemon("echo") as bare, callctl(server, scratch) as door:
        callers = Callers()
        echoed, decided, ended = [], [], []
        latencies_s: list[float] = []
        for _ in range(ROUNDS):
            echoed.append(await _rate(bare, callers, AUTHORIZATIONS, whole=False))
            decided.append(await _rate(door, callers, AUTHORIZATIONS, whole=False))
            ended.append(await _rate(door, callers, WHOLE_CALLS, whole=True))
        best = max(decided)
        latencies_s = best.latencies_s
        limit = Limit("aiohttp + msgspec echo of the same bodies", max(echoed).per_s)
        cpu_limit = Limit("the same echo", min(rate.cpu_us for rate in echoed))
        return [
            Figure("HTTP authorize", best.per_s, "/s", (ratio_at_least(0.5), at_least(5_000)), limit),
            Figure("HTTP authorize, CPU of the process", min(rate.cpu_us for rate in decided), "us CPU", (), cpu_limit),
            Figure(f"its latency, {CONNECTIONS} in flight: median", percentile(latencies_s, 50) * 1e3, "ms"),
            Figure("its latency, 99th percentile", percentile(latencies_s, 99) * 1e3, "ms"),
            Figure("HTTP authorize + answer + end", max(ended).per_s, "calls/s", (at_least(1_500),)),
        ]


class Rate(msgspec.Struct, frozen=True, order=True):
    """What one round came to."""

    per_s: float
    cpu_us: float
    latencies_s: list[float]


async def _rate(at: Daemon, callers: Callers, count: int, *, whole: bool) -> Rate:
    requests = [list(_calls(callers, count, whole=whole)) for _ in range(CONNECTIONS)]
    before = at.cpu_s()
    took_s, latencies_s = await run(at.port, [iter(each) for each in requests])
    made = count * CONNECTIONS
    return Rate(made / took_s, (at.cpu_s() - before) / made * 1e6, latencies_s)


def _calls(callers: Callers, count: int, *, whole: bool) -> Iterator[bytes]:
    for _ in range(count):
        call_id, payer, caller, dialled = callers.dial()
        asked = {"call_id": call_id, "account": payer, "from": caller, "to": dialled, "can_extend": True}
        yield post("/v1/calls", msgspec.json.encode(asked), TOKEN)
        if whole:
            yield post(f"/v1/calls/{call_id}/answer", b"{}", TOKEN)
            yield post(f"/v1/calls/{call_id}/end", b'{"q850": 16}', TOKEN)
