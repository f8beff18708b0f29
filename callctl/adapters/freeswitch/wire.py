"""FreeSWITCH's event socket as bytes: received bytes to frames and events, commands to bytes. No I/O.

A frame is lines of `Name: value`, an empty line, and a body of `Content-Length` bytes where the header tells one. An
event is the JSON in such a body. The one form without JSON is the answer to `connect`: a block of URL-encoded headers.

What comes from a caller may be anything. FreeSWITCH passes a display name on as it came: `%0A` is not encoded again,
and Latin-1 goes out raw, in JSON, too. So lines are split before they are decoded, and bad UTF-8 becomes U+FFFD.
"""

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote

import msgspec

from callctl.errors import SwitchUnavailable

MAX_HEADERS_BYTES: Final = 256 * 1024
"""Of one block. The answer to `connect` is one, and has every variable of the channel: some 10 kB."""
MAX_BODY_BYTES: Final = 64 * 1024 * 1024
"""`show channels as json` is 1.2 kB per channel."""
MAX_COMMAND_BYTES: Final = 16 * 1024

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_WORD = re.compile(r"[^\x00-\x20\x7f]+")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# In `uuid_setvar_multi` these separate or quote; `${` would be expanded.
_SPECIAL = re.compile(r"[\x00-\x1f\x7f;'\"\\$]")


class Unsendable(SwitchUnavailable):
    """A value that FreeSWITCH would read as something else."""


class Frame(msgspec.Struct, frozen=True):
    """`headers` by name as spelt, the last where one is repeated; `body` is empty where there is none."""

    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def kind(self) -> str:
        """`command/reply`, `api/response`, `text/event-json`, `auth/request`, `text/disconnect-notice` ..."""
        return self.headers.get("Content-Type", "")

    @property
    def text(self) -> str:
        """What a reply says: its body, or the line where there is no body."""
        said = self.body.decode("utf-8", "replace") if self.body else self.headers.get("Reply-Text", "")
        return said.rstrip("\n")


Event = Mapping[str, str]
"""An event, or the dump of a channel: every header by name, the first value where it has several."""


class Reader:
    """Cuts a stream of bytes into frames, however TCP has cut it before.

    Once a frame is larger than a bound or has no sound length, `fault` says so and no further frame comes: the
    connection must be dropped, for nobody knows where the next frame would begin.
    """

    def __init__(self) -> None:
        self.fault = ""
        self._buffer = bytearray()
        self._searched = 0
        self._headers: Mapping[str, str] | None = None
        self._missing = 0

    def feed(self, data: bytes) -> list[Frame]:
        """The frames completed by `data`. Never raises."""
        if self.fault:
            return []
        self._buffer += data
        frames = []
        while not self.fault:
            frame = self._next()
            if frame is None:
                break
            frames.append(frame)
        return frames

    def _next(self) -> Frame | None:
        if self._headers is None and not self._read_headers():
            return None
        if self._headers is None or len(self._buffer) < self._missing:
            return None
        frame = Frame(self._headers, bytes(self._buffer[: self._missing]))
        del self._buffer[: self._missing]
        self._headers = None
        return frame

    def _read_headers(self) -> bool:
        while self._buffer.startswith(b"\n"):
            del self._buffer[:1]
        end = self._buffer.find(b"\n\n", max(0, self._searched - 1))
        self._searched = len(self._buffer) if end < 0 else 0
        if (len(self._buffer) if end < 0 else end) > MAX_HEADERS_BYTES:
            self.fault = f"headers of more than {MAX_HEADERS_BYTES} bytes"
        if end < 0 or self.fault:
            return False
        headers = parse_headers(bytes(self._buffer[:end]))
        del self._buffer[: end + 2]
        length = headers.get("Content-Length", "0")
        if not (length.isascii() and length.isdigit() and len(length) <= 9 and int(length) <= MAX_BODY_BYTES):
            self.fault = f"a body of {length[:20]!r} bytes"
            return False
        self._headers, self._missing = headers, int(length)
        return True


def parse_headers(block: bytes) -> dict[str, str]:
    """`Name: value` lines as they are. A line without a colon is nothing."""
    lines = [line.partition(":") for line in block.decode("utf-8", "replace").split("\n")]
    return {name: value.removeprefix(" ").removesuffix("\r") for name, colon, value in lines if colon}


def decoded(headers: Mapping[str, str]) -> Event:
    """The answer to `connect`, and a plain event: the values are URL-encoded, and stay values whatever is in them."""
    return {name: _first(unquote(value, errors="replace")) for name, value in headers.items()}


def parse_event(body: bytes) -> Event | None:
    """A JSON event. None for anything else."""
    told = _decode(body)
    return _plain(told) if isinstance(told, dict) else None


def parse_dump(text: str) -> Event | None:
    """What `uuid_dump ... json` tells of a channel; None for anything else, as for one that is gone."""
    return parse_event(text.encode("utf-8", "replace"))


def parse_rows(text: str) -> list[Event] | None:
    """What `show ... as json` lists. Without rows it has no such key. None for anything else."""
    told = _decode(text.encode("utf-8", "replace"))
    rows = told.get("rows", []) if isinstance(told, dict) and "row_count" in told else None
    return [_plain(row) for row in rows if isinstance(row, dict)] if isinstance(rows, list) else None


def encode_command(command: str) -> bytes:
    """The bytes of one command. Unsendable where FreeSWITCH would read another one: a line break begins it."""
    if _CONTROL.search(command):
        raise Unsendable("a control character in a command")
    data = command.encode("utf-8", "replace")
    if len(data) > MAX_COMMAND_BYTES:
        raise Unsendable(f"a command of more than {MAX_COMMAND_BYTES} bytes")
    return data + b"\n\n"


def word(value: str) -> str:
    """`value` as one argument of a command. Unsendable where it would be several, or none."""
    if not _WORD.fullmatch(value):
        raise Unsendable("a space or control character in an argument")
    return value


def assignments(variables: Mapping[str, str]) -> str:
    """The argument of `uuid_setvar_multi`; an empty value takes a variable away. Unsendable: it would split it."""
    for name, value in variables.items():
        if not _VARIABLE.fullmatch(name):
            raise Unsendable(f"{name!r} is not the name of a variable")
        if _SPECIAL.search(value):
            raise Unsendable(f"{name}: a character that FreeSWITCH would not take for itself")
    return ";".join(f"{name}={value}" for name, value in variables.items())


def _decode(data: bytes) -> object:
    """None for what is no JSON. What is no UTF-8 in it is some caller's name, and no reason to fail."""
    try:
        return msgspec.json.decode(data)
    except UnicodeDecodeError:
        data = data.decode("utf-8", "replace").encode()
    except (msgspec.DecodeError, RecursionError):
        return None
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _first(value: str) -> str:
    """Of `ARRAY::a|:b` the first, as JSON has it in a list."""
    return value.removeprefix("ARRAY::").partition("|:")[0] if value.startswith("ARRAY::") else value


def _plain(told: dict[str, object]) -> Event:
    """Of several values of one header the first; what is no text is nothing that FreeSWITCH sends."""
    firsts = {name: value[0] if isinstance(value, list) and value else value for name, value in told.items()}
    return {name: value for name, value in firsts.items() if isinstance(value, str)}
