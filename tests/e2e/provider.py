"""A furnished daemon: a plan at 0.01 a second and an account; asked over HTTP, killed at will."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import aiohttp
from redis import Redis

from tests.e2e.daemon import TOKEN, Daemon
from tests.waiting import PATIENCE_S

CARRIER_ROWS = "prefix,per_minute\n31,0.0100\n"
# A second costs 0.01: credit is easy to count in seconds.
ROWS = "prefix,destination,type,per_minute\n31,Netherlands,,0.6000\n"
PATIENT = {"CALLCTL_POLICY__BUDGET_MS": "2400", "CALLCTL_POLICY__REDIS_DEADLINE_MS": "2000"}
"""A busy machine may keep a whole process waiting for longer than callctl waits for its store by default."""


def ago(seconds: int) -> dict[str, str]:
    """The body of a report of what happened then."""
    return {"at": (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat()}


class Provider(Daemon):
    """A daemon with more configuration (`more`, TOML). Its Redis is `redis_url`, or the embedded one."""

    def __init__(self, home: Path, *, redis_url: str | None = None, more: str = "") -> None:
        super().__init__(home)
        redis = f'[redis]\nurl = "{redis_url}"\n' if redis_url else ""
        with (home / "config/callctl.toml").open("a") as config:
            config.write(redis + more)
        if "budget_ms" not in more:
            self.settings = PATIENT
        self.session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self.session = aiohttp.ClientSession(
            f"http://127.0.0.1:{self.port}", headers={"Authorization": f"Bearer {TOKEN}"}
        )
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.kill(signal.SIGTERM)
        if self.session is not None:
            await self.session.close()

    async def kill(self, how: signal.Signals = signal.SIGKILL) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.send_signal(how)
            self.process.send_signal(signal.SIGCONT)  # one that a test has stopped takes no SIGTERM
            await self.process.wait()

    async def until(self, reached: Any, within_s: float = 2 * PATIENCE_S) -> None:
        """Wait for an awaitable condition."""
        async with asyncio.timeout(within_s):
            while not await reached():  # noqa: ASYNC110  anything may be waited for
                await asyncio.sleep(0.02)

    async def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Status and JSON of one request; `body` is JSON, or text as CSV."""
        assert self.session is not None
        sent: dict[str, Any] = {} if body is None else {"json": body}
        if isinstance(body, str):
            sent = {"data": body.encode(), "headers": {"Content-Type": "text/csv"}}
        async with self.session.request(method, path, **sent) as answer:
            return answer.status, json.loads(await answer.read() or b"null")

    async def good(self, method: str, path: str, body: Any = None) -> Any:
        """The answer of a request that is granted. As a client should, it asks again while the store is away."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                status, said = await self.ask(method, path, body)
                if status != 503:
                    assert status == 200, (status, said)
                    return said
                await asyncio.sleep(0.1)  # it says itself when it may be asked again: some seconds, too long for a test

    async def furnish(self, credit: str = "10.00", **account: Any) -> None:
        """A carrier, a plan at 0.01 a second, and the account `acme`."""
        await self.good("PUT", "/v1/plans/carrier", {})
        await self.good("PUT", "/v1/plans/carrier/rows", CARRIER_ROWS)
        await self.good("PUT", "/v1/plans/standard", {"buy_plan": "carrier"})
        await self.good("PUT", "/v1/plans/standard/rows", ROWS)
        fields = {"kind": "prepaid", "plan": "standard", "dial_rules": {"country": "NL"}}
        await self.good("PUT", "/v1/accounts/acme", fields | account)
        if credit != "0":
            await self.good("POST", "/v1/accounts/acme/topups", {"id": "first", "amount": credit})

    async def call(self, call_id: str, **other: Any) -> Any:
        """Authorize; the decision."""
        body = {"call_id": call_id, "from": "+31201234567", "to": "0612345678", "account": "acme"}
        return await self.good("POST", "/v1/calls", body | other)

    async def talking(self, calls: int) -> list[Any]:
        """The live calls, once callctl knows that so many are up, and all of them answered."""
        live: list[Any] = []

        async def all_answered() -> bool:
            live[:] = (await self.good("GET", "/v1/calls"))["calls"]
            return [call["granted_until"] is not None for call in live] == [True] * calls

        await self.until(all_answered)
        return live

    async def stored(self, calls: int) -> list[Any]:
        """As `talking`, once its store knows, too. They are extended by it, where there is credit."""
        live = await self.talking(calls)
        for call in live:  # the answer comes when nothing is on its way to the store any more
            await self.good("POST", f"/v1/calls/{quote(call['call_id'], safe='')}/extend?switch={call['switch']}")
        return live

    async def account(self, id: str = "acme") -> Any:
        return await self.good("GET", f"/v1/accounts/{id}")

    async def cdrs(self) -> list[Any]:
        found: list[Any] = (await self.good("GET", "/v1/cdrs?limit=1000"))["cdrs"]
        return found


@asynccontextmanager
async def two_providers(home: Path, redis_url: str) -> AsyncIterator[tuple[Provider, Provider]]:
    """Two daemons on one Redis, which is emptied first."""
    with Redis.from_url(redis_url) as client:
        client.flushall()
    homes = home / "one", home / "two"
    for each in homes:
        each.mkdir()
    one, two = (Provider(each, redis_url=redis_url) for each in homes)
    async with one, two:
        yield one, two
