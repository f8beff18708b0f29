"""What other plans charge an account for the same call (`Account.also`): airtime beside minutes, say."""

from collections.abc import Callable, Set

import msgspec
from msgspec.structs import replace

from callctl.accounts import Account
from callctl.numbering import Number
from callctl.rating.exchange import Exchanges
from callctl.rating.levels import NO_ROW, NoRate, Part, price_levels
from callctl.rating.match import Deck
from callctl.rating.tariff import Direction

FindDeck = Callable[[str], Deck | None]


class Dialling(msgspec.Struct, frozen=True, gc=False):
    """What is called, when, and whether it stays among our customers (then most plans do not charge it)."""

    number: Number
    at_ms: int
    direction: Direction
    on_net: bool


def parts_of(
    account: Account, call: Dialling, bought: Set[str | None] | None, find_deck: FindDeck, exchanges: Exchanges
) -> tuple[Part, ...] | NoRate:
    """One for each of its plans that has a row for the call; NoRate where one cannot price it.

    `bought`: by which plans the levels buy the call itself; a part that buys by one of them is not bought once more.
    None: not the provider sells, and nothing is bought of a carrier.
    """
    parts = []
    for plan_id in account.also:
        deck = find_deck(plan_id)
        plan = deck.plan_at(call.at_ms) if deck is not None else None
        if deck is None or plan is None or (call.on_net and not plan.bill_on_net):
            continue
        carrier = find_deck(plan.buy_plan) if plan.buy_plan is not None else None
        priced = price_levels([(account.id, deck)], carrier, call.number, call.at_ms, call.direction, exchanges)
        if not isinstance(priced, NoRate):
            (price,) = priced
            part = Part(price.plan, price.row, price.sell, price.taxes)
            if bought is not None and price.buy is None and plan.buy_plan is not None:
                part = replace(part, no_buy=price.no_buy or f"no row in plan {plan.buy_plan}")
            elif bought is not None and price.buy_plan not in bought:
                part = replace(part, buy_plan=price.buy_plan, buy_row=price.buy_row, buy=price.buy)
            parts.append(part)
        elif priced.reason != NO_ROW:
            return priced
    return tuple(parts)
