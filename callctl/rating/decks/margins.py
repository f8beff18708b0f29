"""What a deck earns over its buy plan: every row, wherever the purchase price under it changes."""

from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from functools import lru_cache

import msgspec

from callctl.money import MICROS
from callctl.numbering import Number, NumberType
from callctl.numbering.plans import calling_code_of, international
from callctl.rating.exchange import Conversion, converted
from callctl.rating.margin import MarginRule
from callctl.rating.match import Deck, Match
from callctl.rating.pricing import Minutes, rate_rows
from callctl.rating.tariff import Direction, Plan, Row

_RATE_DENOMINATOR = 100  # rows and rules count 10^-8 per minute: hundredths of a micro-unit
_DAY_MS = 86_400_000
_NO_COUNTRY = "000"  # the calling code of what is shorter than one: its rows are by type
_LENGTHS, _DIGITS = range(8, 14), "1520"  # of numbers that are tried, and what they are filled up with
_NAMED = 5  # rows of a sentence
_EITHER = (NumberType.FIX, NumberType.MOB)


class Shortfall(msgspec.Struct, frozen=True):
    """A row that earns too little: where it does worst. Prices in micro-units per minute."""

    row: Row
    prefix: str
    buy_row: Row
    sell: Fraction
    buy: Fraction
    short: Fraction


class DeckMargin(msgspec.Struct, frozen=True):
    """The rows that earn too little, the worst first, and those for whose numbers there is no purchase price."""

    short: tuple[Shortfall, ...]
    unbought: tuple[Row, ...]


