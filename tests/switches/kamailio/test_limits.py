"""Paid time on the real Kamailio: cut at its end, lengthened by slices and top-ups, kept by Kamailio alone."""

import pytest

from callctl.call.admission import Policy
from callctl.call.events import CallKey, HangUpAsked, Released, ReleasedBy
from callctl.limits.concurrency import Caps
from tests.control_room import EURO, PER_SECOND, ControlRoom
from tests.switches.exactness import ALONE_MS, CUT_MS, in_time, is_ever_within
from tests.switches.kamailio.desk import NUMBER, Desk, furnish, linked, recorded, talking
from tests.switches.rig.kamailio import KamailioRig
from tests.switches.sip.phone import Phone
from tests.waiting import until

FROM_MS, TO_MS = 300 - CUT_MS, 600 + CUT_MS
"""After its paid time a call is ended by Kamailio alone (`docs/adapters.md`)."""


async def test_a_call_is_charged_as_it_was(
    kamailio: KamailioRig, room: ControlRoom, acme: Phone, carrier: Phone
) -> None:
    await furnish(room)
    await linked(room, kamailio.link_port)
    call, _ = await talking(room, acme, carrier)
    await call.hang_up()
    (cdr,) = await recorded(room)
    assert (cdr["verdict"], cdr["released_by"], cdr["from"], cdr["to"]) == ("allowed", "caller", "+31201234567", NUMBER)
    assert cdr["call_id"].startswith(f"{call.call_id};")
    assert cdr["charge"] == f"{cdr['billed_s'] / 1000:.4f}"
    balance = await room.balance()
    assert (balance.balance, balance.held) == (10 * EURO - cdr["billed_s"] * PER_SECOND, 0)


@pytest.mark.parametrize(
    ("fields", "status", "refusal"),
    [
        ({"balance": 0}, 402, "no_credit"),
        ({"caps": Caps(outbound=0)}, 503, "channel_limit"),
    ],
)
async def test_call_control_refuses(
    kamailio: KamailioRig, room: ControlRoom, acme: Phone, fields: dict[str, object], status: int, refusal: str
) -> None:
    await furnish(room, **fields)
    await linked(room, kamailio.link_port)
    call = await acme.call(NUMBER)
    await call.until_ended()
    assert call.status == status
    (cdr,) = await recorded(room)
    assert (cdr["refusal"], cdr["sip_code"]) == (refusal, status)


async def test_a_call_from_nowhere_known_is_refused(kamailio: KamailioRig, room: ControlRoom, acme: Phone) -> None:
    await linked(room, kamailio.link_port)
    call = await acme.call(NUMBER)
    await call.until_ended()
    assert call.status == 403


async def test_a_call_is_cut_within_a_tenth_of_the_paid_second(
    kamailio: KamailioRig, room: ControlRoom, acme: Phone, carrier: Phone
) -> None:
    await furnish(room, balance=0)
    await linked(room, kamailio.link_port)

    async def cut() -> float:
        calls = len(room.cdrs()) + 1
        await room.pay(3 * PER_SECOND)
        call, outgoing = await talking(room, acme, carrier)
        await call.until_ended()
        await outgoing.until_ended()
        cdr = (await recorded(room, calls))[-1]
        assert in_time(call.talked_s * 1_000, 3)
        assert (cdr["charge"], cdr["released_by"], cdr["q850"]) == ("0.0030", "callctl", 16)
        return max(call.talked_s * 1_000 - 3_000, cdr["duration_ms"] - 3_000, key=abs)

    assert await is_ever_within(cut, -CUT_MS, CUT_MS)
    balance = await room.balance()
    assert (balance.balance, balance.held, balance.slots) == (0, 0, {})


async def test_a_call_runs_on_from_slice_to_slice(
    kamailio: KamailioRig, room: ControlRoom, acme: Phone, carrier: Phone
) -> None:
    """Kamailio's timer, too, is moved."""
    room.policy = Policy(slice_first_s=2)
    await furnish(room)
    await linked(room, kamailio.link_port)
    call, _ = await talking(room, acme, carrier)
    (session,) = room.calls.live()
    assert session.first_granted_s == 2
    answered = session.answered
    assert answered is not None
    await until(lambda: room.clock.now().since_ms(answered) > 2_000 + ALONE_MS)
    assert call.ended_at is None
    await call.hang_up()
    (cdr,) = await recorded(room)
    assert cdr["released_by"] == "caller"
    assert (await room.balance()).balance == 10 * EURO - cdr["billed_s"] * PER_SECOND


async def test_a_top_up_lengthens_the_call(
    kamailio: KamailioRig, room: ControlRoom, acme: Phone, carrier: Phone
) -> None:
    await furnish(room, balance=2 * PER_SECOND)
    await linked(room, kamailio.link_port)
    call, _ = await talking(room, acme, carrier)
    await room.pay(2 * PER_SECOND)
    await call.until_ended()
    assert in_time(call.talked_s * 1_000, 4)
    (cdr,) = await recorded(room)
    assert cdr["charge"] == "0.0040"
    assert (await room.balance()).balance == 0


