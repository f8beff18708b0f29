"""Everything wired together, in one place: what a running callctl consists of, and the order of its life."""

import asyncio
import contextlib
import gc
import signal
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import structlog
from msgspec.structs import asdict

from callctl.adapters.asterisk.switch import AsteriskSwitch, Contexts
from callctl.call.admission import NOBODY, Policy
from callctl.clock import SystemClock, give_way
from callctl.control.calls import CallControl
from callctl.control.charges import Charges
from callctl.control.journal import Journal
from callctl.control.outbox import Outbox
from callctl.control.reconciler import Reconciler
from callctl.control.shares import Shares
from callctl.errors import CallctlError, ConfigError, StoreUnavailable
from callctl.http.app import make_site
from callctl.http.auth import Holder, Scope, Tokens
from callctl.http.links import LinkKind, Neighbour
from callctl.http.metrics import Metrics
from callctl.http.server import HttpServer
from callctl.numbering import warm_up
from callctl.ports import ARCHIVE, CdrSink
from callctl.settings import AsteriskSwitch as AsteriskSettings
from callctl.settings import FileSink as FileSettings
from callctl.settings import MqttSink as MqttSettings
from callctl.settings import Settings
from callctl.sinks.file import FileSink
from callctl.sinks.lines import Csv, JsonLines
from callctl.sinks.mqtt import MqttSink
from callctl.store.address import parse_address
from callctl.store.definitions import RedisDefinitions
from callctl.store.embedded import EmbeddedRedis
from callctl.store.feeds import RedisFeeds
from callctl.store.follower import Follower
from callctl.store.link import Link, LinkTimes
from callctl.store.redis import RedisStore
from callctl.store.services import RedisServices

log = structlog.get_logger(__name__)

WAIT_FOR_STORE_MS = 2_000
COLLECT_EVERY = 20_000  # objects made beyond those given up; Python's own 700 are two or three calls


