"""The 3CX rigs of the contract suite, one for each mode: the adapter over its simulator, with phones to call."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Self

from callctl.accounts import WarnTo
from callctl.adapters.threecx.calls import Mode, Site
from callctl.adapters.threecx.link import Times
from callctl.adapters.threecx.remembered import Remembered
from callctl.adapters.threecx.switch import ThreeCxSwitch
from callctl.call.events import CallKey, Offered, Released
from callctl.ports import Clock, Report
from callctl.simulators.threecx import EndedBy, Far, Leg, Setup, SimCall, ThreeCxSimulator
from callctl.simulators.threecx.api import heard
from tests.contract.switchboard import SPEED, Party, Script, Seen, Trick
from tests.waiting import PATIENCE_S

EXTENSIONS = ("201", "202")
HOME, ABROAD = "+31201234567", "+442079460000"
BY = {EndedBy.CALLER: Party.CALLER, EndedBy.CALLED: Party.CALLEE}
ENDS = {Party.CALLER: EndedBy.CALLER, Party.CALLEE: EndedBy.CALLED}
SOUND = bytes(1_600)


class RememberingSwitch(ThreeCxSwitch):
    """Control's own list of calls, which `app.py` gives to the adapter, is what was offered here and not released."""

    def __init__(self, offered: dict[CallKey, Remembered], **options: object) -> None:
        super().__init__(known=offered.values, **options)
        self._offered = offered

    async def run(self, report: Report, relinked: Callable[[], None]) -> None:
        def remember(event: object) -> None:
            if isinstance(event, Offered):
                self._offered[event.call] = Remembered(event.call, event.a_number, event.b_number)
            elif isinstance(event, Released):
                self._offered.pop(event.call, None)
            report(event)

        await super().run(remember, relinked)


class ThreeCxRig:
    """Twenty times as fast as a real one. Link times are real ones, for the machine is no faster."""

    patience_s = PATIENCE_S
    exact_ms = 1_500  # a read follows each event: some ms, twenty times as long here
    late_ms = 2_000
    mode = Mode.OBSERVE
    cannot: Mapping[Trick, str] = {
        Trick.FORWARD: "who is called in the PBX forwards inside it; to the outside see test_threecx_control",
        Trick.TRANSFER: "an extension transfers inside the PBX; see test_threecx_control",
        Trick.LATE: "3CX tells no times: what it tells late has happened late; see test_threecx_observe",
        Trick.LOST_ANSWER: "it is found by the next snapshot, and no time stands there; see test_threecx_observe",
        Trick.HANG: "the simulated PBX answers pings or is not there",
        Trick.RESTART: "a PBX tells nothing before it stops: see CRASH",
        Trick.ALONE: "3CX needs no callctl to route a call in mode observe",
    }

    def __init__(self, clock: Clock, name: str) -> None:
        self.clock = clock
        self.name = name
        self.simulator = ThreeCxSimulator(Setup(sim_calls=64, extensions=EXTENSIONS, watched=EXTENSIONS), clock=clock)
        self._offered: dict[CallKey, Remembered] = {}

    async def __aenter__(self) -> Self:
        await self.simulator.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.simulator.__aexit__(None, None, None)

    @property
    def dialled(self) -> list[str]:
        return self.simulator.pbx.dialled

    def adapter(self) -> ThreeCxSwitch:
        return RememberingSwitch(
            self._offered,
            name=self.name,
            base_url=self.simulator.url,
            client_id="900",
            secret=self.simulator.setup.secret,
            clock=self.clock,
            site=Site(mode=self.mode, route_point="900", account="acme", routes={HOME: "202"}),
            announcements={"no-credit": SOUND},
            times=Times(
                retry_first_ms=10 * SPEED,
                retry_longest_ms=40 * SPEED,
                again_ms=10 * SPEED,
                linger_ms=50 * SPEED,
                resync_ms=1_000 * SPEED,
                resync_apart_ms=20 * SPEED,
            ),
        )

    async def place(self, script: Script) -> "ThreeCxCall":
        pbx, gated = self.simulator.pbx, self.mode is Mode.ROUTE_POINT
        answers = script.answer == 200
        rings_s = None if script.answer is None else script.rings_s
        far = Far(
            rings_s=rings_s, answers=answers, talks_s=script.talks_s if script.hung_up_by is Party.CALLEE else None
        )
        pbx.far["202" if script.inbound else script.to] = far
        if script.inbound:
            call = pbx.inbound(HOME, ABROAD, "900" if gated else "202")
        else:
            call = pbx.phone_dials("201", script.to, via="900" if gated else None)
        assert call is not None
        return ThreeCxCall(self, call, script)

    async def cut_link(self) -> None:
        await self.simulator.stop_listening()

    async def restore_link(self) -> None:
        await self.simulator.listen()

    async def play(self, trick: Trick) -> None:
        faults = self.simulator.faults
        match trick:
            case Trick.TWICE:
                faults.duplicate = True
            case Trick.LOST_END:
                faults.lose_ends = True
            case _:
                await self.simulator.restart()

    async def resume(self) -> None:
        raise AssertionError("it never hangs")


class GatedThreeCxRig(ThreeCxRig):
    """Callers come to the route point."""

    mode = Mode.ROUTE_POINT
    cannot: Mapping[Trick, str] = {
        **ThreeCxRig.cannot,
        Trick.ALONE: "the PBX's own rules, which nobody simulates: see docs/adapters.md",
    }


class ThreeCxCall:
    """`switchboard.PlacedCall` of the simulated 3CX."""

    warnings: tuple[WarnTo, ...] | list[WarnTo] = []  # noqa: RUF012  nobody is ever warned

    def __init__(self, rig: ThreeCxRig, call: SimCall, script: Script) -> None:
        self._rig = rig
        self._call = call
        self._gate: Leg | None = call.called
        if rig.mode is Mode.ROUTE_POINT:
            self._waiting = asyncio.create_task(self._give_up())
        if script.talks_s is not None and script.hung_up_by is Party.CALLER:
            self._talking = asyncio.create_task(self._talk(script.talks_s))

    async def _give_up(self) -> None:
        """Who hears nothing at the route point for so long hangs up."""
        await self._rig.clock.sleep_ms(20_000)
        if self._call.called is self._gate and self._call.attempt is None:
            self._rig.simulator.pbx.hang_up(self._call, EndedBy.CALLER)

    async def _talk(self, talks_s: float) -> None:
        await self._call.was_answered.wait()
        await self._rig.clock.sleep_ms(int(talks_s * 1000))
        self._rig.simulator.pbx.hang_up(self._call, EndedBy.CALLER)

    async def answered(self) -> bool:
        await asyncio.wait_for(self._call.was_answered.wait(), self._rig.patience_s)
        return self._call.answered is not None

    async def over(self) -> Seen:
        await asyncio.wait_for(self._call.over.wait(), self._rig.patience_s)
        call, gate = self._call, self._gate
        by = BY.get(call.ended_by) if call.ended_by is not None else None
        announced = gate is not None and heard(gate) == SOUND
        return Seen(200 if call.answered is not None else 480, call.talked_ms, by, announced=announced)

    async def hang_up(self, by: Party) -> None:
        self._rig.simulator.pbx.hang_up(self._call, ENDS[by])

    async def transfer(self, by: Party, to: str) -> None:
        raise AssertionError("the rig says that it cannot")
