"""The rigs of the contract suite: an adapter over its simulator, with phones to call and every trouble to play."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Self

from callctl.accounts import WarnTo
from callctl.adapters.asterisk.link import LinkTimes
from callctl.adapters.asterisk.switch import AsteriskSwitch
from callctl.ports import Clock
from callctl.simulators import ami
from tests.contract.rigs_call_control import CallControlRig
from tests.contract.rigs_freeswitch import FreeSwitchRig
from tests.contract.rigs_radius import RadiusRig
from tests.contract.rigs_threecx import GatedThreeCxRig, ThreeCxRig
from tests.contract.switchboard import GATE_MS, SPEED, Party, Rig, Script, Seen, Trick
from tests.waiting import PATIENCE_S

HOME, ABROAD = "+31201234567", "+442079460000"
BY = {ami.EndedBy.CALLER: Party.CALLER, ami.EndedBy.CALLEE: Party.CALLEE}
LOSES = {Trick.LOST_ANSWER: frozenset({"DialEnd"}), Trick.LOST_END: frozenset({"Hangup"})}


class AsteriskRig:
    """Twenty times as fast as a real one. Link times are real ones, for the machine is no faster."""

    patience_s = PATIENCE_S
    exact_ms = 100
    late_ms = 1_000
    cannot: Mapping[Trick, str] = {
        Trick.FORWARD: "the simulated phones do not; on a real Asterisk they do",
        Trick.TRANSFER: "the simulated phones do not; on a real Asterisk they do",
    }

    def __init__(self, clock: Clock, name: str) -> None:
        self.clock = clock
        self.name = name
        self.simulator = ami.AmiSimulator({"cc": ami.User("pw")}, clock=self.clock, setup=ami.Setup(gate_ms=GATE_MS))
        self._placed: list[ami.SimCall] = []

    async def __aenter__(self) -> Self:
        await self.simulator.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.simulator.__aexit__(None, None, None)

    @property
    def dialled(self) -> list[str]:
        return [call.callee.caller_num for call in self._placed if call.callee is not None]

    def adapter(self) -> AsteriskSwitch:
        return AsteriskSwitch(
            name=self.name,
            host="127.0.0.1",
            port=self.simulator.port,
            username="cc",
            secret="pw",
            clock=self.clock,
            announcements={"no-credit": "no-credit"},
            sounds={3: "three"},
            times=LinkTimes(
                action_ms=1_000 * SPEED,
                connect_ms=1_000 * SPEED,
                ping_every_ms=5_000 * SPEED,
                ping_answer_ms=1_000 * SPEED,
                retry_first_ms=10 * SPEED,
                retry_longest_ms=20 * SPEED,
                tick_ms=200,
            ),
        )

    async def place(self, script: Script) -> "AsteriskCall":
        call = self.simulator.place_call(
            ami.Script(
                caller=ABROAD if script.inbound else HOME,
                called=HOME if script.inbound else script.to,
                account="" if script.inbound else script.account,
                direction="inbound" if script.inbound else "outbound",
                ring_s=script.rings_s,
                answers=(script.answer,),
                talk_s=script.talks_s,
                hung_up_by=ami.EndedBy(script.hung_up_by),
            )
        )
        self._placed.append(call)
        return AsteriskCall(call)

    async def cut_link(self) -> None:
        await self.simulator.stop_listening()
        await self.simulator.drop_links()

    async def restore_link(self) -> None:
        await self.simulator.listen_again()

    async def play(self, trick: Trick) -> None:
        match trick:
            case Trick.TWICE:
                self.simulator.faults.duplicate = True
            case Trick.LATE:
                self.simulator.faults.delay_ms = 3_000
            case Trick.HANG:
                self.simulator.freeze()
            case Trick.CRASH | Trick.RESTART:
                await self.simulator.restart(cleanly=trick is Trick.RESTART)
            case _:
                self.simulator.faults.lose = LOSES[trick]

    async def resume(self) -> None:
        self.simulator.thaw()


class AsteriskCall:
    """`switchboard.PlacedCall` of the simulated Asterisk."""

    def __init__(self, call: ami.SimCall) -> None:
        self._call = call

    @property
    def warnings(self) -> list[WarnTo]:
        return [WarnTo(heard.to) for heard in self._call.warnings]

    async def answered(self) -> bool:
        return await asyncio.wait_for(self._call.answer(), AsteriskRig.patience_s) is not None

    async def over(self) -> Seen:
        outcome = await asyncio.wait_for(self._call.outcome(), AsteriskRig.patience_s)
        by = BY.get(outcome.ended_by)
        return Seen(outcome.sip, outcome.talked_ms, by, announced=bool(outcome.announcement))

    async def hang_up(self, by: Party) -> None:
        self._call.hang_up(ami.EndedBy(by))

    async def transfer(self, by: Party, to: str) -> None:
        raise AssertionError("the rig says that it cannot")


RIGS: Mapping[str, Callable[[Clock, str], Rig]] = {
    "asterisk": AsteriskRig,
    "freeswitch": FreeSwitchRig,
    "call_control": CallControlRig,
    "radius": RadiusRig,
    "threecx": GatedThreeCxRig,
    "threecx-observe": ThreeCxRig,
}
"""By the kind of the `[[switch]]` table; made with a clock that is `SPEED` times as fast, and the switch's name."""
