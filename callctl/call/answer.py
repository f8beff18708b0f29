"""A decision as the front door tells it. `viewer`: the account that asks; None is the provider."""

from functools import lru_cache
from typing import Any

from msgspec import Raw
from msgspec.json import encode

from callctl.accounts import WarnTo
from callctl.call import drawing
from callctl.call.judgement import whole_trace
from callctl.call.session import Session
from callctl.call.trace import visible
from callctl.causes import Refusal, cause_of
from callctl.clock import format_time
from callctl.money import format_amount, repeated_amount
from callctl.prepaid import slicing
from callctl.rating.charge import Price
from callctl.rating.tariff import Direction

_CALLER = WarnTo.CALLER


def decision(session: Session, viewer: str | None = None) -> dict[str, Any]:
    """What was decided. Before the answer it says what the first answer said, however often it is asked."""
    trace = visible(whole_trace(session), viewer)
    if session.refusal is not None:
        return _refused(session, session.refusal, trace, viewer)
    granted_s, affordable_s = session.first_granted_s, session.first_affordable_s
    until = rate = None
    if session.answered is not None:
        granted_s, affordable_s = session.granted_s, session.affordable_s
        until = format_time(session.answered.wall_ms + granted_s * 1000)
    hold = 0
    if session.levels and not session.emergency:
        level = session.customer
        hold = slicing.cost(drawing.kept(level), granted_s)
        rate = _rate(level.plan, level.destination, level.type, level.sell)
    told: dict[str, Any] = {
        "call_id": session.call.call_id,
        "verdict": "allowed",
        "granted_seconds": granted_s,
        "granted_until": until,
        "max_seconds": affordable_s,
        "warn_at_seconds": warn_at(session, affordable_s),
        "account": session.account or None,
        "b_number": session.b_number,
        "rate": rate,
        "hold": repeated_amount(hold),
        "trace_id": session.trace_id,
        "trace": trace,
    }
    if session.unwanted:
        told["hang_up"] = "commanded" if session.attended else "requested"
    if rate is not None and session.warnings and session.warn_to is not _CALLER:
        told["warn_to"] = session.warn_to.value
    return told


@lru_cache(maxsize=8_192)
def _rate(plan: str, destination: str, type: str, price: Price) -> Raw:
    """The row that prices a call, in JSON: many calls have it in common."""
    band, until_s = price.band
    told = {
        "plan": plan,
        "destination": destination,
        "type": type,
        "connection_fee": format_amount(price.connection_fee),
        "per_minute": price.per_minute,
        "band": band or None,
        "until": None if until_s is None else format_time(until_s * 1000),
    }
    return Raw(encode(told))


def warn_at(session: Session, affordable_s: int | None) -> list[int]:
    """Seconds from answer at which the credit's end is announced; none where it does not end."""
    if affordable_s is None:
        return []
    return [affordable_s - lead for lead in session.warnings if lead < affordable_s]


def _refused(session: Session, refusal: Refusal, trace: Raw, viewer: str | None) -> dict[str, Any]:
    cause = cause_of(refusal, inbound=session.direction is Direction.INBOUND)
    hidden = bool(session.refused_at) and viewer is not None and viewer != session.refused_at
    return {
        "call_id": session.call.call_id,
        "verdict": "refused",
        "refusal": refusal.value,
        "sip_code": cause.sip,
        "q850": cause.q850,
        "announcement": cause.announcement,
        "detail": "" if hidden else session.detail,
        "account": session.account or None,
        "b_number": session.b_number,
        "trace_id": session.trace_id,
        "trace": trace,
    }
