"""CDR lines over TCP when a call has ended: to a listener (`active`), or to whoever is connected (`passive`)."""

import asyncio
import contextlib

from callctl.simulators.threecx.calls import SimCall
from callctl.simulators.threecx.cdrlines import line
from callctl.simulators.threecx.setup import Faults, Setup


class CdrSender:
    """`port`: where it listens in mode passive."""

    def __init__(self, setup: Setup, faults: Faults) -> None:
        self.port = setup.cdr_port
        self._setup = setup
        self._faults = faults
        self._listeners: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, host: str) -> None:
        if self._setup.cdr == "passive":
            self._server = await asyncio.start_server(self._accept, host, self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        for writer in tuple(self._listeners):
            writer.close()

    def closed(self, call: SimCall) -> None:
        if self._setup.cdr == "none":
            return
        lines = [
            line(it, self._setup.cdr_fields, new_tokens=self._faults.new_cdr_tokens) + "\r\n" for it in call.segments
        ]
        task = asyncio.create_task(self._send("".join(lines).encode()))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._listeners.add(writer)
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await reader.read()
        self._listeners.discard(writer)
        writer.close()

    async def _send(self, data: bytes) -> None:
        with contextlib.suppress(OSError):
            if self._setup.cdr == "passive":
                for writer in tuple(self._listeners):
                    await self._write(writer, data)
                return
            _, writer = await asyncio.open_connection("127.0.0.1", self._setup.cdr_port)
            await self._write(writer, data)
            writer.close()
            await writer.wait_closed()

    async def _write(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        size = self._faults.split_cdr_bytes or len(data)
        for at in range(0, len(data), size):
            writer.write(data[at : at + size])
            await writer.drain()
            await asyncio.sleep(0)
