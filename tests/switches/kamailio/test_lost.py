"""What the real Kamailio tells twice, late, out of turn or never: no call is lost by it, and none charged twice."""

from collections.abc import AsyncIterator

import pytest

from callctl.adapters.kamailio.link import LinkTimes
from callctl.call.events import Answered, Released, ReleasedBy
from callctl.clock import Instant, SystemClock
from tests.control_room import EURO, PER_SECOND, ControlRoom
from tests.switches.exactness import APART_MS
from tests.switches.kamailio.desk import NUMBER, Desk, furnish, linked, recorded, talking
from tests.switches.kamailio.relay import Relay
from tests.switches.rig.kamailio import KamailioRig
from tests.switches.sip.phone import Phone
from tests.waiting import until


@pytest.fixture
async def control(relay: Relay, room: ControlRoom) -> AsyncIterator[ControlRoom]:
    """Call control at the other end of the relay, with a customer."""
    await furnish(room)
    await linked(room, relay.port)
    return room


async def test_a_cancel_is_told_before_callctl_has_answered(desk: Desk, acme: Phone, carrier: Phone) -> None:
    call, key = await desk.gated(acme)
    await call.hang_up()
    assert call.status == 487
    await until(lambda: desk.told(Released, key))
    (released,) = desk.told(Released, key)
    assert (released.released_by, released.answered_at) == (ReleasedBy.CALLER, None)
    await desk.admit(key)
    assert carrier.calls == []


async def test_a_cancelled_call_holds_nothing(control: ControlRoom, relay: Relay, acme: Phone, carrier: Phone) -> None:
    """The offer is so late that the CANCEL overtakes the answer to it."""
    relay.delay_s = 0.2
    call = await acme.call(NUMBER)
    await until(lambda: [told for told in relay.told if told.get("event") == "offer"])
    await call.hang_up()
    (cdr,) = await recorded(control)
    assert (call.status, cdr["charge"], cdr["answer_time"]) == (487, "0.0000", None)
    balance = await control.balance()
    assert (balance.balance, balance.held, balance.slots) == (10 * EURO, 0, {})
    assert carrier.calls == []


async def test_an_answer_that_comes_again_is_told_once(desk: Desk, acme: Phone, carrier: Phone) -> None:
    call, outgoing, key = await desk.talking(acme, carrier)
    for _ in range(3):
        outgoing.answer_again()
    await until(lambda: len(call.answers_to("INVITE")) == 4)
    await call.hang_up()
    await until(lambda: desk.told(Released, key))
    assert len(desk.told(Answered, key)) == 1


async def test_everything_told_twice_is_charged_once(
    control: ControlRoom, relay: Relay, acme: Phone, carrier: Phone
) -> None:
    relay.passes = lambda message: 2 if "event" in message else 1
    call, _ = await talking(control, acme, carrier)
    await call.hang_up()
    (cdr,) = await recorded(control)
    assert (await control.balance()).balance == 10 * EURO - cdr["billed_s"] * PER_SECOND


async def test_an_answer_that_was_lost_is_proven_by_the_end(
    control: ControlRoom, relay: Relay, acme: Phone, carrier: Phone
) -> None:
    relay.lose("answered")
    call = await acme.call(NUMBER)
    await call.until_answered()
    await (await carrier.next_call()).hang_up()
    await call.until_ended()
    (cdr,) = await recorded(control)
    assert (cdr["released_by"], cdr["estimated"]) == ("callee", False)
    assert cdr["answer_time"] is not None
    assert abs(cdr["duration_ms"] - call.talked_s * 1_000) <= APART_MS


async def test_an_end_that_was_lost_is_settled_by_the_list(
    control: ControlRoom, relay: Relay, acme: Phone, carrier: Phone
) -> None:
    relay.lose("ended")
    call, _ = await talking(control, acme, carrier)
    await call.hang_up()
    await until(lambda: [told for told in relay.told if told.get("event") == "ended"])
    assert len(control.calls.live()) == 1
    await relay.cut()
    await relay.restore()
    (cdr,) = await recorded(control)
    assert cdr["estimated"] is True
    balance = await control.balance()
    assert (balance.held, balance.slots) == (0, {})


async def test_a_hang_up_waits_for_no_event(desk: Desk, relay: Relay, acme: Phone, carrier: Phone) -> None:
    relay.lose("ended")
    call, outgoing, key = await desk.talking(acme, carrier)
    await desk.switch.hang_up(key, 16)
    (released,) = desk.told(Released, key)
    assert (released.released_by, released.q850, released.stated) == (ReleasedBy.CALLCTL, 16, True)
    await call.until_ended()
    await outgoing.until_ended()


