"""Growing slices: how much of a call is held at a time, for all its payers together.

A slice starts small, so that many calls share a small balance, and doubles, so that a long call costs few round
trips (`docs/rules.md`, Slice). Every amount here is the cost of the whole call so far: an extension holds the
difference, so that fee and rounding happen once.
"""

from collections.abc import Sequence

from callctl.call.session import Level
from callctl.money import Rounding, round_ratio
from callctl.rating.charge import affordable_seconds, charge, first_charged_second, stretch

HORIZON_S = 10**9  # thirty years: what no money ends before this, nothing ends


def surcharge(level: Level, billed_s: int) -> int:
    """What overflow adds to `billed_s` billed seconds, in micro-units: a charge of its own, rounded once."""
    if not level.overflow or not billed_s:
        return 0
    quantum: int = 10 ** (6 - level.sell.decimals)
    usage = level.surcharge_call * 60 + level.surcharge_minute * billed_s
    rounded: int = round_ratio(usage, 60 * quantum, Rounding.HALF_UP) * quantum
    return rounded


def cost(level: Level, seconds: int) -> int:
    """What a call of `seconds` costs this payer, surcharge included. Micro-units; nothing for an exempt one."""
    if level.exempt:
        return 0
    charged = charge(level.sell, seconds)
    return charged.micros + surcharge(level, charged.billed_s)


def affordable(level: Level, credit: int | None, at_most_s: int) -> int:
    """The longest call that costs this payer no more than `credit` (None: no limit), `at_most_s` at the most."""
    if credit is None or level.exempt:
        return at_most_s
    seconds = affordable_seconds(level.sell, credit, at_most_s)
    if not level.overflow:
        return seconds
    shortest, longest = 0, seconds  # with the surcharge there is no closed inverse; the sum still only rises
    while shortest < longest:
        middle = (shortest + longest + 1) // 2
        shortest, longest = (middle, longest) if cost(level, middle) <= credit else (shortest, middle - 1)
    return shortest


def affordable_by_all(levels: Sequence[Level], available: Sequence[int | None]) -> int | None:
    """The longest call that every payer can pay from what it holds and has besides; None: nothing limits it."""
    seconds = HORIZON_S
    for level, left in zip(levels, available, strict=True):
        seconds = affordable(level, None if left is None else level.held + left, seconds)
    return None if seconds == HORIZON_S else seconds


def first_cost(level: Level) -> int | None:
    """What the first charged second costs this payer (`docs/rules.md`, Least credit); None: nothing is charged."""
    first_s = first_charged_second(level.sell)
    return None if first_s is None else cost(level, first_s)


def stretched(levels: Sequence[Level], seconds: int, at_most_s: int) -> int:
    """The last second that costs every payer the same as `seconds`."""
    last_s = at_most_s
    for level in levels:
        if level.overflow:
            last_s = affordable(level, cost(level, seconds), last_s)
        elif not level.exempt and last_s > seconds:
            last_s = min(last_s, stretch(level.sell, seconds, last_s))
    return max(seconds, last_s)


def first_slice(levels: Sequence[Level], least_s: int) -> int:
    """Length of the first slice: `least_s`, or the longest first increment of a payer."""
    for level in levels:
        least_s = max(least_s, level.sell.first_increment_s + level.sell.free_s)
    return least_s
