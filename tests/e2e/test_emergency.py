"""Nobody who calls for help is ever refused: whatever is blocked, full, exhausted or broken, over the front door."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from callctl.call.admission import EMERGENCY_GRANT_S
from callctl.control import calls
from tests.e2e.front_door import NL_MOB, FrontDoor
from tests.e2e.provider import Provider

ACME: dict[str, Any] = {"kind": "prepaid", "plan": "retail", "dial_rules": {"country": "NL"}}
EVERYTHING_WRONG: dict[str, Any] = {
    "status": "suspended",
    "expires": "2020-01-01T00:00:00Z",
    "caps": {"outbound": 0, "total": 0},
    "licence": {"channels": 0},
    "destinations": {"deny": [{}], "deny_numbers": ["+31112"], "presets": ["no_premium"]},
    "margin": {"min_percent": "100"},
    "max_cost": {"per_minute": "0.0001"},
    "ids": {"range": "0.00", "mode": "hard", "watch": ["MOB", "INTL", "PREMIUM", "HIGHRISK"]},
}
POLICY = "[policy]\nbudget_ms = 400\nredis_deadline_ms = 200\n"
LISTS = '[limits]\nemergency_numbers = ["116117"]\n'


async def help_asked(door: FrontDoor, call_id: str = "help", to: str = "112", **more: Any) -> Any:
    body = {"call_id": call_id, "from": "+31201234567", "to": to, "account": "acme"} | more
    assert (await door.json("POST", "/v1/explain", json=body))["verdict"] == "allowed"
    return await door.json("POST", "/v1/calls", json=body)


def passes(decision: Any, number: str = "112") -> None:
    assert (decision["verdict"], decision["b_number"], decision["hold"]) == ("allowed", number, "0.0000")
    assert (decision["granted_seconds"], decision["max_seconds"], decision["rate"]) == (EMERGENCY_GRANT_S, None, None)
    assert decision["trace"][0] == {"check": "emergency", "verdict": "pass", "saw": f"{number} is an emergency number"}
    assert "refuse" not in [line["verdict"] for line in decision["trace"]]


@pytest.mark.parametrize("wrong", [*({key: value} for key, value in EVERYTHING_WRONG.items()), EVERYTHING_WRONG])
async def test_whatever_is_agreed_with_the_account(door: FrontDoor, wrong: dict[str, Any]) -> None:
    await door.json("PUT", "/v1/accounts/acme", json=ACME | wrong)
    passes(await help_asked(door))
    await door.json("POST", "/v1/calls/help/answer")
    door.clock.pass_s(90)
    (cdr,) = (await door.json("POST", "/v1/calls/help/end"))["cdrs"]
    told = {key: cdr[key] for key in ("account", "class", "to", "verdict", "duration_s", "charge", "gross")}
    assert told == {
        "account": "acme", "class": "EMERGENCY", "to": "112", "verdict": "allowed", "duration_s": 90,
        "charge": "0.0000", "gross": "0.0000",
    }  # fmt: skip
    assert (await door.json("GET", "/v1/accounts/acme"))["balance"] == "10.0000"


async def test_whatever_is_agreed_with_those_above(door: FrontDoor) -> None:
    await door.json("PUT", "/v1/accounts/reseller", json={"kind": "prepaid", "plan": "wholesale"} | EVERYTHING_WRONG)
    passes(await help_asked(door, account="shop"))


async def test_without_credit(door: FrontDoor) -> None:
    await door.json("PUT", "/v1/accounts/poor", json=ACME)
    assert (await door.json("POST", "/v1/calls", json={"call_id": "c", "from": "", "to": NL_MOB, "account": "poor"}))[
        "refusal"
    ] == "no_credit"
    passes(await help_asked(door, account="poor"))


async def test_with_all_credit_held_and_all_channels_taken(door: FrontDoor) -> None:
    await door.json("PUT", "/v1/accounts/acme", json=ACME | {"caps": {"outbound": 1}})
    body = {"call_id": "c1", "from": "+31201234567", "to": NL_MOB, "account": "acme"}
    assert (await door.json("POST", "/v1/calls", json=body))["verdict"] == "allowed"
    assert (await door.json("POST", "/v1/calls", json=body | {"call_id": "c2"}))["refusal"] == "channel_limit"
    passes(await help_asked(door))
    assert (await door.json("GET", "/v1/accounts/acme"))["channels"]["outbound"] == 2


async def test_with_all_attempts_and_all_channels_of_the_provider_used_up(door: FrontDoor) -> None:
    await door.json("PUT", "/v1/accounts/acme", json=ACME | {"calls_per_second": 1})
    await door.json("PUT", "/v1/limits/all", json={"total": 0})
    body = {"call_id": "c1", "from": "+31201234567", "to": NL_MOB, "account": "acme"}
    assert (await door.json("POST", "/v1/calls", json=body))["refusal"] == "provider_limit"
    for n in range(3):
        passes(await help_asked(door, f"help{n}"))


async def test_when_a_broken_threshold_ends_all_watched_calls(door: FrontDoor) -> None:
    fields = ACME | {"ids": {"range": "10.00", "mode": "hard", "watch": ["MOB"]}}
    await door.json("PUT", "/v1/accounts/acme", json=fields)
    body = {"call_id": "watched", "from": "+31201234567", "to": NL_MOB, "account": "acme", "can_extend": True}
    assert (await door.json("POST", "/v1/calls", json=body))["verdict"] == "allowed"
    passes(await help_asked(door, "before"))
    await door.json("PUT", "/v1/accounts/acme", json=fields | {"ids": fields["ids"] | {"range": "0.00"}})
    assert (await door.json("POST", "/v1/calls", json=body | {"call_id": "c2"}))["refusal"] == "ids_threshold"
    assert (await door.json("POST", "/v1/calls", json=body | {"call_id": "c3"}))["refusal"] == "ids_blocked"
    passes(await help_asked(door, "after"))
    ended = {call: (await door.json("GET", f"/v1/calls/{call}")).get("hang_up") for call in ("watched", "before")}
    assert ended == {"watched": "requested", "before": None}


async def test_over_a_trunk_whose_attempts_are_used_up(door: FrontDoor) -> None:
    await door.json("PUT", "/v1/trunks/lobby", json={"account": "acme", "calls_per_second": 1, "caps": {"total": 0}})
    for n in range(3):
        passes(await help_asked(door, f"help{n}", trunk="lobby"))


@pytest.mark.parametrize(
    "caller",
    [
        {"account": "nobody"},
        {"account": None, "from": "+442071234567"},
        {"account": None, "from": "anonymous"},
        {"account": None, "from": ""},
        {"account": None, "trunk": "unknown"},
        {"account": None, "source_ip": "203.0.113.9"},
    ],
)
async def test_of_nobody_we_know(door: FrontDoor, caller: dict[str, Any]) -> None:
    passes(await help_asked(door, **caller))
    await door.json("POST", "/v1/calls/help/answer")
    door.clock.pass_s(5)
    (cdr,) = (await door.json("POST", "/v1/calls/help/end"))["cdrs"]
    assert (cdr["account"], cdr["class"], cdr["duration_s"]) == (None, "EMERGENCY", 5)


async def test_of_who_has_no_number_at_all(door: FrontDoor) -> None:
    passes(await door.json("POST", "/v1/calls", json={"call_id": "help", "to": "112"}))
    await door.json("PUT", "/v1/accounts/acme", json=ACME | {"dial_rules": {"country": "GB"}})
    passes(await door.json("POST", "/v1/calls", json={"call_id": "more", "to": "999", "account": "acme"}), "999")
    await door.json("PUT", "/v1/trunks/line", json={"account": "acme", "source_ips": ["192.0.2.7"]})
    for call_id, told in (("c1", {"trunk": "line"}), ("c2", {"source_ip": "192.0.2.7"})):
        passes(await door.json("POST", "/v1/calls", json={"call_id": call_id, "to": "999", **told}), "999")


async def test_an_emergency_call_that_nobody_answers_has_a_record(door: FrontDoor) -> None:
    await help_asked(door)
    (cdr,) = (await door.json("POST", "/v1/calls/help/end"))["cdrs"]
    assert (cdr["verdict"], cdr["class"], cdr["answer_time"]) == ("allowed", "EMERGENCY", None)


async def test_within_a_call_that_is_over(door: FrontDoor) -> None:
    passes(await help_asked(door, account=None, within="gone"))


@pytest.mark.parametrize(
    ("dialled", "rules", "number"),
    [
        ("0112", {"country": "NL", "access_prefix": "0"}, "112"),
        ("+31112", {"country": "NL"}, "112"),
        ("0031112", {"country": "NL"}, "112"),
        ("00911", {"country": "US"}, "911"),
        ("0061000", {"country": "AU"}, "000"),
        ("113", {"country": "NL", "emergency": ["113"]}, "113"),
        ("999", {"country": "GB"}, "999"),
        ("112", {"country": "JP"}, "112"),
        ("112", {"country": "NL", "short_codes": {"112": "+31612345678"}}, "112"),
    ],
)
async def test_as_people_dial(door: FrontDoor, dialled: str, rules: dict[str, Any], number: str) -> None:
    await door.json("PUT", "/v1/accounts/acme", json=ACME | {"dial_rules": rules})
    passes(await help_asked(door, to=dialled), number)


@pytest.mark.parametrize("direction", ["outbound", "internal"])
async def test_an_extension_is_not_taken_for_it_and_it_is_not_taken_for_an_extension(
    door: FrontDoor, direction: str
) -> None:
    passes(await help_asked(door, direction=direction))


async def test_a_call_that_comes_in_is_none(door: FrontDoor) -> None:
    body = {"call_id": "c1", "from": "112", "to": "112", "account": "acme", "direction": "inbound"}
    assert (await door.json("POST", "/v1/calls", json=body))["refusal"] == "invalid_number"


async def test_when_the_store_is_away(door: FrontDoor) -> None:
    door.store.away = True
    body = {"call_id": "help", "from": "+31201234567", "to": "112", "account": "acme"}
    decision = await door.json("POST", "/v1/calls", json=body)
    assert (decision["verdict"], decision["granted_seconds"]) == ("allowed", EMERGENCY_GRANT_S)
    assert decision["trace"][-1]["check"] == "store"


async def test_in_overload(door: FrontDoor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "MOST_CALLS", 0)
    body = {"call_id": "c1", "from": "+31201234567", "to": NL_MOB, "account": "acme"}
    assert (await door.json("POST", "/v1/calls", json=body))["refusal"] == "overloaded"
    passes(await help_asked(door))


async def test_it_is_counted_once_and_explaining_it_is_not(door: FrontDoor) -> None:
    for _ in range(2):
        await help_asked(door)
    assert "callctl_emergency_calls_total 1.0" in await (await door.ask("GET", "/metrics")).text()


# ---- a daemon, and its Redis


@pytest.fixture
async def daemon(redis_server: Any, tmp_path: Path) -> AsyncIterator[Provider]:
    with Redis.from_url(redis_server.url) as client:
        client.flushall()
    async with Provider(tmp_path, redis_url=redis_server.url, more=POLICY + LISTS) as running:
        await running.furnish("0")
        yield running
    if not redis_server.running:
        redis_server.start()


def told(daemon: Provider) -> list[Any]:
    """What the log says of emergency calls."""
    lines = [json.loads(line) for line in daemon.log.splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == "emergency_call"]


async def ended(daemon: Provider, call_id: str) -> None:
    await daemon.good("POST", f"/v1/calls/{call_id}/answer", {})
    await daemon.good("POST", f"/v1/calls/{call_id}/end", {})


async def recorded(daemon: Provider, *call_ids: str) -> None:
    """Wait for one record of each call, and no second."""

    async def all_there() -> bool:
        status, said = await daemon.ask("GET", "/v1/cdrs?limit=1000")
        return status == 200 and {cdr["call_id"] for cdr in said["cdrs"]} >= set(call_ids)

    await daemon.until(all_there)
    cdrs = [cdr for cdr in await daemon.cdrs() if cdr["call_id"] in call_ids]
    assert len(cdrs) == len(call_ids)
    assert {(cdr["verdict"], cdr["class"], cdr["charge"]) for cdr in cdrs} == {("allowed", "EMERGENCY", "0.0000")}


async def test_ops_hear_of_it(daemon: Provider) -> None:
    await daemon.call("c1", to="112")
    await daemon.good("POST", "/v1/calls", {"call_id": "c2", "to": "116117"})
    assert [(line["level"], line["call_id"], line["account"], line["number"]) for line in told(daemon)] == [
        ("warning", "http/c1", "acme", "112"),
        ("warning", "http/c2", None, "116117"),
    ]


async def test_redis_is_killed_and_so_are_we(daemon: Provider, redis_server: Any) -> None:
    redis_server.kill()
    assert (await daemon.call("c0"))["refusal"] in ("store_unavailable", "budget_exceeded")
    for call_id, account in (("c1", "acme"), ("c2", "nobody")):
        assert (await daemon.call(call_id, to="112", account=account))["verdict"] == "allowed"
        await ended(daemon, call_id)
    assert (await daemon.call("c3", to="112"))["verdict"] == "allowed"
    assert len(told(daemon)) == 3
    await daemon.kill()
    redis_server.start()
    await daemon.start()
    await daemon.good("POST", "/v1/calls/c3/end", {})
    await recorded(daemon, "c1", "c2", "c3")


async def test_redis_hangs_and_the_budget_is_exceeded(daemon: Provider, redis_server: Any) -> None:
    redis_server.freeze()
    try:
        answers = await asyncio.gather(*(daemon.call(f"c{n}", to="112") for n in range(5)))
    finally:
        redis_server.resume()
    assert {answer["verdict"] for answer in answers} == {"allowed"}
    for n in range(5):
        await ended(daemon, f"c{n}")
    await recorded(daemon, *(f"c{n}" for n in range(5)))


async def test_redis_refuses_to_write(daemon: Provider, redis_server: Any) -> None:
    with Redis.from_url(redis_server.url) as client:
        client.config_set("maxmemory", 1)
        try:
            assert (await daemon.call("c1", to="112"))["verdict"] == "allowed"
            await ended(daemon, "c1")
        finally:
            client.config_set("maxmemory", 0)
    await recorded(daemon, "c1")


async def test_redis_has_lost_everything(daemon: Provider, redis_server: Any) -> None:
    with Redis.from_url(redis_server.url) as client:
        client.flushall()
    assert (await daemon.call("c1", to="112"))["verdict"] == "allowed"
    await ended(daemon, "c1")
