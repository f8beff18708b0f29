"""The gate by the dialplan's `socket` application: FreeSWITCH connects to us with each call, and tells of it.

What it adds to a parked channel: FreeSWITCH itself tries the next callctl of a list where one is dead, and refuses at
once where none listens. All that follows goes over the link, and so does the verdict: a connection only names the leg
that calls, and no more is believed of it. While there is no link nobody listens, for we could not answer: FreeSWITCH
goes to the next of its list from one that does not listen, and not from one that listens and hangs up.
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

import structlog

from callctl.adapters.freeswitch.legs import uuid_of
from callctl.adapters.freeswitch.wire import Reader, decoded
from callctl.ports import Clock

log = structlog.get_logger(__name__)

READ_BYTES: Final = 64 * 1024
CONNECT: Final = b"connect\n\n"
ANSWER_WITHIN_MS: Final = 3_000
MOST_AT_ONCE: Final = 4_096
LISTEN_AGAIN_MS: Final = 1_000
LOOK_MS: Final = 20


class SocketGate:
    """Listens at `host` and `port` while `serve` runs. `on_call` gets the leg's uuid; it never blocks, never raises."""

    def __init__(
        self, host: str, port: int, clock: Clock, on_call: Callable[[str], None], is_open: Callable[[], bool]
    ) -> None:
        self.host, self.port = host, port
        self.is_listening = False
        self._clock = clock
        self._on_call = on_call
        self._is_open = is_open
        self._connections: set[asyncio.Task[None]] = set()

    async def serve(self) -> None:
        """Until cancelled, while it is open. An address that is taken is tried again."""
        try:
            while True:
                if self._is_open():
                    await self._listen()
                await self._clock.sleep_ms(LOOK_MS)
        finally:
            for task in self._connections:
                task.cancel()

    async def _listen(self) -> None:
        try:
            server = await asyncio.start_server(self._accept, self.host, self.port)
        except OSError as error:
            log.error("freeswitch_gate_not_listening", host=self.host, port=self.port, error=str(error))
            await self._clock.sleep_ms(LISTEN_AGAIN_MS)
            return
        self.port = server.sockets[0].getsockname()[1]
        self.is_listening = True
        try:
            while self._is_open():
                await self._clock.sleep_ms(LOOK_MS)
        finally:
            server.close()  # without waiting for the calls that are connected, as `async with` does from Python 3.12 on
            self.is_listening = False

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or len(self._connections) >= MOST_AT_ONCE or not self._is_open():
            writer.transport.abort()
            return
        self._connections.add(task)
        try:
            with contextlib.suppress(OSError, TimeoutError, asyncio.CancelledError):
                await self._offer(reader, writer)
        finally:
            self._connections.discard(task)
            writer.close()

    async def _offer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Hand the call over, and keep the connection for as long as the channel waits at it."""
        writer.write(CONNECT)
        frames = Reader()
        async with asyncio.timeout(ANSWER_WITHIN_MS / 1000):
            while not (told := frames.feed(await self._read(reader))):
                if frames.fault:
                    return
        self._on_call(uuid_of(decoded(told[0].headers)))
        while await self._read(reader):
            pass

    async def _read(self, reader: asyncio.StreamReader) -> bytes:
        data = await reader.read(READ_BYTES)
        if not data:
            raise ConnectionResetError
        return data
