"""By what the calls of an account are priced: worked out once, and true until a definition changes."""

from collections.abc import Mapping, Sequence

import msgspec

from callctl.accounts import Chain
from callctl.rating.bundles import Block
from callctl.rating.levels import NoRate
from callctl.rating.match import Deck
from callctl.rating.rules import home_of


class Terms(msgspec.Struct, frozen=True, gc=False):
    """Of one account at a moment, or where `dated` is False at any.

    `levels`: as `price_levels` takes them; `unpriced`: the first whose plan has no rows. `carrier`: what the root buys
    by. `home`, `zones`: where the chain is (`home_of`, time zones). `bare`: no level has other plans besides its own,
    bundles or blocks. `ruled`: some level is (`Account.ruled`).
    """

    levels: tuple[tuple[str, Deck], ...]
    unpriced: NoRate | None
    carrier: Deck | None
    home: str
    zones: tuple[str, ...]
    bare: bool
    ruled: bool
    dated: bool


def terms_of(
    chain: Chain,
    plans: Mapping[str, str],
    decks: Mapping[str, Deck],
    blocks: Mapping[str, Sequence[Block]],
    at_ms: int,
) -> Terms:
    """`plans`: what every account is charged by. `decks`: of every plan, effective or not."""
    owned = [(account, decks.get(plans[account.id])) for account in chain]
    levels = tuple((account.id, deck) for account, deck in owned if deck is not None and deck.in_force(at_ms))
    priced = {account for account, _ in levels}
    missing = next((account.id for account in chain if account.id not in priced), None)
    buy_plan = levels[-1][1].plan_at(at_ms).buy_plan if levels and missing is None else None
    more = (account.also or blocks.get(account.id) or (deck and deck.plan.bundles) for account, deck in owned)
    dated = any(deck is not None and deck.dated for _, deck in owned)
    return Terms(
        levels=levels,
        unpriced=NoRate(missing, plans[missing], "the plan has no rows") if missing is not None else None,
        carrier=decks.get(buy_plan) if buy_plan is not None else None,
        home=home_of(chain),
        zones=tuple(account.timezone for account in chain),
        bare=not (dated or any(more)),
        ruled=any(account.ruled for account in chain),
        dated=dated,
    )
