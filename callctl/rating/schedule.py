"""Which of a price's bands holds when, by the clock on the wall of its plan's zone.

Of the bands that hold at a moment the heaviest counts; of equally heavy ones the most specific: dates, then holidays,
then days or times, then a row without a band. A band that runs over midnight belongs to the day on which it begins.
An hour that a night of DST has twice is in its bands twice; one that it leaves out is in none.
"""

from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from zoneinfo import ZoneInfo

import msgspec

from callctl.rating.bands import format_time, holidays_in
from callctl.rating.tariff import DAY_MIN, Band

DAY_S = 86_400
AHEAD_DAYS = 33
"""How far a schedule is worked out: the UTC day on which a call begins, and 32 days more."""

_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_YEARS = range(2024, 2052)
"""In 28 years every date meets every day of the week. Holidays are looked at for as long."""

_EPOCH_DAY = date(1970, 1, 1).toordinal()
_SECOND = timedelta(seconds=1)

Turns = tuple[tuple[int, int], ...]
"""(UTC second, index of the band that takes over), ascending. The first band holds before, the last one ever after."""


class Schedule(msgspec.Struct, frozen=True, cache_hash=True):
    """The bands of one price, of which one holds at any moment (`flaw`); a row without a band has an empty one."""

    timezone: str
    bands: tuple[Band, ...]


class Flaw(msgspec.Struct, frozen=True):
    """A moment for which bands do not say one price; `bands` are the indices of those that do, none for a gap."""

    reason: str
    bands: tuple[int, ...]


@lru_cache(maxsize=1024)
def turns(schedule: Schedule, utc_day: int) -> Turns:
    """Which band holds from the beginning of a UTC day (days since the epoch) on, for `AHEAD_DAYS` days."""
    found: list[tuple[int, int]] = []
    for day in range(utc_day, utc_day + AHEAD_DAYS):
        for turn in _turns_of_day(schedule, day):
            if not found or found[-1][1] != turn[1]:
                found.append(turn)
    return tuple(found)


@lru_cache(maxsize=8192)
def _turns_of_day(schedule: Schedule, utc_day: int) -> Turns:
    """The bands of one UTC day. The first turn is its first second, and a band may take over from itself."""
    found: list[tuple[int, int]] = []
    for begin_s, end_s, offset_s in _offsets(schedule.timezone, utc_day):
        local_s, local_end_s = begin_s + offset_s, end_s + offset_s
        while local_s < local_end_s:
            day, second = divmod(local_s, DAY_S)
            spans = _spans(schedule.bands, *_beginning(schedule.bands, date.fromordinal(_EPOCH_DAY + day)))
            for start_min, end_min, [band, *_] in spans:
                at_s = day * DAY_S + max(start_min * 60, second)
                if second < end_min * 60 and at_s < local_end_s:
                    found.append((at_s - offset_s, band))
            local_s = (day + 1) * DAY_S
    return tuple(found)


@lru_cache(maxsize=4096)
def _offsets(timezone: str, utc_day: int) -> tuple[tuple[int, int, int], ...]:
    """A UTC day in pieces (first second, second after the last, offset of the zone in seconds)."""
    zone = ZoneInfo(timezone)

    def offset(second: int) -> int:
        return (datetime.fromtimestamp(second, zone).utcoffset() or timedelta()) // _SECOND

    pieces = []
    begin_s, end_s = utc_day * DAY_S, (utc_day + 1) * DAY_S
    while begin_s < end_s:
        same, other = begin_s, end_s
        if offset(end_s - 1) != offset(begin_s):
            while other - same > 1:
                middle = (same + other) // 2
                same, other = (middle, other) if offset(middle) == offset(begin_s) else (same, middle)
        pieces.append((begin_s, other, offset(begin_s)))
        begin_s = other
    return tuple(pieces)


Begins = tuple[bool, ...]
"""Of each band whether one begins on a day."""

Span = tuple[int, int, tuple[int, ...]]
"""First minute of the day, minute after the last, indices of the bands of the highest rank."""


def _beginning(bands: Sequence[Band], day: date) -> tuple[Begins, Begins]:
    """Which bands begin on a day, and which began on the day before."""
    before = day - timedelta(days=1)
    return tuple(_begins(band, day) for band in bands), tuple(_begins(band, before) for band in bands)


