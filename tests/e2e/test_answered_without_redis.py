"""An answer that is told while Redis is away is charged for, whatever becomes of callctl before Redis is back."""

from decimal import Decimal
from pathlib import Path
from signal import SIGCONT

import pytest

from tests.e2e.provider import Provider, ago, two_providers
from tests.servers import RedisServer, hang


async def test_a_call_that_was_answered_before_we_were_killed(server: RedisServer, tmp_path: Path) -> None:
    (tmp_path / "callctl").mkdir()
    async with Provider(tmp_path / "callctl", redis_url=server.url) as daemon:
        await daemon.furnish()
        assert (await daemon.call("c1"))["verdict"] == "allowed"
        server.kill()
        await daemon.good("POST", "/v1/calls/c1/answer", ago(5))
        await daemon.kill()
        server.start()
        await daemon.start()
        ended = await daemon.good("POST", "/v1/calls/c1/end", ago(0))
        assert Decimal("0.05") <= Decimal(ended["cdrs"][0]["charge"]) <= Decimal("0.30")


async def corrected(provider: Provider) -> None:
    """The record without an answer is followed by one that charges some seconds, and so is the balance."""

    async def told() -> bool:
        return len(await provider.cdrs()) == 2

    await provider.until(told)
    records = await provider.cdrs()
    assert [(cdr["corrects"], cdr["duration_s"] > 0) for cdr in records] == [(None, False), ("http/c1:acme", True)]
    charge = Decimal(records[1]["charge"])
    assert Decimal("0.05") <= charge <= Decimal("0.30")
    assert Decimal((await provider.account())["balance"]) == 10 - charge


@pytest.mark.parametrize("meanwhile", ["hung", "killed"])
async def test_a_call_that_another_process_ended_meanwhile(server: RedisServer, tmp_path: Path, meanwhile: str) -> None:
    async with two_providers(tmp_path, server.url) as (one, two):
        await one.furnish(kind="postpaid", credit_limit=None)

        async def followed() -> bool:
            return (await two.ask("GET", "/v1/accounts/acme"))[0] == 200

        await two.until(followed)
        assert (await one.call("c1"))["verdict"] == "allowed"
        server.kill()
        await one.good("POST", "/v1/calls/c1/answer", ago(5))
        assert one.process is not None
        if meanwhile == "hung":
            hang(one.process.pid)
        else:
            await one.kill()
        server.start()
        ended = await two.good("POST", "/v1/calls/c1/end", ago(0))
        assert [cdr["charge"] for cdr in ended["cdrs"]] == ["0.0000"]
        if meanwhile == "hung":
            one.process.send_signal(SIGCONT)
        else:
            await one.start()

        await corrected(two)


async def test_a_call_whose_end_was_told_to_both(server: RedisServer, tmp_path: Path) -> None:
    """The first to tell Redis of it had not heard of the answer."""
    async with two_providers(tmp_path, server.url) as (one, two):
        await one.furnish(kind="postpaid", credit_limit=None)

        async def followed() -> bool:
            return (await two.ask("GET", "/v1/accounts/acme"))[0] == 200

        await two.until(followed)
        assert (await one.call("c1"))["verdict"] == "allowed"
        assert (await two.call("c1"))["verdict"] == "allowed"
        server.kill()
        await one.good("POST", "/v1/calls/c1/answer", ago(5))
        end = ago(0)
        assert [cdr["charge"] for cdr in (await two.good("POST", "/v1/calls/c1/end", end))["cdrs"]] == ["0.0000"]
        assert Decimal((await one.good("POST", "/v1/calls/c1/end", end))["cdrs"][0]["charge"]) > 0
        await one.kill()
        server.start()

        async def recorded() -> bool:
            return len(await two.cdrs()) == 1

        await two.until(recorded)
        await one.start()

        await corrected(two)
