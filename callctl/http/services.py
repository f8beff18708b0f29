"""Services: the catalogue, prices asked for, and who subscribes to what. All but reading that is the provider's."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date, timedelta
from typing import Annotated

import msgspec
from aiohttp import web
from msgspec.structs import asdict, replace

from callctl.accounts import Account
from callctl.call.subscription import decode_charged, local_day
from callctl.http import body, seeing
from callctl.http.auth import Holder, Scope
from callctl.http.errors import not_found, unacceptable
from callctl.http.fields import new_id
from callctl.http.routes import Query, Route, json_response, refuse_unknown_queries, whole_number
from callctl.ports import Charging, Clock, Services, Tariffs
from callctl.rating.quotation import CHARGES, MOST_CHARGES, ServicePrice, asked, quote
from callctl.rating.services import Catalogue, Count
from callctl.rating.subscriptions import (
    ON_THE_WIRE,
    ServiceBook,
    Subscription,
    Subscriptions,
    check_subscription,
    count,
    end,
    revise,
)


class MonthCount(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was counted at the end of a month ("2026-01")."""

    month: Annotated[str, msgspec.Meta(pattern=r"^[0-9]{4}-(0[1-9]|1[0-2])$(?!\n)")]
    count: Count


class SubscriptionShown(Subscription, frozen=True, kw_only=True, omit_defaults=False, rename=ON_THE_WIRE):
    """A subscription as it is. `charged_until`: the last day that is charged, null before the first charge."""

    name: str
    charged_until: date | None
    counts: dict[str, int]


