"""One call in this process: its session, its events in order, and who waits for it."""

from asyncio import Future, get_running_loop
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from callctl.call.effects import Advance, Effect
from callctl.call.events import CallEvent, Deadline
from callctl.call.session import Session
from callctl.call.takes import Settlement

Ways = Mapping[type[Effect], Callable[["Mailbox", Any], None]]
"""How each kind of effect is done."""


class Mailbox(msgspec.Struct, eq=False):
    """Feeds events to the machine, one at a time, and hands its effects on.

    Nothing here awaits, so the order of events is the order of `put`; what takes time comes back as an event.
    `decided` once the switch is told yes or no, `closed` once nothing more is done for the call; `settled`: the
    settlement that the store has carried out last, if it was asked for here. `ticks`: when which deadline is reached.
    """

    session: Session
    step: Callable[[Session, CallEvent], Advance]
    ways: Ways
    decided: bool = False
    closed: bool = False
    settled: Settlement | None = None
    waiting: list[Future[None]] | None = None  # nobody waits for most events
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
            waiting, self.waiting = self.waiting, None
            for future in waiting:
                if not future.done():
                    future.set_result(None)

    async def until(self, reached: Callable[["Mailbox"], bool]) -> Session:
        """The session once `reached` holds; it is looked at after every event."""
        while not reached(self) and not self.closed:
            await self.next()
        return self.session

    def next(self) -> Future[None]:
        """Done after the next event."""
        future: Future[None] = get_running_loop().create_future()
        if self.waiting is None:
            self.waiting = [future]
        else:
            self.waiting.append(future)
        return future
