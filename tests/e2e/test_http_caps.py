"""Caps, licences and the provider's own limits through the front door: what refuses, and what it says."""

from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

from callctl.call.events import Alerting, CallEvent, CallKey, Offered
from callctl.causes import Refusal
from callctl.clock import format_time, parse_time
from callctl.control.licences import Licences
from callctl.control.reconciler import Reconciler
from callctl.errors import SwitchUnavailable
from callctl.limits.licence import LicenceStatus
from callctl.rating.tariff import Direction, Row, TrafficClass
from callctl.wiring import leaving_by
from tests.e2e.front_door import NL_MOB, NOW

NL_FIX = "+31201234567"
NOW_TEXT = format_time(NOW.wall_ms)
HOUR_S = 3_600
PACKAGE = {"channels": 5, "from": "2026-12-02", "until": "2026-12-03"}


async def put(door, account: str = "acme", **fields: Any) -> Any:
    body = {"kind": "postpaid", "plan": "retail", "timezone": "Europe/Amsterdam", "dial_rules": {"country": "NL"}}
    return await door.json("PUT", f"/v1/accounts/{account}", json=body | fields)


async def offer(door, call_id: str, bearer: str = "ops", *, path: str = "/v1/calls", **call: Any) -> Any:
    body = {"call_id": call_id, "from": "", "to": NL_MOB, "account": "acme"}
    return await door.json("POST", path, bearer, json=body | call)


async def refusal(door, call_id: str, **call: Any) -> str | None:
    """Why the call may not go ahead; None where it may."""
    return (await offer(door, call_id, **call)).get("refusal")


def lines(decision: Any, check: str = "channels") -> list[Any]:
    return [line for line in decision["trace"] if line["check"] == check]


# ---- what is said


async def test_a_refusal_says_what_was_in_use_and_asked_for_the_limit_and_since_when(door) -> None:
    await put(door, caps={"outbound": 1, "total": 5})
    await offer(door, "c1")
    door.clock.pass_s(60)
    for path in ("/v1/explain", "/v1/calls"):
        decision = await offer(door, "c2", path=path)
        assert decision["refusal"] == "channel_limit"
        assert decision["detail"] == f"outbound: 1 in use, 1 more asked for, at most 1 since {NOW_TEXT}"
        told = {"check": "channels", "asked": "1 more", "since": NOW_TEXT}
        assert lines(decision) == [
            told | {"verdict": "refuse", "saw": "outbound: 1 in use", "limit": "at most 1"},
            told | {"verdict": "pass", "saw": "total: 1 in use", "limit": "at most 5"},
        ]


async def test_since_is_when_caps_were_changed_last(door) -> None:
    first = await put(door, caps={"outbound": 1}, licence={"channels": 4})
    assert (first["caps"]["since"], first["licence"]["since"]) == (NOW_TEXT, NOW_TEXT)
    door.clock.pass_s(HOUR_S)
    same = await put(door, caps={"outbound": 1}, licence=first["licence"], attributes={"crm": "1"})
    assert (same["caps"]["since"], same["licence"]["since"]) == (NOW_TEXT, NOW_TEXT)
    later = format_time(door.clock.now().wall_ms)
    changed = await put(door, caps=same["caps"] | {"outbound": 2}, licence={"channels": 4})
    assert (changed["caps"]["since"], changed["licence"]["since"]) == (later, NOW_TEXT)
    stated = await put(door, caps={"outbound": 3, "since": "2026-01-01T00:00:00Z"})
    assert (stated["caps"]["since"], stated["licence"]) == ("2026-01-01T00:00:00.000Z", None)
    trunk = {"account": "acme", "caps": {"outbound": 1}, "licence": {"channels": 4}}
    shown = await door.json("PUT", "/v1/trunks/line", json=trunk)
    assert (shown["caps"]["since"], shown["licence"]["since"]) == (later, later)
    assert await door.json("GET", "/v1/trunks/line") == shown


