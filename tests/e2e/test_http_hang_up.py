"""Hanging up a call that callctl cannot reach: the answers say so, and it gets no more time."""

from tests.e2e.front_door import NL_MOB, FrontDoor

ASK = {"call_id": "c1", "from": "+31201234567", "to": NL_MOB, "account": "acme", "can_extend": True}


async def test_a_call_that_nobody_here_can_hang_up_is_said_to_be_ended_by_who_carries_it(door: FrontDoor) -> None:
    granted = await door.json("POST", "/v1/calls", json=ASK)
    assert "hang_up" not in granted
    answered = await door.json("POST", "/v1/calls/c1/answer")
    assert (await door.json("DELETE", "/v1/calls/c1"))["hang_up"] == "requested"
    door.clock.pass_s(5)
    told = await door.json("POST", "/v1/calls/c1/extend")
    assert (told["hang_up"], told["granted_until"]) == ("requested", answered["granted_until"])
    (live,) = (await door.json("GET", "/v1/calls"))["calls"]
    assert (live["state"], live["hang_up"]) == ("answered", "requested")
    (cdr,) = (await door.json("POST", "/v1/calls/c1/end", json={"q850": 16}))["cdrs"]
    assert (cdr["billed_s"], cdr["released_by"], cdr["estimated"]) == (5, "callctl", False)


async def test_a_call_that_is_over_is_not_asked_to_end(door: FrontDoor) -> None:
    await door.json("POST", "/v1/calls", json=ASK)
    await door.json("POST", "/v1/calls/c1/end")
    shown = await door.json("DELETE", "/v1/calls/c1")
    assert (shown["state"], "hang_up" in shown) == ("ended", False)
