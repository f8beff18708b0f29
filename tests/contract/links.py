"""Links of a test's own, and servers that are no Redis."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from callctl.store.address import parse_address
from callctl.store.link import Link, LinkTimes

QUICK = LinkTimes(call_ms=300, connect_ms=1_000, ping_every_ms=50, tick_ms=10, retry_longest_ms=50)

Peer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def linked(url: str, **options: Any) -> AsyncIterator[Link]:
    link = Link(parse_address(url), **options)
    try:
        await link.open()
        yield link
    finally:
        await link.close()


@contextlib.asynccontextmanager
async def served(peer: Peer) -> AsyncIterator[str]:
    """The URL at which `peer` meets whoever connects."""
    meetings: set[asyncio.Task[None]] = set()

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        meetings.add(task)
        with contextlib.suppress(ConnectionError):
            try:
                await peer(reader, writer)
            finally:
                writer.close()
                await writer.wait_closed()

    server = await asyncio.start_server(meet, "127.0.0.1", 0)
    try:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for _ in range(5):  # turns of the loop until who was just accepted is met
            await asyncio.sleep(0)
        for meeting in meetings:
            meeting.cancel()
        await asyncio.gather(*meetings, return_exceptions=True)
