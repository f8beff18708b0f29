"""The channels of one call on an Asterisk."""

import msgspec

from callctl.call.events import Released, ReleasedBy
from callctl.clock import Instant


class Legs(msgspec.Struct, frozen=True):
    """The channels of one call, by unique id.

    `channel` is the name of the ingress channel, `called` the number that it asked for. `carrier` is the leg that won,
    since `answered`. `offered`: when it was told of; a list may show its channel a moment before. `up`: by then the
    dialplan had answered it, and no SIP status can refuse it. `passed`: we were late, and the dialplan has connected
    it. `emergency`: it has done so without asking, and nobody may touch the call. `limit` is when our timer ends it.
    `left`: the ingress channel is gone. `ended`: how the carrier leg has, before it could talk: where another one takes
    its place, as with an INVITE with Replaces, that was not the end.
    """

    ingress: str
    channel: str = ""
    called: str = ""
    inbound: bool = False
    offered: Instant | None = None
    up: bool = False
    passed: bool = False
    emergency: bool = False
    carrier: str | None = None
    answered: Instant | None = None
    limit: Instant | None = None
    hung_up_by: ReleasedBy | None = None
    left: bool = False
    ended: Released | None = None

    def released_by(self, at: Instant) -> ReleasedBy:
        """Who ended the call, when nothing more is told of it. A timer of a channel makes no event of its own."""
        if self.hung_up_by is not None:
            return self.hung_up_by
        timed_out = self.limit is not None and at.monotonic_ms >= self.limit.monotonic_ms
        return ReleasedBy.CALLCTL if timed_out else ReleasedBy.NETWORK
