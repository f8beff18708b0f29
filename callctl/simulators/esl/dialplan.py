"""The contexts of docker/freeswitch, played: gate, dialling, refusal, emergency, and legs that are sent on."""

import asyncio
from collections.abc import Callable

from callctl.simulators.ended import EndedBy
from callctl.simulators.esl.call import SimCall
from callctl.simulators.esl.causes import OF_STATUS
from callctl.simulators.esl.channel import Channel
from callctl.simulators.esl.commands import Commands
from callctl.simulators.esl.core import GRAIN_US, Core, first_of
from callctl.simulators.esl.outbound import knock


class Dialplan:
    """Plays one leg at a time through the contexts until it ends. `go_on`: play another leg, that was sent on."""

    def __init__(self, core: Core, commands: Commands, go_on: Callable[[Channel, SimCall], None]) -> None:
        self._core = core
        self._commands = commands
        self._go_on = go_on

    async def run(self, leg: Channel, call: SimCall) -> None:
        """From its first context to its end."""
        if leg.joins is not None:
            await self._talk_on(leg, leg.joins)
            return
        while not leg.ending.done():
            await self._visit(leg, call)
            if leg.ending.done():
                break
            if not leg.goto.done():
                leg.end("NORMAL_CLEARING", EndedBy.DIALPLAN)
                break
            leg.take_route()
        self._core.hang_up(leg)
        if leg is call.caller:
            call.was_ended()

    async def _visit(self, leg: Channel, call: SimCall) -> None:
        match leg.context:
            case "callctl-out" if leg.exten in self._core.setup.emergency:
                await self._emergency(leg, call)
            case "callctl-out" | "callctl-in":
                leg.variables["callctl_direction"] = leg.context.replace("callctl-", "") + "bound"
                await self._gate(leg)
            case "callctl-dial" if leg.variables.pop("callctl_go", "") == "yes":
                await self._dial(leg, call)
            case "callctl-refuse":
                await self._refuse(leg, call)
            case _:
                await self._gate(leg)

    async def _gate(self, leg: Channel) -> None:
        """Parked: until it is sent on, ends, or nobody has answered in time."""
        gate = self._core.setup.gate
        leg.variables["current_application"] = "socket" if gate else "park"
        knocking = asyncio.create_task(knock(self._core, leg)) if gate else None
        waiting = asyncio.create_task(self._core.clock.sleep_ms(self._core.setup.park_timeout_s * 1_000))
        if knocking is None:
            self._core.emit("CHANNEL_PARK", leg)
        await first_of(leg.goto, leg.ending, waiting, *([knocking] if knocking else []))
        if not leg.goto.done():
            leg.end("NORMAL_TEMPORARY_FAILURE", EndedBy.DIALPLAN)
        elif knocking is None:
            self._core.emit("CHANNEL_UNPARK", leg)
        for task in (waiting, knocking):
            if task is not None:
                task.cancel()

    async def _emergency(self, leg: Channel, call: SimCall) -> None:
        leg.variables |= {"callctl_emergency": "yes", "callctl_call": leg.uuid, "export_vars": "callctl_call"}
        self._core.emit("CUSTOM", leg, {"Event-Subclass": "callctl::emergency"})
        await self._dial(leg, call)

    async def _refuse(self, leg: Channel, call: SimCall) -> None:
        leg.is_early = True
        call.announcement = leg.variables.get("callctl_sound", "")
        await self._core.clock.sleep_ms(self._core.setup.playback_ms)
        leg.end(leg.variables.get("callctl_cause", "NORMAL_CLEARING"), EndedBy.CONTROLLER)

    # ---- dialling

    async def _dial(self, leg: Channel, call: SimCall) -> None:
        """The trunks in turn, or the customer called."""
        leg.variables["current_application"] = "bridge"
        customer = leg.variables.get("callctl_dial", "")
        routes = [customer] if customer else list(self._core.setup.trunks)
        script = call.script
        answers = [302] if script.forwards_to else [*script.answers, *[script.answers[-1]] * len(routes)]
        attempts = [(route, leg.exten, answer) for route, answer in zip(routes, answers, strict=False)]
        while attempts:
            route, number, answer = attempts.pop(0)
            other = self._originate(leg, route, number, is_trunk=not customer)
            call.joined(other)
            if await self._ring(leg, other, call, answer):
                await self._talk(leg, other, call)
                return
            self._core.hang_up(other)
            if leg.ending.done() or leg.goto.done():
                return
            if answer == 302 and other.variables.get("outbound_redirect_fatal") != "true":
                attempts = [(route, script.forwards_to, 200)]  # followed without a question
                continue
            ending = other.ending.result()
            if not attempts or ending.cause in ("USER_BUSY", "NO_ANSWER", "CALL_REJECTED"):
                leg.variables["originate_disposition"] = ending.cause
                leg.end(ending.cause, ending.by, "send_refuse")
                return

    def _originate(self, leg: Channel, route: str, number: str, *, is_trunk: bool) -> Channel:
        name = f"sofia/external/{number}" if is_trunk else f"sofia/internal/{route}@phones.example"
        other = Channel("outbound", name, number, leg.context, self._core.now_us())
        other.caller_name, other.caller_number = leg.caller_name, leg.caller_number
        other.source_ip = leg.source_ip
        other.originator = other.other = leg
        link = {"originator": leg.uuid, "originating_leg_uuid": leg.uuid, "sofia_profile_name": "external"}
        other.variables |= leg.exported() | link | ({"sip_gateway_name": route} if is_trunk else {})
        self._core.add(other)
        self._core.emit("CHANNEL_ORIGINATE", other)
        return other

    async def _ring(self, leg: Channel, other: Channel, call: SimCall, answer: int | None) -> bool:
        """Whether it was answered. Else `other` has an ending."""
        clock = self._core.clock
        if answer is not None and answer != 200 and not call.script.ring_s:
            other.end(OF_STATUS.get(answer, "NORMAL_UNSPECIFIED"), EndedBy.CALLEE, "recv_refuse")
        else:
            early = call.script.early_media
            for ringing in (other, leg):
                ringing.progress_us = ringing.progress_us or self._core.now_us()
                ringing.is_early = early
                self._core.emit("CHANNEL_PROGRESS_MEDIA" if early else "CHANNEL_PROGRESS", ringing)
            if early:
                self._bridge(leg, other)
            timeout = "bridge_answer_timeout" if early else "call_timeout"
            limit_ms = int(leg.variables.get(timeout, "120")) * 1_000
            rings_ms = limit_ms if answer is None else round(call.script.ring_s * 1_000)
            ringing_on = asyncio.create_task(clock.sleep_ms(min(limit_ms, rings_ms)))
            await first_of(leg.ending, leg.goto, other.ending, ringing_on)
            ringing_on.cancel()
            if leg.ending.done() or leg.goto.done():
                other.end("ORIGINATOR_CANCEL", EndedBy.CALLER)
            elif not other.ending.done() and answer == 200 and rings_ms < limit_ms:
                return True
            elif not other.ending.done() and (answer is None or rings_ms >= limit_ms):
                other.end("ALLOTTED_TIMEOUT" if early else "NO_ANSWER", EndedBy.DIALPLAN)
            elif not other.ending.done():
                other.end(OF_STATUS.get(answer or 0, "NORMAL_UNSPECIFIED"), EndedBy.CALLEE, "recv_refuse")
        leg.is_bridged = other.is_bridged = False
        if answer and answer != 200:
            leg.variables["last_bridge_proto_specific_hangup_cause"] = f"sip:{answer}"
        return False

    async def _talk(self, leg: Channel, other: Channel, call: SimCall) -> None:
        other.answered_us = self._core.now_us()
        self._core.emit("CHANNEL_ANSWER", other)
        if not leg.is_answered:
            await self._core.clock.sleep_ms(GRAIN_US // 1_000)
            self.answer(leg)
        if not leg.is_bridged:
            self._bridge(leg, other)
        call.was_answered()
        await first_of(leg.ending, leg.goto, other.ending, other.goto)
        leg.is_bridged = other.is_bridged = False
        if leg.ending.done() or leg.goto.done():
            _follow(leg, other)
        else:
            _follow(other, leg)
        self._core.emit("CHANNEL_UNBRIDGE", leg, _pair(leg, other))
        self._part(leg, other, call)

    def _bridge(self, leg: Channel, other: Channel) -> None:
        leg.other = other  # of which the events before do not tell
        leg.bridged_us = other.bridged_us = self._core.now_us()
        leg.is_bridged = other.is_bridged = True
        leg.variables["last_bridge_to"] = other.uuid
        self._core.emit("CHANNEL_BRIDGE", leg, _pair(leg, other))

    async def _talk_on(self, leg: Channel, other: Channel) -> None:
        """After an attended transfer: two called parties, until one hangs up."""
        leg.other, other.other = other, leg
        self._core.emit("CHANNEL_BRIDGE", leg, _pair(leg, other))
        await first_of(leg.ending, other.ending)
        first, last = (leg, other) if leg.ending.done() else (other, leg)
        ending = first.ending.result()
        last.end(ending.cause, ending.by, "send_bye")
        self._core.hang_up(first)
        self._core.hang_up(last)

    def _part(self, leg: Channel, other: Channel, call: SimCall) -> None:
        """What becomes of the called leg; the caller's own goes on in `run`."""
        leg.other = other.other = None
        if other.joins is not None:
            self._core.hang_up(leg)
            if other.joins.originator is None or other.joins.originator.ended_us:
                self._go_on(other, call)
            return
        if other.goto.done() and not other.ending.done():
            other.take_route()
            self._go_on(other, call)
            return
        if leg.ending.done():
            leg.other, other.other = other, leg
            self._core.hang_up(leg)
        other.other = other.other or leg
        self._core.hang_up(other)

    def answer(self, leg: Channel) -> None:
        """And what was to be done on the answer."""
        leg.answered_us = self._core.now_us()
        self._core.emit("CHANNEL_ANSWER", leg)
        application, command = (leg.variables.get(f"{what}_on_answer") for what in ("execute", "api"))
        if application:
            self._commands.run_application(leg, application)
        if command:
            self._commands.carry_out(command)


def _pair(leg: Channel, other: Channel) -> dict[str, str]:
    return {"Bridge-A-Unique-ID": leg.uuid, "Bridge-B-Unique-ID": other.uuid}


def _follow(first: Channel, other: Channel) -> None:
    """`first` has left the talk: the other one is hung up, unless it is sent on itself."""
    if other.goto.done() or other.joins is not None:
        return
    if first.ending.done():
        ending = first.ending.result()
        other.end(ending.cause, ending.by, "send_bye")
    else:
        other.end("NORMAL_CLEARING", EndedBy.DIALPLAN, "send_bye")
