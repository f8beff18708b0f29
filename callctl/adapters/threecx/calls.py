"""A call on a 3CX as we know it, and what its participants say of it: who calls whom, and whether two belong together.

Values and pure decisions on them; `translate.py` keeps the book.
"""

from collections.abc import Container, Mapping
from enum import StrEnum
from typing import Final

import msgspec

from callctl.adapters.threecx.wire import Key, Participant, Status
from callctl.call.events import CallKey, Offered
from callctl.clock import Instant
from callctl.ports import Capabilities
from callctl.rating.tariff import Direction

SAME_DIGITS: Final = 7
"""So many last digits tell a number, which a PBX may write as 0049301234567 and as +49301234567."""
DELIVERING: Final = frozenset({"queue", "ringgroup", "ivr"})
LATER_MS: Final = 1_000
"""By more than this two answers are those of different calls."""
LISTED_LATE_MS: Final = 3_000
"""So long XAPI may go on listing a call that is over."""


class Mode(StrEnum):
    """How calls come under control (`docs/adapters.md`)."""

    ROUTE_POINT = "route_point"
    OBSERVE = "observe"


def capabilities_of(mode: Mode) -> Capabilities:
    """3CX has no timer for a call, no way to play into it, and chooses the status that a caller sees."""
    gated = mode is Mode.ROUTE_POINT
    return Capabilities(gate=gated, sip_codes=False, announcements=gated, timer=False, warns=(), tells_who=False)


class Site(msgspec.Struct, frozen=True, kw_only=True):
    """What the configuration tells of a PBX.

    `account` pays for all its calls (None: told by trunk or number). `extensions`: the DNs to look at (empty: all that
    3CX shows). `numbers`: the number called, by the DN (extension, else trunk) of an inbound call that has none of its
    own. `routes`: where the route point sends the calls to a number of ours.
    """

    mode: Mode
    route_point: str
    account: str | None = None
    extensions: frozenset[str] = frozenset()
    numbers: Mapping[str, str] = {}
    routes: Mapping[str, str] = {}

    def concerns(self, dn: str) -> bool:
        if dn == self.route_point:
            return self.mode is Mode.ROUTE_POINT
        return not self.extensions or dn in self.extensions

    def called(self, leg: Participant) -> str:
        """The number that an inbound call came to; "" where nobody says."""
        return leg.did or self.numbers.get(leg.dn) or self.numbers.get(leg.party) or ""


