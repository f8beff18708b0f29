"""A FreeSWITCH as a `ports.Switch`: commands become api calls, its events are handed on as call events.

The api calls of a command are written at once, and FreeSWITCH carries them out in order: so commands to one call are
carried out in the order in which they were given. A leg that has gone meanwhile is no failure; its end is told.
"""

import asyncio
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping
from contextlib import suppress
from typing import Any, Final

import structlog

from callctl.accounts import WarnTo
from callctl.adapters.freeswitch import commands, listing
from callctl.adapters.freeswitch.causes import NAMES, ending
from callctl.adapters.freeswitch.commands import Contexts
from callctl.adapters.freeswitch.gate import SocketGate
from callctl.adapters.freeswitch.legs import Legs, ingress_of
from callctl.adapters.freeswitch.link import EslLink, LinkCounts, LinkEvents, LinkTimes
from callctl.adapters.freeswitch.timers import Note, Timers, in_seconds, notes, until
from callctl.adapters.freeswitch.times import SwitchTime
from callctl.adapters.freeswitch.translate import SUBSCRIBED, Leftover, Stray, Told, Translator
from callctl.adapters.freeswitch.wire import Event, parse_dump, parse_rows, word
from callctl.call.events import Answered, CallKey, Offered, Released, SeenAlive
from callctl.causes import Cause
from callctl.clock import Instant
from callctl.errors import SwitchUnavailable
from callctl.ports import Capabilities, Clock, LinkState, Report

log = structlog.get_logger(__name__)

REFUSED: Final = ("-ERR", "-USAGE")
GONE: Final = ("-ERR No such channel", "-ERR Cannot locate session")  # so says uuid_displace
BEEP: Final = "tone_stream://%(200,100,1400);loops=3"
DUMPS_AT_ONCE: Final = 64
MOST_HELD: Final = 100_000
TAKE_OVER_AGAIN_MS: Final = 1_000
MISSED_ENDS_EVERY_MS: Final = 1_000


