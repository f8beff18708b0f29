"""Which carrier answered tells what a call cost: on a real Asterisk that tries one after the other."""

import pytest

from callctl.accounts import Trunk
from callctl.rating.tariff import Plan, Row
from tests.control_room import ControlRoom
from tests.switches.linked import linked, recorded, talking
from tests.switches.rig.asterisk import AsteriskRig
from tests.switches.sip.phone import Phone

OWN, ROOTS = ("dear", "31"), ("cheap", "default")


@pytest.mark.parametrize(
    ("switch", "bought"), [(None, OWN), ("pbx1", OWN), ("pbx2", ROOTS)], ids=["any switch", "this", "another"]
)
async def test_the_carrier_that_took_over_is_the_one_that_is_paid(
    asterisk: AsteriskRig,
    room: ControlRoom,
    acme: Phone,
    carrier: Phone,
    second_carrier: Phone,
    switch: str | None,
    bought: tuple[str, str],
) -> None:
    for plan, prefix, per_minute in (("cheap", "", 1_000_000), ("dear", "31", 3_000_000)):
        await room.definitions.put_plan(Plan(plan))
        await room.definitions.put_rows(plan, [Row(prefix, per_minute=per_minute)])
    await room.furnish(buy_plan="cheap")
    await room.definitions.put_trunk(Trunk("carrier-b", "acme", switch=switch, buy_plan="dear"))
    await linked(room, asterisk)
    carrier.refuse_calls(503)
    call, _ = await talking(acme, second_carrier)
    await call.hang_up()
    (cdr,) = await recorded(room)
    assert (cdr["buy_plan"], cdr["buy_row"]) == bought
    assert cdr["cost"] is not None
