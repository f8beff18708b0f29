"""Everything wired together, in one place: what a running callctl consists of, and the order of its life."""

import asyncio
import contextlib
import gc
import signal
from collections.abc import AsyncIterator, Callable, Sequence

import structlog
from msgspec.structs import asdict

from callctl.call.admission import NOBODY
from callctl.call.session import Session
from callctl.clock import SystemClock
from callctl.control.audience import Audience
from callctl.control.calls import CallControl
from callctl.control.charges import Charges
from callctl.control.licences import Licences
from callctl.control.outbox import Outbox
from callctl.control.provider import LimitedTakes
from callctl.control.purchases import WatchedCharging
from callctl.control.reconciler import Reconciler
from callctl.control.shares import Shares
from callctl.control.switchboard import Switchboard
from callctl.errors import CallctlError, ConfigError, StoreUnavailable
from callctl.http.app import make_site
from callctl.http.links import LinkKind, Neighbour
from callctl.http.metrics import Metrics
from callctl.http.server import HttpServer
from callctl.http.switches import Reloaded
from callctl.numbering import warm_up
from callctl.ports import ARCHIVE, Clock, LinkState, Report, SwitchAdapter
from callctl.settings import Settings, Switch
from callctl.settings.difference import difference
from callctl.store.address import parse_address
from callctl.store.definitions import RedisDefinitions
from callctl.store.embedded import EmbeddedRedis
from callctl.store.feeds import RedisFeeds
from callctl.store.follower import Follower
from callctl.store.link import Link, LinkTimes
from callctl.store.provider import RedisProviderChannels
from callctl.store.redis import RedisStore
from callctl.store.services import RedisServices
from callctl.wiring import events_of, journal_of, leaving_by, policy_of, server_tls, sink_of, switch_of, tokens_of

log = structlog.get_logger(__name__)

WAIT_FOR_STORE_MS = 2_000
LEARNING_APART_MS = 20  # a decision gives way several times, and each time would wait for another country


