"""What every link to a switch does: keep one connection, tell an outage once, come back with growing pauses.

A subclass knows its protocol. **Nothing is ever sent twice**: whether a lost command was carried out is unknown, and
who asked decides afresh from what the switch lists.
"""

import asyncio
import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, Final, Generic, TypeVar

import msgspec
import structlog

from callctl.errors import SwitchUnavailable
from callctl.ports import Clock

log = structlog.get_logger(__name__)

AT_ONCE_MS: Final = 500
"""An answer that has come within this tells well enough what time it is there."""

Answer = TypeVar("Answer")


class Refused(SwitchUnavailable):
    """The switch does not accept who we are. Not cured by trying harder."""


class Times(msgspec.Struct, frozen=True, kw_only=True):
    """How long a link waits, in ms. A pause before it is tried again is as long, or down to half of it.

    `retry_longest_ms`: no call waits at a gate for more than 2.5 (Kamailio) to 8 s (FreeSWITCH).
    """

    connect_ms: int = 3_000
    retry_first_ms: int = 200
    retry_longest_ms: int = 1_000
    refused_ms: int = 60_000
    """After a refused login: a wrong password is not cured by trying harder, and operators count on their log."""


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """What a link holds at most; beyond it a command is refused or the connection dropped."""

    unsent_bytes: int = 1_048_576


class Counts(msgspec.Struct):
    """What has happened since the start."""

    connections: int = 0
    events: int = 0
    timeouts: int = 0
    overflows: int = 0
    failed_callbacks: int = 0


class Pending(Generic[Answer]):
    """A command under way, or one given up for lost."""

    __slots__ = ("answer", "deadline_ms", "name")

    def __init__(self, name: str, deadline_ms: int) -> None:
        self.name = name
        self.deadline_ms = deadline_ms
        self.answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

    def settle(self, answer: Answer) -> None:
        if not self.answer.done():
            self.answer.set_result(answer)

    def fail(self, reason: str) -> None:
        if not self.answer.done():
            self.answer.set_exception(SwitchUnavailable(f"{self.name}: {reason}"))
            self.answer.exception()  # heard of, even if nobody waits for this one any more


class Line(ABC):
    """One switch, one connection at a time. `up`: it is logged in; `detail`: or why it is not.

    `switch`: what it is, in words; `tells_down` hears of an outage, `tells_refusal` of a row of refused logins, once
    each.
    """

    def __init__(
        self,
        switch: str,
        address: tuple[str, int],
        clock: Clock,
        times: Times,
        bounds: Bounds,
        counts: Counts,
        *,
        tells_down: Callable[[str], None],
        tells_refusal: Callable[[str], None],
    ) -> None:
        self.up = False
        self.detail = "not connected yet"
        self._switch = switch
        self._address = address
        self._clock = clock
        self._pauses = times
        self._most_unsent_bytes = bounds.unsent_bytes
        self._counted = counts
        self._tells_down = tells_down
        self._tells_refusal = tells_refusal
        self._transport: asyncio.WriteTransport | None = None
        self._outage_told = self._refusal_told = False

    async def run(self) -> None:
        """Keep the link until cancelled."""
        failures = 0
        while True:
            began_ms, longest_ms = self._now_ms(), self._pauses.retry_longest_ms
            try:
                await self._live()
            except Refused as error:
                self._tell_refusal(str(error))
                pause_ms = self._pauses.refused_ms
            except (SwitchUnavailable, OSError) as error:
                self._tell_outage(str(error) or type(error).__name__)
                failures = 0 if self._now_ms() - began_ms >= longest_ms else failures + 1
                pause_ms = min(longest_ms, self._pauses.retry_first_ms << min(failures, 20))
            await self._clock.sleep_ms(random.randint(pause_ms // 2, pause_ms))

    @abstractmethod
    async def _live(self) -> None:
        """One connection, from connecting to its end, which is always an exception."""

    @abstractmethod
    def _waiting(self) -> Iterable[Pending[Any]]:
        """The commands under way."""

    def _is_up(self, tell: Callable[[], None]) -> None:
        """Logged in."""
        self.up, self.detail = True, "up"
        self._outage_told = self._refusal_told = False
        self._guarded(tell)

    def _hand_over(self, tell: Callable[[], None]) -> None:
        """An event, to a consumer that may be full: then the connection goes rather than memory grows."""
        try:
            tell()
        except asyncio.QueueFull:
            self._counted.overflows += 1
            raise SwitchUnavailable("the queue of events is full") from None
        except Exception:  # whatever the consumer's mistake is, it is logged and counted there
            self._callback_failed()

    def _guarded(self, tell: Callable[[], None]) -> None:
        try:
            tell()
        except Exception:  # logged and counted as above; nothing here tells a queue, so none can be full
            self._callback_failed()

    def _callback_failed(self) -> None:
        """A consumer's mistake must not cost the connection."""
        self._counted.failed_callbacks += 1
        log.exception("switch_callback_failed", switch=self._address)

    def _tell_outage(self, reason: str) -> None:
        self.detail = reason
        if not self._outage_told:
            self._outage_told = True
            self._guarded(lambda: self._tells_down(reason))

    def _tell_refusal(self, message: str) -> None:
        self.detail = f"login refused: {message}"
        if not self._refusal_told:
            self._refusal_told = True
            self._guarded(lambda: self._tells_refusal(message))

    async def _keep_deadlines(self, tick_ms: int) -> None:
        while True:
            await self._clock.sleep_ms(tick_ms)
            now_ms = self._now_ms()
            for pending in self._waiting():
                if pending.deadline_ms <= now_ms and not pending.answer.done():
                    self._counted.timeouts += 1
                    pending.fail("no answer in time; whether it was done is unknown")

    def _write(self, data: bytes) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            raise SwitchUnavailable("the connection is lost")
        if transport.get_write_buffer_size() > self._most_unsent_bytes:
            self._counted.overflows += 1
            self._drop(f"{self._switch} does not read")
            raise SwitchUnavailable(self.detail)
        transport.write(data)

    def _drop(self, reason: str) -> None:
        """End the connection and everything that waits for it. The first reason stays."""
        if self._transport is None:
            return
        self._transport.abort()
        self._transport = None
        self.up, self.detail = False, reason
        for pending in self._waiting():
            pending.fail(f"{reason}; whether it was done is unknown")

    def _now_ms(self) -> int:
        return self._clock.now().monotonic_ms
