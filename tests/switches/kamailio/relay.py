"""A TCP relay between an adapter and a switch that speaks netstrings: it can lose messages, and the link."""

import asyncio
from collections.abc import Callable
from typing import Any, Self

import msgspec

from callctl.adapters.kamailio.wire import Reader
from tests.servers import HOST

Told = Callable[[dict[str, Any]], int]
"""How many times a message of the switch is passed on."""


class Relay:
    """Listens on `port`. `passes` decides about each message of the switch; `told` keeps them all.

    Events are passed on `delay_s` after they came.
    """

    port: int

    def __init__(self, host: str, port: int) -> None:
        self._switch = (host, port)
        self._links: set[asyncio.Task[None]] = set()
        self.told: list[dict[str, Any]] = []
        self.passes: Told = lambda message: 1
        self.delay_s = 0.0
        self.port = 0
        self._flows = asyncio.Event()
        self._flows.set()

    async def __aenter__(self) -> Self:
        await self.restore()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.cut()

    def lose(self, event: str) -> None:
        self.passes = lambda message: 0 if message.get("event") == event else 1

    def hang(self) -> None:
        """Nothing is passed on, either way, and the connections stay."""
        self._flows.clear()

    def resume(self) -> None:
        self._flows.set()

    async def cut(self) -> None:
        """No link, and none can be made."""
        self._server.close()
        links = tuple(self._links)
        for link in links:
            link.cancel()
        await asyncio.gather(*links, return_exceptions=True)
        await self._server.wait_closed()

    async def restore(self) -> None:
        self._server = await asyncio.start_server(self._accept, HOST, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = asyncio.current_task()
        assert link is not None
        self._links.add(link)
        try:
            to_reader, to_writer = await asyncio.open_connection(*self._switch)
            ways = [
                asyncio.create_task(self._commands(reader, to_writer)),
                asyncio.create_task(self._messages(to_reader, writer)),
            ]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                to_writer.close()
        except OSError:
            pass
        finally:
            self._links.discard(link)
            writer.close()

    async def _commands(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            await self._flows.wait()
            writer.write(data)

    async def _messages(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        frames = Reader()
        while data := await reader.read(65_536):
            for frame in frames.feed(data):
                message = msgspec.json.decode(frame)
                self.told.append(message)
                await self._flows.wait()
                passed_on = b"%d:%b," % (len(frame), frame) * self.passes(message)
                if self.delay_s and "event" in message:
                    asyncio.get_running_loop().call_later(self.delay_s, writer.write, passed_on)
                else:
                    writer.write(passed_on)
