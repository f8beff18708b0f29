"""Bundles and blocks through the front door: stated, bought, drawn upon, renewed, and reconciled."""

from decimal import Decimal
from typing import Any

import pytest

from callctl.cli.exits import WrongUseError
from callctl.cli.planbook import plan_from
from callctl.clock import parse_time
from tests.e2e.front_door import NL_MOB, FrontDoor

ROWS = "prefix;destination;per_minute;connection_fee;initial_s;increment_s\n"
NL = {"name": "nl-free", "minutes": 1, "prefixes": ["31"]}
BLOCK = {"id": "buy-1", "minutes": 2, "price": "1.00"}
BLOCKS = "/v1/accounts/acme/blocks"


async def plan(door: FrontDoor, row: str = "31;Netherlands;0,06;0;1;1", **terms: Any) -> None:
    await door.json("PUT", "/v1/plans/retail", json={"timezone": "Europe/Amsterdam", "bundles": [NL], **terms})
    await door.json("PUT", "/v1/plans/retail/rows", data=ROWS + row, headers={"Content-Type": "text/csv"})


async def account(door: FrontDoor, **terms: Any) -> None:
    stated = {"kind": "prepaid", "plan": "retail", "timezone": "Europe/Amsterdam", **terms}
    await door.json("PUT", "/v1/accounts/acme", json=stated)


async def ended(door: FrontDoor, call_id: str, *, seconds: int, account: str = "acme") -> Any:
    """The customer's record of a whole call."""
    return (await door.call(call_id, account, seconds=seconds))["cdrs"][0]


async def asked(door: FrontDoor, call_id: str = "asked", **more: Any) -> Any:
    body = {"call_id": call_id, "from": "+31201234567", "to": NL_MOB, "account": "acme", **more}
    return await door.json("POST", "/v1/calls", json=body)


async def left(door: FrontDoor) -> list[tuple[str, int]]:
    shown = await door.json("GET", BLOCKS)
    return [(each["month"], each["left_seconds"]) for each in shown["bundles"]]


def told(record: Any) -> tuple[Any, ...]:
    return tuple(record[name] for name in ("billed_s", "bundle_s", "charge", "from_blocks"))


async def reconciled(door: FrontDoor, name: str = "acme") -> None:
    """The balance is the sum of the ledger; what the records say was posted stands in it."""
    await door.deliver()
    records = (await door.json("GET", f"/v1/cdrs?account={name}"))["cdrs"]
    entries = (await door.json("GET", f"/v1/accounts/{name}/ledger"))["entries"]
    shown = await door.json("GET", f"/v1/accounts/{name}")
    moved = [Decimal(entry["amount"]) for entry in entries]
    posted = [Decimal(it["gross"]) - Decimal(it.get("from_blocks", 0)) for it in records]
    assert sum(moved) == Decimal(shown["balance"])
    assert -sum(amount for amount, it in zip(moved, entries, strict=True) if it["kind"] != "topup") == sum(posted)
    assert Decimal(shown["held"]) == 0


# ---- a plan's bundle


async def test_a_published_example_of_free_time(door: FrontDoor) -> None:
    """sipwise: 650 s first, then 21 s as two whole increments of 20 s at 3 cents a second."""
    bundle = {"name": "free", "seconds": 650}
    await plan(door, "31;Netherlands;1,80;0;50;20", bundles=[bundle])
    record = await ended(door, "c1", seconds=671)
    assert told(record) == (690, 650, "1.2000", "0.0000")
    assert record["bundles"] == [{"name": "free", "seconds": 650}]
    await reconciled(door)


async def test_a_call_runs_from_its_bundle_into_money(door: FrontDoor) -> None:
    await plan(door)
    assert told(await ended(door, "c1", seconds=40)) == (40, 40, "0.0000", "0.0000")
    assert await left(door) == [("2026-11", 20)]
    assert told(await ended(door, "c2", seconds=40)) == (40, 20, "0.0200", "0.0000")
    assert told(await ended(door, "c3", seconds=40)) == (40, 0, "0.0400", "0.0000")
    assert (await door.json("GET", "/v1/accounts/acme"))["balance"] == "9.9400"
    await reconciled(door)


