"""Alive, ready, measured, documented."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from msgspec.structs import replace

from callctl.accounts import WarnTo
from callctl.call.events import CallKey
from callctl.call.takes import Post, Settlement
from callctl.http.auth import WRONG_TOKENS_AT_MOST
from tests.e2e.front_door import NL_MOB

ASK = {"call_id": "c1", "from": "+31201234567", "to": NL_MOB, "account": "acme"}


async def test_alive(door) -> None:
    assert await door.json("GET", "/healthz", None) == {"status": "ok"}


def _down(door, name: str) -> None:
    door.links[:] = [
        replace(link, state=replace(link.state, up=False, detail="connection refused"))
        if link.state.name == name
        else link
        for link in door.links
    ]


@pytest.mark.parametrize(("name", "status"), [("redis", 503), ("pbx1", 503), ("billing", 200)])
async def test_ready_while_every_needed_neighbour_is_up(door, name, status) -> None:
    ready = await door.json("GET", "/readyz", None)
    assert [(link["kind"], link["name"]) for link in ready["links"]] == [
        ("store", "redis"), ("switch", "pbx1"), ("sink", "billing"),
    ]  # fmt: skip
    assert ready["ready"] is True
    _down(door, name)
    answer = await (await door.ask("GET", "/readyz", "reader")).json()
    assert answer["ready"] is (status == 200)
    (down,) = [link for link in answer["links"] if not link["up"]]
    assert (down["name"], down["since"], down["detail"]) == (name, "2026-11-21T10:00:00.000Z", "connection refused")
    assert (await door.ask("GET", "/readyz", None)).status == status


@pytest.mark.parametrize(
    ("bearer", "told"),
    [(None, False), ("wrong", False), ("sbc", False), ("reseller", False), ("reader", True), ("ops", True)],
)
async def test_where_a_neighbour_is_is_for_the_provider_to_read(door, bearer: str | None, told: bool) -> None:
    """What is wrong with a link names its address; names and states are for everybody."""
    _down(door, "billing")
    ready = await door.json("GET", "/readyz", bearer)
    assert [link["up"] for link in ready["links"]] == [True, True, False]
    assert [link["detail"] for link in ready["links"]] == (["", "", "connection refused"] if told else [None] * 3)


async def test_who_guesses_tokens_at_what_is_open_is_counted(door) -> None:
    for _ in range(WRONG_TOKENS_AT_MOST + 1):
        assert (await door.ask("GET", "/readyz", "guess")).status == 200
    await door.refused(429, "GET", "/v1/calls", "reader")
    assert (await door.json("GET", "/readyz", "reader"))["links"][0]["detail"] is None


async def sample(door, name: str) -> float | None:
    """The value of a series of /metrics, by its whole name with labels."""
    page = await (await door.ask("GET", "/metrics")).text()
    found = re.search(rf"^{re.escape(name)} (\S+)$", page, re.MULTILINE)
    return float(found[1]) if found else None


async def test_what_is_counted(door) -> None:
    await door.call("c0")
    await door.json("POST", "/v1/calls", json={**ASK, "can_extend": True})
    await door.json("POST", "/v1/calls", json={**ASK, "call_id": "c2", "to": "nonsense"})
    await door.json("POST", "/v1/calls", json={**ASK, "call_id": "c3", "switch": "made up by a caller"})
    assert await sample(door, 'callctl_authorizations_total{blame="",refusal="",verdict="allowed"}') == 3
    refused = 'callctl_authorizations_total{blame="customer",refusal="invalid_number",verdict="refused"}'
    assert await sample(door, refused) == 1
    assert await sample(door, "callctl_decision_seconds_count") == 4
    assert await sample(door, 'callctl_active_calls{state="admitted",switch="http"}') == 1
    assert await sample(door, 'callctl_active_calls{state="admitted",switch="other"}') == 1
    held = sum(session.customer.held for session in door.calls.live()) / 1_000_000
    assert await sample(door, 'callctl_held{currency="EUR"}') == pytest.approx(held)
    assert await sample(door, 'callctl_settled_total{currency="EUR"}') == pytest.approx(0.08)
    assert await sample(door, 'callctl_link_up{kind="switch",name="pbx1"}') == 1
    assert await sample(door, 'callctl_outbox_depth{feed="billing"}') == 2


async def test_how_long_decisions_took_is_counted_up_to_each_bound(door) -> None:
    await door.json("POST", "/v1/calls", json=ASK)
    (session,) = door.calls.live()
    before_s = await sample(door, "callctl_decision_seconds_sum")
    for took_s in (0.0005, 0.0006, 2.5, 60):
        door.metrics.decided(session, took_s)
    within = [await sample(door, f'callctl_decision_seconds_bucket{{le="{le}"}}') for le in ("0.0005", "0.001", "2.5")]
    within.append(await sample(door, 'callctl_decision_seconds_bucket{le="+Inf"}'))
    count = await sample(door, "callctl_decision_seconds_count")
    assert within == [2, 3, 4, 5]  # the call's own took nothing, by a clock that stands
    assert count == 5
    assert await sample(door, "callctl_decision_seconds_sum") == pytest.approx(before_s + 62.5011)


async def test_what_happens_to_connections_is_counted_once(door) -> None:
    lost = 'callctl_link_events_total{event="lost",kind="store",name="redis"}'
    for count, told in ((0, 0), (2, 2), (2, 2), (3, 3), (0, 3), (1, 4)):  # a reloaded switch counts from 0 again
        door.links[0] = replace(door.links[0], counts={"lost": count})
        assert await sample(door, lost) == told


async def test_gauges_say_what_is_true_now(door) -> None:
    await door.json("POST", "/v1/calls", json=ASK)
    assert await sample(door, 'callctl_active_calls{state="admitted",switch="http"}') == 1
    await door.json("POST", "/v1/calls/c1/end")
    assert await sample(door, 'callctl_active_calls{state="admitted",switch="http"}') is None
    _down(door, "pbx1")
    assert await sample(door, 'callctl_link_up{kind="switch",name="pbx1"}') == 0


async def test_records_that_wait_are_measured(door) -> None:
    assert await sample(door, 'callctl_outbox_depth{feed="billing"}') == 0
    await door.call("c1")
    door.clock.pass_s(30)
    assert await sample(door, 'callctl_outbox_depth{feed="billing"}') == 1
    assert await sample(door, 'callctl_outbox_age_seconds{feed="billing"}') == 30


async def test_other_counters(door) -> None:
    await door.call("c1")
    session = await door.calls.find(CallKey("http", "c1"))
    door.metrics.unexpected("ended", "Answered")
    door.metrics.overflowed("calls")
    door.metrics.warned(session, 10, WarnTo.CALLER)
    door.metrics.low(session, door.tariffs.directory.accounts["acme"], 1, 2)
    door.metrics.settled(Settlement(session, (Post("acme", "correction", -500_000),), ()))
    page = door.metrics.page([], [], {}).decode()
    assert 'callctl_unexpected_events_total{event="Answered",state="ended"} 1.0' in page
    assert 'callctl_overflows_total{queue="calls"} 1.0' in page
    assert 'callctl_given_back_total{currency="EUR"} 0.5' in page
    for once in ("answered_calls", "warnings", "low_balances"):
        assert f"callctl_{once}_total 1.0" in page


async def test_the_document_has_every_route_and_resolves(door) -> None:
    document = await (await door.ask("GET", "/openapi.json")).json()
    assert document["openapi"] == "3.1.0"
    served = {
        (route.method.lower(), route.resource.canonical)
        for route in door.app.router.routes()
        if route.resource.canonical != "/{path}"
    }
    written = {(method, path) for path, methods in document["paths"].items() for method in methods}
    assert written == served
    names = document["components"]["schemas"]
    for ref in re.findall(r'"#/components/schemas/(\w+)"', str(document).replace("'", '"')):
        assert ref in names
    for path, methods in document["paths"].items():
        for operation in methods.values():
            declared = {p["name"] for p in operation["parameters"] if p["in"] == "path"}
            assert declared == set(re.findall(r"{(\w+)}", path))
            assert operation["summary"]
            assert operation["responses"]["200"]["content"]
    assert "security" not in document["paths"]["/healthz"]["get"]
    amount = names["TopUpBody"]["properties"]["amount"]
    assert amount["type"] == "string"


async def test_the_page_asks_no_other_host(door) -> None:
    response = await door.ask("GET", "/docs")
    page = await response.text()
    assert response.content_type == "text/html"
    assert "/v1/accounts/{id}/topups" in page
    assert not re.findall(r"https?://", page)
    assert not re.findall(r"(src|@import|<script)", page)


TYPES = {"string": str, "integer": int, "boolean": bool, "array": list, "object": dict, "null": type(None)}


def _defaults(schema: object) -> Iterator[tuple[object, dict[str, Any]]]:
    """Every default below a schema, and what it must be valid as."""
    if isinstance(schema, dict):
        if "default" in schema:
            yield schema["default"], schema
        for below in schema.values():
            yield from _defaults(below)


def _fits(value: object, schema: dict[str, Any]) -> bool:
    if "anyOf" in schema:
        return any(_fits(value, one) for one in schema["anyOf"])
    is_typed = "type" not in schema or type(value) is TYPES[schema["type"]]
    is_listed = value in schema.get("enum", [value]) and value == schema.get("const", value)
    return is_typed and is_listed and bool(re.search(schema.get("pattern", ""), str(value)))


async def test_a_default_in_the_document_is_one_that_a_body_may_state(door) -> None:
    document = await (await door.ask("GET", "/openapi.json")).json()
    schemas = document["components"]["schemas"]
    assert [(default, schema) for default, schema in _defaults(schemas) if not _fits(default, schema)] == []
    account = schemas["AccountBody"]["properties"]
    assert (account["billing"]["default"], account["status"]["default"]) == ("normal", "active")


async def test_who_is_not_ready_says_it_in_the_same_form(door) -> None:
    document = await (await door.ask("GET", "/openapi.json")).json()
    answers = document["paths"]["/readyz"]["get"]["responses"]
    assert answers["503"]["content"] == answers["200"]["content"]


async def test_what_waits_for_the_definitions_says_so(door) -> None:
    document = await (await door.ask("GET", "/openapi.json")).json()
    door.tariffs.known = False
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            status = (await door.ask(method.upper(), re.sub(r"{\w+}", "x", path))).status
            assert str(status) in operation["responses"], (method, path, status)
