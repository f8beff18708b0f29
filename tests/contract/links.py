"""Links of a test's own, and servers that are no Redis."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from callctl.store.address import parse_address
from callctl.store.link import Argument, Link, LinkTimes, Reply

PATIENT = LinkTimes(call_ms=30_000, connect_ms=30_000)
QUICK = LinkTimes(call_ms=1_000, connect_ms=1_000, ping_every_ms=50, tick_ms=10, retry_longest_ms=50)

Peer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class CountingLink(Link):
    """It knows how many commands were sent."""

    sent = 0

    def call(self, *command: Argument, timeout_ms: int | None = None) -> "asyncio.Future[Reply]":
        self.sent += 1
        return super().call(*command, timeout_ms=timeout_ms)


@contextlib.asynccontextmanager
async def linked(url: str, **options: Any) -> AsyncIterator[Link]:
    link = Link(parse_address(url), **{"times": PATIENT, **options})
    try:
        await link.open()
        yield link
    finally:
        await link.close()


@contextlib.asynccontextmanager
async def served(peer: Peer) -> AsyncIterator[str]:
    """The URL at which `peer` meets whoever connects. Afterwards nothing is left, not even of who just came."""
    loop = asyncio.get_running_loop()
    meetings: list[asyncio.Task[None]] = []
    over = asyncio.Event()

    async def meet(connection: socket.socket) -> None:
        reader, writer = await asyncio.open_connection(sock=connection)
        with contextlib.suppress(ConnectionError):
            try:
                await peer(reader, writer)
            finally:
                writer.close()
                await writer.wait_closed()

    async def accept() -> None:
        while True:
            connection, _ = await loop.sock_accept(listener)
            if over.is_set():
                connection.close()
                return
            meetings.append(asyncio.create_task(meet(connection)))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        accepting = asyncio.create_task(accept())
        yield f"redis://127.0.0.1:{listener.getsockname()[1]}"
        over.set()  # a last guest ends the accepting: cancelled, it could drop one that has just come
        _, guest = await asyncio.open_connection(*listener.getsockname())
        await accepting
        guest.close()
        with contextlib.suppress(ConnectionError):
            await guest.wait_closed()
    await asyncio.sleep(0)  # every meeting begins, so that it ends in order
    for meeting in meetings:
        meeting.cancel()
    await asyncio.gather(*meetings, return_exceptions=True)