async def test_the_connection_fee_is_always_charged(door: FrontDoor) -> None:
    await plan(door, "31;Netherlands;0,06;0,05;1;1")
    assert told(await ended(door, "c1", seconds=10)) == (10, 10, "0.0500", "0.0000")


async def test_max_seconds_counts_what_is_free(door: FrontDoor) -> None:
    await plan(door)
    await door.json("POST", "/v1/accounts/acme/topups", json={"id": "out", "amount": "0.01"})
    assert (await asked(door, can_extend=True))["max_seconds"] == 60 + 10_010
    assert (await door.json("GET", "/v1/accounts/acme/quote?to=%2B31612345678"))["max_seconds"] == 60 + 10_010 - 10


async def test_an_empty_balance_can_use_its_bundle_to_the_last_second(door: FrontDoor) -> None:
    await plan(door)
    await account(door)
    await door.json("PUT", "/v1/accounts/poor", json={"kind": "prepaid", "plan": "retail"})
    decision = await asked(door, account="poor")
    assert (decision["verdict"], decision["granted_seconds"], decision["max_seconds"]) == ("allowed", 60, 60)
    assert decision["hold"] == "0.0000"
    again = await asked(door, "c2", account="poor")
    assert (again["verdict"], again["refusal"]) == ("refused", "no_credit")


@pytest.mark.parametrize(
    "chosen", [{"prefixes": ["32"]}, {"types": ["FIX"]}, {"direction": "inbound"}, {"prefixes": ["32", "33"]}]
)
async def test_a_bundle_is_for_what_it_says(door: FrontDoor, chosen: dict[str, Any]) -> None:
    await plan(door, bundles=[{"name": "other", "minutes": 1, **chosen}])
    assert told(await ended(door, "c1", seconds=40)) == (40, 0, "0.0400", "0.0000")


async def test_a_call_that_costs_nothing_leaves_the_bundle_alone(door: FrontDoor) -> None:
    await plan(door, "31;Netherlands;0;0,05;1;1")
    assert told(await ended(door, "c1", seconds=40)) == (40, 0, "0.0500", "0.0000")
    assert await left(door) == [("2026-11", 60)]


async def test_a_bundle_ends_in_the_next_band(door: FrontDoor) -> None:
    """11:00 in Amsterdam; a minute later it costs twice as much, and the bundle pays half of that minute, too."""
    await door.json(
        "PUT", "/v1/plans/retail", json={"timezone": "Europe/Amsterdam", "bundles": [NL | {"minutes": 1.5}]}, status=400
    )
    await plan(door, bundles=[{"name": "free", "seconds": 90}])
    rows = "prefix;per_minute;from;to\n31;0,06;00:00;11:01\n31;0,12;11:01;24:00\n"
    await door.json("PUT", "/v1/plans/retail/rows", data=rows, headers={"Content-Type": "text/csv"})
    assert told(await ended(door, "c1", seconds=120)) == (120, 90, "0.0600", "0.0000")
    await reconciled(door)


async def test_an_inbound_bundle_is_for_inbound_calls(door: FrontDoor) -> None:
    await plan(door, bundles=[{"name": "in", "minutes": 1, "direction": "inbound"}])
    rows = "prefix;per_minute;direction\n31;0,06;outbound\n31;0,03;inbound\n"
    await door.json("PUT", "/v1/plans/retail/rows", data=rows, headers={"Content-Type": "text/csv"})
    await asked(door, "c1", direction="inbound")
    await door.json("POST", "/v1/calls/c1/answer")
    door.clock.pass_s(80)
    (record,) = (await door.json("POST", "/v1/calls/c1/end"))["cdrs"]
    assert told(record) == (80, 60, "0.0100", "0.0000")
    assert told(await ended(door, "c2", seconds=10)) == (10, 0, "0.0100", "0.0000")


