"""The Asterisk manager protocol as bytes: received bytes to messages, actions to bytes. No I/O.

A message is lines of `Name: value`, each ended by CRLF, the whole by an empty line. Names may repeat
(`ChanVariable`, `Variable`), so the order of the lines is kept.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Final

MAX_MESSAGE_BYTES: Final = 256 * 1024
MAX_LINE_BYTES: Final = 64 * 1024
MAX_HEADERS: Final = 2_000
# Asterisk drops silently what is beyond: `inbuf[1025]` and AST_MAX_MANHEADERS in main/manager.c.
MAX_ACTION_LINE_BYTES: Final = 1_024
MAX_ACTION_HEADERS: Final = 127

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_HEADER_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")


class Message:
    """One message from Asterisk: an event or the response to an action.

    `message["Channel"]` is the first value of that name, exactly as spelt: a name that is not there is a
    KeyError. The first, because a `UserEvent` may carry headers of its own under a standard name
    (`Uniqueid`): Asterisk's own come before the line `UserEvent:`, the dialplan's after it.
    """

    __slots__ = ("_first", "_lines")

    def __init__(self, block: bytes) -> None:
        """`block` is the message without its empty line. Any bytes will do: bad UTF-8 becomes U+FFFD."""
        lines = block.decode("utf-8", "replace").split("\r\n")
        lines.reverse()  # so that of two headers of one name the first stays in the dict
        self._lines = lines
        self._first = {
            name: value.removeprefix(" ") for name, colon, value in [line.partition(":") for line in lines] if colon
        }

    def __getitem__(self, name: str) -> str:
        return self._first[name]

    def __contains__(self, name: str) -> bool:
        return name in self._first

    def __bool__(self) -> bool:
        """Whether there is any header in it."""
        return bool(self._first)

    def __repr__(self) -> str:
        return f"Message({self.pairs()!r})"

    def get(self, name: str, default: str = "") -> str:
        """The first value of `name`, or `default`: for headers that not every Asterisk sends."""
        return self._first.get(name, default)

    @property
    def event(self) -> str:
        """The event's name; "" for a response."""
        return self._first.get("Event", "")

    @property
    def succeeded(self) -> bool:
        """Whether this is the response of an action that Asterisk carried out."""
        return self._first.get("Response") == "Success"

    def pairs(self) -> list[tuple[str, str]]:
        """All headers in the order of the wire, repeated ones included."""
        parts = [line.partition(":") for line in reversed(self._lines)]
        return [(name, value.removeprefix(" ")) for name, colon, value in parts if colon]

    def all(self, name: str) -> list[str]:
        """Every value of `name`, in order."""
        return [value for header, value in self.pairs() if header == name]

    def count(self, name: str) -> int:
        """How often there is a header of this name."""
        return sum(line.startswith(f"{name}:") for line in self._lines)

    def variables(self, name: str = "ChanVariable") -> dict[str, str]:
        """The channel variables listed as `ChanVariable: NAME=value` (`Variable` in a `Status` answer)."""
        settings = [value.partition("=") for value in self.all(name)]
        return {variable: value for variable, equals, value in settings if equals}

    def user_headers(self) -> dict[str, str]:
        """What the dialplan itself put into a `UserEvent`: the headers after that line."""
        pairs = self.pairs()
        names = [name for name, _ in pairs]
        return dict(pairs[names.index("UserEvent") + 1 :]) if "UserEvent" in names else {}


class Reader:
    """Cuts a stream of bytes into messages, however TCP has cut it before.

    Once a message is larger than a bound, `fault` says so and no further message comes: the
    connection must be dropped, for nobody knows where the next message would begin.
    """

    def __init__(self) -> None:
        self.fault = ""
        self._rest = b""

    def feed(self, data: bytes) -> list[Message]:
        """The messages completed by `data`. Never raises."""
        if self.fault:
            return []
        *blocks, self._rest = (self._rest + data).split(b"\r\n\r\n")
        messages = []
        for block in blocks:
            self.fault = _excess(block)
            if self.fault:
                break
            if message := Message(block):
                messages.append(message)
        if len(self._rest) > MAX_MESSAGE_BYTES:
            self.fault = self.fault or _excess(self._rest)
        return messages


def _excess(block: bytes) -> str:
    """Which bound `block` exceeds; "" when none."""
    if len(block) < MAX_HEADERS:
        return ""  # nearly every message: too short for any of them
    if len(block) > MAX_MESSAGE_BYTES:
        return f"a message of more than {MAX_MESSAGE_BYTES} bytes"
    if block.count(b"\r\n") >= MAX_HEADERS:
        return f"a message of more than {MAX_HEADERS} headers"
    if len(block) > MAX_LINE_BYTES and max(map(len, block.split(b"\r\n"))) > MAX_LINE_BYTES:
        return f"a header of more than {MAX_LINE_BYTES} bytes"
    return ""


def encode_action(name: str, headers: Iterable[tuple[str, str | int]], action_id: str) -> bytes:
    """The bytes of one action.

    ValueError for anything that Asterisk would read as something else: a control character in a
    value (a line break would begin a header of its own), a strange header name, too long a line.
    """
    pairs: Sequence[tuple[str, str | int]] = [("Action", name), ("ActionID", action_id), *headers]
    if len(pairs) > MAX_ACTION_HEADERS:
        raise ValueError(f"{name}: Asterisk reads at most {MAX_ACTION_HEADERS} headers")
    return b"".join([_encode_header(header, str(value)) for header, value in pairs]) + b"\r\n"


def _encode_header(name: str, value: str) -> bytes:
    if not _HEADER_NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not a header name")
    if _CONTROL.search(value):
        raise ValueError(f"{name}: control character in the value")
    line = f"{name}: {value}\r\n".encode()
    if len(line) > MAX_ACTION_LINE_BYTES:
        raise ValueError(f"{name}: Asterisk reads at most {MAX_ACTION_LINE_BYTES} bytes of a line")
    return line
