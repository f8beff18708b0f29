"""What has gone lately: participants, whom late news may not bring back, and calls, which may be gone on with."""

from typing import Final

from msgspec.structs import replace

from callctl.adapters.threecx.calls import Call, continued_from
from callctl.adapters.threecx.wire import Key, Participant
from callctl.clock import Instant

REMEMBERED_MS: Final = 30_000
"""For so long a participant that was removed is not believed to be there, and a call that ended can be gone on with."""


class Gone:
    def __init__(self) -> None:
        self._legs: dict[Key, Instant] = {}
        self._calls: list[Call] = []

    def renumbered(self) -> None:
        """From now on the PBX may give every id to others."""
        self._legs.clear()
        self._calls = [replace(past, group="") for past in self._calls]

    def removed(self, key: Key, at: Instant) -> None:
        self._legs[key] = at

    def has(self, key: Key, at: Instant) -> bool:
        gone = self._legs.get(key)
        return gone is not None and at.since_ms(gone) < REMEMBERED_MS

    def ended(self, call: Call) -> None:
        """`call.ended` tells when."""
        self._calls.append(call)

    def continued_by(self, leg: Participant) -> Call | None:
        """The call that goes on with this participant."""
        return next((past for past in self._calls if continued_from(leg, past)), None)

    def forget(self, now: Instant) -> None:
        """What went long ago."""
        self._legs = {key: gone for key, gone in self._legs.items() if now.since_ms(gone) < REMEMBERED_MS}
        self._calls = [it for it in self._calls if it.ended is not None and now.since_ms(it.ended) < REMEMBERED_MS]
