"""Tokens: who is let in, what for, and who is not listened to any more."""

import base64
import re

import pytest

from callctl.http.auth import REMEMBERED, WINDOW_MS, WRONG_TOKENS_AT_MOST, Holder, Scope, Tokens
from callctl.http.errors import HttpError
from tests.e2e.front_door import NL_MOB, SetClock

ASK = {"call_id": "c1", "from": "+31201234567", "to": NL_MOB, "account": "acme"}
NEEDS = {
    "call": [
        ("POST", "/v1/calls"),
        ("POST", "/v1/explain"),
        ("POST", "/v1/calls/c1/answer"),
        ("POST", "/v1/calls/c1/extend"),
        ("POST", "/v1/calls/c1/end"),
        ("DELETE", "/v1/calls/c1"),
    ],
    "read": [
        ("GET", "/v1/calls"),
        ("GET", "/v1/calls/c1"),
        ("GET", "/v1/accounts"),
        ("GET", "/v1/accounts/acme"),
        ("GET", "/v1/accounts/acme/ledger"),
        ("GET", "/v1/accounts/acme/quote"),
        ("GET", "/v1/trunks/t1"),
        ("GET", "/v1/plans"),
        ("GET", "/v1/plans/retail"),
        ("GET", "/v1/plans/retail/rows"),
        ("GET", "/v1/groups/schools"),
        ("GET", "/v1/exchange"),
        ("GET", "/v1/exchange/USD-EUR"),
        ("GET", "/v1/accounts/acme/blocks"),
        ("GET", "/v1/accounts/acme/ids"),
        ("GET", "/v1/limits"),
        ("GET", "/v1/limits/x"),
        ("GET", "/v1/services"),
        ("GET", "/v1/services/flat/price"),
        ("GET", "/v1/accounts/acme/subscriptions"),
        ("GET", "/v1/accounts/acme/subscriptions/net"),
        ("GET", "/v1/cdrs"),
        ("GET", "/v1/traces/x"),
        ("GET", "/metrics"),
        ("GET", "/openapi.json"),
        ("GET", "/docs"),
    ],
    "admin": [
        ("PUT", "/v1/accounts/x"),
        ("POST", "/v1/accounts/acme/topups"),
        ("PUT", "/v1/trunks/x"),
        ("PUT", "/v1/plans/x"),
        ("PUT", "/v1/plans/retail/rows"),
        ("PUT", "/v1/groups/x"),
        ("PUT", "/v1/exchange/USD-EUR"),
        ("POST", "/v1/accounts/acme/blocks"),
        ("POST", "/v1/accounts/acme/ids/release"),
        ("PUT", "/v1/accounts/acme/ids/days"),
        ("PUT", "/v1/limits/x"),
        ("POST", "/v1/switches/reload"),
        ("PUT", "/v1/services"),
        ("PUT", "/v1/accounts/acme/subscriptions/net"),
        ("DELETE", "/v1/accounts/acme/subscriptions/net"),
        ("POST", "/v1/accounts/acme/subscriptions/net/counts"),
    ],
}
BEARER = {"call": "sbc", "read": "reader", "admin": "admin"}
CASES = [(scope, *route) for scope, routes in NEEDS.items() for route in routes]


def test_every_route_is_among_these_cases(door) -> None:
    open_to_all = {("GET", "/healthz"), ("GET", "/readyz"), ("*", "/{path}")}
    served = {(route.method, route.resource.canonical) for route in door.app.router.routes()}
    shapes = {canonical: re.compile(re.sub(r"{\w+}", "[^/]+", canonical)) for _, canonical in served - open_to_all}
    asked = {(method, shape) for _, method, path in CASES for shape, form in shapes.items() if form.fullmatch(path)}
    assert served - open_to_all == asked


