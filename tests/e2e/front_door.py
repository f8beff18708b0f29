"""The front door before real call control over the memory store, with accounts and plans that a test can read."""

import re
from collections.abc import Sequence
from typing import Any

import msgspec
from aiohttp import ClientResponse, ClientSession, web
from aiohttp.test_utils import TestClient, TestServer
from pydantic import BaseModel

from callctl.accounts import Account, Kind
from callctl.call.admission import Policy
from callctl.call.takes import LedgerEntry, TopUp
from callctl.clock import Instant
from callctl.control.calls import CallControl
from callctl.control.journal import Journal
from callctl.control.provider import LimitedTakes
from callctl.control.purchases import WatchedCharging
from callctl.control.shares import Shares
from callctl.errors import ConfigError, StoreUnavailable
from callctl.http.accounts import Accounts
from callctl.http.app import Site, make_site
from callctl.http.auth import Holder, Scope, Tokens
from callctl.http.bundles import BlockRoutes
from callctl.http.cdrs import Cdrs
from callctl.http.decision import Decisions
from callctl.http.errors import Problem
from callctl.http.exchange import ExchangeRoutes
from callctl.http.limits import LimitRoutes
from callctl.http.links import LinkKind, Neighbour
from callctl.http.metrics import Metrics
from callctl.http.ops import Ops
from callctl.http.routes import Route
from callctl.http.services import ServiceRoutes
from callctl.http.switches import Reloaded, SwitchRoutes
from callctl.http.tariffs import TariffPlans
from callctl.http.thresholds import ThresholdRoutes
from callctl.ports import LinkState
from callctl.rating.tariff import Plan, Row
from callctl.store.memory.definitions import MemoryDefinitions
from callctl.store.memory.feeds import MemoryFeeds
from callctl.store.memory.services import MemoryServices
from callctl.store.memory.store import MemoryStore
from callctl.store.provider import MemoryProviderChannels

NOW = Instant(1_795_255_200_000, 5_000)  # 2026-11-21T10:00:00Z
EVERY_SCOPE = frozenset(Scope)
BEARERS = {
    "ops": Holder("ops", EVERY_SCOPE),
    "sbc": Holder("sbc", frozenset({Scope.CALL})),
    "reader": Holder("reader", frozenset({Scope.READ})),
    "admin": Holder("admin", frozenset({Scope.ADMIN})),
    "reseller": Holder("reseller", EVERY_SCOPE, "reseller"),
    "middle": Holder("middle", EVERY_SCOPE, "middle"),
    "shop": Holder("shop", EVERY_SCOPE, "shop"),
    "acme": Holder("acme", EVERY_SCOPE, "acme"),
    "sales": Holder("sales", EVERY_SCOPE, "sales"),
    "agent": Holder("agent", EVERY_SCOPE, "agent"),
    "callee": Holder("callee", EVERY_SCOPE, "callee"),
}
NL_MOB = "+31612345678"


def routes() -> list[Route]:
    """All routes as data; nothing stands behind their handlers."""
    nothing: Any = None
    return [
        *Decisions(*[nothing] * 5).routes(),
        *Accounts(*[nothing] * 6).routes(),
        *TariffPlans(*[nothing] * 3).routes(),
        *BlockRoutes(*[nothing] * 4).routes(),
        *ExchangeRoutes(*[nothing] * 3).routes(),
        *LimitRoutes(*[nothing] * 4).routes(),
        *ThresholdRoutes(*[nothing] * 4).routes(),
        *Cdrs(*[nothing] * 4).routes(),
        *ServiceRoutes(*[nothing] * 4).routes(),
        *SwitchRoutes(nothing).routes(),
        *Ops(*[nothing] * 7).routes(),
    ]


def hold_to_type(method: str, path: str, status: int, raw: bytes) -> None:
    """Raises where an answer is not what its route says: another type, or a status that it does not name."""
    found = [r for r in routes() if r.method == method and re.fullmatch(re.sub(r"{\w+}", "[^/]+", r.path), path)]
    if not found or status == 500:
        return
    route = found[0]
    as_asked = {200, *route.answered}
    assert status in {*as_asked, *route.codes, *route.implied}, status
    kind: Any = route.answer if status in as_asked else Problem
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        kind.model_validate_json(raw, strict=True)
    elif not isinstance(kind, str):
        msgspec.json.decode(raw, type=kind)


class SetClock:
    """A clock that stands still until it is told."""

    def __init__(self) -> None:
        self.instant = NOW

    def now(self) -> Instant:
        return self.instant

    def pass_s(self, seconds: int) -> None:
        self.instant = self.instant.plus_ms(seconds * 1000)

    async def sleep_ms(self, ms: int) -> None:
        self.instant = self.instant.plus_ms(ms)


class BreakableStore(MemoryStore):
    """A memory store that can be away."""

    away = False

    async def balances(self, root: str, accounts: Sequence[str]) -> list[Any]:
        self._answer()
        return await super().balances(root, accounts)

    async def top_up(self, top_up: TopUp) -> LedgerEntry:
        self._answer()
        return await super().top_up(top_up)

    async def admit(self, take: Any) -> Any:
        self._answer()
        return await super().admit(take)

    def _answer(self) -> None:
        if self.away:
            raise StoreUnavailable("away")


class BreakableChannels(MemoryProviderChannels):
    """The provider's channels, counted by a store that can be away. `asked`: how often."""

    away = False
    asked = 0

    async def take(self, *slots: Any, **how: bool) -> Sequence[int]:
        self.asked += 1
        if self.away:
            raise StoreUnavailable("away")
        return await super().take(*slots, **how)


