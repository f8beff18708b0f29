"""Numbering plans: the patterns of the phonenumbers library, compiled once and asked directly.

A parse and a validation by the library itself cost more than a whole admission. Which pattern is asked in
which order follows the library (`phonenumberutil.py`), and the tests prove the answers equal.
"""

import re
from functools import cache
from typing import NamedTuple

from msgspec import Struct
from phonenumbers import COUNTRY_CODE_TO_REGION_CODE, REGION_CODE_FOR_NON_GEO_ENTITY
from phonenumbers.phonemetadata import PhoneMetadata, PhoneNumberDesc

from callctl.errors import InvariantViolation
from callctl.numbering.settled import settled_by
from callctl.numbering.values import Number, NumberType

REGIONS_BY_CODE: dict[str, tuple[str, ...]] = {
    str(code): regions for code, regions in COUNTRY_CODE_TO_REGION_CODE.items()
}
CODE_BY_COUNTRY: dict[str, str] = {
    region: code
    for code, regions in REGIONS_BY_CODE.items()
    for region in regions
    if region != REGION_CODE_FOR_NON_GEO_ENTITY
}
# Emergency calls on every mobile phone, wherever it is (3GPP TS 22.101, 10.1.1): whoever is used to them dials them.
EVERYWHERE_EMERGENCY = "112|911"
LONGEST_EMERGENCY = 6
"""Digits that an emergency number has at the most, in whichever country: 723141 in Niger."""
LONGEST_CALLING_CODE = 3


class EmergencyNumbers(NamedTuple):
    """What full matches an emergency number, and the digits of the longest."""

    pattern: re.Pattern[str]
    longest: int


class Kinds(Struct, frozen=True, eq=False, gc=False):
    """All numbers of one length. The pattern has a group per kind, the one to be asked first in front.

    `settled_by`: how many first digits of a number settle its kind. `known`: the kinds by them, None for no number.
    """

    pattern: re.Pattern[str]
    by_group: dict[int | None, NumberType]
    settled_by: int
    known: dict[str, NumberType | None]

    def kind(self, significant: str) -> NumberType | None:
        """Of a national significant number of this length; None where the plan has no such number."""
        if not significant.isdecimal():
            return None
        beginning = significant[: self.settled_by]
        try:
            return self.known[beginning]
        except KeyError:
            pass
        match = self.pattern.fullmatch(significant)
        kind = self.by_group[match.lastindex] if match is not None else None
        if len(self.known) >= BEGINNINGS_KEPT:
            self.known.clear()
        self.known[beginning] = kind
        return kind


def kinds_of(every: str, kinds: dict[NumberType, str]) -> Kinds:
    """From the pattern of `every` number of this length, and one of each kind."""
    groups = "|".join(f"({pattern})" for pattern in kinds.values())
    pattern = rf"(?=(?:{every})\Z)(?:{groups})"
    return Kinds(re.compile(pattern), dict(enumerate(kinds, 1)), settled_by(pattern), {})


class Plan(NamedTuple):
    """The national numbers of one region (or of one code that belongs to no country)."""

    pattern: re.Pattern[str]
    """Of all numbers, whatever their kind."""
    by_length: dict[int, Kinds]


NOTHING = "(?!)"  # which no text matches
BEGINNINGS_KEPT = 4_096  # of each plan's numbers of one length


def international(digits: str) -> Number | None:
    """The number of calling code and national significant number, taken at their word; None if not valid."""
    calling_code = calling_code_of(digits)
    return significant_number(calling_code, digits[len(calling_code) :]) if calling_code else None


def calling_code_of(digits: str) -> str | None:
    """The calling code that E.164 digits begin with: none is the beginning of another."""
    for length in (1, 2, 3):
        if digits[:length] in REGIONS_BY_CODE:
            return digits[:length]
    return None


def significant_number(calling_code: str, significant: str) -> Number | None:
    """The valid number of a national significant number under its calling code, or None."""
    for region, leading in regions_of(calling_code):
        if leading is not None and not leading.match(significant):
            continue
        kinds = plan_of(calling_code, region).by_length.get(len(significant))
        kind = kinds.kind(significant) if kinds is not None else None
        if kind is not None:
            digits = calling_code + significant
            return Number("+" + digits, digits, region, calling_code, kind)
        if leading is not None:
            return None
    return None


@cache
def emergency_numbers(country: str) -> EmergencyNumbers:
    """Those of this country ("": of none that is known) and those of everywhere."""
    metadata = PhoneMetadata.short_metadata_for_region(country) if country else None
    own = metadata.emergency if metadata is not None else None
    if own is None or not own.national_number_pattern:
        return EmergencyNumbers(re.compile(EVERYWHERE_EMERGENCY), 3)
    pattern = re.compile(f"{own.national_number_pattern}|{EVERYWHERE_EMERGENCY}")
    return EmergencyNumbers(pattern, max(3, *own.possible_length))


@cache
def plan_of(calling_code: str, region: str) -> Plan:
    """The plan of a region that is listed under this code."""
    metadata = metadata_of(calling_code, region)
    every = metadata.general_desc or PhoneNumberDesc()

    def look(desc: PhoneNumberDesc | None) -> tuple[frozenset[int], str]:
        if desc is None or not desc.national_number_pattern:
            return frozenset(), ""
        # Where a kind names no lengths, those of the whole plan hold.
        return frozenset(desc.possible_length or every.possible_length), desc.national_number_pattern

    fixed, mobile = look(metadata.fixed_line), look(metadata.mobile)
    kinds = {
        NumberType.PREMIUM: look(metadata.premium_rate),
        NumberType.FREEPHONE: look(metadata.toll_free),
        NumberType.SHARED: look(metadata.shared_cost),
        NumberType.VOIP: look(metadata.voip),
        NumberType.PERSONAL: look(metadata.personal_number),
        NumberType.PAGER: look(metadata.pager),
        NumberType.UAN: look(metadata.uan),
        NumberType.VOICEMAIL: look(metadata.voicemail),
        NumberType.FIX_OR_MOB: (fixed[0] & mobile[0], rf"(?=(?:{mobile[1]})\Z)(?:{fixed[1]})"),
        NumberType.FIX: fixed,
        NumberType.MOB: mobile,
    }
    lengths, pattern = look(every)
    by_length: dict[int, Kinds] = {}
    for length in lengths:
        here = {kind: text for kind, (possible, text) in kinds.items() if length in possible}
        by_length[length] = kinds_of(pattern, here)
    return Plan(re.compile(pattern), by_length)


def metadata_of(calling_code: str, region: str) -> PhoneMetadata:
    """The library's own data on a region that is listed under this code."""
    metadata = PhoneMetadata.metadata_for_region_or_calling_code(int(calling_code), region)
    if metadata is None:
        raise InvariantViolation(f"phonenumbers lists {region} under +{calling_code} but has no data on it")
    return metadata


@cache
def regions_of(calling_code: str) -> tuple[tuple[str, re.Pattern[str] | None], ...]:
    """The regions that are listed under this code, each with what settles by the first digits that a number is its."""
    regions = REGIONS_BY_CODE[calling_code]
    if len(regions) == 1:
        return ((regions[0], None),)
    leading_digits = [metadata_of(calling_code, region).leading_digits for region in regions]
    return tuple(
        (region, re.compile(digits) if digits else None) for region, digits in zip(regions, leading_digits, strict=True)
    )
