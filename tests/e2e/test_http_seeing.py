"""What a token that is bound to an account sees (`docs/rules.md`, Seeing): reseller > middle > shop, and acme apart."""

import asyncio
from typing import Any

import pytest
from msgspec.structs import replace

from callctl.accounts import Trunk
from callctl.call.events import CallKey, Released
from callctl.clock import format_time
from callctl.http import accounts, decision, seeing
from callctl.limits.concurrency import Caps
from callctl.rating.tariff import Plan
from tests.e2e.front_door import NL_MOB
from tests.waiting import until

DID = "+31201112233"
LEAST = {"kind": "prepaid", "plan": "retail"}


def ask(account: str | None = None, call_id: str = "c1", **more: str) -> dict[str, str]:
    return {
        "call_id": call_id,
        "from": "+31201234567",
        "to": NL_MOB,
        **({"account": account} if account else {}),
        **more,
    }


async def test_accounts_at_and_below(door) -> None:
    for bearer, visible in (
        ("ops", ["acme", "middle", "reseller", "shop"]),
        ("reseller", ["middle", "reseller", "shop"]),
        ("middle", ["middle", "shop"]),
        ("shop", ["shop"]),
    ):
        listed = (await door.json("GET", "/v1/accounts", bearer))["accounts"]
        assert [account["id"] for account in listed] == visible
        for account in ("acme", "middle", "reseller", "shop", "nobody"):
            for path in ("", "/ledger", "/quote?to=1"):
                response = await door.ask("GET", f"/v1/accounts/{account}{path}", bearer)
                assert response.status == (200 if account in visible else 404), (bearer, account, path)


async def test_what_does_not_exist_and_what_is_not_visible_look_the_same(door) -> None:
    assert await door.refused(404, "GET", "/v1/accounts/acme", "reseller") == await door.refused(
        404, "GET", "/v1/accounts/nobody", "reseller"
    )


async def test_the_parent_and_the_sellers_margin_are_shown_to_those_above_alone(door) -> None:
    rule = {"margin": {"min_percent": "10"}, "max_cost": {"per_call": "1"}}
    await door.json("PUT", "/v1/accounts/shop", "middle", json={**LEAST, "parent": "middle", **rule})
    for bearer in ("ops", "reseller", "middle"):
        shop = await door.json("GET", "/v1/accounts/shop", bearer)
        assert (shop["parent"], shop["margin"]["min_percent"]) == ("middle", "10")
    assert {"parent", "margin", "max_cost"}.isdisjoint(await door.json("GET", "/v1/accounts/shop", "shop"))


async def test_what_a_carrier_takes_for_a_part_is_not_for_a_reseller_to_see(door) -> None:
    for plan, per_minute, bought in (("network", 0.025, {}), ("airtime", 0.03, {"buy_plan": "network"})):
        await door.json("PUT", f"/v1/plans/{plan}", json=bought)
        rows = f"prefix,per_minute\n316,{per_minute}\n"
        await door.json("PUT", f"/v1/plans/{plan}/rows", data=rows, headers={"Content-Type": "text/csv"})
    shop = {**LEAST, "parent": "middle", "also": ["airtime"], "margin": {"min_per_minute": "0.02"}}
    await door.json("PUT", "/v1/accounts/shop", "middle", json=shop)
    explained = await door.json("POST", "/v1/explain", json=ask("shop"))
    assert (explained["verdict"], "network" in str(explained)) == ("allowed", False)
    await door.call("c1", "shop", seconds=60)
    await door.deliver()
    (cdr,) = (it for it in (await door.json("GET", "/v1/cdrs", "middle"))["cdrs"] if it["account"] == "shop")
    assert (cdr["charge"], cdr["cost"], cdr["margin"]) == ("0.1100", "0.0600", "0.0500")


