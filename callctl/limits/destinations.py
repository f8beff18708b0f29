"""Class of service: which destinations an account may call (`docs/rules.md`, Destinations)."""

import msgspec

from callctl.numbering import Number, NumberType
from callctl.rating.tariff import TrafficClass


class DestinationRule(msgspec.Struct, frozen=True):
    """Matches a call when every field that is given matches it: E.164 digits prefix, type, destination name."""

    prefix: str | None = None
    type: str | None = None
    destination: str | None = None

    def matches(self, digits: str, number_type: str, destination: str) -> bool:
        return (
            (self.prefix is None or digits.startswith(self.prefix))
            and (self.type is None or self.type == number_type)
            and (self.destination is None or self.destination == destination)
        )

    def __str__(self) -> str:
        given = (("prefix", self.prefix), ("type", self.type), ("destination", self.destination))
        return " ".join(f"{name}={value}" for name, value in given if value is not None) or "everything"


class DestinationRules(msgspec.Struct, frozen=True):
    """A denied destination is barred; where `allow` is not empty, so is all that it does not name."""

    allow: tuple[DestinationRule, ...] = ()
    deny: tuple[DestinationRule, ...] = ()

    def barred_by(self, digits: str, number_type: str, destination: str) -> str | None:
        """The rule that bars the call in words, or None."""
        for rule in self.deny:
            if rule.matches(digits, number_type, destination):
                return f"denied: {rule}"
        if self.allow and not any(rule.matches(digits, number_type, destination) for rule in self.allow):
            return "not on the allow list"
        return None


def class_of(number: Number, home: str) -> TrafficClass:
    """The class of a call whose row states none, seen from the country `home` (`docs/rules.md`, Class)."""
    if number.type is NumberType.PREMIUM:
        return TrafficClass.PREMIUM
    if number.country != home:
        return TrafficClass.INTL
    return TrafficClass.MOB if number.type is NumberType.MOB else TrafficClass.NAT
