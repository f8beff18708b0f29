"""The shipped dialplan with CC_GATE = agi on a real Asterisk: calls wait in AsyncAGI, and callctl answers as ever."""

from collections.abc import AsyncIterator

import pytest

from tests.control_room import ControlRoom
from tests.switches.at_gate import NUMBER, allow, talking, tones, waiting
from tests.switches.linked import agrees, answered, gone, linked, recorded
from tests.switches.linked import talking as admitted
from tests.switches.rig.asterisk import GLOBEX, AsteriskRig
from tests.switches.rig.manager import Manager
from tests.switches.sip.phone import Phone

pytestmark = pytest.mark.usefixtures("agi_gate")
GUARD_S = 3


@pytest.fixture
async def observer(asterisk: AsteriskRig) -> AsyncIterator[Manager]:
    """A session that may drive AsyncAGI; callctl's own may not."""
    async with Manager(asterisk, "observer", "observer") as observer:
        yield observer


# -------------------------------------------------------------------- callctl answers


async def test_an_allowed_call_is_connected_and_recorded(
    observer: Manager, asterisk: AsteriskRig, room: ControlRoom, acme: Phone, carrier: Phone
) -> None:
    await room.furnish()
    await linked(room, asterisk)
    call, outgoing = await admitted(acme, carrier)
    assert outgoing.number == NUMBER
    assert await observer.event("AsyncAGIEnd")
    await call.ear.until_heard(tones(600))
    await call.hang_up()
    (cdr,) = await recorded(room)
    assert (cdr["verdict"], cdr["released_by"]) == ("allowed", "caller")


@pytest.mark.parametrize("announcements", [{}, {"no-credit": "vm-goodbye"}])
async def test_who_has_no_credit_is_refused(
    asterisk: AsteriskRig, room: ControlRoom, acme: Phone, carrier: Phone, announcements: dict[str, str]
) -> None:
    await room.furnish(balance=0)
    await linked(room, asterisk, announcements=announcements)
    call = await acme.call(NUMBER)
    await call.until_ended()
    assert call.status == 402
    assert any(heard.voice for heard in call.heard) == bool(announcements)
    (cdr,) = await recorded(room)
    assert (cdr["refusal"], cdr["sip_code"]) == ("no_credit", 402)
    assert not carrier.calls


async def test_a_call_that_waits_is_answered_by_a_callctl_that_was_not_there_when_it_came(
    gate: Manager, asterisk: AsteriskRig, room: ControlRoom, acme: Phone, carrier: Phone
) -> None:
    """Such a gate asks once: the list tells what it has asked."""
    asterisk.cli("dialplan set global CC_GATE_SECONDS 30")
    await room.furnish()
    call, _ = await waiting(gate, acme)
    await linked(room, asterisk)
    await call.until_answered()
    assert (await carrier.next_call()).number == NUMBER
    await answered(room)
    await call.hang_up()
    (cdr,) = await recorded(room)
    assert (cdr["account"], cdr["from"], cdr["to"], cdr["direction"]) == ("acme", "+31201234567", NUMBER, "outbound")
    assert agrees(cdr, call)
    await gone(asterisk)


async def test_the_guard_does_not_end_a_talk(gate: Manager, acme: Phone, carrier: Phone) -> None:
    call, _, _ = await talking(gate, acme, carrier)
    await call.ear.until_heard(tones(600), since=(call.answered_at or 0) + GUARD_S)
    await call.hang_up()


async def test_the_guard_does_not_cut_an_announcement(gate: Manager, acme: Phone) -> None:
    call, asked = await waiting(gate, acme)
    await gate.set(asked["Channel"], CC_SIP="402", CC_CAUSE="21", CC_ANNOUNCEMENT="&".join(["vm-goodbye"] * 6))
    refuse = {"Context": "callctl-refuse", "Exten": NUMBER, "Priority": "1"}
    await gate.ask("Redirect", Channel=asked["Channel"], **refuse)
    await call.until_ended()
    assert call.status == 402
    assert call.heard[-1].at - call.heard[0].at > GUARD_S


async def test_a_prompt_of_another_session_ends_with_the_answer(
    observer: Manager, gate: Manager, acme: Phone, carrier: Phone
) -> None:
    call, asked = await waiting(gate, acme)
    for command in ("EXEC Progress", 'EXEC Playback "vm-goodbye&vm-goodbye&vm-goodbye,noanswer"'):
        await observer.event("AsyncAGIStart", Uniqueid=asked["Uniqueid"])
        assert (await observer.ask("AGI", Channel=asked["Channel"], Command=command))["Response"] == "Success"
    await call.ear.until_heard(lambda heard: heard.voice)
    await allow(gate, asked)
    await call.until_answered()
    await call.ear.until_heard(tones(600))
    await call.hang_up()


# -------------------------------------------------------------------- callctl does not answer


async def test_a_call_that_nobody_decides_is_refused(acme: Phone, carrier: Phone) -> None:
    call = await acme.call(NUMBER)
    await call.until_ended()
    assert (call.status, call.reason) == (503, "Q.850;cause=34")
    assert not carrier.calls


async def test_a_customer_that_may_calls_while_callctl_is_away(asterisk: AsteriskRig, carrier: Phone) -> None:
    async with Phone(GLOBEX, asterisk.sip_address) as globex:
        call = await globex.call("0612345678")
        await call.until_answered()
        assert (await carrier.next_call()).number == "0612345678"
        await call.hang_up()


async def test_a_break_of_another_session_is_no_yes(
    observer: Manager, gate: Manager, acme: Phone, carrier: Phone
) -> None:
    call, asked = await waiting(gate, acme)
    await observer.event("AsyncAGIStart", Uniqueid=asked["Uniqueid"])
    await observer.ask("AGI", Channel=asked["Channel"], Command="ASYNCAGI BREAK")
    await call.until_ended()
    assert call.status == 503
    assert not carrier.calls


async def test_a_caller_may_give_up_at_the_gate(
    observer: Manager, gate: Manager, asterisk: AsteriskRig, acme: Phone, carrier: Phone
) -> None:
    call, asked = await waiting(gate, acme)
    await observer.event("AsyncAGIStart", Uniqueid=asked["Uniqueid"])
    await call.hang_up()
    await call.until_ended()
    assert call.status == 487
    await gone(asterisk)
    assert not carrier.calls
