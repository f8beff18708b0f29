"""`ThreeCxSwitch` in mode route_point: callers wait at our own DN, and are connected or told no, aloud."""

import asyncio
import wave
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace

from callctl.adapters.threecx.audio import read_sound
from callctl.adapters.threecx.calls import Mode
from callctl.adapters.threecx.remembered import Remembered
from callctl.call.admission import EMERGENCY_GRANT_S
from callctl.call.events import Answered, Offered, Released
from callctl.causes import REFUSALS, Refusal
from callctl.errors import ConfigError
from callctl.rating.tariff import Direction
from callctl.simulators.threecx import EndedBy, Far, Setup, SimCall
from callctl.simulators.threecx.api import heard, times_heard
from tests.patient import PatientClock
from tests.threecx_desk import E164, NUMBER, SOON, Desk, at, laid
from tests.waiting import until

NO_CREDIT = REFUSALS[Refusal.NO_CREDIT]
HOME = "+31201234567"
SOUND = bytes(n % 251 for n in range(16 * 700))  # 700 ms, more than is sent ahead


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    async with laid(Mode.ROUTE_POINT) as ready:
        yield ready


def dials(desk: Desk, number: str = NUMBER, extension: str = "112", *, via: str | None = "900") -> SimCall:
    call = desk.simulator.phone_dials(extension, number, via=via)
    assert call is not None
    return call


def routed(desk: Desk) -> list[dict[str, object]]:
    return [body for action, _, body in desk.simulator.api.actions if action == "routeto"]


async def keys_are_waited_for(desk: Desk) -> None:
    """The prompt begins when they are."""
    await until(lambda: desk.simulator.api.streams)


async def connected(desk: Desk, call: SimCall) -> None:
    """It is admitted, and answered where it was routed."""
    await desk.admitted()
    await until(lambda: call.attempt is not None)
    desk.simulator.pbx.far_answers(call)
    await desk.first(Answered)


# -------------------------------------------------------------------- what is wanted


async def test_an_extension_whose_number_is_sent_to_the_route_point(desk: Desk) -> None:
    call = dials(desk)
    offered = await desk.first(Offered)
    assert (offered.direction, offered.a_number, offered.b_number) == (Direction.OUTBOUND, "112", NUMBER)
    assert desk.simulator.pbx.dialled == []
    await connected(desk, call)
    assert routed(desk) == [{"destination": E164, "timeout": 60}]
    assert desk.simulator.pbx.dialled == [E164]
    assert call.answered is not None
    assert abs(desk.told(Answered)[0].at.wall_ms - call.answered.wall_ms) < 200
    desk.simulator.pbx.hang_up(call, EndedBy.CALLER)
    released = await desk.first(Released)
    assert (released.answered_at, released.estimated) == (desk.told(Answered)[0].at, False)
    assert [len(desk.told(kind)) for kind in (Offered, Answered, Released)] == [1, 1, 1]


async def test_the_number_that_was_dialled_may_be_shown_late() -> None:
    async with laid(Mode.ROUTE_POINT, times=replace(SOON, again_ms=100)) as desk:
        desk.simulator.faults.late_number_ms = 50
        dials(desk)
        assert (await desk.first(Offered)).b_number == NUMBER


async def test_a_list_that_cannot_be_read_hides_nothing_for_long() -> None:
    async with laid(Mode.ROUTE_POINT, times=replace(SOON, again_ms=100)) as desk:
        desk.simulator.faults.late_number_ms, desk.simulator.faults.list_statuses = 50, [429, 503, 500, 429]
        dials(desk)
        assert (await desk.first(Offered)).b_number == NUMBER
        assert desk.simulator.faults.list_statuses != [429, 503, 500, 429]


async def test_keys_that_are_pressed_before_anybody_asks_are_heard() -> None:
    async with laid(Mode.ROUTE_POINT, prompt=SOUND, times=replace(SOON, again_ms=100)) as desk:
        call = dials(desk, "900")
        await until(desk.switch._book.calls)
        desk.simulator.pbx.press(call, "0612#")
        assert (await desk.first(Offered)).b_number == "0612"


@pytest.mark.parametrize(("pressed", "number"), [("0612#345", "0612"), (NUMBER, NUMBER), ("1123", "112")])
async def test_keys_are_a_number_up_to_the_hash_or_a_pause(pressed: str, number: str) -> None:
    async with laid(Mode.ROUTE_POINT, prompt=SOUND) as desk:
        call = dials(desk, "900")
        await keys_are_waited_for(desk)
        desk.simulator.pbx.press(call, pressed)
        assert (await desk.first(Offered)).b_number == number


