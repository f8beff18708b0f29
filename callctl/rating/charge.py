"""What a call costs, and how long a call some money buys: two faces of one price. Exact; rounded once.

    seconds        whole seconds of the call (`round_duration` of what was measured)
    usage          micro-units * denominator * 60, so that a price per minute times seconds stays an integer

`affordable_seconds` is the exact inverse of `charge`, in closed form: the largest unrounded cost that still
rounds to the credit gives the last increment that it pays for. Neither takes longer for a longer call.
"""

from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import lru_cache

import msgspec

from callctl.money import largest_rounding_to, round_ratio
from callctl.rating.price import (
    HORIZONS_S,
    BandPrice,
    Course,
    Price,
    Tier,
    anchored,
    anchored_for,
    bundled,
    fold_tiers,
    unfolded,
)

__all__ = [
    "FREE",
    "BandPrice",
    "Charge",
    "Course",
    "Price",
    "Tier",
    "affordable_seconds",
    "affordable_together",
    "anchored",
    "anchored_for",
    "bundled",
    "charge",
    "exact_charge",
    "first_charged_second",
    "fold_tiers",
    "longest",
    "round_duration",
    "stretch",
    "unfolded",
]

_QUANTA = (1_000_000, 100_000, 10_000, 1_000, 100, 10, 1)  # micro-units of the last kept decimal


