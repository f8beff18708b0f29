"""The way of a call over HTTP: decisions, reports, what is refused and how."""

import io
import json
from collections.abc import AsyncIterator

import pytest
from yarl import URL

from callctl.clock import format_time
from callctl.http.server import HttpServer
from tests.e2e.front_door import NL_MOB, NOW

ASK = {"call_id": "c1", "from": "+31201234567", "to": NL_MOB, "account": "acme"}


@pytest.fixture(params=["aiohttp", "fast path"], autouse=True)
async def way(request, door) -> AsyncIterator[None]:
    """Every test here is run both ways."""
    if request.param == "aiohttp":
        yield
        return
    server = HttpServer(door.site, "127.0.0.1", 0, refused=lambda: None)
    door.url = f"http://127.0.0.1:{await server.start()}"
    yield
    await server.stop()


def at(seconds: float) -> str:
    return format_time(NOW.wall_ms + int(seconds * 1000))


async def test_a_call_from_question_to_record(door) -> None:
    decision = await door.json("POST", "/v1/calls", json={**ASK, "can_extend": True})
    assert decision["verdict"] == "allowed"
    assert decision["account"] == "acme"
    assert decision["b_number"] == NL_MOB
    assert decision["granted_until"] is None
    assert decision["rate"]["per_minute"] == "0.0800"
    assert decision["trace"]
    answered = await door.json("POST", "/v1/calls/c1/answer", json={"at": at(2)})
    assert answered["granted_until"] == at(2 + answered["granted_seconds"])
    door.clock.pass_s(10)
    ended = await door.json("POST", "/v1/calls/c1/end", json={"at": at(9), "q850": 16, "released_by": "callee"})
    assert ended["state"] == "ended"
    (cdr,) = ended["cdrs"]
    assert (cdr["duration_s"], cdr["charge"], cdr["released_by"], cdr["q850"]) == (7, "0.0093", "callee", 16)
    assert "chain" not in cdr


async def test_a_refusal_is_a_decision(door) -> None:
    refused = await door.json("POST", "/v1/calls", json={**ASK, "to": "not a number"})
    assert (refused["verdict"], refused["refusal"], refused["sip_code"], refused["q850"]) == (
        "refused", "invalid_number", 484, 28,
    )  # fmt: skip
    unknown = await door.json("POST", "/v1/calls", json={**ASK, "call_id": "c2", "account": "nobody"})
    assert unknown["refusal"] == "unknown_account"


async def test_the_same_body_is_answered_as_before_and_another_is_a_conflict(door) -> None:
    first = await door.json("POST", "/v1/calls", json=ASK)
    again = await door.json("POST", "/v1/calls", json={**ASK, "at": at(-1), "ring_at": at(0)})
    assert {**again, "trace": []} == {**first, "trace": []}
    error = await door.refused(409, "POST", "/v1/calls", json={**ASK, "to": "+31612345679"})
    assert error["field"] == "call_id"
    assert await door.json("POST", "/v1/calls", json={**ASK, "switch": "other"})  # another switch, another call


async def test_a_refused_call_id_may_be_decided_anew(door) -> None:
    await door.json("POST", "/v1/calls", json={**ASK, "account": "nobody"})
    assert (await door.json("POST", "/v1/calls", json=ASK))["verdict"] == "allowed"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"call_id": ""}, "call_id"),
        ({"call_id": "x" * 601}, "call_id"),
        ({"call_id": "a\r\nb"}, "call_id"),
        ({"call_id": ".."}, "call_id"),  # clients leave it out of a path
        ({"switch": "a/b"}, "switch"),
        ({"switch": "sbc1\n"}, "switch"),
        ({"call_id": 7}, "call_id"),
        ({"to": None}, "to"),
        ({"to": "1" * 65}, "to"),
        ({"from": ["+31"]}, "from"),
        ({"direction": "sideways"}, "direction"),
        ({"can_extend": "yes"}, "can_extend"),
        ({"at": "yesterday"}, "at"),
        ({"at": "2026-11-21T10:00:00"}, "at"),
        ({"ring_at": 5}, "ring_at"),
        ({"callid": "c1"}, "callid"),
    ],
)
async def test_a_wrong_body_names_its_field(door, change, field) -> None:
    error = await door.refused(400, "POST", "/v1/calls", json={**ASK, **change})
    assert (error["code"], error["field"]) == ("bad_request", field)
    assert not door.calls.live()


