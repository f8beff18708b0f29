"""Takes of watched calls: what they ask of a payer's day, with only what a test is about."""

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from callctl.call.session import Session
from callctl.call.takes import Extension, Settlement, Take
from callctl.call.watched import WATCHED_CALLS
from callctl.limits.exposure import Day
from callctl.limits.ids import Mode, Settled, Thresholds, Watch, asked
from callctl.limits.watching import Statistics, Tell, Told, Word
from tests.contract.calls import COUNTED, NOW, ROOT, extension, settlement, take

EUR = 1_000_000
DAY = 20_778
"""The day of `NOW`, in UTC."""
AGREED = Thresholds(40 * EUR)


def day_ms(days: int) -> int:
    """The wall ms of `NOW`, some days later."""
    return NOW.wall_ms + days * 86_400_000


def watched(call: Session, agreed: Thresholds = AGREED, country: str = "", timezone: str = "UTC") -> Session:
    """A call that every payer's thresholds watch."""
    return replace(call, levels=tuple(replace(lv, watch=Watch(agreed, timezone, country)) for lv in call.levels))


def watched_take(call: Session, *amounts: int, at_ms: int = NOW.wall_ms, **fields: Any) -> Take:
    """Asks `amounts[i]` of the day of level i, and holds no money."""
    proposed = take(call, slots=(*COUNTED, WATCHED_CALLS), now_ms=at_ms, **fields)
    asks = zip(proposed.levels, proposed.session.levels, amounts, strict=True)
    levels = tuple(
        replace(level, watch=None if of.watch is None else asked(of.watch, amount, at_ms)) for level, of, amount in asks
    )
    return replace(proposed, levels=levels)


def further(call: Session, *amounts: int, at_ms: int = NOW.wall_ms, **fields: Any) -> Extension:
    """An extension that asks `amounts[i]` more of the day of level i, and holds no more money."""
    asks = [
        None if lv.watch is None else asked(lv.watch, it, at_ms) for lv, it in zip(call.levels, amounts, strict=True)
    ]
    return extension(call, *([0] * len(amounts)), watch=tuple(asks), **fields)


def over(call: Session, *used: int | None, day: int = DAY, **fields: Any) -> Settlement:
    """The end of a call that has used so much of each payer's day."""
    ended = settlement(call, *([0] * len(used)), records=0)
    told = tuple(Settled(lv.account, it, day, **fields) for lv, it in zip(call.levels, used, strict=True))
    return replace(ended, watched=told)


async def statistics(store: Any, account: str = ROOT, root: str = ROOT, day: int = DAY) -> Statistics:
    return await store.statistics(root, account, day)


async def today(store: Any, account: str = ROOT, day: int = DAY) -> Day:
    return (await statistics(store, account, day=day)).today


def word(said: Any, account: str = ROOT, day: int = DAY) -> Word:
    return Word(account, ROOT, day, NOW.wall_ms, "ops", "a test", said)


async def spent_before(store: Any, days: Sequence[tuple[int, int]], account: str = ROOT, cap: int = 50 * EUR) -> None:
    """Days before `DAY` as (how many days ago, what was spent)."""
    await store.say(word(Tell(tuple(Told(DAY - ago, spent, cap) for ago, spent in days)), account))


def mode(mode: Mode, **fields: Any) -> Thresholds:
    return Thresholds(40 * EUR, mode, **fields)
