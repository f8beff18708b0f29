"""A carrier that is paid in another currency: rates by day, cost and margin by them, and what happens without one."""

from typing import Any

import pytest

from callctl.rating.tariff import PERCENT, Plan, Row
from tests.e2e.front_door import NL_MOB, FrontDoor

RATES = {"rates": [{"from": "2026-11-01", "rate": "0.9250"}, {"from": "2026-11-22", "rate": "0.9"}]}
ASK = {"call_id": "c1", "from": "+31201234567", "to": NL_MOB, "account": "acme"}
NO_RATE = "no exchange rate USD-EUR on 2026-11-21"


@pytest.fixture
async def dollars(door: FrontDoor) -> FrontDoor:
    """The carrier has 0.0200 dollars a minute, and 0.0100 a connection."""
    await door.definitions.put_plan(Plan("carrier", currency="USD"))
    await door.definitions.put_rows("carrier", [Row("31", per_minute=2_000_000, connection_fee=10_000)])
    return door


async def explained(door: FrontDoor, bearer: str = "ops") -> Any:
    return await door.json("POST", "/v1/explain", bearer, json=ASK)


async def test_rates_are_read_as_they_were_put_in_the_order_of_days(door: FrontDoor) -> None:
    shown = {"id": "USD-EUR", "rates": [RATES["rates"][0], {"from": "2026-11-22", "rate": "0.9000"}]}
    assert await door.json("GET", "/v1/exchange") == {"exchange": []}
    assert await door.json("PUT", "/v1/exchange/USD-EUR", json={"rates": RATES["rates"][::-1]}) == shown
    assert await door.json("GET", "/v1/exchange/USD-EUR") == shown
    await door.json("PUT", "/v1/exchange/GBP-EUR", json={"rates": []})
    assert (await door.json("GET", "/v1/exchange"))["exchange"] == [{"id": "GBP-EUR", "rates": []}, shown]
    await door.refused(404, "GET", "/v1/exchange/EUR-USD")


@pytest.mark.parametrize(
    ("pair", "status", "body", "field"),
    [
        ("usd-eur", 400, RATES, "id"),
        ("USDEUR", 400, RATES, "id"),
        ("EUR-EUR", 400, RATES, "id"),
        ("USD-EURO", 400, RATES, "id"),
        ("USD-EUR", 400, {}, "rates"),
        ("USD-EUR", 400, {"rates": [{"from": "2026-11-01"}]}, "rates.0.rate"),
        ("USD-EUR", 400, {"rates": [{"from": "2026-11-01", "rate": 0.9}]}, "rates.0.rate"),
        ("USD-EUR", 400, {"rates": [{"from": "1 November", "rate": "0.9"}]}, "rates.0.from"),
        ("USD-EUR", 422, {"rates": [{"from": "2026-11-31", "rate": "0.9"}]}, "rates.0.from"),
        ("USD-EUR", 422, {"rates": [{"from": "2026-11-01", "rate": "-1"}]}, "rates.0.rate"),
        ("USD-EUR", 422, {"rates": [{"from": "2026-11-01", "rate": "0"}]}, "rates"),
        ("USD-EUR", 422, {"rates": [{"from": "2026-11-01", "rate": "1000000.1"}]}, "rates"),
        ("USD-EUR", 422, {"rates": [{"from": "2026-11-01", "rate": "0.0000000000001"}]}, "rates.0.rate"),
        ("USD-EUR", 422, {"rates": [RATES["rates"][0]] * 2}, "rates"),
    ],
)
async def test_what_is_wrong_with_rates_is_said(door: FrontDoor, pair: str, status: int, body: Any, field: str) -> None:
    assert (await door.refused(status, "PUT", f"/v1/exchange/{pair}", json=body))["field"] == field
    assert (await door.json("GET", "/v1/exchange"))["exchange"] == []


