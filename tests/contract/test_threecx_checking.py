"""A 3CX's own records beside ours: XAPI's call log, the CDR socket both ways round, and the licence."""

import asyncio
import socket
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from callctl.adapters.threecx.calls import Call, Mode, Wanted
from callctl.adapters.threecx.cdr import CdrSocket
from callctl.adapters.threecx.checking import Checking
from callctl.adapters.threecx.crosscheck import FIELDS, Crosscheck, Logged, parse_line
from callctl.adapters.threecx.xapi import PAGE, duration_ms
from callctl.call.events import Answered, Released
from callctl.clock import Instant, SystemClock
from callctl.errors import SwitchUnavailable
from callctl.limits.licence import LicenceStatus
from callctl.rating.tariff import Direction
from callctl.simulators.threecx import EndedBy, Far, Setup, SimCall, ThreeCxSimulator
from tests.patient import PatientClock
from tests.servers import free_port
from tests.threecx_desk import NUMBER, PBX, SOON, Desk, at, laid, whole
from tests.waiting import PATIENCE_S, until

UTC = ZoneInfo("UTC")
LINE = (
    "Call 288831,4cc2c72490010000_26808,00:00:25,2024/06/17 05:59:49,2024/06/17 05:59:58,2024/06/17 06:00:23,"
    "TerminatedBySrc,Ext.112,+46703014082,112,10020,+46703014082,,+46703014082,10020,default,1,0.43,default,"
    "Chain: Ext.112;+46703014082;,Extension,Line,Line,Backup, no 2,+46703014082,+46703014082,"
)


def checking(socket_: CdrSocket | None = None, *, call_log: bool = False) -> Checking:
    return Checking(PBX, call_log=call_log, socket=socket_, times=SOON)


async def spoken(desk: Desk, *, is_logged: bool = True) -> SimCall:
    """A call that was admitted and answered, and has ended; without `is_logged` the PBX has no record of it."""
    call = desk.simulator.phone_dials("112", NUMBER)
    assert call is not None
    await desk.admitted()
    desk.simulator.pbx.far_answers(call)
    await desk.first(Answered)
    desk.simulator.pbx.hang_up(call, EndedBy.CALLER)
    if not is_logged:
        desk.simulator.pbx.history.clear()
    await desk.first(Released)
    return call


async def compared(desk: Desk) -> None:
    """Every call that has ended has been compared with its record."""
    assert desk.switch._checking is not None
    check = desk.switch._checking._check
    await until(lambda: check.since_ms is None)


def misread(simulator: ThreeCxSimulator, ms: int) -> None:
    """The PBX writes down that its next call was so much longer."""
    closed = simulator.pbx.closed

    def longer(call: SimCall) -> None:
        call.segments[-1].ended_ms = (call.segments[-1].ended_ms or 0) + ms
        closed(call)

    simulator.pbx.closed = longer


# -------------------------------------------------------------------- XAPI


@pytest.mark.parametrize(("apart_ms", "differences"), [(0, 0), (1_500, 0), (5_000, 1)])
async def test_a_call_is_compared_with_the_call_log(apart_ms: int, differences: int) -> None:
    with capture_logs() as logs:
        async with laid(xapi=True, checking=checking(call_log=True)) as desk:
            misread(desk.simulator, apart_ms)
            await spoken(desk)
            await compared(desk)
            assert (desk.switch.counts.differences, desk.switch.counts.unlogged) == (differences, 0)
    alarms = [log for log in logs if log["event"] == "call_differs_from_the_log_of_the_pbx"]
    assert [log["log_level"] for log in alarms] == ["error"] * differences


async def test_a_call_through_the_route_point_is_compared_too() -> None:
    async with laid(Mode.ROUTE_POINT, xapi=True, checking=checking(call_log=True)) as desk:
        call = desk.simulator.phone_dials("112", NUMBER, via="900")
        assert call is not None
        await desk.admitted()
        await until(lambda: call.attempt is not None)
        desk.simulator.pbx.far_answers(call)
        await desk.first(Answered)
        desk.simulator.pbx.hang_up(call, EndedBy.CALLER)
        await desk.first(Released)
        await compared(desk)
        assert (desk.switch.counts.differences, desk.switch.counts.unlogged) == (0, 0)


