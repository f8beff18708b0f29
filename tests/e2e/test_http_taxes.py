"""Taxes, bands and further parts through the front door: what is told, held, recorded and posted."""

from typing import Any

import pytest

from callctl.clock import format_time, parse_time
from callctl.money import parse_amount
from tests.e2e.front_door import NL_MOB, NOW, FrontDoor

VAT, LEVY = {"name": "VAT", "percent": "21"}, {"name": "levy", "fixed": "0.0100"}
DECK = "prefix,per_minute,connection_fee,from,to\n31,0.02,0.05,18:00,08:00\n31,0.60,,08:00,18:00\n"
ASK = {"from": "+31201234567", "to": NL_MOB, "account": "acme"}


async def put_plan(door: FrontDoor, id: str, deck: str | None = None, **plan: Any) -> None:
    await door.json("PUT", f"/v1/plans/{id}", json=plan)
    if deck is not None:
        await door.json("PUT", f"/v1/plans/{id}/rows", data=deck, headers={"Content-Type": "text/csv"})


async def ledger_sum(door: FrontDoor, account: str, call_id: str) -> int:
    page = await door.json("GET", f"/v1/accounts/{account}/ledger")
    return sum(parse_amount(entry["amount"]) for entry in page["entries"] if entry["call"] == f"http/{call_id}")


def set_clock(door: FrontDoor, time: str) -> None:
    door.clock.instant = door.clock.instant.plus_ms(parse_time(time) - door.clock.instant.wall_ms)


async def test_net_tax_and_gross_of_a_call(door: FrontDoor) -> None:
    await put_plan(door, "retail", buy_plan="carrier", taxes=[VAT, LEVY])
    told = await door.json("POST", "/v1/calls", json={**ASK, "call_id": "c1"})
    assert told["hold"] == "5.8180"  # an hour: 4.80, 21 % of it, and the levy
    held = (await door.json("GET", "/v1/accounts/acme"))["held"]
    assert held == told["hold"]
    await door.json("POST", "/v1/calls/c1/answer", json={})
    door.clock.pass_s(60)
    (cdr,) = (await door.json("POST", "/v1/calls/c1/end", json={}))["cdrs"]
    assert (cdr["charge"], cdr["gross"], cdr["cost"], cdr["margin"]) == ("0.0800", "0.1068", "0.0200", "0.0600")
    assert cdr["taxes"] == [{"name": "VAT", "amount": "0.0168"}, {"name": "levy", "amount": "0.0100"}]
    assert await ledger_sum(door, "acme", "c1") == -parse_amount(cdr["gross"])


async def test_every_level_is_taxed_by_its_own_plan_and_pays_the_net_above(door: FrontDoor) -> None:
    await put_plan(door, "retail", buy_plan="carrier", taxes=[VAT])
    await put_plan(door, "wholesale", buy_plan="carrier", taxes=[{"name": "VAT", "percent": "10"}])
    ended = await door.call("c1", account="shop")
    shown = {cdr["account"]: (cdr["charge"], cdr["gross"], cdr["cost"], cdr["margin"]) for cdr in ended["cdrs"]}
    assert shown == {
        "shop": ("0.0800", "0.0968", "0.0600", "0.0200"),
        "middle": ("0.0600", "0.0600", "0.0400", "0.0200"),
        "reseller": ("0.0400", "0.0440", "0.0200", "0.0200"),
    }
    for cdr in ended["cdrs"]:
        assert await ledger_sum(door, cdr["account"], "c1") == -parse_amount(cdr["gross"])
    await door.feeds.move("api", ["reseller"], 100)
    (seen,) = (await door.json("GET", "/v1/cdrs?account=shop", "middle"))["cdrs"]
    assert seen["cost"] == "0.0600"


@pytest.mark.parametrize(
    ("untaxed", "gross"), [([], "0.1068"), (["VAT"], "0.0900"), (["levy", "VAT"], "0.0800"), (True, "0.0800")]
)
async def test_who_is_not_liable_is_not_taxed(door: FrontDoor, untaxed: Any, gross: str) -> None:
    await put_plan(door, "retail", buy_plan="carrier", taxes=[VAT, LEVY])
    account = {"kind": "prepaid", "plan": "retail", "untaxed": untaxed}
    shown = await door.json("PUT", "/v1/accounts/acme", json=account)
    assert shown["untaxed"] == untaxed
    (cdr,) = (await door.call("c1"))["cdrs"]
    assert cdr["gross"] == gross


