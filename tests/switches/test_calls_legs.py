"""One call, one charged leg, on a real Asterisk: whatever carriers and parties do with it."""

from functools import partial

import pytest

from callctl.call.events import HangUpAsked
from tests.control_room import ControlRoom
from tests.switches.exactness import APART_MS
from tests.switches.linked import NUMBER, answered, gone, linked, recorded, session, talking
from tests.switches.rig.asterisk import AsteriskRig
from tests.switches.sip.ear import WINDOW_S, Heard
from tests.switches.sip.phone import Phone
from tests.waiting import until


@pytest.fixture(autouse=True)
async def control(room: ControlRoom, asterisk: AsteriskRig) -> None:
    await room.furnish(numbers=("+31201234567",))
    await linked(room, asterisk)


async def test_the_party_that_hangs_up_is_named(room: ControlRoom, acme: Phone, carrier: Phone) -> None:
    for calls, by in enumerate(("caller", "callee"), 1):
        call, outgoing = await talking(acme, carrier)
        await answered(room)
        await (call if by == "caller" else outgoing).hang_up()
        cdr = (await recorded(room, calls))[-1]
        assert (cdr["released_by"], cdr["q850"], cdr["account"]) == (by, 16, "acme")
        assert (cdr["from"], cdr["to"]) == ("+31201234567", NUMBER)
        assert cdr["duration_ms"] > 0


async def test_an_operator_ends_a_call(room: ControlRoom, acme: Phone, carrier: Phone) -> None:
    call, outgoing = await talking(acme, carrier)
    await room.calls.report(HangUpAsked((await session(room)).call))
    await call.until_ended()
    await outgoing.until_ended()
    (cdr,) = await recorded(room)
    assert cdr["released_by"] == "callctl"


async def test_the_second_carrier_is_charged_once(
    room: ControlRoom, acme: Phone, carrier: Phone, second_carrier: Phone
) -> None:
    carrier.refuse_calls(503)
    call, _ = await talking(acme, second_carrier)
    await answered(room)
    await call.hang_up()
    (cdr,) = await recorded(room)
    assert (cdr["q850"], cdr["released_by"], cdr["sip_code"]) == (16, "caller", None)
    assert cdr["duration_ms"] > 0


@pytest.mark.parametrize(("answer", "q850"), [(486, 17), (404, 1), (480, 19), (603, 21), (500, 38)])
async def test_a_carrier_that_refuses_costs_nothing(
    room: ControlRoom, acme: Phone, carrier: Phone, second_carrier: Phone, answer: int, q850: int
) -> None:
    carrier.refuse_calls(answer)
    second_carrier.refuse_calls(answer)
    call = await acme.call(NUMBER)
    await call.until_ended()
    (cdr,) = await recorded(room)
    assert (cdr["q850"], cdr["charge"], cdr["answer_time"]) == (q850, "0.0000", None)
    assert cdr["released_by"] == "callee"
    assert (await room.balance()).held == 0


async def test_a_caller_who_gives_up_pays_nothing(room: ControlRoom, acme: Phone, carrier: Phone) -> None:
    carrier.answer_calls(after_s=30)
    call = await acme.call(NUMBER)
    await until(lambda: 180 in call.provisional)
    await call.hang_up()
    (cdr,) = await recorded(room)
    assert (cdr["released_by"], cdr["sip_code"], cdr["charge"]) == ("caller", 487, "0.0000")
    assert (await room.balance()).held == 0


async def test_an_inbound_call_reaches_the_customer(room: ControlRoom, acme: Phone, carrier: Phone) -> None:
    acme.answer_calls()
    call = await carrier.call("+31201234567")
    await call.until_answered()
    assert (await acme.next_call()).number == "+31201234567"
    await call.hang_up()
    (cdr,) = await recorded(room)
    assert (cdr["direction"], cdr["account"], cdr["released_by"]) == ("inbound", "acme", "caller")


async def test_a_forward_is_not_followed(room: ControlRoom, acme: Phone, carrier: Phone, second_carrier: Phone) -> None:
    carrier.refuse_calls(302, contact=f"sip:+31900123456@{second_carrier.address}:{second_carrier.port}")
    call = await acme.call(NUMBER)
    await call.until_ended()
    (cdr,) = await recorded(room)
    assert (cdr["charge"], cdr["answer_time"]) == ("0.0000", None)
    assert not [leg for leg in second_carrier.calls if leg.number != NUMBER]


@pytest.mark.parametrize("party", ["caller", "callee"])
async def test_a_transfer_is_refused_and_the_call_goes_on(
    room: ControlRoom, acme: Phone, carrier: Phone, party: str
) -> None:
    call, outgoing = await talking(acme, carrier)
    asking = call if party == "caller" else outgoing
    asking.transfer("+31900123456")
    await until(lambda: asking.answers_to("REFER"))
    assert asking.answers_to("REFER") == [603]
    await answered(room)
    await call.hang_up()
    await recorded(room)
    assert len(carrier.calls) == 1


async def test_nobody_hears_the_grant_being_armed(
    asterisk: AsteriskRig, room: ControlRoom, acme: Phone, carrier: Phone
) -> None:
    """The called leg passes through the dialplan between answer and talk: both hear each other at once."""
    call, outgoing = await talking(acme, carrier)
    for side, tone in ((call, 600), (outgoing, 400)):
        first = await side.ear.until_heard(partial(_is_tone, tone))
        assert (first.at - (side.answered_at or 0)) * 1_000 < APART_MS + WINDOW_S * 1_000
    await call.hang_up()
    await recorded(room)
    await gone(asterisk)


def _is_tone(tone_hz: int, heard: Heard) -> bool:
    return heard.tones == (tone_hz,)


async def test_a_restart_of_the_switch_settles_its_calls(
    asterisk: AsteriskRig, room: ControlRoom, acme: Phone, carrier: Phone
) -> None:
    """Killed, it tells nothing: the call is charged for what was held at most."""
    await talking(acme, carrier)
    await answered(room)
    asterisk.kill()
    asterisk.start()
    (cdr,) = await recorded(room)
    assert cdr["estimated"] is True
    assert cdr["billed_s"] <= 10
    balance = await room.balance()
    assert (balance.held, balance.slots) == (0, {})