async def test_margins_are_judged_before_bundles(door: FrontDoor) -> None:
    await plan(door, "31;Netherlands;0,06;0;1;1", buy_plan="carrier")
    await account(door, margin={"min_per_minute": "0.03"})
    record = await ended(door, "c1", seconds=60)
    assert (told(record), record["cost"], record["margin"]) == ((60, 60, "0.0000", "0.0000"), "0.0200", "-0.0200")


async def test_the_trace_says_what_is_left(door: FrontDoor) -> None:
    await plan(door)
    await door.json("POST", BLOCKS, json={"id": "money", "name": "gift", "amount": "1.00"})
    lines = [line["saw"] for line in (await asked(door, can_extend=True))["trace"] if line["check"] == "bundle"]
    assert lines == ["nl-free: 50 s left", "gift: 1.0000 EUR left"]


async def test_parallel_calls_share_one_bundle(door: FrontDoor) -> None:
    await plan(door, bundles=[NL | {"minutes": 10}])
    decisions = [await asked(door, f"c{n}", can_extend=True) for n in range(3)]
    assert [decision["granted_seconds"] for decision in decisions] == [10] * 3
    assert (await left(door))[0] == ("2026-11", 570)
    for number in range(3):
        await door.json("POST", f"/v1/calls/c{number}/answer")
    for _ in range(8):
        door.clock.pass_s(50)
        for number in range(3):
            await door.json("POST", f"/v1/calls/c{number}/extend")
        assert (await left(door))[0][1] >= 0
    records = [(await door.json("POST", f"/v1/calls/c{number}/end"))["cdrs"][0] for number in range(3)]
    assert sum(record["bundle_s"] for record in records) <= 600
    for record in records:
        assert Decimal(record["charge"]) * 1000 == record["billed_s"] - record["bundle_s"]
    assert (await left(door))[0][1] == 600 - sum(record["bundle_s"] for record in records)
    await reconciled(door)


# ---- months


async def test_a_month_is_the_accounts_own(door: FrontDoor) -> None:
    """Midnight in Amsterdam is 23:00 UTC in November."""
    await plan(door)
    await account(door)
    door.clock.instant = door.clock.instant.at_wall(parse_time("2026-11-30T22:59:00Z"))
    assert told(await ended(door, "c1", seconds=50))[1] == 50
    door.clock.instant = door.clock.instant.at_wall(parse_time("2026-11-30T23:00:00Z"))
    assert await left(door) == [("2026-12", 60)]
    assert told(await ended(door, "c2", seconds=50))[1] == 50


async def test_a_month_that_ends_in_mid_call_changes_nothing_for_it(door: FrontDoor) -> None:
    await plan(door)
    await account(door)
    door.clock.instant = door.clock.instant.at_wall(parse_time("2026-11-30T22:59:50Z"))
    assert told(await ended(door, "c1", seconds=50)) == (50, 50, "0.0000", "0.0000")
    assert await left(door) == [("2026-12", 60)]


async def test_a_rest_lives_one_month_longer_and_is_used_first(door: FrontDoor) -> None:
    await plan(door, bundles=[NL | {"rollover": True}])
    await ended(door, "c1", seconds=20)
    door.clock.instant = door.clock.instant.at_wall(parse_time("2026-12-24T12:00:00Z"))
    assert await left(door) == [("2026-11", 40), ("2026-12", 60)]
    assert told(await ended(door, "c2", seconds=50)) == (50, 50, "0.0000", "0.0000")
    assert await left(door) == [("2026-11", 0), ("2026-12", 50)]
    door.clock.instant = door.clock.instant.at_wall(parse_time("2027-01-02T12:00:00Z"))
    assert await left(door) == [("2026-12", 50), ("2027-01", 60)]
    assert told(await ended(door, "c3", seconds=120))[1] == 110


async def test_nothing_is_rolled_over_from_before_the_plan_had_it(door: FrontDoor) -> None:
    await plan(door, bundles=[NL | {"rollover": True}])
    assert told(await ended(door, "c1", seconds=100))[1] == 60