async def test_an_exempt_account_pays_no_tax(door: FrontDoor) -> None:
    await put_plan(door, "retail", buy_plan="carrier", taxes=[VAT, LEVY])
    await door.json("PUT", "/v1/accounts/acme", json={"kind": "prepaid", "plan": "retail", "billing": "exempt"})
    (cdr,) = (await door.call("c1"))["cdrs"]
    assert (cdr["charge"], cdr["list_charge"], cdr["gross"], cdr["taxes"]) == ("0.0000", "0.0800", "0.0000", [])


async def test_what_the_balance_affords_is_with_taxes(door: FrontDoor) -> None:
    await put_plan(door, "retail", buy_plan="carrier", taxes=[VAT, LEVY], round_decimals=6)
    quote = await door.json("GET", "/v1/accounts/acme/quote?to=%2B31612345678")
    assert quote["max_seconds"] == 6192  # (10.00 - 0.01) / 1.21 at 0.08 a minute
    await door.json("PUT", "/v1/accounts/poor", json={"kind": "prepaid", "plan": "retail"})
    refused = await door.json("POST", "/v1/calls", json={**ASK, "call_id": "c1", "account": "poor"})
    assert refused["detail"] == "0.0000 EUR available, the first increment costs 0.011613 EUR with taxes"


@pytest.mark.parametrize(
    "taxes",
    [
        [{"name": "VAT"}],
        [{"name": "VAT", "percent": "21", "fixed": "0.01"}],
        [{"name": "", "percent": "21"}],
        [{"name": "VAT", "percent": "-1"}],
        [{"name": "VAT", "percent": "100001"}],
        [{"name": "VAT", "percent": 21}],
        [{"name": "VAT", "percent": "21"}, {"name": "VAT", "fixed": "0.01"}],
        [{"name": "VAT", "percent": "21", "from": "2026-01-01"}],
        {"name": "VAT", "percent": "21"},
    ],
)
async def test_wrong_taxes_are_refused_with_their_place(door: FrontDoor, taxes: Any) -> None:
    response = await door.ask("PUT", "/v1/plans/retail", json={"taxes": taxes})
    assert response.status in (400, 422)
    assert (await response.json())["error"]["field"].startswith("taxes")


async def test_a_plan_shows_its_taxes_as_they_were_put(door: FrontDoor) -> None:
    await put_plan(door, "retail", taxes=[VAT, LEVY])
    shown = await door.json("GET", "/v1/plans/retail")
    assert shown["taxes"] == [VAT, LEVY]
    await door.json("PUT", "/v1/plans/retail", json={key: value for key, value in shown.items() if key != "id"})


async def test_a_call_that_cannot_extend_is_held_for_the_dearer_band_and_charged_by_its_answer(door: FrontDoor) -> None:
    await put_plan(door, "retail", DECK, taxes=[VAT])
    set_clock(door, "2026-11-21T07:59:00Z")
    told = await door.json("POST", "/v1/calls", json={**ASK, "call_id": "c1"})
    assert told["rate"]["per_minute"] == "0.0200"
    assert told["granted_seconds"] == 826  # all of 10.00 in the day's band
    assert told["hold"] == "9.9946"
    door.clock.pass_s(90)
    answered = await door.json("POST", "/v1/calls/c1/answer", json={})
    assert answered["granted_seconds"] == 826
    assert answered["rate"]["per_minute"] == "0.6000"
    door.clock.pass_s(60)
    (cdr,) = (await door.json("POST", "/v1/calls/c1/end", json={}))["cdrs"]
    assert (cdr["charge"], cdr["per_minute"], cdr["connection_fee"]) == ("0.6000", "0.6000", "0.0000")
    assert cdr["gross"] == "0.7260"


async def test_a_call_that_ends_up_in_the_cheaper_band_is_held_for_less(door: FrontDoor) -> None:
    await put_plan(door, "retail", DECK)
    set_clock(door, "2026-11-21T17:59:30Z")
    told = await door.json("POST", "/v1/calls", json={**ASK, "call_id": "c1"})
    assert (told["granted_seconds"], told["hold"]) == (3600, "1.4900")  # half a minute at 0.60, the rest at 0.02
    door.clock.pass_s(40)
    answered = await door.json("POST", "/v1/calls/c1/answer", json={})
    assert (answered["granted_seconds"], answered["hold"]) == (3600, "1.2500")
    assert (await door.json("GET", "/v1/accounts/acme"))["held"] == "1.2500"
    door.clock.pass_s(60)
    (cdr,) = (await door.json("POST", "/v1/calls/c1/end", json={}))["cdrs"]
    assert (cdr["charge"], cdr["connection_fee"]) == ("0.0700", "0.0500")


