"""Calls from before our start, which control still has: whose participant is which of them.

The PBX counts its calls and participants from 1 again when it starts, so an id alone proves nothing: the numbers have
to agree, and where XAPI tells since when a call talks, that too.
"""

from collections.abc import Callable, Collection, Iterable, Mapping

import msgspec

from callctl.adapters.threecx.calls import (
    Active,
    Call,
    Wanted,
    began_in,
    digits_of,
    dn_in,
    group_in,
    is_later,
    listed_call,
    name_of,
    plain,
    same_number,
)
from callctl.adapters.threecx.wire import Participant
from callctl.call.events import CallKey
from callctl.clock import Instant
from callctl.rating.tariff import Direction


class Remembered(msgspec.Struct, frozen=True):
    """A call that control has: its numbers as they are charged, and since when it talks."""

    call: CallKey
    a_number: str
    b_number: str
    answered: Instant | None = None

    def may_wait(self, gate: Participant, active: Active | None, beside: Iterable[Participant]) -> bool:
        """Whether this is its caller, who waits at the route point. `beside`: who is shown with that one."""
        began = Instant(began_in(self.call.call_id), 0)
        waits = self.answered is None and same_number(gate.number, self.a_number) and not is_later(active, began)
        return waits and all(self.may_be(leg, None) for leg in beside)

    def may_be(self, leg: Participant, active: Active | None) -> bool:
        """Whether this is a participant of it, if it has its ids."""
        digits = digits_of(leg.number).lstrip("0")
        numbers = [number for number in (self.a_number, self.b_number) if digits_of(number)]
        named = any(same_number(leg.number, it) or digits_of(it).endswith(digits) for it in numbers)
        return (named or not digits) and not is_later(active, self.answered)

    def ended(self, route_point: str, at: Instant) -> Call:
        """As a call that was over at the latest by now."""
        id_ = self.call.call_id
        dn = dn_in(id_)
        own = self.a_number if dn == route_point else dn
        return Call(
            id=id_,
            group=group_in(id_),
            began=Instant(began_in(id_), 0),
            wanted=Wanted(Direction.OUTBOUND, self.a_number, self.b_number, own, self.a_number),
            admitted=True,
            answered=self.answered,
            ended=at,
            estimated=True,
        )


class Memory:
    """`known`: the calls of this switch that control has. Of those, one that the book has had is found no more."""

    def __init__(self, known: Callable[[], Iterable[Remembered]]) -> None:
        self._known = known
        self._had: set[str] = set()
        self._ended: set[str] = set()

    def had(self, call_id: str) -> None:
        """The book has this call, from before our start or not."""
        self._had.add(call_id)

    def unclaimed(self, up: Collection[str]) -> list[Remembered]:
        """Those that nobody has been found to be. `up`: the calls in the book."""
        known = [*self._known()]
        self._had &= {each.call.call_id for each in known} | {*up}
        return [each for each in known if each.call.call_id not in self._had]

    def ended(self, route_point: str, up: Collection[str], at: Instant) -> list[Call]:
        """Those that talked and are gone, each once: the PBX's own record may tell when they ended."""
        gone = [each for each in self.unclaimed(up) if each.answered is not None]
        news = [each for each in gone if each.call.call_id not in self._ended]
        self._ended = {each.call.call_id for each in gone}
        return [each.ended(route_point, at) for each in news]

    def listed(self, active: Mapping[str, Active], up: Collection[str]) -> list[Call]:
        """Those that XAPI shows to be connected."""
        found = []
        for each in self.unclaimed(up):
            shown = active.get(group_in(each.call.call_id))
            if shown is None or shown.established is None or is_later(shown, each.answered):
                continue
            if same_number(shown.caller, each.a_number):
                found.append(listed_call(each.call.call_id, shown, shown.established))
                self.had(each.call.call_id)
        return found

    def found(
        self, leg: Participant, active: Active | None, up: Collection[str], beside: Iterable[Participant] | None
    ) -> str | None:
        """The call of this participant: by preference that which began with it. `beside`: it is at the route point."""
        of_group = [
            each.call.call_id
            for each in self.unclaimed(up)
            if group_in(each.call.call_id) == plain(leg.call)
            and (each.may_be(leg, active) if beside is None else each.may_wait(leg, active, beside))
        ]
        exact = [call_id for call_id in of_group if name_of(leg, 0)[1:] == call_id[call_id.index("-") :]]
        return next(iter((*exact, *of_group)), None)
