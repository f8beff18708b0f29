"""Exchange rates by day: what a purchase in another currency costs in ours.

Prices per minute are converted exactly, amounts (fees, minimum, maximum) to micro-units half up; everything that is
worked out of them, percentages and margins, is as exact as without a conversion.
"""

from bisect import bisect_right
from collections.abc import Mapping
from fractions import Fraction
from math import gcd
from operator import attrgetter

import msgspec
from msgspec.structs import replace

from callctl.money import EXCHANGE_DECIMALS, Rounding, round_ratio
from callctl.rating.price import BandPrice, Price, Tier
from callctl.rating.pricing import Minutes

MAX_RATE = 10**6 * 10**EXCHANGE_DECIMALS

_UNIT = 10**EXCHANGE_DECIMALS


class DatedRate(msgspec.Struct, frozen=True):
    """From the beginning of a day (ISO) on, one unit costs `rate` (10^-12 of the other currency)."""

    from_day: str
    rate: int


class Conversion(msgspec.Struct, frozen=True, array_like=True, gc=False, cache_hash=True):
    """By which rate a price was converted: that of `day` (ISO). `rate`: see `DatedRate`."""

    bought_in: str
    sold_in: str
    rate: int
    day: str


class Exchange(msgspec.Struct, frozen=True):
    """What one unit of a currency costs in another, day by day. `id`: "USD-EUR"; `rates`: days ascend.

    ValueError where they do not, for a currency in itself, and for a rate that is not above 0 or is above a million.
    """

    id: str
    rates: tuple[DatedRate, ...] = ()

    def __post_init__(self) -> None:
        bought_in, _, sold_in = self.id.partition("-")
        if bought_in == sold_in:
            raise ValueError("a currency has no rate in itself")
        days = [dated.from_day for dated in self.rates]
        if days != sorted(set(days)):
            raise ValueError("two rates from the same day on, or days that do not ascend")
        if any(not 0 < dated.rate <= MAX_RATE for dated in self.rates):
            raise ValueError(f"a rate is above 0 and at most {MAX_RATE // _UNIT}")

    def on(self, day: str) -> Conversion | None:
        """The rate of a day; None before the first."""
        index = bisect_right(self.rates, day, key=attrgetter("from_day")) - 1
        if index < 0:
            return None
        bought_in, _, sold_in = self.id.partition("-")
        return Conversion(bought_in, sold_in, self.rates[index].rate, day)


Exchanges = Mapping[str, Exchange]
"""By their ids."""


def find_conversion(exchanges: Exchanges, bought_in: str, sold_in: str, day: str) -> Conversion | str:
    """The rate of a day, or in words that there is none."""
    exchange = exchanges.get(f"{bought_in}-{sold_in}")
    found = exchange.on(day) if exchange is not None else None
    return found or f"no exchange rate {bought_in}-{sold_in} on {day}"


def converted(price: Price, minutes: Minutes, conversion: Conversion) -> tuple[Price, Minutes]:
    """A price and its exact minutes in the other currency."""
    factor = Fraction(conversion.rate, _UNIT * minutes.denominator)
    numerators = [numerator * factor.numerator for steps in minutes.bands for _, numerator in steps]
    common = gcd(factor.denominator, *numerators)
    denominator = factor.denominator // common

    def per_minute(numerator: int) -> int:
        return numerator * factor.numerator // common

    def amount(micros: int) -> int:
        return round_ratio(micros * conversion.rate, _UNIT, Rounding.HALF_UP)

    def terms(each: Price) -> Price:
        return replace(
            each,
            connection_fee=amount(each.connection_fee),
            denominator=denominator,
            tiers=tuple(Tier(tier.from_s, per_minute(tier.per_minute), tier.increment_s) for tier in each.tiers),
            min_charge=amount(each.min_charge),
            max_charge=None if each.max_charge is None else amount(each.max_charge),
            extra_fee=amount(each.extra_fee),
        )

    def band(each: BandPrice) -> BandPrice:
        steps = tuple((from_s, per_minute(numerator), increment_s) for from_s, numerator, increment_s in each.steps)
        return replace(each, price=terms(each.price), steps=steps)

    course = price.course
    if course is not None:
        course = replace(course, bands=tuple(map(band, course.bands)))
    bands = tuple(tuple((from_s, per_minute(numerator)) for from_s, numerator in steps) for steps in minutes.bands)
    return replace(terms(price), course=course), Minutes(denominator, bands, minutes.turns)
