"""One prepaid account calling over several switches of a real daemon at once, and by its API: never overdrawn."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from callctl.simulators import ami, esl
from tests.e2e.provider import Provider
from tests.servers import RedisServer

CALLS = 12  # on each switch
BY_API = 4
CREDIT = "1.00"  # 100 seconds
TABLE = """
[[switch]]
name = "{name}"
kind = "{kind}"
port = {port}
{login}
"""
Switch = ami.AmiSimulator | esl.EslSimulator


class House:
    """A daemon linked to two Asterisks and a FreeSWITCH."""

    def __init__(self, daemon: Provider, switches: dict[str, Switch]) -> None:
        self.daemon = daemon
        self.switches = switches

    async def linked(self) -> None:
        async def all_up() -> bool:
            status, _ = await self.daemon.ask("GET", "/readyz")
            return status == 200

        await self.daemon.until(all_up)

    def dial(self, name: str, number: int) -> Any:
        """Somebody calls out on this switch and talks until he is cut off."""
        script = {"caller": "+31201234567", "called": f"06123456{number:02}", "account": "acme", "ring_s": 0.1}
        switch = self.switches[name]
        if isinstance(switch, ami.AmiSimulator):
            return switch.place_call(ami.Script(**script))  # type: ignore[arg-type]
        return switch.place_call(esl.Script(**script))  # type: ignore[arg-type]

    async def settled(self, calls: int) -> list[Any]:
        async def all_there() -> bool:
            return len(await self.daemon.cdrs()) >= calls and not (await self.daemon.good("GET", "/v1/calls"))["calls"]

        await self.daemon.until(all_there, within_s=60)
        return await self.daemon.cdrs()


@pytest.fixture
async def house(tmp_path: Path, redis_server: RedisServer) -> AsyncIterator[House]:
    with Redis.from_url(redis_server.url) as client:
        client.flushall()
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(ami.AmiSimulator({"cc": ami.User("pw")}))
        two = await stack.enter_async_context(ami.AmiSimulator({"cc": ami.User("pw")}))
        three = await stack.enter_async_context(esl.EslSimulator("pw"))
        login = 'username = "cc"\nsecret = "pw"'
        tables = [
            TABLE.format(name="pbx1", kind="asterisk", port=one.port, login=login),
            TABLE.format(name="pbx2", kind="asterisk", port=two.port, login=login),
            TABLE.format(name="fs1", kind="freeswitch", port=three.port, login='secret = "pw"'),
        ]
        daemon = Provider(
            tmp_path,
            redis_url=redis_server.url,
            more="[policy]\nslice_first_s = 4\nlease_grace_s = 2\n" + "".join(tables),
        )
        await stack.enter_async_context(daemon)
        house = House(daemon, {"pbx1": one, "pbx2": two, "fs1": three})
        await house.linked()
        yield house


async def test_one_balance_over_all_switches_and_the_api(house: House) -> None:
    """Each asks for slices of its own while the others do; what is charged is what was paid in, to the second."""
    await house.daemon.furnish(CREDIT)
    calls = [house.dial(name, 0) for name in house.switches]
    await asyncio.gather(*(call.answer() for call in calls))
    calls += [house.dial(name, number) for number in range(1, CALLS) for name in house.switches]
    asked = [await house.daemon.call(f"api-{n}", can_extend=True) for n in range(BY_API)]
    outcomes = await asyncio.gather(*(call.outcome() for call in calls))
    for n in range(BY_API):
        if asked[n]["verdict"] == "allowed":
            await house.daemon.good("POST", f"/v1/calls/api-{n}/end", {})
    cdrs = await house.settled(CALLS * len(house.switches) + BY_API)
    assert {outcome.sip for outcome in outcomes} == {200, 402}
    assert {cdr["switch"] for cdr in cdrs if cdr["answer_time"]} == set(house.switches)
    account = await house.daemon.account()
    charged = sum((Decimal(cdr["charge"]) for cdr in cdrs), Decimal(0))
    assert Decimal(account["balance"]) == Decimal(CREDIT) - charged
    assert Decimal(account["balance"]) >= 0
    assert (Decimal(account["held"]), account["channels"]["total"]) == (0, 0)


async def test_a_switch_is_removed_while_all_of_them_call_on_one_balance(house: House) -> None:
    await house.daemon.furnish(CREDIT)
    calls = {name: [house.dial(name, number) for number in range(4)] for name in house.switches}
    await asyncio.gather(*(call.answer() for placed in calls.values() for call in placed))
    file = house.daemon.home / "config/callctl.toml"
    before, _, after = file.read_text().partition('\n[[switch]]\nname = "pbx2"')
    file.write_text(before + "\n[[switch]]" + after.partition("\n[[switch]]")[2])
    assert (await house.daemon.good("POST", "/v1/switches/reload"))["removed"] == ["pbx2"]
    await asyncio.gather(*(call.outcome() for placed in calls.values() for call in placed))
    cdrs = await house.settled(12)
    assert {cdr["switch"]: cdr["estimated"] for cdr in cdrs if cdr["answer_time"]} == {
        "pbx1": False,
        "pbx2": True,
        "fs1": False,
    }
    account = await house.daemon.account()
    charged = sum((Decimal(cdr["charge"]) for cdr in cdrs), Decimal(0))
    assert Decimal(account["balance"]) == Decimal(CREDIT) - charged >= 0
    assert Decimal(account["held"]) == 0