async def test_rates_are_the_providers(door: FrontDoor) -> None:
    for method, path in (("PUT", "/v1/exchange/USD-EUR"), ("GET", "/v1/exchange/USD-EUR"), ("GET", "/v1/exchange")):
        await door.refused(403, method, path, "reseller", **({"json": RATES} if method == "PUT" else {}))


async def test_cost_and_margin_are_by_the_rate_of_the_day_on_which_the_call_is_set_up(dollars: FrontDoor) -> None:
    await dollars.json("PUT", "/v1/exchange/USD-EUR", json=RATES)
    dollars.clock.pass_s(14 * 3600 - 30)  # half a minute before midnight
    (record,) = (await dollars.call("c1"))["cdrs"]
    assert (record["charge"], record["cost"], record["margin"]) == ("0.0800", "0.0278", "0.0522")
    assert record["exchange"] == {"from": "USD", "to": "EUR", "rate": "0.9250", "day": "2026-11-21"}
    (record,) = (await dollars.call("c2"))["cdrs"]
    assert (record["cost"], record["exchange"]["rate"], record["exchange"]["day"]) == ("0.0270", "0.9000", "2026-11-22")


async def test_new_rates_do_not_price_a_running_call_again(dollars: FrontDoor) -> None:
    await dollars.json("PUT", "/v1/exchange/USD-EUR", json=RATES)
    await dollars.json("POST", "/v1/calls", json=ASK)
    await dollars.json("POST", "/v1/calls/c1/answer")
    await dollars.json("PUT", "/v1/exchange/USD-EUR", json={"rates": [{"from": "2026-01-01", "rate": "2"}]})
    dollars.clock.pass_s(60)
    (record,) = (await dollars.json("POST", "/v1/calls/c1/end"))["cdrs"]
    assert (record["cost"], record["exchange"]["rate"]) == ("0.0278", "0.9250")


async def test_a_percentage_is_of_the_converted_price(dollars: FrontDoor) -> None:
    await dollars.json("PUT", "/v1/exchange/USD-EUR", json=RATES)
    await dollars.definitions.put_rows("retail", [Row("31", percent=175 * PERCENT)])
    answer = await explained(dollars)
    assert answer["rate"]["per_minute"] == "0.032375"
    (record,) = (await dollars.call("c1"))["cdrs"]
    assert (record["charge"], record["per_minute"]) == ("0.0324", "0.032375")


async def test_without_a_rate_the_cost_is_open_and_the_trace_of_the_provider_says_why(dollars: FrontDoor) -> None:
    answer = await explained(dollars)
    assert answer["verdict"] == "allowed"
    assert [line["saw"] for line in answer["trace"] if line["check"] == "exchange"] == [NO_RATE]
    assert NO_RATE not in str(await explained(dollars, "acme"))
    (record,) = (await dollars.call("c1"))["cdrs"]
    assert (record["charge"], record["cost"], record["margin"], record["exchange"]) == ("0.0800", None, None, None)


@pytest.mark.parametrize(
    "account",
    [{"margin": {"min_percent": "0"}}, {"margin": {"min_per_call": "0"}}, {"max_cost": {"per_minute": "1"}}, {}],
)
async def test_what_needs_a_purchase_price_is_refused_without_a_rate(
    dollars: FrontDoor, account: dict[str, Any]
) -> None:
    if not account:
        await dollars.definitions.put_rows("retail", [Row("31", percent=175 * PERCENT)])
    await dollars.json("PUT", "/v1/accounts/acme", json={"kind": "prepaid", "plan": "retail", **account})
    answer = await explained(dollars)
    assert (answer["verdict"], answer["refusal"]) == ("refused", "no_rate")
    assert NO_RATE in str(answer["trace"])
    assert "USD" not in str(await explained(dollars, "acme"))
    await dollars.json("PUT", "/v1/exchange/USD-EUR", json=RATES)
    assert (await explained(dollars))["verdict"] == "allowed"


