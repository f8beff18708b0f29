"""A route as data: what aiohttp serves and what the OpenAPI document says come from the same line."""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from aiohttp import web

from callctl.errors import StoreUnavailable
from callctl.http import body, errors
from callctl.http.auth import Holder, Scope, Tokens

Handler = Callable[[web.Request, Holder], Awaitable[web.StreamResponse]]
Decide = Callable[["Asked", Holder], Awaitable[bytes]]
OpenHandler = Callable[[web.Request], Awaitable[web.StreamResponse]]

ANYONE = Holder("anyone", frozenset())
_EARLY = ("/v1/calls", "/metrics")
_encode = msgspec.json.Encoder().encode


class Asked(msgspec.Struct, frozen=True, gc=False):
    """What a request of the decision path says, whoever read it. `call_id` is the path's, `switch` the query's."""

    body: bytes
    call_id: str = ""
    switch: str | None = None


class Query(msgspec.Struct, frozen=True):
    """A query parameter, for the document."""

    name: str
    about: str
    required: bool = False


class Route(msgspec.Struct, frozen=True):
    """One method of one path. `scope` None: needs no token. `provider`: not for tokens that are bound to an account.

    `body`, `answer`: a msgspec or pydantic type, or the media type where it is not JSON; None for none.
    `codes`: what it answers beside 200 and what is `implied`; `answered`: the same, with `answer` as at 200.
    `decide`: what `handler` answers with, for requests that need not come through aiohttp (`fast_path`).
    """

    method: str
    path: str
    handler: Handler
    scope: Scope | None
    about: str
    body: Any = None
    answer: Any = None
    query: tuple[Query, ...] = ()
    codes: tuple[int, ...] = ()
    provider: bool = False
    decide: Decide | None = None
    answered: tuple[int, ...] = ()

    @property
    def early(self) -> bool:
        """Served before the definitions are read."""
        return self.scope is None or self.path.startswith(_EARLY)

    @property
    def implied(self) -> tuple[int, ...]:
        """What it answers because it asks for a token, and while the definitions are not read."""
        return (*(() if self.scope is None else (401, 403, 429)), *(() if self.early else (503,)))


def through_aiohttp(decide: Decide, *known: str) -> Handler:
    """The handler that asks `decide`; `known` are the query parameters that there may be."""

    async def handler(request: web.Request, holder: Holder) -> web.Response:
        refuse_unknown_queries(request, *known)
        asked = Asked(
            await body.read(request, body.DECISION_LIMIT),
            request.match_info.get("call_id", ""),
            request.query.get("switch"),
        )
        return web.Response(body=await decide(asked, holder), headers=errors.JSON_HEADERS)

    return handler


def json_response(value: object, status: int = 200) -> web.Response:
    return web.Response(status=status, body=_encode(value), headers=errors.JSON_HEADERS)


def endpoint(route: Route, tokens: Tokens, known: Callable[[], bool]) -> OpenHandler:
    """The handler behind authentication and error translation; not a middleware, which the hot path would pay."""
    scope, handler, provider, early = route.scope, route.handler, route.provider, route.early
    basic = route.method == "GET"

    async def serve(request: web.Request) -> web.StreamResponse:
        try:
            if scope is None:
                holder = _reader(request, tokens)
            else:
                holder = tokens.holder(request.headers.get("Authorization"), request.remote or "", scope, basic=basic)
                if provider and holder.account is not None:
                    raise errors.HttpError(403, "forbidden", "this belongs to the provider")
            if not early and not known():
                raise StoreUnavailable("the definitions are not read yet")
            return await handler(request, holder)
        except Exception as exc:  # whatever it was, the client is answered; ours is logged there
            return errors.respond(exc)

    return serve


def _reader(request: web.Request, tokens: Tokens) -> Holder:
    """Who asks what anyone may ask: to a token that reads more may be told. A wrong one is counted, and no error."""
    authorization = request.headers.get("Authorization")
    if authorization is None:
        return ANYONE
    try:
        return tokens.holder(authorization, request.remote or "", Scope.READ, basic=True)
    except errors.HttpError:
        return ANYONE


def whole_number(request: web.Request, name: str, default: int, at_most: int) -> int:
    """A query parameter between 0 and `at_most`. HttpError 400 otherwise."""
    text = request.query.get(name)
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 16 or int(text) > at_most:
        raise errors.bad_request(f"a whole number from 0 to {at_most} is expected", name)
    return int(text)


def flag(request: web.Request, name: str) -> bool:
    """A query parameter that is `true` or `false`, which is the default. HttpError 400 otherwise."""
    asked = request.query.get(name, "false")
    if asked not in ("true", "false"):
        raise errors.bad_request("true or false is expected", name)
    return asked == "true"


def refuse_unknown_queries(request: web.Request, *known: str) -> None:
    """A misspelt filter would answer everything, and of two one would not count: HttpError 400 names it."""
    for name in request.query:
        if name not in known:
            raise errors.bad_request(f"unknown parameter {name!r}", name)
        if len(request.query.getall(name)) > 1:
            raise errors.bad_request(f"the parameter {name!r} stands there twice", name)
