"""From what a line dialled to a number, an emergency number, or a CLI."""

import re
from collections.abc import Collection
from functools import lru_cache
from typing import NamedTuple

from msgspec import Struct, field

from callctl.numbering.home import home_of, national
from callctl.numbering.plans import (
    CODE_BY_COUNTRY,
    REGIONS_BY_CODE,
    calling_code_of,
    emergency_numbers,
    international,
)
from callctl.numbering.values import Number, NumberType

# E.164 has 15 digits; prefixes, and what people type between the digits, come on top.
LONGEST_DIALLED = 64
LONGEST_CALLER = 32
VISUAL_SEPARATORS = str.maketrans("", "", " -.()/")
DIALLED = re.compile(r"\+?[0-9*#]{1,32}")
KEYS = re.compile(r"[0-9*#]{1,32}")
E164 = re.compile(r"\+[1-9][0-9]{3,14}")
NOT_OF_A_CALLER = re.compile(r"[^0-9A-Za-z+*#]")


class DialRules(Struct, frozen=True, forbid_unknown_fields=True):
    """How the lines of an account dial. The defaults accept the international form with a plus, nothing else.

    ValueError (in decoding, msgspec.ValidationError) for a country, prefix or number that cannot work.
    """

    country: str = ""
    """ISO 3166 region whose national numbers, prefixes and emergency numbers hold; "" for none."""
    national_prefix: str | None = None
    """Dialled before a national number ("0"); None takes the country's own, "" means that there is none."""
    international_prefix: str | None = None
    """Dialled before a calling code ("00"); None takes the country's own, "" means that there is none:
    31612345678 is then +31612345678 from everywhere, unless it is a national number."""
    access_prefix: str = ""
    """Dialled for an outside line ("9"); taken off when a number follows, but not required."""
    short_codes: dict[str, str] = field(default_factory=dict)
    """What is dialled -> its target in E.164 form: {"*1233": "+31612001233"}. The target is taken at its
    word, so that short numbers outside the E.164 plan can have one: {"1888": "+311888"}."""
    emergency: tuple[str, ...] = ()
    """Emergency numbers, as dialled, beside those of the country."""

    def __post_init__(self) -> None:
        if self.country and self.country not in CODE_BY_COUNTRY:
            raise ValueError(f"country: {self.country!r} is not an ISO 3166 region such as 'NL'")
        for name in ("national_prefix", "international_prefix", "access_prefix"):
            prefix = getattr(self, name)
            if prefix and not KEYS.fullmatch(prefix):
                raise ValueError(f"{name}: {prefix!r} cannot be dialled")
        for number in (*self.short_codes, *self.emergency):
            if not KEYS.fullmatch(number):
                raise ValueError(f"short_codes, emergency: {number!r} cannot be dialled")
        for target in self.short_codes.values():
            if stated(target) is None:
                raise ValueError(f"short_codes: {target!r} is not of the form +31612001233")


def normalise(dialled: str, rules: DialRules) -> Number | None:
    """The valid number that was dialled; None for all else, emergency and other short numbers included.

    Read as the first of: short code, plus, international prefix, own calling code bare, national number.
    Digits, a leading plus, `*`, `#` and the separators ` -.()/` are accepted, other characters are not.
    """
    for keys, _, number in _readings(dialled, rules):
        target = rules.short_codes.get(keys)
        reached = number if target is None else stated(target)
        if reached is not None:
            return reached
    return None


def stated(e164: str) -> Number | None:
    """The number of this E.164 form, taken at its word: of UNKNOWN kind where its plan has no such number.

    None for what is not of that form, and under a calling code that nobody has.
    """
    if not E164.fullmatch(e164):
        return None
    digits = e164[1:]
    number, calling_code = international(digits), calling_code_of(digits)
    if number is None and calling_code is not None:
        return Number(e164, digits, REGIONS_BY_CODE[calling_code][0], calling_code, NumberType.UNKNOWN)
    return number


