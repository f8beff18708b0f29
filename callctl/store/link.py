"""The connection to Redis: implicit pipelining, a bounded window, a deadline for every call.

Commands of one turn of the event loop leave in one write; answers come back in order. When the connection is lost
the outcome of what was under way is unknown: each of those calls raises `LinkLost`, nothing is sent twice here, and
the link connects again by itself. A server that keeps silent past a deadline counts as lost, too. One that answers
but takes no writes (full, read-only) keeps its connection, and the link says that it is down.
"""

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final, cast

import hiredis
import msgspec
import structlog

from callctl.clock import SystemClock
from callctl.errors import StoreUnavailable
from callctl.ports import Clock, LinkState
from callctl.store.address import Address
from callctl.store.rejected import Rejected, WritesRefused, rejected

log = structlog.get_logger()

Argument = str | bytes | int
Reply = bytes | int | None | list["Reply"]

pack = cast(Callable[[tuple[Argument, ...]], bytes], hiredis.pack_command)  # its own stub allows one argument only


class LinkLost(StoreUnavailable):
    """The connection went while the call was under way: its outcome is unknown."""

    def __init__(self, reason: str, until: float) -> None:
        super().__init__(f"connection lost: {reason}")
        self.until = until  # the loop's time by which it was to be answered


class LinkTimes(msgspec.Struct, frozen=True, kw_only=True):
    """How long the link waits, in ms."""

    call_ms: int = 500
    connect_ms: int = 2_000
    ping_every_ms: int = 1_000
    tick_ms: int = 50  # how exactly deadlines are kept
    retry_first_ms: int = 10
    retry_longest_ms: int = 1_000


class LinkCounts(msgspec.Struct):
    """What has happened since the start."""

    connections: int = 0
    lost: int = 0
    overdue: int = 0
    overflows: int = 0
    errors: int = 0
    losses: int = 0  # times that the server came back with less than it had confirmed


Then = Callable[[Reply | StoreUnavailable], None]
"""Who hears, in the turn in which it comes, the answer to a command or what went wrong. Never raises, may ask again."""


class _Call(msgspec.Struct, gc=False):
    """A command under way. `then` None: nobody waits for it (any more). `sent`: in seconds of the loop's clock."""

    then: Then | None
    sent: float
    timeout_s: float


_TAKES_WRITES: Final = pack(("LPUSHX", "nothing", "0"))  # a write that changes nothing: there is no such key


