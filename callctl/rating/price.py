"""A price with everything in it that a charge needs, and how bands and bundles shape it. Exact integers.

    charged second a second after the free ones; `Tier.from_s` counts in these
    wall second    UTC, since the epoch; where the bands of a course turn

A price in bands is re-anchored when the call is answered (`anchored`), and worked out only as far as somebody asks
(`unfolded`): what a charge takes grows with the bands that the call crosses, not with its length.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import lru_cache
from operator import itemgetter

import msgspec

from callctl.money import Rounding, format_rate
from callctl.rating.tariff import IncrementBasis

HORIZONS_S = (14_400, 115_200, 921_600)
"""How far a course is unfolded at a time: 4 hours, eightfold, eightfold; then to its end."""

Step = tuple[int, int, int]
"""(from_s, per_minute, increment_s) as a deck states it: the increment that runs at `from_s` ends first."""


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
    `course`: how the price goes on from band to band; all other terms are then those of the band of the answer.
    `bundle_s`: so many billed seconds, the first ones, have no minute price.
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
    course: "Course | None" = None
    bundle_s: int = 0

    @property
    def first_increment_s(self) -> int:
        """The shortest time that a charged call is billed for, before rounding to increments of the total."""
        return max(self.tiers[0].increment_s, self.minimum_s)

    @property
    def by_the_minute(self) -> bool:
        """Whether any minute of it costs something."""
        return self.course is not None or any(tier.per_minute for tier in self.tiers)

    @property
    def per_minute(self) -> str:
        """The first tier's price per minute for people ("0.0800")."""
        return format_rate(self.tiers[0].per_minute, self.denominator)

    @property
    def band(self) -> tuple[str, int | None]:
        """The name of the band of the answer, and the wall second at which the next one takes over."""
        if self.course is None:
            return "", None
        turns, at = self.course.turns, _turn(self.course, self.course.answer_s)
        return self.course.bands[turns[at][1]].name, turns[at + 1][0] if at + 1 < len(turns) else None


