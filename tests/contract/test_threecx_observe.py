"""`ThreeCxSwitch` in mode observe: what is reported of extensions that dial freely, and how their calls are ended."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from structlog.testing import capture_logs

from callctl.accounts import WarnTo
from callctl.adapters.threecx.remembered import Remembered
from callctl.call.events import Alerting, Answered, CallKey, Offered, Released
from callctl.causes import REFUSALS, Refusal
from callctl.errors import SwitchUnavailable
from callctl.rating.tariff import Direction
from callctl.simulators.threecx import EndedBy, Far, Setup, SimCall
from tests.patient import PatientClock
from tests.threecx_desk import E164, NUMBER, Desk, at, laid
from tests.waiting import until

NO_CREDIT = REFUSALS[Refusal.NO_CREDIT]


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    async with laid() as ready:
        yield ready


def dials(desk: Desk, number: str = NUMBER, extension: str = "112") -> SimCall:
    call = desk.simulator.phone_dials(extension, number)
    assert call is not None
    return call


async def in_state(desk: Desk, state: str) -> SimCall:
    call = dials(desk)
    await desk.admitted()
    if state == "talking":
        desk.simulator.pbx.far_answers(call)
        await desk.first(Answered)
    return call


# -------------------------------------------------------------------- what is reported


async def test_a_call_that_an_extension_makes(desk: Desk) -> None:
    call = dials(desk)
    offered = await desk.first(Offered)
    assert (offered.direction, offered.a_number, offered.b_number) == (Direction.OUTBOUND, "112", NUMBER)
    assert (offered.account, offered.trunk, offered.attended, offered.can_extend) == ("acme", None, True, True)
    await desk.admitted()
    desk.simulator.pbx.far_answers(call)
    answered = await desk.first(Answered)
    assert (answered.trunk_out, answered.stated) == ("10000", False)
    assert call.answered is not None
    assert abs(answered.at.wall_ms - call.answered.wall_ms) < 200
    desk.simulator.pbx.hang_up(call, EndedBy.CALLED)
    released = await desk.first(Released)
    assert (released.answered_at, released.estimated, released.released_by) == (answered.at, False, None)
    assert [len(desk.told(kind)) for kind in (Offered, Answered, Released)] == [1, 1, 1]


async def test_an_answer_before_the_verdict_is_told_after_it(desk: Desk) -> None:
    call = dials(desk)
    desk.simulator.pbx.far_answers(call)
    key = await desk.offered()
    assert [seen.call for seen in await desk.switch.live_calls()] == [key]  # the answer has been seen by now
    assert desk.told(Answered) == []
    await desk.admitted()
    assert (await desk.first(Answered)).call == key


async def test_an_inbound_call_rings_and_is_answered() -> None:
    async with laid(is_trunk=lambda dn: dn == "10000", site={"account": None}) as desk:
        call = desk.simulator.pbx.inbound("+31201234567", "+49301234567", "112")
        assert call is not None
        offered = await desk.first(Offered)
        assert (offered.direction, offered.a_number, offered.b_number) == (
            Direction.INBOUND, "+49301234567", "+31201234567",
        )  # fmt: skip
        assert (offered.account, offered.trunk) == (None, "10000")
        await desk.admitted("+31201234567")
        await desk.first(Alerting)
        desk.simulator.pbx.far_answers(call)
        assert (await desk.first(Answered)).trunk_out is None


@pytest.mark.parametrize("by", ["112", "10000"])
async def test_an_inbound_call_without_a_did_is_told_by_extension_or_trunk(by: str) -> None:
    async with laid(site={"numbers": {by: "+31201234567"}}) as desk:
        desk.simulator.faults.empty_did = True
        desk.simulator.pbx.inbound("+31201234567", "+49301234567", "112")
        assert (await desk.first(Offered)).b_number == "+31201234567"


async def test_an_inbound_call_of_which_no_number_is_known_passes_and_is_counted(desk: Desk) -> None:
    desk.simulator.faults.empty_did = True
    call = desk.simulator.pbx.inbound("+31201234567", "+49301234567", "112")
    await until(lambda: desk.switch.counts.unnumbered == 1)
    assert call is not None
    desk.simulator.pbx.far_answers(call)
    await desk.switch.live_calls()
    dials(desk, extension="113")
    await desk.first(Offered)
    assert len(desk.told(Offered)) == 1
    assert call.ended is None


async def test_an_internal_call_is_one_call(desk: Desk) -> None:
    call = dials(desk, "113")
    await desk.admitted("113")
    desk.simulator.pbx.far_answers(call)
    await desk.first(Answered)
    desk.simulator.pbx.hang_up(call, EndedBy.CALLER)
    await desk.first(Released)
    (offered,) = desk.told(Offered)
    assert (offered.direction, offered.a_number, offered.b_number) == (Direction.INTERNAL, "112", "113")


async def test_a_call_from_an_extension_that_we_are_not_shown_is_internal(desk: Desk) -> None:
    dials(desk, "112", extension="115")
    offered = await desk.first(Offered)
    assert (offered.direction, offered.a_number, offered.b_number) == (Direction.INTERNAL, "115", "112")


async def test_only_the_extensions_that_were_named_are_looked_at() -> None:
    async with laid(site={"extensions": frozenset({"113"})}) as desk:
        dials(desk)
        dials(desk, extension="113")
        offered = await desk.first(Offered)
        assert offered.a_number == "113"


async def test_a_number_as_short_as_an_extension_waits_until_it_is_routed(desk: Desk) -> None:
    desk.simulator.faults.late_party = True
    desk.simulator.pbx.far["115"] = Far()
    call = dials(desk, "115")
    assert (await desk.first(Offered)).direction is Direction.INTERNAL  # the PBX knows it for its own at once
    desk.simulator.pbx.hang_up(call, EndedBy.CALLER)
    dials(desk, "110")
    offered = await desk.first(Offered, 2)
    assert (offered.direction, offered.b_number) == (Direction.OUTBOUND, "110")


async def test_a_transfer_inside_goes_on_in_the_same_call(desk: Desk) -> None:
    call = await in_state(desk, "talking")
    desk.simulator.pbx.transfer(call, "112", "113")
    assert len(await desk.switch.live_calls()) == 1
    desk.simulator.pbx.hang_up(call, EndedBy.CALLED)
    await desk.first(Released)
    assert [len(desk.told(kind)) for kind in (Offered, Answered, Released)] == [1, 1, 1]


async def test_a_talk_that_is_transferred_to_the_outside_goes_on_by_xapi() -> None:
    async with laid(xapi=True) as desk:
        call = await in_state(desk, "talking")
        desk.simulator.pbx.transfer(call, "112", "0687654321")
        await until(lambda: [it.listed for it in desk.switch._book.calls()] == [True])
        assert len(await desk.switch.live_calls()) == 1
        assert desk.told(Released) == []
        await desk.switch.hang_up(await desk.offered(), 16)
        await desk.first(Released)
        assert call.ended_by is EndedBy.APP


async def test_a_row_that_xapi_keeps_of_a_call_that_is_over_keeps_no_call_up() -> None:
    async with laid(xapi=True) as desk:
        call = await in_state(desk, "talking")
        desk.simulator.faults.stuck_rows = True
        desk.simulator.pbx.hang_up(call, EndedBy.CALLER)
        ended = PatientClock().now()
        released = await desk.first(Released)
        assert abs(released.at.wall_ms - ended.wall_ms) < 200


# -------------------------------------------------------------------- what is commanded


async def test_a_refused_call_is_dropped_before_it_is_answered(desk: Desk) -> None:
    call = dials(desk)
    key = await desk.offered()
    await desk.switch.reject(key, NO_CREDIT)
    await desk.first(Released)
    assert (call.ended_by, call.answered) == (EndedBy.APP, None)


@pytest.mark.parametrize("state", ["dialling", "talking"])
async def test_a_call_is_hung_up(desk: Desk, state: str) -> None:
    call = await in_state(desk, state)
    (offered,) = desk.told(Offered)
    await desk.switch.hang_up(offered.call, 16)
    await desk.first(Released)
    assert call.ended_by is EndedBy.APP


async def test_commands_to_a_call_that_is_gone_are_no_failure(desk: Desk) -> None:
    key = CallKey("pbx1", "1-2-3-112")
    await desk.switch.admit(key, granted_s=1, setup_s=1, b_number=E164, account="acme")
    await desk.switch.reject(key, NO_CREDIT)
    await desk.switch.hang_up(key, 16)
    await desk.switch.arm(key, 1_000)
    await desk.switch.warn(key, 10, WarnTo.CALLER)
    assert desk.simulator.api.actions == []


async def test_a_call_that_has_gone_meanwhile_is_no_failure(desk: Desk) -> None:
    await in_state(desk, "talking")
    desk.simulator.faults.action_statuses = [404]
    await desk.switch.hang_up(await desk.offered(), 16)


@pytest.mark.parametrize("status", [400, 422])
async def test_what_was_not_done_is_told_and_not_repeated(desk: Desk, status: int) -> None:
    call = await in_state(desk, "talking")
    desk.simulator.faults.action_statuses = [status]
    with pytest.raises(SwitchUnavailable, match=str(status)):
        await desk.switch.hang_up(await desk.offered(), 16)
    assert (call.ended, len(desk.simulator.api.actions)) == (None, 1)


async def test_what_cannot_be_done_is_told_after_some_tries(desk: Desk) -> None:
    call = await in_state(desk, "talking")
    desk.simulator.faults.action_statuses = [429, 500, 502, 503]
    with pytest.raises(SwitchUnavailable, match="503"):
        await desk.switch.hang_up(await desk.offered(), 16)
    assert (call.ended, len(desk.simulator.api.actions)) == (None, 4)


@pytest.mark.parametrize("fault", [{"action_statuses": [503, 429]}, {"lose_replies": 1}, {"actions_rejected": 1}])
async def test_a_drop_that_fails_is_tried_again_at_once(desk: Desk, fault: dict[str, object]) -> None:
    """A call ends when its paid time is over: control would ask again a second later."""
    call = await in_state(desk, "talking")
    for name, value in fault.items():
        setattr(desk.simulator.faults, name, value)
    await desk.switch.hang_up(await desk.offered(), 16)
    await desk.first(Released)
    assert call.ended_by is EndedBy.APP


@pytest.mark.parametrize("statuses", [[500, 503, 503, 429, 500], [422]])
async def test_a_refused_call_is_dropped_however_often_it_takes(desk: Desk, statuses: list[int]) -> None:
    call = dials(desk)
    key = await desk.offered()
    desk.simulator.faults.action_statuses = statuses
    with pytest.raises(SwitchUnavailable):
        await desk.switch.reject(key, NO_CREDIT)
    await desk.first(Released)
    assert call.ended_by is EndedBy.APP


async def test_commands_fail_while_nobody_answers(desk: Desk) -> None:
    await in_state(desk, "talking")
    await desk.simulator.stop_listening()
    with pytest.raises(SwitchUnavailable):
        await desk.switch.hang_up(await desk.offered(), 16)
    with pytest.raises(SwitchUnavailable):
        await desk.switch.live_calls()
    await until(lambda: not desk.switch.state().up)


async def test_a_leg_that_may_not_be_dropped_is_dropped_by_xapi() -> None:
    async with laid(xapi=True) as desk:
        call = await in_state(desk, "talking")
        desk.simulator.faults.action_statuses = [403]
        await desk.switch.hang_up(await desk.offered(), 16)
        await desk.first(Released)
        assert call.ended_by is EndedBy.APP


async def test_live_calls_are_those_that_are_up(desk: Desk) -> None:
    assert await desk.switch.live_calls() == []
    await in_state(desk, "talking")
    (seen,) = await desk.switch.live_calls()
    assert (seen.call, seen.answered_at) == (await desk.offered(), desk.told(Answered)[0].at)


# -------------------------------------------------------------------- events that are not as they should be


@pytest.mark.parametrize(
    "fault",
    [
        {"attached": True}, {"duplicate": True}, {"reorder": True}, {"late_ms": 150}, {"unknown_events": True},
        {"binary_frames": True}, {"string_ids": True}, {"null_lists": True}, {"forbid_entity": True},
        {"slow_get_ms": 50}, {"repeat_ms": 20}, {"get_statuses": [500, 503, 429, 502]}, {"late_party": True},
        {"unauthorized": 1}, {"numeric_finalstatus": True}, {"missing_result": True}, {"refuse_tokens": 1},
        {"unknown_progress": True}, {"trunk_unnamed": True}, {"get_statuses": [404], "repeat_ms": 50},
    ],
    ids=str,
)  # fmt: skip
async def test_a_whole_call_is_told_once_whatever_the_pbx_does(desk: Desk, fault: dict[str, object]) -> None:
    for name, value in fault.items():
        setattr(desk.simulator.faults, name, value)
    call = dials(desk)
    await desk.admitted()
    desk.simulator.pbx.far_answers(call)
    await desk.first(Answered)
    desk.simulator.pbx.hang_up(call, EndedBy.CALLER)
    await desk.first(Released)
    dials(desk, extension="113")
    await desk.first(Offered, 2)  # everything of the first call has been told by now
    assert [len(desk.told(kind)) for kind in (Answered, Released)] == [1, 1]


async def test_an_unknown_status_changes_nothing_and_is_said_once(desk: Desk) -> None:
    with capture_logs() as logs:
        call = await in_state(desk, "talking")
        desk.simulator.faults.unknown_status = True
        desk.simulator.pbx.changed(0, call.caller, None)
        await until(lambda: any(log["event"] == "threecx_unknown_status" for log in logs))
        desk.simulator.pbx.changed(0, call.caller, None)
        assert (await desk.switch.live_calls())[0].answered_at is not None
        desk.simulator.pbx.hang_up(call, EndedBy.CALLER)
        await desk.first(Released)
    assert [log["status"] for log in logs if log["event"] == "threecx_unknown_status"] == ["Talking"]


@pytest.mark.parametrize("lost", ["begin", "answer", "end"])
async def test_a_lost_event_is_found_by_the_gap_it_leaves(desk: Desk, lost: str) -> None:
    desk.simulator.faults.repeat_ms = 0
    call = await in_state(desk, "talking" if lost == "end" else "dialling")
    desk.simulator.faults.lose = 1
    match lost:
        case "begin":
            dials(desk, extension="111")
        case "answer":
            desk.simulator.pbx.far_answers(call)
        case _:
            desk.simulator.pbx.hang_up(call, EndedBy.CALLER)
    dials(desk, extension="113")  # its event has the number after the next
    await until(lambda: desk.switch.counts.gaps)
    if lost == "begin":
        await until(lambda: {it.a_number for it in desk.told(Offered)} == {"111", "112", "113"})
    else:
        told = await desk.first({"answer": Answered, "end": Released}[lost])
        assert told.call == desk.told(Offered)[0].call
        assert lost != "end" or told.estimated


async def test_the_last_event_that_is_lost_is_found_by_the_next_snapshot(desk: Desk) -> None:
    call = await in_state(desk, "talking")
    desk.simulator.faults.lose = 1
    desk.simulator.pbx.hang_up(call, EndedBy.CALLER)
    assert (await desk.first(Released)).estimated is True
    assert desk.switch.counts.missed == 1


async def test_a_lost_answer_is_found_before_the_next_event(desk: Desk) -> None:
    desk.simulator.faults.repeat_ms = 0
    call = await in_state(desk, "dialling")
    desk.simulator.faults.lose = 1
    desk.simulator.pbx.far_answers(call)
    await desk.first(Answered)
    assert desk.switch.counts.gaps == 0


async def test_a_websocket_that_says_nothing_any_more_is_replaced(desk: Desk) -> None:
    desk.simulator.faults.stalled = True
    dials(desk)
    await until(lambda: desk.switch.counts.stalls == 1)
    await until(lambda: desk.switch.counts.connections == 2)
    await desk.first(Offered)


async def test_a_read_that_arrives_after_the_end_changes_nothing(desk: Desk) -> None:
    desk.simulator.faults.slow_get_ms = 100
    call = dials(desk)
    await until(lambda: desk.simulator.api.reads)
    desk.simulator.pbx.hang_up(call, EndedBy.CALLER)
    desk.simulator.faults.slow_get_ms = 0
    dials(desk, extension="113")
    await desk.first(Offered)
    assert [offered.a_number for offered in desk.told(Offered)] == ["113"]


async def test_reads_of_one_participant_are_coalesced(desk: Desk) -> None:
    desk.simulator.faults.slow_get_ms = 100
    call = dials(desk)
    await until(lambda: desk.simulator.api.reads == 1)
    for _ in range(50):
        desk.simulator.pbx.far_rings(call)
    await until(lambda: desk.switch.counts.events >= 50)
    desk.simulator.pbx.far_answers(call)
    await desk.admitted()
    await desk.first(Answered)
    assert desk.simulator.api.reads <= 3


# -------------------------------------------------------------------- the link


@pytest.mark.parametrize("state", ["offered", "dialling", "talking"])
async def test_the_websocket_is_lost_and_comes_back(desk: Desk, state: str) -> None:
    if state == "offered":
        call = dials(desk)
        await desk.offered()
    else:
        call = await in_state(desk, state)
    await desk.simulator.drop_websockets()
    await until(lambda: desk.relinked == 2)
    if state == "offered":
        await desk.admitted()
    desk.simulator.pbx.far_answers(call)
    await desk.first(Answered)
    desk.simulator.pbx.hang_up(call, EndedBy.CALLER)
    released = await desk.first(Released)
    assert released.estimated is False
    assert len(desk.told(Offered)) == 1


async def test_what_happened_while_nobody_listened_is_told_afterwards(desk: Desk) -> None:
    call = await in_state(desk, "talking")
    await desk.simulator.stop_listening()
    desk.simulator.pbx.hang_up(call, EndedBy.CALLER)
    other = dials(desk, extension="113")
    await desk.simulator.listen()
    assert (await desk.first(Released)).estimated is True
    assert (await desk.first(Offered, 2)).a_number == "113"
    assert other.ended is None


async def test_a_snapshot_that_cannot_be_read_is_asked_for_again_and_said_once(desk: Desk) -> None:
    with capture_logs() as logs:
        for relinked in (2, 3):
            desk.simulator.faults.snapshot_statuses = [500, 429]
            await desk.simulator.drop_websockets()
            await until(lambda: desk.relinked == relinked)  # noqa: B023  asked in this very turn of the loop
    assert desk.switch.state().up
    said = [log["event"] for log in logs]
    assert (said.count("threecx_snapshot_failed"), said.count("threecx_down")) == (2, 2)


@pytest.mark.parametrize("fault", ["lost", "during"])
async def test_a_restart_gives_out_the_same_ids_again(desk: Desk, fault: str) -> None:
    """The new call is another one, though everything that 3CX tells of it is what it told of the first."""
    first = await in_state(desk, "talking")
    await desk.simulator.stop_listening()
    desk.simulator.pbx.restart()
    if fault == "during":
        dials(desk)
        await desk.simulator.listen()
    else:
        await desk.simulator.listen()
        await until(lambda: desk.relinked == 2)
        dials(desk)
    await desk.first(Released)
    again = await desk.first(Offered, 2)
    assert first.id == 1
    assert again.call != desk.told(Offered)[0].call
    assert again.call.call_id.split("-")[1:] == desk.told(Offered)[0].call.call_id.split("-")[1:]


@pytest.mark.parametrize("tells_uids", [True, False])
async def test_who_has_reached_the_same_number_again_by_the_reconnect(desk: Desk, tells_uids: bool) -> None:
    """Is another call where the PBX tells ids that it never gives again; where not, nothing tells the two apart."""
    desk.simulator.faults.participant_uid = tells_uids
    await in_state(desk, "talking")
    await desk.simulator.stop_listening()
    desk.simulator.pbx.restart()
    call = dials(desk)
    desk.simulator.pbx.far_answers(call)
    await desk.simulator.listen()
    await until(lambda: desk.relinked == 2)
    if tells_uids:
        await desk.first(Released)
    assert len(desk.told(Offered)) == 1 + tells_uids
    (seen,) = await desk.switch.live_calls()
    assert seen.call == desk.told(Offered)[-1].call


async def test_an_adapter_that_starts_anew_finds_the_calls_that_control_knows(desk: Desk) -> None:
    call = await in_state(desk, "talking")
    key = await desk.offered()
    async with at(desk.simulator, known=lambda: [Remembered(key, "112", E164)]) as again:
        await until(lambda: again.relinked)
        (seen,) = await again.switch.live_calls()
        assert seen.call == key
        assert seen.answered_at is not None
        desk.simulator.pbx.hang_up(call, EndedBy.CALLER)
        assert (await again.first(Released)).call == key
        assert again.told(Offered) == []


async def test_calls_in_progress_are_found_where_the_list_of_dns_does_not_show_them(desk: Desk) -> None:
    dials(desk)
    await desk.offered()
    desk.simulator.faults.bare_lines = True
    async with at(desk.simulator) as again:
        assert (await again.first(Offered)).a_number == "112"


async def test_nobody_is_asked_for_calls_while_the_link_is_down(desk: Desk) -> None:
    """The PBX may have been started anew, and its ids be others'."""
    await in_state(desk, "talking")
    desk.simulator.faults.snapshot_statuses = [503] * 20
    await desk.simulator.drop_websockets()
    await until(lambda: not desk.switch.state().up)
    desk.simulator.faults.snapshot_statuses = []
    with pytest.raises(SwitchUnavailable):
        await desk.switch.live_calls()


async def test_calls_in_progress_that_nobody_knows_are_asked_for() -> None:
    """With XAPI since when they are connected, and who made them."""
    async with laid() as first:
        call = dials(first)
        first.simulator.pbx.far_answers(call)
        await asyncio.sleep(0.1)  # the length of the talk that XAPI tells of
        begun = PatientClock().now()
        async with at(first.simulator, xapi=True) as desk:
            await desk.admitted()
            answered = await desk.first(Answered)
            assert call.connected is not None
            assert abs(answered.at.wall_ms - call.connected.wall_ms) <= PatientClock().now().since_ms(begun)


@pytest.mark.parametrize("setup", [Setup(client_id="crm-integration")])
async def test_a_route_point_of_any_name(setup: Setup) -> None:
    async with laid(setup=setup) as desk:
        await in_state(desk, "talking")
