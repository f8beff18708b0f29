"""A proxy's call_control module over a real socket: every verdict, every trouble of its connection, and its calls."""

import asyncio
import os
import socket
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from callctl.accounts import WarnTo
from callctl.adapters.call_control import server
from callctl.adapters.call_control.server import Local, Tcp
from callctl.adapters.call_control.switch import CallControlSwitch
from callctl.call.events import Answered, CallEvent, CallKey, Offered, Released, SeenAlive
from callctl.causes import REFUSALS, Refusal
from callctl.errors import SwitchUnavailable
from tests.contract.proxy import Worker, asked_by_forks, init, management, start, stop
from tests.patient import PatientClock
from tests.waiting import until


class Desk:
    """The switch, with a clerk in call control's place who keeps what is reported and decides when told to."""

    def __init__(self, path: Path, **options: object) -> None:
        self.path = path
        self.events: list[CallEvent] = []
        self.verdicts: dict[str, Refusal | None] = {}
        self.linked = 0
        self._deciding: set[asyncio.Task[None]] = set()
        place = options.pop("place", Local(path))
        self.switch = CallControlSwitch(name="sbc", place=place, clock=PatientClock(), **options)

    async def __aenter__(self) -> "Desk":
        self._running = asyncio.create_task(self.switch.run(self.report, self._link))
        await until(lambda: self.switch.state().up)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._running.cancel()
        await asyncio.gather(self._running, *self._deciding, return_exceptions=True)

    def _link(self) -> None:
        self.linked += 1

    def report(self, event: CallEvent) -> None:
        self.events.append(event)
        if isinstance(event, Offered) and event.b_number in self.verdicts:
            self._deciding.add(asyncio.create_task(self.decide(event.call, self.verdicts[event.b_number])))

    async def decide(self, call: CallKey, refusal: Refusal | None) -> None:
        if refusal is None:
            await self.switch.admit(call, granted_s=10, setup_s=10, b_number="", account="")
        else:
            await self.switch.reject(call, REFUSALS[refusal])


YES, NO, SILENCE = "+31611111111", "+31622222222", "+31633333333"


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with Desk(tmp_path / "cc.sock", answer_ms=200) as desk:
        desk.verdicts = {YES: None, NO: Refusal.NO_CREDIT}
        yield desk


@pytest.fixture
async def worker(desk: Desk) -> AsyncIterator[Worker]:
    async with Worker(desk.path) as worker:
        yield worker


async def test_a_call_is_asked_for_answered_and_over(desk: Desk, worker: Worker) -> None:
    assert await worker.ask(init("c1", to=YES)) == "Limited"
    assert await worker.ask(start("c1")) == "Ok"
    assert await worker.ask(stop("c1")) == "Ok"
    offered, answered, released = desk.events
    assert isinstance(offered, Offered)
    assert (offered.call, offered.a_number, offered.b_number) == (CallKey("sbc", "c1"), "+31201234567", YES)
    assert (offered.source_ip, offered.account, offered.attended, offered.can_extend) == (
        "192.0.2.10",
        None,
        False,
        False,
    )
    assert isinstance(answered, Answered)
    assert isinstance(released, Released)
    assert (released.call, released.estimated) == (offered.call, False)


@pytest.mark.parametrize("refused", Refusal)
async def test_a_refusal(desk: Desk, worker: Worker, refused: Refusal) -> None:
    desk.verdicts[NO] = refused
    assert await worker.ask(init("c1", to=NO)) in ("No credit", "Locked", "Call limit reached", "Error")
    assert await worker.ask(stop("c1")) == "Not found"


async def test_a_refused_call_may_be_asked_for_again(desk: Desk, worker: Worker) -> None:
    assert await worker.ask(init("c1", to=NO)) == "No credit"
    desk.verdicts[NO] = None
    assert await worker.ask(init("c1", to=NO)) == "Limited"


async def test_no_verdict_in_time_is_an_error_and_the_call_is_given_up(desk: Desk, worker: Worker) -> None:
    assert await worker.ask(init("c1", to=SILENCE)) == "Error"
    assert [type(event) for event in desk.events] == [Offered, Released]
    await desk.decide(CallKey("sbc", "c1"), None)  # too late, and nobody minds
    assert desk.switch.counts.unanswered == 1
    assert await worker.ask(init("c2", to=YES)) == "Limited"


