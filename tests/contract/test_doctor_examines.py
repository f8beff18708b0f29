"""The doctor at the bed of real servers."""

from pathlib import Path
from typing import Any

import pytest

from callctl.clock import SystemClock
from callctl.errors import ConfigError, StoreUnavailable
from callctl.store.doctor import Diagnosis, Health, examine
from callctl.store.embedded import EmbeddedRedis
from callctl.store.link import Link
from tests.servers import RedisServer


def found(diagnosis: Diagnosis) -> dict[str, str]:
    return {finding.subject: finding.found for finding in diagnosis.findings}


def complaints(diagnosis: Diagnosis) -> list[str]:
    """Beside that of a slow answer: it may be slow."""
    return [it.subject for it in diagnosis.findings if it.health is not Health.OK and it.subject != "latency"]


async def test_the_embedded_server_is_well(tmp_path: Path) -> None:
    async with EmbeddedRedis(tmp_path, SystemClock()) as url:
        diagnosis = await examine(url)
    assert complaints(diagnosis) == []
    assert found(diagnosis)["version"].startswith("Valkey 9")
    assert found(diagnosis)["persistence"] == "append-only file, fsync everysec"
    assert "last second" in diagnosis.loss
    assert 0 < diagnosis.latency_min_us <= diagnosis.latency_median_us


async def test_changed_settings_are_seen(link: Link, redis_server: RedisServer) -> None:
    well = await examine(redis_server.url)
    assert (complaints(well), found(well)["persistence"]) == (["persistence"], "append-only file, fsync no")
    changes = {"appendonly": "no", "maxmemory-policy": "allkeys-lru", "maxmemory": "1000000000"}
    before: Any = [(await link.call("CONFIG", "GET", name))[1] for name in changes]  # type: ignore[index]
    try:
        for name, value in changes.items():
            await link.call("CONFIG", "SET", name, value)
        diagnosis = await examine(redis_server.url)
    finally:
        for name, value in zip(changes, before, strict=True):
            await link.call("CONFIG", "SET", name, value)
    assert diagnosis.health is Health.BAD
    assert found(diagnosis)["persistence"] == "none"
    assert found(diagnosis)["eviction"] == "allkeys-lru"
    assert "of 953.7 MiB used (0 %)" in found(diagnosis)["memory"]
    assert "everything" in diagnosis.loss


async def test_a_server_that_tells_and_allows_little_is_examined_all_the_same(
    link: Link, redis_server: RedisServer
) -> None:
    await link.call("ACL", "SETUSER", "guest", "on", "nopass", "~*", "+@all", "-config", "-eval")
    try:
        diagnosis = await examine(redis_server.url.replace("//", "//guest:x@"))
    finally:
        await link.call("ACL", "DELUSER", "guest")
    assert found(diagnosis)["persistence"] == "append-only file, fsync unknown"
    assert found(diagnosis)["scripts"] == "refused"


async def test_no_server_is_no_diagnosis(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable):
        await examine(f"unix://{tmp_path}/nobody.sock")
    with pytest.raises(ConfigError):
        await examine("http://127.0.0.1")
