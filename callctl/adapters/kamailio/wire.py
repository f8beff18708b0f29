"""Netstrings of JSON, as Kamailio's evapi speaks them: received bytes to messages, commands to bytes. No I/O.

A netstring is the length in decimal digits, a colon, so many bytes, a comma: `13:{"id":1,"a":2},` (the specification
is D. J. Bernstein's of 1997). The messages are those of `docker/kamailio/kamailio.cfg`.
"""

from typing import Final

import msgspec

MAX_MESSAGE_BYTES: Final = 16 * 1024 * 1024
"""The list of 100,000 dialogs has about 12 MB; everything else a few hundred bytes."""
MAX_COMMAND_BYTES: Final = 8_000
"""Kamailio reads at most 32,767 bytes of unread commands in one piece (CLIENT_BUFFER_SIZE of its evapi)."""
_MAX_DIGITS: Final = len(str(MAX_MESSAGE_BYTES))


class Message(msgspec.Struct, frozen=True, gc=False):
    """Anything that Kamailio says: an event of a dialog, or the answer to the command `id`.

    A dialog is named by `call` (Call-ID), `tag` (From-tag), and Kamailio's own `h_entry` and `h_id`. `index` and
    `label` name the transaction that waits; `at` and `answered` are seconds of the Unix epoch with a fraction.
    `result` is text, or the list of dialogs.
    """

    event: str = ""
    at: str = ""
    call: str = ""
    tag: str = ""
    h_entry: int = -1
    h_id: int = -1
    # an offer
    index: int = 0
    label: int = 0
    from_: str = msgspec.field(default="", name="from")
    to: str = ""
    source: str = ""
    account: str = ""
    direction: str = ""
    emergency: bool = False
    # an answer, an end
    trunk: str = ""
    answered: str = ""
    by: str = ""
    cause: str = ""
    code: int = 0
    # what we asked for
    id: int | None = None
    result: msgspec.Raw = msgspec.Raw(b"null")
    missed: int = 0

    @property
    def word(self) -> str:
        """The `result` that is a word; "" for anything else."""
        try:
            return msgspec.json.decode(self.result, type=str)
        except ValueError:
            return ""

    def dialogs(self) -> "list[Dialog]":
        """The `result` that is a list; ValueError for anything else."""
        return msgspec.json.decode(self.result, type=list[Dialog])


class Dialog(msgspec.Struct, frozen=True, gc=False):
    """One of `dlg.briefing`. `state`: 1 and 2 ring, 3 and 4 are answered, 5 is over. `start_ts`: Unix seconds, or 0."""

    h_entry: int
    h_id: int
    state: int
    call: str = msgspec.field(default="", name="call-id")
    tag: str = msgspec.field(default="", name="from_tag")
    start_ts: int = 0


class Reader:
    """Cuts a stream of bytes into netstrings, however TCP has cut it before.

    Once something is no netstring, or too large a one, `fault` says so and nothing further comes: the connection must
    be dropped, for nobody knows where the next would begin.
    """

    def __init__(self) -> None:
        self.fault = ""
        self._rest = bytearray()
        self._size: int | None = None

    def feed(self, data: bytes) -> list[bytes]:
        """The contents of the netstrings that `data` completes. Never raises."""
        if self.fault:
            return []
        rest, found, at = self._rest, [], 0
        rest += data
        while True:
            if self._size is None:
                colon = rest.find(b":", at, at + _MAX_DIGITS + 1)
                digits = bytes(rest[at : at + _MAX_DIGITS + 1] if colon < 0 else rest[at:colon])
                self.fault = _excess(digits, whole=colon >= 0)
                if self.fault or colon < 0:
                    break
                self._size, at = int(digits), colon + 1
            end = at + self._size
            if len(rest) <= end:
                break
            if rest[end] != ord(","):
                self.fault = "a netstring without its comma"
                break
            found.append(bytes(rest[at:end]))
            self._size, at = None, end + 1
        del rest[:at]
        return found


def _excess(digits: bytes, *, whole: bool) -> str:
    """Why these are not the first digits of a length, or, if `whole`, not a length; "" when they are."""
    if (digits and not digits.isdigit()) or (whole and not digits):
        return f"not a netstring: {digits!r}"
    if len(digits) > _MAX_DIGITS or (whole and int(digits) > MAX_MESSAGE_BYTES):
        return f"a netstring of more than {MAX_MESSAGE_BYTES} bytes"
    return ""


def decode(content: bytes) -> Message | None:
    """The message; None for what is none. Never raises."""
    try:
        return msgspec.json.decode(content, type=Message)
    except (ValueError, RecursionError):  # msgspec's own are ValueErrors, and so is bad UTF-8
        return None


def encode(command: dict[str, str | int]) -> bytes:
    """The netstring of a command. ValueError where Kamailio could not read it: control characters, too long."""
    for name, value in command.items():
        if isinstance(value, str) and not value.isprintable():
            raise ValueError(f"{name}: control character in the value")
    body = msgspec.json.encode(command)
    if len(body) > MAX_COMMAND_BYTES:
        raise ValueError(f"a command of more than {MAX_COMMAND_BYTES} bytes")
    return b"%d:%b," % (len(body), body)