@pytest.mark.parametrize("to", [YES, SILENCE])
async def test_a_call_id_asks_once(desk: Desk, worker: Worker, to: str) -> None:
    """Whoever could use it twice, before the verdict or after it, would have two calls for the price of one."""
    async with Worker(desk.path) as another:
        await another.send(init("c1", to=to).encode() + b"\r\n\r\n")
        await until(lambda: desk.switch.counts.requests == 1)
        for request in (init("c1", to=to), init("c1", to=NO), init("c1", to=to, tag="mallory")):
            assert await worker.ask(request) == "Locked"
        await desk.decide(CallKey("sbc", "c1"), None)
        assert await another.reply() == "Limited"
    assert [type(event) for event in desk.events] == [Offered]


async def test_opensips_has_a_word_for_that(tmp_path: Path) -> None:
    async with Desk(tmp_path / "cc.sock", opensips=True) as desk, Worker(desk.path) as worker:
        desk.verdicts = {YES: None}
        assert await worker.ask(init("c1", to=YES)) == "Limited"
        assert await worker.ask(init("c1", to=YES)) == "Duplicated callid"


async def test_an_answer_is_told_again_with_every_200(desk: Desk, worker: Worker) -> None:
    await worker.ask(init("c1", to=YES))
    for _ in range(3):
        assert await worker.ask(start("c1")) == "Ok"
    assert [type(event) for event in desk.events[1:]] == [Answered, SeenAlive, SeenAlive]


async def test_ends_of_calls_that_nobody_knows_are_taken_calmly(desk: Desk, worker: Worker) -> None:
    """After a restart they may be ours."""
    assert await worker.ask(start("c9")) == "Not found"
    assert await worker.ask(stop("c9")) == "Ok"
    assert await worker.ask(stop("c9")) == "Not found"
    assert [type(event) for event in desk.events] == [Answered, Released, Released]


async def test_a_request_that_makes_no_sense_is_an_error_and_the_next_one_is_understood(
    desk: Desk, worker: Worker
) -> None:
    assert await worker.ask("terminate\r\ncallid: c1") == "Error"
    assert await worker.ask(init("c1", to=YES)) == "Limited"
    assert desk.switch.counts.malformed == 1


async def test_a_request_without_an_end_is_not_read_for_ever(desk: Desk, worker: Worker) -> None:
    await worker.send(b"init\r\nfrom: " + b"x" * 20_000)
    assert await worker.reply() == ""
    assert desk.switch.counts.malformed == 1


async def test_a_request_may_come_in_pieces(desk: Desk, worker: Worker) -> None:
    request = init("c1", to=YES).encode() + b"\r\n\r\n"
    for at in range(0, len(request), 7):
        await worker.send(request[at : at + 7])
    assert await worker.reply() == "Limited"


async def test_a_connection_on_which_nothing_is_asked_is_closed(desk: Desk, worker: Worker) -> None:
    """It is the one that all workers of a Kamailio would share."""
    await worker.connect()
    assert await worker.reply() == ""
    assert desk.switch.counts.shared == 1


async def test_a_connection_that_was_asked_on_stays(desk: Desk, worker: Worker) -> None:
    await worker.ask(init("c1", to=YES))
    await asyncio.sleep(server.FIRST_OCTET_S * 5)
    assert await worker.ask(stop("c1")) == "Ok"
    assert desk.switch.counts.shared == 0


async def test_a_connection_that_forked_processes_share_has_one_answer(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "FIRST_OCTET_S", 5)
    assert await asked_by_forks(desk.path, init("c1", to=YES)) == ["Limited"]
    assert desk.switch.counts.shared == 1


