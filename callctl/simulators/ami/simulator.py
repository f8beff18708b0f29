"""`AmiSimulator`: an Asterisk without SIP, sound or root, for tests and the demo."""

import asyncio
import ssl
from collections.abc import Coroutine
from types import TracebackType
from typing import Self

from callctl.clock import SystemClock
from callctl.ports import Clock
from callctl.simulators.ami.actions import Actions
from callctl.simulators.ami.announcement import Announcement, announce
from callctl.simulators.ami.call import Script, SimCall
from callctl.simulators.ami.channel import EndedBy, Ending
from callctl.simulators.ami.dialplan import Dialplan
from callctl.simulators.ami.exchange import Exchange, Faults, Setup
from callctl.simulators.ami.server import ManagerServer, User, listen


class AmiSimulator:
    """Serves the manager interface on a real socket and plays calls through the shipped dialplan's gate.

    `async with AmiSimulator(users={"callctl": User("secret")}) as switch:` listens on `switch.port`;
    `switch.place_call(Script(caller="31201234567", called="31612345678"))` is a phone that dials.
    All waiting runs on `clock`; a ScaledClock makes an hour of talk pass in a minute.
    """

    def __init__(
        self,
        users: dict[str, User],
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        tls: ssl.SSLContext | None = None,
        setup: Setup = Setup(),  # noqa: B008  frozen
        clock: Clock | None = None,
    ) -> None:
        self.host, self.port = host, port
        self.calls: list[SimCall] = []
        """The calls that are up."""
        self._tls = tls
        self._tasks: set[asyncio.Task[None]] = set()
        self._socket: asyncio.Server | None = None
        self.exchange = Exchange(setup, clock or SystemClock())
        self._dialplan = Dialplan(self.exchange)
        self.actions = Actions(self.exchange, self._originate)
        self._server = ManagerServer(self.exchange, self.actions, users)

    async def __aenter__(self) -> Self:
        await self._listen()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._vanish()

    @property
    def faults(self) -> Faults:
        """What goes wrong; set its fields."""
        return self.exchange.faults

    @property
    def logins(self) -> int:
        """How often a login was tried."""
        return self._server.logins

    def place_call(self, script: Script) -> SimCall:
        """A phone dials; the call goes through the gate by itself."""
        call = self._dialplan.new_call(script)
        self.calls.append(call)
        self._start(self._play(call))
        return call

    def freeze(self) -> None:
        """The process hangs: connections stay open and are accepted, nothing is answered or told."""
        self._server.running.clear()

    def thaw(self) -> None:
        """What was held back by `freeze` goes out."""
        self._server.running.set()

    async def drop_links(self) -> None:
        """Every manager connection breaks; calls go on."""
        await self._server.drop_all()

    async def stop_listening(self) -> None:
        """New manager connections are refused by the operating system; `listen_again` ends it."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    async def listen_again(self) -> None:
        if self._socket is None:
            await self._listen()

    async def restart(self, *, cleanly: bool = False) -> None:
        """All calls end. A killed switch says nothing; `cleanly` it tells each Hangup and Shutdown."""
        if cleanly:
            for call in list(self.calls):
                for leg in (call.caller, call.callee):
                    if leg is not None:
                        leg.end(Ending(EndedBy.SWITCH, 16))
                await call.outcome()
            self.exchange.emit("Shutdown", [("Shutdown", "Cleanly"), ("Restart", "False")], of="system")
            await asyncio.sleep(0)  # the connections write what they were told
        await self._vanish()
        self.thaw()
        await self._listen()

    async def _listen(self) -> None:
        self._socket = await listen(self._server, self.host, self.port, self._tls)
        self.port = self._socket.sockets[0].getsockname()[1]

    async def _vanish(self) -> None:
        """Nothing is told: no socket, no connection, no channel, no call."""
        await self.stop_listening()
        await self._server.drop_all()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for channel in self.exchange:
            self.exchange.remove(channel)
        for call in self.calls:
            call.was_ended(503, 38, EndedBy.SWITCH, self.exchange.now_us())
        self.calls.clear()

    async def _play(self, call: SimCall) -> None:
        await self._dialplan.run(call)
        self.calls.remove(call)

    def _originate(self, asked: Announcement) -> None:
        self._start(announce(self.exchange, asked, self.calls))

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
