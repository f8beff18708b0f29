"""Classes of service: prefixes, names, types, classes, hours, presets, lists of numbers; and the class of a call."""

from datetime import datetime

import msgspec
import pytest

from callctl.limits.classes import HIGH_RISK, PREMIUM, NumberLists, class_of
from callctl.limits.destinations import Barring, Destination, DestinationRule, DestinationRules
from callctl.numbering import DialRules, Number, NumberType, normalise
from callctl.rating.tariff import TrafficClass

WORLD = DialRules()
LISTS = NumberLists()
NL_MOB, NL_FIX, NL_PREMIUM, NL_FREE = "+31612345678", "+31201234567", "+319001234", "+318001234"
GERMANY, CUBA, SATELLITE, UK_PREMIUM = "+4930123456", "+5371234567", "+870773111632", "+449012345678"


def parsed(e164: str) -> Number:
    number = normalise(e164, WORLD)
    assert number is not None
    return number


def call(
    e164: str, *, home: str = "NL", name: str = "", at: str = "2026-11-23T12:00:00+01:00", **other: str
) -> Destination:
    number = parsed(e164)
    stated = other.get("traffic_class")
    return Destination(
        number=number,
        name=name,
        type=other.get("type", number.type),
        traffic_class=TrafficClass(stated) if stated else class_of(number, home, LISTS),
        abroad=number.country != home,
        at_s=int(datetime.fromisoformat(at).timestamp()),
        timezone="Europe/Amsterdam",
    )


# ---- the class of a call


@pytest.mark.parametrize(
    ("e164", "home", "expected"),
    [
        (NL_FIX, "NL", TrafficClass.NAT),
        (NL_FREE, "NL", TrafficClass.NAT),
        (NL_MOB, "NL", TrafficClass.MOB),
        (NL_MOB, "BE", TrafficClass.INTL),
        (NL_MOB, "", TrafficClass.INTL),
        (GERMANY, "NL", TrafficClass.INTL),
        (NL_PREMIUM, "NL", TrafficClass.PREMIUM),
        (UK_PREMIUM, "NL", TrafficClass.PREMIUM),
        (SATELLITE, "NL", TrafficClass.PREMIUM),
        ("+979123456789", "NL", TrafficClass.PREMIUM),
        ("+881612345678", "NL", TrafficClass.PREMIUM),
        (CUBA, "NL", TrafficClass.HIGHRISK),
        (CUBA, "CU", TrafficClass.NAT),
        ("+18765230123", "US", TrafficClass.HIGHRISK),
        ("+18765230123", "JM", TrafficClass.NAT),
        ("+12125550123", "NL", TrafficClass.INTL),
    ],
)
def test_the_class_of_a_call_whose_row_says_none(e164: str, home: str, expected: TrafficClass) -> None:
    assert class_of(parsed(e164), home, LISTS) is expected


def test_high_risk_comes_before_premium_and_premium_before_abroad() -> None:
    premium_in_cuba = Number("+5399", "5399", "CU", "53", NumberType.PREMIUM)
    assert class_of(premium_in_cuba, "NL", LISTS) is TrafficClass.HIGHRISK
    assert class_of(premium_in_cuba, "NL", NumberLists(high_risk=())) is TrafficClass.PREMIUM


def test_the_lists_are_the_providers() -> None:
    mine = NumberLists(high_risk=("49",), premium=("3120",))
    assert class_of(parsed(GERMANY), "NL", mine) is TrafficClass.HIGHRISK
    assert class_of(parsed(NL_FIX), "NL", mine) is TrafficClass.PREMIUM
    assert class_of(parsed(CUBA), "NL", mine) is TrafficClass.INTL
    assert class_of(parsed(CUBA), "NL", NumberLists((), ())) is TrafficClass.INTL


def test_the_default_lists_are_prefixes_of_numbers_and_none_is_within_another() -> None:
    prefixes = [*HIGH_RISK, *PREMIUM]
    assert all(prefix.isdigit() and prefix[0] != "0" for prefix in prefixes)
    assert not [(one, other) for one in prefixes for other in prefixes if one != other and one.startswith(other)]


# ---- rules


