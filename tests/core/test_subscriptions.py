"""When which part of a subscription is charged, for how much, and what it may still become."""

from datetime import date, timedelta
from fractions import Fraction
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from callctl.money import format_amount, parse_amount
from callctl.rating.quotation import asked, quote
from callctl.rating.services import Amount, Catalogue
from callctl.rating.subscriptions import (
    Align,
    Charged,
    Period,
    ServiceBook,
    Step,
    Subscription,
    Subscriptions,
    check_book,
    check_subscription,
    count,
    end,
    next_step,
    revise,
)
from tests.core.catalogue import CATALOGUE

LATER = date(2199, 1, 1)


def subscription(service: str = "flat", from_day: str = "2026-01-15", **terms: object) -> Subscription:
    return msgspec.convert({"service": service, "from": from_day, **terms}, Subscription)


def steps(of: Subscription, at_most: int = 40, catalogue: Catalogue = CATALOGUE) -> list[Step]:
    found: list[Step] = []
    while len(found) < at_most:
        step = next_step(catalogue, of, None, found[-1].charged if found else None, LATER)
        if step is None:
            break
        found.append(step)
    return found


def charges(of: Subscription, at_most: int = 4) -> list[tuple[str, str, str]]:
    """First day, last day and MRC of each."""
    return [
        (str(s.charged.from_day), str(s.charged.to_day - timedelta(days=1)), format_amount(s.charged.charge))
        for s in steps(of, at_most)
    ]


@pytest.mark.parametrize(
    ("terms", "expected"),
    [
        # 31.00 a month: one a day in January, 31/28 a day in February.
        ({}, [("2026-01-15", "2026-01-31", "17.0000"), ("2026-02-01", "2026-02-28", "31.0000")]),
        ({"until": "2026-02-14"}, [("2026-01-15", "2026-01-31", "17.0000"), ("2026-02-01", "2026-02-14", "15.5000")]),
        ({"until": "2026-01-15"}, [("2026-01-15", "2026-01-15", "1.0000")]),
        ({"align": "start"}, [("2026-01-15", "2026-02-14", "31.0000"), ("2026-02-15", "2026-03-14", "31.0000")]),
        ({"align": "start", "from": "2026-01-31"},
         [("2026-01-31", "2026-02-27", "31.0000"), ("2026-02-28", "2026-03-30", "31.0000"),
          ("2026-03-31", "2026-04-29", "31.0000"), ("2026-04-30", "2026-05-30", "31.0000")]),
        ({"align": "start", "from": "2024-01-31"},
         [("2024-01-31", "2024-02-28", "31.0000"), ("2024-02-29", "2024-03-30", "31.0000")]),
        # 93.00 for the 90 days of the first quarter.
        ({"period": "quarterly"}, [("2026-01-15", "2026-03-31", "78.5300"), ("2026-04-01", "2026-06-30", "93.0000")]),
        ({"period": "half-yearly", "from": "2026-07-01"},
         [("2026-07-01", "2026-12-31", "186.0000"), ("2027-01-01", "2027-06-30", "186.0000")]),
        ({"period": "yearly", "from": "2024-12-31"},
         [("2024-12-31", "2024-12-31", "1.0200"), ("2025-01-01", "2025-12-31", "372.0000")]),
        ({"period": "yearly", "align": "start", "from": "2024-02-29"},
         [("2024-02-29", "2025-02-27", "372.0000"), ("2025-02-28", "2026-02-27", "372.0000"),
          ("2026-02-28", "2027-02-27", "372.0000"), ("2027-02-28", "2028-02-28", "372.0000")]),
    ],
)  # fmt: skip
def test_what_is_charged_for_which_days(terms, expected) -> None:
    assert (
        charges(subscription(**({"from_day": terms.pop("from")} if "from" in terms else {}), **terms), len(expected))
        == expected
    )


def test_an_ended_subscription_is_charged_no_more() -> None:
    assert len(steps(subscription(until="2026-03-31"))) == 3


def test_a_year_of_a_gold_partner_is_rounded_once_a_part() -> None:
    (year,) = steps(subscription("3cx-pro4", "2026-01-01", partner="gold", period="yearly"), 1)
    assert year.mrc == Amount(parse_amount("296.25"), None)  # 12 x 12.50 + 75 % of 195, not 12 x 24.69


