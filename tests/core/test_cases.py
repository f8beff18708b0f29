"""The independently published examples, and what a wrong or unknown case answers."""

import json
from pathlib import Path
from typing import Any

import pytest

from callctl.money import parse_amount, parse_rate
from callctl.rating.cases import rate_cases
from callctl.rating.charge import Price, affordable_seconds, charge, fold_tiers
from callctl.rating.tariff import IncrementBasis

ORACLE = Path(__file__).parent / "oracle"
CALLS: list[dict[str, Any]] = json.loads((ORACLE / "calls.json").read_text())


def rate(tariff: dict[str, Any], duration_s: str = "60", **case: Any) -> dict[str, Any]:
    [result] = rate_cases([{"id": "x", "tariff": tariff, "duration_s": duration_s, **case}])
    return result


def test_the_oracle_is_whole() -> None:
    assert len(CALLS) == 68


@pytest.mark.parametrize("case", CALLS, ids=[case["id"] for case in CALLS])
def test_published_example(case: dict[str, Any]) -> None:
    [result] = rate_cases([case])
    assert result["agrees"], result
    assert "error" not in result
    assert result["expected"] == case["expected_cost"]


def test_a_wrong_expectation_disagrees() -> None:
    tariff = {"rate_per_min": "1", "rounding": {"decimals": 4, "mode": "half_up"}}
    assert rate(tariff, expected_cost="1", expected_billed_s=60)["agrees"]
    assert not rate(tariff, expected_cost="1.0001", expected_billed_s=60)["agrees"]
    assert not rate(tariff, expected_cost="1", expected_billed_s=59)["agrees"]


def test_without_rounding_the_exact_cost_is_compared() -> None:
    tariff = {"rate_per_min": "1"}
    assert not rate(tariff, "20", expected_cost="0.333333")["agrees"]
    rounding = {"decimals": 6, "mode": "half_up"}
    assert rate(tariff | {"rounding": rounding}, "20", expected_cost="0.333333")["agrees"]


@pytest.mark.parametrize(
    ("tariff", "duration_s", "says", "not_this"),
    [
        pytest.param(
            {
                "connect_fee": "0.4",
                "tiers": [
                    {"from_s": 0, "rate_per_min": "0.2", "increment_s": 60},
                    {"from_s": 60, "rate_per_min": "0.1", "increment_s": 1},
                ],
                "rounding": {"decimals": 4, "mode": "up"},
            },
            "85",
            "0.6417",
            "0.6418",
            id="cgr-85s",
        ),
        pytest.param(
            {
                "connect_fee": "0.2",
                "tiers": [
                    {"from_s": 0, "rate_per_min": "0.1", "increment_s": 60},
                    {"from_s": 60, "rate_per_min": "0.05", "increment_s": 1},
                ],
            },
            "90",
            "0.325",
            "0.3249",
            id="cgr-90s-offpeak",
        ),
        pytest.param(
            {
                "connect_fee": "0.2",
                "tiers": [
                    {"from_s": 0, "rate_per_min": "0.1", "increment_s": 60},
                    {"from_s": 60, "rate_per_min": "0.05", "increment_s": 1},
                ],
            },
            "120",
            "0.35",
            "0.3498",
            id="cgr-120s-weekend",
        ),
        pytest.param({"rate_per_min": "0.1"}, "180", "0.3", "0.3001", id="cgr-round"),
        pytest.param(
            {"rate_per_min": "0.05", "connect_fee": "0.15", "rounding": {"decimals": 2, "mode": "up"}},
            "24",
            "0.17",
            "0.174",
            id="cgr-260",
        ),
        pytest.param({"rate_per_min": "1"}, "1500", "25", "25.005", id="cgr-624"),
        pytest.param({"rate_per_min": "0.05"}, "600", "0.5", "0.4980", id="ivoz-692"),
        pytest.param(
            {"rate_per_min": "0.15", "connect_fee": "0.10", "initial_s": 60, "increment_s": 30},
            "61",
            "0.325",
            "0.3750",
            id="sipnode-61",
        ),
        pytest.param(
            {"rate_per_min": "0.0137", "initial_s": 6, "increment_s": 6},
            "205",
            "0.04795",
            "0.04765",
            id="46labs-205",
        ),
        pytest.param({"rate_per_min": "12", "connect_fee": "16"}, "45", "25", "30", id="targato-45"),
        pytest.param(
            {"rate_per_min": "1", "rounding": {"decimals": 2, "mode": "up"}},
            "3",
            "0.05",
            "0.06",
            id="yeti-up",
        ),
        pytest.param({"rate_per_min": "617.25"}, "120", "1234.5", "1.234", id="astpp-thousands"),
        pytest.param({"rate_per_min": "1", "initial_s": 30}, "1", "0.5", "0", id="kazoo-base"),
        pytest.param({"rate_per_min": "20", "initial_s": 30, "increment_s": 30}, "30", "10", "20", id="scatti-30"),
    ],
)
def test_the_mistakes_of_other_systems_do_not_come_out(
    tariff: dict[str, Any], duration_s: str, says: str, not_this: str
) -> None:
    right = rate(tariff, duration_s, expected_cost=says)
    assert right["agrees"], right
    assert not rate(tariff, duration_s, expected_cost=not_this)["agrees"]


