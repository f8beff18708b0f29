"""The call_control rig of the contract suite: a proxy's SIP workers, its management socket, and its calls."""

import asyncio
import json
import socket
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

from callctl.adapters.call_control.server import Local
from callctl.adapters.call_control.switch import CallControlSwitch
from callctl.ports import Clock
from tests.contract.proxy import Worker, init, start, stop
from tests.contract.scripted import FROM_OUTSIDE, ScriptedCall
from tests.contract.switchboard import Script, Seen, Trick
from tests.waiting import PATIENCE_S

EARLY, CONFIRMED = 2, 4  # states of Kamailio's dialog module
RINGS_S = 60  # the proxy's own timer
ALLOWED = "Limited"
STATUSES = {"No credit": 402, "Locked": 403}  # as the shipped script answers; anything else is 503
EMERGENCY = ("112", "911", "999")


class CallControlRig:
    """Twenty times as fast as a real proxy."""

    patience_s = PATIENCE_S
    exact_ms = 1_000  # the protocol tells no times: the answer is when we hear of it
    late_ms = 1_500
    cannot: Mapping[Trick, str] = {
        Trick.LATE: "the module waits for the reply to each request",
        Trick.LOST_ANSWER: "nothing but `start` tells of an answer, and the module waits for its reply",
        Trick.HANG: "a proxy that hangs asks nothing: its link is as good as cut",
        Trick.RESTART: "a proxy forgets its calls however it ends: see CRASH",
        Trick.FORWARD: "the next leg is another call of the proxy's",
        Trick.TRANSFER: "a proxy passes a transfer on; the new call is asked for like any other",
        Trick.INBOUND: "the protocol has no direction: every call is outbound",
    }

    def __init__(self, clock: Clock, name: str) -> None:
        self.clock = clock
        self.name = name
        self.dialled: list[str] = []
        self.is_linked = True
        self.tricks: set[Trick] = set()
        self.calls: dict[int, CallControlCall] = {}
        self._directory = TemporaryDirectory(prefix="callctl-rig-")
        self.path = Path(self._directory.name) / "socket"
        self._management_path = Path(self._directory.name) / "management"
        self._entries = count(1)

    async def __aenter__(self) -> Self:
        bound = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        bound.bind(str(self._management_path))
        loop = asyncio.get_running_loop()
        self._management, _ = await loop.create_datagram_endpoint(lambda: _Management(self), sock=bound)
        return self

    async def __aexit__(self, *_: object) -> None:
        for call in self.calls.values():
            await call.vanish()
        self._management.close()
        self._directory.cleanup()

    def adapter(self) -> CallControlSwitch:
        return CallControlSwitch(
            name=self.name,
            place=Local(self.path),
            clock=self.clock,
            management=self._management_path,
            answer_ms=2_000,
            trusts_diverter=True,
        )

    async def place(self, script: Script) -> "CallControlCall":
        entry = next(self._entries)
        call = self.calls[entry] = CallControlCall(self, entry, script)
        return call

    async def cut_link(self) -> None:
        self.is_linked = False

    async def restore_link(self) -> None:
        self.is_linked = True

    async def play(self, trick: Trick) -> None:
        if trick is not Trick.CRASH:
            self.tricks.add(trick)
            return
        for call in self.calls.values():
            await call.vanish()

    async def resume(self) -> None: ...


class CallControlCall(ScriptedCall):
    """Known to its diverter's account. `state` and `start_s`: as the proxy lists it, once it has a dialog."""

    def __init__(self, rig: CallControlRig, entry: int, script: Script) -> None:
        self._rig, self.entry, self.call_id = rig, entry, f"{entry}@192.0.2.10"
        self.state: int | None = None
        self.start_s = 0
        super().__init__(rig.clock, script)

    async def run(self) -> None:
        verdict = await self._ask(init(self.call_id, to=self.script.to, diverter=self.script.account))
        if verdict != ALLOWED and self.script.to not in EMERGENCY:
            self.ended(Seen(STATUSES.get(verdict, 503)))
            return
        self._rig.dialled.append(self.script.to)
        self.state = EARLY
        unanswered = await self.ring(RINGS_S)
        if unanswered is None:
            self.state, self.start_s = CONFIRMED, self.clock.now().wall_ms // 1_000
            self.was_answered()
            await self._tell(start(self.call_id, f"{self.entry}:1"))
            seen, _ = await self.talk(None)
        else:
            seen = unanswered
        self.state = None
        self.ended(seen)
        if Trick.LOST_END not in self._rig.tricks:
            await self._tell(stop(self.call_id))

    async def vanish(self) -> None:
        self.state = None
        await super().vanish()

    async def _tell(self, request: str) -> None:
        for _ in range(2 if Trick.TWICE in self._rig.tricks else 1):
            await self._ask(request)

    async def _ask(self, request: str) -> str:
        """The reply; "" where nobody answers, and the module does not ask again."""
        if not self._rig.is_linked:
            return ""
        try:
            async with Worker(self._rig.path) as worker:
                reply = await worker.ask(request)
        except OSError:
            return ""
        return reply if self._rig.is_linked else ""


class _Management(asyncio.DatagramProtocol):
    """Kamailio's JSON-RPC: lists dialogs and ends them."""

    def __init__(self, rig: CallControlRig) -> None:
        self._rig = rig

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if self._rig.is_linked:
            request = json.loads(data)
            answer = {"jsonrpc": "2.0", "id": request["id"], **self._outcome(request["method"], request["params"])}
            self._transport.sendto(json.dumps(answer).encode(), addr)

    def _outcome(self, method: str, params: Any) -> dict[str, Any]:
        calls = [call for call in self._rig.calls.values() if call.state is not None]
        if method == "dlg.briefing":
            return {"result": [_dialog(call) for call in calls]}
        ended = next((call for call in calls if call.entry == params[0]), None)
        if ended is None:
            return {"error": {"code": 404, "message": "Dialog not found"}}
        ended.end(None, FROM_OUTSIDE)
        return {"result": ""}


def _dialog(call: CallControlCall) -> dict[str, Any]:
    named = {"call-id": call.call_id, "h_entry": call.entry, "h_id": 1}
    return {**named, "state": call.state, "start_ts": call.start_s}
