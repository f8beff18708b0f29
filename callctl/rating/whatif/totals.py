"""What a plan would have earned: outcomes of past calls added up, by seller, customer and destination.

Amounts are micro-units, before taxes, surcharges included. A seller's margin is what its customers pay less what it
pays itself; the provider is the seller without a name.
"""

from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import msgspec

from callctl.money import format_amount
from callctl.rating.whatif.calls import PastRecord
from callctl.rating.whatif.rerating import Money, Outcome, Sale, Verdict

LARGEST = 20
"""So many changes are shown first."""


class Group(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What is added up together. `seller` None: the provider. `reason`: of a refusal."""

    currency: str
    seller: str | None = None
    account: str | None = None
    destination: str | None = None
    type: str | None = None
    reason: str | None = None


class Sums(msgspec.Struct, gc=False):
    """Answered calls and their money, then and now. Costs and margins are of calls whose cost is known both times.

    `attempts`: calls that nobody answered; `uncosted`: answered ones without a known cost.
    """

    calls: int = 0
    attempts: int = 0
    uncosted: int = 0
    revenue_then: int = 0
    revenue_now: int = 0
    cost_then: int = 0
    cost_now: int = 0
    margin_then: int = 0
    margin_now: int = 0

    def add(self, call: int, then: Money, now: Money) -> None:
        """`call`: 1, or 0 for the correction of one that is counted."""
        self.calls += call
        self.revenue_then += then.revenue
        self.revenue_now += now.revenue
        if then.cost is None or now.cost is None:
            self.uncosted += call
            return
        self.cost_then += then.cost
        self.cost_now += now.cost
        self.margin_then += then.revenue - then.cost
        self.margin_now += now.revenue - now.cost

    @property
    def change(self) -> int:
        """How much moves: of revenue or of margin, whichever moves more."""
        return max(abs(self.revenue_now - self.revenue_then), abs(self.margin_now - self.margin_then))


Table = dict[Group, Sums]


class WhatIf:
    """Everything that is asked of a trial, call by call."""

    def __init__(self) -> None:
        self.totals: Table = {}
        self.customers: Table = {}
        self.destinations: Table = {}
        self.refused: Table = {}
        self.verdicts: Counter[Verdict] = Counter()
        self.restored: Counter[str] = Counter()
        self.unknown: Counter[str] = Counter()
        self.estimated = 0
        self._sums = lru_cache(maxsize=65_536)(self._find_sums)

    def add(self, outcome: Outcome) -> None:
        self.verdicts[outcome.verdict] += 1
        if outcome.verdict is Verdict.UNKNOWN:
            self.unknown[outcome.why] += 1
        elif outcome.verdict is Verdict.RESTORED:
            self.restored[outcome.why] += 1
        for sale in outcome.sales:
            self._add_sale(sale)
        if outcome.verdict is Verdict.REFUSED:
            self._add_refusal(outcome)

    def _add_sale(self, sale: Sale) -> None:
        record = sale.record
        self.estimated += record.estimated
        for sums in self._sums(record.currency, record.parent, record.account, record.destination, record.type):
            sums.add(_calls(record), sale.then, sale.now)

    def _find_sums(
        self, currency: str | None, seller: str | None, account: str | None, destination: str | None, type: str | None
    ) -> tuple[Sums, Sums, Sums]:
        of = currency or ""
        return (
            _of(self.totals, Group(of, seller)),
            _of(self.customers, Group(of, seller, account)),
            _of(self.destinations, Group(of, seller, None, destination or "", type or "")),
        )

    def _add_refusal(self, outcome: Outcome) -> None:
        for sale in outcome.sales:
            record = sale.record
            group = Group(record.currency or "", record.parent, reason=outcome.why)
            _of(self.refused, group).add(_calls(record), sale.then, sale.now)
        if not outcome.sales:
            record = outcome.record
            _of(self.refused, Group(record.currency or "", record.parent, reason=outcome.why)).attempts += 1

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON has it: amounts as decimal strings, the largest changes first."""
        return {
            "totals": [_shown(group, sums) for group, sums in by_size(self.totals)],
            "customers": [_shown(group, sums) for group, sums in by_size(self.customers)],
            "destinations": [_shown(group, sums) for group, sums in by_size(self.destinations)],
            "refused": [_shown(group, sums) for group, sums in by_size(self.refused)],
            "largest_changes": {
                "customers": [_shown(*each) for each in largest(self.customers)],
                "destinations": [_shown(*each) for each in largest(self.destinations)],
            },
            "calls": {verdict.value: self.verdicts[verdict] for verdict in Verdict},
            "would_be_allowed": dict(sorted(self.restored.items())),
            "not_rated": dict(sorted(self.unknown.items())),
            "estimated": self.estimated,
        }


def _calls(record: PastRecord) -> int:
    return 1 if record.corrects is None else 0


def _of(table: Table, group: Group) -> Sums:
    sums = table.get(group)
    if sums is None:
        sums = table[group] = Sums()
    return sums


def by_size(table: Table) -> list[tuple[Group, Sums]]:
    """What changes most comes first; what changes alike, in the order of its names."""
    return sorted(table.items(), key=lambda item: (-item[1].change, _name(item[0])))


def largest(table: Table) -> list[tuple[Group, Sums]]:
    """The twenty largest changes, fewer where fewer change."""
    return [(group, sums) for group, sums in by_size(table)[:LARGEST] if sums.change]


def _name(group: Group) -> tuple[str, ...]:
    return tuple(value or "" for value in msgspec.structs.astuple(group))


COLUMNS = ("calls", "attempts", "uncosted")
AMOUNTS = ("revenue", "cost", "margin")


def flat(group: Group, sums: Sums) -> dict[str, Any]:
    """One line of a CSV."""
    line: dict[str, Any] = {field: getattr(group, field) for field in Group.__struct_fields__}
    line |= {column: getattr(sums, column) for column in COLUMNS}
    for amount in AMOUNTS:
        then, now = getattr(sums, f"{amount}_then"), getattr(sums, f"{amount}_now")
        line |= {
            f"{amount}_then": format_amount(then),
            f"{amount}_now": format_amount(now),
            f"{amount}_change": format_amount(now - then),
        }
    return line


CSV_COLUMNS = (
    "section",
    *Group.__struct_fields__,
    *COLUMNS,
    *(f"{amount}_{which}" for amount in AMOUNTS for which in ("then", "now", "change")),
)


def lines(what_if: WhatIf) -> Iterable[dict[str, Any]]:
    """All that was added up, one line each: `section` says what of."""
    for section in ("totals", "customers", "destinations", "refused"):
        for group, sums in by_size(getattr(what_if, section)):
            yield {"section": section.removesuffix("s") if section != "refused" else section, **flat(group, sums)}


def _shown(group: Group, sums: Sums) -> dict[str, Any]:
    return {key: value for key, value in flat(group, sums).items() if value is not None or key == "seller"}
