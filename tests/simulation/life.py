"""One life of callctl: the real control room, wired as `app.py` does it, killed without a word."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextvars import Context, ContextVar, copy_context
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from callctl.call.events import CallEvent
from callctl.call.session import Session
from callctl.control.calls import CallControl
from callctl.control.journal import Journal
from callctl.control.outbox import Outbox
from callctl.control.provider import LimitedTakes
from callctl.control.reconciler import Reconciler
from callctl.errors import CallConflict, PortError, UnknownCall
from callctl.ports import CdrSink, Feeds, Observer, Switch, Tariffs
from tests.simulation.clock import SimClock, VirtualLoop, WallClock
from tests.simulation.policy import POLICY
from tests.simulation.store import FaultyStore

ARCHIVE = "api"
RESTART_MS = 2_000
BOOTS_APART_MS = 50_000_000
_life: ContextVar["Life | None"] = ContextVar("life", default=None)


def track_tasks(loop: VirtualLoop) -> None:
    """Every task belongs to the life in whose context it was made, and dies with it."""

    def make(loop: asyncio.AbstractEventLoop, coro: Any, context: Context | None = None) -> "asyncio.Task[Any]":
        context = copy_context() if context is None else context
        task = asyncio.Task(coro, loop=loop, context=context)
        life = context.get(_life)
        if life is not None:
            life.tasks.add(task)
            task.add_done_callback(life.done)
        return task

    loop.set_task_factory(make)


class Life:
    """`number` counts the lives. Those of one `boot` of the machine have its monotonic clock in common."""

    def __init__(
        self,
        number: int,
        boot: int,
        *,
        loop: VirtualLoop,
        wall: WallClock,
        journal: Path,
        store: FaultyStore,
        feeds: Feeds,
        sink: CdrSink,
        tariffs: Tariffs,
        switches: Mapping[str, Switch],
        roots: Callable[[], Sequence[str]],
        observer: Observer,
        wrong: Callable[[str], None],
    ) -> None:
        self.number = number
        self.alive = True
        self.ready = False
        self.tasks: set[asyncio.Task[Any]] = set()
        self._wrong = wrong
        self.clock = SimClock(loop, wall, boot * BOOTS_APART_MS)
        self.journal = Journal(journal)
        self.outbox = Outbox(feeds=feeds, sinks=[sink], archives=(ARCHIVE,), roots=roots, clock=self.clock)
        takes, policy = LimitedTakes(store, store.channels), replace(POLICY, clock=f"boot {boot}.life {number}")
        self.calls = CallControl(
            clock=self.clock,
            tariffs=tariffs,
            takes=takes,
            sessions=store,
            switches=switches,
            journal=self.journal,
            observer=observer,
            policy=policy,
            wake=self.outbox.wake,
        )
        self.reconciler = Reconciler(
            clock=self.clock,
            calls=self.calls,
            switches=switches,
            takes=takes,
            sessions=store,
            journal=self.journal,
            observer=observer,
            policy=policy,
            roots=roots,
        )
        self._context = copy_context()
        self._context.run(_life.set, self)

    async def start(self) -> None:
        """As `App.start`: nothing is heard before the calls that the store remembers are taken up."""
        while True:
            try:
                await self.reconciler.recover()
                break
            except PortError:
                await self.clock.sleep_ms(RESTART_MS)
        self.ready = True
        self.spawn(self.reconciler.run())
        self.spawn(self.outbox.run())
        for name in self.reconciler._switches:
            self.relinked(name)

    def spawn(self, work: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        return asyncio.get_running_loop().create_task(work, context=self._context)

    def hear(self, event: CallEvent) -> None:
        self._context.run(self.calls.receive, event)

    def turn(self) -> None:
        """The deadlines that are due, as `Deadlines.run` would."""
        if self.alive:
            self._context.run(self.calls.deadlines.turn)

    def next_ms(self) -> int | None:
        """The virtual moment of the next deadline."""
        at_ms = self.calls.deadlines.next_ms() if self.alive else None
        return None if at_ms is None else self.clock.virtual_ms(at_ms)

    def relinked(self, name: str) -> None:
        if self.alive and self.ready:
            self.spawn(self.reconciler.compare(name))

    def topped_up(self, account: str) -> None:
        self._context.run(self.calls.topped_up, account)

    def kill(self) -> dict[str, Session]:
        """Nothing of it runs any more. Answers what its journal has on the disk."""
        self.alive = False
        self.journal.close()
        for task in list(self.tasks):
            task.cancel()
        return dict(self.journal.pending)

    def done(self, task: "asyncio.Task[Any]") -> None:
        self.tasks.discard(task)
        if not task.cancelled() and self.alive:
            error = task.exception()
            if error is not None and not isinstance(error, PortError | CallConflict | UnknownCall):
                self._wrong(f"callctl broke: {type(error).__name__}: {error}")
