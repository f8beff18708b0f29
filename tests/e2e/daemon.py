"""`callctl run` as a process of its own, configured as a provider would, killed and started again."""

import asyncio
import json
import signal
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp

from tests.e2e.command import CALLCTL
from tests.servers import free_port

TOKEN = "a-token-of-the-tests"
CARRIER_ROWS = "prefix,per_minute\n31,0.0100\n"
# A second costs 0.01: credit is easy to count in seconds.
ROWS = "prefix,destination,type,per_minute\n31,Netherlands,,0.6000\n"


class Daemon:
    """A daemon in `home`. Its Redis is `redis_url`, or the embedded one under `home`."""

    def __init__(self, home: Path, *, redis_url: str | None = None, more: str = "") -> None:
        self.home = home
        self.port = free_port(2)
        self.config = home / "callctl.toml"
        url = f'url = "{redis_url}"\n' if redis_url else ""
        self.config.write_text(
            f'[redis]\n{url}data_dir = "{home / "var"}"\n[http]\nport = {self.port}\n'
            f'[[http.token]]\nname = "tests"\ntoken = "{TOKEN}"\nscopes = ["call", "read", "admin"]\n{more}'
        )
        self._process: asyncio.subprocess.Process | None = None
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            f"http://127.0.0.1:{self.port}", headers={"Authorization": f"Bearer {TOKEN}"}
        )
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.kill(signal.SIGTERM)
        if self._session is not None:
            await self._session.close()

    async def start(self) -> None:
        """Start, and wait until it answers."""
        log = (self.home / "daemon.log").open("ab")
        self._process = await asyncio.create_subprocess_exec(
            CALLCTL, "run", "-c", self.config, cwd=self.home, stdout=log, stderr=log
        )
        log.close()
        await self.until(self._answers)

    async def kill(self, how: signal.Signals = signal.SIGKILL) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(how)
            await self._process.wait()

    async def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.returncode is None, (self.home / "daemon.log").read_text()
        try:
            return (await self.ask("GET", "/healthz"))[0] == 200
        except aiohttp.ClientConnectionError:
            return False

    async def until(self, reached: Any, within_s: float = 20) -> None:
        """Wait for an awaitable condition."""
        async with asyncio.timeout(within_s):
            while not await reached():  # noqa: ASYNC110  anything may be waited for
                await asyncio.sleep(0.02)

    async def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Status and JSON of one request; `body` is JSON, or text as CSV."""
        assert self._session is not None
        sent: dict[str, Any] = {} if body is None else {"json": body}
        if isinstance(body, str):
            sent = {"data": body.encode(), "headers": {"Content-Type": "text/csv"}}
        async with self._session.request(method, path, **sent) as answer:
            return answer.status, json.loads(await answer.read() or b"null")

    async def good(self, method: str, path: str, body: Any = None) -> Any:
        status, said = await self.ask(method, path, body)
        assert status == 200, (status, said)
        return said

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

    async def account(self, id: str = "acme") -> Any:
        return await self.good("GET", f"/v1/accounts/{id}")

    async def cdrs(self) -> list[Any]:
        found: list[Any] = (await self.good("GET", "/v1/cdrs?limit=1000"))["cdrs"]
        return found
