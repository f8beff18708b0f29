"""What the store saw when it was asked to take, as lines for the trace, and what of it refuses the call.

A call that goes ahead keeps the store's figures; they become text when somebody reads its trace.
"""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from operator import attrgetter

import msgspec
from msgspec.structs import replace

from callctl.call.checks import PROVIDER, Finding, Said, deciding, lines_of
from callctl.call.events import Left, LimitUse, SlotUse, Taken, TakeRefused
from callctl.call.session import Level, Session
from callctl.call.trace import PASS, Check, encode_trace
from callctl.call.watched import findings as watched
from callctl.causes import Refusal
from callctl.clock import format_time
from callctl.limits.concurrency import LICENCE, Bound, Rate, Slot
from callctl.money import format_amount
from callctl.prepaid import slicing
from callctl.rating.tax import Tax

_ONE = "1 more"
_slots = attrgetter("slots")

_Counters = tuple[tuple[tuple[Slot, ...], ...], tuple[str, ...], bool]
"""Of every level, and behind them of the trunk: the counters, and the account where that is not the caller's own; and
whether nothing limits the call.
"""


def judged(session: Session, answer: Taken | TakeRefused) -> list[Said]:
    """A limit of a level above the caller's account is a `provider_limit` to the caller (`docs/rules.md`, Seeing)."""
    attempts = _attempts(answer.rate_exceeded) if isinstance(answer, TakeRefused) else []
    return [*attempts, *_channels(answer.uses, _counters(session)), *_beside_channels(session, answer)]


def _beside_channels(session: Session, answer: Taken | TakeRefused) -> list[Said]:
    found = _credit(session, answer)
    if answer.left:
        found += _bundles(session, answer.left)
    if answer.watched:
        found += watched(session, answer.watched)
    if isinstance(answer, Taken) and answer.limits:
        found += _provider(session, answer.limits)
    return found


def whole_trace(session: Session) -> bytes:
    """The lines of the trace, those of the store's answer to an admitted call among them."""
    taken = session.taken
    if taken is None:
        return session.trace
    channels = _channel_lines(taken.uses, _counters(session))
    return longer(session.trace + channels, _beside_channels(session, taken))


def longer(trace: bytes, found: Iterable[Said]) -> bytes:
    """The lines of the trace with these behind them."""
    return encode_trace(lines_of(found), trace)


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
    if session.taken is None or not _any_soft(session):
        return []
    found = judged(session, session.taken)
    return [each for each in found if isinstance(each, Finding) and each.refusal and not each.enforced]


def _any_soft(session: Session) -> bool:
    """Whether some limit on it is reported and not enforced: of most calls none is."""
    for level in session.levels:
        for slot in level.slots:
            if slot.soft is not None:
                return True
    beside = session.trunk_slots + session.limits
    return bool(beside) and any(slot.soft is not None for slot in beside)


def _is_short(level: Level, left: int | None) -> bool:
    """Whether the payer cannot pay a charged second with what it holds and what it has left (None: no limit)."""
    if left is None or level.exempt or (level.held > 0 and left >= 0 and not level.sources):
        return False  # what is held is for a charged second, or more of them
    return (slicing.first_cost(level) or 0) > max(0, level.held + left)


def _attempts(rate: Rate | None) -> list[Finding]:
    if rate is None:
        return []
    refusal = Refusal.PROVIDER_LIMIT if rate.level else Refusal.CALL_RATE_LIMIT
    since = format_time(rate.second * 1000)
    limit = f"at most {rate.per_second} a second"
    return [Finding("call_rate", f"{rate.owner}: {rate.per_second} attempts", refusal, limit, rate.level, _ONE, since)]


def _counters(session: Session) -> _Counters:
    levels = session.levels
    if len(levels) == 1:  # as most calls
        return (levels[0].slots, session.trunk_slots), ("", ""), session.emergency
    above = [level.account for level in levels[1:]]
    return (*map(_slots, levels), session.trunk_slots), ("", *above, ""), session.emergency


def _channels(uses: Iterable[SlotUse], counters: _Counters) -> list[Finding]:
    slots, above, is_free = counters
    found = []
    for use in uses:
        found += _limits("channels", _named(use.slot, slots[use.level]), use.in_use, above[use.level], is_free)
    return found