def judge_deck(sell: Deck, buy: Deck, rule: MarginRule, at_ms: int, conversion: Conversion | None = None) -> DeckMargin:
    """Hold every row of a deck against what is bought for its numbers, from `at_ms` on, fees apart.

    `rule.min_per_call` is left out. A longer prefix of either deck is looked at by itself. `conversion`: of what is
    bought in another currency; all of it by this one rate.
    """
    own = _by_prefix(sell)
    bought: dict[str, list[Row]] = {}
    for row in all_rows(buy):
        bought.setdefault(row.prefix, []).append(row)
    mine = {id(row) for rows in own.values() for row in rows}
    asked: dict[int, Row] = {}
    has_purchase: set[int] = set()
    worst: dict[int, Shortfall] = {}
    for prefix in sorted(own.keys() | bought.keys()):
        rows = (*own.get(prefix, ()), *bought.get(prefix, ()))
        for sale, purchase, at in _cases(sell, buy, prefix, rows, at_ms):
            row = sale.rows[0]
            if id(row) not in mine:
                continue  # inherited
            asked[id(row)] = row
            if purchase is None:
                continue
            has_purchase.add(id(row))
            found = _shortfall(sell.plan, sale.rows, buy.plan, purchase.rows, rule, at // _DAY_MS, conversion)
            if found is not None and (id(row) not in worst or found[2] > worst[id(row)].short):
                worst[id(row)] = Shortfall(row, prefix, purchase.rows[0], *found)
    short = sorted(worst.values(), key=lambda each: each.short, reverse=True)
    return DeckMargin(tuple(short), tuple(row for key, row in asked.items() if key not in has_purchase))


class Purchases:
    """For which prefixes an amount is bought, at `at_ms` or later."""

    def __init__(self, bought: Iterable[Row], at_ms: int) -> None:
        self._priced: dict[Direction, set[str]] = {way: set() for way in Direction}
        for row in bought:
            if row.percent is None and (row.valid_until_ms is None or row.valid_until_ms > at_ms):
                self._priced[row.direction].add(row.prefix)
        self._above: dict[Direction, set[str]] = {}

    def missing(self, rows: Sequence[Row]) -> Iterator[int]:
        """The indices of percentages of nothing: no amount is bought for any number of theirs."""
        for index, row in enumerate(rows):
            if row.percent is not None and not self._buys(row.prefix, row.direction):
                yield index

    def _buys(self, prefix: str, direction: Direction) -> bool:
        priced = self._priced[direction]
        if any(prefix[:end] in priced for end in range(len(prefix) + 1)):
            return True
        if direction not in self._above:
            self._above[direction] = {longer[:end] for longer in priced for end in range(len(longer))}
        return prefix in self._above[direction]


def no_purchase(buy_plan: str | None, rows: Sequence[Row] = ()) -> str:
    """In words, of which rows."""
    names = f"{', '.join(row.name for row in rows[:_NAMED])}{', ...' if len(rows) > _NAMED else ''}"
    of = f"{len(rows)} percentage{'s' if len(rows) > 1 else ''} ({names})" if rows else "these numbers"
    where = f"the buy plan {buy_plan} has" if buy_plan is not None else "without a buy plan there is"
    return f"{where} no price for {of}"


def all_rows(deck: Deck | None) -> Iterator[Row]:
    """A plan's rows and those that it inherits."""
    while deck is not None:
        for rows in _by_prefix(deck).values():
            yield from rows
        deck = deck.parent


def _by_prefix(deck: Deck) -> dict[str, tuple[Row, ...]]:
    entries = (entry if isinstance(entry, tuple) else (entry,) for entry in deck.entries())
    return {rows[0].prefix: rows for rows in entries}


def _cases(
    sell: Deck, buy: Deck, prefix: str, rows: Sequence[Row], at_ms: int
) -> Iterator[tuple[Match, Match | None, int]]:
    """What is sold and bought for the numbers of a prefix: of each type and direction, now and when a row begins."""
    calling_code = calling_code_of(prefix) or _NO_COUNTRY
    cases = {
        (row.type, row.direction, max(at_ms, row.valid_from_ms or 0))
        for row in rows
        if row.valid_until_ms is None or row.valid_until_ms > at_ms
    }
    for kind, direction, at in cases:
        found: list[tuple[NumberType, Match | None, Match | None]] = []
        for each in (kind,) if kind is not None else _EITHER:
            number = Number(f"+{prefix}", prefix, "", calling_code, each)
            found.append((each, sell.find(number, at, direction), buy.find(number, at, direction)))
        if len(found) == 2:
            found = _of_one_type(found, prefix, calling_code)
        yield from ((sale, purchase, at) for _, sale, purchase in found if sale is not None)


def _of_one_type(
    found: list[tuple[NumberType, Match | None, Match | None]], prefix: str, calling_code: str
) -> list[tuple[NumberType, Match | None, Match | None]]:
    """Rows without a type: where it matters, what the prefix's numbers are; a whole country has both."""
    (_, *fixed), (_, *mobile) = found
    if [match and match.rows for match in fixed] == [match and match.rows for match in mobile]:
        return found[:1]
    if len(prefix) <= len(calling_code):
        return found
    numbers = (international(prefix.ljust(length, digit)) for digit in _DIGITS for length in _LENGTHS)
    kind = next((number.type for number in numbers if number is not None), NumberType.FIX)
    return found[1:] if kind is NumberType.MOB else found[:1]


def _shortfall(
    plan: Plan,
    rows: tuple[Row, ...],
    buy_plan: Plan,
    buy_rows: tuple[Row, ...],
    rule: MarginRule,
    utc_day: int,
    conversion: Conversion | None,
) -> tuple[Fraction, Fraction, Fraction] | None:
    """Sell, buy and what is missing where it is most; None where the rule is kept."""
    buy = buy_rows[0].per_minute if conversion is None else None
    if len(rows) == 1 and len(buy_rows) == 1 and buy is not None:
        # Of 200,000 rows nearly all are like this.
        sell = rows[0].per_minute
        return _short(buy * (rows[0].percent or 0) if sell is None else sell * MICROS, buy, rule)
    minutes = _minutes(plan, rows, buy_plan, buy_rows, utc_day, conversion)
    shorts = (_short(sell * MICROS, bought, rule) for sell, bought in minutes)
    return max(filter(None, shorts), key=lambda each: each[2], default=None)


def _short(sell: Fraction | int, buy: Fraction | int, rule: MarginRule) -> tuple[Fraction, Fraction, Fraction] | None:
    """`buy` counts 10^-8 per minute, `sell` millionths of that; the answer is in micro-units."""
    share = buy * (MICROS + (rule.min_percent or 0))
    least = max(share, (buy + (rule.min_per_minute or 0)) * MICROS)
    if sell >= least:
        return None
    micros = MICROS * _RATE_DENOMINATOR
    return Fraction(sell) / micros, Fraction(buy) / _RATE_DENOMINATOR, Fraction(least - sell) / micros


@lru_cache(maxsize=8_192)
def _minutes(
    plan: Plan,
    rows: tuple[Row, ...],
    buy_plan: Plan,
    buy_rows: tuple[Row, ...],
    utc_day: int,
    conversion: Conversion | None,
) -> tuple[tuple[Fraction, Fraction], ...]:
    """Sell and buy (10^-8 per minute) of every band and tier that meet. Nothing where one has no price."""
    bought = rate_rows(buy_plan, buy_rows, utc_day, None)
    if isinstance(bought, str):
        return ()
    if conversion is not None:
        bought = converted(*bought, conversion)
    sold = rate_rows(plan, rows, utc_day, bought[1])
    if isinstance(sold, str):
        return ()
    return tuple(dict.fromkeys(_meeting(sold[1], bought[1])))


def _meeting(sold: Minutes, bought: Minutes) -> Iterator[tuple[Fraction, Fraction]]:
    ours, theirs = dict(sold.turns), dict(bought.turns)
    own, other = sold.turns[0][1], bought.turns[0][1]
    for at_s in sorted(ours.keys() | theirs.keys()):
        own, other = ours.get(at_s, own), theirs.get(at_s, other)
        for from_s in {start for start, _ in (*sold.bands[own], *bought.bands[other])}:
            yield _per_minute(sold, own, from_s), _per_minute(bought, other, from_s)


def _per_minute(minutes: Minutes, band: int, second: int) -> Fraction:
    numerator = [numerator for from_s, numerator in minutes.bands[band] if from_s <= second][-1]
    return Fraction(numerator * _RATE_DENOMINATOR, minutes.denominator)
