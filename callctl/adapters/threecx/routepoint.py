"""Calls at our own route point: find out what is wanted, connect what is admitted, tell what is refused.

3CX connects a caller to the route point at once, tells who it is, and has no field for what was dialled beyond it. So
the number wanted is, in this order: the DID that was called (from outside: where that is routed); what the caller's own
participant shows, if we are shown that; or the keys that the caller presses, ended by # or a pause.

Once a call is connected the route point is out of it. From then on it is followed by the participant of the caller's
or the called extension, or else by XAPI; a call that nobody could follow is not connected.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from itertools import count
from typing import Any, Final

import structlog

from callctl.adapters.threecx import wire
from callctl.adapters.threecx.audio import play
from callctl.adapters.threecx.calls import Call, Site, Wanted, same_number
from callctl.adapters.threecx.ending import Ending
from callctl.adapters.threecx.link import BUSY, GONE, NotDone, ThreeCxLink, Times, path_of
from callctl.adapters.threecx.translate import Book, Events
from callctl.adapters.threecx.wire import Key, Participant, Status
from callctl.adapters.threecx.xapi import Xapi
from callctl.call.admission import EMERGENCY_GRANT_S
from callctl.clock import Instant
from callctl.errors import SwitchUnavailable
from callctl.numbering import DialRules, emergency_number
from callctl.ports import Clock
from callctl.rating.tariff import Direction

log = structlog.get_logger(__name__)

MOST_KEYS: Final = 32
END_KEY: Final = "#"
LOOKS_AGAIN: Final = 3
ANYWHERE: Final = DialRules()


class RoutePoint:
    """`emit` hands events on. `prompt`: the sound that asks for a number. `xapi`: it tells which calls are up.

    `prefix`: what the PBX's outbound rules want in front of a country code instead of the plus.
    """

    def __init__(
        self,
        link: ThreeCxLink,
        book: Book,
        site: Site,
        emit: Callable[[Events], None],
        ending: Ending,
        *,
        clock: Clock,
        times: Times,
        announcements: Mapping[str, bytes],
        prompt: bytes | None,
        prefix: str,
        xapi: Xapi | None,
    ) -> None:
        self._link = link
        self._book = book
        self._site = site
        self._emit = emit
        self._ending = ending
        self._clock = clock
        self._times = times
        self._announcements = announcements
        self._prompt = prompt
        self._prefix = prefix
        self._xapi = xapi
        self._asking: dict[str, asyncio.Task[None]] = {}
        self._routing: set[asyncio.Task[None]] = set()
        self._keys: dict[Key, asyncio.Queue[str]] = {}
        self._leaving: dict[Key, asyncio.Event] = {}

    def look(self) -> None:
        """Begin with callers who have come, leave off with those who have gone."""
        for gate, left in self._leaving.items():
            if self._book.legs.get(gate) is None:
                left.set()
        for call_id in [call_id for call_id in self._asking if self._book.call(call_id) is None]:
            self._asking.pop(call_id).cancel()
        for call in self._book.calls():
            if call.gate is not None and call.wanted is None and call.id not in self._asking:
                self._asking[call.id] = asyncio.get_running_loop().create_task(self._ask(call.id, call.gate))

    def pressed(self, leg: Key, keys: str) -> None:
        """The caller has pressed keys. Nobody waits for them in most calls."""
        waiting = self._keys.get(leg)
        if waiting is not None:
            for key in keys[:MOST_KEYS]:
                if not waiting.full():
                    waiting.put_nowait(key)

    def stop(self) -> None:
        for task in (*self._asking.values(), *self._routing):
            task.cancel()
        self._asking.clear()

    # ---- what is wanted

    async def _ask(self, call_id: str, gate: Key) -> None:
        leg = self._book.legs.get(gate)
        self._keys[gate] = asyncio.Queue(MOST_KEYS)
        try:
            wanted = await self._wanted(leg) if leg is not None else None
        except SwitchUnavailable as error:
            log.warning("threecx_caller_not_asked", call_id=call_id, error=str(error))
            wanted = None
        finally:
            del self._keys[gate]
        if wanted is not None:
            self._emit(self._book.asked(call_id, wanted, self._clock.now()))
        else:
            await self._ending.insist(call_id, gate)

    async def _wanted(self, leg: Participant) -> Wanted | None:
        """None: the caller has not said it."""
        if leg.is_external:
            return await self._wanted_from_outside(leg)
        did = "" if leg.did == self._site.route_point else leg.did
        return self._wants(leg.party or leg.number, did or await self._shown_by(leg) or await self._pressed(leg), None)

    async def _wanted_from_outside(self, leg: Participant) -> Wanted | None:
        """A number of ours goes where it is routed, and never out again: that would bring it back here."""
        trunk, called = leg.party or None, self._site.called(leg)
        for did, dn in self._site.routes.items():
            if called and same_number(did, called):
                return Wanted(Direction.INBOUND, leg.number, did, dn, leg.number, trunk)
        return self._wants(leg.number, await self._pressed(leg), trunk)

    def _wants(self, own: str, number: str, trunk: str | None) -> Wanted | None:
        direction = Direction.INTERNAL if self._book.is_watched(number) else Direction.OUTBOUND
        return Wanted(direction, own, number, own, number, trunk) if number else None

    async def _shown_by(self, leg: Participant) -> str | None:
        """What the participant of the extension that calls shows as its other side, which may take a moment."""
        if not self._book.is_watched(leg.party):
            return None
        looks = 0
        for tried in range(self._times.tries):
            for caller in self._book.legs.of(leg.call):
                if caller.dn == leg.party and caller.number not in ("", self._site.route_point, leg.number):
                    return caller.number
            if looks > LOOKS_AGAIN:
                break
            if tried:
                await self._clock.sleep_ms(self._times.again_ms << (tried - 1))
            try:
                await self._look_at(leg.party)
                looks += 1
            except SwitchUnavailable as error:
                log.info("threecx_caller_not_seen", participant=leg.id, error=str(error))
        return None

    async def _pressed(self, leg: Participant) -> str:
        """The keys up to #, to a pause, or to an emergency number. Who presses none is waited for thrice as long."""
        keys = self._keys[leg.key]
        prompting = asyncio.get_running_loop().create_task(self._ask_aloud(leg))
        number = ""
        try:
            while len(number) < MOST_KEYS:
                key = await self._next_key(keys, self._times.key_pause_ms * (1 if number else 3))
                prompting.cancel()
                if key in ("", END_KEY):
                    break
                number += key
                if emergency_number(number, ANYWHERE) is not None:
                    break
            return number
        finally:
            prompting.cancel()

    async def _next_key(self, keys: asyncio.Queue[str], pause_ms: int) -> str:
        """The next key; "" after the pause."""
        key = asyncio.ensure_future(keys.get())
        pause = asyncio.ensure_future(self._clock.sleep_ms(pause_ms))
        try:
            await asyncio.wait({key, pause}, return_when=asyncio.FIRST_COMPLETED)
            return key.result() if key.done() else ""
        finally:
            key.cancel()
            pause.cancel()

    async def _ask_aloud(self, leg: Participant) -> None:
        try:
            await self._answer(leg)
            if self._prompt is not None:
                await play(self._link, self._clock, leg.key, self._prompt)
        except SwitchUnavailable as error:
            log.info("threecx_prompt_not_played", participant=leg.id, error=str(error))

    async def _answer(self, leg: Participant) -> None:
        """Before sound and keys. 3CX has mostly done so by itself."""
        if leg.status is Status.RINGING:
            try:
                await self._link.post(path_of(*_at(leg.key), "answer"), None)
            except NotDone as error:
                log.info("threecx_not_answered", participant=leg.id, error=str(error))

    # ---- yes and no

    def connect(self, call: Call, b_number: str, setup_s: int, granted_s: int) -> None:
        """Have 3CX connect the caller; what becomes of it is reported. An emergency call is, whoever follows it."""
        wanted, gate = call.wanted, call.gate
        if wanted is None or gate is None:
            return
        destination = self._destination(wanted, b_number)
        if granted_s < EMERGENCY_GRANT_S and not self._can_be_followed(call, destination):
            log.error("threecx_call_cannot_be_followed", call_id=call.id, caller=wanted.a_number)
            self.end(call)
            return
        self._book.routing(call.id)
        self._start(self._route(call, gate, destination, setup_s))

    def _destination(self, wanted: Wanted, b_number: str) -> str:
        if wanted.direction is Direction.INBOUND:
            return self._site.routes[wanted.b_number]
        return self._prefix + b_number[1:] if b_number.startswith("+") else b_number

    def _can_be_followed(self, call: Call, destination: str) -> bool:
        leg = self._book.legs.get(call.gate) if call.gate is not None else None
        shown = leg is not None and self._book.is_watched(leg.party)
        return self._xapi is not None or shown or self._book.is_watched(destination)

    async def refuse(self, call: Call, announcement: str) -> None:
        """Tell it by a sound, if there is one, and end it. SwitchUnavailable where it could not be ended."""
        gate = call.gate
        if gate is None:
            return
        sound, leg = self._announcements.get(announcement), self._book.legs.get(gate)
        if sound is not None and leg is not None:
            try:
                await self._answer(leg)
                await play(self._link, self._clock, gate, sound)
            except SwitchUnavailable as error:
                log.info("threecx_announcement_not_played", call_id=call.id, error=str(error))
        await self._ending.drop(gate)

    async def _route(self, call: Call, gate: Key, destination: str, setup_s: int) -> None:
        body = {"destination": destination, "timeout": setup_s}
        timeout_ms = setup_s * 1000 + self._times.handover_grace_ms
        listed, said = self._xapi is not None, ""
        asked = asyncio.ensure_future(self._routed(call, gate, body, timeout_ms))
        try:
            left = await self._has_left(gate, asked)
            if left is not None and not self._book.legs.beside(call) and await self._is_elsewhere(call):
                self._emit(self._book.routed(call.id, left, connected=True, listed=listed))  # its answer may be late
            outcome = wire.outcome(await asked)
            connected, said = outcome.succeeded, outcome.said
        except NotDone as error:
            connected, said = False, str(error)
        except SwitchUnavailable as error:
            connected, said = await self._is_handed_over(call, gate, timeout_ms), str(error)
        finally:
            asked.cancel()
        at = self._clock.now()
        if connected:
            with suppress(SwitchUnavailable):  # then an event will tell
                await self._look_again(call)
        else:
            log.info("threecx_not_connected", call_id=call.id, said=said)
        self._emit(self._book.routed(call.id, at, connected=connected, listed=listed))
        await self._ending.insist(call.id, gate)

    async def _routed(self, call: Call, gate: Key, body: Any, timeout_ms: int) -> Any:
        """What 3CX says to it, once it is not too busy to look at it."""
        for tried in count(1):
            try:
                return await self._link.post(path_of(*_at(gate), "routeto"), body, timeout_ms=timeout_ms)
            except NotDone as error:
                if error.status not in BUSY:
                    raise
                await self._clock.sleep_ms(self._times.again_ms << tried)
                if tried == self._times.tries or not self._may_be_there(call, gate):
                    raise

    async def _has_left(self, gate: Key, asked: asyncio.Future[Any]) -> Instant | None:
        """When the caller left the route point; None where 3CX has answered before that."""
        left = self._leaving[gate] = asyncio.Event()
        leaving = asyncio.ensure_future(left.wait())
        try:
            await asyncio.wait({asked, leaving}, return_when=asyncio.FIRST_COMPLETED)
            return None if asked.done() else self._clock.now()
        finally:
            leaving.cancel()
            del self._leaving[gate]

    async def _look_again(self, call: Call) -> list[Participant]:
        """The participants beside that at the route point as they are now: to be delivered may mean that it rings."""
        dns = {leg.dn for leg in self._book.legs.beside(call)}
        return [leg for dn in dns for leg in await self._look_at(dn) if leg.call == call.group]

    async def _look_at(self, dn: str) -> tuple[Participant, ...]:
        """The participants of a DN as they are now, also for the book."""
        asked = self._clock.now()
        shown = wire.participants(await self._link.get(path_of(dn, "participants")), dn)
        for leg in shown:
            self._emit(self._book.seen(leg, asked))
        return shown

    async def _is_handed_over(self, call: Call, gate: Key, within_ms: int) -> bool:
        """After an answer was lost: whether the caller leaves the route point in time, and is somewhere else then."""
        began = self._clock.now()
        while self._may_be_there(call, gate) and self._clock.now().since_ms(began) < within_ms:
            try:
                await self._link.get(path_of(*_at(gate)))
            except NotDone as error:
                if error.status == GONE and (found := await self._is_elsewhere(call)) is not None:
                    return found
            except SwitchUnavailable as error:
                log.info("threecx_route_unknown", call_id=call.id, error=str(error))
            await self._clock.sleep_ms(self._times.poll_ms)
        return False

    async def _is_elsewhere(self, call: Call) -> bool | None:
        """Whether a caller who is not at the route point any more has not just hung up. None: nobody says."""
        try:
            shown = await self._look_again(call)
            if any(leg.is_external or leg.party not in ("", self._site.route_point) for leg in shown):
                return True
            now = self._clock.now()
            return not shown and self._xapi is not None and call.group in await self._xapi.active(now)
        except SwitchUnavailable as error:
            log.info("threecx_route_unknown", call_id=call.id, error=str(error))
            return None

    def _may_be_there(self, call: Call, gate: Key) -> bool:
        return self._book.call(call.id) is not None and not self._book.legs.is_others(gate, call.id)

    def end(self, call: Call) -> None:
        """Nobody but us ends a caller whom we do not connect: however often that has to be tried."""
        for leg in call.legs:
            self._start(self._ending.insist(call.id, leg))

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._routing.add(task)
        task.add_done_callback(self._routing.discard)


def _at(leg: Key) -> tuple[str, str, str]:
    dn, id_ = leg
    return dn, "participants", id_