class BandPrice(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One band's own price, as if it held for the whole call, and what its tiers were made of.

    `name`: the band in words ("1-5 08:00-18:00"), empty for a row without one.
    """

    price: Price
    steps: tuple[Step, ...]
    initial_s: int
    basis: IncrementBasis
    name: str = ""


class Course(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Prices by band, all of one denominator. `turns`: (wall second, index of the band that takes over), ascending.

    `answer_s`: the wall second of the answer, from which the call is priced.
    """

    bands: tuple[BandPrice, ...]
    turns: tuple[tuple[int, int], ...]
    answer_s: int


def fold_tiers(steps: Sequence[Step], *, initial_s: int, basis: IncrementBasis) -> tuple[Tier, ...]:
    """Tiers from the steps of a deck: ascending, the first from 0.

    An increment belongs to the step in which it starts, so a tier begins where the increment that runs at its
    step's `from_s` ends, and a step in which no increment starts is gone.
    """
    tiers: list[Tier] = []
    start_s = current = 0
    if initial_s and basis is not IncrementBasis.TOTAL:
        tiers.append(Tier(0, steps[0][1], initial_s))
        start_s = initial_s
        _, per_minute, increment_s = [step for step in steps if step[0] <= initial_s][-1]
        short_s = -initial_s % increment_s
        if short_s and basis is IncrementBasis.TOTAL_BEYOND_INITIAL:
            tiers.append(Tier(initial_s, per_minute, short_s))
            start_s += short_s
    while True:
        while current + 1 < len(steps) and steps[current + 1][0] <= start_s:
            current += 1
        _, per_minute, increment_s = steps[current]
        if not tiers or (per_minute, increment_s) != (tiers[-1].per_minute, tiers[-1].increment_s):
            tiers.append(Tier(start_s, per_minute, increment_s))
        if current + 1 == len(steps):
            return tuple(tiers)
        start_s -= (start_s - steps[current + 1][0]) // increment_s * increment_s


def in_bands(bands: tuple[BandPrice, ...], turns: tuple[tuple[int, int], ...]) -> Price:
    """A price that goes from band to band, for a call that is answered at the first turn."""
    return _answered(Course(bands, turns, turns[0][0]))


def anchored(price: Price, answer_s: int) -> Price:
    """The price of a call that is answered at this wall second: whole-call terms are those of the band it is in.

    A price without bands is the same at any time. Bundle seconds stay.
    """
    return price if price.course is None else _anchored(price, answer_s)


@lru_cache(maxsize=8_192)
def _anchored(price: Price, answer_s: int) -> Price:
    """Calls of one second that cost the same have one value: what it charges is worked out once."""
    if price.course is None or price.course.answer_s == answer_s:
        return price
    course = msgspec.structs.replace(price.course, answer_s=answer_s)
    return bundled(_answered(course), price.bundle_s)


def anchored_for(price: Price, answer_s: int, seconds: int) -> Price:
    """The same for one call of so many seconds: where no other band begins meanwhile its own price, charged quicker."""
    course = price.course
    if course is None or price.bundle_s:
        return anchored(price, answer_s)
    turn = _turn(course, answer_s)
    alone = course.bands[course.turns[turn][1]].price
    over_s = answer_s + alone.free_s + max(seconds, alone.minimum_s)
    last = turn + 1 == len(course.turns)
    return alone if last or over_s <= course.turns[turn + 1][0] else anchored(price, answer_s)


def bundled(price: Price, bundle_s: int) -> Price:
    """The price of a call for which so many bundle seconds are held: it eats them in the order of its price."""
    return msgspec.structs.replace(price, bundle_s=bundle_s)


def unfolded(price: Price, seconds: int | None) -> Price:
    """The same price in tiers alone, without course and bundle: right for calls of up to `seconds`; None: for all."""
    if price.course is None and not price.bundle_s:
        return price
    if price.course is None or seconds is None:
        return _unfolded(price, None)
    return _unfolded(price, next((until_s for until_s in HORIZONS_S if seconds <= until_s), None))


@lru_cache(maxsize=8_192)
def _unfolded(price: Price, until_s: int | None) -> Price:
    denominator, tiers = price.denominator, price.tiers
    if price.course is not None:
        within_s = None if until_s is None else max(until_s - price.free_s, price.minimum_s)
        band = _band(price.course)
        steps = list(_steps(price.course, price.course.answer_s + price.free_s, within_s))
        tiers = fold_tiers(steps, initial_s=band.initial_s, basis=band.basis)
    if price.bundle_s:
        factor, covered = _covered(tiers, price.bundle_s)
        denominator, tiers = denominator * factor, tuple(covered)
    return msgspec.structs.replace(price, denominator=denominator, tiers=tiers, course=None, bundle_s=0)


def _answered(course: Course) -> Price:
    return msgspec.structs.replace(_band(course).price, course=course)


def _band(course: Course) -> BandPrice:
    """The band of the answer."""
    return course.bands[course.turns[_turn(course, course.answer_s)][1]]


def _turn(course: Course, wall_s: int) -> int:
    """The index of the turn that holds at a wall second."""
    return max(0, bisect_right(course.turns, wall_s, key=itemgetter(0)) - 1)


def _steps(course: Course, charged_s: int, within_s: int | None) -> Iterator[Step]:
    """The steps of all bands in their order, in charged seconds, of which 0 is the wall second `charged_s`."""
    from_s = 0
    for index in range(_turn(course, charged_s), len(course.turns)):
        if within_s is not None and from_s > within_s:
            return
        end_s = course.turns[index + 1][0] - charged_s if index + 1 < len(course.turns) else None
        steps = course.bands[course.turns[index][1]].steps
        for number, (start_s, per_minute, increment_s) in enumerate(steps, 1):
            over = number < len(steps) and steps[number][0] <= from_s
            if not over and (end_s is None or start_s < end_s):
                yield max(start_s, from_s), per_minute, increment_s
        from_s = end_s or 0


def _covered(tiers: Sequence[Tier], bundle_s: int) -> tuple[int, list[Tier]]:
    """The tiers with the first billed seconds free, and by what the denominator grows.

    The increment in which the bundle ends costs what the rest of it costs; it stays one increment.
    """
    ending = bisect_right(tiers, bundle_s, key=lambda tier: tier.from_s) - 1
    tier = tiers[ending]
    whole, part_s = divmod(bundle_s - tier.from_s, tier.increment_s)
    rest_s = tier.from_s + whole * tier.increment_s
    covered = [Tier(each.from_s, 0, each.increment_s) for each in tiers[: ending + bool(whole)]]
    factor = 1
    if part_s:
        factor = tier.increment_s
        covered.append(Tier(rest_s, tier.per_minute * (tier.increment_s - part_s), tier.increment_s))
        rest_s += tier.increment_s
    if ending + 1 == len(tiers) or rest_s < tiers[ending + 1].from_s:
        covered.append(Tier(rest_s, tier.per_minute * factor, tier.increment_s))
    covered += [Tier(each.from_s, each.per_minute * factor, each.increment_s) for each in tiers[ending + 1 :]]
    return factor, covered
