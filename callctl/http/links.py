"""The neighbours as /readyz and /metrics show them."""

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum

import msgspec

from callctl.ports import Capabilities, LinkState


class LinkKind(StrEnum):
    STORE = "store"
    SWITCH = "switch"
    SINK = "sink"
    EVENTS = "events"


class Neighbour(msgspec.Struct, frozen=True):
    """A switch, a sink, the broker of its events or the store. `needed`: without it callctl is not ready.

    `counts`: how often what has happened to its connection since the start. `capabilities`: of a switch.
    """

    kind: LinkKind
    state: LinkState
    needed: bool = True
    counts: Mapping[str, int] = {}
    capabilities: Capabilities | None = None


Links = Callable[[], Sequence[Neighbour]]