async def test_who_presses_no_key_is_ended(desk: Desk) -> None:
    call = dials(desk, "900")
    await call.over.wait()
    assert (call.ended_by, desk.told(Offered), desk.told(Released)) == (EndedBy.APP, [], [])


async def test_the_prompt_is_heard_until_the_first_key() -> None:
    async with laid(Mode.ROUTE_POINT, prompt=SOUND * 40) as desk:
        call = dials(desk, "900")
        assert call.called is not None
        gate = call.called
        await until(lambda: heard(gate))
        desk.simulator.pbx.press(call, "0612#")
        await desk.first(Offered)
        await until(lambda: not desk.simulator.api.streams)
        assert (SOUND * 40).startswith(heard(gate))
        assert len(heard(gate)) < len(SOUND * 40)


async def test_a_route_point_that_rings_is_answered_for_keys() -> None:
    async with laid(Mode.ROUTE_POINT) as desk:
        desk.simulator.faults.route_point_rings = True
        call = dials(desk, "900")
        await until(lambda: ("answer", "900", {}) in desk.simulator.api.actions)
        desk.simulator.pbx.press(call, "0612#")
        await desk.first(Offered)


async def test_a_caller_from_outside_by_a_did_of_ours() -> None:
    async with laid(Mode.ROUTE_POINT, site={"routes": {HOME: "113"}}) as desk:
        call = desk.simulator.pbx.inbound(HOME, "+49301234567", "900")
        assert call is not None
        offered = await desk.first(Offered)
        assert (offered.direction, offered.a_number, offered.b_number) == (Direction.INBOUND, "+49301234567", HOME)
        await desk.admitted(HOME)
        await until(lambda: call.attempt is not None)
        desk.simulator.pbx.far_answers(call)
        await desk.first(Answered)
        assert routed(desk)[0]["destination"] == "113"
        desk.simulator.pbx.hang_up(call, EndedBy.CALLED)
        assert (await desk.first(Released)).estimated is False


@pytest.mark.parametrize("shown", ["31201234567", "0201234567", "0031201234567"])
async def test_a_did_is_routed_however_the_pbx_writes_it(shown: str) -> None:
    async with laid(Mode.ROUTE_POINT, site={"routes": {HOME: "113"}}) as desk:
        desk.simulator.pbx.inbound(shown, "+49301234567", "900")
        offered = await desk.first(Offered)
        assert (offered.direction, offered.b_number) == (Direction.INBOUND, HOME)
        await desk.admitted(HOME)
        await until(lambda: routed(desk) == [{"destination": "113", "timeout": 60}])


async def test_a_call_from_outside_without_a_did_is_routed_by_its_trunk() -> None:
    async with laid(Mode.ROUTE_POINT, site={"routes": {HOME: "113"}, "numbers": {"10000": HOME}}) as desk:
        desk.simulator.pbx.inbound("", "+49301234567", "900")
        offered = await desk.first(Offered)
        assert (offered.direction, offered.b_number) == (Direction.INBOUND, HOME)


async def test_a_did_that_is_routed_nowhere_is_not_called_again(desk: Desk) -> None:
    """It would come back, and be called again, and be paid each time."""
    call = desk.simulator.pbx.inbound(HOME, "+49301234567", "900")
    assert call is not None
    await call.over.wait()
    assert (call.ended_by, desk.told(Offered), desk.simulator.pbx.dialled) == (EndedBy.APP, [], [])


async def test_a_number_is_written_as_the_pbx_wants_it() -> None:
    async with laid(Mode.ROUTE_POINT, prefix="00") as desk:
        dials(desk)
        await desk.admitted()
        await until(lambda: routed(desk))
        assert routed(desk)[0]["destination"] == "0031612345678"


async def test_a_call_past_the_route_point_is_counted_and_not_asked_for(desk: Desk) -> None:
    dials(desk, via=None)
    await until(lambda: desk.switch.counts.ungated == 1)
    dials(desk, extension="113")
    assert (await desk.first(Offered)).a_number == "113"


# -------------------------------------------------------------------- what becomes of it


async def test_nobody_answers(desk: Desk) -> None:
    call = dials(desk)
    await desk.admitted(setup_s=1)
    released = await desk.first(Released)
    assert (released.answered_at, call.ended_by) == (None, EndedBy.APP)


