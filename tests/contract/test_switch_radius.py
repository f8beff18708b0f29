"""A gateway over real UDP: every verdict, whatever it repeats or forges, its reports, and ending its calls."""

import asyncio
import hashlib
import socket
from collections.abc import AsyncIterator

import pytest

from callctl.accounts import WarnTo
from callctl.adapters.radius import disconnecting, server
from callctl.adapters.radius.server import Places
from callctl.adapters.radius.switch import RadiusSwitch
from callctl.adapters.radius.wire import Client
from callctl.call.events import Answered, CallEvent, CallKey, Offered, Released
from callctl.causes import REFUSALS, Refusal
from callctl.errors import SwitchUnavailable
from callctl.simulators.scaled_clock import ScaledClock
from tests.contract.nas import ACCEPT, ACKNOWLEDGED, INTERIM, REJECT, START, STOP, Nas, asked, told
from tests.patient import PatientClock
from tests.radius_packets import SECRET, cisco, number, pairs, question, report
from tests.waiting import until

YES, NO, SILENCE = "+31611111111", "+31622222222", "+31633333333"


class Desk:
    """The switch, with a clerk in call control's place who keeps what is reported and decides when told to."""

    def __init__(self, switch: RadiusSwitch) -> None:
        self.switch = switch
        self.events: list[CallEvent] = []
        self.verdicts: dict[str, Refusal | None] = {YES: None, NO: Refusal.NO_CREDIT}
        self._deciding: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "Desk":
        self._running = asyncio.create_task(self.switch.run(self.report, lambda: None))
        await until(lambda: self.switch.state().up)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._running.cancel()
        await asyncio.gather(self._running, *self._deciding, return_exceptions=True)

    def report(self, event: CallEvent) -> None:
        self.events.append(event)
        if isinstance(event, Offered) and event.b_number in self.verdicts:
            self._deciding.add(asyncio.create_task(self.decide(event.call, self.verdicts[event.b_number])))

    async def decide(self, call: CallKey, refusal: Refusal | None) -> None:
        if refusal is None:
            await self.switch.admit(call, granted_s=77, setup_s=10, b_number="", account="")
        else:
            await self.switch.reject(call, REFUSALS[refusal])

    @property
    def seen(self) -> list[type]:
        return [type(event) for event in self.events]


@pytest.fixture
async def nas() -> AsyncIterator[Nas]:
    async with Nas() as nas:
        yield nas


@pytest.fixture
async def desk(nas: Nas) -> AsyncIterator[Desk]:
    async with Desk(gateways(nas)) as desk:
        nas.auth_port, nas.acct_port = desk.switch.ports
        yield desk


def gateways(nas: Nas, **options: object) -> RadiusSwitch:
    client = Client("127.0.0.1", SECRET, disconnect_port=nas.disconnect_port)
    known = {"clock": PatientClock(), "answer_ms": 200, "clients": [client], **options}
    return RadiusSwitch(name="gw", places=Places("127.0.0.1", 0, 0), **known)


CALL = CallKey("gw", "s1@127.0.0.1")


async def test_a_call_is_allowed_answered_and_over(desk: Desk, nas: Nas) -> None:
    code, attributes = await nas.ask("s1", to=YES)
    assert code == ACCEPT
    assert (27, number(77)) in attributes
    assert cisco(102, b"h323-credit-time=77") in attributes
    await nas.tell(START, "s1")
    await nas.tell(STOP, "s1", 12)
    offered, answered, released = desk.events
    assert isinstance(offered, Offered)
    assert (offered.call, offered.account, offered.attended) == (CALL, "acme", False)
    assert isinstance(answered, Answered)
    assert isinstance(released, Released)
    assert released.at.since_ms(answered.at) == 12_000


@pytest.mark.parametrize("refused", Refusal)
async def test_a_refusal_has_a_code_and_words(desk: Desk, nas: Nas, refused: Refusal) -> None:
    desk.verdicts[NO] = refused
    code, attributes = await nas.ask("s1", to=NO)
    assert code == REJECT
    assert (18, REFUSALS[refused].announcement.replace("-", " ").encode()) in attributes


async def test_no_credit_is_a_zero_balance(desk: Desk, nas: Nas) -> None:
    _, attributes = await nas.ask("s1", to=NO)
    assert cisco(103, b"h323-return-code=4") in attributes


