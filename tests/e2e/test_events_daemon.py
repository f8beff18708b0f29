"""A whole daemon and a real broker: every kind of event, told once, as `docs/events.md` has it."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from callctl.call.news import Kind
from callctl.clock import parse_time
from tests.contract.subscriber import Subscriber
from tests.e2e.daemon import TOKEN
from tests.e2e.provider import Provider
from tests.servers import Mosquitto, RedisServer
from tests.waiting import until
from tests.webhooks import SECRET, Receiver

EVERY_KIND = tuple(Kind)
OF_EVERY_EVENT = {
    *("event", "at", "call_id", "switch", "trace_id", "account", "trunk", "direction", "from", "to", "setup_time"),
}
DOCUMENTED = (Path(__file__).parents[2] / "docs/events.md").read_text()
WATCHFUL = {"range": "0.01", "mode": "soft", "watch": ["MOB"]}


class Heard(Provider):
    """A daemon, and all that its broker was told."""

    ear: Subscriber

    def events(self, kind: Kind, call_id: str | None = None) -> list[Any]:
        """Those of one kind, in the order in which they came; those that came twice, once."""
        told = [json.loads(payload) for topic, payload, _ in self.ear.heard if f"/event/{kind}/" in topic]
        each = {(event["call_id"], event["at"]): event for event in told}
        return [event for event in each.values() if call_id in (None, event["call_id"])]

    async def told(self, kind: Kind, call_id: str | None = None, times: int = 1) -> Any:
        """The last of so many."""
        await until(lambda: len(self.events(kind, call_id)) >= times)
        found = self.events(kind, call_id)
        assert len(found) == times
        return found[-1]

    async def plays(self, call_id: str, **other: Any) -> Any:
        """Authorized, answered and ended; its CDR."""
        decision = await self.call(call_id, **other)
        assert decision["verdict"] == "allowed", decision
        await self.good("POST", f"/v1/calls/{call_id}/answer", {})
        (cdr,) = (await self.good("POST", f"/v1/calls/{call_id}/end", {"q850": 16, "released_by": "caller"}))["cdrs"]
        return cdr

    async def metric(self, sample: str) -> Decimal | None:
        url = f"http://127.0.0.1:{self.port}/metrics"
        async with aiohttp.request("GET", url, headers={"Authorization": f"Bearer {TOKEN}"}) as answer:
            found = re.search(rf"^{re.escape(sample)} (\S+)$", await answer.text(), re.MULTILINE)
        return Decimal(found[1]) if found else None

    async def link(self) -> Any:
        """The broker's, as /readyz has it."""
        _, said = await self.ask("GET", "/readyz")
        return next((link for link in said["links"] if link["kind"] == "events"), None)

    async def linked(self, *, up: bool = True) -> None:
        async def so() -> bool:
            return (await self.link())["up"] is up

        await self.until(so)


Opened = Callable[..., Awaitable[Heard]]


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[Opened]:
    """A daemon that tells these kinds to a broker, with `acme` furnished."""
    async with AsyncExitStack() as stack:

        async def open_(
            broker: Mosquitto,
            *kinds: str,
            more: str = "",
            credit: str = "10.00",
            redis_url: str | None = None,
            **account: Any,
        ) -> Heard:
            prefix = tmp_path.name
            ear = Subscriber(broker.port, prefix)
            listening = asyncio.create_task(ear.run())
            stack.callback(listening.cancel)
            await ear.listening.wait()
            table = f'[[sink]]\nname = "broker"\nkind = "mqtt"\nport = {broker.port}\ntopic_prefix = "{prefix}"\n'
            events = f"events = {json.dumps(kinds)}\n" if kinds else ""
            daemon = Heard(tmp_path, more=table + events + more, redis_url=redis_url)
            daemon.ear = ear
            await stack.enter_async_context(daemon)
            await daemon.furnish(credit, **account)
            if kinds:
                await daemon.linked()
            return daemon

        yield open_


def documented(kind: Kind) -> set[str]:
    """The fields of an event of this kind, by the table."""
    (told,) = re.findall(rf"^\| `{kind}` \|[^|]*\|(.*)\|$", DOCUMENTED, re.MULTILINE)
    apart = re.sub(r"\([^()]*\)|`(caller|callee|both|admitted)`", "", told)
    return OF_EVERY_EVENT | set(re.findall(r"`(\w+)`", apart))


