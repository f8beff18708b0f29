"""Growing slices: how much of a call is held at a time, for all its payers together.

A slice starts small, so that many calls share a small balance, and doubles, so that a long call costs few round
trips (`docs/rules.md`, Slice). Every amount here is the cost of the whole call so far: an extension holds the
difference, so that fee and rounding happen once.
"""

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from itertools import chain

from msgspec.structs import replace

from callctl.call import drawing
from callctl.call.anchor import possible, possible_levels
from callctl.call.bill import bill
from callctl.call.session import Level
from callctl.rating.bundles import covered, credit_in
from callctl.rating.charge import Price, affordable_seconds, charge, first_charged_second, longest, stretch
from callctl.rating.tax import affordable_net

HORIZON_S = 10**9  # thirty years: what no money ends before this, nothing ends


def cost(level: Level, seconds: int) -> int:
    """What a call of `seconds` costs this payer in all, taxes included. Micro-units; nothing for an exempt one.

    What its sources pay is not in it. While a call in bands is set up: as much as the dearest of the answers that it
    may have.
    """
    if level.exempt:
        return 0
    if level.answer_by_s is not None:
        return max(cost(each, seconds) for each in possible_levels(level))
    if level.sources:
        return max(0, bill(level, seconds).gross - credit_in(level.sources))
    if level.taxes or level.parts or level.overflow:
        return bill(level, seconds).gross
    return charge(level.sell, seconds).micros


def unused(level: Level, seconds: int) -> int:
    """What the level gets back of its hold if the call ends after `seconds`, 0 unanswered. Micro-units."""
    return max(0, level.held - cost(drawing.kept(level), seconds)) if seconds else level.held


def _is_plain(level: Level) -> bool:
    """Whether its price is all that it pays, and known before the answer."""
    return not (level.overflow or level.taxes or level.parts or level.answer_by_s or level.sources)


def affordable(level: Level, credit: int, at_most_s: int) -> int:
    """The longest call that costs this payer no more than `credit`, `at_most_s` at the most.

    Who is over its limit can still pay for what costs nothing.
    """
    if level.exempt:
        return at_most_s
    credit = credit if credit > 0 else 0
    if level.answer_by_s is not None:
        return min(affordable(each, credit, at_most_s) for each in possible_levels(level))
    sell, gross = level.sell, credit
    if level.sources:
        sell, gross = covered(sell, level.sources), credit + credit_in(level.sources)
    net = affordable_net(level.taxes, gross, decimals=sell.decimals) if level.taxes else gross
    seconds = affordable_seconds(sell, net, at_most_s)
    if not level.overflow and not level.parts:
        return seconds
    return _longest((level,), credit, seconds)


def affordable_by_all(levels: Sequence[Level], available: Sequence[int | None]) -> int | None:
    """The longest call that every payer can pay from what it holds and has besides; None: nothing limits it."""
    seconds = HORIZON_S
    for depth, level in enumerate(levels):  # to pair them takes as long as all the rest
        left = available[depth]
        if left is not None:
            seconds = affordable(level, level.held + left, seconds)
    if len(levels) > 2:
        seconds = _of_both_sides(levels, available, seconds)
    return None if seconds == HORIZON_S else seconds


def _of_both_sides(levels: Sequence[Level], available: Sequence[int | None], seconds: int) -> int:
    """As much of a call of `seconds` as an account that is on both sides of it can pay of its one balance."""
    count = Counter([(level.root, level.account) for level in levels])
    if len(count) == len(levels):
        return seconds
    left_of = {(level.root, level.account): left for level, left in zip(levels, available, strict=True)}
    for payer, left in left_of.items():
        if count[payer] > 1 and left is not None:
            sides = [level for level in levels if (level.root, level.account) == payer]
            seconds = _longest(sides, max(0, left + sum(side.held for side in sides)), seconds)
    return seconds


def _longest(levels: Sequence[Level], credit: int, at_most_s: int) -> int:
    """The longest call that costs these levels together no more than `credit`."""
    return longest(lambda seconds: sum([cost(level, seconds) for level in levels]), credit, at_most_s)


