"""Every kind of switch at once on one account: never overdrawn; and a bad neighbour that the others do not notice."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from callctl.ports import SwitchAdapter
from callctl.simulators.scaled_clock import ScaledClock
from tests.contract.rigs import RIGS, AsteriskRig
from tests.contract.switchboard import ELSEWHERE, POLICY, SPEED, Rig, Script, Trick
from tests.control_room import EURO, PER_SECOND, ControlRoom
from tests.patient import PatientClock
from tests.waiting import PATIENCE_S, until

ROUNDS = 5
PLENTY = 1_000 * EURO  # a call whose grant cannot be extended holds it all from the beginning


class House:
    """One of each rig and a second Asterisk, on one call control and one clock."""

    def __init__(self, room: ControlRoom, rigs: dict[str, Rig]) -> None:
        self.room = room
        self.rigs = rigs
        self.switches: list[SwitchAdapter] = []

    async def start(self, *neighbours: Rig) -> None:
        """Link them all; `switches` are those of the rigs, without their neighbours."""
        self.switches = [rig.adapter() for rig in self.rigs.values()]
        every = [*self.switches, *(rig.adapter() for rig in neighbours)]
        await self.room.start(*every)
        await until(lambda: all(switch.state().up for switch in every))

    async def recorded(self, calls: int) -> None:
        await until(lambda: len(self.room.cdrs()) >= calls and not self.room.calls.live())
        assert len(self.room.cdrs()) == calls

    async def squares(self, topped_up: int) -> None:
        spent = sum(cdr["billed_s"] for cdr in self.room.cdrs()) * PER_SECOND
        balance = await self.room.balance()
        assert (balance.balance, balance.held, balance.slots) == (topped_up - spent, 0, {})
        assert balance.balance >= 0


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    clock = ScaledClock(PatientClock(), SPEED)
    async with AsyncExitStack() as stack:
        rigs = {kind: await stack.enter_async_context(rig(clock, kind)) for kind, rig in RIGS.items()}
        rigs["another"] = await stack.enter_async_context(AsteriskRig(clock, "another"))
        room = await stack.enter_async_context(ControlRoom(tmp_path, clock=clock, policy=POLICY))
        yield House(room, rigs)


async def test_one_balance_over_all_of_them_is_never_overdrawn(house: House) -> None:
    """Money for about half of the calls that are tried at once."""
    tried = 4 * len(house.rigs)
    topped_up = tried // 2 * POLICY.slice_first_s * PER_SECOND
    await house.room.furnish(balance=topped_up)
    await house.start()
    calls = [
        await rig.place(Script(to=f"+31612345{n}{index:02}"))
        for n in range(4)
        for index, rig in enumerate(house.rigs.values())
    ]
    await asyncio.gather(*(call.over() for call in calls))
    await house.recorded(tried)
    await house.squares(topped_up)
    talked = [cdr for cdr in house.room.cdrs() if cdr["answer_time"]]
    assert 0 < len(talked) < tried


async def test_a_call_on_each_of_them_is_recorded_with_its_switch(house: House) -> None:
    await house.room.furnish(balance=PLENTY)
    await house.start()
    calls = [await rig.place(Script(talks_s=3)) for rig in house.rigs.values()]
    assert [(await call.over()).connected for call in calls] == [True] * len(calls)
    await house.recorded(len(calls))
    assert sorted(cdr["switch"] for cdr in house.room.cdrs()) == sorted(switch.name for switch in house.switches)
    await house.squares(PLENTY)


@asynccontextmanager
async def flapping(rig: Rig) -> AsyncIterator[None]:
    """Its link breaks all the time."""

    enough = asyncio.Event()

    async def breaking() -> None:
        while not enough.is_set():
            await rig.cut_link()
            await rig.restore_link()
            await rig.clock.sleep_ms(1_000)

    task = asyncio.create_task(breaking())
    await asyncio.sleep(0)
    yield
    enough.set()
    await task


@asynccontextmanager
async def hung(rig: Rig) -> AsyncIterator[None]:
    """It accepts and says nothing more."""
    await rig.play(Trick.HANG)
    yield
    await rig.resume()


@asynccontextmanager
async def slow(rig: Rig) -> AsyncIterator[None]:
    """Whatever it says comes three seconds late."""
    await rig.play(Trick.LATE)
    yield


@asynccontextmanager
async def away(rig: Rig) -> AsyncIterator[None]:
    """Nobody can connect to it."""
    await rig.cut_link()
    yield
    await rig.restore_link()


Trouble = Callable[[Rig], AbstractAsyncContextManager[None]]
NEEDS: dict[Trouble, Trick] = {hung: Trick.HANG, slow: Trick.LATE}


def _is_played(rig: type[Rig], bad: Trouble) -> bool:
    return NEEDS.get(bad) not in rig.cannot


@pytest.mark.parametrize(
    ("kind", "bad"),
    [(kind, bad) for kind, rig in RIGS.items() for bad in (flapping, hung, slow, away) if _is_played(rig, bad)],
)
async def test_a_bad_neighbour_is_not_noticed(house: House, kind: str, bad: Trouble) -> None:
    """Calls on all the others are decided, connected and charged; and so are its own when it is well again."""
    neighbour = house.rigs.pop(kind)
    await house.room.furnish(balance=PLENTY)
    await house.start(neighbour)
    async with bad(neighbour):
        troubled = [await neighbour.place(Script(talks_s=2)) for _ in range(ROUNDS)]
        good = [await rig.place(Script(talks_s=2)) for _ in range(ROUNDS) for rig in house.rigs.values()]
        assert [(await call.over()).connected for call in good] == [True] * len(good)
    await asyncio.gather(*(call.over() for call in troubled))
    async with asyncio.timeout(PATIENCE_S):
        while not (await (await neighbour.place(Script(to=ELSEWHERE, talks_s=1))).over()).connected:
            pass  # its link is not up again yet
    await until(lambda: any(cdr["to"] == ELSEWHERE and cdr["answer_time"] for cdr in house.room.cdrs()))
    await until(lambda: not house.room.calls.live())
    names = {switch.name for switch in house.switches}
    others = [cdr for cdr in house.room.cdrs() if cdr["switch"] in names]
    assert [cdr["estimated"] for cdr in others] == [False] * len(good)
    await house.squares(PLENTY)
