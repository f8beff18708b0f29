"""Why a call was refused or ended: one closed list, one table.

`Refusal` stands in order of precedence: all checks are evaluated and the first refusal in this order decides.
A row of `REFUSALS` says what the caller should see; each adapter does what its switch needs to send it.
Q.850 numbers are the internal currency of causes (ITU-T Q.850; SIP codes as RFC 3398 and the measured switches).
"""

from enum import StrEnum

import msgspec


class Blame(StrEnum):
    """Whose fault it is, for alarms: a customer's refusal is daily business, a provider's is an incident."""

    CUSTOMER = "customer"
    PROVIDER = "provider"


class Refusal(StrEnum):
    """Every reason for which callctl says no, in order of precedence."""

    UNKNOWN_ACCOUNT = "unknown_account"
    ACCOUNT_SUSPENDED = "account_suspended"
    ACCOUNT_EXPIRED = "account_expired"
    CARD_DISABLED = "card_disabled"
    CARD_EXPIRED = "card_expired"
    INVALID_NUMBER = "invalid_number"
    DESTINATION_BARRED = "destination_barred"
    NO_RATE = "no_rate"
    MARGIN_TOO_LOW = "margin_too_low"
    COST_TOO_HIGH = "cost_too_high"
    CALL_RATE_LIMIT = "call_rate_limit"
    CHANNEL_LIMIT = "channel_limit"
    LICENCE_LIMIT = "licence_limit"
    CARD_IN_USE = "card_in_use"
    IDS_BLOCKED = "ids_blocked"
    IDS_THRESHOLD = "ids_threshold"
    NO_CREDIT = "no_credit"
    PROVIDER_LIMIT = "provider_limit"
    STORE_UNAVAILABLE = "store_unavailable"
    BUDGET_EXCEEDED = "budget_exceeded"
    OVERLOADED = "overloaded"


class Cause(msgspec.Struct, frozen=True):
    """What a refusal looks like on the wire: Q.850 cause, SIP status, whose fault, announcement file name."""

    q850: int
    sip: int
    blame: Blame
    announcement: str


_C, _P = Blame.CUSTOMER, Blame.PROVIDER

REFUSALS: dict[Refusal, Cause] = {
    Refusal.UNKNOWN_ACCOUNT: Cause(57, 403, _C, "not-authorized"),
    Refusal.ACCOUNT_SUSPENDED: Cause(57, 403, _C, "account-suspended"),
    Refusal.ACCOUNT_EXPIRED: Cause(57, 403, _C, "account-expired"),
    Refusal.CARD_DISABLED: Cause(57, 403, _C, "card-disabled"),
    Refusal.CARD_EXPIRED: Cause(57, 403, _C, "card-expired"),
    Refusal.INVALID_NUMBER: Cause(28, 484, _C, "invalid-number"),
    Refusal.DESTINATION_BARRED: Cause(52, 403, _C, "destination-barred"),
    Refusal.NO_RATE: Cause(3, 404, _P, "no-route"),
    Refusal.MARGIN_TOO_LOW: Cause(21, 403, _P, "not-available"),
    Refusal.COST_TOO_HIGH: Cause(21, 403, _P, "not-available"),
    Refusal.CALL_RATE_LIMIT: Cause(42, 503, _C, "try-again"),
    Refusal.CHANNEL_LIMIT: Cause(34, 503, _C, "all-lines-busy"),
    Refusal.LICENCE_LIMIT: Cause(34, 503, _C, "all-lines-busy"),
    Refusal.CARD_IN_USE: Cause(17, 486, _C, "card-in-use"),
    Refusal.IDS_BLOCKED: Cause(52, 403, _C, "spend-limit"),
    Refusal.IDS_THRESHOLD: Cause(52, 403, _C, "spend-limit"),
    Refusal.NO_CREDIT: Cause(21, 402, _C, "no-credit"),
    Refusal.PROVIDER_LIMIT: Cause(34, 503, _P, "all-lines-busy"),
    Refusal.STORE_UNAVAILABLE: Cause(41, 503, _P, "try-again"),
    Refusal.BUDGET_EXCEEDED: Cause(41, 503, _P, "try-again"),
    Refusal.OVERLOADED: Cause(41, 503, _P, "try-again"),
}

PRECEDENCE: dict[Refusal, int] = {refusal: rank for rank, refusal in enumerate(Refusal)}
_INBOUND_BUSY = Cause(17, 486, _C, "all-lines-busy")


def cause_of(refusal: Refusal, *, inbound: bool = False) -> Cause:
    """The row of `refusal`. An inbound call without a free channel shows busy: 486 and cause 17."""
    if inbound and refusal in (Refusal.CHANNEL_LIMIT, Refusal.LICENCE_LIMIT):
        return _INBOUND_BUSY
    return REFUSALS[refusal]


NORMAL_CLEARING = 16
RECOVERY_ON_TIMER = 102