async def test_a_missing_field_is_named(door) -> None:
    for field in ("call_id", "from", "to"):
        body = {key: value for key, value in ASK.items() if key != field}
        assert (await door.refused(400, "POST", "/v1/calls", json=body))["field"] == field


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"null",
        b"[]",
        b"{",
        b'{"call_id": NaN}',
        b'{"call_id": "c1", "from": "1", "to": "\xff"}',
        b'{"call_id": "c1", "from": "1", "to": "\\ud800"}',
        b'{"x": ' + b"[" * 60_000 + b"]" * 5,
        b'{"call_id": "c1", "from": "1", "to": "2"} trailing',
        json.dumps(ASK).encode("utf-16"),
    ],
)
async def test_what_is_not_json_is_a_400(door, raw) -> None:
    assert (await door.refused(400, "POST", "/v1/calls", data=raw))["code"] == "bad_request"


async def test_a_key_that_stands_there_twice_is_refused(door) -> None:
    raw = b'{"call_id": "c1", "from": "1", "to": "2", "to": "3"}'
    assert (await door.refused(400, "POST", "/v1/calls", data=raw))["field"] == "to"


async def test_a_body_that_is_too_large_is_refused(door) -> None:
    assert (await door.refused(413, "POST", "/v1/calls", data=io.BytesIO(b"x" * 10_000_000)))["code"] == "too_large"

    async def endless():
        for _ in range(100):
            yield b"x" * 1000

    assert (await door.refused(413, "POST", "/v1/calls", data=endless()))["code"] == "too_large"


async def test_a_compressed_body_is_refused(door) -> None:
    error = await door.refused(415, "POST", "/v1/calls", json=ASK, headers={"Content-Encoding": "gzip"})
    assert error["code"] == "unsupported_media_type"


@pytest.mark.parametrize("seconds", [-24 * 3600 - 1, 5.001, 3600])
async def test_a_time_too_far_away_cannot_be_accepted(door, seconds) -> None:
    error = await door.refused(422, "POST", "/v1/calls", json={**ASK, "at": at(seconds)})
    assert error["field"] == "at"
    await door.json("POST", "/v1/calls", json=ASK)
    for what in ("answer", "end"):
        assert (await door.refused(422, "POST", f"/v1/calls/c1/{what}", json={"at": at(seconds)}))["field"] == "at"


@pytest.mark.parametrize("seconds", [-24 * 3600, 0, 5])
async def test_a_time_within_a_day_and_five_seconds_is_the_switchs_own(door, seconds) -> None:
    await door.json("POST", "/v1/calls", json={**ASK, "at": at(seconds)})
    assert (await door.json("GET", "/v1/calls/c1"))["setup_time"] == at(seconds)


async def test_reports_on_a_call_that_nobody_asked_about(door) -> None:
    for method, path in (
        ("POST", "/v1/calls/c9/answer"),
        ("POST", "/v1/calls/c9/extend"),
        ("POST", "/v1/calls/c9/end"),
        ("GET", "/v1/calls/c9"),
        ("DELETE", "/v1/calls/c9"),
    ):
        assert (await door.refused(404, method, path))["code"] == "not_found"


@pytest.mark.parametrize(
    ("body", "field"),
    [({"q850": 128}, "q850"), ({"sip_code": 99}, "sip_code"), ({"released_by": "me"}, "released_by"), ({"a": 1}, "a")],
)
async def test_a_wrong_end_changes_nothing(door, body, field) -> None:
    await door.json("POST", "/v1/calls", json=ASK)
    assert (await door.refused(400, "POST", "/v1/calls/c1/end", json=body))["field"] == field
    assert (await door.json("GET", "/v1/calls/c1"))["state"] == "admitted"


async def test_the_end_may_be_reported_twice(door) -> None:
    first = await door.call("c1")
    again = await door.json("POST", "/v1/calls/c1/end", json={"q850": 31})
    assert again == first
    assert (await door.json("GET", "/v1/accounts/acme"))["balance"] == "9.9200"


