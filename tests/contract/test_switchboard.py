"""One contract for every switch: what callctl promises of a call holds whatever carries it.

Each test asks the adapter's `Capabilities`; where one is missing it checks what `docs/adapters.md` tells instead.
A test is left out for a rig that cannot play what it `needs`, and the end of the run says why. `tests/switches` runs
the same suite over real switches.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import get_args

import pytest
from msgspec.structs import replace

from callctl.accounts import Warnings, WarnTo
from callctl.call.events import HangUpAsked
from callctl.call.session import State
from callctl.call.takes import Take
from callctl.causes import REFUSALS, Refusal, cause_of
from callctl.cli.doctor import WITHOUT
from callctl.limits.concurrency import Caps
from callctl.limits.ids import Mode, Thresholds
from callctl.ports import Capabilities
from callctl.rating.tariff import TrafficClass
from callctl.settings.switches import SWITCHES
from callctl.simulators.scaled_clock import ScaledClock
from tests.contract.rigs import RIGS
from tests.contract.switchboard import ELSEWHERE, POLICY, SPEED, TOLD_BADLY, Board, Party, Refuser, Rig, Script, Trick
from tests.control_room import EURO, PER_SECOND, ControlRoom
from tests.patient import PatientClock
from tests.waiting import until

HOME = "+31201234567"
ADAPTERS = Path(__file__).parents[2] / "docs/adapters.md"
SWITCH_TESTS = Path(__file__).parents[1] / "switches"
CAUSES = [(refusal, False) for refusal in Refusal] + [(Refusal.CHANNEL_LIMIT, True), (Refusal.LICENCE_LIMIT, True)]


@pytest.fixture(params=RIGS)
async def rig(request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    async with RIGS[request.param](ScaledClock(PatientClock(), SPEED), "pbx1") as rig:
        yield rig


@pytest.fixture
async def board(rig: Rig, tmp_path: Path) -> AsyncIterator[Board]:
    async with ControlRoom(tmp_path, clock=rig.clock, policy=POLICY) as room:
        yield Board(rig, room)


def test_every_capability_is_documented_in_the_words_of_the_doctor() -> None:
    assert tuple(WITHOUT) == Capabilities.__struct_fields__
    before_the_sections = ADAPTERS.read_text().partition("\n## ")[0]
    told = re.findall(r"^\| `(\w+)` \| (.+) \|$", before_the_sections, re.MULTILINE)
    assert dict(told) == WITHOUT


def test_every_kind_of_switch_is_held_to_the_contract() -> None:
    """By a rig that runs everywhere, or by the real switch."""
    kinds = {kind for table in SWITCHES for kind in get_args(table.model_fields["kind"].annotation)}
    real = {path.parent.name for path in SWITCH_TESTS.glob("*/test_contract.py")}
    begun_at_the_api = {"webhook"}  # the daemon's tests play its calls: tests/e2e/test_webhook_daemon.py
    assert kinds <= {name.partition("-")[0] for name in RIGS} | real | begun_at_the_api


# -------------------------------------------------------------------- no


@pytest.mark.parametrize(("refusal", "inbound"), CAUSES)
async def test_every_refusal_has_its_status(rig: Rig, refusal: Refusal, inbound: bool) -> None:
    """Without `gate` the call is cut instead; without `sip_codes` the switch chooses another status."""
    switch, cause = rig.adapter(), cause_of(refusal, inbound=inbound)
    can = switch.capabilities
    async with Refuser(switch, cause):
        await until(lambda: switch.state().up, rig.patience_s)
        seen = await (await rig.place(Script())).over()
    if not can.gate:
        assert seen.hung_up_by is None
        return
    assert not seen.connected
    assert seen.sip == cause.sip if can.sip_codes else 400 <= seen.sip <= 699
    assert seen.announced is (can.announcements and refusal is Refusal.NO_CREDIT)  # which alone has a sound
    assert rig.dialled == []


async def test_who_has_no_credit_is_recorded_as_refused(board: Board) -> None:
    await board.room.furnish(balance=0)
    await board.start()
    seen = await (await board.rig.place(Script())).over()
    (cdr,) = await board.recorded()
    assert (cdr["verdict"], cdr["refusal"], cdr["charge"]) == ("refused", "no_credit", "0.0000")
    assert (seen.connected, seen.hung_up_by) == (False, None) if board.can.gate else seen.hung_up_by is None
    if board.can.sip_codes:
        assert cdr["sip_code"] == REFUSALS[Refusal.NO_CREDIT].sip
    await board.squares(0)


async def test_a_call_beyond_the_channels_is_refused_until_one_is_free(board: Board) -> None:
    await board.room.furnish(caps=Caps(outbound=1))
    await board.start()
    first = await board.talking()
    second = await (await board.rig.place(Script(to=ELSEWHERE))).over()
    assert second.talked_ms == 0 or not board.can.gate
    await first.hang_up(Party.CALLER)
    cdrs = await board.recorded(2)
    assert sorted(str(cdr["refusal"]) for cdr in cdrs) == ["None", "channel_limit"]
    third = await board.talking()
    await third.hang_up(Party.CALLER)
    await board.recorded(3)
    await board.squares(10 * EURO)


@pytest.mark.needs(Trick.INBOUND)
async def test_an_inbound_call_is_refused_as_busy(board: Board) -> None:
    await board.room.furnish(numbers=(HOME,), caps=Caps(inbound=0))
    await board.start()
    seen = await (await board.rig.place(Script(inbound=True))).over()
    (cdr,) = await board.recorded()
    assert (cdr["direction"], cdr["refusal"]) == ("inbound", "channel_limit")
    assert seen.sip == 486 or not (board.can.gate and board.can.sip_codes)


@pytest.mark.needs(Trick.INBOUND)
async def test_an_inbound_call_reaches_its_number(board: Board) -> None:
    await board.room.furnish(numbers=(HOME,))
    await board.start()
    seen = await (await board.rig.place(Script(inbound=True, talks_s=3))).over()
    (cdr,) = await board.recorded()
    assert (cdr["direction"], cdr["account"], seen.connected) == ("inbound", "acme", True)
    assert board.agrees(cdr, seen)


async def test_an_emergency_call_passes_where_nothing_else_does(board: Board) -> None:
    await board.room.furnish(balance=-EURO, active=False, caps=Caps(total=0))
    await board.start()
    seen = await (await board.rig.place(Script(to="112", talks_s=board.first_s + 2))).over()
    assert (seen.connected, seen.hung_up_by) == (True, Party.CALLER)
    (cdr,) = await board.recorded()
    assert (cdr["verdict"], cdr["to"], cdr["charge"]) == ("allowed", "112", "0.0000")


# -------------------------------------------------------------------- yes


@pytest.mark.parametrize("by", Party)
async def test_a_call_and_its_record(board: Board, by: Party) -> None:
    await board.room.furnish()
    await board.start()
    seen = await (await board.rig.place(Script(talks_s=3, hung_up_by=by))).over()
    (cdr,) = await board.recorded()
    assert seen.hung_up_by is by
    assert (cdr["verdict"], cdr["released_by"], cdr["estimated"]) == ("allowed", board.told(by), False)
    assert board.agrees(cdr, seen)
    await board.squares(10 * EURO)


@pytest.mark.parametrize("status", [486, 404, 503, 603])
async def test_a_called_party_that_refuses_costs_nothing(board: Board, status: int) -> None:
    await board.room.furnish()
    await board.start()
    seen = await (await board.rig.place(Script(answer=status))).over()
    (cdr,) = await board.recorded()
    assert not seen.connected
    assert (cdr["charge"], cdr["answer_time"], cdr["verdict"]) == ("0.0000", None, "allowed")
    await board.squares(10 * EURO)


async def test_a_caller_who_gives_up_pays_nothing(board: Board) -> None:
    await board.room.furnish()
    await board.start()
    call = await board.ringing(answer=None)
    await call.hang_up(Party.CALLER)
    await call.over()
    (cdr,) = await board.recorded()
    assert (cdr["charge"], cdr["released_by"]) == ("0.0000", board.told(Party.CALLER))
    await board.squares(10 * EURO)


async def test_a_call_that_rings_in_vain_is_given_up(board: Board) -> None:
    """Without `hangs_up` the channel is free again when the lease is over; the phones may ring on."""
    await board.room.furnish()
    await board.start()
    call = await board.rig.place(Script(answer=None))
    if board.can.hangs_up:
        assert not (await call.over()).connected
    (cdr,) = await board.recorded()
    assert (cdr["charge"], cdr["answer_time"]) == ("0.0000", None)
    await board.squares(10 * EURO)


# -------------------------------------------------------------------- how long


async def test_a_call_ends_with_its_credit(board: Board) -> None:
    await board.room.furnish(balance=board.first_s * PER_SECOND)
    await board.start()
    call = await board.talking()
    seen = await call.over()
    (cdr,) = await board.recorded()
    assert seen.hung_up_by is None
    assert seen.talked_ms <= (board.first_s + 1) * 1_000 + board.rig.late_ms
    assert cdr["charge"] == f"{board.first_s / 1_000:.4f}"
    await board.squares(board.first_s * PER_SECOND)


async def test_a_call_runs_on_from_slice_to_slice(board: Board) -> None:
    """Without `extends` its whole grant is held from the beginning."""
    await board.room.furnish()
    await board.start()
    call = await board.talking(Script(talks_s=board.first_s + 4))
    session = board.session()
    granted_s = board.first_s if board.can.extends else POLICY.longest_unattended_s
    assert session.first_granted_s == granted_s
    seen = await call.over()
    (cdr,) = await board.recorded()
    assert seen.hung_up_by is Party.CALLER
    assert cdr["duration_ms"] > board.first_s * 1_000
    assert board.agrees(cdr, seen)
    await board.squares(10 * EURO)


async def test_a_top_up_lengthens_a_call(board: Board) -> None:
    """Without `extends` it does not: the switch was told the end when the call began."""
    await board.room.furnish(balance=board.first_s * PER_SECOND)
    await board.start()
    call = await board.talking()
    await board.room.pay(4 * PER_SECOND)
    await call.over()
    (cdr,) = await board.recorded()
    assert cdr["billed_s"] == (board.first_s + 4 if board.can.extends else board.first_s)
    await board.squares((board.first_s + 4) * PER_SECOND)


@pytest.mark.parametrize("to", WarnTo)
async def test_a_warning_is_heard_by_whom_it_is_meant_for(board: Board, to: WarnTo) -> None:
    """One that the switch cannot give is not heard; the call goes on and ends as ever."""
    await board.room.furnish(balance=8 * PER_SECOND, warnings=Warnings(seconds=(3,), to=to))
    await board.start()
    call = await board.talking()
    await call.over()
    (cdr,) = await board.recorded()
    assert call.warnings == ([to] if to in board.can.warns else [])
    assert cdr["charge"] == "0.0080"


async def test_an_operator_ends_a_call(board: Board) -> None:
    """Without `hangs_up` it ends with its grant, and no sooner."""
    await board.room.furnish(balance=board.first_s * PER_SECOND)
    await board.start()
    call = await board.talking()
    await board.room.calls.report(HangUpAsked(board.session().call))
    seen = await call.over()
    (cdr,) = await board.recorded()
    assert (seen.hung_up_by, cdr["released_by"]) == (None, "callctl")
    assert cdr["billed_s"] <= board.first_s - 2 if board.can.hangs_up else cdr["billed_s"] == board.first_s
    await board.squares(board.first_s * PER_SECOND)


async def test_the_first_call_beyond_the_days_threshold_ends_those_that_are_up(board: Board) -> None:
    """In mode `hard`. What the calls that are up hold is all that the day has room for."""
    await board.room.furnish(thresholds=Thresholds(10 * EURO, Mode.HARD, watch=(TrafficClass.MOB,)))
    await board.start()
    call = await board.talking()
    account = board.room.tariffs.directory.accounts["acme"]
    spent = Thresholds(board.session().customer.exposed, Mode.HARD, watch=(TrafficClass.MOB,))
    await board.room.definitions.put_account(replace(account, thresholds=spent))
    refused = await (await board.rig.place(Script(to=ELSEWHERE))).over()
    assert refused.talked_ms == 0 or not board.can.gate
    seen = await call.over()
    cdrs = await board.recorded(2)
    ended, turned_away = sorted(cdrs, key=lambda cdr: cdr["verdict"])
    assert (ended["verdict"], turned_away["verdict"]) == ("allowed", "refused")
    assert turned_away["refusal"] in ("ids_threshold", "ids_blocked")  # an extension of the first may have tripped it
    assert (seen.hung_up_by, ended["released_by"]) == (None, "callctl")
    assert ended["billed_s"] < board.first_s or not board.can.hangs_up
    await board.squares(10 * EURO)


async def test_many_at_once_on_a_balance_for_few(board: Board) -> None:
    await board.room.furnish(balance=4 * board.first_s * PER_SECOND)
    await board.start()
    calls = [await board.rig.place(Script(to=f"+316123456{n:02}", talks_s=2)) for n in range(20)]
    seen = [await call.over() for call in calls]
    cdrs = await board.recorded(20)
    assert sum(cdr["verdict"] == "allowed" for cdr in cdrs) >= (4 if board.can.extends else 1)
    talked = sum(it.connected for it in seen)
    assert talked == sum(cdr["answer_time"] is not None for cdr in cdrs) or not board.can.gate
    await board.squares(4 * board.first_s * PER_SECOND)


# -------------------------------------------------------------------- elsewhere


@pytest.mark.needs(Trick.FORWARD)
async def test_nobody_is_forwarded_to_who_was_not_authorized(board: Board) -> None:
    await board.room.furnish()
    await board.start()
    await (await board.rig.place(Script(forwards_to=ELSEWHERE, talks_s=2))).over()
    await board.until(lambda: board.room.cdrs() and not board.room.calls.live())
    assert board.nobody_talked_unasked()
    await board.squares(10 * EURO)


@pytest.mark.needs(Trick.TRANSFER)
@pytest.mark.parametrize("by", Party)
async def test_nobody_is_transferred_to_who_was_not_authorized(board: Board, by: Party) -> None:
    """And whoever talks on, does so within what is paid for."""
    await board.room.furnish(balance=2 * board.first_s * PER_SECOND)
    await board.start()
    call = await board.talking()
    await call.transfer(by, ELSEWHERE)
    seen = await call.over()
    await board.until(lambda: board.room.cdrs() and not board.room.calls.live())
    assert seen.talked_ms <= (2 * board.first_s + 1) * 1_000 + board.rig.late_ms
    assert board.nobody_talked_unasked()
    await board.squares(2 * board.first_s * PER_SECOND)


# -------------------------------------------------------------------- the link


async def test_the_link_is_lost_while_a_call_waits(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused by the switch itself, and what callctl decided meanwhile is never told it later."""
    asked, decide = asyncio.Event(), asyncio.Event()
    admit = board.room.store.admit

    async def slow(take: Take) -> object:
        asked.set()
        await decide.wait()
        return await admit(take)

    await board.room.furnish()
    await board.start()
    monkeypatch.setattr(board.room.store, "admit", slow)
    call = await board.rig.place(Script(talks_s=2))
    await asyncio.wait_for(asked.wait(), board.rig.patience_s)
    await board.rig.cut_link()
    decide.set()
    seen = await call.over()
    assert not seen.connected or not board.can.gate
    await board.rig.restore_link()
    await board.recorded()
    await board.squares(10 * EURO)


