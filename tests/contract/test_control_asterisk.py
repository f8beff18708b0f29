"""Call control and an Asterisk, simulated: whole calls, and what becomes of them when one of the two fails.

Time runs twenty times as fast, for both.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from callctl.accounts import Warnings, WarnTo
from callctl.adapters.asterisk.link import LinkTimes
from callctl.adapters.asterisk.switch import AsteriskSwitch
from callctl.call.admission import Policy
from callctl.call.session import State
from callctl.simulators.ami import AmiSimulator, EndedBy, Script, SimCall, User
from callctl.simulators.ami.actions import Rule
from callctl.simulators.scaled_clock import ScaledClock
from tests.control_room import EURO, PER_SECOND, ControlRoom
from tests.patient import PatientClock
from tests.waiting import until

SPEED = 20
PATIENT = LinkTimes(action_ms=40_000, connect_ms=40_000, ping_every_ms=100_000, ping_answer_ms=40_000, tick_ms=200)
TALKS = Script(caller="+31201234567", called="0612345678", account="acme", ring_s=2)


class Table:
    """A simulated Asterisk, and call control that may come and go."""

    def __init__(self, simulator: AmiSimulator, room: ControlRoom) -> None:
        self.simulator = simulator
        self.room = room

    async def start(self, **options: Any) -> None:
        known = {"clock": self.room.clock, "times": PATIENT, **options}
        port = self.simulator.port
        self.switch = AsteriskSwitch(name="pbx1", host="127.0.0.1", port=port, username="cc", secret="pw", **known)
        await self.room.start(self.switch)
        await until(lambda: self.switch.name in self.room.relinked)

    async def answered(self, script: Script = TALKS) -> SimCall:
        """A call that both sides know to be answered, and armed."""
        call = self.simulator.place_call(script)
        assert await call.answer() is not None, await call.outcome()
        await until(lambda: self.states() == [State.ANSWERED])
        await until(lambda: len(call.limits) >= 5)  # to ring; the grant on both legs; armed again by callctl
        return call

    def states(self) -> list[State]:
        return [session.state for session in self.room.calls.live()]

    async def recorded(self, calls: int = 1) -> list[dict[str, Any]]:
        await until(lambda: len(self.room.cdrs()) >= calls)
        cdrs = self.room.cdrs()
        assert len(cdrs) == calls
        return cdrs

    async def squares(self, topped_up: int) -> None:
        """Every balance is what was paid less what was charged; nothing is held or in use."""
        spent = sum(cdr["billed_s"] for cdr in self.room.cdrs()) * PER_SECOND
        balance = await self.room.balance()
        assert (balance.balance, balance.held, balance.slots) == (topped_up - spent, 0, {})
        assert balance.balance >= 0


@pytest.fixture
async def table(tmp_path: Path) -> AsyncIterator[Table]:
    clock = ScaledClock(PatientClock(), SPEED)
    async with (
        AmiSimulator({"cc": User("pw")}, clock=clock) as simulator,
        ControlRoom(tmp_path, clock=clock, policy=Policy(slice_first_s=10)) as room,
    ):
        yield Table(simulator, room)


async def test_a_call_that_its_caller_ends(table: Table) -> None:
    await table.room.furnish()
    await table.start()
    call = table.simulator.place_call(Script(caller="1", called="0612345678", account="acme", ring_s=2, talk_s=30))
    outcome = await call.outcome()
    (cdr,) = await table.recorded()
    assert cdr["released_by"] == "caller"
    assert abs(cdr["duration_ms"] - outcome.talked_ms) <= 1
    await table.squares(10 * EURO)


async def test_a_call_is_warned_and_cut_with_the_last_second(table: Table) -> None:
    await table.room.furnish(balance=40 * PER_SECOND, warnings=Warnings(seconds=(20, 10), to=WarnTo.CALLER))
    await table.start(sounds={20: "twenty", 10: "ten"})
    call = await table.answered()
    outcome = await call.outcome()
    assert [warning.sound for warning in call.warnings] == ["twenty", "ten"]
    assert outcome.ended_by in (EndedBy.LIMIT, EndedBy.CONTROLLER)
    (cdr,) = await table.recorded()
    assert (cdr["charge"], cdr["released_by"]) == ("0.0400", "callctl")
    assert 39_000 <= cdr["duration_ms"] <= 41_000
    await table.squares(40 * PER_SECOND)


async def test_a_top_up_lengthens_a_call(table: Table) -> None:
    await table.room.furnish(balance=20 * PER_SECOND)
    await table.start()
    call = await table.answered()
    await table.room.pay(20 * PER_SECOND)
    await call.outcome()
    (cdr,) = await table.recorded()
    assert cdr["charge"] == "0.0400"
    await table.squares(40 * PER_SECOND)


async def test_fifty_at_once_on_a_balance_for_eight(table: Table) -> None:
    await table.room.furnish(balance=80 * PER_SECOND)
    await table.start()
    calls = [
        table.simulator.place_call(Script(caller="1", called=f"06123456{n:02}", account="acme")) for n in range(50)
    ]
    outcomes = await asyncio.gather(*[call.outcome() for call in calls])
    assert sorted(outcome.sip for outcome in outcomes) == [200] * 8 + [402] * 42
    await table.recorded(50)
    await table.squares(80 * PER_SECOND)


async def test_what_the_dialplan_takes_for_an_emergency_is_one(table: Table) -> None:
    """911 is no emergency number of the Netherlands; the shipped dialplan lets it pass everywhere."""
    await table.room.furnish(balance=0, active=False)
    await table.start()
    call = table.simulator.place_call(Script(caller="1", called="911", account="acme", ring_s=1, talk_s=30))
    outcome = await call.outcome()
    assert (outcome.sip, outcome.ended_by) == (200, EndedBy.CALLER)
    assert outcome.talked_ms >= 30_000
    (cdr,) = await table.recorded()
    assert (cdr["verdict"], cdr["charge"], cdr["to"]) == ("allowed", "0.0000", "911")
    assert abs(cdr["duration_ms"] - outcome.talked_ms) <= 1


@pytest.mark.parametrize("state", ["ringing", "answered"])
async def test_the_link_is_lost_and_comes_back(table: Table, state: str) -> None:
    await table.room.furnish()
    await table.start()
    if state == "ringing":
        call = table.simulator.place_call(Script(caller="1", called="0612345678", account="acme", ring_s=20))
        await until(lambda: call.callee)
    else:
        call = await table.answered()
    await table.simulator.drop_links()
    await until(lambda: table.switch.counts.connections == 2)
    await call.answer()
    await until(lambda: table.states() == [State.ANSWERED])
    call.hang_up(EndedBy.CALLEE)
    outcome = await call.outcome()
    (cdr,) = await table.recorded()
    assert (cdr["released_by"], cdr["estimated"]) == ("callee", False)
    assert abs(cdr["duration_ms"] - outcome.talked_ms) <= 1
    await table.squares(10 * EURO)


async def test_an_answer_and_an_end_while_the_link_was_down(table: Table) -> None:
    await table.room.furnish()
    await table.start()
    call = await table.answered()
    await table.simulator.stop_listening()
    await table.simulator.drop_links()
    call.hang_up()
    await call.outcome()
    await table.simulator.listen_again()
    (cdr,) = await table.recorded()
    assert cdr["estimated"] is True
    await table.squares(10 * EURO)


@pytest.mark.parametrize("faults", ["duplicates", "reordered", "late"])
async def test_the_end_told_badly_is_told_once(table: Table, faults: str) -> None:
    await table.room.furnish()
    await table.start()
    call = await table.answered()
    match faults:
        case "duplicates":
            table.simulator.faults.duplicate = True
        case "reordered":
            table.simulator.faults.reorder_hangups = True
        case "late":
            table.simulator.faults.delay_ms = 3_000
    call.hang_up()
    outcome = await call.outcome()
    (cdr,) = await table.recorded()
    assert abs(cdr["duration_ms"] - outcome.talked_ms) <= 1
    await table.squares(10 * EURO)


async def test_an_end_that_is_never_told_is_found_missing(table: Table) -> None:
    """By the comparison with the switch's channel list, a minute later."""
    await table.room.furnish()
    await table.start()
    call = await table.answered()
    table.simulator.faults.lose = frozenset({"Hangup"})
    call.hang_up()
    await call.outcome()
    (cdr,) = await table.recorded()
    assert cdr["estimated"] is True
    await table.squares(10 * EURO)


