"""What an Asterisk tells, as what happened to calls. Values in, values out: no I/O, no clock.

A call is named by the unique id of its ingress channel, which the dialplan hands on to every leg as `CC_CALL`.
A leg that takes the place of another in the talk has no such variable; Asterisk says whose place it took.
Legs are known by unique id: names and linked ids change. The order of events at the end of a call is not fixed, and
any event may come twice or be lost, so each handler looks only at what the book says of its channel.

Charging runs from the `DialEnd` ANSWER of the carrier leg that won to the `Hangup` of that leg. Local channels are
never a carrier leg: Asterisk takes them out of a running call. The `Cdr` event is not read: it has whole seconds, and
there may be several of one call.

Times. The wall half of an event's instant is Asterisk's own `Timestamp` (`timestampevents` of manager.conf), so that
durations are differences of one clock. `SwitchTime` places it on our monotonic clock, or says that Asterisk's clock was
set meanwhile: then it is not stated, and durations are measured by ours.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final

from msgspec.structs import replace

from callctl.adapters.asterisk import gate
from callctl.adapters.asterisk.bridges import Bridges
from callctl.adapters.asterisk.legs import Legs
from callctl.adapters.asterisk.wire import Message
from callctl.adapters.switch_time import MOST_DISORDER_MS, SwitchTime, agree
from callctl.call.events import Alerting, Answered, CallEvent, CallKey, Offered, Released, ReleasedBy, SeenAlive
from callctl.clock import Instant
from callctl.rating.tariff import Direction

STATUS_VARIABLES: Final = f"CC_CALL,CC_EMERGENCY,CDR(answer,u),{gate.DESCRIPTION}"
"""What `Translator.listed` reads of each channel, beyond the headers of every `Status` event."""

UP: Final = "6"  # ChannelState
ALERTING: Final = frozenset({"RINGING", "PROGRESS"})
OFFERS: Final = frozenset({"CCAuthorize", "CCEmergency"})

Events = tuple[CallEvent, ...]


class Translator:
    """Keeps the book of the channels of live calls. An entry goes with the call's end, or when a list lacks it."""

    def __init__(self, switch: str, time: SwitchTime, is_trunk: Callable[[str], bool]) -> None:
        """`is_trunk` says whether an endpoint is a trunk that callctl knows."""
        self._switch = switch
        self._time = time
        self._is_trunk = is_trunk
        self._calls: dict[str, Legs] = {}
        self._by_carrier: dict[str, str] = {}
        self._bridges = Bridges()
        self._gone: set[str] = set()  # since the last list; one that is on its way may show them still
        self._complete = False
        self.unheard: list[str] = []
        """The calls of which the last list has shown an answer that no event had told, though the link was up."""
        self._handlers: dict[str, Callable[[Message, Instant, bool], Events]] = {
            "UserEvent": self._user_event,
            "DialBegin": self._dial_begin,
            "DialState": self._dial_state,
            "DialEnd": self._dial_end,
            "BridgeEnter": self._bridge_enter,
            "HangupRequest": self._hangup_request,
            "Hangup": self._hangup,
        }

    def relinked(self) -> None:
        """Until the next list there may be calls that are not in the book: those of a process before this one."""
        self._complete = False
        self._bridges = Bridges()

    def translate(self, message: Message, now: Instant) -> Events:
        """What an event means; mostly nothing. Never raises."""
        handler = self._handlers.get(message.event)
        if handler is None:
            return ()
        if not self._complete:
            self._meet(message)
        at, stated = self._time.place_next(message.get("Timestamp"), now)
        return handler(message, at, stated)

    def compare(self, timestamp: str, now: Instant) -> None:
        """Asterisk has just said that it is `timestamp`."""
        self._time.compare(timestamp, now)

    def legs(self, call_id: str) -> Legs | None:
        return self._calls.get(call_id)

    def caller(self, legs: Legs) -> str:
        """Who talks with the carrier leg; the ingress channel, unless another has taken its place."""
        talking = [other for other in self._bridges.others(legs.carrier) if other not in self._by_carrier]
        return legs.ingress if not talking or legs.ingress in talking else talking[0]

    def goes_on(self, message: Message) -> bool:
        """Whether the ingress channel of a call that is over was connected anew, which nobody has allowed."""
        if message.get("DialStatus") != "ANSWER" or not self._complete:
            return False
        call_id = _call_of(message)
        return call_id != "" and call_id == message.get("Uniqueid") and call_id not in self._calls

    def known(self) -> frozenset[str]:
        """The ids of the calls in the book."""
        return frozenset(self._calls)

    def armed(self, call_id: str, limit: Instant) -> None:
        """The switch is told to end the call then."""
        legs = self._calls.get(call_id)
        if legs is not None:
            self._remember(replace(legs, limit=limit))

    def missed(self, channels: Iterable[Message], now: Instant) -> Events:
        """The calls of the first list that wait at the gate, and asked when nobody heard."""
        if self._complete:
            return ()
        waiting = gate.waiting(channels)
        return tuple(self._offered(channel, told, now) for channel, told in waiting if self._is_new(channel))

    def _is_new(self, channel: Message) -> bool:
        call_id = channel.get("Uniqueid")
        return _call_of(channel) == call_id not in self._calls and call_id not in self._gone

    def listed(self, channels: Iterable[Message], before: Collection[str], now: Instant) -> list[SeenAlive]:
        """The calls in a `Status` list; the book is made to agree.

        `before`: the calls known when the list was asked for. Of these, what is not in it is gone; a call that began
        since is not judged, and one that has ended since is not alive.
        """
        alive = {uniqueid: channel for channel in channels if (uniqueid := channel.get("Uniqueid")) not in self._gone}
        self._gone.clear()
        self.unheard = []
        carriers: dict[str, Message] = {}
        for uniqueid, channel in alive.items():
            if uniqueid not in self._bridges:
                self._bridges.enter(uniqueid, channel.get("BridgeID"))
            call_id = _call_of(channel)
            if not _is_carrier(channel, call_id) or channel.get("ChannelState") != UP:
                continue
            if call_id not in carriers or channel.get("BridgeID"):
                carriers[call_id] = channel
        found = {_call_of(channel) for channel in alive.values()} - {""}
        seen = []
        for call_id in found.union(before):
            legs = self._calls.get(call_id)
            carrier = alive.get(legs.carrier) if legs and legs.carrier else carriers.get(call_id)
            ingress = alive.get(call_id)
            if ingress is None and carrier is None:
                self._forget(call_id)
            else:
                seen.append(self._take_up(call_id, ingress, carrier, now))
        self._complete = True
        return seen

    def _take_up(self, call_id: str, ingress: Message | None, carrier: Message | None, now: Instant) -> SeenAlive:
        legs = self._calls.get(call_id) or Legs(call_id)
        if ingress is not None:
            emergency = legs.emergency or ingress.variables("Variable").get("CC_EMERGENCY") == "yes"
            legs = replace(legs, channel=ingress.get("Channel"), emergency=emergency)
        if carrier is not None and legs.answered is None:
            answered, stated = self._time.place(carrier.variables("Variable").get("CDR(answer,u)", ""), now)
            at_last = answered if stated else self._time.at(now)  # where Asterisk keeps no CDRs, nobody knows
            legs = replace(legs, carrier=carrier.get("Uniqueid"), answered=at_last)
            if self._complete and call_id in self._calls and now.since_ms(at_last) > MOST_DISORDER_MS:
                self.unheard.append(call_id)
        self._remember(legs)
        return SeenAlive(self._key(call_id), now, legs.answered)

    # ---- events, by name

    def _user_event(self, message: Message, at: Instant, stated: bool) -> Events:
        name, call_id = message.get("UserEvent"), message.get("Uniqueid")
        if name == "CCLimit":
            self._noted(call_id, ReleasedBy.CALLCTL)
        if name == "CCUncontrolled" and call_id in self._calls:
            self._remember(replace(self._calls[call_id], passed=True))
        if name not in OFFERS or not call_id or self._calls.get(call_id, Legs(call_id)).offered:
            return ()
        return (self._offered(message, message.user_headers(), at, emergency=name == "CCEmergency"),)

    def _offered(self, channel: Message, told: Mapping[str, str], at: Instant, *, emergency: bool = False) -> Offered:
        call_id = channel.get("Uniqueid")
        offered = gate.offer(self._key(call_id), at, told, self._is_trunk, emergency=emergency)
        legs = Legs(
            call_id,
            channel.get("Channel"),
            offered.b_number,
            inbound=offered.direction is Direction.INBOUND,
            offered=at,
            up=channel.get("ChannelState") == UP,
            emergency=emergency,
        )
        self._remember(legs)
        return offered

    def _dial_begin(self, message: Message, at: Instant, stated: bool) -> Events:
        """Another carrier is tried: how the one before refused is of no account."""
        legs = self._calls.get(message.get("Uniqueid"))
        if legs is not None and legs.answered is None:
            self._remember(replace(legs, hung_up_by=None))
        return ()

    def _dial_state(self, message: Message, at: Instant, stated: bool) -> Events:
        call_id = message.get("Uniqueid")
        if message.get("DialStatus") not in ALERTING or call_id not in self._calls:
            return ()
        return (Alerting(self._key(call_id), at),)

    def _dial_end(self, message: Message, at: Instant, stated: bool) -> Events:
        if message.get("DialStatus") != "ANSWER":
            return ()
        return self._won(message.get("Uniqueid"), message.get("DestUniqueid"), message.get("DestChannel"), at, stated)

    def _bridge_enter(self, message: Message, at: Instant, stated: bool) -> Events:
        """A carrier leg that talks has been answered, even if the DialEnd was lost."""
        uniqueid, call_id = message.get("Uniqueid"), _call_of(message)
        replaced = ["", *message.all("SwapUniqueid")][-1]  # Asterisk's own stands behind the caller's number
        self._bridges.leave(replaced)
        self._bridges.enter(uniqueid, message.get("BridgeUniqueid"))
        if replaced in self._by_carrier:
            return self._replaced(replaced, uniqueid, at)
        if not _is_carrier(message, call_id):
            return ()
        carrier = self._calls.get(call_id, Legs(call_id)).carrier
        if carrier not in (None, uniqueid) and carrier not in self._bridges:  # it was replaced before it could talk
            return self._replaced(carrier, uniqueid, at)
        return self._won(call_id, uniqueid, message.get("Channel"), at, stated)

    def _replaced(self, carrier: str, by: str, at: Instant) -> Events:
        """The talk goes on with another leg (an INVITE with Replaces): its end is that of the call, and limits it."""
        legs = self._calls[self._by_carrier.pop(carrier)]
        self._remember(replace(legs, carrier=by, hung_up_by=None, ended=None))
        return (SeenAlive(self._key(legs.ingress), at, legs.answered),)

    def _won(self, call_id: str, carrier: str, channel: str, at: Instant, stated: bool) -> Events:
        legs = self._calls.get(call_id)
        if legs is None or legs.carrier is not None or not carrier or _is_local(channel):
            return ()
        self._remember(replace(legs, carrier=carrier, answered=at, hung_up_by=None))
        return (Answered(self._key(call_id), at, stated, trunk_out=_endpoint(channel)),)

    def _hangup_request(self, message: Message, at: Instant, stated: bool) -> Events:
        """A party has hung up: a carrier leg, who talks with one, or, while nobody talks, any leg of the call.

        (A hang-up of ours and the end of a limit make no such event.)
        """
        uniqueid, call_id = message.get("Uniqueid"), _call_of(message)
        self._noted(self._by_carrier.get(uniqueid, ""), ReleasedBy.CALLEE)
        for other in self._bridges.others(uniqueid):
            self._noted(self._by_carrier.get(other, ""), ReleasedBy.CALLER)
        legs = self._calls.get(call_id)
        if legs is not None and not self._bridges.others(legs.carrier):
            self._noted(call_id, ReleasedBy.CALLER if uniqueid == call_id else ReleasedBy.CALLEE)
        return ()

    def _noted(self, call_id: str, by: ReleasedBy) -> None:
        """Before the answer the last word counts (a fork may lose a leg), after it the first."""
        legs = self._calls.get(call_id)
        if legs is not None and (legs.answered is None or legs.hung_up_by is None):
            self._remember(replace(legs, hung_up_by=by))

    def _hangup(self, message: Message, at: Instant, stated: bool) -> Events:
        """The end of a call is that of its carrier leg; of one that nobody answered, that of its ingress channel.

        One channel may be both: the carrier leg of a call, transferred into a call of its own.
        """
        uniqueid = message.get("Uniqueid")
        replaced = self._complete and uniqueid not in self._bridges and message.get("Cause") == "0"  # nobody hung it up
        self._bridges.leave(uniqueid)
        self._gone.add(uniqueid)
        told: list[Released] = []
        carried = self._calls.get(self._by_carrier.get(uniqueid, ""))
        if carried is not None:
            released = self._released(carried, message, at, stated)
            if replaced and not carried.left:
                self._remember(replace(carried, ended=released))
            else:
                told.append(released)
        legs = self._calls.get(uniqueid)
        if legs is not None:
            if legs.carrier is None or legs.ended is not None:
                told.append(legs.ended or self._released(legs, message, at, stated))
            else:
                self._remember(replace(legs, left=True))
        for released in told:
            self._forget(released.call.call_id)
        return tuple(told)

    def _released(self, legs: Legs, message: Message, at: Instant, stated: bool) -> Released:
        return Released(
            self._key(legs.ingress),
            at,
            stated and agree(legs.answered, at),
            q850=_number(message.get("Cause")),
            sip_code=_number(message.get("TechCause")),
            released_by=legs.released_by(at),
            answered_at=legs.answered,
        )

    # ---- the book

    def _meet(self, message: Message) -> None:
        """A call of a process before this one, by an event of a carrier leg that talks, or of a call that nobody has
        answered: their ends are its end."""
        call_id, up = _call_of(message), message.get("ChannelState") == UP
        if call_id and call_id not in self._calls and up == _is_carrier(message, call_id):
            self._remember(Legs(call_id, carrier=message.get("Uniqueid") if up else None))

    def _remember(self, legs: Legs) -> None:
        self._calls[legs.ingress] = legs
        if legs.carrier is not None:
            self._by_carrier[legs.carrier] = legs.ingress

    def _forget(self, call_id: str) -> None:
        legs = self._calls.pop(call_id, None)
        if legs is not None and legs.carrier is not None and self._by_carrier.get(legs.carrier) == call_id:
            del self._by_carrier[legs.carrier]

    def _key(self, call_id: str) -> CallKey:
        return CallKey(self._switch, call_id)


def _call_of(channel: Message) -> str:
    """The call that a channel belongs to; "" for none. An event lists it as ChanVariable, a Status as Variable."""
    call_id = channel.variables("Variable" if channel.event == "Status" else "ChanVariable").get("CC_CALL", "")
    return "" if call_id == "(null)" else call_id


def _is_carrier(channel: Message, call_id: str) -> bool:
    return call_id not in ("", channel.get("Uniqueid")) and not _is_local(channel.get("Channel"))


def _is_local(channel: str) -> bool:
    return channel.startswith("Local/")


def _endpoint(channel: str) -> str:
    """The endpoint of `PJSIP/carrier-a-0000001f`."""
    return channel.partition("/")[2].rpartition("-")[0]


def _number(text: str) -> int | None:
    """A cause; None where there is none, or 0."""
    return int(text) or None if text.isascii() and text.isdigit() and len(text) <= 3 else None
