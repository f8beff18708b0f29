"""Calls that are set up in one band and answered in another: what is held, granted, charged and recorded."""

import json
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from callctl.accounts import Account, Kind
from callctl.call import machine, settlement
from callctl.call.admission import propose
from callctl.call.checks import Facts
from callctl.call.effects import ArmCall, Effect, ExtendNow, SettleNow, TakeNow
from callctl.call.events import (
    Answered,
    CallEvent,
    DeadlineReached,
    Extended,
    ExtendRefused,
    Released,
    Settled,
    Taken,
    TakeRefused,
)
from callctl.call.events import Deadline as Moment
from callctl.call.session import Session, State
from callctl.clock import Instant
from callctl.prepaid import slicing
from callctl.rating.bands import parse_band
from callctl.rating.builder import DeckBuilder
from callctl.rating.charge import anchored, charge
from callctl.rating.levels import NoRate, price_levels
from callctl.rating.margin import MarginRule, MaxCost
from callctl.rating.tariff import Direction, Plan, Row
from callctl.rating.tax import Tax, gross
from callctl.store import records
from tests.core.calls import CALL, NUMBER, POLICY, START, Played, account, facts, offered

EIGHT_S = 1_800_000_000 // 86_400 * 86_400 + 8 * 3600  # 08:00 UTC of the day of START
NIGHT, DAY = parse_band(("", "18:00", "08:00", "", "", "")), parse_band(("", "08:00", "18:00", "", "", ""))
VAT = Tax("VAT", percent=210_000)


def deck_of(night: Row, day: Row, **plan: object) -> DeckBuilder:
    builder = DeckBuilder(Plan("standard", **plan))  # type: ignore[arg-type]
    builder.add(replace(night, band=NIGHT))
    builder.add(replace(day, band=DAY))
    return builder


def row(per_minute: int, **terms: object) -> Row:
    """`per_minute` in micro-units."""
    return Row("31", per_minute=per_minute * 100, **terms)  # type: ignore[arg-type]


def looked_up(setup_s: int, night: Row, day: Row, payer: Account | None = None, **plan: object) -> Facts:
    """A call that is set up at this wall second."""
    payer = payer or account()
    built = deck_of(night, day, **plan).build()
    prices = price_levels([(payer.id, built)], None, NUMBER, setup_s * 1000, Direction.OUTBOUND)
    assert not isinstance(prices, NoRate), prices
    return replace(facts((payer,)), prices=prices)


class Purse:
    """One payer's money, which answers as the store does. `lowest`: what was ever left of it."""

    def __init__(self, found: Facts, setup_s: int, credit: int | None, *, attended: bool = True) -> None:
        self.now = Instant(setup_s * 1000, START.monotonic_ms)
        self.balance, self.held, self.limited = credit or 0, 0, credit is not None
        self.lowest = self.balance
        self.armed: list[int] = []
        proposal = propose(replace(offered(attended=attended), at=self.now), found, self.now, POLICY)
        self.session, effects = machine.begin(proposal, self.now, POLICY)
        self.settled: list[dict[str, object]] = []
        self._perform(effects)

    @property
    def left(self) -> int | None:
        return self.balance - self.held if self.limited else None

    def put(self, event: CallEvent, *, after_s: int = 0) -> None:
        self.now = self.now.plus_ms(after_s * 1000)
        self.session, effects = machine.advance(self.session, event, self.now, POLICY)
        self._perform(effects)

    def _perform(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, TakeNow):
                (asked,) = effect.take.levels
                if self._affords(asked.hold):
                    self.held = asked.hold
                    self._hear(Taken(CALL, (self.left,), (False,)))
                else:
                    self._hear(TakeRefused(CALL, (self.left,), (False,), ()))
            elif isinstance(effect, ExtendNow):
                (more,) = effect.extension.more
                if effect.extension.force or self._affords(more):
                    self.held += more
                    self._hear(Extended(CALL, (self.left,)))
                else:
                    self._hear(ExtendRefused(CALL, (self.left,)))
            elif isinstance(effect, SettleNow):
                self.held = 0
                self.balance -= sum(post.amount for post in effect.settlement.posts)
                self.settled += [json.loads(record.payload) for record in effect.settlement.records]
                self._hear(Settled(CALL))
            elif isinstance(effect, ArmCall):
                self.armed.append(effect.remaining_ms)

    def _affords(self, amount: int) -> bool:
        return self.left is None or amount <= max(0, self.left)

    def _hear(self, event: CallEvent) -> None:
        if self.left is not None:
            self.lowest = min(self.lowest, self.left)
        self.put(event)


rows = st.builds(
    row,
    st.sampled_from((0, 6_000, 60_000, 600_000)),
    connection_fee=st.sampled_from((0, 0, 30_000)),
    initial_s=st.sampled_from((None, 30, 60)),
    increment_s=st.sampled_from((None, 6, 60)),
    grace_s=st.sampled_from((0, 0, 5)),
    free_s=st.sampled_from((0, 0, 20)),
    min_charge=st.sampled_from((0, 0, 10_000)),
)


