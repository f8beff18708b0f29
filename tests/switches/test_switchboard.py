"""The contract suite on the real Asterisk.

Of what lasts long, that at which a test beside this one looks more closely (`test_calls_*.py`,
`test_dialplan_alone.py`) is left to a run with CALLCTL_LONG=1.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from callctl.adapters.asterisk.switch import AsteriskSwitch
from tests.contract.switchboard import Board, Trick
from tests.contract.test_switchboard import *  # noqa: F403  the suite
from tests.control_room import ControlRoom
from tests.switches.kamailio.relay import Relay
from tests.switches.linked import SOON, gone
from tests.switches.phoned import HURRIED, PhonedRig
from tests.switches.rig.asterisk import AsteriskRig

LASTING = (
    "test_a_call_ends_with_its_credit",
    "test_a_call_runs_on_from_slice_to_slice",
    "test_a_call_that_rings_in_vain_is_given_up",
    "test_a_top_up_lengthens_a_call",
    "test_a_warning_is_heard_by_whom_it_is_meant_for",
    "test_nobody_is_transferred_to_who_was_not_authorized",
    "test_the_next_process_takes_the_call_over",
    "test_the_switch_keeps_the_limit_when_callctl_is_dead",
    "test_with_callctl_dead_emergency_calls_alone_pass",
)
if not os.environ.get("CALLCTL_LONG"):
    for name in LASTING:
        del globals()[name]

END = b"\r\n\r\n"


class AmiRelay(Relay):
    """Of the manager interface: an event is a message with `event`, its name."""

    async def _messages(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readline())  # the greeting
        while block := await reader.readuntil(END):
            name = block.partition(b"\r\n")[0].removeprefix(b"Event: ").decode()
            message = {"event": name} if block.startswith(b"Event: ") else {"response": name}
            await self._flows.wait()
            late_s = self.delay_s if "event" in message else 0
            asyncio.get_running_loop().call_later(late_s, writer.write, block * self.passes(message))


class RealAsteriskRig(PhonedRig):
    """The shipped dialplan; a warning is a voice."""

    loses = {Trick.LOST_ANSWER: "DialEnd"}  # noqa: RUF012
    tones = (400, 600)

    def linked(self) -> AsteriskSwitch:
        return AsteriskSwitch(
            name="pbx1",
            host="127.0.0.1",
            port=self.relay.port,
            username=self.switch.ami_user,
            secret=self.switch.ami_secret,
            clock=self.clock,
            announcements={"no-credit": "vm-goodbye"},
            sounds={3: "vm-goodbye"},
            times=SOON,
        )

    async def gone(self) -> None:
        await gone(self.switch)


RIG = RealAsteriskRig


@pytest.fixture
async def rig(asterisk: AsteriskRig) -> AsyncIterator[RealAsteriskRig]:
    async with RealAsteriskRig(asterisk, AmiRelay(asterisk.host, asterisk.ami_port)) as rig:
        yield rig


@pytest.fixture
async def board(rig: RealAsteriskRig, tmp_path: Path) -> AsyncIterator[Board]:
    async with ControlRoom(tmp_path, clock=rig.clock, policy=HURRIED) as room:
        yield Board(rig, room)
