"""What each payer owes for a call, second by second and amount by amount. The same for hold, post and record.

A prepaid payer is never charged beyond what was granted: later seconds are `unbilled_s`. Postpaid is billed in full
(`docs/rules.md`, Overrun).
"""

from collections.abc import Sequence

import msgspec

from callctl.call import drawing
from callctl.call.bill import bill
from callctl.call.session import Level, Session
from callctl.rating.charge import Charge, Price, charge, round_duration


class Due(msgspec.Struct, frozen=True, gc=False):
    """One payer's share; micro-units. `charge` is net, without `surcharge`; all is 0 for an exempt account.

    `parts`: of `charge`, what each further plan takes. `taxes`: by name. `used`: of each source, in their order;
    `bundle_s` of it are seconds, which cost nothing, and `from_blocks` micro-units, which pay before the balance does.
    `cost`: what the seller of this payer pays, net: the level above, or the carrier; None where nobody knows.
    `part_costs`: of it, what the parts are bought for; None for one that is not.
    """

    duration_s: int
    billed_s: int
    unbilled_s: int
    list_charge: int
    charge: int
    surcharge: int
    cost: int | None = None
    taxes: tuple[tuple[str, int], ...] = ()
    parts: tuple[Charge, ...] = ()
    used: tuple[int, ...] = ()
    bundle_s: int = 0
    from_blocks: int = 0
    part_costs: tuple[int | None, ...] = ()

    @property
    def net(self) -> int:
        """What the seller earns."""
        return self.charge + self.surcharge

    @property
    def gross(self) -> int:
        return self.net + sum(amount for _, amount in self.taxes)

    @property
    def total(self) -> int:
        """What is posted."""
        return self.gross - self.from_blocks

    @property
    def margin(self) -> int | None:
        return None if self.cost is None else self.net - self.cost


def difference(after: Sequence[int], before: Sequence[int]) -> tuple[int, ...]:
    """By how much each amount has grown."""
    return tuple(new - old for new, old in zip(after, before, strict=True))


def duration_ms(session: Session) -> int:
    """Measured duration: by the switch's own clock where it states both ends, else by ours. 0 if unanswered."""
    answered, released = session.answered, session.released
    if answered is None or released is None:
        return 0
    if session.answer_stated and session.release_stated:
        return max(0, released.wall_ms - answered.wall_ms)
    return released.since_ms(answered)


def dues(session: Session) -> tuple[Due, ...]:
    """Every payer's share of a call that is over, in the order of its levels, which its answer has priced."""
    measured_ms = duration_ms(session)
    found: list[Due] = []
    for level in reversed(session.levels):
        above = found[-1].net if level.parent is not None else _carrier(session, level, measured_ms)
        due = _due(session, level, measured_ms, above)
        if level.parts:
            costs = tuple([_cost(part.buy, measured_ms) for part in level.parts])
            known = not any(part.no_buy for part in level.parts)
            whole = above + sum([cost or 0 for cost in costs]) if above is not None and known else None
            due = msgspec.structs.replace(due, cost=whole, part_costs=costs)
        found.append(due)
    return tuple(reversed(found))


def _due(session: Session, level: Level, measured_ms: int, cost: int | None) -> Due:
    seconds = round_duration(level.sell, measured_ms)
    paid_s = _paid_s(session, level, seconds)
    parts_s = tuple([_paid_s(session, level, round_duration(part.sell, measured_ms)) for part in level.parts])
    level = drawing.kept(level)
    billed = bill(level, paid_s, parts_s)
    own, *parts = billed.charges
    listed, unbilled_s = billed.charge, seconds - paid_s
    if level.exempt or session.emergency:
        free = tuple([Charge(part.billed_s, 0) for part in parts])
        return Due(seconds, own.billed_s, unbilled_s, listed, 0, 0, cost, parts=free)
    due = Due(seconds, own.billed_s, unbilled_s, listed, listed, billed.surcharge, cost, billed.taxes, tuple(parts))
    if not level.sources:
        return due
    used = drawing.drawing(level, paid_s, parts_s).sources
    return msgspec.structs.replace(
        due,
        used=tuple([source.held for source in used]),
        bundle_s=sum([source.held for source in used if not source.is_money]),
        from_blocks=sum([source.held for source in used if source.is_money]),
    )


def _paid_s(session: Session, level: Level, seconds: int) -> int:
    if not level.prepaid or session.emergency:
        return seconds
    return 0 if session.voided else min(seconds, session.granted_s)


def _carrier(session: Session, root: Level, measured_ms: int) -> int | None:
    """What the carrier is paid: for the whole call, whatever was granted. The one that answered is the caller's."""
    answered = session.purchase if root is session.levels[session.called_from - 1] else None
    return _cost(root.buy if answered is None else answered.price, measured_ms)


def _cost(buy: Price | None, measured_ms: int) -> int | None:
    return None if buy is None else charge(buy, round_duration(buy, measured_ms)).micros