@pytest.mark.parametrize("state", [State.ADMITTED, State.ANSWERED])
async def test_the_link_is_lost_and_comes_back(board: Board, state: State) -> None:
    await board.room.furnish()
    await board.start()
    call = await (board.ringing() if state is State.ADMITTED else board.talking())
    await board.rig.cut_link()
    with suppress(TimeoutError):  # whoever connects to us is not missed
        await until(lambda: not board.switch.state().up, within_s=0.3)
    await board.rig.restore_link()
    await board.linked()
    assert await call.answered()
    await board.in_state(State.ANSWERED)
    await call.hang_up(Party.CALLEE)
    seen = await call.over()
    (cdr,) = await board.recorded()
    assert (cdr["released_by"], cdr["estimated"]) == (board.told(Party.CALLEE), False)
    assert board.agrees(cdr, seen)
    await board.squares(10 * EURO)


@pytest.mark.parametrize("state", [State.ADMITTED, State.ANSWERED])
async def test_a_call_ends_while_the_link_is_down(board: Board, state: State) -> None:
    """Without `lists` it is settled when its lease is over. Nobody is charged for more than was granted."""
    await board.room.furnish(balance=2 * board.first_s * PER_SECOND)
    await board.start()
    call = await (board.ringing(answer=None) if state is State.ADMITTED else board.talking())
    await board.rig.cut_link()
    await call.hang_up(Party.CALLER)
    await call.over()
    await board.rig.restore_link()
    (cdr,) = await board.recorded()
    assert cdr["billed_s"] <= (0 if state is State.ADMITTED else 2 * board.first_s)
    await board.squares(2 * board.first_s * PER_SECOND)


