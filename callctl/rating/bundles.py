"""What a call may draw upon before money: free seconds of a plan's month, and blocks of minutes or money bought ahead.

A *source* is such a stock as the store counts it: what was bought less what was used, what running calls hold of it,
and how far it may be used without having been bought (`allowance`: the month's free seconds). Quantities are seconds,
or micro-units of a block of money. What a call draws upon is settled at its set-up and stays to its end, as its rows
do: a month that ends meanwhile, or a block that expires, changes nothing for it.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

import msgspec

from callctl.clock import local_day
from callctl.numbering import Number
from callctl.rating.price import Price, bundled
from callctl.rating.tariff import Bundle, Chosen, Direction


class Block(Chosen, frozen=True, cache_hash=True, kw_only=True):
    """Bought ahead: `seconds`, or an `amount` in micro-units; the other is 0. Lower `order` is used first.

    `price`: what it was sold for. `expires_ms`: no call that is set up from then on draws upon it.
    """

    id: str
    name: str
    seconds: int = 0
    amount: int = 0
    order: int = 0
    price: int = 0
    bought_ms: int = 0
    expires_ms: int | None = None

    @property
    def source(self) -> str:
        """Its name where the store counts."""
        return f"block/{self.id}"


class Blocks(msgspec.Struct, frozen=True):
    """What an account may draw upon of what it bought. `id`: the account. The store knows what is left of it."""

    id: str
    blocks: tuple[Block, ...] = ()


class Source(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One stock as a call sees it. `id`: its name in the store; `name`: what people call it.

    `held`: what this call has of it. `left`: what is left besides, as last seen in the store, or before that supposed.
    """

    id: str
    name: str
    is_money: bool
    allowance: int
    left: int
    held: int = 0

    @property
    def pool(self) -> int:
        """What the call can have of it in all."""
        return max(0, self.held + self.left)


Sources = tuple[Source, ...]


def sources(
    bundles: Sequence[Bundle],
    blocks: Sequence[Block],
    number: Number,
    type: str,
    direction: Direction,
    *,
    at_ms: int,
    zone: str,
    plan_since_ms: int = 0,
) -> Sources:
    """What a call that is set up at `at_ms` draws upon, in order; `zone`: of the account, by which months turn.

    First what is left of the last month, then this month, then blocks by `order` and expiry; seconds before money.
    `plan_since_ms`: since when the account has the plan; what it had not is not rolled over.
    """
    month = month_of(zone, at_ms)
    ours = [each for each in bundles if each.takes(number.digits, type, direction)]
    theirs = [
        each
        for each in blocks
        if (each.expires_ms is None or at_ms < each.expires_ms) and each.takes(number.digits, type, direction)
    ]
    theirs.sort(key=lambda block: (bool(block.amount), block.order, block.expires_ms or _NEVER, block.id))
    before = month_before(month)
    rolled = [each for each in ours if rolls_over(each, before, zone, plan_since_ms)]
    return (
        *(_of_month(each, before) for each in rolled),
        *(_of_month(each, month) for each in ours),
        *(Source(b.source, b.name, bool(b.amount), 0, b.amount or b.seconds) for b in theirs),
    )


def rolls_over(bundle: Bundle, month: str, zone: str, plan_since_ms: int) -> bool:
    """Whether an account may use in the next month what is left of this one: it must have had the bundle in it."""
    return bundle.rollover and month_of(zone, max(plan_since_ms, bundle.since_ms or 0)) <= month


_NEVER = 1 << 62


def month_source(bundle: str, month: str) -> str:
    """The name in the store of a bundle's month."""
    return f"{month}/{bundle}"


def _of_month(bundle: Bundle, month: str) -> Source:
    return Source(month_source(bundle.name, month), bundle.name, False, bundle.seconds, bundle.seconds)


def month_of(zone: str, at_ms: int) -> str:
    """The local month: "2026-11"."""
    return local_day(zone, at_ms // 60_000)[:7]


@lru_cache(maxsize=64)
def month_before(month: str) -> str:
    """ "2026-12" for "2027-01"."""
    year, number = int(month[:4]), int(month[5:])
    return f"{year - 1}-12" if number == 1 else f"{year}-{number - 1:02}"


# ---- what a call draws


def covered(sell: Price, drawn_upon: Iterable[Source]) -> Price:
    """The price where all that the sources have pays for the first billed seconds."""
    pool_s = sum(source.pool for source in drawn_upon if not source.is_money)
    return bundled(sell, pool_s) if pool_s else sell


def credit_in(drawn_upon: Iterable[Source]) -> int:
    """Micro-units that pay before the balance does."""
    return sum(source.pool for source in drawn_upon if source.is_money)


def draws(drawn_upon: Sources, billed_s: int, gross: int) -> tuple[int, ...]:
    """How much of each source a call of so many billed seconds uses, whose charge beyond them is `gross`."""
    return tuple(_draws(drawn_upon, billed_s, gross))


def _draws(drawn_upon: Sources, billed_s: int, gross: int) -> Iterator[int]:
    for source in drawn_upon:
        used = min(source.pool, gross if source.is_money else billed_s)
        if source.is_money:
            gross -= used
        else:
            billed_s -= used
        yield used
