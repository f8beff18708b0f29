"""A run: people call, things go wrong, callctl lives and dies, all is healed and comes to rest, the auditor looks."""

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random
from typing import Any

import structlog
from structlog.types import EventDict

from callctl.accounts import Account, WarnTo
from callctl.call.events import CallEvent, CallKey, HangUpAsked, Offered
from callctl.call.session import Session
from callctl.call.takes import Settlement
from callctl.clock import Instant
from callctl.errors import PortError, UnknownCall
from callctl.limits.ids import Alert, Seen
from callctl.ports import Calls
from callctl.store.memory.feeds import MemoryFeeds
from callctl.store.memory.store import MemoryStore
from tests.simulation.auditor import Auditor
from tests.simulation.client import Client, Unanswered
from tests.simulation.clock import VirtualLoop, WallClock
from tests.simulation.faults import Faults
from tests.simulation.life import Life, track_tasks
from tests.simulation.market import TRUNK, Market
from tests.simulation.store import Archive, FaultyFeeds, FaultyStore
from tests.simulation.story import Story, TrueCall
from tests.simulation.switch import FakeSwitch, Script
from tests.simulation.troubles import Troubles

BUSY_MS = 300_000  # people begin calls for so long
CALM_MS = 150_000  # after everything works again: leases have lapsed, lists were compared
REST_MS = 1_500_000  # by then the longest call is over and settled
PATIENCE_MS = 3_000
HTTP = "http"
EMERGENCY = "112"


class Uncounted:
    """An `Observer` who minds nothing."""

    def decided(self, session: Session, took_s: float) -> None: ...
    def answered(self, session: Session) -> None: ...
    def warned(self, session: Session, left_s: int, to: WarnTo) -> None: ...
    def settled(self, settlement: Settlement) -> None: ...
    def alerted(self, session: Session, seen: Seen, alert: Alert) -> None: ...
    def low(self, session: Session | None, account: Account, left: int, threshold: int) -> None: ...
    def unexpected(self, state: str, event: str) -> None: ...
    def overflowed(self, queue: str) -> None: ...
    def not_enforced(self, check: str) -> None: ...


