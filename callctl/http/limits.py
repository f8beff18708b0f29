"""The provider's own limits: how many calls of all customers together. The provider's alone."""

from typing import Any, TypeVar

from aiohttp import web
from msgspec.structs import replace

from callctl.http import body
from callctl.http.auth import Holder, Scope
from callctl.http.capacity import LimitAnswer, LimitBody, LimitList
from callctl.http.errors import not_found
from callctl.http.fields import new_id
from callctl.http.routes import Route, json_response, refuse_unknown_queries
from callctl.limits.concurrency import Caps
from callctl.limits.licence import Licence
from callctl.limits.provider import ProviderLimit
from callctl.ports import Clock, Definitions, Tariffs

Limit = TypeVar("Limit", Caps, Licence, ProviderLimit)


class LimitRoutes:
    """The routes of the provider's own limits."""

    def __init__(self, definitions: Definitions, tariffs: Tariffs, clock: Clock) -> None:
        self._definitions = definitions
        self._tariffs = tariffs
        self._clock = clock

    def routes(self) -> tuple[Route, ...]:
        read, admin, one, shown = Scope.READ, Scope.ADMIN, "/v1/limits/{id}", LimitAnswer
        put = (400, 408, 413, 415, 422, 503)
        return (
            Route("PUT", one, self.put, admin, "create or replace", LimitBody, shown, (), put, True),
            Route("GET", one, self.show, read, "one limit", None, shown, (), (404,), True),
            Route("GET", "/v1/limits", self.list, read, "all limits", None, LimitList, (), (400,), True),
        )

    async def put(self, request: web.Request, _: Holder) -> web.Response:
        asked = body.parse(LimitBody, await body.read(request, body.JSON_LIMIT))
        limit = asked.becomes(ProviderLimit, id=new_id(request.match_info["id"]))
        limit = dated(limit, self._tariffs.limits.by_id.get(limit.id), self._clock.now().wall_ms) or limit
        await self._definitions.put_limit(limit)
        return json_response(_shown(limit))

    async def show(self, request: web.Request, _: Holder) -> web.Response:
        limit = self._tariffs.limits.by_id.get(request.match_info["id"])
        if limit is None:
            raise not_found("limit")
        return json_response(_shown(limit))

    async def list(self, request: web.Request, _: Holder) -> web.Response:
        refuse_unknown_queries(request)
        return json_response({"limits": [_shown(limit) for _, limit in sorted(self._tariffs.limits.by_id.items())]})


def _shown(limit: ProviderLimit) -> dict[str, Any]:
    return {"id": limit.id, **LimitBody.of(limit).shown()}


def dated(limit: Limit | None, before: Limit | None, now_ms: int) -> Limit | None:
    """What was put, with the moment since when it is so: that of before where nothing has changed.

    A moment that is stated anew counts; one that was read and is put again says nothing.
    """
    if limit is None:
        return None
    kept = before.since_ms if before is not None else None
    if limit.since_ms not in (None, kept):
        return limit
    same = before is not None and replace(limit, since_ms=kept) == before
    return replace(limit, since_ms=kept if same else now_ms)
