"""The accounts' own rules, held against what a call would be sold for: barred destinations, margin, cost."""

from collections.abc import Iterator

import msgspec

from callctl.accounts import Account, Chain
from callctl.causes import Refusal
from callctl.limits.classes import NumberLists, class_of
from callctl.limits.destinations import Destination
from callctl.numbering import Number
from callctl.rating.levels import LevelPrice
from callctl.rating.margin import costs_within, margins_kept
from callctl.rating.tariff import TrafficClass


class Dialled(msgspec.Struct, frozen=True, gc=False):
    """What is called, and when (wall second). `home`: the country of the customer, as far as anybody states one.

    `traffic_class`: of a call that nobody sells; None: its row says it, or its number.
    """

    number: Number
    at_s: int
    home: str
    lists: NumberLists
    traffic_class: TrafficClass | None = None

    def seen_by(self, account: Account, price: LevelPrice | None) -> Destination:
        """As the rules of an account see it: from its own country, where it states one.

        Were it the customer's, who may change the accounts below could make abroad home.
        """
        number, home = self.number, account.dial_rules.country or self.home
        name, kind, stated = (price.destination, price.type, price.traffic_class) if price is not None else ("", "", "")
        traffic_class = TrafficClass(stated) if stated else self.traffic_class or class_of(number, home, self.lists)
        return Destination(
            number, name, kind or number.type, traffic_class, number.country != home, self.at_s, account.timezone
        )


def home_of(chain: Chain) -> str:
    """The country that a call is made from: that of the customer, or of the next above that states one."""
    return next((account.dial_rules.country for account in chain if account.dial_rules.country), "")


def broken_rules(
    account: Account, price: LevelPrice | None, called: Dialled | None, *, buy_unknown: bool = False
) -> Iterator[Refusal]:
    """Why the account's call would be refused, as admission judges it (`call/admission.py`).

    `price` None: nobody sells the call, or no row prices it. `called` None: an inbound call, whose number is our own.
    `buy_unknown`: a purchase price that is missing is one that we were not told, and says nothing.
    """
    rules = account.destinations
    if rules is not None and called is not None and rules.barred_by(called.seen_by(account, price)) is not None:
        yield Refusal.DESTINATION_BARRED
    if price is None or (price.buy is None and buy_unknown):
        return
    if account.margin is not None:
        for margin in margins_kept(account.margin, price):
            if not margin.kept:
                yield Refusal.NO_RATE if margin.no_buy else Refusal.MARGIN_TOO_LOW
    if account.max_cost is not None:
        for cost in costs_within(account.max_cost, price):
            if not cost.kept:
                yield Refusal.NO_RATE if cost.no_buy else Refusal.COST_TOO_HIGH
