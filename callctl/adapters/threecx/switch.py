"""A 3CX as a `ports.SwitchAdapter`: its events and snapshots become call events, commands become its actions.

In mode `route_point` callers come to callctl's own route point and are connected from there once they are admitted.
In mode `observe` extensions dial freely: callctl sees a call as it begins and drops what is refused. See
`docs/adapters.md` for what 3CX cannot do in either.
"""

import asyncio
import ssl
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import structlog

from callctl.accounts import WarnTo
from callctl.adapters.threecx.calls import Active, Site, capabilities_of
from callctl.adapters.threecx.checking import Checking
from callctl.adapters.threecx.ending import Ending
from callctl.adapters.threecx.link import LinkCounts, ThreeCxLink, Times
from callctl.adapters.threecx.reading import Reader, read_snapshot
from callctl.adapters.threecx.remembered import Remembered
from callctl.adapters.threecx.routepoint import RoutePoint
from callctl.adapters.threecx.translate import Book, Events
from callctl.adapters.threecx.troubles import Troubles
from callctl.adapters.threecx.wire import Event, Key, Kind
from callctl.adapters.threecx.xapi import Xapi
from callctl.call.events import CallKey, SeenAlive
from callctl.causes import Cause
from callctl.clock import Instant
from callctl.errors import SwitchUnavailable
from callctl.limits.licence import LicenceStatus
from callctl.ports import Clock, LinkState, Report

log = structlog.get_logger(__name__)

MOST_BUFFERED: Final = 10_000