async def test_an_extension_holds_more(door) -> None:
    granted = (await door.json("POST", "/v1/calls", json={**ASK, "can_extend": True}))["granted_seconds"]
    await door.json("POST", "/v1/calls/c1/answer")
    door.clock.pass_s(6)
    assert (await door.json("POST", "/v1/calls/c1/extend"))["granted_seconds"] > granted


async def test_a_switch_of_its_own_name_in_body_or_query(door) -> None:
    await door.json("POST", "/v1/calls", json={**ASK, "switch": "sbc1"})
    await door.refused(404, "POST", "/v1/calls/c1/answer")
    await door.json("POST", "/v1/calls/c1/answer", json={"switch": "sbc1"})
    assert (await door.json("GET", "/v1/calls/c1?switch=sbc1"))["state"] == "answered"
    error = await door.refused(400, "POST", "/v1/calls/c1/end?switch=sbc2", json={"switch": "sbc1"})
    assert error["field"] == "switch"
    assert (await door.json("POST", "/v1/calls/c1/end?switch=sbc1"))["state"] == "ended"


async def test_a_call_id_with_any_printable_character(door) -> None:
    call_id = "{a}/b?c=d %&é@host;tag=1"
    await door.json("POST", "/v1/calls", json={**ASK, "call_id": call_id})
    quoted = "%7Ba%7D%2Fb%3Fc%3Dd%20%25%26%C3%A9%40host%3Btag%3D1"
    for method, verb in (("GET", ""), ("POST", "/answer")):
        url = (URL(door.url) if door.url else door.client.make_url("/")).join(
            URL(f"/v1/calls/{quoted}{verb}", encoded=True)
        )
        async with door.client.session.request(method, url, headers={"Authorization": "Bearer ops"}) as response:
            assert (await response.json())["call_id"] == call_id


async def test_live_calls_are_listed_and_filtered(door) -> None:
    await door.json("POST", "/v1/calls", json=ASK)
    await door.json("POST", "/v1/calls", json={**ASK, "call_id": "c2", "account": "shop", "switch": "sbc1"})
    listed = await door.json("GET", "/v1/calls")
    assert {(call["switch"], call["call_id"]) for call in listed["calls"]} == {("http", "c1"), ("sbc1", "c2")}
    assert all("trace" not in call for call in listed["calls"])
    assert [call["call_id"] for call in (await door.json("GET", "/v1/calls?account=shop"))["calls"]] == ["c2"]
    assert [call["call_id"] for call in (await door.json("GET", "/v1/calls?switch=http"))["calls"]] == ["c1"]
    one = await door.json("GET", "/v1/calls?limit=1")
    assert (len(one["calls"]), one["total"]) == (1, 2)
    assert (await door.refused(400, "GET", "/v1/calls?limit=-1"))["field"] == "limit"
    assert (await door.refused(400, "GET", "/v1/calls?acount=shop"))["field"] == "acount"


async def test_explain_takes_nothing(door) -> None:
    explained = await door.json("POST", "/v1/explain", json=ASK)
    assert explained["verdict"] == "allowed"
    assert explained["trace"]
    assert not door.calls.live()
    assert (await door.json("GET", "/v1/accounts/acme"))["held"] == "0.0000"


async def test_a_store_that_is_away_is_a_decision_too(door) -> None:
    door.store.away = True
    refused = await door.json("POST", "/v1/calls", json=ASK)
    assert (refused["verdict"], refused["refusal"], refused["sip_code"]) == ("refused", "store_unavailable", 503)


async def test_the_first_ring_is_kept(door) -> None:
    door.clock.pass_s(60)
    await door.json("POST", "/v1/calls", json={**ASK, "at": at(50), "ring_at": at(53)})
    await door.json("POST", "/v1/calls/c1/answer", json={"at": at(58)})
    (cdr,) = (await door.json("POST", "/v1/calls/c1/end"))["cdrs"]
    assert cdr["ring_s"] == 5


async def test_money_is_a_string_everywhere(door) -> None:
    """No float reaches a client: every number in a decision and a CDR is whole."""
    for answer in (await door.json("POST", "/v1/calls", json=ASK), await door.call("c2")):
        assert all(isinstance(number, int) for number in _numbers(answer))


