"""What is quoted, held and charged, in corners where two features meet."""

from typing import Any

import pytest

from tests.e2e.front_door import NL_MOB, FrontDoor

FEE = "prefix;connection_fee;per_minute\n31;0,20;0\n"
CAP = {"total": 0, "overflow": {"at_most": 1, "per_call": "0.08", "per_minute": "0.06"}}


async def account(door: FrontDoor, rows: str, *, credit: str = "", **terms: Any) -> None:
    """acme without money, but for `credit`, on a plan of these rows."""
    await door.json("PUT", "/v1/plans/new", json={})
    await door.json("PUT", "/v1/plans/new/rows", data=rows, headers={"Content-Type": "text/csv"})
    await door.json("PUT", "/v1/accounts/own", json={"kind": "prepaid", "plan": "new", **terms})
    if credit:
        await door.json("POST", "/v1/accounts/own/topups", json={"id": "t", "amount": credit})


async def asked(door: FrontDoor, call_id: str = "c1", **more: Any) -> Any:
    body = {"call_id": call_id, "from": "", "to": NL_MOB, "account": "own", **more}
    return await door.json("POST", "/v1/calls", json=body)


@pytest.mark.parametrize(
    ("rows", "terms", "paid"),
    [
        (FEE, {}, "0.2000"),
        ("prefix;per_minute\n31;0\n", {"caps": CAP}, "0.1400"),
        ("prefix;per_minute\n31;0\n", {"also": ["retail"]}, "0.0800"),
    ],
)
async def test_a_block_of_money_pays_whatever_a_call_costs_that_costs_nothing_by_the_minute(
    door, rows, terms, paid
) -> None:
    await account(door, rows, **terms)
    await door.json("POST", "/v1/accounts/own/blocks", json={"id": "money", "amount": "1.00"})
    await door.json("POST", "/v1/accounts/own/blocks", json={"id": "time", "minutes": 1})
    assert (await asked(door))["verdict"] == "allowed"
    await door.json("POST", "/v1/calls/c1/answer")
    door.clock.pass_s(60)
    (record,) = (await door.json("POST", "/v1/calls/c1/end"))["cdrs"]
    assert (record["gross"], record["from_blocks"], record["bundle_s"]) == (paid, paid, 0)
    assert (await door.json("GET", "/v1/accounts/own"))["balance"] == "0.0000"


async def test_the_surcharge_of_a_call_that_is_free_today_is_what_its_first_increment_costs(door) -> None:
    """Not what it costs in the band of next month."""
    rows = "prefix;per_minute;dates\n31;0;\n31;100;2026-12-01/2026-12-31\n"
    await account(door, rows, credit="0.10", caps=CAP)
    decision = await asked(door)
    assert (decision["verdict"], decision.get("max_seconds")) == ("allowed", 20)
