"""`ThreeCxSwitch` in mode observe: what an adapter reports of extensions that dial freely, and how it ends their calls."""

from collections.abc import AsyncIterator

import pytest

from callctl.call.events import Answered, Offered, Released
from callctl.causes import REFUSALS, Refusal
from callctl.rating.tariff import Direction
from callctl.simulators.threecx import EndedBy
from tests.threecx_desk import NUMBER, Desk, laid

NO_CREDIT = REFUSALS[Refusal.NO_CREDIT]


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    async with laid() as ready:
        yield ready


async def test_a_call_that_an_extension_makes(desk: Desk) -> None:
    call = desk.simulator.phone_dials("112", NUMBER)
    assert call is not None
    offered = await desk.first(Offered)
    assert (offered.direction, offered.a_number, offered.b_number) == (Direction.OUTBOUND, "112", NUMBER)
    assert (offered.account, offered.attended, offered.can_extend) == ("acme", True, True)
    await desk.admitted()
    desk.simulator.pbx.far_answers(call)
    answered = await desk.first(Answered)
    assert (answered.trunk_out, answered.stated) == ("10000", False)
    assert call.answered is not None
    assert abs(answered.at.wall_ms - call.answered.wall_ms) < 200
    desk.simulator.pbx.hang_up(call, EndedBy.CALLED)
    released = await desk.first(Released)
    assert (released.answered_at, released.estimated) == (answered.at, False)
    assert len(desk.told(Offered)) == len(desk.told(Answered)) == len(desk.told(Released)) == 1