def first_cost(level: Level) -> int | None:
    """What the first charged second costs this payer (`docs/rules.md`, Least credit); None: nothing is charged."""
    if _is_plain(level):
        return _first_charge(level.sell)
    last_free_s = affordable(drawing.alone(level), 0, HORIZON_S)
    return None if last_free_s == HORIZON_S else cost(level, last_free_s + 1)


@lru_cache(maxsize=8_192)
def _first_charge(price: Price) -> int | None:
    first_s = first_charged_second(price)
    return None if first_s is None else charge(price, first_s).micros


def _counting(level: Level) -> Level:
    """The level as a slice counts for it: a bundle is not held at once for all that it covers, nor does what an exempt
    account talks cost its thresholds nothing.
    """
    level = drawing.alone(level)
    return level if level.watch is None or not level.exempt else replace(level, exempt=False)


def stretched(levels: Sequence[Level], seconds: int, at_most_s: int) -> int:
    """The last second that costs every payer the same as `seconds`."""
    last_s = at_most_s
    for level in levels:
        if last_s <= seconds:
            return seconds
        if _is_plain(level) and not level.exempt:
            last_s = stretch(level.sell, seconds, last_s)
        else:
            counting = _counting(level)
            last_s = affordable(counting, cost(counting, seconds), last_s)
    return max(seconds, last_s)


def opening(levels: Sequence[Level], least_s: int, ceiling_s: int, longest_s: int) -> tuple[int, int]:
    """Length of the first slice: `least_s`, or the longest first increment of a payer; and what is granted at first.

    That is as much as costs nobody more, up to `longest_s`, and never beyond the ceiling.
    """
    sell = _only_price(levels)
    if sell is not None:
        return _opening(sell, least_s, ceiling_s, longest_s)
    for level in levels:
        prices = (level.sell, *[part.sell for part in level.parts])
        for price in prices if level.answer_by_s is None else chain(*possible(prices, level.answer_by_s)):
            least_s = max(least_s, price.first_increment_s + price.free_s)
    return least_s, stretched(levels, min(least_s, ceiling_s), min(ceiling_s, longest_s))


@lru_cache(maxsize=8_192)
def _opening(price: Price, least_s: int, ceiling_s: int, longest_s: int) -> tuple[int, int]:
    """The same for most calls: one payer, of nothing but this price."""
    slice_s = max(least_s, price.first_increment_s + price.free_s)
    seconds = min(slice_s, ceiling_s)
    return slice_s, max(seconds, stretch(price, seconds, min(ceiling_s, longest_s)))


def following(
    levels: Sequence[Level], granted_s: int, slice_s: int, most_s: int, ceiling_s: int, longest_s: int
) -> tuple[int, int]:
    """Length of the slice after one of `slice_s`: twice that, or `most_s` at the most; and what is granted with it.

    No slice is shorter than the one before. What is granted: as `opening` says, `longest_s` more at the most.
    """
    sell = _only_price(levels)
    if sell is not None:
        return _following(sell, granted_s, slice_s, most_s, ceiling_s, longest_s)
    slice_s = max(slice_s, min(slice_s * 2, most_s))
    return slice_s, stretched(levels, min(granted_s + slice_s, ceiling_s), min(granted_s + longest_s, ceiling_s))


@lru_cache(maxsize=16_384)
def _following(
    price: Price, granted_s: int, slice_s: int, most_s: int, ceiling_s: int, longest_s: int
) -> tuple[int, int]:
    """The same for most calls, which all double alike."""
    slice_s = max(slice_s, min(slice_s * 2, most_s))
    seconds = min(granted_s + slice_s, ceiling_s)
    return slice_s, max(seconds, stretch(price, seconds, min(granted_s + longest_s, ceiling_s)))


def _only_price(levels: Sequence[Level]) -> Price | None:
    """All that most calls are charged by: one payer, of nothing but this price. None for any other call."""
    if len(levels) != 1:
        return None
    level = levels[0]
    return level.sell if _is_plain(level) and not level.exempt else None


def within_hold(levels: Sequence[Level], seconds: int) -> int:
    """As much of a call of `seconds` as every payer who must pay beforehand holds the cost of."""
    for level in levels:
        if level.prepaid:
            seconds = affordable(drawing.kept(level), level.held, seconds)
    return seconds
