"""Rated examples of a contract or of another system, held against our own `charge` (`callctl rate --cases`).

The structs are the form of a case. Money and durations are decimal strings, other numbers whole. A tariff
without `rounding` states its exact cost; its first tier starts at 0, and without `tiers` it has that one.
"""

from collections.abc import Iterable, Iterator
from enum import StrEnum
from fractions import Fraction
from typing import Annotated, Any

import msgspec

from callctl.clock import parse_time
from callctl.money import MICROS, Rounding, format_amount, parse_amount, parse_decimal, round_ratio
from callctl.rating.charge import Price, charge, exact_charge, fold_tiers
from callctl.rating.tariff import IncrementBasis

Whole = Annotated[int, msgspec.Meta(ge=0)]
Increment = Annotated[int, msgspec.Meta(ge=1)]
Result = dict[str, Any]

_DECIMALS = 30  # more than any published figure has


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


class CaseTariff(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A row with its plan's conventions."""

    currency: str = ""
    connect_fee: str = "0"
    rate_per_min: str | None = None
    initial_s: Whole = 0
    increment_s: Increment = 1
    increment_basis: IncrementBasis = IncrementBasis.AFTER_INITIAL
    tiers: tuple[CaseTier, ...] = ()
    min_charge: str = "0"
    max_charge: str | None = None
    grace_s: Whole = 0
    free_s: Whole = 0
    extra_at_s: Whole | None = None
    extra_fee: str = "0"
    duration_rounding: CaseDurationRounding = CaseDurationRounding.UP
    rounding: CaseRounding | None = None
    raw_cost: str | None = None
    tz: str = ""
    periods: Any = None
    bundle_s: Any = None
    tax_pct: Any = None


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
            case = msgspec.convert(given, Case)
            billed_s, micros = _rate(case)
            result |= {
                "billed_s": billed_s,
                "charge": format_amount(round(micros)),
                "agrees": _agrees(case, billed_s, micros),
            }
        except ValueError as error:
            result["error"] = str(error)
        yield result


def _agrees(case: Case, billed_s: int | None, micros: Fraction) -> bool:
    if case.expected_billed_s is None and case.expected_cost is None:
        raise ValueError("nothing is expected: neither expected_billed_s nor expected_cost")
    same_seconds = case.expected_billed_s is None or case.expected_billed_s == billed_s
    return same_seconds and (case.expected_cost is None or _exact_micros(case.expected_cost) == micros)


def _rate(case: Case) -> tuple[int | None, Fraction]:
    """Billed seconds (None where the case has no call) and micro-units."""
    tariff = case.tariff
    for key in ("periods", "bundle_s", "tax_pct"):
        if getattr(tariff, key) is not None:
            raise ValueError(f"{key}: not supported yet")
    if case.kind is CaseKind.COST_ROUNDING:
        if tariff.raw_cost is None:
            raise ValueError("raw_cost: a cost_rounding case needs one")
        return None, _rounded(_exact_micros(tariff.raw_cost), tariff.rounding)
    price = _price(tariff)
    seconds = _seconds(case)
    if tariff.rounding is None:
        return exact_charge(price, seconds)
    charged = charge(price, seconds)
    return charged.billed_s, Fraction(charged.micros)


def _price(tariff: CaseTariff) -> Price:
    after_initial = tariff.increment_basis is IncrementBasis.AFTER_INITIAL
    rounding = tariff.rounding or CaseRounding(decimals=6, mode=Rounding.HALF_UP)
    return Price(
        connection_fee=_amount("connect_fee", tariff.connect_fee),
        denominator=10**_DECIMALS // MICROS,
        tiers=fold_tiers(_steps(tariff), initial_s=tariff.initial_s, basis=tariff.increment_basis),
        minimum_s=0 if after_initial else tariff.initial_s,
        min_charge=_amount("min_charge", tariff.min_charge),
        max_charge=None if tariff.max_charge is None else _amount("max_charge", tariff.max_charge),
        grace_s=tariff.grace_s,
        free_s=tariff.free_s,
        extra_at_s=tariff.extra_at_s,
        extra_fee=_amount("extra_fee", tariff.extra_fee),
        decimals=rounding.decimals,
        rounding=rounding.mode,
    )


def _steps(tariff: CaseTariff) -> list[tuple[int, int, int]]:
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
