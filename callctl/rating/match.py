"""Which row prices a call, and what each level of a reseller chain sells and buys it for.

The longest prefix wins, over a plan's own rows and those it inherits; its own win at the same prefix. A row
whose prefix is no longer than the country's calling code says which types of number it is for; a longer one
names its numbers by itself, and the row's type is what they are called.
"""

from collections.abc import Sequence
from functools import lru_cache

import msgspec

from callctl.clock import local_day
from callctl.numbering import Number, NumberType
from callctl.rating.bundles import Sources
from callctl.rating.exchange import Conversion, Exchanges, converted, find_conversion
from callctl.rating.price import Price, anchored
from callctl.rating.pricing import Minutes, rate_rows
from callctl.rating.tariff import MAX_PREFIX_DIGITS, Direction, Plan, Row
from callctl.rating.tax import Tax

PRICES_KEPT = 8_192  # of the rows that were asked for last; a price takes about 1 kB

_DAY_MS, _MINUTE_MS = 86_400_000, 60_000
_NO_EXCHANGES: Exchanges = {}

_FIX, _MOB = NumberType.FIX, NumberType.MOB
_ROW_TYPES: dict[NumberType, tuple[NumberType | None, ...]] = {
    **{kind: (kind, None) for kind in NumberType},
    **{kind: (kind, _FIX, None) for kind in (NumberType.VOIP, NumberType.UAN, NumberType.VOICEMAIL)},
    NumberType.UNKNOWN: (NumberType.UNKNOWN, _FIX, None),
    NumberType.FIX_OR_MOB: (NumberType.FIX_OR_MOB, _FIX, _MOB, None),
    NumberType.PAGER: (NumberType.PAGER, _MOB, None),
}
"""Types of row that take a type of number, the best first; None is a row without a type."""

_INBOUND = Direction.INBOUND
_LONGER_THAN = tuple(2 * 10**digits for digits in range(MAX_PREFIX_DIGITS))
"""By number of digits: the keys of longer prefixes start here."""

Entry = Row | tuple[Row, ...]
"""All rows of one prefix; a lone row stands by itself, which spares the garbage collector 200,000 tuples."""

Table = dict[int, Entry]
"""By int("1" + prefix), so that dropping the last digit is a division."""


class Match(msgspec.Struct, frozen=True, gc=False):
    """The rows that price a call (more than one: the tiers and bands of its price) and its number's type."""

    rows: tuple[Row, ...]
    type: NumberType


class Deck:
    """A plan with its rows, ready to be looked up in. Never changes; a reload builds another.

    `parent` is the deck of the plan that this one extends.
    """

    def __init__(self, plan: Plan, table: Table, longest: int, parent: "Deck | None") -> None:
        self.plan = plan
        self.parent = parent
        self._table = table
        self._longest: int = max(longest, parent._longest) if parent is not None else longest
        # Without itself: a cycle would leave the freeing of an old deck to the garbage collector, in one pause.
        self._above: tuple[Deck, ...] = (parent, *parent._above) if parent is not None else ()
        self._dated = any(deck.plan.effective_ms is not None for deck in self._family())
        self._lookups = tuple(deck._table.get for deck in self._family())

    def find(self, number: Number, at_ms: int, direction: Direction) -> Match | None:
        """The row for a call that starts at `at_ms`; None where the deck has none.

        Inbound calls find inbound rows alone; an internal call is looked up as an outbound one.
        """
        lookups = self._lookups
        if self._dated:
            lookups = tuple(deck._table.get for deck in self._family() if deck._effective(at_ms))
        longest_key = int("1" + number.digits[: self._longest])
        found: Match | None = None
        found_key = 0
        for lookup in lookups:
            key = longest_key
            while key > found_key:  # an inherited row must have a longer prefix than what was found
                entry = lookup(key)
                if entry is not None and (match := _choose(entry, key, number, at_ms, direction)) is not None:
                    found, found_key = match, key
                    break
                key //= 10
        return found

    def entries(self) -> list[Entry]:
        """The rows of this plan itself, those of one prefix together."""
        return list(self._table.values())

    def under(self, plan: Plan, parent: "Deck | None") -> "Deck":
        """The same rows when the plan's terms, or the plan that it extends, have changed."""
        return Deck(plan, self._table, self._longest, parent)

    def plan_at(self, at_ms: int) -> Plan:
        """The plan whose conventions hold: this one, or before it is effective the one that it extends."""
        if not self._dated:
            return self.plan
        return next((deck.plan for deck in self._family() if deck._effective(at_ms)), self.plan)

    def _family(self) -> "tuple[Deck, ...]":
        return (self, *self._above)

    def _effective(self, at_ms: int) -> bool:
        return self.plan.effective_ms is None or self.plan.effective_ms <= at_ms


