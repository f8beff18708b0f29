"""Two decks compared: what taking the new one would do (`tariff diff`, a dry run of an import)."""

from collections.abc import Sequence
from enum import StrEnum

import msgspec

from callctl.money import Rounding, round_ratio
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

    @property
    def difference(self) -> int | None:
        """By how much price per minute or percentage rose, as a row counts it; None where one became the other."""
        if (self.old.percent is None) is not (self.new.percent is None):
            return None
        return _price(self.new) - _price(self.old)

    @property
    def difference_percent(self) -> int | None:
        """The same in hundredths of a percent of what it was, half up; None where it was nothing."""
        difference, was = self.difference, _price(self.old)
        if difference is None or not was:
            return None
        share = round_ratio(abs(difference) * 10_000, was, Rounding.HALF_UP)
        return share if difference > 0 else -share


class DeckDiff(msgspec.Struct, frozen=True):
    """What taking the new deck would do. `unchanged`: how many rows are in both as they are."""

    added: tuple[Row, ...]
    removed: tuple[Row, ...]
    changed: tuple[Change, ...]
    unchanged: int = 0


def diff_decks(old: Sequence[Row], new: Sequence[Row]) -> DeckDiff:
    """Compare two decks; a row is the same by prefix, type, direction, tier, band and validity."""
    before = {_identity(row): row for row in old}
    after = {_identity(row): row for row in new}
    pairs = [(before[key], row) for key, row in after.items() if key in before]
    changed = tuple(Change(was, now, _movement(was, now)) for was, now in pairs if was != now)
    return DeckDiff(
        added=tuple(row for key, row in after.items() if key not in before),
        removed=tuple(row for key, row in before.items() if key not in after),
        changed=changed,
        unchanged=len(pairs) - len(changed),
    )


def _identity(row: Row) -> tuple[object, ...]:
    return (row.prefix, row.type, row.direction, row.tier_from_s, row.band, row.valid_from_ms, row.valid_until_ms)


def _price(row: Row) -> int:
    return (row.per_minute if row.percent is None else row.percent) or 0


def _movement(old: Row, new: Row) -> Movement:
    if (old.percent is None) is not (new.percent is None):
        return Movement.OTHER
    rises = (new.connection_fee - old.connection_fee, _price(new) - _price(old))
    if any(rise > 0 for rise in rises) and min(rises) >= 0:
        return Movement.DEARER
    if any(rise < 0 for rise in rises) and max(rises) <= 0:
        return Movement.CHEAPER
    return Movement.OTHER
