"""RADIUS as gateways speak it, with Cisco's voice attributes: datagrams to questions and reports, and replies. Pure.

A datagram is believed only when its signature is right: the Message-Authenticator of an Access-Request, which is
demanded by default (without it an answer can be forged: CVE-2024-3596), the Request Authenticator of an
Accounting-Request. Attributes are what the NAS says, and partly what its callers say: nothing of them is repeated to
anybody, and what cannot be printed is refused.
"""

import struct
from datetime import datetime
from enum import IntEnum
from importlib import resources
from io import StringIO
from typing import Any, Final

import msgspec
from pyrad import packet as pyrad_packet
from pyrad.dictionary import Dictionary
from pyrad.packet import AcctPacket, AuthPacket, CoAPacket, PacketError

from callctl.clock import wall_ms

LONGEST: Final = 4096
"""Octets of a packet (RFC 2865, 3)."""

LONGEST_VALUE: Final = 253
CLASS_PREFIX: Final = b"callctl:"
CREDENTIALS: Final = ("CHAP-Password", "Digest-Response", "Digest-Attributes", "EAP-Message")
"""What proves who somebody is to servers that know passwords, which callctl does not."""

_MALFORMED: Final = (PacketError, ValueError, KeyError, IndexError, struct.error)
_DICTIONARY: Final = Dictionary(StringIO(resources.files(__package__).joinpath("dictionary").read_text("utf-8")))


class Untrusted(Exception):
    """A datagram without a right signature: it is dropped without an answer."""


class Malformed(Exception):
    """A signed datagram that makes no sense. Dropped too: nothing that we could answer would mend it."""


class Client(msgspec.Struct, frozen=True):
    """A NAS, by its source address. `signed`: every Access-Request has a Message-Authenticator."""

    address: str
    secret: bytes
    signed: bool = True
    disconnect_port: int = 3799


class Names(msgspec.Struct, frozen=True):
    """What a NAS calls a call. `ours`: what we called it when it was admitted, which the NAS repeats as its Class."""

    ours: str = ""
    conf_id: str = ""
    call_id: str = ""
    session_id: str = ""

    def all(self) -> tuple[str, ...]:
        """Without `ours`; the one that means the call, and not a leg of it, first."""
        return tuple(name for name in (self.conf_id, self.call_id, self.session_id) if name)


class Ask(msgspec.Struct, frozen=True):
    """May this call go ahead? `password` None: none was sent. `credential`: one that nobody here can check."""

    names: Names
    user: str
    caller: str
    called: str
    remote_address: str
    password: str | None
    credential: str | None


class Status(IntEnum):
    """Acct-Status-Type; FAILED is Kamailio's, of a call that was not answered."""

    START = 1
    STOP = 2
    INTERIM = 3
    ON = 7
    OFF = 8
    FAILED = 15


class Told(msgspec.Struct, frozen=True):
    """A report of a call, or with ON and OFF that the NAS has none any more.

    `event_ms`: when it happened by the NAS's clock, `delay_s`: how long ago it was when it was sent. `talked_ms`: how
    long the call has been up, None where that is not told. `rings`: the start is that of the set-up, not of the answer.
    `egress`: it is about the leg to the called party.
    """

    status: Status
    names: Names
    event_ms: int | None = None
    delay_s: int = 0
    talked_ms: int | None = None
    rings: bool = False
    egress: bool = False
    q850: int | None = None
    sip_code: int | None = None
    terminate_cause: int | None = None


