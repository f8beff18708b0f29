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
LATER = ("periods", "bundle_s", "tax_pct")
RATED = [case for case in CALLS if not any(key in case["tariff"] for key in LATER)]
POSTPONED = [case for case in CALLS if case not in RATED]


def rate(tariff: dict[str, Any], duration_s: str = "60", **case: Any) -> dict[str, Any]:
    [result] = rate_cases([{"id": "x", "tariff": tariff, "duration_s": duration_s, **case}])
    return result


def test_the_oracle_is_whole() -> None:
    assert len(RATED) == 59
    assert len(POSTPONED) == 9


@pytest.mark.parametrize("case", RATED, ids=[case["id"] for case in RATED])
def test_published_example(case: dict[str, Any]) -> None:
    [result] = rate_cases([case])
    assert result["agrees"], result
    assert "error" not in result
    assert result["expected"] == case["expected_cost"]


@pytest.mark.parametrize("case", POSTPONED, ids=[case["id"] for case in POSTPONED])
def test_a_case_that_needs_more_does_not_agree_and_says_so(case: dict[str, Any]) -> None:
    [result] = rate_cases([case])
    assert not result["agrees"]
    assert result["error"].endswith("not supported yet")
    assert result["id"] == case["id"]


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


@pytest.mark.parametrize(("basis", "billed_s"), [("after_initial", 26), ("total", 24)])
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
        ({**CALL, "kind": "fax"}, "fax"),
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