@pytest.mark.needs(Trick.HANG)
async def test_the_switch_hangs_in_the_middle_of_a_call(board: Board) -> None:
    """Its timer ends the call: what could not be told was not granted."""
    await board.room.furnish()
    await board.start()
    call = await board.talking()
    granted_s = board.session().granted_s
    await board.rig.play(Trick.HANG)
    if not (board.can.timer and board.can.extends):
        await call.hang_up(Party.CALLER)
    seen = await call.over()
    assert seen.talked_ms <= (granted_s + 1) * 1_000 + board.rig.late_ms
    await board.rig.resume()
    await board.recorded()
    await board.squares(10 * EURO)
    again = await (await board.rig.place(Script(talks_s=2))).over()
    assert again.connected


@pytest.mark.needs("trick")
@pytest.mark.parametrize("trick", [Trick.CRASH, Trick.RESTART])
async def test_the_switch_is_restarted_with_a_call_up(board: Board, trick: Trick) -> None:
    """Nobody is charged for more than was granted."""
    await board.room.furnish()
    await board.start()
    await board.talking()
    granted_s = board.session().granted_s
    await board.rig.play(trick)
    (cdr,) = await board.recorded()
    assert cdr["billed_s"] <= granted_s
    await board.squares(10 * EURO)
    await board.linked()
    await (await board.talking()).hang_up(Party.CALLER)
    await board.recorded(2)


