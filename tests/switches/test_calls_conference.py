"""Talks in a conference, and calls that ring at several phones at once: one leg is charged. On a real Asterisk."""

import time
from collections.abc import Iterator

import pytest

from callctl.adapters.asterisk.switch import Contexts
from tests.control_room import EURO, PER_SECOND, ControlRoom
from tests.switches.exactness import in_time
from tests.switches.linked import NUMBER, agrees, answered, gone, linked, recorded, talking
from tests.switches.rig.asterisk import AsteriskRig
from tests.switches.rig.manager import Manager
from tests.switches.sip.phone import Phone
from tests.waiting import until

ROOM = "600"
CREDIT_S = 4
PLACE = {"Context": "callctl-out", "Exten": ROOM, "Priority": "1"}


@pytest.fixture
def conference(asterisk: AsteriskRig) -> Iterator[None]:
    """A conference of one's own at ROOM, and a context in which it invites outside numbers for acme."""
    (asterisk.etc / "confbridge.conf").write_text("[default_user]\ntype=user\nquiet=yes\n")
    asterisk.cli("module load app_confbridge.so")
    asterisk.cli(f"dialplan add extension {ROOM},1,Answer, into callctl-out")
    asterisk.cli(f"dialplan add extension {ROOM},2,ConfBridge,{ROOM} into callctl-out")
    asterisk.cli("dialplan add extension _+X.,1,Set(CHANNEL(accountcode)=acme) into invite")
    asterisk.cli("dialplan add extension _+X.,2,Goto,callctl-out,${EXTEN},1 into invite")
    yield
    asterisk.cli("dialplan reload")


async def furnish(room: ControlRoom, by: str) -> None:
    await room.furnish(balance=CREDIT_S * PER_SECOND if by == "credit" else EURO)


@pytest.mark.usefixtures("conference")
@pytest.mark.parametrize(("options", "by"), [("/n", "callee"), ("/n", "credit"), ("", "callee"), ("", "credit")])
async def test_an_outside_number_in_a_conference_is_charged_once_and_cut_on_time(
    asterisk: AsteriskRig, room: ControlRoom, acme: Phone, carrier: Phone, options: str, by: str
) -> None:
    """The Local channel between may be taken out or not."""
    await furnish(room, by)
    await linked(room, asterisk)
    host = await acme.call(ROOM)
    await host.until_answered()
    async with Manager(asterisk, "observer", "observer") as observer:
        asked = {"Channel": f"Local/{NUMBER}@invite{options}", "Application": "ConfBridge", "Data": ROOM}
        assert (await observer.ask("Originate", **asked, Async="true"))["Response"] == "Success"
    guest = await carrier.next_call()
    await host.ear.until_heard(lambda heard: heard.tones == (600,))
    await guest.ear.until_heard(lambda heard: heard.tones == (400,))
    if by == "callee":
        await answered(room)
        await guest.hang_up()
    await guest.until_ended()
    (cdr,) = await recorded(room)
    assert agrees(cdr, guest)
    assert by != "credit" or (in_time(cdr["duration_ms"], CREDIT_S) and cdr["charge"] == "0.0040")
    await host.hang_up()
    await gone(asterisk)


@pytest.mark.usefixtures("conference")
@pytest.mark.parametrize("by", ["caller", "callee", "credit"])
async def test_a_talk_that_is_moved_into_a_conference_is_charged_until_the_carriers_leg_leaves_it(
    asterisk: AsteriskRig, room: ControlRoom, acme: Phone, carrier: Phone, by: str
) -> None:
    await furnish(room, by)
    pbx1 = await linked(room, asterisk)
    call, outgoing = await talking(acme, carrier)
    legs = pbx1._calls.legs((await answered(room)).call.call_id)
    assert legs is not None
    assert legs.carrier is not None
    async with Manager(asterisk, "observer", "observer") as observer:
        moved = {"Channel": legs.ingress, "ExtraChannel": legs.carrier, **PLACE}
        moved |= {f"Extra{name}": value for name, value in PLACE.items()}
        assert (await observer.ask("Redirect", **moved))["Response"] == "Success"
    await until(lambda: asterisk.cli(f"confbridge list {ROOM}").count("PJSIP/") == 2)
    await call.ear.until_heard(lambda heard: heard.tones == (600,), since=time.time())
    if by == "caller":
        await call.hang_up()
        await until(lambda: asterisk.cli(f"confbridge list {ROOM}").count("PJSIP/") == 1)
    if by != "credit":
        await outgoing.hang_up()
    await outgoing.until_ended()
    (cdr,) = await recorded(room)
    assert agrees(cdr, outgoing)
    assert by != "credit" or (in_time(cdr["duration_ms"], CREDIT_S) and cdr["charge"] == "0.0040")
    await call.hang_up()
    await gone(asterisk)


@pytest.fixture
def fork(asterisk: AsteriskRig) -> Iterator[str]:
    """A context that rings at both carriers at once."""
    legs = "&".join(f"PJSIP/{NUMBER}@{endpoint}" for endpoint in ("carrier-a", "carrier-b"))
    asterisk.cli(f"dialplan add extension {NUMBER},1,Dial({legs},60,iU(callctl-armed^${{CC_GRANT}})) into fork")
    yield "fork"
    asterisk.cli("dialplan reload")


@pytest.mark.parametrize(("by", "other_answers_s"), [("caller", 60), ("callee", 0.3), ("credit", 0.3)])
async def test_of_phones_that_ring_at_once_the_one_that_answers_is_charged(
    asterisk: AsteriskRig,
    fork: str,
    room: ControlRoom,
    acme: Phone,
    carrier: Phone,
    second_carrier: Phone,
    by: str,
    other_answers_s: float,
) -> None:
    """Where both answer at once, too."""
    carrier.answer_calls(after_s=0.3)
    second_carrier.answer_calls(after_s=other_answers_s)
    await furnish(room, by)
    await linked(room, asterisk, contexts=Contexts(dial=fork))
    call = await acme.call(NUMBER)
    await call.until_answered()
    legs = [await carrier.next_call(), await second_carrier.next_call()]
    await until(lambda: any(leg.ended_at is not None for leg in legs))
    (won,) = [leg for leg in legs if leg.ended_at is None]
    if by != "credit":
        await answered(room)
        await (call if by == "caller" else won).hang_up()
    await won.until_ended()
    (cdr,) = await recorded(room)
    assert agrees(cdr, won)
    assert cdr["released_by"] == ("callctl" if by == "credit" else by)
    assert by != "credit" or (in_time(cdr["duration_ms"], CREDIT_S) and cdr["charge"] == "0.0040")
    await gone(asterisk)
