"""What a Kamailio tells, as what happened to calls. Values in, values out: no I/O, no clock.

A call is one dialog. Its id is `Call-ID;From-tag;ENTRY.ID`: what the caller says, and then Kamailio's own number of the
dialog, for a caller may send the same Call-ID again (RFC 3261 wants it of one that is asked for a password). All of it
is known before callctl has answered, so the end of a call that was given up meanwhile finds its call.

The end may be told twice, or never: Kamailio 5.6 loses it when both sides answer its BYEs at once. Nothing waits for
it: what was hung up is over when Kamailio has sent the BYEs, and the list tells the rest.
"""

import re
from collections.abc import Collection, Iterable
from typing import Final

import msgspec
from msgspec.structs import replace

from callctl.adapters.kamailio.wire import Dialog, Message
from callctl.adapters.switch_time import SwitchTime, agree
from callctl.call.events import Alerting, Answered, CallEvent, CallKey, Offered, Released, ReleasedBy, SeenAlive
from callctl.clock import Instant
from callctl.rating.tariff import Direction

OVER: Final = 5  # Dialog.state
TALKING: Final = (3, 4)
CANCELLED: Final = 487
BY: Final = {"caller": ReleasedBy.CALLER, "callee": ReleasedBy.CALLEE}
DIRECTIONS: Final = {direction.value: direction for direction in Direction}
_NAME = re.compile(r"(.+);[^;]*;([0-9]{1,10})\.([0-9]{1,10})")
_CAUSE = re.compile(r"Q\.850\s*;(?:[^,]*;)?\s*cause\s*=\s*(\d{1,3})", re.IGNORECASE)  # RFC 3326

Events = tuple[CallEvent, ...]


class Leg(msgspec.Struct, frozen=True):
    """A call in the book. `index` and `label` name the transaction that waits for callctl's answer.

    `offered`: it has been told of; a list may show its dialog a moment before.
    `emergency`: Kamailio has let it pass without asking, and nobody may touch it. `hung_up`: by us, `q850` is what we
    said. `refused`: its end is known already. `granted_s` is armed at the answer; `limit` is when Kamailio's timer is
    to end the call, as far as we know.
    """

    h_entry: int
    h_id: int
    call: str = ""
    index: int = 0
    label: int = 0
    offered: bool = False
    emergency: bool = False
    refused: bool = False
    granted_s: int | None = None
    answered: Instant | None = None
    limit: Instant | None = None
    hung_up: int | None = None