@settings(max_examples=400)
@given(
    rows,
    rows,
    st.integers(-150, 30),
    st.integers(0, 119),
    st.integers(0, 400),
    st.integers(0, 400_000),
    st.booleans(),
    st.booleans(),
    st.sampled_from(((), (VAT,))),
)
def test_a_balance_is_never_overdrawn_and_the_answer_prices_the_call(
    night: Row,
    day: Row,
    setup_s: int,
    rings_s: int,
    talks_s: int,
    credit: int,
    attended: bool,
    told: bool,
    taxes: tuple[Tax, ...],
) -> None:
    """`told`: the switch reports the answer; else the report of the end alone tells of it."""
    purse = Purse(looked_up(EIGHT_S + setup_s, night, day, taxes=taxes), EIGHT_S + setup_s, credit, attended=attended)
    if purse.session.state is State.ENDED or purse.session.refusal is not None:
        assert purse.balance == credit
        return
    answered = purse.now.plus_ms(rings_s * 1000)
    if told:
        purse.put(Answered(CALL, answered, stated=True), after_s=rings_s)
        while purse.session.attended and purse.session.granted_s < talks_s and purse.session.state is State.ANSWERED:
            before = purse.session.granted_s
            purse.put(DeadlineReached(CALL, Moment.EXTEND), after_s=max(0, before - 5))
            if purse.session.granted_s == before:
                break
    lasts_s = min(talks_s, purse.session.granted_s) if told else min(talks_s, purse.session.first_granted_s)
    purse.put(Released(CALL, answered.plus_ms(lasts_s * 1000), stated=True, answered_at=answered))
    assert purse.lowest >= 0
    assert purse.balance >= 0
    (record,) = purse.settled
    paid_s = record["duration_s"] - record["unbilled_s"]  # type: ignore[operator]
    price = anchored(purse.session.levels[0].sell, answered.wall_ms // 1000)
    assert credit - purse.balance == gross(taxes, charge(price, paid_s).micros)
    assert record["unbilled_s"] == 0 or not told


@pytest.mark.parametrize("attended", [True, False])
def test_a_call_into_a_dearer_band_is_held_for_its_dearest_answer(attended: bool) -> None:
    purse = Purse(looked_up(EIGHT_S - 60, row(6_000), row(60_000)), EIGHT_S - 60, 10**7, attended=attended)
    granted_s = purse.session.granted_s
    assert purse.held == granted_s * 1_000
    purse.put(Answered(CALL, purse.now.plus_ms(30_000), stated=True), after_s=30)
    night_s = 30
    if attended:
        assert purse.held == granted_s * 100
    else:
        assert purse.held == night_s * 100 + (granted_s - night_s) * 1_000
    assert purse.session.granted_s == granted_s


def test_a_call_into_a_cheaper_band_is_charged_by_the_answer() -> None:
    night = row(6_000, connection_fee=50_000)
    purse = Purse(looked_up(EIGHT_S + 10 * 3600 - 20, night, row(60_000)), EIGHT_S + 10 * 3600 - 20, 10**7)
    purse.put(Answered(CALL, purse.now.plus_ms(60_000), stated=True), after_s=60)
    purse.put(Released(CALL, purse.now.plus_ms(10_000), stated=True), after_s=10)
    (record,) = purse.settled
    assert (record["charge"], record["connection_fee"], record["per_minute"]) == ("0.0510", "0.0500", "0.0060")
    assert purse.balance == 10**7 - 51_000


def test_bands_that_cost_more_together_cut_the_grant_to_what_is_held() -> None:
    """The fee is the night's and the minutes are the day's: neither alone costs as much."""
    night, day = row(6_000, connection_fee=100_000), row(600_000)
    purse = Purse(looked_up(EIGHT_S - 60, night, day), EIGHT_S - 60, 150_000, attended=False)
    told_s = purse.session.granted_s
    assert purse.held == told_s * 10_000 == 150_000
    purse.put(Answered(CALL, purse.now.plus_ms(58_000), stated=True), after_s=58)
    assert purse.session.granted_s == 6  # 0.1 + 2 s of the night at 0.0001, and 4 of the day at 0.01
    assert purse.held == 140_200
    purse.put(Released(CALL, purse.now.plus_ms(told_s * 1000), stated=True), after_s=told_s)
    (record,) = purse.settled
    assert (record["billed_s"], record["unbilled_s"], record["charge"]) == (6, 9, "0.1402")
    assert purse.balance == 9_800


def test_a_grant_that_was_cut_is_asked_for_again_where_there_is_money() -> None:
    night, day = row(6_000, connection_fee=100_000), row(600_000)
    purse = Purse(looked_up(EIGHT_S - 60, night, day), EIGHT_S - 60, 10**6)
    told_s = purse.session.granted_s
    assert (told_s, purse.held) == (10, 101_000)
    purse.put(Answered(CALL, purse.now.plus_ms(59_000), stated=True), after_s=59)
    assert purse.session.granted_s == told_s
    assert purse.held == 100_000 + 100 + 9 * 10_000
    assert purse.armed[-1] == told_s * 1000


def test_the_credit_must_pay_the_first_second_of_the_dearest_answer() -> None:
    purse = Purse(looked_up(EIGHT_S - 60, row(6_000), row(60_000)), EIGHT_S - 60, 999)
    assert purse.session.refusal == "no_credit"
    assert Purse(looked_up(EIGHT_S - 180, row(6_000), row(60_000)), EIGHT_S - 180, 999).session.refusal is None


def test_an_answer_that_was_missed_prices_the_correction() -> None:
    """Taken for unanswered; then the truth: it was answered on the other side of the boundary."""
    payer = account(kind=Kind.POSTPAID)
    purse = Purse(looked_up(EIGHT_S - 60, row(6_000), row(60_000), payer), EIGHT_S - 60, None)
    purse.put(DeadlineReached(CALL, Moment.LOST), after_s=150)
    assert purse.settled[0]["charge"] == "0.0000"
    answered = Instant(EIGHT_S * 1000 + 5_000, purse.now.monotonic_ms)
    purse.put(Released(CALL, answered.plus_ms(60_000), stated=True, answered_at=answered))
    assert (purse.settled[1]["charge"], purse.settled[1]["per_minute"]) == ("0.0600", "0.0600")
    assert purse.settled[1]["corrects"] == purse.settled[0]["id"]
    assert purse.balance == -60_000


def test_a_store_that_remembers_the_answer_remembers_its_price() -> None:
    purse = Purse(looked_up(EIGHT_S - 60, row(6_000), row(60_000)), EIGHT_S - 60, 10**7)
    admitted: Session = purse.session
    purse.put(Answered(CALL, purse.now.plus_ms(90_000), stated=True), after_s=90)
    remembered = records.carried_on(admitted, records.changes(purse.session))
    assert remembered.levels[0].sell == purse.session.levels[0].sell
    assert remembered.levels[0].answer_by_s is None
    resumed, _ = machine.resume(replace(remembered, levels=purse.session.levels), purse.now, POLICY)
    assert resumed.granted_s == purse.session.granted_s


def test_a_call_of_several_days_goes_from_band_to_band() -> None:
    payer = account(kind=Kind.POSTPAID)
    purse = Purse(looked_up(EIGHT_S, row(6_000), row(60_000), payer), EIGHT_S, None)
    purse.put(Answered(CALL, purse.now, stated=True))
    purse.put(Released(CALL, purse.now.plus_ms(3 * 86_400_000), stated=True), after_s=3 * 86_400)
    assert purse.settled[0]["charge"] == "123.1200"  # three days of 10 hours at 0.06 and 14 at 0.006 a minute


def bounded(per_call: int, dear: int) -> Purse:
    """A call a minute before its purchase becomes `dear` a minute, by an account with this bound on it."""
    payer = account(max_cost=MaxCost(per_call=per_call))
    carrier = deck_of(row(6_000), row(dear)).build()
    sale = deck_of(row(600_000), row(600_000)).build()
    prices = price_levels([(payer.id, sale)], carrier, NUMBER, (EIGHT_S - 60) * 1000, Direction.OUTBOUND)
    assert not isinstance(prices, NoRate)
    return Purse(replace(facts((payer,)), prices=prices), EIGHT_S - 60, 10**9, attended=False)


def test_a_bound_on_the_purchase_looks_at_every_answer() -> None:
    assert bounded(60_000, dear=60_000).session.granted_s == 60


def test_a_bound_on_the_purchase_refuses_where_a_late_answer_cannot_have_a_second() -> None:
    assert bounded(50_000, dear=3_600_000).session.refusal == "cost_too_high"


def test_a_margin_is_kept_in_the_band_that_the_ringing_reaches() -> None:
    payer = account(margin=MarginRule(min_per_minute=0))
    carrier = deck_of(row(6_000), row(700_000)).build()
    sale = deck_of(row(600_000), row(600_000)).build()
    at_s = EIGHT_S - 3_650  # an hour of grant alone ends before the dear band
    prices = price_levels([(payer.id, sale)], carrier, NUMBER, at_s * 1000, Direction.OUTBOUND)
    assert not isinstance(prices, NoRate)
    purse = Purse(replace(facts((payer,)), prices=prices), at_s, 10**9, attended=False)
    assert purse.session.refusal == "margin_too_low"


def test_unbanded_prices_wait_for_no_answer() -> None:
    call = Played(facts())
    assert call.session.levels[0].answer_by_s is None
    assert slicing.cost(call.session.levels[0], 10) == 10_000


def test_what_is_settled_from_the_journal_is_priced_by_its_answer() -> None:
    """The store never heard of the answer: its session is still that of the set-up."""
    payer = account(kind=Kind.POSTPAID)
    purse = Purse(looked_up(EIGHT_S - 60, row(6_000), row(60_000), payer), EIGHT_S - 60, None)
    answered = purse.now.plus_ms(70_000)
    over = replace(purse.session, answered=answered, released=answered.plus_ms(60_000), answer_stated=True)
    (post,) = settlement.settle(over).posts
    assert post.amount == 60_000