@pytest.mark.parametrize(
    ("rule", "bars"),
    [
        (DestinationRule(prefix="316"), {NL_MOB}),
        (DestinationRule(type="FIX"), {NL_FIX, GERMANY, CUBA}),
        (DestinationRule(traffic_class=TrafficClass.INTL), {GERMANY}),
        (DestinationRule(destination="Cuba"), {CUBA}),
        (DestinationRule(prefix="31", type="MOB"), {NL_MOB}),
        (DestinationRule(prefix="49", type="MOB"), set()),
        (DestinationRule(), {NL_MOB, NL_FIX, NL_PREMIUM, GERMANY, CUBA}),
    ],
)
def test_a_rule_takes_what_matches_all_of_its_terms(rule: DestinationRule, bars: set[str]) -> None:
    names = {CUBA: "Cuba", GERMANY: "Germany"}
    calls = {
        e164: call(e164, name=names.get(e164, "Netherlands")) for e164 in (NL_MOB, NL_FIX, NL_PREMIUM, GERMANY, CUBA)
    }
    denying, allowing = DestinationRules(deny=(rule,)), DestinationRules(allow=(rule,))
    assert {e164 for e164, asked in calls.items() if denying.barred_by(asked) == f"denied: {rule}"} == bars
    assert {e164 for e164, asked in calls.items() if allowing.barred_by(asked) is None} == bars


def test_deny_bars_and_a_list_of_allowed_bars_the_rest() -> None:
    rules = DestinationRules(allow=(DestinationRule(prefix="31"),), deny=(DestinationRule(type="PREMIUM"),))
    assert rules.barred_by(call(NL_MOB)) is None
    assert rules.barred_by(call(NL_PREMIUM)) == "denied: type=PREMIUM"
    assert rules.barred_by(call(GERMANY)) == "not on the allow list"


def test_no_rules_bar_nothing() -> None:
    assert DestinationRules().barred_by(call(CUBA)) is None


def test_of_rules_that_match_the_shortest_prefix_is_named() -> None:
    rules = DestinationRules(deny=tuple(map(DestinationRule, ("316", "31", "4"))))
    assert rules.barred_by(call(NL_MOB)) == "denied: prefix=31"
    assert rules.barred_by(call(GERMANY)) == "denied: prefix=4"


def test_a_rule_says_itself_in_words() -> None:
    rule = DestinationRule("31", "MOB", TrafficClass.NAT, "NL", "1-5", "08:00", "18:00", "12-24", "NL")
    told = "prefix=31 type=MOB class=NAT destination=NL days=1-5 from=08:00 to=18:00 dates=12-24 holidays=NL"
    assert str(rule) == told
    assert str(DestinationRule()) == "everything"


# ---- hours

NIGHT = DestinationRule(from_time="18:00", until_time="08:00")
FRIDAY_NIGHT = DestinationRule(days="5", from_time="18:00", until_time="08:00")
DST_HOUR = DestinationRule(from_time="02:00", until_time="03:00")


@pytest.mark.parametrize(
    ("rule", "at", "barred"),
    [
        (NIGHT, "2026-11-23T17:59:59+01:00", False),
        (NIGHT, "2026-11-23T18:00:00+01:00", True),
        (NIGHT, "2026-11-24T07:59:59+01:00", True),
        (NIGHT, "2026-11-24T08:00:00+01:00", False),
        (
            FRIDAY_NIGHT,
            "2026-11-28T07:00:00+01:00",
            True,
        ),
        (FRIDAY_NIGHT, "2026-11-27T07:00:00+01:00", False),
        (DestinationRule(days="6,7"), "2026-11-21T23:59:59+01:00", True),
        (DestinationRule(days="6,7"), "2026-11-23T00:00:00+01:00", False),
        (DestinationRule(days="6,7"), "2026-11-22T23:30:00+00:00", False),  # Monday already, where the account is
        (DestinationRule(dates="12-24/01-01"), "2026-12-31T12:00:00+01:00", True),
        (DestinationRule(dates="2026-12-24"), "2027-12-24T12:00:00+01:00", False),
        (DestinationRule(holidays="NL"), "2026-12-25T12:00:00+01:00", True),
        (DestinationRule(holidays="NL"), "2026-12-27T12:00:00+01:00", False),
        (DST_HOUR, "2026-10-25T02:30:00+02:00", True),  # a night of DST
        (DST_HOUR, "2026-10-25T02:30:00+01:00", True),  # has it twice,
        (DST_HOUR, "2026-03-29T03:00:00+02:00", False),  # or not at all
    ],
)
def test_a_rule_holds_by_the_clock_of_the_account(rule: DestinationRule, at: str, barred: bool) -> None:
    assert (DestinationRules(deny=(rule,)).barred_by(call(NL_MOB, at=at)) is not None) == barred
    assert (DestinationRules(allow=(rule,)).barred_by(call(NL_MOB, at=at)) is None) == barred


