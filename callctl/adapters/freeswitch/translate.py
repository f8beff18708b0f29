"""What a FreeSWITCH tells, as what happened to calls. Values in, values out: no I/O, no clock.

A call is named by the uuid of its ingress leg, which the variable `callctl_call` hands on to the legs that it dials.
It begins when that leg parks at the gate of docker/freeswitch. Charging runs from the answer of the ingress leg, which
follows that of the carrier leg by some 20 ms, to its end, by the leg's own microseconds: that is `billusec`. (`billsec`
is a difference of whole seconds.) A leg that was answered already, as behind an announcement, is charged from the
answer of the carrier leg.

Transfers. Whoever leaves a call, it is charged until its carrier leg ends. No event tells for certain that a leg has
given the other one away; that this one lives on for a second does. The leg that is sent on comes to the gate again, and
is a call of its own there: paid by the party that sent it on, if that is a customer here, else refused. A leg that
talks to another one past the gate is a `Stray`.

Events come in order, but any may come twice or be lost, so each handler looks only at what the book says.
"""

from collections.abc import Callable
from typing import Final

import msgspec
from msgspec.structs import replace

from callctl.adapters.freeswitch import ends
from callctl.adapters.freeswitch.book import Book
from callctl.adapters.freeswitch.legs import (
    CALL,
    Legs,
    answered_us,
    begun,
    is_at_gate,
    is_ingress,
    met,
    next_call_id,
    number_of,
    originator,
    sent_on_by_a_customer,
    trunk_of,
    uuid_of,
    variable,
)
from callctl.adapters.freeswitch.times import SwitchTime, to_us
from callctl.adapters.freeswitch.wire import Event
from callctl.call.events import Alerting, Answered, CallEvent, CallKey, Offered, Released, ReleasedBy
from callctl.clock import Instant
from callctl.rating.tariff import Direction

SUBSCRIBED: Final = (
    "CHANNEL_PARK CHANNEL_PROGRESS CHANNEL_PROGRESS_MEDIA CHANNEL_ANSWER CHANNEL_BRIDGE CHANNEL_HANGUP_COMPLETE"
    " HEARTBEAT CUSTOM callctl::emergency"
)
"""No more than is read: each event of a channel is 5 to 12 kB. CUSTOM is last: its subclasses follow."""

BOTH_ENDS_WITHIN_MS: Final = 1_000
"""Of a call that just ends, both legs end within some 40 ms."""


class Stray(msgspec.Struct, frozen=True):
    """A leg that talks, and that nobody has authorized. It is to be hung up."""

    uuid: str


class Leftover(msgspec.Struct, frozen=True):
    """The ingress leg of a call that was over before has ended, and so has left a note."""

    call_id: str


Told = tuple[CallEvent | Stray | Leftover, ...]


