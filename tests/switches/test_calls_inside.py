"""A dialplan of one's own sends calls to the gate over Local channels: a forward, a group, a queue. A real Asterisk."""

from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from callctl.accounts import WarnTo
from callctl.adapters.asterisk.switch import Contexts
from tests.control_room import ControlRoom
from tests.switches.linked import NUMBER, agrees, answered, gone, linked, recorded
from tests.switches.rig.asterisk import AsteriskRig
from tests.switches.sip.call import Call
from tests.switches.sip.phone import Phone
from tests.waiting import until

INSIDE = "77"
WAYS = {
    "rings": f"1,Dial,Local/{NUMBER}@callctl-out",
    "has been answered": f"2,Dial,Local/{NUMBER}@callctl-out",  # behind an Answer
    "stays between": f"1,Dial,Local/{NUMBER}@callctl-out/n",
}


@pytest.fixture(params=WAYS)
def inside(asterisk: AsteriskRig, request: pytest.FixtureRequest) -> Iterator[str]:
    """An extension that leads to NUMBER while the call to it rings, or after it was answered."""
    asterisk.cli(f"dialplan add extension {INSIDE},1,Answer, into callctl-out")
    asterisk.cli(f"dialplan add extension {INSIDE},{WAYS[request.param]} into callctl-out replace")
    yield request.param
    asterisk.cli("dialplan reload")


async def talking(asterisk: AsteriskRig, inside: str, acme: Phone, carrier: Phone) -> tuple[Call, Call]:
    """An answered call, once Asterisk has taken the Local channel out where it does so."""
    call = await acme.call(INSIDE)
    await call.until_answered()
    outgoing = await carrier.next_call()
    await call.ear.until_heard(lambda heard: heard.tones == (600,))
    if inside != "stays between":
        await until(lambda: ";2!" not in asterisk.cli("core show channels concise"))
    return call, outgoing


@pytest.mark.parametrize("by", ["caller", "callee"])
async def test_it_is_charged_once_and_who_hangs_up_is_named(
    asterisk: AsteriskRig, inside: str, room: ControlRoom, acme: Phone, carrier: Phone, by: str
) -> None:
    await room.furnish()
    await linked(room, asterisk)
    call, outgoing = await talking(asterisk, inside, acme, carrier)
    await answered(room)
    await (call if by == "caller" else outgoing).hang_up()
    (cdr,) = await recorded(room)
    await outgoing.until_ended()
    assert agrees(cdr, outgoing)
    assert (cdr["to"], cdr["released_by"]) == (NUMBER, by)
    await gone(asterisk)


async def test_its_caller_is_warned(
    asterisk: AsteriskRig, inside: str, room: ControlRoom, acme: Phone, carrier: Phone
) -> None:
    await room.furnish()
    pbx1 = await linked(room, asterisk, sounds={10: "vm-goodbye"})
    call, outgoing = await talking(asterisk, inside, acme, carrier)
    await pbx1.warn((await answered(room)).call, 10, WarnTo.CALLER)
    await call.ear.until_heard(lambda heard: heard.voice)
    assert not any(heard.voice for heard in outgoing.heard)
    await call.hang_up()
    await recorded(room)
    await gone(asterisk)


@pytest.fixture
def own(asterisk: AsteriskRig) -> Iterator[str]:
    """A context that dials past the gate when a call is over."""
    for priority, endpoint in enumerate(("carrier-a", "carrier-b"), 1):
        dial = f"Dial(PJSIP/{NUMBER}@{endpoint},60,giU(callctl-armed^${{CC_GRANT}}))"
        asterisk.cli(f"dialplan add extension {NUMBER},{priority},{dial} into own")
    yield "own"
    asterisk.cli("dialplan reload")


async def test_a_dialplan_that_goes_on_past_the_gate_is_told_of_and_ends_with_the_grant(
    asterisk: AsteriskRig, own: str, room: ControlRoom, acme: Phone, carrier: Phone, second_carrier: Phone
) -> None:
    await room.furnish()
    with capture_logs() as logs:
        await linked(room, asterisk, contexts=Contexts(dial=own))
        call = await acme.call(NUMBER)
        await call.until_answered()
        outgoing = await carrier.next_call()
        await answered(room)
        await outgoing.hang_up()
        again = await second_carrier.next_call()
        await again.until_ended()
    (cdr,) = await recorded(room)
    assert agrees(cdr, outgoing)
    assert [log["dialled"][:15] for log in logs if log["event"] == "asterisk_dialled_past_the_gate"] == [
        "PJSIP/carrier-b"
    ]
    await gone(asterisk)
