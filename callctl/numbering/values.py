"""What is known of a number, and how an account dials."""

from enum import StrEnum

from msgspec import Struct, field


class NumberType(StrEnum):
    """Kind of a number, as numbering plans tell it. NANP numbers are FIX_OR_MOB: there the plan does not."""

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


class Number(Struct, frozen=True):
    """A valid number in its E.164 form."""

    e164: str
    digits: str
    """E.164 without the plus: what rate decks match on."""
    country: str
    """ISO 3166 region, or "001" where the number belongs to no country (+800, +882 ...)."""
    calling_code: str
    type: NumberType


class DialRules(Struct, frozen=True, forbid_unknown_fields=True):
    """How the lines of an account dial. The defaults accept the international form with a plus, and nothing else."""

    country: str = ""
    """ISO 3166 region whose national numbers, prefixes and emergency numbers hold; "" for none."""
    national_prefix: str | None = None
    """Dialled before a national number ("0"); None takes the country's own, "" means that there is none."""
    international_prefix: str | None = None
    """Dialled before a calling code ("00"); None takes the country's own, "" means that there is none."""
    access_prefix: str = ""
    """Dialled for an outside line ("9") and taken off when what follows is a number."""
    short_codes: dict[str, str] = field(default_factory=dict)
    """What is dialled -> its target in E.164 form, such as {"1233": "+31612001233"}."""
    emergency: tuple[str, ...] = ()
    """Emergency numbers of this account beside those of its country."""
