"""The processes that HTTP load is put on: callctl itself, and an aiohttp that only decodes and encodes.

`python -m bench.daemon callctl REDIS_URL DIRECTORY [SWITCH ...]` and `python -m bench.daemon echo` print their port
when they are ready. A SWITCH is a table `[[switch]]` as JSON.
"""

import asyncio
import sys
from pathlib import Path

import msgspec
import uvloop
from aiohttp import web
from pydantic import SecretStr

from bench.provider import ACCOUNTS, account, rows
from callctl.accounts import Account
from callctl.app import App, running
from callctl.call.takes import TopUp
from callctl.http.answers import Allowed, CheckShown, RateShown
from callctl.http.asked import Authorize
from callctl.logs import set_up
from callctl.rating.tariff import Plan
from callctl.settings import Http, Redis, Settings, Token

TOKEN = "bench"
ROWS = 5_000


async def callctl(redis_url: str, directory: str, *switches: str) -> None:
    """The daemon as it is shipped, with the bench's provider in it, and the switches that there are."""
    token = Token(name="bench", token=SecretStr(TOKEN), scopes=("call", "read", "admin"))
    settings = Settings(
        redis=Redis(url=SecretStr(redis_url), data_dir=Path(directory)),
        http=Http(port=0, token=(token,)),
        switch=Settings.model_validate({"switch": [msgspec.json.decode(switch) for switch in switches]}).switch,
    )
    async with running(settings) as app:
        await _furnish(app)
        print(app.port, flush=True)
        await app.work


async def _furnish(app: App) -> None:
    await app.definitions.put_plan(Plan("carrier"))
    await app.definitions.put_plan(Plan("retail", buy_plan="carrier"))
    for plan in ("carrier", "retail"):
        await app.definitions.put_rows(plan, rows(ROWS))
    for number in range(ACCOUNTS):
        await _open(app, account(number))


async def _open(app: App, customer: Account) -> None:
    await app.definitions.put_account(customer)
    await app.store.top_up(TopUp(customer.id, customer.id, "bench", 10**12, 0))


async def echo() -> None:
    """The same bodies in and out, and nothing in between."""
    decode, encode = msgspec.json.Decoder(Authorize).decode, msgspec.json.Encoder().encode

    async def answer(request: web.Request) -> web.Response:
        asked = decode(await request.read())
        return web.Response(body=encode(_allowed(asked)), headers={"Content-Type": "application/json"})

    app = web.Application()
    app.router.add_post("/v1/calls", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


def _allowed(asked: Authorize) -> Allowed:
    """An answer of the usual length."""
    return Allowed(
        call_id=asked.call_id,
        granted_seconds=10,
        granted_until=None,
        max_seconds=12_345,
        warn_at_seconds=(12_285, 12_315, 12_335),
        account=asked.account,
        b_number="+31612345678",
        rate=RateShown("retail", "Destination 123", "MOB", "0.0500", "0.0800"),
        hold="0.0634",
        trace_id="0123456789abcdef",
        trace=tuple(CheckShown(name, "pass", "31612345678 NL MOB", "at most 10 in use") for name in _CHECKS),
    )


_CHECKS = ("emergency", "account", "number", "rate", "margin", "channels", "channels", "credit")

if __name__ == "__main__":
    set_up(level="error")
    uvloop.run(echo() if sys.argv[1] == "echo" else callctl(*sys.argv[2:]))
