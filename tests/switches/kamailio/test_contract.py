"""The contract suite of switches, over the real Kamailio and in real time."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.contract.switchboard import POLICY, Board
from tests.contract.test_switchboard import *  # noqa: F403  its tests, with the fixtures below
from tests.control_room import ControlRoom
from tests.switches.kamailio.contract_rig import LOCAL, ROUTES, ContractRig
from tests.switches.rig.kamailio import KamailioRig

IN_REAL_TIME = replace(POLICY, slice_first_s=4, setup_timeout_s=12)


@pytest.fixture(scope="module")
def suited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KamailioRig]:
    """A Kamailio whose customers say who they are."""
    rig = KamailioRig(tmp_path_factory.mktemp("suited"), more=LOCAL, routes=ROUTES)
    try:
        rig.start()
        yield rig
    finally:
        rig.stop()


@pytest.fixture
async def rig(suited: KamailioRig) -> AsyncIterator[ContractRig]:
    async with ContractRig(suited) as rig:
        yield rig


@pytest.fixture
async def board(rig: ContractRig, tmp_path: Path) -> AsyncIterator[Board]:
    async with ControlRoom(tmp_path, clock=rig.clock, policy=IN_REAL_TIME) as room:
        yield Board(rig, room)
