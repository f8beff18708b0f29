"""What each level of a reseller chain sells a call for, and what it buys it for."""

from collections.abc import Sequence
from functools import lru_cache

import msgspec

from callctl.clock import local_day
from callctl.numbering import Number, NumberType
from callctl.rating.bundles import Sources
from callctl.rating.exchange import Conversion, Exchanges, converted, find_conversion
from callctl.rating.match import Deck
from callctl.rating.price import Price, anchored
from callctl.rating.pricing import Minutes, rate_rows
from callctl.rating.tariff import Direction, Plan, Row
from callctl.rating.tax import Tax

PRICES_KEPT = 8_192  # of the rows that were asked for last; a price takes about 1 kB

_DAY_MS, _MINUTE_MS = 86_400_000, 60_000
_NO_EXCHANGES: Exchanges = {}


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
    purchase: Priced | None = None
    no_buy = ""
    if carrier is not None:
        bought = _priced(carrier, number, at_ms, direction, None)
        purchase = None if isinstance(bought, str) else bought
    prices: list[LevelPrice] = []
    for account, deck in reversed(levels):
        if purchase is not None and purchase.currency != deck.plan.currency:
            exchanged = _in_currency(purchase, deck.plan.currency, at_ms, exchanges)
            purchase, no_buy = (None, exchanged) if isinstance(exchanged, str) else (exchanged, "")
        sale = _priced(deck, number, at_ms, direction, purchase)
        if isinstance(sale, str):
            return NoRate(account, deck.plan_at(at_ms).id, sale, no_buy)
        level = sale.level
        if sale.banded:
            level = _answered(level, at_ms // 1000)
        if no_buy:
            level, no_buy = msgspec.structs.replace(level, no_buy=no_buy), ""
        prices.append(level)
        purchase = sale
    prices.reverse()
    return tuple(prices)


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
    plan, rows = deck.plan_at(at_ms) if deck.dated else deck.plan, match.rows
    return _price_rows(plan, rows, match.type, purchase, at_ms // _DAY_MS if len(rows) > 1 else 0)


@lru_cache(maxsize=PRICES_KEPT)
def _price_rows(
    plan: Plan, rows: tuple[Row, ...], type: NumberType, purchase: Priced | None, utc_day: int
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
