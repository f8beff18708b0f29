"""The decks that a chain sells by, and what they have said of numbers that begin alike."""

import itertools
from collections.abc import Iterable, Sequence

from callctl.numbering import Number, NumberType
from callctl.rating.exchange import Exchanges
from callctl.rating.levels import LevelPrice, NoRate, price_levels
from callctl.rating.match import HEAD_DIGITS, Deck
from callctl.rating.tariff import Direction

BEGINNINGS_KEPT = 32_768  # of numbers that were called, by all ladders together: each some 600 bytes
LADDERS_KEPT = 16_384
_OUTBOUND = Direction.OUTBOUND


class Kept:
    """What ladders know of the beginnings of numbers, each behind the mark of its ladder.

    `longer`: by the first `HEAD_DIGITS`, prefixes that have more. `prices`: empty where each number is to be looked up.
    """

    def __init__(self) -> None:
        self.longer: dict[str, frozenset[str]] = {}
        self.prices: dict[str, tuple[LevelPrice, ...]] = {}

    def clear(self) -> None:
        self.longer.clear()
        self.prices.clear()


class Ladder:
    """The decks of a chain's levels, the payer's first, and `carrier`, by which the root buys.

    Most calls go where others went before, and few rows are not for all numbers of their prefix at any time: so the
    prices of one number are nearly always those of every number of its type that has the same prefixes.
    """

    def __init__(self, decks: Iterable[Deck], carrier: Deck | None, kept: Kept, mark: str) -> None:
        self._carrier = carrier
        self._decks = (*decks, carrier) if carrier is not None else tuple(decks)
        self._in_one_currency = len({deck.plan.currency for deck in self._decks}) == 1
        self._kept = kept
        self._longer, self._prices = kept.longer, kept.prices
        self._mark = mark

    def prices(
        self,
        levels: Sequence[tuple[str, Deck]],
        number: Number,
        at_ms: int,
        direction: Direction,
        exchanges: Exchanges,
    ) -> tuple[LevelPrice, ...] | NoRate:
        """As `price_levels`, of accounts whose decks these are."""
        if direction is not _OUTBOUND:
            return price_levels(levels, self._carrier, number, at_ms, direction, exchanges)
        digits, mark = number.digits, self._mark
        beginning = mark + digits[:HEAD_DIGITS]
        longer = self._longer.get(beginning)
        if longer is None:
            longer = self._longer[beginning] = self._look_under(digits[:HEAD_DIGITS])
        if longer:
            if digits[: HEAD_DIGITS + 2] in longer:
                beginning = mark + digits[: HEAD_DIGITS + 2]
            elif digits[: HEAD_DIGITS + 1] in longer:
                beginning = mark + digits[: HEAD_DIGITS + 1]
        kept = self._prices.get(beginning + number.type)
        if kept:
            return kept
        found = price_levels(levels, self._carrier, number, at_ms, direction, exchanges)
        if kept is None:
            self._keep(beginning, number.type, () if isinstance(found, NoRate) else found)
        return found

    def _look_under(self, head: str) -> frozenset[str]:
        return frozenset[str]().union(*(deck.longer(head) for deck in self._decks))

    def _keep(self, beginning: str, type: NumberType, found: tuple[LevelPrice, ...]) -> None:
        if len(self._prices) >= BEGINNINGS_KEPT:
            self._kept.clear()
        digits = beginning.removeprefix(self._mark)
        alike = self._in_one_currency and all(deck.settles(digits) for deck in self._decks)
        self._prices[beginning + type] = found if alike else ()


class Ladders:
    """Those in use, by their decks: all chains with the same decks have one."""

    def __init__(self) -> None:
        self._by_decks: dict[tuple[Deck | None, ...], Ladder] = {}
        self._kept = Kept()
        self._marks = itertools.count()  # one is never given again: who still has a ladder may use it

    def of(self, levels: Sequence[tuple[str, Deck]], carrier: Deck | None) -> Ladder:
        """Of some levels, as `price_levels` takes them."""
        decks = [deck for _, deck in levels]
        ladder = self._by_decks.get((carrier, *decks))
        if ladder is None:
            if len(self._by_decks) >= LADDERS_KEPT:
                self._by_decks.clear()
            ladder = Ladder(decks, carrier, self._kept, f"{next(self._marks)}:")
            self._by_decks[carrier, *decks] = ladder
        return ladder

    def clear(self) -> None:
        """Forget all: other decks have taken the place of these."""
        self._by_decks.clear()
        self._kept.clear()
