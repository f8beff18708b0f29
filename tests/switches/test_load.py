"""Many calls through the shipped dialplan, without callctl: what SIPp reports can be relied on."""

import pytest

from tests.switches.rig.asterisk import ACME, GLOBEX, AsteriskRig
from tests.switches.sip.sipp import Outcome, call_many, carrier, expect_refusals


async def test_callers_hang_up(asterisk: AsteriskRig) -> None:
    async with carrier(asterisk, ring_s=0.1):
        outcome = await call_many(asterisk, ACME, "112", calls=40, per_second=20, talk_s=1)
    assert outcome == Outcome(calls=40, ended_by_caller=40, ended_by_switch=0)
    assert 1_000 <= outcome.shortest_ms <= outcome.longest_ms


async def test_the_switch_hangs_up(asterisk: AsteriskRig) -> None:
    asterisk.cli("dialplan set global CC_FAIL_OPEN_SECONDS 1")
    try:
        async with carrier(asterisk):
            outcome = await call_many(asterisk, GLOBEX, "0612345678", calls=5, per_second=20, talk_s=10)
    finally:
        asterisk.cli("dialplan reload")
    assert outcome == Outcome(calls=5, ended_by_caller=0, ended_by_switch=5)


async def test_a_call_that_is_refused_instead_is_reported(asterisk: AsteriskRig) -> None:
    with pytest.raises(RuntimeError, match="503"):
        await call_many(asterisk, ACME, "+31612345678", calls=1, per_second=1, talk_s=1)


async def test_refusals_are_told_apart(asterisk: AsteriskRig) -> None:
    await expect_refusals(asterisk, ACME, "+31612345678", status=503)
    with pytest.raises(RuntimeError, match="503"):
        await expect_refusals(asterisk, ACME, "+31612345678", status=402)
