"""`EslSimulator`: a FreeSWITCH without SIP, sound or root, for tests and the demo."""

import asyncio
from uuid import uuid4

from callctl.clock import SystemClock
from callctl.ports import Clock
from callctl.simulators.ended import EndedBy
from callctl.simulators.esl.call import HeardWarning, Script, SimCall
from callctl.simulators.esl.channel import Channel
from callctl.simulators.esl.commands import Commands
from callctl.simulators.esl.core import Core, Faults, Setup
from callctl.simulators.esl.dialplan import Dialplan
from callctl.simulators.esl.server import EventSocket, User
from callctl.simulators.serving import SimulatedSwitch


class EslSimulator(SimulatedSwitch):
    """Serves the event socket on a real port and plays calls through the shipped dialplan's gate.

    `async with EslSimulator("ClueCon") as switch:` listens on `switch.port`;
    `switch.place_call(Script(caller="31201234567", called="31612345678"))` is a phone that dials.
    All waiting runs on `clock`; a ScaledClock makes an hour of talk pass in a minute.
    """

    def __init__(
        self,
        secret: str,
        *,
        users: dict[str, User] | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        setup: Setup = Setup(),  # noqa: B008  frozen
        clock: Clock | None = None,
    ) -> None:
        self.calls: list[SimCall] = []
        """The calls whose caller is there."""
        self.core = Core(setup, clock or SystemClock())
        self.commands = Commands(self.core, self._heard)
        self._dialplan = Dialplan(self.core, self.commands, self._go_on)
        self._server = EventSocket(self.core, self.commands, secret, users or {})
        super().__init__(host, port, self._server)

    @property
    def faults(self) -> Faults:
        """What goes wrong; set its fields."""
        return self.core.faults

    def place_call(self, script: Script) -> SimCall:
        """A phone dials; the call goes through the gate by itself."""
        context = "callctl-in" if script.direction == "inbound" else "callctl-out"
        name = f"sofia/{script.profile}/{script.caller}@{script.source_ip}"
        leg = Channel("inbound", name, script.called, context, self.core.now_us())
        leg.caller_number, leg.caller_name = script.caller, script.caller_name
        leg.source_ip = script.source_ip
        leg.variables |= {
            "sip_from_user": script.caller,
            "sip_req_user": script.called,
            "sip_call_id": f"{uuid4()}@{script.source_ip}",
            "sip_network_ip": script.source_ip,
            "sip_invite_stamp": str(leg.created_us),
            "sofia_profile_name": script.profile,
            **({"accountcode": script.account} if script.account else {}),
            **dict(script.variables),
        }
        call = SimCall(script, leg)
        self.calls.append(call)
        self.core.add(leg)
        if script.answered_before:
            self._dialplan.answer(leg)
        self._start(self._play(leg, call))
        if script.cancel_after_s is not None:
            self._start(self._cancel(call, round(script.cancel_after_s * 1_000)))
        if script.talk_s is not None:
            self._start(self._hang_up(call, round(script.talk_s * 1_000)))
        return call

    def attended_transfer(self, first: SimCall, second: SimCall, *, is_told: bool = True) -> None:
        """The caller of both joins the two called parties, and is out of both calls. `is_told`: their ends say why."""
        one, other = first.callee, second.callee
        if one is None or other is None:
            raise ValueError("both calls must be answered")
        one.joins, other.joins = other, one
        for call, joined in ((first, other), (second, one)):
            if is_told:
                call.caller.variables["transfer_to"] = f"att:{joined.uuid}"
            call.caller.end("ATTENDED_TRANSFER" if is_told else "NORMAL_CLEARING", EndedBy.CALLER, "send_bye")

    async def _begin(self) -> None:
        self.core.uuid = str(uuid4())
        await super()._begin()
        self._start(self.core.keep_schedule())
        self._start(self.core.keep_beating())

    async def _listen(self) -> asyncio.Server:
        return await asyncio.start_server(self._server.accept, self.host, self.port)

    async def _take_leave(self) -> None:
        self.core.emit("SHUTDOWN", None, {"Event-Info": "System Shutting Down"})
        for leg in self.core:
            leg.end("SYSTEM_SHUTDOWN", EndedBy.SWITCH)
        for call in list(self.calls):
            await call.outcome()

    def _forget_calls(self) -> None:
        self.core.forget_all()
        for call in self.calls:
            call.caller.end("SYSTEM_SHUTDOWN", EndedBy.SWITCH)
            call.caller.note_end(self.core.now_us())
            call.was_ended()
        self.calls.clear()

    async def _play(self, leg: Channel, call: SimCall) -> None:
        await self._dialplan.run(leg, call)
        if leg is call.caller and call in self.calls:
            self.calls.remove(call)

    def _go_on(self, leg: Channel, call: SimCall) -> None:
        self._start(self._play(leg, call))

    async def _cancel(self, call: SimCall, after_ms: int) -> None:
        await self.core.clock.sleep_ms(after_ms)
        if not call.caller.is_answered:
            call.hang_up()

    async def _hang_up(self, call: SimCall, after_ms: int) -> None:
        if await call.answer():
            await self.core.clock.sleep_ms(after_ms)
            if not call.is_over:
                call.hang_up(call.script.hung_up_by)

    def _heard(self, leg: Channel, sound: str) -> None:
        for call in self.calls:
            if leg in call.legs:
                party = EndedBy.CALLER if leg is call.caller else EndedBy.CALLEE
                call.warnings.append(HeardWarning(self.core.now_us(), party, sound))
