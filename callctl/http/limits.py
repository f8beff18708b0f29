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
from callctl.ports import Clock, Definitions, ProviderChannels, Tariffs
from callctl.rating.tariff import Direction

NOBODY = ""
"""No call has this trace id."""

Limit = TypeVar("Limit", Caps, Licence, ProviderLimit)


class LimitRoutes:
    """The routes of the provider's own limits."""

    def __init__(self, definitions: Definitions, tariffs: Tariffs, channels: ProviderChannels, clock: Clock) -> None:
        self._definitions = definitions
        self._tariffs = tariffs
        self._channels = channels
        self._clock = clock

    def routes(self) -> tuple[Route, ...]:
        read, admin, one, shown = Scope.READ, Scope.ADMIN, "/v1/limits/{id}", LimitAnswer
        put, looked, asked = (400, 408, 413, 415, 422, 503), (404, 503), (400, 503)
        return (
            Route("PUT", one, self.put, admin, "create or replace", LimitBody, shown, (), put, True),
            Route("GET", one, self.show, read, "one limit", None, shown, (), looked, True),
            Route("GET", "/v1/limits", self.list, read, "all limits", None, LimitList, (), asked, True),
        )

    async def put(self, request: web.Request, _: Holder) -> web.Response:
        asked = body.parse(LimitBody, await body.read(request, body.JSON_LIMIT))
        limit = asked.becomes(ProviderLimit, id=new_id(request.match_info["id"]))
        limit = dated(limit, self._tariffs.limits.by_id.get(limit.id), self._clock.now().wall_ms) or limit
        await self._definitions.put_limit(limit)
        return json_response(await self._shown(limit))

    async def show(self, request: web.Request, _: Holder) -> web.Response:
        limit = self._tariffs.limits.by_id.get(request.match_info["id"])
        if limit is None:
            raise not_found("limit")
        return json_response(await self._shown(limit))

    async def list(self, request: web.Request, _: Holder) -> web.Response:
        refuse_unknown_queries(request)
        known = sorted(self._tariffs.limits.by_id.items())
        return json_response({"limits": [await self._shown(limit) for _, limit in known]})

    async def _shown(self, limit: ProviderLimit) -> dict[str, Any]:
        counters = {slot.name: slot for each in Direction for slot in limit.slots(each)}
        now_ms = self._clock.now().wall_ms
        in_use = await self._channels.take(tuple(counters.values()), NOBODY, now_ms, now_ms, look=True)
        used = {name.removeprefix(f"{limit.id}:"): used for name, used in zip(counters, in_use, strict=True)}
        return {"id": limit.id, **LimitBody.of(limit).shown(), "channels": used}


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
