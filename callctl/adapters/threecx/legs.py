"""The participants that there are, the call that each is of, and who has gone: late news brings nobody back."""

from collections.abc import Mapping
from typing import Final

from callctl.adapters.threecx.calls import Call
from callctl.adapters.threecx.wire import Key, Participant
from callctl.clock import Instant

GONE_FOR_MS: Final = 30_000
"""For so long a participant of which 3CX said that it was removed is not believed to be there."""


class Legs:
    def __init__(self) -> None:
        self._legs: dict[Key, Participant] = {}
        self._calls: dict[Key, str] = {}
        self._gone: dict[Key, int] = {}

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

    def remove(self, key: Key, until: Instant) -> None:
        """It is not there any more, and until then no news says otherwise."""
        self._legs.pop(key, None)
        self._gone[key] = until.monotonic_ms

    def is_gone(self, key: Key, at: Instant) -> bool:
        """Whether news of that moment is too old to be believed."""
        until_ms = self._gone.get(key)
        return until_ms is not None and at.monotonic_ms <= until_ms

    def renumbered(self) -> None:
        """From now on the PBX may give every id to others."""
        self._gone.clear()

    def forget(self, now: Instant) -> None:
        """Whoever went long ago."""
        self._gone = {key: until_ms for key, until_ms in self._gone.items() if until_ms >= now.monotonic_ms}
