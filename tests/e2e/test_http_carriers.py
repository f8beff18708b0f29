"""The carrier that answered tells what a call costs; what it sells for was told at its admission."""

import json
from pathlib import Path
from typing import Any

import pytest

from callctl.accounts import Trunk
from callctl.rating.tariff import Plan, Row
from tests.e2e.front_door import NL_MOB, FrontDoor
from tests.e2e.provider import Provider

ASK = {"call_id": "c1", "from": "+31201234567", "to": NL_MOB, "account": "shop"}


async def answered_by(door: FrontDoor, carrier: str | None, **ask: object) -> list[Any]:
    """The records of a call of a minute, the customer's first."""
    await door.json("POST", "/v1/calls", json=ASK | ask)
    await door.json("POST", "/v1/calls/c1/answer", json={"trunk_out": carrier} if carrier else {})
    door.clock.pass_s(60)
    ended: list[Any] = (await door.json("POST", "/v1/calls/c1/end"))["cdrs"]
    return ended


async def carrier(door: FrontDoor, name: str, *rows: Row, **plan: Any) -> None:
    await door.definitions.put_plan(Plan(f"{name}-rates", **plan))
    await door.definitions.put_rows(f"{name}-rates", rows)
    await door.definitions.put_trunk(Trunk(name, "acme", buy_plan=f"{name}-rates"))


def bought(record: Any) -> tuple[Any, ...]:
    return tuple(record[name] for name in ("buy_plan", "buy_row", "cost", "margin"))


async def test_the_carrier_that_answered_is_what_the_root_pays(door: FrontDoor) -> None:
    await carrier(door, "dear", Row("316", "Mobiles", per_minute=3_500_000))
    shop, middle, root = await answered_by(door, "dear")
    assert bought(root) == ("dear-rates", "316", "0.0350", "0.0050")
    assert [record["charge"] for record in (shop, middle, root)] == ["0.0800", "0.0600", "0.0400"]
    assert bought(shop)[2:] == ("0.0600", "0.0200")


async def test_a_percentage_that_was_told_is_not_priced_again(door: FrontDoor) -> None:
    await door.definitions.put_rows("wholesale", [Row("31", "Netherlands", percent=1_500_000)])
    await carrier(door, "cheap", Row("31", per_minute=1_000_000))
    *_, root = await answered_by(door, "cheap")
    assert (root["charge"], *bought(root)) == ("0.0300", "cheap-rates", "31", "0.0100", "0.0200")


@pytest.mark.parametrize("name", [None, "nobody", "bare"])
async def test_a_carrier_without_a_plan_of_its_own_is_paid_by_that_of_the_root(
    door: FrontDoor, name: str | None
) -> None:
    await door.definitions.put_trunk(Trunk("bare", "acme"))
    *_, root = await answered_by(door, name)
    assert bought(root) == ("carrier", "31", "0.0200", "0.0200")


@pytest.mark.parametrize(
    ("row", "plan"), [(Row("32", per_minute=1), {}), (Row("31", per_minute=1_000_000), {"currency": "USD"})]
)
async def test_a_carrier_whose_price_nobody_knows_leaves_the_cost_open(
    door: FrontDoor, row: Row, plan: dict[str, Any]
) -> None:
    await carrier(door, "odd", row, **plan)
    *_, root = await answered_by(door, "odd")
    assert bought(root) == ("odd-rates", None, None, None)
    assert root["charge"] == "0.0400"


async def test_a_carrier_in_another_currency_is_paid_by_the_rate_of_the_day(door: FrontDoor) -> None:
    await door.json("PUT", "/v1/exchange/USD-EUR", json={"rates": [{"from": "2026-11-21", "rate": "0.9"}]})
    await carrier(door, "odd", Row("31", per_minute=2_500_000), currency="USD")
    *others, root = await answered_by(door, "odd")
    assert (root["charge"], *bought(root)) == ("0.0400", "odd-rates", "31", "0.0225", "0.0175")
    assert root["exchange"] == {"from": "USD", "to": "EUR", "rate": "0.9000", "day": "2026-11-21"}
    assert [record["exchange"] for record in others] == [None, None]


async def test_an_inbound_call_is_answered_by_no_carrier(door: FrontDoor) -> None:
    await door.definitions.put_rows("retail", [Row("31", "Netherlands", per_minute=1_000_000, direction="inbound")])
    await carrier(door, "dear", Row("31", per_minute=3_500_000))
    (record,) = await answered_by(door, "dear", account="acme", direction="inbound", to="+31201234567")
    assert record["buy_plan"] is None


async def test_after_a_crash_the_carrier_is_remembered(tmp_path: Path) -> None:
    async with Provider(tmp_path) as provider:
        await provider.furnish()
        await provider.good("PUT", "/v1/plans/dear", {})
        await provider.good("PUT", "/v1/plans/dear/rows", "prefix,per_minute\n31,0.3000\n")
        await provider.good("PUT", "/v1/trunks/dear", {"account": "acme", "buy_plan": "dear"})
        await provider.call("c1")
        await provider.good("POST", "/v1/calls/c1/answer", {"trunk_out": "dear"})
        await provider.kill()
        await provider.start()
        (record,) = (await provider.good("POST", "/v1/calls/c1/end"))["cdrs"]
        assert (record["buy_plan"], json.loads(record["cost"]) > 0) == ("dear", True)
