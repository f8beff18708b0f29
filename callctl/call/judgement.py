"""What the store saw when it was asked to take, as lines for the trace, and what of it refuses the call.

A call that goes ahead keeps the store's figures; they become text when somebody reads its trace.
"""

from collections.abc import Iterable, Iterator

from callctl.call.admission import LICENCE, deciding, traced
from callctl.call.checks import Finding
from callctl.call.events import Left, SlotUse, Taken, TakeRefused
from callctl.call.session import Level, Session
from callctl.call.trace import encode_trace
from callctl.causes import Refusal
from callctl.money import format_amount
from callctl.prepaid import slicing


def judged(session: Session, answer: Taken | TakeRefused) -> list[Finding]:
    """A limit of a level above the caller's account is a `provider_limit` to the caller (`docs/rules.md`, Seeing)."""
    found = [*_attempts(answer), *_channels(session, answer.uses), *_credit(session, answer)]
    return [*found, *_bundles(session, answer.left)] if answer.left else found


def whole_trace(session: Session) -> bytes:
    """The lines of the trace, those of the store's answer to an admitted call among them."""
    return session.trace if session.taken is None else longer(session.trace, judged(session, session.taken))


def longer(trace: bytes, findings: Iterable[Finding]) -> bytes:
    """The lines of the trace with these behind them."""
    return trace + encode_trace([traced(finding) for finding in findings])


def shortfall(session: Session, answer: Taken) -> Finding | None:
    """What refuses a call whose take went through: grace or free seconds alone were paid for."""
    if session.emergency or not any(map(_is_short, session.levels, answer.available)):
        return None
    return deciding(judged(session, answer))


def _is_short(level: Level, left: int | None) -> bool:
    """Whether the payer cannot pay a charged second with what it holds and what it has left (None: no limit)."""
    if left is None or level.exempt:
        return False
    least = slicing.first_cost(level)
    return least is not None and least > level.held + left


def _attempts(answer: Taken | TakeRefused) -> Iterator[Finding]:
    if isinstance(answer, TakeRefused) and answer.rate_exceeded is not None:
        name = answer.rate_exceeded
        yield Finding("call_rate", name, Refusal.CALL_RATE_LIMIT, "its call attempts per second are used up")


def _channels(session: Session, uses: Iterable[SlotUse]) -> Iterator[Finding]:
    for use in uses:
        if use.limit is None:
            continue
        account = session.levels[use.level].account if use.level < len(session.levels) else session.trunk or "trunk"
        above = account if 0 < use.level < len(session.levels) else ""
        own = Refusal.LICENCE_LIMIT if use.slot == LICENCE else Refusal.CHANNEL_LIMIT
        limited = Refusal.PROVIDER_LIMIT if above else own
        refusal = limited if use.full and not session.emergency else None
        limit = str(use.limit) if use.hard_limit == use.limit else f"{use.limit}, with overflow {use.hard_limit}"
        yield Finding("channels", f"{use.slot}: {use.in_use} in use", refusal, f"at most {limit}", above)


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
        least = slicing.first_cost(level)
        limit = f"the first increment costs {format_amount(least or 0)} {level.currency}"
        limit += " with taxes" if level.taxes else ""
        saw = f"{format_amount(held + left)} {level.currency} available"
        short = least is not None and least > held + left
        refusal = Refusal.PROVIDER_LIMIT if above else Refusal.NO_CREDIT
        yield Finding("credit", saw, refusal if short else None, limit, above)
