"""Concurrent-call caps: which counters a call takes at one account or trunk, and how far each may go.

Caps are ANDed: every counter must have room (`docs/rules.md`, Caps). At a cap the overflow, where there is one, admits
a few more calls at a surcharge. `None` means that nothing is capped. What limits the same calls is one counter: a
licence and a line count what `total` counts, so that they know of the calls that were up before they were agreed.
"""

from collections.abc import Iterable
from datetime import date, timedelta
from functools import lru_cache

import msgspec

from callctl.clock import format_time
from callctl.limits.licence import Licence
from callctl.rating.tariff import Direction, TrafficClass

# kbit/s of one call, 20 ms frames, Ethernet (`docs/rules.md`, Bandwidth), in tenths.
CODEC_KBITS_TENTHS = {"g711": 872, "g722": 872, "g729": 312, "gsm": 364, "opus": 600}

LICENCE = "licence"
LINE = "line"


class Overflow(msgspec.Struct, frozen=True):
    """Calls beyond a cap that are admitted at extra cost; micro-units per call and per minute."""

    at_most: int
    per_call: int = 0
    per_minute: int = 0


class Package(msgspec.Struct, frozen=True):
    """Extra channels from `from_day` up to and including `until_day` (ISO days in the account's time zone)."""

    channels: int
    from_day: str
    until_day: str

    def holds(self, day: str) -> bool:
        return self.from_day <= day <= self.until_day

    def changes(self) -> tuple[str, ...]:
        """The days on which a cap changes because of it."""
        last = date.fromisoformat(self.until_day)
        return (self.from_day,) if last == date.max else (self.from_day, (last + timedelta(days=1)).isoformat())


class Bandwidth(msgspec.Struct, frozen=True):
    """A line of `kbits` kbit/s that carries calls of one codec: its cap is what fits.

    `per_call_tenths`: tenths of a kbit/s that a call takes there, where it is not what the codec usually takes.
    """

    kbits: int
    codec: str = "g711"
    per_call_tenths: int | None = None

    def calls(self) -> int:
        return self.kbits * 10 // (self.per_call_tenths or CODEC_KBITS_TENTHS[self.codec])


class Group(msgspec.Struct, frozen=True):
    """A cap on calls to some destinations only: those that match every one of the three that is given.

    `prefixes` of the E.164 digits that are called, number `types`, traffic `classes`.
    """

    name: str
    prefixes: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    classes: tuple[TrafficClass, ...] = ()
    inbound: int | None = None
    outbound: int | None = None
    total: int | None = None

    def has(self, digits: str, number_type: str, traffic_class: str) -> bool:
        return (
            (not self.prefixes or digits.startswith(self.prefixes))
            and (not self.types or number_type in self.types)
            and (not self.classes or traffic_class in self.classes)
        )


class Caps(msgspec.Struct, frozen=True, cache_hash=True):
    """What one account or trunk may have at once. Absent means not capped.

    `enforce` False: what these caps would refuse is reported, and goes ahead. `count_within`: a call within another
    (a forward, a second leg) takes channels of its own. `since_ms`: since when they are as they are, if that was told.
    """

    inbound: int | None = None
    outbound: int | None = None
    total: int | None = None
    internal: int | None = None
    count_internal: bool = False
    count_within: bool = True
    overflow: Overflow | None = None
    packages: tuple[Package, ...] = ()
    bandwidth: Bandwidth | None = None
    groups: tuple[Group, ...] = ()
    enforce: bool = True
    since_ms: int | None = None