class Translator:
    """Keeps the book of live calls. An entry goes with the call's end, or when a list lacks it."""

    def __init__(self, switch: str, time: SwitchTime) -> None:
        self._switch = switch
        self._time = time
        self._legs: dict[str, Leg] = {}
        self._complete = False

    def relinked(self) -> None:
        """Until the next list there may be calls that are not in the book: those of a process before this one."""
        self._complete = False

    def translate(self, message: Message, now: Instant) -> Events:
        """What an event means. Never raises."""
        if message.h_entry < 0 or message.h_id < 0 or not message.call:
            return ()
        at, stated = self._time.place_next(message.at, now)
        key = self._key(message)
        match message.event:
            case "offer":
                return self._offered(key, message, at)
            case "ringing" if key.call_id in self._legs:
                return (Alerting(key, at),)
            case "answered":
                return self._answered(key, message, at, stated)
            case "ended":
                return self._ended(key, message, at, stated)
            case _:
                return ()

    def leg(self, call_id: str) -> Leg | None:
        """Of a call that is not in the book (any more): what its id tells, if it is one of a Kamailio."""
        return self._legs.get(call_id) or _named(call_id)

    def known(self) -> frozenset[str]:
        """The ids of the calls in the book."""
        return frozenset(self._legs)

    def admitting(self, call_id: str, granted_s: int) -> None:
        """Kamailio is told so."""
        self._change(call_id, granted_s=granted_s)

    def refusing(self, call_id: str) -> None:
        """Kamailio is told so; the end says nothing new."""
        self._change(call_id, refused=True)

    def armed(self, call_id: str, limit: Instant) -> None:
        """Kamailio has set its timer."""
        self._change(call_id, limit=limit)

    def hanging_up(self, call_id: str, q850: int) -> None:
        """Kamailio is told so."""
        self._change(call_id, hung_up=q850)

    def gone(self, call_id: str, at: str, now: Instant) -> Events:
        """Kamailio has hung up as it was told, at its `at`; the end may have been reported by itself."""
        leg = self._legs.get(call_id)
        if leg is None or leg.answered is None:
            return ()  # of one that rang the end is always told
        del self._legs[call_id]
        ended, stated = self._time.place_next(at, now)
        stated = stated and agree(leg.answered, ended)
        by, call = ReleasedBy.CALLCTL, CallKey(self._switch, call_id)
        return (Released(call, ended, stated, q850=leg.hung_up, released_by=by, answered_at=leg.answered),)

    def listed(self, dialogs: Iterable[Dialog], before: Collection[str], now: Instant) -> list[SeenAlive]:
        """The calls in a list; the book is made to agree.

        `before`: the calls known when the list was asked for. Of these, what is not in it is gone; a call that began
        since is not judged.
        """
        seen: dict[str, SeenAlive] = {}
        for dialog in dialogs:
            if dialog.state != OVER:
                call = self._key(dialog)
                seen[call.call_id] = SeenAlive(call, now, self._take_up(call.call_id, dialog, now))
        self._complete = True
        for call_id in before:
            if call_id not in seen:
                self._legs.pop(call_id, None)
        return list(seen.values())

    def _take_up(self, call_id: str, dialog: Dialog, now: Instant) -> Instant | None:
        leg = self._legs.get(call_id) or Leg(dialog.h_entry, dialog.h_id, dialog.call)
        if leg.answered is None and dialog.state in TALKING and dialog.start_ts > 0:
            # Whole seconds: nobody pays for the part of the first one in which there may have been no answer yet.
            leg = replace(leg, answered=self._time.place(f"{dialog.start_ts}.999", now)[0])
        self._legs[call_id] = leg
        return leg.answered

    # ---- events, by name

    def _offered(self, key: CallKey, message: Message, at: Instant) -> Events:
        if (leg := self._legs.get(key.call_id)) is not None and leg.offered:
            return ()
        self._legs[key.call_id] = Leg(
            message.h_entry,
            message.h_id,
            message.call,
            message.index,
            message.label,
            offered=True,
            emergency=message.emergency,
        )
        offered = Offered(
            key,
            at,
            a_number=message.from_,
            b_number=message.to,
            direction=DIRECTIONS.get(message.direction, Direction.OUTBOUND),
            account=message.account or None,
            source_ip=message.source or None,
            can_extend=True,
            attended=True,
            emergency=message.emergency,
        )
        return (offered,)

    def _answered(self, key: CallKey, message: Message, at: Instant, stated: bool) -> Events:
        leg = self._legs.get(key.call_id) or self._of_before(message)
        if leg is None or leg.answered is not None:
            return ()
        limit = None if leg.granted_s is None else at.plus_ms(leg.granted_s * 1000)
        self._legs[key.call_id] = replace(leg, answered=at, limit=limit)
        return (Answered(key, at, stated, trunk_out=message.trunk or None),)

    def _ended(self, key: CallKey, message: Message, at: Instant, stated: bool) -> Events:
        leg = self._legs.pop(key.call_id, None) or self._of_before(message)
        if leg is None or leg.refused:
            return ()
        answered = leg.answered
        if answered is None and message.answered:  # which was not told
            answered = self._time.place(message.answered, at)[0]
        ended = Released(
            key,
            at,
            stated and agree(answered, at),
            q850=_cause(message.cause) or leg.hung_up,
            sip_code=message.code if answered is None and message.code >= 300 else None,
            released_by=_ended_by(message, leg, answered),
            answered_at=answered,
        )
        return (ended,)

    # ---- the book

    def _of_before(self, message: Message) -> Leg | None:
        return None if self._complete else Leg(message.h_entry, message.h_id, message.call)

    def _change(self, call_id: str, **fields: int | Instant) -> None:
        leg = self._legs.get(call_id)
        if leg is not None:
            self._legs[call_id] = replace(leg, **fields)

    def _key(self, of: Message | Dialog) -> CallKey:
        return CallKey(self._switch, f"{of.call};{of.tag};{of.h_entry}.{of.h_id}")


def _ended_by(message: Message, leg: Leg, answered: Instant | None) -> ReleasedBy:
    """A BYE says who sent it. Without one, an answered call was ended by us, or by the timer that we have set."""
    if message.by in BY:
        return BY[message.by]
    if leg.hung_up is not None or answered is not None:
        return ReleasedBy.CALLCTL
    return ReleasedBy.CALLER if message.code in (0, CANCELLED) else ReleasedBy.NETWORK


def _named(call_id: str) -> Leg | None:
    found = _NAME.fullmatch(call_id)
    return Leg(int(found[2]), int(found[3]), found[1]) if found else None


def _cause(reason: str) -> int | None:
    """The Q.850 cause of a Reason header; None where there is none, or 0."""
    found = _CAUSE.search(reason)
    return int(found[1]) or None if found else None
