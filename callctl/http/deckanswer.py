"""What taking a deck does, or would do, as the front door says it: as JSON, or every row of it as CSV."""

import csv
import io
from collections.abc import Iterable, Iterator

import msgspec

from callctl.money import format_exchange_rate, format_percent, format_rate
from callctl.rating.decks.deck import export_deck
from callctl.rating.decks.difference import Change, DeckDiff, Movement
from callctl.rating.decks.margins import DeckMargin, Shortfall
from callctl.rating.exchange import Conversion
from callctl.rating.tariff import Row

SHOWN_AT_MOST = 100

RowShown = dict[str, str]
"""A row by column, as the CSV says it; empty cells left out."""


class RowChange(msgspec.Struct, frozen=True):
    """A row that is in both decks, with other terms.

    `difference`: of `per_minute`, or of `percent` in points; null where one became the other. `difference_percent`:
    the same, in percent of what it was; null where that was 0.
    """

    old: RowShown
    new: RowShown
    movement: Movement
    difference: str | None
    difference_percent: str | None


class RowShort(msgspec.Struct, frozen=True):
    """A row that earns less than was asked for; where it does worst: `at_prefix`, `buy_row`. Per minute, fees apart."""

    row: RowShown
    at_prefix: str
    buy_row: str
    sell_per_minute: str
    buy_per_minute: str
    short: str


class Margin(msgspec.Struct, frozen=True):
    """The rows against the buy plan: how many earn too little, and for how many nothing is bought.

    `exchange`: what one unit of its currency costs in ours, where it is another one.
    """

    buy_plan: str
    exchange: str | None
    short: int
    without_purchase: int
    first_short: tuple[RowShort, ...]
    first_without_purchase: tuple[RowShown, ...]


class RowsAnswer(msgspec.Struct, frozen=True):
    """What taking the deck does, or would do (`dry_run`): how many rows, and of each kind the first hundred.

    `margin`: of a dry run, where the plan has a `buy_plan`. `passed_over_lines`: comments and totals;
    `passed_over_headings`: those that were not mapped. `warnings`: what is allowed, but may not be meant.
    """

    plan: str
    rows: int
    dry_run: bool
    added: int
    removed: int
    changed: int
    dearer: int
    cheaper: int
    unchanged: int
    first_added: tuple[RowShown, ...]
    first_removed: tuple[RowShown, ...]
    first_changed: tuple[RowChange, ...]
    margin: Margin | None
    passed_over_lines: tuple[int, ...]
    passed_over_headings: tuple[str, ...]
    warnings: tuple[str, ...]


def changes_shown(changes: Iterable[Change]) -> Iterator[RowChange]:
    for change in changes:
        old, new = rows_shown((change.old, change.new))
        yield RowChange(old, new, change.movement, _difference(change), _hundredths(change.difference_percent))


def margin_shown(buy_plan: str, margin: DeckMargin, exchange: Conversion | None) -> Margin:
    return Margin(
        buy_plan=buy_plan,
        exchange=None if exchange is None else format_exchange_rate(exchange.rate),
        short=len(margin.short),
        without_purchase=len(margin.unbought),
        first_short=tuple(map(_short_shown, margin.short[:SHOWN_AT_MOST])),
        first_without_purchase=tuple(rows_shown(margin.unbought[:SHOWN_AT_MOST])),
    )


def rows_shown(rows: Iterable[Row]) -> Iterator[RowShown]:
    return ({name: cell for name, cell in row.items() if cell} for row in csv.DictReader(export_deck(rows)))


def difference_csv(diff: DeckDiff, margin: DeckMargin | None) -> bytes:
    """Every change and every row that earns too little, a line each: `change` says which."""
    out = io.StringIO()
    columns = next(csv.reader(export_deck(())))
    olds = [f"old_{column}" for column in columns if column != "prefix"]
    writer = csv.DictWriter(out, ["change", *columns, *_DIFFERENCE, *_SHORT, *olds])
    writer.writeheader()
    writer.writerows({"change": "added", **row} for row in rows_shown(diff.added))
    writer.writerows({"change": "removed", **row} for row in rows_shown(diff.removed))
    for change in changes_shown(diff.changed):
        old = {f"old_{name}": cell for name, cell in change.old.items() if name != "prefix"}
        differences = (change.difference, change.difference_percent)
        writer.writerow(
            {"change": change.movement, **change.new, **dict(zip(_DIFFERENCE, differences, strict=True)), **old}
        )
    for short in map(_short_shown, margin.short if margin is not None else ()):
        writer.writerow({"change": "below_margin", **short.row, **{name: getattr(short, name) for name in _SHORT}})
    writer.writerows({"change": "without_purchase", **row} for row in rows_shown(margin.unbought if margin else ()))
    return out.getvalue().encode()


_DIFFERENCE = ("difference", "difference_percent")
_SHORT = ("at_prefix", "buy_row", "sell_per_minute", "buy_per_minute", "short")


def _short_shown(short: Shortfall) -> RowShort:
    (row,) = rows_shown((short.row,))
    prices = (format_rate(price.numerator, price.denominator) for price in (short.sell, short.buy, short.short))
    return RowShort(row, short.prefix, short.buy_row.name, *prices)


def _difference(change: Change) -> str | None:
    difference = change.difference
    if difference is None:
        return None
    if change.new.percent is None:
        return format_rate(difference, 100)
    return f"{'-' if difference < 0 else ''}{format_percent(abs(difference))}"


def _hundredths(share: int | None) -> str | None:
    if share is None:
        return None
    whole, rest = divmod(abs(share), 100)
    return f"{'-' if share < 0 else ''}{whole}.{rest:02}"