def test_the_nrc_is_charged_once_with_the_first_period() -> None:
    first, second = steps(subscription(), 2)
    assert (first.due, first.nrc, second.nrc) == (date(2026, 1, 15), Amount(25_000_000, None), None)
    assert steps(subscription(waive_nrc=True), 1)[0].nrc is None


def test_a_service_without_a_monthly_price_is_charged_once() -> None:
    catalogue = msgspec.convert({"services": {"visit": {"name": "Visit", "sell": {"nrc": "80"}}}}, Catalogue)
    first, second = steps(subscription("visit"), 2, catalogue)
    assert (first.nrc, first.mrc, second.nrc, second.mrc) == (Amount(80_000_000, None), None, None, None)


def test_nothing_is_due_before_its_day() -> None:
    of = subscription()
    assert next_step(CATALOGUE, of, {}, None, date(2026, 1, 14)) is None
    step = next_step(CATALOGUE, of, {}, None, date(2026, 1, 15))
    assert step is not None
    assert next_step(CATALOGUE, of, {}, step.charged, date(2026, 1, 31)) is None
    assert next_step(CATALOGUE, of, {}, step.charged, date(2026, 2, 1)) is not None


def test_what_is_counted_is_due_when_the_month_is_over_and_counted() -> None:
    of, counts = subscription("extension", "2026-01-01"), {"2026-01": 12}
    assert next_step(CATALOGUE, of, counts, None, date(2026, 1, 31)) is None
    assert next_step(CATALOGUE, of, {"2026-02": 12}, None, date(2026, 2, 1)) is None
    step = next_step(CATALOGUE, of, counts, None, date(2026, 2, 1))
    assert step is not None
    assert (step.due, step.quantity, step.mrc) == (date(2026, 2, 1), 12, Amount(18_000_000, None))


# ---- the parts and the whole

DAYS = st.dates(date(2020, 1, 1), date(2040, 12, 31))
PERIODS, ALIGNS = st.sampled_from(Period), st.sampled_from(Align)


@given(DAYS, PERIODS, ALIGNS)
def test_periods_follow_each_other_without_gap_or_overlap(first, period, align) -> None:
    of = subscription(from_day=str(first), period=period, align=align)
    made = steps(of, 30)
    assert made[0].charged.from_day == first
    assert all(a.charged.to_day == b.charged.from_day for a, b in pairwise(made))
    whole = parse_amount("31.00") * {"monthly": 1, "quarterly": 3, "half-yearly": 6, "yearly": 12}[period]
    assert {step.charged.charge for step in made[1:]} == {whole}
    assert 0 < made[0].charged.charge <= whole


@given(DAYS, st.integers(1, 400), PERIODS, ALIGNS, st.integers(1, 7))
def test_every_charge_is_its_days_share_rounded_once(first, days, period, align, quantity) -> None:
    until = first + timedelta(days=days - 1)
    of = subscription(from_day=str(first), until=str(until), period=period, align=align, quantity=quantity)
    endless = steps(replace(of, until_day=None))
    made = steps(of)
    assert sum((s.charged.to_day - s.charged.from_day).days for s in made) == days
    last, whole = made[-1].charged, endless[len(made) - 1].charged
    share = Fraction((last.to_day - last.from_day).days, (whole.to_day - whole.from_day).days)
    if len(made) > 1:
        assert abs(last.charge - whole.charge * share) <= 5_000


@given(DAYS, PERIODS, st.data())
def test_two_parts_of_a_period_make_the_whole_within_a_rounding_each(first, period, data) -> None:
    """Ended on one day and begun again on the next: half a cent for each of the parts, no more."""
    whole = steps(subscription(from_day=str(first), period=period), 2)[1].charged
    days = (whole.to_day - whole.from_day).days
    cut = whole.from_day + timedelta(days=data.draw(st.integers(1, days - 1)))
    (before,) = steps(subscription(from_day=str(whole.from_day), until=str(cut - timedelta(days=1)), period=period))
    after = steps(subscription(from_day=str(cut), period=period), 1)[0]
    assert abs(before.charged.charge + after.charged.charge - whole.charge) <= 10_000


