"""Call detail records: one per payer and affiliate of an answered call, one for the customer of any other attempt.

Names and shapes are the front door's (`docs/cdr.md`): money as decimal strings, times as RFC 3339. `sequence` is
added by each feed. `chain` (what every level of its side was charged) is callctl's own: from it a reseller's view
gets the cost that it may see; no view shows it.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec

from callctl.call import affiliates
from callctl.call.due import Due, difference, duration_ms
from callctl.call.session import Level, Role, Session, State
from callctl.call.takes import Record
from callctl.call.trace import visible
from callctl.clock import Instant, format_time
from callctl.money import format_exchange_rate, repeated_amount
from callctl.rating.charge import Charge
from callctl.rating.exchange import Conversion
from callctl.rating.tariff import Direction, TrafficClass

_encode = msgspec.json.Encoder().encode


def record_id(session: Session, account: str, correction: int = 0, *, called: bool = False) -> str:
    """The idempotency key of a record: the same for every delivery of it, different for every other one.

    `called`: of the called side, for an account may be on both. An attempt that was refused and, asked again, taken and
    given back has two records.
    """
    given_back = f".{session.version}" if session.version else ""
    attempt = f"-{session.setup.wall_ms}{given_back}" if session.state is State.REFUSED else ""
    number = f":c{correction}" if correction else ""
    call_id = session.call.call_id.replace("%", "%25").replace(":", "%3A")  # a call's name must not imitate the rest
    side = ":called" if called else ""
    return f"{session.call.switch}/{call_id}{attempt}:{account or '-'}{side}{number}"


def records(session: Session, owed: Sequence[Due]) -> tuple[Record, ...]:
    """The original records of a call that is over or was refused."""
    if session.answered is None or not owed:
        return (_record(session, 0, _unpaid(session), owed),)
    given = affiliates.shares(session, owed[0])
    payers = (_record(session, depth, due, owed, given=given) for depth, due in enumerate(owed))
    return (*payers, *affiliates.records(session, given))


def _unpaid(session: Session) -> Due:
    """Nothing, for a call that nobody pays: unanswered, or an emergency call of nobody we know."""
    return Due(-(-duration_ms(session) // 1000), 0, 0, 0, 0, 0)


def corrections(
    session: Session, before: Sequence[Due], after: Sequence[Due], *, was_answered: bool
) -> tuple[Record, ...]:
    """What a late true end changed: money as the difference, everything else as it truly was.

    A call that was taken for unanswered has a record of its customer only: to the others this one is the original.
    """
    if not after:
        return (_record(session, 0, _unpaid(session), (), session.corrections),)
    others = session.corrections if was_answered else 0
    whole = zip(affiliates.shares(session, after[0]), affiliates.shares(session, before[0]), strict=True)
    given = tuple([new - old for new, old in whole])
    changed = tuple(_difference(new, old) for new, old in zip(after, before, strict=True))
    payers = (
        _record(session, depth, due, changed, others if depth else session.corrections, given)
        for depth, due in enumerate(changed)
    )
    return (*payers, *affiliates.records(session, given, others))


def _difference(new: Due, old: Due) -> Due:
    return msgspec.structs.replace(
        new,
        list_charge=new.list_charge - old.list_charge,
        charge=new.charge - old.charge,
        surcharge=new.surcharge - old.surcharge,
        cost=None if new.cost is None or old.cost is None else new.cost - old.cost,
        taxes=tuple((name, amount - was) for (name, amount), (_, was) in zip(new.taxes, old.taxes, strict=True)),
        parts=tuple(Charge(it.billed_s, it.micros - was.micros) for it, was in zip(new.parts, old.parts, strict=True)),
        part_costs=tuple(
            None if it is None or was is None else it - was
            for it, was in zip(new.part_costs, old.part_costs, strict=True)
        ),
        used=difference(new.used, old.used),
        bundle_s=new.bundle_s - old.bundle_s,
        from_blocks=new.from_blocks - old.from_blocks,
    )


def _record(
    session: Session, depth: int, due: Due, owed: Sequence[Due], correction: int = 0, given: Sequence[int] = ()
) -> Record:
    level = session.levels[depth] if session.levels else None
    account = level.account if level is not None else session.account
    called = level is not None and depth >= session.called_from
    own_side = slice(session.called_from, None) if called else slice(session.called_from)
    fields = {
        "id": record_id(session, account, correction, called=called),
        "corrects": record_id(session, account, called=called) if correction else None,
        "call_id": session.call.call_id,
        "switch": session.call.switch,
        "within": None if called else session.within,
        "trunk": None if called else session.trunk,
        "account": account or None,
        "parent": level.parent if level is not None else None,
        "role": level.role.value if level is not None else Role.CUSTOMER.value,
        "direction": Direction.INBOUND.value if called else session.direction.value,
        "from": session.a_number,
        "to": session.b_number,
        **_rating(session, depth),
        **_times(session, due),
        "parts": _parts(level, due) if level is not None else [],
        **_money(due, exempt=level is not None and level.exempt),
        "bundles": _bundles(session.levels[depth], due) if session.levels else [],
        "affiliates": [] if depth else affiliates.shown(session, given),
        "verdict": "refused" if session.state is State.REFUSED else "allowed",
        "refusal": session.refusal.value if session.refusal is not None else None,
        "detail": session.detail if session.detail and not session.refused_at else None,
        "trace": visible(session.trace, account or None) if session.state is State.REFUSED else None,
        "q850": session.q850,
        "sip_code": session.sip_code,
        "released_by": session.released_by.value if session.released_by is not None else None,
        "estimated": session.estimated,
        "trace_id": session.trace_id,
        "chain": [
            [payer.account, repeated_amount(share.net)]
            for payer, share in zip(session.levels[own_side], owed[own_side], strict=False)
        ],
    }
    return Record(account, _encode(fields))


_OF_THE_ROW = (
    *("destination", "type", "class", "plan", "row", "buy_plan", "buy_row"),
    *("connection_fee", "per_minute", "currency", "exchange"),
)


def _rating(session: Session, depth: int) -> dict[str, Any]:
    if not session.levels:
        known = {"class": TrafficClass.EMERGENCY.value} if session.emergency else {}
        return dict.fromkeys(_OF_THE_ROW) | known
    level, carrier = session.levels[depth], session.purchase
    bought, conversion = (level.buy_plan, level.buy_row), level.conversion
    if carrier is not None and depth == session.called_from - 1:
        bought, conversion = (carrier.plan, carrier.row), carrier.conversion
    return {
        "destination": level.destination,
        "type": level.type,
        "class": level.traffic_class,
        "plan": level.plan,
        "row": level.row,
        "buy_plan": bought[0],
        "buy_row": bought[1],
        "connection_fee": repeated_amount(level.sell.connection_fee),
        "per_minute": level.sell.per_minute,
        "currency": level.currency,
        "exchange": None if conversion is None else _exchange(conversion),
    }


def _exchange(conversion: Conversion) -> dict[str, str]:
    """What one unit of the purchase's currency cost in the chain's."""
    return {
        "from": conversion.bought_in,
        "to": conversion.sold_in,
        "rate": format_exchange_rate(conversion.rate),
        "day": conversion.day,
    }


def _times(session: Session, due: Due) -> dict[str, Any]:
    rang_until = session.answered or session.released
    rang_s = rang_until.since_ms(session.alerting) // 1000 if rang_until and session.alerting else 0
    return {
        "setup_time": _shown(session.setup),
        "answer_time": _shown(session.answered),
        "release_time": _shown(session.released),
        "ring_s": rang_s,
        "duration_ms": duration_ms(session),
        "duration_s": due.duration_s,
        "billed_s": due.billed_s,
        "unbilled_s": due.unbilled_s,
    }


def _shown(moment: Instant | None) -> str | None:
    return None if moment is None else format_time(moment.wall_ms)


def _parts(level: Level, due: Due) -> list[dict[str, Any]]:
    """What of the charge other plans take."""
    return [
        {
            "plan": part.plan,
            "row": part.row,
            "billed_s": share.billed_s,
            "charge": repeated_amount(share.micros),
            **({} if cost is None else {"cost": repeated_amount(cost)}),
        }
        for part, share, cost in zip(level.parts, due.parts, due.part_costs, strict=False)
    ]


def _bundles(level: Level, due: Due) -> list[dict[str, Any]]:
    """By name, how many of its seconds the call has used."""
    seconds: Counter[str] = Counter()
    for source, used in zip(level.sources, due.used, strict=False):
        if not source.is_money:
            seconds[source.name] += used
    return [{"name": name, "seconds": used} for name, used in seconds.items() if used]


def _money(due: Due, *, exempt: bool) -> dict[str, Any]:
    margin = due.margin
    return {
        "charge": repeated_amount(due.charge),
        "list_charge": repeated_amount(due.list_charge) if exempt else None,
        "gross": repeated_amount(due.gross),
        "taxes": [{"name": name, "amount": repeated_amount(amount)} for name, amount in due.taxes],
        "surcharge": repeated_amount(due.surcharge),
        "bundle_s": due.bundle_s,
        "from_blocks": repeated_amount(due.from_blocks),
        "cost": None if due.cost is None else repeated_amount(due.cost),
        "margin": None if margin is None else repeated_amount(margin),
        "exempt": exempt,
    }