async def test_the_called_party_refuses(desk: Desk) -> None:
    desk.simulator.pbx.far[E164] = Far(rings_s=0.1, answers=False)
    call = dials(desk)
    await desk.admitted()
    released = await desk.first(Released)
    assert (released.answered_at, call.answered) == (None, None)
    await call.over.wait()


@pytest.mark.parametrize("status", [400, 403, 404, 422, 424, 500])
async def test_the_pbx_will_not_connect_it(desk: Desk, status: int) -> None:
    call = dials(desk)
    desk.simulator.faults.action_statuses = [status]
    await desk.admitted()
    assert (await desk.first(Released)).answered_at is None
    assert call.ended_by is EndedBy.APP


async def test_a_pbx_that_is_too_busy_is_asked_again(desk: Desk) -> None:
    call = dials(desk)
    desk.simulator.faults.action_statuses = [429, 503]
    await connected(desk, call)
    assert len(routed(desk)) == 3


async def test_a_pbx_that_stays_too_busy_connects_nobody(desk: Desk) -> None:
    call = dials(desk)
    desk.simulator.faults.action_statuses = [429] * SOON.tries
    await desk.admitted()
    assert (await desk.first(Released)).answered_at is None
    assert call.ended_by is EndedBy.APP


async def test_the_caller_gives_up(desk: Desk) -> None:
    call = dials(desk)
    await desk.admitted()
    await until(lambda: call.attempt is not None)
    desk.simulator.pbx.hang_up(call, EndedBy.CALLER)
    assert (await desk.first(Released)).answered_at is None
    assert len(desk.told(Released)) == 1


async def test_the_answer_to_routing_is_lost_and_the_call_is_up(desk: Desk) -> None:
    call = dials(desk)
    key = await desk.admitted()
    await until(lambda: call.attempt is not None)
    desk.simulator.faults.lose_replies = 1
    desk.simulator.pbx.far_answers(call)
    await desk.first(Answered)
    await desk.switch.hang_up(key, 16)
    await desk.first(Released)
    assert call.ended_by is EndedBy.APP


@pytest.mark.parametrize("xapi", [False, True])
async def test_who_hangs_up_while_the_answer_to_routing_is_lost_has_not_talked(xapi: bool) -> None:
    async with laid(Mode.ROUTE_POINT, xapi=xapi) as desk:
        desk.simulator.faults.lose_replies = 1
        call = dials(desk)
        await desk.admitted()
        await until(lambda: call.attempt is not None)
        desk.simulator.pbx.hang_up(call, EndedBy.CALLER)
        assert (await desk.first(Released)).answered_at is None
        assert desk.told(Answered) == []


@pytest.mark.parametrize("xapi", [False, True])
async def test_who_waited_when_the_pbx_was_restarted_has_not_talked(xapi: bool) -> None:
    async with laid(Mode.ROUTE_POINT, xapi=xapi) as desk:
        call = dials(desk)
        await desk.admitted()
        await until(lambda: call.attempt is not None)
        await desk.simulator.restart()
        assert (await desk.first(Released)).answered_at is None
        assert desk.told(Answered) == []


async def test_as_many_as_the_pbx_can_take_ring_at_once_and_the_next_is_served() -> None:
    extensions = tuple(str(dn) for dn in range(200, 280))
    setup = Setup(sim_calls=128, extensions=extensions, watched=extensions)
    async with laid(Mode.ROUTE_POINT, setup=setup) as desk:
        for nth, extension in enumerate(extensions, 1):
            dials(desk, extension=extension)
            key = (await desk.first(Offered, nth)).call
            await desk.switch.admit(key, granted_s=60, setup_s=60, b_number=E164, account="acme")
        await until(lambda: len(desk.simulator.pbx.dialled) == len(extensions))
        await desk.switch.hang_up(desk.told(Offered)[0].call, 16)
        await desk.first(Released)


async def test_a_trunk_without_a_name_answers(desk: Desk) -> None:
    desk.simulator.faults.trunk_unnamed = True
    await connected(desk, dials(desk))


async def test_delivery_that_only_rings_is_no_answer(desk: Desk) -> None:
    desk.simulator.faults.delivered_at_once = True
    call = dials(desk)
    await desk.admitted()
    await until(lambda: ("drop", "900", {}) in desk.simulator.api.actions)
    assert desk.told(Answered) == []
    desk.simulator.pbx.far_answers(call)
    await desk.first(Answered)


@pytest.mark.parametrize("when", ["ringing", "talking"])
async def test_it_is_hung_up(desk: Desk, when: str) -> None:
    call = dials(desk)
    if when == "talking":
        await connected(desk, call)
    else:
        await desk.admitted()
        await until(lambda: call.attempt is not None)
    await desk.switch.hang_up(await desk.offered(), 16)
    await desk.first(Released)
    assert call.ended_by is EndedBy.APP


