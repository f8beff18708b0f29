"""20 calls a second through callctl on a real Asterisk, with every balance right at the end.

Five seconds of it; CALLCTL_LOAD_S=60 makes it the minute that was promised.
"""

import asyncio
import os

from callctl.call.session import State
from callctl.limits.concurrency import Caps
from tests.control_room import EURO, PER_SECOND, ControlRoom
from tests.switches.exactness import LATE_MS
from tests.switches.linked import NUMBER, gone, linked
from tests.switches.rig.asterisk import ACME, AsteriskRig
from tests.switches.sip.sipp import Outcome, call_many, carrier, expect_refusals
from tests.waiting import until

PER_S = 20
SECONDS = int(os.environ.get("CALLCTL_LOAD_S", "5"))
TALK_S = 3


async def test_every_call_is_charged_once(asterisk: AsteriskRig, room: ControlRoom) -> None:
    calls = PER_S * SECONDS
    await room.furnish(balance=100 * EURO)
    await linked(room, asterisk)
    async with carrier(asterisk, ring_s=0.1):
        outcome = await call_many(asterisk, ACME, NUMBER, calls=calls, per_second=PER_S, talk_s=TALK_S)
    assert outcome == Outcome(calls=calls, ended_by_caller=calls, ended_by_switch=0)
    await until(lambda: len(room.cdrs()) == calls)
    cdrs = room.cdrs()
    assert len({cdr["call_id"] for cdr in cdrs}) == calls
    assert {cdr["verdict"] for cdr in cdrs} == {"allowed"}
    assert all(outcome.agrees(cdr["duration_ms"]) for cdr in cdrs)
    balance = await room.balance()
    spent = sum(cdr["billed_s"] for cdr in cdrs) * PER_SECOND
    assert (balance.balance, balance.held, balance.slots) == (100 * EURO - spent, 0, {})
    assert room.notes.unexpected_events == []
    await gone(asterisk)


async def test_calls_are_cut_when_the_money_that_they_share_is_gone(asterisk: AsteriskRig, room: ControlRoom) -> None:
    """Of 40 calls none outlives what was held for it, and nothing is owed."""
    calls = 40
    await room.furnish(balance=100 * EURO)
    await linked(room, asterisk)
    async with carrier(asterisk), asyncio.TaskGroup() as group:
        placing = group.create_task(call_many(asterisk, ACME, NUMBER, calls=calls, per_second=40, talk_s=60))
        await until(lambda: [call.state for call in room.calls.live()] == [State.ANSWERED] * calls)
        available = (await room.balance()).available
        assert available is not None
        await room.pay(-available)
    assert placing.result().ended_by_switch == calls
    await until(lambda: len(room.cdrs()) == calls)
    cdrs = room.cdrs()
    assert all(cdr["duration_ms"] <= cdr["billed_s"] * 1_000 + LATE_MS for cdr in cdrs)
    assert {cdr["released_by"] for cdr in cdrs} == {"callctl"}
    balance = await room.balance()
    assert (balance.balance, balance.held, balance.slots) == (0, 0, {})
    await gone(asterisk)


async def test_all_beyond_the_channels_are_refused(asterisk: AsteriskRig, room: ControlRoom) -> None:
    await room.furnish(caps=Caps(outbound=0))
    await linked(room, asterisk)
    await expect_refusals(asterisk, ACME, NUMBER, status=503, calls=40, per_second=PER_S)
    await until(lambda: len(room.cdrs()) == 40)
    assert {cdr["refusal"] for cdr in room.cdrs()} == {"channel_limit"}
    balance = await room.balance()
    assert (balance.held, balance.slots) == (0, {})
