"""The real Kamailio as the contract suite of switches wants it: `tests.contract.switchboard.Rig`."""

import asyncio
from collections.abc import Mapping
from typing import Self

from msgspec.structs import replace

from callctl.accounts import WarnTo
from callctl.adapters.kamailio.switch import KamailioSwitch
from callctl.clock import SystemClock
from callctl.ports import Clock
from tests.contract.switchboard import POLICY, Party, Script, Seen, Trick
from tests.switches.exactness import APART_MS
from tests.switches.kamailio.desk import switch
from tests.switches.kamailio.relay import Relay
from tests.switches.rig.asterisk import ACME, CARRIER_A
from tests.switches.rig.kamailio import KamailioRig
from tests.switches.sip.call import Call
from tests.switches.sip.phone import Phone
from tests.waiting import PATIENCE_S, until

IN_REAL_TIME = replace(POLICY, slice_first_s=4, setup_timeout_s=12)
HOME, ABROAD = "+31201234567", "+442079460000"
# The account is the domain that the caller shows. The gate waits for offers that come three seconds late.
LOCAL = "#!define WITH_MY_PARTIES\n#!define GATE_MS 8000\n"
ROUTES = """
route[MY_PARTIES] {{ if ($avp(direction) == "outbound") $var(account) = $fd; }}
event_route[htable:mod-init] {{ $sht(customer=>acme) = "sip:127.0.0.11:{port}"; }}
"""


class ContractRig:
    """In real time; its link goes through a relay."""

    patience_s = PATIENCE_S
    exact_ms = APART_MS
    late_ms = 1_500  # of which Kamailio itself waits half a second
    cannot: Mapping[Trick, str] = {
        Trick.LOST_END: "the list is asked for once a minute; see test_lost.py",
        Trick.HANG: "its timer hangs with it; see test_many.py",
        Trick.RESTART: "it leaves its calls to their parties, as in a crash",
    }

    def __init__(self, kamailio: KamailioRig) -> None:
        self.clock: Clock = SystemClock()
        self._kamailio = kamailio
        self._relay = Relay(kamailio.host, kamailio.link_port)
        self.caller = Phone(ACME, kamailio.sip_address, port=kamailio.peer_port, tone_hz=None)
        self.carrier = Phone(CARRIER_A, kamailio.sip_address, port=kamailio.peer_port, tone_hz=None)
        self._parties: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        await self._relay.__aenter__()
        await self.caller.__aenter__()
        await self.carrier.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        for party in self._parties:
            party.cancel()
        await asyncio.gather(*self._parties, return_exceptions=True)
        await self.carrier.__aexit__(None, None, None)
        await self.caller.__aexit__(None, None, None)
        await self._relay.__aexit__()

    @property
    def dialled(self) -> list[str]:
        return [call.number for call in self.carrier.calls if call.incoming]

    def adapter(self) -> KamailioSwitch:
        self._switch = switch(self._relay.port)
        return self._switch

    async def place(self, script: Script) -> "ContractCall":
        calling, called = (self.carrier, self.caller) if script.inbound else (self.caller, self.carrier)
        if script.forwards_to:
            called.refuse_calls(302, contact=f"sip:{script.forwards_to}@{self.carrier.address}:{self.carrier.port}")
        elif script.answer == 200:
            called.answer_calls(after_s=script.rings_s)
        elif script.answer is None:
            called.answer_calls(after_s=3_600)
        else:
            called.refuse_calls(script.answer)
        number, shown = (HOME, ABROAD) if script.inbound else (script.to, HOME)
        placed = ContractCall(await calling.call(number, f"<sip:{shown}@{script.account}>"), called)
        if script.talks_s is not None:
            party = asyncio.create_task(placed.talk(script.talks_s, script.hung_up_by))
            self._parties.add(party)
        return placed

    async def cut_link(self) -> None:
        await self._relay.cut()

    async def restore_link(self) -> None:
        await self._relay.restore()

    async def play(self, trick: Trick) -> None:
        match trick:
            case Trick.TWICE:
                self._relay.passes = lambda message: 2 if "event" in message else 1
            case Trick.LATE:
                self._relay.delay_s = 3
            case Trick.LOST_ANSWER:
                self._relay.lose("answered")
            case _:
                self._kamailio.kill()
                await until(lambda: not self._switch.state().up)
                self._kamailio.start()

    async def resume(self) -> None:
        raise AssertionError("the rig says that it cannot hang")


class ContractCall:
    """`switchboard.PlacedCall` of two phones; both sides of a proxy have the same Call-ID."""

    warnings: list[WarnTo] = []  # noqa: RUF012  nobody hears any

    def __init__(self, call: Call, called: Phone) -> None:
        self._call = call
        self._called = called

    @property
    def _other(self) -> Call | None:
        return next((it for it in self._called.calls if it.incoming and it.call_id == self._call.call_id), None)

    async def talk(self, seconds: float, by: Party) -> None:
        if await self.answered():
            await asyncio.sleep(seconds)
            await self.hang_up(by)

    async def answered(self) -> bool:
        await until(lambda: self._call.answered_at or self._call.ended_at, ContractRig.patience_s)
        return self._call.answered_at is not None

    async def over(self) -> Seen:
        await self._call.until_ended(ContractRig.patience_s)
        status, other = self._call.status, self._other
        assert status is not None
        if self._call.ended_by == "us":
            by = Party.CALLER
        else:
            by = Party.CALLEE if other is not None and other.ended_by == "us" and status == 200 else None
        return Seen(status, round(self._call.talked_s * 1_000) if status == 200 else 0, by)

    async def hang_up(self, by: Party) -> None:
        call = self._call if by is Party.CALLER else self._other
        assert call is not None
        await call.hang_up()

    async def transfer(self, by: Party, to: str) -> None:
        call = self._call if by is Party.CALLER else self._other
        assert call is not None
        call.transfer(to)
        await until(lambda: call.answers_to("REFER"))
