"""Caps, packages, bandwidth, groups, licences: which counters a call takes, and how far each may go."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callctl.limits.concurrency import (
    CODEC_KBITS_TENTHS,
    Bandwidth,
    Bound,
    Caps,
    Group,
    Overflow,
    Package,
    Slot,
    group_slots,
    slots,
)
from callctl.limits.licence import Licence, LicenceChange, LicenceStatus, SwitchLicence
from callctl.limits.provider import ProviderLimit, ProviderLimits
from callctl.rating.tariff import Direction, TrafficClass

DAY = "2026-12-24"
OUT, IN, INTERNAL = Direction.OUTBOUND, Direction.INBOUND, Direction.INTERNAL
MOBILE = ("31612345678", "MOB", "MOB")
AGREED_MS = 1_796_000_000_000
AGREED = "2026-11-30T00:53:20.000Z"


def limits(caps: Caps | None, direction: Direction = OUT, day: str = DAY, licence: Licence | None = None) -> Any:
    return {slot.name: (slot.limit, slot.hard_limit) for slot in slots(caps, licence, direction, day)}


def total(caps: Caps | None = None, licence: Licence | None = None, day: str = DAY) -> Slot:
    (found,) = [slot for slot in slots(caps, licence, OUT, day) if slot.name == "total"]
    return found


def test_without_caps_calls_are_counted_and_not_limited() -> None:
    assert slots(None, None, OUT, DAY) == (Slot("outbound"), Slot("total"))
    assert slots(Caps(), None, OUT, DAY) == (Slot("outbound"), Slot("total"))


def test_every_cap_of_the_direction_counts_at_once() -> None:
    caps = Caps(inbound=10, outbound=4, total=12)
    assert limits(caps) == {"outbound": (4, 4), "total": (12, 12)}
    assert limits(caps, IN) == {"inbound": (10, 10), "total": (12, 12)}


def test_overflow_goes_beyond_each_cap() -> None:
    assert limits(Caps(outbound=4, total=12, overflow=Overflow(2))) == {"outbound": (4, 6), "total": (12, 14)}


@pytest.mark.parametrize(
    ("day", "cap", "since"),
    [
        ("2026-12-19", 4, AGREED),
        ("2026-12-20", 9, "2026-12-20"),
        ("2027-01-03", 9, "2026-12-20"),
        ("2027-01-04", 4, "2027-01-04"),
    ],
)
def test_packages_add_from_their_first_to_their_last_day(day: str, cap: int, since: str) -> None:
    caps = Caps(outbound=4, packages=(Package(5, "2026-12-20", "2027-01-03"),), since_ms=AGREED_MS)
    outbound, _ = slots(caps, None, OUT, day)
    assert (outbound.limit, outbound.hard_limit, outbound.since) == (cap, cap, since)


def test_a_package_for_ever_does_not_end() -> None:
    caps = Caps(outbound=4, packages=(Package(5, "2026-12-20", "9999-12-31"),))
    outbound, _ = slots(caps, None, OUT, "9999-12-31")
    assert (outbound.limit, outbound.since) == (9, "2026-12-20")


def test_packages_that_overlap_add_up() -> None:
    caps = Caps(outbound=1, packages=(Package(2, "2026-12-20", "2026-12-24"), Package(3, DAY, DAY)))
    assert limits(caps)["outbound"] == (6, 6)
    assert total(caps).limit is None


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
    line = total(Caps(bandwidth=Bandwidth(kbits, codec)))
    assert (line.limit, line.hard_limit, line.by) == (calls, calls, "line")


@given(st.integers(0, 10**6), st.sampled_from(sorted(CODEC_KBITS_TENTHS)), st.none() | st.integers(1, 10_000))
def test_what_fits_is_the_most_that_does(kbits: int, codec: str, per_call_tenths: int | None) -> None:
    calls, each = Bandwidth(kbits, codec, per_call_tenths).calls(), per_call_tenths or CODEC_KBITS_TENTHS[codec]
    assert calls * each <= kbits * 10 < (calls + 1) * each


@pytest.mark.parametrize(
    ("group", "counted"),
    [
        (Group("g", prefixes=("316",), outbound=2), True),
        (Group("g", prefixes=("3120", "316"), outbound=2), True),
        (Group("g", prefixes=("3120",), outbound=2), False),
        (Group("g", types=("MOB", "PAGER"), outbound=2), True),
        (Group("g", types=("PREMIUM",), outbound=2), False),
        (Group("g", classes=(TrafficClass.MOB,), outbound=2), True),
        (Group("g", classes=(TrafficClass.INTL,), outbound=2), False),
        (Group("g", prefixes=("316",), types=("PREMIUM",), outbound=2), False),
        (Group("g", prefixes=("316",), inbound=2), False),
    ],
)
def test_groups_count_only_their_destinations(group: Group, counted: bool) -> None:
    expected = [Slot("group:g:outbound", 2, 2, since=AGREED)] if counted else []
    assert list(group_slots(Caps(groups=(group,), since_ms=AGREED_MS), OUT, *MOBILE)) == expected


def test_a_group_counts_each_direction_and_both_together() -> None:
    caps = Caps(groups=(Group("g", prefixes=("31",), inbound=1, outbound=2, total=3),), overflow=Overflow(9))
    assert [slot.name for slot in group_slots(caps, OUT, *MOBILE)] == ["group:g:outbound", "group:g:total"]
    assert [slot.hard_limit for slot in group_slots(caps, IN, *MOBILE)] == [1, 3]


def test_internal_calls_count_apart_unless_the_pbx_counts_them() -> None:
    assert limits(Caps(total=1, internal=5), INTERNAL) == {"internal": (5, 5)}
    assert limits(Caps(total=1, internal=5, count_internal=True), INTERNAL) == {"internal": (5, 5), "total": (1, 1)}
    assert limits(None, INTERNAL) == {"internal": (None, None)}
    licence = Licence(4)
    assert limits(None, INTERNAL, licence=licence) == {"internal": (None, None)}
    assert limits(Caps(count_internal=True), INTERNAL, licence=licence)["total"] == (4, 4)


def test_no_overflow_and_no_package_is_sold_for_internal_calls() -> None:
    caps = Caps(internal=5, count_internal=True, overflow=Overflow(2), packages=(Package(3, DAY, DAY),))
    assert limits(caps, INTERNAL)["internal"] == (5, 5)


def test_a_call_within_another_takes_no_channel_where_the_switch_counts_one() -> None:
    assert slots(Caps(total=1), None, OUT, DAY, within=True) == slots(Caps(total=1), None, OUT, DAY)
    assert slots(Caps(total=1, count_within=False), None, OUT, DAY, within=True) == ()
    assert limits(Caps(total=1, count_within=False))["total"] == (1, 1)


@pytest.mark.parametrize(
    ("caps", "licence", "expected"),
    [
        (Caps(total=12), Licence(16), ("", 12, 12)),
        (Caps(total=16), Licence(12), ("licence", 12, 12)),
        (Caps(total=4, overflow=Overflow(4)), Licence(6), ("licence", 4, 6)),
        (Caps(total=4, overflow=Overflow(1)), Licence(6), ("", 4, 5)),
        (Caps(total=9, bandwidth=Bandwidth(100)), Licence(6), ("line", 1, 1)),
        (Caps(total=9), Licence(None), ("", 9, 9)),
        (None, Licence(0), ("licence", 0, 0)),
    ],
)
def test_what_limits_the_same_calls_is_one_counter_with_the_tightest_limit(
    caps: Caps | None, licence: Licence, expected: object
) -> None:
    found = total(caps, licence)
    assert (found.by, found.limit, found.hard_limit) == expected


def test_soft_caps_are_reported_beside_what_is_enforced() -> None:
    found = total(Caps(total=4, overflow=Overflow(1), enforce=False, since_ms=AGREED_MS), Licence(8))
    assert (found.limit, found.hard_limit, found.by) == (8, 8, "licence")
    assert found.soft == Bound(4, 1, since=AGREED)
    found = total(Caps(total=4), Licence(2, enforce=False))
    assert (found.limit, found.hard_limit, found.soft) == (4, 4, Bound(2, by="licence"))
    (group,) = group_slots(Caps(groups=(Group("g", types=("MOB",), total=1),), enforce=False), OUT, *MOBILE)
    assert (group.limit, group.hard_limit, group.soft) == (None, None, Bound(1))


def test_a_licence_falls_back_changes_and_may_be_perpetual() -> None:
    licence = Licence(16, "2027-01-01", 4, changes=(LicenceChange("2026-12-01", 8),))
    assert [licence.on(day) for day in ("2026-11-30", "2026-12-01", "2026-12-31", "2027-01-01")] == [16, 8, 8, 4]
    assert Licence(16, "2027-01-01", perpetual=True).on("2030-01-01") == 16
    assert Licence(16, "2027-01-01").on("2027-01-01") == 2
    assert Licence(None).on(DAY) is None


@pytest.mark.parametrize("size", [4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 512, 1024, 7, None])
def test_a_licence_of_any_size_ends_after_365_days(size: int | None) -> None:
    licence = Licence(size, annual_from="2027-03-01", fallback_channels=8)  # 2028 is a leap year: a day before the date
    assert [licence.on(day) for day in ("2028-02-28", "2028-02-29", "2028-03-01")] == [size, 8, 8]
    assert licence.standing("2028-06-01") == (8, "2028-02-29")


def test_a_licence_says_since_when_it_is_so() -> None:
    licence = Licence(16, "2027-01-01", 4, changes=(LicenceChange("2026-12-10", 8),), since_ms=AGREED_MS)
    assert licence.standing("2026-12-09") == (16, AGREED)
    assert licence.standing("2026-12-31") == (8, "2026-12-10")
    assert licence.standing("2027-01-01") == (4, "2027-01-01")
    assert Licence(16).standing(DAY) == (16, "")


def test_the_word_of_its_switch_replaces_what_is_written_down() -> None:
    stated = Licence(64, perpetual=True, fallback_channels=4, changes=(LicenceChange(DAY, 1),), from_switch="pbx1")
    assert stated.as_told(None) == stated
    told = stated.as_told(SwitchLicence("pbx1", LicenceStatus(16, "2027-01-01"), AGREED_MS))
    assert told.standing("2026-12-31") == (16, AGREED)
    assert told.standing("2027-01-01") == (4, "2027-01-01")
    assert stated.as_told(SwitchLicence("pbx1", LicenceStatus(None), AGREED_MS)).on("2050-01-01") is None


LIMITS = ProviderLimits(
    (
        ProviderLimit("carrier", trunk="c1", inbound=9, outbound=5, total=12, since_ms=AGREED_MS),
        ProviderLimit("cuba", prefixes=("53",), outbound=2),
        ProviderLimit("cuba-by-c1", trunk="c1", prefixes=("53",), total=1, enforce=False),
        ProviderLimit("all", total=1000),
    )
)


@pytest.mark.parametrize(
    ("direction", "trunk", "digits", "counters"),
    [
        (OUT, "c1", "31612345678", ["all:total", "carrier:outbound", "carrier:total"]),
        (IN, "c1", "31612345678", ["all:total", "carrier:inbound", "carrier:total"]),
        (OUT, "c2", "5312345678", ["cuba:outbound", "all:total"]),
        (OUT, None, "5312345678", ["cuba:outbound", "all:total"]),
        (
            OUT,
            "c1",
            "5312345678",
            ["cuba:outbound", "all:total", "carrier:outbound", "carrier:total", "cuba-by-c1:total"],
        ),
        (INTERNAL, "c1", "5312345678", []),
        (OUT, None, "", ["all:total"]),
    ],
)
def test_the_providers_limits_are_found_by_carrier_and_number(
    direction: Direction, trunk: str | None, digits: str, counters: list[str]
) -> None:
    assert [slot.name for slot in LIMITS.slots(direction, trunk, digits)] == counters


def test_the_providers_limits_say_how_many_and_since_when() -> None:
    assert LIMITS.slots(OUT, "c1", "31")[1] == Slot("carrier:outbound", 5, 5, since=AGREED)
    assert LIMITS.slots(OUT, "c1", "53")[-1] == Slot("cuba-by-c1:total", soft=Bound(1))
    assert not ProviderLimits()
