"""Alive, ready, measured, documented."""

import asyncio
import re

import pytest
from msgspec.structs import replace

from callctl.http.server import HttpServer, Limits
from tests.e2e.front_door import NL_MOB
from tests.waiting import until

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
    answer = await (await door.ask("GET", "/readyz", None)).json()
    assert answer["ready"] is (status == 200)
    (down,) = [link for link in answer["links"] if not link["up"]]
    assert (down["name"], down["since"], down["detail"]) == (name, "2026-11-21T10:00:00.000Z", "connection refused")
    assert (await door.ask("GET", "/readyz", None)).status == status


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
    assert await sample(door, 'callctl_authorizations_total{refusal="",verdict="allowed"}') == 3
    assert await sample(door, 'callctl_authorizations_total{refusal="invalid_number",verdict="refused"}') == 1
    assert await sample(door, "callctl_decision_seconds_count") == 4
    assert await sample(door, 'callctl_active_calls{state="admitted",switch="http"}') == 1
    assert await sample(door, 'callctl_active_calls{state="admitted",switch="other"}') == 1
    held = sum(session.customer.held for session in door.calls.live()) / 1_000_000
    assert await sample(door, 'callctl_held{currency="EUR"}') == pytest.approx(held)
    assert await sample(door, 'callctl_settled_total{currency="EUR"}') == pytest.approx(0.08)
    assert await sample(door, 'callctl_link_up{kind="switch",name="pbx1"}') == 1
    assert await sample(door, 'callctl_outbox_depth{feed="billing"}') == 2


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


def test_other_counters(door) -> None:
    door.metrics.unexpected("ended", "Answered")
    door.metrics.overflowed("calls")
    door.metrics.settled("EUR", -500_000)
    page = door.metrics.page([], [], {}).decode()
    assert 'callctl_unexpected_events_total{event="Answered",state="ended"} 1.0' in page
    assert 'callctl_overflows_total{queue="calls"} 1.0' in page
    assert 'callctl_given_back_total{currency="EUR"} 0.5' in page


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


class Served:
    """The application behind its real listening socket."""

    def __init__(self, door, **limits: float) -> None:
        self.refusals = 0
        self._server = HttpServer(door.site, "127.0.0.1", 0, refused=self._refused, limits=Limits(**limits))

    def _refused(self) -> None:
        self.refusals += 1

    async def __aenter__(self) -> "Served":
        self.port = await self._server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.stop()

    async def stop(self) -> None:
        await self._server.stop()

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)


HEALTH = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


async def test_connections_that_say_nothing_hurt_nobody_and_are_closed(door) -> None:
    async with Served(door, silence_s=1) as served:
        silent = [await served.connect() for _ in range(1000)]
        reader, writer = await served.connect()
        writer.write(HEALTH)
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        async with asyncio.timeout(10):
            for reader, _ in silent:
                assert await reader.read() == b""
        for _, closing in silent:
            closing.close()
        writer.close()


async def test_headers_that_come_drop_by_drop_are_not_waited_for(door) -> None:
    async with Served(door, silence_s=1) as served:
        reader, writer = await served.connect()
        ended = asyncio.ensure_future(reader.read())
        async with asyncio.timeout(10):
            for byte in HEALTH[:-1] * 1000:
                if ended.done():
                    break
                writer.write(bytes([byte]))
                await asyncio.wait([ended], timeout=0.05)
        assert b"200" not in await ended
        writer.close()


async def test_a_connection_too_many_is_closed_and_counted(door) -> None:
    async with Served(door, connections=2) as served:
        kept = [await served.connect() for _ in range(2)]
        for _, writer in kept:
            writer.write(HEALTH)
        for reader, _ in kept:
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        reader, extra = await served.connect()
        assert await reader.read() == b""
        await until(lambda: served.refusals == 1)
        for writer in (extra, *(writer for _, writer in kept)):
            writer.close()


async def test_a_body_that_does_not_arrive_is_given_up(door, monkeypatch) -> None:
    monkeypatch.setattr("callctl.http.body.read.__kwdefaults__", {"timeout_s": 0.05})
    async with Served(door) as served:
        reader, writer = await served.connect()
        writer.write(b"POST /v1/calls HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ops\r\nContent-Length: 10\r\n\r\n{")
        assert (await reader.readline()).startswith(b"HTTP/1.1 408")
        writer.close()


async def test_garbage_is_answered_and_the_server_goes_on(door) -> None:
    async with Served(door) as served:
        for raw in (
            b"\x00\xff\xfe\r\n\r\n",
            b"GET / HTTP/9.9\r\n\r\n",
            b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n",
        ):
            reader, writer = await served.connect()
            writer.write(raw)
            assert (await reader.readline()).startswith(b"HTTP/1.")
            writer.close()
        reader, writer = await served.connect()
        writer.write(HEALTH)
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        writer.close()


async def test_what_is_under_way_is_finished_when_the_server_stops(door, monkeypatch) -> None:
    entered, go_on = asyncio.Event(), asyncio.Event()
    authorize = door.calls.authorize

    async def slow(offered):
        entered.set()
        await go_on.wait()
        return await authorize(offered)

    monkeypatch.setattr(door.calls, "authorize", slow)
    served = Served(door)
    async with served:
        reader, writer = await served.connect()
        body = b'{"call_id": "c1", "from": "1", "to": "+31612345678", "account": "acme"}'
        writer.write(
            b"POST /v1/calls HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ops\r\nContent-Length: %d\r\n\r\n" % len(body)
            + body
        )
        await entered.wait()
        stopping = asyncio.ensure_future(served.stop())
        go_on.set()
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        await stopping
        writer.close()
        with pytest.raises(OSError, match=r"refused|Connect"):
            await served.connect()