PEAK = {
    "tz": "UTC",
    "periods": [
        {"from": "08:00", "to": "18:00", "weight": 10, "rate": {"rate_per_min": "6", "increment_s": 60}},
        {"rate": {"rate_per_min": "3.75", "increment_s": 60}},
    ],
}


@pytest.mark.parametrize(
    ("start", "duration_s", "says", "not_this"),
    [("2024-05-13T17:55:00Z", "600", "48.75", "75"), ("2024-05-13T06:00:00Z", "1800", "112.50", "180")],
)
def test_the_table_that_contradicts_its_own_text_does_not_come_out(
    start: str, duration_s: str, says: str, not_this: str
) -> None:
    assert rate(PEAK, duration_s, start=start, expected_cost=says)["agrees"]
    assert not rate(PEAK, duration_s, start=start, expected_cost=not_this)["agrees"]


@pytest.mark.parametrize(
    ("start", "cost"),
    [
        ("2026-10-25T00:30:00Z", "10"),  # 02:30 in summer time
        ("2026-10-25T01:30:00Z", "10"),  # and again
        ("2026-10-25T02:30:00Z", "1"),
        ("2026-03-29T00:30:00Z", "1"),
        ("2026-03-29T01:30:00Z", "1"),  # 03:30: there is no 02:30
    ],
)
def test_periods_go_by_the_clock_of_their_zone(start: str, cost: str) -> None:
    night = {"from": "02:00", "to": "03:00", "weight": 1, "rate": {"rate_per_min": "10"}}
    tariff = {"tz": "Europe/Amsterdam", "periods": [night, {"rate": {"rate_per_min": "1"}}]}
    assert rate(tariff, start=start, expected_cost=cost)["agrees"]


@pytest.mark.parametrize(
    ("day", "when", "holds"),
    [
        ("2026-05-31", {"mday": 31}, True),
        ("2026-06-30", {"mday": 31}, False),
        ("2028-02-29", {"month": 2}, True),
        ("2028-03-01", {"month": 2}, False),
        ("2028-02-29", {"month": 2, "mday": 29}, True),
        ("2026-11-22", {"days": [7]}, True),
        ("2026-11-22", {"days": [1, 2, 3, 4, 5, 6]}, False),
    ],
)
def test_a_period_holds_on_its_days(day: str, when: dict[str, Any], holds: bool) -> None:
    periods = [{"weight": 1, "rate": {"rate_per_min": "10"}, **when}, {"rate": {"rate_per_min": "1"}}]
    assert rate({"periods": periods}, start=f"{day}T12:00:00Z", expected_cost="10" if holds else "1")["agrees"]


