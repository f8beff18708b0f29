"""What a customer may send to talk unseen, on a real Asterisk: whatever it is, each talk has its one true record."""

from collections.abc import Iterator

import pytest

from tests.control_room import ControlRoom
from tests.switches.linked import NUMBER, agrees, answered, gone, linked, recorded, talking
from tests.switches.rig.asterisk import AsteriskRig
from tests.switches.sip.call import Call
from tests.switches.sip.phone import Phone

NEW_LINE = "%0d%0a"
CALLER = "+31201234567"


def forged(event: str, **headers: str) -> str:
    """A whole event of the manager interface, to stand within a number."""
    lines = ["", "", f"Event%3a%20{event}", *(f"{name}%3a%20{value}" for name, value in headers.items()), "", ""]
    return NEW_LINE.join(lines)


@pytest.mark.parametrize("within", ["called", "caller"])
async def test_a_number_cannot_end_the_charge_of_a_talk(
    asterisk: AsteriskRig, room: ControlRoom, acme: Phone, carrier: Phone, within: str
) -> None:
    """A number of SIP may have any character in it, and Asterisk's manager interface tells of it as it is."""
    await room.furnish()
    pbx1 = await linked(room, asterisk)
    call, _ = await talking(acme, carrier)
    up = await answered(room)
    legs = pbx1._calls.legs(up.call.call_id)
    assert legs is not None
    ends = forged("Hangup", Uniqueid=legs.carrier or "")
    called, caller = (f"0{ends}", CALLER) if within == "called" else ("0", f"{CALLER}{ends}")
    attack = await acme.call(called, caller)
    await attack.until_ended()
    await recorded(room, 1)
    assert [session.call for session in room.calls.live()] == [up.call]
    await call.hang_up()
    cdr = (await recorded(room, 2))[-1]
    assert agrees(cdr, call)


@pytest.mark.parametrize("lines", [NEW_LINE, f"{NEW_LINE}DialStatus%3a%20BUSY", NEW_LINE * 2])
async def test_a_number_of_several_lines_is_charged_like_any_other(
    asterisk: AsteriskRig, room: ControlRoom, acme: Phone, carrier: Phone, lines: str
) -> None:
    await room.furnish()
    await linked(room, asterisk)
    call = await acme.call(NUMBER, CALLER + lines)
    await call.until_answered()
    await answered(room)
    await call.hang_up()
    (cdr,) = await recorded(room)
    assert agrees(cdr, call)
    assert cdr["released_by"] == "caller"
    await gone(asterisk)


async def test_what_the_called_side_says_of_itself_is_not_told(
    asterisk: AsteriskRig, room: ControlRoom, acme: Phone, carrier: Phone
) -> None:
    async def policy(call: Call) -> None:
        call.ring()
        await call.answer((("p-asserted-identity", f"<sip:55{forged('Hangup')}@192.0.2.1>"),))

    carrier._policy = policy
    await room.furnish()
    await linked(room, asterisk)
    call, _ = await talking(acme, carrier)
    await answered(room)
    await call.hang_up()
    (cdr,) = await recorded(room)
    assert agrees(cdr, call)


async def test_the_options_of_a_number_are_no_part_of_it(
    asterisk: AsteriskRig, room: ControlRoom, acme: Phone, carrier: Phone
) -> None:
    await room.furnish()
    await linked(room, asterisk)
    call, outgoing = await talking(acme, carrier, f"{NUMBER};ext=5")
    assert outgoing.number == NUMBER
    await call.hang_up()
    (cdr,) = await recorded(room)
    assert cdr["to"] == NUMBER


@pytest.fixture
def turned_away(asterisk: AsteriskRig) -> Iterator[str]:
    """A number that ends at once, before any is cleaned; as when a caller cancels at once."""
    asterisk.cli("dialplan add extension _99!,1,Hangup,1 into callctl-out")
    yield "99"
    asterisk.cli("dialplan reload")


@pytest.mark.parametrize("within", [forged("Hangup", Uniqueid="{}"), f"{NEW_LINE}Uniqueid%3a%20{{}}{NEW_LINE}"])
async def test_the_end_of_a_call_whose_numbers_are_not_cleaned_ends_no_other(
    asterisk: AsteriskRig, room: ControlRoom, acme: Phone, carrier: Phone, turned_away: str, within: str
) -> None:
    await room.furnish()
    pbx1 = await linked(room, asterisk)
    call, _ = await talking(acme, carrier)
    up = await answered(room)
    legs = pbx1._calls.legs(up.call.call_id)
    assert legs is not None
    attack = await acme.call(turned_away, CALLER + within.format(legs.carrier))
    await attack.until_ended()
    assert attack.status == 404
    await call.hang_up()
    (cdr,) = await recorded(room)
    assert agrees(cdr, call)
    assert cdr["released_by"] == "caller"
