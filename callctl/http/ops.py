"""For the people on call and their machines: alive, ready, measured."""

import asyncio
from collections.abc import Sequence

import msgspec
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from callctl.call.admission import NOBODY
from callctl.clock import format_time
from callctl.errors import PortError
from callctl.http.auth import Holder, Scope
from callctl.http.links import LinkKind, Links
from callctl.http.metrics import Metrics
from callctl.http.routes import Route, json_response
from callctl.ports import Calls, Capabilities, Clock, Feeds, Tariffs


class Health(msgspec.Struct, frozen=True):
    """The process runs and its loop turns."""

    status: str = "ok"


class LinkShown(msgspec.Struct, frozen=True):
    """A neighbour: up or down since when, and what is wrong. Of a switch also what it can do for callctl.

    `detail` may name addresses: it is told to tokens of the provider that read, to others it is null.
    """

    kind: LinkKind
    name: str
    up: bool
    since: str
    needed: bool
    detail: str | None
    capabilities: Capabilities | None


class Readiness(msgspec.Struct, frozen=True):
    """Ready: every needed neighbour is up."""

    ready: bool
    links: tuple[LinkShown, ...]


class Ops:
    """The routes of operations. `feed_names`: whose outboxes are measured."""

    def __init__(
        self,
        links: Links,
        metrics: Metrics,
        calls: Calls,
        feeds: Feeds,
        feed_names: Sequence[str],
        tariffs: Tariffs,
        clock: Clock,
    ) -> None:
        self._links = links
        self._metrics = metrics
        self._calls = calls
        self._feeds = feeds
        self._feed_names = feed_names
        self._tariffs = tariffs
        self._clock = clock
        self._scraping = asyncio.Lock()

    def routes(self) -> tuple[Route, ...]:
        return (
            Route("GET", "/healthz", self.health, None, "the process is alive", answer=Health),
            Route("GET", "/readyz", self.readiness, None, "the neighbours", answer=Readiness, answered=(503,)),
            Route("GET", "/metrics", self.scrape, Scope.READ, "Prometheus", answer="text/plain", provider=True),
        )

    async def health(self, _request: web.Request, _holder: Holder) -> web.Response:
        return json_response(Health())

    async def readiness(self, _request: web.Request, holder: Holder) -> web.Response:
        links, told = self._links(), Scope.READ in holder.scopes and holder.account is None
        ready = all(link.state.up for link in links if link.needed)
        shown = tuple(
            LinkShown(
                link.kind,
                link.state.name,
                link.state.up,
                format_time(link.state.since_ms),
                link.needed,
                link.state.detail if told else None,
                link.capabilities,
            )
            for link in links
        )
        return json_response(Readiness(ready, shown), 200 if ready else 503)

    async def scrape(self, _request: web.Request, _holder: Holder) -> web.Response:
        async with self._scraping:
            depths = await self._depths()
            page = await asyncio.to_thread(self._metrics.page, self._calls.live(), self._links(), depths)
        return web.Response(body=page, headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _depths(self) -> dict[str, tuple[int, int | None]]:
        """What waits in each outbox; nothing is said of an outbox that cannot be read."""
        now_ms = self._clock.now().wall_ms
        depths: dict[str, tuple[int, int | None]] = {}
        try:
            roots = await self._feeds.filled([NOBODY, *self._tariffs.directory.all_roots()])
            for feed in self._feed_names:
                depth, oldest_ms = await self._feeds.depth(feed, roots)
                depths[feed] = depth, None if oldest_ms is None else max(0, now_ms - oldest_ms)
        except PortError:
            return depths  # callctl_link_up says that the store is down.
        return depths