@pytest.mark.parametrize(
    ("stated", "wrong"),
    [
        ({"days": "8"}, "days"),
        ({"from_time": "25:00"}, "from"),
        ({"from_time": "24:00"}, "from"),
        ({"from_time": "08:00", "until_time": "08:00"}, "to"),
        ({"dates": "31-12"}, "dates"),
        ({"holidays": "Atlantis"}, "holidays"),
    ],
)
def test_a_rule_whose_hours_are_none_is_refused(stated: dict[str, str], wrong: str) -> None:
    with pytest.raises(ValueError, match=f"^{wrong}: "):
        DestinationRule(**stated)  # type: ignore[arg-type]
    with pytest.raises(msgspec.ValidationError, match=f"^{wrong}: "):
        msgspec.convert(stated, DestinationRule)


# ---- presets


@pytest.mark.parametrize(
    ("preset", "bars"),
    [
        (Barring.NO_INTERNATIONAL, {GERMANY, CUBA, SATELLITE, UK_PREMIUM}),
        (Barring.NO_PREMIUM, {NL_PREMIUM, SATELLITE, UK_PREMIUM}),
        (Barring.NO_HIGH_RISK, {CUBA}),
    ],
)
def test_presets(preset: Barring, bars: set[str]) -> None:
    everything = (NL_MOB, NL_FIX, NL_PREMIUM, NL_FREE, GERMANY, CUBA, SATELLITE, UK_PREMIUM)
    rules = DestinationRules(presets=(preset,))
    assert {e164 for e164 in everything if rules.barred_by(call(e164)) == f"denied: {preset}"} == bars


def test_presets_go_by_the_class_that_a_row_states() -> None:
    neighbours = call(GERMANY, traffic_class="NAT")
    assert DestinationRules(presets=(Barring.NO_INTERNATIONAL,)).barred_by(neighbours) is None
    on_net = call(GERMANY, traffic_class="ONNET")
    assert DestinationRules(presets=(Barring.NO_INTERNATIONAL,)).barred_by(on_net) is None
    risky = call(NL_MOB, traffic_class="HIGHRISK")
    assert DestinationRules(presets=(Barring.NO_HIGH_RISK,)).barred_by(risky) == "denied: no_high_risk"
    assert DestinationRules(presets=(Barring.NO_INTERNATIONAL,)).barred_by(risky) is None


@pytest.mark.parametrize("stated", [{"traffic_class": "INTL"}, {"type": "FIX"}, {"traffic_class": "HIGHRISK"}])
def test_a_premium_number_is_premium_whatever_its_row_says(stated: dict[str, str]) -> None:
    assert DestinationRules(presets=(Barring.NO_PREMIUM,)).barred_by(call(UK_PREMIUM, **stated)) == "denied: no_premium"


def test_presets_are_joined() -> None:
    rules = DestinationRules(presets=(Barring.NO_INTERNATIONAL, Barring.NO_PREMIUM))
    assert rules.barred_by(call(NL_PREMIUM)) == "denied: no_premium"
    assert rules.barred_by(call(GERMANY)) == "denied: no_international"
    assert rules.barred_by(call(NL_MOB)) is None


# ---- numbers


def test_a_number_that_is_allowed_passes_all_else() -> None:
    rules = DestinationRules(
        presets=(Barring.NO_INTERNATIONAL, Barring.NO_HIGH_RISK),
        allow=(DestinationRule(prefix="31"),),
        deny=(DestinationRule(prefix="53"),),
        allow_numbers=(CUBA,),
    )
    assert rules.barred_by(call(CUBA)) is None
    assert rules.barred_by(call(GERMANY)) == "denied: no_international"


def test_numbers_that_are_allowed_bar_no_others() -> None:
    assert DestinationRules(allow_numbers=(CUBA,)).barred_by(call(GERMANY)) is None


def test_a_number_that_is_denied_is_barred_among_all_that_are_allowed() -> None:
    rules = DestinationRules(allow=(DestinationRule(prefix="31"),), deny_numbers=(NL_MOB,))
    assert rules.barred_by(call(NL_MOB)) == f"denied: number {NL_MOB}"
    assert rules.barred_by(call(NL_FIX)) is None


def test_rules_survive_being_stored() -> None:
    rules = DestinationRules(
        (Barring.NO_PREMIUM,), (DestinationRule("31", days="1-5"),), (DestinationRule(),), (NL_MOB,), (GERMANY,)
    )
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(rules), type=DestinationRules) == rules
