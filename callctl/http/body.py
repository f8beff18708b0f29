"""Reading a request's body: bounded in size and in time, and refused when a key stands in it twice."""

import asyncio
import json
from collections import Counter
from typing import Any, TypeVar

import msgspec
from aiohttp import web
from pydantic import BaseModel

from callctl.http.errors import HttpError, bad_request

DECISION_LIMIT = 64 * 1024
JSON_LIMIT = 1024 * 1024
ROWS_LIMIT = 32 * 1024 * 1024
ARRIVAL_TIMEOUT_S = 10
ROWS_ARRIVAL_TIMEOUT_S = 120

Model = TypeVar("Model", bound=BaseModel)
Value = TypeVar("Value")
Bytes = TypeVar("Bytes", bytes, bytearray)


async def read(request: web.Request, limit: int) -> bytes:
    """The whole body. HttpError 413 beyond `limit` bytes (unread if announced), 408 when late, 415 if compressed."""
    _refuse_unread(request, limit)
    if request.content.is_eof():  # Everything is here: nothing to wait for on the way of a decision.
        return _within(limit, request.content.read_nowait())
    return bytes(await _arrived(request, limit, ARRIVAL_TIMEOUT_S))


async def read_large(request: web.Request, limit: int, *, timeout_s: float) -> bytearray:
    """The same of many megabytes, which are not copied: that holds up everybody else."""
    _refuse_unread(request, limit)
    return await _arrived(request, limit, timeout_s)


def _refuse_unread(request: web.Request, limit: int) -> None:
    if request.content_length is not None and request.content_length > limit:
        raise _too_large(limit)
    if "Content-Encoding" in request.headers:
        raise HttpError(415, "unsupported_media_type", "send the body as it is, without Content-Encoding")


async def _arrived(request: web.Request, limit: int, timeout_s: float) -> bytearray:
    body = bytearray()
    try:
        async with asyncio.timeout(timeout_s):
            while chunk := await request.content.readany():
                body += chunk
                _within(limit, body)
    except TimeoutError:
        raise HttpError(408, "timeout", f"the body did not arrive within {timeout_s} s") from None
    return body


def _within(limit: int, body: Bytes) -> Bytes:
    if len(body) > limit:
        raise _too_large(limit)
    return body


def _too_large(limit: int) -> HttpError:
    return HttpError(413, "too_large", f"the body is larger than {limit} bytes")


def decode(decoder: "msgspec.json.Decoder[Value]", body: bytes) -> Value:
    """A value of the decision path. DecodeError or HttpError 400 for anything that is not exactly it."""
    value = decoder.decode(body)
    if body.count(b":") != len(_keys.decode(body)):  # a colon in a value, a value with keys of its own, or a key twice
        _refuse_repeated_keys(body)
    return value


def parse(model: type[Model], body: bytes) -> Model:
    """A value of the administration. pydantic's ValidationError or HttpError 400 otherwise."""
    _refuse_repeated_keys(body)
    return model.model_validate_json(body, strict=True)


def _refuse_repeated_keys(body: bytes) -> None:
    """JSON leaves open which of two equal keys counts, and libraries differ: neither does here."""
    try:
        _PAIRS.decode(body.decode())
    except RecursionError:
        raise bad_request("the JSON is nested too deeply") from None
    except json.JSONDecodeError as exc:
        raise bad_request(f"malformed JSON: {exc}") from None


def _once(pairs: list[tuple[str, Any]]) -> None:
    if len(dict(pairs)) == len(pairs):
        return
    twice = next(key for key, times in Counter(key for key, _ in pairs).items() if times > 1)
    raise bad_request(f"the key {twice!r} stands there twice", twice)


_keys = msgspec.json.Decoder(dict[str, msgspec.Raw])
_PAIRS = json.JSONDecoder(object_pairs_hook=_once)
