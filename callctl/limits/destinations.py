"""Class of service: which destinations an account or trunk may call, and when (`docs/rules.md`, Destinations).

Rules are written as people read them and asked as tables: what a call costs does not grow with their number.
"""

from collections.abc import Iterable
from enum import StrEnum
from functools import lru_cache

import msgspec

from callctl.numbering import Number, NumberType
from callctl.rating.bands import parse_band
from callctl.rating.schedule import holds
from callctl.rating.tariff import Band, TrafficClass


class Barring(StrEnum):
    """Rules that many want, by name. They hold whenever a call is made."""

    NO_INTERNATIONAL = "no_international"
    NO_PREMIUM = "no_premium"
    NO_HIGH_RISK = "no_high_risk"


class Destination(msgspec.Struct, frozen=True, gc=False):
    """Where and when a call goes, as one owner of rules sees it.

    `name`, `type`: of its row; `abroad`: from the owner's country. `at_s`: wall second of the offer; `timezone`: by
    whose clock the rules' bands are read.
    """

    number: Number
    name: str
    type: str
    traffic_class: TrafficClass
    abroad: bool
    at_s: int
    timezone: str


class DestinationRule(msgspec.Struct, frozen=True):
    """Matches a call when every term that is given matches it: digits of E.164, type, class, destination, time.

    `days`, `from_time`, `until_time`, `dates`, `holidays` are written as in a deck (`rating.bands`). ValueError (in
    decoding, msgspec.ValidationError) where they are no band.
    """

    prefix: str | None = None
    type: str | None = None
    traffic_class: TrafficClass | None = None
    destination: str | None = None
    days: str = ""
    from_time: str = ""
    until_time: str = ""
    dates: str = ""
    holidays: str = ""

    def __post_init__(self) -> None:
        self.band()

    def band(self) -> Band | None:
        """When it holds; None: always."""
        return parse_band((self.days, self.from_time, self.until_time, self.dates, self.holidays, ""))

    def __str__(self) -> str:
        terms = (
            ("prefix", self.prefix), ("type", self.type), ("class", self.traffic_class),
            ("destination", self.destination), ("days", self.days), ("from", self.from_time),
            ("to", self.until_time), ("dates", self.dates), ("holidays", self.holidays),
        )  # fmt: skip
        return " ".join(f"{name}={value}" for name, value in terms if value) or "everything"


class DestinationRules(msgspec.Struct, frozen=True, cache_hash=True):
    """The rules of one owner. A number of `allow_numbers` is never barred by them, whatever else they say.

    All others are barred by `deny_numbers`, by a preset, by `deny`, and, where `allow` is not empty, unless it names
    them.
    """

    presets: tuple[Barring, ...] = ()
    allow: tuple[DestinationRule, ...] = ()
    deny: tuple[DestinationRule, ...] = ()
    allow_numbers: tuple[str, ...] = ()
    deny_numbers: tuple[str, ...] = ()

    def barred_by(self, call: Destination) -> str | None:
        """The rule that bars the call in words, or None."""
        tables = _compiled(self)
        if call.number.e164 in tables.allow_numbers:
            return None
        if call.number.e164 in tables.deny_numbers:
            return f"denied: number {call.number.e164}"
        for preset in self.presets:
            if _BARRED[preset](call):
                return f"denied: {preset}"
        rule = tables.deny.find(call)
        if rule is not None:
            return f"denied: {rule}"
        if self.allow and tables.allow.find(call) is None:
            return "not on the allow list"
        return None


def _international(call: Destination) -> bool:
    dear = call.traffic_class in (TrafficClass.PREMIUM, TrafficClass.HIGHRISK)
    return call.traffic_class is TrafficClass.INTL or (dear and call.abroad)


def _premium(call: Destination) -> bool:
    return NumberType.PREMIUM in (call.type, call.number.type) or call.traffic_class is TrafficClass.PREMIUM


def _high_risk(call: Destination) -> bool:
    return call.traffic_class is TrafficClass.HIGHRISK


_BARRED = {
    Barring.NO_INTERNATIONAL: _international,
    Barring.NO_PREMIUM: _premium,
    Barring.NO_HIGH_RISK: _high_risk,
}


class _Table:
    """Rules by prefix: a look-up per length of prefix that occurs, however many rules there are."""

    def __init__(self, rules: Iterable[DestinationRule]) -> None:
        self._by_prefix: dict[str, list[tuple[DestinationRule, Band | None]]] = {}
        for rule in rules:
            self._by_prefix.setdefault(rule.prefix or "", []).append((rule, rule.band()))
        self._lengths = sorted({len(prefix) for prefix in self._by_prefix})

    def find(self, call: Destination) -> DestinationRule | None:
        """A rule that matches, the one with the shortest prefix first."""
        for length in self._lengths:
            for rule, band in self._by_prefix.get(call.number.digits[:length], ()):
                if (
                    (rule.type is None or rule.type == call.type)
                    and (rule.traffic_class is None or rule.traffic_class is call.traffic_class)
                    and (rule.destination is None or rule.destination == call.name)
                    and (band is None or holds(band, call.timezone, call.at_s))
                ):
                    return rule
        return None


class _Tables(msgspec.Struct, frozen=True):
    allow: _Table
    deny: _Table
    allow_numbers: frozenset[str]
    deny_numbers: frozenset[str]


@lru_cache(maxsize=16_384)
def _compiled(rules: DestinationRules) -> _Tables:
    """Accounts with equal rules share them."""
    return _Tables(
        _Table(rules.allow), _Table(rules.deny), frozenset(rules.allow_numbers), frozenset(rules.deny_numbers)
    )
