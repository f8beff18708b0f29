"""What a Redis server is good for: version, persistence, eviction, latency, and what dies with it."""

from collections.abc import Mapping
from typing import Any

from callctl.cli.findings import Finding, failed, fine, unwise
from callctl.clock import SystemClock
from callctl.printable import printable

OLDEST = (6, 2)
_PINGS = 200
_SLOW_MS = 5
_TIMEOUT_S = 2


def examine(url: str) -> list[Finding]:
    """Connects, asks, disconnects; changes nothing."""
    from redis import Redis, RedisError
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    limits: dict[str, Any] = {"socket_timeout": _TIMEOUT_S, "socket_connect_timeout": _TIMEOUT_S}
    try:
        server = Redis.from_url(url, retry=Retry(NoBackoff(), 0), decode_responses=True, **limits)
    except ValueError as wrong:
        return [failed("redis", f"the address is not understood: {wrong}")]
    try:
        with server:
            info = server.info("everything")
            latency_us = _latency_us(server)
            config = _config(server)
    except RedisError as broken:
        return [failed("redis", f"does not answer: {printable(str(broken))}")]
    return [
        *judge(info, config),
        (unwise if latency_us > _SLOW_MS * 1000 else fine)("redis latency", f"{latency_us} us per round trip"),
    ]


def _config(server: Any) -> dict[str, str]:
    from redis import RedisError

    try:
        return dict(server.config_get("appendfsync", "save"))
    except RedisError:  # hosted servers do not show it
        return {}


def _latency_us(server: Any) -> int:
    clock = SystemClock()
    begin = clock.now()
    for _ in range(_PINGS):
        server.ping()
    return clock.now().since_ms(begin) * 1000 // _PINGS


def judge(info: Mapping[str, Any], config: Mapping[str, str]) -> list[Finding]:
    """The server's INFO, and its settings `appendfsync` and `save` where it shows them, in words."""
    name = "valkey" if "valkey_version" in info else "redis"
    version = str(info.get("valkey_version", info.get("redis_version", "0")))
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
    policy = str(info.get("maxmemory_policy", "unknown"))
    findings = [
        fine("redis version", f"{name} {version}, {info.get('redis_mode', 'standalone')}")
        if numbers >= OLDEST
        else failed("redis version", f"{name} {version}; at least {'.'.join(map(str, OLDEST))} is needed"),
        fine("redis eviction", "never evicts: noeviction")
        if policy == "noeviction"
        else failed("redis eviction", f"maxmemory-policy is {policy}: it may throw money away; set noeviction"),
    ]
    if info.get("aof_enabled") and info.get("aof_last_write_status") not in (None, "ok"):
        findings.append(failed("redis persistence", "the last write to the append-only file failed"))
    if info.get("rdb_last_bgsave_status") not in (None, "ok") and not info.get("aof_enabled"):
        findings.append(failed("redis persistence", "the last snapshot failed"))
    if info.get("role") == "slave":
        findings.append(failed("redis role", "this is a replica: it takes no writes"))
    return [*findings, _lost(info, config)]


def _lost(info: Mapping[str, Any], config: Mapping[str, str]) -> Finding:
    """What would be gone if the server died now."""
    title = "if redis died now"
    replicas = int(info.get("connected_slaves", 0))
    copies = f"; {replicas} replica(s) have it but for what is on its way" if replicas else ""
    if info.get("aof_enabled"):
        match config.get("appendfsync", "unknown"):
            case "always":
                return fine(title, "nothing is lost: every write is on disk before it is answered")
            case "everysec":
                return fine(title, f"up to the last second of a machine that dies, nothing of a process{copies}")
            case other:
                detail = f"appendfsync is {other}: up to half a minute of a machine that dies{copies}"
                return unwise(title, detail)
    changes = int(info.get("rdb_changes_since_last_save", 0))
    if config.get("save", "unknown") == "":
        return failed(title, f"everything is lost: neither append-only file nor snapshots{copies}")
    return failed(title, f"{changes} changes since the last snapshot are lost; set appendonly yes{copies}")