async def test_rates_that_are_dropped_tell_whose_percentages_have_no_purchase(dollars: FrontDoor) -> None:
    """Of plans that buy in that currency, and of those whose trunks do; amounts need no rate."""
    for plan in ("percent", "middle"):
        await dollars.definitions.put_plan(Plan(plan, buy_plan="carrier" if plan == "percent" else None))
        await dollars.definitions.put_rows(plan, [Row("31", percent=175 * PERCENT)])
    await dollars.json("PUT", "/v1/accounts/own", json={"kind": "prepaid", "plan": "middle"})
    await dollars.json("PUT", "/v1/exchange/USD-EUR", json=RATES)
    assert "warnings" not in await dollars.json("PUT", "/v1/trunks/t", json={"account": "own", "buy_plan": "carrier"})
    told = [f"plan {plan}: percentages of carrier, and {NO_RATE}" for plan in ("middle", "percent")]
    answer = await dollars.json("PUT", "/v1/exchange/USD-EUR", json={"rates": RATES["rates"][1:]})
    assert answer["warnings"] == told
    assert "warnings" not in await dollars.json("PUT", "/v1/exchange/GBP-EUR", json={"rates": []})


async def test_percentages_without_a_rate_are_told_when_they_come(dollars: FrontDoor) -> None:
    deck = {"data": "prefix;percent\n31;175\n", "headers": {"Content-Type": "text/csv"}}
    told = f"percentages of carrier, and {NO_RATE}"
    assert (await dollars.json("PUT", "/v1/plans/retail/rows", **deck))["warnings"] == [told]
    await dollars.json("PUT", "/v1/exchange/USD-EUR", json=RATES)
    assert (await dollars.json("PUT", "/v1/plans/retail/rows", **deck))["warnings"] == []


@pytest.mark.parametrize(("least", "verdict"), [("0.0615", "allowed"), ("0.06150001", "refused")])
async def test_margins_compare_the_converted_price_to_the_last_digit(
    dollars: FrontDoor, least: str, verdict: str
) -> None:
    await dollars.json("PUT", "/v1/exchange/USD-EUR", json=RATES)
    rule = {"margin": {"min_per_minute": least}}
    await dollars.json("PUT", "/v1/accounts/acme", json={"kind": "prepaid", "plan": "retail", **rule})
    answer = await explained(dollars)
    assert (answer["verdict"], answer.get("refusal")) == (verdict, None if verdict == "allowed" else "margin_too_low")


@pytest.mark.parametrize(
    ("most", "verdict"),
    [
        ({"per_minute": "0.0185"}, "allowed"),
        ({"per_minute": "0.01849999"}, "refused"),
        ({"connection": "0.00925"}, "allowed"),
        ({"connection": "0.009249"}, "refused"),
    ],
)
async def test_bounds_of_the_cost_are_in_the_accounts_currency(
    dollars: FrontDoor, most: dict[str, str], verdict: str
) -> None:
    await dollars.json("PUT", "/v1/exchange/USD-EUR", json=RATES)
    await dollars.json("PUT", "/v1/accounts/acme", json={"kind": "prepaid", "plan": "retail", "max_cost": most})
    answer = await explained(dollars)
    assert (answer["verdict"], answer.get("refusal")) == (verdict, None if verdict == "allowed" else "cost_too_high")


async def test_the_rate_is_the_sellers_business(dollars: FrontDoor) -> None:
    await dollars.json("PUT", "/v1/exchange/USD-EUR", json=RATES)
    await dollars.call("c1", "shop")
    await dollars.deliver()
    seen = {}
    for bearer in ("ops", "reseller", "shop"):
        records = (await dollars.json("GET", "/v1/cdrs", bearer))["cdrs"]
        seen[bearer] = {record["account"]: record.get("exchange") is not None for record in records}
    assert seen == {
        "ops": {"shop": False, "middle": False, "reseller": True},
        "reseller": {"shop": False, "middle": False, "reseller": False},
        "shop": {"shop": False},
    }
