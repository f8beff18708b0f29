"""The shipped dialplan on a real Asterisk, with real calls and a few lines of AMI in callctl's place, which have
no more rights than callctl's own user."""

import pytest

from tests.switches.at_gate import NUMBER, allow, talking, tones, waiting
from tests.switches.exactness import in_time
from tests.switches.rig.asterisk import GLOBEX, AsteriskRig
from tests.switches.rig.manager import Manager
from tests.switches.sip.phone import Phone
from tests.waiting import until

# -------------------------------------------------------------------- what callctl is told


async def test_the_gate_tells_who_calls_whom_from_where(gate: Manager, acme: Phone) -> None:
    call, asked = await waiting(gate, acme)
    told = {"Caller": "+31201234567", "Called": NUMBER, "Endpoint": "acme", "Account": "acme"}
    told |= {"Source": acme.address, "SIPCallID": call.call_id, "Direction": "outbound"}
    assert told.items() <= asked.items()
    assert asked["ChanVariable"] == "CC_ACCT=acme"  # rides on every event, after CC_CALL
    await call.hang_up()


async def test_a_caller_cannot_write_headers_of_the_gates_event(gate: Manager, acme: Phone) -> None:
    call = await acme.call("12,34&PJSIP/99", caller="1%2CAccount%3A%20globex")
    asked = await gate.event("UserEvent", UserEvent="CCAuthorize", SIPCallID=call.call_id)
    assert (asked["Caller"], asked["Called"]) == ("1Accountglobex", "123499")
    assert (asked["Account"], asked["Exten"]) == ("acme", "123499")
    await call.hang_up()


@pytest.mark.usefixtures("carrier")
async def test_an_emergency_call_is_reported(gate: Manager, acme: Phone) -> None:
    call = await acme.call("112")
    await call.until_answered()
    told = await gate.event("UserEvent", UserEvent="CCEmergency", SIPCallID=call.call_id)
    assert (told["Called"], told["Account"], told["Direction"]) == ("112", "acme", "outbound")
    await call.hang_up()


@pytest.mark.usefixtures("carrier")
async def test_an_uncontrolled_call_is_reported(gate: Manager, asterisk: AsteriskRig) -> None:
    async with Phone(GLOBEX, asterisk.sip_address) as globex:
        call = await globex.call(NUMBER)
        told = await gate.event("UserEvent", UserEvent="CCUncontrolled", SIPCallID=call.call_id)
        assert (told["Called"], told["Account"]) == (NUMBER, "globex")
        await call.until_answered()
        await call.hang_up()


# -------------------------------------------------------------------- yes


async def test_an_allowed_call_is_connected(gate: Manager, acme: Phone, carrier: Phone) -> None:
    call, outgoing, asked = await talking(gate, acme, carrier, CC_LIMIT="60", CC_NUMBER="+31600000001")
    assert outgoing.number == "+31600000001"
    await call.ear.until_heard(tones(600))
    await outgoing.ear.until_heard(tones(400))
    dialled = await gate.event("DialEnd", Channel=asked["Channel"], DialStatus="ANSWER")
    assert dialled["DestChannel"].startswith("PJSIP/carrier-a-")
    await call.hang_up()
    await outgoing.until_ended()
    assert outgoing.ended_by == "them"


async def test_the_number_defaults_to_the_extension(gate: Manager, acme: Phone, carrier: Phone) -> None:
    call, outgoing, _ = await talking(gate, acme, carrier)
    assert outgoing.number == NUMBER
    await call.hang_up()


async def test_callctl_may_choose_the_carrier(
    gate: Manager, acme: Phone, carrier: Phone, second_carrier: Phone
) -> None:
    call, _, _ = await talking(gate, acme, second_carrier, CC_TRUNK="carrier-b")
    await call.hang_up()
    assert not carrier.calls


async def test_a_dead_carrier_is_passed_over_at_once(gate: Manager, acme: Phone, carrier: Phone) -> None:
    call, _, _ = await talking(gate, acme, carrier, CC_TRUNK="carrier-dead,carrier-a")
    await call.hang_up()


