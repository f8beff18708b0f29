"""What a row sells for: its amounts, or exact percentages of the purchase, band by band and tier by tier."""

from collections.abc import Sequence
from functools import lru_cache
from math import gcd, lcm

import msgspec

from callctl.money import MICROS
from callctl.rating.bands import band_name
from callctl.rating.price import BandPrice, Price, Step, fold_tiers, in_bands
from callctl.rating.schedule import Schedule, Turns, turns
from callctl.rating.tariff import MAX_UNITS, Band, IncrementBasis, Plan, Row

ALWAYS: Turns = ((0, 0),)

_TABLE_DENOMINATOR = 100  # `Row.per_minute` counts 10^-8: hundredths of a micro-unit

Steps = tuple[tuple[int, int], ...]
"""(from_s, numerator) of prices per minute."""


class Minutes(msgspec.Struct, frozen=True, gc=False, cache_hash=True):
    """Exact prices per minute of each band, in micro-units over `denominator`, and when which band holds."""

    denominator: int
    bands: tuple[Steps, ...]
    turns: Turns = ALWAYS


_NOTHING = Minutes(1, ((),))


def rate_rows(plan: Plan, rows: Sequence[Row], utc_day: int, purchase: Minutes | None) -> tuple[Price, Minutes] | str:
    """The price of the tiers and bands of one row for calls of a UTC day (days since the epoch), or why there is none.

    A percentage is of what the purchase costs at the same moment, so a band of ours and a band of the purchase
    together are a band of the price. Bands that do not come within `AHEAD_DAYS` are left out.
    """
    by_band: dict[Band, list[Row]] = {}
    for row in rows:
        by_band.setdefault(row.band or Band(), []).append(row)
    own = turns(Schedule(plan.timezone, tuple(by_band)), utc_day) if len(by_band) > 1 else ALWAYS
    denominator = _TABLE_DENOMINATOR
    bought = _NOTHING
    if any(row.percent is not None for row in rows):
        if purchase is None:
            return "a percentage of a purchase price that is missing"
        bought = purchase
        denominator = lcm(_TABLE_DENOMINATOR, purchase.denominator * MICROS)
    pairs, merged = _merged(own, bought.turns)
    rows_of = list(by_band.values())
    bands = [_steps(rows_of[ours], bought, theirs, denominator) for ours, theirs in pairs]
    dearest = max(per_minute for steps in bands for _, per_minute in steps)
    if dearest > MAX_UNITS * MICROS * denominator:
        return f"a percentage that makes more than {MAX_UNITS} per minute"
    if bought is not _NOTHING:
        common = gcd(denominator, *(per_minute for steps in bands for _, per_minute in steps))
        denominator //= common
        bands = [tuple((from_s, per_minute // common) for from_s, per_minute in steps) for steps in bands]
    priced = [
        _band_price(plan, rows_of[ours], denominator, steps) for (ours, _), steps in zip(pairs, bands, strict=True)
    ]
    price = in_bands(tuple(priced), merged) if len(priced) > 1 else priced[0].price
    return price, Minutes(denominator, tuple(bands), merged)


def _merged(own: Turns, bought: Turns) -> tuple[list[tuple[int, int]], Turns]:
    """The pairs of bands that meet, in the order in which they do, and the turns of these pairs."""
    ours, theirs = dict(own), dict(bought)
    pair = own[0][1], bought[0][1]
    indices: dict[tuple[int, int], int] = {}
    merged: list[tuple[int, int]] = []
    for at_s in sorted(ours.keys() | theirs.keys()):
        pair = ours.get(at_s, pair[0]), theirs.get(at_s, pair[1])
        index = indices.setdefault(pair, len(indices))
        if not merged or merged[-1][1] != index:
            merged.append((at_s, index))
    return list(indices), tuple(merged)


def _steps(rows: Sequence[Row], bought: Minutes, band: int, denominator: int) -> Steps:
    """Prices per minute over `denominator`, of our rows while the purchase is in a band of its own."""
    purchase = bought.bands[band]
    starts = sorted({row.tier_from_s for row in rows} | {from_s for from_s, _ in purchase})
    steps = []
    for from_s in starts:
        row = _last_from(rows, from_s)
        if row.percent is None:
            per_minute = (row.per_minute or 0) * (denominator // _TABLE_DENOMINATOR)
        else:
            numerator = [numerator for start_s, numerator in purchase if start_s <= from_s][-1]
            per_minute = numerator * row.percent * (denominator // (bought.denominator * MICROS))
        steps.append((from_s, per_minute))
    return tuple(steps)


def _last_from(rows: Sequence[Row], from_s: int) -> Row:
    return [row for row in rows if row.tier_from_s <= from_s][-1]


def _band_price(plan: Plan, rows: Sequence[Row], denominator: int, minutes: Steps) -> BandPrice:
    """The price of one band's rows, as if it held always, under the plan's conventions."""
    head = rows[0]
    initial_s = plan.round_seconds if head.initial_s is None else head.initial_s
    steps: tuple[Step, ...] = tuple(
        (from_s, per_minute, _last_from(rows, from_s).increment_s or plan.round_seconds)
        for from_s, per_minute in minutes
    )
    has_minimum = initial_s > 1 or head.min_charge > 0
    price = Price(
        connection_fee=head.connection_fee,
        denominator=denominator,
        tiers=fold_tiers(steps, initial_s=initial_s, basis=plan.increment_basis),
        minimum_s=initial_s if plan.increment_basis is IncrementBasis.TOTAL else 0,
        min_charge=head.min_charge,
        max_charge=head.max_charge,
        grace_s=head.grace_s if plan.grace_beats_minimum or not has_minimum else 0,
        free_s=head.free_s,
        extra_at_s=head.extra_at_s,
        extra_fee=head.extra_fee,
        decimals=plan.round_decimals,
        rounding=plan.rounding,
        duration_rounding=plan.duration_rounding,
    )
    return BandPrice(_shared(price), steps, initial_s, plan.increment_basis, band_name(head.band))


@lru_cache(maxsize=16_384)
def _shared(price: Price) -> Price:
    """One object for all prices that are equal: what is kept by price is found without comparing their fields."""
    return price
