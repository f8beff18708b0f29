"""CDRs from the outboxes to the sinks: per feed a loop that moves, delivers, accepts, and minds nobody else.

A sink that is slow or dead holds up only its own feed. What it did not accept stays in the store; a batch whose
acceptance could not be noted comes again. One process at a time runs an `Outbox`.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from itertools import islice

import structlog

from callctl.clock import Instant, first_of
from callctl.errors import SinkUnavailable, StoreUnavailable
from callctl.ports import CdrSink, Clock, Feeds, Hear, LinkState

log = structlog.get_logger(__name__)

BATCH = 200  # records
OUTBOXES_AT_ONCE = 64
POLL_MS = 1_000  # how often a sink is asked to keep house: to finish an old file, to notice a lost broker
SCAN_MS = 5_000  # how often all outboxes are looked at: other processes fill them too
TRIM_MS = 30_000
BACK_OFF_MS = 500  # after a failure, doubled up to the longest
BACK_OFF_MAX_MS = 30_000
STUCK_MS = 30_000  # a delivery that takes longer is a sink that is down


class Outbox:
    """Serves one feed per sink, and `archives`: feeds that are only moved on, because they are read, not delivered.

    `credit` hears of every record before the first of these feeds gets it, and may hear of it again.
    `roots`: the root accounts there are now, and that of attempts by nobody we know.
    """

    def __init__(
        self,
        *,
        feeds: Feeds,
        sinks: Sequence[CdrSink],
        archives: Sequence[str],
        roots: Callable[[], Sequence[str]],
        clock: Clock,
        credit: Hear | None = None,
    ) -> None:
        self._feeds = feeds
        self._roots = roots
        self._clock = clock
        self._lines = [_Line(name, None, clock) for name in archives]
        self._lines += [_Line(sink.name, sink, clock) for sink in sinks]
        for first in self._lines[:1]:
            first.credit = credit

    def wake(self, root: str) -> None:
        """The outbox of `root` has grown: look at it at once."""
        for line in self._lines:
            line.wake((root,))

    def states(self) -> list[LinkState]:
        """Of every sink."""
        return [line.state() for line in self._lines if line.sink is not None]

    async def run(self) -> None:
        """Until it is cancelled; then the sinks are closed."""
        try:
            async with asyncio.TaskGroup() as group:
                for line in self._lines:
                    group.create_task(self._serve(line))
                group.create_task(self._every(SCAN_MS, self._wake))
                group.create_task(self._every(TRIM_MS, self._trim))
        finally:
            await asyncio.gather(*(line.close() for line in self._lines))

    async def _serve(self, line: "_Line") -> None:
        back_off_ms = BACK_OFF_MS
        while True:
            try:
                more = await self._turn(line)
            except StoreUnavailable:
                pass  # told where the store is watched
            except SinkUnavailable as failed:
                line.down(str(failed))
            except Exception as broken:  # our fault, and this feed's alone: the others go on
                log.exception("feed_broken", feed=line.name)
                line.down(f"{type(broken).__name__}: {broken}")
            else:
                line.up()
                back_off_ms = BACK_OFF_MS
                if not more:
                    await line.rest(POLL_MS)
                continue
            await self._clock.sleep_ms(back_off_ms)
            back_off_ms = min(2 * back_off_ms, BACK_OFF_MAX_MS)

    async def _turn(self, line: "_Line") -> bool:
        """One batch at most. False: there is nothing left to do for now."""
        moved = await self._move(line)
        if line.sink is None:
            return moved
        records = await self._feeds.pending(line.name, 0, BATCH)
        line.delivering = self._clock.now()
        try:
            await line.sink.deliver(records)
        finally:
            line.delivering = None
        if records:
            await self._feeds.accepted(line.name, records[-1].sequence)
        return moved or len(records) == BATCH

    async def _move(self, line: "_Line") -> bool:
        """Moves one batch at most; an outbox has no more to give once a move that included it moved nothing."""
        line.woken.clear()
        while roots := list(islice(line.grown, OUTBOXES_AT_ONCE)):
            for root in roots:
                del line.grown[root]
            moved = 1
            try:
                moved = await self._feeds.move(line.name, roots, BATCH, line.credit)
            finally:
                if moved:
                    line.grown.update(dict.fromkeys(roots))
            if moved:
                return True
        return False

    async def _every(self, ms: int, see_to: Callable[[Sequence[str]], Awaitable[None]]) -> None:
        """For ever, see to the outboxes that are not empty: of tens of thousands few have something at a time."""
        while True:
            with contextlib.suppress(StoreUnavailable):  # told where the store is watched
                await see_to(await self._feeds.filled(self._roots()))
            await self._clock.sleep_ms(ms)

    async def _wake(self, roots: Sequence[str]) -> None:
        for line in self._lines:
            line.wake(roots)

    async def _trim(self, roots: Sequence[str]) -> None:
        await self._feeds.trim(roots, [line.name for line in self._lines])


class _Line:
    """One feed, and the sink at its end."""

    def __init__(self, name: str, sink: CdrSink | None, clock: Clock) -> None:
        self.name = name
        self.sink = sink
        self.credit: Hear | None = None
        self.grown: dict[str, None] = {}  # roots in the order in which they are looked at
        self.woken = asyncio.Event()
        self.delivering: Instant | None = None
        self._clock = clock
        self._state = LinkState(name, up=False, since_ms=clock.now().wall_ms, detail="not tried yet")

    def wake(self, roots: Sequence[str]) -> None:
        """These outboxes have something, for us or for another feed."""
        if roots:
            self.grown.update(dict.fromkeys(roots))
            self.woken.set()

    def state(self) -> LinkState:
        if self._state.up and self.delivering is not None:
            silent_ms = self._clock.now().since_ms(self.delivering)
            if silent_ms >= STUCK_MS:
                since_ms = self.delivering.wall_ms
                return LinkState(self.name, up=False, since_ms=since_ms, detail="does not answer a delivery")
        return self._state

    def up(self) -> None:
        if not self._state.up:
            self._state = LinkState(self.name, up=True, since_ms=self._clock.now().wall_ms)
            if self.sink is not None:
                log.info("sink_up", sink=self.name)

    def down(self, detail: str) -> None:
        since_ms = self._clock.now().wall_ms
        if self._state.up or self._state.detail != detail:
            log.warning("sink_down", sink=self.name, detail=detail)
        if not self._state.up:
            since_ms = self._state.since_ms
        self._state = LinkState(self.name, up=False, since_ms=since_ms, detail=detail)

    async def rest(self, ms: int) -> None:
        """Until an outbox has grown, or for this time."""
        await first_of(self.woken.wait(), self._clock.sleep_ms(ms))

    async def close(self) -> None:
        if self.sink is not None:
            try:
                await self.sink.close()
            except SinkUnavailable as failed:
                log.warning("sink_not_closed", sink=self.name, detail=str(failed))
