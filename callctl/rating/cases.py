"""Rated examples of a contract or of another system, held against our own `charge` (`callctl rate --cases`).

The structs are the form of a case. Money and durations are decimal strings, other numbers whole. A tariff
without `rounding` states its exact cost; its first tier starts at 0, and without `tiers` it has that one.
"""

from calendar import monthrange
from collections.abc import Iterable, Iterator
from enum import StrEnum
from fractions import Fraction
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import msgspec

from callctl.clock import format_time, parse_time
from callctl.money import (
    MICROS,
    Rounding,
    format_amount,
    parse_amount,
    parse_decimal,
    parse_percent,
    round_ratio,
)
from callctl.rating.bands import parse_band
from callctl.rating.charge import charge, exact_charge
from callctl.rating.presets import with_preset
from callctl.rating.price import BandPrice, Price, anchored, bundled, fold_tiers, in_bands
from callctl.rating.schedule import DAY_S, Schedule, flaw, turns
from callctl.rating.tariff import Band, IncrementBasis, Preset
from callctl.rating.tax import Tax, gross

Whole = Annotated[int, msgspec.Meta(ge=0)]
Increment = Annotated[int, msgspec.Meta(ge=1)]
Weekday = Annotated[int, msgspec.Meta(ge=1, le=7)]
Month = Annotated[int, msgspec.Meta(ge=1, le=12)]
MonthDay = Annotated[int, msgspec.Meta(ge=1, le=31)]
Result = dict[str, Any]

_DECIMALS = 30  # more than any published figure has
_LEAP_YEAR = 2000


class CaseKind(StrEnum):
    """What a case is about; a cost_rounding case has a `raw_cost` in place of a call."""

    CALL = "call"
    DURATION_ROUNDING = "duration_rounding"
    COST_ROUNDING = "cost_rounding"


class CaseDurationRounding(StrEnum):
    """`Rounding` of a duration, and a fourth way: the whole second of the release less that of the start."""

    UP = "up"
    HALF_UP = "half_up"
    DOWN = "down"
    FLOOR_ENDS = "floor_ends"


