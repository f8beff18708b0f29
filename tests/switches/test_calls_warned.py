"""The low-credit warning on a real Asterisk, as each side hears it."""

import pytest

from callctl.accounts import Warnings, WarnTo
from tests.control_room import PER_SECOND, ControlRoom
from tests.switches.exactness import in_time
from tests.switches.linked import gone, linked, recorded, talking
from tests.switches.rig.asterisk import AsteriskRig
from tests.switches.sip.phone import Phone


@pytest.mark.parametrize("to", WarnTo)
async def test_a_warning_is_heard_by_whom_it_is_meant_for(
    asterisk: AsteriskRig, room: ControlRoom, acme: Phone, carrier: Phone, to: WarnTo
) -> None:
    await room.furnish(balance=5 * PER_SECOND, warnings=Warnings(seconds=(3,), to=to))
    await linked(room, asterisk, sounds={3: "vm-goodbye"})
    call, outgoing = await talking(acme, carrier)
    await call.until_ended()
    await outgoing.until_ended()
    heard_by = {
        side for side, ear in (("caller", call.ear), ("callee", outgoing.ear)) if any(h.voice for h in ear.heard())
    }
    assert heard_by == {WarnTo.CALLER: {"caller"}, WarnTo.CALLEE: {"callee"}, WarnTo.BOTH: {"caller", "callee"}}[to]
    first = min(heard.at for ear in (call.ear, outgoing.ear) for heard in ear.heard() if heard.voice)
    assert in_time((first - (call.answered_at or 0)) * 1_000, 2)
    assert not any(heard.silent for heard in (*call.heard[1:-1], *outgoing.heard[1:-1]))  # the talk goes on
    (cdr,) = await recorded(room)
    assert cdr["charge"] == "0.0050"  # the warning costs nothing and adds nothing
    await gone(asterisk)


async def test_a_sound_that_does_not_exist_does_no_harm(
    asterisk: AsteriskRig, room: ControlRoom, acme: Phone, carrier: Phone
) -> None:
    await room.furnish(balance=3 * PER_SECOND, warnings=Warnings(seconds=(2,), to=WarnTo.BOTH))
    await linked(room, asterisk, sounds={2: "no/such/sound"})
    call, outgoing = await talking(acme, carrier)
    await call.until_ended()
    await outgoing.until_ended()
    assert not any(heard.silent for heard in call.heard[1:-1])
    (cdr,) = await recorded(room)
    assert cdr["charge"] == "0.0030"
    await gone(asterisk)
