"""The one place where something that went wrong becomes `{"error": {"code", "message", "field"}}`."""

import re

import msgspec
import structlog
from aiohttp import web
from pydantic import ValidationError

from callctl.errors import (
    CallConflict,
    Contradiction,
    PortError,
    StoreUnavailable,
    SwitchUnavailable,
    UnknownCall,
)

log = structlog.get_logger()
JSON_HEADERS = {"Content-Type": "application/json"}
_encode = msgspec.json.Encoder().encode
_MSGSPEC_PATH = re.compile(r" - at `\$\.?(?P<path>[^`]*)`$")
_MSGSPEC_KEY = re.compile(r"field `(?P<key>[^`]*)`")


CODES = {
    400: "the body or a parameter is not what the schema says: malformed, unknown or repeated key, wrong type",
    401: "no token, or one that is not known",
    403: "the token has not the scope, or the change is not this account's to make",
    404: "no such thing, or none that this token may see: the two look the same",
    408: "the body did not arrive in time",
    409: "the id stands for something else already",
    413: "the body is too large",
    415: "a compressed body, or rows that are not text/csv",
    422: "well-formed, but it cannot be accepted: an amount of 0, a time next week, a parent that does not exist",
    429: "too many wrong tokens",
    503: "the store or a switch did not answer; the same request may be repeated",
}
"""What each status says; unforeseen faults are a 500, a known path with another method a 405."""


class ErrorShown(msgspec.Struct, frozen=True, omit_defaults=True):
    """`code` is for programs, `message` for people; `field` names the key, parameter or line at fault.

    `details`: everything that is wrong with a deck, where `message` is the first of it.
    """

    code: str
    message: str
    field: str | None = None
    details: tuple[str, ...] = ()


class Problem(msgspec.Struct, frozen=True):
    """Any answer that is not 200."""

    error: ErrorShown


class HttpError(Exception):
    """An answer other than 200. `field` names the key or parameter at fault, `headers` what HTTP asks for."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        field: str | None = None,
        headers: dict[str, str] | None = None,
        details: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.field = field
        self.headers = headers or {}
        self.details = details


def bad_request(message: str, field: str | None = None) -> HttpError:
    return HttpError(400, "bad_request", message, field)


def unacceptable(message: str, field: str | None = None) -> HttpError:
    return HttpError(422, "unacceptable", message, field)


def not_found(what: str) -> HttpError:
    return HttpError(404, "not_found", f"no such {what}")


def conflict(message: str, field: str | None = None) -> HttpError:
    return HttpError(409, "conflict", message, field)


class Answer(msgspec.Struct, frozen=True):
    """What is said of an error, before it is HTTP."""

    status: int
    body: bytes
    headers: dict[str, str]


def answer(error: Exception) -> Answer:
    """The answer to any exception that a handler let through; what nobody foresaw is logged and a 500."""
    known = _translate(error)
    if known is None:
        log.error("http.unforeseen", exc_info=error)
        known = HttpError(500, "internal", "this is our fault; it has been logged")
    body = _encode(Problem(ErrorShown(known.code, str(known), known.field, known.details)))
    return Answer(known.status, body, JSON_HEADERS | known.headers)


def respond(error: Exception) -> web.Response:
    """The same as aiohttp's response."""
    said = answer(error)
    return web.Response(status=said.status, body=said.body, headers=said.headers)


def _translate(error: Exception) -> HttpError | None:
    match error:
        case HttpError():
            return error
        case UnknownCall():
            return not_found("call")
        case CallConflict():
            return conflict(str(error) or "this call_id was used before with another body", "call_id")
        case Contradiction():
            return unacceptable(str(error), error.field)
        case StoreUnavailable():
            return _retry_later("store_unavailable", "the store did not answer")
        case SwitchUnavailable():
            return _retry_later("switch_unavailable", "the switch did not confirm the command")
        case PortError():
            return _retry_later("unavailable", str(error))
        case msgspec.DecodeError() | UnicodeDecodeError():
            return _of_msgspec(error)
        case ValidationError():
            return _of_pydantic(error)
        case web.RequestPayloadError():
            return bad_request("the body is broken off or wrongly encoded")
    return None


def _retry_later(code: str, message: str) -> HttpError:
    return HttpError(503, code, message, headers={"Retry-After": "1"})


def _of_msgspec(error: Exception) -> HttpError:
    """msgspec says where in its text only: "... field `x`", "... - at `$.x`"."""
    text = str(error)
    path, key = _MSGSPEC_PATH.search(text), _MSGSPEC_KEY.search(text)
    parts = [path["path"]] if path and path["path"] else []
    parts += [key["key"]] if key else []
    return bad_request(_MSGSPEC_PATH.sub("", text), ".".join(parts) or None)


def _of_pydantic(error: ValidationError) -> HttpError:
    """The first of its errors. A validator's own `ValueError` is a value that has the right form: 422."""
    first = error.errors(include_url=False, include_input=False)[0]
    field = ".".join(str(part) for part in first["loc"]) or None
    if first["type"] == "value_error":
        return unacceptable(first["msg"].removeprefix("Value error, "), field)
    if first["type"] == "extra_forbidden":
        return bad_request(f"unknown field {first['loc'][-1]!r}", field)
    return bad_request(first["msg"], field)
