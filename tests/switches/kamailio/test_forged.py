"""What callers and phones of the called side may send to talk on unseen; and forks, which do so by mistake."""

import asyncio
from pathlib import Path

import pytest

from callctl.call.events import Answered, Offered, Released, ReleasedBy
from callctl.causes import Refusal, cause_of
from tests.switches.kamailio.desk import NUMBER, Desk
from tests.switches.kamailio.relay import Relay
from tests.switches.kamailio.test_alone import kamailio_with
from tests.switches.kamailio.test_spiral import ROUTES, ProxyingCarrier
from tests.switches.rig.asterisk import CARRIER_A, CARRIER_B, GLOBEX
from tests.switches.rig.kamailio import KamailioRig
from tests.switches.sip.message import Headers, Message
from tests.switches.sip.phone import Phone
from tests.waiting import until


def heard_by(phone: Phone) -> list[Message]:
    """Everything that the phone receives from now on."""
    heard: list[Message] = []
    receive = phone.datagram_received

    def listen(data: bytes, addr: tuple[str, int]) -> None:
        heard.append(Message.parse(data))
        receive(data, addr)

    phone.datagram_received = listen
    return heard


async def settled(phone: Phone) -> None:
    """Kamailio has dealt with all that was sent before: it answers in turn."""
    later = await phone.call("", call_id="not one")
    await later.until_ended()
    await asyncio.sleep(0.1)  # another of its processes may have the other message


@pytest.mark.parametrize("method", ["INVITE", "INFO", "MESSAGE"])
async def test_a_request_within_no_call_reaches_nobody(
    desk: Desk, kamailio: KamailioRig, acme: Phone, carrier: Phone, method: str
) -> None:
    """A To-tag and a Route are all that it takes to look like one within a call."""
    call, _, key = await desk.talking(acme, carrier)
    heard = heard_by(carrier)
    call.forge(method, tag="forged", target=f"sip:{NUMBER}@{carrier.address}:{carrier.port}")
    await until(lambda: call.answers_to(method)[-1:] == [481])
    assert [message.first for message in heard if message.method == method] == []
    assert desk.told(Released, key) == []
    await call.hang_up()


@pytest.mark.parametrize(
    ("astray", "headers"),
    [
        (True, ()),
        (False, (("route", "<sip:127.0.0.11;lr>"),)),
        (False, (("require", "nothing"),)),
    ],
)
async def test_a_bye_ends_the_call_at_the_carrier_wherever_it_is_led(
    desk: Desk, acme: Phone, carrier: Phone, astray: bool, headers: Headers
) -> None:
    """Otherwise the charge ends, and the talk does not."""
    call, outgoing, key = await desk.talking(acme, carrier)
    call.forge("BYE", target=f"sip:me@{acme.address}:{acme.port}" if astray else "", headers=headers)
    await outgoing.until_ended()
    await until(lambda: desk.told(Released, key))
    (released,) = desk.told(Released, key)
    assert released.released_by is ReleasedBy.CALLER
    await until(lambda: call.answers_to("BYE") == [200])


async def test_a_bye_of_the_called_side_led_astray_ends_the_call_at_the_caller(
    desk: Desk, acme: Phone, carrier: Phone
) -> None:
    call, outgoing, key = await desk.talking(acme, carrier)
    outgoing.forge("BYE", target=f"sip:me@{carrier.address}:{carrier.port}")
    await call.until_ended()
    await until(lambda: desk.told(Released, key))
    assert [it.released_by for it in desk.told(Released, key)] == [ReleasedBy.CALLEE]
    await until(lambda: outgoing.answers_to("BYE") == [200])


