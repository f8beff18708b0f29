"""Prices in bands begin with the answer: until then a level is at any of those that the set-up may end in.

The levels of an answered call are priced from its answer on, by the switch's clock where it states the time.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import islice
from operator import itemgetter

from msgspec.structs import replace

from callctl.call.session import Level, Session
from callctl.rating.price import Course, Price, anchored


def possible(prices: Sequence[Price], answer_by_s: int) -> Iterator[tuple[Price, ...]]:
    """The prices of an answer at once, then at every turn of one of them up to the wall second `answer_by_s`."""
    yield tuple(prices)
    courses = [price.course for price in prices if price.course is not None]
    for at_s in sorted({at_s for course in courses for at_s in _turning(course, answer_by_s)}):
        yield tuple([anchored(price, at_s) for price in prices])


def possible_levels(level: Level) -> tuple[Level, ...]:
    """The level as it would be for an answer at once, and at every turn of its prices while the call may be set up."""
    if level.answer_by_s is None:
        return (level,)
    courses = [price.course for price in (level.sell, *(part.sell for part in level.parts)) if price.course is not None]
    moments = {at_s for course in courses for at_s in (course.answer_s, *_turning(course, level.answer_by_s))}
    return tuple(answered_level(level, at_s) for at_s in sorted(moments)) or (replace(level, answer_by_s=None),)


def _turning(course: Course, answer_by_s: int) -> Iterator[int]:
    """When it turns after the moment that it is priced from, up to `answer_by_s`."""
    for at_s, _ in islice(course.turns, bisect_right(course.turns, course.answer_s, key=itemgetter(0)), None):
        if at_s > answer_by_s:
            return
        yield at_s


def answered_level(level: Level, answer_s: int) -> Level:
    """The level of a call that is answered at this wall second."""
    sell, buy = anchored(level.sell, answer_s), _bought(level.buy, answer_s)
    parts = level.parts
    if parts:
        parts = tuple(
            replace(part, sell=anchored(part.sell, answer_s), buy=_bought(part.buy, answer_s)) for part in parts
        )
    return replace(level, sell=sell, buy=buy, parts=parts, answer_by_s=None)


def _bought(price: Price | None, answer_s: int) -> Price | None:
    return None if price is None else anchored(price, answer_s)


def answered_levels(session: Session) -> tuple[Level, ...]:
    """The levels of a session as its answer prices them, however often it is asked; the same where it makes no odds."""
    if session.answered is None or not any(map(_in_bands, session.levels)):
        return session.levels
    answer_s = session.answered.wall_ms // 1000
    return tuple(answered_level(level, answer_s) for level in session.levels)


def _in_bands(level: Level) -> bool:
    bought = level.buy is not None and level.buy.course is not None
    return bought or level.sell.course is not None or any(part.in_bands for part in level.parts)