async def test_a_question_that_is_sent_again_is_decided_once(desk: Desk, nas: Nas) -> None:
    datagram = question(asked("s1", to=SILENCE), nonce=nas.nonce())
    for _ in range(3):
        nas.send(datagram, nas.auth_port)
    await until(lambda: desk.switch.counts.repeated == 2)
    await desk.decide(CALL, None)
    first = await nas.answer()
    assert nas.unread == 0
    assert await nas.exchange(datagram, nas.auth_port) == first
    assert desk.seen == [Offered]


async def test_a_call_is_asked_for_once(desk: Desk, nas: Nas) -> None:
    """By another packet it would be another call, for nothing: its caller may have chosen its name."""
    await nas.ask("s1", to=YES)
    for to in (YES, NO):
        code, attributes = await nas.ask("s1", to=to)
        assert (code, cisco(103, b"h323-return-code=3") in attributes) == (REJECT, True)
    assert desk.seen == [Offered]


async def test_a_refused_call_may_be_asked_for_again(desk: Desk, nas: Nas) -> None:
    assert (await nas.ask("s1", to=NO))[0] == REJECT
    desk.verdicts[NO] = None
    assert (await nas.ask("s1", to=NO))[0] == ACCEPT


async def test_no_verdict_in_time_is_a_rejection_and_the_call_is_given_up(desk: Desk, nas: Nas) -> None:
    assert (await nas.ask("s1", to=SILENCE))[0] == REJECT
    assert desk.seen == [Offered, Released]
    await desk.decide(CALL, None)  # too late, and nobody minds
    assert desk.switch.counts.unanswered == 1


@pytest.mark.parametrize("credential", [3, 79, 206])
async def test_credentials_that_nobody_can_check_are_turned_away(desk: Desk, nas: Nas, credential: int) -> None:
    datagram = question([*asked("s1", to=YES), (credential, bytes(17))], nonce=nas.nonce())
    assert (await nas.exchange(datagram, nas.auth_port))[0] == REJECT
    assert desk.events == []


@pytest.mark.parametrize(("stated", "code"), [(None, REJECT), ("cisco", ACCEPT), ("another", REJECT)])
async def test_a_password_must_be_the_one_that_is_set(nas: Nas, stated: str | None, code: int) -> None:
    """PAP of "cisco" (RFC 2865, 5.2)."""
    nonce = nas.nonce()
    async with Desk(gateways(nas, password=stated)) as desk:
        datagram = question([*asked("s1", to=YES), (2, hidden(b"cisco", nonce))], nonce=nonce)
        assert (await nas.exchange(datagram, desk.switch.ports[0]))[0] == code


def hidden(password: bytes, nonce: bytes) -> bytes:
    mask = hashlib.md5(SECRET + nonce).digest()
    return bytes(a ^ b for a, b in zip(password.ljust(16, b"\0"), mask, strict=True))


async def test_forged_and_malformed_datagrams_are_dropped(desk: Desk, nas: Nas) -> None:
    nas.send(question(asked("s1", to=YES), signed=False), nas.auth_port)
    nas.send(question(asked("s1", to=YES), secret=b"another"), nas.auth_port)
    nas.send(report(told(START, "s1"), secret=b"another"), nas.acct_port)
    await until(lambda: desk.switch.counts.untrusted == 3)
    nas.send(b"x", nas.auth_port)
    nas.send(question(asked("s1", to=YES), code=40), nas.auth_port)
    nas.send(report([(40, number(77))]), nas.acct_port)
    nas.send(question([(1, bytes(250))] * 17), nas.auth_port)  # longer than a packet may be
    await until(lambda: desk.switch.counts.malformed == 4)
    assert (desk.events, nas.unread) == ([], 0)


async def test_a_stranger_gets_no_answer(nas: Nas) -> None:
    stranger = Client("127.0.0.99", SECRET)
    async with Desk(gateways(nas, clients=[stranger])) as desk:
        nas.send(question(asked("s1", to=YES)), desk.switch.ports[0])
        await until(lambda: desk.switch.counts.strangers == 1)
        assert (desk.events, nas.unread) == ([], 0)


async def test_too_many_questions_at_once_are_left_unanswered(
    desk: Desk, nas: Nas, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "MOST_UNDER_WAY", 2)
    for session in "abc":
        nas.send(question(asked(session, to=SILENCE), nonce=nas.nonce()), nas.auth_port)
    await until(lambda: desk.switch.counts.overflowed == 1)
    assert desk.seen == [Offered, Offered]


