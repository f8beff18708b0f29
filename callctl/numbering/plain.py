"""National numbers as nearly all of them are dialled, read at once.

`Home` asks in turn what a number could be, as the library does. Of most, two questions leave nothing to ask: whether
a national prefix begins it and no other does, and whether the country's own plan has the rest. What they do not
settle is read by `Home`, and may be a number all the same.
"""

import re

from msgspec import Struct

from callctl.numbering.home import KEYS, Home
from callctl.numbering.plans import NOTHING, Kinds, emergency_numbers, plan_of, regions_of
from callctl.numbering.values import Number


class Plain(Struct, frozen=True, eq=False, gc=False):
    """The numbers of one country that are dialled so."""

    country: str
    calling_code: str
    prefix: re.Pattern[str]
    """Matches as far as the national prefix goes where nothing but a national number can follow."""
    by_length: dict[int, Kinds]

    def number(self, dialled: str) -> Number | None:
        """The number that was dialled, no emergency number of the country; None where that is not settled."""
        match = self.prefix.match(dialled)
        if match is None:
            return None
        significant = dialled[match.end() :]
        kinds = self.by_length.get(len(significant))
        kind = kinds.kind(significant) if kinds is not None else None
        if kind is None:
            return None
        digits = self.calling_code + significant
        return Number("+" + digits, digits, self.country, self.calling_code, kind)


def plain_of(home: Home, abroad: str, national_prefix: str | None) -> Plain:
    """The plain numbers of a country. `abroad`: pattern of what leads out of it.

    `national_prefix` replaces the country's own.
    """
    country, calling_code = home.country, home.calling_code
    prefix = home.prefix.pattern if home.prefix is not None else NOTHING
    if national_prefix is not None:
        prefix = re.escape(national_prefix)
    elif any(writing.needs_prefix for writing in home.writings):
        prefix = rf"(?>{prefix})(?!\A)"
    else:
        prefix = rf"(?>{prefix}|)"
    by_length: dict[int, Kinds] = {}
    # Not where another country is asked first, or where a prefix becomes digits of the number.
    if regions_of(calling_code)[0] == (country, None) and home.prefix_becomes is None:
        longest_emergency = emergency_numbers(country).longest
        every = plan_of(calling_code, country).by_length
        by_length = {length: kinds for length, kinds in every.items() if length > longest_emergency}
    pattern = re.compile(rf"(?={KEYS}\Z)(?!00|{calling_code}|{abroad}){prefix}")
    return Plain(country, calling_code, pattern, by_length)
