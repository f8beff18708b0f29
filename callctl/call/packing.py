"""What is kept of a call, as bytes: MessagePack, whose integers have 64 bits; JSON where an exact price needs more.

A chain of percentages and an exchange rate of twelve decimals are multiplied exactly, so a price per minute may have
any number of digits. No array in MessagePack begins with the bracket of one in JSON.
"""

from typing import Generic, TypeVar

import msgspec

_pack = msgspec.msgpack.Encoder().encode
_write = msgspec.json.Encoder().encode
_Value = TypeVar("_Value")


def encode(value: object) -> bytes:
    """A struct or tuple that is an array on the wire."""
    try:
        return _pack(value)
    except OverflowError:
        return _write(value)


class Decoder(Generic[_Value]):
    """Of values of one type. `decode` raises msgspec.MsgspecError for what is none."""

    def __init__(self, type: type[_Value]) -> None:
        self._packed = msgspec.msgpack.Decoder(type).decode
        self._written = msgspec.json.Decoder(type).decode

    def decode(self, packed: bytes) -> _Value:
        return self._written(packed) if packed.startswith(b"[") else self._packed(packed)
