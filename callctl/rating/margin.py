"""Is the sale worth it: minimum margins, and bounds on the purchase price (`mission.md` B4). Exact integers.

Prices per minute are compared as they are charged, fees apart, for every tier that the grant can reach.
"""

from collections.abc import Iterator

import msgspec

from callctl.money import MICROS, format_amount, format_rate
from callctl.rating.charge import Price, charge

_RATE = 100  # a rule's 10^-8 per minute are hundredths of a micro-unit


class MarginRule(msgspec.Struct, frozen=True):
    """The least that the seller must earn: every part that is set must hold, for a sell price of 0 too.

    `min_per_minute`: 10^-8 per minute; `min_percent`: of the purchase price per minute, in millionths of it;
    `min_per_call`: micro-units on a whole call of `assumed_seconds`, with fees and increments.
    """

    min_per_minute: int | None = None
    min_percent: int | None = None
    min_per_call: int | None = None
    assumed_seconds: int = 180


class MaxCost(msgspec.Struct, frozen=True):
    """Bounds of the purchase price: `per_minute` in 10^-8; `connection` and `per_call` in micro-units."""

    per_minute: int | None = None
    connection: int | None = None
    per_call: int | None = None


class Traded(msgspec.Struct, frozen=True, gc=False):
    """What a rule looks at: the price it sells at, and the price it buys at where there is one."""

    sell: Price
    buy: Price | None


class Found(msgspec.Struct, frozen=True, gc=False):
    """Whether a rule holds, what it saw (both prices) and what it demands (with the shortfall, if any).

    `no_buy`: it cannot be judged, for there is no purchase price.
    """

    kept: bool
    saw: str
    limit: str = ""
    no_buy: bool = False


NO_BUY = Found(kept=False, saw="no purchase price", limit="a rule on the purchase price needs one", no_buy=True)
