"""Call control and a FreeSWITCH, simulated: what becomes of calls of which callctl does not hear for long."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from callctl.accounts import Kind
from callctl.call.session import State
from callctl.simulators.scaled_clock import ScaledClock
from tests.contract.rigs_freeswitch import FreeSwitchRig
from tests.contract.switchboard import POLICY, SPEED, Board, Party, Script
from tests.control_room import EURO, PER_SECOND, ControlRoom
from tests.patient import PatientClock

TALKS_S = 3


@pytest.fixture
async def board(tmp_path: Path) -> AsyncIterator[Board]:
    clock = ScaledClock(PatientClock(), SPEED)
    async with (
        FreeSwitchRig(clock, "pbx1") as rig,
        ControlRoom(tmp_path, clock=clock, policy=replace(POLICY, slice_first_s=10 * POLICY.setup_timeout_s)) as room,
    ):
        yield Board(rig, room)


@pytest.mark.parametrize("kind", [Kind.POSTPAID, Kind.PREPAID])
@pytest.mark.parametrize("has_ended", [True, False])
async def test_a_call_that_is_answered_in_an_outage_of_longer_than_its_set_up_is_not_free(
    board: Board, kind: Kind, has_ended: bool
) -> None:
    """It was given up, and what was held for it is gone: a prepaid payer owes nothing now, and the seconds are told."""
    await board.room.furnish(kind=kind)
    await board.start()
    call = await board.rig.place(Script(rings_s=5, talks_s=TALKS_S if has_ended else None))
    await board.in_state(State.ADMITTED)
    await board.until(lambda: board.rig.dialled)
    await board.rig.cut_link()
    assert await call.answered()
    given_up = (await board.recorded())[0]
    assert (given_up["answer_time"], given_up["charge"]) == (None, "0.0000")
    await board.rig.restore_link()
    seen = await call.over()
    corrected = (await board.recorded(2))[1]
    assert (corrected["corrects"], corrected["estimated"]) == (given_up["id"], has_ended)
    assert -1_000 <= corrected["duration_ms"] - seen.talked_ms <= 1_000
    unpaid_s = corrected["duration_s"] if kind is Kind.PREPAID else 0
    assert (corrected["billed_s"], corrected["unbilled_s"]) == (corrected["duration_s"] - unpaid_s, unpaid_s)
    assert corrected["charge"] == f"{(corrected['duration_s'] - unpaid_s) * PER_SECOND / EURO:.4f}"
    balance = await board.room.balance()
    spent = (corrected["duration_s"] - unpaid_s) * PER_SECOND
    assert (balance.balance, balance.held, balance.slots) == (10 * EURO - spent, 0, {})


async def test_who_hangs_up_in_an_outage_of_longer_than_its_set_up_unanswered_pays_nothing(board: Board) -> None:
    await board.room.furnish(kind=Kind.POSTPAID)
    await board.start()
    call = await board.ringing(answer=None)
    await board.rig.cut_link()
    await board.recorded()
    await call.hang_up(Party.CALLER)
    await board.rig.restore_link()
    await board.linked()
    await board.until(lambda: not board.switch._timers.calls())  # its note is read, and gone
    await board.squares(10 * EURO)
    assert len(board.room.cdrs()) == 1
