"""`ThreeCxSimulator`: a 3CX without SIP or a licence, for tests and the demo."""

import ssl
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from callctl.clock import SystemClock
from callctl.ports import Clock
from callctl.simulators.threecx.api import CallControlApi
from callctl.simulators.threecx.auth import Doorkeeper
from callctl.simulators.threecx.calls import Leg, SimCall
from callctl.simulators.threecx.cdrsocket import CdrSender
from callctl.simulators.threecx.events import EventServer
from callctl.simulators.threecx.pbx import Pbx
from callctl.simulators.threecx.setup import Faults, Setup
from callctl.simulators.threecx.xapi import XapiServer

LONGEST_BODY = 64 * 1024 * 1024  # of a stream, which is one body


class ThreeCxSimulator:
    """Serves the API on a real socket; `pbx` has the phones.

    `async with ThreeCxSimulator() as pbx:` listens on `pbx.url`; `pbx.phone_dials("112", "+31612345678")` is a call.
    All waiting runs on `clock`; a ScaledClock makes an hour of talk pass in a minute.
    """

    def __init__(
        self,
        setup: Setup = Setup(),  # noqa: B008  frozen
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        tls: ssl.SSLContext | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.host, self.port = host, port
        self.setup = setup
        self.faults = Faults()
        """What goes wrong; set its fields."""
        self.clock = clock or SystemClock()
        self.pbx = Pbx(setup, self.faults, self.clock)
        self.api = CallControlApi(setup, self.faults, self.clock, self.pbx)
        self.doorkeeper = Doorkeeper(setup, self.faults, self.clock, self._end_streams)
        self.events = EventServer(self.faults, self.clock)
        self.cdr = CdrSender(setup, self.faults)
        self._xapi = XapiServer(setup, self.clock, self.pbx)
        self._tls = tls
        self._runner: web.AppRunner | None = None
        self.pbx.changed = self._changed
        self.pbx.closed = self.cdr.closed

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://{self.host}:{self.port}"

    async def __aenter__(self) -> Self:
        await self.cdr.start(self.host)
        await self.listen()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.pbx.stop()
        await self.stop_listening()
        await self.cdr.stop()

    async def listen(self) -> None:
        """Also again, after `stop_listening`."""
        if self._runner is not None:
            return
        application = web.Application(middlewares=[self._admit], client_max_size=LONGEST_BODY)
        application.add_routes(
            [
                web.post("/connect/token", self.doorkeeper.token),
                web.get("/callcontrol/ws", self.events.serve),
                *self.api.routes(),
                *(self._xapi.routes() if self.setup.xapi else ()),
            ]
        )
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self.host, self.port, ssl_context=self._tls)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop_listening(self) -> None:
        """Nobody answers any more: requests are refused by the operating system, websockets break."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await self.drop_websockets()
            self._end_streams()
            self.events.stop()
            await runner.cleanup()

    async def drop_websockets(self) -> None:
        await self.events.drop_all()

    async def restart(self) -> None:
        """The PBX is killed and starts anew: no call is left, nothing is told, its counters begin again."""
        await self.stop_listening()
        self.pbx.restart()
        await self.listen()

    def phone_dials(self, extension: str, number: str, *, via: str | None = None) -> SimCall | None:
        return self.pbx.phone_dials(extension, number, via=via)

    @web.middleware
    async def _admit(self, request: web.Request, handler: Any) -> web.StreamResponse:
        if request.path != "/connect/token" and not self.doorkeeper.lets_in(request):
            return web.json_response({"error": "unauthorized"}, status=401)
        answer: web.StreamResponse = await handler(request)
        return answer

    def _changed(self, kind: int, leg: Leg, data: dict[str, str] | None) -> None:
        if self.api.visible(leg.dn):
            found = self.pbx.find(leg.dn, str(leg.id))
            self.events.tell(kind, leg, data, self.api.shown(*found) if found is not None else None)

    def _end_streams(self) -> None:
        for ended in tuple(self.api.streams):
            ended.set()
