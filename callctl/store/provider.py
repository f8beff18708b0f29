"""`ports.ProviderChannels` over Redis, and in plain dictionaries. All counters share a slot of their own."""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from callctl.errors import StoreUnavailable
from callctl.limits.concurrency import Slot
from callctl.store import keys, scripts
from callctl.store.link import Link, LinkLost, Reply


class RedisProviderChannels:
    """What raises StoreUnavailable has an unknown outcome; what is taken by then lapses with its lease."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def take(
        self, slots: Sequence[Slot], call: str, now_ms: int, until_ms: int, *, force: bool = False, look: bool = False
    ) -> Sequence[int]:
        touched = [keys.provider(slot.name) for slot in slots]
        limits = ["" if slot.hard_limit is None else slot.hard_limit for slot in slots]
        mode = "look" if look else "force" if force else "take"
        arguments = (call, now_ms, until_ms, mode, *limits)
        in_use: Any = await self._twice(lambda: scripts.run(self._link, scripts.PROVIDER, touched, *arguments))
        return tuple(in_use)

    def renew(self, slots: Sequence[Slot], call: str, until_ms: int) -> None:
        with suppress(StoreUnavailable):
            for slot in slots:
                self._link.post("ZADD", keys.provider(slot.name), until_ms, call)

    async def give_back(self, slots: Sequence[Slot], call: str) -> None:
        for slot in slots:
            await self._twice(partial(self._link.call, "ZREM", keys.provider(slot.name), call))

    async def _twice(self, ask: Callable[[], Awaitable[Reply]]) -> Reply:
        """The answer, asked for again where the connection went meanwhile."""
        try:
            return await ask()
        except LinkLost:
            await self._link.ready(self._link.times.call_ms)
            return await ask()


class MemoryProviderChannels:
    """What the script means."""

    def __init__(self) -> None:
        self._leases: defaultdict[str, dict[str, int]] = defaultdict(dict)

    async def take(
        self, slots: Sequence[Slot], call: str, now_ms: int, until_ms: int, *, force: bool = False, look: bool = False
    ) -> Sequence[int]:
        in_use = []
        for slot in slots:
            leases = self._leases[slot.name]
            in_use.append(sum(end_ms > now_ms for other, end_ms in leases.items() if other != call))
        fits = all(slot.hard_limit is None or used < slot.hard_limit for slot, used in zip(slots, in_use, strict=True))
        if not look and (fits or force):
            self.renew(slots, call, until_ms)
        return tuple(in_use)

    def renew(self, slots: Sequence[Slot], call: str, until_ms: int) -> None:
        for slot in slots:
            self._leases[slot.name][call] = until_ms

    async def give_back(self, slots: Sequence[Slot], call: str) -> None:
        for slot in slots:
            self._leases[slot.name].pop(call, None)