@pytest.mark.needs(Trick.CRASH)
async def test_the_switch_is_restarted_with_no_call_up(board: Board) -> None:
    await board.room.furnish()
    await board.start()
    await board.rig.play(Trick.CRASH)
    await board.linked()
    seen = await (await board.rig.place(Script(talks_s=2))).over()
    (cdr,) = await board.recorded()
    assert board.agrees(cdr, seen)


# -------------------------------------------------------------------- told badly


@pytest.mark.needs("trick")
@pytest.mark.parametrize("trick", TOLD_BADLY)
async def test_a_call_told_badly_is_charged_once(board: Board, trick: Trick) -> None:
    """A lost end is found by the list, or, without `lists`, by the end of the lease: then it is an estimate."""
    await board.room.furnish(balance=2 * board.first_s * PER_SECOND)
    await board.start()
    await board.rig.play(trick)
    seen = await (await board.rig.place(Script(talks_s=3))).over()
    (cdr,) = await board.recorded()
    if trick is Trick.LOST_END:
        assert cdr["estimated"]
    else:
        assert board.agrees(cdr, seen)
    await board.squares(2 * board.first_s * PER_SECOND)


# -------------------------------------------------------------------- callctl dies


@pytest.mark.parametrize("state", [State.ADMITTED, State.ANSWERED])
async def test_the_switch_keeps_the_limit_when_callctl_is_dead(board: Board, state: State) -> None:
    """Without `timer` nobody ends the call; no more than the grant is charged all the same."""
    await board.room.furnish(balance=board.first_s * PER_SECOND)
    await board.start()
    call = await (board.ringing() if state is State.ADMITTED else board.talking())
    await board.room.kill()
    assert await call.answered()
    if not board.can.timer:
        await call.hang_up(Party.CALLER)
    seen = await call.over()
    if board.can.timer:
        assert seen.hung_up_by is None
        assert seen.talked_ms <= (board.first_s + 1) * 1_000 + board.rig.late_ms
    await board.start()
    (cdr,) = await board.recorded()
    assert cdr["billed_s"] <= board.first_s
    assert cdr["billed_s"] == board.first_s or state is State.ADMITTED or not board.can.timer
    await board.squares(board.first_s * PER_SECOND)


