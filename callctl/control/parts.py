"""What other plans charge for the same call (`Account.also`): airtime beside minutes, say. All of it in memory."""

from collections.abc import Set

from msgspec.structs import replace

from callctl.accounts import Account, Chain
from callctl.numbering import Number
from callctl.ports import Tariffs
from callctl.rating.match import NO_ROW, LevelPrice, NoRate, Part, price_levels
from callctl.rating.tariff import Direction


def with_parts(
    prices: tuple[LevelPrice, ...], chain: Chain, number: Number, direction: Direction, tariffs: Tariffs, at_ms: int
) -> tuple[LevelPrice, ...] | NoRate:
    """The prices of a chain's levels, each with its parts. A plan without a row for the call is none of them.

    Only what the provider sells is bought of a carrier. A part whose plan buys by what a level buys the call itself by
    is not bought once more.
    """
    for depth, account in enumerate(chain):
        if account.also:
            bought = {price.buy_plan for price in prices} if account.parent is None else None
            parts = _parts(account, number, direction, tariffs, at_ms, bought)
            if isinstance(parts, NoRate):
                return parts
            prices = (*prices[:depth], replace(prices[depth], parts=parts), *prices[depth + 1 :])
    return prices


def _parts(
    account: Account, number: Number, direction: Direction, tariffs: Tariffs, at_ms: int, bought: Set[str | None] | None
) -> tuple[Part, ...] | NoRate:
    on_net = direction is Direction.OUTBOUND and tariffs.directory.by_number(number.e164) is not None
    parts = []
    for plan_id in account.also:
        deck = tariffs.deck(plan_id, at_ms)
        plan = deck.plan_at(at_ms) if deck is not None else None
        if deck is None or plan is None or (on_net and not plan.bill_on_net):
            continue
        carrier = tariffs.deck(plan.buy_plan, at_ms) if plan.buy_plan is not None else None
        priced = price_levels([(account.id, deck)], carrier, number, at_ms, direction, tariffs.exchanges)
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
