"""What the shipped extensions.conf does with a call, told event for event as a real Asterisk 22 tells it.

Left out: `Cdr`, `DeviceStateChange`, and everything that the gate's own manager user would not be sent.
"""

import asyncio
import re
from typing import Any

from callctl.simulators.ami.call import Script, SimCall
from callctl.simulators.ami.channel import (
    CAUSE_TEXTS,
    DIAL_STATUS,
    DOWN,
    RING,
    RINGING,
    UP,
    Channel,
    Ending,
    Headers,
    cause_of_sip,
    sip_of_cause,
)
from callctl.simulators.ami.exchange import Exchange
from callctl.simulators.ended import EndedBy

ASKS_EVERY_MS = 1_000
QUIET_MS = 10  # what the network needs before the other side says anything


class Dialplan:
    """Runs calls on an exchange. One task per call; it ends when the caller's channel is gone."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def new_call(self, script: Script) -> SimCall:
        """The caller's INVITE has arrived; `run` takes it from here."""
        entry = "callctl-in" if script.direction == "inbound" else "callctl-out"
        caller = self._exchange.add(
            _leg_name(self._exchange, script.endpoint), state=RING, context=entry, exten=script.called
        )
        caller.caller_num = script.caller
        caller.caller_name = script.caller_name or caller.caller_name
        caller.account = script.account
        caller.sip_call_id = f"{caller.uniqueid}@{script.source_ip}"
        return SimCall(script, caller)

    async def run(self, call: SimCall) -> None:
        caller = call.caller
        self._exchange.emit("Newchannel", self._exchange.snapshot(caller))
        caller.set_variable("__CC_CALL", caller.uniqueid)
        caller.set_variable("__CC_ACCT", call.script.account)
        caller.set_variable("CC_DIRECTION", call.script.direction)
        cancelling = asyncio.create_task(self._cancel_later(call))
        try:
            if call.script.called in self._exchange.setup.emergency and call.script.direction == "outbound":
                caller.set_variable("CC_EMERGENCY", "yes")
                self._describe(call, "CCEmergency", "callctl-emergency")
                await self._connect(call)
            else:
                await self._gate(call)
        finally:
            cancelling.cancel()

    async def _cancel_later(self, call: SimCall) -> None:
        if call.script.cancel_after_s is not None:
            await self._exchange.clock.sleep_ms(round(call.script.cancel_after_s * 1_000))
            if call.answered_us is None:
                call.hang_up()

    async def _gate(self, call: SimCall) -> None:
        caller, setup = call.caller, self._exchange.setup
        done: asyncio.Future[Any] | None = None
        left_ms = setup.gate_ms
        while done is None and left_ms > 0:
            self._describe(call, "CCAuthorize", "callctl-gate")
            wait_ms = left_ms if setup.asks_once else min(left_ms, ASKS_EVERY_MS)
            waits = ("AGI", "agi:async") if setup.asks_once else ("Wait", str(wait_ms / 1_000))
            caller.application, caller.data = waits
            done = await self._first(wait_ms, caller.ending, caller.goto)
            left_ms -= wait_ms
        if done is caller.ending:
            self._released(call, caller.ending.result())
        elif done is caller.goto:
            context, exten = caller.goto.result()
            self._move(caller, context, exten)
            if context == "callctl-dial":
                if limit_s := to_seconds(caller.variables.get("CC_LIMIT")):
                    self._exchange.arm(caller, limit_s)
                await self._connect(call)
            elif context == "callctl-refuse":
                await self._refuse(call)
            else:
                self._released(call, Ending(EndedBy.DIALPLAN, 0))
        elif setup.fail_open and call.script.direction == "outbound":
            self._exchange.arm(caller, setup.fail_open_limit_ms / 1_000)
            self._describe(call, "CCUncontrolled", "callctl-fail-open")
            await self._connect(call)
        else:
            self._released(call, Ending(EndedBy.DIALPLAN, 34))

    def _describe(self, call: SimCall, name: str, context: str) -> None:
        """The gate's event: the channel, then the dialplan's own headers."""
        script, caller = call.script, call.caller
        self._move(caller, context, script.called, 2)
        told = [
            ("Caller", script.caller),
            ("Called", script.called),
            ("Endpoint", script.endpoint),
            ("Account", script.account),
            ("Source", script.source_ip),
            ("SIPCallID", caller.sip_call_id),
            ("Direction", script.direction),
        ]
        caller.set_variable("GOSUB_RETVAL", ",".join(f"{header}: {value}" for header, value in told))
        self._exchange.emit("UserEvent", self._exchange.snapshot(caller), [("UserEvent", name), *told], of="user")

    async def _refuse(self, call: SimCall) -> None:
        """callctl said no: the announcement as early media, then the SIP status (a cause on Asterisk 16)."""
        caller, setup = call.caller, self._exchange.setup
        call.announcement = caller.variables.get("CC_ANNOUNCEMENT", "")
        if call.announcement:
            caller.application, caller.data = "Playback", f"{call.announcement},noanswer"
            if await self._first(setup.playback_ms, caller.ending):
                self._released(call, caller.ending.result())
                return
        if setup.is_modern:
            status = refusal_status(caller.variables.get("CC_SIP"))
            ending = Ending(EndedBy.DIALPLAN, cause_of_sip(status), status)
        else:
            ending = Ending(EndedBy.DIALPLAN, to_number(caller.variables.get("CC_CAUSE"), 16))
        self._released(call, ending)

    async def _connect(self, call: SimCall) -> None:
        """Dial the trunks in turn until one answers, is busy, or rings in vain."""
        caller, setup = call.caller, self._exchange.setup
        number = caller.variables.get("CC_NUMBER") or call.script.called
        endpoint = caller.variables.get("CC_DIAL")
        self._move(caller, "callctl-connect", number, 2)
        targets = (endpoint,) if endpoint else setup.trunks
        last = Ending(EndedBy.DIALPLAN, 20)
        for target, answer in zip(targets, call.script.answers, strict=False):
            failure = await self._attempt(call, self._dial(call, target, number), answer)
            if failure is None:
                return
            last = failure
            if failure.sip != 503:
                break
        self._released(call, Ending(last.by, last.q850))

    async def _attempt(self, call: SimCall, callee: Channel, answer: int | None) -> Ending | None:
        """One leg to its end. None when the whole call is over; else why this leg failed."""
        exchange, caller = self._exchange, call.caller
        if not await self._first(QUIET_MS, caller.ending, callee.ending) and answer in (200, None):
            callee.state = RINGING
            exchange.emit("Newstate", exchange.snapshot(callee))
            self._dial_event("DialState", call, callee, [("DialStatus", "RINGING")])
            ring_ms = exchange.setup.ring_limit_ms if answer is None else round(call.script.ring_s * 1_000)
            await self._first(ring_ms, caller.ending, callee.ending)
        if caller.ending.done():
            self._given_up(call, callee, caller.ending.result())
            return None
        if callee.ending.done():
            ending: Ending = callee.ending.result()
        elif answer == 200:
            await self._talk(call, callee)
            return None
        elif answer is None:
            ending = Ending(EndedBy.DIALPLAN, 19)
        else:
            ending = Ending(EndedBy.CALLEE, cause_of_sip(answer), answer)
        if ending.sip is not None:
            self._requested(callee, ending)
        status = DIAL_STATUS.get(ending.sip or 0, "NOANSWER")
        self._dial_event("DialEnd", call, callee, [("DialStatus", status)])
        self._gone(callee, ending.q850, ending.sip)
        return ending

    def _given_up(self, call: SimCall, callee: Channel, ending: Ending) -> None:
        """The caller's channel ends while it rings."""
        if ending.sip is not None:
            self._requested(call.caller, ending)
        self._dial_event("DialEnd", call, callee, [("DialStatus", "CANCEL")])
        is_limit = ending.by is EndedBy.LIMIT
        if is_limit:
            self._limit_reached(call.caller)
        self._soft_hangup(call.caller, ending.sip)
        self._gone(callee, 16 if is_limit else ending.q850, None if is_limit else sip_of_cause(ending.q850))
        self._over(call, ending)

    def _dial(self, call: SimCall, endpoint: str, number: str) -> Channel:
        """The outgoing leg appears, inherits, and is asked to ring."""
        exchange, caller = self._exchange, call.caller
        callee = exchange.add(
            _leg_name(exchange, endpoint),
            linkedid=caller.linkedid,
            state=DOWN,
            context="callctl-in",
            exten="s",
        )
        exchange.emit("Newchannel", exchange.snapshot(callee))
        call.joined(callee)
        callee.variables.update(caller.inheritance())
        callee.exten, callee.account = caller.exten, caller.account
        callee.caller_num, callee.connected_num = number, caller.caller_num
        callee.connected_name = caller.caller_name
        callee.sip_call_id = f"{callee.uniqueid}@switch"
        callee.application, callee.data = "AppDial", "(Outgoing Line)"
        presentation = [("CID-CallingPres", "0 (Presentation Allowed, Not Screened)")]
        exchange.emit("NewCallerid", exchange.snapshot(callee), presentation)
        exchange.emit("NewAccountCode", exchange.snapshot(callee), [("OldAccountCode", "")])
        exchange.emit("NewConnectedLine", exchange.snapshot(callee))
        caller.application, caller.data = "Dial", f"PJSIP/{number}@{endpoint}"
        self._dial_event("DialBegin", call, callee, [("DialString", f"{number}@{endpoint}")])
        if caller.connected_num != number:
            caller.connected_num = number
            exchange.emit("NewConnectedLine", exchange.snapshot(caller))
        return callee

    async def _talk(self, call: SimCall, callee: Channel) -> None:
        """Answer to hang-up. A PJSIPHangup does nothing here: Asterisk confirms and ignores it."""
        exchange, caller = self._exchange, call.caller
        callee.state = UP
        exchange.emit("Newstate", exchange.snapshot(callee))
        callee.exten = ""
        answered_us = self._dial_event("DialEnd", call, callee, [("DialStatus", "ANSWER")])
        caller.state = UP
        caller.answered_us = callee.answered_us = answered_us
        if grant_s := to_seconds(caller.variables.get("CC_GRANT")):  # callctl-armed
            exchange.arm(callee, grant_s)
            exchange.arm(caller, grant_s)
        exchange.emit("Newstate", exchange.snapshot(caller))
        bridge_id = exchange.new_bridge_id()
        exchange.emit("BridgeCreate", _bridge(bridge_id, 0))
        for present, (leg, peer) in enumerate(((callee, caller), (caller, callee)), 1):
            leg.bridge_id, leg.bridge_peer = bridge_id, peer.name
            exchange.emit("BridgeEnter", _bridge(bridge_id, present), exchange.snapshot(leg))
        call.was_answered(answered_us)
        talk_s = call.script.talk_s
        talk_ms = None if talk_s is None else round(talk_s * 1_000)
        if await self._first(talk_ms, caller.ending, callee.ending) is None:
            call.hang_up(call.script.hung_up_by)
        self._part(call, callee, bridge_id)

    def _part(self, call: SimCall, callee: Channel, bridge_id: str) -> None:
        """The bridge falls apart. Nobody may rely on the order of what follows the first leg's events."""
        caller, exchange = call.caller, self._exchange
        first, second = (caller, callee) if caller.ending.done() else (callee, caller)
        ending: Ending = first.ending.result()
        if ending.by in (EndedBy.CALLER, EndedBy.CALLEE):
            self._requested(first, ending)
        exchange.emit("BridgeLeave", _bridge(bridge_id, 1, "native_rtp"), exchange.snapshot(first))
        if ending.by is EndedBy.LIMIT and first is caller:
            self._limit_reached(caller)
        if first is caller:
            self._soft_hangup(caller, None)
        exchange.emit("BridgeLeave", _bridge(bridge_id, 0, "native_rtp"), exchange.snapshot(second))
        exchange.emit("BridgeDestroy", _bridge(bridge_id, 0, "native_rtp"))
        if first is callee:
            self._soft_hangup(caller, None)
        causes = {first: ending.q850, second: 16}
        order = (second, first) if exchange.faults.reorder_hangups else (first, second)
        ended_us = {leg: self._gone(leg, causes[leg], None) for leg in order}
        call.was_ended(200, ending.q850, ending.by, ended_us[callee])

    def _limit_reached(self, caller: Channel) -> None:
        """The extension T of the dialplan."""
        self._move(caller, "callctl-connect", "T")
        self._exchange.emit("UserEvent", self._exchange.snapshot(caller), [("UserEvent", "CCLimit")], of="user")

    def _released(self, call: SimCall, ending: Ending) -> None:
        """The caller's channel ends without an answer, no other leg being left."""
        if ending.sip is not None:
            self._requested(call.caller, ending)
        self._soft_hangup(call.caller, ending.sip)
        self._over(call, ending)

    def _over(self, call: SimCall, ending: Ending) -> None:
        sip = sip_of_cause(ending.q850) if ending.sip is None else ending.sip
        call.was_ended(sip, ending.q850, ending.by, self._gone(call.caller, ending.q850, sip))

    async def _first(self, wait_ms: int | None, *things: asyncio.Future[Any]) -> asyncio.Future[Any] | None:
        """The first of `things` that happens within `wait_ms`; None when none does."""
        alarm = None if wait_ms is None else asyncio.ensure_future(self._exchange.clock.sleep_ms(wait_ms))
        try:
            await asyncio.wait({*things, *([alarm] if alarm else [])}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if alarm is not None:
                alarm.cancel()
        return next((thing for thing in things if thing.done()), None)

    def _dial_event(self, event: str, call: SimCall, callee: Channel, headers: Headers) -> int:
        shown = self._exchange.snapshot
        return self._exchange.emit(event, shown(call.caller), shown(callee, "Dest"), headers)

    def _requested(self, leg: Channel, ending: Ending) -> None:
        headers = [("Cause", str(ending.q850)), *self._exchange.tech_cause(ending.sip)]
        self._exchange.emit("HangupRequest", self._exchange.snapshot(leg), headers)

    def _soft_hangup(self, leg: Channel, sip: int | None) -> None:
        headers = [("Cause", "16"), *self._exchange.tech_cause(sip)]
        self._exchange.emit("SoftHangupRequest", self._exchange.snapshot(leg), headers)

    def _gone(self, leg: Channel, q850: int, sip: int | None) -> int:
        cause = [("Cause", str(q850)), ("Cause-txt", CAUSE_TEXTS.get(q850, "Unknown"))]
        shown = self._exchange.snapshot(leg)
        self._exchange.remove(leg)
        return self._exchange.emit("Hangup", shown, cause, self._exchange.tech_cause(sip))

    @staticmethod
    def _move(channel: Channel, context: str, exten: str, priority: int = 1) -> None:
        channel.context, channel.exten, channel.priority = context, exten, priority


def _leg_name(exchange: Exchange, endpoint: str) -> str:
    return f"PJSIP/{endpoint}-{exchange.take_number():08x}"


def to_number(text: str | None, otherwise: int) -> int:
    """A whole number as the dialplan reads it."""
    return int(text) if text and text.isascii() and text.isdigit() else otherwise


def to_seconds(text: str | None) -> float:
    """Seconds with fractions; 0 for anything that is no number."""
    return float(text) if text and re.fullmatch(r"\d+(\.\d+)?", text, re.ASCII) else 0.0


def refusal_status(text: str | None) -> int:
    """What PJSIPHangup makes of its argument: 400 to 699 as it is, anything else 603."""
    status = to_number(text, 603)
    return status if 400 <= status <= 699 else 603


def _bridge(bridge_id: str, channels: int, technology: str = "simple_bridge") -> Headers:
    return [
        ("BridgeUniqueid", bridge_id),
        ("BridgeType", "basic"),
        ("BridgeTechnology", technology),
        ("BridgeCreator", "<unknown>"),
        ("BridgeName", "<unknown>"),
        ("BridgeNumChannels", str(channels)),
        ("BridgeVideoSourceMode", "none"),
    ]
