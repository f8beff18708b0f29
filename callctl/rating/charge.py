"""What a call costs, and how long a call some money buys: two faces of one price. Exact; rounded once.

    seconds        whole seconds of the call (`round_duration` of what was measured)
    charged second a second after the free ones; `Tier.from_s` counts in these
    usage          micro-units * denominator * 60, so that a price per minute times seconds stays an integer

`affordable_seconds` is the exact inverse of `charge`, in closed form: the largest unrounded cost that still
rounds to the credit gives the last increment that it pays for. Neither takes longer for a longer call.
"""

from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache

import msgspec

from callctl.money import Rounding, format_rate, largest_rounding_to, round_ratio
from callctl.rating.tariff import IncrementBasis

_QUANTA = (1_000_000, 100_000, 10_000, 1_000, 100, 10, 1)  # micro-units of the last kept decimal


class Tier(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """`per_minute` / the price's denominator micro-units per minute, from charged second `from_s` on.

    Its increments of `increment_s` begin exactly there.
    """

    from_s: int
    per_minute: int
    increment_s: int


class Price(msgspec.Struct, frozen=True, array_like=True, gc=False, cache_hash=True):
    """Everything that a charge needs, by itself, in micro-units. A session keeps it: no reload changes it.

    `tiers` ascend from second 0; an initial block is a tier of its own (30/6: one increment of 30, then 6).
    `minimum_s`: least charged seconds, where increments are of the total and no initial block stands apart.
    `min_charge` and `max_charge` bound the whole charge: fee, usage and extra fee.
    """

    connection_fee: int
    denominator: int
    tiers: tuple[Tier, ...]
    minimum_s: int = 0
    min_charge: int = 0
    max_charge: int | None = None
    grace_s: int = 0
    free_s: int = 0
    extra_at_s: int | None = None
    extra_fee: int = 0
    decimals: int = 4
    rounding: Rounding = Rounding.HALF_UP
    duration_rounding: Rounding = Rounding.UP

    @property
    def first_increment_s(self) -> int:
        """The shortest time that a charged call is billed for, before rounding to increments of the total."""
        return max(self.tiers[0].increment_s, self.minimum_s)

    @property
    def per_minute(self) -> str:
        """The first tier's price per minute for people ("0.0800")."""
        return format_rate(self.tiers[0].per_minute, self.denominator)


class Charge(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a call costs: the seconds it is billed for (free ones left out) and micro-units."""

    billed_s: int
    micros: int


FREE = Charge(0, 0)


def fold_tiers(steps: Sequence[tuple[int, int, int]], *, initial_s: int, basis: IncrementBasis) -> tuple[Tier, ...]:
    """Tiers from (from_s, per_minute, increment_s) steps as a deck states them: ascending, the first from 0.

    An increment belongs to the step in which it starts, so a tier begins where the increment that runs at its
    step's `from_s` ends, and a step in which no increment starts is gone.
    """
    tiers: list[Tier] = []
    start_s = current = 0
    if initial_s and basis is IncrementBasis.AFTER_INITIAL:
        tiers.append(Tier(0, steps[0][1], initial_s))
        start_s = initial_s
    while True:
        while current + 1 < len(steps) and steps[current + 1][0] <= start_s:
            current += 1
        _, per_minute, increment_s = steps[current]
        if not tiers or (per_minute, increment_s) != (tiers[-1].per_minute, tiers[-1].increment_s):
            tiers.append(Tier(start_s, per_minute, increment_s))
        if current + 1 == len(steps):
            return tuple(tiers)
        start_s -= (start_s - steps[current + 1][0]) // increment_s * increment_s


def round_duration(price: Price, duration_ms: int) -> int:
    """Whole seconds of a measured duration, by the price's `duration_rounding`."""
    return round_ratio(duration_ms, 1000, price.duration_rounding)


@lru_cache(maxsize=16_384)
def charge(price: Price, seconds: int) -> Charge:
    """What a call of `seconds` costs, rounded once. Free: 0 s, and calls within grace or free seconds."""
    billed_s, usage = _usage(price, seconds)
    if not billed_s:
        return FREE
    quantum = _QUANTA[price.decimals]
    return Charge(billed_s, round_ratio(usage, 60 * price.denominator * quantum, price.rounding) * quantum)


def exact_charge(price: Price, seconds: int) -> tuple[int, Fraction]:
    """Billed seconds, and the micro-units that `charge` rounds."""
    billed_s, usage = _usage(price, seconds)
    return billed_s, Fraction(usage, 60 * price.denominator)


def affordable_seconds(price: Price, credit_micros: int, at_most_s: int) -> int:
    """The longest call up to `at_most_s` that costs no more than the credit; 0 if that is negative."""
    if credit_micros < 0:
        return 0
    last_s = _last_second(price, credit_micros)
    return at_most_s if last_s is None else min(last_s, at_most_s)


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
