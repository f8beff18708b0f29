"""The connections to a simulated switch's port: in order and at once, or late, twice, torn or not at all."""

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections import deque
from typing import Any, Generic, TypeVar

import msgspec

from callctl.ports import Clock


class Faults(msgspec.Struct):
    """What goes wrong. May be changed at any time."""

    refuse_logins: bool = False
    duplicate: bool = False
    """Every event is sent twice."""
    lose: frozenset[str] = frozenset()
    """Events of these names are never sent."""
    delay_ms: int = 0
    """Everything that the switch says comes later by this much."""


class Connection(ABC):
    """One connected client. One that leaves more than `unread_bytes` unread is dropped."""

    unread_bytes: int

    def __init__(self, port: "Port[Any]", reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.task = asyncio.current_task()
        self._port = port
        self._reader, self._writer = reader, writer
        self._late: deque[tuple[int, bytes]] = deque()
        self._sender: asyncio.Task[None] | None = None

    @abstractmethod
    async def serve(self) -> None:
        """Until either side ends it."""

    def send(self, data: bytes) -> None:
        """Now; or later and in order, where the switch is frozen or slow."""
        delay_ms = self._port.faults.delay_ms
        if not self._late and not delay_ms and self._port.running.is_set():
            self._write(data)
            return
        self._late.append((self._port.clock.now().monotonic_ms + delay_ms, data))
        if self._sender is None or self._sender.done():
            self._sender = asyncio.create_task(self._send_late())

    async def _send_late(self) -> None:
        clock = self._port.clock
        while self._late:
            await self._port.running.wait()
            due_ms, data = self._late[0]
            await clock.sleep_ms(max(0, due_ms - clock.now().monotonic_ms))
            self._write(data)
            self._late.popleft()

    def _write(self, data: bytes) -> None:
        if self._writer.transport.get_write_buffer_size() > self.unread_bytes:
            self._writer.transport.abort()
        elif not self._writer.is_closing():
            self._writer.write(data)

    def close(self) -> None:
        if self._sender is not None:
            self._sender.cancel()
        with contextlib.suppress(OSError):
            self._writer.close()


Client = TypeVar("Client", bound=Connection)


class Port(ABC, Generic[Client]):
    """Whoever is connected. `running`: cleared while the switch is frozen: it accepts connections and says nothing."""

    def __init__(self, clock: Clock, faults: Faults) -> None:
        self.clock = clock
        self.faults = faults
        self.running = asyncio.Event()
        self.running.set()
        self.logins = 0
        self._clients: set[Client] = set()

    @abstractmethod
    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Client: ...

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until either side ends it."""
        client = self._connected(reader, writer)
        self._clients.add(client)
        try:
            await client.serve()
        except (OSError, asyncio.CancelledError):
            pass  # the other side is gone, or the switch is
        finally:
            self._clients.discard(client)
            client.close()

    async def drop_all(self) -> None:
        """Every connection breaks."""
        tasks = [client.task for client in self._clients if client.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