class CaseRounding(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Rounding of the charge."""

    decimals: Annotated[int, msgspec.Meta(ge=0, le=6)]
    mode: Rounding


class CaseTier(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A price from a second of the call on."""

    from_s: Whole = 0
    rate_per_min: str = "0"
    increment_s: Increment = 1


class CaseRate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A row."""

    connect_fee: str = "0"
    rate_per_min: str | None = None
    initial_s: Whole = 0
    increment_s: Increment = 1
    tiers: tuple[CaseTier, ...] = ()
    min_charge: str = "0"
    max_charge: str | None = None
    grace_s: Whole = 0
    free_s: Whole = 0
    extra_at_s: Whole | None = None
    extra_fee: str = "0"


class CasePeriod(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"from_": "from"}):
    """A row that holds at times. What its `rate` does not state is as the tariff states it."""

    rate: dict[str, Any]
    name: str = ""
    days: tuple[Weekday, ...] = ()
    from_: str = ""
    to: str = ""
    month: Month | None = None
    mday: MonthDay | None = None
    weight: Whole = 0


class CaseTariff(CaseRate, frozen=True, forbid_unknown_fields=True):
    """A row with its plan's conventions. `bundle_s`: what is left of a bundle. `tax_pct`: then cost is gross."""

    currency: str = ""
    preset: Preset | None = None
    increment_basis: IncrementBasis = IncrementBasis.AFTER_INITIAL
    grace_beats_minimum: bool = True
    duration_rounding: CaseDurationRounding = CaseDurationRounding.UP
    rounding: CaseRounding | None = None
    raw_cost: str | None = None
    tz: str = "UTC"
    periods: tuple[CasePeriod, ...] = ()
    bundle_s: Whole = 0
    tax_pct: str = "0"


class Case(msgspec.Struct, frozen=True):
    """One example. What is expected may be null: then it is not compared."""

    tariff: CaseTariff
    kind: CaseKind = CaseKind.CALL
    start: str | None = None
    duration_s: str | None = None
    expected_billed_s: Whole | None = None
    expected_cost: str | None = None


def rate_cases(cases: Iterable[object]) -> Iterator[Result]:
    """One result per case: id, billed_s, charge, expected, expected_billed_s, agrees.

    A malformed case, or one that needs what is not supported, does not agree, and `error` says why.
    """
    for number, given in enumerate(cases, 1):
        stated = given if isinstance(given, dict) else {}
        result: Result = {
            "id": stated.get("id", f"case {number}"),
            "billed_s": None,
            "charge": None,
            "expected": stated.get("expected_cost"),
            "expected_billed_s": stated.get("expected_billed_s"),
            "agrees": False,
        }
        try:
            case = msgspec.convert(_with_preset(given), Case)
            billed_s, micros = _rate(case)
            result |= {
                "billed_s": billed_s,
                "charge": format_amount(round(micros)),
                "agrees": _agrees(case, billed_s, micros),
            }
        except (ValueError, OverflowError) as error:  # the calendar ends with the year 9999
            result["error"] = str(error)
        yield result


def _with_preset(given: object) -> object:
    """The case with what it leaves to its tariff's preset. Decimals and mode of a rounding go together."""
    tariff = given.get("tariff") if isinstance(given, dict) else None
    if not isinstance(given, dict) or not isinstance(tariff, dict) or "preset" not in tariff:
        return given
    stated = with_preset(tariff)
    decimals, mode = stated.pop("round_decimals", None), stated.pop("rounding", None)
    if decimals is not None:
        stated["rounding"] = {"decimals": decimals, "mode": mode}
    return given | {"tariff": stated | tariff}


def _agrees(case: Case, billed_s: int | None, micros: Fraction) -> bool:
    if case.expected_billed_s is None and case.expected_cost is None:
        raise ValueError("nothing is expected: neither expected_billed_s nor expected_cost")
    same_seconds = case.expected_billed_s is None or case.expected_billed_s == billed_s
    return same_seconds and (case.expected_cost is None or _exact_micros(case.expected_cost) == micros)


def _rate(case: Case) -> tuple[int | None, Fraction]:
    """Billed seconds (None where the case has no call) and micro-units, tax included."""
    tariff = case.tariff
    if case.kind is CaseKind.COST_ROUNDING:
        if tariff.raw_cost is None:
            raise ValueError("raw_cost: a cost_rounding case needs one")
        raw_micros = _exact_micros(tariff.raw_cost)
        if raw_micros < 0:
            raise ValueError("raw_cost: must not be negative")
        return None, _rounded(raw_micros, tariff.rounding)
    seconds = _seconds(case)
    price = _in_periods(case, seconds) if tariff.periods else _band_price(tariff, tariff).price
    price = bundled(price, tariff.bundle_s)
    percent = parse_percent(tariff.tax_pct)
    if tariff.rounding is None:
        billed_s, exact = exact_charge(price, seconds)
        return billed_s, exact * (MICROS + percent) / MICROS
    charged = charge(price, seconds)
    levied = [Tax("tax_pct", percent)]
    return charged.billed_s, Fraction(gross(levied, charged.micros, decimals=tariff.rounding.decimals))


def _band_price(tariff: CaseTariff, rate: CaseRate) -> BandPrice:
    """The price of a row, as if it held always."""
    rounding = tariff.rounding or CaseRounding(decimals=6, mode=Rounding.HALF_UP)
    steps = _steps(rate)
    min_charge = _amount("min_charge", rate.min_charge)
    has_minimum = rate.initial_s > 1 or min_charge > 0
    price = Price(
        connection_fee=_amount("connect_fee", rate.connect_fee),
        denominator=10**_DECIMALS // MICROS,
        tiers=fold_tiers(steps, initial_s=rate.initial_s, basis=tariff.increment_basis),
        minimum_s=rate.initial_s if tariff.increment_basis is IncrementBasis.TOTAL else 0,
        min_charge=min_charge,
        max_charge=None if rate.max_charge is None else _amount("max_charge", rate.max_charge),
        grace_s=rate.grace_s if tariff.grace_beats_minimum or not has_minimum else 0,
        free_s=rate.free_s,
        extra_at_s=rate.extra_at_s,
        extra_fee=_amount("extra_fee", rate.extra_fee),
        decimals=rounding.decimals,
        rounding=rounding.mode,
    )
    return BandPrice(price, tuple(steps), rate.initial_s, tariff.increment_basis)


def _in_periods(case: Case, seconds: int) -> Price:
    """The price of a call of these seconds. Periods need not fill a week: only what the call meets."""
    tariff = case.tariff
    if case.start is None:
        raise ValueError("start: periods need one")
    rates = [_rate_of(tariff, period) for period in tariff.periods]
    bands = tuple(_band(period) for period in tariff.periods)
    no_period = Band(weight=-1)  # lighter than any
    if found := flaw((*bands, no_period)):
        raise ValueError(f"periods: {found.reason}")
    answer_s = parse_time(case.start) // 1000
    going = turns(Schedule(_zone(tariff.tz), (*bands, no_period)), answer_s // DAY_S)
    ends = [at_s for at_s, _ in going[1:]]
    for (at_s, band), end_s in zip(going, [*ends, answer_s + seconds], strict=True):
        if band == len(bands) and at_s < answer_s + seconds and end_s > answer_s:
            raise ValueError(f"periods: none holds at {format_time(max(at_s, answer_s) * 1000)}")
    prices = [_band_price(tariff, rate) for rate in (*rates, CaseRate())]
    return anchored(in_bands(tuple(prices), going), answer_s)


def _rate_of(tariff: CaseTariff, period: CasePeriod) -> CaseRate:
    """A period's row; a price of its own, flat or in tiers, replaces the tariff's of either form."""
    stated = {key: value for key, value in msgspec.to_builtins(tariff).items() if key in CaseRate.__struct_fields__}
    if period.rate.keys() & {"rate_per_min", "tiers"}:
        del stated["rate_per_min"], stated["tiers"]
    return msgspec.convert(stated | period.rate, CaseRate)


def _band(period: CasePeriod) -> Band:
    """When a period holds."""
    months = range(1, 13) if period.month is None else (period.month,)
    dates = ""
    if period.month is not None or period.mday is not None:
        dates = ",".join(filter(None, (_dates(month, period.mday) for month in months)))
        if not dates:
            raise ValueError(f"mday: month {period.month} has no day {period.mday}")
    days = ",".join(map(str, period.days))
    cells = (days, period.from_, period.to, dates, "", str(period.weight))
    try:
        return parse_band(cells) or Band()
    except ValueError as error:
        raise ValueError(f"periods: {error}") from None


def _dates(month: int, day: int | None) -> str:
    """A day of every year, or a whole month; empty where the month has no such day."""
    last = monthrange(_LEAP_YEAR, month)[1]
    if day is None:
        return f"{month:02}-01/{month:02}-{last}"
    return f"{month:02}-{day:02}" if day <= last else ""


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"tz: {name!r} is not a time zone") from None
    return name


def _steps(tariff: CaseRate) -> list[tuple[int, int, int]]:
    if tariff.tiers and tariff.rate_per_min is not None:
        raise ValueError("rate_per_min: belongs to each of the tiers")
    flat = CaseTier(rate_per_min=tariff.rate_per_min or "0", increment_s=tariff.increment_s)
    tiers = tariff.tiers or (flat,)
    starts = [tier.from_s for tier in tiers]
    if starts[0] != 0 or starts != sorted(set(starts)):
        raise ValueError("tiers: from_s must ascend from 0")
    steps = [(tier.from_s, parse_decimal(tier.rate_per_min, decimals=_DECIMALS), tier.increment_s) for tier in tiers]
    if any(per_minute < 0 for _, per_minute, _ in steps):
        raise ValueError("rate_per_min: must not be negative")
    return steps


def _seconds(case: Case) -> int:
    """Whole seconds of the call."""
    if case.duration_s is None:
        raise ValueError("duration_s: is missing")
    duration_ms = parse_decimal(case.duration_s, decimals=3)
    if duration_ms < 0:
        raise ValueError("duration_s: must not be negative")
    rounding = case.tariff.duration_rounding
    if rounding is not CaseDurationRounding.FLOOR_ENDS:
        return round_ratio(duration_ms, 1000, Rounding(rounding))
    if case.start is None:
        raise ValueError("start: floor_ends needs one")
    start_ms = parse_time(case.start)
    return (start_ms + duration_ms) // 1000 - start_ms // 1000


def _rounded(micros: Fraction, rounding: CaseRounding | None) -> Fraction:
    if rounding is None:
        return micros
    quantum: int = 10 ** (6 - rounding.decimals)
    return Fraction(round_ratio(micros.numerator, micros.denominator * quantum, rounding.mode) * quantum)


def _exact_micros(text: str) -> Fraction:
    return Fraction(parse_decimal(text, decimals=_DECIMALS) * MICROS, 10**_DECIMALS)


def _amount(key: str, text: str) -> int:
    micros = parse_amount(text)
    if micros < 0:
        raise ValueError(f"{key}: must not be negative")
    return micros
