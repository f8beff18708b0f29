"""The band columns of a deck: days, from, to, dates, holidays, weight as text, and back."""

import re
import warnings
from collections.abc import Callable, Iterable
from datetime import date
from functools import lru_cache
from typing import TypeVar

from callctl.rating.tariff import DAY_MIN, Band

BAND_COLUMNS = ("days", "from", "to", "dates", "holidays", "weight")
MAX_WEIGHT = 1_000_000

_TIME = re.compile(r"(\d{1,2}):(\d\d)(?::00)?", re.ASCII)
_DATE = re.compile(r"(?:(\d{4})-)?(\d\d)-(\d\d)", re.ASCII)
_YEARS = range(1970, 2200)
_LEAP_YEAR = 2000  # has every day that a year can have
_ALWAYS = Band()


@lru_cache(maxsize=4096)
def parse_band(cells: tuple[str, ...]) -> Band | None:
    """The band that the cells of `BAND_COLUMNS` state; None where they state nothing. Equal cells share it.

    Raises ValueError that names the column.
    """
    stated = dict(zip(BAND_COLUMNS, map(str.strip, cells), strict=True))
    band = Band(
        days=_parsed(stated, "days", parse_days, ()),
        from_min=_parsed(stated, "from", parse_time, 0),
        until_min=_parsed(stated, "to", parse_time, DAY_MIN) or DAY_MIN,
        dates=_parsed(stated, "dates", parse_dates, ()),
        holidays=_parsed(stated, "holidays", parse_holidays, None),
        weight=_parsed(stated, "weight", parse_weight, 0),
    )
    if band.from_min == DAY_MIN:
        raise ValueError("from: a band cannot begin at 24:00")
    if band.from_min == band.until_min:
        raise ValueError("to: is the same time as from")
    return None if band == _ALWAYS else band


_Value = TypeVar("_Value")


def _parsed(cells: dict[str, str], column: str, parse: Callable[[str], _Value], empty: _Value) -> _Value:
    if not cells[column]:
        return empty
    try:
        return parse(cells[column])
    except ValueError as error:
        raise ValueError(f"{column}: {error}") from None


def format_band(band: Band | None) -> tuple[str, ...]:
    """The cells of `BAND_COLUMNS`, which `parse_band` reads to the same band."""
    band = band or _ALWAYS
    return (
        format_days(band.days),
        format_time(band.from_min) if band.from_min else "",
        format_time(band.until_min) if band.until_min != DAY_MIN else "",
        format_dates(band.dates),
        band.holidays or "",
        str(band.weight) if band.weight else "",
    )


def band_name(band: Band | None) -> str:
    """A band for people: "1-5 08:00-18:00", "12-25", "NL"; empty for one that always holds."""
    if band is None:
        return ""
    times = f"{format_time(band.from_min)}-{format_time(band.until_min)}"
    timed = (band.from_min, band.until_min) != (0, DAY_MIN)
    terms = (format_days(band.days), times if timed else "", format_dates(band.dates), band.holidays or "")
    return " ".join(filter(None, terms))


def parse_days(text: str) -> tuple[int, ...]:
    """ISO days of "1-5", "1,6,7" or "6-1" (over Sunday), in order; empty where they are the whole week."""
    days: set[int] = set()
    for part in _parts(text):
        first, _, last = part.partition("-")
        if not {first, last or first} <= set("1234567"):
            raise ValueError(f"{part[:40]!r} is no day from 1 (Monday) to 7, and no range of them")
        length = (int(last or first) - int(first)) % 7 + 1
        days |= {(int(first) + n - 1) % 7 + 1 for n in range(length)}
    return tuple(sorted(days)) if len(days) < 7 else ()


def format_days(days: tuple[int, ...]) -> str:
    """ "1-5" or "1,6,7": what `parse_days` reads."""
    if len(days) > 2 and days[-1] - days[0] == len(days) - 1:
        return f"{days[0]}-{days[-1]}"
    return ",".join(map(str, days))


def parse_time(text: str) -> int:
    """Minutes of the day: "08:30" is 510, "24:00" is 1440."""
    found = _TIME.fullmatch(text)
    minutes = int(found[1]) * 60 + int(found[2]) if found and int(found[2]) < 60 else None
    if minutes is None or minutes > DAY_MIN:
        raise ValueError(f"{text[:40]!r} is no time of the day, such as 08:30 or 24:00")
    return minutes


def format_time(minutes: int) -> str:
    return f"{minutes // 60:02}:{minutes % 60:02}"


def parse_dates(text: str) -> tuple[tuple[int, int], ...]:
    """Days and ranges: "2026-12-24", "12-25" (of every year), "12-24/01-01", several with a comma between."""
    ranges = []
    for part in _parts(text):
        first, slash, last = part.partition("/")
        begin = _parse_date(first)
        end = _parse_date(last) if slash else begin
        if (begin < 10_000) is not (end < 10_000):
            raise ValueError(f"{part!r}: both ends of a range have a year, or neither")
        if 10_000 <= end < begin:
            raise ValueError(f"{part!r} ends before it begins")
        ranges.append((begin, end))
    return tuple(ranges)


def _parse_date(text: str) -> int:
    found = _DATE.fullmatch(text)
    try:
        if found is None or int(found[1] or _LEAP_YEAR) not in _YEARS:
            raise ValueError
        day = date(int(found[1] or _LEAP_YEAR), int(found[2]), int(found[3]))
    except ValueError:
        raise ValueError(f"{text[:40]!r} is no date, such as 2026-12-24 or 12-25") from None
    return (day.year * 10_000 if found[1] else 0) + day.month * 100 + day.day


def format_dates(dates: Iterable[tuple[int, int]]) -> str:
    """What `parse_dates` reads."""
    return ",".join(
        _format_date(first) if first == last else f"{_format_date(first)}/{_format_date(last)}" for first, last in dates
    )


def _format_date(number: int) -> str:
    year, day = divmod(number, 10_000)
    return f"{f'{year:04}-' if year else ''}{day // 100:02}-{day % 100:02}"


def parse_holidays(text: str) -> str:
    """A country of the `holidays` library, or a part of one: "NL", "DE-BY"."""
    country, _, part = text.partition("-")
    code = f"{country.upper()}-{part}" if part else country.upper()
    holidays_in(code, _LEAP_YEAR)
    return code


@lru_cache(maxsize=1024)
def holidays_in(code: str, year: int) -> frozenset[date]:
    """The public holidays of a year, substitute days included. ValueError where nobody knows the code."""
    import holidays  # noqa: PLC0415  # takes as long as all the rest of a command

    country, _, part = code.partition("-")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that moon-sighted feasts are known for some decades only
        try:
            return frozenset(holidays.country_holidays(country, subdiv=part or None, years=year, expand=False))
        except (NotImplementedError, TypeError):  # the latter for other names that the library has, such as SUN
            raise ValueError(f"{code[:40]!r} is no country or part of one whose holidays are known") from None


def parse_weight(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 7 or int(text) > MAX_WEIGHT:
        raise ValueError(f"{text[:40]!r} is not a whole number from 0 to {MAX_WEIGHT}")
    return int(text)


def _parts(text: str) -> list[str]:
    return [part for part in re.split(r"[,;\s]+", re.sub(r"\s*([-/])\s*", r"\1", text)) if part]
