"""Tariffs as a provider writes them down: a plan, and one row per line of its deck. Values only.

Amounts are micro-units (10^-6 of the currency), prices per minute 10^-8 of it, times ms since the epoch.
"""

from enum import StrEnum

import msgspec

from callctl.money import Rounding
from callctl.numbering import NumberType
from callctl.rating.tax import Tax

MAX_PREFIX_DIGITS = 15  # E.164
MAX_UNITS = 1_000_000
"""Of the currency, per call or per minute: a call of a day costs less than `money.MAX_MICROS`."""

PERCENT = 10_000
"""What one percent is in `Row.percent`, which counts millionths of the purchase price."""


class Direction(StrEnum):
    """Which way a call goes, seen from the account that pays."""

    OUTBOUND = "outbound"
    INBOUND = "inbound"
    INTERNAL = "internal"


class TrafficClass(StrEnum):
    """What kind of traffic a row is, for the spend thresholds; in their order of precedence."""

    EMERGENCY = "EMERGENCY"
    HIGHRISK = "HIGHRISK"
    PREMIUM = "PREMIUM"
    INTL = "INTL"
    MOB = "MOB"
    NAT = "NAT"
    ONNET = "ONNET"
    INTERNAL = "INTERNAL"


class IncrementBasis(StrEnum):
    """Where increments count from.

    20/6 bills 15 s and 21 s as 20 and 26 (after the initial block), 24 and 24 (the total is rounded), or 20 and 24
    (the total is rounded where it is beyond the initial block).
    """

    AFTER_INITIAL = "after_initial"
    TOTAL = "total"
    TOTAL_BEYOND_INITIAL = "total_beyond_initial"


class Preset(StrEnum):
    """Another system whose conventions a plan takes on (`presets`)."""

    A2BILLING = "a2billing"
    ASTERISK = "asterisk"
    ASTPP = "astpp"
    CGRATES = "cgrates"
    KAZOO = "kazoo"
    KOLMISOFT = "kolmisoft"
    MAGNUSBILLING = "magnusbilling"
    PEEREDGE = "peeredge"


DAY_MIN = 24 * 60


class Band(msgspec.Struct, frozen=True, array_like=True, gc=False, omit_defaults=True, cache_hash=True):
    """When a row holds, by the clock of its plan's zone. Every term that is stated narrows it.

    `days`: ISO days of the week, Monday is 1; empty: every day.
    `from_min`, `until_min`: minutes of the local day. A band whose end is not after its beginning runs over
    midnight, and belongs to the day on which it begins.
    `dates`: first and last day of each range, as the number YYYYMMDD, or MMDD for every year; empty: any date.
    `holidays`: public holidays alone, of this code ("NL", "DE-BY").
    `weight`: of the bands that hold at a moment the heaviest prices it.
    """

    days: tuple[int, ...] = ()
    from_min: int = 0
    until_min: int = DAY_MIN
    dates: tuple[tuple[int, int], ...] = ()
    holidays: str | None = None
    weight: int = 0


class Chosen(msgspec.Struct, frozen=True, cache_hash=True, kw_only=True):
    """Which calls a bundle or block is for: empty terms take any. `types`: of the matched row, as in a CDR."""

    prefixes: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    direction: Direction = Direction.OUTBOUND

    def takes(self, digits: str, type: str, direction: Direction) -> bool:
        return (
            direction is self.direction
            and (not self.prefixes or digits.startswith(self.prefixes))
            and (not self.types or type in self.types)
        )


class Bundle(Chosen, frozen=True, cache_hash=True, kw_only=True):
    """Free seconds of every local month of each account that the plan charges.

    `rollover`: what is left of a month lives through the next, and is used first. `since_ms`: when the plan got it.
    """

    name: str
    seconds: int
    rollover: bool = False
    since_ms: int | None = None


class Plan(msgspec.Struct, frozen=True, cache_hash=True):
    """A tariff plan: what holds for all its rows.

    `buy_plan`: the carrier's plan, which percent rows and margins of a root account look at.
    `round_seconds`: initial and subsequent increment (s) of rows that name none.
    `round_decimals`, `rounding`: of a charge; `duration_rounding`: of measured ms to whole seconds.
    `grace_beats_minimum`: false: grace frees no call on a row that has a minimum (in seconds or money).
    `effective_ms`: before it, the plan is what it `extends`. `extends`: the plan whose rows it inherits.
    `taxes`: on every charge by this plan, of whoever is liable (`Account.bears`).
    `preset`: whose conventions it was given, where it stated none of its own; a charge does not look at it.
    `owner`: the account for whose customers it is; None: for everybody's.
    """

    id: str
    currency: str = "EUR"
    timezone: str = "UTC"
    buy_plan: str | None = None
    round_seconds: int = 1
    round_decimals: int = 4
    rounding: Rounding = Rounding.HALF_UP
    duration_rounding: Rounding = Rounding.UP
    increment_basis: IncrementBasis = IncrementBasis.AFTER_INITIAL
    grace_beats_minimum: bool = True
    bill_on_net: bool = False
    taxes: tuple[Tax, ...] = ()
    effective_ms: int | None = None
    extends: str | None = None
    preset: Preset | None = None
    bundles: tuple[Bundle, ...] = ()
    owner: str | None = None


class Row(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, cache_hash=True):
    """One line of a deck. Exactly one of `per_minute` and `percent` is set; None elsewhere: not stated.

    `prefix`: digits of E.164 without "+"; empty for the default row.
    `percent`: of the level's purchase price per minute, in millionths of it (175 % is 1_750_000).
    `grace_s`: calls this short are free. `free_s`: come off every call before increments are counted.
    `tier_from_s`: charged second from which this price holds; rows that differ in it are one stepped price.
    `band`: when it holds; None: always. Rows that differ in it, or in their tier, are one price.
    `extra_fee`: charged once when the call is longer than `extra_at_s`.
    `valid_from_ms`: first moment at which the row holds; `valid_until_ms`: first at which it no longer does.
    """

    prefix: str
    destination: str = ""
    type: NumberType | None = None
    connection_fee: int = 0
    per_minute: int | None = None
    percent: int | None = None
    initial_s: int | None = None
    increment_s: int | None = None
    min_charge: int = 0
    max_charge: int | None = None
    grace_s: int = 0
    free_s: int = 0
    tier_from_s: int = 0
    extra_at_s: int | None = None
    extra_fee: int = 0
    valid_from_ms: int | None = None
    valid_until_ms: int | None = None
    direction: Direction = Direction.OUTBOUND
    traffic_class: TrafficClass | None = None
    band: Band | None = None

    @property
    def name(self) -> str:
        """How a CDR and a trace call the row: "31:MOB", "3161", "default:FIX"."""
        prefix = self.prefix or "default"
        return f"{prefix}:{self.type}" if self.type else prefix
