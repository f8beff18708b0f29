"""The gate of docker/kamailio/kamailio.cfg and our adapter on it: who is let pass, who is refused, and with what."""

import asyncio

import pytest

from callctl.call.events import Alerting, Answered, Offered, Released, ReleasedBy
from callctl.causes import Refusal, cause_of
from callctl.errors import SwitchUnavailable
from callctl.rating.tariff import Direction
from tests.switches.exactness import APART_MS
from tests.switches.kamailio.desk import NUMBER, Desk
from tests.switches.kamailio.relay import Relay
from tests.switches.rig.asterisk import ACME, STRANGER
from tests.switches.rig.kamailio import KamailioRig
from tests.switches.sip.phone import Phone
from tests.waiting import until

CAUSES = [(refusal, False) for refusal in Refusal] + [(Refusal.CHANNEL_LIMIT, True), (Refusal.LICENCE_LIMIT, True)]


async def test_an_offer_says_who_calls_whom_and_from_where(desk: Desk, acme: Phone) -> None:
    call, key = await desk.gated(acme)
    (offered,) = desk.told(Offered, key)
    assert (offered.a_number, offered.b_number, offered.direction) == ("+31201234567", NUMBER, Direction.OUTBOUND)
    assert (offered.account, offered.trunk, offered.source_ip) == (None, None, ACME)
    assert (offered.attended, offered.can_extend, offered.emergency) == (True, True, False)
    await call.hang_up()


async def test_a_talk_is_told_by_the_switchs_clock(desk: Desk, acme: Phone, carrier: Phone) -> None:
    carrier.answer_calls(after_s=0.5)
    call, outgoing, key = await desk.talking(acme, carrier)
    assert outgoing.number == NUMBER
    await outgoing.hang_up()
    await until(lambda: desk.told(Released, key))
    (alerting,), (answered,), (released,) = (desk.told(kind, key) for kind in (Alerting, Answered, Released))
    assert alerting.at.wall_ms < answered.at.wall_ms <= released.at.wall_ms
    assert (answered.stated, answered.trunk_out) == (True, "carrier-a")
    assert (released.stated, released.released_by, released.answered_at) == (True, ReleasedBy.CALLEE, answered.at)
    assert abs(answered.at.wall_ms - (call.answered_at or 0) * 1000) <= APART_MS


@pytest.mark.parametrize(("refusal", "inbound"), CAUSES)
async def test_every_refusal_has_its_status_on_the_wire(
    desk: Desk, acme: Phone, carrier: Phone, refusal: Refusal, inbound: bool
) -> None:
    cause = cause_of(refusal, inbound=inbound)
    call, key = await desk.gated(acme)
    await desk.switch.reject(key, cause)
    await call.until_ended()
    assert call.status == cause.sip
    assert call.reason.startswith(f"Q.850;cause={cause.q850};")
    assert carrier.calls == []
    assert desk.told(Released, key) == []  # it is known


@pytest.mark.parametrize("status", [404, 486, 603])
async def test_the_caller_sees_why_the_called_party_refused(
    desk: Desk, acme: Phone, carrier: Phone, status: int
) -> None:
    carrier.refuse_calls(status)
    call, key = await desk.gated(acme)
    await desk.admit(key)
    await call.until_ended()
    assert call.status == status
    await until(lambda: desk.told(Released, key))
    (released,) = desk.told(Released, key)
    assert (released.sip_code, released.released_by) == (status, ReleasedBy.NETWORK)


async def test_the_next_carrier_is_tried_and_named(
    desk: Desk, acme: Phone, carrier: Phone, second_carrier: Phone
) -> None:
    carrier.refuse_calls(503)
    call, _, key = await desk.talking(acme, second_carrier)
    await call.hang_up()
    await until(lambda: desk.told(Released, key))
    (answered,) = desk.told(Answered, key)
    assert answered.trunk_out == "carrier-b"


async def test_a_call_that_rings_too_long_sees_480(desk: Desk, acme: Phone, carrier: Phone) -> None:
    carrier.answer_calls(after_s=60)
    call, key = await desk.gated(acme)
    await desk.admit(key, setup_s=1)
    await call.until_ended()
    assert call.status == 480
    await until(lambda: desk.told(Released, key))
    assert desk.told(Released, key)[0].sip_code == 480
    assert (await carrier.next_call()).status == 487


async def test_a_call_that_still_rings_can_be_hung_up(desk: Desk, acme: Phone, carrier: Phone) -> None:
    carrier.answer_calls(after_s=60)
    call, key = await desk.gated(acme)
    await desk.admit(key)
    await until(lambda: 180 in call.provisional)
    await desk.switch.hang_up(key, 16)
    await call.until_ended()
    assert call.status == 480
    (released,) = desk.told(Released, key)
    assert (released.released_by, released.q850, released.answered_at) == (ReleasedBy.CALLCTL, 16, None)


