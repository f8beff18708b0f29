"""Shares of affiliates: never more than the revenue, and nothing of the call in their records."""

import json

from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from callctl.accounts import Affiliate
from callctl.call import affiliates, settlement
from callctl.call.events import Answered, Taken
from callctl.money import MICROS
from tests.core.calls import CALL, START, Played, account, facts, offered, price

PERCENT = MICROS // 100


def stated(*percents: int) -> tuple[Affiliate, ...]:
    return tuple(Affiliate(f"agent-{number}", percent) for number, percent in enumerate(percents, 1))


@given(
    revenue=st.integers(0, 10**12),
    percents=st.lists(st.integers(0, MICROS), max_size=8).filter(lambda all: sum(all) <= MICROS),
    decimals=st.integers(0, 6),
)
@example(revenue=0, percents=[MICROS], decimals=4)
def test_shares_are_never_more_than_the_revenue(revenue, percents, decimals) -> None:
    unit = 10 ** (6 - decimals)
    revenue -= revenue % unit
    shares = affiliates.cut(stated(*percents), revenue, decimals)
    assert len(shares) == len(percents)
    assert all(share >= 0 and share % unit == 0 for share in shares)
    assert revenue * sum(percents) // MICROS - unit < sum(shares) <= revenue * sum(percents) // MICROS
    for share, percent in zip(shares, percents, strict=True):
        assert abs(share * MICROS - revenue * percent) < unit * MICROS


def test_everything_is_shared_out_to_the_last_unit() -> None:
    third = 333_333
    assert affiliates.cut(stated(third, third, MICROS - 2 * third), 10_000, 4) == (3_300, 3_300, 3_400)
    assert affiliates.cut(stated(50 * PERCENT, 50 * PERCENT), 100, 4) == (0, 100)
    assert affiliates.cut((), 100, 4) == ()


def ended(percents=(10 * PERCENT, 25 * PERCENT), *, exempt: bool = False, **more):
    payer = account(exempt=exempt, affiliates=stated(*percents))
    call = Played(facts((payer,), [price(per_minute_micros=600_000)]), offered(**more))
    call.put(Taken(CALL, (10_000_000,)))
    call.put(Answered(CALL, START))
    return replace(call.session, released=START.plus_ms(9_000), granted_s=10)


def records(closing) -> list[dict]:
    return [json.loads(record.payload) for record in closing.records]


def test_a_share_has_a_record_that_says_nothing_of_the_call() -> None:
    session = ended()
    customer, first, second = records(settlement.settle(session))
    assert customer["charge"] == "0.0900"
    assert customer["affiliates"] == [
        {"account": "agent-1", "share": "0.0090"},
        {"account": "agent-2", "share": "0.0225"},
    ]
    assert (first["account"], first["role"], first["share"], first["charge"], first["gross"]) == (
        "agent-1",
        "affiliate",
        "0.0090",
        "0.0000",
        "0.0000",
    )
    assert second["share"] == "0.0225"
    assert first["setup_time"] == first["answer_time"] == first["release_time"]
    assert first["id"] == f"share:{session.trace_id}:agent-1"
    assert set(first) - set(customer) == {"share"}
    told = json.dumps(first)
    for secret in (session.a_number, session.b_number, CALL.call_id, CALL.switch, "acme", "standard"):
        assert f'"{secret}"' not in told


def test_an_exempt_customer_has_nothing_to_share() -> None:
    customer, *others = records(settlement.settle(ended(exempt=True)))
    assert [share["share"] for share in customer["affiliates"]] == ["0.0000"] * 2
    assert [record["share"] for record in others] == ["0.0000"] * 2


def test_calls_that_cost_nothing_have_no_shares() -> None:
    session = ended()
    unanswered = replace(session, answered=None)
    refused = settlement.refuse(replace(session, answered=None))
    for closing in (settlement.settle(unanswered), refused):
        (customer,) = records(closing)
        assert [share["share"] for share in customer["affiliates"]] == []


def test_a_correction_corrects_the_shares() -> None:
    guessed = replace(ended(), estimated=True)
    closed = settlement.settle(guessed).session
    customer, first, second = records(
        settlement.correct(closed, replace(closed, released=START.plus_ms(4_000), estimated=False))
    )
    assert (customer["charge"], customer["affiliates"][0]["share"]) == ("-0.0500", "-0.0050")
    assert (first["id"], first["corrects"], first["share"]) == (
        f"share:{closed.trace_id}:agent-1:c1",
        f"share:{closed.trace_id}:agent-1",
        "-0.0050",
    )
    assert second["share"] == "-0.0125"


def test_a_call_that_was_taken_for_unanswered_has_its_shares_with_the_truth() -> None:
    session = ended()
    voided = settlement.settle(replace(session, answered=None, voided=True)).session
    truth = replace(voided, answered=START, released=START.plus_ms(9_000), granted_s=10)
    customer, first, _ = records(settlement.correct(voided, replace(truth, voided=False)))
    assert (customer["corrects"] is None, first["corrects"], first["id"]) == (
        False,
        None,
        f"share:{session.trace_id}:agent-1",
    )