async def test_a_call_that_the_log_lacks_is_an_alarm_in_time() -> None:
    async with laid(xapi=True, checking=checking(call_log=True)) as desk:
        await spoken(desk, is_logged=False)
        await until(lambda: desk.switch.counts.unlogged == 1)


async def test_the_true_end_of_a_call_corrects_what_was_guessed(tmp_path: Path) -> None:
    options: dict[str, Any] = {"xapi": True, "checking": checking(call_log=True)}
    async with whole(tmp_path, Mode.OBSERVE, **options) as table:
        call = await table.talking()
        await table.room.clock.sleep_ms(100)
        table.simulator.faults.lose = 1
        table.pbx.hang_up(call, EndedBy.CALLER)
        await until(lambda: len(table.room.cdrs()) == 2)
        estimated, correction = table.room.cdrs()
        assert (estimated["estimated"], correction["corrects"]) == (True, estimated["id"])
        assert abs(correction["duration_ms"] - call.talked_ms) < 100
        assert table.room.calls.live() == []


async def test_the_true_end_of_a_call_that_ended_while_callctl_was_dead_corrects_its_estimate(tmp_path: Path) -> None:
    options: dict[str, Any] = {"xapi": True, "checking": checking(call_log=True)}
    async with whole(tmp_path, Mode.OBSERVE, **options) as table:
        call = await table.talking()
        await table.room.clock.sleep_ms(100)
        await table.room.kill()
        table.pbx.hang_up(call, EndedBy.CALLER)
        await table.room.clock.sleep_ms(100)
        await table.start()
        await until(lambda: len(table.room.cdrs()) == 2)
        estimated, correction = table.room.cdrs()
        assert (estimated["estimated"], correction["corrects"]) == (True, estimated["id"])
        assert abs(correction["duration_ms"] - call.talked_ms) < 100


async def test_without_a_readable_log_the_socket_alone_is_compared() -> None:
    port = free_port(socket.SOCK_STREAM)
    both = checking(CdrSocket(way="listen", host="127.0.0.1", port=port), call_log=True)
    setup = Setup(xapi=False, cdr="active", cdr_port=port)
    async with laid(setup=setup, xapi=True, checking=both) as desk:
        await spoken(desk)
        await compared(desk)
        assert (desk.switch.counts.differences, desk.switch.counts.unlogged) == (0, 0)


async def test_a_log_of_many_pages_is_read_to_its_end() -> None:
    async with laid(xapi=True, checking=checking(call_log=True)) as desk:
        desk.simulator.pbx.any_far = Far()
        for _ in range(2 * PAGE + 5):
            call = desk.simulator.phone_dials("115", NUMBER)
            assert call is not None
            desk.simulator.pbx.hang_up(call, EndedBy.CALLER)
        await spoken(desk)
        await compared(desk)
        assert (desk.switch.counts.differences, desk.switch.counts.unlogged) == (0, 0)


async def test_a_log_that_cannot_be_read_is_asked_for_again() -> None:
    async with laid(setup=Setup(xapi=False), xapi=True, checking=checking(call_log=True)) as desk:
        await spoken(desk)
        await asyncio.sleep(0.1)
        assert desk.switch.counts.differences == 0
        assert desk.switch.state().up


@pytest.mark.parametrize(
    ("setup", "status"),
    [
        (Setup(sim_calls=16), LicenceStatus(16, "2027-11-22")),
        (Setup(licence_expires="", sim_calls=1024), LicenceStatus(1024, None)),
        (Setup(licence_expires="0001-01-01T00:00:00", sim_calls=8), LicenceStatus(8, None)),
        (Setup(licence_active=False, licence_expires="2020-01-31T00:00:00Z"), LicenceStatus(16, "2020-01-31")),
    ],
)
async def test_the_licence_is_what_the_pbx_says_of_it(setup: Setup, status: LicenceStatus) -> None:
    async with laid(setup=setup, xapi=True) as desk:
        assert await desk.switch.licence() == status


