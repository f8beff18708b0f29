"""A charge of a subscription as one step for the store: posts, records, and how far the subscription is charged.

Its records have the shape of a CDR (`docs/services.md`), so that every feed, sink and reader takes them as they are.
"""

from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from callctl.accounts import Account, Chain
from callctl.call.takes import Post, Record
from callctl.clock import format_time
from callctl.money import format_amount
from callctl.rating.services import Amount, Catalogue, ChargeKind
from callctl.rating.subscriptions import Charged, Step, Subscription
from callctl.rating.tax import Tax, taxes

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Charged).decode
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Booked(StrEnum):
    """What became of a booking."""

    DONE = "done"
    NO_CREDIT = "no_credit"  # of a prepaid account; or of one that has left for another root
    MOVED_ON = "moved_on"  # the subscription is not charged as far as was seen: somebody was faster


class Booking(msgspec.Struct, frozen=True):
    """One step, done as a whole while the subscription is charged as far as `seen` (empty: not at all).

    `charged`: how far it is then. `posts`: ids, and what leaves the account. `force`: whatever the credit (postpaid).
    `at_ms`: wall time of the posts.
    """

    root: str
    account: str
    subscription: str
    seen: bytes
    charged: bytes
    posts: tuple[tuple[str, Post], ...]
    records: tuple[Record, ...]
    at_ms: int
    force: bool

    @property
    def amount(self) -> int:
        """What leaves the account in all, micro-units."""
        return sum(post.amount for _, post in self.posts)


def decode_charged(kept: bytes | None) -> Charged | None:
    """How far a subscription is charged; empty or None: not at all. ValueError for what is not such a thing."""
    return _decode(kept) if kept else None


def local_day(account: Account, wall_ms: int) -> date:
    """The date in the account's time zone."""
    return datetime.fromtimestamp(wall_ms // 1000, ZoneInfo(account.timezone)).date()


def book(
    chain: Chain,
    catalogue: Catalogue,
    name: str,
    subscription: Subscription,
    seen: bytes,
    step: Step,
    at_ms: int,
    levied: tuple[Tax, ...] = (),
) -> Booking:
    """The step of the subscription `name` of the chain's first account. An exempt account is charged nothing.

    `levied`: the taxes that the account is liable to, of which the percentages are on its charges too.
    """
    account = chain[0]
    posts, records = [], []
    for kind, amount in ((ChargeKind.NRC, step.nrc), (ChargeKind.MRC, step.mrc)):
        if amount is None:
            continue
        original = f"charge:{account.id}/{name}:{step.charged.from_day}:{kind}"
        id = f"{original}:c{step.charged.corrections}" if step.correction else original
        due = 0 if account.exempt else amount.charge
        taxed = {tax.name: of for tax, of in zip(levied, taxes(levied, due, fixed=False), strict=True) if tax.percent}
        gross = due + sum(taxed.values())
        posts.append((id, Post(account.id, "correction" if step.correction else "charge", gross)))
        fields = {
            "id": id,
            "corrects": original if step.correction else None,
            "call_id": name,
            "account": account.id,
            "parent": account.parent,
            **_what(subscription, catalogue, kind, step),
            **_when(account, kind, step),
            **_money(account, amount, due),
            "gross": format_amount(gross),
            "taxes": [{"name": tax, "amount": format_amount(of)} for tax, of in taxed.items()],
            **NO_CALL,
            "chain": [[account.id, format_amount(due)]],
        }
        records.append(Record(account.id, _encode(fields)))
    return Booking(
        chain[-1].id,
        account.id,
        name,
        seen,
        _encode(step.charged),
        tuple(posts),
        tuple(records),
        at_ms,
        force=not account.prepaid,
    )


def _what(subscription: Subscription, catalogue: Catalogue, kind: ChargeKind, step: Step) -> dict[str, Any]:
    last = step.charged.to_day - timedelta(days=1)
    days = "once" if kind is ChargeKind.NRC else f"{step.charged.from_day} to {last}"
    return {
        "kind": kind.value,
        "service": subscription.service,
        "quantity": step.quantity,
        "destination": catalogue.service(subscription.service).name,
        "type": None,
        "class": None,
        "plan": subscription.price_list,
        "row": subscription.service,
        "buy_plan": None,
        "buy_row": None,
        "exchange": None,
        "connection_fee": None,
        "per_minute": None,
        "detail": f"{step.quantity} x {subscription.service}, {days}",
    }


def _when(account: Account, kind: ChargeKind, step: Step) -> dict[str, Any]:
    begins = _midnight(account, step.charged.from_day)
    return {
        "setup_time": begins,
        "answer_time": begins,
        "release_time": begins if kind is ChargeKind.NRC else _midnight(account, step.charged.to_day),
    }


def _midnight(account: Account, day: date) -> str:
    """When the day begins where the account is."""
    began = datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(account.timezone))
    return format_time((began - _EPOCH) // timedelta(milliseconds=1))


def _money(account: Account, amount: Amount, due: int) -> dict[str, Any]:
    return {
        "charge": format_amount(due),
        "list_charge": format_amount(amount.charge) if account.exempt else None,
        "surcharge": format_amount(0),
        "parts": [],
        "bundle_s": 0,
        "cost": None if amount.cost is None else format_amount(amount.cost),
        "margin": None if amount.cost is None else format_amount(due - amount.cost),
        "affiliates": [],
        "exempt": account.exempt,
        "currency": account.currency,
    }


NO_CALL = {
    "switch": "callctl",
    "trunk": None,
    "role": "customer",
    "direction": "charge",
    "from": "",
    "to": "",
    "ring_s": 0,
    "duration_ms": 0,
    "duration_s": 0,
    "billed_s": 0,
    "unbilled_s": 0,
    "verdict": "allowed",
    "refusal": None,
    "trace": None,
    "q850": None,
    "sip_code": None,
    "released_by": None,
    "estimated": False,
    "trace_id": "",
}
"""What a record of a call says, and a charge has not."""
