"""GET /callcontrol/ws: events to whoever is connected, in the ways in which they can go wrong."""

import asyncio
import contextlib
import json
from typing import Any
from urllib.parse import quote

from aiohttp import web

from callctl.ports import Clock
from callctl.simulators.threecx.calls import Leg
from callctl.simulators.threecx.pbx import REMOVE
from callctl.simulators.threecx.setup import Faults

REORDERED_MS = 200
RESPONSE = 4
LONGEST_REQUEST_BYTES = 64 * 1024


class EventServer:
    """`sent`: how many events were sent to anybody."""

    def __init__(self, faults: Faults, clock: Clock) -> None:
        self.sent = 0
        self.sockets: dict[web.WebSocketResponse, int] = {}
        """Each with the number of its last event."""
        self._requests: dict[web.WebSocketResponse, web.Request] = {}
        self._faults = faults
        self._clock = clock
        self._held: list[dict[str, Any]] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(max_msg_size=LONGEST_REQUEST_BYTES)
        await socket.prepare(request)
        self.sockets[socket] = 0
        self._requests[socket] = request
        try:
            async for frame in socket:
                if frame.type.name == "TEXT":
                    await self._answer(socket, frame.data)
        finally:
            self.sockets.pop(socket, None)
            del self._requests[socket]
        return socket

    def tell(self, kind: int, leg: Leg, data: dict[str, Any] | None, shown: dict[str, Any] | None) -> None:
        """`data` belongs to the event; `shown` is the participant."""
        if self._faults.lose_ends and kind == REMOVE:
            return
        attached = data if data is not None else shown if self._faults.attached and kind != REMOVE else None
        entity = f"/callcontrol/{quote(leg.dn, safe='')}/participants/{leg.id}"
        event = {"event_type": kind, "entity": entity, "attached_data": attached}
        self._in_order([event, event] if self._faults.duplicate else [event])
        if self._faults.unknown_events:
            self._in_order([{**event, "event_type": 5}])

    async def drop_all(self) -> None:
        """Every websocket breaks without a close frame (1006)."""
        for socket in tuple(self.sockets):
            transport = socket.get_extra_info("peername") and socket._req and socket._req.transport
            if transport:
                transport.abort()
        self.sockets.clear()

    def stop(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()

    def _in_order(self, events: list[dict[str, Any]]) -> None:
        if not self._faults.reorder:
            self._later(events)
            return
        self._held += events
        if len(self._held) >= 2:
            self._later(list(reversed(self._held)))
            self._held = []
        else:
            self._start(self._release_held())

    async def _release_held(self) -> None:
        await self._clock.sleep_ms(REORDERED_MS)
        held, self._held = self._held, []
        self._later(held)

    def _later(self, events: list[dict[str, Any]]) -> None:
        if self._faults.late_ms:
            self._start(self._late(events))
        else:
            self._send(events)

    async def _late(self, events: list[dict[str, Any]]) -> None:
        await self._clock.sleep_ms(self._faults.late_ms)
        self._send(events)

    def _send(self, events: list[dict[str, Any]]) -> None:
        """To every socket, numbered by it."""
        for event in events:
            if self._faults.stalled:
                continue
            lost = self._faults.lose > 0
            self._faults.lose -= lost
            for socket in tuple(self.sockets):
                self.sockets[socket] += 1
                if not lost and not socket.closed:
                    self.sent += 1
                    self._write(socket, {"sequence": self.sockets[socket], "event": event})

    def _write(self, socket: web.WebSocketResponse, frame: dict[str, Any]) -> None:
        self._start(_sent(socket, json.dumps(frame), binary=self._faults.binary_frames))

    async def _answer(self, socket: web.WebSocketResponse, text: str) -> None:
        """A request over the websocket, as a keepalive uses it: GET of a path that we know nothing of."""
        try:
            asked = json.loads(text)
        except ValueError:
            return
        if isinstance(asked, dict) and "RequestID" in asked:
            known = asked.get("Path") == "/callcontrol"
            told = {"RequestID": asked["RequestID"], "Path": asked.get("Path"), "StatusCode": 200 if known else 404}
            event = {"event_type": RESPONSE, "entity": "", "attached_data": {**told, "Response": None}}
            self.sockets[socket] += 1
            self._write(socket, {"sequence": self.sockets[socket], "event": event})

    def _start(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _sent(socket: web.WebSocketResponse, text: str, *, binary: bool) -> None:
    with contextlib.suppress(ConnectionError, RuntimeError):  # the client is gone
        await (socket.send_bytes(text.encode()) if binary else socket.send_str(text))
