"""Bundles and blocks of a daemon that is killed, and of two daemons on one Redis: nothing double, nothing lost."""

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from tests.e2e.provider import Provider, two_providers

BLOCKS = "/v1/accounts/acme/blocks"
BUNDLE = {"name": "nl-free", "seconds": 600, "prefixes": ["31"]}


async def furnish(daemon: Provider, **account: Any) -> None:
    await daemon.furnish("0", **account)
    await daemon.good("PUT", "/v1/plans/standard", {"buy_plan": "carrier", "bundles": [BUNDLE]})


async def left(daemon: Provider) -> tuple[int, int]:
    """Seconds of the bundle: left, and held."""
    (bundle,) = (await daemon.good("GET", BLOCKS))["bundles"]
    return bundle["left_seconds"], int(bundle["held"])


async def reconciled(daemon: Provider) -> None:
    """The ledger adds up to the balance, and to what the records say was posted."""
    entries = (await daemon.good("GET", "/v1/accounts/acme/ledger"))["entries"]
    records: list[dict[str, Any]] = await daemon.cdrs()
    moved = sum(Decimal(entry["amount"]) for entry in entries if entry["kind"] != "topup")
    posted = sum(Decimal(it["gross"]) - Decimal(it.get("from_blocks", "0")) for it in records)
    assert moved == -posted
    assert Decimal((await daemon.account())["balance"]) == sum(Decimal(entry["amount"]) for entry in entries)


async def test_killed_with_calls_up_the_bundle_adds_up(tmp_path: Path) -> None:
    async with Provider(tmp_path) as daemon:
        await furnish(daemon)
        for number in range(12):
            await daemon.good("POST", "/v1/calls", _call(f"c{number}"))
            await daemon.good("POST", f"/v1/calls/c{number}/answer", {})
        await daemon.kill()
        await daemon.start()
        there, held = await left(daemon)
        assert (there + held, held) == (600, 120)
        refused = await daemon.good("POST", "/v1/calls", _call("whole", can_extend=False))
        assert refused["granted_seconds"] == there
        for call_id in (*(f"c{number}" for number in range(12)), "whole"):
            await daemon.good("POST", f"/v1/calls/{call_id}/end", {"q850": 16})
        there, held = await left(daemon)

        async def all_there() -> bool:
            return len(await daemon.cdrs()) == 13

        await daemon.until(all_there)
        records: list[dict[str, Any]] = await daemon.cdrs()
        assert (there, held) == (600 - sum(record["bundle_s"] for record in records), 0)
        assert {record["charge"] for record in records} == {"0.0000"}
        await reconciled(daemon)


async def test_a_published_example_of_free_time(tmp_path: Path) -> None:
    """sipwise: 650 s of a bundle, then 21 s as two increments of 20 s at 3 cents a second."""
    async with Provider(tmp_path) as daemon:
        await daemon.furnish("10.00")
        await daemon.good("PUT", "/v1/plans/standard", {"bundles": [{"name": "free", "seconds": 650}]})
        await daemon.good("PUT", "/v1/plans/standard/rows", "prefix,per_minute,initial_s,increment_s\n31,1.80,50,20\n")
        began = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=900)
        answered, over = began.isoformat(), (began + timedelta(seconds=671)).isoformat()
        decision = await daemon.good("POST", "/v1/calls", _call("c1", at=answered, can_extend=False))
        assert decision["max_seconds"] == 650 + 320  # 10.00 buys 16 increments of 0.60
        await daemon.good("POST", "/v1/calls/c1/answer", {"at": answered})
        (record,) = (await daemon.good("POST", "/v1/calls/c1/end", {"at": over}))["cdrs"]
        assert [record[name] for name in ("billed_s", "bundle_s", "charge", "gross")] == [690, 650, "1.2000", "1.2000"]
        assert (await daemon.account())["balance"] == "8.8000"


async def test_killed_while_it_is_bought_a_block_is_paid_once(tmp_path: Path) -> None:
    async with Provider(tmp_path) as daemon:
        await daemon.furnish("10.00")
        block = {"id": "buy-1", "minutes": 1, "price": "1.00"}
        asked = asyncio.gather(*(daemon.ask("POST", BLOCKS, block) for _ in range(5)), return_exceptions=True)
        await daemon.kill()
        await asked
        await daemon.start()
        await daemon.good("POST", BLOCKS, block)
        assert (await daemon.account())["balance"] == "9.0000"
        decision = await daemon.good("POST", "/v1/calls", _call("c1"))
        assert decision["hold"] == "0.0000"


async def test_two_daemons_share_one_bundle(tmp_path: Path, redis_server: Any) -> None:
    async with two_providers(tmp_path, redis_server.url) as (one, two):
        await furnish(one)

        async def knows() -> bool:
            return (await two.ask("GET", BLOCKS))[0] == 200 and bool((await two.good("GET", BLOCKS))["bundles"])

        await two.until(knows)
        asked = [
            daemon.good("POST", "/v1/calls", _call(f"{name}{number}"))
            for number in range(40)
            for name, daemon in (("one", one), ("two", two))
        ]
        decisions = await asyncio.gather(*asked)
        granted_s = sum(each["granted_seconds"] for each in decisions if each["verdict"] == "allowed")
        assert await left(one) == (600 - granted_s, granted_s)
        assert granted_s == 600  # it has no money: the bundle alone is shared, to the last second
        block = {"id": "buy-1", "minutes": 1, "price": "0"}
        bought = await asyncio.gather(*(daemon.ask("POST", BLOCKS, block) for daemon in (one, two) * 3))
        assert {status for status, _ in bought} == {200}
        assert (await two.good("GET", BLOCKS))["blocks"][0]["left_seconds"] == 60


def _call(call_id: str, **other: Any) -> dict[str, Any]:
    asked = {"call_id": call_id, "from": "+31201234567", "to": "+31612345678", "account": "acme", "can_extend": True}
    return asked | other
