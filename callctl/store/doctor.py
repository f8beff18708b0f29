"""What a Redis server would do to our money: what it is, how fast it answers, and what its death would lose."""

import asyncio
from collections.abc import Mapping, Sequence
from enum import StrEnum
from statistics import median
from typing import Any, Final

import msgspec
from redis.asyncio import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError
from redis.retry import Retry

from callctl.clock import SystemClock
from callctl.errors import StoreUnavailable
from callctl.store.address import parse_address

_PINGS: Final = 50
_TIMEOUT_S: Final = 2
_OLDEST: Final = (6, 2)  # XTRIM MINID, XRANGE after an id
_SLOW_US: Final = 5_000
_FULL_PERCENT: Final = 80
_APART_MS: Final = 5_000


class Health(StrEnum):
    OK = "ok"
    WARNING = "warning"
    BAD = "bad"


class Finding(msgspec.Struct, frozen=True):
    """One thing looked at: what was found, and what to do about it where it is not ok."""

    subject: str
    health: Health
    found: str
    advice: str = ""


class Diagnosis(msgspec.Struct, frozen=True):
    """All findings, and in plain words what would be gone. Latencies in microseconds, for one round trip."""

    findings: tuple[Finding, ...]
    loss: str
    latency_min_us: int
    latency_median_us: int

    @property
    def persistence(self) -> Health:
        """How bad the loss would be."""
        return next(finding.health for finding in self.findings if finding.subject == "persistence")

    @property
    def health(self) -> Health:
        found = {finding.health for finding in self.findings}
        return next((health for health in (Health.BAD, Health.WARNING) if health in found), Health.OK)


async def examine(url: str) -> Diagnosis:
    """Ask the server, change nothing. ConfigError for a wrong URL, StoreUnavailable when it does not answer."""
    parse_address(url)
    limits: dict[str, Any] = {"socket_timeout": _TIMEOUT_S, "socket_connect_timeout": _TIMEOUT_S}
    redis = Redis.from_url(url, retry=Retry(NoBackoff(), 0), decode_responses=True, **limits)
    try:
        info = await redis.info("everything")
        now_ms = SystemClock().now().wall_ms
        return diagnose(
            {name: str(value) for name, value in info.items()},
            await _config(redis),
            scripts=await _scripts_allowed(redis),
            round_trips_us=await _round_trips_us(redis),
            now_ms=now_ms,
        )
    except RedisError as error:
        raise StoreUnavailable(str(error)) from error
    finally:
        await redis.aclose()


async def _config(redis: Redis) -> dict[str, str]:
    try:
        return {str(name): str(value) for name, value in (await redis.config_get("appendfsync", "save")).items()}
    except ResponseError:  # many hosted servers do not tell
        return {}


async def _scripts_allowed(redis: Redis) -> bool:
    try:
        return await redis.eval("return 1", 0) == 1  # type: ignore[no-any-return]
    except ResponseError:
        return False


async def _round_trips_us(redis: Redis) -> list[int]:
    loop, taken = asyncio.get_running_loop(), []
    for _ in range(_PINGS):
        began = loop.time()
        await redis.ping()
        taken.append(round((loop.time() - began) * 1_000_000))
    return taken


def diagnose(
    info: Mapping[str, str], config: Mapping[str, str], *, scripts: bool, round_trips_us: Sequence[int], now_ms: int
) -> Diagnosis:
    """`info` is the answer to INFO at `now_ms`; `config` that of CONFIG GET, as far as the server gives one."""
    typical_us = round(median(round_trips_us))
    return Diagnosis(
        findings=(
            _version(info),
            _scripts(scripts),
            _persistence(info, config),
            _eviction(info),
            _memory(info),
            _replication(info),
            _latency(min(round_trips_us), typical_us),
            _clock(info, now_ms),
        ),
        loss=f"If it died now you would lose {_loss(info, config)}.",
        latency_min_us=min(round_trips_us),
        latency_median_us=typical_us,
    )


def _version(info: Mapping[str, str]) -> Finding:
    valkey = info.get("valkey_version")
    name = f"Valkey {valkey}" if valkey else f"Redis {info.get('redis_version', 'unknown')}"
    numbers = (valkey or info.get("redis_version", "0")).split(".")[:2]
    if tuple(int(number) for number in numbers if number.isdecimal()) < _OLDEST:
        return Finding("version", Health.BAD, name, "callctl needs Redis 6.2 or later, or Valkey.")
    return Finding("version", Health.OK, name)


