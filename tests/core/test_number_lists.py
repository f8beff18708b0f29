"""The provider's lists of numbers, from the configuration to where calls are decided; rules on the command line."""

from pathlib import Path

import pytest

from callctl.cli.planbook import directory_from
from callctl.errors import ConfigError
from callctl.limits.classes import NumberLists
from callctl.limits.destinations import Barring, DestinationRule, DestinationRules
from callctl.numbering import DialRules
from callctl.rating.tariff import TrafficClass
from callctl.settings import Settings, load
from callctl.wiring import policy_of


def configured(tmp_path: Path, text: str, **environ: str) -> Settings:
    file = tmp_path / "callctl.toml"
    file.write_text(text)
    return load(file, {f"CALLCTL_{key}": value for key, value in environ.items()})


def test_by_default_they_are_those_of_the_core() -> None:
    assert policy_of(Settings()).lists == NumberLists()


def test_a_list_that_is_stated_takes_the_place_of_the_default(tmp_path: Path) -> None:
    text = '[limits]\nhigh_risk_prefixes = ["53", "1876"]\npremium_prefixes = []\nemergency_numbers = ["116117"]\n'
    assert policy_of(configured(tmp_path, text)).lists == NumberLists(("53", "1876"), (), ("116117",))


def test_a_list_from_the_environment(tmp_path: Path) -> None:
    settings = configured(tmp_path, "", LIMITS__HIGH_RISK_PREFIXES="53, 371", LIMITS__EMERGENCY_NUMBERS="113")
    assert policy_of(settings).lists == NumberLists(("53", "371"), emergency=("113",))


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('high_risk_prefixes = ["+53"]', "limits.high_risk_prefixes.0: found '+53'"),
        ('high_risk_prefixes = ["053"]', "limits.high_risk_prefixes.0: found '053'"),
        ('high_risk_prefixes = ["5353535353535353"]', "limits.high_risk_prefixes.0"),
        ('premium_prefixes = [""]', "limits.premium_prefixes.0: found ''"),
        ("premium_prefixes = [870]", "limits.premium_prefixes.0: found 870"),
        ("premium_prefixes = 870", "limits.premium_prefixes: expected a list"),
        ('emergency_numbers = ["one one two"]', "limits.emergency_numbers.0: found 'one one two'"),
        ('emergency = ["112"]', "limits.emergency: unknown key; did you mean emergency_numbers?"),
    ],
)
def test_what_is_no_list_of_numbers_stops_the_start(tmp_path: Path, text: str, place: str) -> None:
    with pytest.raises(ConfigError) as raised:
        configured(tmp_path, f"[limits]\n{text}\n")
    assert place in str(raised.value)


def test_the_command_line_reads_an_account_as_the_api_shows_it() -> None:
    rule = {"prefix": None, "type": "MOB", "class": "INTL", "destination": None, "days": "1-5", "from": "18:00",
            "to": "08:00", "dates": "", "holidays": ""}  # fmt: skip
    shown = {
        "id": "acme", "kind": "prepaid", "plan": "retail", "timezone": "Europe/Amsterdam",
        "dial_rules": {"country": "NL"},
        "destinations": {"presets": ["no_premium"], "allow": [], "deny": [rule], "allow_numbers": ["+4930123456"]},
    }  # fmt: skip
    account = directory_from([shown]).accounts["acme"]
    denied = DestinationRule(None, "MOB", TrafficClass.INTL, None, "1-5", "18:00", "08:00")
    assert account.destinations == DestinationRules((Barring.NO_PREMIUM,), (), (denied,), ("+4930123456",))
    assert (account.dial_rules, account.timezone) == (DialRules("NL"), "Europe/Amsterdam")