class ThreeCxSwitch:
    """Implements `ports.SwitchAdapter` and `ports.LicenceSource`.

    `announcements`: by the name in `causes.REFUSALS`, and `prompt`: samples as `audio.read_sound` reads them. `xapi`:
    the client may use XAPI too. `checking`: what our calls are compared with. `known`: the calls that control has of
    this switch.
    """

    def __init__(
        self,
        *,
        name: str,
        base_url: str,
        client_id: str,
        secret: str,
        clock: Clock,
        site: Site,
        announcements: Mapping[str, bytes] | None = None,
        prompt: bytes | None = None,
        prefix: str = "+",
        xapi: bool = False,
        checking: Checking | None = None,
        is_trunk: Callable[[str], bool] = lambda dn: False,
        known: Callable[[], Iterable[Remembered]] = tuple,
        tls: ssl.SSLContext | None = None,
        times: Times = Times(),  # noqa: B008  frozen
    ) -> None:
        self.name = name
        self.capabilities = capabilities_of(site.mode)
        self._site = site
        self._clock = clock
        self._times = times
        self._report: Report = lambda event: None
        self._link = ThreeCxLink(base_url, client_id, secret, clock=clock, tls=tls, times=times)
        self._book = Book(name, site, is_trunk=is_trunk, known=known)
        self._xapi = Xapi(self._link) if xapi else None
        self._checking = checking
        self._ending = Ending(self._link, self._book, self._xapi, clock, times)
        self._gate = RoutePoint(
            self._link,
            self._book,
            site,
            self._emit,
            self._ending,
            clock=clock,
            times=times,
            announcements=announcements or {},
            prompt=prompt,
            prefix=prefix,
            xapi=self._xapi,
        )
        self._reader = Reader(
            self._link,
            clock,
            times,
            seen=lambda leg, at: self._emit(self._book.seen(leg, at)),
            gone=lambda key, at: self._emit(self._book.missing(key, at, clock.now())),
            failed=self._on_unreadable,
        )
        self._troubles = Troubles(name)
        self._up = False
        self._since_ms = clock.now().wall_ms
        self._buffer: list[tuple[Event, Instant]] | None = None
        self._last_sequence: int | None = None
        self._events_seen = 0
        self._wake = asyncio.Event()
        self._lingering = asyncio.Event()
        self._in_turn = asyncio.Lock()

    # ---- its life

    async def run(self, report: Report, relinked: Callable[[], None]) -> None:
        """Keep the link until cancelled. `relinked`: it is up, and we know what calls there are."""
        self._report = report
        await self._link.open()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._link.run(self._on_connected, self._on_event, self._on_lost))
                group.create_task(self._remind())
                group.create_task(self._keep_in_step(relinked))
                group.create_task(self._let_linger())
                if self._xapi is not None:
                    group.create_task(self._watch_listed())
                if self._checking is not None:
                    group.create_task(self._checking.run(self._xapi, self._clock, self._link.counts, self._emit))
        finally:
            self._reader.clear()
            self._gate.stop()
            await self._link.close()

    def state(self) -> LinkState:
        return LinkState(self.name, self._up, self._since_ms, str(self._troubles) if self._up else self._link.detail)

    @property
    def counts(self) -> LinkCounts:
        """What the link has seen."""
        counts, asking = self._link.counts, self._book.asking
        counts.unnumbered, counts.ungated = asking.unnumbered, asking.ungated
        return counts

    # ---- ports.Switch

    async def admit(self, call: CallKey, *, granted_s: int, setup_s: int, b_number: str, account: str) -> None:
        """At the route point: have it connected. Elsewhere it goes on by itself. 3CX keeps no time of it."""
        known = self._book.call(call.call_id)
        if known is None:
            return
        self._emit(self._book.admitted(call.call_id, self._clock.now()))
        if known.gate is not None and not known.routing and known.answered is None:
            self._gate.connect(known, b_number, setup_s, granted_s)

    async def reject(self, call: CallKey, cause: Cause) -> None:
        """At the route point it is told by a sound, where there is one; elsewhere the caller hears a hang-up."""
        known = self._book.call(call.call_id)
        if known is not None:
            refused = self._ending.end(known) if known.gate is None else self._gate.refuse(known, cause.announcement)
            try:
                await refused
            except SwitchUnavailable:
                self._gate.end(known)  # control forgets a call that it has refused
                raise

    async def arm(self, call: CallKey, remaining_ms: int) -> None:
        """3CX has no timer for a call: callctl itself hangs up when its time is over (`Capabilities.timer`)."""

    async def warn(self, call: CallKey, left_s: int, to: WarnTo) -> None:
        """Once a call is connected 3CX lets nobody play into it (`Capabilities.warns`)."""
        log.info("warning_not_heard", switch=self.name, call_id=str(call), left_s=left_s)

    async def hang_up(self, call: CallKey, q850: int) -> None:
        if (known := self._book.call(call.call_id)) is not None:
            await self._ending.end(known)

    async def live_calls(self) -> list[SeenAlive]:
        """From what 3CX shows now. While the link is down a new run of the PBX may answer, with the ids of the old."""
        if not self._up:
            raise SwitchUnavailable(f"{self.name}: {self._link.detail}")
        await self._resync(fresh=False)
        return self._book.alive(self._clock.now())

    # ---- ports.LicenceSource

    async def licence(self) -> LicenceStatus:
        if self._xapi is None:
            raise SwitchUnavailable(f"{self.name}: xapi is off")
        return await self._xapi.licence(self._clock.now())

    # ---- what 3CX tells

    def _on_connected(self) -> None:
        """Events wait until the snapshot is read; nothing is left of what was read before."""
        self._buffer = []
        self._last_sequence = None
        self._reader.clear()
        self._wake.set()

    def _on_lost(self, reason: str) -> None:
        self._buffer = None
        self._reader.clear()
        self._troubles.begin("threecx_down", reason)
        if self._up:
            self._up, self._since_ms = False, self._clock.now().wall_ms

    def _on_event(self, event: Event) -> None:
        now = self._clock.now()
        if self._buffer is None:
            self._handle(event, now)
        elif len(self._buffer) < MOST_BUFFERED:
            self._buffer.append((event, now))
        else:
            raise SwitchUnavailable("more events than can be kept while the snapshot is read")

    def _handle(self, event: Event, at: Instant) -> None:
        self._count(event.sequence)
        key = (event.dn, event.id)
        if event.kind == Kind.DTMF:
            self._gate.pressed(key, event.digits)
        elif event.part == "" and event.kind in (Kind.UPSERT, Kind.REMOVE):  # the DN itself
            self._wake.set()
        elif event.part == "participants" and event.kind == Kind.REMOVE:
            self._on_gone(key, at)
        elif event.part == "participants" and event.kind == Kind.UPSERT and self._site.concerns(event.dn):
            self._reader.changed(key, at)

    def _count(self, sequence: int | None) -> None:
        """Events are numbered: where one is missing, only a snapshot tells what it was."""
        last = self._last_sequence
        if sequence is None:
            return
        if last is not None and sequence > last + 1:
            self._link.counts.gaps += 1
            self._wake.set()
        self._last_sequence = sequence if last is None else max(last, sequence)

    def _on_gone(self, key: Key, at: Instant) -> None:
        self._reader.forget(key)
        self._emit(self._book.removed(key, at))

    def _on_unreadable(self) -> None:
        self._link.counts.failed_reads += 1
        self._wake.set()

    def _emit(self, events: Events) -> None:
        for event in events:
            self._report(event)
        self._gate.look()
        if any(call.lingers for call in self._book.calls()):
            self._lingering.set()
        finished, self._book.finished = self._book.finished, []
        if self._checking is not None:
            for call in finished:
                self._checking.ended(call)

    # ---- keeping in step

    async def _remind(self) -> None:
        """More often while a call waits for its answer, of which there is one event alone."""
        idle_ms = 0
        while True:
            await self._clock.sleep_ms(self._times.ringing_resync_ms)
            idle_ms += self._times.ringing_resync_ms
            if idle_ms >= self._times.resync_ms or any(call.answered is None for call in self._book.calls()):
                idle_ms = 0
                self._wake.set()

    async def _let_linger(self) -> None:
        while True:
            await self._lingering.wait()
            await self._clock.sleep_ms(self._times.linger_ms)
            self._lingering.clear()
            active = await self._read_active()
            self._emit(self._book.left(self._clock.now(), self._times.linger_ms, active))

    async def _keep_in_step(self, relinked: Callable[[], None]) -> None:
        """A snapshot after each connecting, after a gap, and every few seconds: lost events make no noise."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            buffer = self._buffer
            try:
                if buffer is not None:
                    await self._resync(fresh=True)
                elif self._up:
                    await self._resync(fresh=False)
            except SwitchUnavailable as error:
                self._troubles.begin("threecx_snapshot_failed", error)
                self._link.detail = f"no snapshot: {error}"
                self._wake.set()
            else:
                self._troubles.over("threecx_snapshot_failed")
                if buffer is not None and buffer is self._buffer:
                    self._caught_up(buffer)
                    relinked()
            await self._clock.sleep_ms(self._times.resync_apart_ms)

    def _caught_up(self, buffer: list[tuple[Event, Instant]]) -> None:
        self._buffer = None
        self._up, self._since_ms = True, self._clock.now().wall_ms
        self._troubles.over("threecx_down")
        for event, at in buffer:
            self._handle(event, at)
        log.info("threecx_up", switch=self.name)

    async def _resync(self, *, fresh: bool) -> None:
        """Make the book agree with all that 3CX shows. `fresh`: by a new websocket."""
        async with self._in_turn:
            if fresh:
                self._book.active(await self._read_active())
            before, asked = self._book.legs.keys(), self._clock.now()
            shown = await read_snapshot(self._link, before, fresh=fresh)
            keys = {each.key for each in shown.participants if self._site.concerns(each.dn)}
            if not fresh and keys ^ self._book.legs.keys():
                await self._clock.sleep_ms(2 * self._times.again_ms)  # the events may be on their way
            known = self._book.legs.keys()
            missed = not fresh and bool((before - keys) & known or keys - known - before)
            self._emit(self._book.snapshot(shown, before, asked, fresh=fresh))
            if fresh and self._xapi is not None:
                self._emit(self._book.take_up_listed(self._clock.now()))
            self._book.active(None)
            await self._judge(missed=missed)

    async def _judge(self, *, missed: bool) -> None:
        """A websocket that has told nothing while something happened has stalled."""
        counts = self._link.counts
        counts.missed += missed
        if missed and counts.events == self._events_seen and self._up:
            counts.stalls += 1
            await self._link.drop()
        self._events_seen = counts.events

    async def _read_active(self) -> Mapping[str, Active] | None:
        """Who made the calls that are up, and since when they talk. None: XAPI does not say."""
        if self._xapi is None:
            return None
        try:
            active = await self._xapi.active(self._clock.now())
        except SwitchUnavailable as error:
            self._troubles.begin("threecx_active_calls_not_read", error)
            return None
        self._troubles.over("threecx_active_calls_not_read")
        return active

    async def _watch_listed(self) -> None:
        """Calls without a participant of ours end when XAPI lists them no more."""
        while True:
            await self._clock.sleep_ms(self._times.poll_ms)
            before = [call.id for call in self._book.calls() if call.listed]
            active = await self._read_active() if before else None
            if active is not None:
                self._emit(self._book.listed(before, active, self._clock.now()))
