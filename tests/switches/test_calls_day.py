"""What a day brings: early media, hold, pickup, parking, files that are read anew, restarts. On a real Asterisk."""

import asyncio
from collections.abc import Iterator

import pytest

from tests.control_room import PER_SECOND, ControlRoom
from tests.switches.exactness import in_time
from tests.switches.linked import NUMBER, agrees, answered, gone, linked, recorded, session, talking
from tests.switches.rig.asterisk import GLOBEX, AsteriskRig
from tests.switches.rig.manager import Manager
from tests.switches.sip.call import Call
from tests.switches.sip.phone import Phone
from tests.waiting import until

HOME = "+31201234567"
CREDIT_S = 4
EARLY_S = 2


def speaks_before(phone: Phone, status: int) -> None:
    """Later calls hear something, and then have this answer."""

    async def policy(call: Call) -> None:
        call.progress()
        await asyncio.sleep(EARLY_S)
        if status == 200:
            await call.answer()
        else:
            call.refuse(status)

    phone._policy = policy


async def heard_early(asterisk: AsteriskRig, room: ControlRoom, acme: Phone, carrier: Phone, status: int) -> Call:
    """A call whose caller hears what the carrier says before it answers with `status`."""
    speaks_before(carrier, status)
    await room.furnish()
    await linked(room, asterisk)
    call = await acme.call(NUMBER)
    await call.ear.until_heard(lambda heard: heard.tones == (600,))
    return call


async def test_what_is_heard_before_the_answer_costs_nothing(
    asterisk: AsteriskRig, room: ControlRoom, acme: Phone, carrier: Phone
) -> None:
    call = await heard_early(asterisk, room, acme, carrier, 200)
    assert (await session(room)).alerting is not None
    await call.until_answered()
    await answered(room)
    await call.hang_up()
    (cdr,) = await recorded(room)
    assert agrees(cdr, call)
    assert cdr["ring_s"] >= EARLY_S - 1
    await gone(asterisk)


async def test_an_announcement_of_the_carrier_is_heard_and_costs_nothing(
    asterisk: AsteriskRig, room: ControlRoom, acme: Phone, carrier: Phone
) -> None:
    call = await heard_early(asterisk, room, acme, carrier, 404)
    await call.until_ended()
    (cdr,) = await recorded(room)
    assert (cdr["charge"], cdr["answer_time"], cdr["q850"], call.status) == ("0.0000", None, 1, 404)
    assert (await room.balance()).held == 0


@pytest.mark.parametrize("by", ["caller", "callee"])
async def test_a_call_on_hold_is_charged_on_and_ends_with_its_credit(
    asterisk: AsteriskRig, room: ControlRoom, acme: Phone, carrier: Phone, by: str
) -> None:
    await room.furnish(balance=CREDIT_S * PER_SECOND)
    await linked(room, asterisk)
    call, outgoing = await talking(acme, carrier)
    await answered(room)
    holder, asked = (call, 1) if by == "caller" else (outgoing, 0)
    for held in (True, False):
        holder.hold(held=held)
        asked += 1
        await until(lambda: len(holder.answers_to("INVITE")) == asked)  # noqa: B023  asked in this very turn
    await call.until_ended()
    await outgoing.until_ended()
    (cdr,) = await recorded(room)
    assert agrees(cdr, call)
    assert in_time(cdr["duration_ms"], CREDIT_S)
    assert (cdr["charge"], cdr["released_by"]) == ("0.0040", "callctl")


@pytest.mark.parametrize("command", ["core reload", "module reload res_pjsip.so", "manager reload"])
async def test_calls_go_on_while_files_are_read_anew(
    asterisk: AsteriskRig, room: ControlRoom, acme: Phone, carrier: Phone, command: str
) -> None:
    await room.furnish()
    pbx1 = await linked(room, asterisk)
    call, _ = await talking(acme, carrier)
    up = await answered(room)
    await asyncio.to_thread(asterisk.cli, command)
    await until(lambda: room.calls.live()[0].granted_s > up.granted_s)
    another, _ = await talking(acme, carrier)
    await another.hang_up()
    await recorded(room)
    await call.hang_up()
    assert agrees((await recorded(room, 2))[1], call)
    assert pbx1.state().detail == "up"
    await gone(asterisk)