def _scripts(scripts: bool) -> Finding:
    if scripts:
        return Finding("scripts", Health.OK, "allowed")
    return Finding("scripts", Health.BAD, "refused", "Allow EVAL and EVALSHA: every take is a script.")


def _persistence(info: Mapping[str, str], config: Mapping[str, str]) -> Finding:
    if info.get("aof_enabled") == "1":
        fsync = config.get("appendfsync")
        found = f"append-only file, fsync {fsync or 'unknown'}"
        if info.get("aof_last_write_status", "ok") != "ok":
            return Finding("persistence", Health.BAD, f"{found}; the last write failed", "Look at the disk.")
        if fsync == "no":
            return Finding("persistence", Health.WARNING, found, "Set appendfsync everysec, or always.")
        return Finding("persistence", Health.OK, found)
    advice = "Set appendonly yes: these are balances."
    if _snapshots(info, config):
        return Finding("persistence", Health.BAD, "snapshots only", advice)
    return Finding("persistence", Health.BAD, "none", advice)


def _snapshots(info: Mapping[str, str], config: Mapping[str, str]) -> bool:
    """Whether the server writes snapshots; by whether it ever has, where it does not tell its configuration."""
    return bool(config["save"]) if "save" in config else info.get("rdb_saves", "0") != "0"


def _eviction(info: Mapping[str, str]) -> Finding:
    policy = info.get("maxmemory_policy", "unknown")
    if policy == "noeviction":
        return Finding("eviction", Health.OK, policy)
    return Finding("eviction", Health.BAD, policy, "Set maxmemory-policy noeviction: it may throw away balances.")


def _memory(info: Mapping[str, str]) -> Finding:
    used, limit = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))
    if limit == 0:
        return Finding("memory", Health.OK, f"{used / 2**20:.1f} MiB used, no limit")
    percent = 100 * used // limit
    found = f"{used / 2**20:.1f} of {limit / 2**20:.1f} MiB used ({percent} %)"
    if percent >= _FULL_PERCENT:
        return Finding("memory", Health.BAD, found, "Raise maxmemory: a full server refuses every call.")
    return Finding("memory", Health.OK, found)


def _replication(info: Mapping[str, str]) -> Finding:
    if info.get("role") != "master":
        return Finding("replication", Health.BAD, "a replica", "Connect to the primary: a replica takes no writes.")
    replicas = int(info.get("connected_slaves", 0))
    return Finding("replication", Health.OK, f"primary, {replicas} replica{'' if replicas == 1 else 's'}")


def _latency(least_us: int, typical_us: int) -> Finding:
    found = f"{least_us} us at the least, {typical_us} us in the median"
    if typical_us > _SLOW_US:
        return Finding("latency", Health.WARNING, found, "Every admission waits this long: move it nearer.")
    return Finding("latency", Health.OK, found)


def _clock(info: Mapping[str, str], now_ms: int) -> Finding:
    """Each callctl tells by its own clock whether a lease of another one is over."""
    if "server_time_usec" not in info:
        return Finding("clock", Health.OK, "not told")
    apart_ms = abs(int(info["server_time_usec"]) // 1000 - now_ms)
    found = f"{apart_ms / 1000:.1f} s between this machine and the server"
    if apart_ms > _APART_MS:
        advice = "Set both by NTP: of machines further apart than policy.lease_grace_s one gives up calls of another."
        return Finding("clock", Health.BAD, found, advice)
    return Finding("clock", Health.OK, found)


def _loss(info: Mapping[str, str], config: Mapping[str, str]) -> str:
    takes_over = int(info.get("connected_slaves", 0)) > 0
    replica = "; a replica that takes over may lack the last writes, too" if takes_over else ""
    if info.get("aof_enabled") == "1" and info.get("aof_last_write_status", "ok") == "ok":
        return {
            "always": "nothing that it has confirmed",
            "everysec": "nothing if only its process died, at most about the last second if its machine did",
            "no": "nothing if only its process died, perhaps the last half minute if its machine did",
        }.get(config.get("appendfsync", ""), "what is not on disk yet; it does not tell its policy") + replica
    if _snapshots(info, config):
        age_s = int(info.get("server_time_usec", 0)) // 1_000_000 - int(info.get("rdb_last_save_time", 0))
        since = f"{max(0, age_s)} s ago" if "server_time_usec" in info else "some time ago"
        changes = info.get("rdb_changes_since_last_save", "unknown")
        return f"all that has changed since the last snapshot {since}: {changes} writes{replica}"
    return "everything: all accounts, balances, running calls and records" + replica
