"""How national numbers are dialled in a country: prefixes put on, left out, or both.

The rules are those of phonenumbers' `parse`, less two of its liberties, which a telephone network does not
take either: a national prefix behind a calling code (+31 0612345678), and a national prefix left out where
the country needs it (612345678 in the Netherlands).
"""

import re
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

from phonenumbers.phonemetadata import NumberFormat

from callctl.numbering.plans import (
    CODE_BY_COUNTRY,
    REGIONS_BY_CODE,
    Shape,
    emergency_numbers,
    international,
    leading_digits_of,
    metadata_of,
    plan_of,
    significant_number,
)
from callctl.numbering.values import Number


class Writing(NamedTuple):
    """Numbers that are written alike in their country, with or without the national prefix."""

    leading: re.Pattern[str] | None
    pattern: re.Pattern[str]
    needs_prefix: bool


class Home(NamedTuple):
    """The dialling habits of one country."""

    calling_code: str
    every: Shape
    prefix: re.Pattern[str] | None
    prefix_becomes: str | None
    """Template for what was matched by `prefix`: in Jersey a local 456789 becomes 1534456789."""
    international_prefix: re.Pattern[str] | None
    writings: tuple[Writing, ...]
    """The first that suits a number is how it is written."""

    def without_prefix(self, dialled: str) -> str:
        """`dialled` less the national prefix and carrier code, or unchanged if that would spoil a number."""
        match = self.prefix.match(dialled) if self.prefix else None
        if match is None:
            return dialled
        rest = dialled[match.end() :]
        if self.prefix_becomes and match.groups()[-1] is not None:
            rest = match.expand(self.prefix_becomes) + rest
        spoilt = self.every.pattern.fullmatch(dialled) and not self.every.pattern.fullmatch(rest)
        possible = len(rest) in self.every.lengths or len(rest) > max(self.every.lengths)
        return rest if possible and not spoilt else dialled

    def has_own_code(self, dialled: str) -> bool:
        """Whether the digits are no national number, but become one without the country's calling code."""
        if not dialled.startswith(self.calling_code):
            return False
        rest = self.without_prefix(dialled.removeprefix(self.calling_code))
        gains = not self.every.pattern.fullmatch(dialled) and self.every.pattern.fullmatch(rest) is not None
        return gains or len(dialled) > max(self.every.lengths)

    def needs_prefix(self, significant: str) -> bool:
        """Whether the country writes this national significant number with its national prefix."""
        for leading, pattern, needs_prefix in self.writings:
            if (leading is None or leading.match(significant)) and pattern.fullmatch(significant):
                return needs_prefix
        return False


def national(dialled: str, country: str, prefix: str | None) -> Number | None:
    """The valid number that `dialled` reaches within `country`; a `prefix` replaces the country's own."""
    home = home_of(country)
    if home.has_own_code(dialled):
        return international(dialled)
    significant = home.without_prefix(dialled) if prefix is None else dialled.removeprefix(prefix)
    if prefix != "" and significant == dialled and home.needs_prefix(dialled):
        return None
    return significant_number(home.calling_code, significant)


@cache
def home_of(country: str) -> Home:
    """The dialling habits of a country that the tables know."""
    calling_code = CODE_BY_COUNTRY[country]
    metadata = metadata_of(calling_code, country)
    prefix, abroad = metadata.national_prefix_for_parsing, metadata.international_prefix
    # Regions that share a calling code write their numbers as the first of them does.
    written = metadata_of(calling_code, REGIONS_BY_CODE[calling_code][0]).number_format
    return Home(
        calling_code=calling_code,
        every=plan_of(calling_code, country).every,
        prefix=re.compile(prefix) if prefix else None,
        prefix_becomes=metadata.national_prefix_transform_rule,
        international_prefix=re.compile(abroad) if abroad else None,
        writings=tuple(_writing(number_format) for number_format in written),
    )


def _writing(written: NumberFormat) -> Writing:
    rule = (written.national_prefix_formatting_rule or "").replace(r"\1", "")
    leading = written.leading_digits_pattern
    return Writing(
        # The last of these patterns is the most detailed one.
        leading=re.compile(leading[-1]) if leading else None,
        pattern=re.compile(written.pattern or ""),
        needs_prefix=re.search(r"\d", rule) is not None and not written.national_prefix_optional_when_formatting,
    )


def warm_up() -> Iterator[str]:
    """Compile everything, one region a step of a few ms, yielding its name: pause in between as you like."""
    for calling_code, regions in REGIONS_BY_CODE.items():
        for region in regions:
            plan_of(calling_code, region)
            leading_digits_of(calling_code, region)
            if region in CODE_BY_COUNTRY:
                home_of(region)
                emergency_numbers(region)
            yield region