@pytest.mark.parametrize("state", [State.ADMITTED, State.ANSWERED])
async def test_the_next_process_takes_the_call_over(board: Board, state: State) -> None:
    await board.room.furnish()
    await board.start()
    call = await (board.ringing() if state is State.ADMITTED else board.talking())
    await board.room.kill()
    await board.start()
    assert await call.answered()
    await board.in_state(State.ANSWERED)
    await call.hang_up(Party.CALLEE)
    seen = await call.over()
    (cdr,) = await board.recorded()
    assert (cdr["released_by"], cdr["estimated"]) == (board.told(Party.CALLEE), False)
    assert board.agrees(cdr, seen)
    await board.squares(10 * EURO)


async def test_a_call_that_ended_meanwhile_is_settled_once(board: Board) -> None:
    await board.room.furnish()
    await board.start()
    call = await board.talking()
    granted_s = board.session().granted_s
    await board.room.kill()
    await call.hang_up(Party.CALLER)
    await call.over()
    for _ in range(2):
        await board.start()
        (cdr,) = await board.recorded()
        await board.room.kill()
    assert cdr["billed_s"] <= granted_s
    assert (await board.room.balance()).held == 0


@pytest.mark.needs(Trick.ALONE)
async def test_with_callctl_dead_emergency_calls_alone_pass(board: Board) -> None:
    await board.room.furnish()
    await board.start()
    await board.room.kill()
    refused = await (await board.rig.place(Script(talks_s=2))).over()
    emergency = await (await board.rig.place(Script(to="112", talks_s=2))).over()
    assert (refused.sip, emergency.connected) == (503, True)