@pytest.mark.parametrize("command", ["core restart now", "core stop gracefully"])
async def test_a_restart_in_order_tells_the_ends(
    asterisk: AsteriskRig, room: ControlRoom, acme: Phone, carrier: Phone, command: str
) -> None:
    await room.furnish()
    pbx1 = await linked(room, asterisk)
    call, _ = await talking(acme, carrier)
    await answered(room)
    restarting = asyncio.create_task(asyncio.to_thread(asterisk.cli, command))
    if command == "core stop gracefully":
        await call.hang_up()
    await call.until_ended()
    await until(lambda: not pbx1.state().up)
    await restarting
    if command == "core stop gracefully":
        asterisk.stop()
        asterisk.start()  # in no other thread: it dies with the one that has started it
    await until(lambda: pbx1.state().up)
    await asyncio.to_thread(asterisk.cli, "core waitfullybooted")
    (cdr,) = await recorded(room)
    assert agrees(cdr, call)
    assert not cdr["estimated"]
    again, _ = await talking(acme, carrier)
    await again.hang_up()
    await recorded(room, 2)


async def test_a_call_that_another_phone_picks_up_is_that_phones(
    asterisk: AsteriskRig, room: ControlRoom, acme: Phone, carrier: Phone
) -> None:
    asterisk.cli("module load app_directed_pickup.so")
    asterisk.cli(f"dialplan add extension *9,1,Pickup({HOME}@callctl-out) into callctl-out")
    await room.furnish(numbers=(HOME,))
    await linked(room, asterisk)
    async with Phone(GLOBEX, asterisk.sip_address, port=asterisk.peer_port, tone_hz=1_000) as globex:
        call = await carrier.call(HOME)
        await until(lambda: 180 in call.provisional)
        taking = await globex.call("*9")
        await taking.until_answered()
        await call.ear.until_heard(lambda heard: heard.tones == (1_000,))
        await answered(room)
        await taking.hang_up()
        await call.until_ended()
    (cdr,) = await recorded(room)
    assert agrees(cdr, call)
    assert (cdr["direction"], cdr["released_by"]) == ("inbound", "callee")
    asterisk.cli("dialplan reload")
    await gone(asterisk)


@pytest.fixture
def parking(asterisk: AsteriskRig) -> Iterator[None]:
    """A parking lot, and 7701 to fetch the first one there."""
    lot = "[default]\nparkpos => 701-720\ncontext => parked\nparkingtime => 3\ncomebacktoorigin = no\n"
    (asterisk.etc / "res_parking.conf").write_text(lot)
    for module in ("bridge_holding.so", "bridge_builtin_features.so", "res_parking.so"):
        asterisk.cli(f"module load {module}")
    asterisk.cli("dialplan add extension 7701,1,ParkedCall(default,701) into callctl-out")
    yield
    asterisk.cli("dialplan reload")


@pytest.mark.usefixtures("parking")
@pytest.mark.parametrize("then", ["is forgotten", "is fetched", "runs out of credit"])
async def test_a_parked_call_is_charged_until_the_carriers_leg_ends(
    asterisk: AsteriskRig, room: ControlRoom, acme: Phone, carrier: Phone, then: str
) -> None:
    """Its own caller is gone then. Who fetches it talks with the carrier's leg."""
    await room.furnish(balance=(2 if then == "runs out of credit" else 1_000) * PER_SECOND)
    pbx1 = await linked(room, asterisk)
    call, outgoing = await talking(acme, carrier)
    up = await answered(room)
    legs = pbx1._calls.legs(up.call.call_id)
    assert legs is not None
    named = asterisk.cli("core show channels concise").split()
    leg = next(line.partition("!")[0] for line in named if line.startswith("PJSIP/carrier-a"))
    async with Manager(asterisk, "observer", "observer") as observer:
        await observer.ask("Park", Channel=leg, TimeoutChannel=legs.channel)
    await call.until_ended()
    if then == "is fetched":
        fetching = await acme.call("7701")
        await fetching.ear.until_heard(lambda heard: heard.tones == (600,))
        await until(lambda: room.calls.live()[0].granted_s > up.granted_s)
        await fetching.hang_up()
    await outgoing.until_ended()
    (cdr,) = await recorded(room)
    assert agrees(cdr, outgoing)
    assert cdr["charge"] == ("0.0020" if then == "runs out of credit" else f"{cdr['billed_s'] / 1_000:.4f}")
    await gone(asterisk)