class _Connection(asyncio.Protocol):
    """One connection, from made to lost: then `reason` says why, `lost` is set, and `on_lost` hears of it.

    `on_refused` hears why the server takes no writes, and None as long as it does.
    """

    def __init__(
        self,
        times: LinkTimes,
        counts: LinkCounts,
        on_lost: "Callable[[_Connection], None]",
        on_refused: "Callable[[_Connection, str | None], None]",
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._times = times
        self._counts = counts
        self._on_lost = on_lost
        self._on_refused = on_refused
        self._refused = False
        self._asked = self._loop.time()
        self._reader = hiredis.Reader(replyError=rejected)
        self._unsent: list[bytes] = []
        self._heard = self._loop.time()
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.calls: deque[_Call] = deque()
        self.lost = asyncio.Event()
        self.reason = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._tick()

    def ask(self, command: bytes, timeout_s: float) -> "asyncio.Future[Reply]":
        answer: asyncio.Future[Reply] = self._loop.create_future()
        self.send(command, partial(_tell, answer), timeout_s)
        return answer

    def send(self, command: bytes, then: Then | None, timeout_s: float) -> None:
        self.calls.append(_Call(then, self._loop.time(), timeout_s))
        if not self._unsent:
            self._loop.call_soon(self._flush)
        self._unsent.append(command)

    def _flush(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(b"".join(self._unsent))
        self._unsent.clear()

    def data_received(self, data: bytes) -> None:
        self._heard = self._loop.time()
        self._reader.feed(data)
        gets, calls = self._reader.gets, self.calls
        try:
            while (reply := gets()) is not False:
                if not calls:
                    self.drop("an answer that nobody asked for")
                    return
                if isinstance(reply, Rejected):
                    self._rejected(reply)
                if (then := calls.popleft().then) is not None:
                    then(reply)
        except hiredis.ProtocolError as error:
            self.drop(f"not the Redis protocol: {error}")

    def _rejected(self, reply: Rejected) -> None:
        self._counts.errors += 1
        if isinstance(reply, WritesRefused):
            self._refused = True
            self._on_refused(self, str(reply))

    def _tick(self) -> None:
        """Fail what is overdue, ask for a sign of life when all is quiet, drop a server that gives none.

        One that refuses writes is asked again and again.
        """
        self._timer = self._loop.call_later(self._times.tick_ms / 1000, self._tick)
        now = self._loop.time()
        quiet_since = self._asked if self._refused else self._heard
        if (self._refused or not self.calls) and now - quiet_since >= self._times.ping_every_ms / 1000:
            self._asked = now
            self.send(_TAKES_WRITES, self._answered, self._times.call_ms / 1000)
        if not self.calls:
            return
        for call in [call for call in self.calls if call.sent + call.timeout_s <= now]:  # who hears it may ask again
            if call.then is not None:
                self._counts.overdue += 1
                then, call.then = call.then, None
                then(StoreUnavailable(f"no answer within {round(call.timeout_s * 1000)} ms"))
        oldest = self.calls[0]
        silent = now - max(self._heard, oldest.sent)
        if silent >= oldest.timeout_s:
            self.drop(f"silent for {round(silent * 1000)} ms")

    def _answered(self, sign_of_life: Reply | StoreUnavailable) -> None:
        if not isinstance(sign_of_life, StoreUnavailable):
            self._refused = False
            self._on_refused(self, None)

    def drop(self, reason: str) -> None:
        """Close at once. `connection_lost` follows."""
        self._end(reason)
        if self._transport is not None:
            self._transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._end(str(error or "closed by the server"))
        while self.calls:
            call = self.calls.popleft()
            if call.then is not None:
                call.then(LinkLost(self.reason, call.sent + call.timeout_s))

    def _end(self, reason: str) -> None:
        if not self.lost.is_set():
            self.reason = reason
            self.lost.set()
            self._on_lost(self)


def _tell(answer: "asyncio.Future[Reply]", reply: Reply | StoreUnavailable) -> None:
    if answer.done():  # its caller may have given up
        return
    if isinstance(reply, StoreUnavailable):
        answer.set_exception(reply)
    else:
        answer.set_result(reply)


class Link:
    """One connection that is kept up, for any number of concurrent calls.

    `window`: calls that may be under way; one more raises StoreUnavailable at once. Without a connection so does
    every call. All replies are RESP2: bytes, int, None, or lists of them.
    """

    def __init__(
        self, address: Address, *, times: LinkTimes | None = None, window: int = 4_096, clock: Clock | None = None
    ) -> None:
        self.address = address
        self.times: Final = times or LinkTimes()
        self.counts: Final = LinkCounts()
        self._call_s = self.times.call_ms / 1000
        self._window = window
        self._clock: Clock = clock or SystemClock()
        self._connection: _Connection | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()  # set while the link is up
        self._state = LinkState("redis", up=False, since_ms=self._clock.now().wall_ms, detail="not yet connected")

    async def open(self) -> None:
        """Connect, and stay connected until `close`. StoreUnavailable: not yet; it goes on trying all the same."""
        if self._keeper is None:
            self._keeper = asyncio.create_task(self._keep())
        await self.ready(self.times.connect_ms)

    async def close(self) -> None:
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await keeper

    async def ready(self, timeout_ms: int) -> None:
        """Wait for the connection. StoreUnavailable when it does not come in time."""
        try:
            async with asyncio.timeout(timeout_ms / 1000):
                await self._ready.wait()
        except TimeoutError:
            raise StoreUnavailable(f"{self.address}: {self._state.detail}") from None

    def state(self) -> LinkState:
        return self._state

    def call(self, *command: Argument, timeout_ms: int | None = None) -> "asyncio.Future[Reply]":
        """The answer to a command. StoreUnavailable, LinkLost, Rejected."""
        return self._usable().ask(pack(command), timeout_ms / 1000 if timeout_ms else self._call_s)

    def ask(self, command: tuple[Argument, ...], then: Then) -> None:
        """Have `then` hear the answer to a command, or what went wrong with it. StoreUnavailable: it was not sent."""
        self._usable().send(pack(command), then, self._call_s)

    def post(self, *command: Argument) -> None:
        """Send a command whose answer does not matter, in front of or behind one whose answer does."""
        self._usable().send(pack(command), None, self._call_s)

    def _usable(self) -> _Connection:
        connection = self._connection
        if connection is None:
            raise StoreUnavailable(f"{self.address}: {self._state.detail}")
        if len(connection.calls) >= self._window:
            self.counts.overflows += 1
            raise StoreUnavailable(f"{self._window} calls are under way already")
        return connection

    async def _keep(self) -> None:
        """Connect, wait until it is lost, connect again."""
        retry_ms = self.times.retry_first_ms
        while True:
            connection = None
            try:
                async with asyncio.timeout(self.times.connect_ms / 1000):
                    connection = await self._connect()
                    await self._greet(connection)
                retry_ms = self.times.retry_first_ms
                self._up(connection)
                await connection.lost.wait()
            except (OSError, StoreUnavailable) as error:  # TimeoutError is an OSError
                self._down(str(error) or f"no answer within {self.times.connect_ms} ms")
            finally:
                if connection is not None:
                    connection.drop("closed")
            # Not all processes at once.
            await self._clock.sleep_ms(round(retry_ms * random.uniform(0.5, 1.0)))
            retry_ms = min(2 * retry_ms, self.times.retry_longest_ms)

    async def _connect(self) -> _Connection:
        loop, address = asyncio.get_running_loop(), self.address
        protocol = partial(_Connection, self.times, self.counts, self._lost, self._refused)
        if address.path is not None:
            return (await loop.create_unix_connection(protocol, address.path))[1]
        return (await loop.create_connection(protocol, address.host, address.port, ssl=address.tls))[1]

    async def _greet(self, connection: _Connection) -> None:
        """Log in, choose the database, and see that it answers: a server that still loads its data does not."""
        address = self.address
        greetings: list[tuple[Argument, ...]] = [("PING",)]
        if address.db:
            greetings.insert(0, ("SELECT", str(address.db)))
        if address.password is not None:
            greetings.insert(0, ("AUTH", *([address.username] if address.username else []), address.password))
        for command in greetings:
            await connection.ask(pack(command), self.times.connect_ms / 1000)
        if connection.lost.is_set():
            raise StoreUnavailable(connection.reason)

    def _up(self, connection: _Connection) -> None:
        self.counts.connections += 1
        self._connection = connection
        self._ready.set()
        self._answers()

    def _answers(self) -> None:
        self._state = LinkState("redis", up=True, since_ms=self._clock.now().wall_ms, detail=str(self.address))
        log.info("redis_up", place=str(self.address))

    def _refused(self, connection: _Connection, reason: str | None) -> None:
        """It takes no writes, or (None) it does."""
        if connection is not self._connection:
            return
        if reason is not None:
            self._down(f"refuses writes: {reason}")
        elif not self._state.up:
            self._answers()

    def _lost(self, connection: _Connection) -> None:
        if connection is self._connection:
            self.counts.lost += 1
            self._connection = None
            self._ready.clear()
            self._down(connection.reason)

    def _down(self, reason: str) -> None:
        if reason != self._state.detail and self._keeper is not None:  # said once, not at every try nor when we close
            log.warning("redis_down", place=str(self.address), reason=reason)
        since_ms = self._clock.now().wall_ms if self._state.up else self._state.since_ms
        self._state = LinkState("redis", up=False, since_ms=since_ms, detail=reason)
