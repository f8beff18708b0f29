"""The event socket on a port: greeting, login, commands, events, and the ways in which it can fail."""

import asyncio
import json
import uuid
from urllib.parse import quote

import msgspec

from callctl.simulators.connections import Connection, Port
from callctl.simulators.ended import EndedBy
from callctl.simulators.esl.commands import Commands
from callctl.simulators.esl.core import Core, Headers

GOODBYE = "Disconnected, goodbye.\nSee you at ClueCon! http://www.cluecon.com/\n"
WRAPPERS = frozenset({"bgapi", "sched_api", "eval", "expand", "xml_wrap"})


class User(msgspec.Struct, frozen=True):
    """An `esl-user` of the directory. `allowed_api`: its `esl-allowed-api`; None: all."""

    secret: str
    allowed_api: tuple[str, ...] | None = None

    def may(self, command: str) -> bool:
        """As FreeSWITCH looks at it: what follows a wrapper is a command, too, also the time of a `sched_api`."""
        if self.allowed_api is None:
            return True
        name, _, rest = command.partition(" ")
        while name in self.allowed_api and name in WRAPPERS and rest:
            name, _, rest = rest.partition(" ")
        return name in self.allowed_api


class EventSocket(Port["Session"]):
    """Sessions over one core. `secret`: the socket's own password; `users`: by `name@domain`."""

    def __init__(self, core: Core, commands: Commands, secret: str, users: dict[str, User]) -> None:
        super().__init__(core.clock, core.faults)
        self.core = core
        self.commands = commands
        self.secret = secret
        self.users = users
        core.listeners.append(self._broadcast)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> "Session":
        return Session(self, reader, writer)

    def _broadcast(self, headers: Headers, body: str) -> None:
        faults, name = self.core.faults, str(headers["Event-Name"])
        if name in faults.lose:
            return
        for session in self._clients:
            if session.wants(name, str(headers.get("Event-Subclass", ""))):
                data = session.encoded(headers, body)
                session.send(data * 2 if faults.duplicate else data)


