"""A proxy's SIP worker with the call_control module, and its management socket: the other end of our socket."""

import asyncio
import json
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

from tests.waiting import PATIENCE_S


def init(
    call_id: str, *, to: str = "+31612345678", ip: str = "192.0.2.10", tag: str = "t", diverter: str = "None"
) -> str:
    """The request of a call from +31201234567, as Kamailio writes it."""
    lines = [f"ruri: sip:{to}@127.0.0.1", f"diverter: {diverter}", f"sourceip: {ip}", f"callid: {call_id}"]
    return "\r\n".join(["init", *lines, "from: <sip:+31201234567@x>", f"fromtag: {tag}", "sip_application: audio"])


def start(call_id: str, dialog: str = "7:9") -> str:
    return f"start\r\ncallid: {call_id}\r\ndialogid: {dialog}"


def stop(call_id: str) -> str:
    return f"stop\r\ncallid: {call_id}"


class Worker:
    """One connection, one request at a time, as the module has it: made when there is something to ask."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._writer: asyncio.StreamWriter | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()

    async def connect(self) -> None:
        self._reader, self._writer = await asyncio.open_unix_connection(str(self.path))

    async def ask(self, request: str) -> str:
        """The reply without its line end; "" where the connection was closed."""
        await self.send(request.encode() + b"\r\n\r\n")
        return await self.reply()

    async def send(self, octets: bytes) -> None:
        if self._writer is None:
            await self._ask_first(octets)
        else:
            self._writer.write(octets)
            await self._writer.drain()

    async def _ask_first(self, octets: bytes) -> None:
        """With nothing between connecting and asking, as the module does it: who says nothing is not served."""
        connected = socket.socket(socket.AF_UNIX)
        try:
            connected.connect(str(self.path))
            connected.sendall(octets)
        except OSError:
            connected.close()
            raise
        self._reader, self._writer = await asyncio.open_unix_connection(sock=connected)

    async def reply(self) -> str:
        async with asyncio.timeout(PATIENCE_S):
            line = await self._reader.readline()
        return line.decode().removesuffix("\r\n")


class Management(asyncio.DatagramProtocol):
    """Answers JSON-RPC: `answers` by method, an error where a code is given; `asked` keeps what was."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Any]] = []
        self.answers: dict[str, Any] = {}
        self.silent = False

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        request = json.loads(data)
        self.asked.append((request["method"], request["params"]))
        answer = self.answers.get(request["method"], "")
        outcome = {"error": {"code": answer, "message": "no"}} if isinstance(answer, int) else {"result": answer}
        if not self.silent:
            self._transport.sendto(json.dumps({"jsonrpc": "2.0", "id": request["id"], **outcome}).encode(), addr)


@asynccontextmanager
async def management(path: Path) -> AsyncIterator[Management]:
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    bound.bind(str(path))
    transport, protocol = await asyncio.get_running_loop().create_datagram_endpoint(Management, sock=bound)
    yield protocol
    transport.close()
    path.unlink()  # noqa: ASYNC240


FORKING = """
import os, socket, sys
shared = socket.socket(socket.AF_UNIX)
shared.connect(sys.argv[1])
workers = []
for request in sys.argv[2:]:
    workers.append(os.fork())
    if not workers[-1]:
        shared.sendall(request.encode() + bytes.fromhex("0d0a0d0a"))
        os._exit(0)
for worker in workers[1:]:  # the first stays, and so it is a child still
    os.waitpid(worker, 0)
print(shared.makefile().read(), end="")
"""


async def asked_by_forks(path: Path, *requests: str) -> list[str]:
    """What workers read, until its end, from a connection that was made before they were forked; each asks once."""
    command = [sys.executable, "-c", FORKING, str(path), *requests]
    asking = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    async with asyncio.timeout(PATIENCE_S):
        read, _ = await asking.communicate()
    return read.decode().splitlines()