def _choose(entry: Entry, key: int, number: Number, at_ms: int, direction: Direction) -> Match | None:
    """The best of one prefix's rows, with all its tiers and bands: by type, then whose validity began last."""
    by_type = key < _LONGER_THAN[len(number.calling_code)]
    inbound = direction is _INBOUND
    if not isinstance(entry, tuple):
        if _order(entry, number.type, at_ms, inbound, by_type) is None:
            return None
        return Match((entry,), number.type if by_type else entry.type or number.type)
    best: Row | None = None
    best_rank = (0, 0)
    for row in entry:
        order = None if row.tier_from_s else _order(row, number.type, at_ms, inbound, by_type)
        if order is not None:
            rank = (order, -(row.valid_from_ms or 0))
            if best is None or rank < best_rank:
                best, best_rank = row, rank
    if best is None:
        return None
    rows = tuple(row for row in entry if same_price(row, best))
    return Match(rows, number.type if by_type else best.type or number.type)


def _order(row: Row, number_type: NumberType, at_ms: int, inbound: bool, by_type: bool) -> int | None:
    """How well a row suits the call, 0 the best; None where it is not for such calls."""
    if (row.direction is _INBOUND) is not inbound:
        return None
    if row.valid_from_ms is not None and at_ms < row.valid_from_ms:
        return None
    if row.valid_until_ms is not None and at_ms >= row.valid_until_ms:
        return None
    accepted = _ROW_TYPES[number_type]
    if row.type in accepted:
        return accepted.index(row.type)
    return None if by_type else len(accepted)


def same_price(row: Row, other: Row) -> bool:
    """Whether two rows of one prefix are tiers or bands of one price."""
    return (
        row.type is other.type
        and row.direction is other.direction
        and row.valid_from_ms == other.valid_from_ms
        and row.valid_until_ms == other.valid_until_ms
    )


class Part(msgspec.Struct, frozen=True, array_like=True, gc=False, cache_hash=True):
    """What another plan charges for the same call, besides: a charge of its own, with its own fee and taxes.

    `buy`: what that plan buys it for; None: it names no purchase, or there is none (`no_buy`).
    """

    plan: str
    row: str
    sell: Price
    taxes: tuple[Tax, ...] = ()
    buy_plan: str | None = None
    buy_row: str | None = None
    buy: Price | None = None
    no_buy: str = ""

    @property
    def in_bands(self) -> bool:
        """Whether it depends on when the call is answered."""
        return self.sell.course is not None or (self.buy is not None and self.buy.course is not None)


class LevelPrice(msgspec.Struct, frozen=True, gc=False, cache_hash=True):
    """What one level sells a call for (to the level below, or the customer) and what it costs its seller.

    `buy` None: no purchase price was found; `no_buy` says why where it is for want of an exchange rate.
    `conversion`: of `buy`, where it was bought in another currency. `traffic_class` is empty where the row states none.
    `taxes`: of its plan, whoever is liable to them. `sources`: what the level draws upon before money.
    `unsold`: nobody buys or sells the call itself; rules on prices judge its parts alone.
    """

    plan: str
    row: str
    destination: str
    type: str
    traffic_class: str
    sell: Price
    buy_plan: str | None
    buy_row: str | None
    buy: Price | None
    conversion: Conversion | None = None
    no_buy: str = ""
    taxes: tuple[Tax, ...] = ()
    parts: tuple[Part, ...] = ()
    sources: Sources = ()
    unsold: bool = False

    @property
    def in_bands(self) -> bool:
        """Whether it depends on when the call is answered."""
        if self.sell.course is not None or (self.buy is not None and self.buy.course is not None):
            return True
        return bool(self.parts) and any(part.in_bands for part in self.parts)

    @property
    def sales(self) -> "tuple[LevelPrice | Part, ...]":
        """What rules on the purchase judge: the row itself, and every part that is bought."""
        own = () if self.unsold else (self,)
        return own + tuple([part for part in self.parts if part.buy is not None or part.no_buy]) if self.parts else own


NO_ROW = "no row"


class NoRate(msgspec.Struct, frozen=True, gc=False):
    """The level whose plan does not price the call, and why.

    `no_buy`: why it has no purchase price, where that is for want of an exchange rate.
    """

    account: str
    plan: str
    reason: str
    no_buy: str = ""


class Priced(msgspec.Struct, frozen=True, gc=False, cache_hash=True):
    """What a level sells for, and what the level below needs to know of it: its exact minutes, its currency.

    `timezone`: of its plan. `conversion`: by which its price was converted into the currency of the level below.
    `banded`: its price, or its purchase, is in bands, and is anchored for every call apart.
    """

    level: LevelPrice
    minutes: Minutes
    currency: str
    timezone: str
    banded: bool
    conversion: Conversion | None = None


