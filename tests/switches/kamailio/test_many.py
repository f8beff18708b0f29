"""Many calls at once through the real Kamailio, and one of the two sides dying in the middle of them."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from callctl.call.admission import Policy
from callctl.call.session import State
from tests.control_room import EURO, PER_SECOND, ControlRoom
from tests.e2e.provider import Provider
from tests.switches.exactness import in_time
from tests.switches.kamailio.desk import NUMBER, furnish, linked
from tests.switches.rig.asterisk import ACME
from tests.switches.rig.kamailio import LINK_SECRET, KamailioRig
from tests.switches.sip.phone import Phone
from tests.switches.sip.sipp import Outcome, call_many, carrier, expect_refusals
from tests.waiting import until

PER_S = 100
SECONDS = int(os.environ.get("CALLCTL_LOAD_S", "3"))
TALK_S = 2
FIRST_S = 15  # long enough for callctl to be killed and started on a busy machine
SWITCH = """
[policy]
slice_first_s = {first_s}
lease_grace_s = 5

[[switch]]
name = "sbc1"
kind = "kamailio"
host = "{host}"
port = {port}
secret = "{secret}"
"""


async def test_every_call_is_charged_once(kamailio: KamailioRig, room: ControlRoom) -> None:
    calls = PER_S * SECONDS
    await furnish(room, balance=100 * EURO)
    await linked(room, kamailio.link_port)
    async with carrier(kamailio, ring_s=0.05):
        outcome = await call_many(kamailio, ACME, NUMBER, calls=calls, per_second=PER_S, talk_s=TALK_S)
    assert outcome == Outcome(calls=calls, ended_by_caller=calls, ended_by_switch=0)
    await until(lambda: len(room.cdrs()) == calls)
    cdrs = room.cdrs()
    assert len({cdr["call_id"] for cdr in cdrs}) == calls
    assert {(cdr["verdict"], cdr["released_by"], cdr["estimated"]) for cdr in cdrs} == {("allowed", "caller", False)}
    assert all(outcome.agrees(cdr["duration_ms"]) for cdr in cdrs)
    balance = await room.balance()
    spent = sum(cdr["billed_s"] for cdr in cdrs) * PER_SECOND
    assert (balance.balance, balance.held, balance.slots) == (100 * EURO - spent, 0, {})
    assert room.notes.unexpected_events == []


async def test_calls_cut_at_once_lose_no_leg_and_no_record(
    kamailio: KamailioRig, room: ControlRoom, carrier: Phone
) -> None:
    """Both sides of 60 calls answer their BYEs at once: where Kamailio 5.6 by itself forgets one leg in ten."""
    calls = 60
    room.policy = Policy(slice_first_s=3)
    carrier.answer_calls(after_s=0.05)  # else Kamailio's two processes may hand on 180 after 200
    await furnish(room, balance=100 * EURO)
    await linked(room, kamailio.link_port)
    async with asyncio.TaskGroup() as group:
        placing = group.create_task(call_many(kamailio, ACME, NUMBER, calls=calls, per_second=60, talk_s=60))
        await until(lambda: [call.state for call in room.calls.live()] == [State.ANSWERED] * calls)
        available = (await room.balance()).available
        assert available is not None
        await room.pay(-available)
    assert placing.result().ended_by_switch == calls
    await until(lambda: all(call.ended_by == "them" for call in carrier.calls))
    assert len(carrier.calls) == calls
    await until(lambda: len(room.cdrs()) == calls)
    cdrs = room.cdrs()
    assert {(cdr["released_by"], cdr["estimated"]) for cdr in cdrs} == {("callctl", False)}
    assert all(in_time(cdr["duration_ms"], cdr["billed_s"]) for cdr in cdrs)
    balance = await room.balance()
    assert (balance.balance, balance.held, balance.slots) == (0, 0, {})


# -------------------------------------------------------------------- the daemon


@pytest.fixture
async def daemon(kamailio: KamailioRig, tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Provider]:
    """The whole of callctl with its embedded Redis, and linked. A call is given FIRST_S at first, or the parameter."""
    first_s = getattr(request, "param", FIRST_S)
    config = SWITCH.format(first_s=first_s, host=kamailio.host, port=kamailio.link_port, secret=LINK_SECRET)
    async with Provider(tmp_path, more=config) as daemon:
        await ready(daemon)
        yield daemon


async def ready(daemon: Provider) -> None:
    async def linked() -> bool:
        return (await daemon.ask("GET", "/readyz"))[0] == 200

    await daemon.until(linked)


async def settled(daemon: Provider, calls: int, *, credit: str = "100.00") -> list[Any]:
    """The CDRs, once there are so many and the books are in order."""

    async def all_there() -> bool:
        return len(await daemon.cdrs()) >= calls

    await daemon.until(all_there)
    cdrs, account = await daemon.cdrs(), await daemon.account()
    assert len({cdr["call_id"] for cdr in cdrs}) == len(cdrs) == calls
    assert (Decimal(account["held"]), account["channels"].get("total", 0)) == (Decimal(0), 0)
    spent = sum(Decimal(cdr["charge"]) for cdr in cdrs)
    assert Decimal(account["balance"]) == Decimal(credit) - spent
    return cdrs


@asynccontextmanager
async def talking(
    kamailio: KamailioRig, daemon: Provider, *, calls: int, talk_s: float, credit: str = "100.00"
) -> AsyncIterator[Any]:
    """So many calls of acme by SIPp, all answered; what becomes of them is the task's result."""
    await daemon.furnish(credit, source_ips=[ACME])
    async with carrier(kamailio, ring_s=0.1):
        placing = asyncio.create_task(call_many(kamailio, ACME, NUMBER, calls=calls, per_second=50, talk_s=talk_s))
        try:
            await daemon.talking(calls)
            yield placing
        finally:
            placing.cancel()
            with suppress(asyncio.CancelledError, RuntimeError):
                await placing


