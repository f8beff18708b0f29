"""Builds a deck row by row, so that 200,000 rows need not be one long pause, and refuses contradictions."""

from callctl.rating.match import Deck, Table, same_price
from callctl.rating.tariff import Plan, Row

MAX_ROWS_OF_PREFIX = 256  # types, tiers and periods of validity; beyond it a deck is broken

_CALL_TERMS = (
    "connection_fee",
    "initial_s",
    "min_charge",
    "max_charge",
    "grace_s",
    "free_s",
    "extra_at_s",
    "extra_fee",
)  # of a stepped price stand in its row from second 0; the others repeat them or leave them out
_NOT_STATED = Row(prefix="")


class RowConflictError(ValueError):
    """Two rows of one deck contradict each other. `other` is the one that was there first."""

    def __init__(self, message: str, other: Row) -> None:
        super().__init__(message)
        self.other = other


class DeckBuilder:
    """A deck in the making: `add` every row, then `build`."""

    def __init__(self, plan: Plan, parent: Deck | None = None) -> None:
        if parent is not None and parent.plan.currency != plan.currency:
            raise ValueError(f"plan {plan.id} in {plan.currency} extends {parent.plan.id} in {parent.plan.currency}")
        self._plan = plan
        self._parent = parent
        self._table: Table = {}
        self._longest = 0
        self._stepped: list[Row] = []

    def add(self, row: Row) -> None:
        """Raises RowConflictError where the row contradicts one that was added before."""
        key = int("1" + row.prefix)
        entry = self._table.setdefault(key, row)
        if entry is row:
            self._longest = max(self._longest, len(row.prefix))
        else:
            there = entry if isinstance(entry, tuple) else (entry,)
            if len(there) >= MAX_ROWS_OF_PREFIX:
                raise RowConflictError(f"more than {MAX_ROWS_OF_PREFIX} rows for one prefix", there[0])
            for other in there:
                if reason := _clash(row, other):
                    raise RowConflictError(reason, other)
            self._table[key] = tuple(sorted((*there, row), key=lambda each: each.tier_from_s))
        if row.tier_from_s:
            self._stepped.append(row)

    def build(self) -> Deck:
        """Raises RowConflictError for a stepped price that does not start at 0."""
        for row in self._stepped:
            entry = self._table[int("1" + row.prefix)]
            rows = entry if isinstance(entry, tuple) else (entry,)
            if not any(other.tier_from_s == 0 and same_price(row, other) for other in rows):
                raise RowConflictError("a stepped price without a row from second 0", row)
        return Deck(self._plan, self._table, self._longest, self._parent)


def _clash(row: Row, other: Row) -> str | None:
    """Why two rows of one prefix cannot both stand."""
    if row.type is not other.type or row.direction is not other.direction:
        return None
    if not same_price(row, other):
        first, then = sorted((row, other), key=lambda each: each.valid_from_ms or 0)
        if first.valid_from_ms == then.valid_from_ms or (
            first.valid_until_ms is not None and (then.valid_from_ms or 0) < first.valid_until_ms
        ):
            return "the same prefix and type at the same time"
        return None
    if row.tier_from_s == other.tier_from_s:
        return "the same prefix, type, direction, validity and tier"
    head, tier = sorted((row, other), key=lambda each: each.tier_from_s)
    if head.tier_from_s:
        return None
    for term in _CALL_TERMS:
        stated = getattr(tier, term)
        if stated != getattr(_NOT_STATED, term) and stated != getattr(head, term):
            return f"{term} is a term of the whole call, and differs"
    return None
