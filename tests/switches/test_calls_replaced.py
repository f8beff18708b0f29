"""A talk goes on with another leg in the place of one (INVITE with Replaces, RFC 3891), on a real Asterisk."""

import re
import secrets
from contextlib import suppress

import pytest

from callctl.errors import SwitchUnavailable
from tests.control_room import PER_SECOND, ControlRoom
from tests.switches.exactness import in_time
from tests.switches.linked import NUMBER, agrees, answered, armed_s, gone, linked, recorded, talking
from tests.switches.rig.asterisk import AsteriskRig
from tests.switches.sip.call import Call
from tests.switches.sip.ear import Ear
from tests.switches.sip.phone import Phone
from tests.switches.test_calls_hostile import NEW_LINE, forged
from tests.waiting import until


async def taken_over(phone: Phone, call: Call, number: str = "1") -> Call:
    """A new call of `phone` that takes the place of `call`; `number` is what it says that it is."""
    to_tag, from_tag = (re.findall(r";tag=([^;>]+)", side)[0] for side in (call._remote, call._local))
    new = Call(phone, secrets.token_hex(8), "0", await Ear.open(phone.address, 1_000), incoming=False)
    phone.calls.append(new)
    new._target = f"sip:0@{phone.switch[0]}:{phone.switch[1]}"
    new._local, new._remote = f"<sip:{number}@{phone.address}>;tag={secrets.token_hex(4)}", f"<{new._target}>"
    replaces = ("replaces", f"{call.call_id};to-tag={to_tag};from-tag={from_tag}")
    new._invite = new._request("INVITE", (replaces,), sdp=True, sequence=1)
    await new.until_answered()
    await call.until_ended()
    return new


async def test_a_talk_that_goes_on_with_another_leg_of_the_carriers_is_charged_to_its_end(
    asterisk: AsteriskRig, room: ControlRoom, acme: Phone, carrier: Phone
) -> None:
    await room.furnish()
    pbx1 = await linked(room, asterisk)
    call, outgoing = await talking(acme, carrier)
    up = await answered(room)
    another = await taken_over(carrier, outgoing)
    await call.ear.until_heard(lambda heard: heard.tones == (1_000,))
    legs = pbx1._calls.legs(up.call.call_id)
    assert legs is not None
    assert legs.carrier is not None
    await until(lambda: room.calls.live()[0].granted_s > up.granted_s)
    await armed_s(pbx1, up.call, legs=1)  # the leg in the place of the other bears no name of ours
    await another.hang_up()
    await call.until_ended()
    (cdr,) = await recorded(room)
    assert agrees(cdr, call)
    assert cdr["released_by"] == "callee"
    await gone(asterisk)


async def test_who_hangs_up_in_the_place_of_the_caller_is_the_caller(
    asterisk: AsteriskRig, room: ControlRoom, acme: Phone, carrier: Phone
) -> None:
    await room.furnish()
    await linked(room, asterisk)
    call, outgoing = await talking(acme, carrier)
    await answered(room)
    another = await taken_over(acme, call)
    await outgoing.ear.until_heard(lambda heard: heard.tones == (1_000,))
    await another.hang_up()
    (cdr,) = await recorded(room)
    assert agrees(cdr, outgoing)
    assert cdr["released_by"] == "caller"
    await gone(asterisk)


@pytest.mark.parametrize("side", ["caller", "carrier"])
async def test_another_leg_ends_with_the_credit(
    asterisk: AsteriskRig, room: ControlRoom, acme: Phone, carrier: Phone, side: str
) -> None:
    await room.furnish(balance=3 * PER_SECOND)
    await linked(room, asterisk)
    call, outgoing = await talking(acme, carrier)
    await answered(room)
    another = await (taken_over(acme, call) if side == "caller" else taken_over(carrier, outgoing))
    for leg in (another, call, outgoing):
        await leg.until_ended()
    (cdr,) = await recorded(room)
    assert in_time(cdr["duration_ms"], 3)
    assert (cdr["charge"], cdr["released_by"]) == ("0.0030", "callctl")


async def test_who_takes_a_call_that_rings_for_another_is_charged_for(
    asterisk: AsteriskRig, room: ControlRoom, acme: Phone, carrier: Phone
) -> None:
    carrier.answer_calls(after_s=60)
    await room.furnish()
    await linked(room, asterisk)
    call = await acme.call(NUMBER)
    outgoing = await carrier.next_call()
    await until(lambda: 180 in call.provisional)
    await taken_over(carrier, outgoing)
    await call.until_answered()
    await answered(room)
    await call.hang_up()
    (cdr,) = await recorded(room)
    assert agrees(cdr, call)
    assert cdr["released_by"] == "caller"
    await gone(asterisk)


@pytest.mark.parametrize("side", ["caller", "carrier"])
@pytest.mark.parametrize("lines", [NEW_LINE * 2, f"{NEW_LINE}Uniqueid%3a%201.1", forged("Hangup", Uniqueid="1.1")])
async def test_a_leg_whose_number_would_tear_every_list_is_hung_up(
    asterisk: AsteriskRig, room: ControlRoom, acme: Phone, carrier: Phone, side: str, lines: str
) -> None:
    """It takes the place of one that is up, and so does not pass the gate, which cleans numbers."""
    await room.furnish()
    pbx1 = await linked(room, asterisk)
    bystander, _ = await talking(acme, carrier)
    await answered(room)
    up = room.calls.live()[0]
    call, outgoing = await talking(acme, carrier)
    await until(lambda: len(room.calls.live()) == 2)
    another = await (
        taken_over(acme, call, f"1{lines}X") if side == "caller" else taken_over(carrier, outgoing, f"1{lines}X")
    )
    with suppress(SwitchUnavailable):
        await pbx1.live_calls()
    await another.until_ended()
    await until(lambda: pbx1.state().up)
    await recorded(room)
    await until(lambda: [live.call for live in room.calls.live()] == [up.call])
    await bystander.hang_up()
    cdr = (await recorded(room, 2))[-1]
    assert agrees(cdr, bystander)
    await gone(asterisk)
