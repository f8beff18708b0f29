"""A dialplan of the installation's own has answered before callctl is asked: an IVR, a menu, a recorded notice."""

from collections.abc import Iterator

import pytest

from tests.control_room import ControlRoom
from tests.switches.exactness import APART_MS
from tests.switches.linked import NUMBER, answered, gone, linked, recorded
from tests.switches.rig.asterisk import AsteriskRig
from tests.switches.sip.phone import Phone


@pytest.fixture(autouse=True)
def menu(asterisk: AsteriskRig) -> Iterator[None]:
    """700 answers, and goes on to the gate. A customer that may call while callctl is away is the worst case."""
    asterisk.cli("dialplan add extension 700,1,Answer() into callctl-out")
    asterisk.cli("dialplan add extension 700,2,Set(CC_DIRECTION=outbound) into callctl-out")
    asterisk.cli(f"dialplan add extension 700,3,Goto(callctl-gate,{NUMBER},1) into callctl-out")
    asterisk.cli("dialplan set global CC_FAIL_OPEN yes")
    yield
    asterisk.cli("dialplan reload")


@pytest.mark.parametrize("announcements", [{}, {"no-credit": "vm-goodbye"}])
async def test_an_answered_call_is_refused_at_once(
    asterisk: AsteriskRig, room: ControlRoom, acme: Phone, carrier: Phone, announcements: dict[str, str]
) -> None:
    await room.furnish(balance=0)
    await linked(room, asterisk, announcements=announcements)
    call = await acme.call("700")
    await call.until_answered()
    await call.until_ended()
    (cdr,) = await recorded(room)
    assert (cdr["refusal"], cdr["charge"]) == ("no_credit", "0.0000")
    assert not carrier.calls
    assert any(heard.voice for heard in call.heard) == bool(announcements)
    await gone(asterisk)


async def test_an_answered_call_is_charged_from_the_answer_of_the_carrier(
    asterisk: AsteriskRig, room: ControlRoom, acme: Phone, carrier: Phone
) -> None:
    carrier.answer_calls(after_s=1)
    await room.furnish()
    await linked(room, asterisk)
    call = await acme.call("700")
    outgoing = await carrier.next_call()
    await answered(room)
    await call.hang_up()
    await outgoing.until_ended()
    (cdr,) = await recorded(room)
    assert abs(cdr["duration_ms"] - outgoing.talked_s * 1_000) <= APART_MS
