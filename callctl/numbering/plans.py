"""Numbering plans: the patterns of the phonenumbers library, compiled once and asked directly.

A parse and a validation by the library itself cost more than a whole admission. Which pattern is asked in
which order follows the library (`phonenumberutil.py`), and the tests prove the answers equal.
"""

import re
from functools import cache
from typing import NamedTuple

from phonenumbers import COUNTRY_CODE_TO_REGION_CODE, REGION_CODE_FOR_NON_GEO_ENTITY
from phonenumbers.phonemetadata import PhoneMetadata, PhoneNumberDesc

from callctl.errors import InvariantViolation
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


class Shape(NamedTuple):
    """How the national numbers of a plan look, whatever their kind."""

    lengths: frozenset[int]
    pattern: re.Pattern[str]


class Kinds(NamedTuple):
    """All numbers of one length. The pattern has a group per kind, the one to be asked first in front."""

    pattern: re.Pattern[str]
    by_group: tuple[NumberType, ...]


class Plan(NamedTuple):
    """The national numbers of one region (or of one code that belongs to no country)."""

    every: Shape
    by_length: dict[int, Kinds]

    def type_of(self, significant: str) -> NumberType | None:
        """Kind of a national significant number; None when the plan has no such number."""
        kinds = self.by_length.get(len(significant))
        match = kinds.pattern.fullmatch(significant) if kinds is not None else None
        return kinds.by_group[match.lastindex - 1] if kinds and match and match.lastindex else None


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
    regions = REGIONS_BY_CODE[calling_code]
    for region in regions:
        leading = leading_digits_of(calling_code, region) if len(regions) > 1 else None
        if leading is not None and not leading.match(significant):
            continue
        kind = plan_of(calling_code, region).type_of(significant)
        if kind is not None:
            digits = calling_code + significant
            return Number("+" + digits, digits, region, calling_code, kind)
        if leading is not None:
            return None
    return None


@cache
def emergency_numbers(country: str) -> re.Pattern[str]:
    """What full matches an emergency number of this country ("": of none that is known) or of everywhere."""
    metadata = PhoneMetadata.short_metadata_for_region(country) if country else None
    pattern = metadata and metadata.emergency and metadata.emergency.national_number_pattern
    return re.compile(f"{pattern}|{EVERYWHERE_EMERGENCY}" if pattern else EVERYWHERE_EMERGENCY)


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
        groups = "|".join(f"({text})" for text in here.values())
        by_length[length] = Kinds(re.compile(rf"(?=(?:{pattern})\Z)(?:{groups})"), tuple(here))
    return Plan(Shape(lengths, re.compile(pattern)), by_length)


def metadata_of(calling_code: str, region: str) -> PhoneMetadata:
    """The library's own data on a region that is listed under this code."""
    metadata = PhoneMetadata.metadata_for_region_or_calling_code(int(calling_code), region)
    if metadata is None:
        raise InvariantViolation(f"phonenumbers lists {region} under +{calling_code} but has no data on it")
    return metadata


@cache
def leading_digits_of(calling_code: str, region: str) -> re.Pattern[str] | None:
    """What settles, by the first digits, that a number of a shared calling code is this region's."""
    leading_digits = metadata_of(calling_code, region).leading_digits
    return re.compile(leading_digits) if leading_digits else None
