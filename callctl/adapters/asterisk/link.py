"""The connection to one Asterisk's manager interface. It knows messages, not calls.

`AmiLink.run` connects, logs in, hands over events, and connects again with growing pauses until it is
cancelled. Any number of actions may be under way; each is answered, or fails with `SwitchUnavailable` at its
time-out or when the connection goes (`adapters/line.py`).
"""

import asyncio
import contextlib
import random
import ssl
from collections.abc import AsyncGenerator, Callable, Iterable
from functools import partial
from typing import Final

import msgspec

from callctl.adapters.asterisk.wire import Message, Reader, encode_action
from callctl.adapters.line import AT_ONCE_MS, Bounds, Counts, Line, Pending, Refused, Times
from callctl.clock import SystemClock
from callctl.errors import SwitchUnavailable
from callctl.ports import Clock

BANNER: Final = b"Asterisk Call Manager/"
READ_BYTES: Final = 64 * 1024

Headers = Iterable[tuple[str, str | int]]


class LinkTimes(Times, frozen=True, kw_only=True):
    """`tick_ms`: how exactly time-outs are kept."""

    action_ms: int = 3_000
    ping_every_ms: int = 5_000
    ping_answer_ms: int = 3_000
    tick_ms: int = 50


class LinkBounds(Bounds, frozen=True, kw_only=True):
    """`in_flight`: actions that are not answered yet."""

    in_flight: int = 8_192
    list_items: int = 50_000


class LinkCounts(Counts):
    """With what only an Asterisk does."""

    unasked_responses: int = 0


class LinkEvents(msgspec.Struct, frozen=True, kw_only=True):
    """Whom the link tells. Plain functions that only enqueue: they run between two messages.

    `on_event` may raise `asyncio.QueueFull`: the connection is then dropped rather than memory grown, and the
    consumer starts again from the switch's channel list. `on_up` comes before the first event, `on_down` once
    per outage with its reason, `on_refused` once per row of refused logins with Asterisk's words. `on_pong` hears of
    each answer to a Ping that came at once: it tells Asterisk's time.
    """

    on_event: Callable[[Message], None]
    on_up: Callable[[], None] = lambda: None
    on_down: Callable[[str], None] = lambda _reason: None
    on_refused: Callable[[str], None] = lambda _message: None
    on_pong: Callable[[Message], None] = lambda _pong: None


class _Action(Pending[Message]):
    """A list action gathers `items` until Asterisk says that the list is complete."""

    __slots__ = ("is_list", "items")

    def __init__(self, name: str, deadline_ms: int, *, is_list: bool) -> None:
        super().__init__(name, deadline_ms)
        self.is_list = is_list
        self.items: list[Message] = []