@given(DAYS, PERIODS, ALIGNS, st.data())
def test_an_early_end_leaves_what_the_days_cost(first, period, align, data) -> None:
    of = subscription(from_day=str(first), period=period, align=align)
    charged = steps(of, 2)[data.draw(st.integers(0, 1))].charged
    days = (charged.to_day - charged.from_day).days
    left = data.draw(st.integers(1, days))
    ended = replace(of, until_day=charged.from_day + timedelta(days=left - 1))
    step = next_step(CATALOGUE, ended, {}, charged, charged.from_day)
    if left == days:
        assert step is None
        return
    assert step is not None
    assert step.correction
    assert step.mrc is not None
    assert charged.charge + step.mrc.charge == step.charged.charge
    assert abs(step.charged.charge - Fraction(charged.charge * left, days)) <= 5_000
    assert next_step(CATALOGUE, ended, {}, step.charged, LATER) is None


def test_an_end_before_what_was_charged_last_gives_back_all_but_a_day() -> None:
    charged = Charged(date(2026, 3, 1), date(2026, 4, 1), 31_000_000, 10_000_000, 1)
    step = next_step(CATALOGUE, subscription(until="2026-01-31"), {}, charged, LATER)
    assert step is not None
    assert step.mrc == Amount(-30_000_000, -9_680_000)


def test_the_one_day_that_is_left_is_not_given_back() -> None:
    charged = Charged(date(2026, 3, 1), date(2026, 3, 2), 1_000_000, None, 1, 1)
    assert next_step(CATALOGUE, subscription(until="2026-01-31"), {}, charged, LATER) is None


def test_what_goes_on_within_a_period_is_a_part_of_that_period() -> None:
    charged = Charged(date(2026, 1, 15), date(2026, 2, 10), 26_000_000, None, 1, 1)
    step = next_step(CATALOGUE, subscription(align="start"), {}, charged, LATER)
    assert step is not None
    assert (step.charged.to_day, step.charged.charge) == (date(2026, 2, 15), 5_000_000)


def test_a_later_end_goes_on_where_the_early_one_was() -> None:
    charged = Charged(date(2026, 1, 1), date(2026, 1, 11), 10_000_000, None, 1, 1)
    step = next_step(CATALOGUE, subscription(from_day="2026-01-01"), {}, charged, LATER)
    assert step is not None
    assert (step.charged.from_day, step.charged.charge, step.nrc) == (date(2026, 1, 11), 21_000_000, None)


# ---- refusals


@pytest.mark.parametrize(
    ("terms", "says"),
    [
        ({"until": "2026-01-14"}, "until is before from"),
        ({"from_day": "1999-12-31"}, "between 2000 and 2199"),
        ({"until": "2200-01-01"}, "between 2000 and 2199"),
        ({"service": "nothing"}, "service nothing does not exist"),
        ({"service": "lines", "quantity": 21}, "at most 20, not 21"),
        ({"service": "sip-trunk"}, "no percentage for category"),
        ({"service": "extension", "period": "yearly"}, "by calendar months, without a quantity"),
        ({"service": "extension", "align": "start"}, "by calendar months, without a quantity"),
        ({"service": "extension", "quantity": 2}, "by calendar months, without a quantity"),
    ],
)
def test_what_cannot_be_subscribed_to_is_refused(terms, says) -> None:
    with pytest.raises(ValueError, match=says):
        check_subscription(CATALOGUE, subscription(**terms))


@pytest.mark.parametrize(
    "document",
    [
        {"service": "flat"},
        {"service": "flat", "from": "2026-02-30"},
        {"service": "flat", "from": "2026-01-01", "quantity": 0},
        {"service": "flat", "from": "2026-01-01", "period": "weekly"},
        {"service": "flat", "from": "2026-01-01", "align": "middle"},
        {"service": "flat", "from": "2026-01-01", "color": "red"},
    ],
)
def test_what_is_no_subscription_is_refused(document) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(document, Subscription)


