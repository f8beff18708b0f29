"""The CDR socket of a 3CX: one line of text for each segment of a call, without any authentication.

In its mode "active socket" the PBX connects to us (we listen), in "passive socket" we connect to it. A line ends with
a newline or with the connection, and may come again after one was lost.
"""

import asyncio
import random
from collections.abc import Callable
from typing import Final, Literal

import msgspec
import structlog

from callctl.ports import Clock

log = structlog.get_logger(__name__)

LONGEST_LINE: Final = 64 * 1024
LOOPBACK: Final = frozenset({"127.0.0.1", "::1"})
AGAIN_MS: Final = 5_000


class CdrSocket(msgspec.Struct, frozen=True, kw_only=True):
    """`listen`: we wait on host and port for `peers` (and this machine); `connect`: we dial them."""

    way: Literal["listen", "connect"]
    host: str
    port: int
    peers: frozenset[str] = frozenset()

    async def run(self, tell: Callable[[str], None], clock: Clock) -> None:
        """Hand every line over until cancelled. What cannot be reached or bound is tried again."""
        while True:
            try:
                await (self._listen(tell) if self.way == "listen" else self._connect(tell))
            except OSError as error:
                log.warning("cdr_socket_failed", where=f"{self.host}:{self.port}", error=str(error))
            await clock.sleep_ms(random.randint(AGAIN_MS // 2, AGAIN_MS))

    async def _listen(self, tell: Callable[[str], None]) -> None:
        connected: set[asyncio.StreamWriter] = set()

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connected.add(writer)
            peer = str((writer.get_extra_info("peername") or ("",))[0])
            try:
                if peer in self.peers | LOOPBACK:
                    await _read_lines(reader, tell)
                else:
                    log.warning("cdr_socket_stranger", peer=peer)
            except (OSError, asyncio.CancelledError):
                pass  # the PBX is gone, or we are
            finally:
                connected.discard(writer)
                writer.close()

        server = await asyncio.start_server(accept, self.host, self.port, limit=LONGEST_LINE)
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            server.close()  # without waiting for the PBX to hang up, as `async with` does from Python 3.12 on
            for writer in connected:  # or it would never connect to the next one that listens here
                writer.close()

    async def _connect(self, tell: Callable[[str], None]) -> None:
        reader, writer = await asyncio.open_connection(self.host, self.port, limit=LONGEST_LINE)
        try:
            await _read_lines(reader, tell)
        finally:
            writer.close()


async def _read_lines(reader: asyncio.StreamReader, tell: Callable[[str], None]) -> None:
    while True:
        try:
            line = await reader.readline()
        except ValueError:  # longer than any CDR: the rest of the connection cannot be trusted
            return
        if not line:
            return
        tell(line.decode("utf-8", "replace").rstrip("\r\n"))