async def test_nothing_is_rolled_over_from_before_the_account_had_the_plan(door: FrontDoor) -> None:
    await plan(door, bundles=[NL | {"rollover": True, "since": "2026-01-01T00:00:00Z"}])
    await door.json("PUT", "/v1/accounts/acme", json={"kind": "prepaid", "plan": "wholesale"})
    await account(door)
    assert told(await ended(door, "c1", seconds=100))[1] == 60
    await account(door, plan_since="2026-10-31T00:00:00Z")
    assert told(await ended(door, "c2", seconds=100))[1] == 60


@pytest.mark.parametrize("through", ["group", "parent"])
async def test_nothing_is_rolled_over_from_before_the_group_or_parent_had_the_plan(
    door: FrontDoor, through: str
) -> None:
    await plan(door, bundles=[NL | {"rollover": True, "since": "2026-01-01T00:00:00Z"}])
    long_ago = {"plan_since": "2026-01-01T00:00:00Z"}
    above = "/v1/groups/above" if through == "group" else "/v1/accounts/above"
    kind = {} if through == "group" else {"kind": "postpaid"}
    await door.json("PUT", above, json=kind | {"plan": "wholesale"})
    await door.json("PUT", "/v1/accounts/new", json={"kind": "postpaid", through: "above"} | long_ago)
    await door.json("PUT", above, json=kind | {"plan": "retail"})
    await door.json("PUT", above, json=kind | {"plan": "retail"})
    shown = (await door.json("GET", "/v1/accounts/new/blocks"))["bundles"]
    assert [(each["month"], each["left_seconds"]) for each in shown] == [("2026-11", 60)]
    assert (await ended(door, "c1", seconds=100, account="new"))["bundle_s"] == 60
    door.clock.instant = door.clock.instant.at_wall(parse_time("2026-12-24T12:00:00Z"))
    await door.json("PUT", above, json=kind | {"plan": "retail"})
    shown = (await door.json("GET", "/v1/accounts/new/blocks"))["bundles"]
    assert [each["month"] for each in shown] == ["2026-11", "2026-12"]


# ---- blocks


async def test_a_block_is_bought_once_and_used(door: FrontDoor) -> None:
    await plan(door, bundles=[])
    bought = await door.json("POST", BLOCKS, json=BLOCK)
    assert (bought["id"], bought["seconds"], bought["price"]) == ("buy-1", 120, "1.0000")
    assert await door.json("POST", BLOCKS, json=BLOCK) == bought
    assert (await door.json("GET", "/v1/accounts/acme"))["balance"] == "9.0000"
    assert told(await ended(door, "c1", seconds=100)) == (100, 100, "0.0000", "0.0000")
    assert told(await ended(door, "c2", seconds=100)) == (100, 20, "0.0800", "0.0000")
    (shown,) = (await door.json("GET", BLOCKS))["blocks"]
    assert (shown["left_seconds"], shown["held"], shown["block"]) == (0, "0", bought)
    await reconciled(door)


async def test_the_same_id_is_not_another_block(door: FrontDoor) -> None:
    await door.json("POST", BLOCKS, json=BLOCK)
    assert (await door.refused(409, "POST", BLOCKS, json=BLOCK | {"minutes": 3}))["field"] == "id"
    assert len((await door.json("GET", BLOCKS))["blocks"]) == 1


async def test_what_cannot_be_paid_is_not_there(door: FrontDoor) -> None:
    await plan(door, bundles=[])
    assert (await door.refused(422, "POST", BLOCKS, json=BLOCK | {"price": "10.01"}))["field"] == "price"
    assert (await door.json("GET", BLOCKS))["blocks"] == []
    assert told(await ended(door, "c1", seconds=10))[1] == 0
    await door.json("POST", BLOCKS, json=BLOCK)