class Bound(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One limit of a counter: `at_most` calls, and `over` more of them as overflow.

    `by`: what sets it, where it is not a cap of the counter's own name. `since`: a day or a time, if that is known.
    """

    at_most: int
    over: int = 0
    by: str = ""
    since: str = ""

    @property
    def hard(self) -> int:
        return self.at_most + self.over


class Slot(msgspec.Struct, frozen=True, array_like=True, gc=False, cache_hash=True):
    """One counter that the call takes: full at `limit`, refused at `hard_limit`; None: counted, not capped.

    `by` and `since` tell of the hard limit what a `Bound` tells. `soft`: a limit that is reported and not enforced.
    """

    name: str
    limit: int | None = None
    hard_limit: int | None = None
    by: str = ""
    since: str = ""
    soft: Bound | None = None


class Rate(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """How many calls `owner` may attempt in one `second` (since the epoch). `level`: the account above, if it is."""

    owner: str
    per_second: int
    second: int
    level: str = ""


_COUNTED = {
    Direction.INBOUND: (Slot("inbound"), Slot("total")),
    Direction.OUTBOUND: (Slot("outbound"), Slot("total")),
    Direction.INTERNAL: (Slot("internal"),),
}
"""Of who has no caps."""
_NO_CAPS = Caps()


@lru_cache(maxsize=8_192)
def slots(
    caps: Caps | None, licence: Licence | None, direction: Direction, day: str, within: bool = False
) -> tuple[Slot, ...]:
    """The counters that a call takes wherever it goes, on `day` (ISO, in the account's zone)."""
    if caps is None and licence is None:
        return _COUNTED[direction]
    if within and caps is not None and not caps.count_within:
        return ()
    caps = caps or _NO_CAPS
    if direction is Direction.INTERNAL:
        own = slot_of("internal", _if_capped(caps, caps.internal))
        return (own, _total(caps, licence, day)) if caps.count_internal else (own,)
    return (slot_of(direction.value, _external(caps, _own(caps, direction), day)), _total(caps, licence, day))


def group_slots(
    caps: Caps, direction: Direction, digits: str, number_type: str, traffic_class: str
) -> tuple[Slot, ...]:
    """The counters that a call takes because of where it goes. No overflow and no package goes beyond them."""
    return tuple(
        [
            slot_of(f"group:{group.name}:{counter}", [(Bound(limit, since=_told(caps)), caps.enforce)])
            for group in caps.groups
            for counter, limit in ((direction.value, _own(group, direction)), ("total", group.total))
            if limit is not None and group.has(digits, number_type, traffic_class)
        ]
    )


def slot_of(name: str, bounds: Iterable[tuple[Bound, bool]]) -> Slot:
    """A counter with all that limits it: each bound, and whether it is enforced."""
    found = list(bounds)
    firm = [bound for bound, enforced in found if enforced]
    soft = min((bound for bound, enforced in found if not enforced), key=_hard, default=None)
    if not firm:
        return Slot(name, soft=soft)
    hardest = min(firm, key=_hard)
    return Slot(name, min(bound.at_most for bound in firm), hardest.hard, hardest.by, hardest.since, soft)


def _hard(bound: Bound) -> int:
    return bound.hard


def _total(caps: Caps, licence: Licence | None, day: str) -> Slot:
    bounds = list(_external(caps, caps.total, day))
    if caps.bandwidth is not None:
        bounds += _if_capped(caps, caps.bandwidth.calls(), by=LINE)
    if licence is not None:
        size, since = licence.standing(day)
        if size is not None:
            bounds.append((Bound(size, by=LICENCE, since=since), licence.enforce))
    return slot_of("total", bounds)


def _external(caps: Caps, cap: int | None, day: str) -> Iterable[tuple[Bound, bool]]:
    """A cap with the packages of that day, beyond which overflow may go."""
    if cap is None:
        return ()
    channels = cap + sum(package.channels for package in caps.packages if package.holds(day))
    changes = [change for package in caps.packages for change in package.changes() if change <= day]
    over = caps.overflow.at_most if caps.overflow is not None else 0
    return ((Bound(channels, over, since=max((_told(caps), *changes))), caps.enforce),)


def _if_capped(caps: Caps, cap: int | None, by: str = "") -> Iterable[tuple[Bound, bool]]:
    return () if cap is None else ((Bound(cap, by=by, since=_told(caps)), caps.enforce),)


def _own(caps: Caps | Group, direction: Direction) -> int | None:
    """The cap of one direction; of no internal calls."""
    return {Direction.INBOUND: caps.inbound, Direction.OUTBOUND: caps.outbound}.get(direction)


def _told(caps: Caps) -> str:
    """Since when they are as they are."""
    return "" if caps.since_ms is None else format_time(caps.since_ms)
