"""The participants that there are, the call that each is of, and who has gone: late news brings nobody back."""

from collections.abc import Mapping
from typing import Final

from callctl.adapters.threecx.calls import Call
from callctl.adapters.threecx.wire import Key, Participant
from callctl.clock import Instant

GONE_FOR_MS: Final = 30_000
"""For so long a participant that was removed is not believed to be there."""


class Legs:
    def __init__(self) -> None:
        self._legs: dict[Key, Participant] = {}
        self._calls: dict[Key, str] = {}
        self._gone: dict[Key, Instant] = {}

    def __getitem__(self, key: Key) -> Participant:
        return self._legs[key]

    def get(self, key: Key) -> Participant | None:
        return self._legs.get(key)

    def keys(self) -> frozenset[Key]:
        """Those that there are now."""
        return frozenset(self._legs)

    def of(self, group: str) -> list[Participant]:
        """Those with this `callid`."""
        return [leg for leg in self._legs.values() if leg.call == group]

    def beside(self, call: Call) -> list[Participant]:
        """Those in a call's group, but for that at the route point."""
        return [leg for leg in self.of(call.group) if leg.key != call.gate]

    def unclaimed(self) -> list[Participant]:
        """Those that are of no call yet."""
        return [leg for leg in self._legs.values() if leg.key not in self._calls]

    def call_of(self, key: Key, calls: Mapping[str, Call]) -> Call | None:
        return calls.get(self._calls.get(key, ""))

    def is_others(self, key: Key, call_id: str) -> bool:
        """Whether its id is that of another call's participant by now."""
        return self._calls.get(key, call_id) != call_id

    def put(self, leg: Participant) -> None:
        """As it is now."""
        self._legs[leg.key] = leg

    def join(self, key: Key, call: Call) -> None:
        self._calls[key] = call.id

    def leave(self, key: Key) -> None:
        """It is of no call any more."""
        self._calls.pop(key, None)

    def remove(self, key: Key, at: Instant) -> None:
        """It is not there any more."""
        self._legs.pop(key, None)
        self._gone[key] = at

    def is_gone(self, key: Key, at: Instant) -> bool:
        gone = self._gone.get(key)
        return gone is not None and at.since_ms(gone) < GONE_FOR_MS

    def renumbered(self) -> None:
        """From now on the PBX may give every id to others."""
        self._gone.clear()

    def forget(self, now: Instant) -> None:
        """Who went long ago."""
        self._gone = {key: gone for key, gone in self._gone.items() if now.since_ms(gone) < GONE_FOR_MS}