async def test_a_call_is_told_from_admission_to_end(opened: Opened, mosquitto: Mosquitto) -> None:
    daemon = await opened(mosquitto, *EVERY_KIND)
    cdr = await daemon.plays("c1")
    ended = await daemon.told(Kind.ENDED)
    admitted, answered = await daemon.told(Kind.ADMITTED), await daemon.told(Kind.ANSWERED)
    for event in (admitted, answered, ended):
        assert event.keys() == documented(Kind(event["event"]))
        assert {key: event[key] for key in OF_EVERY_EVENT - {"event", "at"}} == {
            key: cdr[key] for key in OF_EVERY_EVENT - {"event", "at"}
        }
        assert parse_time(event["at"]) >= parse_time(cdr["setup_time"])
    assert {key: ended[key] for key in ended.keys() - {"event", "at"}} == {
        key: cdr[key] for key in ended.keys() - {"event", "at"}
    }
    assert (admitted["destination"], admitted["type"], admitted["emergency"]) == ("Netherlands", "MOB", False)
    assert (admitted["granted_s"], admitted["max_s"], admitted["held"]) == (1_000, 1_000, "10.0000")
    assert (answered["answer_time"], answered["granted_s"]) == (cdr["answer_time"], 1_000)
    topics = [topic.partition("/")[2] for topic, _, _ in daemon.ear.heard if "/event/" in topic]
    assert topics == ["event/admitted/acme", "event/answered/acme", "event/ended/acme"]
    assert not any(retained for topic, _, retained in daemon.ear.heard if "/event/" in topic)


async def test_a_call_that_nobody_answers_ends_too(opened: Opened, mosquitto: Mosquitto) -> None:
    daemon = await opened(mosquitto, *EVERY_KIND)
    await daemon.call("c1")
    await daemon.good("POST", "/v1/calls/c1/end", {"q850": 19, "sip_code": 480})
    ended = await daemon.told(Kind.ENDED)
    assert (ended["answer_time"], ended["charge"], ended["sip_code"]) == (None, "0.0000", 480)
    assert daemon.events(Kind.ANSWERED) == []


async def test_an_end_that_is_reported_again_is_told_once(opened: Opened, mosquitto: Mosquitto) -> None:
    daemon = await opened(mosquitto, *EVERY_KIND)
    await daemon.plays("c1")
    for report in ("answer", "end", "end"):
        await daemon.good("POST", f"/v1/calls/c1/{report}", {})
    await daemon.plays("c2")
    await daemon.told(Kind.ENDED, "c2")
    assert len(daemon.events(Kind.ANSWERED, "c1")) == len(daemon.events(Kind.ENDED, "c1")) == 1


async def test_a_refusal_is_told_with_its_reason(opened: Opened, mosquitto: Mosquitto) -> None:
    daemon = await opened(mosquitto, *EVERY_KIND, credit="0")
    decision = await daemon.call("c1")
    refused = await daemon.told(Kind.REFUSED)
    assert refused.keys() == documented(Kind.REFUSED)
    said = {key: refused[key] for key in ("refusal", "detail", "q850", "sip_code", "account", "trace_id")}
    assert said == {key: decision[key] for key in said}
    assert said["refusal"] == "no_credit"
    assert daemon.events(Kind.ADMITTED) == daemon.events(Kind.ENDED) == []


async def test_what_a_reseller_refuses_is_not_told_in_detail_to_who_hears_the_account(
    opened: Opened, mosquitto: Mosquitto
) -> None:
    daemon = await opened(mosquitto, *EVERY_KIND, credit="0")
    shop = {"kind": "prepaid", "plan": "standard", "parent": "acme", "dial_rules": {"country": "NL"}}
    await daemon.good("PUT", "/v1/accounts/shop", shop)
    await daemon.good("POST", "/v1/accounts/shop/topups", {"id": "first", "amount": "1.00"})
    await daemon.call("c1", account="shop")
    refused = await daemon.told(Kind.REFUSED)
    assert (refused["account"], refused["refusal"], refused["detail"]) == ("shop", "provider_limit", None)


async def test_a_caller_whom_nobody_knows_has_no_topic_of_his_own(opened: Opened, mosquitto: Mosquitto) -> None:
    daemon = await opened(mosquitto, *EVERY_KIND)
    await daemon.call("c1", account="a/b/#")
    refused = await daemon.told(Kind.REFUSED)
    assert (refused["refusal"], refused["account"]) == ("unknown_account", None)
    assert [topic.partition("/")[2] for topic, _, _ in daemon.ear.heard if "/event/" in topic] == ["event/refused/"]