async def test_records_of_its_own_and_below(door) -> None:
    await door.call("c1", "shop")
    await door.call("c2", "acme")
    await door.deliver()
    charges = {}
    for bearer in ("ops", "reseller", "middle", "shop"):
        cdrs = (await door.json("GET", "/v1/cdrs", bearer))["cdrs"]
        charges[bearer] = {
            cdr["account"]: (cdr["charge"], cdr.get("cost"), cdr.get("margin"), cdr.get("parent")) for cdr in cdrs
        }
    assert charges == {
        "ops": {
            "shop": ("0.0800", "0.0600", "0.0200", "middle"),
            "middle": ("0.0600", "0.0400", "0.0200", "reseller"),
            "reseller": ("0.0400", "0.0200", "0.0200", None),
            "acme": ("0.0800", "0.0200", "0.0600", None),
        },
        "reseller": {
            "shop": ("0.0800", "0.0400", None, "middle"),
            "middle": ("0.0600", "0.0400", "0.0200", "reseller"),
            "reseller": ("0.0400", None, None, None),
        },
        "middle": {"shop": ("0.0800", "0.0600", "0.0200", "middle"), "middle": ("0.0600", None, None, None)},
        "shop": {"shop": ("0.0800", None, None, None)},
    }


async def test_no_record_shows_the_chain_and_none_of_its_own_the_purchase_row(door) -> None:
    await door.call("c1", "shop")
    await door.deliver()
    for bearer in ("ops", "reseller", "middle", "shop"):
        for cdr in (await door.json("GET", "/v1/cdrs", bearer))["cdrs"]:
            assert "chain" not in cdr
            assert ("buy_plan" in cdr) == (bearer == "ops" or cdr.get("parent") == bearer)


async def test_the_end_answers_the_records_that_the_token_sees(door) -> None:
    assert [cdr["account"] for cdr in (await door.call("c1", "shop"))["cdrs"]] == ["shop", "middle", "reseller"]
    assert [cdr["account"] for cdr in (await door.call("c2", "shop", bearer="middle"))["cdrs"]] == ["shop", "middle"]
    (own,) = (await door.call("c3", "shop", bearer="shop"))["cdrs"]
    assert {"cost", "margin", "parent"}.isdisjoint(own)


async def test_records_filtered_and_paged(door) -> None:
    await door.call("c1", "shop")
    door.clock.pass_s(100)
    since = (await door.json("POST", "/v1/calls", json=ask("acme", "c2")))["verdict"]
    assert since == "allowed"
    await door.deliver()
    await door.json("POST", "/v1/calls/c2/end")
    await door.deliver()
    assert [cdr["sequence"] for cdr in (await door.json("GET", "/v1/cdrs"))["cdrs"]] == [1, 2, 3, 4]
    only = await door.json("GET", "/v1/cdrs?account=middle")
    assert [cdr["account"] for cdr in only["cdrs"]] == ["middle"]
    first = await door.json("GET", "/v1/cdrs?limit=3")
    assert (first["next"], first["more"]) == (3, True)
    rest = await door.json("GET", f"/v1/cdrs?after={first['next']}")
    assert ([cdr["call_id"] for cdr in rest["cdrs"]], rest["next"], rest["more"]) == (["c2"], 4, False)
    for query, field in (("after=x", "after"), ("limit=1001", "limit"), ("since=today", "since"), ("acct=a", "acct")):
        assert (await door.refused(400, "GET", f"/v1/cdrs?{query}"))["field"] == field
    await door.refused(404, "GET", "/v1/cdrs?account=acme", "reseller")


