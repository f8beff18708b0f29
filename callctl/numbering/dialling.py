"""From what a line dialled to a number, an emergency number, or a CLI."""

import re
from collections.abc import Collection
from functools import lru_cache

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
            if not E164.fullmatch(target) or calling_code_of(target[1:]) is None:
                raise ValueError(f"short_codes: {target!r} is not of the form +31612001233")


def normalise(dialled: str, rules: DialRules) -> Number | None:
    """The valid number that was dialled; None for all else, emergency and other short numbers included.

    Read as the first of: short code, plus, international prefix, own calling code bare, national number.
    Digits, a leading plus, `*`, `#` and the separators ` -.()/` are accepted, other characters are not.
    """
    keys = _keys(dialled)
    if keys is None:
        return None
    for outside in _without_access_prefix(keys, rules):
        target = rules.short_codes.get(outside)
        number = _number(outside, rules) if target is None else _target(target)
        if number is not None:
            return number
    return None


def emergency_number(dialled: str, rules: DialRules, own: Collection[str] = ()) -> str | None:
    """The emergency number that was dialled, exactly: one of the country, of the rules or of `own`; None for all else.

    With or without the access prefix, and as equipment that makes everything international has it: +31112, 0031112,
    +112 and 00112 are 112. No number of a plan is lost by that: none is so short.
    """
    keys = _keys(dialled)
    if keys is None:
        return None
    for outside in _without_access_prefix(keys, rules):
        for number, country in ((outside, rules.country), *_made_international(outside, rules)):
            if number in rules.emergency or number in own or emergency_numbers(country).fullmatch(number):
                return number
    return None


def _made_international(keys: str, rules: DialRules) -> tuple[tuple[str, str], ...]:
    """What may stand behind a plus or an international prefix, with the country whose emergency number it may be."""
    digits = keys[1:] if keys.startswith("+") else _behind_international_prefix(keys, rules)
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
    keys = _keys(a_number)
    number = _number(keys, rules) if keys else None
    return number.e164 if number else NOT_OF_A_CALLER.sub("", a_number[:LONGEST_DIALLED])[:LONGEST_CALLER]


@lru_cache(maxsize=16_384)
def _keys(dialled: str) -> str | None:
    if len(dialled) > LONGEST_DIALLED:
        return None
    keys = dialled.translate(VISUAL_SEPARATORS)
    return keys if DIALLED.fullmatch(keys) else None


def _without_access_prefix(keys: str, rules: DialRules) -> tuple[str, ...]:
    """The readings of what was dialled: the one behind the access prefix comes first."""
    prefix = rules.access_prefix
    return (keys[len(prefix) :], keys) if prefix and keys.startswith(prefix) else (keys,)


def _number(keys: str, rules: DialRules) -> Number | None:
    if keys.startswith("+"):
        return international(keys[1:])
    abroad = _behind_international_prefix(keys, rules)
    if abroad is not None:
        return international(abroad)
    number = national(keys, rules.country, rules.national_prefix) if rules.country else None
    return international(keys) if number is None and rules.international_prefix == "" else number


def _target(e164: str) -> Number | None:
    """The number that a short code stands for, of UNKNOWN kind where its plan has no such number."""
    digits = e164[1:]
    number, calling_code = international(digits), calling_code_of(digits)
    if number is None and calling_code is not None:
        return Number(e164, digits, REGIONS_BY_CODE[calling_code][0], calling_code, NumberType.UNKNOWN)
    return number


def _behind_international_prefix(keys: str, rules: DialRules) -> str | None:
    if rules.international_prefix is not None:
        prefix = rules.international_prefix
        rest = keys[len(prefix) :] if prefix and keys.startswith(prefix) else None
    else:
        pattern = home_of(rules.country).international_prefix if rules.country else None
        match = pattern.match(keys) if pattern else None
        rest = keys[match.end() :] if match else None
    # No calling code begins with 0: behind a 0, this was a national number after all.
    return None if rest is None or rest.startswith("0") else rest
