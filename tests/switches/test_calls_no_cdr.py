"""An Asterisk that keeps no records of its own, for callctl does: it cannot say when a call was answered."""

from collections.abc import Iterator

import pytest

from tests.control_room import ControlRoom
from tests.switches.exactness import APART_MS
from tests.switches.linked import NUMBER, answered, gone, linked, recorded
from tests.switches.rig.asterisk import AsteriskRig
from tests.switches.sip.phone import Phone
from tests.waiting import until


@pytest.fixture(autouse=True)
def no_cdr(asterisk: AsteriskRig) -> Iterator[None]:
    config = asterisk.etc / "cdr.conf"
    config.write_text("[general]\nenable = no\n")
    asterisk.cli("module reload cdr")
    yield
    config.write_text("[general]\nenable = yes\n")  # without the file it would stay as it is
    asterisk.cli("module reload cdr")
    config.unlink()


async def test_an_answer_while_nobody_listened_counts_from_when_it_is_seen(
    asterisk: AsteriskRig, room: ControlRoom, acme: Phone, carrier: Phone
) -> None:
    carrier.answer_calls(after_s=1)
    await room.furnish()
    await linked(room, asterisk)
    call = await acme.call(NUMBER)
    await until(lambda: 180 in call.provisional)
    await room.kill()
    await call.until_answered()
    await linked(room, asterisk)
    up = await answered(room)
    assert up.answered is not None
    seen_s = up.answered.wall_ms / 1_000
    await call.hang_up()
    (cdr,) = await recorded(room)
    assert cdr["duration_ms"] > 0
    assert call.ended_at is not None
    assert abs(cdr["duration_ms"] - (call.ended_at - seen_s) * 1_000) <= APART_MS
    await gone(asterisk)
