"""Rigs of the contract suite over real switches: SIP phones that follow scripts, and a relay on the adapter's link."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from typing import Any, Self

from msgspec.structs import replace

from callctl.accounts import WarnTo
from callctl.clock import SystemClock
from callctl.ports import Clock, SwitchAdapter
from tests.contract.switchboard import POLICY, Party, Script, Seen, Trick
from tests.switches.exactness import APART_MS
from tests.switches.kamailio.relay import Relay
from tests.switches.rig.asterisk import ACME, CARRIER_A, CARRIER_B
from tests.switches.sip.call import Call
from tests.switches.sip.phone import Phone
from tests.waiting import until

HURRIED = replace(POLICY, slice_first_s=6, setup_timeout_s=12)
"""Real seconds are waited for."""
HOME, ABROAD = "+31201234567", "+442079460000"
PATIENCE_S = 40.0


class ScriptedPhone(Phone):
    """Takes each call as the script for its number says."""

    def __init__(self, switch: Any, address: str, tone_hz: int | None, scripts: Mapping[str, Script]) -> None:
        super().__init__(address, switch.sip_address, port=switch.peer_port, tone_hz=tone_hz)
        self.scripts = scripts
        self.forwards_to = ""
        self._policy = self._act

    async def _act(self, call: Call) -> None:
        script = self.scripts.get(call.number, Script())
        if script.forwards_to:
            call.refuse(302, f"sip:{script.forwards_to}@{self.forwards_to}")
            return
        call.ring()
        if script.answer is None:
            return
        await asyncio.sleep(script.rings_s if script.answer == 200 else 0)
        if script.answer == 200:
            await call.answer()
        else:
            call.refuse(script.answer)


class PhonedCall:
    """`switchboard.PlacedCall`: the caller's phone and, once it rings there, the called one."""

    def __init__(self, call: Call, taker: ScriptedPhone, number: str) -> None:
        self._call = call
        self._taker = taker
        self._number = number
        self._taken_before = len(taker.calls)

    @property
    def _callee(self) -> Call | None:
        taken = self._taker.calls[self._taken_before :]
        return next((call for call in taken if call.incoming and call.number == self._number), None)

    @property
    def warnings(self) -> list[WarnTo]:
        """A voice is a warning: the phones speak tones. It is over some windows of the ear, and one warning."""
        assert self._callee is not None
        sides = (self._call, WarnTo.CALLER), (self._callee, WarnTo.CALLEE)
        heard = [to for side, to in sides if any(window.voice for window in side.heard)]
        return [WarnTo.BOTH] if len(heard) == 2 else heard

    async def answered(self) -> bool:
        with suppress(AssertionError):  # it ended instead
            await self._call.until_answered(PATIENCE_S)
            return True
        return False

    async def over(self) -> Seen:
        await self._call.until_ended(PATIENCE_S)
        status = self._call.status
        assert status is not None
        if self._call.answered_at is None:
            by = Party.CALLER if self._call.ended_by == "us" else None
            return Seen(status, hung_up_by=by, announced=any(window.voice for window in self._call.heard))
        return Seen(status, round(self._call.talked_s * 1_000), self._hung_up_by())

    def _hung_up_by(self) -> Party | None:
        if self._call.ended_by == "us":
            return Party.CALLER
        return Party.CALLEE if self._callee is not None and self._callee.ended_by == "us" else None

    async def hang_up(self, by: Party) -> None:
        await self._side(by).hang_up()

    async def transfer(self, by: Party, to: str) -> None:
        asking = self._side(by)
        asking.transfer(to)
        await until(lambda: asking.answers_to("REFER"))

    def _side(self, by: Party) -> Call:
        side = self._call if by is Party.CALLER else self._callee
        assert side is not None, "nobody was called yet"
        return side

    async def follow(self, script: Script) -> None:
        """Hang up when the script says so."""
        if script.talks_s is not None and await self.answered():
            await asyncio.sleep(script.talks_s)
            await self.hang_up(script.hung_up_by)


class PhonedRig(ABC):
    """`switchboard.Rig` of a real switch; the customer acme is known by its address or endpoint.

    `relay`: between the adapter and the switch. Kinds of messages that it loses are named in `loses`.
    """

    patience_s = PATIENCE_S
    exact_ms = APART_MS
    late_ms = APART_MS
    cannot: Mapping[Trick, str] = {
        Trick.LOST_END: "it is found by the next list, a minute later; the simulator is faster"
    }
    loses: Mapping[Trick, str] = {}
    tones: tuple[int | None, int | None] = (None, None)

    def __init__(self, switch: Any, relay: Relay) -> None:
        self.clock: Clock = SystemClock()
        self.switch = switch
        self.relay = relay
        self._scripts: dict[str, Script] = {}
        self._acme = ScriptedPhone(switch, ACME, self.tones[0], self._scripts)
        self._carrier = ScriptedPhone(switch, CARRIER_A, self.tones[1], self._scripts)
        self._second = ScriptedPhone(switch, CARRIER_B, None, self._scripts)
        self._carrier.forwards_to = f"{CARRIER_B}:{switch.peer_port}"
        self._following: set[asyncio.Task[None]] = set()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        for entered in (self.relay, self._acme, self._carrier, self._second):
            await self._stack.enter_async_context(entered)
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._following:
            task.cancel()
        await asyncio.gather(*self._following, return_exceptions=True)
        for phone in (self._acme, self._carrier):
            for call in phone.calls:
                with suppress(TimeoutError):
                    await call.hang_up()
        await self.gone()
        await self._stack.aclose()

    @property
    def dialled(self) -> list[str]:
        return [call.number for phone in (self._carrier, self._second) for call in phone.calls if call.incoming]

    async def place(self, script: Script) -> PhonedCall:
        calling, taking = (self._carrier, self._acme) if script.inbound else (self._acme, self._carrier)
        number = HOME if script.inbound else script.to
        self._scripts[number] = script
        call = await calling.call(number, ABROAD if script.inbound else HOME)
        placed = PhonedCall(call, taking, number)
        self._following.add(asyncio.create_task(placed.follow(script)))
        return placed

    async def cut_link(self) -> None:
        await self.relay.cut()

    async def restore_link(self) -> None:
        await self.relay.restore()

    async def play(self, trick: Trick) -> None:
        match trick:
            case Trick.TWICE:
                self.relay.passes = lambda message: 2 if "event" in message else 1
            case Trick.LATE:
                self.relay.delay_s = 3.0
            case Trick.HANG:
                self.relay.hang()
            case Trick.CRASH | Trick.RESTART:
                (self.switch.kill if trick is Trick.CRASH else self.switch.stop)()
                await until(lambda: not self._linked.state().up, PATIENCE_S)
                self.switch.start()
                await until(lambda: self._linked.state().up, PATIENCE_S)
            case _:
                self.relay.lose(self.loses[trick])

    async def resume(self) -> None:
        self.relay.resume()

    def adapter(self) -> SwitchAdapter:
        self._linked = self.linked()
        return self._linked

    @abstractmethod
    def linked(self) -> SwitchAdapter:
        """A new adapter, to be linked over the relay."""

    @abstractmethod
    async def gone(self) -> None:
        """Wait until the switch has no call left."""
