"""The shipped configuration is read anew while calls come in."""

import asyncio

from tests.switches.rig.asterisk import AsteriskRig
from tests.switches.sip.phone import Phone

CALLS = 80


async def test_no_emergency_call_is_lost_while_the_dialplan_is_read_anew(
    asterisk: AsteriskRig, acme: Phone, carrier: Phone
) -> None:
    async def read_anew() -> None:
        while len(carrier.calls) < CALLS and not lost:
            await asyncio.to_thread(asterisk.cli, "dialplan reload")

    lost: list[int | None] = []
    reading = [asyncio.create_task(read_anew()) for _ in range(2)]
    for _ in range(CALLS):
        call = await acme.call("112")
        try:
            await call.until_answered()
        except AssertionError:
            lost.append(call.status)
            break
        await call.hang_up()
    await asyncio.gather(*reading)
    assert lost == []
