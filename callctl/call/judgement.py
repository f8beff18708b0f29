"""What the store saw when it was asked to take, as lines for the trace, and what of it refuses the call.

A call that goes ahead keeps the store's figures; they become text when somebody reads its trace.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

from msgspec.structs import replace

from callctl.call.admission import deciding, traced
from callctl.call.checks import PROVIDER, Finding
from callctl.call.events import Left, LimitUse, SlotUse, Taken, TakeRefused
from callctl.call.session import Level, Session
from callctl.call.trace import encode_trace
from callctl.call.watched import findings as watched
from callctl.causes import Refusal
from callctl.clock import format_time
from callctl.limits.concurrency import LICENCE, Bound, Slot
from callctl.money import format_amount
from callctl.prepaid import slicing

_ONE = "1 more"


def judged(session: Session, answer: Taken | TakeRefused) -> list[Finding]:
    """A limit of a level above the caller's account is a `provider_limit` to the caller (`docs/rules.md`, Seeing)."""
    found = [*_attempts(answer), *_channels(session, answer.uses), *_credit(session, answer)]
    if answer.left:
        found += _bundles(session, answer.left)
    if answer.watched:
        found += watched(session, answer.watched)
    if isinstance(answer, Taken) and answer.limits:
        found += _provider(session, answer.limits)
    return found


def whole_trace(session: Session) -> bytes:
    """The lines of the trace, those of the store's answer to an admitted call among them."""
    return session.trace if session.taken is None else longer(session.trace, judged(session, session.taken))


def longer(trace: bytes, findings: Iterable[Finding]) -> bytes:
    """The lines of the trace with these behind them."""
    return trace + encode_trace([traced(finding) for finding in findings])


def shortfall(session: Session, answer: Taken) -> Finding | None:
    """What refuses a call whose take went through: grace or free seconds alone are paid for, or a carrier is full."""
    if session.emergency:
        return None
    full = bool(answer.limits) and any(use.full for use in answer.limits)
    if not full and not any(map(_is_short, session.levels, answer.available)):
        return None
    return deciding(judged(session, answer))


def not_enforced(session: Session) -> list[Finding]:
    """What would have refused an admitted call, were it enforced."""
    counted = (session.trunk_slots, session.limits, *(level.slots for level in session.levels))
    if session.taken is None or not any(slot.soft is not None for slots in counted for slot in slots):
        return []
    return [finding for finding in judged(session, session.taken) if finding.refusal and not finding.enforced]


def _is_short(level: Level, left: int | None) -> bool:
    """Whether the payer cannot pay a charged second with what it holds and what it has left (None: no limit)."""
    if left is None or level.exempt:
        return False
    return (slicing.first_cost(level) or 0) > max(0, level.held + left)


def _attempts(answer: Taken | TakeRefused) -> Iterator[Finding]:
    rate = answer.rate_exceeded if isinstance(answer, TakeRefused) else None
    if rate is not None:
        refusal = Refusal.PROVIDER_LIMIT if rate.level else Refusal.CALL_RATE_LIMIT
        since = format_time(rate.second * 1000)
        limit = f"at most {rate.per_second} a second"
        yield Finding("call_rate", f"{rate.owner}: {rate.per_second} attempts", refusal, limit, rate.level, _ONE, since)


def _channels(session: Session, uses: Iterable[SlotUse]) -> Iterator[Finding]:
    for use in uses:
        is_trunk = use.level == len(session.levels)
        slots = session.trunk_slots if is_trunk else session.levels[use.level].slots
        above = session.levels[use.level].account if use.level and not is_trunk else ""
        yield from _limits("channels", _named(use.slot, slots), use.in_use, above, is_free=session.emergency)


def _named(name: str, slots: Iterable[Slot]) -> Slot:
    for slot in slots:
        if slot.name == name:
            return slot
    return Slot(name)


def _provider(session: Session, limits: Iterable[LimitUse]) -> Iterator[Finding]:
    for use in limits:
        yield from _limits("provider", use.slot, use.in_use, PROVIDER, is_free=session.emergency)


def _limits(check: str, slot: Slot, in_use: int, level: str, *, is_free: bool) -> Sequence[Finding]:
    """What limits one counter: what is enforced, and what only would be. `is_free`: nothing limits this call."""
    hard, soft = _hard_bound(slot), slot.soft
    found = [] if hard is None else [_limit(check, slot, hard, in_use, level, is_free=is_free)]
    if soft is not None:
        missed = _limit(check, slot, soft, in_use, level, is_free=is_free)
        found.append(replace(missed, limit=f"not enforced: {missed.limit}", enforced=False))
    return found


@lru_cache(maxsize=8_192)
def _hard_bound(slot: Slot) -> Bound | None:
    """Of what is enforced. An account's counters are the same for all its calls of a day."""
    if slot.limit is None or slot.hard_limit is None:
        return None
    return Bound(slot.limit, slot.hard_limit - slot.limit, slot.by, slot.since)


def _limit(check: str, slot: Slot, bound: Bound, in_use: int, level: str, *, is_free: bool) -> Finding:
    own = Refusal.LICENCE_LIMIT if bound.by == LICENCE else Refusal.CHANNEL_LIMIT
    refusal = Refusal.PROVIDER_LIMIT if level else own
    limit = f"at most {bound.at_most}" + (f", with overflow {bound.hard}" if bound.over else "")
    full = in_use >= bound.hard and not is_free
    saw = f"{bound.by or slot.name}: {in_use} in use"
    return Finding(check, saw, refusal if full else None, limit, level, _ONE, bound.since)


def _bundles(session: Session, left: Left) -> Iterator[Finding]:
    for depth, (level, amounts) in enumerate(zip(session.levels, left, strict=True)):
        for source, amount in zip(level.sources, amounts, strict=True):
            there = f"{format_amount(amount)} {level.currency}" if source.is_money else f"{amount} s"
            yield Finding("bundle", f"{source.name}: {there} left", level=level.account if depth else "")


def _credit(session: Session, answer: Taken | TakeRefused) -> Iterator[Finding]:
    for depth, (level, left) in enumerate(zip(session.levels, answer.available, strict=True)):
        above = level.account if depth else ""
        if left is None or level.exempt or session.emergency:
            yield Finding("credit", "not limited", level=above)
            continue
        held = slicing.cost(level, session.first_granted_s) if isinstance(answer, Taken) else 0
        least = slicing.first_cost(level) or 0
        limit = f"the first increment costs {format_amount(least)} {level.currency}"
        limit += " with taxes" if level.taxes else ""
        saw = f"{format_amount(held + left)} {level.currency} available"
        short = least > max(0, held + left)
        refusal = Refusal.PROVIDER_LIMIT if above else Refusal.NO_CREDIT
        yield Finding("credit", saw, refusal if short else None, limit, above)
