"""Paid time on a real Asterisk: cut at its end, lengthened by slices and top-ups, kept by the switch alone."""

from tests.control_room import PER_SECOND, ControlRoom
from tests.switches.exactness import CUT_MS, in_time, is_ever_within
from tests.switches.linked import agrees, answered, armed_s, gone, linked, recorded, session, talking
from tests.switches.rig.asterisk import AsteriskRig
from tests.switches.sip.phone import Phone
from tests.waiting import until

SECOND_MS = 1_000
"""So late Asterisk ends a call at most, told to or by itself."""


async def test_a_call_ends_with_its_credit(
    asterisk: AsteriskRig, room: ControlRoom, acme: Phone, carrier: Phone
) -> None:
    await room.furnish(balance=0)
    await linked(room, asterisk)

    async def cut() -> int:
        calls = len(room.cdrs()) + 1
        await room.pay(3 * PER_SECOND)
        call, outgoing = await talking(acme, carrier)
        await call.until_ended()
        await outgoing.until_ended()
        cdr = (await recorded(room, calls))[-1]
        assert in_time(cdr["duration_ms"], 3)
        assert (cdr["charge"], cdr["released_by"], cdr["q850"]) == ("0.0030", "callctl", 16)
        return int(cdr["duration_ms"]) - 3_000

    assert await is_ever_within(cut, -CUT_MS, SECOND_MS)
    balance = await room.balance()
    assert (balance.balance, balance.held, balance.slots) == (0, 0, {})


async def test_a_call_runs_on_from_slice_to_slice(
    asterisk: AsteriskRig, room: ControlRoom, acme: Phone, carrier: Phone
) -> None:
    await room.furnish()
    pbx1 = await linked(room, asterisk)
    call, _ = await talking(acme, carrier)
    first = await session(room)
    assert first.first_granted_s == 6
    await until(lambda: room.calls.live()[0].granted_s > 6)
    left_s = await armed_s(pbx1, first.call, more_than_s=first.first_granted_s)
    assert max(left_s) <= room.calls.live()[0].granted_s
    await call.ear.until_heard(lambda heard: heard.tones == (600,), since=(call.answered_at or 0) + 6.5)
    assert not any(heard.silent for heard in call.heard[1:])
    await call.hang_up()
    (cdr,) = await recorded(room)
    assert cdr["duration_ms"] > 6_500
    assert cdr["released_by"] == "caller"
    assert (await room.balance()).balance == 10_000_000 - cdr["billed_s"] * PER_SECOND


async def test_a_top_up_lengthens_the_call(
    asterisk: AsteriskRig, room: ControlRoom, acme: Phone, carrier: Phone
) -> None:
    await room.furnish(balance=3 * PER_SECOND)
    await linked(room, asterisk)
    call, _ = await talking(acme, carrier)
    await call.ear.until_heard(lambda heard: heard.tones == (600,))
    await room.pay(2 * PER_SECOND)
    await call.until_ended()
    (cdr,) = await recorded(room)
    assert in_time(cdr["duration_ms"], 5)
    assert cdr["charge"] == "0.0050"
    assert (await room.balance()).balance == 0


async def test_ten_calls_share_what_there_is(
    asterisk: AsteriskRig, room: ControlRoom, acme: Phone, carrier: Phone
) -> None:
    """A balance for 12 s, 6 s at first for each: two calls talk, and when they are cut nothing is owed."""
    await room.furnish(balance=12 * PER_SECOND)
    await linked(room, asterisk)
    calls = [await acme.call(f"+3161234567{n}") for n in range(10)]
    for call in calls:
        await call.until_ended()
    cdrs = await recorded(room, 10)
    assert {cdr["sip_code"] for cdr in cdrs if cdr["verdict"] == "refused"} <= {402}
    spent = sum(cdr["billed_s"] for cdr in cdrs) * PER_SECOND
    balance = await room.balance()
    assert (balance.balance, balance.held, balance.slots) == (12 * PER_SECOND - spent, 0, {})
    assert 0 <= balance.balance <= PER_SECOND


