"""Spend thresholds through the front door: what refuses and what it says, an operator's word, days that turn."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from callctl.accounts import Account, Kind
from callctl.clock import format_time
from callctl.rating.tariff import Row, TrafficClass
from tests.e2e.front_door import NL_MOB, FrontDoor
from tests.e2e.provider import Provider, two_providers

FRANCE, CUBA = "+33123456789", "+5371234567"
DAY_S = 86_400
AT_NOON = "2026-11-21T10:00:00.000Z"
ONE_A_SECOND = "prefix,destination,per_minute\n33,France,60.0000\n31,Netherlands,60.0000\n"


@pytest.fixture
async def world(door: FrontDoor) -> FrontDoor:
    """`door`, where a second abroad costs 0.10 at every level, and everybody is rich."""
    rows = [Row("", "World", per_minute=600_000_000), Row("31", "Netherlands", per_minute=600_000_000)]
    for plan in ("carrier", "wholesale", "middleman", "retail"):
        await door.definitions.put_rows(plan, rows)
    for account in ("reseller", "middle", "shop", "acme"):
        await door.json("POST", f"/v1/accounts/{account}/topups", json={"id": "rich", "amount": "10000.00"})
    return door


async def agree(door: FrontDoor, account: str = "acme", plan: str = "retail", ids: Any = None, **more: Any) -> Any:
    body = {"kind": "prepaid", "plan": plan, "dial_rules": {"country": "NL"}, "ids": ids or {"range": "40.00"}}
    return await door.json("PUT", f"/v1/accounts/{account}", json=body | more)


async def offer(door: FrontDoor, call_id: str, to: str = FRANCE, *, path: str = "/v1/calls", **more: Any) -> Any:
    """With slices of 10 s, which cost 1.00."""
    body = {"call_id": call_id, "from": "+31201234567", "to": to, "account": "acme", "can_extend": True}
    return await door.json("POST", path, json=body | more)


async def spend(door: FrontDoor, seconds: int, to: str = FRANCE, **more: Any) -> None:
    """Calls of 10 s, and the rest, one after the other in no time; 0.10 a second."""
    for number, began_s in enumerate(range(0, seconds, 10)):
        call_id, at = f"spent-{number}", door.clock.now().wall_ms
        assert (await offer(door, call_id, to, **more))["verdict"] == "allowed"
        await door.json("POST", f"/v1/calls/{call_id}/answer", json={"at": format_time(at - 10_000)})
        ended = format_time(at - 10_000 + 1_000 * min(10, seconds - began_s))
        await door.json("POST", f"/v1/calls/{call_id}/end", json={"at": ended})


async def ids(door: FrontDoor, account: str = "acme", bearer: str = "ops") -> Any:
    return await door.json("GET", f"/v1/accounts/{account}/ids", bearer)


def lines(decision: Any) -> list[Any]:
    return [line for line in decision["trace"] if line["check"] == "ids"]


# ---- what is said


async def test_a_refusal_explains_itself_and_explain_says_the_same(world) -> None:
    await agree(world)
    await spend(world, 395)
    for path in ("/v1/explain", "/v1/calls"):
        decision = await offer(world, "c1", path=path)
        assert (decision["verdict"], decision["refusal"]) == ("refused", "ids_threshold")
        assert (decision["sip_code"], decision["q850"], decision["announcement"]) == (403, 52, "spend-limit")
        assert decision["detail"] == (
            "39.5000 EUR spent or held today + 1.0000 for this call > 0.0000 average + 40.0000 range"
        )
        assert lines(decision) == [
            {
                "check": "ids",
                "verdict": "refuse",
                "saw": "39.5000 EUR spent or held today",
                "asked": "1.0000 EUR",
                "limit": "at most 0.0000 average + 40.0000 range",
                "since": "2026-11-21",
            }
        ]


async def test_an_allowed_call_shows_what_is_left(world) -> None:
    await agree(world)
    (line,) = lines(await offer(world, "c1"))
    assert line == {
        "check": "ids",
        "verdict": "pass",
        "saw": "0.0000 EUR spent or held today",
        "asked": "1.0000 EUR",
        "limit": "at most 0.0000 average + 40.0000 range",
        "since": "2026-11-21",
    }


async def test_what_another_plan_charges_besides_counts_before_taxes(world) -> None:
    levy = [{"name": "levy", "percent": "50"}]
    for plan in ("retail", "airtime"):
        await world.json("PUT", f"/v1/plans/{plan}", json={"taxes": levy})
    await world.definitions.put_rows("airtime", [Row("", "World", per_minute=300_000_000)])
    await agree(world, also=["airtime"])
    (line,) = lines(await offer(world, "c1", can_extend=True))
    assert line["asked"] == "1.5000 EUR"  # 10 s at 0.10 and at 0.05
    await world.json("POST", "/v1/calls/c1/answer")
    world.clock.pass_s(4)
    (cdr,) = (await world.json("POST", "/v1/calls/c1/end"))["cdrs"]
    assert (cdr["charge"], cdr["gross"]) == ("0.6000", "0.9000")
    assert (await ids(world))["today"]["spent"] == "0.6000"


async def test_what_is_not_watched_is_not_counted(world) -> None:
    await agree(world)
    assert lines(await offer(world, "c1", NL_MOB)) == []
    assert (await ids(world))["today"]["spent"] == "0.0000"


@pytest.mark.parametrize(("number", "refusal"), [("+12125550100", "no_rate"), ("nonsense", "invalid_number")])
async def test_what_has_no_price_is_not_watched(door, number, refusal) -> None:
    await agree(door)
    decision = await offer(door, "c1", number)
    assert (decision["refusal"], lines(decision)) == (refusal, [])


async def test_who_has_no_thresholds_is_not_asked(world) -> None:
    assert lines(await offer(world, "c1")) == []
    assert (await ids(world))["agreed"] is None


async def test_an_emergency_passes_a_blocked_account(world) -> None:
    await agree(world, ids={"range": "0.00", "mode": "hard"})
    assert (await offer(world, "c1"))["refusal"] == "ids_threshold"
    assert (await offer(world, "c2"))["refusal"] == "ids_blocked"
    assert (await offer(world, "c3", "112"))["verdict"] == "allowed"


async def test_a_level_above_is_the_providers_business(world) -> None:
    await agree(world, "middle", "middleman", ids={"range": "5.00"}, parent="reseller")
    for n in range(5):
        assert (await offer(world, f"c{n}", account="shop"))["verdict"] == "allowed"
    decision = await offer(world, "c5", account="shop")
    assert decision["refusal"] == "provider_limit"
    mine = await world.json("GET", "/v1/calls/c5", "shop")
    assert "average" not in str(mine)
    assert (await ids(world, "middle"))["today"]["held"] == "5.0000"
    assert (await ids(world, "shop"))["today"]["held"] == "0.0000"


async def test_who_pays_nothing_counts_what_it_talks(world) -> None:
    await agree(world, ids={"range": "3.50"}, billing="exempt")
    assert (await offer(world, "c1"))["granted_seconds"] == 10
    await world.json("POST", "/v1/calls/c1/answer")
    assert (await world.json("POST", "/v1/calls/c1/extend"))["granted_seconds"] == 30
    world.clock.pass_s(12)
    await world.json("POST", "/v1/calls/c1/end")
    assert (await ids(world))["today"]["spent"] == "1.2000"


# ---- an extension


async def test_an_extension_beyond_the_threshold_is_refused_and_the_call_lives_out_its_grant(world) -> None:
    await agree(world, ids={"range": "3.50"})
    await offer(world, "c1")
    await world.json("POST", "/v1/calls/c1/answer")
    longer = await world.json("POST", "/v1/calls/c1/extend")
    assert longer["granted_seconds"] == 30
    same = await world.json("POST", "/v1/calls/c1/extend")
    assert same["granted_seconds"] == 30
    assert (await ids(world))["today"]["spent"] == "3.0000"
    world.clock.pass_s(12)
    await world.json("POST", "/v1/calls/c1/end")
    today = (await ids(world))["today"]
    assert (today["spent"], today["held"], today["settled"]) == ("1.2000", "0.0000", "1.2000")


async def test_new_terms_hold_for_what_a_running_call_asks_next(world) -> None:
    await agree(world)
    await offer(world, "c1")
    await world.json("POST", "/v1/calls/c1/answer")
    await agree(world, ids={"range": "2.00"})
    assert (await world.json("POST", "/v1/calls/c1/extend"))["granted_seconds"] == 10
    await agree(world, ids={"range": "40.00", "mode": "off"})
    assert (await world.json("POST", "/v1/calls/c1/extend"))["granted_seconds"] > 10


async def test_a_call_that_was_up_when_thresholds_were_first_agreed_counts_from_what_it_asks_next(world) -> None:
    await offer(world, "c1")
    await world.json("POST", "/v1/calls/c1/answer")
    await agree(world, ids={"range": "5.00"})
    for _ in range(2):
        assert (await world.json("POST", "/v1/calls/c1/extend"))["granted_seconds"] == 30
        assert (await ids(world))["today"]["held"] == "3.0000"
    world.clock.pass_s(12)
    await world.json("POST", "/v1/calls/c1/end")
    today = (await ids(world))["today"]
    assert (today["spent"], today["held"]) == ("1.2000", "0.0000")


async def test_a_call_that_ends_after_thresholds_were_first_agreed_counts_what_it_used(world) -> None:
    await offer(world, "c1")
    await world.json("POST", "/v1/calls/c1/answer")
    await agree(world)
    world.clock.pass_s(12)
    await world.json("POST", "/v1/calls/c1/end")
    assert (await ids(world))["today"]["settled"] == "1.0000"  # of the 10 s that were granted


# ---- modes


async def test_a_trip_hangs_up_calls_from_before_the_agreement_too(world) -> None:
    await offer(world, "c1")
    await world.json("POST", "/v1/calls/c1/answer")
    await agree(world, ids={"range": "0.50", "mode": "hard"})
    assert (await offer(world, "c2"))["refusal"] == "ids_threshold"
    await asyncio.sleep(0)
    assert (await world.json("GET", "/v1/calls/c1"))["hang_up"] == "requested"


async def test_hard_hangs_up_what_is_watched_and_nothing_else(world) -> None:
    await agree(world, ids={"range": "3.00", "mode": "hard"})
    for call_id, to in (("abroad", FRANCE), ("home", NL_MOB), ("help", "112")):
        assert (await offer(world, call_id, to))["verdict"] == "allowed"
        await world.json("POST", f"/v1/calls/{call_id}/answer")
    for n in range(2):
        await offer(world, f"c{n}")
    with capture_logs() as logs:
        assert (await offer(world, "c2"))["refusal"] == "ids_threshold"
        await asyncio.sleep(0)
    assert [(entry["alert"], entry["mode"]) for entry in logs if entry["event"] == "ids_alert"] == [("tripped", "hard")]
    for call_id, hang_up in (("abroad", "requested"), ("home", None), ("help", None), ("c0", "requested")):
        assert (await world.json("GET", f"/v1/calls/{call_id}")).get("hang_up") == hang_up
    assert (await world.json("POST", "/v1/calls/abroad/extend"))["granted_seconds"] == 10
    blocked = await offer(world, "c3")
    assert blocked["refusal"] == "ids_blocked"
    assert blocked["detail"].endswith(f"blocked until midnight or a release since {AT_NOON}")


async def test_monitor_reports_and_lets_pass(world) -> None:
    await agree(world, ids={"range": "0.50", "mode": "monitor"})
    with capture_logs() as logs:
        decision = await offer(world, "c1")
    assert decision["verdict"] == "allowed"
    assert lines(decision)[0]["verdict"] == "would_refuse"
    assert [entry["alert"] for entry in logs if entry["event"] == "ids_alert"] == ["warned", "tripped"]
    page = await (await world.ask("GET", "/metrics")).text()
    assert 'callctl_ids_alerts_total{alert="tripped"} 1.0' in page


async def test_a_barred_number_neither_alarms_nor_hangs_up(world) -> None:
    hard = {"range": "1.50", "mode": "hard"}
    await agree(world, ids=hard)
    assert (await offer(world, "up"))["verdict"] == "allowed"
    await agree(world, ids=hard, destinations={"deny": [{"prefix": "33"}]})
    with capture_logs() as logs:
        decision = await offer(world, "c1")
        await asyncio.sleep(0)
    assert decision["refusal"] == "destination_barred"
    assert [entry for entry in logs if entry["event"] == "ids_alert"] == []
    assert "hang_up" not in await world.json("GET", "/v1/calls/up")


async def test_what_was_let_pass_is_hung_up_at_the_first_refusal(world) -> None:
    await agree(world, ids={"range": "1.50", "mode": "monitor"})
    for n in range(3):
        assert (await offer(world, f"c{n}"))["verdict"] == "allowed"
    await agree(world, ids={"range": "1.50", "mode": "hard"})
    assert (await offer(world, "c3"))["refusal"] == "ids_threshold"
    assert (await offer(world, "c4"))["refusal"] == "ids_blocked"
    assert (await world.json("GET", "/v1/calls/c0"))["hang_up"] == "requested"


async def test_who_becomes_blocked_by_other_terms_is_hung_up_at_the_next_refusal(world) -> None:
    await agree(world, ids={"range": "1.50", "mode": "soft"})
    assert (await offer(world, "up"))["verdict"] == "allowed"
    assert (await offer(world, "c1"))["refusal"] == "ids_threshold"
    await agree(world, ids={"range": "1.50", "mode": "hard"})
    assert (await offer(world, "c2"))["refusal"] == "ids_blocked"
    await asyncio.sleep(0)
    assert (await world.json("GET", "/v1/calls/up"))["hang_up"] == "requested"


async def test_a_call_that_is_cut_to_the_money_there_is_is_one_attempt(world) -> None:
    """Its account has 0.50, and 10 s cost 1.00."""
    await world.definitions.put_account(Account("poor", Kind.PREPAID, "retail"))
    await agree(world, "poor", ids={"range": "40.00", "attempts_per_minute": 2})
    await world.json("POST", "/v1/accounts/poor/topups", json={"id": "little", "amount": "0.50"})
    for call_id in ("c1", "c2"):
        decision = await offer(world, call_id, account="poor")
        assert (decision["verdict"], decision["granted_seconds"]) == ("allowed", 5)
        await world.json("POST", f"/v1/calls/{call_id}/end", json={})
    refused = await offer(world, "c3", account="poor")
    assert refused["detail"] == "2 watched attempts in 60 s, 1 more asked for, at most 2"


async def test_a_block_ends_at_the_accounts_own_midnight(world) -> None:
    await agree(world, ids={"range": "0.50", "mode": "hard"}, timezone="Asia/Tokyo")  # it is 19:00 there
    await offer(world, "c1")
    world.clock.pass_s(5 * 3_600 - 1)
    assert (await offer(world, "c2"))["refusal"] == "ids_blocked"
    world.clock.pass_s(1)
    assert (await offer(world, "c3"))["refusal"] == "ids_threshold"


async def test_office_hours_narrow_the_range(world) -> None:
    """It is a Saturday."""
    office = {"outside_percent": 10, "days": "1-5", "from": "08:00", "to": "18:00"}
    await agree(world, ids={"range": "40.00", "office": office})
    for n in range(4):
        assert (await offer(world, f"c{n}"))["verdict"] == "allowed"
    assert (await offer(world, "c4"))["detail"].endswith("+ 4.0000 range")
    world.clock.pass_s(2 * DAY_S)  # Monday, 10:00 in UTC
    assert (await offer(world, "c5"))["verdict"] == "allowed"
    assert lines(await offer(world, "c6"))[0]["limit"].endswith("+ 40.0000 range")


async def test_the_recommended_profile_is_one_word(world) -> None:
    shown = (await agree(world, ids="recommended"))["ids"]
    assert shown["range"] == "50.0000"
    assert (shown["hourly"], shown["concurrent"], shown["attempts_per_minute"]) == (True, True, 20)
    assert (shown["mode"], shown["new_country"]) == ("soft", "5.0000")
    assert shown["watch"] == ["HIGHRISK", "PREMIUM", "INTL"]
    wide = (await agree(world, ids={"profile": "recommended", "range": "80.00"}))["ids"]
    assert (wide["range"], wide["hourly"]) == ("80.0000", True)
    for n in range(3):
        assert (await offer(world, f"c{n}"))["verdict"] == "allowed"
    assert (await offer(world, "c3"))["detail"] == (
        "3 watched calls at once, 1 more asked for, at most 3 since 2026-11-21"
    )


async def test_a_high_risk_country_that_is_new(world) -> None:
    rows = [
        Row("", "World", per_minute=600_000_000),
        Row("53", "Cuba", per_minute=600_000_000, traffic_class=TrafficClass.HIGHRISK),
    ]
    for plan in ("carrier", "retail"):
        await world.definitions.put_rows(plan, rows)
    await agree(world, ids={"range": "40.00", "new_country": "1.50"})
    assert (await offer(world, "c1", CUBA))["verdict"] == "allowed"
    decision = await offer(world, "c2", CUBA)
    assert decision["detail"] == (
        "1.0000 EUR spent or held today in a country not called for 60 days + 1.0000 for this call > 1.5000"
    )
    assert (await offer(world, "c3"))["verdict"] == "allowed"


# ---- an operator's word


async def test_a_release_forgets_what_was_spent(world) -> None:
    await agree(world, ids={"range": "3.00", "mode": "hard"})
    await spend(world, 30)
    assert (await offer(world, "c1"))["refusal"] == "ids_threshold"
    said = {"by": "anna", "why": "the customer called"}
    shown = await world.json("POST", "/v1/accounts/acme/ids/release", json=said)
    assert (shown["today"]["released"], shown["today"]["tripped_at"]) == ("3.0000", None)
    assert shown["log"][0]["what"] == "release"
    assert shown["log"][0]["detail"]["by"] == "anna"
    assert (await offer(world, "c2"))["verdict"] == "allowed"


async def test_more_for_today_is_logged_and_gone_tomorrow(world) -> None:
    await agree(world, ids={"range": "3.00"})
    said = {"extra_today": "20.00", "by": "anna", "why": "a congress"}
    shown = await world.json("POST", "/v1/accounts/acme/ids/release", json=said)
    assert (shown["today"]["extra"], shown["today"]["threshold"]) == ("20.0000", "23.0000")
    await spend(world, 225)
    world.clock.pass_s(DAY_S)
    assert (await ids(world))["today"]["extra"] == "0.0000"
    assert (await ids(world))["days"][-1] == {
        "day": "2026-11-21", "spent": "22.5000", "threshold": "3.0000", "most_at_once": 0, "incident": False,
    }  # fmt: skip


async def test_an_operators_word_with_an_id_is_heard_once(world) -> None:
    await agree(world, ids={"range": "3.00"})
    path, said = "/v1/accounts/acme/ids/release", {"id": "ticket-1", "extra_today": "20.00"}
    for _ in range(2):
        shown = await world.json("POST", path, json=said)
        assert (shown["today"]["extra"], len(shown["log"])) == ("20.0000", 1)
    for other in ({"extra_today": "20.01"}, {"until": "2026-11-21T11:00:00Z"}, {}):
        error = await world.refused(409, "POST", path, json={"id": "ticket-1", **other})
        assert (error["code"], error["field"]) == ("conflict", "id")
    for more in ({}, {"id": "ticket-2"}):
        shown = await world.json("POST", path, json={"extra_today": "1.00", **more})
    assert shown["today"]["extra"] == "22.0000"
    other = await world.json("POST", "/v1/accounts/shop/ids/release", json=said)  # of another account it is another id
    assert other["today"]["extra"] == "20.0000"
    assert (await world.json("GET", "/v1/accounts/acme/ids"))["today"]["extra"] == "22.0000"


async def test_a_release_with_an_id_forgets_once(world) -> None:
    await agree(world, ids={"range": "3.00"})
    path = "/v1/accounts/acme/ids/release"
    for _ in range(2):
        await spend(world, 10)
        shown = await world.json("POST", path, json={"id": "ticket-1"})
        assert shown["today"]["released"] == "1.0000"


async def test_until_a_moment_nothing_is_refused(world) -> None:
    await agree(world, ids={"range": "0.50"})
    shown = await world.json("POST", "/v1/accounts/acme/ids/release", json={"until": "2026-11-21T11:00:00Z"})
    assert shown["today"]["free_until"] == "2026-11-21T11:00:00.000Z"
    assert (await offer(world, "c1"))["verdict"] == "allowed"
    world.clock.pass_s(3_600)
    assert (await offer(world, "c2"))["refusal"] == "ids_threshold"


async def test_days_from_another_system_make_the_average(world) -> None:
    days = [{"day": f"2026-11-{day:02}", "spent": "14.00"} for day in range(1, 21)]
    shown = await world.json("PUT", "/v1/accounts/acme/ids/days", json={"days": days})
    assert (shown["today"]["average"], shown["since"]) == ("14.0000", "2026-11-01")
    days = [day | {"threshold": "50.00"} for day in days]
    shown = await world.json("PUT", "/v1/accounts/acme/ids/days", json={"days": days})
    assert shown["today"]["average"] == "14.0000"
    incident = {"days": [{"day": "2026-11-20", "spent": "40.00"}]}
    assert (await world.json("PUT", "/v1/accounts/acme/ids/days", json=incident))["today"]["average"] == "15.3000"
    incident = {"days": [{"day": "2026-11-20", "incident": True}]}
    assert (await world.json("PUT", "/v1/accounts/acme/ids/days", json=incident))["today"]["average"] == "14.0000"


@pytest.mark.parametrize(
    ("path", "said", "status", "field"),
    [
        ("release", {"extra_today": "1.00", "until": "2026-11-22T00:00:00Z"}, 422, None),
        ("release", {"extra_today": "-1.00"}, 422, "extra_today"),
        ("release", {"extra_today": 1}, 400, "extra_today"),
        ("release", {"until": "tomorrow"}, 422, "until"),
        ("release", {"until": "2026-11-21T09:59:59Z"}, 422, "until"),
        ("release", {"untill": "2026-11-22T00:00:00Z"}, 400, "untill"),
        ("days", {"days": []}, 400, "days"),
        ("days", {"days": [{"day": "2026-11-22"}]}, 422, "days"),
        ("days", {"days": [{"day": "2026-11-21", "spent": "1.00"}]}, 422, "days"),
        ("days", {"days": [{"day": "yesterday"}]}, 400, "days.0.day"),
    ],
)
async def test_a_word_that_makes_no_sense_is_refused(world, path, said, status, field) -> None:
    method = "POST" if path == "release" else "PUT"
    error = await world.refused(status, method, f"/v1/accounts/acme/ids/{path}", json=said)
    assert field is None or error.get("field") == field
    assert (await ids(world))["log"] == []


@pytest.mark.parametrize(
    "agreed",
    [
        {"mode": "hard"},
        {"range": "-1.00"},
        {"range": 40},
        {"range": "40.00", "mode": "harder"},
        {"range": "40.00", "watch": []},
        {"range": "40.00", "watch": ["EMERGENCY"]},
        {"range": "40.00", "office": {"outside_percent": 10, "from": "18:00", "to": "08:00"}},
        {"range": "40.00", "attempts_per_minute": 0},
        {"profile": "paranoid"},
        "paranoid",
    ],
)
async def test_thresholds_that_make_no_sense_are_refused(world, agreed) -> None:
    body = {"kind": "prepaid", "plan": "retail", "ids": agreed}
    response = await world.ask("PUT", "/v1/accounts/acme", json=body)
    assert response.status in (400, 422)
    assert (await ids(world))["agreed"] is None


async def test_who_may_see_and_who_may_say(world) -> None:
    await agree(world, "shop", ids={"range": "1.00"}, parent="middle")
    assert (await ids(world, "shop", "shop"))["agreed"]["range"] == "1.0000"
    await world.json("POST", "/v1/accounts/shop/ids/release", "middle", json={})
    await world.refused(403, "POST", "/v1/accounts/shop/ids/release", "shop", json={})
    await world.refused(404, "GET", "/v1/accounts/acme/ids", "shop")
    await world.refused(403, "POST", "/v1/accounts/shop/ids/release", "reader", json={})


# ---- the real thing


async def furnish(daemon: Provider, agreed: Any) -> None:
    await daemon.good("PUT", "/v1/plans/one", {})
    await daemon.good("PUT", "/v1/plans/one/rows", ONE_A_SECOND)
    fields = {"kind": "prepaid", "plan": "one", "dial_rules": {"country": "NL"}, "ids": agreed}
    await daemon.good("PUT", "/v1/accounts/acme", fields)
    await daemon.good("POST", "/v1/accounts/acme/topups", {"id": "rich", "amount": "10000.00"})


async def test_of_a_hundred_calls_at_once_as_many_pass_as_fit(tmp_path: Path) -> None:
    """A slice of 10 s costs 10.00, and 400.00 may be spent."""
    async with Provider(tmp_path) as daemon:
        await furnish(daemon, {"range": "400.00"})
        asked = [daemon.call(f"c{n}", to=FRANCE, can_extend=True) for n in range(100)]
        decisions = await asyncio.gather(*asked)
        assert [each["verdict"] for each in decisions].count("allowed") == 40
        assert {each["refusal"] for each in decisions if each["verdict"] == "refused"} == {"ids_threshold"}
        today = (await daemon.good("GET", "/v1/accounts/acme/ids"))["today"]
        assert (today["spent"], today["held"]) == ("400.0000", "400.0000")


async def test_a_trip_hangs_up_the_calls_of_every_process(tmp_path: Path, redis_server) -> None:
    async with two_providers(tmp_path, redis_server.url) as (one, two):
        await furnish(one, {"range": "25.00", "mode": "hard"})

        async def known() -> bool:
            status, _ = await two.ask("GET", "/v1/accounts/acme/ids")
            return status == 200

        await two.until(known)
        assert (await two.call("abroad", to=FRANCE, can_extend=True))["verdict"] == "allowed"
        assert (await one.call("c1", to=FRANCE, can_extend=True))["verdict"] == "allowed"
        assert (await one.call("c2", to=FRANCE, can_extend=True))["refusal"] == "ids_threshold"

        async def wanted() -> bool:
            return (await two.good("GET", "/v1/calls/abroad")).get("hang_up") == "requested"

        await two.until(wanted)


async def test_after_a_crash_what_calls_held_is_an_estimate(tmp_path: Path) -> None:
    more = "[policy]\nlease_grace_s = 1\nsetup_timeout_s = 5\n"
    async with Provider(tmp_path, more=more) as daemon:
        await furnish(daemon, {"range": "400.00"})
        body = {"to": FRANCE, "can_extend": True}
        for call_id in ("c1", "c2"):
            await daemon.call(call_id, **body)
            await daemon.good("POST", f"/v1/calls/{call_id}/answer", {})
        await daemon.kill()
        await daemon.start()

        async def estimated() -> bool:
            return (await daemon.good("GET", "/v1/accounts/acme/ids"))["today"]["estimated"] == "20.0000"

        await daemon.until(estimated)
        today = (await daemon.good("GET", "/v1/accounts/acme/ids"))["today"]
        assert (today["spent"], today["held"]) == ("20.0000", "0.0000")
