"""Classes of service through the front door: what bars a call, whose rule it is, who sees it, what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from callctl.rating.tariff import Row, TrafficClass
from tests.e2e.front_door import NL_MOB, FrontDoor

LIMITS = Path(__file__).parents[2] / "docs/limits.md"
GERMANY, CUBA, UK_PREMIUM, NL_PREMIUM = "+4930123456", "+5371234567", "+449012345678", "+319001234"
ACME: dict[str, Any] = {
    "kind": "prepaid",
    "plan": "retail",
    "dial_rules": {"country": "NL"},
    "timezone": "Europe/Amsterdam",
}
TRUNK: dict[str, Any] = {"account": "acme"}
BARRED = ("refused", "destination_barred", 403, 52)


@pytest.fixture
async def world(door: FrontDoor) -> FrontDoor:
    """`door`, where every plan prices the whole world."""
    for plan in ("carrier", "wholesale", "middleman", "retail"):
        await door.definitions.put_rows(plan, [Row("", "World", per_minute=1_000_000)])
    return door


async def bar(door: FrontDoor, **destinations: Any) -> None:
    await door.json("PUT", "/v1/accounts/acme", json=ACME | {"destinations": destinations})


async def asked(door: FrontDoor, to: str, account: str = "acme", **more: Any) -> Any:
    """The explanation, which a real call's decision equals."""
    body = {"call_id": f"c-{to}", "from": "+31201234567", "to": to, "account": account} | more
    explained = await door.json("POST", "/v1/explain", json=body)
    decided = await door.json("POST", "/v1/calls", json=body)
    for told in ("verdict", "refusal", "detail", "sip_code", "q850", "announcement"):
        assert explained.get(told) == decided.get(told), told
    if decided["verdict"] == "allowed":
        await door.json("POST", f"/v1/calls/{body['call_id']}/end")
    return explained


def lines(decision: Any, check: str = "destination") -> list[Any]:
    return [line for line in decision["trace"] if line["check"] == check]


@pytest.mark.parametrize(
    ("destinations", "to", "rule"),
    [
        ({"presets": ["no_international"]}, GERMANY, "denied: no_international"),
        ({"presets": ["no_international"]}, CUBA, "denied: no_international"),
        ({"presets": ["no_international"]}, UK_PREMIUM, "denied: no_international"),
        ({"presets": ["no_premium"]}, NL_PREMIUM, "denied: no_premium"),
        ({"presets": ["no_high_risk"]}, CUBA, "denied: no_high_risk"),
        ({"deny": [{"prefix": "316"}]}, NL_MOB, "denied: prefix=316"),
        ({"deny": [{"class": "MOB"}]}, NL_MOB, "denied: class=MOB"),
        ({"deny": [{"type": "MOB", "destination": "World"}]}, NL_MOB, "denied: type=MOB destination=World"),
        ({"deny": [{"days": "6", "from": "08:00", "to": "18:00"}]}, NL_MOB, "denied: days=6 from=08:00 to=18:00"),
        ({"allow": [{"prefix": "49"}]}, NL_MOB, "not on the allow list"),
        ({"deny_numbers": [NL_MOB]}, NL_MOB, f"denied: number {NL_MOB}"),
    ],
)
async def test_what_is_barred_says_by_which_rule(world: FrontDoor, destinations: Any, to: str, rule: str) -> None:
    await bar(world, **destinations)
    decision = await asked(world, to)
    assert (decision["verdict"], decision["refusal"], decision["sip_code"], decision["q850"]) == BARRED
    (line,) = lines(decision)
    assert (line["verdict"], line["limit"]) == ("refuse", rule)
    assert decision["detail"] == f"{line['saw']}, {rule}"


@pytest.mark.parametrize(
    ("destinations", "to"),
    [
        ({}, CUBA),
        ({"presets": ["no_international", "no_premium", "no_high_risk"]}, NL_MOB),
        ({"presets": ["no_premium", "no_high_risk"]}, GERMANY),
        ({"presets": ["no_international"], "allow_numbers": [GERMANY]}, GERMANY),
        ({"deny": [{"days": "1-5"}]}, NL_MOB),  # it is Saturday
        ({"deny": [{"from": "08:00", "to": "11:00"}]}, NL_MOB),  # 11:00 in Amsterdam
        ({"allow": [{"from": "11:00", "to": "12:00"}]}, NL_MOB),
    ],
)
async def test_what_is_not_barred_goes_ahead(world: FrontDoor, destinations: Any, to: str) -> None:
    await bar(world, **destinations)
    decision = await asked(world, to)
    assert decision["verdict"] == "allowed"
    assert [line["verdict"] for line in lines(decision)] == ["pass"]