async def test_an_inbound_call_reaches_the_customer(gate: Manager, acme: Phone, carrier: Phone) -> None:
    acme.answer_calls()
    call, asked = await waiting(gate, carrier, "+31201234567")
    assert (asked["Direction"], asked["Endpoint"], asked["Account"]) == ("inbound", "carrier-a", "")
    await allow(gate, asked, CC_LIMIT="60", CC_DIAL="acme", CC_NUMBER="+31201234567")
    await call.until_answered()
    assert (await acme.next_call()).number == "+31201234567"
    await call.hang_up()


async def test_the_limit_ends_a_talk_even_with_callctl_dead(asterisk: AsteriskRig, acme: Phone, carrier: Phone) -> None:
    async with Manager(asterisk) as gate:
        call, outgoing, _ = await talking(gate, acme, carrier, CC_LIMIT="2")
    await call.until_ended()
    await outgoing.until_ended()
    assert (call.ended_by, call.reason) == ("them", "Q.850;cause=16")
    assert in_time(call.talked_s * 1_000, 2)


async def test_the_grant_counts_from_the_answer_even_with_callctl_dead(
    asterisk: AsteriskRig, acme: Phone, carrier: Phone
) -> None:
    carrier.answer_calls(after_s=1)
    async with Manager(asterisk) as gate:
        call, asked = await waiting(gate, acme)
        await allow(gate, asked, CC_LIMIT="60", CC_GRANT="2")
    outgoing = await carrier.next_call()
    await call.until_ended()
    await outgoing.until_ended()
    assert in_time(call.talked_s * 1_000, 2)


async def test_the_limit_ends_a_call_that_only_rings(gate: Manager, acme: Phone, carrier: Phone) -> None:
    carrier.answer_calls(after_s=30)
    call, asked = await waiting(gate, acme)
    await allow(gate, asked, CC_LIMIT="1")
    await call.until_ended()
    assert call.status == 480
    assert await gate.event("UserEvent", UserEvent="CCLimit", Uniqueid=asked["Uniqueid"])
    assert (await carrier.next_call()).status == 487


async def test_a_limit_can_be_moved_while_both_talk(gate: Manager, acme: Phone, carrier: Phone) -> None:
    call, outgoing, asked = await talking(gate, acme, carrier, CC_LIMIT="2")
    dialled = await gate.event("DialEnd", Channel=asked["Channel"])
    for leg in (asked["Channel"], dialled["DestChannel"]):
        assert (await gate.ask("AbsoluteTimeout", Channel=leg, Timeout="4"))["Response"] == "Success"
    await call.until_ended()
    await outgoing.until_ended()
    assert in_time(call.talked_s * 1_000, 4)


@pytest.mark.parametrize(("answer", "seen"), [(404, 404), (486, 486), (500, 500), (503, 503)])
async def test_the_caller_sees_why_the_carrier_refused(
    gate: Manager, acme: Phone, carrier: Phone, answer: int, seen: int
) -> None:
    carrier.refuse_calls(answer)
    call, asked = await waiting(gate, acme)
    await allow(gate, asked, CC_TRUNK="carrier-a")
    await call.until_ended()
    assert call.status == seen


@pytest.mark.parametrize("answer", [404, 410, 480, 484, 486])
async def test_what_a_carrier_says_of_the_number_is_not_asked_of_the_next(
    gate: Manager, acme: Phone, carrier: Phone, second_carrier: Phone, answer: int
) -> None:
    carrier.refuse_calls(answer)
    call, asked = await waiting(gate, acme)
    await allow(gate, asked)
    await call.until_ended()
    assert call.status == answer
    assert not second_carrier.calls


@pytest.mark.parametrize("answer", [401, 403, 408, 488, 500, 502, 503, 504])
async def test_a_carrier_that_fails_is_followed_by_the_next(
    gate: Manager, acme: Phone, carrier: Phone, second_carrier: Phone, answer: int
) -> None:
    carrier.refuse_calls(answer)
    call, _, _ = await talking(gate, acme, second_carrier)
    await call.hang_up()


async def test_a_forward_by_the_carrier_is_not_followed(
    gate: Manager, acme: Phone, carrier: Phone, second_carrier: Phone
) -> None:
    carrier.refuse_calls(302, contact=f"sip:+31900123456@{second_carrier.address}:{second_carrier.port}")
    call, asked = await waiting(gate, acme)
    await allow(gate, asked, CC_TRUNK="carrier-a")
    await call.until_ended()
    assert call.status == 603
    assert not second_carrier.calls


