"""SIP messages as text: as much of RFC 3261 as a test phone needs."""

from __future__ import annotations

import re
from dataclasses import dataclass

Headers = tuple[tuple[str, str], ...]

_COMPACT = {"v": "via", "f": "from", "t": "to", "i": "call-id", "m": "contact", "l": "content-length"}


@dataclass(frozen=True)
class Message:
    """A request or a response; header names are lower case, in the order of the wire."""

    first: str
    headers: Headers
    body: str = ""

    @classmethod
    def parse(cls, data: bytes) -> Message:
        """The message in one datagram; what is no header line is passed over."""
        head, _, body = data.decode("utf-8", "replace").partition("\r\n\r\n")
        first, *lines = head.split("\r\n")
        pairs = (line.partition(":") for line in lines)
        named = ((name.strip().lower(), value.strip()) for name, _, value in pairs)
        return cls(first, tuple((_COMPACT.get(name, name), value) for name, value in named), body)

    def encode(self) -> bytes:
        """The bytes of the datagram, with its content length."""
        lines = [f"{name}: {value}" for name, value in self.headers]
        lines.append(f"content-length: {len(self.body.encode())}")
        return "\r\n".join([self.first, *lines, "", self.body]).encode()

    @property
    def status(self) -> int | None:
        """The status of a response; None for a request."""
        return int(self.first.split()[1]) if self.first.startswith("SIP/2.0 ") else None

    @property
    def method(self) -> str:
        """The method of a request, or of the request that a response answers."""
        return self["cseq"].split()[1]

    def __getitem__(self, name: str) -> str:
        """The first header of this name; an empty string if there is none."""
        return next((value for key, value in self.headers if key == name), "")

    def all(self, name: str) -> Headers:
        """Every header of this name, for copying into an answer."""
        return tuple(pair for pair in self.headers if pair[0] == name)

    @property
    def contact(self) -> str:
        """The URI to which later requests of the dialog go."""
        found = re.search(r"<([^>]+)>", self["contact"])
        return found[1] if found else self["contact"]

    @property
    def media(self) -> tuple[str, int] | None:
        """Address and port where the other side wants to hear audio; None without SDP."""
        address = re.search(r"^c=IN IP4 (\S+)", self.body, re.MULTILINE)
        port = re.search(r"^m=audio (\d+)", self.body, re.MULTILINE)
        return (address[1], int(port[1])) if address and port else None


def audio_offer(address: str, port: int, direction: str = "sendrecv") -> str:
    """SDP for G.711 A-law, both ways unless told otherwise."""
    lines = ["v=0", f"o=phone 1 1 IN IP4 {address}", "s=-", f"c=IN IP4 {address}", "t=0 0"]
    lines += [f"m=audio {port} RTP/AVP 8", "a=rtpmap:8 PCMA/8000", "a=ptime:20", f"a={direction}", ""]
    return "\r\n".join(lines)
