"""The called party pays too: which calls, both chains, and what either side sees of the other."""

import pytest
from msgspec.structs import replace

from callctl.accounts import Account, Kind
from callctl.call.takes import TopUp
from callctl.limits.concurrency import Caps
from callctl.rating.tariff import Direction, Plan, Row
from tests.e2e.front_door import NL_MOB, NOW

DID = "+31201112233"
INBOUND = Row("", "Toll-free", per_minute=3_000_000, direction=Direction.INBOUND)
OUTBOUND = Row("31", "Netherlands", per_minute=8_000_000)


@pytest.fixture
async def callee(door):
    """callee, on its own, has a number and pays 0.03 a minute for being called. It has 1.00."""
    await door.definitions.put_plan(Plan("freephone", buy_plan="carrier"))
    await door.definitions.put_rows("freephone", [OUTBOUND, INBOUND])
    await put(door, Account("callee", Kind.PREPAID, "freephone", numbers=(DID,)), 1_000_000)
    return door


async def put(door, account: Account, micros: int = 0) -> None:
    await door.definitions.put_account(account)
    if micros:
        root = door.tariffs.directory.root(account.id)
        await door.store.top_up(TopUp(account.id, root, "first", micros, NOW.wall_ms))


async def called(door, bearer: str = "ops", **other: str):
    body = {"call_id": "c1", "from": "+31209998877", "to": DID, "account": "acme"}
    return await door.json("POST", "/v1/calls", bearer, json=body | other)


async def finish(door, call_id: str = "c1", *, seconds: int = 60, bearer: str = "ops"):
    await door.json("POST", f"/v1/calls/{call_id}/answer")
    door.clock.pass_s(seconds)
    return (await door.json("POST", f"/v1/calls/{call_id}/end", bearer))["cdrs"]


async def money(door, *accounts: str) -> list[tuple[str, str]]:
    shown = [await door.json("GET", f"/v1/accounts/{account}") for account in accounts]
    return [(account["balance"], account["held"]) for account in shown]


async def test_on_net_the_caller_is_free_and_the_called_pays(callee) -> None:
    decision = await called(callee)
    assert (decision["verdict"], decision["hold"]) == ("allowed", "0.0000")
    held = (await callee.json("GET", "/v1/accounts/callee"))["held"]
    assert held == "1.0000"  # as long as it lasts: nobody extends this call, so it holds its whole grant
    caller, its = await finish(callee)
    assert (caller["account"], caller["role"], caller["charge"]) == ("acme", "customer", "0.0000")
    assert (its["account"], its["role"], its["direction"], its["charge"]) == ("callee", "called", "inbound", "0.0300")
    assert (its["id"], its["destination"], its["parent"], its["trunk"]) == (
        "http/c1:callee:called",
        "Toll-free",
        None,
        None,
    )
    assert await money(callee, "acme", "callee") == [("10.0000", "0.0000"), ("0.9700", "0.0000")]


async def test_where_on_net_is_billed_both_pay(callee) -> None:
    await callee.definitions.put_plan(Plan("retail", buy_plan="carrier", bill_on_net=True))
    await called(callee, can_extend=True)
    caller, its = await finish(callee, seconds=9)
    assert (caller["charge"], its["charge"]) == ("0.0120", "0.0045")
    assert await money(callee, "acme", "callee") == [("9.9880", "0.0000"), ("0.9955", "0.0000")]


async def test_an_inbound_call_of_a_line_is_paid_by_the_number_it_is_for(callee) -> None:
    """The line's owner has no inbound row: nothing to pay."""
    decision = await called(callee, direction="inbound")
    assert decision["account"] == "acme"
    caller, its = await finish(callee)
    assert (caller["charge"], its["account"], its["charge"]) == ("0.0000", "callee", "0.0300")


@pytest.mark.parametrize("direction", ["inbound", "outbound"])
async def test_without_an_inbound_row_the_called_is_no_payer(door, direction) -> None:
    await put(door, Account("callee", Kind.PREPAID, "retail", numbers=(DID,)))
    await called(door, direction=direction)
    assert [cdr["account"] for cdr in await finish(door)] == ["acme"]