@lru_cache(maxsize=8_192)
def _channel_lines(uses: tuple[SlotUse, ...], counters: _Counters) -> bytes:
    """The same in the trace. Many accounts have the same caps, and most of them few calls at a time."""
    return longer(b"", _channels(uses, counters))


def _named(name: str, slots: Iterable[Slot]) -> Slot:
    for slot in slots:
        if slot.name == name:
            return slot
    return Slot(name)


def _provider(session: Session, limits: Iterable[LimitUse]) -> Iterator[Finding]:
    for use in limits:
        yield from _limits("provider", use.slot, use.in_use, PROVIDER, session.emergency)


def _limits(check: str, slot: Slot, in_use: int, level: str, is_free: bool) -> list[Finding]:
    """What limits one counter: what is enforced, and what only would be. `is_free`: nothing limits this call."""
    found = []
    for limit in _limits_of(slot):
        refusal = None
        if in_use >= limit.full_at and not is_free:
            refusal = Refusal.PROVIDER_LIMIT if level else limit.refusal
        saw = f"{limit.counter}: {in_use} in use"
        found.append(Finding(check, saw, refusal, limit.text, level, _ONE, limit.since, limit.enforced))
    return found


class _Limit(msgspec.Struct, frozen=True, gc=False):
    """One limit of a counter, in words as far as all calls have them in common. `full_at`: so many in use are all."""

    counter: str
    full_at: int
    text: str
    refusal: Refusal
    since: str
    enforced: bool


@lru_cache(maxsize=8_192)
def _limits_of(slot: Slot) -> tuple[_Limit, ...]:
    """An account's counters are the same for all its calls of a day."""
    limits = []
    if slot.limit is not None and slot.hard_limit is not None:
        limits.append(_limit(slot, Bound(slot.limit, slot.hard_limit - slot.limit, slot.by, slot.since)))
    if slot.soft is not None:
        missed = _limit(slot, slot.soft)
        limits.append(replace(missed, text=f"not enforced: {missed.text}", enforced=False))
    return tuple(limits)


def _limit(slot: Slot, bound: Bound) -> _Limit:
    text = f"at most {bound.at_most}" + (f", with overflow {bound.hard}" if bound.over else "")
    refusal = Refusal.LICENCE_LIMIT if bound.by == LICENCE else Refusal.CHANNEL_LIMIT
    return _Limit(bound.by or slot.name, bound.hard, text, refusal, bound.since, True)


def _bundles(session: Session, left: Left) -> Iterator[Finding]:
    for depth, (level, amounts) in enumerate(zip(session.levels, left, strict=True)):
        for source, amount in zip(level.sources, amounts, strict=True):
            there = f"{format_amount(amount)} {level.currency}" if source.is_money else f"{amount} s"
            yield Finding("bundle", f"{source.name}: {there} left", level=level.account if depth else "")


def _credit(session: Session, answer: Taken | TakeRefused) -> list[Said]:
    found: list[Said] = []
    granted_s = session.first_granted_s if isinstance(answer, Taken) else 0
    for depth, level in enumerate(session.levels):
        left, above = answer.available[depth], level.account if depth else ""
        if left is None or level.exempt or session.emergency:
            found.append(Check("credit", PASS, "not limited", "", above))
            continue
        available = left + slicing.cost(level, granted_s) if granted_s else left
        least = slicing.first_cost(level) or 0
        limit = _least(least, level.currency, level.taxes)
        saw = f"{format_amount(available)} {level.currency} available"
        if least and least > available:
            refusal = Refusal.PROVIDER_LIMIT if above else Refusal.NO_CREDIT
            found.append(Finding("credit", saw, refusal, limit, above))
        else:
            found.append(Check("credit", PASS, saw, limit, above))
    return found


@lru_cache(maxsize=8_192)
def _least(micros: int, currency: str, taxes: tuple[Tax, ...]) -> str:
    """What every call by a row has in common."""
    return f"the first increment costs {format_amount(micros)} {currency}" + (" with taxes" if taxes else "")
