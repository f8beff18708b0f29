"""How exact real switches, phones and SIPp can be expected to be on a busy machine."""

from collections.abc import Awaitable, Callable

CUT_MS = 100
"""How exactly callctl ends a call on a switch that does as it is told at once."""
MOST_CALLS = 5
"""So many are made to find one that the machine has not delayed."""
APART_MS = 500
"""A moment in a phone, or in SIPp, may be so far from the same one in the switch."""
LATE_MS = 1_500
"""So late a timer may seem."""
ALONE_MS = 600 + LATE_MS
"""And so late where Kamailio ends a call by itself, for it leaves some time to callctl."""


def in_time(after_ms: float, due_s: float, late_ms: float = LATE_MS) -> bool:
    """Whether what was due so many seconds after the answer came about then, as far as every single call can tell."""
    return due_s * 1_000 - APART_MS <= after_ms <= due_s * 1_000 + late_ms


async def is_ever_within(play: Callable[[], Awaitable[float]], earliest_ms: float, latest_ms: float) -> bool:
    """Whether a call ends as exactly as is promised. A busy machine delays some: one of five is enough.

    `play` makes a call, and answers how many ms after its due end it has ended.
    """
    for _ in range(MOST_CALLS):
        if earliest_ms <= await play() <= latest_ms:
            return True
    return False
