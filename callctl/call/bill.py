"""What a payer owes for so many seconds: every charge rounded once, each with its taxes. Micro-units.

What is held, posted, recorded and told comes from here.
"""

from collections.abc import Sequence
from itertools import repeat

import msgspec

from callctl.call.session import Level
from callctl.money import Rounding, round_ratio
from callctl.rating.bundles import covered
from callctl.rating.charge import Charge, Price, charge
from callctl.rating.tax import Tax, taxes


class Bill(msgspec.Struct, frozen=True, gc=False):
    """`charges`: by the call's own row, then by each further part. `taxes`: by name, surcharge included."""

    charges: tuple[Charge, ...]
    surcharge: int
    taxes: tuple[tuple[str, int], ...]

    @property
    def charge(self) -> int:
        """Net, without the surcharge."""
        return sum([each.micros for each in self.charges])

    @property
    def gross(self) -> int:
        return self.charge + self.surcharge + sum(amount for _, amount in self.taxes)


def bill(level: Level, seconds: int, parts_s: Sequence[int] = ()) -> Bill:
    """Of a call of `seconds` that is answered when the level says; as if nobody were exempt.

    Seconds that its sources have cost nothing; blocks of money are no part of a bill, but of how it is paid.
    `parts_s`: of a measured call, the seconds by each part's own plan; else they are those of the call.
    """
    own = charge(covered(level.sell, level.sources) if level.sources else level.sell, seconds)
    extra = surcharge(level, own.billed_s)
    levied: dict[str, int] = {}
    if level.taxes:
        _levy(levied, level.taxes, own.micros, level.sell)
        _levy(levied, level.taxes, extra, level.sell, fixed=False)
    charges = [own]
    for part, part_s in zip(level.parts, parts_s or repeat(seconds), strict=False):
        charges.append(charge(part.sell, part_s))
        _levy(levied, part.taxes, charges[-1].micros, part.sell)
    return Bill(tuple(charges), extra, tuple(levied.items()))


def _levy(levied: dict[str, int], by: tuple[Tax, ...], net: int, price: Price, *, fixed: bool = True) -> None:
    for tax, amount in zip(by, taxes(by, net, decimals=price.decimals, fixed=fixed), strict=True):
        levied[tax.name] = levied.get(tax.name, 0) + amount


def surcharge(level: Level, billed_s: int) -> int:
    """What overflow adds to `billed_s` billed seconds, net: a charge of its own, rounded once."""
    if not level.overflow or not billed_s:
        return 0
    quantum: int = 10 ** (6 - level.sell.decimals)
    usage = level.surcharge_call * 60 + level.surcharge_minute * billed_s
    rounded: int = round_ratio(usage, 60 * quantum, Rounding.HALF_UP) * quantum
    return rounded