async def test_killed_and_started_callctl_goes_on_with_the_calls(kamailio: KamailioRig, daemon: Provider) -> None:
    async with talking(kamailio, daemon, calls=40, talk_s=FIRST_S + 2) as placing:
        await daemon.kill()
        await expect_refusals(kamailio, ACME, NUMBER, status=503, calls=5)
        await daemon.start()
        await ready(daemon)
        outcome = await placing
    assert outcome == Outcome(calls=40, ended_by_caller=40, ended_by_switch=0)
    cdrs = await settled(daemon, 40)
    assert {(cdr["estimated"], cdr["released_by"]) for cdr in cdrs} == {(False, "caller")}
    # What callctl was killed before it could store is learnt from the list, in whole seconds.
    assert all(outcome.agrees(cdr["duration_ms"], unseen_ms=1_000) for cdr in cdrs)


@pytest.mark.parametrize("daemon", [10], indirect=True)
async def test_callctl_dead_for_good_leaves_the_end_to_kamailio(kamailio: KamailioRig, daemon: Provider) -> None:
    async with talking(kamailio, daemon, calls=20, talk_s=30, credit="2.00") as placing:
        await daemon.stored(20)
        await daemon.kill()
        outcome = await placing
    assert outcome == Outcome(calls=20, ended_by_caller=0, ended_by_switch=20)
    await daemon.start()
    await ready(daemon)
    cdrs = await settled(daemon, 20, credit="2.00")
    assert {cdr["charge"] for cdr in cdrs} == {"0.1000"}  # what was granted


async def test_killed_and_started_kamailio_has_lost_its_calls(kamailio: KamailioRig, daemon: Provider) -> None:
    """They live in its memory alone: callctl settles them by what it knows, and goes on."""
    async with talking(kamailio, daemon, calls=40, talk_s=30):
        kamailio.kill()
        kamailio.start()
        cdrs = await settled(daemon, 40)
    assert {cdr["estimated"] for cdr in cdrs} == {True}
    await ready(daemon)
    async with carrier(kamailio):
        outcome = await call_many(kamailio, ACME, NUMBER, calls=5, per_second=50, talk_s=1)
    assert outcome.ended_by_caller == 5
    await settled(daemon, 45)


async def test_a_hung_kamailio_is_found_out_and_taken_up_again(kamailio: KamailioRig, daemon: Provider) -> None:
    async with talking(kamailio, daemon, calls=10, talk_s=30) as placing:
        kamailio.freeze()
        try:

            async def down() -> bool:
                return (await daemon.ask("GET", "/readyz"))[0] != 200

            await daemon.until(down)
        finally:
            kamailio.resume()
        await ready(daemon)
        for call in await daemon.talking(10):
            await daemon.good("DELETE", f"/v1/calls/{quote(call['call_id'])}?switch=sbc1")
        outcome = await placing
    assert outcome == Outcome(calls=10, ended_by_caller=0, ended_by_switch=10)
    cdrs = await settled(daemon, 10)
    assert {(cdr["released_by"], cdr["estimated"]) for cdr in cdrs} == {("callctl", False)}
    kamailio.stop()  # its timers run behind by the time that it hung, and jump some seconds later
    kamailio.start()
