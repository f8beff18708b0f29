"""Calls that count against spend thresholds: what they would add to a day, what they have used in the end, and why one
is refused (`docs/limits.md`, Spend thresholds).
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

from msgspec.structs import replace

from callctl.accounts import Account, Chain
from callctl.call.checks import Finding
from callctl.call.due import Due
from callctl.call.session import Level, Session
from callctl.causes import Refusal
from callctl.clock import Instant, format_time, local_day, local_moment
from callctl.limits.concurrency import Slot
from callctl.limits.ids import HOUR_MS, Ask, Mode, Rule, Seen, Settled, Thresholds, Watch, asked, high_risk
from callctl.money import format_amount
from callctl.numbering import Number
from callctl.prepaid import slicing
from callctl.rating.tariff import TrafficClass

WATCHED_CALLS = Slot("watched")
_watch = lru_cache(maxsize=4096)(Watch)


def watching(
    levels: tuple[Level, ...], chain: Chain, default: Thresholds | None, number: Number | None
) -> tuple[Level, ...]:
    """The levels of an outbound call with what watches each; `default`: of who calls and states no thresholds.

    There are no levels where there is no price.
    """
    found: list[Level] = []
    for account, level in zip(chain, levels, strict=False):
        watch = watch_on(account, None if found else default, level.traffic_class, number)
        slots = level.slots
        if watch is not None and watch.thresholds.concurrent:
            slots = (*slots, WATCHED_CALLS)
        found.append(level if watch is None else replace(level, watch=watch, slots=slots))
    return tuple(found)


def watch_on(account: Account, default: Thresholds | None, traffic_class: str, number: Number | None) -> Watch | None:
    """What watches a call of this class at one of its payers; None: nothing does."""
    agreed = account.thresholds or default
    if agreed is None or agreed.mode is Mode.OFF or traffic_class not in agreed.watch:
        return None
    country = ""
    if traffic_class == TrafficClass.HIGHRISK and number is not None and agreed.new_country is not None:
        country = high_risk(number.country, number.digits)
    return _watch(agreed, account.timezone, country)


def exposure(level: Level, seconds: int) -> int:
    """What a call of `seconds` counts: its charges, without tax, surcharge, bundles or exemption. Micro-units."""
    if level.taxes or level.sources or level.overflow or level.exempt or level.parts:
        untaxed = tuple([replace(part, taxes=()) for part in level.parts])
        level = replace(level, taxes=(), sources=(), overflow=False, exempt=False, parts=untaxed)
    return slicing.cost(level, seconds)


def exposed(level: Level, seconds: int) -> Level:
    """The level with what a call of `seconds` counts, where it is watched."""
    return level if level.watch is None else replace(level, exposed=exposure(level, seconds))


def first_ask(level: Level, watch: Watch, seconds: int, at_ms: int, *, again: bool) -> Ask:
    """What a call that is to be admitted for `seconds` asks of its payer's day. `again`: it has asked before."""
    ask = asked(watch, exposure(level, seconds), at_ms)
    return replace(ask, again=True) if again else ask


def further_asks(before: Sequence[Level], after: Sequence[Level], now: Instant) -> tuple[Ask | None, ...]:
    """What an extension asks of each level's day; empty where it asks nothing."""
    if all(level.watch is None for level in before):
        return ()
    asks = [
        asked(level.watch, longer.exposed - level.exposed, now.wall_ms)
        if level.watch is not None and longer.exposed != level.exposed
        else None
        for level, longer in zip(before, after, strict=True)
    ]
    return tuple(asks) if any(asks) else ()


def counts(level: Level) -> bool:
    """Whether the call counts at this level, though nobody may watch it any more."""
    return level.watch is not None or level.exposed > 0


def settled(session: Session, owed: Sequence[Due]) -> tuple[Settled, ...]:
    """What a call that is over has used of each payer's days. Of one that nobody saw end, all that it held stays."""
    return tuple(
        Settled(
            level.account,
            None if session.voided else _used(level, due) if session.answered is not None else 0,
            _last_day(session, level.watch),
            estimated=session.voided or session.estimated,
            root=level.root,
        )
        for level, due in zip(session.levels, owed, strict=True)
        if counts(level)
    )


def corrected(before: Session, guessed: Sequence[Due], after: Session, owed: Sequence[Due]) -> tuple[Settled, ...]:
    """By how much a guess was wrong, on the day on which the call was given up."""
    found = []
    for level, guess, true_level, due in zip(before.levels, guessed, after.levels, owed, strict=True):
        if not counts(level):
            continue
        counted = level.exposed if before.voided else _used(level, guess)
        more = _used(true_level, due) - counted
        day = _last_day(before, level.watch)
        found.append(Settled(level.account, more, day, more=True, guessed=counted, root=level.root))
    return tuple(found)


def _used(level: Level, due: Due) -> int:
    return exposure(level, due.duration_s - due.unbilled_s)


def _last_day(session: Session, watch: Watch | None) -> int:
    """On which its last slice was granted."""
    return local_moment(watch.timezone if watch is not None else "UTC", session.sliced_ms // 60_000)[0]


def findings(session: Session, seen: Iterable[Seen]) -> Iterator[Finding]:
    """What the thresholds of each payer say, as the store saw them."""
    for each in seen:
        level = session.levels[each.level]
        above = level.account if each.level else ""
        saw, asked, limit, words = _in_words(each, level.currency)
        refusal = None
        if each.rule is not Rule.NONE:
            own = Refusal.IDS_BLOCKED if each.rule is Rule.BLOCKED else Refusal.IDS_THRESHOLD
            refusal = Refusal.PROVIDER_LIMIT if above else own
        since = _since(session, level, each)
        yield Finding("ids", saw, refusal, limit, above, asked, since, each.refuses, words)


def _since(session: Session, level: Level, seen: Seen) -> str:
    """Since when its counter counts, or blocks."""
    at_ms = session.setup.wall_ms
    match seen.rule:
        case Rule.BLOCKED:
            return format_time(seen.since_ms)
        case Rule.HOUR:
            return format_time(at_ms - at_ms % HOUR_MS)
        case Rule.BURST:  # its minute moves on with every attempt
            return ""
        case _:
            return local_day(level.watch.timezone, at_ms // 60_000) if level.watch is not None else ""


def _in_words(seen: Seen, currency: str) -> tuple[str, str, str, str]:
    """What was seen, what the call asks for, the limit, and where it is broken by an amount all three in a sentence."""
    amount = format_amount(seen.amount)
    spent, asked = f"{format_amount(seen.exposure)} {currency} spent or held today", f"{amount} {currency}"
    day = f"{format_amount(seen.baseline)} average + {format_amount(seen.threshold - seen.baseline)} range"
    before, limit = f"{format_amount(seen.seen - seen.amount)} {currency} spent or held", format_amount(seen.limit)
    match seen.rule:
        case Rule.NONE:
            return spent, asked, f"at most {day}", ""
        case Rule.BLOCKED:
            return spent, asked, "blocked until midnight or a release", ""
        case Rule.THRESHOLD:
            saw, limit = spent, day
        case Rule.HOUR:
            saw = f"{before} in this hour"
        case Rule.COUNTRY:
            saw = f"{before} today in a country not called for 60 days"
        case Rule.CONCURRENT:
            return f"{seen.seen - 1} watched calls at once", "1 more", f"at most {seen.limit}", ""
        case Rule.BURST:
            return f"{seen.seen - 1} watched attempts in 60 s", "1 more", f"at most {seen.limit}", ""
    return saw, asked, f"at most {limit}", f"{saw} + {amount} for this call > {limit}"
