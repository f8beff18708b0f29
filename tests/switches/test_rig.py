"""The rig itself: Asterisk can be broken and comes back on the same ports."""

import asyncio

import pytest

from tests.switches.rig.asterisk import AsteriskRig
from tests.switches.rig.manager import Manager


async def test_a_killed_asterisk_starts_again(asterisk: AsteriskRig) -> None:
    async with Manager(asterisk) as manager:
        asterisk.kill()
        await manager.closed()
    assert not asterisk.running
    asterisk.start()
    async with Manager(asterisk) as manager:
        assert (await manager.ask("Ping"))["Ping"] == "Pong"


async def test_a_frozen_asterisk_answers_when_resumed(asterisk: AsteriskRig) -> None:
    async with Manager(asterisk) as manager:
        asterisk.freeze()
        try:
            ping = asyncio.create_task(manager.ask("Ping"))
            done, _ = await asyncio.wait([ping], timeout=0.5)
            assert not done
        finally:
            asterisk.resume()
        assert (await ping)["Ping"] == "Pong"


async def test_asterisk_has_nothing_to_complain_about_in_the_shipped_files(asterisk: AsteriskRig) -> None:
    for name in ("manager.conf", "extensions.conf", "pjsip.conf"):
        shipped = [line for line in asterisk.log.read_text().splitlines() if name in line]
        assert not [line for line in shipped if "WARNING" in line or "ERROR" in line]
    assert "callctl-gate" in asterisk.cli("dialplan show callctl-gate")


@pytest.mark.parametrize("context", ["callctl-out", "callctl-in"])
async def test_no_caller_reaches_the_contexts_behind_the_gate(asterisk: AsteriskRig, context: str) -> None:
    reachable = asterisk.cli(f"dialplan show {context}")
    assert "Include" not in reachable
    for behind in ("callctl-dial", "callctl-connect", "callctl-announce", "callctl-fail-open"):
        assert behind not in reachable
