"""What is asked and reported of a call over HTTP, as types; and what makes a question the same when it is repeated."""

import hashlib
from operator import attrgetter
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from callctl.call.events import ReleasedBy
from callctl.rating.tariff import Direction

DEFAULT_SWITCH = "http"

CallId = Annotated[str, Meta(min_length=1, max_length=600)]  # a Call-ID, a tag and a number of a dialog fit in
Name = Annotated[str, Meta(min_length=1, max_length=64)]
SwitchName = Annotated[str, Meta(pattern=r"^[^/\x00-\x1f]{1,64}$(?!\n)")]  # no slash: a record is named switch/call
PhoneNumber = Annotated[str, Meta(max_length=64)]
Time = Annotated[str, Meta(max_length=40, description="RFC 3339 with a zone")]


class Authorize(Struct, frozen=True, forbid_unknown_fields=True, rename={"a_number": "from", "b_number": "to"}):
    """May this call go ahead? One of account, trunk, source_ip and within tells the payer; else `from` does.

    `from` may be empty, and of an emergency call absent.
    `within`: a call of the same switch that is up. Its payer pays, and this call ends with it. `trunk_out`: the carrier
    trunk by which it will leave, where the caller of the API knows; its channels are limited by `/v1/limits`.
    """

    call_id: CallId
    b_number: PhoneNumber
    a_number: PhoneNumber | None = None
    switch: SwitchName = DEFAULT_SWITCH
    direction: Direction = Direction.OUTBOUND
    account: Name | None = None
    trunk: Name | None = None
    source_ip: Name | None = None
    at: Time | None = None
    ring_at: Time | None = None
    can_extend: bool = False
    within: CallId | None = None
    trunk_out: Name | None = None


class AnswerReport(Struct, frozen=True, forbid_unknown_fields=True):
    """The called party answered. `trunk_out`: the carrier trunk that won, where the caller of the API knows."""

    at: Time | None = None
    switch: Name | None = None
    trunk_out: Name | None = None


class ExtendReport(Struct, frozen=True, forbid_unknown_fields=True):
    """More time is wanted now."""

    switch: Name | None = None


class EndReport(Struct, frozen=True, forbid_unknown_fields=True):
    """The call is over."""

    at: Time | None = None
    switch: Name | None = None
    q850: Annotated[int, Meta(ge=0, le=127)] | None = None
    sip_code: Annotated[int, Meta(ge=100, le=699)] | None = None
    released_by: ReleasedBy | None = None


_nothing_said = hashlib.blake2b(digest_size=8)
_encode = msgspec.json.Encoder().encode
_said = attrgetter(
    "direction", "a_number", "b_number", "account", "trunk", "source_ip", "can_extend", "within", "trunk_out"
)


def fingerprint(asked: Authorize) -> str:
    """What must be the same when a call id comes again: everything but the times."""
    said = _nothing_said.copy()  # sooner than one is made
    said.update(_encode(_said(asked)))
    return said.hexdigest()