async def test_a_late_report_is_priced_when_the_call_was(door: FrontDoor) -> None:
    """Told at noon of a call that was set up, answered and over in the night."""
    await put_plan(door, "retail", DECK)
    set_clock(door, "2026-11-21T12:00:00Z")
    times = [format_time(parse_time("2026-11-21T06:00:00Z") + 1000 * seconds) for seconds in (0, 5, 65)]
    told = await door.json("POST", "/v1/calls", json={**ASK, "call_id": "c1", "at": times[0]})
    assert told["rate"]["per_minute"] == "0.0200"
    await door.json("POST", "/v1/calls/c1/answer", json={"at": times[1]})
    (cdr,) = (await door.json("POST", "/v1/calls/c1/end", json={"at": times[2]}))["cdrs"]
    assert (cdr["charge"], cdr["per_minute"]) == ("0.0700", "0.0200")


async def test_a_quote_is_at_the_price_of_now(door: FrontDoor) -> None:
    await put_plan(door, "retail", DECK)
    for time, per_minute in (("2026-11-22T06:00:00Z", "0.0200"), ("2026-11-22T08:00:00Z", "0.6000")):
        set_clock(door, time)
        quote = await door.json("GET", "/v1/accounts/acme/quote?to=%2B31612345678")
        assert quote["rate"]["per_minute"] == per_minute


async def test_a_plan_that_charges_besides(door: FrontDoor) -> None:
    await put_plan(
        door, "airtime", "prefix,per_minute,connection_fee,initial_s,increment_s\n316,0.03,0.01,60,60\n", taxes=[LEVY]
    )
    await put_plan(door, "retail", taxes=[VAT])
    account = {"kind": "prepaid", "plan": "retail", "also": ["airtime"]}
    assert (await door.json("PUT", "/v1/accounts/acme", json=account))["also"] == ["airtime"]
    ended = await door.call("c1", seconds=61)
    (cdr,) = ended["cdrs"]
    assert (cdr["charge"], cdr["gross"]) == ("0.1513", "0.1784")
    assert cdr["parts"] == [{"plan": "airtime", "row": "316", "billed_s": 120, "charge": "0.0700"}]
    assert cdr["taxes"] == [{"name": "VAT", "amount": "0.0171"}, {"name": "levy", "amount": "0.0100"}]
    assert await ledger_sum(door, "acme", "c1") == -parse_amount(cdr["gross"])
    landline = await door.json("POST", "/v1/calls", json={**ASK, "call_id": "c2", "to": "+31201234568"})
    assert landline["verdict"] == "allowed"  # no row for it there: minutes alone


async def _bought_airtime(door: FrontDoor) -> None:
    """Minutes sell for 0.0800 and cost 0.0200; airtime sells for 0.0300 and costs 0.0250."""
    await put_plan(door, "network", "prefix,per_minute\n316,0.025\n")
    await put_plan(door, "airtime", "prefix,per_minute\n316,0.03\n", buy_plan="network")


async def test_what_a_part_is_bought_for_is_in_the_cost(door: FrontDoor) -> None:
    await _bought_airtime(door)
    account = {"kind": "prepaid", "plan": "retail", "also": ["airtime"]}
    await door.json("PUT", "/v1/accounts/acme", json=account)
    (cdr,) = (await door.call("c1", seconds=60))["cdrs"]
    assert (cdr["charge"], cdr["cost"], cdr["margin"]) == ("0.1100", "0.0450", "0.0650")
    assert cdr["parts"] == [{"plan": "airtime", "row": "316", "billed_s": 60, "charge": "0.0300", "cost": "0.0250"}]
    (own,) = (await door.call("c2", seconds=60, bearer="acme"))["cdrs"]
    assert "cost" not in own
    assert "cost" not in own["parts"][0]


async def test_what_the_parts_of_an_exempt_account_are_bought_for_is_told(door: FrontDoor) -> None:
    await _bought_airtime(door)
    account = {"kind": "prepaid", "plan": "retail", "also": ["airtime"], "billing": "exempt"}
    await door.json("PUT", "/v1/accounts/acme", json=account)
    (cdr,) = (await door.call("c1", seconds=60))["cdrs"]
    assert (cdr["charge"], cdr["list_charge"], cdr["cost"], cdr["margin"]) == ("0.0000", "0.1100", "0.0450", "-0.0450")
    assert cdr["parts"] == [{"plan": "airtime", "row": "316", "billed_s": 60, "charge": "0.0000", "cost": "0.0250"}]