async def test_whose_channels_are_full_above_is_for_the_provider_to_see(door) -> None:
    await put(door, "reseller", caps={"outbound": 0}, plan="wholesale")
    seen = await offer(door, "c1", account="shop")
    assert (seen["refusal"], seen["detail"][:18]) == ("provider_limit", "outbound: 0 in use")
    hidden = await offer(door, "c2", "shop", account="shop")
    assert (hidden["refusal"], hidden["detail"], lines(hidden)) == ("provider_limit", "", [])
    assert {"check": "provider_limit", "verdict": "refuse", "saw": ""} in hidden["trace"]


# ---- which calls count


async def test_a_cap_knows_of_the_calls_that_were_up_before_it(door) -> None:
    await put(door)
    for call_id in ("c1", "c2", "c3"):
        await offer(door, call_id)
    for limit in ({"caps": {"outbound": 2}}, {"licence": {"channels": 2}}, {"caps": {"bandwidth": {"kbits": 200}}}):
        await put(door, **limit)
        assert await refusal(door, "c4") in ("channel_limit", "licence_limit"), limit
    assert (await door.json("GET", "/v1/calls"))["total"] == 3  # a lower cap ends no call
    for call_id in ("c1", "c2"):
        await door.json("POST", f"/v1/calls/{call_id}/end")
    assert await refusal(door, "c4") is None


async def test_groups_by_type_class_and_prefix(door) -> None:
    await door.definitions.put_rows("retail", [Row("", "World", per_minute=1), Row("44", "UK", per_minute=1)])
    groups = [
        {"name": "mobile", "types": ["MOB"], "prefixes": ["31"], "outbound": 1},
        {"name": "abroad", "classes": ["INTL"], "total": 0},
    ]
    await put(door, caps={"groups": groups})
    assert await refusal(door, "c1", to=NL_MOB) is None
    decision = await offer(door, "c2", to=NL_MOB)
    assert decision["detail"].startswith("group:mobile:outbound: 1 in use, 1 more asked for, at most 1")
    assert await refusal(door, "c3", to=NL_FIX) is None
    assert await refusal(door, "c4", to="+447911123456") == "channel_limit"


@pytest.mark.parametrize(
    "rule",
    [
        {"caps": {"groups": [{"name": "dear", "classes": ["PREMIUM"], "outbound": 0}]}},
        {"destinations": {"deny": [{"class": "PREMIUM"}]}},
    ],
)
@pytest.mark.parametrize(
    ("plan", "refuses"), [("retail", ["shop"]), ("middleman", ["middle"]), ("wholesale", ["reseller", "neighbour"])]
)
async def test_a_trunk_sees_a_call_as_the_row_of_its_owner_has_it(door, rule: Any, plan: str, refuses: Any) -> None:
    """Whoever has a plan for those below could else call what is dear cheap, and be past the rules of its line."""
    await door.definitions.put_rows(plan, [Row("31", "Dear", per_minute=8, traffic_class=TrafficClass.PREMIUM)])
    await put(door, "neighbour", parent="reseller")  # is not above the shop: the reseller's row counts
    refused = []
    for owner in ("shop", "middle", "reseller", "neighbour"):
        await door.json("PUT", "/v1/trunks/line", json={"account": owner, **rule})
        if (await offer(door, owner, account="shop", trunk="line"))["verdict"] == "refused":
            refused.append(owner)
    assert refused == refuses


async def test_a_call_within_another_counts_unless_the_switch_counts_both_as_one(door) -> None:
    inbound = Row("31", "Freephone", per_minute=1, direction=Direction.INBOUND)
    await door.definitions.put_rows("retail", [Row("31", "Netherlands", per_minute=1), inbound])
    for counted, second in ((True, "channel_limit"), (False, None)):
        await put(door, caps={"total": 1, "count_within": counted}, licence={"channels": 1})
        outer, inner = f"in-{counted}", f"out-{counted}"
        await offer(door, outer, direction="inbound", to=NL_FIX)
        body = {"call_id": inner, "from": "", "to": NL_MOB, "within": outer}
        assert (await door.json("POST", "/v1/calls", json=body)).get("refusal") == second
        assert (await door.json("GET", "/v1/accounts/acme"))["channels"]["total"] == 1
        assert await refusal(door, "other") == "channel_limit"
        for call_id in (inner, outer):
            await door.ask("POST", f"/v1/calls/{call_id}/end")
        assert (await door.json("GET", "/v1/accounts/acme"))["channels"]["total"] == 0