class App:
    """A running callctl. `port`: where the API listens; `work`: the tasks, which end only by failing.

    `read` reads the configuration again; ConfigError where it is wrong now.
    """

    port: int
    work: asyncio.Task[None]

    def __init__(self, settings: Settings, redis_url: str, read: Callable[[], Settings]) -> None:
        self.settings = settings
        self._read = read
        self._reloading = asyncio.Lock()
        self.clock = SystemClock()
        self.link = Link(
            parse_address(redis_url), times=LinkTimes(call_ms=settings.policy.redis_deadline_ms), clock=self.clock
        )
        self.store = RedisStore(self.link)
        self.follower = Follower(self.link, self.clock, self._topped_up, self._tripped, self._lost_some)
        self.definitions = RedisDefinitions(self.link, self.store, self.follower, self.clock)
        self.feeds = RedisFeeds(self.link)
        self.services = RedisServices(self.link)
        self.metrics = Metrics()
        self.switches = Switchboard([self._switch(table) for table in settings.switch], self.clock)
        self.sinks = [sink_of(sink, self.clock) for sink in settings.sink]
        self.events = events_of(settings, self.clock)
        self.observer = Audience([self.metrics, *self.events])
        self.journal = journal_of(settings)
        self.shares = Shares(takes=self.store, tariffs=self.follower.tariffs, clock=self.clock)
        self.outbox = Outbox(
            feeds=self.feeds,
            sinks=self.sinks,
            archives=(ARCHIVE,),
            roots=self.roots,
            clock=self.clock,
            credit=self.shares.credit,
        )
        self.channels = RedisProviderChannels(self.link)
        self.takes = LimitedTakes(self.store, self.channels)
        self.calls = CallControl(
            clock=self.clock,
            tariffs=self.follower.tariffs,
            takes=self.takes,
            sessions=self.store,
            switches=self.switches,
            journal=self.journal,
            observer=self.observer,
            policy=policy_of(settings),
            wake=self.outbox.wake,
        )
        self.reconciler = self._reconciler()
        self.charging = WatchedCharging(self.store, self.store, self.calls.alarms.spent)
        self.charges = Charges(
            clock=self.clock,
            tariffs=self.follower.tariffs,
            services=self.services,
            charging=self.charging,
            wake=self.outbox.wake,
        )
        self.licences = Licences(self.switches, self.definitions, self.follower.tariffs, self.clock)
        self.http = self._front_door()

    def _reconciler(self) -> Reconciler:
        return Reconciler(
            clock=self.clock,
            calls=self.calls,
            switches=self.switches,
            takes=self.takes,
            sessions=self.store,
            journal=self.journal,
            observer=self.observer,
            policy=self.calls.policy,
            roots=self.roots,
        )

    def _front_door(self) -> HttpServer:
        return HttpServer(
            make_site(
                calls=self.calls,
                definitions=self.definitions,
                tariffs=self.follower.tariffs,
                books=self.store,
                sessions=self.store,
                feeds=self.feeds,
                services=self.services,
                charging=self.charging,
                channels=self.channels,
                watching=self.store,
                policy=self.calls.policy,
                top_up=self.store.top_up,
                tokens=tokens_of(self.settings, self.clock),
                links=self.neighbours,
                reload=self.reload,
                metrics=self.metrics,
                clock=self.clock,
                cdr_feed=ARCHIVE,
                feed_names=(ARCHIVE, *(sink.name for sink in self.sinks)),
                switches=self.switches,
            ),
            self.settings.http.host,
            self.settings.http.port,
            refused=lambda: self.metrics.overflowed("connections"),
            tls=server_tls(self.settings),
        )

    def _switch(self, table: Switch) -> SwitchAdapter:
        return switch_of(table, self.clock, self._trunks_on(table.name), self._calls_on(table.name))

    def _trunks_on(self, switch: str) -> Callable[[str], bool]:
        """Whether an endpoint of this switch is a trunk that we know."""

        def is_trunk(endpoint: str) -> bool:
            trunk = self.follower.tariffs.trunks.get(endpoint)
            return trunk is not None and trunk.is_on(switch)

        return is_trunk

    def _calls_on(self, switch: str) -> Callable[[], Sequence[Session]]:
        """The calls that are up on this switch, as far as we know."""
        return lambda: [it for it in self.calls.live() if it.call.switch == switch]

    def _topped_up(self, account: str) -> None:
        self.calls.topped_up(account)

    def _tripped(self, account: str) -> None:
        self.calls.tripped(account)

    def _lost_some(self) -> None:
        self.calls.take_anew()
        self.charges.hurry()

    def roots(self) -> Sequence[str]:
        """Where calls and records may be: at every root account, and at that of attempts by nobody we know."""
        return [NOBODY, *self.follower.tariffs.directory.all_roots()]

    def neighbours(self) -> Sequence[Neighbour]:
        switches = [
            Neighbour(LinkKind.SWITCH, it.state(), counts=asdict(it.counts), capabilities=it.capabilities)
            for it in self.switches.values()
        ]
        sinks = [Neighbour(LinkKind.SINK, state, needed=False) for state in self.outbox.states()]
        events = [Neighbour(LinkKind.EVENTS, it.state(), needed=False, counts=asdict(it.counts)) for it in self.events]
        store = self.link.state()
        if store.up and not self.follower.tariffs.known:
            store = LinkState(store.name, up=False, since_ms=store.since_ms, detail="the definitions are being read")
        return [Neighbour(LinkKind.STORE, store, counts=asdict(self.link.counts)), *switches, *sinks, *events]

    async def start(self) -> None:
        """Read definitions, take up live calls, open the door.

        Without a store that answers it waits for one, behind an open door: for emergency calls, and for calls that
        were admitted before and end now.
        """
        door = None
        while True:
            try:
                await self.link.open()
                await self.definitions.recover()
                await self.reconciler.recover()
                break
            except StoreUnavailable as error:
                log.error("waiting_for_the_store", error=str(error))
                door = door or await self._open_door()
                await self.clock.sleep_ms(WAIT_FOR_STORE_MS)
        self.port = door or await self._open_door()
        self.work = asyncio.create_task(self._run())

    async def _open_door(self) -> int:
        """Its port."""
        try:
            return await self.http.start()
        except OSError as failed:
            where = f"{self.settings.http.host}:{self.settings.http.port}"
            raise CallctlError(f"cannot listen on {where}: {failed.strerror or failed}") from failed

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(_learn_numbers(self.clock))
            group.create_task(self.follower.follow())
            group.create_task(self.definitions.keep())
            group.create_task(self.calls.deadlines.run())
            group.create_task(self.reconciler.run())
            group.create_task(self.outbox.run())
            for events in self.events:
                group.create_task(events.run())
            group.create_task(self.charges.run())
            group.create_task(self.licences.run())
            group.create_task(self.switches.run(self._report, self._relinked))

    def _report(self, name: str) -> Report:
        """Where a switch hands its events over."""
        carrier = next(table.carrier for table in self.settings.switch if table.name == name)
        return leaving_by(carrier, self.calls.receive)

    async def _relinked(self, name: str) -> None:
        """A switch's link is up (again): see what became of its calls meanwhile."""
        await asyncio.gather(self.reconciler.compare(name), self.licences.ask(name))

    async def reload(self) -> Reloaded:
        """Read the configuration again and go by its [[switch]] tables. ConfigError: it is wrong, nothing was changed.

        A call of a switch that is gone stays with that switch's own timer; its lease settles it. Calls of a switch that
        is linked anew go on.
        """
        async with self._reloading:
            try:
                settings = await asyncio.to_thread(self._read)
                found = difference(self.settings, settings)
                coming = [self._switch(table) for table in (*found.added, *found.changed)]
            except ConfigError as wrong:
                log.error("configuration_refused", error=str(wrong))
                raise
            self.settings = self.settings.model_copy(update={"switch": settings.switch})
            await self.switches.change(coming, found.removed)
            for name in found.removed:
                self.calls.let_go(name)
        added, changed = (tuple(table.name for table in tables) for tables in (found.added, found.changed))
        log.info("configuration_read", added=added, removed=found.removed, changed=changed)
        if found.others:
            log.warning("restart_needed", keys=found.others)
        return Reloaded(added, found.removed, changed, found.others)

    async def stop(self) -> None:
        """Close the door, let what is under way come back, and leave running calls to the switches' timers."""
        await self.http.stop()
        self.work.cancel()
        await asyncio.wait({self.work})
        await self.calls.performer.drain()
        await self.link.close()
        self.journal.close()


