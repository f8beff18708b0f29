"""The manager interface on a socket: greeting, login, actions, events, and the ways in which it can fail."""

import asyncio
import ssl

import msgspec

from callctl.simulators.ami.actions import Action, Actions
from callctl.simulators.ami.channel import Headers
from callctl.simulators.ami.exchange import Block, Exchange
from callctl.simulators.connections import Connection, Port

MAX_LINE_BYTES = 1_024  # `inbuf[1025]` of main/manager.c: a longer line is dropped
MAX_HEADERS = 128  # AST_MAX_MANHEADERS
FILTERED = frozenset({"UserEvent", "DialBegin", "DialState", "DialEnd", "BridgeEnter", "HangupRequest", "Hangup"})
FILTERED |= {"OriginateResponse", "Shutdown", "FullyBooted"}


class User(msgspec.Struct, frozen=True):
    """One entry of manager.conf."""

    secret: str
    read: frozenset[str] = frozenset({"call", "user", "system"})
    write: frozenset[str] = frozenset({"call", "originate", "reporting", "user"})
    filtered: bool = False
    """It has the `eventfilter` lines of docker/asterisk/manager.conf."""


class ManagerServer(Port["Session"]):
    """Sessions over one exchange."""

    def __init__(self, exchange: Exchange, actions: Actions, users: dict[str, User]) -> None:
        super().__init__(exchange.clock, exchange.faults)
        self.exchange = exchange
        self.actions = actions
        self.users = users
        self.greeting = f"Asterisk Call Manager/{'11.0.0' if exchange.setup.is_modern else '5.0.4'}\r\n"
        exchange.listeners.append(self._broadcast)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> "Session":
        return Session(self, reader, writer)

    def _broadcast(self, event_class: str, block: Block) -> None:
        faults = self.exchange.faults
        if block[0][1] in faults.lose:
            return
        data = encode(block)
        for session in self._clients:
            if event_class in session.read and (block[0][1] in FILTERED or not session.filtered):
                session.send(data * 2 if faults.duplicate else data)


class Session(Connection):
    """One connected client."""

    unread_bytes = 4 * 1_048_576  # it has met `writetimeout`

    def __init__(self, server: ManagerServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.read: frozenset[str] = frozenset()
        self._write_classes: frozenset[str] = frozenset()
        self.filtered = False
        self._is_known = False
        super().__init__(server, reader, writer)
        self._server = server

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


def encode(block: Block) -> bytes:
    """Bytes that are no UTF-8 travel as surrogate escapes, so that a test can send a Latin-1 name."""
    text = "\r\n".join([f"{name}: {value}" for name, value in block])
    return f"{text}\r\n\r\n".encode("utf-8", "surrogateescape")


async def listen(server: ManagerServer, host: str, port: int, tls: ssl.SSLContext | None) -> asyncio.Server:
    return await asyncio.start_server(server.accept, host, port, ssl=tls, limit=MAX_LINE_BYTES * 64)