async def test_a_block_of_money_pays_before_the_balance(door: FrontDoor) -> None:
    await plan(door, bundles=[], taxes=[{"name": "VAT", "percent": "20"}])
    await door.json("POST", BLOCKS, json={"id": "gift", "amount": "0.10", "price": "0.00"})
    record = await ended(door, "c1", seconds=50)
    assert (told(record), record["gross"]) == ((50, 0, "0.0500", "0.0600"), "0.0600")
    record = await ended(door, "c2", seconds=50)
    assert (told(record), record["gross"]) == ((50, 0, "0.0500", "0.0400"), "0.0600")
    assert (await door.json("GET", "/v1/accounts/acme"))["balance"] == "9.9800"
    await reconciled(door)


async def test_blocks_are_used_in_their_order_after_bundles_and_minutes_before_money(door: FrontDoor) -> None:
    await plan(door)
    for block in (
        {"id": "money", "amount": "1.00"},
        {"id": "last", "seconds": 10, "order": 2},
        {"id": "later", "seconds": 10, "order": 1, "expires": "2026-12-31T00:00:00Z"},
        {"id": "sooner", "seconds": 10, "order": 1, "expires": "2026-12-01T00:00:00Z"},
    ):
        await door.json("POST", BLOCKS, json=block)
    record = await ended(door, "c1", seconds=75)
    assert record["bundles"] == [
        {"name": "nl-free", "seconds": 60},
        {"name": "sooner", "seconds": 10},
        {"name": "later", "seconds": 5},
    ]
    record = await ended(door, "c2", seconds=30)
    assert told(record) == (30, 15, "0.0150", "0.0150")
    await reconciled(door)


@pytest.mark.parametrize(("full", "charged"), [(True, "0.1100"), (False, "0.0100")])
@pytest.mark.parametrize("can_extend", [False, True])
async def test_a_block_of_money_pays_what_is_over_the_cap(
    door: FrontDoor, full: bool, charged: str, can_extend: bool
) -> None:
    await plan(door, bundles=[])
    caps = {"outbound": 0 if full else 1, "overflow": {"at_most": 1, "per_call": "0.1000"}}
    await account(door, caps=caps)
    await door.json("POST", BLOCKS, json={"id": "gift", "amount": "5.00"})
    assert (await asked(door, "c1", can_extend=can_extend))["hold"] == "0.0000"
    await door.json("POST", "/v1/calls/c1/answer")
    door.clock.pass_s(10)
    (record,) = (await door.json("POST", "/v1/calls/c1/end"))["cdrs"]
    assert (record["gross"], record["from_blocks"]) == (charged, charged)
    (shown,) = (await door.json("GET", BLOCKS))["blocks"]
    assert (shown["left_amount"], shown["held"]) == (f"{Decimal(5) - Decimal(charged)}", "0.0000")
    await reconciled(door)


async def test_a_block_that_is_over_is_not_used(door: FrontDoor) -> None:
    await plan(door, bundles=[])
    await door.json("POST", BLOCKS, json=BLOCK | {"expires": "2026-11-21T10:01:00Z"})
    assert told(await ended(door, "c1", seconds=100)) == (100, 100, "0.0000", "0.0000")  # it was set up before
    assert told(await ended(door, "c2", seconds=10))[1] == 0
    await door.refused(422, "POST", BLOCKS, json=BLOCK | {"id": "buy-2", "expires": "2026-11-21T10:01:00Z"})


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"seconds": 60}, 422),
        ({"minutes": None}, 422),
        ({"minutes": 0}, 400),
        ({"minutes": None, "amount": "0"}, 422),
        ({"price": "-1"}, 422),
        ({"price": 1}, 400),
        ({"id": "a b"}, 400),
        ({"id": None}, 400),
        ({"order": -1}, 400),
        ({"types": ["BOAT"]}, 400),
        ({"expires": "tomorrow"}, 422),
        ({"colour": "red"}, 400),
    ],
)
async def test_a_wrong_block_is_refused(door: FrontDoor, change: dict[str, Any], status: int) -> None:
    wrong = {key: value for key, value in (BLOCK | change).items() if value is not None}
    await door.refused(status, "POST", BLOCKS, json=wrong)
    assert (await door.json("GET", "/v1/accounts/acme"))["balance"] == "10.0000"