async def test_who_has_no_rules_is_not_asked(world: FrontDoor) -> None:
    decision = await asked(world, CUBA)
    assert (decision["verdict"], lines(decision)) == ("allowed", [])


async def test_a_row_that_states_its_class_decides_it(world: FrontDoor) -> None:
    rows = [Row("49", "Germany", per_minute=1, traffic_class=TrafficClass.NAT), Row("31", per_minute=1)]
    await world.definitions.put_rows("retail", rows)
    await bar(world, presets=["no_international"])
    assert (await asked(world, GERMANY))["verdict"] == "allowed"
    await bar(world, deny=[{"class": "NAT"}])
    assert (await asked(world, GERMANY, call_id="again"))["detail"] == "Germany FIX, class NAT, denied: class=NAT"


async def test_a_barred_number_without_a_rate_is_barred(world: FrontDoor) -> None:
    await world.definitions.put_rows("retail", [Row("31", per_minute=1)])
    await bar(world, presets=["no_international"])
    decision = await asked(world, GERMANY)
    assert decision["refusal"] == "destination_barred"
    assert [line["verdict"] for line in lines(decision, "rate")] == ["refuse"]


async def test_who_has_no_country_is_nowhere_at_home(world: FrontDoor) -> None:
    await world.json(
        "PUT", "/v1/accounts/acme", json=ACME | {"dial_rules": {}, "destinations": {"presets": ["no_international"]}}
    )
    assert (await asked(world, NL_MOB))["refusal"] == "destination_barred"


# ---- of whom


@pytest.mark.parametrize("bearer", ["reseller", "middle"])
async def test_the_rules_of_every_level_above_hold(world: FrontDoor, bearer: str) -> None:
    fields = {"kind": "prepaid", "plan": "wholesale", "dial_rules": {"country": "NL"}}
    if bearer == "middle":
        fields |= {"parent": "reseller", "plan": "middleman"}
    await world.json("PUT", f"/v1/accounts/{bearer}", json=fields | {"destinations": {"presets": ["no_international"]}})
    ops = await asked(world, GERMANY, "shop", call_id="of-shop")
    assert ops["refusal"] == "destination_barred"
    assert [(line["account"], line["limit"]) for line in lines(ops)] == [(bearer, "denied: no_international")]
    body = {"call_id": "hidden", "from": "+31201234567", "to": GERMANY, "account": "shop"}
    shop = await world.json("POST", "/v1/explain", "shop", json=body)
    assert (shop["refusal"], shop["detail"], lines(shop)) == ("destination_barred", "", [])
    assert [line["verdict"] for line in lines(shop, "provider_limit")] == ["refuse"]


async def test_stating_another_country_below_does_not_open_a_resellers_bar(world: FrontDoor) -> None:
    fields = {"kind": "prepaid", "plan": "wholesale", "dial_rules": {"country": "NL"}}
    await world.json("PUT", "/v1/accounts/reseller", json=fields | {"destinations": {"presets": ["no_high_risk"]}})
    shop = {"kind": "prepaid", "plan": "retail", "parent": "middle", "dial_rules": {"country": "CU"}}
    await world.json("PUT", "/v1/accounts/shop", "reseller", json=shop)
    assert (await asked(world, CUBA, "shop"))["refusal"] == "destination_barred"


async def test_a_country_that_only_a_level_above_states_is_home(world: FrontDoor) -> None:
    fields = {"kind": "prepaid", "plan": "wholesale", "dial_rules": {"country": "NL"}}
    await world.json("PUT", "/v1/accounts/reseller", json=fields)
    shop = {"kind": "prepaid", "plan": "retail", "parent": "middle", "destinations": {"presets": ["no_international"]}}
    await world.json("PUT", "/v1/accounts/shop", json=shop)
    assert (await asked(world, NL_MOB, "shop"))["verdict"] == "allowed"
    assert (await asked(world, GERMANY, "shop"))["refusal"] == "destination_barred"


async def test_a_trunk_has_rules_of_its_own(world: FrontDoor) -> None:
    await bar(world)
    await world.json("PUT", "/v1/trunks/lobby", json=TRUNK | {"destinations": {"deny": [{"type": "MOB"}]}})
    assert (await asked(world, NL_MOB))["verdict"] == "allowed"
    decision = await asked(world, NL_MOB, trunk="lobby", call_id="by-trunk")
    assert decision["detail"] == "trunk lobby: World MOB, class MOB, denied: type=MOB"
    assert [line["verdict"] for line in lines(decision)] == ["pass", "refuse"]
    assert (await asked(world, GERMANY, trunk="lobby", call_id="fixed"))["verdict"] == "allowed"


