"""The `socket` application: the switch connects to a controller with each call, and tells it all of the leg."""

import asyncio
import contextlib
from urllib.parse import quote

from callctl.simulators.esl.channel import Channel
from callctl.simulators.esl.core import Core

READ_BYTES = 64 * 1_024


async def knock(core: Core, leg: Channel) -> None:
    """At each address in turn, until one listens; then until it is lost or the leg leaves."""
    for address in core.setup.gate:
        host, _, port = address.rpartition(":")
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection(host, int(port))
            try:
                if await _connected(core, leg, reader, writer):
                    core.emit("CHANNEL_PARK", leg)
                    while await reader.read(READ_BYTES):
                        pass
                return
            finally:
                writer.close()


async def _connected(core: Core, leg: Channel, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Whether somebody asked what is calling, and was told."""
    asked = b""
    while b"\n\n" not in asked:
        data = await reader.read(READ_BYTES)
        if not data:
            return False
        asked += data
    stamp = {"Event-Name": "CHANNEL_DATA", "Core-UUID": core.uuid, "Event-Date-Timestamp": str(core.now_us())}
    told = {**stamp, **leg.headers(), "Content-Type": "command/reply", "Reply-Text": "+OK\n"}
    told |= {"Socket-Mode": "async", "Control": "full"}
    lines = [f"{name}: {quote(str(value), safe='/, ', errors='surrogateescape')}\n" for name, value in told.items()]
    lines = [line if not line.startswith("Content-Type") else "Content-Type: command/reply\n" for line in lines]
    writer.write("".join(lines).encode() + b"\n")
    await writer.drain()
    return True
