"""Affiliates: who gets a share of what a customer is charged for its calls (`docs/rules.md`, Affiliates).

The record of a share is what it is credited by (`control/shares.py`). Of the call it says nothing.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from callctl.accounts import Affiliate
from callctl.call.due import Due
from callctl.call.session import Session
from callctl.call.subscription import NO_CALL
from callctl.call.takes import Record
from callctl.clock import format_time
from callctl.money import MICROS, format_amount

ROLE = "affiliate"

_encode = msgspec.json.Encoder().encode


def cut(affiliates: Sequence[Affiliate], revenue: int, decimals: int) -> tuple[int, ...]:
    """Everyone's share in micro-units, of whole units of `decimals`: never more in all than the revenue.

    Cut down in the sum, so that three thirds of 0.0100 are 0.0033, 0.0033 and 0.0034, and 100 % is all of it.
    """
    quantum: int = 10 ** (6 - decimals)
    found, percent, given = [], 0, 0
    for affiliate in affiliates:
        percent += affiliate.percent
        in_all = revenue * percent // (MICROS * quantum) * quantum
        found.append(in_all - given)
        given = in_all
    return tuple(found)


def shares(session: Session, due: Due) -> tuple[int, ...]:
    """Of what the customer was charged: net, with its surcharge."""
    if not session.affiliates:
        return ()
    return cut(session.affiliates, due.charge + due.surcharge, session.customer.sell.decimals)


def shown(session: Session, given: Sequence[int]) -> list[dict[str, str]]:
    """As the customer's record says them."""
    named = zip(session.affiliates, given, strict=False)
    return [{"account": affiliate.account, "share": format_amount(share)} for affiliate, share in named]


def records(session: Session, given: Sequence[int], correction: int = 0) -> tuple[Record, ...]:
    """One for each affiliate."""
    named = zip(session.affiliates, given, strict=False)
    return tuple(_record(session, affiliate.account, share, correction) for affiliate, share in named)


def _record(session: Session, account: str, share: int, correction: int) -> Record:
    original = f"share:{session.trace_id}:{account}"
    ended = format_time((session.released or session.setup).wall_ms)
    fields = {
        **NO_CALL,
        **_NO_CHARGE,
        "id": f"{original}:c{correction}" if correction else original,
        "corrects": original if correction else None,
        "account": account,
        "role": ROLE,
        "direction": session.direction.value,
        "share": format_amount(share),
        "setup_time": ended,
        "answer_time": ended,
        "release_time": ended,
        "currency": session.customer.currency,
        "estimated": session.estimated,
        "trace_id": session.trace_id,
    }
    return Record(account, _encode(fields))


_NOTHING = format_amount(0)
_NO_CHARGE: dict[str, Any] = {
    "call_id": "",
    "parent": None,
    **dict.fromkeys(("destination", "type", "class", "plan", "row", "buy_plan", "buy_row")),
    **dict.fromkeys(("connection_fee", "per_minute", "list_charge", "cost", "margin", "detail")),
    **dict.fromkeys(("charge", "gross", "surcharge"), _NOTHING),
    **dict.fromkeys(("taxes", "affiliates"), ()),
    "bundle_s": 0,
    "exempt": False,
}
"""What a record of a charge says, and a share does not."""
