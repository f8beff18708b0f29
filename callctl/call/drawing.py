"""What the payers of a call draw upon before money (`rating.bundles`): how much, and what is left as last seen.

A level's sources say what the call holds of each, as its `held` says of money.
"""

from collections.abc import Sequence
from operator import attrgetter

from msgspec.structs import replace

from callctl.call.anchor import possible_levels
from callctl.call.bill import bill
from callctl.call.events import Left
from callctl.call.session import Level
from callctl.rating.bundles import draws
from callctl.rating.charge import charge

Levels = tuple[Level, ...]

_sources = attrgetter("sources")


def any_sources(levels: Levels) -> bool:
    """Whether some level draws upon anything: most calls do not, and are spared the rest of this."""
    return any(map(_sources, levels))


def alone(level: Level) -> Level:
    """The level with money alone."""
    return replace(level, sources=()) if level.sources else level


def kept(level: Level) -> Level:
    """The level with no more of its sources than the call holds."""
    if not level.sources:
        return level
    return replace(level, sources=tuple([replace(source, left=0) for source in level.sources]))


def drawing(level: Level, seconds: int, parts_s: Sequence[int] = ()) -> Level:
    """The level holding what a call of `seconds` uses of its sources. In bands: of the dearest of its answers.

    `parts_s`: as `bill` takes them.
    """
    if not level.sources:
        return level
    possible = possible_levels(level)
    billed_s = max(charge(each.sell, seconds).billed_s for each in possible)
    gross = max(bill(each, seconds, parts_s).gross for each in possible)
    return holding(level, draws(level.sources, billed_s, gross))


def proposed(level: Level, seconds: int) -> Level:
    """The same before the store has said whether the call is over a cap: enough for the surcharge, too."""
    if not level.sources or not (level.surcharge_call or level.surcharge_minute):
        return drawing(level, seconds)
    return replace(drawing(replace(level, overflow=True), seconds), overflow=level.overflow)


def holding(level: Level, amounts: Sequence[int]) -> Level:
    """The level holding these amounts of its sources, in their order."""
    held = [
        replace(source, held=amount, left=source.pool - amount)
        for source, amount in zip(level.sources, amounts, strict=True)
    ]
    return replace(level, sources=tuple(held))


def seen(levels: Levels, left: Left) -> Levels:
    """The levels with what the store says is left of their sources; nothing where no level has any."""
    if not left:
        return levels
    return tuple([_seen(level, amounts) for level, amounts in zip(levels, left, strict=True)])


def _seen(level: Level, left: Sequence[int]) -> Level:
    pairs = zip(level.sources, left, strict=True)
    return replace(level, sources=tuple([replace(source, left=amount) for source, amount in pairs]))


def more(before: Levels, after: Levels) -> tuple[tuple[int, ...], ...]:
    """How much more of each source is held afterwards; empty where no level draws upon anything."""
    if not any_sources(before):
        return ()
    return tuple(
        [
            tuple([new.held - old.held for new, old in zip(later.sources, level.sources, strict=True)])
            for later, level in zip(after, before, strict=True)
        ]
    )
