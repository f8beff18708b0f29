"""Which row of a deck prices a call.

The longest prefix wins, over a plan's own rows and those it inherits; its own win at the same prefix. A row
whose prefix is no longer than the country's calling code says which types of number it is for; a longer one
names its numbers by itself, and the row's type is what they are called.
"""

from collections.abc import Callable

import msgspec

from callctl.numbering import Number, NumberType
from callctl.rating.tariff import MAX_PREFIX_DIGITS, Direction, Plan, Row

_FIX, _MOB = NumberType.FIX, NumberType.MOB
_ROW_TYPES: dict[NumberType, tuple[NumberType | None, ...]] = {
    **{kind: (kind, None) for kind in NumberType},
    **{kind: (kind, _FIX, None) for kind in (NumberType.VOIP, NumberType.UAN, NumberType.VOICEMAIL)},
    NumberType.UNKNOWN: (NumberType.UNKNOWN, _FIX, None),
    NumberType.FIX_OR_MOB: (NumberType.FIX_OR_MOB, _FIX, _MOB, None),
    NumberType.PAGER: (NumberType.PAGER, _MOB, None),
}
"""Types of row that take a type of number, the best first; None is a row without a type."""

_INBOUND = Direction.INBOUND
_LONGER_THAN = tuple(2 * 10**digits for digits in range(MAX_PREFIX_DIGITS))
"""By number of digits: the keys of longer prefixes start here."""

Entry = Row | tuple[Row, ...]
"""All rows of one prefix; a lone row stands by itself, which spares the garbage collector 200,000 tuples."""

Table = dict[int, Entry]
"""By int("1" + prefix), so that dropping the last digit is a division."""

HEAD_DIGITS = 6
"""Under most of them no deck has a longer prefix, and none needs to be looked for."""

Longer = dict[int, int]
"""By the key of the first `HEAD_DIGITS` digits: how many the longest prefix under them has, where it has more."""

Lookup = tuple[Callable[[int], Entry | None], Callable[[int], int | None]]
"""In the table of one deck, and in its longer prefixes."""


class Match(msgspec.Struct, frozen=True, gc=False):
    """The rows that price a call (more than one: the tiers and bands of its price) and its number's type."""

    rows: tuple[Row, ...]
    type: NumberType


class Deck:
    """A plan with its rows, ready to be looked up in. Never changes; a reload builds another.

    `parent` is the deck of the plan that this one extends. `dated`: what it says depends on when it is asked.
    `percentages`: those of its own rows that are priced by the purchase.
    """

    def __init__(
        self, plan: Plan, table: Table, longer: Longer, parent: "Deck | None", percentages: tuple[Row, ...]
    ) -> None:
        self.plan = plan
        self.parent = parent
        self.percentages = percentages
        self._table = table
        self._longer = longer
        # Without itself: a cycle would leave the freeing of an old deck to the garbage collector, in one pause.
        self._above: tuple[Deck, ...] = (parent, *parent._above) if parent is not None else ()
        self.dated = any(deck.plan.effective_ms is not None for deck in self._family())
        self._lookups = tuple(deck._lookup() for deck in self._family())

    def find(self, number: Number, at_ms: int, direction: Direction) -> Match | None:
        """The row for a call that starts at `at_ms`; None where the deck has none.

        Inbound calls find inbound rows alone; an internal call is looked up as an outbound one.
        """
        lookups = self._lookups if not self.dated else self._lookups_at(at_ms)
        digits = number.digits
        head_key = int("1" + digits[:HEAD_DIGITS])
        found: Match | None = None
        found_key = 0
        for lookup, longer in lookups:
            longest = longer(head_key)
            key = head_key if longest is None else int("1" + digits[:longest])
            while key > found_key:  # an inherited row must have a longer prefix than what was found
                entry = lookup(key)
                if entry is not None:
                    match = (
                        Match((entry,), number.type)  # nearly every row is a lone one for all of its prefix at any time
                        if not isinstance(entry, tuple)
                        and entry.type is None
                        and entry.direction is direction
                        and entry.valid_from_ms is None
                        and entry.valid_until_ms is None
                        else _choose(entry, key, number, at_ms, direction)
                    )
                    if match is not None:
                        found, found_key = match, key
                        break
                key //= 10
        return found

    def longer(self, head: str) -> set[str]:
        """The prefixes that begin with these `HEAD_DIGITS` and have one or two more."""
        key, found = int("1" + head), set[str]()
        for lookup, longer in self._lookups:
            longest = longer(key)
            if longest is not None:
                two = range(key * 100, key * 100 + 100) if longest > HEAD_DIGITS + 1 else ()
                found.update([str(each)[1:] for each in (*range(key * 10, key * 10 + 10), *two) if lookup(each)])
        return found

    def settles(self, beginning: str) -> bool:
        """Whether outbound calls to all numbers that begin so find the same row, if any, whenever they are made.

        `beginning`: the longest of the `longer` prefixes that they begin with, or `HEAD_DIGITS`.
        """
        key, head_key = int("1" + beginning), int("1" + beginning[:HEAD_DIGITS])
        return not self.dated and all(
            (longer(head_key) or 0) <= HEAD_DIGITS + 2 and _takes_all(_first(lookup, key))
            for lookup, longer in self._lookups
        )

    def entries(self) -> list[Entry]:
        """The rows of this plan itself, those of one prefix together."""
        return list(self._table.values())

    def under(self, plan: Plan, parent: "Deck | None") -> "Deck":
        """The same rows when the plan's terms, or the plan that it extends, have changed."""
        return Deck(plan, self._table, self._longer, parent, self.percentages)

    def in_force(self, at_ms: int) -> bool:
        """Whether it or one that it extends is effective."""
        return not self.dated or any(deck._effective(at_ms) for deck in self._family())

    def plan_at(self, at_ms: int) -> Plan:
        """The plan whose conventions hold: this one, or before it is effective the one that it extends."""
        if not self.dated:
            return self.plan
        return next((deck.plan for deck in self._family() if deck._effective(at_ms)), self.plan)

    def _family(self) -> "tuple[Deck, ...]":
        return (self, *self._above)

    def _lookup(self) -> Lookup:
        return self._table.get, self._longer.get

    def _lookups_at(self, at_ms: int) -> tuple[Lookup, ...]:
        return tuple(deck._lookup() for deck in self._family() if deck._effective(at_ms))

    def _effective(self, at_ms: int) -> bool:
        return self.plan.effective_ms is None or self.plan.effective_ms <= at_ms