async def test_what_is_remembered_of_answers_has_an_end(desk: Desk, nas: Nas, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MOST_REMEMBERED", 2)
    first = report(told(START, "s1"))
    for datagram in (first, report(told(START, "s2")), report(told(START, "s3")), first):
        assert (await nas.exchange(datagram, nas.acct_port))[0] == ACKNOWLEDGED
    assert desk.switch.counts.repeated == 0


async def test_a_report_that_is_sent_again_is_acknowledged_again_and_counts_once(desk: Desk, nas: Nas) -> None:
    await nas.ask("s1", to=YES)
    await nas.tell(START, "s1")
    datagram = report(told(STOP, "s1", 12))
    for _ in range(3):
        assert (await nas.exchange(datagram, nas.acct_port))[0] == ACKNOWLEDGED
    assert desk.seen == [Offered, Answered, Released]


async def test_a_nas_that_falls_silent(nas: Nas) -> None:
    """A minute is a tenth of a second here."""
    clock = ScaledClock(PatientClock(), 600)
    async with Desk(gateways(nas, clock=clock, answer_ms=5_000)) as desk:
        nas.auth_port, nas.acct_port = desk.switch.ports
        await nas.ask("s1", to=YES)
        await nas.tell(START, "s1")
        await nas.tell(INTERIM, "s1", 60)
        await until(lambda: Released in desk.seen)
        (released,) = [event for event in desk.events if isinstance(event, Released)]
        assert (released.call, released.estimated) == (CALL, True)


# ---- ending a call


async def test_a_call_is_ended_by_a_disconnect(desk: Desk, nas: Nas) -> None:
    await nas.ask("s1", to=YES)
    await desk.switch.hang_up(CALL, 16)
    (request,) = nas.disconnects
    assert request[0] == 40
    assert {(1, b"acme"), (44, b"s1")} <= set(pairs(request))


async def test_a_call_from_before_a_restart_is_ended_too(desk: Desk, nas: Nas) -> None:
    await desk.switch.hang_up(CALL, 16)
    assert (44, b"s1") in pairs(nas.disconnects[0])


async def test_a_call_that_the_nas_has_not_is_no_failure(desk: Desk, nas: Nas) -> None:
    nas.obeys = (42, 503)
    await desk.switch.hang_up(CALL, 16)


async def test_a_nas_that_refuses(desk: Desk, nas: Nas) -> None:
    nas.obeys = (42, 506)
    with pytest.raises(SwitchUnavailable, match="Error-Cause 506"):
        await desk.switch.hang_up(CALL, 16)


async def test_a_nas_that_does_not_know_disconnects(desk: Desk, nas: Nas, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disconnecting, "ANSWER_WITHIN_S", 0.02)
    nas.obeys = None
    with pytest.raises(SwitchUnavailable, match="no answer"):
        await desk.switch.hang_up(CALL, 16)
    assert len(set(nas.disconnects)) == 1, "it is sent again as it was"
    assert len(nas.disconnects) == disconnecting.TRIES


async def test_a_nas_where_nobody_listens(nas: Nas) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as closed:
        closed.bind(("127.0.0.1", 0))
        client = Client("127.0.0.1", SECRET, disconnect_port=closed.getsockname()[1])
    async with Desk(gateways(nas, clients=[client])) as desk:
        with pytest.raises(SwitchUnavailable, match="refused"):
            await desk.switch.hang_up(CALL, 16)


async def test_a_nas_that_is_no_client_any_more(desk: Desk) -> None:
    with pytest.raises(SwitchUnavailable, match="no client any more"):
        await desk.switch.hang_up(CallKey("gw", "s1@192.0.2.99"), 16)


async def test_what_it_cannot_do(desk: Desk) -> None:
    can = desk.switch.capabilities
    assert (can.timer, can.hangs_up) == (True, True)
    assert (can.extends, can.warns, can.lists, can.sip_codes, can.announcements) == (False, (), False, False, False)
    await desk.switch.arm(CALL, 1)
    await desk.switch.warn(CALL, 10, WarnTo.CALLER)
    with pytest.raises(SwitchUnavailable, match="no list"):
        await desk.switch.live_calls()


@pytest.mark.parametrize("taken", [0, 1])
async def test_a_port_that_is_taken_is_tried_again(nas: Nas, taken: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("callctl.adapters.radius.switch.LISTEN_AGAIN_MS", 10)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        ports = [0, 0]
        ports[taken] = other.getsockname()[1]
        switch = RadiusSwitch(
            name="gw", places=Places("127.0.0.1", *ports), clients=[Client("127.0.0.1", SECRET)], clock=PatientClock()
        )
        running = asyncio.create_task(switch.run(lambda event: None, lambda: None))
        await until(lambda: switch.state().detail)
        assert not switch.state().up
    await until(lambda: switch.state().up)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
