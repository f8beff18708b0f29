"""Resellers' own plans: seen, written and sold by with their token, and nobody else's."""

from typing import Any

import pytest

from tests.e2e.front_door import NL_MOB, FrontDoor

ROWS = {"data": "prefix,per_minute\n31,0.2000\n", "headers": {"Content-Type": "text/csv"}}
KID = {"kind": "prepaid", "parent": "middle", "plan": "ours", "dial_rules": {"country": "NL"}}


@pytest.fixture
async def ours(door: FrontDoor) -> FrontDoor:
    """middle, of reseller, sells to kid by a plan of its own."""
    await door.json("PUT", "/v1/plans/ours", "middle", json={})
    await door.json("PUT", "/v1/plans/ours/rows", "middle", **ROWS)
    await door.json("PUT", "/v1/accounts/kid", "middle", json=KID)
    return door


async def plans(door: FrontDoor, bearer: str) -> list[str]:
    return [plan["id"] for plan in (await door.json("GET", "/v1/plans", bearer))["plans"]]


async def test_a_reseller_sells_by_a_plan_of_its_own(ours: FrontDoor) -> None:
    assert (await ours.json("GET", "/v1/plans/ours", "middle"))["owner"] == "middle"
    assert "31,,,,0.2000" in await (await ours.ask("GET", "/v1/plans/ours/rows", "middle")).text()
    await ours.json("POST", "/v1/accounts/kid/topups", "middle", json={"id": "p1", "amount": "1.00"})
    quote = await ours.json("GET", "/v1/accounts/kid/quote", "middle", params={"to": NL_MOB})
    assert (quote["verdict"], quote["rate"]["per_minute"]) == ("allowed", "0.2000")


async def test_who_sees_it(ours: FrontDoor) -> None:
    seen = {bearer: await plans(ours, bearer) for bearer in ("middle", "reseller", "shop")}
    assert seen == {"middle": ["ours"], "reseller": ["ours"], "shop": []}
    assert set(await plans(ours, "ops")) > {"ours", "wholesale", "carrier"}
    for plan in ("ours", "retail", "middleman", "nothing"):
        for path in (f"/v1/plans/{plan}", f"/v1/plans/{plan}/rows"):
            await ours.refused(404, "GET", path, "shop")


@pytest.mark.parametrize(
    ("plan", "terms", "field"),
    [
        ("middleman", {}, "owner"),  # what it pays itself
        ("wholesale", {}, "owner"),
        ("new", {"owner": "reseller"}, "owner"),
        ("new", {"owner": "nobody"}, "owner"),
        ("new", {"buy_plan": "carrier"}, "buy_plan"),
        ("new", {"buy_plan": "ours"}, "buy_plan"),
        ("new", {"extends": "wholesale"}, "extends"),
        ("new", {"extends": "nothing"}, "extends"),
    ],
)
async def test_what_is_not_its_own_it_does_not_write(
    ours: FrontDoor, plan: str, terms: dict[str, Any], field: str
) -> None:
    error = await ours.refused(403, "PUT", f"/v1/plans/{plan}", "middle", json=terms)
    assert error["field"] == field


async def test_nobody_writes_what_he_pays_by(ours: FrontDoor) -> None:
    """Though the provider has made it his, or what is charged by inherits from it."""
    await ours.json("PUT", "/v1/plans/heir", json={"extends": "ours", "owner": "middle"})
    paying = {"kind": "prepaid", "parent": "reseller", "dial_rules": {"country": "NL"}}
    for plan in ("ours", "heir"):
        await ours.json("PUT", "/v1/accounts/middle", json=paying | {"plan": plan})
        await ours.refused(403, "PUT", "/v1/plans/ours", "middle", json={})
        for path in ("/v1/plans/ours/rows", "/v1/plans/ours/rows?dry_run=true"):
            await ours.refused(403, "PUT", path, "middle", **ROWS)
    await ours.json("PUT", "/v1/accounts/middle", json=paying | {"plan": "middleman"})
    await ours.json("PUT", "/v1/plans/ours/rows", "middle", **ROWS)


async def test_nor_what_others_buy_or_inherit(ours: FrontDoor) -> None:
    for terms in ({"buy_plan": "ours"}, {"extends": "ours"}):
        await ours.json("PUT", "/v1/plans/theirs", json=terms)
        await ours.refused(403, "PUT", "/v1/plans/ours/rows", "middle", **ROWS)
    await ours.json("PUT", "/v1/plans/theirs", json={})
    await ours.json("PUT", "/v1/plans/ours/rows", "middle", **ROWS)


async def test_what_a_customer_owns_is_its_resellers_to_write_and_not_the_other_way(ours: FrontDoor) -> None:
    await ours.json("PUT", "/v1/plans/shops", "middle", json={"owner": "shop"})
    await ours.json("PUT", "/v1/plans/shops", "shop", json={"round_decimals": 2})
    await ours.refused(403, "PUT", "/v1/plans/ours", "shop", json={})
    await ours.refused(404, "PUT", "/v1/plans/ours/rows", "shop", **ROWS)