class FreeSwitch:
    """Implements `ports.SwitchAdapter`.

    `user`: an `esl-user` of the directory; "": the event socket's own password is used. `listen`: where the dialplan's
    `socket` application connects to; None: calls are parked. `announcements` and `sounds`: as of an Asterisk; a file,
    or anything else that FreeSWITCH plays. `is_trunk` says whether a name is that of a trunk that callctl knows.
    """

    def __init__(
        self,
        *,
        name: str,
        host: str,
        port: int,
        secret: str,
        clock: Clock,
        user: str = "",
        listen: tuple[str, int] | None = None,
        announcements: Mapping[str, str] | None = None,
        sounds: Mapping[int, str] | None = None,
        is_trunk: Callable[[str], bool] = lambda name: False,
        contexts: Contexts = Contexts(),  # noqa: B008  frozen
        times: LinkTimes = LinkTimes(),  # noqa: B008  frozen
        list_lag_ms: int = 350,
    ) -> None:
        """`list_lag_ms`: after so long the list has every leg that was there when we subscribed (130-300 measured)."""
        self._list_lag_ms = list_lag_ms
        self.name = name
        self.capabilities = Capabilities()
        self._clock = clock
        self._announcements = announcements or {}
        self._sounds = sounds or {}
        self._contexts = contexts
        self._time = SwitchTime()
        self._calls = Translator(name, self._time, is_trunk)
        self._timers = Timers(clock.now().wall_ms)
        self._report: Report = lambda event: None
        self._connected = asyncio.Event()
        self._since_ms = clock.now().wall_ms
        self._core = ""
        self._held: list[tuple[Event, Instant]] | None = None
        self._listing = asyncio.Lock()
        self._last_heard = clock.now()
        self._beside: set[asyncio.Task[None]] = set()
        events = LinkEvents(
            on_event=self._on_event, on_up=self._on_up, on_down=self._on_down, on_refused=self._on_refused
        )
        self._link = EslLink(host, port, secret, events, user=user, subscribed=SUBSCRIBED, clock=clock, times=times)
        self._gate = SocketGate(*listen, clock, self._on_call, lambda: self._link.up) if listen else None

    # ---- its life

    async def run(self, report: Report, relinked: Callable[[], None]) -> None:
        """Keep the link until cancelled. `relinked`: it is up, and we know what legs there are."""
        self._report = report
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._link.run())
                group.create_task(self._take_over(relinked))
                group.create_task(self._ask_for_ends())
                if self._gate is not None:
                    group.create_task(self._gate.serve())
        finally:
            for task in self._beside:
                task.cancel()

    def state(self) -> LinkState:
        if self._link.up and self._gate is not None and not self._gate.is_listening:
            return LinkState(self.name, False, self._since_ms, f"cannot listen on port {self._gate.port}")
        return LinkState(self.name, self._link.up, self._since_ms, self._link.detail)

    @property
    def counts(self) -> LinkCounts:
        """What the link has seen."""
        return self._link.counts

    # ---- ports.Switch

    async def admit(self, call: CallKey, *, granted_s: int, setup_s: int, b_number: str, account: str) -> None:
        """Let the call go on: the dialplan dials. The grant is armed at the answer, by the switch itself."""
        legs = self._legs(call)
        if legs.emergency:
            return
        self._calls.admitted(call.call_id, account)
        self._timers.begin(call.call_id)
        asked = commands.admit(
            legs, granted_s=granted_s, setup_s=setup_s, b_number=b_number, account=account, context=self._contexts.dial
        )
        if legs.ingress_answered_us:  # it will not answer again: until callctl sees the other answer, this is its end
            longest_s = in_seconds((setup_s + granted_s) * 1000)
            asked.insert(0, self._timers.add(call.call_id, longest_s, [legs.ingress])[0])
        await self._perform(asked)

    async def reject(self, call: CallKey, cause: Cause) -> None:
        """Refuse the call with its SIP status; where there is a sound for it, after that."""
        legs = self._legs(call)
        if legs.emergency:
            return
        sound = self._announcements.get(cause.announcement)
        await self._perform(commands.refuse(legs, cause, sound, self._contexts.refuse))

    async def arm(self, call: CallKey, remaining_ms: int) -> None:
        """Both legs, for one may go on without the other. The new timers are there before the old ones go."""
        legs = self._calls.book.get(call.call_id)
        if legs is None and not self._link.up:
            raise SwitchUnavailable(f"{self.name}: {self._link.detail}")
        if legs is None or legs.emergency:
            return
        older = self._timers.of(call.call_id, legs.ingress)
        seconds = in_seconds(remaining_ms)
        if legs.answered is not None:
            now = self._clock.now()
            end_us = legs.answered_us + (now.since_ms(legs.answered) + remaining_ms) * 1000
            seconds = until(end_us, remaining_ms, self._time.at(now))
        await self._perform(self._timers.add(call.call_id, seconds, legs.both))
        await self._perform(self._timers.remove(call.call_id, older))

    async def warn(self, call: CallKey, left_s: int, to: WarnTo) -> None:
        """Mix a sound over the talk, which nobody is cut off from. Before the answer it would be early media."""
        legs = self._legs(call)
        if legs.emergency or legs.answered is None:
            return
        heard_by = {WarnTo.CALLER: [legs.both[0]], WarnTo.CALLEE: [legs.both[-1]], WarnTo.BOTH: legs.both}[to]
        sound = self._sounds[min(self._sounds, key=lambda told_s: abs(told_s - left_s))] if self._sounds else BEEP
        await self._perform(commands.warn(leg, sound) for leg in heard_by)

    async def hang_up(self, call: CallKey, q850: int) -> None:
        """Both legs."""
        legs = self._legs(call)
        if not legs.emergency:
            await self._perform(commands.kill(leg, ending(q850)) for leg in legs.both)

    async def live_calls(self) -> list[SeenAlive]:
        """From the channels that FreeSWITCH lists now, and the dumps of those of which the list tells too little.

        A call that waits at the gate and that we have not heard of is offered.
        """
        async with self._listing:
            return await self._listed()

    async def _listed(self) -> list[SeenAlive]:
        book, before, ended = self._calls.book, self._calls.book.ids(), self._calls.ended_since()
        rows = parse_rows(await self._ask("show channels as json"))
        if rows is None:
            raise SwitchUnavailable(f"{self.name}: no list of channels")
        dumps = await self._dumps(listing.to_look_at(book, rows, after_outage=self._held is not None))
        now = self._clock.now()
        offered = listing.take_up(book, self._time, dumps, ended, self._offers, now)
        self._tell(tuple(listing.strike_out(book, rows, dumps, ended, before)))
        if self._held is None:  # else it is left to `take_over`, which reads the notes first
            for call_id in self._timers.calls() - book.ids():
                self._start(self._perform(self._timers.forget(call_id)))
        for call in offered:
            self._report(call)
        return listing.seen_alive(book, self.name, now)

    # ---- commands

    def _legs(self, call: CallKey) -> Legs:
        """Its legs; of a call that is not in the book (any more) what its name tells."""
        return self._calls.book.get(call.call_id) or Legs(call.call_id, ingress_of(call.call_id))

    async def _perform(self, asked: Iterable[str]) -> None:
        """Ask for all of them at once. SwitchUnavailable if one was not done, though its leg lives."""
        answers = [self._link.api(command) for command in list(asked)]
        for frame in await asyncio.gather(*answers):
            if frame.text.startswith(REFUSED) and not frame.text.startswith(GONE):
                raise SwitchUnavailable(f"{self.name}: {frame.text}")

    async def _ask(self, command: str) -> str:
        return (await self._link.api(command)).text

    async def _dumps(self, legs: list[str]) -> dict[str, Event | None]:
        dumps: dict[str, Event | None] = {}
        for begin in range(0, len(legs), DUMPS_AT_ONCE):
            some = legs[begin : begin + DUMPS_AT_ONCE]
            texts = await asyncio.gather(*[self._ask(f"uuid_dump {word(leg)} json") for leg in some])
            now = self._clock.now()
            for leg, text in zip(some, texts, strict=True):
                dumps[leg] = dump = parse_dump(text)
                if dump is not None:
                    self._time.compare(dump.get("Event-Date-Timestamp", ""), now)
                elif not text.startswith(GONE):
                    raise SwitchUnavailable(f"{self.name}: uuid_dump: {text[:80]}")
        return dumps

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        """Beside everything else. That FreeSWITCH cannot be asked is no failure: there is nothing to be done then."""

        async def unless_away() -> None:
            with suppress(SwitchUnavailable):
                await work

        task = asyncio.create_task(unless_away())
        self._beside.add(task)
        task.add_done_callback(self._beside.discard)

    # ---- the link

    def _on_event(self, event: Event) -> None:
        now = self._clock.now()
        if self._held is None or self._calls.knows(event):
            self._tell(self._calls.translate(event, now))
        elif len(self._held) < MOST_HELD:
            self._held.append((event, now))
        else:
            raise asyncio.QueueFull

    def _on_call(self, leg: str) -> None:
        self._start(self._look_at(leg))

    async def _look_at(self, leg: str) -> None:
        """What is said to call is believed when the switch itself says so, and has not said so before."""
        dump = (await self._dumps([leg]))[leg]
        if dump is not None and self._calls.book.of_ingress(leg) is None:
            self._tell(self._calls.parked(dump, self._clock.now()))

    def _offers(self, dump: Event, now: Instant) -> list[Offered]:
        return [told for told in self._calls.parked(dump, now) if isinstance(told, Offered)]

    def _tell(self, told: Told) -> None:
        for event in told:
            if isinstance(event, Stray):
                log.warning("freeswitch_stray_leg", switch=self.name, leg=event.uuid)
                self._start(self._perform([commands.kill(event.uuid, NAMES[52])]))
                continue
            if isinstance(event, Leftover):
                self._start(self._perform(self._timers.clear(event.call_id)))
                continue
            if isinstance(event, Released) and (groups := self._timers.forget(event.call.call_id)):
                self._start(self._perform(groups))
            self._report(event)

    def _on_up(self, core: str) -> None:
        self._since_ms = self._clock.now().wall_ms
        if self._core and core != self._core:
            log.warning("freeswitch_restarted", switch=self.name)
            self._timers.forget_all()
            self._tell(self._calls.all_gone(self._last_heard))
        self._core = core
        self._held = []
        self._connected.set()
        log.info("freeswitch_up", switch=self.name, core=core)

    def _on_down(self, reason: str, last_heard: Instant) -> None:
        self._since_ms = self._clock.now().wall_ms
        self._last_heard = last_heard
        log.warning("freeswitch_down", switch=self.name, reason=reason)

    def _on_refused(self, message: str) -> None:
        self._since_ms = self._clock.now().wall_ms
        log.error("freeswitch_login_refused", switch=self.name, message=message)

    def _let_go(self) -> None:
        """What was told of unknown calls while we asked which there are."""
        held, self._held = self._held or [], None
        for event, now in held:
            self._tell(() if self._calls.knows(event) else self._calls.ended_unseen(event, now))
            self._tell(self._calls.translate(event, now))

    async def _take_over(self, relinked: Callable[[], None]) -> None:
        """After each connecting: learn what legs and tasks there are, so that a call taken over is understood.

        The tasks first: of a call that the list lacks, notes may stand among them.
        """
        while True:
            await self._connected.wait()
            self._connected.clear()
            await self._clock.sleep_ms(self._list_lag_ms)
            try:
                ended, left = self._calls.ended, {legs.ingress for legs in self._calls.book if legs.left}
                tasks = parse_rows(await self._ask("show tasks as json")) or []
                await self.live_calls()
                self._let_go()
                self._tell_unseen(notes(tasks), left | ended | self._calls.ended)
                await self._perform(self._timers.take_over(tasks, self._calls.book.ids()))
            except SwitchUnavailable as error:
                log.warning("freeswitch_channel_list_failed", switch=self.name, error=str(error))
                await self._clock.sleep_ms(TAKE_OVER_AGAIN_MS)
                if self._link.up:
                    self._connected.set()
            else:
                relinked()

    async def _ask_for_ends(self) -> None:
        """Where one leg has ended, and of the other one nothing is told, the list tells whether it lives on."""
        while True:
            await self._clock.sleep_ms(MISSED_ENDS_EVERY_MS)
            self._tell(self._calls.overdue(self._clock.now()))
            if self._held is None and self._calls.misses_an_end(self._clock.now()):
                with suppress(SwitchUnavailable):
                    await self.live_calls()

    def _tell_unseen(self, noted: Mapping[str, Note], ended: Collection[str]) -> None:
        """Of calls that were answered or have ended while nobody listened. `ended`: the legs of which we have heard."""
        now = self._clock.now()
        for call_id in noted.keys() - self._calls.book.ids():
            if ingress_of(call_id) in ended:
                continue
            key, note = CallKey(self.name, call_id), noted[call_id]
            answered = self._time.place(note.answered_ms, now) if note.answered_ms else None
            if answered is not None:
                self._link.counts.unseen_answers += 1
                log.warning("freeswitch_answered_unseen", switch=self.name, call_id=call_id)
                self._report(Answered(key, answered))
            if note.ended_ms:
                at = self._time.place(note.ended_ms, now)
                self._report(Released(key, at, answered_at=answered, estimated=True))
