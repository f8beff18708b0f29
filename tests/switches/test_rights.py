"""What callctl finds out about its own manager user on a real Asterisk."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from callctl.adapters.asterisk.rights import NO_CALLS, NO_COMMANDS, NO_FILTER, NO_NAMES, NO_OFFERS, NO_TIMES, SHARED
from tests.control_room import ControlRoom
from tests.switches.linked import agrees, answered, gone, linked, recorded, switch, talking
from tests.switches.rig.asterisk import AsteriskRig
from tests.switches.sip.phone import Phone
from tests.waiting import until


async def test_the_user_that_is_shipped_lacks_nothing(
    asterisk: AsteriskRig, room: ControlRoom, acme: Phone, carrier: Phone
) -> None:
    await room.furnish()
    with capture_logs() as logs:
        pbx1 = await linked(room, asterisk)
        call, _ = await talking(acme, carrier)
        await answered(room)
        await pbx1.live_calls()
        await call.hang_up()
        await recorded(room)
    assert (pbx1.state().up, pbx1.state().detail) == (True, "up")
    assert pbx1.capabilities.warns
    assert not [log for log in logs if "rights" in log["event"]]
    await gone(asterisk)


@pytest.mark.parametrize(("user", "fault"), [("no-commands", NO_COMMANDS), ("no-offers", NO_OFFERS)])
async def test_a_right_that_is_missing_makes_the_switch_unready(
    asterisk: AsteriskRig, room: ControlRoom, user: str, fault: str
) -> None:
    with capture_logs() as logs:
        pbx1 = switch(asterisk, username=user, secret=user)
        await room.start(pbx1)
        await until(lambda: pbx1.state().detail == fault)
    assert not pbx1.state().up
    assert [log["fault"] for log in logs if log["log_level"] == "error"] == [fault]


async def test_who_hears_nothing_of_calls_learns_it_from_the_list(
    asterisk: AsteriskRig, room: ControlRoom, acme: Phone, carrier: Phone
) -> None:
    await room.furnish()
    pbx1 = await linked(room, asterisk, username="no-calls", secret="no-calls")
    await until(lambda: "pbx1" in room.relinked)
    call, _ = await talking(acme, carrier)
    await call.ear.until_heard(lambda heard: heard.tones == (600,), since=(call.answered_at or 0) + 1)
    await pbx1.live_calls()
    assert (pbx1.state().up, pbx1.state().detail) == (False, NO_CALLS)
    await call.hang_up()
    await gone(asterisk)


async def test_a_user_without_the_filter_is_dangerous(
    asterisk: AsteriskRig, room: ControlRoom, acme: Phone, carrier: Phone
) -> None:
    await room.furnish()
    pbx1 = await linked(room, asterisk, username="listener", secret="listener")
    call, _ = await talking(acme, carrier)
    assert (pbx1.state().up, pbx1.state().detail) == (True, NO_FILTER)
    await call.hang_up()
    await recorded(room)


@pytest.fixture
def unlike(asterisk: AsteriskRig) -> Iterator[Callable[[str], None]]:
    """Changes a line of the general part of manager.conf."""
    own = asterisk.etc / "manager.local.conf"
    shipped = own.read_text()

    def change(line: str) -> None:
        own.write_text(f"{shipped}\n[general](+)\n{line}\n")
        asterisk.cli("manager reload")

    yield change
    own.write_text(shipped)
    asterisk.cli("manager reload")


@pytest.mark.parametrize(("line", "fault"), [("timestampevents = no", NO_TIMES), ("channelvars = CC_ACCT", NO_NAMES)])
async def test_what_manager_conf_leaves_out_is_said_and_calls_go_on(
    asterisk: AsteriskRig,
    room: ControlRoom,
    acme: Phone,
    carrier: Phone,
    unlike: Callable[[str], None],
    line: str,
    fault: str,
) -> None:
    unlike(line)
    await room.furnish()
    pbx1 = await linked(room, asterisk)
    call, _ = await talking(acme, carrier)
    await answered(room)
    await call.hang_up()
    (cdr,) = await recorded(room)
    assert agrees(cdr, call)
    assert (pbx1.state().up, pbx1.state().detail) == (True, fault)


async def test_a_user_that_may_not_originate_cannot_warn(asterisk: AsteriskRig, room: ControlRoom) -> None:
    pbx1 = await linked(room, asterisk, username="no-warnings", secret="no-warnings")
    await until(lambda: pbx1.capabilities.warns == ())
    assert pbx1.state().up


async def test_two_that_answer_for_one_switch_both_say_so(
    asterisk: AsteriskRig, room: ControlRoom, tmp_path: Path
) -> None:
    pbx1 = await linked(room, asterisk)
    await until(lambda: pbx1._rights._may_speak)
    async with ControlRoom(tmp_path / "another") as another:
        other = await linked(another, asterisk)
        await until(lambda: pbx1.state().detail == SHARED)
        await pbx1.live_calls()
        await until(lambda: other.state().detail == SHARED)
