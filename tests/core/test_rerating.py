"""Past calls rated anew: whose plan is replaced, what follows from it, what would be refused, what stays as it was."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callctl.accounts import Account, Directory, Kind
from callctl.limits.destinations import Barring, DestinationRule, DestinationRules
from callctl.money import Rounding, format_amount
from callctl.numbering import DialRules
from callctl.rating.builder import DeckBuilder
from callctl.rating.charge import charge, round_duration
from callctl.rating.exchange import DatedRate, Exchange
from callctl.rating.levels import NoRate, price_levels
from callctl.rating.margin import MarginRule, MaxCost
from callctl.rating.match import Deck
from callctl.rating.tariff import PERCENT, Band, Direction, Plan, Row
from callctl.rating.whatif import calls as past_calls
from callctl.rating.whatif import rerating
from callctl.rating.whatif.calls import Chain, Chains, PastRecord, number_of
from callctl.rating.whatif.lineup import Scope
from callctl.rating.whatif.rerating import NOTHING, Money, Outcome, Trial, Verdict
from callctl.rating.whatif.totals import CSV_COLUMNS, LARGEST, WhatIf, largest, lines

CENT = 1_000_000  # in 10^-8 per minute
CENTS = 10_000  # of an amount


def deck(plan: str, *rows: Row, **terms: Any) -> Deck:
    builder = DeckBuilder(Plan(plan, **terms))
    for row in rows:
        builder.add(row)
    return builder.build()


def flat(plan: str, cents: int, **terms: Any) -> Deck:
    """Cents per minute, everywhere."""
    return deck(plan, Row("", "World", per_minute=cents * CENT), **terms)


CARRIER = flat("carrier", 2)
OLD = flat("old", 10, buy_plan="carrier")
NEW = flat("new", 12, buy_plan="carrier")
ROOTS = Scope()
DECKS = {found.plan.id: found for found in (CARRIER, OLD, NEW)}


def record(**fields: Any) -> PastRecord:
    """A minute on the old plan, by a customer of the provider."""
    made = {
        "id": "http/c1:acme", "call_id": "c1", "switch": "http", "account": "acme", "role": "customer",
        "direction": "outbound", "to": "+31612345678", "setup_time": "2026-11-02T10:00:00Z",
        "answer_time": "2026-11-02T10:00:05Z", "duration_ms": 59_500, "duration_s": 60, "plan": "old",
        "buy_plan": "carrier", "charge": "0.1000", "cost": "0.0200", "currency": "EUR", "verdict": "allowed",
        "destination": "World", "type": "MOB", "q850": 16,
    }  # fmt: skip
    return msgspec.convert(made | fields, PastRecord)


def refused(refusal: str, **fields: Any) -> PastRecord:
    none = {"answer_time": None, "duration_ms": 0, "duration_s": 0, "charge": "0.0000", "cost": None}
    return record(verdict="refused", refusal=refusal, **(none | fields))


UNANSWERED: dict[str, Any] = {"answer_time": None, "duration_ms": 0, "duration_s": 0, "charge": "0.0000"}


def trial(new: Deck | None = NEW, scope: Scope = ROOTS, decks: dict[str, Deck] = DECKS, **terms: Any) -> Trial:
    return Trial(new, scope, decks.get, **terms)


def directory(**terms: Any) -> Directory:
    return Directory([Account("acme", Kind.POSTPAID, "old", **terms)])


def moved(outcome: Outcome) -> list[tuple[int, int | None]]:
    """Revenue and cost of every sale now, in hundredths of a cent."""
    return [
        (sale.now.revenue // 100, None if sale.now.cost is None else sale.now.cost // 100) for sale in outcome.sales
    ]


def test_a_call_on_another_plan() -> None:
    outcome = trial().rate((record(),))
    assert outcome.verdict is Verdict.RATED
    assert outcome.sales[0].then == Money(10 * CENTS, 2 * CENTS)
    assert outcome.sales[0].now == Money(12 * CENTS, 2 * CENTS)


@pytest.mark.parametrize(
    ("scope", "verdict"),
    [
        (Scope(), Verdict.RATED),
        (Scope(accounts=frozenset({"acme"})), Verdict.RATED),
        (Scope(accounts=frozenset({"other"})), Verdict.UNTOUCHED),
        (Scope(plans=frozenset({"old"})), Verdict.RATED),
        (Scope(plans=frozenset({"other"})), Verdict.UNTOUCHED),
    ],
)
def test_whose_plan_is_replaced(scope: Scope, verdict: Verdict) -> None:
    assert trial(scope=scope).rate((record(),)).verdict is verdict


def test_a_purchase_in_another_currency_is_converted_by_the_rate_of_the_calls_day() -> None:
    carrier = flat("carrier", 2, currency="USD")
    rates = {"USD-EUR": Exchange("USD-EUR", (DatedRate("2026-11-02", 10**12 // 2), DatedRate("2026-11-03", 10**12)))}
    tried = trial(decks=DECKS | {"carrier": carrier}, exchanges=rates)
    outcome = tried.rate((record(),))
    assert outcome.sales[0].now == Money(12 * CENTS, 1 * CENTS)
    later = {"setup_time": "2026-11-03T10:00:00Z", "answer_time": "2026-11-03T10:00:05Z"}
    assert tried.rate((record(**later),)).sales[0].now == Money(12 * CENTS, 2 * CENTS)
    unknown = trial(decks=DECKS | {"carrier": carrier})
    assert unknown.rate((record(),)).sales[0].now == Money(12 * CENTS, None)


# ---- chains


def shop(**fields: Any) -> PastRecord:
    below = {"id": "http/c1:shop", "account": "shop", "parent": "acme", "plan": "below", "buy_plan": "old"}
    return record(**(below | {"charge": "0.1500", "cost": "0.1000"} | fields))


def reseller(**fields: Any) -> PastRecord:
    return record(role="reseller", **fields)


PERCENTAGE = deck("below", Row("", "World", percent=150 * PERCENT))


def test_a_dearer_reseller_costs_its_customers_seller_more() -> None:
    outcome = trial(decks=DECKS | {"below": flat("below", 15)}).rate((shop(), reseller()))
    assert moved(outcome) == [(1500, 1200), (1200, 200)]


def test_a_percentage_follows_the_level_above() -> None:
    outcome = trial(decks=DECKS | {"below": PERCENTAGE}).rate((shop(), reseller()))
    assert moved(outcome) == [(1800, 1200), (1200, 200)]


def test_a_level_that_nothing_changes_keeps_what_it_was_charged() -> None:
    outcome = trial(decks=DECKS | {"below": flat("below", 99)}).rate((shop(), reseller()))
    assert outcome.sales[0].now.revenue == outcome.sales[0].then.revenue


def test_a_plan_below_leaves_the_level_above_alone() -> None:
    outcome = trial(scope=Scope(accounts=frozenset({"shop"}))).rate((shop(), reseller()))
    assert moved(outcome) == [(1200, 1000), (1000, 200)]


def test_an_exempt_account_pays_nothing_and_costs() -> None:
    outcome = trial(decks=DECKS | {"below": PERCENTAGE}).rate((shop(exempt=True, charge="0.0000"), reseller()))
    assert moved(outcome) == [(0, 1200), (1200, 200)]


def test_a_deck_below_that_is_not_given_keeps_its_charge() -> None:
    outcome = trial(partial=True).rate((shop(), reseller()))
    assert moved(outcome) == [(1500, 1200), (1200, 200)]


def test_records_of_a_call_are_put_together_also_apart() -> None:
    chains, other = Chains(), record(call_id="c2", id="http/c2:acme")
    assert [*chains.add(shop()), *chains.add(other), *chains.add(reseller())] == [(other,), (shop(), reseller())]
    assert list(chains.rest()) == []


def test_a_call_whose_reseller_never_comes() -> None:
    chains = Chains()
    assert list(chains.add(shop())) == []
    [alone] = chains.rest()
    outcome = trial(scope=Scope(accounts=frozenset({"shop"}))).rate(alone)
    assert moved(outcome) == [(1200, 1000)]


def test_waiting_calls_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(past_calls, "UNFINISHED_AT_MOST", 2)
    chains = Chains()
    calls = [shop(call_id=f"c{n}") for n in range(3)]
    assert [chain for call in calls for chain in chains.add(call)] == [(calls[0],)]


# ---- purchase


def test_the_new_plan_buys_by_its_own_carrier() -> None:
    cheap = flat("cheap", 1)
    outcome = trial(flat("new", 12, buy_plan="cheap"), decks=DECKS | {"cheap": cheap}).rate((record(),))
    assert moved(outcome) == [(1200, 100)]


def test_a_trunk_that_bought_elsewhere_still_does() -> None:
    trunk = flat("trunk", 7)
    outcome = trial(decks=DECKS | {"trunk": trunk}).rate((record(buy_plan="trunk", cost="0.0700"),))
    assert moved(outcome) == [(1200, 700)]


def test_a_carrier_that_is_given_is_bought_by() -> None:
    outcome = trial(carrier=flat("other", 5)).rate((record(),))
    assert moved(outcome) == [(1200, 500)]


def test_a_purchase_that_is_not_at_hand_costs_what_it_did() -> None:
    outcome = trial(decks={}, partial=True).rate((record(),))
    assert moved(outcome) == [(1200, 200)]


def test_a_percentage_of_a_purchase_that_is_not_at_hand_is_not_rated() -> None:
    percent = deck("new", Row("", percent=150 * PERCENT))
    outcome = trial(percent, decks={}, partial=True).rate((record(),))
    assert outcome.verdict is Verdict.UNKNOWN
    assert outcome.why == "plan new is a percentage of a purchase price, and that deck is not given"


def test_a_percentage_without_any_purchase_is_refused() -> None:
    outcome = trial(deck("new", Row("", percent=150 * PERCENT))).rate((record(),))
    assert (outcome.verdict, outcome.why) == (Verdict.REFUSED, "no_rate")


# ---- refusals

ABROAD_ONLY = deck("new", Row("49", per_minute=CENT), buy_plan="carrier")
RULES: list[tuple[dict[str, Any], str]] = [
    ({"margin": MarginRule(min_per_minute=11 * CENT)}, "margin_too_low"),
    ({"max_cost": MaxCost(per_minute=CENT)}, "cost_too_high"),
    ({"destinations": DestinationRules(deny=(DestinationRule(prefix="31"),))}, "destination_barred"),
    (
        {"destinations": DestinationRules((Barring.NO_INTERNATIONAL,)), "dial_rules": DialRules("DE")},
        "destination_barred",
    ),
    ({"destinations": DestinationRules((Barring.NO_INTERNATIONAL,)), "dial_rules": DialRules("NL")}, ""),
    ({"destinations": DestinationRules(deny=(DestinationRule(from_time="08:00", until_time="09:00"),))}, ""),
    ({"margin": MarginRule(min_per_minute=10 * CENT), "max_cost": MaxCost(per_minute=2 * CENT)}, ""),
]


@pytest.mark.parametrize(("rules", "why"), RULES)
def test_the_rules_of_the_account(rules: dict[str, Any], why: str) -> None:
    outcome = trial(directory=directory(**rules)).rate((record(),))
    assert (outcome.verdict, outcome.why) == ((Verdict.REFUSED, why) if why else (Verdict.RATED, ""))
    if why:
        assert outcome.sales[0].now == NOTHING
        assert outcome.sales[0].then == Money(10 * CENTS, 2 * CENTS)


def test_a_barred_destination_comes_before_a_missing_rate() -> None:
    barred = directory(destinations=DestinationRules(deny=(DestinationRule(prefix="31"),)))
    assert trial(ABROAD_ONLY).rate((record(),)).why == "no_rate"
    assert trial(ABROAD_ONLY, directory=barred).rate((record(),)).why == "destination_barred"


def test_rules_without_a_purchase_that_we_know_of_say_nothing() -> None:
    rules = directory(margin=MarginRule(min_per_minute=11 * CENT))
    assert trial(decks={}, partial=True, directory=rules).rate((record(),)).verdict is Verdict.RATED
    unbought = trial(flat("new", 12), decks={"old": flat("old", 10)}, directory=rules)
    assert unbought.rate((record(buy_plan=None, cost=None),)).why == "no_rate"


def test_an_unanswered_call_that_would_be_refused() -> None:
    outcome = trial(ABROAD_ONLY).rate((record(**UNANSWERED),))
    assert (outcome.verdict, outcome.sales) == (Verdict.REFUSED, ())
    assert trial().rate((record(**UNANSWERED),)).verdict is Verdict.RATED


@pytest.mark.parametrize("reason", ["no_rate", "margin_too_low", "cost_too_high", "destination_barred"])
def test_what_was_refused_for_the_plan_is_judged_again(reason: str) -> None:
    outcome = trial().rate((refused(reason),))
    assert (outcome.verdict, outcome.why) == (Verdict.RESTORED, reason)
    assert trial(ABROAD_ONLY).rate((refused(reason),)).verdict is Verdict.STILL_REFUSED


def test_what_was_refused_for_something_else_is_not_judged() -> None:
    assert trial().rate((refused("no_credit"),)).verdict is Verdict.UNTOUCHED


def test_an_attempt_below_a_reseller_needs_the_accounts() -> None:
    below = shop(**UNANSWERED)
    assert trial().rate((below,)).verdict is Verdict.UNKNOWN
    known = Directory([Account("acme", Kind.POSTPAID, "old"), Account("shop", Kind.POSTPAID, "below", "acme")])
    decks = DECKS | {"below": PERCENTAGE}
    assert trial(decks=decks, directory=known).rate((below,)).verdict is Verdict.RATED
    assert trial(ABROAD_ONLY, decks=decks, directory=known).rate((below,)).why == "no_rate"


# ---- calls that nobody sells


def test_an_emergency_call_is_not_touched() -> None:
    assert trial().rate((record(row="emergency", to="112", charge="0.0000"),)).verdict is Verdict.UNTOUCHED


def test_on_net_calls() -> None:
    free = record(row="on-net", charge="0.0000", cost=None)
    assert moved(trial().rate((free,))) == [(0, None)]
    billing = flat("new", 12, buy_plan="carrier", bill_on_net=True)
    assert moved(trial(billing).rate((free,))) == [(1200, 200)]
    billed = DECKS | {"old": flat("old", 10, buy_plan="carrier", bill_on_net=True)}
    ours = Directory([Account("acme", Kind.POSTPAID, "old", numbers=("+31612345678",))])
    assert moved(trial(decks=billed, directory=ours).rate((record(),))) == [(0, None)]
    assert moved(trial(decks=billed).rate((record(),))) == [(1200, 200)]


@pytest.mark.parametrize("direction", ["inbound", "internal"])
def test_what_no_row_prices_is_free_unless_it_goes_out(direction: str) -> None:
    call = record(direction=direction, row=direction, charge="0.0000", cost=None)
    outcome = trial(ABROAD_ONLY).rate((call,))
    assert (outcome.verdict, moved(outcome)) == (Verdict.RATED, [(0, None)])


def test_an_inbound_row_prices_inbound_calls() -> None:
    new = deck("new", Row("31", per_minute=3 * CENT, direction=Direction.INBOUND), buy_plan="carrier")
    outcome = trial(new).rate((record(direction="inbound", row="inbound", charge="0.0000", cost=None),))
    assert moved(outcome) == [(300, None)]


def test_an_extension_is_called_for_nothing() -> None:
    outcome = trial().rate((record(direction="internal", to="201", row="internal", charge="0.0000", cost=None),))
    assert moved(outcome) == [(0, None)]


# ---- what a call was


def test_unbilled_seconds_stay_unbilled() -> None:
    outcome = trial().rate((record(duration_ms=119_500, duration_s=120, unbilled_s=60, cost="0.0400"),))
    assert moved(outcome) == [(1200, 400)]


def test_surcharges_stay_as_they_were() -> None:
    outcome = trial().rate((record(surcharge="0.0500"),))
    assert outcome.sales[0].then == Money(15 * CENTS, 2 * CENTS)
    assert moved(outcome) == [(1700, 200)]


def test_bundle_seconds_stay_free() -> None:
    assert moved(trial().rate((record(bundle_s=30, charge="0.0500"),))) == [(600, 200)]


def test_the_new_plans_rounding_counts() -> None:
    down = flat("new", 12, buy_plan="carrier", duration_rounding=Rounding.DOWN)
    assert moved(trial(down).rate((record(),))) == [(1180, 200)]


def test_a_band_is_that_of_the_answer_and_the_call_crosses_it() -> None:
    night = Row("31", per_minute=6 * CENT, connection_fee=CENTS, band=Band(from_min=20 * 60, until_min=8 * 60))
    day = Row("31", per_minute=60 * CENT, connection_fee=5 * CENTS, band=Band(from_min=8 * 60, until_min=20 * 60))
    tried = trial(deck("new", night, day, buy_plan="carrier", timezone="Europe/Amsterdam"))
    call = record(setup_time="2026-11-02T06:59:00Z", answer_time="2026-11-02T06:59:30.900Z")
    assert moved(tried.rate((call,))) == [(100 + 300 + 3000, 200)]
    ringing = record(setup_time="2026-11-02T06:59:00Z", answer_time="2026-11-02T07:00:00Z")
    assert moved(tried.rate((ringing,))) == [(500 + 6000, 200)]


def test_another_currency_is_not_compared() -> None:
    outcome = trial(flat("new", 12, currency="USD")).rate((record(),))
    assert (outcome.verdict, outcome.why) == (Verdict.UNKNOWN, "it was charged in EUR, plan new is in USD")


def test_a_short_codes_target_is_a_number() -> None:
    number = number_of("+311888")
    assert number is not None
    assert number.digits == "311888"
    assert number_of("201") is None
    assert number_of("+") is None


def test_a_plan_of_its_own_that_is_gone() -> None:
    outcome = trial(None, Scope(everyone=True), decks={}).rate((record(),))
    assert (outcome.verdict, outcome.why) == (Verdict.UNKNOWN, "plan old is not at hand")


# ---- corrections


def test_a_correction_adds_up_with_its_original() -> None:
    tried, guessed = trial(), record(estimated=True)
    longer = record(
        id="http/c1:acme:c1",
        corrects="http/c1:acme",
        duration_ms=120_000,
        duration_s=120,
        charge="0.1000",
        cost="0.0200",
    )
    assert moved(tried.rate((guessed,))) == [(1200, 200)]
    assert moved(tried.rate((longer,))) == [(1200, 200)]


def test_a_correction_of_a_call_that_was_taken_for_unanswered() -> None:
    tried, unseen = trial(decks=DECKS | {"below": PERCENTAGE}), shop(**UNANSWERED, q850=None)
    tried.rate((unseen,))
    correction = shop(id="http/c1:shop:c1", corrects="http/c1:shop")
    assert moved(tried.rate((correction, reseller()))) == [(1800, 1200), (1200, 200)]


def test_a_correction_of_a_call_that_would_be_refused() -> None:
    tried = trial(ABROAD_ONLY)
    tried.rate((record(estimated=True),))
    [sale] = tried.rate((record(id="c", corrects="http/c1:acme", charge="-0.0200", cost="-0.0100"),)).sales
    assert (sale.then, sale.now) == (Money(-2 * CENTS, -CENTS), NOTHING)


def test_a_correction_without_its_original_is_not_rated() -> None:
    outcome = trial().rate((record(corrects="http/c0:acme"),))
    assert (outcome.verdict, outcome.why) == (Verdict.UNKNOWN, "it corrects a record that is not among these")


def test_originals_are_remembered_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rerating, "CORRECTABLE_AT_MOST", 1)
    tried = trial()
    for number in range(2):
        tried.rate((record(id=f"c{number}", estimated=True),))
    assert tried.rate((record(corrects="c0"),)).verdict is Verdict.UNKNOWN
    assert tried.rate((record(corrects="c1"),)).verdict is Verdict.RATED


# ---- the same plan


@given(
    st.integers(0, 30 * CENT), st.integers(0, 10**5), st.integers(0, 90), st.integers(1, 90), st.integers(0, 20),
    st.integers(0, 10**6), st.sampled_from(Rounding), st.integers(0, 6), st.booleans(),
)  # fmt: skip
def test_the_same_plan_gives_the_same_charge(
    per_minute: int, fee: int, initial_s: int, increment_s: int, free_s: int, ms: int, mode: Rounding, decimals: int,
    percent: bool,
) -> None:  # fmt: skip
    priced = {"percent": per_minute // 10} if percent else {"per_minute": per_minute}
    row = Row("31", connection_fee=fee, initial_s=initial_s, increment_s=increment_s, free_s=free_s, **priced)
    plan = deck("old", row, buy_plan="carrier", rounding=mode, round_decimals=decimals)
    number = number_of("+31612345678")
    assert number is not None
    levels = price_levels([("acme", plan)], CARRIER, number, 0, Direction.OUTBOUND)
    assert not isinstance(levels, NoRate)
    seconds = round_duration(levels[0].sell, ms)
    call = record(
        duration_ms=ms,
        duration_s=seconds,
        charge=format_amount(charge(levels[0].sell, seconds).micros),
        cost=format_amount(charge(CARRIER_PRICE, round_duration(CARRIER_PRICE, ms)).micros),
    )
    for tried in (trial(plan, decks=DECKS | {"old": plan}), trial(None, decks=DECKS | {"old": plan})):
        [sale] = tried.rate((call,)).sales
        assert sale.now == sale.then


def carrier_price() -> Any:
    number = number_of("+31612345678")
    assert number is not None
    levels = price_levels([("", CARRIER)], None, number, 0, Direction.OUTBOUND)
    assert not isinstance(levels, NoRate)
    return levels[0].sell


CARRIER_PRICE = carrier_price()


# ---- what is added up


def added(tried: Trial, *calls: Chain) -> WhatIf:
    found = WhatIf()
    for call in calls:
        found.add(tried.rate(call))
    return found


def test_every_seller_has_its_own_sums() -> None:
    found = added(trial(decks=DECKS | {"below": PERCENTAGE}), (shop(), reseller()), (record(id="x", call_id="c2"),))
    shown = found.as_dict()
    assert [(line["seller"], line["calls"], line["revenue_then"], line["revenue_now"]) for line in shown["totals"]] == [
        (None, 2, "0.2000", "0.2400"),
        ("acme", 1, "0.1500", "0.1800"),
    ]
    assert [(line["account"], line["margin_change"]) for line in shown["customers"]] == [
        ("acme", "0.0400"),
        ("shop", "0.0100"),
    ]
    assert shown["calls"]["rated"] == 2


def test_refusals_are_worth_what_they_brought() -> None:
    found = added(trial(ABROAD_ONLY), (record(),), (record(**UNANSWERED, call_id="c2"),), (refused("no_rate"),))
    [line] = found.as_dict()["refused"]
    assert (line["reason"], line["calls"], line["attempts"]) == ("no_rate", 1, 1)
    assert (line["revenue_then"], line["revenue_now"], line["margin_change"]) == ("0.1000", "0.0000", "-0.0800")


def test_a_cost_that_nobody_knows_is_not_nothing() -> None:
    [line] = added(trial(decks={"old": OLD}), (record(cost=None),)).as_dict()["totals"]
    assert (line["revenue_now"], line["cost_now"], line["margin_now"], line["uncosted"]) == (
        "0.1200",
        "0.0000",
        "0.0000",
        1,
    )


def test_a_correction_is_not_another_call() -> None:
    calls = ((record(estimated=True),), (record(id="c", corrects="http/c1:acme", charge="0.0000", cost="0.0000"),))
    found = added(trial(), *calls)
    assert [line["calls"] for line in found.as_dict()["totals"]] == [1]
    assert found.estimated == 1


def test_the_largest_changes_come_first_and_what_does_not_change_is_none() -> None:
    calls = [(record(destination=f"D{n:02}", duration_ms=n * 60_000, charge="0.0000"),) for n in range(30)]
    found = largest(added(trial(), *calls).destinations)
    assert [group.destination for group, _ in found] == [f"D{n:02}" for n in range(29, 29 - LARGEST, -1)]
    assert largest(added(trial(OLD, scope=Scope()), (record(),)).customers) == []


def test_csv_lines_have_every_column() -> None:
    assert [set(line) for line in lines(added(trial(), (record(),)))] == [set(CSV_COLUMNS)] * 3


def test_times_are_of_utc() -> None:
    moment = datetime(2026, 11, 2, 10, tzinfo=UTC)
    assert record().setup_ms == int(moment.timestamp()) * 1000


NETWORK = flat("network", 4)
AIRTIME = flat("airtime", 3, buy_plan="network")
WITH_AIRTIME = {**DECKS, "network": NETWORK, "airtime": AIRTIME}


@pytest.mark.parametrize(
    ("rules", "refusal"),
    [
        ({"margin": MarginRule(min_per_minute=-1 * CENT)}, None),
        ({"margin": MarginRule(min_per_minute=0)}, "margin_too_low"),  # of the part, a cent a minute
        ({"max_cost": MaxCost(per_minute=4 * CENT)}, None),
        ({"max_cost": MaxCost(per_minute=4 * CENT - 1)}, "cost_too_high"),
        ({"max_cost": MaxCost(per_call=1_000)}, None),  # the first second of both: 0.0003 and 0.0007
        ({"max_cost": MaxCost(per_call=999)}, "cost_too_high"),
    ],
)
def test_rules_judge_what_other_plans_charge_besides(rules: Any, refusal: str | None) -> None:
    outcome = trial(decks=WITH_AIRTIME, directory=directory(also=("airtime",), **rules)).rate((record(),))
    assert (outcome.why or None) == refusal
    alone = trial(decks=WITH_AIRTIME, directory=directory(**rules)).rate((record(),))
    assert alone.verdict is Verdict.RATED
    unknown = trial(decks=DECKS, directory=directory(also=("airtime",), **rules)).rate((record(),))
    assert unknown.verdict is Verdict.RATED


def test_a_part_that_buys_by_what_the_new_plan_buys_by_is_not_judged() -> None:
    decks = {**WITH_AIRTIME, "airtime": flat("airtime", 1, buy_plan="carrier")}
    judged = directory(also=("airtime",), margin=MarginRule(min_per_minute=0))
    assert trial(decks=decks, directory=judged).rate((record(),)).verdict is Verdict.RATED
    elsewhere = flat("elsewhere", 12, buy_plan="network")
    assert trial(elsewhere, decks=decks, directory=judged).rate((record(),)).why == "margin_too_low"
