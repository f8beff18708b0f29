"""What is known of a number."""

from enum import StrEnum

from msgspec import Struct


class NumberType(StrEnum):
    """Kind of a number by its plan: FIX_OR_MOB where the plan cannot tell them apart, as in NANP.

    UNKNOWN is only the target of a short code that no plan has.
    """

    FIX = "FIX"
    MOB = "MOB"
    FIX_OR_MOB = "FIX_OR_MOB"
    PREMIUM = "PREMIUM"
    FREEPHONE = "FREEPHONE"
    SHARED = "SHARED"
    VOIP = "VOIP"
    PERSONAL = "PERSONAL"
    PAGER = "PAGER"
    UAN = "UAN"
    VOICEMAIL = "VOICEMAIL"
    UNKNOWN = "UNKNOWN"


class Number(Struct, frozen=True, gc=False):
    """A number in its E.164 form."""

    e164: str
    digits: str
    """E.164 without the plus: what rate decks match on."""
    country: str
    """ISO 3166 region, or "001" where the number belongs to no country (+800, +882 ...)."""
    calling_code: str
    type: NumberType
