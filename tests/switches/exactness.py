"""How exact real switches, phones and SIPp can be expected to be on a busy machine."""

APART_MS = 500
"""A moment in a phone, or in SIPp, may be so far from the same one in the switch."""
LATE_MS = 1_500
"""So late a timer may seem."""
ALONE_MS = 600 + LATE_MS
"""Kamailio by itself leaves a third of a second to callctl."""


def in_time(after_ms: float, due_s: float, late_ms: float = LATE_MS) -> bool:
    """Whether what was due so many seconds after the answer came then: not before, and no later than a timer may be."""
    return due_s * 1_000 - APART_MS <= after_ms <= due_s * 1_000 + late_ms
