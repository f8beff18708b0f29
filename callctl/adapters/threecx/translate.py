"""What the participants of a 3CX mean as call events. Values in, events out: no I/O, no clock.

The book groups participants by `callid`, the PBX's counter of calls. It counts from 1 again when the PBX starts, so a
call's name begins with the moment at which it was first seen; a call that was up before (callctl was started anew) is
found by the rest of its name and its numbers among those that control still knows.

A call is charged once for each far party outside the PBX: who is transferred to another extension goes on in the same
call; a leg to another outside number in the same `callid` is a call of its own, paid by whoever made it.

3CX tells no times: a thing has happened when its event arrived (`docs/adapters.md`).
"""

from collections.abc import Callable, Collection, Iterable, Mapping

from msgspec.structs import replace

from callctl.adapters.threecx import calls
from callctl.adapters.threecx.calls import Active, Call, Mode, Site, Wanted
from callctl.adapters.threecx.gone import Gone
from callctl.adapters.threecx.remembered import Memory, Remembered
from callctl.adapters.threecx.wire import CONFERENCE, Key, Participant, Snapshot, Status
from callctl.call.events import Alerting, Answered, CallEvent, CallKey, Offered, Released, SeenAlive
from callctl.clock import Instant
from callctl.rating.tariff import Direction

Events = tuple[CallEvent, ...]


