"""When an account is said to have little left: once, by what it would have if the call that asks ended now."""

from decimal import Decimal
from typing import Any

import structlog

from callctl.control.charges import Charges
from tests.e2e.front_door import NL_MOB, FrontDoor


async def wants(door: FrontDoor, low_balance: str | None, **account: Any) -> None:
    asked = {"kind": "prepaid", "plan": "retail", "low_balance": low_balance} | account
    await door.json("PUT", "/v1/accounts/acme", json=asked)


async def begin(door: FrontDoor, call_id: str, account: str = "acme", **more: Any) -> Any:
    body = {"call_id": call_id, "from": "+31201234567", "to": NL_MOB, "account": account, **more}
    return await door.json("POST", "/v1/calls", json=body)


def lows(logs: list[Any]) -> list[tuple[str, str | None, str]]:
    return [(it["account"], it["call_id"], it["left"]) for it in logs if it["event"] == "low_balance"]


async def test_what_a_call_holds_and_may_give_back_is_not_spent(door: FrontDoor) -> None:
    await wants(door, "9.00")
    with structlog.testing.capture_logs() as logs:
        assert (await begin(door, "c1"))["hold"] == "4.8000"  # an hour
        await door.json("POST", "/v1/calls/c1/answer")
        door.clock.pass_s(60)
        await door.json("POST", "/v1/calls/c1/end")
        assert lows(logs) == []


async def test_what_other_calls_hold_is(door: FrontDoor) -> None:
    await wants(door, "9.00")
    with structlog.testing.capture_logs() as logs:
        await begin(door, "c1")
        await begin(door, "c2")
        assert lows(logs) == [("acme", "http/c2", "5.2000")]


async def test_a_long_call_is_seen_to_use_it_up(door: FrontDoor) -> None:
    await wants(door, "9.00")
    with structlog.testing.capture_logs() as logs:
        granted_s = (await begin(door, "c1", can_extend=True))["granted_seconds"]
        await door.json("POST", "/v1/calls/c1/answer")
        begun = door.clock.now()
        while not lows(logs):
            door.clock.instant = begun.plus_ms(granted_s * 1000)
            granted_s = (await door.json("POST", "/v1/calls/c1/extend"))["granted_seconds"]
    ((_, _, left),) = lows(logs)
    used_s = door.clock.now().since_ms(begun) // 1000
    assert Decimal(left) == 10 - round(used_s * Decimal("0.08") / 60, 4)
    assert Decimal(left) < 9


async def test_it_is_told_again_for_another_amount(door: FrontDoor) -> None:
    with structlog.testing.capture_logs() as logs:
        for number, low_balance in enumerate(("20.00", "20.00", "30.00", None, "10.00", "10.01")):
            await wants(door, low_balance)
            await begin(door, f"c{number}")
            await door.json("POST", f"/v1/calls/c{number}/end")
        assert [call for _, call, _ in lows(logs)] == ["http/c0", "http/c2", "http/c5"]


async def test_it_is_told_again_after_a_top_up(door: FrontDoor) -> None:
    await wants(door, "20.00")
    with structlog.testing.capture_logs() as logs:
        for number in range(4):
            await begin(door, f"c{number}")
            if number == 1:
                door.calls.topped_up("acme")
        assert [call for _, call, _ in lows(logs)] == ["http/c0", "http/c2"]


async def test_a_refused_call_tells_it_too(door: FrontDoor) -> None:
    await wants(door, "20.00", caps={"outbound": 0})
    with structlog.testing.capture_logs() as logs:
        assert (await begin(door, "c1"))["verdict"] == "refused"
        assert lows(logs) == [("acme", "http/c1", "10.0000")]


async def test_every_payer_is_looked_at_and_its_credit_limit_is_its_own(door: FrontDoor) -> None:
    shop = {"kind": "prepaid", "plan": "retail", "parent": "middle", "low_balance": "9.00"}
    middle = {"kind": "postpaid", "plan": "middleman", "parent": "reseller", "credit_limit": "50.00"}
    await door.json("PUT", "/v1/accounts/shop", json=shop)
    await door.json("PUT", "/v1/accounts/middle", json=middle | {"low_balance": "70.00"})
    with structlog.testing.capture_logs() as logs:
        await begin(door, "c1", "shop")
        assert lows(logs) == [("middle", "http/c1", "60.0000")]


async def test_who_has_no_limit_is_never_low(door: FrontDoor) -> None:
    await wants(door, "1000000.00", kind="postpaid", credit_limit=None)
    with structlog.testing.capture_logs() as logs:
        await begin(door, "c1")
        assert lows(logs) == []


async def test_what_is_bought_beside_calls_is_looked_at(door: FrontDoor) -> None:
    await wants(door, "6.00")
    with structlog.testing.capture_logs() as logs:
        for id, price in (("buy-1", "3.00"), ("buy-2", "2.00"), ("buy-2", "2.00"), ("buy-3", "1.00")):
            body = {"id": id, "minutes": 2, "price": price}
            await door.json("POST", "/v1/accounts/acme/blocks", json=body)
        assert lows(logs) == [("acme", None, "5.0000")]


async def test_what_a_subscription_costs_is_looked_at(door: FrontDoor) -> None:
    await wants(door, "9.00")
    catalogue = {"services": {"line": {"name": "Line", "sell": {"mrc": "2.00"}}}}
    await door.json("PUT", "/v1/services", json=catalogue)
    subscribed = {"service": "line", "from": "2026-11-01"}
    await door.json("PUT", "/v1/accounts/acme/subscriptions/line", json=subscribed)
    with structlog.testing.capture_logs() as logs:
        tell = {"services": door.services, "charging": door.charging, "wake": lambda _: None}
        for _ in range(2):  # every minute
            await Charges(clock=door.clock, tariffs=door.tariffs, **tell).sweep()
        assert lows(logs) == [("acme", None, "8.0000")]
        await begin(door, "c1")
        assert len(lows(logs)) == 1
