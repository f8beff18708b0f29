"""Calls within a call: who pays for them, and that they end with it."""

import asyncio

import pytest

from callctl.accounts import Account, Kind
from callctl.call.events import CallKey, Offered
from callctl.control.calls import CallControl
from callctl.control.reconciler import Reconciler
from callctl.rating.tariff import Direction, Row
from tests.e2e.front_door import NL_MOB

DID = "+31201112233"


@pytest.fixture
async def service(door):
    """shop has a number that is called; a call to it is up as c1, at 0.03 a minute."""
    outbound = Row("31", "Netherlands", per_minute=8_000_000)
    inbound = Row("31", "Freephone", per_minute=3_000_000, direction=Direction.INBOUND)
    for plan in ("wholesale", "middleman", "retail"):
        await door.definitions.put_rows(plan, [outbound, inbound])
    await door.definitions.put_account(Account("shop", Kind.PREPAID, "retail", "middle", numbers=(DID,)))
    await offered(door, direction="inbound", to=DID, account="shop")
    await door.json("POST", "/v1/calls/c1/answer")
    return door


async def offered(door, bearer: str = "ops", *, path: str = "/v1/calls", **call):
    body = {"call_id": "c1", "from": "+31209998877", "to": NL_MOB, "can_extend": True}
    return await door.json("POST", path, bearer, json=body | call)


async def test_the_payer_of_the_outer_call_pays_for_all(service) -> None:
    for call_id in ("out1", "out2"):
        decision = await offered(service, call_id=call_id, within="c1")
        assert (decision["verdict"], decision["account"]) == ("allowed", "shop")
        assert {"check": "account", "verdict": "pass", "saw": "within call c1"} in decision["trace"]
        await service.json("POST", f"/v1/calls/{call_id}/answer")
    service.clock.pass_s(5)
    ended = [await service.json("POST", f"/v1/calls/{call_id}/end") for call_id in ("out1", "out2", "c1")]
    own = [cdr for each in ended for cdr in each["cdrs"] if cdr["account"] == "shop"]
    assert [(cdr["call_id"], cdr["within"], cdr["direction"], cdr["charge"]) for cdr in own] == [
        ("out1", "c1", "outbound", "0.0067"),
        ("out2", "c1", "outbound", "0.0067"),
        ("c1", None, "inbound", "0.0025"),
    ]


async def test_with_its_end_they_get_no_more_time_and_are_hung_up(service) -> None:
    await offered(service, call_id="out1", within="c1")
    answered = await service.json("POST", "/v1/calls/out1/answer")
    await service.json("POST", "/v1/calls/c1/end")
    asked = await service.json("POST", "/v1/calls/out1/extend")
    assert asked["hang_up"] == "requested"
    assert asked["granted_seconds"] == answered["granted_seconds"]


async def test_one_that_is_hung_up_takes_them_along_only_when_it_ends(service) -> None:
    await offered(service, call_id="out1", within="c1")
    await service.json("DELETE", "/v1/calls/c1")
    assert "hang_up" not in await service.json("GET", "/v1/calls/out1")
    assert (await offered(service, call_id="out2", within="c1"))["refusal"] == "unknown_account"
    await service.json("POST", "/v1/calls/c1/end")
    assert (await service.json("GET", "/v1/calls/out1"))["hang_up"] == "requested"


@pytest.mark.parametrize("path", ["/v1/calls", "/v1/explain"])
async def test_it_must_be_up(service, path) -> None:
    await service.json("POST", "/v1/calls/c1/end")
    for outer in ("c1", "c9", "out1"):
        decision = await offered(service, path=path, call_id="out1", within=outer)
        assert decision["refusal"] == "unknown_account"
        assert decision["detail"] == f"within call {outer}, which is not up"
    elsewhere = await offered(service, path=path, call_id="out2", within="c1", switch="other")
    assert elsewhere["refusal"] == "unknown_account"


