"""What a payer owes in all: taxes of every charge, further parts, surcharges; and how long some money lasts."""

import json

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from callctl.accounts import Kind
from callctl.call.bill import bill
from callctl.call.effects import SettleNow
from callctl.call.events import Answered, Extended, Released, Settled, Taken, TakeRefused
from callctl.call.session import Level
from callctl.prepaid import slicing
from callctl.rating.levels import Part
from callctl.rating.price import Price, Tier
from callctl.rating.tax import Tax
from tests.core.calls import CALL, Played, account, facts, offered, price

VAT = Tax("VAT", percent=210_000)
LEVY = Tax("levy", fixed=10_000)


def level(sell: Price, **other: object) -> Level:
    stated = {"account": "acme", "prepaid": True, "exempt": False, "currency": "EUR", "plan": "standard", "row": "31"}
    return Level(**(stated | {"destination": "", "type": "MOB", "traffic_class": "MOB", "sell": sell} | other))  # type: ignore[arg-type]


def test_every_charge_is_taxed_by_its_own_plan() -> None:
    airtime = Part("airtime", "31", price(30_000, fee=5_000), (Tax("VAT", percent=90_000), Tax("city", percent=10_000)))
    payer = level(price(60_000), taxes=(VAT, LEVY), parts=(airtime,), surcharge_call=20_000, overflow=True)
    owed = bill(payer, 60)
    assert [each.micros for each in owed.charges] == [60_000, 35_000]
    assert owed.surcharge == 20_000
    assert dict(owed.taxes) == {"VAT": 12_600 + 4_200 + 3_200, "levy": 10_000, "city": 400}  # 3,150 is 0.0032
    assert slicing.cost(payer, 60) == owed.gross == 60_000 + 35_000 + 20_000 + 20_000 + 10_000 + 400


def test_what_costs_nothing_bears_no_fixed_tax() -> None:
    payer = level(price(60_000, free_s=10), taxes=(LEVY,))
    assert slicing.cost(payer, 10) == 0
    assert slicing.cost(payer, 11) == 11_000


def test_an_exempt_payer_owes_nothing_and_can_talk_on() -> None:
    payer = level(price(), taxes=(VAT,), exempt=True)
    assert slicing.cost(payer, 60) == 0
    assert slicing.affordable(payer, 0, 60) == 60
    assert slicing.first_cost(payer) is None


def test_who_is_liable_to_what() -> None:
    levied = (VAT, LEVY)
    assert account().bears(levied) == levied
    assert account(untaxed=("VAT",)).bears(levied) == (LEVY,)
    assert account(untaxed=True).bears(levied) == ()
    assert account(exempt=True).bears(levied) == ()


micros = st.sampled_from((0, 1, 600, 6_000, 60_000, 1_234_567))
levies = st.lists(
    st.builds(
        Tax, st.sampled_from(("VAT", "city", "fund")), percent=st.integers(0, 500_000), fixed=st.sampled_from((0, 777))
    ),
    max_size=3,
    unique_by=lambda tax: tax.name,
).map(tuple)


@st.composite
def prices(draw: st.DrawFn) -> Price:
    tiers = (Tier(0, draw(micros), draw(st.sampled_from((1, 6, 30, 60)))),)
    return Price(
        draw(micros), 1, tiers, free_s=draw(st.sampled_from((0, 0, 20))), decimals=draw(st.sampled_from((2, 4, 6)))
    )


@st.composite
def payers(draw: st.DrawFn) -> Level:
    parts = draw(st.lists(st.builds(Part, st.just("airtime"), st.just("31"), prices(), levies), max_size=2).map(tuple))
    over = draw(st.booleans())
    return level(
        draw(prices()),
        taxes=draw(levies),
        parts=parts,
        overflow=over,
        surcharge_call=draw(micros),
        surcharge_minute=draw(micros),
    )


@given(payers(), st.integers(0, 10**4) | st.integers(0, 10**7))
def test_affordable_is_the_inverse_of_the_cost(payer: Level, credit: int) -> None:
    seconds = slicing.affordable(payer, credit, 5_000)
    assert slicing.cost(payer, seconds) <= credit
    assert seconds == 5_000 or slicing.cost(payer, seconds + 1) > credit