async def test_an_end_without_a_beginning_is_nobodys(desk: Desk, relay: Relay, acme: Phone, carrier: Phone) -> None:
    relay.lose("offer")
    call = await acme.call("112")
    await call.until_answered()
    await call.hang_up()
    await until(lambda: [told for told in relay.told if told.get("event") == "ended"])
    relay.passes = lambda message: 1
    later, key = await desk.gated(acme)
    assert [event.call for event in desk.events] == [key]
    await later.hang_up()


# -------------------------------------------------------------------- the link


async def test_calls_outlive_the_link(control: ControlRoom, relay: Relay, acme: Phone, carrier: Phone) -> None:
    """One that ended meanwhile is settled, the other goes on."""
    gone, outgoing = await talking(control, acme, carrier)
    stays, _ = await talking(control, acme, carrier)
    await relay.cut()
    await gone.hang_up()
    await outgoing.until_ended()
    await relay.restore()
    await recorded(control)
    assert stays.ended_at is None
    await stays.hang_up()
    cdrs = await recorded(control, 2)
    assert [cdr["estimated"] for cdr in cdrs] == [True, False]
    balance = await control.balance()
    assert (balance.held, balance.slots) == (0, {})


async def test_an_answer_during_an_outage_is_learnt_from_the_list(
    control: ControlRoom, relay: Relay, acme: Phone, carrier: Phone
) -> None:
    carrier.answer_calls(after_s=0.3)
    call = await acme.call(NUMBER)
    await until(lambda: [told for told in relay.told if told.get("event") == "ringing"])
    await relay.cut()
    await call.until_answered()
    await relay.restore()
    await until(lambda: [it.answered for it in control.calls.live() if it.answered])
    await call.hang_up()
    (cdr,) = await recorded(control)
    assert cdr["estimated"] is False
    talked_ms = call.talked_s * 1_000  # of the answer the list tells whole seconds
    assert talked_ms - 1_000 - APART_MS <= cdr["duration_ms"] <= talked_ms + APART_MS


async def test_a_call_at_the_gate_is_refused_when_the_link_breaks(desk: Desk, relay: Relay, acme: Phone) -> None:
    call, _ = await desk.gated(acme)
    await relay.cut()
    meanwhile = await acme.call(NUMBER)
    await meanwhile.until_ended()
    await call.until_ended()
    assert (call.status, meanwhile.status) == (503, 503)


async def test_a_silent_link_is_found_out(kamailio: KamailioRig, relay: Relay) -> None:
    """Nothing comes any more, and the connection stays."""
    async with Desk(kamailio, relay, LinkTimes(command_ms=1_000, ping_every_ms=100, retry_first_ms=20)) as desk:
        relay.passes = lambda message: 0
        await until(lambda: not desk.switch.state().up)
        assert "no answer in time" in desk.switch.state().detail
        relay.passes = lambda message: 1
        await until(lambda: desk.relinks >= 2)


async def test_every_ping_tells_the_time_there(desk: Desk) -> None:
    """A clock that is set during a talk is found out by them."""
    desk.switch._time._ahead_ms = None
    await until(lambda: desk.switch._time._ahead_ms is not None)


class StalledClock(SystemClock):
    """Of a process that was stopped for `stood_still_ms`."""

    stood_still_ms = 0

    def now(self) -> Instant:
        return super().now().plus_ms(self.stood_still_ms)


async def test_a_talk_while_we_stood_still_lasts_as_kamailio_says(desk: Desk, acme: Phone, carrier: Phone) -> None:
    clock = StalledClock()
    desk.switch._clock = desk.switch._link._clock = clock
    await until(lambda: desk.switch._time._ahead_ms is not None)
    call, _, key = await desk.talking(acme, carrier)
    await until(lambda: desk.told(Answered, key))
    desk.relay.hang()
    await call.hang_up()
    await until(lambda: [told for told in desk.relay.told if told.get("event") == "ended"])
    clock.stood_still_ms = 18_000
    desk.relay.resume()
    await until(lambda: desk.told(Released, key))
    (answered,), (released,) = desk.told(Answered, key), desk.told(Released, key)
    assert released.stated
    assert abs(released.at.since_ms(answered.at) - call.talked_s * 1_000) <= APART_MS
