"""What the store saw when it was asked to take, as lines for the trace, and what of it refuses the call."""

from collections.abc import Iterable, Iterator

from callctl.call.admission import LICENCE, Finding
from callctl.call.events import SlotUse, Taken, TakeRefused
from callctl.call.session import Session
from callctl.causes import Refusal
from callctl.money import format_amount
from callctl.prepaid import slicing


def judged(session: Session, answer: Taken | TakeRefused) -> list[Finding]:
    """A limit of a level above the caller's account is a `provider_limit` to the caller (`rules.md`, Seeing)."""
    return [*_attempts(answer), *_channels(session, answer.uses), *_credit(session, answer)]


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


def _credit(session: Session, answer: Taken | TakeRefused) -> Iterator[Finding]:
    for depth, (level, left) in enumerate(zip(session.levels, answer.available, strict=True)):
        above = level.account if depth else ""
        if left is None or level.exempt or session.emergency:
            yield Finding("credit", "not limited", level=above)
            continue
        least = slicing.first_cost(level)
        poor = least is not None and least > level.held + left
        limit = f"the first increment costs {format_amount(least or 0)} {level.currency}"
        before = left + level.held if isinstance(answer, Taken) else left
        saw = f"{format_amount(before)} {level.currency} available"
        refusal = Refusal.PROVIDER_LIMIT if above else Refusal.NO_CREDIT
        yield Finding("credit", saw, refusal if poor else None, limit, above)
