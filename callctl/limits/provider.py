"""The provider's own limits: a carrier's channels, a destination for all customers together (`docs/limits.md`).

They bind calls of every customer at once, so that they cannot be counted where one customer's channels are.
"""

from collections.abc import Iterable

import msgspec

from callctl.clock import format_time
from callctl.limits.concurrency import Bound, Slot, slot_of
from callctl.rating.tariff import Direction


class ProviderLimit(msgspec.Struct, frozen=True):
    """How many calls there may be by one carrier trunk, or to some E.164 prefixes (where both are given, by both).

    `enforce` False: it is reported, and refuses nothing. `since_ms`: since when it is as it is.
    """

    id: str
    trunk: str | None = None
    prefixes: tuple[str, ...] = ()
    inbound: int | None = None
    outbound: int | None = None
    total: int | None = None
    enforce: bool = True
    since_ms: int | None = None

    def binds(self, trunk: str | None, digits: str) -> bool:
        """Whether it is about calls by this carrier to that number. Without carrier and prefixes it is about all."""
        return self.trunk in (None, trunk) and (not self.prefixes or digits.startswith(self.prefixes))

    def slots(self, direction: Direction) -> tuple[Slot, ...]:
        since = "" if self.since_ms is None else format_time(self.since_ms)
        capped = {Direction.INBOUND: self.inbound, Direction.OUTBOUND: self.outbound}
        return tuple(
            slot_of(f"{self.id}:{counter}", [(Bound(limit, since=since), self.enforce)])
            for counter, limit in ((direction.value, capped.get(direction)), ("total", self.total))
            if limit is not None
        )


class ProviderLimits:
    """All of them, by what they are about. Never changes; another takes its place."""

    def __init__(self, limits: Iterable[ProviderLimit] = ()) -> None:
        self.by_id = {limit.id: limit for limit in limits}
        self._any = [limit for limit in self.by_id.values() if limit.trunk is None]
        self._by_trunk: dict[str, list[ProviderLimit]] = {}
        for limit in self.by_id.values():
            if limit.trunk is not None:
                self._by_trunk.setdefault(limit.trunk, []).append(limit)

    def __bool__(self) -> bool:
        return bool(self.by_id)

    def with_limit(self, limit: ProviderLimit) -> "ProviderLimits":
        return ProviderLimits((self.by_id | {limit.id: limit}).values())

    def slots(self, direction: Direction, trunk: str | None, digits: str) -> tuple[Slot, ...]:
        """The counters that a call takes: none where it stays in the house."""
        if direction is Direction.INTERNAL:
            return ()
        found = self._any if trunk is None else [*self._any, *self._by_trunk.get(trunk, ())]
        return tuple([slot for limit in found if limit.binds(trunk, digits) for slot in limit.slots(direction)])
