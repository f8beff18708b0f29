"""Slices: a stretched one costs every payer the same, surcharges included, and a second more would not."""

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from callctl.call.session import Level
from callctl.prepaid import slicing
from callctl.rating.price import Price, Tier

micros = st.sampled_from((0, 1, 600, 6_000, 60_000, 1_234_567))
increments = st.sampled_from((1, 6, 30, 60))


@st.composite
def levels(draw: st.DrawFn) -> Level:
    price = Price(draw(micros), 1, (Tier(0, draw(micros), draw(increments)),), free_s=draw(st.sampled_from((0, 0, 20))))
    return Level(
        account="acme",
        prepaid=True,
        exempt=draw(st.booleans()),
        currency="EUR",
        plan="standard",
        row="31",
        destination="",
        type="MOB",
        traffic_class="MOB",
        sell=price,
        surcharge_call=draw(micros),
        surcharge_minute=draw(micros),
        overflow=draw(st.booleans()),
    )


@given(st.lists(levels(), min_size=1, max_size=3), st.integers(1, 200), st.integers(0, 200))
def test_a_stretched_slice_costs_every_payer_the_same(payers: list[Level], seconds: int, more_s: int) -> None:
    at_most_s = seconds + more_s
    last_s = slicing.stretched(payers, seconds, at_most_s)
    assert seconds <= last_s <= at_most_s
    assert [slicing.cost(each, last_s) for each in payers] == [slicing.cost(each, seconds) for each in payers]
    if last_s < at_most_s:
        assert any(slicing.cost(each, last_s + 1) > slicing.cost(each, seconds) for each in payers)


@given(
    levels(), st.integers(0, 400), st.integers(1, 200), st.integers(1, 200), st.integers(1, 900), st.integers(1, 300)
)
def test_the_following_slice_is_twice_as_long_and_stretched(
    payer: Level, granted_s: int, slice_s: int, most_s: int, left_s: int, longest_s: int
) -> None:
    """For one payer, of which it is kept, as for two that pay the same."""
    terms = granted_s, slice_s, most_s, granted_s + left_s, longest_s
    next_s, planned_s = slicing.following((payer,), *terms)
    assert (next_s, planned_s) == slicing.following((payer, payer), *terms)
    assert next_s == min(2 * slice_s, most_s) or (next_s == slice_s >= most_s)
    seconds = min(granted_s + next_s, granted_s + left_s)
    assert planned_s == slicing.stretched((payer,), seconds, min(granted_s + longest_s, granted_s + left_s))


def test_a_slice_is_no_shorter_than_the_one_before() -> None:
    """A first increment of 600 s was granted at once, where no slice is to be longer than 300."""
    second = Level("acme", True, False, "EUR", "standard", "31", "", "MOB", "MOB", Price(0, 1, (Tier(0, 60_000, 1),)))
    assert slicing.following((second,), 600, 600, 300, 10_000, 3_600) == (600, 1_200)
    assert slicing.following((second,), 10, 10, 300, 10_000, 3_600) == (20, 30)
    assert slicing.following((second,), 310, 200, 300, 10_000, 3_600) == (300, 610)
    assert slicing.following((second,), 310, 200, 300, 400, 3_600) == (300, 400)


@given(levels(), st.integers(1, 400), st.sampled_from((0, 30)), st.sampled_from((None, 500)))
def test_what_any_second_costs_is_enough_for_the_first_charged_one(
    level: Level, seconds: int, grace_s: int, max_charge: int | None
) -> None:
    """So whoever holds something for a call can pay the least that is sold."""
    level = replace(level, sell=replace(level.sell, grace_s=grace_s, max_charge=max_charge))
    costs = slicing.cost(level, seconds)
    assert not costs or costs >= (slicing.first_cost(level) or 0)


def test_what_an_account_on_both_sides_has_is_not_counted_twice() -> None:
    """Both sides at 0.001 a second: 1.000 is 500 s of a call that the reseller pays for twice."""
    second = Price(0, 1, (Tier(0, 60_000, 1),))
    payers = [
        Level(name, True, False, "EUR", "standard", "31", "", "MOB", "MOB", second)
        for name in ("shop", "reseller", "callee", "reseller")
    ]
    assert slicing.affordable_by_all(payers, [None, 1_000_000, None, 1_000_000]) == 500
    assert slicing.affordable_by_all(payers[:3], [None, 1_000_000, None]) == 1_000
    assert slicing.affordable_by_all(payers, [None] * 4) is None
    dearer = [*payers[:3], replace(payers[3], sell=Price(0, 1, (Tier(0, 540_000, 1),)))]
    assert slicing.affordable_by_all(dearer, [None, 1_000_000, None, 1_000_000]) == 100
    held = [replace(each, held=slicing.cost(each, 10)) for each in dearer]
    assert slicing.affordable_by_all(held, [None, 900_000, None, 900_000]) == 100