async def test_a_call_belongs_to_its_payers(door) -> None:
    await door.json("POST", "/v1/calls", json=ask("shop"))
    trace_id = (await door.json("GET", "/v1/calls/c1"))["trace_id"]
    for bearer in ("reseller", "middle", "shop"):
        assert (await door.json("GET", "/v1/calls/c1", bearer))["account"] == "shop"
        assert (await door.json("GET", "/v1/calls", bearer))["total"] == 1
        assert (await door.json("GET", f"/v1/traces/{trace_id}", bearer))["trace"]
    assert (await door.json("GET", "/v1/calls", "acme"))["total"] == 0
    await door.refused(404, "GET", f"/v1/traces/{trace_id}", "acme")
    for method, path in (
        ("GET", "/v1/calls/c1"),
        ("DELETE", "/v1/calls/c1"),
        ("POST", "/v1/calls/c1/answer"),
        ("POST", "/v1/calls/c1/extend"),
        ("POST", "/v1/calls/c1/end"),
    ):
        await door.refused(404, method, path, "acme")
    assert (await door.json("GET", "/v1/calls/c1"))["state"] == "admitted"


async def test_a_trace_shows_nothing_of_the_levels_above(door) -> None:
    await door.definitions.put_account(replace(door.tariffs.directory.accounts["reseller"], caps=Caps(outbound=0)))
    told = await door.json("POST", "/v1/calls", json=ask("shop"))
    assert told["verdict"] == "refused"
    own = await door.json("POST", "/v1/calls", "shop", json=ask("shop", "c2"))
    assert (own["refusal"], own["detail"]) == ("provider_limit", "")
    assert "reseller" not in str(own)
    assert "reseller" in str(told)


async def test_a_bound_token_authorizes_for_itself_and_below(door) -> None:
    for number, account in enumerate(("reseller", "middle", "shop")):
        told = await door.json("POST", "/v1/calls", "reseller", json=ask(account, f"c{number}"))
        assert told["verdict"] == "allowed"
    for account in ("acme", "nobody"):
        for path in ("/v1/calls", "/v1/explain"):
            assert await door.refused(404, "POST", path, "reseller", json=ask(account)) == {
                "code": "not_found", "message": "no such account",
            }  # fmt: skip
    await door.refused(404, "POST", "/v1/calls", "shop", json=ask("middle"))


async def test_a_bound_token_names_the_payer_by_its_own_trunk_or_address(door) -> None:
    await door.json("PUT", "/v1/trunks/ours", json={"account": "shop", "source_ips": ["192.0.2.1"]})
    await door.json("PUT", "/v1/trunks/theirs", json={"account": "acme", "source_ips": ["192.0.2.2"]})
    for number, payer in enumerate(({"trunk": "ours"}, {"source_ip": "192.0.2.1"})):
        told = await door.json("POST", "/v1/calls", "shop", json=ask(call_id=f"c{number}", **payer))
        assert told["account"] == "shop"
    for payer in ({"trunk": "theirs"}, {"trunk": "none"}, {"source_ip": "192.0.2.2"}, {"source_ip": "192.0.2.3"}):
        await door.refused(404, "POST", "/v1/calls", "shop", json=ask(**payer))
    await door.refused(404, "POST", "/v1/calls", "shop", json=ask("shop", trunk="theirs"))
    assert (await door.refused(400, "POST", "/v1/calls", "shop", json=ask()))["field"] == "account"


@pytest.mark.parametrize("path", ["/v1/accounts/{}", "/v1/accounts/{}/topups"])
async def test_a_reseller_changes_those_below_it_and_never_itself(door, path) -> None:
    method = "PUT" if path.endswith("{}") else "POST"
    body = {**LEAST, "parent": "middle"} if method == "PUT" else {"id": "gift", "amount": "1000.00"}
    await door.json(method, path.format("shop"), "middle", json=body)
    assert (await door.refused(403, method, path.format("middle"), "middle", json=body))["code"] == "forbidden"
    for account in ("reseller", "acme"):
        await door.refused(404, method, path.format(account), "middle", json=body)
    assert (await door.json("GET", "/v1/accounts/middle"))["balance"] == "10.0000"


async def test_a_reseller_puts_new_accounts_below_itself(door) -> None:
    await door.json("PUT", "/v1/accounts/kiosk", "middle", json={**LEAST, "parent": "shop"})
    for parent in (None, "reseller", "acme", "nobody"):
        error = await door.refused(403, "PUT", "/v1/accounts/other", "middle", json={**LEAST, "parent": parent})
        assert error["field"] == "parent"
    await door.refused(404, "GET", "/v1/accounts/other")


