"""Is the sale worth it: minimum margins, and bounds on the purchase price (`mission.md` B4). Exact integers.

Prices per minute are compared as the rows state them, fees apart, for every tier that the grant can reach.
"""

import msgspec


class MarginRule(msgspec.Struct, frozen=True):
    """The least that the seller must earn: every part that is set must hold, a sell price of 0 included.

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
