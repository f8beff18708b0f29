"""A Redis of the bench's own: in memory, nothing written, gone with the bench."""

import asyncio
import contextlib
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from callctl.store.address import parse_address
from callctl.store.link import Link, LinkTimes

START_S = 5.0
TIMES = LinkTimes(call_ms=10_000)  # a figure is wanted, not a deadline


class NotInstalledError(Exception):
    """What is needed to measure is not on this machine."""


class Redis:
    """A running server, and what it has used."""

    def __init__(self, port: int, link: Link) -> None:
        self.port = port
        self.link = link

    async def info(self, *names: str) -> float:
        """The sum of these figures of INFO."""
        text: Any = await self.link.call("INFO")
        lines = dict(line.split(":", 1) for line in text.decode().splitlines() if ":" in line)
        return sum(float(lines[name]) for name in names)

    async def cpu_s(self) -> float:
        return await self.info("used_cpu_user", "used_cpu_sys")


@contextlib.asynccontextmanager
async def redis(scratch: Path) -> AsyncIterator[Redis]:
    """NotInstalledError without redis-server."""
    binary = shutil.which("redis-server")
    if binary is None:
        raise NotInstalledError("redis-server is missing (Debian: redis-server)")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [binary, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    command += ["--dir", str(scratch), "--logfile", str(scratch / "redis.log")]
    process = await asyncio.create_subprocess_exec(*command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    link = Link(parse_address(f"redis://127.0.0.1:{port}/0"), times=TIMES)
    try:
        async with asyncio.timeout(START_S):
            await _until_up(link)
        yield Redis(port, link)
    finally:
        await link.close()
        process.terminate()
        await process.wait()


async def _until_up(link: Link) -> None:
    with contextlib.suppress(Exception):
        await link.open()
    await link.ready(round(START_S * 1000))


async def redis_benchmark(port: int, requests: int, clients: int, pipeline: int, command: Sequence[str]) -> float:
    """Requests per second of redis-benchmark itself. NotInstalledError without it."""
    binary = shutil.which("redis-benchmark")
    if binary is None:
        raise NotInstalledError("redis-benchmark is missing (Debian: redis-tools)")
    arguments = ["-p", str(port), "-n", str(requests), "-c", str(clients), "-P", str(pipeline)]
    process = await asyncio.create_subprocess_exec(
        binary, *arguments, "-r", "1000000000", "--csv", *command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    told, _ = await process.communicate()
    rates = [line.rsplit('","', 7)[1] for line in told.decode().splitlines()[1:] if line]
    return float(rates[0])
