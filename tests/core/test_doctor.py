"""What callctl says about a Redis server, from what the server says about itself."""

import pytest

from callctl.store.doctor import Diagnosis, Health, diagnose

GOOD = {
    "redis_version": "7.2.4",
    "role": "master",
    "connected_slaves": "0",
    "aof_enabled": "1",
    "aof_last_write_status": "ok",
    "maxmemory_policy": "noeviction",
    "maxmemory": "0",
    "used_memory": "1048576",
    "server_time_usec": "1795255200000000",
    "rdb_last_save_time": "1795255100",
    "rdb_changes_since_last_save": "42",
}
NO_AOF = {"aof_enabled": "0"}


def look(
    changes: dict[str, str] | None = None,
    config: dict[str, str] | None = None,
    *,
    scripts: bool = True,
    round_trips_us: tuple[int, ...] = (300, 100, 200),
) -> Diagnosis:
    settings = {"appendfsync": "everysec", "save": ""} if config is None else config
    return diagnose(
        GOOD | (changes or {}), settings, scripts=scripts, round_trips_us=round_trips_us, now_ms=1795255200500
    )


def test_a_good_server_is_well() -> None:
    diagnosis = look()
    assert diagnosis.health is Health.OK
    assert {finding.advice for finding in diagnosis.findings} == {""}
    assert (diagnosis.latency_min_us, diagnosis.latency_median_us) == (100, 200)


@pytest.mark.parametrize(
    ("changes", "config", "subject", "health", "found"),
    [
        ({"redis_version": "6.0.16"}, None, "version", Health.BAD, "Redis 6.0.16"),
        ({"redis_version": "6.2.14"}, None, "version", Health.OK, "Redis 6.2.14"),
        ({"redis_version": "10.0.1"}, None, "version", Health.OK, "Redis 10.0.1"),
        ({"valkey_version": "9.1.2"}, None, "version", Health.OK, "Valkey 9.1.2"),
        ({"redis_version": "?"}, None, "version", Health.BAD, "Redis ?"),
        ({}, {"appendfsync": "always"}, "persistence", Health.OK, "append-only file, fsync always"),
        ({}, {"appendfsync": "no"}, "persistence", Health.WARNING, "append-only file, fsync no"),
        ({}, {}, "persistence", Health.OK, "append-only file, fsync unknown"),
        ({"aof_last_write_status": "err"}, None, "persistence", Health.BAD, "the last write failed"),
        (NO_AOF, {"save": "900 1"}, "persistence", Health.BAD, "snapshots only"),
        (NO_AOF | {"rdb_saves": "3"}, {}, "persistence", Health.BAD, "snapshots only"),
        (NO_AOF, None, "persistence", Health.BAD, "none"),
        ({"maxmemory_policy": "allkeys-lru"}, None, "eviction", Health.BAD, "allkeys-lru"),
        ({"maxmemory_policy": "volatile-ttl"}, None, "eviction", Health.BAD, "volatile-ttl"),
        ({"maxmemory": "1310720"}, None, "memory", Health.BAD, "1.0 of 1.2 MiB used (80 %)"),
        ({"maxmemory": "1323000"}, None, "memory", Health.OK, "(79 %)"),
        ({"server_time_usec": "1795255195499000"}, None, "clock", Health.BAD, "5.0 s between this machine and"),
        ({"server_time_usec": "1795255205500000"}, None, "clock", Health.OK, "5.0 s between this machine and"),
        ({"role": "slave"}, None, "replication", Health.BAD, "a replica"),
        ({"connected_slaves": "1"}, None, "replication", Health.OK, "primary, 1 replica"),
    ],
)
def test_each_thing_is_judged(
    changes: dict[str, str], config: dict[str, str] | None, subject: str, health: Health, found: str
) -> None:
    diagnosis = look(changes, config)
    (finding,) = [finding for finding in diagnosis.findings if finding.subject == subject]
    assert finding.health is health
    assert found in finding.found
    assert bool(finding.advice) == (health is not Health.OK)
    assert diagnosis.health is health


def test_without_scripts_it_will_not_do() -> None:
    assert look(scripts=False).health is Health.BAD


def test_a_slow_server_is_a_warning() -> None:
    assert look(round_trips_us=(5_000, 5_001, 9_000)).health is Health.WARNING
    assert look(round_trips_us=(5_000, 5_000, 9_000)).health is Health.OK


@pytest.mark.parametrize(
    ("changes", "config", "loss"),
    [
        ({}, {"appendfsync": "always"}, "nothing that it has confirmed."),
        ({}, {"appendfsync": "everysec"}, "at most about the last second if its machine did."),
        ({}, {"appendfsync": "no"}, "perhaps the last half minute"),
        ({}, {}, "what is not on disk yet"),
        ({"connected_slaves": "1"}, None, "a replica that takes over may lack the last writes, too."),
        (NO_AOF, {"save": "900 1"}, "since the last snapshot 100 s ago: 42 writes."),
        (NO_AOF, {"save": ""}, "everything: all accounts, balances, running calls and records."),
        ({"aof_last_write_status": "err"}, None, "everything"),
    ],
)
def test_it_says_what_would_be_lost(changes: dict[str, str], config: dict[str, str] | None, loss: str) -> None:
    said = look(changes, config).loss
    assert said.startswith("If it died now you would lose ")
    assert loss in said
