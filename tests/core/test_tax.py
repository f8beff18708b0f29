"""Taxes, and the largest net that a credit pays with its taxes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callctl.rating.tax import Tax, affordable_net, gross, taxes

VAT = Tax("VAT", percent=210_000)


def test_each_tax_is_of_the_net_and_rounded_half_up_by_itself() -> None:
    levied = [VAT, Tax("city", percent=55_000), Tax("fund", fixed=20_000)]
    assert taxes(levied, 145_000) == (30_500, 8_000, 20_000)
    assert gross(levied, 145_000) == 203_500
    assert taxes([VAT], 150_000, decimals=2) == (30_000,)
    assert taxes([VAT], 150_000, decimals=6) == (31_500,)


def test_a_call_that_costs_nothing_bears_no_tax() -> None:
    assert taxes([VAT, Tax("fund", fixed=20_000)], 0) == (0, 0)
    assert gross([VAT, Tax("fund", fixed=20_000)], 0) == 0


def test_without_taxes_gross_is_net() -> None:
    assert taxes([], 145_000) == ()
    assert gross([], 145_000) == affordable_net([], 145_000) == 145_000


def test_a_negative_credit_pays_nothing() -> None:
    assert affordable_net([VAT], -1) == -1


@pytest.mark.parametrize(("credit", "net"), [(20_000, 0), (20_099, 0), (20_100, 100), (0, 0)])
def test_a_fixed_tax_must_be_paid_first(credit: int, net: int) -> None:
    assert affordable_net([Tax("fund", fixed=20_000)], credit) == net


levies = st.lists(
    st.builds(Tax, st.just("tax"), percent=st.integers(0, 3_000_000), fixed=st.sampled_from((0, 0, 7, 20_000))),
    max_size=5,
)


@given(levies, st.integers(0, 10**4) | st.integers(0, 10**12), st.integers(0, 6))
def test_affordable_net_is_the_inverse(levied: list[Tax], credit: int, decimals: int) -> None:
    quantum = 10 ** (6 - decimals)
    net = affordable_net(levied, credit, decimals=decimals)
    assert net % quantum == 0
    assert gross(levied, net, decimals=decimals) <= credit < gross(levied, net + quantum, decimals=decimals)
