"""The REST part of the Call Control API: paths, bodies and statuses of V20."""

import asyncio
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from callctl.clock import Instant
from callctl.ports import Clock
from callctl.simulators.threecx.calls import CONNECTED, ROUTE_POINT, EndedBy, Leg, SimCall
from callctl.simulators.threecx.pbx import Pbx
from callctl.simulators.threecx.setup import Faults, Setup

SILENCE = bytes(320)  # 20 ms
SILENCE_MS = 20


class CallControlApi:
    """`actions`: what the client did, as (action, dn, body), in order."""

    def __init__(self, setup: Setup, faults: Faults, clock: Clock, pbx: Pbx) -> None:
        self.actions: list[tuple[str, str, dict[str, Any]]] = []
        self.reads = 0
        self.streams: set[asyncio.Event] = set()
        """One for each open stream; setting it ends the stream."""
        self._routing: set[asyncio.Future[bool]] = set()
        self._setup = setup
        self._faults = faults
        self._clock = clock
        self._pbx = pbx

    def routes(self) -> list[web.RouteDef]:
        at = "/callcontrol/{dn}/participants"
        return [
            web.get("/callcontrol", self.everything),
            web.get("/callcontrol/{dn}", self.line),
            web.get("/callcontrol/{dn}/devices", self.devices),
            web.get("/callcontrol/{dn}/devices/{device}", self.device),
            web.get(at, self.participants),
            web.get(at + "/{id}", self.participant),
            web.get(at + "/{id}/stream", self.listen),
            web.post(at + "/{id}/stream", self.speak),
            web.post("/callcontrol/{dn}/makecall", self.make_call),
            web.post("/callcontrol/{dn}/devices/{device}/makecall", self.make_call),
            web.post(at + "/{id}/{action}", self.act),
        ]

    def visible(self, dn: str) -> bool:
        return dn == self._setup.client_id or dn in self._setup.watched

    def shown(self, call: SimCall, leg: Leg) -> dict[str, Any]:
        return leg.shown(call, self._faults)

    # ---- reading

    async def everything(self, _: web.Request) -> web.StreamResponse:
        if self._faults.snapshot_statuses:
            return web.Response(status=self._faults.snapshot_statuses.pop(0))
        return web.json_response([self._line(dn) for dn in (self._setup.client_id, *self._setup.watched)])

    async def line(self, request: web.Request) -> web.StreamResponse:
        line = self._line(self._dn(request))
        return web.json_response([line] if self._faults.single_as_list else line)

    async def devices(self, request: web.Request) -> web.StreamResponse:
        return web.json_response([_device(self._dn(request))])

    async def device(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(self._device(request))

    async def participants(self, request: web.Request) -> web.StreamResponse:
        if self._faults.list_statuses:
            return web.Response(status=self._faults.list_statuses.pop(0))
        return web.json_response([self.shown(call, leg) for call, leg in self._pbx.legs_of(self._dn(request))])

    async def participant(self, request: web.Request) -> web.StreamResponse:
        self.reads += 1
        if self._faults.get_statuses:
            return web.Response(status=self._faults.get_statuses.pop(0))
        if self._faults.forbid_entity:
            raise web.HTTPForbidden
        call, leg = self._found(request)
        shown = self.shown(call, leg)
        if self._faults.slow_get_ms:
            await self._clock.sleep_ms(self._faults.slow_get_ms)
        return web.json_response(shown)

    def _line(self, dn: str) -> dict[str, Any]:
        people: Any = [self.shown(call, leg) for call, leg in self._pbx.legs_of(dn)]
        if (self._faults.null_lists and not people) or self._faults.bare_lines:
            people = None
        return {"dn": dn, "type": self._pbx.kind(dn), "devices": [_device(dn)], "participants": people}

    def _dn(self, request: web.Request) -> str:
        dn = unquote(request.match_info["dn"])
        if not self.visible(dn):
            raise web.HTTPForbidden if self._pbx.kind(dn) else web.HTTPNotFound
        return dn

    def _device(self, request: web.Request) -> dict[str, str]:
        device = _device(self._dn(request))
        if unquote(request.match_info["device"]) != device["device_id"]:
            raise web.HTTPNotFound
        return device

    def _found(self, request: web.Request) -> tuple[SimCall, Leg]:
        found = self._pbx.find(self._dn(request), request.match_info["id"])
        if found is None:
            raise web.HTTPNotFound
        return found

    # ---- acting

    async def act(self, request: web.Request) -> web.StreamResponse:
        action, body = request.match_info["action"], await _body(request)
        self.actions.append((action, request.match_info["dn"], body))
        if self._faults.action_statuses:
            return web.Response(status=self._faults.action_statuses.pop(0))
        call, leg = self._found(request)
        if self._faults.actions_rejected > 0:
            self._faults.actions_rejected -= 1
            return await self._reply(request, call, leg, False)
        done = await self._do(action, call, leg, body)
        return await self._reply(request, call, leg, done)

    async def _do(self, action: str, call: SimCall, leg: Leg, body: dict[str, Any]) -> bool:
        """Whether it succeeded. An HTTP error where it may not be tried."""
        destination = body.get("destination")
        if action in ("divert", "routeto", "transferto") and (not isinstance(destination, str) or not destination):
            raise web.HTTPBadRequest(text="destination")
        match action:
            case "drop":
                self._pbx.hang_up(call, EndedBy.APP)
                return True
            case "answer" if self._pbx.answer(call, leg):
                return True
            case "divert" if self._pbx.divert(call, leg, str(destination)):
                return True
            case "routeto":
                return await self._route(call, leg, str(destination), body)
            case "transferto" if leg.status == CONNECTED:
                return await self._route(call, leg, str(destination), body)
            case "attach_participant_data" | "attach_party_data":
                target = leg if action == "attach_participant_data" else leg.peer
                if target is not None:
                    target.data.update(body.get("attacheddata") or {})
                return True
            case "answer" | "divert" | "transferto":
                raise web.HTTPUnprocessableEntity
            case _:
                raise web.HTTPNotFound

    async def _route(self, call: SimCall, leg: Leg, destination: str, body: dict[str, Any]) -> bool:
        """The PBX goes on with it, also when the request is broken off."""
        routing = asyncio.ensure_future(self._pbx.route(call, leg, destination, _seconds(body)))
        self._routing.add(routing)
        routing.add_done_callback(self._routing.discard)
        return await asyncio.shield(routing)

    async def make_call(self, request: web.Request) -> web.StreamResponse:
        dn, body = self._dn(request), await _body(request)
        if "device" in request.match_info:
            self._device(request)
        self.actions.append(("makecall", dn, body))
        if self._faults.action_statuses:
            return web.Response(status=self._faults.action_statuses.pop(0))
        if not isinstance(body.get("destination"), str) or not body["destination"]:
            raise web.HTTPBadRequest(text="destination")
        call, leg = self._pbx.make_call(dn, body["destination"])
        if call is not None:
            return await self._reply(request, call, leg, True)
        if self._faults.refuse_by_removal:
            ghost = SimCall(0, leg, None, self._clock.now())
            self._pbx.changed(1, leg, None)
            return await self._reply(request, ghost, leg, True)
        return await self._reply(request, None, leg, False, said="No free channels")

    async def _reply(
        self, request: web.Request, call: SimCall | None, leg: Leg, done: bool, *, said: str = "No answer"
    ) -> web.StreamResponse:
        if self._faults.reply_delay_ms:
            await self._clock.sleep_ms(self._faults.reply_delay_ms)
        if self._faults.lose_replies > 0:
            self._faults.lose_replies -= 1
            if request.transport is not None:
                request.transport.abort()
        final: Any = "Success" if done else "Failed"
        if self._faults.numeric_finalstatus:
            final = 1 if done else -1
        result = self.shown(call, leg) if done and call is not None and not self._faults.missing_result else None
        told = {"finalstatus": final, "reason": "None" if done else "NoAnswer", "result": result}
        return web.json_response({**told, "reasontext": "" if done else said})

    # ---- audio

    async def listen(self, request: web.Request) -> web.StreamResponse:
        leg = self._audible(request)
        response = web.StreamResponse(headers={"Content-Type": "application/octet-stream"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        ended = asyncio.Event()
        self.streams.add(ended)
        try:
            while not ended.is_set() and not leg.gone.is_set():
                await response.write(SILENCE)
                await self._clock.sleep_ms(SILENCE_MS)
        finally:
            self.streams.discard(ended)
        return response

    async def speak(self, request: web.Request) -> web.StreamResponse:
        leg = self._audible(request)
        ended = asyncio.Event()
        self.streams.add(ended)
        killed = asyncio.ensure_future(ended.wait())
        gone = asyncio.ensure_future(leg.gone.wait())
        try:
            while True:
                read = asyncio.ensure_future(request.content.readany())
                await asyncio.wait({read, killed, gone}, return_when=asyncio.FIRST_COMPLETED)
                if not read.done():
                    read.cancel()
                    raise web.HTTPUnauthorized if killed.done() else web.HTTPNotFound
                piece = read.result()
                if not piece:
                    if self._faults.stream_hangs:
                        await gone
                    return web.Response(status=self._faults.stream_status)
                if leg.status == CONNECTED:  # what comes before is lost
                    leg.heard.append((piece, self._clock.now()))
        finally:
            self.streams.discard(ended)
            killed.cancel()
            gone.cancel()

    def _audible(self, request: web.Request) -> Leg:
        _, leg = self._found(request)
        if self._faults.stream_424 > 0:
            self._faults.stream_424 -= 1
            raise FailedDependency
        if leg.kind != ROUTE_POINT:
            raise FailedDependency
        return leg


class FailedDependency(web.HTTPClientError):
    status_code = 424


def heard(leg: Leg) -> bytes:
    """All that was streamed to it."""
    return b"".join(piece for piece, _ in leg.heard)


def times_heard(leg: Leg) -> list[Instant]:
    return [at for _, at in leg.heard]


async def _body(request: web.Request) -> dict[str, Any]:
    """A JSON object, also where it says nothing; anything else is malformed."""
    if request.content_type != "application/json":
        raise web.HTTPBadRequest(text="JSON expected")
    try:
        body = await request.json()
    except ValueError as error:
        raise web.HTTPBadRequest(text="JSON expected") from error
    if not isinstance(body, dict):
        raise web.HTTPBadRequest(text="an object expected")
    return body


def _seconds(body: dict[str, Any]) -> float | None:
    timeout = body.get("timeout")
    return timeout if isinstance(timeout, int | float) and timeout > 0 else None


def _device(dn: str) -> dict[str, str]:
    return {"dn": dn, "device_id": f"sip:{dn}@127.0.0.1:5483", "user_agent": "Simulated phone"}