@pytest.mark.parametrize("cleanly", [True, False])
async def test_the_switch_is_restarted(table: Table, cleanly: bool) -> None:
    await table.room.furnish()
    await table.start()
    await table.answered()
    await table.simulator.restart(cleanly=cleanly)
    (cdr,) = await table.recorded()
    assert cdr["estimated"] is not cleanly
    await table.squares(10 * EURO)
    await until(lambda: table.switch.counts.connections == 2)
    await table.answered()


async def test_callctl_is_dead_and_the_switch_keeps_the_limit(table: Table) -> None:
    await table.room.furnish(balance=10 * PER_SECOND)
    await table.start()
    call = await table.answered()
    await table.room.kill()
    outcome = await call.outcome()
    assert outcome.ended_by is EndedBy.LIMIT
    assert 9_000 <= outcome.talked_ms <= 11_000
    await table.start()
    (cdr,) = await table.recorded()
    assert (cdr["charge"], cdr["estimated"]) == ("0.0100", True)
    await table.squares(10 * PER_SECOND)


async def test_callctl_dies_and_comes_back_during_a_call(table: Table) -> None:
    await table.room.furnish()
    await table.start()
    call = await table.answered()
    await table.room.kill()
    await table.start()
    await until(lambda: table.states() == [State.ANSWERED])
    await until(lambda: table.room.calls.live()[0].granted_s > 10)
    call.hang_up(EndedBy.CALLEE)
    outcome = await call.outcome()
    (cdr,) = await table.recorded()
    assert (cdr["released_by"], cdr["estimated"]) == ("callee", False)
    assert abs(cdr["duration_ms"] - outcome.talked_ms) <= 1
    await table.squares(10 * EURO)


@pytest.mark.parametrize("by", [EndedBy.CALLER, EndedBy.CALLEE])
async def test_an_end_between_the_new_link_and_its_first_list_is_no_estimate(table: Table, by: EndedBy) -> None:
    await table.room.furnish()
    await table.start()
    call = await table.answered()
    await table.room.kill()
    actions = table.simulator.actions
    asked, status = len(actions.asked), actions._rules["Status"]
    actions._rules["Status"] = Rule(frozenset(), lambda action: action.error("not now"))
    starting = asyncio.create_task(table.start())
    await until(lambda: any(action["Action"] == "Status" for action in actions.asked[asked:]))
    call.hang_up(by)
    outcome = await call.outcome()
    actions._rules["Status"] = status
    await starting
    (cdr,) = await table.recorded()
    assert cdr["estimated"] is False
    assert abs(cdr["duration_ms"] - outcome.talked_ms) <= 1
    await table.squares(10 * EURO)