class Charge(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a call costs: the seconds it is billed for (free ones left out) and micro-units."""

    billed_s: int
    micros: int


FREE = Charge(0, 0)


def round_duration(price: Price, duration_ms: int) -> int:
    """Whole seconds of a measured duration, by the price's `duration_rounding`."""
    return round_ratio(duration_ms, 1000, price.duration_rounding)


@lru_cache(maxsize=16_384)
def charge(price: Price, seconds: int) -> Charge:
    """What a call of `seconds` costs, rounded once. Free: 0 s, and calls within grace or free seconds."""
    flat = price if price.course is None and not price.bundle_s else unfolded(price, seconds)
    billed_s, usage = _usage(flat, seconds)
    if not billed_s:
        return FREE
    quantum = _QUANTA[price.decimals]
    return Charge(billed_s, round_ratio(usage, 60 * flat.denominator * quantum, price.rounding) * quantum)


def exact_charge(price: Price, seconds: int) -> tuple[int, Fraction]:
    """Billed seconds, and the micro-units that `charge` rounds."""
    flat = unfolded(price, seconds)
    billed_s, usage = _usage(flat, seconds)
    return billed_s, Fraction(usage, 60 * flat.denominator)


def affordable_seconds(price: Price, credit_micros: int, at_most_s: int) -> int:
    """The longest call up to `at_most_s` that costs no more than the credit; 0 if that is negative."""
    if credit_micros < 0:
        return 0
    straight = _straight(price)
    if straight is not None:
        quantum, usage, spare, step_usage, step_s = straight
        bought_s = (credit_micros // quantum * usage + spare) // step_usage * step_s
        if bought_s <= 0:
            return 0
        return bought_s if bought_s < at_most_s else at_most_s
    last_s = _last_second(price, credit_micros)
    return at_most_s if last_s is None else min(last_s, at_most_s)


@lru_cache(maxsize=16_384)
def _straight(price: Price) -> tuple[int, int, int, int, int] | None:
    """Of a price in equal steps and a fee, as most are: the quantum of a charge in micro-units and in usage, the usage
    that rounds to nothing when the fee is paid, and a step in usage and in seconds. None for any other.
    """
    tier, *further = price.tiers
    bounded = price.minimum_s > tier.increment_s or price.min_charge or price.max_charge is not None
    free = price.grace_s or price.free_s or price.bundle_s or not tier.per_minute
    if further or bounded or free or price.extra_at_s is not None or price.course is not None:
        return None
    micros, quantum = 60 * price.denominator, _QUANTA[price.decimals]
    usage = micros * quantum
    spare = largest_rounding_to(0, usage, price.rounding) - price.connection_fee * micros
    return quantum, usage, spare, tier.per_minute * tier.increment_s, tier.increment_s


def affordable_together(prices: Sequence[Price], credit_micros: int, at_most_s: int) -> int:
    """The longest call up to `at_most_s` that costs no more than the credit by all these prices in one."""
    for price in prices:
        at_most_s = affordable_seconds(price, credit_micros, at_most_s)
    if len(prices) < 2:
        return at_most_s
    return longest(lambda seconds: sum([charge(price, seconds).micros for price in prices]), credit_micros, at_most_s)


def longest(cost: Callable[[int], int], credit_micros: int, at_most_s: int) -> int:
    """The longest call up to `at_most_s` that costs no more than the credit.

    For more charges than one: there is no closed inverse, but their sum only rises.
    """
    shortest_s = 0
    while shortest_s < at_most_s:
        middle_s = (shortest_s + at_most_s + 1) // 2
        if cost(middle_s) <= credit_micros:
            shortest_s = middle_s
        else:
            at_most_s = middle_s - 1
    return shortest_s


@lru_cache(maxsize=8_192)
def first_charged_second(price: Price) -> int | None:
    """The length of the shortest call that costs something; None for a price that never charges."""
    last_free_s = _last_second(price, 0)
    return None if last_free_s is None else last_free_s + 1


@lru_cache(maxsize=16_384)
def stretch(price: Price, seconds: int, at_most_s: int) -> int:
    """The longest call up to `at_most_s` that costs the same as one of `seconds`."""
    return affordable_seconds(price, charge(price, seconds).micros, at_most_s)


def _usage(price: Price, seconds: int) -> tuple[int, int]:
    """Billed seconds and the whole cost, unrounded, in usage units. (0, 0) for a free call."""
    if seconds <= price.grace_s or seconds <= price.free_s:
        return 0, 0
    charged_s = max(seconds - price.free_s, price.minimum_s)
    tier = price.tiers[0]
    usage = 0
    for following in price.tiers[1:]:
        if following.from_s >= charged_s:
            break
        usage += tier.per_minute * (following.from_s - tier.from_s)
        tier = following
    beyond_s = -((tier.from_s - charged_s) // tier.increment_s) * tier.increment_s
    micros = 60 * price.denominator
    cost = price.connection_fee * micros + usage + tier.per_minute * beyond_s
    if price.extra_at_s is not None and seconds > price.extra_at_s:
        cost += price.extra_fee * micros
    cost = max(cost, price.min_charge * micros)
    if price.max_charge is not None:
        cost = min(cost, price.max_charge * micros)
    return tier.from_s + beyond_s, cost


def _last_second(price: Price, credit_micros: int) -> int | None:
    """The longest call that costs no more than the credit (0 or more); None where no length costs more."""
    if price.course is None and not price.bundle_s:
        return _last_flat_second(price, credit_micros)
    for until_s in HORIZONS_S:
        last_s = _last_flat_second(unfolded(price, until_s), credit_micros)
        if last_s is not None and last_s < until_s:
            return last_s
    return _last_flat_second(unfolded(price, None), credit_micros)


def _last_flat_second(price: Price, credit_micros: int) -> int | None:
    """The same of a price in tiers alone."""
    micros = 60 * price.denominator
    quantum = _QUANTA[price.decimals]
    budget = largest_rounding_to(credit_micros // quantum, micros * quantum, price.rounding)
    if price.max_charge is not None and price.max_charge * micros <= budget:
        return None
    free_s = max(price.grace_s, price.free_s)
    if price.min_charge * micros > budget:
        return free_s
    budget -= price.connection_fee * micros
    last_s = _last_paid_second(price, budget)
    extra_at_s = price.extra_at_s
    if extra_at_s is not None and (last_s is None or last_s > extra_at_s):
        last_s = _last_paid_second(price, budget - price.extra_fee * micros)
        last_s = None if last_s is None else max(last_s, extra_at_s)
    return None if last_s is None else max(last_s, free_s)


def _last_paid_second(price: Price, budget: int) -> int | None:
    """The call's last second whose usage alone fits the budget, free seconds included; None where all fit."""
    if budget < 0:
        return 0
    tier = price.tiers[0]
    for following in price.tiers[1:]:
        block = tier.per_minute * (following.from_s - tier.from_s)
        if block > budget:
            break
        budget -= block
        tier = following
    if not tier.per_minute:
        return None
    paid_s = tier.from_s + budget // (tier.per_minute * tier.increment_s) * tier.increment_s
    return paid_s + price.free_s if paid_s >= price.minimum_s else 0
