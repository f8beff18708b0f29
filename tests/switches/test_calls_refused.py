"""No, on a real Asterisk: every refusal as the caller sees it, and what call control refuses by itself."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from callctl.adapters.asterisk.switch import AsteriskSwitch
from callctl.call.events import CallEvent, Offered, Released
from callctl.causes import Cause, Refusal, cause_of
from callctl.limits.concurrency import Caps
from tests.control_room import EURO, ControlRoom
from tests.switches.linked import NUMBER, answered, linked, recorded, switch, talking
from tests.switches.rig.asterisk import AsteriskRig
from tests.switches.sip.phone import Phone
from tests.waiting import until

Refuse = Callable[[Cause], Awaitable[list[CallEvent]]]


class Refuser:
    """Refuses whatever is offered."""

    def __init__(self, pbx1: AsteriskSwitch) -> None:
        self.pbx1 = pbx1
        self.cause = cause_of(Refusal.OVERLOADED)
        self.events: list[CallEvent] = []
        self._refusing: set[asyncio.Task[None]] = set()

    def released(self) -> list[Released]:
        """How the calls that were offered here ended; the last one of the test before may still be ending."""
        offered = {event.call for event in self.events if isinstance(event, Offered)}
        return [event for event in self.events if isinstance(event, Released) and event.call in offered]

    def report(self, event: CallEvent) -> None:
        self.events.append(event)
        if isinstance(event, Offered):
            task = asyncio.get_running_loop().create_task(self.pbx1.reject(event.call, self.cause))
            self._refusing.add(task)


@pytest.fixture
async def refuser(asterisk: AsteriskRig) -> AsyncIterator[Refuser]:
    refuser = Refuser(switch(asterisk, announcements={"no-credit": "vm-goodbye"}))
    running = asyncio.create_task(refuser.pbx1.run(refuser.report, lambda: None))
    await until(lambda: refuser.pbx1.state().up)
    yield refuser
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


CAUSES = [(refusal, False) for refusal in Refusal] + [(Refusal.CHANNEL_LIMIT, True), (Refusal.LICENCE_LIMIT, True)]


@pytest.mark.parametrize(("refusal", "inbound"), CAUSES)
async def test_every_refusal_has_its_status_on_the_wire(
    refuser: Refuser, acme: Phone, carrier: Phone, refusal: Refusal, inbound: bool
) -> None:
    refuser.cause = cause_of(refusal, inbound=inbound)
    call = await acme.call(NUMBER)
    await call.until_ended()
    assert call.status == refuser.cause.sip
    await until(refuser.released)
    (released,) = refuser.released()
    assert (released.sip_code, released.answered_at) == (refuser.cause.sip, None)
    assert any(heard.voice for heard in call.heard) == (refusal is Refusal.NO_CREDIT)  # which has an announcement
    assert call.answered_at is None
    assert not carrier.calls


async def test_who_has_no_credit_is_told_so(
    asterisk: AsteriskRig, room: ControlRoom, acme: Phone, carrier: Phone
) -> None:
    await room.furnish(balance=0)
    await linked(room, asterisk)
    call = await acme.call(NUMBER)
    await call.until_ended()
    assert call.status == 402
    (cdr,) = await recorded(room)
    assert (cdr["verdict"], cdr["refusal"], cdr["sip_code"], cdr["charge"]) == ("refused", "no_credit", 402, "0.0000")
    assert not carrier.calls


async def test_who_is_nobody_is_refused(asterisk: AsteriskRig, room: ControlRoom, acme: Phone, carrier: Phone) -> None:
    await linked(room, asterisk)
    call = await acme.call(NUMBER)
    await call.until_ended()
    assert call.status == 403
    (cdr,) = await recorded(room, account="")
    assert cdr["refusal"] == "unknown_account"
    assert not carrier.calls


async def test_a_number_that_cannot_be_is_refused(
    asterisk: AsteriskRig, room: ControlRoom, acme: Phone, carrier: Phone
) -> None:
    await room.furnish()
    await linked(room, asterisk)
    call = await acme.call("0612")
    await call.until_ended()
    assert call.status == 484
    assert not carrier.calls


async def test_a_call_beyond_the_channels_is_refused(
    asterisk: AsteriskRig, room: ControlRoom, acme: Phone, carrier: Phone
) -> None:
    await room.furnish(caps=Caps(outbound=1))
    await linked(room, asterisk)
    first, _ = await talking(acme, carrier)
    second = await acme.call("+31687654321")
    await second.until_ended()
    assert second.status == 503
    await first.hang_up()
    await recorded(room, 2)
    third, _ = await talking(acme, carrier)  # the channel is free again
    await third.hang_up()


async def test_an_inbound_call_beyond_the_channels_finds_it_busy(
    asterisk: AsteriskRig, room: ControlRoom, acme: Phone, carrier: Phone
) -> None:
    await room.furnish(numbers=("+31201234567",), caps=Caps(inbound=0))
    await linked(room, asterisk)
    call = await carrier.call("+31201234567")
    await call.until_ended()
    assert call.status == 486
    (cdr,) = await recorded(room)
    assert (cdr["refusal"], cdr["q850"], cdr["direction"]) == ("channel_limit", 17, "inbound")
    assert not acme.calls


async def test_an_emergency_call_passes_where_nothing_else_does(
    asterisk: AsteriskRig, room: ControlRoom, acme: Phone, carrier: Phone
) -> None:
    await room.furnish(balance=-EURO, active=False, caps=Caps(total=0))
    await linked(room, asterisk)
    call, outgoing = await talking(acme, carrier, "112")
    assert outgoing.number == "112"
    await answered(room)
    await call.hang_up()
    (cdr,) = await recorded(room)
    assert (cdr["verdict"], cdr["charge"], cdr["to"]) == ("allowed", "0.0000", "112")
    assert cdr["duration_ms"] > 0