def test_a_period_states_what_differs() -> None:
    """The rest is the tariff's; the connection fee and the initial block are those of the answer."""
    periods = [
        {"from": "08:00", "to": "18:00", "rate": {"rate_per_min": "6", "initial_s": 0}},
        {"from": "18:00", "to": "08:00", "rate": {"connect_fee": "0"}},
    ]
    tariff = {"connect_fee": "1", "rate_per_min": "3", "initial_s": 60, "increment_s": 30, "periods": periods}
    assert rate(tariff, "61", start="2026-11-22T17:59:30Z", expected_cost="7")["agrees"]
    assert rate(tariff, "61", start="2026-11-22T18:00:00Z", expected_cost="4.5", expected_billed_s=90)["agrees"]


def test_a_periods_own_price_replaces_the_tariffs_whether_flat_or_stepped() -> None:
    start, tiers = "2026-11-22T18:00:00Z", [{"rate_per_min": "3"}, {"from_s": 60, "rate_per_min": "1"}]
    stepped = {"rate_per_min": "9", "periods": [{"rate": {"tiers": tiers}}]}
    assert rate(stepped, "120", start=start, expected_cost="4")["agrees"]
    assert rate({"tiers": tiers, "periods": [{"rate": {"rate_per_min": "2"}}]}, start=start, expected_cost="2")[
        "agrees"
    ]


def test_a_case_at_the_end_of_the_calendar_is_an_error_of_its_own() -> None:
    halves = [{"from": "08:00", "to": "20:00", "rate": {}}, {"from": "20:00", "to": "08:00", "rate": {}}]
    assert "error" in rate({"periods": halves}, start="9999-12-30T12:00:00Z", expected_cost="0")


def test_a_bundle_ends_in_the_middle_of_an_increment() -> None:
    tariff = {"connect_fee": "1", "rate_per_min": "60", "increment_s": 20, "bundle_s": 45}
    assert rate(tariff, "41", expected_cost="16", expected_billed_s=60)["agrees"]
    assert rate(tariff, "40", expected_cost="1", expected_billed_s=40)["agrees"]


def test_tax_is_of_the_rounded_net_and_rounded_by_itself() -> None:
    rounding = {"decimals": 2, "mode": "half_up"}
    tariff = {"rate_per_min": "0.145", "tax_pct": "21", "rounding": rounding}
    assert rate(tariff, expected_cost="0.18")["agrees"]  # 0.15 and 0.03, not 0.17545
    del tariff["rounding"]
    assert rate(tariff, expected_cost="0.17545")["agrees"]


@pytest.mark.parametrize(
    ("preset", "duration_s", "billed_s"),
    [
        ("a2billing", "15", 20),
        ("a2billing", "21", 24),
        ("a2billing", "20.9", 20),
        ("magnusbilling", "21.9", 24),
        ("kolmisoft", "15", 24),
        ("cgrates", "21", 26),
        ("astpp", "21", 26),
        ("kazoo", "21", 26),
        ("peeredge", "20.1", 26),
        ("asterisk", "20.9", 20),
    ],
)
def test_a_preset_bills_as_that_system_does(preset: str, duration_s: str, billed_s: int) -> None:
    tariff = {"preset": preset, "rate_per_min": "1", "initial_s": 20, "increment_s": 6}
    assert rate(tariff, duration_s, expected_billed_s=billed_s)["agrees"]


@pytest.mark.parametrize(
    ("preset", "cost"),
    [("a2billing", "0.011235"), ("cgrates", "0.01123"), ("kazoo", "0.0112"), ("peeredge", "0.0113")],
)
def test_a_preset_rounds_as_that_system_does(preset: str, cost: str) -> None:
    assert rate({"preset": preset, "rate_per_min": "0.0112345"}, expected_cost=cost)["agrees"]


