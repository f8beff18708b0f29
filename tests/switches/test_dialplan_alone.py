"""The shipped dialplan on a real Asterisk, with real calls and nobody at the gate: callctl is dead."""

import pytest

from tests.switches.at_gate import NUMBER, tones
from tests.switches.rig.asterisk import GLOBEX, STRANGER, AsteriskRig
from tests.switches.sip.phone import Phone


@pytest.mark.parametrize("number", ["112", "911", "999"])
async def test_an_emergency_call_passes_without_callctl(acme: Phone, carrier: Phone, number: str) -> None:
    call = await acme.call(number)
    await call.until_answered()
    outgoing = await carrier.next_call()
    assert outgoing.number == number
    await call.ear.until_heard(tones(600))
    await outgoing.ear.until_heard(tones(400))
    await call.hang_up()
    await outgoing.until_ended()


@pytest.mark.parametrize("answer", [404, 480, 484, 486, 503, 603])
async def test_an_emergency_call_takes_the_next_carrier(
    acme: Phone, carrier: Phone, second_carrier: Phone, answer: int
) -> None:
    carrier.refuse_calls(answer)
    call = await acme.call("112")
    await call.until_answered()
    assert (await second_carrier.next_call()).number == "112"
    await call.hang_up()


async def test_emergency_calls_may_go_another_way(
    asterisk: AsteriskRig, acme: Phone, carrier: Phone, second_carrier: Phone
) -> None:
    asterisk.cli("dialplan set global CC_EMERGENCY_TRUNK carrier-b")
    try:
        call = await acme.call("112")
        await call.until_answered()
        await call.hang_up()
    finally:
        asterisk.cli("dialplan reload")
    assert second_carrier.calls
    assert not carrier.calls


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


async def test_an_inbound_call_that_nobody_decides_is_refused(acme: Phone, carrier: Phone) -> None:
    call = await carrier.call("+31201234567")
    await call.until_ended()
    assert call.status == 503
    assert not acme.calls


@pytest.mark.parametrize("number", [NUMBER, "112"])
async def test_a_stranger_is_nobody_even_under_a_customers_name(
    asterisk: AsteriskRig, carrier: Phone, number: str
) -> None:
    async with Phone(STRANGER, asterisk.sip_address, user="acme") as stranger:
        call = await stranger.call(number, caller="acme")
        await call.until_ended()
        assert call.status == 401
    assert not carrier.calls


@pytest.mark.usefixtures("carrier")
async def test_a_registered_customer_calls_with_its_password(asterisk: AsteriskRig) -> None:
    async with Phone(STRANGER, asterisk.sip_address, user="initech", password="initech-password") as initech:
        assert await initech.register() == 200
        call = await initech.call("112", caller="initech")
        await call.until_answered()
        await call.hang_up()


async def test_a_wrong_password_is_refused(asterisk: AsteriskRig, carrier: Phone) -> None:
    async with Phone(STRANGER, asterisk.sip_address, user="initech", password="guessed") as initech:
        assert await initech.register() == 401
        call = await initech.call("112", caller="initech")
        await call.until_ended()
        assert call.status == 401
    assert not carrier.calls


async def test_what_is_no_number_is_not_found(acme: Phone) -> None:
    call = await acme.call("alice")
    await call.until_ended()
    assert call.status == 404
