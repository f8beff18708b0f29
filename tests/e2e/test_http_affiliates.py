"""Affiliates over HTTP: stated, credited, and who sees what of them."""

import pytest

from callctl.accounts import Account, Kind

SHOP = {"kind": "prepaid", "plan": "retail", "parent": "middle"}
AGENT = {"account": "agent", "percent": "10"}
NEAR = {"account": "near", "percent": "25"}


@pytest.fixture
async def agency(door):
    """shop's affiliates: agent, on its own, and near, below middle as shop is."""
    await door.definitions.put_account(Account("agent", Kind.POSTPAID, "retail", credit_limit=None))
    await door.definitions.put_account(Account("near", Kind.PREPAID, "retail", "middle"))
    await door.json("PUT", "/v1/accounts/shop", json=SHOP | {"affiliates": [AGENT, NEAR]})
    return door


async def balance(door, account: str) -> str:
    return (await door.json("GET", f"/v1/accounts/{account}"))["balance"]


async def test_they_get_their_shares_once(agency) -> None:
    ended = await agency.call("c1", "shop")
    (customer,) = [cdr for cdr in ended["cdrs"] if cdr["account"] == "shop"]
    shares = [{"account": "agent", "share": "0.0080"}, {"account": "near", "share": "0.0200"}]
    assert (customer["charge"], customer["affiliates"]) == ("0.0800", shares)
    for _ in range(2):
        await agency.deliver()
    assert (await balance(agency, "agent"), await balance(agency, "near")) == ("0.0080", "0.0200")
    (entry,) = (await agency.json("GET", "/v1/accounts/agent/ledger"))["entries"]
    assert (entry["kind"], entry["amount"], entry["call"]) == ("affiliate", "0.0080", "")


async def test_the_balance_of_the_customer_is_not_touched(agency) -> None:
    await agency.call("c1", "shop")
    await agency.deliver()
    assert await balance(agency, "shop") == "9.9200"


async def test_who_sees_which_names_and_records(agency) -> None:
    await agency.call("c1", "shop")
    await agency.deliver()
    for bearer, named, recorded in (
        ("ops", ["agent", "near"], ["agent", "near"]),
        ("reseller", ["near"], ["near"]),
        ("middle", ["near"], ["near"]),
        ("shop", [], []),
    ):
        cdrs = (await agency.json("GET", "/v1/cdrs", bearer))["cdrs"]
        (customer,) = [cdr for cdr in cdrs if cdr["account"] == "shop"]
        assert [each["account"] for each in customer["affiliates"]] == named
        assert [cdr["account"] for cdr in cdrs if cdr["role"] == "affiliate"] == recorded
        account = await agency.json("GET", "/v1/accounts/shop", bearer)
        assert [each["account"] for each in account["affiliates"]] == named
    ended = await agency.call("c2", "shop", bearer="shop")
    assert [(cdr["account"], cdr["affiliates"]) for cdr in ended["cdrs"]] == [("shop", [])]


async def test_an_affiliate_sees_its_share_and_nothing_of_the_call(agency) -> None:
    await agency.call("c1", "shop")
    await agency.deliver()
    (own,) = (await agency.json("GET", "/v1/cdrs", "agent"))["cdrs"]
    assert (own["account"], own["role"], own["share"]) == ("agent", "affiliate", "0.0080")
    assert (own["call_id"], own["from"], own["to"], own["plan"], own["trunk"]) == ("", "", "", None, None)
    assert {"parent", "cost", "margin"}.isdisjoint(own)
    await agency.refused(404, "GET", f"/v1/traces/{own['trace_id']}", "agent")
    await agency.refused(404, "GET", "/v1/calls/c1", "agent")
    await agency.refused(404, "GET", "/v1/accounts/shop", "agent")


@pytest.mark.parametrize(
    ("affiliates", "says"),
    [
        ([{"account": "nobody", "percent": "1"}], "account shop: its affiliate cannot be nobody, which does not exist"),
        ([{"account": "shop", "percent": "1"}], "account shop: its affiliate cannot be itself"),
        ([AGENT, AGENT], "account shop: an affiliate is there twice"),
        ([AGENT, {"account": "near", "percent": "90.01"}], "account shop: its affiliates get more than 100 percent"),
        ([{"account": "dollar", "percent": "1"}], "account shop in EUR: affiliate dollar is in USD"),
    ],
)
async def test_what_is_refused(agency, affiliates, says) -> None:
    await agency.json("PUT", "/v1/plans/dollars", json={"currency": "USD"})
    dollar = {"kind": "prepaid", "plan": "dollars", "currency": "USD"}
    await agency.json("PUT", "/v1/accounts/dollar", json=dollar)
    error = await agency.refused(422, "PUT", "/v1/accounts/shop", json=SHOP | {"affiliates": affiliates})
    assert (error["field"], error["message"]) == ("affiliates", says)


@pytest.mark.parametrize("percent", ["-1", "ten", ""])
async def test_a_percentage_is_one(agency, percent) -> None:
    body = SHOP | {"affiliates": [{"account": "agent", "percent": percent}]}
    error = await agency.refused(422, "PUT", "/v1/accounts/shop", json=body)
    assert error["field"] == "affiliates.0.percent"


async def test_a_token_gives_only_to_accounts_below_it(agency) -> None:
    for account in ("middle", "reseller", "agent", "nobody"):
        body = SHOP | {"affiliates": [{"account": account, "percent": "1"}]}
        error = await agency.refused(403, "PUT", "/v1/accounts/shop", "middle", json=body)
        assert error["field"] == "affiliates"
    await agency.json("PUT", "/v1/accounts/shop", "middle", json=SHOP | {"affiliates": [NEAR | {"percent": "1"}]})


async def test_what_the_provider_agreed_stays(agency) -> None:
    """Out of the token's sight, and for the token itself."""
    own = {"account": "middle", "percent": "5"}
    await agency.json("PUT", "/v1/accounts/shop", json=SHOP | {"affiliates": [AGENT, own]})
    shown = await agency.json("PUT", "/v1/accounts/shop", "middle", json=SHOP | {"affiliates": [own]})
    assert shown["affiliates"] == [own]
    assert (await agency.json("GET", "/v1/accounts/shop"))["affiliates"] == [AGENT, own]
    more = SHOP | {"affiliates": [own | {"percent": "6"}]}
    assert (await agency.refused(403, "PUT", "/v1/accounts/shop", "middle", json=more))["field"] == "affiliates"
