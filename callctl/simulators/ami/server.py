"""The manager interface on a socket: greeting, login, actions, events, and the ways in which it can fail."""

import asyncio
import contextlib
import ssl
from collections import deque

import msgspec

from callctl.simulators.ami.actions import Action, Actions
from callctl.simulators.ami.channel import Headers
from callctl.simulators.ami.exchange import Block, Exchange

MAX_LINE_BYTES = 1_024  # `inbuf[1025]` of main/manager.c: a longer line is dropped
MAX_HEADERS = 128  # AST_MAX_MANHEADERS
UNREAD_BYTES = 4 * 1_048_576  # a client that leaves so much unread has met `writetimeout`
FILTERED = frozenset({"UserEvent", "DialBegin", "DialState", "DialEnd", "BridgeEnter", "HangupRequest", "Hangup"})
FILTERED |= {"OriginateResponse", "Shutdown", "FullyBooted"}


class User(msgspec.Struct, frozen=True):
    """One entry of manager.conf."""

    secret: str
    read: frozenset[str] = frozenset({"call", "user", "system"})
    write: frozenset[str] = frozenset({"call", "originate", "reporting", "user"})
    filtered: bool = False
    """It has the `eventfilter` lines of docker/asterisk/manager.conf."""


class ManagerServer:
    """Sessions over one exchange."""

    def __init__(self, exchange: Exchange, actions: Actions, users: dict[str, User]) -> None:
        self.running = asyncio.Event()
        """Cleared: the switch is frozen. It accepts connections and says nothing."""
        self.running.set()
        self.exchange = exchange
        self.actions = actions
        self.users = users
        self.logins = 0
        self.greeting = f"Asterisk Call Manager/{'11.0.0' if exchange.setup.is_modern else '5.0.4'}\r\n"
        self._sessions: set[Session] = set()
        exchange.listeners.append(self._broadcast)

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until either side ends it."""
        session = Session(self, reader, writer)
        self._sessions.add(session)
        try:
            await session.serve()
        except (OSError, asyncio.CancelledError):
            pass  # the other side is gone, or the switch is
        finally:
            self._sessions.discard(session)
            session.close()

    async def drop_all(self) -> None:
        """Every connection breaks."""
        tasks = [session.task for session in self._sessions if session.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _broadcast(self, event_class: str, block: Block) -> None:
        faults = self.exchange.faults
        if block[0][1] in faults.lose:
            return
        data = encode(block)
        for session in self._sessions:
            if event_class in session.read and (block[0][1] in FILTERED or not session.filtered):
                session.send(data * 2 if faults.duplicate else data)


class Session:
    """One connected client."""

    def __init__(self, server: ManagerServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.read: frozenset[str] = frozenset()
        self._write_classes: frozenset[str] = frozenset()
        self.filtered = False
        self._is_known = False
        self.task = asyncio.current_task()
        self._server = server
        self._reader, self._writer = reader, writer
        self._late: deque[tuple[int, bytes]] = deque()
        self._sender: asyncio.Task[None] | None = None

    async def serve(self) -> None:
        self.send(self._server.greeting.encode())
        while headers := await self._next_action():
            await self._server.running.wait()
            action = Action(headers)
            blocks, stays = self._answer(action)
            for block in blocks:
                self.send(encode(block))
            if not stays:
                await self._writer.drain()
                return

    async def _next_action(self) -> Headers:
        """The headers of the next action; none at the end of the connection."""
        headers: Headers = []
        while line := await self._reader.readline():
            text = line.decode("utf-8", "surrogateescape").rstrip("\r\n")
            if not text and headers:
                return headers
            name, colon, value = text.partition(":")
            if colon and len(line) <= MAX_LINE_BYTES and len(headers) < MAX_HEADERS:
                headers.append((name, value.lstrip(" ")))
        return []

    def _answer(self, action: Action) -> tuple[list[Block], bool]:
        """The answer to an action, and whether the connection stays."""
        name = action["Action"].lower()
        if name == "login":
            return self._log_in(action)
        if name == "logoff":
            return [[("Response", "Goodbye"), *action.id, ("Message", "Thanks for all the fish.")]], False
        if not self._is_known:
            return action.error("Permission denied"), True
        if not name:
            return action.error("Missing action in request"), True
        return self._server.actions.perform(action, self._write_classes), True

    def _log_in(self, action: Action) -> tuple[list[Block], bool]:
        user = self._server.users.get(action["Username"])
        self._server.logins += 1
        if user is None or user.secret != action["Secret"] or self._server.exchange.faults.refuse_logins:
            return action.error("Authentication failed"), False
        self._is_known = True
        self.read = frozenset() if action["Events"].lower() in ("off", "no") else user.read
        self._write_classes, self.filtered = user.write, user.filtered
        booted = [("Event", "FullyBooted"), ("Privilege", "system,all"), ("Uptime", "1"), ("LastReload", "1")]
        booted.append(("Status", "Fully Booted"))
        return action.success("Authentication accepted") + ([booted] if "system" in self.read else []), True

    def send(self, data: bytes) -> None:
        """Write now, or in order behind what is held back by a fault."""
        delay_ms = self._server.exchange.faults.delay_ms
        if self._late or delay_ms or not self._server.running.is_set():
            self._late.append((self._server.exchange.clock.now().monotonic_ms + delay_ms, data))
            if self._sender is None:
                self._sender = asyncio.create_task(self._send_late())
        else:
            self._write(data)

    async def _send_late(self) -> None:
        clock = self._server.exchange.clock
        while self._late:
            await self._server.running.wait()
            due_ms, data = self._late[0]
            await clock.sleep_ms(max(0, due_ms - clock.now().monotonic_ms))
            self._write(data)
            self._late.popleft()
        self._sender = None

    def _write(self, data: bytes) -> None:
        if self._writer.transport.get_write_buffer_size() > UNREAD_BYTES:
            self.close()
        elif not self._writer.transport.is_closing():
            self._writer.write(data)

    def close(self) -> None:
        if self._sender is not None:
            self._sender.cancel()
        with contextlib.suppress(OSError):
            self._writer.close()


def encode(block: Block) -> bytes:
    """Bytes that are no UTF-8 travel as surrogate escapes, so that a test can send a Latin-1 name."""
    text = "\r\n".join([f"{name}: {value}" for name, value in block])
    return f"{text}\r\n\r\n".encode("utf-8", "surrogateescape")


async def listen(server: ManagerServer, host: str, port: int, tls: ssl.SSLContext | None) -> asyncio.Server:
    return await asyncio.start_server(server.accept, host, port, ssl=tls, limit=MAX_LINE_BYTES * 64)
