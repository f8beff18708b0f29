"""What ties calls together: the account that pays for them, and the call that they are within.

An inbound call pays for the outbound ones that are made to connect it, and they end with it.
"""

from collections import defaultdict
from typing import TypeVar

from callctl.call.events import CallKey
from callctl.call.session import Session, State

_Tie = TypeVar("_Tie")
LIVE = frozenset({State.ADMITTED, State.ANSWERED, State.BLIND})


def is_up(session: Session) -> bool:
    """Whether a call may begin within this one: it is admitted, and nobody has ended it or wants it to end."""
    return session.state in LIVE and not session.unwanted and not session.cut and session.released is None


class Ties:
    """Which calls have a payer in common, and which are within which."""

    def __init__(self) -> None:
        self._paid: defaultdict[str, dict[CallKey, None]] = defaultdict(dict)  # in the order they came
        self._inner: defaultdict[CallKey, dict[CallKey, None]] = defaultdict(dict)

    def add(self, session: Session) -> None:
        for level in session.levels:
            self._paid[level.account][session.call] = None
        if session.within is not None:
            self._inner[CallKey(session.call.switch, session.within)][session.call] = None

    def remove(self, session: Session) -> tuple[CallKey, ...]:
        """It is over. Answers the calls that are within it, which are to end with it."""
        for level in session.levels:
            _take_out(self._paid, level.account, session.call)
        if session.within is not None:
            _take_out(self._inner, CallKey(session.call.switch, session.within), session.call)
        return self.within(session.call)

    def paid_by(self, account: str) -> tuple[CallKey, ...]:
        return tuple(self._paid.get(account, ()))

    def outers(self) -> tuple[CallKey, ...]:
        return tuple(self._inner)

    def within(self, outer: CallKey) -> tuple[CallKey, ...]:
        return tuple(self._inner.get(outer, ()))


def _take_out(ties: dict[_Tie, dict[CallKey, None]], tie: _Tie, call: CallKey) -> None:
    tied = ties.get(tie, {})
    tied.pop(call, None)
    if not tied:
        ties.pop(tie, None)