class FrontDoor:
    """What a test talks to. `ask` sends as the bearer of a token of `BEARERS`."""

    def __init__(self, journal: Journal) -> None:
        self.clock = SetClock()
        self.store = BreakableStore()
        self.definitions = MemoryDefinitions(self.store, self.clock)
        self.tariffs = self.definitions.tariffs
        self.metrics = Metrics()
        self.links = [
            Neighbour(LinkKind.STORE, LinkState("redis", up=True, since_ms=NOW.wall_ms)),
            Neighbour(LinkKind.SWITCH, LinkState("pbx1", up=True, since_ms=NOW.wall_ms)),
            Neighbour(LinkKind.SINK, LinkState("billing", up=True, since_ms=NOW.wall_ms), needed=False),
        ]
        self.feeds = MemoryFeeds(self.store.outbox)
        self.services = MemoryServices()
        self.channels = BreakableChannels()
        self.takes = LimitedTakes(self.store, self.channels)
        self.calls = self.process(journal)
        self.charging = WatchedCharging(self.store, self.store, self.calls.alarms.spent)
        self.misconfigured = ""  # what is wrong with the configuration
        self.site = self._site()
        self.app = self.site.app
        self.url: str | None = None  # of an `HttpServer`, where the fast path is to be taken, too
        self.client: TestClient[web.Request, web.Application] = TestClient(TestServer(self.app))

    def process(self, journal: Journal, *, clock: SetClock | None = None, policy: Policy | None = None) -> CallControl:
        """Call control of one process on this store."""
        return CallControl(
            clock=clock or self.clock,
            tariffs=self.tariffs,
            takes=self.takes,
            sessions=self.store,
            switches={},
            journal=journal,
            observer=self.metrics,
            policy=policy or Policy(),
            wake=lambda _root: None,
        )

    def _site(self) -> Site:
        return make_site(
            calls=self.calls,
            definitions=self.definitions,
            tariffs=self.tariffs,
            books=self.store,
            sessions=self.store,
            feeds=self.feeds,
            services=self.services,
            charging=self.charging,
            channels=self.channels,
            watching=self.store,
            policy=self.calls.policy,
            top_up=self.store.top_up,
            tokens=Tokens(BEARERS.items(), self.clock),
            links=lambda: self.links,
            reload=self._reload,
            metrics=self.metrics,
            clock=self.clock,
            cdr_feed="api",
            feed_names=("api", "billing"),
            switches={"pbx1": object()},
        )

    async def _reload(self) -> Reloaded:
        if self.misconfigured:
            raise ConfigError("callctl.toml", self.misconfigured)
        return Reloaded(added=("pbx2",))

    async def furnish(self) -> None:
        """reseller > middle > shop, and acme on its own; everybody but the roots is prepaid with 10.00."""
        for plan, per_minute in (("carrier", 2), ("wholesale", 4), ("middleman", 6), ("retail", 8)):
            await self.definitions.put_plan(Plan(plan, buy_plan="carrier"))
            await self.definitions.put_rows(plan, [Row("31", "Netherlands", per_minute=per_minute * 1_000_000)])
        for name, parent, plan in (
            ("reseller", None, "wholesale"),
            ("middle", "reseller", "middleman"),
            ("shop", "middle", "retail"),
            ("acme", None, "retail"),
        ):
            await self.definitions.put_account(Account(name, Kind.PREPAID, plan, parent))
            root = self.tariffs.directory.chain(name)[-1].id
            await self.store.top_up(TopUp(name, root, "opening", 10_000_000, NOW.wall_ms))

    async def ask(self, method: str, path: str, bearer: str | None = "ops", **more: Any) -> ClientResponse:
        headers = more.pop("headers", {})
        if bearer is not None:
            headers = {"Authorization": f"Bearer {bearer}", **headers}
        if self.url is None:
            return await self.client.request(method, path, headers=headers, **more)
        async with ClientSession(self.url) as session:  # a connection of its own: it begins on the fast path
            response = await session.request(method, path, headers=headers, **more)
            await response.read()
            return response

    async def json(self, method: str, path: str, bearer: str | None = "ops", *, status: int = 200, **more: Any) -> Any:
        """The answer, held to its type in the routes."""
        response = await self.ask(method, path, bearer, **more)
        raw = await response.read()
        assert response.status == status, raw
        hold_to_type(method, path.partition("?")[0], status, raw)
        return msgspec.json.decode(raw)

    async def refused(
        self, status: int, method: str, path: str, bearer: str | None = "ops", **more: Any
    ) -> dict[str, Any]:
        """The error of a request that must be answered with `status`."""
        answer = await self.json(method, path, bearer, status=status, **more)
        error: dict[str, Any] = answer["error"]
        assert set(answer) == {"error"}
        assert set(error) <= {"code", "message", "field", "details"}
        assert error["code"]
        assert error["message"]
        return error

    async def call(self, call_id: str, account: str = "acme", *, seconds: int = 60, bearer: str = "ops") -> Any:
        """A whole call: what its end answered."""
        body = {"call_id": call_id, "from": "+31201234567", "to": NL_MOB, "account": account}
        decision = await self.json("POST", "/v1/calls", bearer, json=body)
        assert decision["verdict"] == "allowed", decision
        await self.json("POST", f"/v1/calls/{call_id}/answer", bearer)
        self.clock.pass_s(seconds)
        return await self.json("POST", f"/v1/calls/{call_id}/end", bearer, json={"q850": 16, "released_by": "caller"})

    async def deliver(self) -> None:
        """What was written to the outboxes goes into the feed behind GET /v1/cdrs; affiliates get their shares."""
        shares = Shares(takes=self.store, tariffs=self.tariffs, clock=self.clock)
        await self.feeds.move("api", list(self.store.outbox), 1000, shares.credit)
