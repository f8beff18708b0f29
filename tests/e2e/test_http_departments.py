"""Departments of one PBX: which of its calls another account pays for, and who sees and states that."""

import pytest

from callctl.accounts import Account, Kind, Trunk
from callctl.limits.concurrency import Caps
from callctl.numbering import DialRules
from tests.e2e.front_door import NL_MOB

DEPARTMENTS = [
    {"match": {"extension": "2x1"}, "account": "sales"},
    {"match": {"trunk": "t1"}, "account": "fleet"},
    {"match": {"prefix": "*12"}, "account": "fleet"},
    {"match": {"extension": "299"}, "account": "nobody"},
    {"match": {"extension": "312012345xx"}, "account": "sales"},
]
PBX = {"kind": "prepaid", "plan": "retail", "dial_rules": {"country": "NL"}, "departments": DEPARTMENTS}


@pytest.fixture
async def pbx(door):
    """acme is a PBX; sales is below it, fleet apart from it. Both have 5.00."""
    for name, parent in (("sales", "acme"), ("fleet", None)):
        await door.definitions.put_account(Account(name, Kind.PREPAID, "retail", parent))
        await door.json("POST", f"/v1/accounts/{name}/topups", json={"id": "first", "amount": "5.00"})
    await door.json("PUT", "/v1/accounts/acme", json=PBX)
    await door.definitions.put_trunk(Trunk("t1", "acme", caps=Caps(outbound=1)))
    return door


async def decided(door, bearer: str = "ops", **call: str):
    body = {"call_id": "c1", "from": "201", "to": "0612345678", "account": "acme"}
    return await door.json("POST", "/v1/calls", bearer, json=body | call)


def told(decision) -> list[str]:
    return [line["saw"] for line in decision["trace"] if line["check"] == "account"]


@pytest.mark.parametrize(
    ("call", "account", "saw"),
    [
        ({"from": "201"}, "sales", "extension 201 of acme: sales"),
        ({"from": "202"}, "acme", "account acme"),
        ({"from": "2x1"}, "acme", "account acme"),  # an x of the number is no digit
        ({"from": "2011"}, "acme", "account acme"),
        ({"from": "202", "trunk": "t1"}, "fleet", "trunk t1 of acme: fleet"),
        ({"from": "201", "trunk": "t1"}, "sales", "extension 201 of acme: sales"),  # the first that matches
        ({"from": "202", "to": "*120612345678"}, "fleet", "prefix *12 of acme: fleet"),
        (
            {"from": NL_MOB, "to": "+31201234567", "direction": "inbound"},
            "sales",
            "extension 31201234567 of acme: sales",
        ),
    ],
)
async def test_the_first_that_matches_pays(pbx, call, account, saw) -> None:
    decision = await decided(pbx, **call)
    assert (decision["verdict"], decision["account"]) == ("allowed", account), decision
    assert told(decision) == [saw]


async def test_the_code_is_taken_off_and_the_number_read_by_the_rules_of_the_pbx(pbx) -> None:
    decision = await decided(pbx, **{"from": "202", "to": "*120612345678"})
    assert decision["b_number"] == NL_MOB
    internal = await decided(pbx, call_id="c2", **{"from": "202", "to": "*12203", "direction": "internal"})
    assert (internal["b_number"], internal["account"]) == ("203", "fleet")
    only_the_code = await decided(pbx, call_id="c3", **{"from": "202", "to": "*12"})
    assert only_the_code["refusal"] == "invalid_number"


async def test_no_code_is_taken_off_an_emergency_number(pbx) -> None:
    one = {"departments": [{"match": {"prefix": "1"}, "account": "fleet"}]}
    await pbx.json("PUT", "/v1/accounts/acme", json=PBX | one)
    for call_id, to in (("c1", "112"), ("c2", "1112")):
        decision = await decided(pbx, call_id=call_id, to=to)
        assert (decision["verdict"], decision["b_number"], decision["rate"]) == ("allowed", "112", None)


async def test_a_department_is_charged_by_its_own_chain(pbx) -> None:
    await decided(pbx)
    await pbx.json("POST", "/v1/calls/c1/answer")
    pbx.clock.pass_s(60)
    cdrs = (await pbx.json("POST", "/v1/calls/c1/end"))["cdrs"]
    assert [(cdr["account"], cdr["role"], cdr["charge"]) for cdr in cdrs] == [
        ("sales", "customer", "0.0800"),
        ("acme", "reseller", "0.0800"),
    ]
    assert (await pbx.json("GET", "/v1/accounts/sales"))["balance"] == "4.9200"
    assert (await pbx.json("GET", "/v1/accounts/fleet"))["balance"] == "5.0000"


async def test_channels_of_the_line_count_where_its_owner_is(pbx) -> None:
    """A department below the PBX takes them; one under another root cannot."""
    for call_id, account in (("c1", "allowed"), ("c2", "refused")):
        assert (await decided(pbx, call_id=call_id, trunk="t1"))["verdict"] == account
    assert (await decided(pbx, call_id="c3", trunk="t1", **{"from": "202"}))["verdict"] == "allowed"


async def test_one_that_does_not_exist_refuses(pbx) -> None:
    decision = await decided(pbx, **{"from": "299"})
    assert (decision["refusal"], decision["detail"]) == (
        "unknown_account",
        "extension 299 of acme: nobody, no such account",
    )


async def test_nothing_of_it_is_unenforced(pbx) -> None:
    decision = await decided(pbx)
    assert "departments" not in {line["check"] for line in decision["trace"]}


