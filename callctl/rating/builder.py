"""Builds a deck row by row, so that 200,000 rows need not be one long pause, and refuses contradictions."""

from collections.abc import Iterator

from callctl.rating.match import HEAD_DIGITS, Deck, Longer, Table, same_price
from callctl.rating.schedule import flaw
from callctl.rating.tariff import Band, Plan, Row

MAX_ROWS_OF_PREFIX = 256  # types, tiers, bands and periods of validity; beyond it a deck is broken
MAX_FLAWS = 100

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
    """Rows of one deck contradict each other: `row` and `other`, which was there first, or `other` and all the rest."""

    def __init__(self, message: str, other: Row, row: Row | None = None) -> None:
        super().__init__(message)
        self.other = other
        self.row = row


class DeckBuilder:
    """A deck in the making: `add` every row, then `build`; between them, to do it in steps, `checking`.

    `flaws`: what was found wrong with prices that have tiers or bands, `MAX_FLAWS` at the most.
    """

    def __init__(self, plan: Plan, parent: Deck | None = None) -> None:
        if parent is not None and parent.plan.currency != plan.currency:
            raise ValueError(f"plan {plan.id} in {plan.currency} extends {parent.plan.id} in {parent.plan.currency}")
        self._plan = plan
        self._parent = parent
        self._table: Table = {}
        self._longer: Longer = {}
        self._percentages: list[Row] = []
        self._unchecked: list[Row] = []  # parts of a price of which the whole can be judged at the end alone
        self.flaws: list[RowConflictError] = []

    def add(self, row: Row) -> None:
        """Raises RowConflictError where the row contradicts one that was added before."""
        key = int("1" + row.prefix)
        entry = self._table.setdefault(key, row)
        if entry is row:
            if len(row.prefix) > HEAD_DIGITS:
                head = int("1" + row.prefix[:HEAD_DIGITS])
                self._longer[head] = max(self._longer.get(head, 0), len(row.prefix))
        else:
            there = entry if isinstance(entry, tuple) else (entry,)
            if len(there) >= MAX_ROWS_OF_PREFIX:
                raise RowConflictError(f"more than {MAX_ROWS_OF_PREFIX} rows for one prefix", there[0])
            for other in there:
                if reason := _clash(row, other):
                    raise RowConflictError(reason, other)
            self._table[key] = tuple(sorted((*there, row), key=lambda each: each.tier_from_s))
        if row.percent is not None:
            self._percentages.append(row)
        if row.tier_from_s or row.band is not None:
            self._unchecked.append(row)

    def checking(self) -> Iterator[None]:
        """Judges the prices that have tiers or bands, with a step for each row of them; fills `flaws`."""
        judged: set[Row] = set()
        unchecked, self._unchecked = self._unchecked, []
        for row in unchecked:
            if row not in judged and len(self.flaws) < MAX_FLAWS:
                entry = self._table[int("1" + row.prefix)]
                rows = [each for each in (entry if isinstance(entry, tuple) else (entry,)) if same_price(row, each)]
                judged.update(rows)
                try:
                    _judge(rows)
                except RowConflictError as error:
                    self.flaws.append(error)
            yield

    def build(self) -> Deck:
        """Raises RowConflictError for a stepped price that does not start at 0, and for bands that leave a gap or
        overlap."""
        for _ in self.checking():
            pass
        if self.flaws:
            raise self.flaws[0]
        return Deck(self._plan, self._table, self._longer, self._parent, tuple(self._percentages))


def _judge(rows: list[Row]) -> None:
    """Whether these rows, all of one price, say one price for every moment and second."""
    heads = {row.band: row for row in rows if not row.tier_from_s}
    for row in rows:
        if row.band not in heads:
            raise RowConflictError("a stepped price without a row from second 0", row)
    try:
        found = flaw(tuple(band or Band() for band in heads))
    except ValueError as error:
        raise RowConflictError(f"holidays: {error}", rows[0]) from None
    if found is not None:
        parts = list(heads.values())
        at_fault = [parts[index] for index in found.bands] or parts[:1]
        raise RowConflictError(found.reason, *at_fault[:2])


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
    if row.band != other.band:
        return None
    if row.tier_from_s == other.tier_from_s:
        return f"the same prefix, type, direction, validity{', band' if row.band else ''} and tier"
    head, tier = sorted((row, other), key=lambda each: each.tier_from_s)
    if head.tier_from_s:
        return None
    for term in _CALL_TERMS:
        stated = getattr(tier, term)
        if stated != getattr(_NOT_STATED, term) and stated != getattr(head, term):
            return f"{term} is a term of the whole call, and differs"
    return None
