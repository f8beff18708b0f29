"""Call control and a 3CX, simulated: whole calls in both modes, and what becomes of them when one of the two fails."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from callctl.accounts import Warnings, WarnTo
from callctl.adapters.threecx.calls import Mode
from callctl.adapters.threecx.link import Times
from callctl.call.events import HangUpAsked
from callctl.call.session import State
from callctl.limits.concurrency import Caps
from callctl.simulators.threecx import EndedBy, Far
from tests.control_room import EURO, PER_SECOND
from tests.threecx_desk import NUMBER, Table, whole
from tests.waiting import until

SPEED = 20
# Times of the link that runs as fast as its calls: what takes real time must not be over too soon.
FAST = Times(
    request_ms=5_000, retry_first_ms=200, retry_longest_ms=800, again_ms=100, linger_ms=2_000, resync_ms=40_000,
    resync_apart_ms=200, poll_ms=800, key_pause_ms=3_000, handover_grace_ms=10_000,
)  # fmt: skip


@pytest.fixture(params=Mode)
async def table(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Table]:
    async with whole(tmp_path, request.param, speed=SPEED, times=FAST) as ready:
        yield ready


@pytest.fixture
async def slow(tmp_path: Path) -> AsyncIterator[Table]:
    async with whole(tmp_path, Mode.OBSERVE) as ready:
        yield ready


async def test_a_call_and_its_record(table: Table) -> None:
    call = await table.talking()
    await table.room.clock.sleep_ms(5_000)
    table.pbx.hang_up(call, EndedBy.CALLED)
    (cdr,) = await table.recorded()
    assert (cdr["verdict"], cdr["to"], cdr["from"], cdr["estimated"]) == ("allowed", "+31612345678", "112", False)
    assert abs(cdr["duration_ms"] - call.talked_ms) <= 50 * SPEED
    await table.squares(10 * EURO)


async def test_who_has_no_credit_is_refused(table: Table) -> None:
    await table.room.pay(-10 * EURO)
    call = table.dials()
    await call.over.wait()
    (cdr,) = await table.recorded()
    assert (cdr["verdict"], cdr["refusal"], cdr["charge"]) == ("refused", "no_credit", "0.0000")
    assert (call.ended_by, call.answered) == (EndedBy.APP, None)
    if table.switch.capabilities.gate:
        assert table.pbx.dialled == []


async def test_a_call_beyond_the_channels_is_refused(table: Table) -> None:
    await table.room.furnish(balance=0, caps=Caps(outbound=1))
    first = await table.talking()
    second = table.dials("0687654321", "113")
    await second.over.wait()
    assert second.ended_by is EndedBy.APP
    table.pbx.hang_up(first, EndedBy.CALLER)
    cdrs = await table.recorded(2)
    assert sorted(str(cdr["refusal"]) for cdr in cdrs) == ["None", "channel_limit"]


async def test_a_call_is_extended_until_its_credit_ends_and_then_cut_off(table: Table) -> None:
    """Warnings cannot be heard, and do no harm."""
    await table.room.pay(-10 * EURO + 25 * PER_SECOND)
    await table.room.furnish(balance=0, warnings=Warnings(seconds=(10,), to=WarnTo.BOTH))
    call = await table.talking()
    async with asyncio.timeout(10):
        await call.over.wait()
    (cdr,) = await table.recorded()
    assert call.ended_by is EndedBy.APP
    assert (cdr["charge"], cdr["released_by"]) == ("0.0250", "callctl")
    assert 24_000 <= call.talked_ms <= 27_000
    await table.squares(25 * PER_SECOND)


async def test_a_top_up_lengthens_a_call(table: Table) -> None:
    await table.room.pay(-10 * EURO + 12 * PER_SECOND)
    call = await table.talking()
    await table.room.pay(13 * PER_SECOND)
    async with asyncio.timeout(10):
        await call.over.wait()
    (cdr,) = await table.recorded()
    assert cdr["charge"] == "0.0250"


async def test_an_operator_ends_a_call(table: Table) -> None:
    call = await table.talking()
    (session,) = table.room.calls.live()
    await table.room.calls.report(HangUpAsked(session.call))
    (cdr,) = await table.recorded()
    assert (call.ended_by, cdr["released_by"]) == (EndedBy.APP, "callctl")


async def test_a_call_that_rings_in_vain_is_given_up(table: Table) -> None:
    call = table.dials()
    async with asyncio.timeout(20):
        await call.over.wait()
    (cdr,) = await table.recorded()
    assert (cdr["charge"], cdr["answer_time"]) == ("0.0000", None)
    await table.squares(10 * EURO)


async def test_nobody_who_dials_112_is_refused(table: Table) -> None:
    await table.room.furnish(balance=0, active=False, caps=Caps(total=0))
    table.pbx.far["112"] = Far(rings_s=1, talks_s=15)
    call = table.dials("112", "113") if table.switch.capabilities.gate else table.dials("911", "113")
    table.pbx.any_far = Far(rings_s=1, talks_s=15)
    async with asyncio.timeout(10):
        await call.over.wait()
    (cdr,) = await table.recorded()
    assert (cdr["verdict"], cdr["charge"]) == ("allowed", "0.0000")


async def test_ten_at_once_on_a_balance_for_three(table: Table) -> None:
    await table.room.pay(-10 * EURO + 30 * PER_SECOND)
    table.pbx.any_far = Far(rings_s=1, talks_s=6)
    calls = [table.dials(f"06123456{n:02}", ("111", "112", "113")[n % 3]) for n in range(10)]
    async with asyncio.timeout(20):
        for call in calls:
            await call.over.wait()
    cdrs = await table.recorded(10)
    assert sum(cdr["verdict"] == "allowed" for cdr in cdrs) >= 3
    await table.squares(30 * PER_SECOND)


@pytest.mark.parametrize("state", ["ringing", "talking"])
async def test_the_websocket_is_lost_and_comes_back(table: Table, state: str) -> None:
    if state == "talking":
        call = await table.talking()
    else:
        call = table.dials()
        await table.in_state(State.ADMITTED)
        await until(lambda: table.pbx.dialled)
    await table.simulator.drop_websockets()
    await until(lambda: table.switch.counts.connections == 2 and table.switch.state().up)
    table.pbx.far_answers(call)
    await table.in_state(State.ANSWERED)
    table.pbx.hang_up(call, EndedBy.CALLER)
    (cdr,) = await table.recorded()
    assert cdr["estimated"] is False
    await table.squares(10 * EURO)


async def test_an_end_while_nobody_could_listen_is_estimated(table: Table) -> None:
    call = await table.talking()
    await table.simulator.stop_listening()
    table.pbx.hang_up(call, EndedBy.CALLER)
    await table.simulator.listen()
    (cdr,) = await table.recorded()
    assert cdr["estimated"] is True
    await table.squares(10 * EURO)


async def test_the_pbx_is_restarted(table: Table) -> None:
    await table.talking()
    await table.simulator.restart()
    (cdr,) = await table.recorded()
    assert cdr["estimated"] is True
    await until(lambda: table.switch.counts.connections == 2 and table.switch.state().up)
    again = await table.talking()
    assert again.id == 1
    table.pbx.hang_up(again, EndedBy.CALLER)
    await table.recorded(2)
    await table.squares(10 * EURO)


@pytest.mark.parametrize("state", ["ringing", "talking"])
async def test_callctl_dies_and_comes_back_during_a_call(table: Table, state: str) -> None:
    if state == "talking":
        call = await table.talking()
    else:
        call = table.dials()
        await table.in_state(State.ADMITTED)
        await until(lambda: table.pbx.dialled)
    await table.room.kill()
    if state == "ringing":
        table.pbx.far_answers(call)
    await table.start()
    await table.in_state(State.ANSWERED)
    await until(lambda: table.room.calls.live()[0].granted_s > 10)
    table.pbx.hang_up(call, EndedBy.CALLER)
    (cdr,) = await table.recorded()
    assert cdr["estimated"] is False
    await table.squares(10 * EURO)


async def test_a_call_ends_while_callctl_is_dead(table: Table) -> None:
    call = await table.talking()
    await table.room.kill()
    table.pbx.hang_up(call, EndedBy.CALLER)
    await table.start()
    (cdr,) = await table.recorded()
    assert cdr["estimated"] is True
    await table.squares(10 * EURO)


async def test_the_pbx_hangs_up_nobody_when_callctl_is_dead(slow: Table) -> None:
    """3CX has no timer: this is what `Capabilities.timer` tells, and the lease bounds what is lost."""
    call = await slow.talking()
    await slow.room.kill()
    assert not slow.switch.capabilities.timer
    assert call.ended is None


# -------------------------------------------------------------------- forwards and transfers


async def test_a_transfer_goes_on_at_the_cost_of_who_made_the_call(slow: Table) -> None:
    call = await slow.talking()
    slow.pbx.transfer(call, "112", "113")
    slow.pbx.hang_up(call, EndedBy.CALLED)
    (cdr,) = await slow.recorded()
    assert (cdr["from"], cdr["duration_ms"] > 0 or call.talked_ms < 50) == ("112", True)


async def test_a_forward_to_the_outside_is_charged_to_whoever_forwards(slow: Table) -> None:
    """An inbound call rings at 112, whose phone calls a mobile in the same call."""
    await slow.room.furnish(balance=0, numbers=("+31201234567",))
    inbound = slow.pbx.inbound("+31201234567", "+49301234567", "112")
    assert inbound is not None
    await slow.in_state(State.ADMITTED)
    out = slow.dials(NUMBER, "112")
    out.id = inbound.id  # as the leg of a forward has it
    await until(lambda: len(slow.room.calls.live()) == 2)
    slow.pbx.far_answers(out)
    await until(lambda: {it.state for it in slow.room.calls.live()} == {State.ADMITTED, State.ANSWERED})
    slow.pbx.hang_up(out, EndedBy.CALLED)
    slow.pbx.hang_up(inbound, EndedBy.CALLER)
    cdrs = await slow.recorded(2)
    assert {(cdr["direction"], cdr["from"]) for cdr in cdrs} == {("inbound", "+49301234567"), ("outbound", "112")}