async def test_internal_calls_count_where_the_pbx_counts_them(door) -> None:
    for counted, refused in ((False, None), (True, "licence_limit")):
        await put(door, licence={"channels": 0}, caps={"count_internal": counted})
        assert await refusal(door, f"c-{counted}", direction="internal", to="201") == refused
    await put(door, caps={"internal": 0})
    decision = await offer(door, "c3", direction="internal", to="201")
    assert decision["detail"].startswith("internal: 1 in use")  # the one that no licence counted


async def test_an_emergency_call_passes_every_cap_and_counts(door) -> None:
    await door.json("PUT", "/v1/limits/all", json={"total": 0})
    await put(door, caps={"outbound": 0, "total": 0}, licence={"channels": 0}, calls_per_second=1)
    for call_id in ("c1", "c2"):
        assert await refusal(door, call_id, to="112") is None
    assert (await door.json("GET", "/v1/accounts/acme"))["channels"]["outbound"] == 2


# ---- overflow, packages, attempts, soft caps


async def test_overflow_is_held_and_charged_up_to_the_hard_cap(door) -> None:
    overflow = {"at_most": 1, "per_call": "0.5000", "per_minute": "0.6000"}
    await put(door, "acme", kind="prepaid", caps={"outbound": 1, "overflow": overflow})
    await offer(door, "c1", can_extend=True)
    held = (await door.json("GET", "/v1/accounts/acme"))["held"]
    over = await offer(door, "c2", can_extend=True)
    assert Decimal(over["hold"]) == Decimal(held) + Decimal("0.60")  # 0.50, and 0.10 for a slice of ten seconds
    assert lines(over)[0]["limit"] == "at most 1, with overflow 2"
    decision = await offer(door, "c3", can_extend=True)
    assert (decision["refusal"], decision["detail"][:18]) == ("channel_limit", "outbound: 2 in use")
    for call_id in ("c1", "c2"):
        await door.json("POST", f"/v1/calls/{call_id}/answer")
    door.clock.pass_s(10)
    cdrs = {}
    for call_id in ("c1", "c2"):
        (cdrs[call_id],) = (await door.json("POST", f"/v1/calls/{call_id}/end"))["cdrs"]
    assert [cdrs[call_id]["surcharge"] for call_id in ("c1", "c2")] == ["0.0000", "0.6000"]


