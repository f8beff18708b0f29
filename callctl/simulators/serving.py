"""What every simulated switch does whose links are connections to one port: listen, freeze, break, restart."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self

from callctl.simulators.connections import Port


class SimulatedSwitch(ABC):
    """Listens while its `async with` lasts, on `port` (0: a free one)."""

    def __init__(self, host: str, port: int, connections: Port[Any]) -> None:
        self.host, self.port = host, port
        self._connections = connections
        self._tasks: set[asyncio.Task[None]] = set()
        self._socket: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        await self._begin()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._vanish()

    @property
    def logins(self) -> int:
        """How often a login was tried."""
        return self._connections.logins

    def freeze(self) -> None:
        """The process hangs: connections stay open and are accepted, nothing is answered or told."""
        self._connections.running.clear()

    def thaw(self) -> None:
        """What was held back by `freeze` goes out."""
        self._connections.running.set()

    async def drop_links(self) -> None:
        """Every connection breaks; calls go on."""
        await self._connections.drop_all()

    async def stop_listening(self) -> None:
        """New connections are refused by the operating system; `listen_again` ends it."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    async def listen_again(self) -> None:
        if self._socket is None:
            self._socket = await self._listen()
            self.port = self._socket.sockets[0].getsockname()[1]

    async def restart(self, *, cleanly: bool = False) -> None:
        """All calls end. A killed switch says nothing; `cleanly` it tells each end, and that it stops."""
        if cleanly:
            await self._take_leave()
            await asyncio.sleep(0)  # the connections write what they were told
        await self._vanish()
        self.thaw()
        await self._begin()

    async def _begin(self) -> None:
        await self.listen_again()

    async def _vanish(self) -> None:
        """Nothing is told: no socket, no connection, no channel, no call."""
        await self.stop_listening()
        await self._connections.drop_all()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._forget_calls()

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    @abstractmethod
    async def _listen(self) -> asyncio.Server: ...
    @abstractmethod
    async def _take_leave(self) -> None:
        """Every call ends, and everybody is told so."""

    @abstractmethod
    def _forget_calls(self) -> None: ...
