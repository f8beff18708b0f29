"""The FreeSWITCH rig of the contract suite: the adapter over its simulator, with phones to call."""

import asyncio
from collections.abc import Mapping
from typing import Self

from callctl.accounts import WarnTo
from callctl.adapters.freeswitch.link import LinkTimes
from callctl.adapters.freeswitch.switch import FreeSwitch
from callctl.ports import Clock
from callctl.simulators import esl
from tests.contract.switchboard import GATE_MS, SPEED, Party, Script, Seen, Trick
from tests.waiting import PATIENCE_S, until

HOME, ABROAD = "+31201234567", "+442079460000"
BY = {esl.EndedBy.CALLER: Party.CALLER, esl.EndedBy.CALLEE: Party.CALLEE}
LOSES = {
    Trick.LOST_ANSWER: frozenset({"CHANNEL_ANSWER"}),
    Trick.LOST_END: frozenset({"CHANNEL_HANGUP_COMPLETE"}),
}


class FreeSwitchRig:
    """Twenty times as fast as a real one. Link times are real ones, for the machine is no faster."""

    patience_s = PATIENCE_S
    exact_ms = 100
    late_ms = 1_000
    cannot: Mapping[Trick, str] = {}

    def __init__(self, clock: Clock, name: str) -> None:
        self.clock = clock
        self.name = name
        self.simulator = esl.EslSimulator("pw", clock=self.clock, setup=esl.Setup(park_timeout_s=GATE_MS // 1_000))
        self._placed: list[esl.SimCall] = []

    async def __aenter__(self) -> Self:
        await self.simulator.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.simulator.__aexit__(None, None, None)

    @property
    def dialled(self) -> list[str]:
        return [leg.initial.exten for call in self._placed for leg in call.legs[1:]]

    def adapter(self) -> FreeSwitch:
        return FreeSwitch(
            name=self.name,
            host="127.0.0.1",
            port=self.simulator.port,
            secret="pw",
            clock=self.clock,
            announcements={"no-credit": "no-credit"},
            sounds={3: "three"},
            times=LinkTimes(
                command_ms=1_000 * SPEED,
                connect_ms=1_000 * SPEED,
                ping_every_ms=5_000 * SPEED,
                ping_answer_ms=1_000 * SPEED,
                retry_first_ms=10 * SPEED,
                retry_longest_ms=20 * SPEED,
                tick_ms=200,
            ),
        )

    async def place(self, script: Script) -> "FreeSwitchCall":
        call = self.simulator.place_call(
            esl.Script(
                caller=ABROAD if script.inbound else HOME,
                called=HOME if script.inbound else script.to,
                account="" if script.inbound else script.account,
                direction="inbound" if script.inbound else "outbound",
                ring_s=script.rings_s,
                answers=(script.answer,),
                forwards_to=script.forwards_to,
                talk_s=script.talks_s,
                hung_up_by=esl.EndedBy(script.hung_up_by),
            )
        )
        self._placed.append(call)
        return FreeSwitchCall(call)

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


class FreeSwitchCall:
    """`switchboard.PlacedCall` of the simulated FreeSWITCH."""

    def __init__(self, call: esl.SimCall) -> None:
        self._call = call

    @property
    def warnings(self) -> list[WarnTo]:
        """A sound for both is one for each."""
        heard = [(warning.at_us // 1_000_000, warning.to) for warning in self._call.warnings]
        times = dict.fromkeys(at_s for at_s, _ in heard)
        told = [[party for when, party in heard if when == at_s] for at_s in times]
        return [WarnTo.BOTH if len(parties) == 2 else WarnTo(parties[0]) for parties in told]

    async def answered(self) -> bool:
        return await asyncio.wait_for(self._call.answer(), FreeSwitchRig.patience_s) > 0

    async def over(self) -> Seen:
        outcome = await asyncio.wait_for(self._call.outcome(), FreeSwitchRig.patience_s)
        by = BY.get(outcome.ended_by)
        return Seen(outcome.sip, outcome.talked_ms, by, announced=bool(outcome.announcement))

    async def hang_up(self, by: Party) -> None:
        self._call.hang_up(esl.EndedBy(by))

    async def transfer(self, by: Party, to: str) -> None:
        """It is answered when there is another leg that was; it is not when the leg that was sent on is gone."""
        sent_on = self._call.callee if by is Party.CALLER else self._call.caller
        assert sent_on is not None
        legs = len(self._call.legs)
        self._call.refer(esl.EndedBy(by), to)
        await until(lambda: sent_on.ended_us or any(leg.is_answered for leg in self._call.legs[legs:]), 10)
