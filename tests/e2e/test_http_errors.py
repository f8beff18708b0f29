"""Every fault has one face."""

import json

import pytest
import structlog

from callctl.errors import (
    CallConflict,
    InvariantViolation,
    SinkUnavailable,
    StoreUnavailable,
    SwitchUnavailable,
    UnknownCall,
)
from callctl.http.errors import HttpError, respond


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        (UnknownCall("c1"), 404, "not_found"),
        (CallConflict("c1"), 409, "conflict"),
        (StoreUnavailable("timed out"), 503, "store_unavailable"),
        (SwitchUnavailable("pbx1"), 503, "switch_unavailable"),
        (SinkUnavailable("disk full"), 503, "unavailable"),
        (HttpError(418, "teapot", "short and stout"), 418, "teapot"),
    ],
)
def test_what_is_foreseen(fault, status, code) -> None:
    response = respond(fault)
    assert response.status == status
    assert json.loads(response.body)["error"]["code"] == code
    assert ("Retry-After" in response.headers) == (status == 503)


@pytest.mark.parametrize("fault", [InvariantViolation("held < 0"), KeyError("secret"), ZeroDivisionError()])
def test_what_is_not_foreseen_is_logged_and_says_nothing(fault) -> None:
    with structlog.testing.capture_logs() as logged:
        response = respond(fault)
    assert response.status == 500
    assert json.loads(response.body) == {
        "error": {"code": "internal", "message": "this is our fault; it has been logged"}
    }
    assert [(line["event"], line["log_level"], line["exc_info"]) for line in logged] == [
        ("http.unforeseen", "error", fault)
    ]


async def test_the_server_goes_on_after_it(door, monkeypatch) -> None:
    async def broken(offered):
        raise RuntimeError("a bug")

    body = {"call_id": "c1", "from": "1", "to": "+31612345678", "account": "acme"}
    with monkeypatch.context() as broke, structlog.testing.capture_logs():
        broke.setattr(door.calls, "authorize", broken)
        assert (await door.refused(500, "POST", "/v1/calls", json=body))["code"] == "internal"
    assert (await door.json("POST", "/v1/calls", json=body))["verdict"] == "allowed"