@given(payers())
def test_the_first_cost_is_that_of_the_first_second_that_costs(payer: Level) -> None:
    least = slicing.first_cost(payer)
    first = next((cost for cost in (slicing.cost(payer, seconds) for seconds in range(200)) if cost), None)
    assert first == (least if slicing.affordable(payer, 0, 199) < 199 else None)


def test_a_hold_pays_the_taxes_too() -> None:
    looked_up = facts((account(),))
    taxed = replace(looked_up, prices=(replace(looked_up.prices[0], taxes=(VAT, LEVY)),))
    call = Played(taxed)
    assert call.proposal.take.levels[0].hold == 10_000 + 2_100 + 10_000


def test_too_little_for_the_taxes_is_refused_and_says_so() -> None:
    looked_up = facts((account(),), [price(increment_s=60)])
    taxed = replace(looked_up, prices=(replace(looked_up.prices[0], taxes=(VAT,)),))
    call = Played(taxed)
    call.put(TakeRefused(CALL, (72_599,), (False,), ()))
    assert call.session.refusal == "no_credit"
    assert call.session.detail == "0.072599 EUR available, the first increment costs 0.0726 EUR with taxes"


def test_the_records_of_every_level_state_net_tax_and_gross() -> None:
    chain = (account(parent="reseller"), account("reseller"))
    looked_up = facts(chain, [price(90_000), price(60_000)], buy=price(30_000))
    airtime = Part("airtime", "31", price(6_000), (LEVY,))
    customer, reseller = looked_up.prices
    taxed = (replace(customer, taxes=(VAT, LEVY), parts=(airtime,)), replace(reseller, taxes=(VAT,)))
    call = Played(replace(looked_up, prices=taxed), offered(attended=False))
    call.put(Taken(CALL, (10**7, 10**7), (False, False)))
    call.put(Answered(CALL, call.now, stated=True))
    call.put(Extended(CALL, (10**7, 10**7)))
    call.put(Released(CALL, call.now.plus_ms(60_000), stated=True), after_ms=60_000)
    settled = call.wanted(SettleNow).settlement
    mine, above = (json.loads(record.payload) for record in settled.records)
    assert (mine["charge"], mine["gross"], mine["cost"], mine["margin"]) == ("0.0960", "0.1349", "0.0600", "0.0360")
    assert mine["taxes"] == [{"name": "VAT", "amount": "0.0189"}, {"name": "levy", "amount": "0.0200"}]
    assert mine["parts"] == [{"plan": "airtime", "row": "31", "billed_s": 60, "charge": "0.0060"}]
    assert (above["charge"], above["gross"], above["cost"], above["margin"]) == ("0.0600", "0.0726", "0.0300", "0.0300")
    assert [post.amount for post in settled.posts] == [134_900, 72_600]
    assert mine["chain"] == [["acme", "0.0960"], ["reseller", "0.0600"]]


def test_a_correction_carries_the_difference_of_every_tax_and_part() -> None:
    looked_up = facts((account(kind=Kind.POSTPAID),))
    airtime = Part("airtime", "31", price(6_000))
    taxed = replace(looked_up.prices[0], taxes=(VAT, LEVY), parts=(airtime,))
    call = Played(replace(looked_up, prices=(taxed,)), offered(attended=False))
    call.put(Taken(CALL, (None,), (False,)))
    call.put(Answered(CALL, call.now, stated=True))
    call.put(Extended(CALL, (None,)))
    call.put(Released(CALL, call.now.plus_ms(60_000), stated=True, estimated=True), after_ms=60_000)
    call.put(Settled(CALL))
    call.put(Released(CALL, call.now.plus_ms(-30_000), stated=True))
    settled = call.wanted(SettleNow).settlement
    (record,) = (json.loads(record.payload) for record in settled.records)
    assert record["taxes"] == [{"name": "VAT", "amount": "-0.0063"}, {"name": "levy", "amount": "0.0000"}]
    assert (record["charge"], record["gross"]) == ("-0.0330", "-0.0393")
    assert record["parts"][0]["charge"] == "-0.0030"
    assert settled.posts[0].amount == -39_300
