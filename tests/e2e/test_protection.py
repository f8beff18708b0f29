"""One line of configuration protects accounts that have agreed nothing else: the attacks of `docs/limits.md`."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.provider import Provider

ONE_LINE = '[limits]\nprotection = "recommended"\n'
POLICY = "[policy]\nlongest_unattended_s = 360\n"
GERMANY, CUBA = "+4930123456", "+5371234567"
WORLD = "prefix,destination,per_minute\n31,Netherlands,0.0100\n,World,1.0000\n"


@pytest.fixture
async def daemon(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Provider]:
    """Postpaid acme without a limit: what is abroad costs 1.00 a minute, a call holds 6.00 or a slice."""
    async with Provider(tmp_path, more=POLICY + getattr(request, "param", ONE_LINE)) as running:
        await running.furnish("0", kind="postpaid")
        await running.good("PUT", "/v1/plans/standard/rows", WORLD)
        yield running


async def talked(daemon: Provider, call_id: str, to: str = GERMANY, *, seconds: int = 0) -> Any:
    """A whole call that is over by now, if it is let through: the decision."""
    begun = datetime.now(UTC) - timedelta(seconds=seconds)
    decision = await daemon.call(call_id, to=to, at=begun.isoformat())
    if decision["verdict"] == "allowed":
        if seconds:
            await daemon.good("POST", f"/v1/calls/{call_id}/answer", {"at": begun.isoformat()})
        await daemon.good("POST", f"/v1/calls/{call_id}/end", {})
    return decision


async def stopped(daemon: Provider, decision: Any, why: str) -> None:
    """What stops calls abroad stops no others."""
    assert (decision["verdict"], decision["refusal"]) == ("refused", "ids_threshold")
    assert decision["detail"].startswith(why)
    assert (await daemon.call("home"))["verdict"] == "allowed"
    assert (await daemon.call("help", to="112"))["verdict"] == "allowed"


async def test_many_calls_at_once(daemon: Provider) -> None:
    for n in range(3):
        assert (await daemon.call(f"c{n}", to=GERMANY, can_extend=True))["verdict"] == "allowed"
    fourth = await daemon.call("c3", to=GERMANY, can_extend=True)
    await stopped(daemon, fourth, "3 watched calls at once, 1 more asked for, at most 3")


async def test_a_resellers_sum_is_its_own_affair(daemon: Provider) -> None:
    """Four calls at once of four customers are no attack upon their reseller."""
    for n in range(4):
        fields = {"kind": "postpaid", "plan": "standard", "dial_rules": {"country": "NL"}, "parent": "acme"}
        await daemon.good("PUT", f"/v1/accounts/shop-{n}", fields)
        decision = await daemon.call(f"c{n}", to=GERMANY, account=f"shop-{n}", can_extend=True)
        assert (decision["verdict"], decision.get("detail")) == ("allowed", None)


async def test_a_burst_of_short_calls(daemon: Provider) -> None:
    for n in range(20):
        assert (await talked(daemon, f"c{n}"))["verdict"] == "allowed"
    await stopped(daemon, await talked(daemon, "c20"), "20 watched attempts in 60 s, 1 more asked for, at most 20")


async def test_much_money_in_an_hour(daemon: Provider) -> None:
    for n in range(4):
        assert (await talked(daemon, f"c{n}", seconds=360))["verdict"] == "allowed"
    fifth = await talked(daemon, "c4", seconds=360)
    assert "25.0000" in fifth["detail"]
    await stopped(daemon, fifth, fifth["detail"])


async def test_the_first_call_to_a_country_of_high_risk(daemon: Provider) -> None:
    assert (await talked(daemon, "c0", GERMANY))["verdict"] == "allowed"
    first = await talked(daemon, "c1", CUBA)
    assert "5.0000" in first["detail"]
    await stopped(daemon, first, first["detail"])
    assert (await daemon.call("c2", to=CUBA, can_extend=True))["verdict"] == "allowed"  # a slice of it fits


@pytest.mark.parametrize("daemon", [""], indirect=True)
async def test_without_the_line_nobody_is_watched(daemon: Provider) -> None:
    for n in range(25):
        decision = await daemon.call(f"c{n}", to=CUBA)
        assert (decision["verdict"], [line for line in decision["trace"] if line["check"] == "ids"]) == ("allowed", [])


async def test_what_an_account_has_agreed_holds_instead(daemon: Provider) -> None:
    fields = {"kind": "postpaid", "plan": "standard", "dial_rules": {"country": "NL"}}
    await daemon.good("PUT", "/v1/accounts/acme", fields | {"ids": {"range": "3.00"}})
    (line,) = [line for line in (await daemon.call("c0", to=GERMANY))["trace"] if line["check"] == "ids"]
    assert (line["verdict"], line["limit"]) == ("refuse", "at most 0.0000 average + 3.0000 range")