TODAY = date(2026, 3, 10)
MARCH = Charged(date(2026, 3, 1), date(2026, 4, 1), 31_000_000, None, 1)


def test_before_it_is_charged_everything_can_change() -> None:
    new = subscription("lines", "2026-04-01", quantity=20)
    assert revise(subscription(), new, None, TODAY) == new


@pytest.mark.parametrize(
    "change", [{"quantity": 2}, {"service": "lines"}, {"period": Period.YEARLY}, {"partner": "gold"}]
)
def test_once_charged_only_its_end_can_change(change) -> None:
    before = subscription()
    assert revise(before, replace(before, until_day=TODAY), MARCH, TODAY).until_day == TODAY
    with pytest.raises(ValueError, match="only until can change"):
        revise(before, replace(before, **change), MARCH, TODAY)


def test_its_end_cannot_be_before_what_was_charged_last() -> None:
    before = subscription()
    assert revise(before, replace(before, until_day=date(2026, 3, 1)), MARCH, TODAY)
    with pytest.raises(ValueError, match="charged from 2026-03-01 on"):
        revise(before, replace(before, until_day=date(2026, 2, 28)), MARCH, TODAY)


def test_a_name_that_is_used_again_gives_nothing_back_of_what_was_charged_under_it() -> None:
    assert revise(None, subscription("lines", until=str(MARCH.to_day)), MARCH, TODAY)
    with pytest.raises(ValueError, match="all is charged before 2026-04-01"):
        revise(None, subscription("lines", until="2026-03-31"), MARCH, TODAY)


def test_a_first_day_that_is_long_ago_is_refused() -> None:
    assert revise(None, subscription(from_day="2025-03-09"), None, TODAY)
    with pytest.raises(ValueError, match="more than 366 days ago"):
        revise(None, subscription(from_day="2025-03-08"), None, TODAY)


@pytest.mark.parametrize(
    ("of", "charged", "left"),
    [
        (subscription(from_day="2026-04-01"), None, None),
        (subscription(), None, None),
        (subscription("extension", "2026-01-01"), None, TODAY),
        (subscription("extension", "2026-04-01"), None, None),
        (subscription(), MARCH, TODAY),
        (subscription(until="2026-03-05"), MARCH, date(2026, 3, 5)),
        (subscription(until="2026-03-31"), MARCH, None),
        (subscription(until="2026-03-05"), replace(MARCH, to_day=date(2026, 3, 6)), None),
    ],
)
def test_what_taking_it_away_leaves(of, charged, left) -> None:
    assert end(CATALOGUE, of, charged, TODAY) == (None if left is None else replace(of, until_day=left))


PBX = Subscriptions("acme", {"pbx": subscription("extension", "2026-01-15", until="2026-03-31"), "net": subscription()})
JANUARY = Charged(date(2026, 1, 15), date(2026, 2, 1), 9_870_000, None, 12)


def counted(month: str, number: int, name: str = "pbx", charged: Charged | None = None, **more: Any) -> Subscriptions:
    own = replace(PBX, counts=more)
    return count(CATALOGUE, own, name, month, number, charged, TODAY)


def test_a_month_is_counted_until_it_is_charged() -> None:
    own = counted("2026-01", 12)
    assert own.counts == {"pbx": {"2026-01": 12}}
    own = count(CATALOGUE, own, "pbx", "2026-01", 13, None, TODAY)
    own = count(CATALOGUE, own, "pbx", "2026-02", 0, None, TODAY)
    assert own.counts == {"pbx": {"2026-01": 13, "2026-02": 0}}
    assert count(CATALOGUE, own, "pbx", "2026-01", 13, JANUARY, TODAY) == own


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("2026-02", 1, "net"), "service flat is not counted"),
        (("2026-04", 1), "2026-04 is to come"),
        (("2025-12", 1), "2025-12 is not subscribed to"),
        (("2026-01", 13, "pbx", JANUARY), "2026-01 has been charged"),
    ],
)
def test_what_is_not_to_be_counted_is_refused(arguments, says) -> None:
    with pytest.raises(ValueError, match=says):
        counted(*arguments)