@pytest.mark.parametrize(
    ("rules", "refusal", "saw"),
    [
        ({"margin": {"min_per_minute": "0.005", "min_percent": "20"}}, None, ""),
        (
            {"margin": {"min_per_minute": "0.0051"}},
            "margin_too_low",
            "sell 0.0300 (airtime 316), buy 0.0250 (network 316)",
        ),
        ({"margin": {"min_percent": "20.1"}}, "margin_too_low", "sell 0.0300 (airtime 316), buy 0.0250 (network 316)"),
        ({"max_cost": {"per_minute": "0.025"}}, None, ""),
        ({"max_cost": {"per_minute": "0.0249"}}, "cost_too_high", "buy 0.0250 per minute"),
    ],
)
async def test_rules_on_the_purchase_judge_a_part_that_is_bought(
    door: FrontDoor, rules: dict[str, Any], refusal: str | None, saw: str
) -> None:
    await _bought_airtime(door)
    await put_plan(door, "sms", "prefix,per_minute\n316,0\n")  # is not bought, and not judged
    account = {"kind": "prepaid", "plan": "retail", "also": ["airtime", "sms"], **rules}
    await door.json("PUT", "/v1/accounts/acme", json=account)
    answer = await door.json("POST", "/v1/explain", json={**ASK, "call_id": "c1"})
    assert answer.get("refusal") == refusal
    assert saw in answer.get("detail", "")


async def test_a_percentage_of_what_the_call_is_bought_by_is_not_bought_once_more(door: FrontDoor) -> None:
    await put_plan(door, "uplift", "prefix,percent\n316,10\n", buy_plan="carrier")
    account = {"kind": "prepaid", "plan": "retail", "also": ["uplift"], "margin": {"min_percent": "0"}}
    await door.json("PUT", "/v1/accounts/acme", json=account)
    (cdr,) = (await door.call("c1", seconds=60))["cdrs"]
    assert (cdr["charge"], cdr["cost"]) == ("0.0820", "0.0200")
    assert "cost" not in cdr["parts"][0]


@pytest.mark.parametrize(("per_call", "granted_s"), [("0.0450", 60), ("0.0500", 66), ("0.0007", 1)])
async def test_a_bound_on_the_cost_of_a_call_is_of_all_its_parts_together(
    door: FrontDoor, per_call: str, granted_s: int
) -> None:
    await _bought_airtime(door)
    account = {"kind": "prepaid", "plan": "retail", "also": ["airtime"], "max_cost": {"per_call": per_call}}
    await door.json("PUT", "/v1/accounts/acme", json=account)
    for extends in (False, True):
        ask = {**ASK, "call_id": f"c{extends}", "can_extend": extends}
        assert (await door.json("POST", "/v1/explain", json=ask))["granted_seconds"] == min(
            granted_s, 10 + 3600 * (not extends)
        )
    (cdr,) = (await door.call("c2", seconds=granted_s))["cdrs"]
    assert parse_amount(cdr["cost"]) <= parse_amount(per_call)


async def test_parts_whose_first_increments_together_cost_too_much_refuse(door: FrontDoor) -> None:
    await _bought_airtime(door)
    account = {"kind": "prepaid", "plan": "retail", "also": ["airtime"], "max_cost": {"per_call": "0.0006"}}
    await door.json("PUT", "/v1/accounts/acme", json=account)
    refused = await door.json("POST", "/v1/calls", json={**ASK, "call_id": "c1"})
    assert refused["refusal"] == "cost_too_high"
    assert refused["detail"] == "buy 0.0007 for the first increment with parts, at most 0.0006 per call"


async def test_a_part_that_its_carrier_does_not_price_has_no_purchase_price(door: FrontDoor) -> None:
    await put_plan(door, "network", "prefix,per_minute\n32,0.025\n")
    await put_plan(door, "airtime", "prefix,per_minute\n316,0.03\n", buy_plan="network")
    account = {"kind": "prepaid", "plan": "retail", "also": ["airtime"]}
    await door.json("PUT", "/v1/accounts/acme", json=account)
    (cdr,) = (await door.call("c1", seconds=60))["cdrs"]
    assert (cdr["charge"], cdr["cost"], cdr["margin"]) == ("0.1100", None, None)
    for rule in ({"margin": {"min_percent": "0"}}, {"max_cost": {"per_call": "1"}}):
        await door.json("PUT", "/v1/accounts/acme", json={**account, **rule})
        refused = await door.json("POST", "/v1/explain", json={**ASK, "call_id": "c2"})
        assert refused["refusal"] == "no_rate"
        assert "no row in plan network" in refused["detail"]