async def test_a_call_that_rings_too_long_is_given_up(
    asterisk: AsteriskRig, room: ControlRoom, acme: Phone, carrier: Phone
) -> None:
    carrier.answer_calls(after_s=60)
    room.policy = type(room.policy)(setup_timeout_s=1)
    await room.furnish()
    await linked(room, asterisk)
    call = await acme.call("+31612345678")
    await call.until_ended()
    assert call.status == 480
    (cdr,) = await recorded(room)
    assert (cdr["charge"], cdr["duration_ms"], cdr["answer_time"]) == ("0.0000", 0, None)
    assert (await room.balance()).held == 0


# -------------------------------------------------------------------- callctl dies


async def test_the_switch_ends_the_talk_when_callctl_is_dead(
    asterisk: AsteriskRig, room: ControlRoom, acme: Phone, carrier: Phone
) -> None:
    await room.furnish(balance=0)

    async def ended() -> float:
        calls = len(room.cdrs()) + 1
        await linked(room, asterisk)
        await room.pay(3 * PER_SECOND)
        call, outgoing = await talking(acme, carrier)
        await answered(room)
        await room.kill()
        await call.until_ended()
        await outgoing.until_ended()
        assert in_time(call.talked_s * 1_000, 3)
        await linked(room, asterisk)
        cdr = (await recorded(room, calls))[-1]
        assert (cdr["charge"], cdr["estimated"]) == ("0.0030", True)
        await room.kill()
        return call.talked_s * 1_000 - 3_000

    assert await is_ever_within(ended, -CUT_MS, SECOND_MS)
    balance = await room.balance()
    assert (balance.balance, balance.held, balance.slots) == (0, 0, {})


async def test_the_grant_counts_from_an_answer_that_callctl_did_not_live_to_see(
    asterisk: AsteriskRig, room: ControlRoom, acme: Phone, carrier: Phone
) -> None:
    carrier.answer_calls(after_s=1.5)
    await room.furnish(balance=2 * PER_SECOND)
    await linked(room, asterisk)
    call = await acme.call("+31612345678")
    outgoing = await carrier.next_call()
    await until(lambda: 180 in call.provisional)
    await room.kill()
    await call.until_answered()
    await call.until_ended()
    await outgoing.until_ended()
    assert in_time(call.talked_s * 1_000, 2)


async def test_a_call_is_taken_over_by_the_next_process(
    asterisk: AsteriskRig, room: ControlRoom, acme: Phone, carrier: Phone
) -> None:
    await room.furnish()
    await linked(room, asterisk)
    call, outgoing = await talking(acme, carrier)
    before = await answered(room)
    await room.kill()
    pbx1 = await linked(room, asterisk)
    after = await session(room)
    assert after.call == before.call
    assert after.answered is not None
    await until(lambda: room.calls.live()[0].granted_s > 6)  # it goes on to hold slices
    await armed_s(pbx1, after.call)
    await call.hang_up()
    await outgoing.until_ended()
    (cdr,) = await recorded(room)
    assert (cdr["estimated"], cdr["released_by"]) == (False, "caller")
    assert agrees(cdr, call)
    await gone(asterisk)


async def test_an_answer_while_nobody_listened_is_found_in_the_list(
    asterisk: AsteriskRig, room: ControlRoom, acme: Phone, carrier: Phone
) -> None:
    carrier.answer_calls(after_s=1)
    await room.furnish()
    await linked(room, asterisk)
    call = await acme.call("+31612345678")
    await until(lambda: 180 in call.provisional)
    await room.kill()
    await call.until_answered()
    await linked(room, asterisk)
    await answered(room)
    await call.hang_up()
    (cdr,) = await recorded(room)
    assert cdr["estimated"] is False
    assert agrees(cdr, call)


async def test_a_call_that_ended_meanwhile_is_settled_once(
    asterisk: AsteriskRig, room: ControlRoom, acme: Phone, carrier: Phone
) -> None:
    await room.furnish()
    await linked(room, asterisk)
    call, outgoing = await talking(acme, carrier)
    await answered(room)
    await room.kill()
    await call.hang_up()
    await outgoing.until_ended()
    await gone(asterisk)
    for _ in range(2):
        await linked(room, asterisk)
        (cdr,) = await recorded(room)
        await room.kill()
    assert cdr["estimated"] is True
    assert cdr["billed_s"] <= 6
    assert (await room.balance()).held == 0
