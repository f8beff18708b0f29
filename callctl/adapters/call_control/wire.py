"""The protocol of the `call_control` modules of Kamailio and OpenSIPS: bytes to requests, verdicts to replies. Pure.

A request is a verb and `key: value` lines, each ended by CRLF, with an empty line behind; a reply is one line. Nobody
but the proxy speaks here, and yet part of what it says is its caller's: `From` is copied as it came, with whatever
line breaks the caller has folded into it. So a request ends at CRLF CRLF and nowhere else (a folded line begins with a
blank, so that no caller can make one), folded lines belong to the value before them, and of two equal keys the first
counts: those that matter stand before what the caller writes.
"""

import re
from enum import StrEnum
from typing import Final
from urllib.parse import unquote

import msgspec

from callctl.causes import Cause

END: Final = b"\r\n\r\n"
MOST_BYTES: Final = 8192
"""Of one request: the modules' own buffer."""

NOTHING: Final = "None"
"""What the modules write for a value that they have not."""

TEMPORARY_FAILURE: Final = 41  # Q.850

_FOLD = re.compile("\r\n[ \t]+")
_NAME_ADDR = re.compile(r'(?:\s*"(?:[^"\\]|\\.)*"\s*|[^"<]*)<([^<>]*)>', re.DOTALL)
_DIALOG = re.compile(r"-?[0-9]{1,10}:-?[0-9]{1,10}|[0-9]{1,20}", re.ASCII)
_SCHEME = re.compile("(sips?|tel):", re.IGNORECASE)


class Reply(StrEnum):
    """Every reply that the modules know. They compare whole lines, so nothing can be added to one."""

    LIMITED = "Limited"
    NO_CREDIT = "No credit"
    LOCKED = "Locked"
    CALL_LIMIT = "Call limit reached"  # OpenSIPS alone knows this and the next; to Kamailio they are errors
    DUPLICATE = "Duplicated callid"
    ERROR = "Error"
    OK = "Ok"
    NOT_FOUND = "Not found"

    @property
    def line(self) -> bytes:
        return self.encode() + b"\r\n"


class Init(msgspec.Struct, frozen=True):
    """A call begins: may it? `caller` and `called` are the users of the SIP addresses, "" where there is none.

    `diverter`: the user for whom the call is diverted, where the proxy names one.
    """

    call_id: str
    caller: str
    called: str
    source_ip: str
    diverter: str | None = None


class Start(msgspec.Struct, frozen=True):
    """A 200 to the INVITE passes, perhaps not for the first time.

    `dialog`: its name in the dialog module: two numbers with a colon between in Kamailio's, one in OpenSIPS'.
    """

    call_id: str
    dialog: str


class Stop(msgspec.Struct, frozen=True):
    """The call is over, answered or not."""

    call_id: str


Request = Init | Start | Stop


def parse(request: bytes) -> Request:
    """A request without the empty line behind it. ValueError, with what is wrong, for anything else."""
    verb, *lines = _FOLD.sub(" ", request.decode(errors="backslashreplace")).split("\r\n")
    values: dict[str, str] = {}
    for line in lines:
        key, colon, value = line.partition(":")
        if not colon:
            raise ValueError("a line without a key")
        values.setdefault(key, value.strip())
    try:
        call_id = _printable(values["callid"])
        match verb:
            case "init":
                return _init(call_id, values)
            case "start":
                return Start(call_id, _dialog(values["dialogid"]))
            case "stop":
                return Stop(call_id)
    except KeyError as missing:
        raise ValueError(f"{verb} without {missing}") from None
    raise ValueError("an unknown verb")


def _init(call_id: str, values: dict[str, str]) -> Init:
    diverter = values.get("diverter", NOTHING)
    return Init(
        call_id,
        caller=user_of(values["from"]),
        called=user_of(values["ruri"]),
        source_ip=_printable(values["sourceip"]),
        diverter=user_of(diverter) if diverter != NOTHING else None,
    )


def user_of(address: str) -> str:
    """The user of a SIP or tel address, with or without a display name; "" where it has none, or an unprintable one.

    A display name in quotes may look like an address itself, and is none.
    """
    named = _NAME_ADDR.match(address)
    if named is None and ("<" in address or '"' in address):
        return ""
    uri = named[1] if named is not None else address.partition(";")[0]
    uri = uri.strip()
    scheme = _SCHEME.match(uri)
    user, at, _ = uri[scheme.end() if scheme is not None else 0 :].rpartition("@")
    if not at and (scheme is None or scheme[1].lower() == "tel"):  # a number alone, as a script may state it
        user = uri[scheme.end() if scheme is not None else 0 :]
    user = unquote(re.split("[;:]", user, maxsplit=1)[0])  # what follows are parameters, or a password
    return user if user.isprintable() else ""


def refusal(cause: Cause) -> Reply:
    """The reply that comes nearest. What the caller then sees is decided in the proxy's script."""
    if cause.sip == 402:
        return Reply.NO_CREDIT
    if cause.sip == 503:
        return Reply.ERROR if cause.q850 == TEMPORARY_FAILURE else Reply.CALL_LIMIT
    return Reply.LOCKED


def _dialog(value: str) -> str:
    """Kamailio writes what exceeds 31 bits as a negative number."""
    if not _DIALOG.fullmatch(value):
        raise ValueError("no dialog id")
    return ":".join([str(int(part) & 0xFFFFFFFF) for part in value.split(":")]) if ":" in value else value


def _printable(value: str) -> str:
    if not value or not value.isprintable():
        raise ValueError("a value that is empty, or cannot be printed")
    return value
