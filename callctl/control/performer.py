"""Does what the machine wants done: asks the store, commands the switch, sets deadlines, writes the journal.

The outcome of what takes time comes back as an event, through the mailbox. A vendor's trouble never gets past here.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import structlog

from callctl.call.effects import (
    AdmitCall,
    ArmCall,
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
from callctl.call.events import CallEvent, CallKey, Extended, Forgotten, Recalled, Settled, StoreFailed, SwitchFailed
from callctl.call.session import Session
from callctl.call.takes import Extension, Settlement
from callctl.clock import give_way
from callctl.control.deadlines import Deadlines
from callctl.control.journal import Journal
from callctl.control.mailbox import Mailbox, Ways
from callctl.errors import PortError, UnknownCall
from callctl.ports import Existing, ExtendAnswer, Observer, Switch, Takes
from callctl.promise import Promise

log = structlog.get_logger(__name__)

SETTLED_AT_ONCE = 500  # in flight: they take the store some 0.1 s

Command = AdmitCall | RejectCall | ArmCall | WarnCall | HangUpCall


class Performer:
    """`decided` hears of every call that is told yes or no, `forget` takes one out of the registry.

    `settled` is told the root whose outbox has grown.
    """

    def __init__(
        self,
        takes: Takes,
        switches: Mapping[str, Switch],
        deadlines: Deadlines,
        journal: Journal,
        observer: Observer,
        *,
        decided: Callable[[Session], None],
        forget: Callable[[Mailbox], None],
        settled: Callable[[str], None],
    ) -> None:
        self._takes = takes
        self._switches = switches
        self._journal = journal
        self._observer = observer
        self._decided = decided
        self._forget = forget
        self._settled = settled
        self._under_way: set[asyncio.Task[None]] = set()
        self._promised = 0  # answers of the store
        self._settling = 0  # those of them that are to settlements
        self._kept = asyncio.Event()  # the last of them, or one for which an end waits
        self._ends: deque[tuple[Mailbox, Settlement]] = deque()
        self._failures: list[tuple[Mailbox, Exception]] = []  # of this turn of the loop
        self._extensions: list[tuple[Mailbox, Extension]] = []  # of this turn of the loop

        self.ways: Ways = {
            TakeNow: lambda box, effect: self._ask(box, takes.admit(effect.take)),
            ExtendNow: self._extend,
            SettleNow: self._settle,
            SetDeadline: deadlines.set,
            JournalNow: lambda _, effect: journal.append(effect.session),
            Forget: self._close,
            Unexpected: lambda _, effect: self._unexpected(effect),
            **dict.fromkeys((AdmitCall, RejectCall), self._decide),
            WarnCall: self._warn,
            **dict.fromkeys((ArmCall, HangUpCall), self._tell),
        }

    async def drain(self) -> None:
        """Wait until everything that is under way has come back."""
        while self._under_way or self._promised:
            if self._under_way:
                await asyncio.wait(self._under_way)
            else:
                self._kept.clear()
                await self._kept.wait()

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Do it beside everything else; `drain` waits for it."""
        task = asyncio.get_running_loop().create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    def _decide(self, box: Mailbox, effect: AdmitCall | RejectCall) -> None:
        box.decided = True
        self._decided(box.session)
        if box.session.answered is not None:  # its switch did not wait
            self._observer.answered(box.session)
        self._tell(box, effect)

    def _warn(self, box: Mailbox, effect: WarnCall) -> None:
        self._observer.warned(box.session, effect.left_s, effect.to)
        self._tell(box, effect)

    def _close(self, box: Mailbox, _: Forget) -> None:
        box.closed = True
        self._forget(box)

    def _tell(self, box: Mailbox, effect: Command) -> None:
        switch = self._switches.get(effect.call.switch)
        if switch is not None:
            self.start(self._command(box, effect, _command(switch, effect)))

    def _unexpected(self, effect: Unexpected) -> None:
        self._observer.unexpected(effect.state, effect.event)
        log.info("unexpected_event", call_id=str(effect.call), state=effect.state, event_type=effect.event)

    def _ask(
        self, box: Mailbox, asked: Awaitable[CallEvent | Existing | None], settlement: Settlement | None = None
    ) -> None:
        """Put the store's answer into the mailbox when it comes. None, to a settlement: it is carried out."""
        if isinstance(asked, Promise):
            self._promised += 1
            self._settling += settlement is not None
            asked.hear(partial(self._answered, box, settlement))
        else:
            self.start(self._wait(box, asked, settlement))

    async def _wait(
        self, box: Mailbox, asked: Awaitable[CallEvent | Existing | None], settlement: Settlement | None
    ) -> None:
        answer: Promise[CallEvent | Existing | None] = Promise()
        try:
            answer.keep(await asked)
        except Exception as error:  # whatever it was, the call is not to wait for ever
            answer.keep(error)
        self._ask(box, answer, settlement)

    def _answered(
        self, box: Mailbox, settlement: Settlement | None, answer: CallEvent | Existing | Exception | None
    ) -> None:
        self._promised -= 1
        self._settling -= settlement is not None
        if not self._promised or self._ends:
            self._kept.set()
        if isinstance(answer, Exception):
            if not self._failures:
                self.start(self._fail_all())
            self._failures.append((box, answer))
            return
        call = box.session.call
        if answer is None:
            box.settled = settlement
            if settlement is not None:
                self._observer.settled(settlement)
            self._settled(box.session.root)
            answer = Settled(call)
        box.put(_heard(call, answer))

    def _settle(self, box: Mailbox, effect: SettleNow) -> None:
        """Now, or behind others where thousands of calls end at once: more than the store's window takes would fail,
        and each be written to the disk instead."""
        settlement = effect.settlement
        if self._settling < SETTLED_AT_ONCE and not self._ends:
            self._ask(box, self._takes.settle(settlement), settlement)
            return
        if not self._ends:
            self.start(self._settle_in_turn())
        self._ends.append((box, settlement))

    async def _settle_in_turn(self) -> None:
        while self._ends:
            if self._settling < SETTLED_AT_ONCE:
                box, settlement = self._ends.popleft()
                self._ask(box, self._takes.settle(settlement), settlement)
                await give_way()
            else:
                self._kept.clear()
                await self._kept.wait()

    def _extend(self, box: Mailbox, effect: ExtendNow) -> None:
        """Ask for it together with all others of this turn of the loop."""
        if not self._extensions:
            self.start(self._extend_all())
        self._extensions.append((box, effect.extension))

    async def _extend_all(self) -> None:
        boxes, extensions = zip(*self._extensions, strict=True)
        self._extensions = []
        answers: Sequence[ExtendAnswer]
        try:
            answers = await self._takes.extend(extensions)
        except Exception as error:  # whatever it was, no call is to wait for ever
            answers = [error] * len(boxes)
        self._hear_all(zip(boxes, answers, strict=True))

    async def _fail_all(self) -> None:
        failures, self._failures = self._failures, []
        self._hear_all(failures)

    def _hear_all(self, answers: Iterable[tuple[Mailbox, Any]]) -> None:
        """Of one turn. Without the store thousands may fail: the disk is waited for once, before anybody is told."""
        with self._journal.together():
            for box, answer in answers:
                try:
                    box.put(answer if type(answer) is Extended else _heard(box.session.call, answer))
                except Exception as error:  # the others are to hear theirs
                    log.error("take_failed", call_id=str(box.session.call), exc_info=error)

    async def _command(self, box: Mailbox, effect: Command, command: Awaitable[None]) -> None:
        try:
            await command
        except PortError as error:
            log.warning("switch_failed", call_id=str(box.session.call), command=type(effect).__name__, error=str(error))
            box.put(SwitchFailed(box.session.call))