def test_a_count_after_the_end_is_refused() -> None:
    own = replace(PBX, by_name={"pbx": replace(PBX.by_name["pbx"], until_day=date(2026, 2, 1))})
    with pytest.raises(ValueError, match="2026-03 is not subscribed to"):
        count(CATALOGUE, own, "pbx", "2026-03", 1, None, TODAY)


def test_every_subscription_must_keep_its_price_and_the_same_terms_are_priced_once(monkeypatch) -> None:
    asked_of = []
    monkeypatch.setattr("callctl.rating.subscriptions.check_subscription", lambda _, of: asked_of.append(of.quantity))
    many = {f"s{n}": subscription(from_day=f"2026-01-{n + 1:02}", quantity=1 + n % 2) for n in range(20)}
    check_book(ServiceBook(CATALOGUE, {"acme": Subscriptions("acme", many)}), CATALOGUE)
    assert asked_of == [1, 2]
    monkeypatch.undo()
    lost = {"flat": subscription(), "gold": subscription(partner="gold")}
    book = ServiceBook(CATALOGUE, {"acme": Subscriptions("acme", lost)})
    with pytest.raises(ValueError, match="subscription gold of acme: partner gold does not exist"):
        check_book(book, replace(CATALOGUE, partners={}))


def test_a_count_beyond_the_quota_is_refused() -> None:
    service = {"name": "S", "sell": {"mrc": "1"}, "counted": True, "quota": {"at_most": 20}}
    catalogue = msgspec.convert({"services": {"s": service}}, Catalogue)
    own = Subscriptions("acme", {"pbx": subscription("s", "2026-01-01")})
    assert count(catalogue, own, "pbx", "2026-01", 20, None, TODAY)
    with pytest.raises(ValueError, match="at most 20, not 21"):
        count(catalogue, own, "pbx", "2026-01", 21, None, TODAY)


# ---- quotations


def test_a_quotation_is_what_will_be_charged() -> None:
    of = subscription("3cx-pro4", "2026-01-31", partner="gold", period="quarterly", align="start", quantity=3)
    shown = quote(CATALOGUE, of, 8)
    made = steps(of, 8)
    assert [it.charge for it in shown.charges] == [format_amount(step.charged.charge) for step in made]
    assert [(it.due, it.from_day) for it in shown.charges] == [(step.due, step.charged.from_day) for step in made]


def test_a_quotation_of_words() -> None:
    shown = quote(CATALOGUE, asked({"service": "sip-trunk", "price_list": "standard", "quantity": "2"}))
    assert msgspec.to_builtins(shown) == {
        "service": "sip-trunk", "name": "SIP trunk", "quantity": 2, "price_list": "standard", "partner": None,
        "currency": "EUR", "nrc": {"charge": "30.0000", "cost": "20.0000", "margin": "10.0000"},
        "mrc": {"charge": "15.0000", "cost": "10.0000", "margin": "5.0000"}, "charges": (),
    }  # fmt: skip
    terms = {"service": "extension", "quantity": "12", "from": "2026-01-01", "until": "2026-02-28"}
    shown = quote(CATALOGUE, asked(terms))
    assert [(str(it.due), it.charge) for it in shown.charges] == [("2026-02-01", "18.0000"), ("2026-03-01", "18.0000")]


@pytest.mark.parametrize(
    "terms",
    [
        {"service": "flat", "quantity": "none"},
        {"service": "flat", "quantity": "0"},
        {"service": "flat", "period": "yearly"},
        {"service": "flat", "from": "2026-01-01", "until": "2025-01-01"},
        {"service": "flat", "from": "yesterday"},
        {"service": "flat", "waive_nrc": "perhaps", "from": "2026-01-01"},
        {"service": "extension", "from": "2026-01-01", "period": "yearly"},
        {},
    ],
)
def test_what_cannot_be_quoted_is_refused(terms) -> None:
    with pytest.raises(ValueError, match=r"."):
        quote(CATALOGUE, asked(terms))


def test_days_or_periods_need_a_first_day() -> None:
    for term in ({"until": "2026-01-31"}, {"period": "yearly"}, {"waive_nrc": "true"}):
        with pytest.raises(ValueError, match="missing required field `from`"):
            asked({"service": "flat", **term})