async def test_a_second_invite_of_its_name_opens_no_way_astray(desk: Desk, acme: Phone, carrier: Phone) -> None:
    call, outgoing, _ = await desk.talking(acme, carrier)
    call.invite_again()
    await until(lambda: len(desk.told(Offered)) == 2)
    await desk.switch.reject(desk.told(Offered)[1].call, cause_of(Refusal.NO_CREDIT))
    await until(lambda: 402 in call.answers_to("INVITE"))
    call.forge("BYE", target=f"sip:me@{acme.address}:{acme.port}")
    await outgoing.until_ended()


@pytest.mark.parametrize("by", ["caller", "callee"])
async def test_a_bye_of_an_inbound_call_led_astray_ends_it_too(tmp_path: Path, by: str) -> None:
    """The called customer pays: it is he who would gain."""
    with kamailio_with(tmp_path, routes=ROUTES) as rig:
        async with (
            Relay(rig.host, rig.link_port) as relay,
            Desk(rig, relay) as desk,
            Phone(CARRIER_A, rig.sip_address, port=rig.peer_port, tone_hz=None) as carrier,
            Phone(GLOBEX, rig.sip_address, port=rig.peer_port, tone_hz=None) as globex,
        ):
            globex.answer_calls()
            call, key = await desk.gated(carrier)
            await desk.admit(key, account="globex")
            await call.until_answered()
            incoming = await globex.next_call()
            from_, to = (call, incoming) if by == "caller" else (incoming, call)
            from_.forge("BYE", target=f"sip:me@{from_.phone.address}:{from_.phone.port}")
            await to.until_ended()
            await until(lambda: desk.told(Released, key))
            assert [it.released_by for it in desk.told(Released, key)] == [ReleasedBy(by)]
            await until(lambda: from_.answers_to("BYE") == [200])


async def test_of_two_phones_that_answer_one_is_heard(desk: Desk, acme: Phone, carrier: Phone) -> None:
    """The other is nobody's call: nothing would end it."""
    call, outgoing, key = await desk.talking(acme, carrier)
    heard = heard_by(acme)
    outgoing.answer_again(fork="2")
    await settled(acme)
    assert [message.first for message in heard if message["call-id"] == call.call_id] == []
    assert len(desk.told(Answered, key)) == 1
    await call.hang_up()
    await outgoing.until_ended()


async def test_whoever_answered_in_vain_is_told_so(desk: Desk, kamailio: KamailioRig, acme: Phone) -> None:
    """On its own way: through the proxy that has called several phones."""
    here = (CARRIER_A, kamailio.peer_port)
    phones = [Phone(address, here, port=kamailio.peer_port, tone_hz=None) for address in (CARRIER_B, GLOBEX)]
    async with phones[0] as first, phones[1] as second:
        proxy, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: ProxyingCarrier(here, *[(phone.address, phone.port) for phone in phones]), local_addr=here
        )
        try:
            call, key = await desk.gated(acme)
            await desk.admit(key)
            winner, loser = await first.next_call(), await second.next_call()
            await winner.answer()
            await call.until_answered()
            heard = heard_by(second)
            await loser.answer()
            await loser.until_ended()
            (bye,) = [message for message in heard if message.method == "BYE"]
            assert (bye["from"], bye["cseq"]) == (loser.caller, "2 BYE")
            assert winner.ended_at is None
            await call.hang_up()
            await winner.until_ended()
        finally:
            proxy.close()


@pytest.mark.parametrize(
    ("branch", "route"),
    [
        ("unknown", "<sip:127.0.0.21;lr>"),
        ("", '<sip:127.0.0.21;lr>","x"],"method":"core.kill","params":["'),
        ("", "<sip:127.0.0.21;lr>\\u0022"),
    ],
)
async def test_no_answer_makes_kamailio_send_what_it_likes(
    desk: Desk, acme: Phone, carrier: Phone, branch: str, route: str
) -> None:
    call, outgoing, _ = await desk.talking(acme, carrier)
    heard = heard_by(carrier)
    invite = outgoing._invite
    via, *others = invite.all("via")
    headers = (
        ("via", via[1] + branch),
        *others,
        ("record-route", route),
        ("from", invite["from"]),
        ("to", f"{invite['to']};tag=another"),
        ("call-id", outgoing.call_id),
        ("cseq", invite["cseq"]),
        ("contact", carrier.contact),
    )
    carrier.send(Message("SIP/2.0 200 OK", headers))
    await settled(acme)
    byes = [message.first for message in heard if message.method == "BYE" and message["call-id"] == call.call_id]
    assert byes == []
    await call.hang_up()
    await outgoing.until_ended()


