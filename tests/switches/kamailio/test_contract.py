"""The contract suite of switches, over the real Kamailio and in real time.

What lasts eight seconds and more there is left to a run with CALLCTL_LONG=1 (three minutes): for each of it a test
beside this one looks at the same more closely.
"""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.contract.switchboard import Board
from tests.contract.test_switchboard import *  # noqa: F403  its tests, with the fixtures below
from tests.control_room import ControlRoom
from tests.switches.kamailio.contract_rig import IN_REAL_TIME, ContractRig
from tests.switches.rig.kamailio import KamailioRig

LASTING = (
    "test_a_call_ends_with_its_credit",
    "test_a_call_runs_on_from_slice_to_slice",
    "test_a_call_that_rings_in_vain_is_given_up",
    "test_a_call_told_badly_is_charged_once",
    "test_a_top_up_lengthens_a_call",
    "test_a_warning_is_heard_by_whom_it_is_meant_for",
    "test_an_emergency_call_passes_where_nothing_else_does",
    "test_nobody_is_transferred_to_who_was_not_authorized",
    "test_the_link_is_lost_and_comes_back",
    "test_the_link_is_lost_while_a_call_waits",
    "test_the_next_process_takes_the_call_over",
    "test_the_switch_keeps_the_limit_when_callctl_is_dead",
    "test_with_callctl_dead_emergency_calls_alone_pass",
)
if not os.environ.get("CALLCTL_LONG"):
    for name in LASTING:
        del globals()[name]

RIG = ContractRig


@pytest.fixture
async def rig(suited: KamailioRig) -> AsyncIterator[ContractRig]:
    async with ContractRig(suited) as rig:
        yield rig


@pytest.fixture
async def board(rig: ContractRig, tmp_path: Path) -> AsyncIterator[Board]:
    async with ControlRoom(tmp_path, clock=rig.clock, policy=IN_REAL_TIME) as room:
        yield Board(rig, room)
