"""Groups of customers: one plan for all of them, and another one at once."""

from tests.e2e.front_door import NL_MOB

MEMBER = {"kind": "prepaid", "group": "gold"}


async def per_minute(door, account: str) -> str:
    quoted = await door.json("GET", f"/v1/accounts/{account}/quote?to=%2B31612345678")
    return quoted["rate"]["per_minute"]


async def test_a_group_is_read_as_it_was_put(door) -> None:
    put = await door.json("PUT", "/v1/groups/gold", json={"plan": "retail"})
    shown = {"id": "gold", "plan": "retail", "plan_since": "2026-11-21T10:00:00.000Z"}
    assert put == await door.json("GET", "/v1/groups/gold") == shown
    door.clock.pass_s(60)
    assert await door.json("PUT", "/v1/groups/gold", json={"plan": "retail"}) == shown
    stated = {"plan": "retail", "plan_since": "2026-01-01T00:00:00.000Z"}
    assert await door.json("PUT", "/v1/groups/gold", json=stated) == shown | stated
    await door.refused(404, "GET", "/v1/groups/silver")


async def test_what_is_wrong_with_a_group_is_said(door) -> None:
    for status, body, field in (
        (400, {}, "plan"),
        (400, {"plan": None}, "plan"),
        (400, {"plan": "retail", "colour": "red"}, "colour"),
        (422, {"plan": "nothing"}, "plan"),
    ):
        assert (await door.refused(status, "PUT", "/v1/groups/gold", json=body))["field"] == field
    assert (await door.refused(422, "PUT", "/v1/accounts/new", json=MEMBER))["field"] == "group"
    await door.refused(404, "GET", "/v1/groups/gold")


async def test_groups_are_the_providers(door) -> None:
    await door.json("PUT", "/v1/groups/gold", json={"plan": "retail"})
    await door.refused(403, "GET", "/v1/groups/gold", "reseller")
    await door.refused(403, "PUT", "/v1/groups/gold", "reseller", json={"plan": "carrier"})
    await door.json("PUT", "/v1/accounts/acme", json=MEMBER)
    own = await door.json("GET", "/v1/accounts/acme", "acme")
    assert "group" not in own
    assert own["effective_plan"] == "retail"


async def test_a_group_with_another_plan_charges_by_it_from_the_next_call_on(door) -> None:
    await door.json("PUT", "/v1/groups/gold", json={"plan": "retail"})
    put = await door.json("PUT", "/v1/accounts/acme", json=MEMBER)
    assert (put["plan"], put["group"], put["effective_plan"]) == (None, "gold", "retail")
    body = {"call_id": "running", "from": "+31201234567", "to": NL_MOB, "account": "acme"}
    await door.json("POST", "/v1/calls", json=body)
    await door.json("POST", "/v1/calls/running/answer")
    await door.json("PUT", "/v1/groups/gold", json={"plan": "wholesale"})
    assert (await door.json("GET", "/v1/accounts/acme"))["effective_plan"] == "wholesale"
    assert await per_minute(door, "acme") == "0.0400"
    door.clock.pass_s(60)
    (record,) = (await door.json("POST", "/v1/calls/running/end", json={"q850": 16}))["cdrs"]
    assert (record["plan"], record["charge"]) == ("retail", "0.0800")
    (record,) = (await door.call("next"))["cdrs"]
    assert (record["plan"], record["charge"]) == ("wholesale", "0.0400")


async def test_a_plan_of_ones_own_goes_before_the_groups(door) -> None:
    await door.json("PUT", "/v1/groups/gold", json={"plan": "retail"})
    put = await door.json("PUT", "/v1/accounts/acme", json={**MEMBER, "plan": "middleman"})
    assert put["effective_plan"] == "middleman"
    assert await per_minute(door, "acme") == "0.0600"


async def test_a_trial_says_the_plan_that_it_would_have(door) -> None:
    await door.json("PUT", "/v1/groups/gold", json={"plan": "retail"})
    heir = {"kind": "prepaid", "parent": "middle"}
    assert (await door.json("PUT", "/v1/accounts/a?dry_run=true", json=heir))["effective_plan"] == "middleman"
    member = await door.json("PUT", "/v1/accounts/a?dry_run=true", json={**heir, "group": "gold"})
    assert member["effective_plan"] == "retail"
    await door.refused(404, "GET", "/v1/accounts/a")


async def test_all_below_a_member_have_the_plan_of_the_group(door) -> None:
    await door.json("PUT", "/v1/groups/gold", json={"plan": "retail"})
    await door.json("PUT", "/v1/accounts/middle", json={**MEMBER, "parent": "reseller"})
    await door.json("PUT", "/v1/accounts/shop", json={"kind": "prepaid", "parent": "middle"})
    assert (await door.json("GET", "/v1/accounts/shop"))["effective_plan"] == "retail"
    await door.json("PUT", "/v1/groups/gold", json={"plan": "carrier"})
    listed = (await door.json("GET", "/v1/accounts", "middle"))["accounts"]
    assert {each["id"]: each["effective_plan"] for each in listed} == {"middle": "carrier", "shop": "carrier"}
