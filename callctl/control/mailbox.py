"""One call in this process: its session, its events in order, and who waits for it."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from callctl.call.effects import Advance, Effect
from callctl.call.events import CallEvent, Deadline
from callctl.call.session import Session
from callctl.call.takes import Settlement
from callctl.promise import Promise
from callctl.turn import Turn

Ways = Mapping[type[Effect], Callable[["Mailbox", Any], None]]
"""How each kind of effect is done."""


class Mailbox(msgspec.Struct, eq=False):
    """Feeds events to the machine, one at a time, and hands its effects on.

    Nothing here awaits, so the order of events is the order of `put`; what takes time comes back as an event.
    `decided` once the switch is told yes or no, `closed` once nothing more is done for the call; `settled`: the
    settlement that the store has carried out last, if it was asked for here. `ticks`: when which deadline is reached.
    `tells`: in which those who wait hear of it.
    """

    session: Session
    step: Callable[[Session, CallEvent], Advance]
    ways: Ways
    tells: "Turn[Mailbox]"
    decided: bool = False
    closed: bool = False
    settled: Settlement | None = None
    waiting: "list[tuple[Callable[[Mailbox], bool], Promise[Session]]] | None" = None  # mostly nobody does
    ticks: dict[Deadline, int] = {}  # each has its own

    def put(self, event: CallEvent) -> None:
        """One event, and all that follows from it at once."""
        self.follow(self.step(self.session, event))

    def follow(self, advance: Advance) -> None:
        self.session, effects = advance
        ways = self.ways
        for effect in effects:
            ways[type(effect)](self, effect)
        if self.waiting is not None:
            self.tells.add(self)

    def tell(self) -> None:
        """Those who wait, where what they wait for is reached."""
        waiting, self.waiting = self.waiting or [], None
        for reached, promise in waiting:
            self._promise(promise, reached)

    def until(self, reached: Callable[["Mailbox"], bool]) -> Promise[Session]:
        """The session once `reached` holds, or the call is closed; it is looked at after all events of a turn."""
        promise: Promise[Session] = Promise()
        self._promise(promise, reached)
        return promise

    async def idle(self) -> None:
        """Until nothing is asked of the store for the call. It may be again when one is told so: a turn later."""
        while self.session.busy and not self.closed:
            await self.until(_is_idle)

    def _promise(self, promise: Promise[Session], reached: Callable[["Mailbox"], bool]) -> None:
        if reached(self) or self.closed:
            promise.keep(self.session)
        elif self.waiting is None:
            self.waiting = [(reached, promise)]
        else:
            self.waiting.append((reached, promise))


def _is_idle(box: Mailbox) -> bool:
    return not box.session.busy
