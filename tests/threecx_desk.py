"""A simulated 3CX, the adapter on it, and whoever listens: a list of events, or whole call control."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from callctl.adapters.threecx.calls import Mode, Site
from callctl.adapters.threecx.link import Times
from callctl.adapters.threecx.remembered import Remembered
from callctl.adapters.threecx.switch import ThreeCxSwitch
from callctl.call.admission import Policy
from callctl.call.events import CallEvent, CallKey, Offered
from callctl.call.session import State
from callctl.ports import Clock
from callctl.simulators.scaled_clock import ScaledClock
from callctl.simulators.threecx import Setup, SimCall, ThreeCxSimulator
from tests.control_room import PER_SECOND, ControlRoom
from tests.patient import PatientClock
from tests.waiting import until

NUMBER = "0612345678"
E164 = "+31612345678"
PBX = "pbx1"
SOON = Times(
    connect_ms=2_000,
    request_ms=2_000,
    retry_first_ms=10,
    retry_longest_ms=40,
    refused_ms=40,
    again_ms=5,
    linger_ms=100,
    resync_ms=2_000,
    ringing_resync_ms=500,
    resync_apart_ms=10,
    poll_ms=40,
    key_pause_ms=150,
    handover_grace_ms=500,
    check_ms=40,
    unlogged_ms=400,
)


def adapter(simulator: ThreeCxSimulator, mode: Mode = Mode.OBSERVE, **options: Any) -> ThreeCxSwitch:
    site = {"account": "acme", **options.pop("site", {})}
    known = {"clock": PatientClock(), "times": SOON, "secret": simulator.setup.secret, **options}
    return ThreeCxSwitch(
        name=PBX,
        base_url=simulator.url,
        client_id=simulator.setup.client_id,
        site=Site(mode=mode, route_point=simulator.setup.client_id, **site),
        **known,
    )


class Desk:
    """An adapter whose events are kept, and whose commands a test gives."""

    def __init__(self, simulator: ThreeCxSimulator, switch: ThreeCxSwitch) -> None:
        self.simulator = simulator
        self.switch = switch
        self.events: list[CallEvent] = []
        self.relinked = 0

    def has_relinked(self) -> None:
        self.relinked += 1

    def told(self, kind: type[CallEvent]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    async def first(self, kind: type[CallEvent], number: int = 1) -> Any:
        await until(lambda: len(self.told(kind)) >= number)
        return self.told(kind)[number - 1]

    async def offered(self, call: SimCall | None = None) -> CallKey:
        offered = await self.first(Offered)
        key: CallKey = offered.call
        return key

    async def admitted(self, number: str = E164, setup_s: int = 60) -> CallKey:
        key = await self.offered()
        await self.switch.admit(key, granted_s=60, setup_s=setup_s, b_number=number, account="acme")
        return key


@asynccontextmanager
async def at(simulator: ThreeCxSimulator, mode: Mode = Mode.OBSERVE, **options: Any) -> AsyncIterator[Desk]:
    """An adapter on a simulator; whether it is connected yet is for the test to see."""
    desk = Desk(simulator, adapter(simulator, mode, **options))
    running = asyncio.create_task(desk.switch.run(desk.events.append, desk.has_relinked))
    try:
        yield desk
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


@asynccontextmanager
async def laid(mode: Mode = Mode.OBSERVE, setup: Setup | None = None, **options: Any) -> AsyncIterator[Desk]:
    async with (
        ThreeCxSimulator(setup or Setup(), clock=PatientClock()) as simulator,
        at(simulator, mode, **options) as desk,
    ):
        await until(lambda: desk.relinked)
        yield desk


class Table:
    """A simulated 3CX, and call control that may come and go."""

    def __init__(self, simulator: ThreeCxSimulator, room: ControlRoom, mode: Mode, options: dict[str, Any]) -> None:
        self.simulator = simulator
        self.room = room
        self.pbx = simulator.pbx
        self._mode = mode
        self._options = options

    async def start(self) -> None:
        def known() -> list[Remembered]:
            live = self.room.calls.live()
            return [Remembered(it.call, it.a_number, it.b_number, it.answered) for it in live]

        self.switch = adapter(self.simulator, self._mode, clock=self.room.clock, known=known, **self._options)
        await self.room.start(self.switch)
        await until(lambda: self.switch.name in self.room.relinked)

    def dials(self, number: str = NUMBER, extension: str = "112") -> SimCall:
        via = self.simulator.setup.client_id if self._mode is Mode.ROUTE_POINT else None
        call = self.simulator.phone_dials(extension, number, via=via)
        assert call is not None
        return call

    async def talking(self, number: str = NUMBER, extension: str = "112") -> SimCall:
        """A call that both sides know to be answered."""
        call = self.dials(number, extension)
        await self.in_state(State.ADMITTED)
        if self._mode is Mode.ROUTE_POINT:
            await until(lambda: call.attempt is not None)
        self.pbx.far_answers(call)
        await self.in_state(State.ANSWERED)
        return call

    async def in_state(self, state: State) -> None:
        await until(lambda: [(it.state, it.busy) for it in self.room.calls.live()] == [(state, False)])

    async def recorded(self, calls: int = 1) -> list[dict[str, Any]]:
        await until(lambda: len(self.room.cdrs()) >= calls and not self.room.calls.live())
        cdrs = self.room.cdrs()
        assert len(cdrs) == calls, cdrs
        return cdrs

    async def squares(self, topped_up: int) -> None:
        """The balance is what was paid less what was charged; nothing is held or in use."""
        spent = sum(cdr["billed_s"] for cdr in self.room.cdrs()) * PER_SECOND
        balance = await self.room.balance()
        assert (balance.balance, balance.held, balance.slots) == (topped_up - spent, 0, {})
        assert balance.balance >= 0


@asynccontextmanager
async def whole(
    directory: Path,
    mode: Mode,
    *,
    speed: float = 1,
    setup: Setup | None = None,
    policy: Policy | None = None,
    **options: Any,
) -> AsyncIterator[Table]:
    """Call control over a store in memory; time runs `speed` times as fast for both."""
    clock: Clock = ScaledClock(PatientClock(), speed) if speed != 1 else PatientClock()
    async with (
        ThreeCxSimulator(setup or Setup(), clock=clock) as simulator,
        ControlRoom(directory, clock=clock, policy=policy or Policy(slice_first_s=10)) as room,
    ):
        table = Table(simulator, room, mode, options)
        await room.furnish()
        await table.start()
        yield table