async def test_a_call_to_a_number_of_its_own_has_one_side(callee) -> None:
    await called(callee, account="callee")
    assert [(cdr["account"], cdr["role"]) for cdr in await finish(callee)] == [("callee", "customer")]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"active": False}, "suspended"),
        ({"expires_ms": NOW.wall_ms}, "expired"),
        ({"caps": Caps(inbound=0)}, "inbound: 0 in use"),
        ({"plan": "freephone"}, "0.0000 EUR available"),
    ],
)
async def test_what_limits_the_called_is_the_providers_business(door, change, says) -> None:
    await door.definitions.put_plan(Plan("freephone", buy_plan="carrier"))
    await door.definitions.put_rows("freephone", [OUTBOUND, INBOUND])
    account = Account("callee", Kind.PREPAID, "freephone", numbers=(DID,))
    await put(door, replace(account, **change), 0 if "plan" in change else 1_000_000)
    told = await called(door)
    assert (told["refusal"], says in told["detail"]) == ("provider_limit", True), told
    shown = await called(door, "acme", call_id="c2")
    assert (shown["refusal"], shown["detail"]) == ("provider_limit", "")
    assert "callee" not in str(shown)
    refused = [line for line in shown["trace"] if line["verdict"] == "refuse"]
    assert refused == [{"check": "provider_limit", "verdict": "refuse", "saw": ""}]
    assert [account["held"] for account in (await door.json("GET", "/v1/accounts"))["accounts"]] == ["0.0000"] * 5


async def test_the_called_ends_the_call_with_its_credit(callee) -> None:
    await callee.json("POST", "/v1/accounts/callee/topups", json={"id": "more", "amount": "0.0005"})
    decision = await called(callee, can_extend=True)
    assert decision["max_seconds"] == 2001


async def test_each_side_sees_its_own_side(callee) -> None:
    await called(callee)
    await callee.refused(404, "GET", "/v1/calls/c1", "callee")
    assert (await callee.json("GET", "/v1/calls", "callee"))["total"] == 0
    assert "callee" not in str(await callee.json("GET", "/v1/calls/c1", "acme"))
    trace_id = (await callee.json("GET", "/v1/calls/c1"))["trace_id"]
    await callee.refused(404, "GET", f"/v1/traces/{trace_id}", "callee")
    assert [cdr["account"] for cdr in await finish(callee, bearer="acme")] == ["acme"]
    await callee.deliver()
    for bearer in ("acme", "callee"):
        (own,) = (await callee.json("GET", "/v1/cdrs", bearer))["cdrs"]
        assert own["account"] == bearer
        assert {"parent", "cost", "margin", "buy_plan"}.isdisjoint(own)


async def test_a_reseller_above_both_sides_pays_both(door) -> None:
    """shop and callee are both below middle and reseller; each side has its costs and margins apart."""
    rows = {"wholesale": (4, 1), "middleman": (6, 2), "retail": (8, 3)}
    for plan, (out, inbound) in rows.items():
        await door.definitions.put_plan(Plan(plan, buy_plan="carrier", bill_on_net=True))
        both = replace(OUTBOUND, per_minute=out * 1_000_000), replace(INBOUND, per_minute=inbound * 1_000_000)
        await door.definitions.put_rows(plan, both)
    await put(door, Account("callee", Kind.PREPAID, "retail", "middle", numbers=(DID,)), 1_000_000)
    await called(door, account="shop", can_extend=True)
    held = {name: (await door.json("GET", f"/v1/accounts/{name}"))["held"] for name in ("shop", "middle", "callee")}
    assert held == {"shop": "0.0133", "middle": "0.0133", "callee": "0.0050"}
    cdrs = await finish(door, seconds=9)
    assert [(cdr["id"], cdr["role"], cdr["charge"], cdr["cost"]) for cdr in cdrs] == [
        ("http/c1:shop", "customer", "0.0120", "0.0090"),
        ("http/c1:middle", "reseller", "0.0090", "0.0060"),
        ("http/c1:reseller", "reseller", "0.0060", "0.0030"),
        ("http/c1:callee:called", "called", "0.0045", "0.0030"),
        ("http/c1:middle:called", "reseller", "0.0030", "0.0015"),
        ("http/c1:reseller:called", "reseller", "0.0015", None),
    ]
    assert await money(door, "shop", "middle", "callee") == [
        ("9.9880", "0.0000"),
        ("9.9880", "0.0000"),
        ("0.9955", "0.0000"),
    ]
    await door.deliver()
    seen = {(cdr["account"], cdr["role"]): cdr.get("cost")
            for cdr in (await door.json("GET", "/v1/cdrs", "middle"))["cdrs"]}  # fmt: skip
    assert seen == {("shop", "customer"): "0.0090", ("middle", "reseller"): None, ("callee", "called"): "0.0030"}


async def test_an_emergency_call_has_no_called_side(callee) -> None:
    await put(callee, Account("centre", Kind.PREPAID, "freephone", numbers=("+31112112112",)))
    await called(callee, to="112")
    assert (await callee.json("GET", "/v1/calls/c1"))["verdict"] == "allowed"


async def test_calls_to_others_are_as_ever(callee) -> None:
    await called(callee, to=NL_MOB)
    assert [cdr["account"] for cdr in await finish(callee)] == ["acme"]