class SubscriptionsShown(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All subscriptions of an account, by name."""

    account: str
    subscriptions: tuple[SubscriptionShown, ...]


_catalogue = msgspec.json.Decoder(Catalogue)
_subscription = msgspec.json.Decoder(Subscription)
_count = msgspec.json.Decoder(MonthCount)


class ServiceRoutes:
    """The routes of services and subscriptions."""

    def __init__(self, services: Services, charging: Charging, tariffs: Tariffs, clock: Clock) -> None:
        self._services = services
        self._charging = charging
        self._tariffs = tariffs
        self._clock = clock

    def routes(self) -> tuple[Route, ...]:
        read, admin, all_services, price = Scope.READ, Scope.ADMIN, "/v1/services", "/v1/services/{id}/price"
        own, one = "/v1/accounts/{id}/subscriptions", "/v1/accounts/{id}/subscriptions/{name}"
        put, looked, new = (400, 404, 408, 413, 415, 422, 503), (404, 503), "create or replace"
        shown, every, counts = SubscriptionShown, SubscriptionsShown, f"{one}/counts"
        return (
            Route("PUT", all_services, self.put_catalogue, admin, new, Catalogue, Catalogue, (), put, True),
            Route("GET", all_services, self.show_catalogue, read, "the catalogue", None, Catalogue, (), (503,), True),
            Route("GET", price, self.price, read, "a price", None, ServicePrice, _TERMS, (400, 404, 422, 503), True),
            Route("PUT", one, self.put, admin, new, Subscription, shown, (), put, True),
            Route("GET", one, self.show, read, "one subscription", None, shown, (), looked),
            Route("DELETE", one, self.delete, admin, "end, or take away", None, every, (), looked, True),
            Route("GET", own, self.show_all, read, "subscriptions", None, every, (), looked),
            Route("POST", counts, self.count, admin, "what was counted", MonthCount, shown, (), put, True),
        )

    async def put_catalogue(self, request: web.Request, _: Holder) -> web.Response:
        catalogue = body.decode(_catalogue, await body.read(request, body.JSON_LIMIT))
        with _acceptable():
            await self._services.put_catalogue(catalogue)
        return json_response(catalogue)

    async def show_catalogue(self, request: web.Request, _: Holder) -> web.Response:
        refuse_unknown_queries(request)
        return json_response((await self._services.book()).catalogue)

    async def price(self, request: web.Request, _: Holder) -> web.Response:
        refuse_unknown_queries(request, *(query.name for query in _TERMS))
        catalogue, service = (await self._services.book()).catalogue, request.match_info["id"]
        if service not in catalogue.services:
            raise not_found("service")
        charges = whole_number(request, "charges", CHARGES, MOST_CHARGES)
        terms = {name: value for name, value in request.query.items() if name != "charges"}
        with _acceptable():
            return json_response(quote(catalogue, asked({"service": service, **terms}), charges))

    async def put(self, request: web.Request, holder: Holder) -> web.Response:
        """Once it was charged only its end may change."""
        wanted = body.decode(_subscription, await body.read(request, body.JSON_LIMIT))
        account, name = self._account(request, holder), new_id(request.match_info["name"])
        kept, today = await self._charged(account), self._today(account)

        def change(book: ServiceBook) -> Subscriptions:
            if book.catalogue.currency != account.currency:
                raise ValueError(f"the services are in {book.catalogue.currency}, the account in {account.currency}")
            own = book.of(account.id)
            check_subscription(book.catalogue, wanted)
            revised = revise(own.by_name.get(name), wanted, decode_charged(kept.get(name)), today)
            return replace(own, by_name=own.by_name | {name: revised})

        with _acceptable():
            return json_response(_shown(await self._services.change(account.id, change), name, kept))

    async def show(self, request: web.Request, holder: Holder) -> web.Response:
        account, name = self._account(request, holder), request.match_info["name"]
        own = (await self._services.book()).of(account.id)
        _known(own, name)
        return json_response(_shown(own, name, await self._charged(account)))

    async def show_all(self, request: web.Request, holder: Holder) -> web.Response:
        refuse_unknown_queries(request)
        account = self._account(request, holder)
        own = (await self._services.book()).of(account.id)
        return json_response(_all_shown(own, await self._charged(account)))

    async def delete(self, request: web.Request, holder: Holder) -> web.Response:
        """One that was charged ends today, its unused days given back; any other, and one that is over, is gone."""
        account, name = self._account(request, holder), request.match_info["name"]
        kept, today = await self._charged(account), self._today(account)

        def change(book: ServiceBook) -> Subscriptions:
            own = book.of(account.id)
            _known(own, name)
            left = end(book.catalogue, own.by_name[name], decode_charged(kept.get(name)), today)
            others = {other: subscription for other, subscription in own.by_name.items() if other != name}
            return replace(own, by_name=others if left is None else others | {name: left})

        return json_response(_all_shown(await self._services.change(account.id, change), kept))

    async def count(self, request: web.Request, holder: Holder) -> web.Response:
        """The last count of a month before it is charged is the one that counts."""
        counted = body.decode(_count, await body.read(request, body.JSON_LIMIT))
        account, name = self._account(request, holder), request.match_info["name"]
        kept, today = await self._charged(account), self._today(account)

        def change(book: ServiceBook) -> Subscriptions:
            own = book.of(account.id)
            _known(own, name)
            charged = decode_charged(kept.get(name))
            return count(book.catalogue, own, name, counted.month, counted.count, charged, today)

        with _acceptable():
            return json_response(_shown(await self._services.change(account.id, change), name, kept))

    def _account(self, request: web.Request, holder: Holder) -> Account:
        return seeing.visible_account(self._tariffs.directory, holder.account, request.match_info["id"])

    def _today(self, account: Account) -> date:
        return local_day(account, self._clock.now().wall_ms)

    async def _charged(self, account: Account) -> dict[str, bytes]:
        root = self._tariffs.directory.chain(account.id)[-1].id
        return await self._charging.charged(root, account.id)


_TERMS = (
    Query("quantity", "units, default 1"),
    Query("price_list", "by which percentages"),
    Query("partner", "whose discount"),
    Query("from", "first day: then every charge is listed"),
    Query("until", "last day"),
    Query("period", "monthly, quarterly, half-yearly or yearly"),
    Query("align", "calendar, or start: periods begin with the subscription"),
    Query("waive_nrc", "true: without the charge that is made once"),
    Query("charges", f"list at most so many days of charging, default {CHARGES}"),
)


@contextmanager
def _acceptable() -> Iterator[None]:
    """What contradicts is a 422; what is not of the schema stays a 400."""
    try:
        yield
    except msgspec.ValidationError:
        raise
    except ValueError as exc:
        raise unacceptable(str(exc)) from None


def _known(own: Subscriptions, name: str) -> None:
    if name not in own.by_name:
        raise not_found("subscription")


def _shown(own: Subscriptions, name: str, kept: Mapping[str, bytes]) -> SubscriptionShown:
    charged = decode_charged(kept.get(name))
    return SubscriptionShown(
        **asdict(own.by_name[name]),
        name=name,
        charged_until=None if charged is None else charged.to_day - timedelta(days=1),
        counts=own.counts.get(name, {}),
    )


def _all_shown(own: Subscriptions, kept: Mapping[str, bytes]) -> SubscriptionsShown:
    return SubscriptionsShown(own.id, tuple(_shown(own, name, kept) for name in sorted(own.by_name)))
