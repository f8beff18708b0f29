"""Two decks compared: what taking the new one would do (`tariff diff`, a dry run of an import)."""

from collections.abc import Sequence
from enum import StrEnum

import msgspec

from callctl.rating.tariff import Row


class Movement(StrEnum):
    """Where a price went: fee and price per minute both up (or one of them), both down, or neither."""

    DEARER = "dearer"
    CHEAPER = "cheaper"
    OTHER = "other"


class Change(msgspec.Struct, frozen=True):
    """A row that is in both decks, with other terms."""

    old: Row
    new: Row
    movement: Movement


class DeckDiff(msgspec.Struct, frozen=True):
    """What taking the new deck would do."""

    added: tuple[Row, ...]
    removed: tuple[Row, ...]
    changed: tuple[Change, ...]


def diff_decks(old: Sequence[Row], new: Sequence[Row]) -> DeckDiff:
    """Compare two decks; a row is the same by prefix, type, direction, tier and validity."""
    before = {_identity(row): row for row in old}
    after = {_identity(row): row for row in new}
    pairs = ((before[key], row) for key, row in after.items() if key in before)
    return DeckDiff(
        added=tuple(row for key, row in after.items() if key not in before),
        removed=tuple(row for key, row in before.items() if key not in after),
        changed=tuple(Change(was, now, _movement(was, now)) for was, now in pairs if was != now),
    )


def _identity(row: Row) -> tuple[object, ...]:
    return (row.prefix, row.type, row.direction, row.tier_from_s, row.valid_from_ms, row.valid_until_ms)


def _movement(old: Row, new: Row) -> Movement:
    if (old.percent is None) is not (new.percent is None):
        return Movement.OTHER
    before, after = ((row.connection_fee, row.per_minute if row.percent is None else row.percent) for row in (old, new))
    rises = [(now or 0) - (was or 0) for was, now in zip(before, after, strict=True)]
    if any(rise > 0 for rise in rises) and min(rises) >= 0:
        return Movement.DEARER
    if any(rise < 0 for rise in rises) and max(rises) <= 0:
        return Movement.CHEAPER
    return Movement.OTHER
