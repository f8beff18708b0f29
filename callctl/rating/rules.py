"""The accounts' own rules, held against what a past call would be sold for: barred destinations, margin, cost."""

from collections.abc import Iterator

from callctl.accounts import Account
from callctl.causes import Refusal
from callctl.numbering import Number
from callctl.rating.margin import cost_within, margin_kept
from callctl.rating.match import LevelPrice
from callctl.rating.tariff import Direction


def broken_rules(
    account: Account, price: LevelPrice | None, number: Number, direction: Direction, *, buy_unknown: bool = False
) -> Iterator[Refusal]:
    """Why the account's call would be refused, as admission judges it (`call/admission.py`).

    `price` None: nobody sells the call, or no row prices it. `buy_unknown`: a purchase price that is missing is one
    that we were not told, and says nothing.
    """
    if account.destinations is not None and direction is not Direction.INBOUND:
        name, kind = (price.destination, price.type or number.type) if price is not None else ("", number.type)
        if account.destinations.barred_by(number.digits, kind, name):
            yield Refusal.DESTINATION_BARRED
    if price is None or (price.buy is None and buy_unknown):
        return
    if account.margin is not None:
        margin = margin_kept(account.margin, price)
        if not margin.kept:
            yield Refusal.NO_RATE if margin.no_buy else Refusal.MARGIN_TOO_LOW
    if account.max_cost is not None:
        cost = cost_within(account.max_cost, price)
        if not cost.kept:
            yield Refusal.NO_RATE if cost.no_buy else Refusal.COST_TOO_HIGH