async def test_an_operator_hangs_up(kamailio: KamailioRig, room: ControlRoom, acme: Phone, carrier: Phone) -> None:
    await furnish(room)
    await linked(room, kamailio.link_port)
    call, outgoing = await talking(room, acme, carrier)
    (session,) = room.calls.live()
    await room.calls.report(HangUpAsked(session.call))
    await call.until_ended()
    await outgoing.until_ended()
    (cdr,) = await recorded(room)
    assert cdr["released_by"] == "callctl"


# -------------------------------------------------------------------- Kamailio alone


async def test_kamailio_ends_the_talk_when_callctl_is_dead(
    kamailio: KamailioRig, room: ControlRoom, acme: Phone, carrier: Phone
) -> None:
    """However often its parties send a re-INVITE."""
    await furnish(room, balance=3 * PER_SECOND)
    await linked(room, kamailio.link_port)
    call, outgoing = await talking(room, acme, carrier)
    await room.kill()
    for answers in (2, 3, 4):
        call.offer_again()
        await until(lambda answers=answers: len(call.answers_to("INVITE")) >= answers)
    assert set(call.answers_to("INVITE")) == {200}
    await call.until_ended()
    await outgoing.until_ended()
    assert in_time(call.talked_s * 1_000, 3, ALONE_MS)
    await linked(room, kamailio.link_port)
    (cdr,) = await recorded(room)
    assert (cdr["charge"], (await room.balance()).balance) == ("0.0030", 0)


async def test_a_re_invite_late_in_the_call_gives_no_more_time(desk: Desk, acme: Phone, carrier: Phone) -> None:
    call, outgoing, key = await desk.talking(acme, carrier, granted_s=2)
    (answered,) = [at for at in [call.answered_at] if at]
    await until(lambda: desk.switch._clock.now().wall_ms > (answered + 1.8) * 1000)
    call.offer_again()
    await call.until_ended()
    await outgoing.until_ended()
    assert in_time(call.talked_s * 1_000, 2, ALONE_MS)
    await until(lambda: desk.told(Released, key))
    assert desk.told(Released, key)[0].released_by is ReleasedBy.CALLCTL


async def test_the_timer_is_set_anew_from_now(desk: Desk, acme: Phone, carrier: Phone) -> None:
    call, _, key = await desk.talking(acme, carrier)
    await desk.switch.arm(key, 1_000)
    await call.until_ended()
    assert in_time(call.talked_s * 1_000, 1, ALONE_MS)


async def arm(desk: Desk, key: CallKey, ms: int) -> None:
    """Kamailio's timer of the dialog is set far away: only its tenths of a second end the call."""
    leg = desk.switch._leg(key)
    await desk.switch._command("arm", call=leg.call, h_entry=leg.h_entry, h_id=leg.h_id, ms=ms, seconds=60)


async def test_the_paid_time_is_counted_in_tenths(desk: Desk, acme: Phone, carrier: Phone) -> None:
    async def ended() -> float:
        call, outgoing, key = await desk.talking(acme, carrier)
        due_ms = desk.switch._clock.now().wall_ms + 1_200
        await arm(desk, key, 1_200)
        await call.until_ended()
        await outgoing.until_ended()
        await until(lambda: desk.told(Released, key))
        (released,) = desk.told(Released, key)
        assert (released.released_by, released.answered_at is not None) == (ReleasedBy.CALLCTL, True)
        late_ms = (call.ended_at or 0) * 1_000 - due_ms
        assert late_ms > 0
        return late_ms

    assert await is_ever_within(ended, FROM_MS, TO_MS)


async def test_so_is_the_grant_from_the_answer_on(
    desk: Desk, acme: Phone, carrier: Phone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("callctl.adapters.kamailio.switch.TIMER_MARGIN_S", 60)  # so that its timer ends no call

    async def ended() -> float:
        call, outgoing, _ = await desk.talking(acme, carrier, granted_s=1)
        await call.until_ended()
        await outgoing.until_ended()
        return call.talked_s * 1_000 - 1_000

    assert await is_ever_within(ended, FROM_MS, TO_MS)


async def test_of_several_ends_the_last_that_was_set_counts(desk: Desk, acme: Phone, carrier: Phone) -> None:
    longer, _, key = await desk.talking(acme, carrier)
    shorter, _, other = await desk.talking(acme, carrier)
    await arm(desk, key, 2_000)  # long enough for the next command
    await arm(desk, key, 60_000)
    await arm(desk, other, 60_000)
    await arm(desk, other, 2_500)  # the tenth in which the longer one would have ended is over before
    await shorter.until_ended()
    assert longer.ended_at is None
    await longer.hang_up()