def test_what_a_tariff_states_beats_its_preset() -> None:
    tariff = {"preset": "kazoo", "rate_per_min": "0.0112345", "rounding": {"decimals": 3, "mode": "up"}}
    assert rate(tariff, expected_cost="0.012")["agrees"]
    assert rate({"preset": "kolmisoft", "rate_per_min": "0.0112345"}, expected_cost="0.0112345")["agrees"]


@pytest.mark.parametrize(("beats", "billed_s"), [(True, 0), (False, 60)])
def test_grace_against_the_minimum(beats: bool, billed_s: int) -> None:
    tariff = {"rate_per_min": "1", "initial_s": 60, "grace_s": 3, "grace_beats_minimum": beats}
    assert rate(tariff, "1", expected_billed_s=billed_s)["agrees"]


@pytest.mark.parametrize(("basis", "billed_s"), [("after_initial", 26), ("total", 24), ("total_beyond_initial", 24)])
def test_increment_basis(basis: str, billed_s: int) -> None:
    tariff = {"rate_per_min": "60", "initial_s": 20, "increment_s": 6, "increment_basis": basis}
    result = rate(tariff, "21", expected_billed_s=billed_s, expected_cost=str(billed_s))
    assert result["agrees"], result  # the money is that of the billed seconds: quirk kazoo-seconds


def test_grace_beats_the_minimum() -> None:
    tariff = {"rate_per_min": "1", "initial_s": 60, "increment_s": 60, "grace_s": 3}
    assert rate(tariff, "1", expected_billed_s=0, expected_cost="0")["agrees"]


@pytest.mark.parametrize(("extra_at_s", "cost"), [(0, "490"), (60, "490"), (89, "490"), (90, "390")])
def test_the_extra_is_charged_beyond_its_second(extra_at_s: int, cost: str) -> None:
    tiers = [
        {"from_s": 0, "rate_per_min": "360", "increment_s": 60},
        {"from_s": 60, "rate_per_min": "60", "increment_s": 30},
    ]
    tariff = {"tiers": tiers, "extra_at_s": extra_at_s, "extra_fee": "100"}
    assert rate(tariff, "90", expected_cost=cost)["agrees"]


RATE = {"rate_per_min": "1"}
MONDAY = "2026-11-23T09:00:30Z"
CALL = {"tariff": RATE, "duration_s": "60", "expected_cost": "1"}