async def test_a_caller_cannot_transfer(gate: Manager, acme: Phone, carrier: Phone) -> None:
    call, outgoing, _ = await talking(gate, acme, carrier)
    call.transfer("+31900123456")
    await until(lambda: call.answers_to("REFER"))
    await call.ear.until_heard(tones(600), since=call.answered_at or 0)
    await call.hang_up()
    await outgoing.until_ended()
    assert call.answers_to("REFER") == [603]
    assert len(carrier.calls) == 1


# -------------------------------------------------------------------- no


@pytest.mark.parametrize("status", [402, 403, 404, 484, 486, 503])
async def test_a_refusal_has_the_status_asked_for(gate: Manager, acme: Phone, carrier: Phone, status: int) -> None:
    call, asked = await waiting(gate, acme)
    response = await gate.ask("PJSIPHangup", Channel=asked["Channel"], Cause=str(status))
    assert response["Response"] == "Success"
    await call.until_ended()
    assert call.status == status
    assert not carrier.calls


@pytest.mark.parametrize("sound", ["vm-goodbye", ""])
async def test_a_refusal_may_say_why(gate: Manager, acme: Phone, sound: str) -> None:
    call, asked = await waiting(gate, acme)
    await gate.set(asked["Channel"], CC_SIP="402", CC_CAUSE="21", CC_ANNOUNCEMENT=sound)
    refuse = {"Context": "callctl-refuse", "Exten": NUMBER, "Priority": "1"}
    await gate.ask("Redirect", Channel=asked["Channel"], **refuse)
    await call.until_ended()
    assert call.status == 402
    assert any(heard.voice for heard in call.heard) == bool(sound)
    assert (183 in call.provisional) == bool(sound)
    assert call.answered_at is None


async def test_a_missing_announcement_delays_nothing(gate: Manager, acme: Phone) -> None:
    call, asked = await waiting(gate, acme)
    await gate.set(asked["Channel"], CC_SIP="402", CC_CAUSE="21", CC_ANNOUNCEMENT="no/such/sound")
    refuse = {"Context": "callctl-refuse", "Exten": NUMBER, "Priority": "1"}
    await gate.ask("Redirect", Channel=asked["Channel"], **refuse)
    await call.until_ended()
    assert call.status == 402


# -------------------------------------------------------------------- warnings


@pytest.mark.parametrize("way", ["whisper", "barge"])
async def test_a_warning_is_mixed_over_the_talk(gate: Manager, acme: Phone, carrier: Phone, way: str) -> None:
    call, outgoing, asked = await talking(gate, acme, carrier)
    await call.ear.until_heard(tones(600))
    warning = {"Channel": f"Local/{way}@callctl-announce/n", "Application": "Playback", "Data": "vm-goodbye"}
    warning |= {"Variable": f"CC_CHANNEL={asked['Uniqueid']}", "Async": "true"}
    assert (await gate.ask("Originate", **warning))["Response"] == "Success"
    await call.ear.until_heard(tones(600, voice=True))
    await call.ear.until_heard(tones(600), since=call.ear.heard()[-1].at)
    assert any(heard.voice for heard in outgoing.heard) == (way == "barge")
    assert not any(heard.silent for heard in outgoing.heard)
    await call.hang_up()


# -------------------------------------------------------------------- rights


async def test_the_gates_user_sees_every_channel(gate: Manager, acme: Phone, carrier: Phone) -> None:
    call, _, asked = await talking(gate, acme, carrier, CC_LIMIT="60")
    assert (await gate.ask("Status", AllVariables="false"))["Response"] == "Success"
    status = await gate.event("Status", Uniqueid=asked["Uniqueid"])
    assert int(status["TimeToHangup"]) > 0
    await call.hang_up()


@pytest.mark.parametrize(
    ("action", "headers"),
    [
        ("Command", {"Command": "core show version"}),
        ("GetConfig", {"Filename": "manager.conf"}),
        ("ModuleLoad", {"LoadType": "reload"}),
        ("DBPut", {"Family": "x", "Key": "y", "Val": "z"}),
        ("AGI", {"Channel": "x", "Command": "EXEC System id"}),
        ("Originate", {"Channel": "Local/whisper@callctl-announce", "Application": "System", "Data": "id"}),
    ],
)
async def test_the_gates_user_may_not(gate: Manager, action: str, headers: dict[str, str]) -> None:
    assert (await gate.ask(action, **headers))["Response"] == "Error"