def _heard(call: CallKey, answer: Any) -> CallEvent:
    """What the store's answer (an event, Existing or an exception) means for the call."""
    if type(answer) is Existing:
        return Recalled(call, answer.session)
    event: CallEvent = _failure(call, answer) if isinstance(answer, Exception) else answer
    return event


def _failure(call: CallKey, error: BaseException) -> CallEvent:
    """What a question to the store that came to nothing means for the call. Our own faults are this call's alone."""
    if isinstance(error, UnknownCall):
        log.error("call_lost_by_store", call_id=str(call))
        return Forgotten(call)
    if isinstance(error, PortError):
        log.warning("store_failed", call_id=str(call), error=str(error))
    else:
        log.error("take_failed", call_id=str(call), exc_info=error)
    return StoreFailed(call)


def _command(switch: Switch, effect: Command) -> Awaitable[None]:
    match effect:
        case AdmitCall(call, granted_s, setup_s, b_number, account):
            return switch.admit(call, granted_s=granted_s, setup_s=setup_s, b_number=b_number, account=account)
        case RejectCall(call, cause):
            return switch.reject(call, cause)
        case ArmCall(call, remaining_ms):
            return switch.arm(call, remaining_ms)
        case WarnCall(call, left_s, to):
            return switch.warn(call, left_s, to)
        case HangUpCall(call, q850):
            return switch.hang_up(call, q850)
