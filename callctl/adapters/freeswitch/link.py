"""The connection to one FreeSWITCH's event socket. It knows frames and commands, not calls.

`EslLink.run` connects, logs in, subscribes, hands over events, and connects again with growing pauses until it is
cancelled. Any number of commands may be under way. Replies have no id: they come in the order of the commands, so one
that is given up for lost keeps its place, and its reply, when it comes, is dropped.

FreeSWITCH does one command of a connection at a time, and tells no event meanwhile: only quick ones are to be asked.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable
from typing import Final

import msgspec

from callctl.adapters.freeswitch.wire import Event, Frame, Reader, encode_command, parse_event
from callctl.adapters.line import Bounds, Counts, Line, Pending, Refused, Times
from callctl.clock import Instant, SystemClock
from callctl.errors import SwitchUnavailable
from callctl.ports import Clock

READ_BYTES: Final = 256 * 1024
WHICH_CORE: Final = "api global_getvar core_uuid"
REFUSED: Final = "-ERR"
ANY_API: Final = "all"
"""What a login says of a user without `esl-allowed-api`. With a list FreeSWITCH looks up every word of a wrapped
command in it: in `sched_api +60 group uuid_kill ...` the `+60`."""


class LinkTimes(Times, frozen=True, kw_only=True):
    """`tick_ms`: how exactly time-outs are kept."""

    command_ms: int = 3_000
    ping_every_ms: int = 5_000
    ping_answer_ms: int = 3_000
    tick_ms: int = 50


class LinkBounds(Bounds, frozen=True, kw_only=True):
    """`in_flight`: commands that are not answered yet."""

    in_flight: int = 8_192


class LinkCounts(Counts):
    """`unseen_answers`: calls that were answered and have ended while there was no link."""

    unasked_replies: int = 0
    garbled_events: int = 0
    unseen_answers: int = 0


class LinkEvents(msgspec.Struct, frozen=True, kw_only=True):
    """Whom the link tells. Plain functions that only enqueue: they run between two frames.

    `on_event` may raise `asyncio.QueueFull`: the connection is then dropped rather than memory grown. `on_up` comes
    before the first event, with the core's UUID, which is another one after a restart; `on_down` once per outage with
    its reason and when something was last heard; `on_refused` once per row of refused logins.
    """

    on_event: Callable[[Event], None]
    on_up: Callable[[str], None] = lambda _core: None
    on_down: Callable[[str, Instant], None] = lambda _reason, _last_heard: None
    on_refused: Callable[[str], None] = lambda _message: None


class EslLink(Line):
    """One FreeSWITCH, one connection at a time. See the module.

    `user` is that of an `esl-user` in the directory (`meter@example.org`); without it the socket's own password is
    asked. `subscribed`: the names of events, as the command `event json` takes them.
    """

    def __init__(
        self,
        host: str,
        port: int,
        secret: str,
        events: LinkEvents,
        *,
        user: str = "",
        subscribed: str = "HEARTBEAT",
        clock: Clock | None = None,
        times: LinkTimes = LinkTimes(),  # noqa: B008  frozen
        bounds: LinkBounds = LinkBounds(),  # noqa: B008  frozen
    ) -> None:
        self.counts = LinkCounts()
        super().__init__(
            "FreeSWITCH",
            (host, port),
            clock or SystemClock(),
            times,
            bounds,
            self.counts,
            tells_down=lambda reason: events.on_down(reason, self._last_heard),
            tells_refusal=events.on_refused,
        )
        self._login = f"userauth {user}:{secret}" if user else f"auth {secret}"
        self._subscription = f"event json {subscribed}"
        self._tell = events
        self._times = times
        self._bounds = bounds
        self._pending: deque[Pending[Frame]] = deque()
        self._early: list[Frame] = []
        self._turned_away = 0  # once is nothing: a FreeSWITCH that begins has no list of addresses yet (src)
        self._last_heard = self._clock.now()

    def api(self, command: str, *, timeout_ms: int | None = None) -> "asyncio.Future[Frame]":
        """Asks at once; the answer, `-ERR ...` included, is to be awaited. Unsendable: it would be another command."""
        if not self.up:
            raise SwitchUnavailable(f"{_name(command)}: {self.detail}")
        return self._ask(f"api {command}", timeout_ms)

    def _ask(self, command: str, timeout_ms: int | None = None) -> "asyncio.Future[Frame]":
        name = _name(command.removeprefix("api "))
        if len(self._pending) >= self._bounds.in_flight and command != WHICH_CORE:
            self.counts.overflows += 1
            raise SwitchUnavailable(f"{name}: {len(self._pending)} commands are unanswered already")
        data = encode_command(command)
        self._write(data)
        pending = Pending[Frame](name, self._now_ms() + (self._times.command_ms if timeout_ms is None else timeout_ms))
        self._pending.append(pending)
        return pending.answer

    async def _live(self) -> None:
        try:
            async with asyncio.timeout(self._times.connect_ms / 1000) as patience:
                reader, writer = await asyncio.open_connection(*self._address, limit=READ_BYTES)
                self._transport = writer.transport
                async with contextlib.aclosing(self._frames(reader)) as frames:
                    core = await self._log_in(frames)
                    patience.reschedule(None)
                    await self._serve(core, frames)
        except TimeoutError as error:
            raise SwitchUnavailable(str(error) or "no answer to connecting or logging in") from None
        finally:
            self._drop("the connection is lost")

    async def _log_in(self, frames: AsyncGenerator[Frame, None]) -> str:
        """The core's UUID. Subscribing comes first: from then on nothing is missed."""
        self._early = []
        async for greeting in frames:
            if greeting.kind == "text/rude-rejection":
                self._turned_away += 1
                kind = Refused if self._turned_away > 1 else SwitchUnavailable
                raise kind(f"this address is not allowed: {greeting.text}")
            if greeting.kind != "auth/request":
                raise SwitchUnavailable(f"not an event socket: {greeting.kind[:40]!r}")
            break
        for asked in (self._login, self._subscription):
            reply = await self._reply_to(asked, frames)
            if reply.text.startswith(REFUSED):
                raise Refused(f"{_name(asked)}: {reply.text}")
            if reply.headers.get("Allowed-API", ANY_API) != ANY_API:
                raise Refused("a user with esl-allowed-api may never sched_api, whatever its list says")
        core = (await self._reply_to(WHICH_CORE, frames)).text
        if not core or core.startswith(REFUSED):
            raise Refused(f"global_getvar: {core or 'no answer'}")
        return core

    async def _reply_to(self, command: str, frames: AsyncGenerator[Frame, None]) -> Frame:
        self._write(encode_command(command))
        async for frame in frames:
            if frame.kind in ("command/reply", "api/response"):
                return frame
            if frame.kind == "text/event-json":
                self._early.append(frame)
        raise SwitchUnavailable("FreeSWITCH closed the connection")

    async def _serve(self, core: str, frames: AsyncGenerator[Frame, None]) -> None:
        self.counts.connections += 1
        self._turned_away = 0
        self._is_up(lambda: self._tell.on_up(core))
        for frame in self._early:
            self._deliver(frame)
        watching = (self._keep_deadlines(self._times.tick_ms), self._keep_pinging())
        watches = [asyncio.create_task(each) for each in watching]
        try:
            async for frame in frames:
                self._receive(frame)
        finally:
            for watch in watches:
                watch.cancel()

    async def _frames(self, reader: asyncio.StreamReader) -> AsyncGenerator[Frame, None]:
        frames = Reader()
        while data := await reader.read(READ_BYTES):
            self._last_heard = self._clock.now()
            for frame in frames.feed(data):
                yield frame
            if frames.fault:
                self.counts.overflows += 1
                raise SwitchUnavailable(frames.fault)
        self._last_heard = self._clock.now()  # also of a process that was killed this comes at once
        raise SwitchUnavailable("FreeSWITCH closed the connection" if self._transport else self.detail)

    def _receive(self, frame: Frame) -> None:
        match frame.kind:
            case "text/event-json":
                self._deliver(frame)
            case "command/reply" | "api/response":
                if not self._pending:
                    self.counts.unasked_replies += 1
                    raise SwitchUnavailable("a reply to nothing: replies are out of step")
                self._pending.popleft().settle(frame)
            case "text/disconnect-notice":
                raise SwitchUnavailable("FreeSWITCH says goodbye")

    def _deliver(self, frame: Frame) -> None:
        event = parse_event(frame.body)
        if event is None:
            self.counts.garbled_events += 1
            return
        self.counts.events += 1
        self._hand_over(lambda: self._tell.on_event(event))

    def _waiting(self) -> Iterable[Pending[Frame]]:
        return self._pending

    async def _keep_pinging(self) -> None:
        """A frozen switch keeps its TCP connection open: only an unanswered question tells."""
        while True:
            await self._clock.sleep_ms(self._times.ping_every_ms)
            try:
                await self._ask(WHICH_CORE, self._times.ping_answer_ms)
            except SwitchUnavailable:
                self._drop("no answer to a question")
                return

    def _drop(self, reason: str) -> None:
        super()._drop(reason)
        self._pending.clear()  # no reply of theirs can come any more


def _name(command: str) -> str:
    """What may stand in a log: no argument, and so no password."""
    return command.partition(" ")[0]