async def test_hanging_up_ends_both_legs_and_tells_why(desk: Desk, acme: Phone, carrier: Phone) -> None:
    call, outgoing, key = await desk.talking(acme, carrier)
    await desk.switch.hang_up(key, 16)
    await call.until_ended()
    await outgoing.until_ended()
    assert call.reason == outgoing.reason == "Q.850;cause=16"
    (released,) = desk.told(Released, key)
    assert (released.released_by, released.q850) == (ReleasedBy.CALLCTL, 16)


async def test_a_call_that_is_gone_is_no_failure(desk: Desk, acme: Phone, carrier: Phone) -> None:
    call, _, key = await desk.talking(acme, carrier)
    await call.hang_up()
    await until(lambda: desk.told(Released, key))
    await desk.switch.arm(key, 5_000)
    await desk.switch.hang_up(key, 16)
    await desk.admit(key)
    await desk.switch.reject(key, cause_of(Refusal.NO_CREDIT))
    assert len(desk.told(Released, key)) == 1


async def test_an_inbound_call_goes_to_the_customer_or_nowhere(desk: Desk, acme: Phone, carrier: Phone) -> None:
    """Nothing stands in the table `customer` of the shipped file."""
    call, key = await desk.gated(carrier, "+31201234567")
    assert desk.told(Offered, key)[0].direction is Direction.INBOUND
    await desk.admit(key)
    await call.until_ended()
    assert call.status == 404


async def test_an_unanswered_offer_is_refused_by_the_switch(desk: Desk, acme: Phone, carrier: Phone) -> None:
    call, key = await desk.gated(acme)
    await call.until_ended()
    assert call.status == 503
    await until(lambda: desk.told(Released, key))
    await desk.admit(key)  # too late, which is no failure
    assert carrier.calls == []


@pytest.mark.parametrize("first", ["ringing", "answered"])
async def test_another_invite_with_the_same_call_id_is_another_call(
    desk: Desk, acme: Phone, carrier: Phone, first: str
) -> None:
    carrier.answer_calls(after_s=60 if first == "ringing" else 0)
    call, key = await desk.gated(acme)
    await desk.admit(key)
    await until(lambda: desk.told(Alerting if first == "ringing" else Answered, key))
    call.invite_again()
    await until(lambda: len(desk.told(Offered)) == 2)
    other = desk.told(Offered)[1].call
    assert other != key
    await desk.switch.reject(other, cause_of(Refusal.NO_CREDIT))
    await until(lambda: 402 in call.answers_to("INVITE"))
    assert (desk.told(Released, key), len(carrier.calls)) == ([], 1)
    await desk.switch.hang_up(key, 16)


@pytest.mark.parametrize("call_id", ["a b", "a;b\tc", "x" * 256, "naïve"])
async def test_a_call_id_that_is_none_is_refused(desk: Desk, acme: Phone, call_id: str) -> None:
    call = await acme.call(NUMBER, call_id=call_id)
    await call.until_ended()
    assert call.status == 400
    assert desk.told(Offered) == []


@pytest.mark.parametrize("number", ["+31\r\nReason: x", "1\0", "1" * 9_000])
async def test_no_number_can_inject_anything(desk: Desk, acme: Phone, number: str) -> None:
    call, key = await desk.gated(acme)
    with pytest.raises(SwitchUnavailable):
        await desk.switch.admit(key, granted_s=10, setup_s=10, b_number=number, account="acme")
    await desk.switch.reject(key, cause_of(Refusal.INVALID_NUMBER))
    await call.until_ended()
    assert call.status == 484


async def test_without_the_secret_nobody_commands(kamailio: KamailioRig, desk: Desk, acme: Phone) -> None:
    call, key = await desk.gated(acme)
    reader, writer = await asyncio.open_connection(kamailio.host, kamailio.link_port)
    for sent in (b'{"id":1,"do":"hello","secret":"guess"}', b'{"id":2,"do":"list"}', b'{"id":3,"do":"ping"}'):
        writer.write(b"%d:%b," % (len(sent), sent))
        assert b'"result":"refused"' in await reader.readuntil(b",") + await reader.readuntil(b"},")
    writer.close()
    await desk.switch.reject(key, cause_of(Refusal.NO_CREDIT))
    await call.until_ended()
    assert call.status == 402


async def test_idle_connections_do_not_lock_callctl_out(kamailio: KamailioRig, relay: Relay) -> None:
    idle = [await asyncio.open_connection(kamailio.host, kamailio.link_port) for _ in range(20)]
    async with Desk(kamailio, relay) as desk:
        assert desk.switch.state().up
    for _, writer in idle:
        writer.close()


async def test_from_another_address_nobody_takes_a_place(kamailio: KamailioRig, relay: Relay) -> None:
    there = [
        await asyncio.open_connection(kamailio.host, kamailio.link_port, local_addr=(STRANGER, 0)) for _ in range(100)
    ]
    for reader, _ in there:
        assert await reader.read() == b""
    async with Desk(kamailio, relay) as desk:
        assert desk.switch.state().up
    for _, writer in there:
        writer.close()
