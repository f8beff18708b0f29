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
from callctl.adapters.threecx.asking import Asking
from callctl.adapters.threecx.calls import LISTED_LATE_MS, Active, Call, Mode, Site, Wanted
from callctl.adapters.threecx.gone import Gone
from callctl.adapters.threecx.legs import GONE_FOR_MS, Legs
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
        self.legs = Legs()
        self.finished: list[Call] = []
        self.asking = Asking(site)
        self._switch = switch
        self._site = site
        self._is_trunk = is_trunk
        self._memory = Memory(known)
        self._calls: dict[str, Call] = {}
        self._gone = Gone()
        self._active: Mapping[str, Active] | None = None
        self._watched: frozenset[str] = frozenset()
        self._shown: tuple[Participant, ...] = ()

    # ---- what is known

    def call(self, call_id: str) -> Call | None:
        return self._calls.get(call_id)

    def calls(self) -> tuple[Call, ...]:
        return tuple(self._calls.values())

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
        if not self._site.concerns(participant.dn) or self.legs.is_gone(key, at):
            return ()
        before = self.legs.get(key)
        if before is not None and before.call != participant.call:  # the PBX has joined two calls
            return self._regrouped(replace(participant, has_rung=participant.after(before).has_rung), at)
        leg = participant if before is None else participant.after(before)
        self.legs.put(leg)
        call = self.legs.call_of(key, self._calls)
        if call is None:
            return self._enter(leg, at)
        if before is not None and calls.has_moved(leg, before, call):
            by = leg.referred_by or (before.party if before.party in self._watched else "")
            return (*self._leave(key, at, lingers=False), *self._enter(replace(leg, referred_by=by), at))
        return self._progress(call, leg, at)

    def removed(self, key: Key, at: Instant, *, lingers: bool = True) -> Events:
        """3CX says that it is gone. `lingers`: see `left`."""
        return self._remove(key, at, at.plus_ms(GONE_FOR_MS), lingers=lingers)

    def missing(self, key: Key, at: Instant, now: Instant) -> Events:
        """It has changed, and was not to be found by now. What is told of it from now on is believed."""
        return self._remove(key, at, now)

    def left(self, now: Instant, for_ms: int, active: Mapping[str, Active] | None = None) -> Events:
        """The ends of talks whose last participant has gone so long ago, but for those that XAPI shows to go on."""
        ended: list[Call] = []
        for call in self.calls():
            if call.left is None or not call.lingers or now.since_ms(call.left) < for_ms:
                continue
            shown = None if active is None else active.get(call.group)
            if shown is None or shown.established is None:
                ended.append(call)
            elif not self._is_stale(call.group, shown):
                self._calls[call.id] = replace(call, listed=True)
            elif now.since_ms(call.left) >= LISTED_LATE_MS:
                ended.append(call)
        return tuple(event for call in ended for event in self._release(call, call.left or now))

    def snapshot(self, shown: Snapshot, before: Collection[Key], at: Instant, *, fresh: bool) -> Events:
        """All that is shown. What was in the book `before` we asked, at that moment, and is not shown is gone.

        `fresh`: the first by a new websocket. The PBX may have been started anew, and its ids be others' now.
        """
        self._watched, self._shown = frozenset(filter(self._site.concerns, shown.dns)), shown.participants
        self.legs.forget(at)
        self._gone.forget(at)
        events: list[CallEvent] = []
        now = {participant.key: participant for participant in shown.participants}
        known = [leg for key in before if (leg := self.legs.get(key)) is not None]
        others = {leg.call for leg in known if fresh and leg.key in now and not self._is_same(leg, now[leg.key])}
        for leg in known:
            key = leg.key
            if leg.call in others and (call := self.legs.call_of(key, self._calls)) is not None:
                self._calls[call.id] = replace(call, routing=False)
            if key not in now or leg.call in others:
                events += self._remove(key, at, at, estimated=True, lingers=not fresh)
        if fresh:
            self.legs.renumbered()
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
        rings = any(self.legs[key].status is Status.RINGING for key in call.legs if key != call.gate)
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
        talks = not legs or any(self.legs[key].status is Status.CONNECTED for key in legs)
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
        up = {group: shown for group, shown in (self._active or {}).items() if not self._is_stale(group, shown)}
        self._calls |= {call.id: call for call in self._memory.listed(up, self._calls.keys())}
        self.finished += self._memory.ended(self._site.route_point, self._calls.keys(), at)
        return told

    # ---- participants and calls

    def _listed(self, group: str) -> Active | None:
        return self._active.get(group) if self._active is not None else None

    def _is_stale(self, group: str, shown: Active) -> bool:
        return shown.is_stale(self._watched - {self._site.route_point}, {leg.dn for leg in self.legs.of(group)})

    def _is_same(self, before: Participant, now: Participant) -> bool:
        call = self.legs.call_of(before.key, self._calls)
        since = None if call is None else call.began if before.key == call.gate else call.answered
        return calls.is_same(before, now, self._site.route_point) and not calls.is_later(self._listed(now.call), since)

    def _remove(
        self, key: Key, at: Instant, until: Instant, *, estimated: bool = False, lingers: bool = True
    ) -> Events:
        """`until`: see `Legs.remove`. `estimated`: it was found missing, and nobody saw it go."""
        self.legs.remove(key, until)
        self.asking.forget(key)
        return self._leave(key, at, estimated=estimated, lingers=lingers)

    def _forget(self, key: Key, at: Instant) -> None:
        self.legs.leave(key)
        self.legs.remove(key, at.plus_ms(GONE_FOR_MS))

    def _enter(self, leg: Participant, at: Instant) -> Events:
        """A participant that belongs to no call: to one that is up, or to one that begins with it, or to none yet."""
        is_gate = leg.dn == self._site.route_point
        call = None if is_gate else self._joined(leg)
        if call is not None:
            return self._progress(self._join(call, leg), leg, at)
        call = self._resumed(leg, at)
        events: Events = ()
        if call is None:
            wanted = None if is_gate else self._wanted(leg)
            if wanted is None and not is_gate:
                return ()
            call = Call(id=calls.name_of(leg, at.wall_ms), group=leg.call, began=at, wanted=wanted)
            events = () if wanted is None else (self._offered(call, wanted),)
        call = self._join(replace(call, gate=leg.key if is_gate else None), leg)
        events += self._progress(call, leg, at)
        for other in self.legs.unclaimed():
            if other.call == leg.call:
                events += self._enter(other, at)
        return events

    def _join(self, call: Call, leg: Participant) -> Call:
        self._memory.had(call.id)
        self.legs.join(leg.key, call)
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

    def _wanted(self, leg: Participant) -> Wanted | None:
        """What the call of an extension is; None where it is not to be asked for (yet)."""
        past = self._gone.continued_by(leg) if self._site.mode is Mode.OBSERVE else None
        if past is not None and past.wanted is not None:
            return replace(past.wanted, own=leg.dn)
        return self.asking.wanted(leg, self._watched, self._listed(leg.call))

    def _regrouped(self, leg: Participant, at: Instant) -> Events:
        """Who takes the other side along into a conference goes on talking to it."""
        self.legs.put(leg)
        call = self.legs.call_of(leg.key, self._calls)
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
            waited = calls.dn_in(call.id) == self._site.route_point  # and for XAPI it talked there
            known = None if waited else self._listed(call.group)
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
        call = self.legs.call_of(key, self._calls)
        self.legs.leave(key)
        if call is None:
            return ()
        call = self._calls[call.id] = replace(call, legs=call.legs - {key})
        if call.legs or call.routing or call.listed:
            return ()
        call = replace(call, estimated=estimated and call.answered is not None)
        if not lingers or call.answered is None:
            return self._release(call, at)
        self._calls[call.id] = call = replace(call, left=at)
        for leg in self.legs.unclaimed():
            if leg.key != key and calls.continued_from(leg, call):
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
