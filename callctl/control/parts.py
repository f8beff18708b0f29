"""The parts of a call that is offered (`rating/parts.py`), from what is in memory."""

from msgspec.structs import replace

from callctl.accounts import Chain
from callctl.numbering import Number
from callctl.ports import Tariffs
from callctl.rating.levels import LevelPrice, NoRate
from callctl.rating.match import Deck
from callctl.rating.parts import Dialling, parts_of
from callctl.rating.tariff import Direction


def with_parts(
    prices: tuple[LevelPrice, ...], chain: Chain, number: Number, direction: Direction, tariffs: Tariffs, at_ms: int
) -> tuple[LevelPrice, ...] | NoRate:
    """The prices of a chain's levels, each with its parts. Only what the provider sells is bought of a carrier."""

    def deck(plan: str) -> Deck | None:
        return tariffs.deck(plan, at_ms)

    for depth, account in enumerate(chain):
        if account.also:
            on_net = direction is Direction.OUTBOUND and tariffs.directory.by_number(number.e164) is not None
            bought = {price.buy_plan for price in prices} if account.parent is None else None
            call = Dialling(number, at_ms, direction, on_net)
            parts = parts_of(account, call, bought, deck, tariffs.exchanges)
            if isinstance(parts, NoRate):
                return parts
            prices = (*prices[:depth], replace(prices[depth], parts=parts), *prices[depth + 1 :])
    return prices