def price_levels(
    levels: Sequence[tuple[str, Deck]],
    carrier: Deck | None,
    number: Number,
    at_ms: int,
    direction: Direction,
    exchanges: Exchanges = _NO_EXCHANGES,
) -> tuple[LevelPrice, ...] | NoRate:
    """Prices of every level, in the order given: (account, its deck), the payer first and the root last.

    `carrier` is the deck that the root buys from; every other level buys from the one above it. A percentage
    is of that purchase row. A purchase in another currency is converted by the rate of the day; without one it counts
    as none. Prices in bands are those of a call that is answered at once; `anchored` makes them those of the answer.
    """
    bought = _priced(carrier, number, at_ms, direction, None) if carrier is not None else ""
    purchase = None if isinstance(bought, str) else bought
    no_buy = ""
    prices: list[LevelPrice] = []
    for account, deck in reversed(levels):
        if purchase is not None and purchase.currency != deck.plan.currency:
            exchanged = _in_currency(purchase, deck.plan.currency, at_ms, exchanges)
            purchase, no_buy = (None, exchanged) if isinstance(exchanged, str) else (exchanged, "")
        sale = _priced(deck, number, at_ms, direction, purchase)
        if isinstance(sale, str):
            return NoRate(account, deck.plan_at(at_ms).id, sale, no_buy)
        level = _answered(sale.level, at_ms // 1000) if sale.banded else sale.level
        prices.append(msgspec.structs.replace(level, no_buy=no_buy) if no_buy else level)
        purchase, no_buy = sale, ""
    return tuple(reversed(prices))


def carrier_price(
    deck: Deck, currency: str, number: Number, at_ms: int, direction: Direction, exchanges: Exchanges
) -> Priced | str:
    """What a carrier is paid, in this currency, or why that is not known."""
    bought = _priced(deck, number, at_ms, direction, None)
    if isinstance(bought, str) or bought.currency == currency:
        return bought
    return _in_currency(bought, currency, at_ms, exchanges)


def _in_currency(bought: Priced, currency: str, at_ms: int, exchanges: Exchanges) -> Priced | str:
    """By the rate of the day on which the call is set up, where the carrier's plan is at home."""
    day = local_day(bought.timezone, at_ms // _MINUTE_MS)
    conversion = find_conversion(exchanges, bought.currency, currency, day)
    return conversion if isinstance(conversion, str) else _converted(bought, conversion)


@lru_cache(maxsize=PRICES_KEPT)
def _converted(bought: Priced, conversion: Conversion) -> Priced:
    sell, minutes = converted(bought.level.sell, bought.minutes, conversion)
    level = msgspec.structs.replace(bought.level, sell=sell)
    return msgspec.structs.replace(
        bought, level=level, minutes=minutes, currency=conversion.sold_in, conversion=conversion
    )


def _answered(level: LevelPrice, answer_s: int) -> LevelPrice:
    buy = anchored(level.buy, answer_s) if level.buy is not None else None
    return msgspec.structs.replace(level, sell=anchored(level.sell, answer_s), buy=buy)


def _priced(deck: Deck, number: Number, at_ms: int, direction: Direction, purchase: Priced | None) -> Priced | str:
    """A level's price, or why it has none. A lone row has no bands, so its price is that of any day."""
    match = deck.find(number, at_ms, direction)
    if match is None:
        return NO_ROW
    rows = match.rows
    plan = deck.plan_at(at_ms) if deck._dated else deck.plan
    if len(rows) == 1:
        return _price_rows(plan, rows, match.type, purchase)
    return _price_rows(plan, rows, match.type, purchase, at_ms // _DAY_MS)


@lru_cache(maxsize=PRICES_KEPT)
def _price_rows(
    plan: Plan, rows: tuple[Row, ...], type: NumberType, purchase: Priced | None, utc_day: int = 0
) -> Priced | str:
    """The same values cost the same, whichever call asks: most calls go where others went before."""
    rated = rate_rows(plan, rows, utc_day, purchase.minutes if purchase is not None else None)
    if isinstance(rated, str):
        return rated
    sell, minutes = rated
    bought = purchase.level if purchase is not None else None
    level = LevelPrice(
        plan=plan.id,
        row=rows[0].name,
        destination=rows[0].destination or (bought.destination if bought is not None else ""),
        type=type,
        traffic_class=rows[0].traffic_class or "",
        sell=sell,
        buy_plan=bought.plan if bought is not None else None,
        buy_row=bought.row if bought is not None else None,
        buy=bought.sell if bought is not None else None,
        conversion=purchase.conversion if purchase is not None else None,
        taxes=plan.taxes,
    )
    banded = any(price is not None and price.course is not None for price in (level.sell, level.buy))
    return Priced(level, minutes, plan.currency, plan.timezone, banded)