@pytest.mark.parametrize(
    "bundle", [{"name": "x"}, {"name": "x", "minutes": 1, "seconds": 1}, {"minutes": 1}, {"name": "x", "seconds": 0}]
)
async def test_a_wrong_bundle_is_refused(door: FrontDoor, bundle: dict[str, Any]) -> None:
    response = await door.ask("PUT", "/v1/plans/retail", json={"bundles": [bundle]})
    assert response.status in (400, 422)
    assert (await door.refused(422, "PUT", "/v1/plans/retail", json={"bundles": [NL, NL]}))["field"] == "bundles"


async def test_who_buys_for_whom(door: FrontDoor) -> None:
    await door.refused(403, "POST", "/v1/accounts/shop/blocks", "shop", json=BLOCK)
    await door.refused(404, "POST", BLOCKS, "reseller", json=BLOCK)
    await door.refused(403, "POST", BLOCKS, "reader", json=BLOCK)
    await door.json("POST", "/v1/accounts/shop/blocks", "reseller", json=BLOCK)
    assert len((await door.json("GET", "/v1/accounts/shop/blocks", "shop"))["blocks"]) == 1
    await door.refused(404, "GET", BLOCKS, "shop")
    assert (await door.json("GET", "/v1/accounts/shop", "shop"))["balance"] == "9.0000"


async def test_every_level_has_its_own(door: FrontDoor) -> None:
    """The shop's block is not its reseller's: the chain above is charged by the minute."""
    await door.json("POST", "/v1/accounts/shop/blocks", json=BLOCK | {"price": "0"})
    shop, middle, root = (await door.call("c1", "shop", seconds=60))["cdrs"]
    assert [(record["bundle_s"], record["charge"]) for record in (shop, middle, root)] == [
        (60, "0.0000"),
        (0, "0.0600"),
        (0, "0.0400"),
    ]
    assert shop["margin"] == "-0.0600"


async def test_the_command_line_reads_bundles_as_they_are_shown(door: FrontDoor) -> None:
    await plan(
        door, bundles=[NL | {"rollover": True}, {"name": "since", "seconds": 5, "since": "2026-01-01T00:00:00Z"}]
    )
    shown = await door.json("GET", "/v1/plans/retail")
    assert plan_from(shown) == door.tariffs.plan("retail")
    assert plan_from({"id": "p", "bundles": [NL]}).bundles[0].seconds == 60
    with pytest.raises(WrongUseError, match="seconds"):
        plan_from({"id": "p", "bundles": [{"name": "x"}]})


async def test_who_buys_again_asks_no_more_for_what_is_used_up(door: FrontDoor) -> None:
    await plan(door, bundles=[])
    await door.json("POST", BLOCKS, json={"id": "small", "seconds": 5})
    await door.json("POST", BLOCKS, json={"id": "large", "seconds": 50})
    assert told(await ended(door, "c1", seconds=20))[1] == 20
    await door.json("POST", BLOCKS, json={"id": "other", "seconds": 1})
    assert {block.id for block in door.tariffs.blocks["acme"]} == {"small", "large", "other"}
    assert told(await ended(door, "c2", seconds=60))[1] == 36
    await door.json("POST", BLOCKS, json={"id": "next", "seconds": 50})
    assert {block.id for block in door.tariffs.blocks["acme"]} == {"next"}
    assert told(await ended(door, "c3", seconds=60))[1] == 50
    await reconciled(door)


async def test_what_was_bought_moves_with_its_account(door: FrontDoor) -> None:
    await plan(door)
    await door.json("POST", BLOCKS, json=BLOCK)
    await ended(door, "c1", seconds=70)
    await account(door, parent="reseller")
    shown = await door.json("GET", BLOCKS)
    assert [each["left_seconds"] for each in shown["bundles"] + shown["blocks"]] == [0, 110]
    assert await door.json("POST", BLOCKS, json=BLOCK) == shown["blocks"][0]["block"]
    assert told(await ended(door, "c2", seconds=120)) == (120, 110, "0.0100", "0.0000")
