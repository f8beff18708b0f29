"""Price tables, and what they charge: walked increment by increment in fractions, with nothing of callctl's rating."""

from dataclasses import dataclass, replace
from fractions import Fraction
from math import floor
from random import Random

from callctl.rating.builder import DeckBuilder
from callctl.rating.match import Deck
from callctl.rating.tariff import Plan, Row

PREFIX = "31"


@dataclass(frozen=True)
class Table:
    """One price. Amounts in micro-units, per minute too; `steps`: (from this charged second, price per minute)."""

    steps: tuple[tuple[int, int], ...]
    fee: int = 0
    initial_s: int = 1
    increment_s: int = 1
    free_s: int = 0
    grace_s: int = 0
    least: int = 0
    most: int | None = None


def charged(table: Table, seconds: int) -> tuple[int, int]:
    """Billed seconds and micro-units of a call: half up to four decimals, once."""
    if seconds <= 0 or seconds <= table.grace_s or seconds <= table.free_s:
        return 0, 0
    at_s, total = 0, Fraction(table.fee)
    while at_s < seconds - table.free_s:
        block_s = table.increment_s if at_s else table.initial_s
        per_minute = [price for from_s, price in table.steps if from_s <= at_s][-1]
        total += Fraction(per_minute * block_s, 60)
        at_s += block_s
    total = max(total, Fraction(table.least))
    if table.most is not None:
        total = min(total, Fraction(table.most))
    return at_s, half_up(total)


def surcharged(per_call: int, per_minute: int, billed_s: int) -> int:
    """What overflow adds."""
    return half_up(Fraction(per_call) + Fraction(per_minute * billed_s, 60)) if billed_s else 0


def half_up(micros: Fraction) -> int:
    return floor(micros / 100 + Fraction(1, 2)) * 100


def deck(plan: Plan, table: Table) -> Deck:
    """The table as callctl reads it."""
    builder = DeckBuilder(plan)
    for from_s, per_minute in table.steps:
        builder.add(
            Row(
                prefix=PREFIX,
                destination="Netherlands",
                connection_fee=table.fee,
                per_minute=per_minute * 100,
                initial_s=table.initial_s,
                increment_s=table.increment_s,
                min_charge=table.least,
                max_charge=table.most,
                free_s=table.free_s,
                grace_s=table.grace_s,
                tier_from_s=from_s,
            )
        )
    return builder.build()


def any_table(rng: Random) -> Table:
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