class Session(Connection):
    """One connected client."""

    unread_bytes = 64 * 1_048_576

    def __init__(self, server: EventSocket, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        super().__init__(server, reader, writer)
        self._server = server
        self._is_known = False
        self._user = User("")
        self._events: set[str] = set()
        self._subclasses: set[str] = set()
        self._json = False

    async def serve(self) -> None:
        self.send(b"Content-Type: auth/request\n\n")
        while lines := await self._next_command():
            await self._server.running.wait()
            if not self._perform(lines):
                self.send(_frame({"Content-Type": "text/disconnect-notice"}, GOODBYE))
                await self._writer.drain()
                return

    async def _next_command(self) -> list[str]:
        """The lines of the next command; none at the end of the connection."""
        lines: list[str] = []
        while line := await self._reader.readline():
            text = line.decode("utf-8", "surrogateescape").rstrip("\r\n")
            if text:
                lines.append(text)
            elif lines:
                return lines
        return []

    def _perform(self, lines: list[str]) -> bool:
        """Whether the connection stays."""
        name, _, arguments = lines[0].partition(" ")
        if name in ("auth", "userauth"):
            return self._log_in(name, arguments)
        if not self._is_known:
            self._reply("-ERR command not found")
        elif name == "exit":
            self._reply("+OK bye")
            return False
        elif name in ("api", "bgapi") and not self._user.may(arguments):
            self._reply("-ERR permission denied")
        elif name == "api":
            self.send(_frame({"Content-Type": "api/response"}, self._server.commands.execute(arguments)))
        elif name == "bgapi":
            self._background(arguments, lines[1:])
        elif name in ("event", "nixevent"):
            self._subscribe(arguments.split(), wanted=name == "event")
        elif name == "sendmsg":
            self._message(arguments, lines[1:])
        elif name == "noevents":
            self._events.clear()
            self._reply("+OK no longer listening for events")
        else:
            self._reply("-ERR command not found")
        return True

    def _log_in(self, how: str, said: str) -> bool:
        server = self._server
        server.logins += 1
        name, _, secret = said.partition(":") if how == "userauth" else ("", "", said)
        user = server.users.get(name) if how == "userauth" else User(server.secret)
        self._is_known = user is not None and user.secret == secret and not server.core.faults.refuse_logins
        if user is None or not self._is_known:
            self._reply("-ERR invalid")
            return False
        self._user = user
        allowed = "all" if user.allowed_api is None else ",".join(user.allowed_api)
        self._reply("+OK accepted", {"Allowed-Events": "all", "Allowed-API": allowed} if name else None)
        return True

    def _subscribe(self, words: list[str], *, wanted: bool) -> None:
        if words and words[0] in ("json", "plain", "xml"):
            self._json = words.pop(0) == "json"
        change = set.update if wanted else set.difference_update
        for number, word in enumerate(words):
            if word == "CUSTOM":
                change(self._subclasses, words[number + 1 :])
                break
            change(self._events, [word])
        if not words:
            self._reply("-ERR no keywords supplied")
        else:
            self._reply(f"+OK event listener enabled {'json' if self._json else 'plain'}")

    def _background(self, command: str, headers: list[str]) -> None:
        job = next((line[10:] for line in headers if line.startswith("Job-UUID: ")), str(uuid.uuid4()))
        self._reply(f"+OK Job-UUID: {job}", {"Job-UUID": job})
        answer = self._server.commands.execute(command)
        name, _, arguments = command.partition(" ")
        named: Headers = {"Job-UUID": job, "Job-Command": name, "Job-Command-Arg": arguments}
        self._server.core.emit("BACKGROUND_JOB", None, named, answer)

    def _message(self, leg_uuid: str, lines: list[str]) -> None:
        """`execute` of the applications that end a call; the others only say that they were done."""
        leg = self._server.core.find(leg_uuid)
        told = dict(line.partition(": ")[::2] for line in lines)
        if leg is None:
            self._reply(f"-ERR invalid session id [{leg_uuid}]")
            return
        self._reply("+OK")
        argument = told.get("execute-app-arg", "")
        match told.get("execute-app-name"):
            case "respond":
                leg.variables["last_bridge_proto_specific_hangup_cause"] = f"sip:{argument.partition(' ')[0]}"
                leg.end("CALL_REJECTED", EndedBy.CONTROLLER)
            case "hangup":
                self._server.commands.execute(f"uuid_kill {leg_uuid} {argument}")
            case "set":
                leg.set_variable(*argument.partition("=")[::2])

    def wants(self, event: str, subclass: str) -> bool:
        if event == "CUSTOM":
            return subclass in self._subclasses
        return event in self._events or ("ALL" in self._events and self._is_known)

    def encoded(self, headers: Headers, body: str) -> bytes:
        """An event in the form that the session asked for."""
        if self._json:
            told = {**headers, **({"Content-Length": str(len(body)), "_body": body} if body else {})}
            text = json.dumps(told, ensure_ascii=False, separators=(",", ":"))
            return _frame({"Content-Type": "text/event-json"}, text)
        lines = [f"{name}: {_plain(value)}\n" for name, value in headers.items()]
        tail = f"Content-Length: {len(body)}\n\n{body}" if body else "\n"
        return _frame({"Content-Type": "text/event-plain"}, "".join(lines) + tail)

    def _reply(self, text: str, more: dict[str, str] | None = None) -> None:
        self.send(_frame({"Content-Type": "command/reply", "Reply-Text": text, **(more or {})}))


def _frame(headers: dict[str, str], body: str = "") -> bytes:
    """What is no UTF-8 goes out as it came in."""
    data = body.encode("utf-8", "surrogateescape")
    length = {"Content-Length": str(len(data))} if data else {}
    kind = headers.get("Content-Type", "")
    ordered = {**length, **headers} if kind.startswith("text/event") else {**headers, **length}
    return "".join(f"{name}: {value}\n" for name, value in ordered.items()).encode() + b"\n" + data


def _plain(value: object) -> str:
    """A `%XX` that a caller has sent is not encoded again."""
    if isinstance(value, list):
        value = "ARRAY::" + "|:".join(map(str, value))
    return quote(str(value), safe="/,()%", errors="surrogateescape")