@contextlib.asynccontextmanager
async def running(settings: Settings, read: Callable[[], Settings] | None = None) -> AsyncIterator[App]:
    """A started App, on the configured Redis or on the embedded one. Without `read` its settings stay."""
    async with contextlib.AsyncExitStack() as stack:
        if settings.redis.url is not None:
            url = settings.redis.url.get_secret_value()
        else:
            url = await stack.enter_async_context(EmbeddedRedis(settings.redis.data_dir, SystemClock()))
        app = App(settings, url, read or (lambda: settings))
        spare_the_garbage_collector()  # which would go through 50,000 accounts again and again while they are read
        await app.start()
        spare_the_garbage_collector()
        try:
            yield app
        finally:
            await app.stop()


async def serve(settings: Settings, read: Callable[[], Settings]) -> None:
    """Run until SIGINT or SIGTERM, which also end a start that waits; SIGHUP has `read` read the settings again.

    ConfigError where the start is wrong.
    """
    serving = asyncio.create_task(_serve(settings, read))

    def stop() -> None:
        if not serving.cancelling():  # a second signal does not break off what the first began
            serving.cancel()

    for signal_ in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(signal_, stop)
    await asyncio.wait({serving})
    if not serving.cancelled():
        serving.result()


async def _serve(settings: Settings, read: Callable[[], Settings]) -> None:
    loop, reloads = asyncio.get_running_loop(), set[asyncio.Task[None]]()
    loop.add_signal_handler(signal.SIGHUP, lambda: log.warning("not_reloaded", why="callctl is still starting"))
    async with running(settings, read) as app:

        def reload() -> None:
            reloads.add(task := loop.create_task(_reload(app)))
            task.add_done_callback(reloads.discard)

        loop.add_signal_handler(signal.SIGHUP, reload)
        log.info("running", http=f"{settings.http.host}:{app.port}", switches=list(app.switches))
        await asyncio.wait({app.work})  # which is left to `stop` when this is cancelled
        app.work.result()


async def _reload(app: App) -> None:
    with contextlib.suppress(ConfigError):  # which is in the log
        await app.reload()


def spare_the_garbage_collector() -> None:
    """What a start leaves stays, and calls leave no cycles: looking for some with every few calls costs a tenth."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)  # objects beyond those given up: Python's own 700 are two or three calls


async def _learn_numbers(clock: Clock) -> None:
    """Compile the numbering plans of all countries, that no first call waits for its own, nor for one after another."""
    for _ in warm_up():
        await clock.sleep_ms(LEARNING_APART_MS)