async def test_explained_too(service) -> None:
    decision = await offered(service, path="/v1/explain", call_id="out1", within="c1")
    assert (decision["verdict"], decision["account"]) == ("allowed", "shop")


async def test_it_is_part_of_what_was_asked(service) -> None:
    await offered(service, call_id="out1", within="c1")
    first = await offered(service, call_id="out1", within="c1")
    assert first["verdict"] == "allowed"
    body = {"call_id": "out1", "from": "+31209998877", "to": NL_MOB, "can_extend": True, "account": "shop"}
    await service.refused(409, "POST", "/v1/calls", json=body)


@pytest.mark.parametrize("field", ["account", "source_ip"])
async def test_nothing_else_tells_the_payer(service, field) -> None:
    body = {"call_id": "out1", "from": "", "to": NL_MOB, "within": "c1", field: "shop"}
    for path in ("/v1/calls", "/v1/explain"):
        assert (await service.refused(400, "POST", path, json=body))["field"] == field


async def test_a_token_only_within_calls_that_it_sees(service) -> None:
    assert (await offered(service, "middle", call_id="out1", within="c1"))["account"] == "shop"
    body = {"call_id": "out2", "from": "", "to": NL_MOB, "within": "c1"}
    for path in ("/v1/calls", "/v1/explain"):
        await service.refused(404, "POST", path, "acme", json=body)
        await service.refused(404, "POST", path, "acme", json=body | {"within": "c9"})


async def test_calls_within_calls_within_calls(service) -> None:
    await offered(service, call_id="out1", within="c1")
    assert (await offered(service, call_id="out2", within="out1"))["account"] == "shop"
    await service.json("POST", "/v1/calls/c1/end")
    assert (await service.json("GET", "/v1/calls/out1"))["hang_up"] == "requested"
    await service.json("POST", "/v1/calls/out1/end")
    assert (await service.json("GET", "/v1/calls/out2"))["hang_up"] == "requested"


def restarted(door) -> tuple[CallControl, Reconciler]:
    """Another process over the same store."""
    journal = door.calls._journal
    calls = door.process(journal)
    parts = {"clock": door.clock, "sessions": door.store, "takes": door.takes, "switches": {}, "journal": journal}
    parts |= {"observer": door.metrics, "policy": calls.policy}
    return calls, Reconciler(**parts, calls=calls, roots=door.tariffs.directory.roots)


async def test_a_restart_keeps_them_together(service) -> None:
    await offered(service, call_id="out1", within="c1")
    calls, reconciler = restarted(service)
    await reconciler.recover()
    assert not (await calls.find(CallKey("http", "out1"))).unwanted
    outer, inner = CallKey("http", "c1"), CallKey("http", "out1")
    await service.json("POST", "/v1/calls/c1/end")  # by the other process
    again, reconciler = restarted(service)
    await reconciler.recover()
    assert not again.knows(outer)
    assert (await again.find(inner)).unwanted


async def test_the_outer_call_may_be_known_to_the_store_alone(service) -> None:
    calls, _ = restarted(service)
    inner = Offered(CallKey("http", "out1"), service.clock.now(), "", NL_MOB, within="c1")
    assert (await calls.authorize(inner)).account == "shop"


async def test_the_outer_call_may_end_while_the_store_is_asked(service, monkeypatch) -> None:
    asked, gate, admit = asyncio.Event(), asyncio.Event(), service.store.admit

    async def slowly(take):
        asked.set()
        await gate.wait()
        return await admit(take)

    monkeypatch.setattr(service.calls._takes, "admit", slowly)
    asking = asyncio.create_task(offered(service, call_id="out1", within="c1"))
    await asked.wait()
    await service.json("POST", "/v1/calls/c1/end")
    gate.set()
    assert (await asking)["verdict"] == "allowed"
    assert (await service.json("GET", "/v1/calls/out1"))["hang_up"] == "requested"
