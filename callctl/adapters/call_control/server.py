"""The socket that proxies connect to: framing, bounds, permissions, and who shares a connection with whom.

The module of Kamailio connects before it forks. All its workers then have that connection, and read each other's
answers. So a connection on which nothing is asked at first is closed, and one whose peer has forked since after its
first answer: the workers find it closed when they next ask, and each opens its own.
"""

import asyncio
import os
import select
import socket
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import msgspec
import structlog

from callctl.adapters.call_control.wire import END, MOST_BYTES, Reply, Request, parse

log = structlog.get_logger(__name__)

FIRST_OCTET_S: Final = 0.02
"""A worker asks as soon as it is connected. One that is taken for silent wrongly connects anew, at once."""
MOST_CONNECTIONS: Final = 512  # a SIP worker has one

Answer = Callable[[Request], Awaitable[Reply]]


class Local(msgspec.Struct, frozen=True):
    """A unix socket. `mode` and `group` say who may ask; nobody may before they are set."""

    path: Path
    mode: int = 0o660
    group: int | None = None

    def __str__(self) -> str:
        return str(self.path)


class Tcp(msgspec.Struct, frozen=True):
    """For a proxy on another machine: whoever reaches it may ask, so the network must see to it that no other does."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class Counts(msgspec.Struct):
    """What the socket has seen. `shared`: connections closed lest several workers read from one."""

    connections: int = 0
    shared: int = 0
    turned_away: int = 0
    requests: int = 0
    malformed: int = 0
    unanswered: int = 0


class Server:
    """Asks `answer` for the reply to every request; it never raises. `port`: of a Tcp place, once it listens."""

    port: int

    def __init__(self, place: Local | Tcp, answer: Answer) -> None:
        self.counts = Counts()
        self._place = place
        self._answer = answer
        self._open: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    @property
    def connections(self) -> int:
        return len(self._open)

    async def run(self, listening: Callable[[], None]) -> None:
        """Serve until cancelled; OSError where it cannot listen."""
        bound = _bind_local(self._place) if isinstance(self._place, Local) else _bind_tcp(self._place)
        self.port = 0 if isinstance(self._place, Local) else bound.getsockname()[1]
        server = await asyncio.start_server(self._connected, sock=bound, limit=MOST_BYTES)
        try:
            listening()
            await asyncio.get_running_loop().create_future()
        finally:
            server.close()
            if isinstance(self._place, Local):
                self._place.path.unlink(missing_ok=True)
            await self._hang_up()

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._open) >= MOST_CONNECTIONS:
            self.counts.turned_away += 1
            writer.close()
            return
        self.counts.connections += 1
        serving = asyncio.get_running_loop().create_task(self._serve_until_gone(reader, writer))
        self._open[serving] = writer
        serving.add_done_callback(self._close)

    def _close(self, serving: asyncio.Task[None]) -> None:
        self._open.pop(serving).close()

    async def _hang_up(self) -> None:
        writers = [*self._open.values()]
        for serving in self._open:
            serving.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)
        await asyncio.gather(*(writer.wait_closed() for writer in writers), return_exceptions=True)

    async def _serve_until_gone(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._serve(reader, writer)
        except (OSError, EOFError):  # they are gone
            pass
        except asyncio.LimitOverrunError:
            self.counts.malformed += 1
            log.warning("call_control_request_too_long", place=str(self._place))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(FIRST_OCTET_S):
                first = await reader.readexactly(1)
        except TimeoutError:
            if not _has_input(writer):
                self.counts.shared += 1
                return
            first = b""
        request = first + await reader.readuntil(END)
        if _has_forked(writer):
            self.counts.shared += 1
            return await self._answer_one(request, reader, writer)
        while True:
            await self._send(await self._reply(request), writer)
            request = await reader.readuntil(END)

    async def _answer_one(self, request: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Nobody can say which of two workers would read an answer: where a second has asked, neither gets one."""
        another = asyncio.ensure_future(reader.readuntil(END))
        reply = await self._reply(request)
        if not another.done():
            another.cancel()
            await self._send(reply, writer)

    async def _reply(self, request: bytes) -> Reply:
        self.counts.requests += 1
        try:
            asked = parse(request.removesuffix(END))
        except ValueError as wrong:
            self.counts.malformed += 1
            log.warning("call_control_malformed", place=str(self._place), why=str(wrong))
            return Reply.ERROR
        return await self._answer(asked)

    async def _send(self, reply: Reply, writer: asyncio.StreamWriter) -> None:
        writer.write(reply.line)
        await writer.drain()


def _has_input(writer: asyncio.StreamWriter) -> bool:
    """Whether something waits to be read, which the event loop may have been too busy to do."""
    polling = select.poll()
    polling.register(writer.get_extra_info("socket").fileno(), select.POLLIN)
    return bool(polling.poll(0))


def _has_forked(writer: asyncio.StreamWriter) -> bool:
    """Whether the process that connected has children of its own kind. SIP workers have none.

    Where nobody tells (elsewhere than on Linux, in a container of its own) a silent connection is still closed.
    """
    connected: socket.socket = writer.get_extra_info("socket")
    if connected.family != socket.AF_UNIX:
        return False
    peer = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    parent, _, _ = struct.unpack("3i", peer)
    try:
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        return any(_kind(child) == _kind(parent) for child in children)
    except OSError:
        return False


def _kind(pid: int | str) -> str:
    return Path(f"/proc/{pid}/comm").read_text()


def _bind_local(place: Local) -> socket.socket:
    """Listen where nobody does. What an earlier process has left is removed; anything but a socket is not."""
    path = str(place.path)
    if place.path.is_socket():
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex(path) == 0:
                raise OSError(f"{path}: somebody else listens there")
        place.path.unlink()
    bound = socket.socket(socket.AF_UNIX)
    try:
        before = os.umask(0o777)
        try:
            bound.bind(path)
        finally:
            os.umask(before)
        if place.group is not None:
            os.chown(path, -1, place.group)
        place.path.chmod(place.mode)
        bound.listen(MOST_CONNECTIONS)
    except OSError:
        bound.close()
        raise
    return bound


def _bind_tcp(place: Tcp) -> socket.socket:
    return socket.create_server(
        (place.host, place.port), family=socket.AF_INET6 if ":" in place.host else socket.AF_INET
    )