async def test_an_emergency_call_is_told_besides(opened: Opened, mosquitto: Mosquitto) -> None:
    daemon = await opened(mosquitto, *EVERY_KIND, credit="0", status="suspended")
    await daemon.call("c1", to="112")
    told = await daemon.told(Kind.EMERGENCY_CALL)
    assert told.keys() == documented(Kind.EMERGENCY_CALL)
    assert (told["call_id"], told["account"], told["from"], told["to"]) == ("c1", "acme", "+31201234567", "112")
    admitted = await daemon.told(Kind.ADMITTED)
    assert (admitted["emergency"], admitted["held"], admitted["max_s"]) == (True, "0.0000", None)
    await daemon.call("c2", to="112", account="nobody")
    assert (await daemon.told(Kind.EMERGENCY_CALL, "c2"))["account"] is None
    assert (await daemon.told(Kind.ADMITTED, "c2"))["destination"] is None


async def test_a_threshold_that_trips_is_told(opened: Opened, mosquitto: Mosquitto) -> None:
    daemon = await opened(mosquitto, *EVERY_KIND, ids=WATCHFUL)
    assert (await daemon.call("c1"))["refusal"] == "ids_threshold"
    told = await daemon.told(Kind.IDS_ALERT)
    assert told.keys() == documented(Kind.IDS_ALERT)
    assert (told["account"], told["call_id"], told["alert"], told["mode"]) == ("acme", "c1", "tripped", "soft")
    assert (told["exposure"], told["average"], told["threshold"]) == ("0.0000", "0.0000", "0.0100")


async def test_a_warning_is_told(opened: Opened, mosquitto: Mosquitto) -> None:
    async with Receiver() as url:
        table = (
            f'[[switch]]\nname = "sbc"\nkind = "webhook"\nurl = "{url.url}"\nsecret = "{SECRET}"\n'
            'events = ["hang_up", "extended", "warn"]\n'
        )
        warnings = {"seconds": [29], "to": "both"}
        daemon = await opened(mosquitto, *EVERY_KIND, more=table, credit="0.30", warnings=warnings)
        await daemon.until(lambda: is_up(daemon, "sbc"))
        await daemon.call("c1", switch="sbc")
        await daemon.good("POST", "/v1/calls/c1/answer?switch=sbc")
        told = await daemon.told(Kind.WARNED)
        assert told.keys() == documented(Kind.WARNED)
        assert (told["switch"], told["account"], told["warn_to"]) == ("sbc", "acme", "both")
        assert told["left_s"] in range(1, 30)  # 29, on a machine that is not busy
        await daemon.good("POST", "/v1/calls/c1/end?switch=sbc", {})


async def is_up(daemon: Provider, switch: str) -> bool:
    _, said = await daemon.ask("GET", "/readyz")
    return any(link["name"] == switch and link["up"] for link in said["links"])


async def test_a_low_balance_is_told_once_and_again_after_a_top_up(opened: Opened, mosquitto: Mosquitto) -> None:
    daemon = await opened(mosquitto, *EVERY_KIND, low_balance="9.80")
    small = {"can_extend": True}  # holds 10 s: 0.10
    for number in (1, 2, 3, 4):
        await daemon.call(f"c{number}", **small)
    told = await daemon.told(Kind.LOW_BALANCE)
    assert told.keys() == documented(Kind.LOW_BALANCE)
    assert (told["account"], told["call_id"]) == ("acme", "c4")
    assert (told["left"], told["low_balance"], told["currency"]) == ("9.7000", "9.8000", "EUR")
    await daemon.call("c5", **small)
    await daemon.told(Kind.ADMITTED, "c5")
    await daemon.good("POST", "/v1/accounts/acme/topups", {"id": "little", "amount": "0.01"})
    await daemon.until(lambda: low_again(daemon, "c6"))
    told = await daemon.told(Kind.LOW_BALANCE, times=2)
    assert told["call_id"].startswith("c6-")
    assert await daemon.metric("callctl_low_balances_total") == 2
    assert daemon.log.count('"event": "low_balance"') == 2


async def low_again(daemon: Heard, call_id: str) -> bool:
    """The top-up is heard of within moments: call until it is."""
    call_id = f"{call_id}-{len(daemon.events(Kind.ADMITTED))}"
    await daemon.call(call_id, can_extend=True)
    await daemon.told(Kind.ADMITTED, call_id)
    return len(daemon.events(Kind.LOW_BALANCE)) == 2