class Book:
    """The participants and the calls that are up. `known`: the calls of this switch that control has.

    `finished`: calls that have ended; whoever looks at them takes them out.
    """

    def __init__(
        self,
        switch: str,
        site: Site,
        *,
        is_trunk: Callable[[str], bool] = lambda name: False,
        known: Callable[[], Iterable[Remembered]] = tuple,
    ) -> None:
        self.finished: list[Call] = []
        self.unnumbered = 0
        self.ungated = 0
        self._switch = switch
        self._site = site
        self._is_trunk = is_trunk
        self._memory = Memory(known)
        self._legs: dict[Key, Participant] = {}
        self._calls: dict[str, Call] = {}
        self._call_of: dict[Key, str] = {}
        self._gone = Gone()
        self._active: Mapping[str, Active] | None = None
        self._watched: frozenset[str] = frozenset()
        self._shown: tuple[Participant, ...] = ()
        self._let_pass: set[Key] = set()

    # ---- what is known

    def call(self, call_id: str) -> Call | None:
        return self._calls.get(call_id)

    def calls(self) -> tuple[Call, ...]:
        return tuple(self._calls.values())

    def leg(self, key: Key) -> Participant | None:
        return self._legs.get(key)

    def is_others(self, key: Key, call_id: str) -> bool:
        """Whether its id is that of another call's participant by now."""
        return self._call_of.get(key, call_id) != call_id

    def keys(self) -> frozenset[Key]:
        """The participants in the book, to be given to `snapshot` as they were when it was asked for."""
        return frozenset(self._legs)

    def beside(self, call: Call) -> list[Participant]:
        """The participants in a call's group, but for that at the route point."""
        return [leg for leg in self._legs.values() if leg.call == call.group and leg.key != call.gate]

    def is_watched(self, dn: str) -> bool:
        return dn in self._watched

    def alive(self, at: Instant) -> list[SeenAlive]:
        up = [call for call in self._calls.values() if call.wanted is not None]
        return [SeenAlive(self._key(call), at, call.answered if call.admitted else None) for call in up]

    # ---- what is told

    def active(self, active: Mapping[str, Active] | None) -> None:
        """What XAPI's list of active calls shows, by `callid`, for as long as it is fresh. None: that is not known."""
        self._active = active

    def seen(self, participant: Participant, at: Instant) -> Events:
        """A participant as it is now."""
        key = participant.key
        if not self._site.concerns(participant.dn) or self._gone.has(key, at):
            return ()
        before = self._legs.get(key)
        if before is not None and before.call != participant.call:  # the PBX has joined two calls
            return self._regrouped(replace(participant, has_rung=participant.after(before).has_rung), at)
        leg = participant if before is None else participant.after(before)
        self._legs[key] = leg
        call = self._calls.get(self._call_of.get(key, ""))
        if call is None:
            return self._enter(leg, at)
        if before is not None and calls.has_moved(leg, before, call):
            by = leg.referred_by or (before.party if before.party in self._watched else "")
            return (*self._leave(key, at, lingers=False), *self._enter(replace(leg, referred_by=by), at))
        return self._progress(call, leg, at)

    def removed(self, key: Key, at: Instant, *, estimated: bool = False, lingers: bool = True) -> Events:
        """It is gone. `estimated`: it was found missing, and nobody saw it go. `lingers`: see `left`."""
        self._gone.removed(key, at)
        self._legs.pop(key, None)
        self._let_pass.discard(key)
        return self._leave(key, at, estimated=estimated, lingers=lingers)

    def left(self, now: Instant, for_ms: int, active: Mapping[str, Active] | None = None) -> Events:
        """The ends of talks whose last participant has gone so long ago, but for those that XAPI shows to go on."""
        gone = [call for call in self.calls() if call.lingers and now.since_ms(call.left or now) >= for_ms]
        going_on = {call.id for call in gone if calls.is_connected(call, active)}
        self._calls |= {call.id: replace(call, listed=True) for call in gone if call.id in going_on}
        ended = [call for call in gone if call.id not in going_on]
        return tuple(event for call in ended for event in self._release(call, call.left or now))

    def snapshot(self, shown: Snapshot, before: Collection[Key], at: Instant, *, fresh: bool) -> Events:
        """All that is shown now. What was in the book `before` we asked and is not shown is gone.

        `fresh`: the first by a new websocket. The PBX may have been started anew, and its ids be others' now.
        """
        self._watched, self._shown = frozenset(filter(self._site.concerns, shown.dns)), shown.participants
        self._gone.forget(at)
        events: list[CallEvent] = []
        now = {participant.key: participant for participant in shown.participants}
        known = [leg for key in before if (leg := self._legs.get(key)) is not None]
        others = {leg.call for leg in known if fresh and leg.key in now and not self._is_same(leg, now[leg.key])}
        for leg in known:
            key = leg.key
            if leg.call in others and (call := self._calls.get(self._call_of.get(key, ""))) is not None:
                self._calls[call.id] = replace(call, routing=False)
            if key not in now or leg.call in others:
                events += self.removed(key, at, estimated=True, lingers=not fresh)
        if fresh:
            self._gone.renumbered()
        for participant in sorted(now.values(), key=lambda each: each.dn != self._site.route_point):
            events += self.seen(participant, at)
        return tuple(events)

    # ---- what was done

    def asked(self, call_id: str, wanted: Wanted, at: Instant) -> Events:
        """What is wanted at the route point has been found out."""
        call = self._calls.get(call_id)
        if call is None or call.wanted is not None:
            return ()
        self._calls[call_id] = replace(call, wanted=wanted)
        return (self._offered(call, wanted),)

    def admitted(self, call_id: str, at: Instant) -> Events:
        """Control has let it go on: now it hears what has happened meanwhile."""
        call = self._calls.get(call_id)
        if call is None:
            return ()
        call = self._calls[call_id] = replace(call, admitted=True)
        rings = any(self._legs[key].status is Status.RINGING for key in call.legs if key != call.gate)
        return (*((Alerting(self._key(call), at),) if rings else ()), *self._answer(call))

    def routing(self, call_id: str) -> None:
        """3CX is being asked to connect it."""
        if (call := self._calls.get(call_id)) is not None:
            self._calls[call_id] = replace(call, routing=True)

    def routed(self, call_id: str, at: Instant, *, connected: bool, listed: bool) -> Events:
        """3CX has answered. `listed`: XAPI will tell when the call ends."""
        call = self._calls.get(call_id)
        if call is None:
            return ()
        if not connected:
            call = self._calls[call_id] = replace(call, routing=False)
            return () if call.legs or call.listed else self._release(call, at)
        if call.gate is not None:
            self._forget(call.gate, at)
        legs = call.legs - {call.gate}
        talks = not legs or any(self._legs[key].status is Status.CONNECTED for key in legs)
        answered = at if talks and call.answered is None else call.answered
        told = self._answer(replace(call, answered=answered)) if call.answered is None else ()
        call = replace(call, routing=False, legs=legs, listed=listed and not legs, answered=answered)
        self._calls[call_id] = call
        return told if legs or listed else (*told, *self._release(call, at))

    def listed(self, before: Collection[str], active: Mapping[str, Active], at: Instant) -> Events:
        """Of the calls that XAPI's list alone tells of (`before` we asked), those not in it have ended."""
        ended = [call for call in self.calls() if call.id in before and call.listed and call.group not in active]
        return tuple(event for call in ended for event in self._release(call, calls.end_of(call, at)))

    def take_up_listed(self, at: Instant) -> Events:
        """By a new websocket: calls of ours without a participant that XAPI shows to be connected.

        Where the PBX was started anew, its list has another call by that id.
        """
        others = [it for it in self.calls() if it.listed and calls.is_later(self._listed(it.group), it.answered)]
        told = tuple(event for call in others for event in self._release(replace(call, estimated=True), at))
        self._calls |= {call.id: call for call in self._memory.listed(self._active or {}, self._calls.keys())}
        return told

    # ---- participants and calls

    def _listed(self, group: str) -> Active | None:
        return self._active.get(group) if self._active is not None else None

    def _is_same(self, before: Participant, now: Participant) -> bool:
        call = self._calls.get(self._call_of.get(before.key, ""))
        since = None if call is None else call.began if before.key == call.gate else call.answered
        return calls.is_same(before, now) and not calls.is_later(self._listed(now.call), since)

    def _forget(self, key: Key, at: Instant) -> None:
        self._legs.pop(key, None)
        self._call_of.pop(key, None)
        self._gone.removed(key, at)

    def _enter(self, leg: Participant, at: Instant) -> Events:
        """A participant that belongs to no call: to one that is up, or to one that begins with it, or to none yet."""
        is_gate = leg.dn == self._site.route_point
        call = None if is_gate else self._joined(leg)
        if call is not None:
            return self._progress(self._join(call, leg), leg, at)
        call = self._resumed(leg, at)
        events: Events = ()
        if call is None:
            wanted = None if is_gate else self._wanted(leg, at)
            if wanted is None and not is_gate:
                return ()
            call = Call(id=calls.name_of(leg, at.wall_ms), group=leg.call, began=at, wanted=wanted)
            events = () if wanted is None else (self._offered(call, wanted),)
        call = self._join(replace(call, gate=leg.key if is_gate else None), leg)
        events += self._progress(call, leg, at)
        for other in tuple(self._legs.values()):
            if other.call == leg.call and other.key not in self._call_of:
                events += self._enter(other, at)
        return events

    def _join(self, call: Call, leg: Participant) -> Call:
        self._memory.had(call.id)
        self._call_of[leg.key] = call.id
        group = call.group if call.legs else leg.call
        legs = call.legs | {leg.key}
        call = replace(call, group=group, legs=legs, listed=False, left=None, estimated=False)
        self._calls[call.id] = call
        return call

    def _joined(self, leg: Participant) -> Call | None:
        for call in self._calls.values():
            if (call.group == leg.call and calls.belongs(leg, call)) or calls.continued_from(leg, call):
                return call
        return None

    def _resumed(self, leg: Participant, at: Instant) -> Call | None:
        """The call that control knows from before our start, if this is it."""
        active = self._listed(leg.call)
        gate = self._site.route_point
        beside = [it for it in self._shown if it.call == leg.call and it.number != gate] if leg.dn == gate else None
        call_id = self._memory.found(leg, active, self._calls.keys(), beside)
        if call_id is None:
            return None
        wanted = calls.wanted_by(leg, self._site, self._watched, active) or calls.some_call(leg)
        return Call(id=call_id, group=leg.call, began=at, wanted=wanted, admitted=True)

    def _wanted(self, leg: Participant, at: Instant) -> Wanted | None:
        """What the call of an extension is; None where it is not to be asked for (yet)."""
        if self._site.mode is Mode.ROUTE_POINT:
            if leg.is_external and leg.status is Status.DIALING and leg.key not in self._let_pass:
                self._let_pass.add(leg.key)
                self.ungated += 1
            return None
        past = self._gone.continued_by(leg)
        if past is not None and past.wanted is not None:
            return replace(past.wanted, own=leg.dn)
        wanted = calls.wanted_by(leg, self._site, self._watched, self._listed(leg.call))
        if wanted is not None and wanted.direction is Direction.INBOUND and not wanted.b_number:
            if leg.key not in self._let_pass:
                self._let_pass.add(leg.key)
                self.unnumbered += 1
            return None
        return wanted

    def _regrouped(self, leg: Participant, at: Instant) -> Events:
        """Who takes the other side along into a conference goes on talking to it."""
        self._legs[leg.key] = leg
        call = self._calls.get(self._call_of.get(leg.key, ""))
        if call is not None and leg.party_type == CONFERENCE:
            return self._progress(self._join(replace(call, legs=call.legs - {leg.key}), leg), leg, at)
        return (*self._leave(leg.key, at, lingers=True), *self._enter(leg, at))

    def _progress(self, call: Call, leg: Participant, at: Instant) -> Events:
        """What this news of a participant means for its call."""
        events: Events = ()
        if leg.is_external and leg.party and call.trunk_out is None:
            call = self._calls[call.id] = replace(call, trunk_out=leg.party)
        if leg.status is Status.RINGING and call.admitted and call.answered is None and leg.key != call.gate:
            events = (Alerting(self._key(call), at),)
        if call.answered is None and calls.answers(leg, call, self._site):
            known = self._listed(call.group) if call.gate is None else None  # for XAPI that one talks as it waits there
            since = known.established if known is not None and known.established is not None else at
            if call.gate is not None:
                self._forget(call.gate, at)
            call = replace(call, answered=since, routing=False, legs=call.legs - {call.gate})
            self._calls[call.id] = call
            events += self._answer(call)
        return events

    def _answer(self, call: Call) -> Events:
        """Told once the call is admitted: control does not listen before."""
        if not call.admitted or call.answered is None or call.wanted is None:
            return ()
        outgoing = call.wanted.direction is Direction.OUTBOUND
        return (Answered(self._key(call), call.answered, trunk_out=call.trunk_out if outgoing else None),)

    def _leave(self, key: Key, at: Instant, *, estimated: bool = False, lingers: bool) -> Events:
        call = self._calls.get(self._call_of.pop(key, ""))
        if call is None:
            return ()
        call = self._calls[call.id] = replace(call, legs=call.legs - {key})
        if call.legs or call.routing or call.listed:
            return ()
        call = replace(call, estimated=estimated and call.answered is not None)
        if not lingers or call.answered is None:
            return self._release(call, at)
        self._calls[call.id] = call = replace(call, left=at)
        for leg in self._legs.values():
            if leg.key not in self._call_of and leg.key != key and calls.continued_from(leg, call):
                return self._progress(self._join(call, leg), leg, at)
        return ()

    def _release(self, call: Call, at: Instant) -> Events:
        del self._calls[call.id]
        if call.wanted is None:
            return ()
        ended = replace(call, ended=at)
        self._gone.ended(ended)
        self.finished.append(ended)
        return (Released(self._key(call), at, answered_at=call.answered, estimated=call.estimated),)

    def _offered(self, call: Call, wanted: Wanted) -> Offered:
        trunk = wanted.trunk if wanted.trunk is not None and self._is_trunk(wanted.trunk) else None
        return calls.offered(self._key(call), call.began, wanted, self._site.account, trunk)

    def _key(self, call: Call) -> CallKey:
        return CallKey(self._switch, call.id)