class Wanted(msgspec.Struct, frozen=True):
    """Who calls whom. `own`: the extension here; `far`: the number of the other side, as the PBX writes it."""

    direction: Direction
    a_number: str
    b_number: str
    own: str
    far: str
    trunk: str | None = None


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One call. `group`: its `callid`; `legs`: its participants that we are shown; `gate`: the one at the route point.

    `wanted` None: what is wanted at the route point is still being found out. `routing`: 3CX has been asked to connect
    it and has not answered. `listed`: no participant of it is shown any more, only XAPI tells that it is up. `left`:
    when the last participant of a talk went; where it was transferred to another extension, that one is told next, and
    where it was to the outside, XAPI shows it on.
    """

    id: str
    group: str
    began: Instant
    legs: frozenset[Key] = frozenset()
    gate: Key | None = None
    wanted: Wanted | None = None
    trunk_out: str | None = None
    admitted: bool = False
    answered: Instant | None = None
    left: Instant | None = None
    ended: Instant | None = None
    estimated: bool = False
    routing: bool = False
    listed: bool = False

    @property
    def lingers(self) -> bool:
        """Somebody may go on with it."""
        return self.left is not None and not self.listed


class Active(msgspec.Struct, frozen=True):
    """A call in XAPI's list of active calls: the DN or number of either side, and since when it is connected.

    `established` None: it is not.
    """

    caller: str
    established: Instant | None
    callee: str = ""

    def is_stale(self, watched: Container[str], present: Container[str]) -> bool:
        """It names a DN that we are shown (`watched`), and that has no participant in it (`present` have)."""
        return any(dn in watched and dn not in present for dn in (self.caller, self.callee))


def same_number(one: str, other: str) -> bool:
    """Whether two writings may be of one number. An unknown number is every number."""
    digits, others = digits_of(one), digits_of(other)
    if not digits or not others:
        return True
    fewest = min(len(digits), len(others), SAME_DIGITS)
    return digits == others if fewest < SAME_DIGITS else digits[-fewest:] == others[-fewest:]


def digits_of(number: str) -> str:
    return "".join(sign for sign in number if sign in "0123456789")


def is_dialled(leg: Participant, active: Active | None) -> bool:
    """Whether this side has made the call; one that the PBX makes for it rings at it first.

    Of one first seen connected 3CX need not tell (it leaves `originated_by_dn` empty): then who paid for it was
    most probably this side, for an outbound call can be answered at once, and one that comes in takes somebody to.
    """
    if leg.status is Status.DIALING or leg.originated_by == leg.dn:
        return True
    if leg.status is Status.RINGING or leg.has_rung or leg.originated_by:
        return False
    if active is not None and active.caller:
        return active.caller == leg.dn
    return not leg.did and leg.on_behalf_of_type not in DELIVERING


def wanted_by(leg: Participant, site: Site, watched: Container[str], active: Active | None) -> Wanted | None:
    """What the call of an extension is; None where its other side will tell, or the PBX has not said enough yet."""
    if is_dialled(leg, active):
        return _outgoing(leg, watched)
    if leg.is_internal or (not leg.is_external and leg.party in watched):
        if leg.party in watched:
            return None  # the caller's own participant tells it
        caller = leg.party or leg.number
        return Wanted(Direction.INTERNAL, caller, leg.dn, leg.dn, caller)
    return Wanted(Direction.INBOUND, leg.number, site.called(leg), leg.dn, leg.number, leg.party or None)


def some_call(leg: Participant) -> Wanted:
    """That of a participant which does not say enough, of a call that control knows."""
    return Wanted(Direction.OUTBOUND, leg.party, "", leg.party, "")


def _outgoing(leg: Participant, watched: Container[str]) -> Wanted | None:
    """Who transferred a call pays for where it went.

    What may be a code of the PBX (`*777`), or is as short as an extension, waits until it is routed.
    """
    number = leg.number or leg.party
    if not number:
        return None
    own = leg.referred_by or leg.dn
    if leg.is_internal or (not leg.is_external and number in watched):
        return Wanted(Direction.INTERNAL, own, number, own, number)
    is_inside = number[0] in "*#" or len(number) <= len(leg.dn)
    if is_inside and not leg.is_external and leg.status is not Status.CONNECTED:
        return None
    return Wanted(Direction.OUTBOUND, own, number, own, number)


def is_far(leg: Participant, wanted: Wanted) -> bool:
    """Whether the other side of this participant is the call's. An anonymous caller is no other number."""
    return bool(digits_of(leg.number)) == bool(digits_of(wanted.far)) and same_number(leg.number, wanted.far)


def continued_from(leg: Participant, call: Call) -> bool:
    """Whether the participant is of a call to or from outside that the PBX has transferred to it.

    Where it does not say who has, the other side is there as before, and nobody is left of those who talked to it.
    """
    wanted = call.wanted
    if wanted is None or not leg.is_external or not is_far(leg, wanted):
        return False
    if leg.referred_by:
        return leg.referred_by in {dn for dn, _ in call.legs} | {wanted.own}
    deserted = not call.legs and call.answered is not None
    return deserted and (leg.status is Status.CONNECTED or (leg.call == call.group and leg.status is Status.RINGING))


