"""How national numbers are dialled in a country: prefixes put on, left out, or both.

The rules are those of phonenumbers' `parse`, less two of its liberties, which a telephone network does not
take either: a national prefix behind a calling code (+31 0612345678), and a national prefix left out where
the country needs it (612345678 in the Netherlands).
"""

import re
from functools import cache
from typing import NamedTuple

from msgspec import Struct
from phonenumbers.phonemetadata import NumberFormat

from callctl.numbering.plans import (
    CODE_BY_COUNTRY,
    REGIONS_BY_CODE,
    international,
    metadata_of,
    plan_of,
    significant_number,
)
from callctl.numbering.values import Number

KEYS = r"[0-9*#]{1,32}"
"""Pattern of what a phone can dial, but for a plus in front."""


class Writing(NamedTuple):
    """Numbers that are written alike in their country, with or without the national prefix."""

    leading: re.Pattern[str] | None
    pattern: re.Pattern[str]
    needs_prefix: bool


class Home(Struct, frozen=True, eq=False, gc=False):
    """The dialling habits of one country."""

    country: str
    calling_code: str
    pattern: re.Pattern[str]
    """Of its national numbers, whatever their kind."""
    lengths: frozenset[int]
    longest: int
    prefix: re.Pattern[str] | None
    prefix_becomes: str | None
    """Template for what was matched by `prefix`: in Jersey a local 456789 becomes 1534456789."""
    international_prefix: str | None
    """Pattern of what is dialled before a calling code."""
    writings: tuple[Writing, ...]
    """The first that suits a number is how it is written."""

    def national(self, dialled: str, prefix: str | None) -> Number | None:
        """The valid number that `dialled` reaches within the country; a `prefix` replaces the country's own."""
        if dialled.startswith(self.calling_code) and self.has_own_code(dialled):
            return international(dialled)
        significant = self.without_prefix(dialled) if prefix is None else dialled.removeprefix(prefix)
        if significant == dialled and prefix != "" and self.needs_prefix(dialled):
            return None
        return significant_number(self.calling_code, significant)

    def without_prefix(self, dialled: str) -> str:
        """`dialled` less the national prefix and carrier code, or unchanged if that would spoil a number."""
        match = self.prefix.match(dialled) if self.prefix is not None else None
        if match is None:
            return dialled
        rest = dialled[match.end() :]
        if self.prefix_becomes and match.groups()[-1] is not None:
            rest = match.expand(self.prefix_becomes) + rest
        if len(rest) not in self.lengths and len(rest) <= self.longest:
            return dialled
        spoilt = self.pattern.fullmatch(dialled) and not self.pattern.fullmatch(rest)
        return dialled if spoilt else rest

    def has_own_code(self, dialled: str) -> bool:
        """Whether digits that begin with the calling code are no national number, but become one without it."""
        rest = self.without_prefix(dialled.removeprefix(self.calling_code))
        gains = not self.pattern.fullmatch(dialled) and self.pattern.fullmatch(rest) is not None
        return gains or len(dialled) > self.longest

    def needs_prefix(self, significant: str) -> bool:
        """Whether the country writes this national significant number with its national prefix."""
        for leading, pattern, needs_prefix in self.writings:
            if (leading is None or leading.match(significant)) and pattern.fullmatch(significant):
                return needs_prefix
        return False


@cache
def home_of(country: str) -> Home:
    """The dialling habits of a country that the tables know."""
    calling_code = CODE_BY_COUNTRY[country]
    metadata = metadata_of(calling_code, country)
    prefix, plan = metadata.national_prefix_for_parsing, plan_of(calling_code, country)
    # Regions that share a calling code write their numbers as the first of them does.
    written = metadata_of(calling_code, REGIONS_BY_CODE[calling_code][0]).number_format
    return Home(
        country=country,
        calling_code=calling_code,
        pattern=plan.pattern,
        lengths=frozenset(plan.by_length),
        longest=max(plan.by_length),
        prefix=re.compile(prefix) if prefix else None,
        prefix_becomes=metadata.national_prefix_transform_rule,
        international_prefix=metadata.international_prefix,
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
