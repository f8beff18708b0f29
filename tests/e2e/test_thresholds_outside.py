"""Spend thresholds and limits as somebody outside sees them, in orders of events that are rare."""

import pytest

from callctl.call.events import CallKey, Deadline, DeadlineReached
from callctl.clock import format_time, parse_time
from tests.e2e.front_door import FrontDoor


async def watched(door: FrontDoor) -> dict[str, str]:
    today: dict[str, str] = (await door.json("GET", "/v1/accounts/acme/ids"))["today"]
    return {name: today[name] for name in ("settled", "held", "estimated")}


async def agree(door: FrontDoor) -> None:
    """What acme dials at home is watched; an hour of it costs 4.80."""
    watch = {"range": "40.00", "watch": ["MOB", "NAT"]}
    body = {"kind": "prepaid", "plan": "retail", "dial_rules": {"country": "NL"}, "ids": watch}
    await door.json("PUT", "/v1/accounts/acme", json=body)


async def offer(door: FrontDoor, call_id: str) -> None:
    asked = {"call_id": call_id, "from": "+31201234567", "to": "+31612345678", "account": "acme"}
    assert (await door.json("POST", "/v1/calls", json=asked))["granted_seconds"] == 3600


async def give_up(door: FrontDoor, call_id: str) -> None:
    """It has rung for so long that callctl gives it up."""
    for deadline, later_s in ((Deadline.SETUP, 120), (Deadline.LOST, 30)):
        door.clock.pass_s(later_s)
        door.calls.receive(DeadlineReached(CallKey("http", call_id), deadline))
        await door.calls.performer.drain()


async def test_a_call_that_rang_too_long_counts_for_nothing_when_its_end_is_told(door) -> None:
    await agree(door)
    await offer(door, "c1")
    await give_up(door, "c1")
    assert await watched(door) == {"settled": "4.8000", "held": "0.0000", "estimated": "4.8000"}
    for _ in range(2):
        ended = await door.json("POST", "/v1/calls/c1/end", json={"q850": 19})
        assert [cdr["charge"] for cdr in ended["cdrs"]] == ["0.0000"]
        assert await watched(door) == {"settled": "0.0000", "held": "0.0000", "estimated": "0.0000"}
    await door.deliver()
    assert len((await door.json("GET", "/v1/cdrs"))["cdrs"]) == 1
    account = await door.json("GET", "/v1/accounts/acme")
    assert (account["balance"], account["held"], account["channels"]["total"]) == ("10.0000", "0.0000", 0)


@pytest.mark.parametrize("is_answered", [False, True])
async def test_the_truth_about_a_call_of_yesterday_leaves_the_estimates_of_today_alone(door, is_answered) -> None:
    await agree(door)
    door.clock.instant = door.clock.instant.at_wall(parse_time("2026-11-21T23:59:00Z"))
    await offer(door, "c1")
    if is_answered:
        await door.json("POST", "/v1/calls/c1/answer")
        door.clock.pass_s(3600)
        door.calls.receive(DeadlineReached(CallKey("http", "c1"), Deadline.LOST))
        await door.calls.performer.drain()
    else:
        await give_up(door, "c1")
    await offer(door, "c2")
    await give_up(door, "c2")
    today = {"settled": "4.8000", "held": "0.0000", "estimated": "4.8000"}
    assert await watched(door) == today
    at = format_time(parse_time("2026-11-21T23:59:15Z"))
    await door.json("POST", "/v1/calls/c1/end", json={"at": at})
    assert await watched(door) == today
    (yesterday,) = (await door.json("GET", "/v1/accounts/acme/ids"))["days"]
    assert (yesterday["day"], yesterday["spent"]) == ("2026-11-21", "0.0200" if is_answered else "0.0000")


async def test_an_emergency_call_whose_end_nobody_reports_gives_its_channel_back(door) -> None:
    asked = {"call_id": "c1", "from": "+31201234567", "to": "112", "account": "acme"}
    assert (await door.json("POST", "/v1/calls", json=asked))["granted_seconds"] == 86_400
    await door.json("POST", "/v1/calls/c1/answer")
    door.clock.pass_s(86_399)
    door.calls.deadlines.turn()
    await door.calls.performer.drain()
    assert (await door.json("GET", "/v1/calls"))["total"] == 1
    door.clock.pass_s(1)
    door.calls.deadlines.turn()
    await door.calls.performer.drain()
    assert (await door.json("GET", "/v1/calls"))["total"] == 0
    assert (await door.json("GET", "/v1/accounts/acme"))["channels"]["total"] == 0


async def test_the_truth_about_a_call_whose_last_slice_reached_over_midnight_belongs_to_its_day(door) -> None:
    await agree(door)
    door.clock.instant = door.clock.instant.at_wall(parse_time("2026-11-21T23:59:00Z"))
    asked = {"call_id": "c1", "from": "+31201234567", "to": "+31612345678", "account": "acme", "can_extend": True}
    await door.json("POST", "/v1/calls", json=asked)
    await door.json("POST", "/v1/calls/c1/answer")
    for _ in range(4):
        granted_s = (await door.json("POST", "/v1/calls/c1/extend"))["granted_seconds"]
    assert granted_s > 60
    door.clock.pass_s(granted_s)
    door.calls.receive(DeadlineReached(CallKey("http", "c1"), Deadline.LOST))
    await door.calls.performer.drain()
    await offer(door, "c2")
    await give_up(door, "c2")
    today = await watched(door)
    assert today == {"settled": "4.8000", "held": "0.0000", "estimated": "4.8000"}
    await door.json("POST", "/v1/calls/c1/end", json={"at": "2026-11-21T23:59:15Z"})
    assert await watched(door) == today
    (yesterday,) = (await door.json("GET", "/v1/accounts/acme/ids"))["days"]
    assert (yesterday["day"], yesterday["spent"]) == ("2026-11-21", "0.0200")
