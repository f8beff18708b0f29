"""The shipped configuration for call_control, and what callers may send through it to talk on unseen."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from callctl.adapters.call_control.server import Local
from callctl.adapters.call_control.switch import CallControlSwitch
from callctl.call.events import HangUpAsked
from callctl.clock import SystemClock
from tests.control_room import ControlRoom
from tests.switches.rig.proxy import CALLER, CARRIER, CallControlProxy
from tests.switches.sip.call import Call
from tests.switches.sip.message import Message
from tests.switches.sip.phone import Phone
from tests.waiting import until

NUMBER = "+31612345678"


class Floor:
    """Kamailio with call control, a customer's phone and the carrier's."""

    def __init__(self, room: ControlRoom, caller: Phone, carrier: Phone) -> None:
        self.room = room
        self.caller = caller
        self.carrier = carrier

    async def talking(self) -> tuple[Call, Call]:
        call = await self.caller.call(NUMBER)
        await call.until_answered()
        await until(lambda: any(it.answered is not None for it in self.room.calls.live()))
        return call, await self.carrier.next_call()

    async def over(self) -> None:
        """One call was recorded, and none is up."""
        await until(lambda: len(self.room.cdrs()) == 1 and not self.room.calls.live())


@pytest.fixture
async def floor(tmp_path: Path) -> AsyncIterator[Floor]:
    proxy = CallControlProxy(tmp_path)
    switch = CallControlSwitch(name="sbc", place=Local(proxy.socket), clock=SystemClock(), management=proxy.management)
    address = (proxy.host, proxy.sip_port)
    async with (
        ControlRoom(tmp_path) as room,
        Phone(CALLER, address, port=proxy.peer_port, tone_hz=None) as caller,
        Phone(CARRIER, address, port=proxy.peer_port, tone_hz=None) as carrier,
    ):
        carrier.answer_calls()
        await room.furnish(source_ips=(CALLER,))
        await room.start(switch)
        await until(lambda: switch.state().up)
        proxy.start()
        try:
            await until(lambda: switch.counts.shared)  # the connection from before the fork
            yield Floor(room, caller, carrier)
        finally:
            proxy.kill()


async def test_a_request_within_no_call_reaches_nobody(floor: Floor) -> None:
    call, outgoing = await floor.talking()
    call.forge("INVITE", tag="forged", target=f"sip:{NUMBER}@{floor.carrier.address}:{floor.carrier.port}")
    await until(lambda: call.answers_to("INVITE")[1:] == [481])
    assert len(floor.carrier.calls) == 1
    await call.hang_up()
    await outgoing.until_ended()
    await floor.over()


async def test_a_bye_led_astray_ends_the_call_at_the_carrier(floor: Floor) -> None:
    call, outgoing = await floor.talking()
    call.forge("BYE", target=f"sip:me@{floor.caller.address}:{floor.caller.port}")
    await outgoing.until_ended()
    await floor.over()
    await until(lambda: call.answers_to("BYE") == [200])


async def test_a_bye_of_the_called_side_led_astray_ends_the_call_at_the_caller(floor: Floor) -> None:
    call, outgoing = await floor.talking()
    outgoing.forge("BYE", target=f"sip:me@{floor.carrier.address}:{floor.carrier.port}")
    await call.until_ended()
    await floor.over()
    await until(lambda: outgoing.answers_to("BYE") == [200])


async def test_the_called_party_hangs_up(floor: Floor) -> None:
    call, outgoing = await floor.talking()
    await outgoing.hang_up()
    await call.until_ended()
    await floor.over()


async def test_of_two_phones_that_answer_one_is_heard(floor: Floor) -> None:
    call, outgoing = await floor.talking()
    outgoing.answer_again(fork="2")
    outgoing.answer_again()
    await until(lambda: len(call.answers_to("INVITE")) == 2)
    await call.hang_up()
    await outgoing.until_ended()
    assert len(call.answers_to("INVITE")) == 2
    await floor.over()


async def test_no_request_keeps_us_from_hanging_up(floor: Floor) -> None:
    """Our BYE counts on from the last request; a lower one would be refused by the carrier."""
    call, outgoing = await floor.talking()
    for cseq, status in ((100, 200), (5, 500), (4_294_967_295, 500)):
        call.forge("INFO", cseq=cseq)
        await until(lambda status=status: call.answers_to("INFO")[-1:] == [status])
    heard: set[str] = set()  # the BYE may be sent again
    heed = outgoing.on_request

    def hear(request: Message) -> None:
        heard.add(request["cseq"])
        heed(request)

    outgoing.on_request = hear
    (session,) = floor.room.calls.live()
    await floor.room.calls.report(HangUpAsked(session.call))
    await outgoing.until_ended()
    assert heard == {"101 BYE"}
    await floor.over()


async def test_an_emergency_call_may_name_the_service(floor: Floor) -> None:
    await floor.room.kill()
    call = await floor.caller.call("urn:service:sos")
    await call.until_answered()
    await call.hang_up()
    await (await floor.carrier.next_call()).until_ended()