def belongs(leg: Participant, call: Call) -> bool:
    """Whether the participant is of the call, when both are in one group: any but a leg to another outside number."""
    wanted = call.wanted
    if call.gate is not None or call.listed or wanted is None or leg.is_internal:
        return True
    if wanted.direction is Direction.INBOUND and leg.status is not Status.CONNECTED:
        return leg.status is not Status.DIALING
    return not digits_of(leg.number) or is_far(leg, wanted)


def has_moved(leg: Participant, before: Participant, call: Call) -> bool:
    """Whether this participant, of that call, now talks to another outside number: a call of its own."""
    wanted = call.wanted
    if call.gate is not None or wanted is None or not leg.is_external or not leg.number:
        return False
    was_inside = before.is_internal or wanted.direction is Direction.INTERNAL
    transferred = was_inside or (leg.referred_by != before.referred_by and leg.referred_by)
    return bool(transferred) and not is_far(leg, wanted)


def end_of(call: Call, at: Instant) -> Instant:
    """Of a call that XAPI lists no more. Its list may be late: then it ended as its last participant left."""
    return call.left if call.left is not None and at.since_ms(call.left) <= LISTED_LATE_MS else at


def is_later(active: Active | None, since: Instant | None) -> bool:
    """Whether what XAPI shows was answered later than the call that had its id: the PBX has been started anew.

    `since`: when that was answered, or came to the route point, which for XAPI may be an answer.
    """
    if active is None or active.established is None or since is None:
        return False
    return active.established.wall_ms - since.wall_ms > LATER_MS


def is_same(before: Participant, now: Participant, route_point: str) -> bool:
    """Whether an id still stands for the same participant, over a time when the PBX may have been started anew.

    Who talks neither begins to ring again nor comes to wait at the route point.
    """
    was_beyond = before.is_external or before.party not in ("", route_point)
    waits = now.status in (Status.DIALING, Status.RINGING) or (was_beyond and now.party == route_point)
    back = before.status is Status.CONNECTED and waits
    other = before.uid and now.uid and before.uid != now.uid
    return before.call == now.call and not other and not back and same_number(before.number, now.number)


def answers(leg: Participant, call: Call, site: Site) -> bool:
    """Whether this participant proves that the call was answered. Who waits at the route point is connected to it."""
    if leg.status is not Status.CONNECTED or leg.key == call.gate:
        return False
    return site.mode is not Mode.ROUTE_POINT or leg.is_external or leg.party not in ("", site.route_point)


def listed_call(call_id: str, active: Active, established: Instant) -> Call:
    """A call that control knows, and of which only XAPI's list shows that it is up."""
    return Call(
        id=call_id,
        group=group_in(call_id),
        began=established,
        wanted=Wanted(Direction.OUTBOUND, active.caller, "", active.caller, ""),
        admitted=True,
        answered=established,
        listed=True,
    )


def offered(key: CallKey, began: Instant, wanted: Wanted, account: str | None, trunk: str | None) -> Offered:
    """`trunk`: that by which it came in, where it is one that we know."""
    return Offered(
        key,
        began,
        a_number=wanted.a_number,
        b_number=wanted.b_number,
        direction=wanted.direction,
        account=account,
        trunk=trunk,
        can_extend=True,
        attended=True,
    )


def name_of(leg: Participant, began_ms: int) -> str:
    """The name of the call that begins with this participant: unique over restarts of the PBX, readable in a CDR."""
    return f"{began_ms}-{plain(leg.call)}-{plain(leg.id)}-{leg.dn}"


def group_in(call_id: str) -> str:
    """The `callid` in a call's name, as `plain` writes it."""
    return (*call_id.split("-", 2), "", "")[1]


def dn_in(call_id: str) -> str:
    """The DN in a call's name: whose participant it began with."""
    return (*call_id.split("-", 3), "", "", "")[3]


def began_in(call_id: str) -> int:
    """The wall ms in a call's name; 0 where it is none of ours."""
    began = call_id.partition("-")[0]
    return int(began) if began.isdecimal() else 0


def plain(part: str) -> str:
    """A part of a call's name, which hyphens divide."""
    return part.replace("-", ".")
