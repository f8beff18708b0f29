"""Price tables, and what they charge: walked increment by increment in fractions, with nothing of callctl's rating."""

from dataclasses import dataclass, replace
from fractions import Fraction
from math import floor
from random import Random

from callctl.rating.builder import DeckBuilder
from callctl.rating.match import Deck
from callctl.rating.tariff import Band, Plan, Row
from callctl.rating.tax import Tax
from tests.simulation.clock import EPOCH_MS

PREFIX = "31"
FIRST_MIN = EPOCH_MS // 60_000 % 1_440  # of the UTC day, when a run begins


@dataclass(frozen=True)
class Table:
    """One price. Amounts in micro-units, per minute too; `steps`: (from this charged second, price per minute).

    `later`: the price from `turn_min` of every UTC day on, until its midnight.
    """

    steps: tuple[tuple[int, int], ...]
    fee: int = 0
    initial_s: int = 1
    increment_s: int = 1
    free_s: int = 0
    grace_s: int = 0
    least: int = 0
    most: int | None = None
    later: "Table | None" = None
    turn_min: int = 0

    def at(self, wall_s: int) -> "Table":
        """The price that holds at a moment."""
        return self.later if self.later is not None and wall_s % 86_400 >= self.turn_min * 60 else self


def charged(prices: Table, seconds: int, answer_s: int, covered_s: int = 0) -> tuple[int, int]:
    """Billed seconds and micro-units of a call that is answered at a wall second: half up to four decimals, once.

    The first `covered_s` billed seconds are paid by a bundle.
    """
    table = prices.at(answer_s)
    if seconds <= 0 or seconds <= table.grace_s or seconds <= table.free_s:
        return 0, 0
    at_s, total = 0, Fraction(table.fee)
    while at_s < seconds - table.free_s:
        now = prices.at(answer_s + table.free_s + at_s)
        block_s = now.increment_s if at_s else table.initial_s
        per_minute = [price for from_s, price in now.steps if from_s <= at_s][-1]
        total += Fraction(per_minute * (block_s - min(block_s, max(0, covered_s - at_s))), 60)
        at_s += block_s
    total = max(total, Fraction(table.least))
    if table.most is not None:
        total = min(total, Fraction(table.most))
    return at_s, half_up(total)


def surcharged(per_call: int, per_minute: int, billed_s: int) -> int:
    """What overflow adds."""
    return half_up(Fraction(per_call) + Fraction(per_minute * billed_s, 60)) if billed_s else 0


def taxed(taxes: tuple[Tax, ...], net: int, surcharge: int) -> int:
    """What all taxes take of a call."""
    return sum(
        half_up(Fraction(net * tax.percent, 10**6))
        + half_up(Fraction(surcharge * tax.percent, 10**6))
        + (tax.fixed if net else 0)
        for tax in taxes
    )


def half_up(micros: Fraction) -> int:
    return floor(micros / 100 + Fraction(1, 2)) * 100


def deck(plan: Plan, table: Table) -> Deck:
    """The table as callctl reads it."""
    builder = DeckBuilder(plan)
    bands: list[tuple[Table, Band | None]] = [(table, None)]
    if table.later is not None:
        bands = [(table, Band(until_min=table.turn_min)), (table.later, Band(from_min=table.turn_min))]
    for each, band in bands:
        for from_s, per_minute in each.steps:
            builder.add(
                Row(
                    prefix=PREFIX,
                    destination="Netherlands",
                    connection_fee=each.fee,
                    per_minute=per_minute * 100,
                    initial_s=each.initial_s,
                    increment_s=each.increment_s,
                    min_charge=each.least,
                    max_charge=each.most,
                    free_s=each.free_s,
                    grace_s=each.grace_s,
                    tier_from_s=from_s,
                    band=band,
                )
            )
    return builder.build()


def any_taxes(rng: Random) -> tuple[Tax, ...]:
    """What a plan's charges are taxed by."""
    vat, city, levy = Tax("VAT", percent=210_000), Tax("city", percent=12_345), Tax("levy", fixed=700)
    return rng.choice([(), (), (vat,), (vat, city), (levy, vat)])


def any_table(rng: Random) -> Table:
    """A flat price, or one that another takes over from while people call."""
    table = _shape(rng)
    if rng.random() < 0.4:
        table = replace(table, later=_shape(rng), turn_min=FIRST_MIN + rng.randint(1, 10))
    return table


def _shape(rng: Random) -> Table:
    """One of the shapes that decks have."""
    flat = Table(((0, rng.choice([12_345, 60_000, 90_001, 150_000, 600_000])),))
    return rng.choice(
        [
            flat,
            replace(flat, fee=rng.choice([5_000, 25_050])),
            replace(flat, initial_s=60, increment_s=60),
            replace(flat, initial_s=30, increment_s=6, fee=10_000),
            replace(flat, initial_s=20, increment_s=7, grace_s=5),
            replace(flat, free_s=rng.choice([3, 15])),
            replace(flat, least=30_000),
            replace(flat, most=200_000),
            Table(((0, 120_000), (45, 33_333), (90, 240_000)), increment_s=rng.choice([1, 10])),
            Table(((0, 0),)),
        ]
    )
