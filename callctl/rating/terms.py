"""By what the calls of an account are priced: worked out once, and true until a definition changes."""

from collections.abc import Mapping, Sequence
from functools import lru_cache

import msgspec

from callctl.accounts import Account, Chain
from callctl.limits.concurrency import Overflow
from callctl.rating.bundles import Block
from callctl.rating.ladder import Ladder, Ladders
from callctl.rating.levels import NoRate
from callctl.rating.margin import MarginRule, MaxCost
from callctl.rating.match import Deck
from callctl.rating.rules import home_of


class Standing(msgspec.Struct, frozen=True, gc=False):
    """An account of a chain, and what follows for all its calls from where it stands there.

    `level`: its name where it is not the caller's own, as in a trace. `above`: who sells to it; None: the provider.
    """

    account: Account
    level: str
    above: str | None
    prepaid: bool
    overflow: Overflow | None


class PriceRules(msgspec.Struct, frozen=True, cache_hash=True):
    """What the price of a level is held against; `level` and `above`: as in `Standing`."""

    margin: MarginRule | None
    max_cost: MaxCost | None
    level: str
    above: str | None


class Terms(msgspec.Struct, frozen=True, gc=False):
    """Of one account at a moment, or where `dated` is False at any.

    `levels`: as `price_levels` takes them; `unpriced`: the first whose plan has no rows. `ladder`: of their decks.
    `home`, `zones`: where the chain is (`home_of`, time zones). `bare`: no level has other plans besides its own,
    bundles or blocks. `ruled`: some level is (`Account.ruled`). `standings`, `rules`: of the whole chain.
    """

    levels: tuple[tuple[str, Deck], ...]
    unpriced: NoRate | None
    ladder: Ladder
    home: str
    zones: tuple[str, ...]
    bare: bool
    ruled: bool
    dated: bool
    standings: tuple[Standing, ...]
    rules: tuple[PriceRules, ...]


def terms_of(
    chain: Chain,
    plans: Mapping[str, str],
    decks: Mapping[str, Deck],
    blocks: Mapping[str, Sequence[Block]],
    ladders: Ladders,
    at_ms: int,
) -> Terms:
    """`plans`: what every account is charged by. `decks`: of every plan, effective or not. `ladders`: those in use."""
    owned = [(account, decks.get(plans[account.id])) for account in chain]
    levels = tuple((account.id, deck) for account, deck in owned if deck is not None and deck.in_force(at_ms))
    priced = {account for account, _ in levels}
    missing = next((account.id for account in chain if account.id not in priced), None)
    buy_plan = levels[-1][1].plan_at(at_ms).buy_plan if levels and missing is None else None
    carrier = decks.get(buy_plan) if buy_plan is not None else None
    more = (account.also or blocks.get(account.id) or (deck and deck.plan.bundles) for account, deck in owned)
    dated = any(deck is not None and deck.dated for _, deck in owned)
    return Terms(
        levels=levels,
        unpriced=NoRate(missing, plans[missing], "the plan has no rows") if missing is not None else None,
        ladder=ladders.of(levels, carrier),
        home=home_of(chain),
        zones=tuple(account.timezone for account in chain),
        bare=not (dated or any(more)),
        ruled=any(account.ruled for account in chain),
        dated=dated,
        standings=standings(chain),
        rules=price_rules(chain),
    )


def standings(chain: Chain) -> tuple[Standing, ...]:
    """Of every account of a chain."""
    return tuple(
        Standing(
            account,
            level=account.id if depth else "",
            above=chain[depth + 1].id if depth + 1 < len(chain) else None,
            prepaid=account.prepaid,
            overflow=account.caps.overflow if account.caps is not None else None,
        )
        for depth, account in enumerate(chain)
    )


def price_rules(chain: Chain) -> tuple[PriceRules, ...]:
    """Of every level of a chain."""
    stand = standings(chain)
    return _shared(tuple(PriceRules(at.account.margin, at.account.max_cost, at.level, at.above) for at in stand))


@lru_cache(maxsize=16_384)
def _shared(rules: tuple[PriceRules, ...]) -> tuple[PriceRules, ...]:
    """One object for all chains that have the same: what is kept by it is found without comparing rule by rule."""
    return rules