@pytest.mark.parametrize("least", ["0.0100", "0.9000"])
async def test_what_a_seller_pays_is_in_no_trace_of_its_customer(door, least) -> None:
    rules = {"margin": {"min_per_minute": least}, "max_cost": {"per_minute": "0.50"}}
    await door.json("PUT", "/v1/accounts/shop", "middle", json={**LEAST, "parent": "middle", **rules})
    await door.json("PUT", "/v1/accounts/acme", json={**LEAST, **rules})
    for account, sellers in (("shop", ("ops", "middle")), ("acme", ("ops",))):
        for bearer in (account, *sellers):
            decision = await door.json("POST", "/v1/explain", bearer, json=ask(account))
            seen = [line["saw"] for line in decision["trace"] if line["check"] in ("margin", "max_cost")]
            assert len(seen) == (2 if bearer in sellers else 0)
            if bearer == account:
                assert " buy " not in str(decision)
                assert decision.get("refusal", "margin_too_low") == "margin_too_low"
    await door.json("POST", "/v1/calls", json=ask("acme", "c9"))
    await door.json("POST", "/v1/calls/c9/end")
    await door.deliver()
    assert " buy " not in str(await door.json("GET", "/v1/cdrs", "acme"))


async def test_a_correction_tells_a_reseller_by_how_much_less_it_pays_itself(door) -> None:
    """What it sees of original and correction together is what it paid, of those below as of itself."""
    await door.json("POST", "/v1/calls", json=ask("shop"))
    await door.json("POST", "/v1/calls/c1/answer")
    answered = door.clock.now()
    door.clock.pass_s(60)
    door.calls.receive(Released(CallKey("http", "c1"), door.clock.now(), estimated=True))
    await until(lambda: not door.calls.knows(CallKey("http", "c1")))
    at = format_time(answered.plus_ms(30_000).wall_ms)
    await door.json("POST", "/v1/calls/c1/end", json={"at": at})
    await door.deliver()
    cdrs = (await door.json("GET", "/v1/cdrs", "middle"))["cdrs"]
    told = [(cdr["account"], cdr["charge"], cdr.get("cost"), cdr["corrects"] is None) for cdr in cdrs]
    assert told == [
        ("shop", "0.0800", "0.0600", True),
        ("middle", "0.0600", None, True),
        ("shop", "-0.0400", "-0.0300", False),
        ("middle", "-0.0300", None, False),
    ]


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("plan", {"plan": "carrier"}),
        ("plan", {"plan": "wholesale"}),
        ("plan", {"plan": "lines"}),
        ("also", {"also": ["carrier"]}),
        ("group", {"plan": None, "group": "dear"}),
    ],
)
async def test_nobody_is_put_on_the_plan_that_its_seller_buys_by(door, field, change) -> None:
    """With the prices of that plan a quote for a customer of its own would tell what the seller pays."""
    await door.definitions.put_plan(Plan("lines"))
    await door.definitions.put_trunk(Trunk("carrier-a", "acme", buy_plan="lines"))
    await door.definitions.put_plan(Plan("new"))
    await door.json("PUT", "/v1/groups/dear", json={"plan": "carrier"})
    kid = LEAST | {"parent": "middle"}
    assert (await door.refused(403, "PUT", "/v1/accounts/kid", "middle", json=kid | change))["field"] == field
    for plan in ("new", "middleman", "retail"):
        await door.json("PUT", "/v1/accounts/kid", "middle", json=kid | {"plan": plan})
    await door.json("PUT", "/v1/accounts/kid", json=kid | change)
    await door.json("PUT", "/v1/accounts/kid", "middle", json=kid | {"status": "suspended"} | change)