@pytest.mark.parametrize(
    ("case", "error"),
    [
        ("text", "Expected `object`"),
        ({}, "tariff"),
        ({**CALL, "tariff": {"rate": "1"}}, "rate"),
        ({**CALL, "tariff": {"rate_per_min": 1.0}}, "rate_per_min"),
        ({**CALL, "tariff": {"rate_per_min": "a"}}, "'a' is not a decimal number"),
        ({**CALL, "tariff": {"rate_per_min": "-1"}}, "rate_per_min: must not be negative"),
        ({**CALL, "tariff": RATE | {"connect_fee": "-1"}}, "connect_fee: must not be negative"),
        ({**CALL, "tariff": RATE | {"connect_fee": "0.0000001"}}, "more than 6 decimals"),
        ({**CALL, "tariff": RATE | {"increment_s": 0}}, "increment_s"),
        ({**CALL, "tariff": RATE | {"grace_s": -1}}, "grace_s"),
        ({**CALL, "tariff": RATE | {"tiers": [{"from_s": 0}]}}, "rate_per_min: belongs to each of the tiers"),
        ({**CALL, "tariff": {"tiers": [{"from_s": 1}]}}, "tiers: from_s must ascend from 0"),
        ({**CALL, "tariff": {"tiers": [{"from_s": 0}, {"from_s": 0}]}}, "tiers: from_s must ascend from 0"),
        ({**CALL, "tariff": RATE | {"rounding": {"decimals": 7, "mode": "up"}}}, "decimals"),
        ({**CALL, "tariff": RATE | {"rounding": {"decimals": 4, "mode": "nearest"}}}, "nearest"),
        ({**CALL, "tariff": RATE | {"duration_rounding": "floor_ends"}}, "start: floor_ends needs one"),
        (
            {**CALL, "tariff": RATE | {"duration_rounding": "floor_ends"}, "start": "2013-01-01T00:00:00"},
            "has no time zone",
        ),
        ({**CALL, "duration_s": None}, "duration_s: is missing"),
        ({**CALL, "duration_s": "-1"}, "duration_s: must not be negative"),
        ({**CALL, "duration_s": "1.2345"}, "more than 3 decimals"),
        ({**CALL, "kind": "cost_rounding"}, "raw_cost: a cost_rounding case needs one"),
        ({**CALL, "kind": "cost_rounding", "tariff": {"raw_cost": "-1.005"}}, "raw_cost: must not be negative"),
        ({**CALL, "kind": "fax"}, "fax"),
        ({**CALL, "tariff": PEAK}, "start: periods need one"),
        ({**CALL, "start": MONDAY, "tariff": PEAK | {"tz": "Mars"}}, "tz: 'Mars' is not a time zone"),
        ({**CALL, "start": MONDAY, "tariff": {"periods": [{"days": [8], "rate": {}}]}}, "periods"),
        ({**CALL, "start": MONDAY, "tariff": {"periods": [{"from": "25:00", "rate": {}}]}}, "periods: from: '25:00'"),
        ({**CALL, "start": MONDAY, "tariff": {"periods": [{"rate": {"fee": "1"}}]}}, "fee"),
        ({**CALL, "start": MONDAY, "tariff": {"periods": [{"rate": {}}, {"rate": {}}]}}, "at the same time"),
        (
            {**CALL, "start": MONDAY, "tariff": {"periods": [{"month": 2, "mday": 30, "rate": {}}]}},
            "mday: month 2 has no day 30",
        ),
        (
            {**CALL, "start": MONDAY, "tariff": {"periods": [{"from": "09:01", "rate": RATE}]}},
            "periods: none holds at 2026-11-23T09:00:30",
        ),
        ({**CALL, "tariff": RATE | {"preset": "abacus"}}, "Invalid enum value 'abacus' - at `$.tariff.preset`"),
        ({**CALL, "tariff": RATE | {"tax_pct": "-1"}}, "'-1' is not a percentage"),
        ({**CALL, "tariff": RATE | {"bundle_s": -1}}, "bundle_s"),
        ({**CALL, "expected_cost": None}, "nothing is expected"),
        ({**CALL, "expected_cost": 1}, "expected_cost"),
    ],
)
def test_a_malformed_case_says_what_is_wrong_and_the_rest_goes_on(case: Any, error: str) -> None:
    bad, good = rate_cases([case, {"id": "good", **CALL}])
    assert not bad["agrees"]
    assert error in bad["error"]
    assert bad["id"] == "case 1"
    assert good["agrees"]


LONGEST: list[dict[str, Any]] = json.loads((ORACLE / "longest_call.json").read_text())


@pytest.mark.parametrize("case", [case for case in LONGEST if "exact_floor_s" in case], ids=lambda case: case["id"])
def test_longest_call(case: dict[str, Any]) -> None:
    [call] = case["calls"]
    tiers = fold_tiers([(0, parse_rate(call["rate_per_min"]), 1)], initial_s=0, basis=IncrementBasis.AFTER_INITIAL)
    price = Price(connection_fee=0, denominator=100, tiers=tiers)
    balance = parse_amount(case["balance"])
    seconds = affordable_seconds(price, balance, 86_400)
    assert seconds == case["exact_floor_s"]
    if "end_balance" in case:
        assert balance - charge(price, seconds).micros == parse_amount(case["end_balance"])
