"""From what a line dialled to a number, an emergency number, or a CLI."""

import re
from collections.abc import Collection
from functools import cached_property, lru_cache

from msgspec import Struct, field

from callctl.numbering.home import KEYS
from callctl.numbering.line import LONGEST_DIALLED, Line, Reading, line_of
from callctl.numbering.plans import (
    CODE_BY_COUNTRY,
    LONGEST_CALLING_CODE,
    LONGEST_EMERGENCY,
    REGIONS_BY_CODE,
    calling_code_of,
    emergency_numbers,
    international,
)
from callctl.numbering.values import Number, NumberType

LONGEST_CALLER = 32
E164 = re.compile(r"\+[1-9][0-9]{3,14}")
NOT_OF_A_CALLER = re.compile(r"[^0-9A-Za-z+*#]")


class DialRules(Struct, frozen=True, forbid_unknown_fields=True, dict=True):
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
            if prefix and not re.fullmatch(KEYS, prefix):
                raise ValueError(f"{name}: {prefix!r} cannot be dialled")
        for number in (*self.short_codes, *self.emergency):
            if not re.fullmatch(KEYS, number):
                raise ValueError(f"short_codes, emergency: {number!r} cannot be dialled")
        for target in self.short_codes.values():
            if stated(target) is None:
                raise ValueError(f"short_codes: {target!r} is not of the form +31612001233")

    @cached_property
    def line(self) -> Line:
        """What numbers are read by, found once."""
        return line_of(self.country, self.national_prefix, self.international_prefix)

    @cached_property
    def longest_emergency(self) -> int:
        """Digits of the longest emergency number of the country and these rules, a calling code in front of it."""
        code, longest = LONGEST_CALLING_CODE, LONGEST_EMERGENCY
        if self.country:
            code, longest = len(CODE_BY_COUNTRY[self.country]), emergency_numbers(self.country).longest
        return code + max(longest, max(map(len, self.emergency), default=0))


def understood(dialled: str, rules: DialRules, own: Collection[str] = ()) -> tuple[str | None, Number | None]:
    """The `emergency_number` that was dialled, or else the number that `normalise` has for it."""
    number = _plain_number(dialled, rules)
    if number is not None and dialled not in rules.emergency and dialled not in own:
        return None, number
    readings = _readings(dialled, rules)
    helpline = _emergency(readings, rules, own)
    return helpline, _number(readings, rules) if helpline is None else None


def normalise(dialled: str, rules: DialRules) -> Number | None:
    """The valid number that was dialled; None for all else, emergency and other short numbers included.

    Read as the first of: short code, plus, international prefix, own calling code bare, national number.
    Digits, a leading plus, `*`, `#` and the separators ` -.()/` are accepted, other characters are not.
    """
    return _plain_number(dialled, rules) or _number(_readings(dialled, rules), rules)


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
    return _emergency(_readings(dialled, rules), rules, own)


def _plain_number(dialled: str, rules: DialRules) -> Number | None:
    """A plain national number that nothing in the rules comes before; None where that is not settled."""
    plain, access = rules.line.plain, rules.access_prefix
    if plain is None or dialled in rules.short_codes or (access and dialled.startswith(access)):
        return None
    return plain.number(dialled)


def _readings(dialled: str, rules: DialRules) -> tuple[Reading, ...]:
    """The ways to read what was dialled, the one behind the access prefix first; none where no phone can dial it."""
    line, access = rules.line, rules.access_prefix
    whole = line.reading(dialled)
    if whole is None:
        return ()
    keys, _ = whole
    if not access or not keys.startswith(access):
        return (whole,)
    behind = line.reading(keys.removeprefix(access))
    return (behind, whole) if behind is not None else (whole,)


def _number(readings: tuple[Reading, ...], rules: DialRules) -> Number | None:
    for keys, abroad in readings:
        target = rules.short_codes.get(keys)
        number = rules.line.number(keys, abroad) if target is None else stated(target)
        if number is not None:
            return number
    return None


def _emergency(readings: tuple[Reading, ...], rules: DialRules, own: Collection[str]) -> str | None:
    longest = rules.longest_emergency
    if own:
        longest = max(longest, LONGEST_CALLING_CODE + max(map(len, own)))
    for keys, abroad in readings:
        zeros = keys[2:] if keys.startswith("00") else None
        if len(abroad or zeros or keys) > longest:
            continue
        made = (*_made_international(abroad, rules), *_made_international(zeros, rules))
        for number, country in ((keys, rules.country), *made):
            if number in rules.emergency or number in own or emergency_numbers(country).pattern.fullmatch(number):
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
    return cli(a_number, rules.line)


@lru_cache(maxsize=16_384)
def cli(a_number: str, line: Line) -> str:
    reading = line.reading(a_number)
    number = line.number(*reading) if reading is not None else None
    return number.e164 if number else NOT_OF_A_CALLER.sub("", a_number[:LONGEST_DIALLED])[:LONGEST_CALLER]
