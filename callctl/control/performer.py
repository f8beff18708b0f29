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

Command = AdmitCall | RejectCall | ArmCall | WarnCall | HangUpCall


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
        self._observer = observer
        self._settled = settled
        self._tasks: set[asyncio.Task[None]] = set()

        self._ways: dict[type[Effect], Callable[[Mailbox, Any], None]] = {
            TakeNow: lambda box, effect: self.start(self._ask(box, takes.admit(effect.take))),
            ExtendNow: lambda box, effect: self.start(self._ask(box, takes.extend(effect.extension))),
            SettleNow: lambda box, effect: self.start(self._settle(box, effect)),
            SetDeadline: lambda _, effect: deadlines.set(effect.call, effect.deadline, effect.at),
            JournalNow: lambda _, effect: journal.append(effect.session),
            Forget: lambda box, _: forget(box),
            Unexpected: lambda _, effect: self._unexpected(effect),
            **dict.fromkeys((AdmitCall, RejectCall, ArmCall, WarnCall, HangUpCall), self._tell),
        }

    def perform(self, box: Mailbox, effect: Effect) -> None:
        self._ways[type(effect)](box, effect)

    async def drain(self) -> None:
        """Wait until everything that is under way has come back."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Do it beside everything else; `drain` waits for it."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _tell(self, box: Mailbox, effect: Command) -> None:
        switch = self._switches.get(effect.call.switch)
        if switch is not None:
            self.start(self._command(box, effect, _command(switch, effect)))

    def _unexpected(self, effect: Unexpected) -> None:
        self._observer.unexpected(effect.state, effect.event)
        log.info("unexpected_event", call_id=str(effect.call), state=effect.state, event_type=effect.event)

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
        except Exception:  # our fault, and this call's alone: it must not wait for an answer for ever
            log.exception("take_failed", call_id=str(call))
            box.put(StoreFailed(call))
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
        except Exception:  # our fault: the journal keeps what was not posted
            log.exception("settlement_failed", call_id=str(call))
            box.put(StoreFailed(call))
            return
        if known is not None:
            box.put(Recalled(call, known.session))
            return
        if effect.settlement.posts:
            self._observer.settled(box.session.customer.currency, effect.settlement.posts[0].amount)
        self._settled(box.session.root)
        box.put(Settled(call))

    async def _command(self, box: Mailbox, effect: Command, command: Awaitable[None]) -> None:
        try:
            await command
        except PortError as error:
            log.warning("switch_failed", call_id=str(box.session.call), command=type(effect).__name__, error=str(error))
            box.put(SwitchFailed(box.session.call, type(effect).__name__))


def _command(switch: Switch, effect: Command) -> Awaitable[None]:
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