class App:
    """A running callctl. `port`: where the API listens; `work`: the tasks, which end only by failing."""

    port: int
    work: asyncio.Task[None]

    def __init__(self, settings: Settings, redis_url: str) -> None:
        self.settings = settings
        self.clock = SystemClock()
        self.link = Link(
            parse_address(redis_url), times=LinkTimes(call_ms=settings.policy.redis_deadline_ms), clock=self.clock
        )
        self.store = RedisStore(self.link)
        self.follower = Follower(self.link, self.clock, self._topped_up)
        self.definitions = RedisDefinitions(self.link, self.store, self.follower, self.clock)
        self.feeds = RedisFeeds(self.link)
        self.services = RedisServices(self.link)
        self.metrics = Metrics()
        self.switches = {it.name: _switch(it, self.clock, self._trunks_on(it.name)) for it in settings.switch}
        self.sinks = [_sink(sink, self.clock) for sink in settings.sink]
        self.journal = _journal(settings)
        self.shares = Shares(takes=self.store, tariffs=self.follower.tariffs, clock=self.clock)
        self.outbox = Outbox(
            feeds=self.feeds,
            sinks=self.sinks,
            archives=(ARCHIVE,),
            roots=self.roots,
            clock=self.clock,
            credit=self.shares.credit,
        )
        self.calls = CallControl(
            clock=self.clock,
            tariffs=self.follower.tariffs,
            takes=self.store,
            sessions=self.store,
            switches=self.switches,
            journal=self.journal,
            observer=self.metrics,
            policy=_policy(settings),
            wake=self.outbox.wake,
        )
        self.reconciler = Reconciler(
            clock=self.clock,
            calls=self.calls,
            switches=self.switches,
            takes=self.store,
            sessions=self.store,
            journal=self.journal,
            policy=self.calls.policy,
            roots=self.roots,
        )
        self.charges = Charges(
            clock=self.clock,
            tariffs=self.follower.tariffs,
            services=self.services,
            charging=self.store,
            wake=self.outbox.wake,
        )
        self.http = self._front_door()

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
                charging=self.store,
                top_up=self.store.top_up,
                tokens=_tokens(self.settings, self.clock),
                links=self.neighbours,
                metrics=self.metrics,
                clock=self.clock,
                cdr_feed=ARCHIVE,
                feed_names=(ARCHIVE, *(sink.name for sink in self.sinks)),
                switches=self.switches.keys(),
            ),
            self.settings.http.host,
            self.settings.http.port,
            refused=lambda: self.metrics.overflowed("connections"),
            tls=_server_tls(self.settings),
        )

    def _trunks_on(self, switch: str) -> Callable[[str], bool]:
        """Whether an endpoint of this switch is a trunk that we know."""

        def is_trunk(endpoint: str) -> bool:
            trunk = self.follower.tariffs.trunks.get(endpoint)
            return trunk is not None and trunk.is_on(switch)

        return is_trunk

    def _topped_up(self, account: str) -> None:
        self.calls.topped_up(account)

    def roots(self) -> Sequence[str]:
        """Every root account, and that of attempts by nobody we know."""
        return [NOBODY, *self.follower.tariffs.directory.roots()]

    def neighbours(self) -> Sequence[Neighbour]:
        switches = [Neighbour(LinkKind.SWITCH, it.state(), counts=asdict(it.counts)) for it in self.switches.values()]
        sinks = [Neighbour(LinkKind.SINK, state, needed=False) for state in self.outbox.states()]
        return [Neighbour(LinkKind.STORE, self.link.state(), counts=asdict(self.link.counts)), *switches, *sinks]

    async def start(self) -> None:
        """Read definitions, take up live calls, open the door. Without a store that answers it waits for one."""
        while True:
            try:
                await self.link.open()
                await self.definitions.recover()
                await self.reconciler.recover()
                break
            except StoreUnavailable as error:
                log.error("waiting_for_the_store", error=str(error))
                await self.clock.sleep_ms(WAIT_FOR_STORE_MS)
        try:
            self.port = await self.http.start()
        except OSError as failed:
            where = f"{self.settings.http.host}:{self.settings.http.port}"
            raise CallctlError(f"cannot listen on {where}: {failed.strerror or failed}") from failed
        self.work = asyncio.create_task(self._run())

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(_learn_numbers())
            group.create_task(self.follower.follow())
            group.create_task(self.calls.deadlines.run())
            group.create_task(self.reconciler.run())
            group.create_task(self.outbox.run())
            group.create_task(self.charges.run())
            for name, switch in self.switches.items():
                group.create_task(switch.run(self.calls.receive, self._relinked(name, group)))

    def _relinked(self, name: str, group: asyncio.TaskGroup) -> Callable[[], None]:
        """What to do when a switch's link is up (again): see what became of its calls meanwhile."""

        def compare() -> None:
            group.create_task(self.reconciler.compare(name))

        return compare

    async def stop(self) -> None:
        """Close the door, let what is under way come back, and leave running calls to the switches' timers."""
        await self.http.stop()
        self.work.cancel()
        await asyncio.wait({self.work})
        await self.calls.performer.drain()
        await self.link.close()
        self.journal.close()


@contextlib.asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[App]:
    """A started App, on the configured Redis or on the embedded one."""
    async with contextlib.AsyncExitStack() as stack:
        if settings.redis.url is not None:
            url = settings.redis.url.get_secret_value()
        else:
            url = await stack.enter_async_context(EmbeddedRedis(settings.redis.data_dir, SystemClock()))
        app = App(settings, url)
        await app.start()
        spare_the_garbage_collector()
        try:
            yield app
        finally:
            await app.stop()


async def serve(settings: Settings) -> None:
    """Run until SIGINT or SIGTERM, which also end a start that waits. ConfigError where the start is wrong."""
    serving = asyncio.create_task(_serve(settings))

    def stop() -> None:
        if not serving.cancelling():  # a second signal does not break off what the first began
            serving.cancel()

    for signal_ in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(signal_, stop)
    await asyncio.wait({serving})
    if not serving.cancelled():
        serving.result()


