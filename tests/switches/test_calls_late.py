"""callctl comes too late: the dialplan has let the call of a trusted customer pass without it."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from callctl.call.takes import Take
from tests.control_room import ControlRoom
from tests.switches.at_gate import waiting
from tests.switches.linked import NUMBER, agrees, answered, gone, linked, recorded
from tests.switches.rig.asterisk import GLOBEX, AsteriskRig
from tests.switches.rig.manager import Manager
from tests.switches.sip.phone import Phone
from tests.waiting import until

GATE_S = 3


async def test_a_call_that_has_passed_is_let_alone_and_charged(
    asterisk: AsteriskRig, room: ControlRoom, carrier: Phone
) -> None:
    """The whole process is stopped for longer than a call waits, as one that swaps."""
    await room.furnish("globex")
    await linked(room, asterisk)
    async with Phone(GLOBEX, asterisk.sip_address) as globex:
        call = await globex.call(NUMBER)
        await until(lambda: call.trying)
        time.sleep(GATE_S + 2)  # noqa: ASYNC251  nothing of this process goes on, the test's phones neither
        await call.until_answered()
        await answered(room)
        await until(lambda: time.time() - (call.answered_at or 0) > 1)
        assert len(carrier.calls) == 1
        await call.hang_up()
        (cdr,) = await recorded(room, account="globex")
        assert agrees(cdr, call)
    await gone(asterisk)


async def test_a_talk_that_would_have_been_refused_is_ended(
    asterisk: AsteriskRig, room: ControlRoom, carrier: Phone
) -> None:
    """Its record says so, and nobody is charged for it."""
    await room.furnish("globex", balance=0)
    await linked(room, asterisk)
    asterisk.cli("dialplan set global CC_GATE_SECONDS 0.001")
    admit, room.store.admit = room.store.admit, slowly(room.store.admit)
    try:
        async with Phone(GLOBEX, asterisk.sip_address) as globex:
            call = await globex.call(NUMBER)
            await call.until_answered()
            await call.until_ended()
            (cdr,) = await recorded(room, account="globex")
            assert cdr["refusal"] == "no_credit"
    finally:
        room.store.admit = admit
        asterisk.cli("dialplan reload")
    await gone(asterisk)


def slowly(admit: Callable[[Take], Awaitable[Any]]) -> Callable[[Take], Awaitable[Any]]:
    """A store that answers in half a second."""

    async def later(take: Take) -> Any:
        await asyncio.sleep(0.5)
        return await admit(take)

    return later


@pytest.fixture
def patient(asterisk: AsteriskRig) -> Iterator[None]:
    """Calls wait for long."""
    asterisk.cli("dialplan set global CC_GATE_SECONDS 30")
    yield
    asterisk.cli("dialplan reload")


@pytest.mark.usefixtures("patient")
async def test_a_call_that_waits_is_answered_by_a_callctl_that_was_not_there_when_it_came(
    asterisk: AsteriskRig, room: ControlRoom, gate: Manager, acme: Phone, carrier: Phone
) -> None:
    await room.furnish()
    call, _ = await waiting(gate, acme)
    await linked(room, asterisk)
    await call.until_answered()
    await answered(room)
    await call.hang_up()
    (cdr,) = await recorded(room)
    assert agrees(cdr, call)
    assert len(carrier.calls) == 1
    await gone(asterisk)