async def test_an_answer_when_all_hope_was_given_up_comes_too_late(desk: Desk, acme: Phone, carrier: Phone) -> None:
    """The called phone has not heard of it, or would not; it is told again."""
    carrier.answer_calls(after_s=60)
    call, key = await desk.gated(acme)
    await desk.admit(key)
    outgoing = await carrier.next_call()
    await until(lambda: 180 in call.provisional)
    heed, outgoing.on_request = outgoing.on_request, lambda request: None
    await desk.switch.hang_up(key, 16)
    await call.until_ended()
    heard = heard_by(acme)
    outgoing.on_request = heed
    await outgoing.answer()
    await outgoing.until_ended()
    assert [message.status for message in heard if message["call-id"] == call.call_id and message.status == 200] == []
    assert desk.told(Answered, key) == []


async def test_a_call_that_is_tried_again_is_answered(desk: Desk, acme: Phone, carrier: Phone) -> None:
    """As one that was asked for a password: with the same Call-ID and tag."""
    call, key = await desk.gated(acme)
    await desk.switch.reject(key, cause_of(Refusal.NO_CREDIT))
    await call.until_ended()
    call.invite_again()
    await until(lambda: len(desk.told(Offered)) == 2)
    again = desk.told(Offered)[1].call
    await desk.admit(again)
    await until(lambda: call.answers_to("INVITE") == [402, 200])
    await until(lambda: desk.told(Answered, again))
    await desk.switch.hang_up(again, 16)


async def test_either_party_may_offer_anew(desk: Desk, acme: Phone, carrier: Phone) -> None:
    call, outgoing, key = await desk.talking(acme, carrier)
    call.offer_again()
    await until(lambda: call.answers_to("INVITE") == [200, 200])
    outgoing.offer_again()
    await until(lambda: outgoing.answers_to("INVITE") == [200])
    await outgoing.hang_up()
    await call.until_ended()
    await until(lambda: desk.told(Released, key))
    assert desk.told(Released, key)[0].released_by is ReleasedBy.CALLEE


@pytest.mark.parametrize(
    ("cseq", "status"), [(1, 500), (99, 500), (2_147_483_647, 500), (4_294_967_295, 500), (101, 200)]
)
async def test_no_request_keeps_us_from_hanging_up(
    desk: Desk, acme: Phone, carrier: Phone, cseq: int, status: int
) -> None:
    """Our BYE counts on from the last request; one that does not count up would be refused by the carrier."""
    call, outgoing, key = await desk.talking(acme, carrier)
    call.forge("INFO", cseq=100)
    await until(lambda: call.answers_to("INFO") == [200])
    heard = heard_by(carrier)
    call.forge("INFO", cseq=cseq)
    await until(lambda: call.answers_to("INFO") == [200, status])
    await desk.switch.hang_up(key, 16)
    await outgoing.until_ended()
    counted_on = {message["cseq"] for message in heard if message.method == "BYE"}  # it may be sent again
    assert counted_on == {f"{max(100, cseq if status == 200 else 0) + 1} BYE"}


async def test_no_call_begins_at_the_end_of_all_numbers(desk: Desk, acme: Phone, carrier: Phone) -> None:
    call, key = await desk.gated(acme)
    await call.hang_up()
    call.forge("INVITE", cseq=2_147_483_647)
    await until(lambda: call.answers_to("INVITE") == [487, 400])
    assert len(desk.told(Offered, key)) == len(desk.told(Offered)) == 1
