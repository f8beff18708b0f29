"""Several observers as one."""

from collections.abc import Callable, Sequence
from typing import ParamSpec

from callctl.ports import Observer

P = ParamSpec("P")


class Audience:
    """Implements `ports.Observer`: each is told everything, in this order. One alone is asked without a detour."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self.decided = _all([each.decided for each in observers])
        self.answered = _all([each.answered for each in observers])
        self.warned = _all([each.warned for each in observers])
        self.settled = _all([each.settled for each in observers])
        self.alerted = _all([each.alerted for each in observers])
        self.low = _all([each.low for each in observers])
        self.unexpected = _all([each.unexpected for each in observers])
        self.overflowed = _all([each.overflowed for each in observers])
        self.not_enforced = _all([each.not_enforced for each in observers])


def _all(ways: Sequence[Callable[P, None]]) -> Callable[P, None]:
    if len(ways) == 1:
        return ways[0]

    def tell(*what: P.args, **named: P.kwargs) -> None:
        for way in ways:
            way(*what, **named)

    return tell
