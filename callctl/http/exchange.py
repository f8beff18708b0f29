"""Exchange rates by day: what a carrier's plan in another currency costs. The provider's alone."""

import re
from typing import Any

from aiohttp import web
from pydantic import Field, field_validator

from callctl.http import body, purchases
from callctl.http.auth import Holder, Scope
from callctl.http.errors import bad_request, not_found, unacceptable
from callctl.http.fields import Body, Day, ExchangeRate, Id
from callctl.http.routes import Route, json_response, refuse_unknown_queries
from callctl.ports import Clock, Definitions, Tariffs
from callctl.rating.exchange import Exchange

_PAIR = re.compile(r"([A-Z]{3})-(?!\1)[A-Z]{3}")


class DatedRateBody(Body):
    """`rate`: what one unit costs from the beginning of this day on."""

    from_day: Day = Field(alias="from")
    rate: ExchangeRate


class ExchangeBody(Body):
    """What one unit of the first currency costs in the second, each rate until the next one."""

    rates: tuple[DatedRateBody, ...]

    @field_validator("rates")
    @classmethod
    def _in_order(cls, rates: tuple[DatedRateBody, ...]) -> tuple[DatedRateBody, ...]:
        return tuple(sorted(rates, key=lambda dated: dated.from_day))


class ExchangeAnswer(ExchangeBody):
    """Two currencies and their rates as they are, in the order of days.

    `warnings`: where they are put, which plans' percentages have no purchase price for want of a rate.
    """

    id: Id
    warnings: tuple[str, ...] = ()


class ExchangeList(Body):
    """All that there are."""

    exchange: tuple[ExchangeAnswer, ...]


class ExchangeRoutes:
    """The routes of exchange rates."""

    def __init__(self, definitions: Definitions, tariffs: Tariffs, clock: Clock) -> None:
        self._definitions = definitions
        self._tariffs = tariffs
        self._clock = clock

    def routes(self) -> tuple[Route, ...]:
        read, admin, pair, shown = Scope.READ, Scope.ADMIN, "/v1/exchange/{id}", ExchangeAnswer
        put = (400, 408, 413, 415, 422, 503)
        return (
            Route("PUT", pair, self.put, admin, "create or replace", ExchangeBody, shown, (), put, True),
            Route("GET", pair, self.show, read, "the rates of two currencies", None, shown, (), (404,), True),
            Route("GET", "/v1/exchange", self.list, read, "all rates", None, ExchangeList, (), (400,), True),
        )

    async def put(self, request: web.Request, _: Holder) -> web.Response:
        asked = body.parse(ExchangeBody, await body.read(request, body.JSON_LIMIT))
        pair = request.match_info["id"]
        if not _PAIR.fullmatch(pair):
            raise bad_request("two currencies are expected, such as USD-EUR", "id")
        try:
            exchange = asked.becomes(Exchange, id=pair)
        except ValueError as wrong:
            raise unacceptable(str(wrong), "rates") from None
        await self._definitions.put_exchange(exchange)
        now_ms = self._clock.now().wall_ms
        lost = purchases.lost_by_exchange(self._tariffs, pair, now_ms)
        return json_response(_shown(exchange) | purchases.told(lost))

    async def show(self, request: web.Request, _: Holder) -> web.Response:
        exchange = self._tariffs.exchanges.get(request.match_info["id"])
        if exchange is None:
            raise not_found("exchange rates")
        return json_response(_shown(exchange))

    async def list(self, request: web.Request, _: Holder) -> web.Response:
        refuse_unknown_queries(request)
        known = sorted(self._tariffs.exchanges.items())
        return json_response({"exchange": [_shown(exchange) for _, exchange in known]})


def _shown(exchange: Exchange) -> dict[str, Any]:
    return {"id": exchange.id, **ExchangeBody.of(exchange).shown()}