async def test_a_licence_that_is_not_active_has_expired_by_today() -> None:
    async with laid(setup=Setup(licence_active=False), xapi=True) as desk:
        day = (await desk.switch.licence()).expires_day
        assert day is not None
        assert day < "2027-11-22" or SystemClock().now().wall_ms > 1_826_841_600_000


async def test_xapi_that_does_not_answer_is_shown_and_hinders_nothing() -> None:
    async with laid(setup=Setup(xapi=False), xapi=True) as desk:
        state = desk.switch.state()
        assert state.up
        assert "threecx_active_calls_not_read: 404" in state.detail


@pytest.mark.parametrize("xapi", [True, False])
async def test_without_xapi_the_pbx_does_not_tell_its_licence(xapi: bool) -> None:
    async with laid(setup=Setup(xapi=False), xapi=xapi) as desk:
        with pytest.raises(SwitchUnavailable):
            await desk.switch.licence()


# -------------------------------------------------------------------- the CDR socket


@pytest.mark.parametrize("pieces", [0, 7])
@pytest.mark.parametrize("new_tokens", [False, True])
async def test_lines_come_when_the_pbx_connects_to_us(pieces: int, new_tokens: bool) -> None:
    port = free_port(socket.SOCK_STREAM)
    listening = CdrSocket(way="listen", host="127.0.0.1", port=port)
    async with laid(setup=Setup(cdr="active", cdr_port=port), checking=checking(listening)) as desk:
        desk.simulator.faults.split_cdr_bytes, desk.simulator.faults.new_cdr_tokens = pieces, new_tokens
        await spoken(desk)
        await compared(desk)
        assert (desk.switch.counts.differences, desk.switch.counts.unlogged) == (0, 0)


async def test_lines_come_when_we_connect_to_the_pbx() -> None:
    async with ThreeCxSimulator(Setup(cdr="passive"), clock=PatientClock()) as simulator:
        dialling = CdrSocket(way="connect", host="127.0.0.1", port=simulator.cdr.port)
        async with at(simulator, checking=checking(dialling)) as desk:
            await until(lambda: desk.relinked and simulator.cdr._listeners)
            misread(simulator, 5_000)
            await spoken(desk)
            await compared(desk)
            assert desk.switch.counts.differences == 1


async def test_a_stranger_has_nothing_to_say() -> None:
    port = free_port(socket.SOCK_STREAM)
    heard: list[str] = []
    listening = CdrSocket(way="listen", host="127.0.0.2", port=port)
    with capture_logs() as logs:
        running = asyncio.create_task(listening.run(heard.append, PatientClock()))
        await until(lambda: _answers("127.0.0.2", port))
        reader, writer = await asyncio.open_connection("127.0.0.2", port, local_addr=("127.0.0.3", 0))
        assert await reader.read() == b""
        writer.close()
        running.cancel()
    assert heard == []
    assert any(log["event"] == "cdr_socket_stranger" for log in logs)


async def test_who_stops_listening_hangs_up() -> None:
    """The PBX connects no second time while it is connected, and the next one would hear nothing."""
    port, heard = free_port(socket.SOCK_STREAM), list[str]()
    listening = CdrSocket(way="listen", host="127.0.0.1", port=port)
    running = asyncio.create_task(listening.run(heard.append, PatientClock()))
    await until(lambda: _answers("127.0.0.1", port))
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"a line\r\n")
    await until(lambda: heard == ["a line"])
    running.cancel()
    async with asyncio.timeout(PATIENCE_S):
        assert await reader.read() == b""
    writer.close()