@pytest.mark.parametrize(("scope", "method", "path"), CASES)
async def test_a_route_asks_for_its_scope(door, scope, method, path) -> None:
    error = await door.refused(401, method, path, None)
    assert error["code"] == "unauthenticated"
    await door.refused(401, method, path, "wrong")
    for other, bearer in BEARER.items():
        response = await door.ask(method, path, bearer)
        assert (response.status == 403) == (other != scope), (other, await response.read())
        assert response.status != 401


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_health_needs_no_token(door, path) -> None:
    assert (await door.ask("GET", path, None)).status == 200


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer ", "ops", "Basic b3Bz", "Digest ops", "Bearer OPS", "Bearer ops ops", "Bearer \xff"],
)
async def test_what_is_not_a_token(door, header) -> None:
    await door.refused(401, "GET", "/v1/calls", None, headers={"Authorization": header})


async def test_a_browser_may_read_with_a_password_but_not_change(door) -> None:
    basic = {"Authorization": "Basic " + base64.b64encode(b"anybody:ops").decode()}
    response = await door.ask("GET", "/docs", None, headers=basic)
    assert response.status == 200
    assert "Basic" in (await door.ask("GET", "/docs", None)).headers["WWW-Authenticate"]
    await door.refused(401, "POST", "/v1/calls", None, headers=basic, json=ASK)
    assert "Basic" not in (await door.ask("POST", "/v1/calls", None, json=ASK)).headers["WWW-Authenticate"]
    await door.refused(401, "GET", "/docs", None, headers={"Authorization": "Basic ***"})


async def test_too_many_wrong_tokens(door) -> None:
    await door.json("GET", "/v1/calls")
    for _ in range(WRONG_TOKENS_AT_MOST):
        await door.refused(401, "GET", "/v1/calls", "guess")
    error = await door.refused(429, "GET", "/v1/calls", "guess")
    assert error["code"] == "too_many_attempts"
    await door.refused(429, "GET", "/v1/calls", "reader")  # right, but it could be a guess
    await door.json("GET", "/v1/calls")  # was used rightly before: a running SBC goes on
    door.clock.pass_s(WINDOW_MS // 1000)
    await door.json("GET", "/v1/calls", "reader")


def tokens() -> Tokens:
    return Tokens([("s3cret", Holder("ops", frozenset(Scope)))], SetClock())


def test_wrong_tokens_are_counted_per_peer() -> None:
    known = tokens()
    for peer in ("192.0.2.1", "192.0.2.2"):
        for _ in range(WRONG_TOKENS_AT_MOST):
            with pytest.raises(HttpError) as refused:
                known.holder("Bearer guess", peer, Scope.READ)
            assert refused.value.status == 401
    with pytest.raises(HttpError) as refused:
        known.holder("Bearer guess", "192.0.2.1", Scope.READ)
    assert refused.value.status == 429
    assert known.holder("Bearer s3cret", "192.0.2.3", Scope.READ).name == "ops"


def test_what_is_remembered_of_peers_is_bounded() -> None:
    known = tokens()
    for number in range(REMEMBERED + 5):
        with pytest.raises(HttpError):
            known.holder("Bearer guess", f"peer{number}", Scope.READ)
        known.holder("Bearer s3cret", f"peer{number}", Scope.READ)
    assert len(known._wrong) == REMEMBERED
    assert len(known._used) == REMEMBERED


def test_no_secret_is_kept() -> None:
    known = tokens()
    assert "s3cret" not in repr(vars(known))


def test_a_secret_has_one_holder() -> None:
    holder = Holder("ops", frozenset(Scope))
    with pytest.raises(ValueError, match="the same secret as ops"):
        Tokens([("s", holder), ("s", Holder("sbc", frozenset()))], SetClock())


async def test_no_such_path_and_no_such_method(door) -> None:
    assert (await door.refused(404, "GET", "/v2/calls"))["code"] == "not_found"
    assert (await door.refused(404, "GET", "/v1/accounts/a/b/c"))["code"] == "not_found"
    response = await door.ask("PATCH", "/v1/calls")
    assert (response.status, response.headers["Allow"]) == (405, "GET, POST")
    assert (await response.json())["error"]["code"] == "method_not_allowed"
