"""`AmiSimulator`: an Asterisk without SIP, sound or root, for tests and the demo."""

import asyncio
import ssl

from callctl.clock import SystemClock
from callctl.ports import Clock
from callctl.simulators.ami.actions import Actions
from callctl.simulators.ami.announcement import Announcement, announce
from callctl.simulators.ami.call import Script, SimCall
from callctl.simulators.ami.channel import Ending
from callctl.simulators.ami.dialplan import Dialplan
from callctl.simulators.ami.exchange import Exchange, Faults, Setup
from callctl.simulators.ami.server import ManagerServer, User, listen
from callctl.simulators.ended import EndedBy
from callctl.simulators.serving import SimulatedSwitch


class AmiSimulator(SimulatedSwitch):
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
        self.calls: list[SimCall] = []
        """The calls that are up."""
        self._tls = tls
        self.exchange = Exchange(setup, clock or SystemClock())
        self._dialplan = Dialplan(self.exchange)
        self.actions = Actions(self.exchange, self._originate)
        self._server = ManagerServer(self.exchange, self.actions, users)
        super().__init__(host, port, self._server)

    @property
    def faults(self) -> Faults:
        """What goes wrong; set its fields."""
        return self.exchange.faults

    def place_call(self, script: Script) -> SimCall:
        """A phone dials; the call goes through the gate by itself."""
        call = self._dialplan.new_call(script)
        self.calls.append(call)
        self._start(self._play(call))
        return call

    async def _listen(self) -> asyncio.Server:
        return await listen(self._server, self.host, self.port, self._tls)

    async def _take_leave(self) -> None:
        for call in list(self.calls):
            for leg in (call.caller, call.callee):
                if leg is not None:
                    leg.end(Ending(EndedBy.SWITCH, 16))
            await call.outcome()
        self.exchange.emit("Shutdown", [("Shutdown", "Cleanly"), ("Restart", "False")], of="system")

    def _forget_calls(self) -> None:
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