def _answers(host: str, port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((host, port)) == 0


# -------------------------------------------------------------------- what is told, read


def test_a_line_as_a_real_pbx_wrote_it() -> None:
    logged = parse_line(LINE, FIELDS, UTC)
    assert logged is not None
    assert (logged.history, logged.names) == ("288831", frozenset({"112", "+46703014082", "10020"}))
    assert (logged.answered_ms, logged.ended_ms - (logged.answered_ms or 0)) == (1_718_603_998_000, 25_000)


def test_the_columns_are_the_administrators() -> None:
    fields = ("time-start", "time-end", "historyid", "from-dn", "to-no")
    logged = parse_line("2024/06/17 05:59:49,2024/06/17 06:00:23,Call 7,112,0612", fields, ZoneInfo("Europe/Amsterdam"))
    assert logged == Logged("7", frozenset({"112", "0612"}), 1_718_596_789_000, None, 1_718_596_823_000)


@pytest.mark.parametrize("line", ["", "x", ",,,,,,,", LINE.replace("2024/06/17 06:00:23", "yesterday"), LINE[11:]])
def test_what_is_no_line(line: str) -> None:
    assert parse_line(line, FIELDS, UTC) is None


@pytest.mark.parametrize(
    ("told", "ms"),
    [
        ("PT25S", 25_000), ("PT1M2.5S", 62_500), ("P1DT1H", 90_000_000), ("00:00:25", 25_000),
        ("01:00:00.25", 3_600_250), ("1.00:00:01", 86_401_000), ("", None), ("P", None), ("25", None), (25, None),
    ],
)  # fmt: skip
def test_lengths_in_either_writing(told: object, ms: int | None) -> None:
    assert duration_ms(told) == ms


def moment(ms: int) -> Instant:
    return Instant(1_718_603_989_000 + ms, 1_718_603_989_000 + ms)


def ended(talked_ms: int, *, began: int = 0, far: str = "0046703014082") -> Call:
    wanted = Wanted(Direction.OUTBOUND, "112", far, "112", far)
    answered = moment(began + 9_000)
    return Call(
        id="1", group="1", began=moment(began), wanted=wanted, answered=answered, ended=answered.plus_ms(talked_ms)
    )


@pytest.mark.parametrize(
    ("call", "found"),
    [
        (ended(25_000), []), (ended(27_000), []), (ended(27_001), [25_000]), (ended(22_000), [25_000]),
        (ended(25_000, began=5_000), []), (ended(25_000, began=5_001), [None]), (ended(25_000, far="0612"), [None]),
    ],
)  # fmt: skip
def test_a_call_and_a_line_belong_together_by_extension_number_and_time(call: Call, found: list[int | None]) -> None:
    check = Crosscheck(unlogged_ms=1_000)
    logged = parse_line(LINE, FIELDS, UTC)
    assert logged is not None
    check.ended(call)
    check.logged([logged, logged])
    assert [it.theirs_ms for it in check.compared(moment(100_000)) if it.is_alarming] == found
    assert check.compared(moment(200_000)) == []


def test_a_call_waits_for_its_record_and_segments_are_one_call() -> None:
    check = Crosscheck(unlogged_ms=60_000)
    check.ended(ended(25_000))
    assert check.compared(moment(35_000)) == []
    names = frozenset({"112", "+46703014082"})
    first = Logged("7", names, moment(0).wall_ms, moment(9_000).wall_ms, moment(20_000).wall_ms)
    second = Logged("7", names | {"113"}, moment(20_000).wall_ms, moment(20_000).wall_ms, moment(34_000).wall_ms)
    check.logged([first, second])
    assert [it.theirs_ms for it in check.compared(moment(36_000))] == [25_000]
    assert check.since_ms is None


def test_who_dials_again_at_once_has_two_calls_with_a_record_each() -> None:
    check = Crosscheck(unlogged_ms=60_000)
    first, second = ended(2_000), ended(30_000, began=3_000)
    names = frozenset({"112", "+46703014082"})
    records = [
        Logged("1", names, moment(0).wall_ms, moment(9_000).wall_ms, moment(11_000).wall_ms),
        Logged("2", names, moment(3_000).wall_ms, moment(9_000).wall_ms, moment(39_000).wall_ms),
    ]
    check.ended(first)
    check.logged(records[:1])
    assert [it.theirs_ms for it in check.compared(moment(20_000))] == [2_000]
    check.ended(second)
    check.logged(records)
    assert [it.theirs_ms for it in check.compared(moment(40_000))] == [30_000]
    check.ended(first)
    check.ended(second)
    check.logged([replace(record, history=f"again {record.history}") for record in reversed(records)])
    assert [it.theirs_ms for it in check.compared(moment(41_000))] == [2_000, 30_000]