async def test_a_department_is_not_told_whose_it_is(pbx) -> None:
    await decided(pbx)
    await pbx.json("POST", "/v1/calls/c1/answer")
    await pbx.json("POST", "/v1/calls/c1/end")
    trace_id = (await pbx.json("GET", "/v1/calls/c1"))["trace_id"]
    assert told(await pbx.json("GET", f"/v1/traces/{trace_id}", "acme")) == ["extension 201 of acme: sales"]
    assert told(await pbx.json("GET", f"/v1/traces/{trace_id}", "sales")) == []


async def test_a_token_uses_only_departments_that_it_sees(pbx) -> None:
    assert (await decided(pbx, "acme"))["account"] == "sales"
    assert (await decided(pbx, "acme", call_id="c2", **{"from": "202"}))["account"] == "acme"
    body = {"call_id": "c3", "from": "202", "to": "*120612345678", "account": "acme"}
    assert (await pbx.refused(404, "POST", "/v1/calls", "acme", json=body))["message"] == "no such account"
    by_line = {"call_id": "c3", "from": "202", "to": NL_MOB, "trunk": "t1"}
    assert (await pbx.refused(404, "POST", "/v1/calls", "acme", json=by_line))["message"] == "no such trunk"


async def test_a_token_sees_and_states_only_departments_at_or_below_it(pbx) -> None:
    own = [each["account"] for each in (await pbx.json("GET", "/v1/accounts/acme", "acme"))["departments"]]
    assert own == ["sales", "sales"]
    shop = {"kind": "prepaid", "plan": "retail", "parent": "middle"}
    for account, allowed in (("acme", False), ("reseller", False), ("nobody", False), ("shop", True), ("middle", True)):
        body = shop | {"departments": [{"match": {"extension": "1"}, "account": account}]}
        if allowed:
            await pbx.json("PUT", "/v1/accounts/shop", "middle", json=body)
        else:
            refused = await pbx.refused(403, "PUT", "/v1/accounts/shop", "middle", json=body)
            assert refused["field"] == "departments"


async def test_what_the_provider_agreed_out_of_sight_stays(pbx) -> None:
    shop = {"kind": "prepaid", "plan": "retail", "parent": "middle"}
    far, near = ({"match": {"extension": n}, "account": a} for n, a in (("1", "acme"), ("2", "shop")))
    await pbx.json("PUT", "/v1/accounts/shop", json=shop | {"departments": [far]})
    answered = await pbx.json("PUT", "/v1/accounts/shop", "middle", json=shop | {"departments": [near]})
    assert [each["account"] for each in answered["departments"]] == ["shop"]
    kept = (await pbx.json("GET", "/v1/accounts/shop"))["departments"]
    assert [each["account"] for each in kept] == ["acme", "shop"]


@pytest.mark.parametrize("match", [{"extension": "2yy"}, {"extension": ""}, {"prefix": "+31"}, {"prefix": ""}])
async def test_a_pattern_is_of_what_can_be_dialled(door, match) -> None:
    body = PBX | {"departments": [{"match": match, "account": "sales"}]}
    error = await door.refused(400, "PUT", "/v1/accounts/acme", json=body)
    assert error["field"] == f"departments.0.match.{next(iter(match))}"


async def test_a_departments_own_departments_are_not_asked(pbx) -> None:
    sales = Account(
        "sales",
        Kind.PREPAID,
        "retail",
        "acme",
        dial_rules=DialRules("NL"),
        departments=pbx.tariffs.directory.accounts["acme"].departments[1:],
    )
    await pbx.definitions.put_account(sales)
    assert (await decided(pbx, **{"to": "0612345678", "trunk": "t1"}))["account"] == "sales"


DID = "+31201234567"
BOTH_WAYS = "prefix,direction,per_minute\n31,,0.0800\n31,inbound,0.0300\n"


@pytest.mark.parametrize(
    ("call", "payers"),
    [
        ({"account": "acme", "direction": "inbound"}, [("sales", "customer"), ("acme", "reseller")]),
        ({"account": "sales", "direction": "inbound"}, [("sales", "customer"), ("acme", "reseller")]),
        ({"account": "fleet"}, [("fleet", "customer"), ("sales", "called"), ("acme", "reseller")]),
        ({"trunk": "t1", "direction": "inbound"}, [("fleet", "customer")]),
        ({"account": "fleet", "to": "+31209998877"}, [("fleet", "customer"), ("acme", "called")]),
        ({"account": "fleet", "to": "+31209998866"}, [("fleet", "customer"), ("acme", "called")]),
    ],
)
async def test_a_department_that_is_called_pays_instead_of_the_pbx_and_nobody_twice(pbx, call, payers) -> None:
    await pbx.json("PUT", "/v1/plans/retail/rows", data=BOTH_WAYS, headers={"Content-Type": "text/csv"})
    told = [*DEPARTMENTS, {"match": {"extension": "31209998866"}, "account": "nobody"}]
    numbers = [DID, "+31209998877", "+31209998866"]
    await pbx.json("PUT", "/v1/accounts/acme", json=PBX | {"numbers": numbers, "departments": told})
    body = {"call_id": "c1", "from": NL_MOB, "to": DID} | call
    assert (await pbx.json("POST", "/v1/calls", json=body))["verdict"] == "allowed"
    await pbx.json("POST", "/v1/calls/c1/answer")
    cdrs = (await pbx.json("POST", "/v1/calls/c1/end"))["cdrs"]
    assert [(cdr["account"], cdr["role"]) for cdr in cdrs] == payers