async def test_whom_a_restarted_pbx_gives_the_id_of_a_caller_that_was_to_be_ended_is_left_alone() -> None:
    """It counts its participants from 1 again."""
    times = replace(SOON, poll_ms=500)
    async with laid(Mode.ROUTE_POINT, times=times) as desk:
        dials(desk)
        desk.simulator.faults.action_statuses = [500, 503]  # neither connected nor ended
        await desk.admitted()
        await until(lambda: not desk.simulator.faults.action_statuses)
        await desk.simulator.restart()
        call = dials(desk, extension="113")
        await desk.first(Offered, 2)
        await PatientClock().sleep_ms(2 * times.poll_ms)  # by then an end is tried again
        assert (len(desk.told(Released)), call.ended) == (1, None)


# -------------------------------------------------------------------- callers that no participant shows


@asynccontextmanager
async def asked_for_keys(*, xapi: bool = True) -> AsyncIterator[Desk]:
    async with laid(Mode.ROUTE_POINT, xapi=xapi, prompt=SOUND) as desk:
        yield desk


async def presses(desk: Desk, number: str) -> SimCall:
    """A caller from outside."""
    call = desk.simulator.pbx.inbound(HOME, "+49301234567", "900")
    assert call is not None
    await keys_are_waited_for(desk)
    desk.simulator.pbx.press(call, f"{number}#")
    return call


async def test_a_caller_whom_nobody_could_follow_is_not_connected() -> None:
    async with asked_for_keys(xapi=False) as desk:
        call = await presses(desk, NUMBER)
        await desk.admitted()
        assert (await desk.first(Released)).answered_at is None
        assert (desk.simulator.pbx.dialled, call.ended_by) == ([], EndedBy.APP)


async def test_an_emergency_call_is_connected_whoever_follows_it() -> None:
    async with asked_for_keys(xapi=False) as desk:
        call = await presses(desk, "112")
        key = await desk.offered()
        await desk.switch.admit(key, granted_s=EMERGENCY_GRANT_S, setup_s=60, b_number="112", account="acme")
        await until(lambda: call.attempt is not None)
        desk.simulator.pbx.far_answers(call)
        await desk.first(Answered)


async def test_such_a_caller_is_followed_by_xapi() -> None:
    async with asked_for_keys() as desk:
        call = await presses(desk, NUMBER)
        await connected(desk, call)
        assert len(await desk.switch.live_calls()) == 1
        desk.simulator.pbx.hang_up(call, EndedBy.CALLED)
        released = await desk.first(Released)
        assert released.answered_at == desk.told(Answered)[0].at


async def test_such_a_caller_talks_before_the_late_answer_to_routing() -> None:
    async with asked_for_keys() as desk:
        desk.simulator.faults.reply_delay_ms = 1_000
        call = await presses(desk, NUMBER)
        await connected(desk, call)
        assert call.answered is not None
        assert desk.told(Answered)[0].at.since_ms(call.answered) < 1_000
        assert len(await desk.switch.live_calls()) == 1
        desk.simulator.pbx.hang_up(call, EndedBy.CALLED)
        await desk.first(Released)
        assert [len(desk.told(kind)) for kind in (Offered, Answered, Released)] == [1, 1, 1]


async def test_such_a_caller_is_hung_up_by_xapi() -> None:
    async with asked_for_keys() as desk:
        call = await presses(desk, NUMBER)
        await connected(desk, call)
        await desk.switch.hang_up(await desk.offered(), 16)
        await desk.first(Released)
        assert call.ended_by is EndedBy.APP


async def test_such_a_call_is_found_again_after_a_start() -> None:
    async with asked_for_keys() as desk:
        call = await presses(desk, NUMBER)
        await connected(desk, call)
        key = await desk.offered()
        known = [Remembered(key, "+49301234567", E164)]
        async with at(desk.simulator, Mode.ROUTE_POINT, xapi=True, known=lambda: known) as again:
            await until(lambda: again.relinked)
            assert [seen.call for seen in await again.switch.live_calls()] == [key]
            desk.simulator.pbx.hang_up(call, EndedBy.CALLED)
            assert (await again.first(Released)).call == key


# -------------------------------------------------------------------- announcements


