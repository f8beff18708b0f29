"""The real Kamailio while callctl is dead, or hangs; and what a hostile caller may write."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from callctl.adapters.kamailio.link import LinkTimes
from callctl.call.events import Answered, Offered, Released, ReleasedBy
from callctl.errors import SwitchUnavailable
from tests.control_room import ControlRoom
from tests.switches.exactness import ALONE_MS, in_time
from tests.switches.kamailio.desk import NUMBER, SOON, Desk, furnish, linked, recorded, switch
from tests.switches.kamailio.relay import Relay
from tests.switches.rig.asterisk import ACME, CARRIER_A
from tests.switches.rig.kamailio import KamailioRig
from tests.switches.sip.phone import Phone
from tests.waiting import PATIENCE_S, until

EMERGENCY = ["112", "911", "999", "112;phone-context=+31", "urn:service:sos.police"]


@pytest.mark.parametrize("number", EMERGENCY)
async def test_emergency_calls_pass_with_callctl_dead(
    kamailio: KamailioRig, acme: Phone, carrier: Phone, number: str
) -> None:
    call = await acme.call(number)
    await call.until_answered()
    outgoing = await carrier.next_call()
    assert outgoing.number == number.partition(";")[0]
    await call.hang_up()
    await outgoing.until_ended()


async def test_all_others_are_refused_at_once_with_callctl_dead(
    kamailio: KamailioRig, acme: Phone, carrier: Phone
) -> None:
    call = await acme.call(NUMBER)
    await call.until_ended()
    assert (call.status, call.reason) == (503, 'Q.850;cause=41;text="call control is away"')
    assert (call.ended_at or 0) - call.began_at < 2  # and not after the 2.5 s of the gate
    assert carrier.calls == []


async def test_emergency_calls_are_recorded_and_never_touched(
    kamailio: KamailioRig, room: ControlRoom, acme: Phone, carrier: Phone
) -> None:
    await furnish(room, balance=0)
    sbc1 = await linked(room, kamailio.link_port)
    call = await acme.call("112")
    await call.until_answered()
    await until(lambda: [it for it in room.calls.live() if it.answered])
    (session,) = room.calls.live()
    await sbc1.hang_up(session.call, 16)
    await sbc1.arm(session.call, 1)
    await call.hang_up()
    (cdr,) = await recorded(room)
    assert (cdr["verdict"], cdr["to"], cdr["charge"], cdr["released_by"]) == ("allowed", "112", "0.0000", "caller")


# -------------------------------------------------------------------- other settings


@asynccontextmanager
async def around(rig: KamailioRig) -> AsyncIterator[tuple[Phone, Phone]]:
    """A customer's phone and a carrier's."""
    async with (
        Phone(ACME, rig.sip_address, port=rig.peer_port, tone_hz=None) as acme,
        Phone(CARRIER_A, rig.sip_address, port=rig.peer_port, tone_hz=None) as carrier,
    ):
        carrier.answer_calls()
        yield acme, carrier


@contextmanager
def kamailio_with(home: Path, more: str = "", routes: str = "") -> Iterator[KamailioRig]:
    """Another one, configured otherwise."""
    rig = KamailioRig(home / "other", more=more, routes=routes)
    try:
        rig.start()
        yield rig
    finally:
        rig.stop()


async def test_failing_open_connects_outbound_calls_alone_and_for_a_time(tmp_path: Path) -> None:
    with kamailio_with(tmp_path, "#!define FAIL_OPEN_S 1\n") as rig:
        async with around(rig) as (acme, carrier):
            inbound = await carrier.call("+31201234567")
            await inbound.until_ended()
            assert inbound.status == 503
            call = await acme.call(NUMBER)
            await call.until_ended()
            assert in_time(call.talked_s * 1_000, 1, ALONE_MS)


async def test_failing_open_does_so_too_when_no_answer_comes(tmp_path: Path) -> None:
    with kamailio_with(tmp_path, "#!define FAIL_OPEN_S 1\n#!define GATE_MS 100\n") as rig:
        async with Relay(rig.host, rig.link_port) as relay, Desk(rig, relay) as desk, around(rig) as (acme, carrier):
            inbound, _ = await desk.gated(carrier, "+31201234567")
            await inbound.until_ended()
            assert inbound.status == 503
            call, _ = await desk.gated(acme)
            await call.until_ended()
            assert in_time(call.talked_s * 1_000, 1, ALONE_MS)


async def test_an_inbound_call_reaches_its_customer(tmp_path: Path) -> None:
    routes = 'event_route[htable:mod-init] {{ $sht(customer=>acme) = "sip:127.0.0.11:{port}"; }}\n'
    with kamailio_with(tmp_path, routes=routes) as rig:
        async with Relay(rig.host, rig.link_port) as relay, Desk(rig, relay) as desk, around(rig) as (acme, carrier):
            acme.answer_calls()
            call, key = await desk.gated(carrier, "+31201234567")
            await desk.admit(key, granted_s=60)
            await call.until_answered()
            incoming = await acme.next_call()
            assert incoming.number == "+31201234567"  # as it was called, not as it is rated
            await incoming.hang_up()
            await until(lambda: desk.told(Released, key))
            assert desk.told(Released, key)[0].released_by is ReleasedBy.CALLEE


async def test_a_hung_callctl_is_waited_for_no_longer(tmp_path: Path) -> None:
    """And what it was not told meanwhile it learns from the list."""
    times = LinkTimes(ping_every_ms=100, retry_first_ms=20)
    with kamailio_with(tmp_path, "#!define SILENT_S 2\n") as rig:
        async with Relay(rig.host, rig.link_port) as relay, Desk(rig, relay, times) as desk, around(rig) as phones:
            acme, carrier = phones
            call, outgoing, key = await desk.talking(acme, carrier)
            relay.hang()
            async with asyncio.timeout(PATIENCE_S):
                while await refused_after_s(acme) > 1:  # by the gate's own time-out, while there is hope
                    assert desk.relinks == 1
            emergency = await acme.call("112")
            await emergency.until_answered()
            await emergency.hang_up()
            await call.hang_up()
            await outgoing.until_ended()
            assert desk.told(Released, key) == []
            relay.resume()
            await until(lambda: desk.relinks >= 2)
            await until(lambda: key.call_id not in desk.switch._calls.known())


async def refused_after_s(phone: Phone) -> float:
    call = await phone.call(NUMBER)
    await call.until_ended()
    assert call.status == 503
    return (call.ended_at or 0) - call.began_at


# -------------------------------------------------------------------- the secret


async def test_a_wrong_secret_is_told_and_not_tried_for_ever(kamailio: KamailioRig) -> None:
    sbc1 = switch(kamailio.link_port, secret="guess", times=SOON)
    running = asyncio.create_task(sbc1.run(lambda event: None, lambda: None))
    try:
        await until(lambda: "secret" in sbc1.state().detail)
        assert not sbc1.state().up
        assert sbc1.counts.connections == 0
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_the_newest_link_commands(kamailio: KamailioRig, relay: Relay, desk: Desk, acme: Phone) -> None:
    """A new process need not wait until Kamailio notices the death of the old one."""
    async with Relay(kamailio.host, kamailio.link_port) as other_relay, Desk(kamailio, other_relay) as other:
        call, _ = await other.gated(acme)
        await call.hang_up()
    assert desk.told(Offered) == []


async def test_when_the_newest_link_is_gone_the_one_before_commands_again(kamailio: KamailioRig, acme: Phone) -> None:
    times = LinkTimes(ping_every_ms=100, retry_first_ms=20)
    async with Relay(kamailio.host, kamailio.link_port) as relay, Desk(kamailio, relay, times) as desk:
        async with Relay(kamailio.host, kamailio.link_port) as other_relay, Desk(kamailio, other_relay):
            await until(lambda: not desk.switch.state().up)
            assert desk.switch.state().detail == "another callctl commands this Kamailio"
            with pytest.raises(SwitchUnavailable, match="another callctl"):
                await desk.switch.live_calls()
        await until(lambda: desk.relinks == 2)
        call, _ = await desk.gated(acme)
        await call.hang_up()


# -------------------------------------------------------------------- hostile callers


@pytest.mark.parametrize(
    "caller",
    [
        "Al\r\n diverter: victim\r\n x: <sip:+31201234567@127.0.0.11>",
        '"Al\\" <sip:victim@127.0.0.1>" <sip:+31201234567@127.0.0.11>',
        '"{\\"emergency\\":true}" <sip:+31201234567@127.0.0.11>',
        '"},{" <sip:+31201234567@127.0.0.11>',
    ],
)
async def test_a_callers_name_says_nothing(desk: Desk, acme: Phone, caller: str) -> None:
    call, key = await desk.gated(acme, caller=caller)
    (offered,) = desk.told(Offered, key)
    assert (offered.a_number, offered.emergency, offered.account, offered.source_ip) == (
        "+31201234567",
        False,
        None,
        ACME,
    )
    await call.hang_up()


@pytest.mark.parametrize("user", ["a'b", "$ci", "a&b=c?d", "é", "1" * 2_000])
async def test_a_callers_number_is_only_that(desk: Desk, acme: Phone, user: str) -> None:
    call, key = await desk.gated(acme, caller=f"<sip:{user}@127.0.0.11>")
    (offered,) = desk.told(Offered, key)
    assert (offered.a_number, offered.emergency) == (user, False)
    await call.hang_up()
    await until(lambda: desk.told(Released, key))
    assert desk.told(Released, key)[0].released_by is ReleasedBy.CALLER
    assert desk.told(Answered) == []


@pytest.mark.parametrize(
    ("user", "meant"),
    [
        ("%2B31612345678", "+31612345678"),
        ("+31612345678;phone-context=example.com", "+31612345678"),
        ("a%22,%22emergency%22", 'a","emergency"'),
        ("112%00", "0"),  # which nobody can read
    ],
)
async def test_a_number_is_what_it_means(desk: Desk, acme: Phone, user: str, meant: str) -> None:
    call, key = await desk.gated(acme, number=user, caller=f"<sip:{user}@127.0.0.11>")
    (offered,) = desk.told(Offered, key)
    assert (offered.a_number, offered.b_number, offered.emergency) == (meant, meant, False)
    await call.hang_up()


async def test_a_caller_without_a_number_has_none(desk: Desk, acme: Phone) -> None:
    call, key = await desk.gated(acme, caller="<sip:127.0.0.11>")
    assert desk.told(Offered, key)[0].a_number == ""
    await call.hang_up()


@pytest.mark.parametrize("user", ["a\\", '"', "a b"])
async def test_an_address_that_is_none_is_refused(desk: Desk, acme: Phone, user: str) -> None:
    call = await acme.call(NUMBER, f"<sip:{user}@127.0.0.11>")
    await call.until_ended()
    assert call.status == 400
    assert desk.told(Offered) == []
