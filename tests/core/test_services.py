"""Prices of services: the worked figures, every refusal, and one rounding per part and charge."""

from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callctl.money import format_amount, parse_amount
from callctl.rating.services import VPS, Amount, Catalogue, ChargeKind, Wanted, amount_of, check_catalogue, vps_bundle
from tests.core.catalogue import CATALOGUE, DOCUMENT

NRC, MRC = ChargeKind.NRC, ChargeKind.MRC


def price(service: str, kind: ChargeKind = MRC, **terms: object) -> Amount:
    return amount_of(CATALOGUE, Wanted(service=service, **terms), kind)  # type: ignore[arg-type]


def shown(amount: Amount) -> tuple[str | None, ...]:
    return tuple(None if it is None else format_amount(it) for it in (amount.charge, amount.cost, amount.margin))


@pytest.mark.parametrize(
    ("service", "terms", "nrc", "mrc"),
    [
        ("sip-trunk", {"price_list": "standard"}, ("15.0000", "10.0000", "5.0000"), ("7.5000", "5.0000", "2.5000")),
        ("fax2mail", {"price_list": "standard"}, ("75.0000", "50.0000", "25.0000"), ("15.0000", "10.0000", "5.0000")),
        ("3cx-pro4", {}, ("0.0000", None, None), ("28.7500", None, None)),
        ("3cx-pro4", {"partner": "gold"}, ("0.0000", None, None), ("24.6900", None, None)),
        ("halves", {}, ("0.0000", None, None), ("20.0200", None, None)),
        ("lines", {"quantity": 10}, ("0.0000", None, None), ("0.0000", None, None)),
        ("lines", {"quantity": 11}, ("0.0000", None, None), ("12.9500", None, None)),
        ("lines", {"quantity": 15}, ("0.0000", None, None), ("64.7500", None, None)),
        ("lines", {"quantity": 20}, ("0.0000", None, None), ("129.5000", None, None)),
        # An exception of the price list stands above the category and the service's own price.
        ("sip-trunk", {"price_list": "special"}, ("99.9000", "10.0000", "89.9000"), ("49.9500", "5.0000", "44.9500")),
        ("lines", {"price_list": "special", "quantity": 20}, ("0.0000", None, None), ("10.0000", None, None)),
        ("sip-trunk", {"price_list": "standard", "quantity": 3}, ("45.0000", "30.0000", "15.0000"),
         ("22.5000", "15.0000", "7.5000")),
    ],
)  # fmt: skip
def test_worked_figures(service, terms, nrc, mrc) -> None:
    assert (shown(price(service, NRC, **terms)), shown(price(service, MRC, **terms))) == (nrc, mrc)


def test_a_partner_gets_nothing_off_what_is_no_licence() -> None:
    assert price("halves", partner="gold") == price("halves")


def test_free_units_are_bought_all_the_same() -> None:
    document = {"services": {"s": {"name": "S", "purchase": {"mrc": "1"}, "sell": {"mrc": "2"}, "quota": {"free": 2}}}}
    catalogue = msgspec.convert(document, Catalogue)
    assert amount_of(catalogue, Wanted(service="s", quantity=3), MRC) == Amount(2_000_000, 3_000_000)


def test_a_licence_sold_by_the_year_costs_its_price_a_year() -> None:
    document = {"services": {"pro": {"name": "PRO", "sell": {"mrc": "295/12"}}}}
    catalogue = msgspec.convert(document, Catalogue)
    assert amount_of(catalogue, Wanted(service="pro"), MRC).charge == parse_amount("24.58")
    assert amount_of(catalogue, Wanted(service="pro"), MRC, Fraction(12)).charge == parse_amount("295.00")