@pytest.mark.parametrize(
    ("at", "allowed"),
    [
        ("2026-11-23T22:59:59Z", 1),  # a second before midnight in Amsterdam
        ("2026-11-23T23:00:00Z", 3),
        ("2026-11-25T22:59:59Z", 3),
        ("2026-11-25T23:00:00Z", 1),
    ],
)
async def test_a_package_holds_from_its_first_to_its_last_day_of_the_account(door, at: str, allowed: int) -> None:
    packages = [{"channels": 2, "from": "2026-11-24", "until": "2026-11-25"}]
    await put(door, caps={"outbound": 1, "packages": packages})
    trunk = {"account": "acme", "caps": {"outbound": 1, "packages": packages}}
    await door.json("PUT", "/v1/trunks/line", json=trunk)
    door.clock.pass_s((parse_time(at) - NOW.wall_ms) // 1000)
    answers = [await refusal(door, f"c{n}", trunk="line") for n in range(4)]
    assert answers == [None] * allowed + ["channel_limit"] * (4 - allowed)


async def test_attempts_per_second_of_an_account_and_of_those_above(door) -> None:
    await put(door, "reseller", plan="wholesale", calls_per_second=3)
    await put(door, "shop", parent="middle", calls_per_second=2)
    for call_id in ("c1", "c2"):
        assert await refusal(door, call_id, account="shop") is None
    assert await refusal(door, "asked", path="/v1/explain", account="shop") == "call_rate_limit"
    decision = await offer(door, "c3", account="shop")
    assert decision["refusal"] == "call_rate_limit"
    limit = f"at most 2 a second since {NOW_TEXT}"
    assert decision["detail"] == f"account shop: 2 attempts, 1 more asked for, {limit}"
    above = await offer(door, "c4", account="middle")
    assert (above["refusal"], above["detail"][:28]) == ("provider_limit", "account reseller: 3 attempts")
    hidden = await offer(door, "c5", "middle", account="middle")
    assert (hidden["refusal"], hidden["detail"]) == ("provider_limit", "")
    door.clock.pass_s(1)
    assert await refusal(door, "c6", account="shop") is None


async def test_a_soft_cap_is_reported_and_lets_go(door) -> None:
    overflow = {"at_most": 0, "per_call": "9.0000"}
    soft = {"outbound": 0, "enforce": False, "overflow": overflow}
    await put(door, caps=soft, licence={"channels": 0, "enforce": False})
    decision = await offer(door, "c1", can_extend=True)
    assert (decision["verdict"], decision["hold"]) == ("allowed", "0.0133")
    assert [(line["verdict"], line["saw"], line["limit"]) for line in lines(decision)] == [
        ("would_refuse", "outbound: 0 in use", "not enforced: at most 0"),
        ("would_refuse", "licence: 0 in use", "not enforced: at most 0"),
    ]
    page = await (await door.ask("GET", "/metrics")).text()
    assert 'callctl_limits_not_enforced_total{check="channels"} 2.0' in page


# ---- licences


async def test_a_licence_falls_back_at_midnight_of_the_account(door) -> None:
    licence = {"channels": 2, "annual_from": "2025-11-22", "fallback_channels": 1}
    await put(door, licence=licence)
    await door.json("PUT", "/v1/trunks/line", json={"account": "acme", "licence": {"channels": 3}})
    assert [await refusal(door, f"c{n}") for n in range(3)] == [None, None, "licence_limit"]
    door.clock.pass_s(13 * HOUR_S)  # 2026-11-22 in Amsterdam, and still the 21st in UTC
    await door.json("POST", "/v1/calls/c0/end")
    decision = await offer(door, "c3")
    assert decision["refusal"] == "licence_limit"
    assert decision["detail"] == "licence: 1 in use, 1 more asked for, at most 1 since 2026-11-22"


async def test_a_trunk_keeps_the_licence_of_its_pbx(door) -> None:
    await put(door)
    await door.json("PUT", "/v1/trunks/line", json={"account": "acme", "licence": {"channels": 1}})
    assert [await refusal(door, f"c{n}", trunk="line") for n in range(2)] == [None, "licence_limit"]
    assert await refusal(door, "c2") is None  # not by that trunk


class Pbx:
    """A switch that knows its licence, when it answers."""

    name = "pbx1"

    def __init__(self) -> None:
        self.says: LicenceStatus | None = None
        self.asked = 0

    async def licence(self) -> LicenceStatus:
        self.asked += 1
        if self.says is None:
            raise SwitchUnavailable("pbx1: no answer")
        return self.says


async def test_a_licence_by_the_word_of_its_switch(door) -> None:
    pbx = Pbx()
    licences = Licences({pbx.name: pbx}, door.definitions, door.tariffs, door.clock)
    await put(door, licence={"from_switch": "pbx1", "channels": 3, "fallback_channels": 1})
    await licences.ask("pbx1")  # which does not answer: what is written down holds
    assert [await refusal(door, f"c{n}") for n in range(4)] == [None, None, None, "licence_limit"]
    pbx.says = LicenceStatus(4, "2026-11-23")
    await licences.ask("pbx1")
    assert [await refusal(door, f"c{n}") for n in range(3, 5)] == [None, "licence_limit"]
    assert (await offer(door, "c5"))["detail"].endswith(f"at most 4 since {NOW_TEXT}")
    pbx.says = None
    door.clock.pass_s(24 * HOUR_S)
    await licences.ask("pbx1")  # its silence changes nothing
    assert (await offer(door, "c6"))["detail"].endswith(f"at most 4 since {NOW_TEXT}")
    door.clock.pass_s(24 * HOUR_S)
    assert (await offer(door, "c7"))["detail"].endswith("at most 1 since 2026-11-23")
    pbx.says = LicenceStatus(None)
    await licences.ask("pbx1")
    assert await refusal(door, "c8") is None
    await licences.ask("pbx2")
    assert pbx.asked == 4


async def test_a_licence_that_nobody_has_told_yet_limits_nothing(door) -> None:
    await put(door, licence={"from_switch": "pbx1"})
    decision = await offer(door, "c1")
    assert decision["verdict"] == "allowed"
    (line,) = lines(decision, "licence")
    assert (line["verdict"], line["saw"]) == ("skip", "pbx1 has not told its licence yet: what is written down holds")


# ---- the provider's own


async def test_the_providers_limits_are_read_as_they_were_put(door) -> None:
    await door.json("PUT", "/v1/trunks/carrier", json={"account": "acme"})
    body = {"trunk": "carrier", "prefixes": ["31"], "outbound": 5}
    put = await door.json("PUT", "/v1/limits/nl", json=body)
    whole = {"inbound": None, "total": None, "enforce": True, "since": NOW_TEXT, "channels": {"outbound": 0}}
    assert put == {"id": "nl", **body, **whole}
    assert await refusal(door, "c1", trunk_out="carrier") is None
    put["channels"]["outbound"] = 1
    assert await door.json("GET", "/v1/limits/nl") == put
    await door.json("PUT", "/v1/limits/all", json={"total": 100})
    assert [each["id"] for each in (await door.json("GET", "/v1/limits"))["limits"]] == ["all", "nl"]
    await door.refused(404, "GET", "/v1/limits/none")
    assert (await door.refused(422, "PUT", "/v1/limits/x", json={"trunk": "none"}))["field"] == "trunk"
    assert (await door.refused(400, "PUT", "/v1/limits/x", json={"total": -1}))["field"] == "total"
    assert (await door.refused(400, "PUT", "/v1/limits/a b", json={}))["field"] == "id"
    await door.refused(403, "PUT", "/v1/limits/all", "reseller", json={})
    await door.refused(403, "GET", "/v1/limits", "reseller")


async def test_a_carriers_channels_bind_all_customers_and_come_back(door) -> None:
    await door.json("PUT", "/v1/trunks/carrier", json={"account": "reseller"})
    await door.json("PUT", "/v1/limits/carrier", json={"trunk": "carrier", "outbound": 1, "total": 2})
    assert await refusal(door, "c1", trunk_out="carrier") is None
    before = await door.json("GET", "/v1/accounts/shop")
    for path in ("/v1/explain", "/v1/calls"):
        decision = await offer(door, "c2", path=path, account="shop", trunk_out="carrier")
        assert decision["refusal"] == "provider_limit"
        limit = f"at most 1 since {NOW_TEXT}"
        assert decision["detail"] == f"carrier:outbound: 1 in use, 1 more asked for, {limit}"
        assert [(line["verdict"], line["account"]) for line in lines(decision, "provider")] == [
            ("refuse", "(provider)"),
            ("pass", "(provider)"),
        ]
    after = await door.json("GET", "/v1/accounts/shop")
    assert {key: after[key] for key in ("held", "available")} == {key: before[key] for key in ("held", "available")}
    assert after["channels"] == before["channels"]
    hidden = await offer(door, "c3", "shop", account="shop", trunk_out="carrier")
    assert (hidden["refusal"], hidden["detail"], lines(hidden, "provider")) == ("provider_limit", "", [])
    assert await refusal(door, "c4", account="shop") is None  # by another carrier
    await door.json("POST", "/v1/calls/c1/end")
    assert await refusal(door, "c3", account="shop", trunk_out="carrier") is None


async def test_a_refused_attempt_at_a_full_carrier_is_recorded_once(door) -> None:
    await door.json("PUT", "/v1/limits/all", json={"outbound": 0})
    await offer(door, "c1")
    await door.deliver()
    records = [cdr for cdr in (await door.json("GET", "/v1/cdrs"))["cdrs"] if cdr["call_id"] == "c1"]
    assert [(cdr["verdict"], cdr["refusal"]) for cdr in records] == [("refused", "provider_limit")]


async def test_a_destination_for_all_and_inbound_by_a_carrier(door) -> None:
    await door.json("PUT", "/v1/trunks/carrier", json={"account": "acme"})
    await door.json("PUT", "/v1/limits/mobile", json={"prefixes": ["316"], "outbound": 1, "inbound": 9})
    await door.json("PUT", "/v1/limits/carrier", json={"trunk": "carrier", "inbound": 1})
    assert [await refusal(door, f"m{n}", account=name) for n, name in enumerate(("acme", "shop"))] == [
        None,
        "provider_limit",
    ]
    assert await refusal(door, "f1", to=NL_FIX) is None
    inbound = {"direction": "inbound", "to": NL_FIX, "trunk": "carrier"}
    assert [await refusal(door, f"i{n}", **inbound) for n in range(2)] == [None, "provider_limit"]
    assert await refusal(door, "o1", to=NL_FIX, trunk="carrier") is None  # it arrives by it, and leaves by another


async def test_a_soft_limit_of_the_provider_is_reported(door) -> None:
    await door.json("PUT", "/v1/limits/all", json={"total": 0, "enforce": False})
    decision = await offer(door, "c1")
    assert [line["verdict"] for line in lines(decision, "provider")] == ["would_refuse"]
    page = await (await door.ask("GET", "/metrics")).text()
    assert 'callctl_limits_not_enforced_total{check="provider"} 1.0' in page


async def test_a_call_that_is_extended_keeps_its_channel_and_one_that_nobody_renews_loses_it(door) -> None:
    await door.json("PUT", "/v1/limits/all", json={"total": 1})
    await put(door)
    await offer(door, "c1", can_extend=True)
    await door.json("POST", "/v1/calls/c1/answer")
    for _ in range(30):
        door.clock.pass_s(8)
        await door.json("POST", "/v1/calls/c1/extend")
    assert await refusal(door, "c2") == "provider_limit"
    door.clock.pass_s(24 * HOUR_S)
    assert await refusal(door, "c3") is None


async def test_a_switch_whose_calls_leave_by_one_carrier(door) -> None:
    """It is configured, unless the switch says by which."""
    await door.json("PUT", "/v1/trunks/carrier", json={"account": "acme"})
    await door.json("PUT", "/v1/limits/carrier", json={"trunk": "carrier", "outbound": 0})
    assert leaving_by(None, door.calls.receive) == door.calls.receive
    heard: list[CallEvent] = []
    report = leaving_by("carrier", heard.append)
    offered = Offered(CallKey("pbx1", "c1"), door.clock.now(), "", NL_MOB, account="acme")
    other, inbound = replace(offered, trunk_out="other"), replace(offered, direction=Direction.INBOUND)
    for event in (offered, other, inbound, Alerting(offered.call, offered.at)):
        report(event)
    assert heard == [replace(offered, trunk_out="carrier"), other, inbound, Alerting(offered.call, offered.at)]
    assert (await door.calls.authorize(heard[0])).refusal is Refusal.PROVIDER_LIMIT


async def test_which_carrier_is_part_of_what_was_asked(door) -> None:
    assert await refusal(door, "c1", trunk_out="one") is None
    body = {"call_id": "c1", "from": "", "to": NL_MOB, "account": "acme", "trunk_out": "two"}
    await door.refused(409, "POST", "/v1/calls", json=body)


async def test_only_calls_that_a_limit_is_about_ask_for_it(door) -> None:
    await door.json("PUT", "/v1/limits/cuba", json={"prefixes": ["53"], "total": 1})
    door.channels.asked = 0
    await door.call("c1")
    assert door.channels.asked == 0


async def test_what_was_taken_comes_back_when_the_provider_cannot_be_asked(door) -> None:
    """The account's step went through, and nobody knows of the provider's: its take is found and given back later."""
    await door.json("PUT", "/v1/limits/all", json={"total": 1})
    door.channels.away = True
    assert await refusal(door, "c1") == "store_unavailable"
    door.channels.away = False
    parts = {"clock": door.clock, "sessions": door.store, "takes": door.takes, "switches": {}, "observer": door.metrics}
    policy, journal = door.calls.policy, door.calls._journal
    roots = door.tariffs.directory.roots
    reconciler = Reconciler(**parts, calls=door.calls, journal=journal, policy=policy, roots=roots)
    door.clock.pass_s(11)
    await reconciler.sweep()
    acme = await door.json("GET", "/v1/accounts/acme")
    assert (acme["held"], acme["channels"]["total"]) == ("0.0000", 0)
    assert await refusal(door, "c2") is None
    assert await refusal(door, "c3", account="shop") == "provider_limit"


# ---- bad input


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"caps": {"inbound": -1}}, "caps.inbound"),
        ({"caps": {"internal": 1.5}}, "caps.internal"),
        ({"caps": {"total": 10**7}}, "caps.total"),
        ({"caps": {"enforce": "no"}}, "caps.enforce"),
        ({"caps": {"overflow": {"at_most": -1}}}, "caps.overflow.at_most"),
        ({"caps": {"overflow": {"at_most": 1, "per_minute": "-0.1"}}}, "caps.overflow.per_minute"),
        ({"caps": {"packages": [PACKAGE | {"until": "2026-12-01"}]}}, "caps.packages.0"),
        ({"caps": {"packages": [PACKAGE | {"channels": -5}]}}, "caps.packages.0.channels"),
        ({"caps": {"packages": [PACKAGE | {"from": "2026-02-30"}]}}, "caps.packages.0.from"),
        ({"caps": {"bandwidth": {"kbits": -1}}}, "caps.bandwidth.kbits"),
        ({"caps": {"bandwidth": {"kbits": 1, "per_call_kbits": "0"}}}, "caps.bandwidth.per_call_kbits"),
        ({"caps": {"bandwidth": {"kbits": 1, "per_call_kbits": "1.25"}}}, "caps.bandwidth.per_call_kbits"),
        ({"caps": {"groups": [{"name": "a", "outbound": 1}]}}, "caps.groups.0"),
        ({"caps": {"groups": [{"name": "a", "prefixes": ["31"]}]}}, "caps.groups.0"),
        ({"caps": {"groups": [{"name": "a", "prefixes": ["31"], "outbound": -2}]}}, "caps.groups.0.outbound"),
        ({"caps": {"groups": [{"name": "a", "types": ["MOBILE"], "outbound": 2}]}}, "caps.groups.0.types.0"),
        ({"caps": {"groups": [{"name": "a", "prefixes": ["31"], "total": 1}] * 2}}, "caps.groups"),
        ({"licence": {"channels": -1}}, "licence.channels"),
        ({"licence": {}}, "licence"),
        ({"licence": {"channels": 4, "perpetual": True, "expires": "2027-01-01"}}, "licence"),
        ({"licence": {"channels": 4, "annual_from": "2026-01-01", "expires": "2027-01-01"}}, "licence"),
        ({"licence": {"channels": 4, "annual_from": "9999-01-01"}}, "licence.annual_from"),
        ({"licence": {"channels": 4, "fallback_channels": -2}}, "licence.fallback_channels"),
        ({"licence": {"channels": 4, "changes": [{"from": "2027-01-01", "channels": 1}] * 2}}, "licence.changes"),
        ({"calls_per_second": 0}, "calls_per_second"),
        ({"calls_per_second": -1}, "calls_per_second"),
    ],
)  # fmt: skip
async def test_bad_input_is_refused_with_its_place(door, fields: dict[str, Any], place: str) -> None:
    body = {"kind": "prepaid", "plan": "retail"} | fields
    response = await door.ask("PUT", "/v1/accounts/new", json=body)
    assert response.status in (400, 422)
    assert (await response.json())["error"]["field"] == place
    if place != "calls_per_second":
        response = await door.ask("PUT", "/v1/trunks/new", json={"account": "acme"} | fields)
        assert (response.status, (await response.json())["error"]["field"]) in ((400, place), (422, place))