async def test_numbers_are_given_by_the_provider(door) -> None:
    """To a number of some account calls are on-net, and so mostly free: nobody makes a destination of his so."""
    kid = LEAST | {"parent": "middle"}
    for held in ([], [DID]):
        await door.json("PUT", "/v1/accounts/kid", json=kid | {"numbers": held})
        error = await door.refused(403, "PUT", "/v1/accounts/kid", "middle", json=kid | {"numbers": [*held, NL_MOB]})
        assert error["field"] == "numbers"
    shown = await door.json("PUT", "/v1/accounts/kid", "middle", json=kid | {"numbers": [DID]})
    assert shown["numbers"] == [DID]
    await door.json("PUT", "/v1/accounts/kid", "middle", json=kid)


@pytest.mark.parametrize("field", ["plan", "also"])
async def test_nobody_is_put_on_the_plan_of_another_reseller(door, field) -> None:
    """Neither on what that one pays, nor on what it sells by: `owner` says whose customers a plan is for."""
    for plan, owner in (("rival-buys", None), ("rival-sells", "rival"), ("ours", "middle"), ("kids", "kid")):
        await door.json("PUT", f"/v1/plans/{plan}", json={"owner": owner})
    rival = {"kind": "postpaid", "plan": "rival-buys"}
    await door.json("PUT", "/v1/accounts/rival", json=rival)
    await door.json("PUT", "/v1/accounts/rivals-own", json=LEAST | {"plan": "rival-sells", "parent": "rival"})
    kid = LEAST | {"parent": "middle"}
    for plan in ("rival-buys", "rival-sells"):
        asked = kid | {field: plan if field == "plan" else [plan]}
        assert (await door.refused(403, "PUT", "/v1/accounts/kid", "middle", json=asked))["field"] == field
    for plan in ("ours", "kids"):
        await door.json("PUT", "/v1/accounts/kid", "middle", json=kid | {field: plan if field == "plan" else [plan]})
    own = LEAST | {"parent": "shop", "plan": "ours"}
    error = await door.refused(403, "PUT", "/v1/accounts/kiosk", "shop", json=own)
    assert error["message"] == "this plan is not for the customers of shop"


async def test_an_account_stays_on_the_plan_that_the_provider_has_put_it_on(door) -> None:
    await door.json("PUT", "/v1/plans/rival-sells", json={"owner": "reseller"})
    kid = LEAST | {"parent": "middle", "plan": "rival-sells"}
    await door.refused(403, "PUT", "/v1/accounts/kid", "middle", json=kid)
    await door.json("PUT", "/v1/accounts/kid", json=kid)
    await door.json("PUT", "/v1/accounts/kid", "middle", json=kid | {"status": "suspended"})


async def test_a_long_page_is_made_in_steps(door, monkeypatch: pytest.MonkeyPatch) -> None:
    """No call waits until 500 accounts or 1,000 records or calls are written down."""
    for n in range(150):
        door.definitions.tariffs.put_account(replace(door.definitions.tariffs.accounts["acme"], id=f"a{n}", numbers=()))
    for n in range(250):
        await door.call(f"c{n}", seconds=0)
    await door.deliver()
    for n in range(150):
        asked = {"call_id": f"up{n}", "account": "acme", "from": "+31201234567", "to": NL_MOB, "can_extend": True}
        await door.json("POST", "/v1/calls", json=asked)
    pages = (accounts, "_with_balance", "accounts"), (seeing, "record_seen", "cdrs"), (decision, "describe", "calls")
    for room, step, path in pages:
        make, turns = getattr(room, step), [0]

        def counted(*told: Any, make: Any = make, turns: list[int] = turns) -> Any:
            turns[-1] += 1
            return make(*told)

        monkeypatch.setattr(room, step, counted)
        asking = asyncio.create_task(door.json("GET", f"/v1/{path}"))
        while not asking.done():
            await asyncio.sleep(0)
            turns.append(0)
        assert sum(turns) >= 150
        assert max(turns) <= 100
