"""Calls within other calls: an inbound call that pays for the outbound ones that are made to connect it."""

from collections import defaultdict

from callctl.call.events import CallKey
from callctl.call.session import Session, State

LIVE = frozenset({State.ADMITTED, State.ANSWERED, State.BLIND})


def is_up(session: Session) -> bool:
    """Whether a call may begin within this one: it is admitted, and nobody has ended it or wants it to end."""
    return session.state in LIVE and not session.unwanted and not session.cut and session.released is None


def outer_of(session: Session) -> CallKey | None:
    """The call that it is within."""
    return CallKey(session.call.switch, session.within) if session.within is not None else None


class Within:
    """Which calls are within which."""

    def __init__(self) -> None:
        self._inner: defaultdict[CallKey, dict[CallKey, None]] = defaultdict(dict)

    def add(self, session: Session) -> None:
        outer = outer_of(session)
        if outer is not None:
            self._inner[outer][session.call] = None

    def remove(self, session: Session) -> tuple[CallKey, ...]:
        """It is over. Answers the calls that are within it, which are to end with it."""
        outer = outer_of(session)
        if outer is not None and outer in self._inner:
            self._inner[outer].pop(session.call, None)
            if not self._inner[outer]:
                del self._inner[outer]
        return tuple(self._inner.get(session.call, ()))

    def outers(self) -> tuple[CallKey, ...]:
        return tuple(self._inner)

    def of(self, outer: CallKey) -> tuple[CallKey, ...]:
        return tuple(self._inner.get(outer, ()))