async def _serve(settings: Settings) -> None:
    async with running(settings) as app:
        log.info("running", http=f"{settings.http.host}:{app.port}", switches=list(app.switches))
        await asyncio.wait({app.work})  # which is left to `stop` when this is cancelled
        app.work.result()


def spare_the_garbage_collector() -> None:
    """What a start leaves stays, and calls leave no cycles: looking for some with every few calls costs a tenth."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_EVERY, 20, 50)


async def _learn_numbers() -> None:
    """Compile the numbering plans of all countries, a few ms at a time, so that no first call waits for its own."""
    for _ in warm_up():
        await give_way()


def _policy(settings: Settings) -> Policy:
    stated = settings.policy
    return Policy(
        budget_ms=stated.budget_ms,
        setup_timeout_s=stated.setup_timeout_s,
        slice_first_s=stated.slice_first_s,
        slice_max_s=stated.slice_max_s,
        longest_unattended_s=stated.longest_unattended_s,
        lease_grace_s=stated.lease_grace_s,
        blind_s=stated.blind_s if stated.postpaid == "admit" else 0,
    )


def _switch(settings: AsteriskSettings, clock: SystemClock, is_trunk: Callable[[str], bool]) -> AsteriskSwitch:
    return AsteriskSwitch(
        name=settings.name,
        host=settings.host,
        port=settings.port,
        username=settings.username,
        secret=settings.secret.get_secret_value(),
        clock=clock,
        announcements=settings.announcements,
        sounds=settings.sounds,
        is_trunk=is_trunk,
        contexts=Contexts(settings.dial_context, settings.refuse_context, settings.announce_context),
        tls=_client_tls(f"switch {settings.name}", settings.tls_ca) if settings.tls else None,
    )


def _sink(settings: FileSettings | MqttSettings, clock: SystemClock) -> CdrSink:
    if isinstance(settings, FileSettings):
        return FileSink(
            settings.name,
            settings.directory,
            Csv() if settings.format == "csv" else JsonLines(),
            rotate_bytes=settings.rotate_mb * 1_000_000,
            rotate_ms=settings.rotate_s * 1000,
            clock=clock,
        )
    return MqttSink(
        settings.name,
        settings.host,
        settings.port,
        topic_prefix=settings.topic_prefix,
        client_id=settings.client_id or f"callctl-{settings.name}",
        username=settings.username,
        password=settings.password.get_secret_value() if settings.password is not None else None,
        tls=_client_tls(f"sink {settings.name}", settings.tls_ca) if settings.tls else None,
    )


def _tokens(settings: Settings, clock: SystemClock) -> Tokens:
    return Tokens(
        (
            (
                token.token.get_secret_value(),
                Holder(token.name, frozenset(Scope(scope) for scope in token.scopes), token.account),
            )
            for token in settings.http.token
        ),
        clock,
    )


def _journal(settings: Settings) -> Journal:
    try:
        return Journal(settings.redis.data_dir / "journal")
    except OSError as failed:
        raise ConfigError("redis.data_dir", f"the journal cannot be kept: {failed}") from failed


def _client_tls(place: str, authorities: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=authorities)
    except OSError as failed:  # SSLError is one
        raise ConfigError(f"{place}.tls_ca", f"{authorities}: {_reason(failed)}") from failed


def _server_tls(settings: Settings) -> ssl.SSLContext | None:
    certificate, key = settings.http.tls_certificate, settings.http.tls_key
    if certificate is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(certificate, key)
    except OSError as failed:
        raise ConfigError("http.tls_certificate", f"{certificate} with tls_key {key}: {_reason(failed)}") from failed
    return context


def _reason(failed: OSError) -> str:
    return "not PEM, or not a pair" if isinstance(failed, ssl.SSLError) else failed.strerror or str(failed)
