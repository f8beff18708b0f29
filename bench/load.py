"""Load over HTTP from one process: connections that stay open, each with its next request once it is answered."""

import asyncio
import time
from collections.abc import Iterator
from typing import cast

CONNECTIONS = 64
_OK = b"HTTP/1.1 200"
_END_OF_HEADERS = b"\r\n\r\n"
_LENGTH = b"Content-Length: "

Requests = Iterator[bytes]


def post(path: str, body: bytes, token: str) -> bytes:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {token}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class _Caller(asyncio.Protocol):
    """One connection. `done`: it has no more requests, or was answered with something else than 200."""

    def __init__(self, requests: Requests, latencies_s: list[float]) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._requests = requests
        self._latencies_s = latencies_s
        self._answer = b""
        self._asked = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._ask()

    def data_received(self, data: bytes) -> None:
        self._answer += data
        head, found, body = self._answer.partition(_END_OF_HEADERS)
        if not found:
            return
        length_at = head.index(_LENGTH) + len(_LENGTH)
        if len(body) < int(head[length_at:].split(b"\r", 1)[0]):
            return
        if not head.startswith(_OK):
            self._end(RuntimeError(self._answer.decode()))
            return
        self._latencies_s.append(time.perf_counter() - self._asked)
        self._answer = b""
        self._ask()

    def connection_lost(self, error: Exception | None) -> None:
        self._end(error or ConnectionError("closed by the server"))

    def _ask(self) -> None:
        request = next(self._requests, None)
        if request is None:
            self._end(None)
        else:
            self._asked = time.perf_counter()
            self._transport.write(request)

    def _end(self, error: Exception | None) -> None:
        if self.done.done():
            return
        if error is None:
            self.done.set_result(None)
        else:
            self.done.set_exception(error)
        self._transport.close()


async def run(port: int, each: list[Requests]) -> tuple[float, list[float]]:
    """Seconds in all, and every request's latency in seconds, sorted."""
    loop = asyncio.get_running_loop()
    latencies_s: list[float] = []
    begun = time.perf_counter()
    connected = [
        await loop.create_connection(lambda requests=requests: _Caller(requests, latencies_s), "127.0.0.1", port)  # type: ignore[misc]
        for requests in each
    ]
    await asyncio.gather(*(caller.done for _, caller in connected))
    return time.perf_counter() - begun, sorted(latencies_s)
