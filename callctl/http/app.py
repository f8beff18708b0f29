"""The front door, put together from what it is given. Nothing here is global; nothing here starts anything."""

from collections.abc import Callable, Mapping, Sequence

import msgspec
from aiohttp import web

from callctl.call.admission import Policy
from callctl.http import errors, openapi
from callctl.http.accounts import Accounts, PerformTopUp
from callctl.http.auth import Tokens
from callctl.http.bundles import BlockRoutes
from callctl.http.cdrs import Cdrs
from callctl.http.decision import Decisions
from callctl.http.exchange import ExchangeRoutes
from callctl.http.fast_path import FastPath
from callctl.http.limits import LimitRoutes
from callctl.http.links import Links
from callctl.http.metrics import Metrics
from callctl.http.ops import Ops
from callctl.http.routes import Route, endpoint
from callctl.http.services import ServiceRoutes
from callctl.http.switches import Reload, SwitchRoutes
from callctl.http.tariffs import TariffPlans
from callctl.http.thresholds import ThresholdRoutes
from callctl.ports import (
    Books,
    Calls,
    Charging,
    Clock,
    Definitions,
    Feeds,
    ProviderChannels,
    Services,
    Sessions,
    Switch,
    Tariffs,
    Watching,
)


class Site(msgspec.Struct, frozen=True):
    """All that is served by aiohttp, and the fast path of its decisions."""

    app: web.Application
    fast: FastPath


def make_site(
    *,
    calls: Calls,
    definitions: Definitions,
    tariffs: Tariffs,
    books: Books,
    sessions: Sessions,
    feeds: Feeds,
    services: Services,
    charging: Charging,
    channels: ProviderChannels,
    watching: Watching,
    policy: Policy,
    top_up: PerformTopUp,
    tokens: Tokens,
    links: Links,
    reload: Reload,
    metrics: Metrics,
    clock: Clock,
    cdr_feed: str,
    feed_names: Sequence[str] = (),
    switches: Mapping[str, Switch],
) -> Site:
    """The site. `cdr_feed`: the feed behind GET /v1/cdrs; `feed_names`: those whose outbox is measured.

    `switches`: those that callctl is linked to, by name.
    """
    routes = (
        *Decisions(calls, tariffs, clock, switches, policy.lists.emergency).routes(),
        *Accounts(definitions, tariffs, books, calls, top_up, clock).routes(),
        *TariffPlans(definitions, tariffs, clock).routes(),
        *BlockRoutes(definitions, tariffs, charging, clock).routes(),
        *ExchangeRoutes(definitions, tariffs, clock).routes(),
        *LimitRoutes(definitions, tariffs, channels, clock).routes(),
        *ThresholdRoutes(watching, tariffs, clock, policy.thresholds).routes(),
        *Cdrs(feeds, sessions, tariffs, cdr_feed).routes(),
        *ServiceRoutes(services, charging, tariffs, clock).routes(),
        *SwitchRoutes(reload).routes(),
        *Ops(links, metrics, calls, feeds, feed_names, tariffs, clock).routes(),
    )
    app = serve_routes((*routes, *openapi.routes(routes)), tokens, lambda: tariffs.known)
    return Site(app, FastPath(routes, tokens, clock))


def serve_routes(routes: Sequence[Route], tokens: Tokens, known: Callable[[], bool] = lambda: True) -> web.Application:
    """aiohttp's application for these routes; JSON errors for paths and methods that are not among them.

    As long as the definitions are not `known`, only calls and what is asked about callctl itself are served.
    """
    app = web.Application()
    for route in routes:
        # A call id may contain braces, which aiohttp's own pattern of a parameter leaves out.
        app.router.add_route(route.method, route.path.replace("}", ":[^/]+}"), endpoint(route, tokens, known))
    resources = tuple(app.router.resources())

    async def elsewhere(request: web.Request) -> web.StreamResponse:
        allowed: set[str] = set()
        for resource in resources:
            allowed |= (await resource.resolve(request))[1]
        if not allowed:
            return errors.respond(errors.not_found("path"))
        headers = {"Allow": ", ".join(sorted(allowed))}
        return errors.respond(errors.HttpError(405, "method_not_allowed", "not this method", headers=headers))

    app.router.add_route("*", "/{path:.*}", elsewhere)
    return app
