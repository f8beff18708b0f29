"""Does what the machine wants done: asks the store, commands the switch, sets deadlines, writes the journal.

The outcome of what takes time comes back as an event, through the mailbox. A vendor's trouble never gets past here.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any

import structlog

from callctl.call.effects import (
    AdmitCall,
    ArmCall,
    Effect,
    ExtendNow,
    Forget,
    HangUpCall,
    JournalNow,
    RejectCall,
    SetDeadline,
    SettleNow,
    TakeNow,
    Unexpected,
    WarnCall,
)
from callctl.call.events import CallEvent, Forgotten, Recalled, Settled, StoreFailed, SwitchFailed
from callctl.control.deadlines import Deadlines
from callctl.control.journal import Journal
from callctl.control.mailbox import Mailbox
from callctl.errors import PortError, UnknownCall
from callctl.ports import Existing, Observer, Switch, Takes

log = structlog.get_logger(__name__)


class Performer:
    """`forget` takes the call out of the registry; `settled` is told the root whose outbox has grown."""

    def __init__(
        self,
        takes: Takes,
        switches: Mapping[str, Switch],
        deadlines: Deadlines,
        journal: Journal,
        observer: Observer,
        *,
        forget: Callable[[Mailbox], None],
        settled: Callable[[str], None],
    ) -> None:
        self._takes = takes
        self._switches = switches
        self._deadlines = deadlines
        self._journal = journal
        self._observer = observer
        self._forget = forget
        self._settled = settled
        self._tasks: set[asyncio.Task[None]] = set()

    def perform(self, box: Mailbox, effect: Effect) -> None:
        match effect:
            case TakeNow(take):
                self._start(self._ask(box, self._takes.admit(take)))
            case ExtendNow(extension):
                self._start(self._ask(box, self._takes.extend(extension)))
            case SettleNow():
                self._start(self._settle(box, effect))
            case SetDeadline(call, deadline, at):
                self._deadlines.set(call, deadline, at)
            case JournalNow(session):
                self._journal.append(session)
            case Forget():
                self._forget(box)
            case Unexpected(call, state, event):
                self._observer.unexpected(state, event)
                log.info("unexpected_event", call_id=str(call), state=state, event_type=event)
            case AdmitCall() | RejectCall() | ArmCall() | WarnCall() | HangUpCall():
                switch = self._switches.get(effect.call.switch)
                if switch is not None:
                    self._start(self._command(box, effect, _command(switch, effect)))

    async def drain(self) -> None:
        """Wait until everything that is under way has come back."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _ask(self, box: Mailbox, asked: Awaitable[CallEvent | Existing]) -> None:
        call = box.session.call
        try:
            answer = await asked
        except PortError as error:
            log.warning("store_failed", call_id=str(call), error=str(error))
            box.put(StoreFailed(call))
            return
        except UnknownCall:
            log.error("call_lost_by_store", call_id=str(call))
            box.put(Forgotten(call))
            return
        box.put(Recalled(call, answer.session) if isinstance(answer, Existing) else answer)

    async def _settle(self, box: Mailbox, effect: SettleNow) -> None:
        call = box.session.call
        try:
            known = await self._takes.settle(effect.settlement)
        except PortError as error:
            log.warning("store_failed", call_id=str(call), error=str(error))
            box.put(StoreFailed(call))
            return
        if known is not None:
            box.put(Recalled(call, known.session))
            return
        if effect.settlement.posts:
            self._observer.settled(box.session.customer.currency, effect.settlement.posts[0].amount)
        self._settled(box.session.root)
        box.put(Settled(call))

    async def _command(self, box: Mailbox, effect: Effect, command: Awaitable[None]) -> None:
        try:
            await command
        except PortError as error:
            log.warning("switch_failed", call_id=str(box.session.call), command=type(effect).__name__, error=str(error))
            box.put(SwitchFailed(box.session.call, type(effect).__name__))


def _command(switch: Switch, effect: AdmitCall | RejectCall | ArmCall | WarnCall | HangUpCall) -> Awaitable[None]:
    match effect:
        case AdmitCall(call, granted_s, setup_s, b_number, account):
            return switch.admit(call, granted_s=granted_s, setup_s=setup_s, b_number=b_number, account=account)
        case RejectCall(call, _, cause):
            return switch.reject(call, cause)
        case ArmCall(call, remaining_ms):
            return switch.arm(call, remaining_ms)
        case WarnCall(call, left_s, to):
            return switch.warn(call, left_s, to)
        case HangUpCall(call, q850):
            return switch.hang_up(call, q850)