class Question:
    """A trusted Access-Request, and how it is answered."""

    def __init__(self, datagram: bytes, client: Client) -> None:
        """Raises Untrusted and Malformed."""
        try:
            self._packet = AuthPacket(packet=datagram, secret=client.secret, dict=_DICTIONARY)
            if self._packet.code != pyrad_packet.AccessRequest:
                raise Malformed(f"code {self._packet.code} on the port for authorization")
            if self._packet.message_authenticator:
                _check_signature(self._packet)
            elif client.signed:
                raise Untrusted("no Message-Authenticator")
            self.ask = _ask(self._packet)
        except _MALFORMED as wrong:
            raise Malformed(str(wrong)) from wrong

    def accept(self, name: str, granted_s: int, interim_s: int) -> bytes:
        """The call may last `granted_s`; the NAS is asked to report every `interim_s`, and to repeat `name`."""
        reply = self._packet.CreateReply()
        reply.AddAttribute("Session-Timeout", granted_s)
        reply.AddAttribute("h323-return-code", "h323-return-code=0")
        reply.AddAttribute("h323-credit-time", f"h323-credit-time={granted_s}")
        reply.AddAttribute("Acct-Interim-Interval", interim_s)
        ours = CLASS_PREFIX + name.encode()
        if len(ours) <= LONGEST_VALUE:
            reply.AddAttribute("Class", ours)
        encoded: bytes = reply.ReplyPacket()
        return encoded

    def reject(self, return_code: int, message: str) -> bytes:
        reply = self._packet.CreateReply()
        reply.code = pyrad_packet.AccessReject
        reply.AddAttribute("h323-return-code", f"h323-return-code={return_code}")
        reply.AddAttribute("Reply-Message", message)
        encoded: bytes = reply.ReplyPacket()
        return encoded


class Report:
    """A trusted Accounting-Request, and its acknowledgement."""

    def __init__(self, datagram: bytes, client: Client) -> None:
        """Raises Untrusted and Malformed."""
        try:
            self._packet = AcctPacket(packet=datagram, secret=client.secret, dict=_DICTIONARY)
            if self._packet.code != pyrad_packet.AccountingRequest:
                raise Malformed(f"code {self._packet.code} on the port for accounting")
            if not self._packet.VerifyAcctRequest():
                raise Untrusted("a wrong Request Authenticator")
            if self._packet.message_authenticator:
                _check_signature(self._packet)
            self.told = _told(self._packet)
        except _MALFORMED as wrong:
            raise Malformed(str(wrong)) from wrong

    def acknowledge(self) -> bytes:
        encoded: bytes = self._packet.CreateReply().ReplyPacket()
        return encoded


def still_here(datagram: bytes, client: Client, *, accounting: bool) -> bytes | None:
    """The answer to a NAS that asks whether we live (Status-Server, RFC 5997); None to anything else.

    Raises Untrusted and Malformed.
    """
    if datagram[:1] != bytes([pyrad_packet.StatusServer]):
        return None
    kind = AcctPacket if accounting else AuthPacket
    try:
        packet = kind(packet=datagram, secret=client.secret, dict=_DICTIONARY)
        if not packet.message_authenticator:
            raise Untrusted("no Message-Authenticator")
        _check_signature(packet)
        encoded: bytes = packet.CreateReply().ReplyPacket()
    except _MALFORMED as wrong:
        raise Malformed(str(wrong)) from wrong
    return encoded


class Disconnect:
    """A Disconnect-Request (RFC 5176) for a call, and what the NAS answers to it."""

    ACKNOWLEDGED: Final = pyrad_packet.DisconnectACK
    NOT_THERE: Final = 503
    """Error-Cause: Session-Context-Not-Found."""

    def __init__(self, client: Client, number: int, names: Names, user: str) -> None:
        self._packet = CoAPacket(code=pyrad_packet.DisconnectRequest, id=number, secret=client.secret, dict=_DICTIONARY)
        self._packet.add_message_authenticator()
        for attribute, value in (
            ("User-Name", user),
            ("Acct-Session-Id", names.session_id),
            ("h323-conf-id", f"h323-conf-id={names.conf_id}" if names.conf_id else ""),
            ("Cisco-AVPair", f"call-id={names.call_id}" if names.call_id else ""),
        ):
            if value:
                self._packet.AddAttribute(attribute, value)
        self.datagram: bytes = self._packet.RequestPacket()

    def outcome(self, datagram: bytes) -> tuple[int, int | None]:
        """The code of the reply and its Error-Cause. Raises Untrusted and Malformed."""
        try:
            reply = self._packet.CreateReply(packet=datagram)
            if not self._packet.VerifyReply(reply, datagram):
                raise Untrusted("a wrong Response Authenticator")
            return reply.code, _number(reply, "Error-Cause")
        except _MALFORMED as wrong:
            raise Malformed(str(wrong)) from wrong


