"""A whole daemon and an SBC that has nothing but HTTP: it authorizes and reports its calls, and is told by webhook."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from callctl.clock import format_time, parse_time
from tests.e2e.provider import Provider
from tests.waiting import until
from tests.webhooks import SECRET, Receiver

BOTH = ("hang_up", "extended")
APART_MS = 1_000  # between what a process tells and what it says of it a moment later, on a busy machine


class Sbc:
    """Its own URL, and its calls to the daemon's API, under the name `sbc`."""

    def __init__(self, daemon: Provider, url: Receiver) -> None:
        self.daemon = daemon
        self.url = url

    async def linked(self) -> None:
        async def ready() -> bool:
            return (await self.daemon.ask("GET", "/readyz"))[0] == 200

        await self.daemon.until(ready)

    async def calls(self, call_id: str, **other: Any) -> Any:
        """Authorized and answered at once; the answer's decision."""
        decision = await self.daemon.call(call_id, switch="sbc", **other)
        assert decision["verdict"] == "allowed", decision
        return await self.daemon.good("POST", f"/v1/calls/{call_id}/answer?switch=sbc")

    async def ends(self, call_id: str, **report: Any) -> Any:
        (cdr,) = (await self.daemon.good("POST", f"/v1/calls/{call_id}/end?switch=sbc", report))["cdrs"]
        return cdr

    async def told(self, event: str, call_id: str, times: int = 1) -> Any:
        """The event, once it came so often."""
        await until(lambda: len(self.url.of(event, call_id)) >= times)
        return self.url.of(event, call_id)[times - 1]

    async def squares(self, charged: str, paid: str) -> None:
        account = await self.daemon.account()
        assert Decimal(account["balance"]) == Decimal(paid) - Decimal(charged)
        assert (account["held"], account["available"]) == ("0.0000", account["balance"])

    async def shown(self, call_id: str) -> Any:
        return await self.daemon.good("GET", f"/v1/calls/{call_id}?switch=sbc")


Opened = Callable[..., Awaitable[Sbc]]


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[Opened]:
    """An SBC that wants these events, with this credit in the account, linked."""
    async with AsyncExitStack() as stack:

        async def open_(*events: str, credit: str, first_s: int = 10, **account: Any) -> Sbc:
            url = await stack.enter_async_context(Receiver())
            table = f"""
[policy]
slice_first_s = {first_s}
[[switch]]
name = "sbc"
kind = "webhook"
url = "{url.url}"
secret = "{SECRET}"
{f"events = {list(events)}" if events else ""}
"""
            sbc = Sbc(await stack.enter_async_context(Provider(tmp_path, more=table)), url)
            await sbc.daemon.furnish(credit, **account)
            await sbc.linked()
            return sbc

        yield open_


@pytest.mark.parametrize("events", [(), BOTH], ids=["told to hang up", "told of extensions, too"])
async def test_a_call_is_cut_off_at_the_second_that_is_paid(opened: Opened, events: tuple[str, ...]) -> None:
    sbc = await opened(*events, credit="0.03")
    answered = await sbc.calls("c1")
    assert answered["granted_seconds"] == 3
    told = await sbc.told("hang_up", "c1")
    assert (told["switch"], told["q850"], told["reason"]) == ("sbc", 16, "Normal call clearing")
    assert parse_time(told["at"]) >= parse_time(answered["granted_until"])
    cdr = await sbc.ends("c1", at=answered["granted_until"])
    assert (cdr["switch"], cdr["billed_s"], cdr["unbilled_s"], cdr["charge"]) == ("sbc", 3, 0, "0.0300")
    assert (cdr["released_by"], cdr["estimated"]) == ("callctl", False)
    await sbc.squares("0.03", paid="0.03")


async def test_what_is_told_of_extensions_is_what_the_api_says(opened: Opened) -> None:
    """Asked for without can_extend: callctl extends by itself, slice by slice."""
    sbc = await opened(*BOTH, credit="1.00")
    body = {"call_id": "c1", "from": "+31201234567", "to": "0612345678", "account": "acme", "switch": "sbc"}
    assert (await sbc.daemon.good("POST", "/v1/explain", body))["granted_seconds"] == 10
    answered = await sbc.calls("c1")
    assert answered["granted_seconds"] == 10
    first = await sbc.told("extended", "c1")
    assert abs(parse_time(first["granted_until"]) - parse_time(answered["granted_until"])) <= APART_MS
    second = await sbc.told("extended", "c1", times=2)
    shown = await sbc.shown("c1")
    assert shown["granted_seconds"] == 30
    assert abs(parse_time(second["granted_until"]) - parse_time(shown["granted_until"])) <= APART_MS
    assert (await sbc.ends("c1"))["released_by"] is None
    assert sbc.url.of("hang_up") == []


async def test_a_top_up_extends_a_call_that_is_up(opened: Opened) -> None:
    sbc = await opened(*BOTH, credit="0.03")
    answered = await sbc.calls("c1")
    await sbc.told("extended", "c1")
    await sbc.daemon.good("POST", "/v1/accounts/acme/topups", {"id": "more", "amount": "0.02"})
    ends_ms = parse_time(answered["granted_until"]) + 2_000

    def longer() -> bool:
        return any(abs(parse_time(told["granted_until"]) - ends_ms) <= APART_MS for told in sbc.url.of("extended"))

    await until(longer)
    told = await sbc.told("hang_up", "c1")
    assert parse_time(told["at"]) >= ends_ms
    assert (await sbc.ends("c1"))["billed_s"] == 5
    await sbc.squares("0.05", paid="0.05")