async def test_an_inbound_call_has_no_destination(world: FrontDoor) -> None:
    await bar(world, deny=[{}])
    decision = await asked(world, NL_MOB, direction="inbound")
    assert (decision["verdict"], lines(decision)) == ("allowed", [])


async def test_on_net_is_not_abroad(world: FrontDoor) -> None:
    await bar(world, presets=["no_international"])
    await world.json(
        "PUT", "/v1/accounts/shop", json={"kind": "prepaid", "plan": "retail", "parent": "middle", "numbers": [GERMANY]}
    )
    assert (await asked(world, GERMANY))["verdict"] == "allowed"


async def test_new_rules_hold_from_the_next_call_on(world: FrontDoor) -> None:
    body = {"call_id": "c1", "from": "+31201234567", "to": NL_MOB, "account": "acme"}
    await world.json("POST", "/v1/calls", json=body)
    await bar(world, deny=[{}])
    await world.json("POST", "/v1/calls/c1/answer")
    assert (await world.json("POST", "/v1/calls/c1/extend"))["verdict"] == "allowed"
    assert (await world.json("POST", "/v1/calls", json=body | {"call_id": "c2"}))["refusal"] == "destination_barred"


# ---- as it is written


async def test_rules_are_shown_as_they_were_given(door: FrontDoor) -> None:
    stated = {
        "presets": ["no_premium", "no_high_risk"],
        "allow": [{"prefix": "31", "class": "NAT", "days": "1-5", "from": "08:00", "to": "18:00"}],
        "deny": [{"type": "MOB", "destination": "Netherlands", "dates": "12-24/01-01", "holidays": "NL"}],
        "allow_numbers": [GERMANY],
        "deny_numbers": [NL_MOB],
    }
    empty = {"prefix": None, "type": None, "class": None, "destination": None, "days": "", "from": "", "to": "",
             "dates": "", "holidays": ""}  # fmt: skip
    full = stated | {key: [empty | rule for rule in stated[key]] for key in ("allow", "deny")}
    put = await door.json("PUT", "/v1/accounts/acme", json=ACME | {"destinations": stated})
    got = await door.json("GET", "/v1/accounts/acme")
    assert put["destinations"] == got["destinations"] == full
    trunk = await door.json("PUT", "/v1/trunks/lobby", json=TRUNK | {"destinations": full})
    assert trunk["destinations"] == (await door.json("GET", "/v1/trunks/lobby"))["destinations"] == full


async def test_the_example_of_the_documentation(world: FrontDoor) -> None:
    section = LIMITS.read_text().partition("## Destinations")[2]
    await bar(world, **json.loads(section.partition("```json")[2].partition("```")[0]))
    assert (await asked(world, GERMANY))["detail"].endswith("denied: class=INTL days=6,7")  # it is Saturday
    assert (await asked(world, CUBA, call_id="allowed"))["verdict"] == "allowed"


@pytest.mark.parametrize(
    ("destinations", "status", "field"),
    [
        ({"presets": ["no_fun"]}, 400, "destinations.presets.0"),
        ({"deny": [{"class": "CHEAP"}]}, 400, "destinations.deny.0.class"),
        ({"deny": [{"type": "SMS"}]}, 400, "destinations.deny.0.type"),
        ({"deny": [{"prefix": "+31"}]}, 400, "destinations.deny.0.prefix"),
        ({"deny": [{"when": "always"}]}, 400, "destinations.deny.0.when"),
        ({"deny": [{"days": "Monday"}]}, 422, "destinations.deny.0"),
        ({"allow": [{"from": "9 o'clock"}]}, 422, "destinations.allow.0"),
        ({"allow": [{"holidays": "ZZ"}]}, 422, "destinations.allow.0"),
        ({"deny_numbers": ["0612345678"]}, 400, "destinations.deny_numbers.0"),
        ({"allow_numbers": [NL_MOB], "deny_numbers": [NL_MOB]}, 422, "destinations"),
        ({"deny": [{}] * 5_001}, 400, "destinations.deny"),
    ],
)
async def test_what_is_no_rule_is_refused(door: FrontDoor, destinations: Any, status: int, field: str) -> None:
    error = await door.refused(status, "PUT", "/v1/accounts/acme", json=ACME | {"destinations": destinations})
    assert error["field"] == field