def _check_signature(packet: Any) -> None:
    try:
        right = packet.verify_message_authenticator()
    except Exception as failed:  # what pyrad raises for one that is too short is of no class of its own
        raise Untrusted("a Message-Authenticator that is none") from failed
    if not right:
        raise Untrusted("a wrong Message-Authenticator")


def _ask(packet: AuthPacket) -> Ask:
    hidden = packet.get("User-Password")
    names = _names(packet)
    if not names.all():  # then only our own name for it, which the NAS repeats, can tell its reports
        names = msgspec.structs.replace(names, session_id=packet.authenticator.hex())
    return Ask(
        names,
        user=_text(packet, "User-Name"),
        caller=_text(packet, "Calling-Station-Id"),
        called=_text(packet, "Called-Station-Id"),
        remote_address=_text(packet, "h323-remote-address"),
        password=packet.PwDecrypt(hidden[0]) if hidden else None,
        credential=next((name for name in CREDENTIALS if packet.get(name)), None),
    )


def _told(packet: AcctPacket) -> Told:
    status = Status(_number(packet, "Acct-Status-Type") or 0)
    cause = _text(packet, "h323-disconnect-cause")
    connected, disconnected = _moment(packet, "h323-connect-time"), _moment(packet, "h323-disconnect-time")
    seconds = _number(packet, "Acct-Session-Time")
    talked_ms = None if seconds is None else seconds * 1000
    if connected is not None and disconnected is not None and disconnected >= connected:
        talked_ms = disconnected - connected
    event_s = _number(packet, "Event-Timestamp")
    return Told(
        status,
        _names(packet),
        event_ms=event_s * 1000 if event_s else None,
        delay_s=_number(packet, "Acct-Delay-Time") or 0,
        talked_ms=talked_ms,
        rings=bool(_text(packet, "h323-setup-time")) and connected is None,
        egress=_text(packet, "h323-call-origin") == "originate",
        q850=_cause(cause),
        sip_code=_number(packet, "Sip-Response-Code"),
        terminate_cause=_number(packet, "Acct-Terminate-Cause"),
    )


def _names(packet: Any) -> Names:
    ours = [value for value in packet.get("Class") or [] if value.startswith(CLASS_PREFIX)]
    call_ids = [pair for pair in _texts(packet, "Cisco-AVPair") if pair.startswith("call-id=")]
    return Names(
        ours=_printable(ours[0][len(CLASS_PREFIX) :].decode()) if ours else "",
        conf_id=" ".join(_text(packet, "h323-conf-id").upper().split()),
        call_id=_printable(call_ids[0].removeprefix("call-id=")) if call_ids else "",
        session_id=_text(packet, "Acct-Session-Id"),
    )


def _texts(packet: Any, name: str) -> list[str]:
    """Every value of an attribute, as it is."""
    values = packet.get(name) or []
    return [value.decode(errors="backslashreplace") if isinstance(value, bytes) else value for value in values]


def _text(packet: Any, name: str) -> str:
    """The first value of an attribute. Cisco's repeat their own name, which is taken off."""
    return _printable(next(iter(_texts(packet, name)), "")).removeprefix(f"{name}=")


def _printable(text: str) -> str:
    text = text.strip("\0 ")
    if text and not text.isprintable():
        raise ValueError("an attribute that cannot be printed")
    return text


def _number(packet: Any, name: str) -> int | None:
    values = packet.get(name)
    if not values:
        return None
    number: int = values[0]
    return number


def _cause(text: str) -> int | None:
    """Q.850, in hexadecimal digits; None where there is none, or it is 0."""
    try:
        return int(text, 16) & 0x7F or None
    except ValueError:
        return None


def _moment(packet: Any, name: str) -> int | None:
    """Milliseconds of Cisco's `16:27:18.930 UTC Wed Dec 2 2026`, whatever its zone: only differences are meant.

    A sign before it says that the gateway's clock follows no other.
    """
    parts = _text(packet, name).lstrip("*.").split()
    if len(parts) != 6:
        return None
    clock, _, _, month, day, year = parts
    try:
        return wall_ms(datetime.strptime(f"{clock} {month} {day} {year} +0000", "%H:%M:%S.%f %b %d %Y %z"))
    except ValueError:
        return None
