"""The simulated PBX: its DNs, its calls, and what phones and the client do to them. It knows no HTTP."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from itertools import count

from callctl.ports import Clock
from callctl.simulators.threecx.calls import (
    CONNECTED,
    DIALING,
    EXTENSION,
    EXTERNAL_LINE,
    RINGING,
    ROUTE_POINT,
    EndedBy,
    Far,
    Leg,
    SimCall,
    join,
)
from callctl.simulators.threecx.setup import Faults, Setup

UPSERT, REMOVE, DTMF = 0, 1, 2

Changed = Callable[[int, Leg, dict[str, str] | None], None]


class Pbx:
    """`changed` is told every change of a participant; `closed` every call that has ended.

    `far`: how outside numbers (and extensions that are called) behave, by number; `any_far` for all others.
    """

    def __init__(self, setup: Setup, faults: Faults, clock: Clock) -> None:
        self.setup = setup
        self.faults = faults
        self.clock = clock
        self.calls: list[SimCall] = []
        self.history: list[SimCall] = []
        self.dialled: list[str] = []
        """Every number that a trunk was asked for."""
        self.far: dict[str, Far] = {}
        self.any_far = Far()
        self.changed: Changed = lambda kind, leg, data: None
        self.closed: Callable[[SimCall], None] = lambda call: None
        self._tasks: set[asyncio.Task[None]] = set()
        self._histories = count(1)
        self._begin_counting()

    # ---- what phones do

    def phone_dials(self, extension: str, number: str, *, via: str | None = None) -> SimCall | None:
        """An extension dials. `via`: the PBX's rules send the number to that DN. None: no free channel."""
        caller = self._leg(extension, number=extension, status=DIALING)
        return self._place(caller, number, via)

    def inbound(self, did: str, caller: str, to_dn: str) -> SimCall | None:
        """A call from outside, to an extension or a route point. None: no free channel."""
        line = self._leg(self.setup.trunk, number=caller, status=DIALING)
        call = self._place(line, to_dn, None)
        if call is not None and call.called is not None:
            call.called.did = did
            self._tell(call.called)
        return call

    def far_rings(self, call: SimCall) -> None:
        target = call.attempt or call.called
        if target is not None:
            call.caller.is_routed = True
            target.status = RINGING
            self._tell(call.caller, target)

    def far_answers(self, call: SimCall) -> None:
        """Whom it rings at: who was called, or to whom it is being routed."""
        target = call.attempt or call.called
        if call.ended is not None or target is None or target.status == CONNECTED:
            return
        call.caller.is_routed = True
        if call.attempt is target:
            self._hand_over(call, target)
        if target.peer is not None:
            target.peer.status = CONNECTED
        target.status = CONNECTED
        now = self.clock.now()
        call.connected = call.connected or now
        call.segments[-1].answered_ms = now.wall_ms
        if target.kind != ROUTE_POINT:
            call.answered = call.answered or now
            call.was_answered.set()
        call.attempt_over.set()
        self._tell(*call.legs)

    def hang_up(self, call: SimCall, by: EndedBy) -> None:
        """All its participants go."""
        if call.ended is not None:
            return
        call.ended, call.ended_by = self.clock.now(), by
        for leg in call.legs:
            self._remove(leg)
        call.close_segment("TerminatedByDst" if by is EndedBy.CALLED else "TerminatedBySrc", self.clock.now())
        self.calls.remove(call)
        self.history.append(call)
        call.over.set()
        call.attempt_over.set()
        call.was_answered.set()
        self.closed(call)

    def press(self, call: SimCall, keys: str) -> None:
        """The caller presses keys, which only the route point is told of."""
        if call.called is not None and call.called.kind == ROUTE_POINT:
            for key in keys:
                self.changed(DTMF, call.called, {"dtmf_input": key})

    def transfer(self, call: SimCall, by: str, to: str) -> None:
        """The extension `by` hands the other side to `to`, which talks at once."""
        leaving = next(leg for leg in call.legs if leg.dn == by)
        staying = leaving.peer
        arriving = self._leg(to, number=to, status=CONNECTED)
        arriving.referred_by = (by, EXTENSION)
        if staying is None:
            return
        call.close_segment("TerminatedBySrc", self.clock.now())
        self._remove(leaving)
        join(staying, arriving)
        staying.referred_by = (by, EXTENSION)
        staying.shows = None
        call.caller, call.called = (staying, arriving) if call.caller is not leaving else (arriving, staying)
        call.open_segment(call.called, self.clock.now())
        call.segments[-1].answered_ms = self.clock.now().wall_ms
        self._tell(arriving, staying)

    # ---- what the client does, by its actions

    def find(self, dn: str, id: str) -> tuple[SimCall, Leg] | None:
        for call in self.calls:
            for leg in call.legs:
                if leg.dn == dn and str(leg.id) == id:
                    return call, leg
        return None

    def answer(self, call: SimCall, leg: Leg) -> bool:
        if leg.status != RINGING or leg.kind != ROUTE_POINT:
            return False
        self.far_answers(call)
        return True

    def divert(self, call: SimCall, leg: Leg, destination: str) -> bool:
        if leg.status != RINGING or call.called is not leg:
            return False
        self._remove(leg)
        call.close_segment("redirected", self.clock.now())
        call.called = self._target(destination)
        join(call.caller, call.called)
        call.open_segment(call.called, self.clock.now())
        self._tell(call.called, call.caller)
        self._start(self._behave(call, call.called))
        return True

    async def route(self, call: SimCall, leg: Leg, destination: str, timeout_s: float | None) -> bool:
        """Connect the other side with somebody else; `leg` leaves when that is done."""
        if leg.peer is None or call.attempt is not None:
            return False
        target, other = self._target(destination), leg.peer
        call.attempt, call.replaced = target, leg
        call.attempt_over.clear()
        target.peer = other
        call.close_segment("redirected", self.clock.now())
        call.open_segment(target, self.clock.now())
        self._tell(target)
        self._start(self._behave(call, target))
        if self.faults.delivered_at_once:
            self._hand_over(call, target)
            other.status = DIALING
            self._tell(other)
        else:
            over = asyncio.ensure_future(call.attempt_over.wait())
            patience = asyncio.ensure_future(self.clock.sleep_ms(int((timeout_s or 120) * 1000)))
            await asyncio.wait({over, patience}, return_when=asyncio.FIRST_COMPLETED)
            over.cancel()
            patience.cancel()
        if target in (call.caller, call.called) and call.ended is None:
            self._remove(leg)
            return True
        if call.ended is None:
            call.attempt = None
            self._remove(target)
        return False

    def _hand_over(self, call: SimCall, target: Leg) -> None:
        """Whom it was routed to takes the place of whom it was routed by."""
        leaving = call.replaced
        if call.caller is leaving:
            call.caller = target
        else:
            call.called = target
        if leaving is not None and leaving.peer is not None:
            leaving.peer.shows = None
            join(leaving.peer, target)
        call.attempt = None

    def make_call(self, dn: str, destination: str) -> tuple[SimCall | None, Leg]:
        """The client's own call. None: no free channel."""
        leg = self._leg(dn, number=dn, status=DIALING)
        return self._place(leg, destination, None), leg

    # ---- its life

    def restart(self) -> None:
        """Nothing is told: no call, no participant is left."""
        for task in tuple(self._tasks):
            task.cancel()
        now = self.clock.now()
        for call in self.calls:
            call.ended, call.ended_by = now, EndedBy.PBX
            for leg in call.legs:
                leg.gone.set()
            call.close_segment("failed", self.clock.now())
            call.over.set()
            call.attempt_over.set()
            call.was_answered.set()
        self.history += self.calls
        self.calls.clear()
        if not self.faults.keep_counters:
            self._begin_counting()

    def kind(self, dn: str) -> str | None:
        if dn == self.setup.client_id:
            return ROUTE_POINT
        if dn == self.setup.trunk:
            return EXTERNAL_LINE
        return EXTENSION if dn in self.setup.extensions else None

    def legs_of(self, dn: str) -> Iterator[tuple[SimCall, Leg]]:
        return ((call, leg) for call in self.calls for leg in call.legs if leg.dn == dn)

    # ---- inside

    def _begin_counting(self) -> None:
        self._ids, self._callids = count(1), count(1)

    def _leg(self, dn: str, *, number: str, status: str) -> Leg:
        leg = Leg(next(self._ids), dn, self.kind(dn) or EXTERNAL_LINE, number, status, name=f"Name of {number}")
        return leg

    def _target(self, destination: str) -> Leg:
        """Whom a number reaches: a DN of ours, or somebody outside."""
        if self.kind(destination) in (EXTENSION, ROUTE_POINT):
            return self._leg(destination, number=destination, status=RINGING)
        self.dialled.append(destination)
        return self._leg(self.setup.trunk, number=destination, status=DIALING)

    def _place(self, caller: Leg, number: str, via: str | None) -> SimCall | None:
        if len(self.calls) >= self.setup.sim_calls:
            return None
        called = self._target(via or number)
        call = SimCall(next(self._callids), caller, called, self.clock.now(), str(next(self._histories)))
        call.dialled = number
        caller.legid, called.legid = 1, 2
        caller.shows = number
        if self.faults.late_number_ms and called.kind == ROUTE_POINT:
            caller.shows = None
            self._start(self._show(caller, number))
        caller.originated_by = (caller.dn, caller.kind) if caller.kind == ROUTE_POINT else ("", "None")
        caller.is_routed = not (self.faults.late_party and called.kind == EXTERNAL_LINE)
        join(caller, called)
        self.calls.append(call)
        call.open_segment(called, self.clock.now())
        self._tell(caller, called)
        if called.kind == ROUTE_POINT and not self.faults.route_point_rings:
            self.far_answers(call)
        elif called.kind != ROUTE_POINT:
            self._start(self._behave(call, called))
        self._start(self._repeat(call))
        return call

    async def _behave(self, call: SimCall, target: Leg) -> None:
        """The called party's own script."""
        far = self.far.get(target.number, self.any_far)
        await asyncio.sleep(0)
        if target.kind == EXTERNAL_LINE and call.ended is None:
            self.far_rings(call)
        if far.rings_s is None:
            return
        await self.clock.sleep_ms(int(far.rings_s * 1000))
        if call.ended is not None or target not in call.legs:
            return
        if not far.answers:
            if call.attempt is target:
                call.attempt_over.set()
            else:
                self.hang_up(call, EndedBy.CALLED)
            return
        self.far_answers(call)
        if far.talks_s is not None:
            await self.clock.sleep_ms(int(far.talks_s * 1000))
            self.hang_up(call, EndedBy.CALLED)

    async def _repeat(self, call: SimCall) -> None:
        """What dials or rings is told again and again."""
        while call.ended is None:
            await self.clock.sleep_ms(self.faults.repeat_ms or 750)
            for leg in call.legs if self.faults.repeat_ms and call.ended is None else ():
                if leg.status in (DIALING, RINGING):
                    self._tell(leg)

    async def _show(self, caller: Leg, number: str) -> None:
        await self.clock.sleep_ms(self.faults.late_number_ms)
        caller.shows = number
        self._tell(caller)

    def _tell(self, *legs: Leg) -> None:
        for leg in legs:
            self.changed(UPSERT, leg, None)

    def _remove(self, leg: Leg) -> None:
        leg.gone.set()
        self.changed(REMOVE, leg, None)

    def _start(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def stop(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()
