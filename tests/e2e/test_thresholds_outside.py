"""Spend thresholds and limits as somebody outside sees them, in orders of events that are rare."""

from callctl.call.events import CallKey, Deadline, DeadlineReached
from tests.e2e.front_door import FrontDoor

CALL = CallKey("http", "c1")


async def watched(door: FrontDoor) -> dict[str, str]:
    today: dict[str, str] = (await door.json("GET", "/v1/accounts/acme/ids"))["today"]
    return {name: today[name] for name in ("settled", "held", "estimated")}


async def given_up(door: FrontDoor) -> None:
    """A call that rings for so long that callctl gives it up."""
    watch = {"range": "40.00", "watch": ["MOB", "NAT"]}
    body = {"kind": "prepaid", "plan": "retail", "dial_rules": {"country": "NL"}, "ids": watch}
    await door.json("PUT", "/v1/accounts/acme", json=body)
    asked = {"call_id": "c1", "from": "+31201234567", "to": "+31612345678", "account": "acme"}
    assert (await door.json("POST", "/v1/calls", json=asked))["granted_seconds"] == 3600
    for deadline, later_s in ((Deadline.SETUP, 120), (Deadline.LOST, 30)):
        door.clock.pass_s(later_s)
        door.calls.receive(DeadlineReached(CALL, deadline))
        await door.calls.performer.drain()
    assert await watched(door) == {"settled": "4.8000", "held": "0.0000", "estimated": "4.8000"}


async def test_a_call_that_rang_too_long_counts_for_nothing_when_its_end_is_told(door) -> None:
    await given_up(door)
    for _ in range(2):
        ended = await door.json("POST", "/v1/calls/c1/end", json={"q850": 19})
        assert [cdr["charge"] for cdr in ended["cdrs"]] == ["0.0000"]
        assert await watched(door) == {"settled": "0.0000", "held": "0.0000", "estimated": "0.0000"}
    await door.deliver()
    assert len((await door.json("GET", "/v1/cdrs"))["cdrs"]) == 1
    account = await door.json("GET", "/v1/accounts/acme")
    assert (account["balance"], account["held"], account["channels"]["total"]) == ("10.0000", "0.0000", 0)