async def test_rules_judge_what_bills_a_call_on_net(door: FrontDoor) -> None:
    await put_plan(door, "network", "prefix,per_minute\n316,0.025\n")
    await put_plan(door, "airtime", "prefix,per_minute\n316,0.03\n", buy_plan="network", bill_on_net=True)
    await door.json("PUT", "/v1/accounts/other", json={"kind": "prepaid", "plan": "retail", "numbers": [NL_MOB]})
    account = {"kind": "prepaid", "plan": "retail", "also": ["airtime"], "margin": {"min_per_minute": "0.0051"}}
    await door.json("PUT", "/v1/accounts/acme", json=account)
    refused = await door.json("POST", "/v1/explain", json={**ASK, "call_id": "c1"})
    assert refused["refusal"] == "margin_too_low"
    await door.json("PUT", "/v1/accounts/acme", json={**account, "margin": {"min_per_minute": "0.0050"}})
    assert (await door.json("POST", "/v1/explain", json={**ASK, "call_id": "c1"}))["verdict"] == "allowed"


async def test_a_part_counts_its_seconds_by_its_own_plan(door: FrontDoor) -> None:
    await put_plan(door, "airtime", "prefix,per_minute\n316,0.60\n", duration_rounding="down")
    await door.json("PUT", "/v1/accounts/acme", json={"kind": "prepaid", "plan": "retail", "also": ["airtime"]})
    times = [format_time(NOW.wall_ms + ms) for ms in (-20_000, -18_000, -7_600)]
    await door.json("POST", "/v1/calls", json={**ASK, "call_id": "c1", "at": times[0]})
    await door.json("POST", "/v1/calls/c1/answer", json={"at": times[1]})
    (cdr,) = (await door.json("POST", "/v1/calls/c1/end", json={"at": times[2]}))["cdrs"]
    assert (cdr["duration_ms"], cdr["duration_s"]) == (10_400, 11)
    assert cdr["charge"] == "0.1147"  # 11 s at 0.08, and 10 s at 0.60
    assert cdr["parts"] == [{"plan": "airtime", "row": "316", "billed_s": 10, "charge": "0.1000"}]
    assert await ledger_sum(door, "acme", "c1") == -parse_amount(cdr["gross"])


async def test_a_part_without_its_purchase_price_refuses_the_call(door: FrontDoor) -> None:
    await put_plan(door, "airtime", "prefix,percent\n31,50\n")
    await door.json("PUT", "/v1/accounts/acme", json={"kind": "prepaid", "plan": "retail", "also": ["airtime"]})
    refused = await door.json("POST", "/v1/calls", json={**ASK, "call_id": "c1"})
    assert refused["refusal"] == "no_rate"
    assert "a percentage of a purchase price that is missing in plan airtime" in refused["detail"]


async def test_what_charges_besides_must_be_there_and_in_the_same_currency(door: FrontDoor) -> None:
    await put_plan(door, "dollars", currency="USD")
    account = {"kind": "prepaid", "plan": "retail"}
    for also in (["nowhere"], ["dollars"], ["carrier", "carrier"], ["retail"]):
        error = await door.refused(422, "PUT", "/v1/accounts/acme", json={**account, "also": also})
        assert error["field"] == "also"
    await door.json("PUT", "/v1/accounts/acme", json={**account, "also": ["carrier"]})
    error = await door.refused(422, "PUT", "/v1/plans/carrier", json={"currency": "USD"})
    assert error["field"] == "currency"


async def test_a_call_on_net_is_free_but_for_plans_that_bill_it(door: FrontDoor) -> None:
    await put_plan(door, "airtime", "prefix,per_minute\n31,0.03\n", bill_on_net=True)
    await put_plan(door, "roaming", "prefix,per_minute\n31,0.50\n")
    account = {"kind": "prepaid", "plan": "retail", "also": ["airtime", "roaming"]}
    await door.json("PUT", "/v1/accounts/acme", json=account)
    await door.json("PUT", "/v1/accounts/other", json={"kind": "prepaid", "plan": "retail", "numbers": [NL_MOB]})
    (cdr, *_) = (await door.call("c1"))["cdrs"]
    assert (cdr["row"], cdr["charge"]) == ("on-net", "0.0300")
    assert [part["plan"] for part in cdr["parts"]] == ["airtime"]
