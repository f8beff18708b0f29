"""The real Asterisk, one for the whole run, and call control that has to do with it."""

import os
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from callctl.call.admission import Policy
from tests.control_room import ControlRoom
from tests.servers import missing
from tests.switches.rig.asterisk import ACME, CARRIER_A, CARRIER_B, AsteriskRig, built_root
from tests.switches.rig.manager import Manager
from tests.switches.sip.phone import Phone


@pytest.fixture(scope="session")
def asterisk() -> Iterator[AsteriskRig]:
    """A running Asterisk 22 with the shipped configuration; the first time it is built, in a minute."""
    if os.geteuid() != 0 or not shutil.which("debootstrap"):
        missing("Asterisk", "building it needs root and debootstrap")
    rig = AsteriskRig(built_root())
    try:
        rig.start()
        yield rig
    finally:
        rig.remove()


@pytest.fixture
def agi_gate(asterisk: AsteriskRig) -> Iterator[None]:
    """Calls wait in AsyncAGI, for 3 s at the most."""
    asterisk.cli("dialplan set global CC_GATE agi")
    yield
    asterisk.cli("dialplan reload")


@pytest.fixture
async def acme(asterisk: AsteriskRig) -> AsyncIterator[Phone]:
    """The phone of the customer acme; speaks 400 Hz."""
    async with Phone(ACME, asterisk.sip_address, port=asterisk.peer_port, tone_hz=400) as phone:
        yield phone


@pytest.fixture
async def carrier(asterisk: AsteriskRig) -> AsyncIterator[Phone]:
    """The first carrier of CC_TRUNK, answering at once; speaks 600 Hz."""
    async with Phone(CARRIER_A, asterisk.sip_address, port=asterisk.peer_port, tone_hz=600) as phone:
        phone.answer_calls()
        yield phone


@pytest.fixture
async def second_carrier(asterisk: AsteriskRig) -> AsyncIterator[Phone]:
    """The second one, answering at once; speaks 800 Hz."""
    async with Phone(CARRIER_B, asterisk.sip_address, port=asterisk.peer_port, tone_hz=800) as phone:
        phone.answer_calls()
        yield phone


@pytest.fixture
async def gate(asterisk: AsteriskRig) -> AsyncIterator[Manager]:
    """A manager session in callctl's place, with the rights of its user."""
    async with Manager(asterisk) as manager:
        yield manager


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[ControlRoom]:
    """Call control with nothing defined, and linked to nothing yet. A call is given 6 s at first."""
    async with ControlRoom(tmp_path, policy=Policy(slice_first_s=6)) as room:
        yield room
