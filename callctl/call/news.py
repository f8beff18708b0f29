"""What is told of calls while it happens: the fields of each kind of event (`docs/events.md`).

Names and shapes are those of a CDR: money as decimal strings, times as RFC 3339.
"""

from enum import StrEnum
from typing import Any

import msgspec

from callctl.accounts import Account, WarnTo
from callctl.call.session import Session
from callctl.clock import format_time
from callctl.limits.ids import Alert, Mode, Seen
from callctl.money import format_amount


class Kind(StrEnum):
    """What can be told."""

    ADMITTED = "admitted"
    REFUSED = "refused"
    ANSWERED = "answered"
    WARNED = "warned"
    ENDED = "ended"
    IDS_ALERT = "ids_alert"
    EMERGENCY_CALL = "emergency_call"
    LOW_BALANCE = "low_balance"


_OF_THE_CALL = ("call_id", "switch", "trace_id", "account", "trunk", "direction", "from", "to", "setup_time")
_OF_THE_END = (
    *("answer_time", "release_time", "duration_ms", "billed_s", "charge", "gross", "currency"),
    *("q850", "sip_code", "released_by", "estimated"),
)

_decode = msgspec.json.Decoder(dict[str, Any]).decode


def call(session: Session) -> dict[str, Any]:
    """Which call it is: of every event."""
    return {
        "call_id": session.call.call_id,
        "switch": session.call.switch,
        "trace_id": session.trace_id,
        "account": session.account or None,
        "trunk": session.trunk,
        "direction": session.direction.value,
        "from": session.a_number,
        "to": session.b_number,
        "setup_time": format_time(session.setup.wall_ms),
    }


def no_call() -> dict[str, Any]:
    """Of what was bought beside calls."""
    return dict.fromkeys(_OF_THE_CALL)


def admitted(session: Session) -> dict[str, Any]:
    payer = session.customer if session.levels else None
    return {
        **call(session),
        "destination": payer.destination if payer is not None else None,
        "type": payer.type if payer is not None else None,
        "emergency": session.emergency,
        "granted_s": session.granted_s,
        "max_s": session.affordable_s,
        "held": format_amount(payer.held if payer is not None else 0),
        "currency": payer.currency if payer is not None else None,
    }


def refused(session: Session) -> dict[str, Any]:
    """As in the CDR, what a level above its account has refused is not told in detail."""
    return {
        **call(session),
        "refusal": session.refusal,
        "detail": None if session.refused_at else session.detail or None,
        "q850": session.q850,
        "sip_code": session.sip_code,
    }


def answered(session: Session) -> dict[str, Any]:
    begun = session.answered
    return {
        **call(session),
        "answer_time": None if begun is None else format_time(begun.wall_ms),
        "granted_s": session.granted_s,
    }


def warned(session: Session, left_s: int, to: WarnTo) -> dict[str, Any]:
    return {**call(session), "left_s": left_s, "warn_to": to.value}


def ended(record: bytes) -> dict[str, Any]:
    """From the customer's CDR."""
    cdr = _decode(record)
    return {field: cdr[field] for field in (*_OF_THE_CALL, *_OF_THE_END)}


def alert(session: Session, seen: Seen, what: Alert) -> dict[str, Any]:
    """`account`: whose threshold it is, the caller's or that of one above it."""
    level = session.levels[seen.level]
    mode = level.watch.thresholds.mode if level.watch is not None else Mode.OFF
    return {
        "account": level.account,
        "alert": what.value,
        "mode": mode.value,
        "exposure": format_amount(seen.exposure),
        "asked": format_amount(seen.amount),
        "average": format_amount(seen.baseline),
        "threshold": format_amount(seen.threshold),
        "currency": level.currency,
    }


def low(account: Account, left: int, threshold: int) -> dict[str, Any]:
    """`account`: whose balance it is, as of an alert."""
    return {
        "account": account.id,
        "left": format_amount(left),
        "low_balance": format_amount(threshold),
        "currency": account.currency,
    }
