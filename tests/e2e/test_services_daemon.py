"""The daemon charges subscriptions by itself, and once: killed, started again, two of them on one Redis."""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from redis import Redis

from tests.core.catalogue import DOCUMENT
from tests.e2e.provider import Provider, two_providers

SUBSCRIPTIONS = 20


async def subscribe(daemon: Provider) -> int:
    """Twenty subscriptions that began 40 days ago; how many charges are due of them."""
    await daemon.furnish("0", kind="postpaid", credit_limit=None)
    await daemon.good("PUT", "/v1/services", DOCUMENT)
    began, today = datetime.now(UTC).date() - timedelta(days=40), datetime.now(UTC).date()
    months = (today.year - began.year) * 12 + today.month - began.month + 1
    for number in range(SUBSCRIPTIONS):
        path = f"/v1/accounts/acme/subscriptions/flat{number}"
        await daemon.good("PUT", path, {"service": "flat", "from": began.isoformat()})
    return SUBSCRIPTIONS * (1 + months)


async def charged_once(daemon: Provider, due: int) -> None:
    async def all_there() -> bool:
        return len(await daemon.cdrs()) >= due

    await daemon.until(all_there)
    records: list[dict[str, Any]] = await daemon.cdrs()
    entries = (await daemon.good("GET", "/v1/accounts/acme/ledger"))["entries"]
    ids = Counter(record["id"] for record in records)
    assert len(ids) == due
    assert set(ids.values()) == {1}
    assert Counter(entry["id"] for entry in entries) == ids
    owed = sum(Decimal(record["charge"]) for record in records)
    assert Decimal((await daemon.account())["balance"]) == -owed


async def test_killed_and_started_again_it_has_charged_once(tmp_path: Path) -> None:
    async with Provider(tmp_path) as daemon:
        due = await subscribe(daemon)
        for _ in range(3):
            await daemon.kill()
            await daemon.start()
        await charged_once(daemon, due)


async def test_redis_comes_back_empty_and_nothing_is_charged_again(tmp_path: Path, redis_server: Any) -> None:
    """Catalogue and subscriptions are written to it again, and how far they are charged."""
    with Redis.from_url(redis_server.url) as client:
        client.flushall()
        async with Provider(tmp_path, redis_url=redis_server.url) as daemon:
            await charged_once(daemon, await subscribe(daemon))
            client.flushall()

            async def written_again() -> bool:
                return daemon.log.count("s_restored") == 2  # definitions and services

            await daemon.until(written_again)
            today = datetime.now(UTC).date().isoformat()
            await daemon.good("PUT", "/v1/accounts/acme/subscriptions/last", {"service": "flat", "from": today})
            await daemon.kill()
            await daemon.start()

            async def charged() -> bool:
                return bool((await daemon.good("GET", "/v1/accounts/acme/ledger"))["entries"])

            await daemon.until(charged)  # of all subscriptions the last one is looked at last
            entries = (await daemon.good("GET", "/v1/accounts/acme/ledger"))["entries"]
            assert {entry["note"] for entry in entries} == {"last"}


async def test_two_daemons_on_one_redis_charge_once(tmp_path: Path, redis_server: Any) -> None:
    async with two_providers(tmp_path, redis_server.url) as (one, two):
        due = await subscribe(one)
        await asyncio.gather(one.kill(), two.kill())
        await asyncio.gather(one.start(), two.start())
        await charged_once(two, due)
