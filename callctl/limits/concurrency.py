"""Concurrent-call caps: which counters a call takes at one account, and how far each may go.

Caps are ANDed: every slot must have room (`docs/rules.md`, Caps). At a cap the overflow, where there is one, admits a
few more calls at a surcharge. `None` means that nothing is capped.
"""

from functools import lru_cache

import msgspec

from callctl.rating.tariff import Direction

# kbit/s of one call, 20 ms frames, Ethernet (`docs/rules.md`, Bandwidth), in tenths.
CODEC_KBITS_TENTHS = {"g711": 872, "g722": 872, "g729": 312, "gsm": 364, "opus": 600}


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


class Bandwidth(msgspec.Struct, frozen=True):
    """A line of `kbits` kbit/s that carries calls of one codec: its cap is what fits."""

    kbits: int
    codec: str = "g711"

    def calls(self) -> int:
        return self.kbits * 10 // CODEC_KBITS_TENTHS[self.codec]


class Group(msgspec.Struct, frozen=True):
    """A cap on calls to some destinations only: by prefix of the E.164 digits."""

    name: str
    prefixes: tuple[str, ...]
    inbound: int | None = None
    outbound: int | None = None


class Caps(msgspec.Struct, frozen=True, cache_hash=True):
    """What one account or trunk may have at once. Absent means not capped."""

    inbound: int | None = None
    outbound: int | None = None
    total: int | None = None
    internal: int | None = None
    count_internal: bool = False
    overflow: Overflow | None = None
    packages: tuple[Package, ...] = ()
    bandwidth: Bandwidth | None = None
    groups: tuple[Group, ...] = ()


class Slot(msgspec.Struct, frozen=True, array_like=True, gc=False, cache_hash=True):
    """One counter that the call takes: full at `limit`, refused at `hard_limit`; None: counted, not capped."""

    name: str
    limit: int | None = None
    hard_limit: int | None = None


_COUNTED = {
    Direction.INBOUND: (Slot("inbound"), Slot("total")),
    Direction.OUTBOUND: (Slot("outbound"), Slot("total")),
    Direction.INTERNAL: (Slot("internal"),),
}
"""Of who has no caps."""


def slots(caps: Caps | None, direction: Direction, b_digits: str, day: str) -> tuple[Slot, ...]:
    """The counters this call takes, on `day` (ISO, in the account's zone)."""
    if caps is None:
        return _COUNTED[direction]
    if direction is Direction.INTERNAL and not caps.count_internal:
        return (_slot("internal", caps.internal, 0),)
    taken = _everywhere(caps, direction, day)
    grouped = []
    for group in caps.groups:
        limit = group.inbound if direction is Direction.INBOUND else group.outbound
        if limit is not None and b_digits.startswith(group.prefixes):
            grouped.append(_slot(f"group:{group.name}:{direction.value}", limit, 0))
    return (*taken, *grouped) if grouped else taken


@lru_cache(maxsize=8_192)
def _everywhere(caps: Caps, direction: Direction, day: str) -> tuple[Slot, ...]:
    """The counters that a call takes wherever it goes."""
    extra = sum(p.channels for p in caps.packages if p.from_day <= day <= p.until_day)
    over = caps.overflow.at_most if caps.overflow is not None else 0
    own = {
        Direction.INBOUND: caps.inbound,
        Direction.OUTBOUND: caps.outbound,
        Direction.INTERNAL: caps.internal,
    }
    taken = [_slot(direction.value, own[direction], over, extra), _slot("total", caps.total, over, extra)]
    if caps.bandwidth is not None:
        taken.append(_slot("line", caps.bandwidth.calls(), 0))
    return tuple(taken)


def _slot(name: str, cap: int | None, over: int, extra: int = 0) -> Slot:
    if cap is None:
        return Slot(name)
    return Slot(name, cap + extra, cap + extra + over)