def _begins(band: Band, day: date) -> bool:
    return (
        (not band.days or day.isoweekday() in band.days)
        and (not band.dates or any(_within(dates, day) for dates in band.dates))
        and (band.holidays is None or day in holidays_in(band.holidays, day.year))
    )


def _within(dates: tuple[int, int], day: date) -> bool:
    first, last = dates
    number = day.month * 100 + day.day
    if last >= 10_000:
        number += day.year * 10_000
    return first <= number <= last if first <= last else number >= first or number <= last


@lru_cache(maxsize=8192)
def _spans(bands: tuple[Band, ...], today: Begins, yesterday: Begins) -> tuple[Span, ...]:
    """A local day in pieces, in each of which the same bands hold."""
    edges = {0, DAY_MIN} | {band.from_min for band in bands} | {band.until_min for band in bands}
    spans: list[Span] = []
    for start_min, end_min in pairwise(sorted(edges)):
        holding = [
            index
            for index, band in enumerate(bands)
            if _holds(band, start_min, began_today=today[index], began_yesterday=yesterday[index])
        ]
        best = max((_rank(bands[index]) for index in holding), default=None)
        first = tuple(index for index in holding if _rank(bands[index]) == best)
        since_min = spans.pop()[0] if spans and spans[-1][2] == first else start_min
        spans.append((since_min, end_min, first))
    return tuple(spans)


def holds(band: Band, timezone: str, at_s: int) -> bool:
    """Whether a band that stands alone holds at a UTC second."""
    local = datetime.fromtimestamp(at_s, ZoneInfo(timezone))
    day, before = local.date(), local.date() - timedelta(days=1)
    minute = local.hour * 60 + local.minute
    return _holds(band, minute, began_today=_begins(band, day), began_yesterday=_begins(band, before))


def _holds(band: Band, minute: int, *, began_today: bool, began_yesterday: bool) -> bool:
    if band.from_min < band.until_min:
        return began_today and band.from_min <= minute < band.until_min
    return (began_today and minute >= band.from_min) or (began_yesterday and minute < band.until_min)


def _rank(band: Band) -> tuple[int, int]:
    if band.dates:
        return band.weight, 3
    if band.holidays is not None:
        return band.weight, 2
    timed = bool(band.days) or (band.from_min, band.until_min) != (0, DAY_MIN)
    return band.weight, 1 if timed else 0


@lru_cache(maxsize=1024)
def flaw(bands: tuple[Band, ...]) -> Flaw | None:
    """The first moment of the calendar for which no band, or more than one, says the price.

    ValueError: the code of its holidays is unknown.
    """
    dated = any(band.dates or band.holidays is not None for band in bands)
    seen: set[tuple[Begins, Begins]] = set()
    for day in sorted(_telling_days(bands)):
        beginning = _beginning(bands, day)
        if beginning in seen:
            continue
        seen.add(beginning)
        for start_min, end_min, best in _spans(bands, *beginning):
            if len(best) == 1:
                continue
            when = _WEEKDAYS[day.weekday()] + (f" {day}" if dated else "")
            if not best:
                hours = f"{when} from {format_time(start_min)} to {format_time(end_min)}"
                return Flaw(f"a gap: no price on {hours}", ())
            return Flaw(f"the same prefix and type at the same time: {when} {format_time(start_min)}", best)
    return None


def _telling_days(bands: Sequence[Band]) -> set[date]:
    """Days among which every combination of days that the calendar has occurs, with the day before it.

    Between two days on which dates or holidays begin or end there are but days of the week: eight tell them all.
    """
    edges = {date(_YEARS[0], 1, 1)}
    for band in bands:
        for first, last in _ranges(band):
            edges |= {first, last + timedelta(days=1)}
    return {edge + timedelta(days=n) for edge in edges for n in range(8)}


def _ranges(band: Band) -> Iterator[tuple[date, date]]:
    """First and last day of everything that a band names by date or as holidays."""
    if band.holidays is not None:
        for year in _YEARS:
            yield from ((day, day) for day in holidays_in(band.holidays, year))
    for first, last in band.dates:
        years = _YEARS if last < 10_000 else range(1)
        for year in years:
            begin, end = year * 10_000 + first, year * 10_000 + last
            yield _day(begin), _day(end if first <= last else end + 10_000)


def _day(number: int) -> date:
    """The day of a number YYYYMMDD; the last of February where the year has no 29th."""
    year, month, day = number // 10_000, number // 100 % 100, number % 100
    try:
        return date(year, month, day)
    except ValueError:
        return date(year, 2, 28)
