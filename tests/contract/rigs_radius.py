"""The RADIUS rig of the contract suite: a gateway whose calls follow scripts, and the timer that its answers set."""

import asyncio
import socket
from collections.abc import Mapping
from itertools import count
from typing import Any, Self

from callctl.adapters.radius.server import Places
from callctl.adapters.radius.switch import RadiusSwitch
from callctl.adapters.radius.wire import Client
from callctl.ports import Clock
from tests.contract.nas import ACCEPT, ACKNOWLEDGED, START, STOP, Nas, asked, told
from tests.contract.scripted import FROM_OUTSIDE, ScriptedCall
from tests.contract.switchboard import Script, Seen, Trick
from tests.radius_packets import SECRET, number, pairs, question, reply_to, report
from tests.servers import free_port
from tests.waiting import PATIENCE_S

HOST = "127.0.0.1"
SESSION_TIMEOUT, TERMINATE_CAUSE, SESSION_ID = 27, 49, 44
REFUSED = 403  # what the gateway makes of a reject
ASKS_FOR_S, TRIES = 0.3, 3
EMERGENCY = ("112", "911", "999")
EMERGENCY_LIMIT_S = 86_400


class RadiusRig:
    """Twenty times as fast as a real gateway; its sockets are real ones, for the machine is no faster."""

    patience_s = PATIENCE_S
    exact_ms = 1_500  # Acct-Session-Time is in whole seconds
    late_ms = 1_500
    cannot: Mapping[Trick, str] = {
        Trick.LATE: "a gateway tells lengths, not times: see test_switch_radius",
        Trick.HANG: "a gateway that hangs is one whose link is cut",
        Trick.CRASH: "a gateway that crashes is silent until it reports Accounting-On: see RESTART",
        Trick.FORWARD: "the gateway does not follow them",
        Trick.TRANSFER: "a gateway transfers nobody",
        Trick.INBOUND: "the protocol has no direction: every call is outbound",
    }

    def __init__(self, clock: Clock, name: str) -> None:
        self.clock = clock
        self.name = name
        self.dialled: list[str] = []
        self.linked = asyncio.Event()
        self.linked.set()
        self.tricks: set[Trick] = set()
        self.auth_port, self.acct_port = (free_port(socket.SOCK_DGRAM) for _ in range(2))
        self.calls: dict[str, RadiusCall] = {}
        self._ids = count(1)

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._obeying, _ = await loop.create_datagram_endpoint(lambda: _Obeying(self), (HOST, 0))
        return self

    async def __aexit__(self, *_: object) -> None:
        for call in self.calls.values():
            await call.vanish()
        self._obeying.close()

    def adapter(self) -> RadiusSwitch:
        disconnect_port = self._obeying.get_extra_info("sockname")[1]
        return RadiusSwitch(
            name=self.name,
            places=Places(HOST, self.auth_port, self.acct_port),
            clients=[Client(HOST, SECRET, disconnect_port=disconnect_port)],
            clock=self.clock,
            interim_s=10,
        )

    async def place(self, script: Script) -> "RadiusCall":
        session = f"s{next(self._ids)}"
        call = self.calls[session] = RadiusCall(self, session, script)
        return call

    async def cut_link(self) -> None:
        self.linked.clear()

    async def restore_link(self) -> None:
        self.linked.set()

    async def play(self, trick: Trick) -> None:
        if trick is not Trick.RESTART:
            self.tricks.add(trick)
            return
        for call in self.calls.values():
            await call.vanish()
        async with Nas() as nas:
            nas.send(report([(40, number(7)), (4, bytes([127, 0, 0, 1]))]), self.acct_port)  # Accounting-On
            assert (await nas.answer())[0] == ACKNOWLEDGED

    async def resume(self) -> None: ...


class RadiusCall(ScriptedCall):
    """Asks, goes by the time that it is given, and reports."""

    def __init__(self, rig: RadiusRig, session: str, script: Script) -> None:
        self._rig, self._session = rig, session
        super().__init__(rig.clock, script)

    async def run(self) -> None:
        async with Nas() as nas:
            limit_s = await self._ask(nas)
            if isinstance(limit_s, Seen):
                self.ended(limit_s)
                return
            self._rig.dialled.append(self.script.to)
            unanswered = await self.ring()
            if unanswered is not None:
                self.ended(unanswered)
                await self._tell(nas, STOP, 0)
                return
            self.was_answered()
            telling = asyncio.create_task(self._begins(nas))
            try:
                seen, cause = await self.talk(limit_s)
                self.ended(seen)
                await telling
                if Trick.LOST_END not in self._rig.tricks:
                    await self._tell(nas, STOP, round(seen.talked_ms / 1_000), cause)
            finally:
                telling.cancel()

    async def _begins(self, nas: Nas) -> None:
        if Trick.LOST_ANSWER not in self._rig.tricks:
            await self._tell(nas, START)

    async def _ask(self, nas: Nas) -> float | Seen:
        """The seconds granted, or what the caller sees."""
        packet = question(asked(self._session, self.script.to, self.script.account), nonce=nas.nonce())
        answer = await self._exchanged(nas, packet, self._rig.auth_port)
        if answer is not None and answer[0] == ACCEPT:
            return int.from_bytes(dict(pairs(answer))[SESSION_TIMEOUT])
        if self.script.to in EMERGENCY:
            return EMERGENCY_LIMIT_S
        return Seen(503 if answer is None else REFUSED)

    async def _tell(self, nas: Nas, status: int, talked_s: int | None = None, cause: int | None = None) -> None:
        """Until it is acknowledged."""
        attributes = told(status, self._session, talked_s)
        packet = report([*attributes, *([(TERMINATE_CAUSE, number(cause))] if cause is not None else [])])
        for _ in range(2 if Trick.TWICE in self._rig.tricks else 1):
            while await self._exchanged(nas, packet, self._rig.acct_port) is None:
                await self._rig.linked.wait()

    async def _exchanged(self, nas: Nas, packet: bytes, port: int) -> bytes | None:
        """The answer, if one comes; a gateway asks a few times."""
        for _ in range(TRIES):
            if self._rig.linked.is_set():
                nas.send(packet, port)
            try:
                async with asyncio.timeout(ASKS_FOR_S):
                    answer = await nas.answer()
                    await self._rig.linked.wait()
                    return answer
            except TimeoutError:
                continue
        return None


class _Obeying(asyncio.DatagramProtocol):
    """Ends the call that a Disconnect-Request names."""

    def __init__(self, rig: RadiusRig) -> None:
        self._rig = rig

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if not self._rig.linked.is_set():
            return
        named = dict(pairs(data)).get(SESSION_ID, b"").decode()
        call = self._rig.calls.get(named)
        if call is None:
            self._transport.sendto(reply_to(data, 42, 503), addr)
        else:
            call.end(None, FROM_OUTSIDE)
            self._transport.sendto(reply_to(data, 41), addr)
