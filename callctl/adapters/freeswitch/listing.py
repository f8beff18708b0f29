"""Which calls are up, from the list of channels and the dumps of some. Values in, values out: no I/O, no clock.

The list is a copy that lags behind the events by a third of a second: it may miss a fresh leg and have a dead one, and
it tells no time of an answer. A dump is the truth.
"""

from collections.abc import Callable, Collection, Mapping

from msgspec.structs import replace

from callctl.adapters.freeswitch.book import Book
from callctl.adapters.freeswitch.legs import (
    CALL,
    FORMER,
    Legs,
    answered_us,
    begun,
    is_at_gate,
    is_ingress,
    met,
    variable,
)
from callctl.adapters.freeswitch.times import SwitchTime
from callctl.adapters.freeswitch.wire import Event
from callctl.call.events import CallKey, Offered, Released, SeenAlive
from callctl.clock import Instant

Dumps = Mapping[str, Event | None]
"""By uuid; None: there is no such channel."""


def to_look_at(book: Book, rows: Collection[Event], *, after_outage: bool) -> list[str]:
    """The legs to have dumped: those in the list of which too little is known, and those that it lacks.

    A leg that another one has dialled needs no look of its own while that one is there. `after_outage`: nor is the
    list believed of calls that we know, for they may have ended a moment ago without our hearing of it.
    """
    listed = {row.get("uuid", "") for row in rows}
    dialling = {row.get("uuid", "") for row in rows if row.get("direction") == "inbound"}
    alone = {row.get("uuid", "") for row in rows if row.get("call_uuid") not in dialling}
    known = {leg: legs.answered is not None and leg in listed for legs in book for leg in legs.both}
    settled = {leg for leg, is_settled in known.items() if is_settled and not after_outage}
    return sorted(((dialling | alone | known.keys()) - settled) - {""})


def take_up(
    book: Book,
    time: SwitchTime,
    dumps: Dumps,
    ended: Collection[str],
    offer: Callable[[Event, Instant], Collection[Offered]],
    now: Instant,
) -> list[Offered]:
    """Enter into the book what was dumped, less what has `ended` meanwhile. Answers the calls that wait at the gate."""
    alive = {uuid: dump for uuid, dump in dumps.items() if dump is not None and uuid not in ended}
    offered: list[Offered] = []
    for uuid, dump in alive.items():
        call_id, former = variable(dump, CALL), variable(dump, FORMER)
        begun_here = book.of_ingress(uuid)
        if former and book.get(former) is None:
            _take_up_carrier(book, time, former, dump, now)
        if begun_here is not None:
            _take_up_ingress(book, time, begun_here, dump, now)
        elif is_ingress(uuid, call_id):
            _take_up_ingress(book, time, begun(call_id, dump), dump, now)
        elif not call_id and is_at_gate(dump):
            offered += offer(dump, now)
        elif call_id and book.get(call_id) is None and book.of_carrier(uuid) is None and not _is_up(call_id, alive):
            _take_up_carrier(book, time, call_id, dump, now)
    return offered


def strike_out(
    book: Book, rows: Collection[Event], dumps: Dumps, ended: Collection[str], before: Collection[str]
) -> list[Released]:
    """Forget those of the calls known `before` that are gone. Answers the ends of which one leg has told."""
    alive = {row.get("uuid", "") for row in rows} | dumps.keys()
    alive -= {uuid for uuid, dump in dumps.items() if dump is None} | set(ended)
    told = []
    for call_id in before:
        legs = book.get(call_id)
        if legs is None or (legs.ended is not None and not legs.left):  # which is told in a moment
            continue
        if (legs.carrier if legs.left or legs.answered is not None else legs.ingress) not in alive:
            book.forget(call_id)
            told += [legs.ended] if legs.ended is not None else []
        elif legs.ended is not None and legs.answered is not None:  # where not, a heartbeat tells of the answer
            book.remember(replace(legs, ended=None))
    return told


def seen_alive(book: Book, switch: str, now: Instant) -> list[SeenAlive]:
    return [SeenAlive(CallKey(switch, legs.call_id), now, legs.answered) for legs in book]


def _is_up(call_id: str, alive: Collection[str]) -> bool:
    return any(is_ingress(uuid, call_id) for uuid in alive)


def _take_up_ingress(book: Book, time: SwitchTime, legs: Legs, dump: Event, now: Instant) -> None:
    if legs.answered is None:
        legs = met(legs, dump)
        legs = replace(legs, answered=time.place(legs.answered_us // 1000, now)) if legs.answered_us else legs
    book.remember(legs)


def _take_up_carrier(book: Book, time: SwitchTime, call_id: str, dump: Event, now: Instant) -> None:
    """Its ingress leg is gone."""
    legs, at_us = begun(call_id, dump), answered_us(dump)
    if at_us:
        answered = time.place(at_us // 1000, now)
        legs = replace(legs, carrier=legs.ingress, ingress="", left=True, answered=answered)
        book.remember(replace(legs, ingress_answered_us=at_us, carrier_answered_us=at_us))