def _numbers(value):
    if isinstance(value, dict):
        for each in value.values():
            yield from _numbers(each)
    elif isinstance(value, list):
        for each in value:
            yield from _numbers(each)
    elif isinstance(value, int | float):
        yield value


async def test_rules_on_prices_and_destinations_are_for_what_is_sold(door) -> None:
    rules = {"margin": {"min_per_minute": "0.0100"}, "max_cost": {"per_minute": "0.50"}}
    acme = {"kind": "prepaid", "plan": "retail", "dial_rules": {"country": "NL"}, "numbers": ["+31201234567"], **rules}
    await door.json("PUT", "/v1/accounts/acme", json={**acme, "destinations": {"deny": [{"type": "FIX"}]}})
    inbound = {"direction": "inbound", "from": NL_MOB, "to": "+31201234567"}
    calls = ({"to": "0201234567", "from": NL_MOB}, inbound, {"direction": "internal", "to": "201"})
    verdicts = []
    for number, call in enumerate(calls):
        answer = await door.json("POST", "/v1/calls", json={**ASK, **call, "call_id": f"c{number}"})
        verdicts.append((answer["verdict"], answer.get("refusal")))
    # On-net, but of a type that acme may not call; inbound; from one extension to another.
    assert verdicts == [("refused", "destination_barred"), ("allowed", None), ("allowed", None)]
    for extension in ("*777", "SP0", "crm-integration"):
        call = {"direction": "internal", "to": extension, "call_id": f"to {extension}"}
        assert (await door.json("POST", "/v1/calls", json={**ASK, **call}))["verdict"] == "allowed"
    for extension in ("", "x" * 40, "2\r\n1"):
        call = {"direction": "internal", "to": extension, "call_id": "bad"}
        assert (await door.json("POST", "/v1/calls", json={**ASK, **call}))["refusal"] == "invalid_number"


async def test_nobody_else_reports_the_calls_of_a_switch_of_our_own(door) -> None:
    for path, said in (("", ASK), ("/c1/answer", {}), ("/c1/end", {})):
        error = await door.refused(422, "POST", f"/v1/calls{path}", json={**said, "switch": "pbx1"})
        assert error["field"] == "switch"
    assert (await door.json("POST", "/v1/explain", json={**ASK, "switch": "pbx1"}))["verdict"] == "allowed"
    await door.refused(404, "DELETE", "/v1/calls/c1?switch=pbx1")


async def test_an_answer_after_the_end_is_no_permission(door) -> None:
    """Nothing is held any more: whoever goes on talking would talk for nothing."""
    await door.json("POST", "/v1/calls", json=ASK)
    await door.json("POST", "/v1/calls/c1/end")
    error = await door.refused(409, "POST", "/v1/calls/c1/answer")
    assert error["field"] == "call_id"
    await door.call("c2")
    assert (await door.json("POST", "/v1/calls/c2/answer"))["granted_until"]  # said again: as before


async def test_an_answer_long_before_the_call_was_set_up_is_refused(door) -> None:
    await door.json("POST", "/v1/calls", json=ASK)
    hours_before = format_time(NOW.wall_ms - 3_600_000)
    error = await door.refused(422, "POST", "/v1/calls/c1/answer", json={"at": hours_before})
    assert error["field"] == "at"
    a_little = format_time(NOW.wall_ms - 30_000)  # the caller's clock may be behind ours
    assert (await door.json("POST", "/v1/calls/c1/answer", json={"at": a_little}))["granted_until"] is not None


async def test_a_switch_has_no_slash_in_its_name(door) -> None:
    assert (await door.refused(400, "POST", "/v1/calls", json={**ASK, "switch": "a/b"}))["field"] == "switch"


class Roots(list[str]):
    """As many as there are customers: to go through all of them for each call took a second of everybody's time."""

    def __contains__(self, root: object) -> bool:
        raise AssertionError("looked through for one of them")


async def test_the_calls_of_many_roots_are_found_without_going_through_all_of_them_for_each(door) -> None:
    for call_id, account in (("c1", "acme"), ("c2", "shop")):
        await door.json("POST", "/v1/calls", json={"call_id": call_id, "from": "", "to": NL_MOB, "account": account})
    found = await door.calls.everywhere(Roots(["acme", "reseller", "nobody"]))
    assert {session.call.call_id for session in found} == {"c1", "c2"}
