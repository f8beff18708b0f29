"""`callctl run` as a process on a real Redis, with a simulated 3CX: configured, calling, killed, started again."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from callctl.simulators.threecx import EndedBy, Setup, SimCall, ThreeCxSimulator
from tests.e2e.provider import Provider
from tests.servers import RedisServer
from tests.waiting import PATIENCE_S, until

NUMBER = "0612345678"
FIRST_S = 6


class Site:
    """A provider and the PBX of its customer."""

    def __init__(self, provider: Provider, simulator: ThreeCxSimulator, mode: str) -> None:
        self.provider = provider
        self.simulator = simulator
        self.pbx = simulator.pbx
        self._via = simulator.setup.client_id if mode == "route_point" else None

    async def linked(self) -> None:
        await self.provider.until(self._is_up)

    async def _is_up(self) -> bool:
        _, said = await self.provider.ask("GET", "/readyz")
        return any(link["name"] == "pbx2" and link["up"] for link in said["links"])

    async def talking(self) -> SimCall:
        call = self.simulator.phone_dials("112", NUMBER, via=self._via)
        assert call is not None
        await until(lambda: self.pbx.dialled or call.ended)
        await self.provider.until(self._is_live)
        self.pbx.far_answers(call)
        return call

    async def _is_live(self) -> bool:
        return bool((await self.provider.good("GET", "/v1/calls"))["calls"])

    async def recorded(self, calls: int = 1) -> list[dict[str, object]]:
        async def there() -> bool:
            return len(await self.provider.cdrs()) >= calls

        await self.provider.until(there)
        return await self.provider.cdrs()


@asynccontextmanager
async def site(home: Path, redis: RedisServer, mode: str, credit: str = "10.00") -> AsyncIterator[Site]:
    async with ThreeCxSimulator(Setup(secret="the key of the client")) as simulator:
        more = (
            f"[policy]\nslice_first_s = {FIRST_S}\n"
            f'[[switch]]\nname = "pbx2"\nkind = "threecx"\nport = {simulator.port}\ntls = false\nclient_id = "900"\n'
            f'secret = "the key of the client"\nmode = "{mode}"\naccount = "acme"\nxapi = true\n'
        )
        async with Provider(home, redis_url=f"{redis.url}/9", more=more) as provider:
            await provider.furnish(credit)
            it = Site(provider, simulator, mode)
            await it.linked()
            yield it


@pytest.fixture
def empty_redis(redis_server: RedisServer) -> RedisServer:
    from redis import Redis

    with Redis.from_url(f"{redis_server.url}/9") as client:
        client.flushdb()
    return redis_server


@pytest.mark.parametrize("mode", ["observe", "route_point"])
async def test_a_call_ends_with_its_credit(tmp_path: Path, empty_redis: RedisServer, mode: str) -> None:
    """0.08 are eight seconds: more than the first slice, so it is extended before it is cut off."""
    async with site(tmp_path, empty_redis, mode, credit="0.08") as it:
        call = await it.talking()
        async with asyncio.timeout(PATIENCE_S):
            await call.over.wait()
        (cdr,) = await it.recorded()
        assert (call.ended_by, cdr["charge"], cdr["released_by"]) == (EndedBy.APP, "0.0800", "callctl")
        assert 7_500 <= call.talked_ms <= 11_000
        assert (await it.provider.account())["balance"] == "0.0000"


@pytest.mark.parametrize("mode", ["observe", "route_point"])
async def test_who_has_no_credit_does_not_call(tmp_path: Path, empty_redis: RedisServer, mode: str) -> None:
    async with site(tmp_path, empty_redis, mode, credit="0") as it:
        call = it.simulator.phone_dials("112", NUMBER, via=it._via)
        assert call is not None
        async with asyncio.timeout(PATIENCE_S):
            await call.over.wait()
        (cdr,) = await it.recorded()
        assert (call.ended_by, call.answered, cdr["refusal"]) == (EndedBy.APP, None, "no_credit")


@pytest.mark.parametrize("mode", ["observe", "route_point"])
async def test_a_daemon_that_was_killed_goes_on_with_its_calls(
    tmp_path: Path, empty_redis: RedisServer, mode: str
) -> None:
    async with site(tmp_path, empty_redis, mode) as it:
        call = await it.talking()
        (live,) = await it.provider.stored(1)
        await it.provider.kill()
        await it.provider.start()
        await it.linked()
        (again,) = (await it.provider.good("GET", "/v1/calls"))["calls"]
        assert again["call_id"] == live["call_id"]
        it.pbx.hang_up(call, EndedBy.CALLED)
        (cdr,) = await it.recorded()
        assert (cdr["estimated"], cdr["verdict"]) == (False, "allowed")
        assert abs(int(str(cdr["duration_ms"])) - call.talked_ms) < 2_000


async def test_the_licence_of_the_pbx_is_heard(tmp_path: Path, empty_redis: RedisServer) -> None:
    async with site(tmp_path, empty_redis, "observe") as it:
        await until(lambda: "licence_changed" in it.provider.log)
        assert "the key of the client" not in it.provider.log