def emergency_number(dialled: str, rules: DialRules, own: Collection[str] = ()) -> str | None:
    """The emergency number that was dialled, exactly: one of the country, of the rules or of `own`; None for all else.

    With or without the access prefix, and as equipment that makes everything international has it: +31112, 0031112,
    +112 and 00112 are 112, also where a country's own prefix is another. No number of a plan is lost by that: none is
    so short.
    """
    for keys, abroad, _ in _readings(dialled, rules):
        zeros = keys[2:] if keys.startswith("00") else None
        made = (*_made_international(abroad, rules), *_made_international(zeros, rules))
        for number, country in ((keys, rules.country), *made):
            if number in rules.emergency or number in own or emergency_numbers(country).fullmatch(number):
                return number
    return None


def _made_international(digits: str | None, rules: DialRules) -> tuple[tuple[str, str], ...]:
    """What stands behind a plus or an international prefix, with the country whose emergency number it may be."""
    if not digits:
        return ()
    code = CODE_BY_COUNTRY[rules.country] if rules.country else calling_code_of(digits)
    if code is None or not digits.startswith(code):
        return ((digits, rules.country),)
    return (digits, rules.country), (digits[len(code) :], rules.country or REGIONS_BY_CODE[code][0])


def caller(a_number: str, rules: DialRules) -> str:
    """CLI of an A-number, be it withheld or garbled: E.164 if it is a number, else its letters and keys.

    At most 32 ASCII characters, perhaps none. Short codes and the access prefix are not read: nobody dialled.
    """
    readings = read(a_number, rules.country, rules.national_prefix, rules.international_prefix)
    number = readings[0].number if readings else None
    return number.e164 if number else NOT_OF_A_CALLER.sub("", a_number[:LONGEST_DIALLED])[:LONGEST_CALLER]


class Reading(NamedTuple):
    """One way to read what was dialled: its keys, those behind a plus or an international prefix, its number."""

    keys: str
    abroad: str | None
    number: Number | None


def _readings(dialled: str, rules: DialRules) -> tuple[Reading, ...]:
    """The ways to read what was dialled."""
    return read(dialled, rules.country, rules.national_prefix, rules.international_prefix, rules.access_prefix)


@lru_cache(maxsize=16_384)
def read(
    dialled: str, country: str, national_prefix: str | None, international_prefix: str | None, access_prefix: str = ""
) -> tuple[Reading, ...]:
    """The ways to read what was dialled, by these of its `DialRules`: the one behind the access prefix comes first.

    There is none where no phone can dial it.
    """
    if len(dialled) > LONGEST_DIALLED:
        return ()
    keys = dialled.translate(VISUAL_SEPARATORS)
    if not DIALLED.fullmatch(keys):
        return ()
    whole = _reading(keys, country, national_prefix, international_prefix)
    if not access_prefix or not keys.startswith(access_prefix):
        return (whole,)
    return _reading(keys[len(access_prefix) :], country, national_prefix, international_prefix), whole


def _reading(keys: str, country: str, national_prefix: str | None, international_prefix: str | None) -> Reading:
    abroad = keys[1:] if keys.startswith("+") else _behind_international_prefix(keys, country, international_prefix)
    if abroad is not None:
        return Reading(keys, abroad, international(abroad))
    number = national(keys, country, national_prefix) if country else None
    if number is None and international_prefix == "":
        number = international(keys)
    return Reading(keys, None, number)


def _behind_international_prefix(keys: str, country: str, prefix: str | None) -> str | None:
    if prefix is not None:
        rest = keys[len(prefix) :] if prefix and keys.startswith(prefix) else None
    else:
        pattern = home_of(country).international_prefix if country else None
        match = pattern.match(keys) if pattern else None
        rest = keys[match.end() :] if match else None
    # No calling code begins with 0: behind a 0, this was a national number after all.
    return None if rest is None or rest.startswith("0") else rest
