"""How numbers are dialled on the lines of an account: as in its country, or by prefixes of its own."""

import re
from collections.abc import Iterator
from functools import lru_cache

from msgspec import Struct

from callctl.numbering.home import KEYS, Home, home_of
from callctl.numbering.plain import Plain, plain_of
from callctl.numbering.plans import (
    CODE_BY_COUNTRY,
    NOTHING,
    REGIONS_BY_CODE,
    emergency_numbers,
    international,
    plan_of,
    regions_of,
)
from callctl.numbering.values import Number

# E.164 has 15 digits; prefixes, and what people type between the digits, come on top.
LONGEST_DIALLED = 64
VISUAL_SEPARATORS = str.maketrans("", "", " -.()/")

Reading = tuple[str, str | None]
"""One way to read what was dialled: its keys, and those behind a plus or an international prefix."""


class Line(Struct, frozen=True, eq=False, gc=False):
    """What `DialRules` with the same country and prefixes read numbers by."""

    home: Home | None
    national_prefix: str | None
    dialled: re.Pattern[str]
    """Matches whatever a phone can dial, as far as a plus or an international prefix goes."""
    bare: bool
    """Whether E.164 digits are read without either of them, unless they are a national number."""
    plain: Plain | None
    """Of the country."""

    def reading(self, dialled: str) -> Reading | None:
        """What was dialled, less what people type between the digits; None where no phone can dial it."""
        match = self.dialled.match(dialled)
        if match is None and len(dialled) <= LONGEST_DIALLED:
            dialled = dialled.translate(VISUAL_SEPARATORS)
            match = self.dialled.match(dialled)
        if match is None:
            return None
        prefix_end = match.end()
        return dialled, dialled[prefix_end:] if prefix_end else None

    def number(self, keys: str, abroad: str | None) -> Number | None:
        """The valid number that a reading reaches."""
        if abroad is not None:
            return international(abroad)
        number = self.home.national(keys, self.national_prefix) if self.home is not None else None
        if number is None and self.bare:
            return international(keys)
        return number


@lru_cache(maxsize=1024)
def line_of(country: str, national_prefix: str | None, international_prefix: str | None) -> Line:
    """The line of `DialRules`; the same for all accounts that dial alike."""
    home = home_of(country) if country else None
    prefix = home.international_prefix if home is not None else None
    if international_prefix is not None:
        prefix = re.escape(international_prefix)
    # No calling code begins with 0: behind a prefix and a 0, this is a national number after all.
    abroad = rf"(?>{prefix})(?!0)" if prefix else NOTHING
    dialled = re.compile(rf"(?=\+?{KEYS}\Z)(?:\+|{abroad})?")
    plain = plain_of(home, abroad, national_prefix) if home is not None else None
    return Line(home, national_prefix, dialled, international_prefix == "", plain)


def warm_up() -> Iterator[str]:
    """Compile everything, one region a step of a few ms, yielding its name: pause in between as you like."""
    for calling_code, regions in REGIONS_BY_CODE.items():
        regions_of(calling_code)
        for region in regions:
            plan_of(calling_code, region)
            if region in CODE_BY_COUNTRY:
                line_of(region, None, None)
                emergency_numbers(region)
            yield region
