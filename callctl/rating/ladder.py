"""The decks that a chain sells by, and what they have said of numbers that begin alike."""

from collections.abc import Iterable, Sequence

from callctl.numbering import Number, NumberType
from callctl.rating.exchange import Exchanges
from callctl.rating.levels import LevelPrice, NoRate, price_levels
from callctl.rating.match import HEAD_DIGITS, Deck
from callctl.rating.tariff import Direction

BEGINNINGS_KEPT = 8_192  # of numbers that were called, each some 300 bytes
_OUTBOUND = Direction.OUTBOUND


class Ladder:
    """The decks of a chain's levels, the payer's first, and `carrier`, by which the root buys.

    Most calls go where others went before, and few rows are not for all numbers of their prefix at any time: so the
    prices of one number are nearly always those of every number of its type that has the same prefixes.
    """

    def __init__(self, decks: Iterable[Deck], carrier: Deck | None) -> None:
        self._carrier = carrier
        self._decks = (*decks, carrier) if carrier is not None else tuple(decks)
        self._in_one_currency = len({deck.plan.currency for deck in self._decks}) == 1
        self._longer: dict[str, frozenset[str]] = {}  # by the first `HEAD_DIGITS`: prefixes that have more
        self._kept: dict[str, tuple[LevelPrice, ...]] = {}  # empty: each number is to be looked up

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
        digits = number.digits
        beginning = digits[:HEAD_DIGITS]
        longer = self._longer.get(beginning)
        if longer is None:
            longer = self._look_under(beginning)
        if longer:
            longest_first = digits[: HEAD_DIGITS + 2], digits[: HEAD_DIGITS + 1]
            beginning = next(filter(longer.__contains__, longest_first), beginning)
        kept = self._kept.get(beginning + number.type)
        if kept:
            return kept
        found = price_levels(levels, self._carrier, number, at_ms, direction, exchanges)
        if kept is None:
            self._keep(beginning, number.type, () if isinstance(found, NoRate) else found)
        return found

    def _look_under(self, head: str) -> frozenset[str]:
        longer = self._longer[head] = frozenset[str]().union(*(deck.longer(head) for deck in self._decks))
        return longer

    def _keep(self, beginning: str, type: NumberType, found: tuple[LevelPrice, ...]) -> None:
        if len(self._kept) >= BEGINNINGS_KEPT:
            self._kept.clear()
            self._longer.clear()
        alike = self._in_one_currency and all(deck.settles(beginning) for deck in self._decks)
        self._kept[beginning + type] = found if alike else ()


Ladders = dict[tuple[Deck | None, ...], Ladder]
"""Those in use, by their decks, the carrier's first."""


def ladder_of(ladders: Ladders, levels: Sequence[tuple[str, Deck]], carrier: Deck | None) -> Ladder:
    """Of some levels, as `price_levels` takes them: all chains with the same decks have one."""
    decks = (carrier, *[deck for _, deck in levels])
    return ladders.get(decks) or ladders.setdefault(decks, Ladder([deck for _, deck in levels], carrier))
