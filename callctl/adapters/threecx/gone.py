"""Calls that have ended lately, for they may be gone on with: they were transferred, and that is told late."""

from typing import Final

from msgspec.structs import replace

from callctl.adapters.threecx.calls import Call, continued_from
from callctl.adapters.threecx.wire import Participant
from callctl.clock import Instant

REMEMBERED_MS: Final = 30_000


class Gone:
    def __init__(self) -> None:
        self._calls: list[Call] = []

    def renumbered(self) -> None:
        """From now on the PBX may give every id to others."""
        self._calls = [replace(past, group="") for past in self._calls]

    def ended(self, call: Call) -> None:
        """`call.ended` tells when."""
        self._calls.append(call)

    def continued_by(self, leg: Participant) -> Call | None:
        """The call that goes on with this participant."""
        return next((past for past in self._calls if continued_from(leg, past)), None)

    def forget(self, now: Instant) -> None:
        """What went long ago."""
        self._calls = [it for it in self._calls if it.ended is not None and now.since_ms(it.ended) < REMEMBERED_MS]
