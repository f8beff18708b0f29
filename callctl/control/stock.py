"""What the payers of a call may draw upon: the bundles of their plans, and the blocks that they have bought."""

from msgspec.structs import replace

from callctl.accounts import Account, Chain
from callctl.numbering import Number
from callctl.ports import Tariffs
from callctl.rating.bundles import sources
from callctl.rating.levels import LevelPrice
from callctl.rating.tariff import Direction


def with_sources(
    prices: tuple[LevelPrice, ...], chain: Chain, number: Number, direction: Direction, tariffs: Tariffs, at_ms: int
) -> tuple[LevelPrice, ...]:
    """The prices of a call that is set up at `at_ms`, each with what its level draws upon first: mostly nothing."""
    found = [
        _with_sources(price, account, number, direction, tariffs, at_ms)
        for price, account in zip(prices, chain, strict=True)
    ]
    return tuple(found)


def _with_sources(
    price: LevelPrice, account: Account, number: Number, direction: Direction, tariffs: Tariffs, at_ms: int
) -> LevelPrice:
    plan, blocks = tariffs.plan(price.plan), tariffs.blocks.get(account.id, ())
    bundles = plan.bundles if plan is not None else ()
    if not (bundles or blocks) or account.exempt:
        return price
    since_ms, zone = tariffs.directory.plan_since_ms(account.id), account.timezone
    told = sources(bundles, blocks, number, price.type, direction, at_ms=at_ms, zone=zone, plan_since_ms=since_ms)
    if not price.sell.by_the_minute:  # seconds would pay nothing
        told = tuple(source for source in told if source.is_money)
    return replace(price, sources=told) if told else price
