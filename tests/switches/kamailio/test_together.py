"""Every kind of switch at once, the real Kamailio among them, on one prepaid account."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from callctl.clock import SystemClock
from tests.contract.rigs import RIGS, AsteriskRig
from tests.contract.switchboard import Rig, Script
from tests.contract.test_switches_together import House
from tests.control_room import PER_SECOND, ControlRoom
from tests.switches.kamailio.contract_rig import IN_REAL_TIME, ContractRig
from tests.switches.rig.kamailio import KamailioRig


@pytest.fixture
async def house(suited: KamailioRig, tmp_path: Path) -> AsyncIterator[House]:
    """In real time."""
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        rigs: dict[str, Rig] = {"kamailio": await stack.enter_async_context(ContractRig(suited))}
        for kind, rig in RIGS.items():
            rigs[kind] = await stack.enter_async_context(rig(clock, kind))
        rigs["another"] = await stack.enter_async_context(AsteriskRig(clock, "another"))
        room = await stack.enter_async_context(ControlRoom(tmp_path, clock=clock, policy=IN_REAL_TIME))
        yield House(room, rigs)


async def test_one_balance_over_all_of_them_is_never_overdrawn(house: House) -> None:
    """Money for about half of the calls that are tried at once."""
    tried = len(house.rigs)
    topped_up = tried // 2 * IN_REAL_TIME.slice_first_s * PER_SECOND
    await house.room.furnish(balance=topped_up)
    await house.start()
    calls = [await rig.place(Script(to=f"+3161234567{n}")) for n, rig in enumerate(house.rigs.values())]
    await asyncio.gather(*(call.over() for call in calls))
    await house.recorded(tried)
    await house.squares(topped_up)
    talked = {cdr["switch"] for cdr in house.room.cdrs() if cdr["answer_time"]}
    assert 0 < len(talked) < tried


async def test_a_call_on_each_of_them_is_recorded_with_its_switch(house: House) -> None:
    topped_up = 100_000 * PER_SECOND  # a call whose grant cannot be extended holds it all from the beginning
    await house.room.furnish(balance=topped_up)
    await house.start()
    calls = [await rig.place(Script(talks_s=2)) for rig in house.rigs.values()]
    assert [(await call.over()).connected for call in calls] == [True] * len(calls)
    await house.recorded(len(calls))
    assert sorted(cdr["switch"] for cdr in house.room.cdrs()) == sorted(switch.name for switch in house.switches)
    await house.squares(topped_up)