@pytest.mark.parametrize(
    "fault", [{}, {"stream_424": 3}, {"stream_status": 202}, {"unauthorized": 1}, {"route_point_rings": True}], ids=str
)
async def test_an_announcement_is_heard_byte_for_byte_before_the_end(fault: dict[str, object]) -> None:
    async with laid(Mode.ROUTE_POINT, announcements={"no-credit": SOUND}) as desk:
        for name, value in fault.items():
            if name != "unauthorized":
                setattr(desk.simulator.faults, name, value)
        call = dials(desk)
        key = await desk.offered()
        gate = call.called
        assert gate is not None
        desk.simulator.faults.unauthorized = int("unauthorized" in fault)
        await desk.switch.reject(key, NO_CREDIT)
        assert heard(gate) == SOUND
        assert call.ended_by is EndedBy.APP
        await desk.first(Released)
        assert desk.simulator.pbx.dialled == []


async def test_a_sound_is_never_far_ahead_and_has_been_heard_when_the_call_ends() -> None:
    async with laid(Mode.ROUTE_POINT, announcements={"no-credit": SOUND}) as desk:
        call = dials(desk)
        key = await desk.offered()
        gate = call.called
        assert gate is not None
        await desk.switch.reject(key, NO_CREDIT)
        times = times_heard(gate)
        assert call.ended is not None
        assert call.ended.since_ms(times[0]) >= len(SOUND) // 16 - 20
        sent = 0
        for piece, moment in gate.heard:
            sent += len(piece)
            assert sent // 16 - moment.since_ms(times[0]) <= 500 + 50


async def test_a_sound_that_is_never_said_to_be_over_ends_all_the_same() -> None:
    async with laid(Mode.ROUTE_POINT, announcements={"no-credit": SOUND}, times=replace(SOON, request_ms=100)) as desk:
        desk.simulator.faults.stream_hangs = True
        call = dials(desk)
        await desk.switch.reject(await desk.offered(), NO_CREDIT)
        assert call.ended_by is EndedBy.APP


async def test_a_refusal_without_a_sound_is_an_end(desk: Desk) -> None:
    call = dials(desk)
    await desk.switch.reject(await desk.offered(), NO_CREDIT)
    assert call.ended_by is EndedBy.APP


async def test_a_caller_who_leaves_during_the_announcement() -> None:
    async with laid(Mode.ROUTE_POINT, announcements={"no-credit": SOUND * 20}) as desk:
        call = dials(desk)
        key = await desk.offered()
        gate = call.called
        assert gate is not None
        refusing = asyncio.create_task(desk.switch.reject(key, NO_CREDIT))
        await until(lambda: heard(gate))
        desk.simulator.pbx.hang_up(call, EndedBy.CALLER)
        await refusing
        await desk.first(Released)


async def test_the_token_is_not_renewed_while_a_sound_is_played() -> None:
    async with laid(Mode.ROUTE_POINT, announcements={"no-credit": SOUND}, setup=Setup()) as desk:
        desk.simulator.faults.token_ttl_s = 60
        desk.simulator.doorkeeper.supersede()
        call = dials(desk)
        key = await desk.offered()
        issued = desk.simulator.doorkeeper.issued
        gate = call.called
        assert gate is not None
        await desk.switch.reject(key, NO_CREDIT)
        assert heard(gate) == SOUND
        assert desk.simulator.doorkeeper.issued == issued


def _wav(path: Path, *, rate: int = 8000, channels: int = 1, samples: bytes = SOUND) -> Path:
    with wave.open(str(path), "wb") as sound:
        sound.setparams((channels, 2, rate, 0, "NONE", ""))
        sound.writeframes(samples)
    return path


def test_sounds_are_read_from_files_with_and_without_a_header(tmp_path: Path) -> None:
    (tmp_path / "no-credit.sln").write_bytes(SOUND)
    assert read_sound(_wav(tmp_path / "no-credit.wav")) == read_sound(tmp_path / "no-credit.sln") == SOUND


@pytest.mark.parametrize("kind", ["rate", "stereo", "long", "empty", "odd", "text", "missing"])
def test_a_sound_that_3cx_could_not_play_stops_the_start(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "sound.wav"
    match kind:
        case "rate":
            _wav(path, rate=16_000)
        case "stereo":
            _wav(path, channels=2)
        case "long":
            _wav(path, samples=bytes(16 * 60_001))
        case "empty":
            _wav(path, samples=b"")
        case "odd":
            path = tmp_path / "sound.raw"
            path.write_bytes(b"odd")
        case "text":
            path.write_text("no sound")
    with pytest.raises(ConfigError, match=r"sound\.") as raised:
        read_sound(path)
    assert raised.value.place == str(path)
