"""Classes of service: which destinations may be called."""

import pytest

from callctl.limits.destinations import DestinationRule, DestinationRules, class_of
from callctl.numbering import Number, NumberType
from callctl.rating.tariff import TrafficClass


def test_deny_bars_and_a_list_of_allowed_bars_the_rest() -> None:
    rules = DestinationRules(allow=(DestinationRule(prefix="31"),), deny=(DestinationRule(type="PREMIUM"),))
    assert rules.barred_by("31612345678", "MOB", "Netherlands") is None
    assert rules.barred_by("31900123456", "PREMIUM", "Netherlands") == "denied: type=PREMIUM"
    assert rules.barred_by("4930123456", "FIX", "Germany") == "not on the allow list"
    assert DestinationRules(deny=(DestinationRule(),)).barred_by("1", "FIX", "") == "denied: everything"


@pytest.mark.parametrize(
    ("country", "kind", "expected"),
    [
        ("NL", NumberType.FIX, TrafficClass.NAT),
        ("NL", NumberType.MOB, TrafficClass.MOB),
        ("DE", NumberType.MOB, TrafficClass.INTL),
        ("DE", NumberType.PREMIUM, TrafficClass.PREMIUM),
    ],
)
def test_the_class_of_a_call_whose_row_says_none(country: str, kind: NumberType, expected: TrafficClass) -> None:
    assert class_of(Number("+1", "1", country, "1", kind), "NL") is expected
