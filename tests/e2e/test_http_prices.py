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


@pytest.mark.parametrize(
    ("per_minute", "stock", "left"),
    [
        ("0", None, None),
        ("0.06", {"id": "time", "minutes": 10}, 600),
        ("0.06", {"id": "money", "amount": "3.00"}, 3000),
    ],
)
@pytest.mark.parametrize("can_extend", [True, False])
async def test_who_is_over_its_limit_can_make_the_calls_that_cost_nothing_or_are_paid(
    door, per_minute, stock, left, can_extend
) -> None:
    """In a month with a large invoice, free minutes are still there."""
    await account(door, f"prefix;per_minute\n31;{per_minute}\n44;1\n", kind="postpaid", credit_limit="10.00")
    if stock is not None:
        await door.json("POST", "/v1/accounts/own/blocks", json=stock | {"prefixes": ["31"]})
    await asked(door, "dear", to="+442071234567")
    await door.json("POST", "/v1/calls/dear/answer")
    door.clock.pass_s(480)
    await door.json("POST", "/v1/calls/dear/end")
    await door.json("PUT", "/v1/accounts/own", json={"kind": "postpaid", "plan": "new", "credit_limit": "1.00"})
    assert (await door.json("GET", "/v1/accounts/own"))["available"] == "-7.0000"
    decision = await asked(door, can_extend=can_extend)
    assert (decision["verdict"], decision.get("max_seconds")) == ("allowed", left)
    refused = await asked(door, "dear again", to="+442071234567")
    assert (refused["refusal"], refused["detail"]) == (
        "no_credit",
        "-7.0000 EUR available, the first increment costs 0.0167 EUR",
    )


async def test_a_price_in_bands_says_which_one_and_until_when(door) -> None:
    """It is Saturday, 11:00 in Amsterdam."""
    rows = (
        "prefix;per_minute;days;from;to;weight;dates;holidays\n31;0,05;;;;;;\n31;0,08;1-5;08:00;18:00;1;;\n"
        "31;0,02;6,7;;;1;;\n44;0,10;;;;;;\n31;0,01;;22:00;06:00;2;;\n31;0,09;;;;3;2026-12-24/2026-12-31;\n"
    )
    await account(door, rows, credit="10.00")
    await door.json("PUT", "/v1/plans/new", json={"timezone": "Europe/Amsterdam"})
    quote = await door.json("GET", "/v1/accounts/own/quote?to=%2B31612345678")
    assert (quote["rate"]["per_minute"], quote["rate"]["band"]) == ("0.0200", "6,7")
    assert quote["rate"]["until"] == "2026-11-21T21:00:00.000Z"
    flat = await door.json("GET", "/v1/accounts/own/quote?to=%2B442071234567")
    assert (flat["rate"]["band"], flat["rate"]["until"]) == (None, None)
    decision = await asked(door, can_extend=True)
    assert decision["rate"] == quote["rate"]
    door.clock.pass_s(36 * 3600)
    assert (await asked(door, "c2"))["rate"]["band"] == "22:00-06:00"
    door.clock.pass_s(10 * 3600)
    monday = (await asked(door, "c3"))["rate"]
    assert (monday["band"], monday["per_minute"], monday["until"]) == (
        "1-5 08:00-18:00",
        "0.0800",
        "2026-11-23T17:00:00.000Z",
    )
    door.clock.pass_s(10 * 3600)
    evening = (await asked(door, "c4"))["rate"]
    assert (evening["band"], evening["per_minute"], evening["until"]) == (None, "0.0500", "2026-11-23T21:00:00.000Z")
    door.clock.pass_s(32 * 86_400)
    assert (await asked(door, "c5"))["rate"]["band"] == "2026-12-24/2026-12-31"