async def test_a_warning_is_told(opened: Opened) -> None:
    sbc = await opened(*BOTH, "warn", credit="0.04", warnings={"seconds": [2], "to": "both"})
    await sbc.calls("c1")
    told = await sbc.told("warn", "c1")
    assert (told["left_s"], told["to"]) == (2, "both")
    await sbc.ends("c1")


@pytest.mark.parametrize(("events", "said"), [((), "requested"), (BOTH, "commanded")])
async def test_an_operator_ends_a_call(opened: Opened, events: tuple[str, ...], said: str) -> None:
    sbc = await opened(*events, credit="1.00")
    await sbc.calls("c1")
    assert (await sbc.daemon.good("DELETE", "/v1/calls/c1?switch=sbc"))["hang_up"] == said
    await sbc.told("hang_up", "c1")
    assert (await sbc.ends("c1"))["released_by"] == "callctl"


@pytest.mark.parametrize("events", [(), BOTH], ids=["told to hang up", "told of extensions, too"])
@pytest.mark.parametrize("by_operator", [True, False], ids=["by an operator", "at its end"])
async def test_what_could_not_be_told_is_told_when_the_sbc_is_back(
    opened: Opened, events: tuple[str, ...], by_operator: bool
) -> None:
    sbc = await opened(*events, credit="1.00" if by_operator else "0.02")
    answered = await sbc.calls("c1")
    await sbc.url.down()
    if by_operator:
        await sbc.daemon.good("DELETE", "/v1/calls/c1?switch=sbc")
    await until(lambda: "HangUpCall" in sbc.daemon.log)  # it failed
    assert sbc.url.of("hang_up") == []
    await sbc.url.up()
    await sbc.told("hang_up", "c1")
    cdr = await sbc.ends("c1", at=None if by_operator else answered["granted_until"])
    assert (cdr["released_by"], cdr["estimated"]) == ("callctl", False)
    await sbc.squares(cdr["charge"], paid="1.00" if by_operator else "0.02")
    assert SECRET not in sbc.daemon.log


async def test_a_call_that_the_sbc_has_lost_is_settled_and_its_true_end_corrects_it(opened: Opened) -> None:
    """Its answer to an extension is that there is no such call."""
    sbc = await opened(*BOTH, credit="1.00")
    sbc.url.status = 404
    answered = await sbc.calls("c1")

    async def recorded(count: int) -> Any:
        async def there() -> bool:
            return len(await sbc.daemon.cdrs()) >= count

        await sbc.daemon.until(there)
        *_, last = await sbc.daemon.cdrs()
        return last

    estimate = await recorded(1)
    assert estimate["estimated"] is True
    ended_ms = parse_time(answered["granted_until"]) - 6_000
    await sbc.ends("c1", at=format_time(ended_ms))
    correction = await recorded(2)
    assert (correction["corrects"], correction["duration_s"]) == (estimate["id"], 4)
    charged_s = estimate["billed_s"]
    assert (correction["billed_s"], correction["unbilled_s"]) == (charged_s, 4 - charged_s)  # it is held no longer
    await sbc.squares(estimate["charge"], paid="1.00")


async def test_a_call_goes_on_over_a_restart(opened: Opened) -> None:
    """No list can tell that it is up: it is extended all the same, and cut."""
    sbc = await opened(*BOTH, credit="0.17", first_s=15)  # a busy machine needs some of them for the restart
    answered = await sbc.calls("c1")
    assert answered["granted_seconds"] == 15
    await sbc.told("extended", "c1")
    await sbc.daemon.kill()
    await sbc.daemon.start()

    def to_the_end() -> bool:
        ends_ms = parse_time(answered["granted_until"]) + 2_000
        return any(abs(parse_time(told["granted_until"]) - ends_ms) <= APART_MS for told in sbc.url.of("extended"))

    await until(to_the_end)
    await sbc.told("hang_up", "c1")
    assert (await sbc.ends("c1"))["billed_s"] == 17
    await sbc.squares("0.17", paid="0.17")


async def test_a_refused_call_is_answered_and_nothing_is_told(opened: Opened) -> None:
    sbc = await opened(*BOTH, credit="0")
    refused = await sbc.daemon.call("c1", switch="sbc")
    assert (refused["verdict"], refused["refusal"]) == ("refused", "no_credit")
    assert sbc.url.told == []


async def test_without_extensions_the_whole_grant_is_held_and_the_caller_may_extend_it(opened: Opened) -> None:
    sbc = await opened(credit="0.40")
    assert (await sbc.daemon.call("c1", switch="sbc"))["granted_seconds"] == 40
    await sbc.ends("c1")
    assert (await sbc.calls("c2", can_extend=True))["granted_seconds"] == 10
    longer = await sbc.daemon.good("POST", "/v1/calls/c2/extend?switch=sbc")
    assert longer["granted_seconds"] == 30
    await sbc.ends("c2")
    assert sbc.url.told == []