class World:
    """Everything of a run. `store`: a test may put one in that is wrong."""

    def __init__(
        self, seed: int, folder: Path, *, faults: Faults | None = None, store: MemoryStore | None = None
    ) -> None:
        rng = Random(seed)
        self.faults = Faults.drawn(rng) if faults is None else faults
        self.seed = seed
        self._rng = rng
        self._journal = folder / "journal"
        self.calls: dict[CallKey, TrueCall] = {}
        self.lives = 0
        self.life: Life | None = None
        self.boots = Random(f"boots {seed}").random() < 0.5  # with every life, its machine
        self._playing: set[asyncio.Task[None]] = set()
        self._store = MemoryStore() if store is None else store
        self.loop: VirtualLoop
        self.before: Callable[[World], None] = lambda world: None  # a test may break something

    def run(self) -> list[str]:
        """The auditor's objections; none for a sound run."""
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            loop = runner.get_loop()
            assert isinstance(loop, VirtualLoop)
            self.loop = loop
            track_tasks(loop)
            before = structlog.get_config()
            try:
                runner.run(self._run())
            finally:
                structlog.configure(**before)
        return self.auditor.objections

    def _build(self) -> None:
        rng, loop = self._rng, self.loop
        self.story = Story(loop)
        structlog.configure(processors=[self._log], cache_logger_on_first_use=False)
        loop.set_exception_handler(lambda _, context: self.auditor.object(f"loop: {context}"))
        self.story.tell("seed", self.seed, self.faults)
        watched = Random(f"thresholds {self.seed}")
        self.market = Market(loop, rng, self._store, self.story, watched if watched.random() < 0.6 else None)
        self.auditor = Auditor(loop, self.story, self.market, self._store, self.calls, boots=self.boots)
        self.auditor.thresholds.all_heard = self.faults == Faults(reloads=self.faults.reloads)
        self.store = FaultyStore(self._store, loop, Random(rng.random()), self.faults, self.story, self.auditor)
        self.store.kills = lambda: self.kill_and_restart(rng.choice([300, 3_000, 20_000]))
        self.feeds = FaultyFeeds(MemoryFeeds(self._store.outbox), self.store, Random(rng.random()), self.faults)
        self.archive = Archive(Random(rng.random()), self.faults)
        self.wall = WallClock(loop)
        self.switches = {name: self._switch(name) for name in ("pbx1", "pbx2")}
        self.client = Client(
            loop, Random(rng.random()), self.faults, self.story, WallClock(loop, 700), self._ask, self._places_at
        )
        self.client.accepted = self._accepted
        self.client.wrong = self.auditor.object
        loop.earliest = lambda: self.life.next_ms() if self.life is not None else None
        loop.due = lambda: self.life.turn() if self.life is not None else None
        self.troubles = Troubles(self, rng)
        self.before(self)

    def _switch(self, name: str) -> FakeSwitch:
        rng = self._rng
        wall = WallClock(self.loop, rng.choice([0, 3_000, -90_000]))
        stated, frank = rng.random() < 0.7, rng.random() < 0.7
        switch = FakeSwitch(
            name, self.loop, Random(rng.random()), self.faults, self.story, wall, stated=stated, frank=frank
        )
        switch.hears = self._hear
        switch.places = self._places
        switch.listening = lambda: self.life is not None and self.life.ready
        return switch

    # ---- what everybody hears of everybody

    def _log(self, _: Any, method: str, event: EventDict) -> str:
        said = " ".join(f"{key}={value}" for key, value in event.items() if key != "event")
        self.story.tell("callctl:", event["event"], said)
        if method == "exception" or event["event"] == "feed_broken":
            self.auditor.object(f"callctl logged {event}")
        raise structlog.DropEvent

    def _places(self, virtual_ms: int) -> Instant | None:
        return self.life.clock.at(virtual_ms) if self.life is not None and self.life.ready else None

    def _places_at(self, virtual_ms: int, wall_ms: int) -> Instant | None:
        return self.life.clock.at(virtual_ms, wall_ms) if self.life is not None else None

    def _hear(self, event: CallEvent, call: TrueCall) -> None:
        assert self.life is not None
        self.story.tell("callctl hears", type(event).__name__, event.call.call_id)
        self.auditor.told(event, call, self.life.number)
        self.life.hear(event)

    def _accepted(self, event: CallEvent, call: TrueCall) -> None:
        if self.life is not None:
            self.auditor.told(event, call, self.life.number)

    async def _ask(self, question: Callable[[Calls], Awaitable[Session]]) -> Session:
        life = self.life
        if life is None or not life.ready:
            raise Unanswered

        async def asking() -> Session:
            return await question(life.calls)

        task = life.spawn(asking())
        await asyncio.wait({task}, timeout=PATIENCE_MS / 1000)
        if not task.done() or task.cancelled():
            task.cancel()
            raise Unanswered
        return task.result()

    # ---- the course of a run

    async def _run(self) -> None:
        self._build()
        await self._live()
        for _ in range(self._rng.randint(10, 40)):
            self.loop.after_ms(self._rng.randint(0, BUSY_MS), self._someone_calls)
        self.troubles.plan(BUSY_MS)
        await asyncio.sleep(BUSY_MS / 1000)
        await self._heal()
        await asyncio.sleep(CALM_MS / 1000)
        self.auditor.look_at_counters()
        await self._come_to_rest()
        assert self.life is not None
        pending = self.life.journal.pending
        self.auditor.close(self.archive.records, pending)
        for task in self._playing:
            task.cancel()
        self._kill()

    async def _live(self) -> None:
        self.lives += 1
        self.auditor.started()
        self.story.tell("callctl starts, life", self.lives)
        self.life = Life(
            self.lives,
            self.lives if self.boots else 0,
            loop=self.loop,
            wall=self.wall,
            journal=self._journal,
            store=self.store,
            feeds=self.feeds,
            sink=self.archive,
            tariffs=self.market.registry,
            switches=self.switches,
            roots=lambda: self.market.roots,
            observer=Uncounted(),
            wrong=self.auditor.object,
        )
        self.life.spawn(self.life.start())

    def _kill(self) -> None:
        if self.life is None:
            return
        self.story.tell("callctl is killed")
        life, self.life = self.life, None
        self.auditor.killed(life.number, life.kill())
        if self._rng.random() < 0.3:
            with self._journal.open("ab") as torn:
                torn.write(b"0123456789abcdef c2hvcnQ")

    def kill_and_restart(self, down_ms: int) -> None:
        if self.life is not None:
            self._kill()
            self.loop.after_ms(down_ms, self._restart)

    def _restart(self) -> None:
        if self.life is None:
            task = asyncio.ensure_future(self._live())
            self._playing.add(task)

    def _someone_calls(self) -> None:
        rng = self._rng
        number = len(self.calls) + 1
        switch = self.switches[rng.choice(sorted(self.switches))] if rng.random() < 0.75 else None
        key = CallKey(switch.name if switch else HTTP, f"c{number}")
        roll = rng.random()
        dialled = EMERGENCY if roll < 0.08 else "999" if roll < 0.11 else "0612345678"
        account = rng.choice([*self.market.customers, *([None] if rng.random() < 0.1 else [])])
        trunk = TRUNK if account == self.market.customers[0] and rng.random() < 0.5 else None
        stated = switch.stated if switch is not None else True
        call = self.calls[key] = TrueCall(key, account, dialled, switch is not None, stated)
        call.emergency = dialled == EMERGENCY and account is not None
        if account is None and dialled == EMERGENCY:
            call.emergency = True
        fate = rng.random()
        ring_ms = rng.randint(100, 2_000)
        answer_ms = ring_ms + rng.choice([50, 3_000, 20_000, 40_000]) if fate < 0.8 else None
        talk_ms = int(rng.choice([800, 5_000, 12_000, 45_000, 120_000, 300_000]) * rng.uniform(0.5, 1.5))
        give_up_ms = rng.choice([500, 8_000, 30_000, 90_000])
        if answer_ms is not None:
            give_up_ms = max(give_up_ms, answer_ms + 5_000)
        script = Script(ring_ms, answer_ms, give_up_ms, talk_ms)
        can_extend = switch is not None or rng.random() < 0.5

        def offered(at: Instant) -> Offered:
            return Offered(
                key,
                at,
                "+31201234567",
                dialled,
                account=account,
                trunk=trunk,
                can_extend=can_extend,
                attended=switch is not None,
                fingerprint="" if switch is not None else "as it was",
            )

        if switch is not None:
            switch.offer(call, script, offered)
        else:
            self._play(self.client.play(call, script, offered))
        if rng.random() < 0.05:
            self.loop.after_ms(rng.randint(1_000, 60_000), lambda: self._play(self._operator_hangs_up(call)))

    def _play(self, scene: Any) -> None:
        self._playing.add(asyncio.ensure_future(scene))

    async def _operator_hangs_up(self, call: TrueCall) -> None:
        self.story.tell("operator hangs up", call.key.call_id)
        call.hang_up_asked = True
        call.harmed.add("hung up by the operator")
        try:
            await self._ask(lambda calls: calls.report(HangUpAsked(call.key)))
        except (Unanswered, PortError, UnknownCall):
            self.story.tell("operator: no")

    # ---- the end

    async def _heal(self) -> None:
        self.story.tell("everything works again")
        self.store.away = False
        self.store.healed = self.archive.healed = self.client.healed = True
        for switch in self.switches.values():
            switch.healed = True
            if switch.frozen:
                switch.thaw()
            if not switch.linked:
                self.troubles.relink(switch)
        if self.life is None:
            await self._live()

    async def _come_to_rest(self) -> None:
        until_ms = self.loop.now_ms + REST_MS
        while self.loop.now_ms < until_ms and not self._at_rest():  # noqa: ASYNC110  time is virtual
            await asyncio.sleep(20)
        await asyncio.sleep(20)

    def _at_rest(self) -> bool:
        assert self.life is not None
        quiet = not any(call.alive for call in self.calls.values()) and not self.life.journal.pending
        return quiet and not self.life.calls.live() and not self.auditor.open


def simulate(seed: int, prepare: Callable[[World], None] = lambda world: None, **other: Any) -> World:
    """Run one seed to its end."""
    with tempfile.TemporaryDirectory() as folder:
        world = World(seed, Path(folder), **other)
        world.before = prepare
        world.run()
        return world