@pytest.mark.parametrize(
    ("terms", "says"),
    [
        ({"service": "nothing"}, "service nothing does not exist"),
        ({"service": "lines", "quantity": 21}, "at most 20, not 21"),
        ({"service": "sip-trunk"}, "without a price list there is no percentage for category 'lines'"),
        ({"service": "fax2mail", "price_list": "special"}, "has no percentage for category 'fax'"),
        ({"service": "lines", "price_list": "nothing"}, "price list nothing does not exist"),
        ({"service": "3cx-pro4", "partner": "nobody"}, "partner nobody does not exist"),
    ],
)
def test_what_has_no_price_is_refused(terms, says) -> None:
    with pytest.raises(ValueError, match=says):
        amount_of(CATALOGUE, Wanted(**terms), MRC)


def test_an_amount_beyond_counting_is_refused() -> None:
    catalogue = msgspec.convert({"services": {"s": {"name": "S", "sell": {"mrc": "9000000000"}}}}, Catalogue)
    with pytest.raises(ValueError, match="larger than this system counts"):
        amount_of(catalogue, Wanted(service="s", quantity=2), MRC)


BOUGHT = {"name": "S", "category": "c", "purchase": {"mrc": "1"}}
SOLD = {"name": "S", "sell": {"mrc": "1"}}
PARTS = [{"name": "a", "sell": {"mrc": "1"}}, {"name": "b", "sell": {"mrc": "1"}}]


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({"services": {"s": {"name": "S"}}}, "service s: 'S' has neither"),
        ({"services": {"s": {**SOLD, "parts": PARTS}}}, "service s: prices of its own, or parts"),
        ({"services": {"s": {"name": "S", "sell": {"mrc": "-1"}}}}, "service s, S: mrc: '-1' is negative"),
        ({"services": {"s": {"name": "S", "sell": {"nrc": "ten"}}}}, "service s, S: nrc: 'ten' is not a decimal"),
        ({"services": {"s": {"name": "S", "sell": {"mrc": "1/0"}}}}, "divided by a number from 1 to 999"),
        ({"services": {"s": {"name": "S", "sell": {"mrc": "1/12/2"}}}}, "divided by a number from 1 to 999"),
        ({"services": {"s": {"name": "S", "sell": {"mrc": "1/"}}}}, "divided by a number from 1 to 999"),
        ({"services": {"s": {"name": "S", "sell": {"mrc": "0.0000001"}}}}, "more than 6 decimals"),
        ({"services": {"s": {**SOLD, "quota": {"free": 3, "at_most": 2}}}}, "3 are free, and at most 2"),
        ({"services": {"s": {"name": "S", "sell": {"nrc": "1"}, "counted": True}}}, "has no NRC"),
        ({"price_lists": {"p": {"categories": {"c": "99"}}}}, "price list p, category c: 99 % .* 100 to 999"),
        ({"price_lists": {"p": {"categories": {"c": "99.9999"}}}}, "100 to 999 is possible"),
        ({"price_lists": {"p": {"categories": {"c": "1000"}}}}, "100 to 999 is possible"),
        ({"price_lists": {"p": {"categories": {"c": "999.5"}}}}, "100 to 999 is possible"),
        ({"price_lists": {"p": {"categories": {"c": "150%"}}}}, "price list p, category c: '150%' is not a decimal"),
        ({"price_lists": {"p": {"exceptions": {"s": {"percent": "150"}}}}}, "service s does not exist"),
        ({"services": {"s": BOUGHT}, "price_lists": {"p": {"exceptions": {"s": {}}}}}, "either a percent or a sell"),
        ({"services": {"s": BOUGHT}, "price_lists": {"p": {"exceptions": {"s": {"percent": "99"}}}}}, "100 to 999"),
        ({"services": {"s": BOUGHT}, "price_lists": {"p": {"exceptions": {"s": {"sell": {"mrc": "x"}}}}}},
         "price list p, exception s: mrc: 'x'"),
        ({"services": {"s": SOLD}, "price_lists": {"p": {"exceptions": {"s": {"percent": "150"}}}}}, "is not stated"),
        ({"services": {"s": {"name": "S", "parts": PARTS}},
          "price_lists": {"p": {"exceptions": {"s": {"sell": {"mrc": "1"}}}}}}, "a bundle of 2 parts has no price"),
        ({"partners": {"gold": "101"}}, "partner gold: a discount of 101 %"),
        ({"partners": {"gold": "-1"}}, "partner gold: "),
        ({"vps": {"1": ["PRO4"], "2": ["pro4"]}}, "vps: PRO4 stands in more than one place"),
    ],
)  # fmt: skip
def test_a_wrong_catalogue_is_refused_with_its_place(document, says) -> None:
    with pytest.raises(ValueError, match=says):
        check_catalogue(msgspec.convert(document, Catalogue))


