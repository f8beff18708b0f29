"""CDR lines as a 3CX writes them: comma-separated, columns chosen by the administrator, whole seconds in UTC."""

from datetime import UTC, datetime
from typing import Final

import msgspec

FIELDS: Final = (
    *("historyid", "callid", "duration", "time-start", "time-answered", "time-end", "reason-terminated"),
    *("from-no", "to-no", "from-dn", "to-dn", "dial-no", "reason-changed", "final-number", "final-dn"),
    *("bill-code", "bill-rate", "bill-cost", "bill-name", "chain", "from-type", "to-type", "final-type"),
    *("from-dispname", "to-dispname", "final-dispname", "missed-queue-calls"),
)


class Segment(msgspec.Struct, kw_only=True):
    """One party's talk with another: wall ms. `*_number`: an internal one stands as `Ext.112` in a line."""

    history: str
    from_number: str
    from_dn: str
    from_type: str
    to_number: str
    to_dn: str
    to_type: str
    dialled: str
    began_ms: int
    answered_ms: int | None = None
    ended_ms: int | None = None
    reason: str = ""


def line(segment: Segment, fields: tuple[str, ...], *, new_tokens: bool = False) -> str:
    ended_ms = segment.ended_ms if segment.ended_ms is not None else segment.began_ms
    talked_s = 0 if segment.answered_ms is None else (ended_ms - segment.answered_ms) // 1000
    to_number = _number(segment.to_number, segment.to_type)
    values = {
        "historyid": f"Call {segment.history}",
        "callid": f"{int(segment.history):08x}_1",
        "duration": f"{talked_s // 3600:02}:{talked_s // 60 % 60:02}:{talked_s % 60:02}",
        "time-start": _moment(segment.began_ms),
        "time-answered": _moment(segment.answered_ms),
        "time-end": _moment(ended_ms),
        "reason-terminated": _reason(segment.reason, new_tokens),
        "from-no": _number(segment.from_number, segment.from_type),
        "to-no": to_number,
        "from-dn": segment.from_dn,
        "to-dn": segment.to_dn,
        "dial-no": segment.dialled,
        "final-number": to_number,
        "final-dn": segment.to_dn,
        "chain": f"Chain: {_number(segment.from_number, segment.from_type)};{to_number};",
        "from-type": _type(segment.from_type, new_tokens),
        "to-type": _type(segment.to_type, new_tokens),
        "final-type": _type(segment.to_type, new_tokens),
    }
    return ",".join(values.get(name, "") for name in fields)


def _number(number: str, kind: str) -> str:
    return number if kind == "Wexternalline" else f"Ext.{number}"


def _moment(wall_ms: int | None) -> str:
    return "" if wall_ms is None else datetime.fromtimestamp(wall_ms // 1000, UTC).strftime("%Y/%m/%d %H:%M:%S")


def _type(kind: str, new_tokens: bool) -> str:
    old = {"Wexternalline": "Line", "Wextension": "Extension", "Wroutepoint": "RoutePoint"}
    new = {"Wexternalline": "external_line", "Wextension": "extension", "Wroutepoint": "route_point"}
    return (new if new_tokens else old).get(kind, kind)


def _reason(reason: str, new_tokens: bool) -> str:
    new = {"TerminatedBySrc": "src_participant_terminated", "TerminatedByDst": "dst_participant_terminated"}
    return new.get(reason, reason.lower()) if new_tokens else reason
