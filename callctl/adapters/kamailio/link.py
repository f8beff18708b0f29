"""The connection to one Kamailio's evapi. It knows messages, not calls.

`EvapiLink.run` connects, says who it is, hands over events, and connects again with growing pauses until it is
cancelled. Any number of commands may be under way; each is answered, or fails with `SwitchUnavailable` at its time-out
or when the connection goes (`adapters/line.py`).

Kamailio's one evapi process reads, carries out and answers one command after the other, in their order. So few of them
are sent ahead of their answers that they fit its buffer whole; the others wait here.
"""

import asyncio
import socket
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final

import msgspec

from callctl.adapters.kamailio.wire import Message, Reader, decode, encode
from callctl.adapters.line import AT_ONCE_MS, Bounds, Counts, Line, Pending, Refused, Times
from callctl.clock import SystemClock
from callctl.errors import SwitchUnavailable
from callctl.ports import Clock

READ_BYTES: Final = 64 * 1024
# Kamailio leaves Nagle's algorithm on: an event that is not acknowledged at once holds back the next for 40 ms.
QUICKACK: Final[int | None] = getattr(socket, "TCP_QUICKACK", None)


class LinkTimes(Times, frozen=True, kw_only=True):
    """`ping_every_ms` must stay well below SILENT_S of `kamailio.cfg`."""

    command_ms: int = 2_000
    ping_every_ms: int = 2_000
    refused_ms: int = 30_000


class LinkBounds(Bounds, frozen=True, kw_only=True):
    """`ahead`: commands that are sent and not answered; the others are `waiting` here."""

    ahead: int = 48
    waiting: int = 8_192


class LinkCounts(Counts):
    """With what only a Kamailio does."""

    unasked_answers: int = 0
    malformed: int = 0


class LinkEvents(msgspec.Struct, frozen=True, kw_only=True):
    """Whom the link tells. Plain functions that only enqueue.

    `on_up` comes before the first event; also when Kamailio says that it could not tell us everything. `on_down` comes
    once per outage, with its reason. `on_pong` hears of each answer to a ping that came at once: it tells what time it
    is there.
    """

    on_event: Callable[[Message], None]
    on_up: Callable[[], None] = lambda: None
    on_down: Callable[[str], None] = lambda _reason: None
    on_pong: Callable[[Message], None] = lambda _pong: None


class EvapiLink(Line):
    """One Kamailio, one connection at a time. See the module."""

    def __init__(
        self,
        host: str,
        port: int,
        secret: str,
        events: LinkEvents,
        *,
        clock: Clock | None = None,
        times: LinkTimes = LinkTimes(),  # noqa: B008  frozen
        bounds: LinkBounds = LinkBounds(),  # noqa: B008  frozen
    ) -> None:
        self.counts = LinkCounts()
        super().__init__(
            "Kamailio",
            (host, port),
            clock or SystemClock(),
            times,
            bounds,
            self.counts,
            tells_down=events.on_down,
            tells_refusal=events.on_down,
        )
        self._secret = secret
        self._tell = events
        self._times = times
        self._bounds = bounds
        self._pending: dict[int, Pending[Message]] = {}
        self._window = asyncio.Semaphore(bounds.ahead)
        self._queued = 0
        self._sent = 0
        self._missed: int | None = None

    async def ask(self, do: str, **fields: str | int) -> Message:
        """Kamailio's answer to a command. ValueError for what cannot be sent as it is."""
        if not self.up:
            raise SwitchUnavailable(f"{do}: {self.detail}")
        return await self._ask(do, fields)

    async def _ask(self, do: str, fields: dict[str, str | int]) -> Message:
        self._sent += 1
        id_ = self._sent
        data = encode({"id": id_, "do": do, **fields})
        if self._queued >= self._bounds.waiting:
            self.counts.overflows += 1
            raise SwitchUnavailable(f"{do}: {self._queued} commands wait already")
        self._queued += 1
        try:
            async with asyncio.timeout(self._times.command_ms / 1000), self._window:
                self._write(data)
                pending = self._pending[id_] = Pending[Message](do, self._now_ms() + self._times.command_ms)
                return await pending.answer
        except TimeoutError:
            self.counts.timeouts += 1
            raise SwitchUnavailable(f"{do}: no answer in time; whether it was done is unknown") from None
        finally:
            self._queued -= 1
            self._pending.pop(id_, None)

    async def _live(self) -> None:
        try:
            async with asyncio.timeout(self._times.connect_ms / 1000):
                reader, writer = await asyncio.open_connection(*self._address)
        except TimeoutError:
            raise SwitchUnavailable("no answer to connecting") from None
        self._transport = writer.transport
        greeting = asyncio.create_task(self._greet_and_ping())
        try:
            await self._read(reader, writer.get_extra_info("socket"))
        finally:
            greeting.cancel()
            self._drop("the connection is lost")
            await asyncio.gather(greeting, return_exceptions=True)
            if greeting.done() and not greeting.cancelled() and isinstance(greeting.exception(), Refused):
                raise Refused(str(greeting.exception()))

    async def _greet_and_ping(self) -> None:
        """A frozen Kamailio keeps its connection open: only an unanswered ping tells."""
        try:
            welcome = await self._ask("hello", {"secret": self._secret})
            if welcome.word != "welcome":
                raise Refused("Kamailio does not take the secret, or its kamailio.cfg is not callctl's")
            self._missed = welcome.missed
            self.counts.connections += 1
            self._is_up(self._tell.on_up)
            while True:
                await self._clock.sleep_ms(self._times.ping_every_ms)
                asked_ms = self._now_ms()
                pong = await self._ask("ping", {})
                self._heed(pong)
                if self._now_ms() - asked_ms <= AT_ONCE_MS:
                    self._guarded(partial(self._tell.on_pong, pong))
        except SwitchUnavailable as error:
            self._drop(str(error))
            raise

    def _heed(self, pong: Message) -> None:
        """What Kamailio kept to itself while it took us for hung is learnt from its list.

        Where another process has connected since, that one commands, and we wait until it is gone.
        """
        if pong.word == "free":
            raise SwitchUnavailable("the other callctl is gone")
        if pong.word == "refused":
            self.up = False
            self._tell_outage("another callctl commands this Kamailio")
        elif pong.missed != self._missed:
            self._missed = pong.missed
            self._guarded(self._tell.on_up)

    async def _read(self, reader: asyncio.StreamReader, connection: socket.socket) -> None:
        frames = Reader()
        while data := await reader.read(READ_BYTES):
            if QUICKACK is not None:
                connection.setsockopt(socket.IPPROTO_TCP, QUICKACK, 1)
            for frame in frames.feed(data):
                self._receive(frame)
            if frames.fault:
                self.counts.malformed += 1
                raise SwitchUnavailable(frames.fault)
        raise SwitchUnavailable("Kamailio closed the connection" if self._transport else self.detail)

    def _receive(self, frame: bytes) -> None:
        """Hand a message to the command that waits for it, else to the consumer of events."""
        message = decode(frame)
        if message is None:
            self.counts.malformed += 1
            return
        if message.event:
            self.counts.events += 1
            self._guarded(lambda: self._tell.on_event(message))
            return
        waiting = self._pending.get(message.id) if message.id is not None else None
        if waiting is None or waiting.answer.done():
            self.counts.unasked_answers += 1
        else:
            waiting.settle(message)

    def _waiting(self) -> Iterable[Pending[Message]]:
        return self._pending.values()