async def test_a_reseller_is_low_too_and_who_has_no_limit_never(opened: Opened, mosquitto: Mosquitto) -> None:
    daemon = await opened(mosquitto, Kind.LOW_BALANCE, Kind.ADMITTED, low_balance="9.95")
    shop = {"kind": "postpaid", "plan": "standard", "parent": "acme", "low_balance": "1000000.00"}
    await daemon.good("PUT", "/v1/accounts/shop", shop | {"dial_rules": {"country": "NL"}})
    for number in (1, 2):
        await daemon.call(f"c{number}", account="shop", can_extend=True)
    assert (await daemon.told(Kind.LOW_BALANCE))["account"] == "acme"
    assert (await daemon.told(Kind.ADMITTED, times=2))["account"] == "shop"
    assert any(topic.endswith("/event/low_balance/acme") for topic, _, _ in daemon.ear.heard)


async def test_by_default_and_for_other_kinds_nothing_is_told(opened: Opened, mosquitto: Mosquitto) -> None:
    daemon = await opened(mosquitto)
    await daemon.plays("c1")
    await until(lambda: daemon.ear.sequences == [1])
    assert await daemon.link() is None
    assert {topic.partition("/")[2] for topic, _, _ in daemon.ear.heard} == {"status", "cdr/acme"}


async def test_kinds_that_are_not_named_are_not_told(opened: Opened, mosquitto: Mosquitto) -> None:
    daemon = await opened(mosquitto, Kind.ENDED, Kind.REFUSED)
    await daemon.plays("c1")
    await daemon.told(Kind.ENDED)
    assert {topic.partition("/")[2] for topic, _, _ in daemon.ear.heard if "/event/" in topic} == {"event/ended/acme"}


async def test_calls_go_on_without_the_broker_and_it_hears_of_them_when_it_is_back(
    opened: Opened, mosquitto: Mosquitto
) -> None:
    daemon = await opened(mosquitto, *EVERY_KIND)
    mosquitto.kill()
    try:
        await daemon.linked(up=False)
        assert str(mosquitto.port) in (await daemon.link())["detail"]
        assert await daemon.metric('callctl_link_up{kind="events",name="broker"}') == 0
        assert (await daemon.ask("GET", "/readyz"))[0] == 200
        for number in range(3):
            await daemon.plays(f"c{number}")
    finally:
        mosquitto.start()
    await daemon.told(Kind.ENDED, times=3)
    order = [(event["call_id"], event["event"]) for event in heard_once(daemon)]
    assert order == [(f"c{n}", kind) for n in range(3) for kind in ("admitted", "answered", "ended")]
    await until(lambda: set(daemon.ear.sequences) == {1, 2, 3})  # the CDRs, as ever
    await daemon.linked()
    assert '"level": "error"' not in daemon.log
    published = 'callctl_link_events_total{event="published",kind="events",name="broker"}'
    await daemon.until(lambda: is_sample(daemon, published, 9))
    assert await daemon.metric('callctl_link_events_total{event="dropped",kind="events",name="broker"}') == 0


def heard_once(daemon: Heard) -> list[Any]:
    told = [json.loads(payload) for topic, payload, _ in daemon.ear.heard if "/event/" in topic]
    return list({(event["call_id"], event["event"]): event for event in told}.values())


async def is_sample(daemon: Heard, sample: str, value: float) -> bool:
    return await daemon.metric(sample) == value


async def test_the_end_of_a_call_is_told_when_redis_is_back(
    opened: Opened, mosquitto: Mosquitto, redis_server: RedisServer, tmp_path: Path
) -> None:
    """It is charged only then, and by whoever is there: also by a daemon that was started meanwhile."""
    (tmp_path / "redis").mkdir()
    server = RedisServer(tmp_path / "redis", redis_server.binary)
    server.start()
    try:
        daemon = await opened(mosquitto, *EVERY_KIND, redis_url=server.url)
        await daemon.call("c1")
        await daemon.good("POST", "/v1/calls/c1/answer", {})
        server.stop()
        await daemon.good("POST", "/v1/calls/c1/end", {})
        assert daemon.events(Kind.ENDED) == []
        await daemon.kill()
        server.start()
        await daemon.start()
        ended = await daemon.told(Kind.ENDED)
        await daemon.until(daemon.cdrs)
        (cdr,) = await daemon.cdrs()
        assert (ended["call_id"], ended["charge"]) == ("c1", cdr["charge"])
    finally:
        server.kill()
