"""What the front door answers, as types: the OpenAPI document shows them, and the tests hold every answer to them.

Money is a decimal string, a time RFC 3339 in UTC. Accounts, trunks and plans are answered as they are put
(`schemas`).
"""

from typing import Literal

import msgspec

Money = str
Time = str
HangUp = Literal["commanded", "requested"]


class CheckShown(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A line of a trace: what was looked at, what it was held against, at which account if not the caller's own.

    `asked`: what the call would add to it. `since`: since when that is so. `would_refuse`: by what is not enforced.
    """

    check: str
    verdict: Literal["pass", "refuse", "would_refuse", "skip"]
    saw: str
    limit: str = ""
    account: str = ""
    asked: str = ""
    since: str = ""


class RateShown(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The row that prices a call. `band`: by which of its bands, until when; null where it has none."""

    plan: str
    destination: str
    type: str
    connection_fee: Money
    per_minute: Money
    band: str | None = None
    until: Time | None = None


class Allowed(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="verdict", tag="allowed"):
    """The call may go on. `granted_seconds` from answer are held and must be armed; `max_seconds` are affordable.

    `hang_up`: an operator wants the call ended, and it gets no more time. `commanded`: callctl has told the switch.
    `requested`: callctl cannot reach the call, whoever carries it must end it.
    """

    call_id: str
    granted_seconds: int
    granted_until: Time | None
    max_seconds: int | None
    warn_at_seconds: tuple[int, ...]
    account: str | None
    b_number: str
    rate: RateShown | None
    hold: Money
    trace_id: str
    trace: tuple[CheckShown, ...]
    warn_to: str = "caller"
    hang_up: HangUp | None = None


class Refused(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="verdict", tag="refused"):
    """The call may not go on."""

    call_id: str
    refusal: str
    sip_code: int
    q850: int
    announcement: str
    detail: str
    account: str | None
    b_number: str
    trace_id: str
    trace: tuple[CheckShown, ...]


Decision = Allowed | Refused


class CallShown(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A call: where it stands and since when, beside what was decided."""

    call_id: str
    switch: str
    state: str
    direction: str
    a_number: str = msgspec.field(name="from")
    to: str
    setup_time: Time
    answer_time: Time | None
    release_time: Time | None
    trace_id: str
    verdict: str
    account: str | None
    b_number: str
    granted_seconds: int | None = None
    granted_until: Time | None = None
    max_seconds: int | None = None
    warn_at_seconds: tuple[int, ...] = ()
    warn_to: str = "caller"
    rate: RateShown | None = None
    hold: Money = "0.0000"
    hang_up: HangUp | None = None
    refusal: str | None = None
    sip_code: int | None = None
    q850: int | None = None
    announcement: str | None = None
    detail: str = ""
    trace: tuple[CheckShown, ...] = ()


class LiveCalls(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Live calls without their traces; `total` counts also what `limit` left out."""

    calls: tuple[CallShown, ...]
    total: int


class TaxShown(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    amount: Money


class ExchangeShown(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"bought_in": "from", "sold_in": "to"}
):
    """By what the purchase was converted: a unit of `from` cost `rate` of `to` on `day`."""

    bought_in: str
    sold_in: str
    rate: str
    day: str


class BundleShown(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Seconds of a bundle or block that a call has used."""

    name: str
    seconds: int


class PartShown(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What of a charge another plan takes; with its `cost`, where it is bought."""

    plan: str
    row: str
    billed_s: int
    charge: Money
    cost: Money | None = None


class ShareShown(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an affiliate gets of a charge."""

    account: str
    share: Money


class Cdr(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"a_number": "from", "traffic_class": "class"}
):
    """One payer's record of one call, or of a charge (`kind`: nrc or mrc; `service`, `quantity`), or an affiliate's.

    `sequence` is the feed's; an account's own records show no cost.
    """

    id: str
    corrects: str | None
    call_id: str
    switch: str
    trunk: str | None
    account: str | None
    role: str
    direction: str
    a_number: str
    to: str
    destination: str | None
    type: str | None
    traffic_class: str | None
    setup_time: Time
    answer_time: Time | None
    release_time: Time | None
    ring_s: int
    duration_ms: int
    duration_s: int
    billed_s: int
    unbilled_s: int
    plan: str | None
    row: str | None
    connection_fee: Money | None
    per_minute: Money | None
    charge: Money
    list_charge: Money | None
    gross: Money
    taxes: tuple[TaxShown, ...]
    surcharge: Money
    bundle_s: int
    affiliates: tuple[ShareShown, ...]
    exempt: bool
    currency: str | None
    verdict: str
    refusal: str | None
    detail: str | None
    trace: tuple[CheckShown, ...] | None
    q850: int | None
    sip_code: int | None
    released_by: str | None
    estimated: bool
    trace_id: str
    sequence: int | None = None
    parent: str | None = None
    buy_plan: str | None = None
    buy_row: str | None = None
    cost: Money | None = None
    margin: Money | None = None
    exchange: ExchangeShown | None = None
    parts: tuple[PartShown, ...] = ()
    bundles: tuple[BundleShown, ...] = ()
    from_blocks: Money = "0.0000"
    kind: str | None = None
    service: str | None = None
    quantity: int | None = None
    share: Money | None = None
    within: str | None = None


class Ended(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A call that is over, and its records."""

    call_id: str
    state: str
    cdrs: tuple[Cdr, ...]


class CdrPage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`next` is what to give as `after` for what follows; `more`: something may."""

    cdrs: tuple[Cdr, ...]
    next: int
    more: bool


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One movement of a ledger; `balance` is the balance after it."""

    cursor: str
    id: str
    kind: str
    amount: Money
    balance: Money
    at: Time
    call: str
    note: str


class LedgerPage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Oldest first; `next` is what to give as `after` for what follows."""

    entries: tuple[Entry, ...]
    next: str


class Quote(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long the account can talk now (null: nothing limits it), and at what price."""

    account: str
    verdict: str
    b_number: str
    max_seconds: int | None
    rate: RateShown | None
    refusal: str | None
    detail: str | None