async def test_where_two_of_them_have_asked_neither_gets_an_answer(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be the other one's."""
    monkeypatch.setattr(server, "FIRST_OCTET_S", 5)
    assert await asked_by_forks(desk.path, init("c1", to=SILENCE), init("c2", to=SILENCE)) == []
    assert desk.switch.counts.shared == 1


async def test_only_so_many_connections(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MOST_CONNECTIONS", 2)
    async with Worker(desk.path) as one, Worker(desk.path) as two, Worker(desk.path) as three:
        assert await one.ask(init("c1", to=YES)) == "Limited"
        assert await two.ask(init("c2", to=YES)) == "Limited"
        await three.connect()
        assert await three.reply() == ""
        assert await one.ask(stop("c1")) == "Ok"
    assert desk.switch.counts.turned_away == 1


# ---- the socket


async def test_the_socket_is_for_its_group_and_gone_with_us(tmp_path: Path) -> None:
    path = tmp_path / "cc.sock"
    async with Desk(path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
    assert not path.exists()
    async with Desk(path, place=Local(path, 0o600, os.getgid())):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_what_a_killed_process_left_is_in_nobodys_way(tmp_path: Path) -> None:
    path = tmp_path / "cc.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    async with Desk(path) as desk, Worker(path) as worker:
        desk.verdicts = {YES: None}
        assert await worker.ask(init("c1", to=YES)) == "Limited"


@pytest.mark.parametrize("taken_by", ["file", "server", "nobody"])
async def test_where_it_cannot_listen_it_says_so_and_tries_again(
    tmp_path: Path, taken_by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("callctl.adapters.call_control.switch.LISTEN_AGAIN_MS", 10)
    path = tmp_path / "absent" / "cc.sock"
    with socket.socket(socket.AF_UNIX) as other:
        if taken_by != "nobody":
            path.parent.mkdir()
        if taken_by == "file":
            path.write_text("precious")
        if taken_by == "server":
            other.bind(str(path))
            other.listen()
        desk = Desk(path)
        running = asyncio.create_task(desk.switch.run(desk.report, desk._link))
        await until(lambda: desk.switch.state().detail)
        assert not desk.switch.state().up
        assert taken_by != "file" or path.read_text() == "precious"
        path.unlink(missing_ok=True)
        path.parent.mkdir(exist_ok=True)
    await until(lambda: desk.switch.state().up)
    assert desk.linked == 1
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_over_tcp(tmp_path: Path) -> None:
    async with Desk(tmp_path, place=Tcp("127.0.0.1", 0)) as desk:
        desk.verdicts = {YES: None}
        reader, writer = await asyncio.open_connection("127.0.0.1", desk.switch.port)
        writer.write(init("c1", to=YES).encode() + b"\r\n\r\n")
        assert await reader.readline() == b"Limited\r\n"
        writer.close()


# ---- who pays


@pytest.mark.parametrize(
    ("diverter", "account", "source_ip", "a_number"),
    [
        ("None", None, "192.0.2.10", "+31201234567"),
        ("acme@x", "acme", None, "acme"),
        ("+31207654321@x", None, None, "+31207654321"),
    ],
)
async def test_who_a_call_is_diverted_for_pays_where_that_is_trusted(
    tmp_path: Path, diverter: str, account: str | None, source_ip: str | None, a_number: str
) -> None:
    path = tmp_path / "cc.sock"
    async with Desk(path, trusts_diverter=True) as desk, Worker(path) as worker:
        desk.verdicts = {YES: None}
        await worker.ask(init("c1", to=YES, diverter=diverter))
        (offered,) = desk.events
        assert isinstance(offered, Offered)
        assert (offered.account, offered.source_ip, offered.a_number) == (account, source_ip, a_number)


async def test_a_diverter_is_not_trusted_by_default(desk: Desk, worker: Worker) -> None:
    await worker.ask(init("c1", to=YES, diverter="victim@x"))
    (offered,) = desk.events
    assert isinstance(offered, Offered)
    assert (offered.account, offered.source_ip) == (None, "192.0.2.10")


# ---- ending and listing calls

DIALOG = {"h_entry": 7, "h_id": 9, "call-id": "c1", "from_tag": "t", "state": 4, "start_ts": 1_795_255_200}


async def test_a_call_is_ended_over_the_management_socket(tmp_path: Path) -> None:
    path = tmp_path / "cc.sock"
    rpc = tmp_path / "rpc.sock"
    async with Desk(path, management=rpc) as desk, Worker(path) as worker, management(rpc) as proxy:
        desk.verdicts = {YES: None}
        await worker.ask(init("c1", to=YES))
        await worker.ask(start("c1", "7:9"))
        await desk.switch.hang_up(CallKey("sbc", "c1"), 16)
        assert proxy.asked == [("dlg.end_dlg", [7, 9, "Reason: Q.850;cause=16\r\n"])]
        proxy.answers["dlg.end_dlg"] = 404
        await desk.switch.hang_up(CallKey("sbc", "c1"), 16)  # it is gone: no failure
        proxy.answers["dlg.end_dlg"] = 500
        with pytest.raises(SwitchUnavailable, match="500"):
            await desk.switch.hang_up(CallKey("sbc", "c1"), 16)


async def test_opensips_is_asked_by_its_own_names(tmp_path: Path) -> None:
    path, rpc = tmp_path / "cc.sock", tmp_path / "rpc.sock"
    async with Desk(path, management=rpc, opensips=True) as desk, Worker(path) as worker, management(rpc) as proxy:
        desk.verdicts = {YES: None}
        await worker.ask(init("c1", to=YES))
        await desk.switch.hang_up(CallKey("sbc", "c1"), 102)  # it still rings, and is given up by the proxy itself
        await worker.ask(start("c1", "16981345738967"))
        await desk.switch.hang_up(CallKey("sbc", "c1"), 16)
        extra = {"dialog_id": "16981345738967", "extra_hdrs": "Reason: Q.850;cause=16\r\n"}
        assert proxy.asked == [("dlg_end_dlg", extra)]
        assert not desk.switch.capabilities.lists


async def test_after_a_restart_the_call_is_looked_for(tmp_path: Path) -> None:
    path, rpc = tmp_path / "cc.sock", tmp_path / "rpc.sock"
    async with Desk(path, management=rpc) as desk, management(rpc) as proxy:
        proxy.answers["dlg.briefing"] = [DIALOG]
        await desk.switch.hang_up(CallKey("sbc", "c1"), 16)
        await desk.switch.hang_up(CallKey("sbc", "c2"), 16)  # there is none
        assert [method for method, _ in proxy.asked] == ["dlg.briefing", "dlg.end_dlg", "dlg.briefing"]


async def test_a_list_of_calls(tmp_path: Path) -> None:
    path, rpc = tmp_path / "cc.sock", tmp_path / "rpc.sock"
    async with Desk(path, management=rpc) as desk, Worker(path) as worker, management(rpc) as proxy:
        desk.verdicts = {YES: None}
        await worker.ask(init("young", to=YES))
        over = DIALOG | {"call-id": "over", "state": 5}
        rings = DIALOG | {"call-id": "rings", "state": 2, "start_ts": 0}
        proxy.answers["dlg.briefing"] = [DIALOG, over, rings]
        seen = {alive.call.call_id: alive.answered_at for alive in await desk.switch.live_calls()}
        assert seen.keys() == {"c1", "rings", "young"}  # the young one has had its verdict and is no dialog yet
        assert seen["c1"] is not None
        assert seen["c1"].wall_ms == 1_795_255_200_000
        assert seen["rings"] is None


@pytest.mark.parametrize("answer", [500, {"a": 1}, [{"call-id": 7}], "text"])
async def test_a_list_that_is_none_tells_nothing(tmp_path: Path, answer: object) -> None:
    path, rpc = tmp_path / "cc.sock", tmp_path / "rpc.sock"
    async with Desk(path, management=rpc) as desk, management(rpc) as proxy:
        proxy.answers["dlg.briefing"] = answer
        with pytest.raises(SwitchUnavailable):
            await desk.switch.live_calls()


async def test_a_proxy_that_is_silent_or_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("callctl.adapters.call_control.management.ANSWER_WITHIN_S", 0.05)
    path, rpc = tmp_path / "cc.sock", tmp_path / "rpc.sock"
    async with Desk(path, management=rpc) as desk:
        with pytest.raises(SwitchUnavailable, match="No such file"):
            await desk.switch.live_calls()
        async with management(rpc) as proxy:
            proxy.silent = True
            with pytest.raises(SwitchUnavailable, match="no answer"):
                await desk.switch.live_calls()


async def test_what_it_cannot_do(desk: Desk) -> None:
    """Without a management socket it can neither end a call nor list any, and says so."""
    can = desk.switch.capabilities
    assert (can.timer, can.extends, can.warns, can.hangs_up, can.lists) == (False, False, (), False, False)
    assert (can.gate, can.sip_codes, can.announcements) == (True, False, False)
    call = CallKey("sbc", "c1")
    await desk.switch.arm(call, 1)
    await desk.switch.warn(call, 10, WarnTo.CALLER)
    await desk.switch.hang_up(call, 16)
    with pytest.raises(SwitchUnavailable, match="does not list"):
        await desk.switch.live_calls()
