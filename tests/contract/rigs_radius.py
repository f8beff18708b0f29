"""The RADIUS rig of the contract suite: a gateway whose calls follow scripts, and the timer that its answers set."""

import asyncio
import socket
from collections.abc import Mapping
from itertools import count
from typing import Any, Self

from callctl.accounts import WarnTo
from callctl.adapters.radius.server import Places
from callctl.adapters.radius.switch import RadiusSwitch
from callctl.adapters.radius.wire import Client
from callctl.ports import Clock
from tests.contract.nas import ACCEPT, ACKNOWLEDGED, START, STOP, Nas, asked, told
from tests.contract.switchboard import Party, Script, Seen, Trick
from tests.radius_packets import SECRET, number, pairs, question, reply_to, report
from tests.servers import free_port

HOST = "127.0.0.1"
SESSION_TIMEOUT, TERMINATE_CAUSE, SESSION_ID = 27, 49, 44
BY_TIMEOUT, BY_DISCONNECT = 5, 6
REFUSED = 403  # what the gateway makes of a reject
ASKS_FOR_S, TRIES = 0.3, 3
EMERGENCY = ("112", "911", "999")


class RadiusRig:
    """Twenty times as fast as a real gateway; its sockets are real ones, for the machine is no faster."""

    patience_s = 10.0
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


class RadiusCall:
    """`switchboard.PlacedCall`: asks, rings, talks until somebody or the granted time ends it, and reports."""

    warnings: list[WarnTo] = []  # noqa: RUF012  a gateway tells nobody

    def __init__(self, rig: RadiusRig, session: str, script: Script) -> None:
        loop = asyncio.get_running_loop()
        self._rig, self._session, self._script = rig, session, script
        self.hanging_up: asyncio.Future[tuple[Party | None, int]] = loop.create_future()
        self._answered: asyncio.Future[bool] = loop.create_future()
        self._seen: asyncio.Future[Seen] = loop.create_future()
        self._task = asyncio.create_task(self._run())

    async def answered(self) -> bool:
        return await asyncio.wait_for(asyncio.shield(self._answered), RadiusRig.patience_s)

    async def over(self) -> Seen:
        return await asyncio.wait_for(asyncio.shield(self._seen), RadiusRig.patience_s)

    async def hang_up(self, by: Party) -> None:
        self.end(by, 1)

    async def transfer(self, by: Party, to: str) -> None:
        raise AssertionError("the rig says that it cannot")

    def end(self, by: Party | None, cause: int) -> None:
        if not self.hanging_up.done():
            self.hanging_up.set_result((by, cause))

    async def vanish(self) -> None:
        """The gateway is gone, and its call with it."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._ended(Seen(503))

    def _ended(self, seen: Seen) -> None:
        if not self._answered.done():
            self._answered.set_result(False)
        if not self._seen.done():
            self._seen.set_result(seen)

    async def _run(self) -> None:
        async with Nas() as nas:
            limit_s = await self._ask(nas)
            if isinstance(limit_s, Seen):
                self._ended(limit_s)
                return
            self._rig.dialled.append(self._script.to)
            by, refusal = await self._ring()
            if refusal is not None:
                self._ended(Seen(refusal, hung_up_by=by))
                await self._tell(nas, STOP, 0)
                return
            self._answered.set_result(True)
            begun = self._rig.clock.now()
            telling = asyncio.create_task(self._begins(nas))
            try:
                by, cause = await self._talk(limit_s, begun.monotonic_ms)
                talked_ms = self._rig.clock.now().since_ms(begun)
                self._ended(Seen(200, talked_ms, by))
                await telling
                if Trick.LOST_END not in self._rig.tricks:
                    await self._tell(nas, STOP, round(talked_ms / 1_000), cause)
            finally:
                telling.cancel()

    async def _begins(self, nas: Nas) -> None:
        if Trick.LOST_ANSWER not in self._rig.tricks:
            await self._tell(nas, START)

    async def _ask(self, nas: Nas) -> float | Seen:
        """The seconds granted, or what the caller sees."""
        packet = question(asked(self._session, self._script.to, self._script.account), nonce=nas.nonce())
        answer = await self._exchanged(nas, packet, self._rig.auth_port)
        if answer is not None and answer[0] == ACCEPT:
            return int.from_bytes(dict(pairs(answer))[SESSION_TIMEOUT])
        if self._script.to in EMERGENCY:
            return 86_400
        return Seen(503 if answer is None else REFUSED)

    async def _ring(self) -> tuple[Party | None, int | None]:
        """Who gave up, if somebody did; the status if it was not answered."""
        script = self._script
        refuses = script.answer not in (200, None)
        if await self._until_hung_up(0 if refuses else None if script.answer is None else script.rings_s):
            return self.hanging_up.result()[0], 487
        return None, script.answer if refuses else None

    async def _talk(self, limit_s: float, begun_ms: int) -> tuple[Party | None, int]:
        left_s = limit_s - (self._rig.clock.now().monotonic_ms - begun_ms) / 1_000
        talks_s = self._script.talks_s
        if talks_s is not None and talks_s < left_s:
            await self._until_hung_up(talks_s)
            self.end(self._script.hung_up_by, 1)
        else:
            await self._until_hung_up(left_s)
            self.end(None, BY_TIMEOUT)
        return self.hanging_up.result()

    async def _until_hung_up(self, within_s: float | None) -> bool:
        alarm = None if within_s is None else asyncio.ensure_future(self._rig.clock.sleep_ms(round(within_s * 1_000)))
        await asyncio.wait({self.hanging_up, *([alarm] if alarm else [])}, return_when=asyncio.FIRST_COMPLETED)
        if alarm is not None:
            alarm.cancel()
        return self.hanging_up.done()

    async def _tell(self, nas: Nas, status: int, talked_s: int | None = None, cause: int | None = None) -> None:
        """Until it is acknowledged."""
        attributes = told(status, self._session, talked_s)
        packet = report([*attributes, *([(TERMINATE_CAUSE, number(cause))] if cause in (5, 6) else [])])
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
            call.end(None, BY_DISCONNECT)
            self._transport.sendto(reply_to(data, 41), addr)
