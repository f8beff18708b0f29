"""What one daemon was told while Redis was away undoes nothing that another one was told before or since."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path

from tests.e2e.provider import Provider, ago, two_providers
from tests.servers import RedisServer


@asynccontextmanager
async def two(home: Path, server: RedisServer) -> AsyncIterator[tuple[Provider, Provider]]:
    """Both know the account acme, prepaid, with 10.00."""
    async with two_providers(home, server.url) as (one, other):
        await one.furnish()

        async def followed() -> bool:
            return (await other.ask("GET", "/v1/accounts/acme"))[0] == 200

        await other.until(followed)
        yield one, other


@asynccontextmanager
async def refused_and_allowed(home: Path, server: RedisServer) -> AsyncIterator[tuple[Provider, Provider]]:
    """An SBC that was refused c1 by one, for Redis was away, and has asked the other, who allows it."""
    async with two(home, server) as (one, other):
        server.kill()
        assert (await one.call("c1"))["refusal"] == "store_unavailable"
        server.start()

        async def allowed() -> bool:
            return bool((await other.call("c1"))["verdict"] == "allowed")

        await other.until(allowed)
        yield one, other


async def test_a_refusal_without_redis_does_not_end_the_call_that_another_daemon_allowed(
    server: RedisServer, tmp_path: Path
) -> None:
    async with refused_and_allowed(tmp_path, server) as (one, other):
        await other.good("POST", "/v1/calls/c1/answer")

        async def replayed() -> bool:
            return (one.home / "var/journal").read_bytes() == b""

        await one.until(replayed)
        assert [call["state"] for call in (await other.good("GET", "/v1/calls"))["calls"]] == ["answered"]
        ended = await one.good("POST", "/v1/calls/c1/end")
        assert [(cdr["verdict"], cdr["billed_s"] > 0) for cdr in ended["cdrs"]] == [("allowed", True)]
        assert Decimal((await one.account())["balance"]) < 10


async def test_who_has_refused_a_call_hears_of_its_answer_when_another_daemon_has_allowed_it(
    server: RedisServer, tmp_path: Path
) -> None:
    async with refused_and_allowed(tmp_path, server) as (one, _):
        assert (await one.good("POST", "/v1/calls/c1/answer", ago(0)))["verdict"] == "allowed"
        ended = await one.good("POST", "/v1/calls/c1/end")
        assert [(cdr["verdict"], cdr["billed_s"] > 0) for cdr in ended["cdrs"]] == [("allowed", True)]


async def test_what_one_has_extended_is_paid_where_another_hears_of_the_end(
    server: RedisServer, tmp_path: Path
) -> None:
    async with two(tmp_path, server) as (one, other):
        asked = {"can_extend": True, **ago(30)}
        first = await one.call("c1", **asked)
        assert (await other.call("c1", **asked))["granted_seconds"] == first["granted_seconds"] == 10
        await one.good("POST", "/v1/calls/c1/answer", ago(25))
        assert (await one.good("POST", "/v1/calls/c1/extend"))["granted_seconds"] == 30
        server.kill()
        assert (await other.good("POST", "/v1/calls/c1/end", ago(5)))["state"] == "settling"
        server.start()

        async def recorded() -> bool:
            return len(await other.cdrs()) == 1

        await other.until(recorded)
        [cdr] = await other.cdrs()
        assert (cdr["billed_s"], cdr["unbilled_s"]) == (cdr["duration_s"], 0)
