"""Caps, packages, bandwidth, groups, licences and classes of service: which counters a call takes, and how far."""

import pytest

from callctl.limits.concurrency import Bandwidth, Caps, Group, Overflow, Package, Slot, slots
from callctl.limits.destinations import DestinationRule, DestinationRules, class_of
from callctl.limits.licence import Licence, LicenceChange
from callctl.numbering import Number, NumberType
from callctl.rating.tariff import Direction, TrafficClass

DAY = "2026-12-24"
OUT, IN, INTERNAL = Direction.OUTBOUND, Direction.INBOUND, Direction.INTERNAL


def limits(
    caps: Caps | None, direction: Direction = OUT, digits: str = "31612345678", day: str = DAY
) -> dict[str, object]:
    return {slot.name: (slot.limit, slot.hard_limit) for slot in slots(caps, direction, digits, day)}


def test_without_caps_calls_are_counted_and_not_limited() -> None:
    assert slots(None, OUT, "31", DAY) == (Slot("outbound"), Slot("total"))


def test_every_cap_of_the_direction_counts_at_once() -> None:
    caps = Caps(inbound=10, outbound=4, total=12)
    assert limits(caps) == {"outbound": (4, 4), "total": (12, 12)}
    assert limits(caps, IN) == {"inbound": (10, 10), "total": (12, 12)}


def test_overflow_goes_beyond_each_cap() -> None:
    assert limits(Caps(outbound=4, total=12, overflow=Overflow(2))) == {"outbound": (4, 6), "total": (12, 14)}


@pytest.mark.parametrize(("day", "cap"), [("2026-12-19", 4), ("2026-12-20", 9), ("2027-01-03", 9), ("2027-01-04", 4)])
def test_packages_add_from_their_first_to_their_last_day(day: str, cap: int) -> None:
    caps = Caps(outbound=4, packages=(Package(5, "2026-12-20", "2027-01-03"),))
    assert limits(caps, day=day)["outbound"] == (cap, cap)


@pytest.mark.parametrize(
    ("kbits", "codec", "calls"),
    [
        (1000, "g711", 11),
        (1000, "g722", 11),
        (1000, "g729", 32),
        (1000, "gsm", 27),
        (1000, "opus", 16),
        (87, "g711", 0),
    ],
)
def test_a_line_carries_what_fits(kbits: int, codec: str, calls: int) -> None:
    assert limits(Caps(bandwidth=Bandwidth(kbits, codec)))["line"] == (calls, calls)


def test_groups_count_only_their_destinations() -> None:
    caps = Caps(groups=(Group("mobile", ("316",), outbound=2),))
    assert limits(caps)["group:mobile:outbound"] == (2, 2)
    assert "group:mobile:outbound" not in limits(caps, digits="31201234567")
    assert "group:mobile:inbound" not in limits(caps, IN)


def test_internal_calls_count_apart_unless_the_pbx_counts_them() -> None:
    assert limits(Caps(total=1, internal=5), INTERNAL) == {"internal": (5, 5)}
    assert limits(Caps(total=1, internal=5, count_internal=True), INTERNAL) == {"internal": (5, 5), "total": (1, 1)}
    assert limits(None, INTERNAL) == {"internal": (None, None)}


def test_a_licence_falls_back_changes_and_may_be_perpetual() -> None:
    licence = Licence(16, "2027-01-01", 4, changes=(LicenceChange("2026-12-01", 8),))
    assert [licence.on(day) for day in ("2026-11-30", "2026-12-01", "2026-12-31", "2027-01-01")] == [16, 8, 8, 4]
    assert Licence(16, "2027-01-01", perpetual=True).on("2030-01-01") == 16
    assert Licence(16, "2027-01-01").on("2027-01-01") == 2
    assert Licence(None).on(DAY) is None


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