@pytest.mark.parametrize(
    "document",
    [
        {"service": {}},
        {"currency": "euro"},
        {"currency": "EUR\n"},
        {"decimals": 7},
        {"services": {"a b": SOLD}},
        {"services": {"a\n": SOLD}},
        {"services": {"s": {"name": "S", "sell": {"mrc": 12.5}}}},
        {"services": {"s": {**SOLD, "quota": {"free": -1}}}},
        {"services": {"s": {**SOLD, "discount": "5"}}},
    ],
)
def test_what_is_no_catalogue_is_refused(document) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(document, Catalogue)


def test_the_limits_of_a_percentage_are_possible() -> None:
    check_catalogue(msgspec.convert({"price_lists": {"p": {"categories": {"a": "100", "b": "999"}}}}, Catalogue))


def test_a_catalogue_is_written_as_it_was_read() -> None:
    check_catalogue(CATALOGUE)
    assert msgspec.json.decode(msgspec.json.encode(CATALOGUE)) == DOCUMENT | {
        "vps": {bundle: list(licences) for bundle, licences in VPS.items()}
    }


@pytest.mark.parametrize(
    ("bundle", "licences"),
    [
        ("0.5", ["PRO4"]),
        ("1", ["ENT4", "PRO8"]),
        ("5", ["PRO16", "PRO24", "ENT8"]),
        ("6", ["ENT16", " pro32"]),
    ],
)
def test_the_vps_bundle_of_a_licence(bundle, licences) -> None:
    assert {vps_bundle(CATALOGUE, licence) for licence in licences} == {bundle}


@pytest.mark.parametrize("licence", ["PRO5", "PRO64", "", "4"])
def test_a_licence_that_nobody_listed_has_no_vps_bundle(licence) -> None:
    with pytest.raises(ValueError, match="no VPS bundle is listed"):
        vps_bundle(CATALOGUE, licence)


def test_the_vps_table_is_data() -> None:
    assert vps_bundle(msgspec.convert({"vps": {"9": ["PRO64"]}}, Catalogue), "PRO64") == "9"


MONEY = st.decimals(min_value=0, max_value=10_000, places=4)


@given(st.lists(MONEY, min_size=1, max_size=4), st.decimals(min_value=100, max_value=999, places=2), st.integers(1, 50))
def test_the_price_is_that_of_an_independent_model(purchases, percent, quantity) -> None:
    parts = [{"name": str(n), "purchase": {"mrc": f"{price}"}} for n, price in enumerate(purchases)]
    document = {
        "services": {"s": {"name": "S", "category": "c", "parts": parts}},
        "price_lists": {"p": {"categories": {"c": str(percent)}}},
    }
    amount = amount_of(
        msgspec.convert(document, Catalogue), Wanted(service="s", price_list="p", quantity=quantity), MRC
    )
    cent = Decimal("0.01")
    sold = [(price * percent / 100 * quantity).quantize(cent, ROUND_HALF_UP) for price in purchases]
    bought = [(price * quantity).quantize(cent, ROUND_HALF_UP) for price in purchases]
    assert amount == Amount(int(sum(sold) * 1_000_000), int(sum(bought) * 1_000_000))
