"""RADIUS packets as a NAS makes them: octets, without any library that callctl uses itself."""

import hashlib
import hmac
import struct
from collections.abc import Sequence

SECRET = b"a-secret-of-both"
AUTHENTICATOR = bytes(range(16))
CISCO = 9

Attributes = Sequence[tuple[int, bytes]]


def attribute(number: int, value: bytes) -> bytes:
    return bytes([number, len(value) + 2]) + value


def cisco(number: int, value: bytes) -> tuple[int, bytes]:
    return 26, struct.pack("!I", CISCO) + attribute(number, value)


def octets(attributes: Attributes | bytes) -> bytes:
    """Attributes as they stand in a packet; bytes stand there already, whatever they are."""
    if isinstance(attributes, bytes):
        return attributes
    return b"".join([attribute(number, value) for number, value in attributes])


def question(
    attributes: Attributes | bytes,
    *,
    signed: bool = True,
    secret: bytes = SECRET,
    code: int = 1,
    nonce: bytes = AUTHENTICATOR,
) -> bytes:
    body = octets(attributes)
    if signed:
        body += attribute(80, bytes(16))
    packet = struct.pack("!BBH", code, 7, 20 + len(body)) + nonce + body
    if signed:
        packet = packet[:-16] + hmac.digest(secret, packet, "md5")
    return packet


def report(attributes: Attributes | bytes, secret: bytes = SECRET, code: int = 4) -> bytes:
    body = octets(attributes)
    head = struct.pack("!BBH", code, 7, 20 + len(body))
    return head + hashlib.md5(head + bytes(16) + body + secret).digest() + body


def reply_to(request: bytes, code: int, error: int | None = None, secret: bytes = SECRET) -> bytes:
    """What a NAS answers to a Disconnect-Request: 41 for yes, 42 for no with the cause of it."""
    body = attribute(101, number(error)) if error is not None else b""
    head = struct.pack("!BBH", code, request[1], 20 + len(body))
    return head + hashlib.md5(head + request[4:20] + body + secret).digest() + body


def number(value: int) -> bytes:
    return struct.pack("!I", value)


def pairs(packet: bytes) -> list[tuple[int, bytes]]:
    found, rest = [], packet[20:]
    while rest:
        found.append((rest[0], rest[2 : rest[1]]))
        rest = rest[rest[1] :]
    return found