def _first(lookup: Callable[[int], Entry | None], key: int) -> Entry | None:
    """What a table has for the longest beginning of a key."""
    entry = None
    while key and entry is None:
        entry = lookup(key)
        key //= 10
    return entry


def _takes_all(entry: Entry | None) -> bool:
    """Whether every outbound call finds it, or there is nothing to be found."""
    return entry is None or (
        not isinstance(entry, tuple)
        and entry.type is None
        and entry.direction is Direction.OUTBOUND
        and entry.valid_from_ms is None
        and entry.valid_until_ms is None
    )


def _choose(entry: Entry, key: int, number: Number, at_ms: int, direction: Direction) -> Match | None:
    """The best of one prefix's rows, with all its tiers and bands: by type, then whose validity began last."""
    by_type = key < _LONGER_THAN[len(number.calling_code)]
    inbound = direction is _INBOUND
    if not isinstance(entry, tuple):
        if _order(entry, number.type, at_ms, inbound, by_type) is None:
            return None
        return Match((entry,), number.type if by_type else entry.type or number.type)
    best: Row | None = None
    best_rank = (0, 0)
    for row in entry:
        order = None if row.tier_from_s else _order(row, number.type, at_ms, inbound, by_type)
        if order is not None:
            rank = (order, -(row.valid_from_ms or 0))
            if best is None or rank < best_rank:
                best, best_rank = row, rank
    if best is None:
        return None
    rows = tuple(row for row in entry if same_price(row, best))
    return Match(rows, number.type if by_type else best.type or number.type)


def _order(row: Row, number_type: NumberType, at_ms: int, inbound: bool, by_type: bool) -> int | None:
    """How well a row suits the call, 0 the best; None where it is not for such calls."""
    if (row.direction is _INBOUND) is not inbound:
        return None
    if row.valid_from_ms is not None and at_ms < row.valid_from_ms:
        return None
    if row.valid_until_ms is not None and at_ms >= row.valid_until_ms:
        return None
    accepted = _ROW_TYPES[number_type]
    if row.type in accepted:
        return accepted.index(row.type)
    return None if by_type else len(accepted)


def same_price(row: Row, other: Row) -> bool:
    """Whether two rows of one prefix are tiers or bands of one price."""
    return (
        row.type is other.type
        and row.direction is other.direction
        and row.valid_from_ms == other.valid_from_ms
        and row.valid_until_ms == other.valid_until_ms
    )