class Translator:
    """Keeps the book of the legs of live calls. An entry goes with the call's end, or when a list lacks it."""

    def __init__(self, switch: str, time: SwitchTime, is_trunk: Callable[[str], bool]) -> None:
        """`is_trunk` says whether a name is that of a trunk that callctl knows."""
        self._switch = switch
        self._time = time
        self._is_trunk = is_trunk
        self.book = Book()
        self.ended: set[str] = set()
        """The legs that have ended since the last list."""
        self._handlers: dict[str, Callable[[Event, Instant], Told]] = {
            "CHANNEL_PARK": self.parked,
            "CUSTOM": self._emergency,
            "CHANNEL_PROGRESS": self._progress,
            "CHANNEL_PROGRESS_MEDIA": self._progress,
            "CHANNEL_ANSWER": self._answer,
            "CHANNEL_BRIDGE": self._bridge,
            "CHANNEL_HANGUP_COMPLETE": self._hangup,
            "HEARTBEAT": self._heartbeat,
        }

    def translate(self, event: Event, now: Instant) -> Told:
        """What an event means; mostly nothing. Never raises."""
        handler = self._handlers.get(event.get("Event-Name", ""))
        if handler is None:
            return ()
        self._time.compare(event.get("Event-Date-Timestamp", ""), now)
        return handler(event, now)

    def knows(self, event: Event) -> bool:
        """Whether the leg, or the one that dialled it, is in the book; or its call, though it has left that."""
        return self._call_of(event) is not None or self.book.of_carrier(uuid_of(event)) is not None

    def ended_unseen(self, event: Event, now: Instant) -> Told:
        """The end of a call of another process, or from before an outage, that is not in the book: it tells all."""
        call_id = variable(event, CALL)
        if event.get("Event-Name") != "CHANNEL_HANGUP_COMPLETE" or not is_ingress(uuid_of(event), call_id):
            return ()
        self._time.compare(event.get("Event-Date-Timestamp", ""), now)
        return (self._released(self._answered(met(begun(call_id, event), event), now), event, now, ingress=True),)

    def ended_since(self) -> set[str]:
        """The legs that end from now on, growing."""
        self.ended = set()
        return self.ended

    def misses_an_end(self, now: Instant) -> bool:
        """Whether an ingress leg has ended, and its carrier leg has neither ended since nor been seen to live on."""
        return any(legs.left and _is_late(legs, now) for legs in self.book)

    def all_gone(self, last_heard: Instant) -> tuple[Released, ...]:
        """The switch has begun anew: every call has ended unseen, about when we last heard of it."""
        gone = tuple(self.book)
        for legs in gone:
            self.book.forget(legs.call_id)
        return tuple(
            Released(self._key(legs.call_id), last_heard, estimated=True, answered_at=legs.answered) for legs in gone
        )

    # ---- the gate

    def parked(self, event: Event, now: Instant) -> Told:
        """A channel waits at the gate: a call begins, unless it has already."""
        uuid = uuid_of(event)
        if not uuid or not is_at_gate(event):
            return ()
        before, former = self.book.of_ingress(uuid), self.book.of_carrier(uuid)
        if before is None:
            return (self._offer(next_call_id(event), event, former, now, sent_by_ingress=True),)
        if variable(event, CALL) != before.call_id:
            return ()  # told twice: it was not admitted yet when this was
        told = self._moved_on(before) if before.answered is not None else self._given_up(before, event, now)
        return (*told, self._offer(next_call_id(event), event, before, now, sent_by_ingress=False))

    def _offer(
        self, call_id: str, event: Event, former: Legs | None, now: Instant, *, sent_by_ingress: bool
    ) -> Offered:
        """`former`: the call that the leg was in, and was sent on from by its ingress leg, or by the other."""
        legs = replace(begun(call_id, event), offered=True)
        source = variable(event, "sip_network_ip") or event.get("Caller-Network-Addr", "")
        offered = Offered(
            self._key(legs.call_id),
            self._time.place(_happened_ms(event, now), now),
            a_number=number_of(event.get("Caller-Caller-ID-Number", "")),
            b_number=legs.called,
            direction=legs.direction,
            account=variable(event, "callctl_account") or variable(event, "accountcode") or None,
            trunk=self._trunk(event),
            source_ip=source or None,
            can_extend=True,
            attended=True,
            emergency=legs.emergency,
        )
        if former is not None:
            carries = former.call_id if sent_by_ingress else ""
            legs = replace(legs, direction=Direction.OUTBOUND, former=carries)
            payer = former.payer if sent_on_by_a_customer(event, former, sent_by_ingress) else None
            caller = offered.a_number if payer else ""  # nobody is to be found by a number that is another's
            offered = replace(
                offered, direction=legs.direction, account=payer, trunk=None, source_ip=None, a_number=caller
            )
        self.book.remember(legs)
        return offered

    def _trunk(self, event: Event) -> str | None:
        named = (
            variable(event, "callctl_line"),
            variable(event, "sip_gateway"),
            variable(event, "sofia_profile_name"),
        )
        return next((name for name in named if name and self._is_trunk(name)), None)

    def admitted(self, call_id: str, payer: str) -> None:
        legs = self.book.get(call_id)
        if legs is not None:
            self.book.remember(replace(legs, payer=payer))

    def _emergency(self, event: Event, now: Instant) -> Told:
        """The dialplan has let it pass without asking."""
        uuid = uuid_of(event)
        known = self.book.of_ingress(uuid)
        if variable(event, "callctl_emergency") != "yes" or not uuid or (known is not None and known.offered):
            return ()
        return (self._offer(uuid, event, None, now, sent_by_ingress=False),)

    # ---- the call

    def _progress(self, event: Event, now: Instant) -> Told:
        legs = self._call_of(event)
        if legs is None or legs.answered is not None:
            return ()
        return (Alerting(self._key(legs.call_id), self._time.place(_happened_ms(event, now), now)),)

    def _answer(self, event: Event, now: Instant) -> Told:
        legs, at_us = self._call_of(event), answered_us(event)
        if legs is None or not at_us:
            return ()
        if legs.answered is not None:
            if uuid_of(event) in (legs.ingress, legs.carrier):
                return ()
            return self._dialled_on(replace(legs, again=uuid_of(event)))
        if uuid_of(event) == legs.ingress:
            legs = replace(legs, ingress_answered_us=at_us)
        else:
            legs = replace(legs, carrier=uuid_of(event), trunk_out=trunk_of(event), carrier_answered_us=at_us)
        return self._both_answered(legs, now)

    def _bridge(self, event: Event, now: Instant) -> Told:
        """Two legs talk. It tells who was answered even if that event was lost, and whom nobody has authorized."""
        legs = self.book.of_ingress(uuid_of(event))
        other = event.get("Other-Leg-Unique-ID") or event.get("Bridge-B-Unique-ID", "")
        if legs is None or not other or event.get("Other-Type") != "originatee":
            return ()
        if legs.partner and legs.answered is not None:
            return self._dialled_on(replace(legs, partner=other))
        bridged = replace(met(legs, event), partner=other)  # by early media before the answer, and not again
        if other == legs.carrier:  # whose own answer has told more of it
            bridged = replace(bridged, trunk_out=legs.trunk_out)
        if legs.answered is None:
            return self._both_answered(bridged, now)
        self.book.remember(bridged)
        return ()

    def _dialled_on(self, legs: Legs) -> Told:
        """The ingress leg has dialled another one, or is connected to another. Where both is true, nobody was asked."""
        self.book.remember(legs)
        if legs.again != legs.partner or legs.emergency:
            return ()
        return (*self._moved_on(legs), Stray(legs.again))

    def _both_answered(self, legs: Legs, now: Instant) -> Told:
        legs = self._answered(legs, now)
        self.book.remember(legs)
        if legs.answered is None:
            return ()
        return (Answered(self._key(legs.call_id), legs.answered, stated=True, trunk_out=legs.trunk_out),)

    def _answered(self, legs: Legs, now: Instant) -> Legs:
        return replace(legs, answered=self._time.place(legs.answered_us // 1000, now)) if legs.answered_us else legs

    # ---- the end

    def _hangup(self, event: Event, now: Instant) -> Told:
        uuid = uuid_of(event)
        self.ended.add(uuid)
        told: list[CallEvent | Stray | Leftover] = []
        carried = self.book.of_carrier(uuid)
        if carried is not None:
            told += self._carrier_ended(carried, event, now)
        legs = self.book.of_ingress(uuid)
        if legs is not None:
            told += self._ingress_ended(legs, event, now)
        call_id = variable(event, CALL)
        if legs is None and is_ingress(uuid, call_id) and self.book.get(call_id) is None:
            told.append(Leftover(call_id))
        return tuple(told)

    def _ingress_ended(self, legs: Legs, event: Event, now: Instant) -> Told:
        carried = self.book.of_carrier(event.get("Other-Leg-Unique-ID", ""))
        if legs.answered is None and carried in (None, legs):  # or nobody has told us of it
            legs = self._answered(met(legs, event), now)
            self.book.remember(legs)
        released = self._released(legs, event, now, ingress=True)
        if legs.carrier_answered_us and legs.ended is None and legs.carrier not in self.ended:
            self.book.leave(replace(legs, ended=released))
            return ()
        if legs.ended is not None and ends.apart_ms(legs.ended, released) > BOTH_ENDS_WITHIN_MS:
            released = legs.ended  # the caller went on alone: to a voice mailbox, to a queue
        self.book.forget(legs.call_id)
        return (released,)

    def _carrier_ended(self, legs: Legs, event: Event, now: Instant) -> Told:
        if legs.left:
            released = self._released(self._carried_on(legs, now), event, now, ingress=False)
            if legs.ended is not None and ends.apart_ms(legs.ended, released) <= BOTH_ENDS_WITHIN_MS:
                released = legs.ended
            self.book.forget(legs.call_id)
            return (released,)
        if legs.answered is None:  # and another one may be tried
            self.book.remember(replace(legs, carrier=None, trunk_out=None, carrier_answered_us=0))
        else:
            self.book.remember(replace(legs, ended=self._released(legs, event, now, ingress=False)))
        return ()

    def _carried_on(self, legs: Legs, now: Instant) -> Legs:
        """The ingress leg has left, answered or not, and the carrier leg talks to somebody."""
        legs = replace(legs, ended=None, ingress_answered_us=legs.ingress_answered_us or legs.carrier_answered_us)
        return self._answered(legs, now) if legs.answered is None else legs

    def _moved_on(self, legs: Legs) -> Told:
        """The ingress leg is not part of the call any more, which ends with its carrier leg."""
        if legs.ended is not None:
            self.book.forget(legs.call_id)
            return (legs.ended,)
        self.book.leave(legs)
        return ()

    def _given_up(self, legs: Legs, event: Event, now: Instant) -> Told:
        """Nobody has answered, and the switch sends the call on: to be a new one."""
        self.book.forget(legs.call_id)
        at = self._time.place(_happened_ms(event, now), now)
        return (Released(self._key(legs.call_id), at, stated=True, released_by=ReleasedBy.NETWORK),)

    def overdue(self, now: Instant) -> Told:
        """Calls whose carrier leg has ended, and whose ingress leg has not told of an end since: it goes on alone, or
        that was lost."""
        late = [legs for legs in self.book if _is_late(legs, now) and not legs.left]
        return tuple(told for legs in late for told in self._moved_on(legs))

    def _heartbeat(self, event: Event, now: Instant) -> Told:
        """It comes behind all that has happened: a carrier leg that has not told of an end since talks on."""
        left = [legs for legs in self.book if _is_late(legs, now) and legs.left and legs.answered is None]
        return tuple(told for legs in left for told in self._both_answered(self._carried_on(legs, now), now))

    def _released(self, legs: Legs, event: Event, now: Instant, *, ingress: bool) -> Released:
        return ends.released(self._key(legs.call_id), legs, event, now, self._time, ingress=ingress)

    def _call_of(self, event: Event) -> Legs | None:
        """Of a leg that was dialled beside others (`:_:`) only the variable tells who has dialled it."""
        legs = self.book.of_ingress(uuid_of(event)) or self.book.of_ingress(originator(event))
        return legs or self.book.get(variable(event, CALL))

    def _key(self, call_id: str) -> CallKey:
        return CallKey(self._switch, call_id)


def _is_late(legs: Legs, now: Instant) -> bool:
    """Whether one leg has ended, and the other one should have."""
    return legs.ended is not None and now.since_ms(legs.ended.at) > BOTH_ENDS_WITHIN_MS


def _happened_ms(event: Event, now: Instant) -> int:
    return to_us(event.get("Event-Date-Timestamp", "")) // 1000 or now.wall_ms