class AmiLink(Line):
    """One Asterisk, one user, one connection at a time. See the module."""

    def __init__(
        self,
        host: str,
        port: int,
        username: str,
        secret: str,
        events: LinkEvents,
        *,
        tls: ssl.SSLContext | None = None,
        clock: Clock | None = None,
        times: LinkTimes = LinkTimes(),  # noqa: B008  frozen
        bounds: LinkBounds = LinkBounds(),  # noqa: B008  frozen
    ) -> None:
        self.counts = LinkCounts()
        super().__init__(
            "Asterisk",
            (host, port),
            clock or SystemClock(),
            times,
            bounds,
            self.counts,
            tells_down=events.on_down,
            tells_refusal=events.on_refused,
        )
        self.version = ""
        """What Asterisk's greeting says of the protocol: "11.0.0" on Asterisk 22, "5.0.4" on 16."""
        self.forger = ""
        """The channel that has torn a list: its number pretends to be something else."""
        self._login_headers = [("Username", username), ("Secret", secret), ("Events", "on")]
        self._tell = events
        self._tls = tls
        self._times = times
        self._bounds = bounds
        self._pending: dict[str, _Action] = {}
        self._sent = 0
        # Events that carry an ActionID reach every session of the switch, so ours must be ours alone.
        self._id_prefix = f"callctl-{random.getrandbits(32):08x}"

    async def action(self, name: str, headers: Headers = (), *, timeout_ms: int | None = None) -> Message:
        """Asterisk's response, `succeeded` or not. ValueError for headers that cannot be sent as they are."""
        pending = await self._ask(name, headers, timeout_ms, is_list=False)
        return pending.answer.result()

    async def query(self, name: str, headers: Headers = (), *, timeout_ms: int | None = None) -> list[Message]:
        """The whole list of an action like `Status`. A refusal, or half a list, is SwitchUnavailable."""
        pending = await self._ask(name, headers, timeout_ms, is_list=True)
        items, last = pending.items, pending.answer.result()
        if last.get("EventList") != "Complete":
            raise SwitchUnavailable(f"{name}: {last.get('Message', 'the list was cancelled')}")
        if last.get("ListItems", str(len(items))) != str(len(items)):
            raise SwitchUnavailable(f"{name}: {len(items)} of {last['ListItems']} items arrived")
        return items

    def asked(self, message: Message) -> bool:
        """Whether it answers an action of this link, or was caused by one."""
        return message.get("ActionID").startswith(self._id_prefix)

    async def _ask(self, name: str, headers: Headers, timeout_ms: int | None, *, is_list: bool) -> _Action:
        if not self.up:
            raise SwitchUnavailable(f"{name}: {self.detail}")
        if len(self._pending) >= self._bounds.in_flight and name != "Ping":
            self.counts.overflows += 1
            raise SwitchUnavailable(f"{name}: {len(self._pending)} actions are unanswered already")
        action_id = self._next_id()
        data = encode_action(name, headers, action_id)
        self._write(data)
        deadline_ms = self._now_ms() + (self._times.action_ms if timeout_ms is None else timeout_ms)
        pending = self._pending[action_id] = _Action(name, deadline_ms, is_list=is_list)
        try:
            await pending.answer
        finally:
            self._pending.pop(action_id, None)
        return pending

    async def _live(self) -> None:
        try:
            async with asyncio.timeout(self._times.connect_ms / 1000) as patience:
                reader, writer = await asyncio.open_connection(*self._address, ssl=self._tls)
                self._transport = writer.transport
                async with contextlib.aclosing(self._messages(reader)) as messages:
                    await self._log_in(reader, messages)
                    patience.reschedule(None)
                    await self._serve(messages)
        except TimeoutError as error:
            raise SwitchUnavailable(str(error) or "no answer to connecting or logging in") from None
        finally:
            self._drop("the connection is lost")

    async def _log_in(self, reader: asyncio.StreamReader, messages: AsyncGenerator[Message, None]) -> None:
        try:
            greeting = await reader.readline()
        except ValueError:
            greeting = b""  # longer than asyncio reads of one line
        if not greeting.startswith(BANNER):
            raise SwitchUnavailable(f"not an Asterisk manager: {greeting[:40]!r}")
        self.version = greeting.removeprefix(BANNER).decode("ascii", "replace").strip()
        action_id = self._next_id()
        self._write(encode_action("Login", self._login_headers, action_id))
        async for message in messages:
            if message.get("ActionID") == action_id:
                if not message.succeeded:
                    raise Refused(message.get("Message", "login refused"))
                return

    async def _serve(self, messages: AsyncGenerator[Message, None]) -> None:
        self.counts.connections += 1
        self._is_up(self._tell.on_up)
        watching = (self._keep_deadlines(self._times.tick_ms), self._keep_pinging())
        watches = [asyncio.create_task(each) for each in watching]
        try:
            async for message in messages:
                self._receive(message)
        finally:
            for watch in watches:
                watch.cancel()

    async def _messages(self, reader: asyncio.StreamReader) -> AsyncGenerator[Message, None]:
        frames = Reader()
        while data := await reader.read(READ_BYTES):
            for message in frames.feed(data):
                yield message
            if frames.fault:
                self.counts.overflows += 1
                raise SwitchUnavailable(frames.fault)
        raise SwitchUnavailable("Asterisk closed the connection" if self._transport else self.detail)

    def _receive(self, message: Message) -> None:
        """Hand `message` to the action that waits for it, else to the consumer of events."""
        pending = self._pending.get(message.get("ActionID"))
        if message.event == "Status" and (not self.asked(message) or message.count("Uniqueid") > 1):
            # A number has line breaks in it: all but the channel's name, which stands before it, may be forged.
            self.forger = message.get("Channel")
            raise SwitchUnavailable("a list was torn")
        if message.event:
            if pending is None or not pending.is_list:
                self._deliver(message)
            elif message.event.endswith("Complete"):
                pending.settle(message)
            elif len(pending.items) < self._bounds.list_items:
                pending.items.append(message)
            else:
                self.counts.overflows += 1
                pending.fail(f"a list of more than {self._bounds.list_items} items")
        elif pending is None:
            self.counts.unasked_responses += 1
        elif not (pending.is_list and message.succeeded):
            pending.settle(message)

    def _deliver(self, event: Message) -> None:
        self.counts.events += 1
        self._hand_over(lambda: self._tell.on_event(event))

    def _waiting(self) -> Iterable[_Action]:
        return self._pending.values()

    async def _keep_pinging(self) -> None:
        """A frozen switch keeps its TCP connection open: only an unanswered Ping tells."""
        while True:
            await self._clock.sleep_ms(self._times.ping_every_ms)
            asked_ms = self._now_ms()
            try:
                pong = await self.action("Ping", timeout_ms=self._times.ping_answer_ms)
            except SwitchUnavailable:
                self._drop("no answer to Ping")
                return
            if self._now_ms() - asked_ms <= AT_ONCE_MS:
                self._guarded(partial(self._tell.on_pong, pong))

    def _next_id(self) -> str:
        self._sent += 1
        return f"{self._id_prefix}-{self._sent}"
