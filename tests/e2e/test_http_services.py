"""Services through the front door: the catalogue, prices, subscriptions, and their charges among the CDRs."""

from typing import Any

import pytest

from callctl.control.charges import Charges
from callctl.rating.services import VPS
from tests.core.catalogue import DOCUMENT
from tests.e2e.front_door import FrontDoor

SHOWN = DOCUMENT | {"vps": {bundle: list(licences) for bundle, licences in VPS.items()}}
TRUNK = {"service": "sip-trunk", "from": "2026-11-01", "price_list": "standard"}
SUBSCRIPTION = "/v1/accounts/acme/subscriptions/trunk"
REST = {"quantity": 1, "partner": None, "until": None, "period": "monthly", "align": "calendar", "waive_nrc": False}


@pytest.fixture
async def shop(door: FrontDoor) -> FrontDoor:
    """The door with a catalogue."""
    await door.json("PUT", "/v1/services", json=DOCUMENT)
    return door


async def charge(door: FrontDoor) -> None:
    """What control does every minute (it is 21 November 2026), and the way of its records into the feed."""
    await Charges(
        clock=door.clock, tariffs=door.tariffs, services=door.services, charging=door.charging, wake=lambda _: None
    ).sweep()
    await door.deliver()


async def test_a_catalogue_is_read_as_it_was_put(door: FrontDoor) -> None:
    assert await door.json("PUT", "/v1/services", json=DOCUMENT) == SHOWN
    assert await door.json("GET", "/v1/services") == SHOWN


async def test_without_a_catalogue_there_are_no_services(door: FrontDoor) -> None:
    assert await door.json("GET", "/v1/services") == {"vps": SHOWN["vps"]}
    await door.refused(404, "GET", "/v1/services/flat/price")


@pytest.mark.parametrize(
    ("document", "status", "says"),
    [
        ({"services": {"s": {"name": "S", "sell": {"mrc": 1}}}}, 400, "Expected `str`"),
        ({"service": {}}, 400, "unknown field"),
        ({"price_lists": {"p": {"categories": {"c": "99"}}}}, 422, "100 to 999"),
        ({"services": {"s": {"name": "S", "sell": {"mrc": "x"}}}}, 422, "service s, S: mrc"),
    ],
)
async def test_a_wrong_catalogue_is_refused_and_changes_nothing(shop, document, status, says) -> None:
    assert says in (await shop.refused(status, "PUT", "/v1/services", json=document))["message"]
    assert await shop.json("GET", "/v1/services") == SHOWN


async def test_a_key_that_stands_there_twice_is_refused(shop) -> None:
    error = await shop.refused(400, "PUT", "/v1/services", data=b'{"services": {}, "services": {}}')
    assert error["field"] == "services"


@pytest.mark.parametrize(
    ("asked", "nrc", "mrc"),
    [
        ("sip-trunk/price?price_list=standard", ("15.0000", "5.0000"), ("7.5000", "2.5000")),
        ("fax2mail/price?price_list=standard", ("75.0000", "25.0000"), ("15.0000", "5.0000")),
        ("3cx-pro4/price", ("0.0000", None), ("28.7500", None)),
        ("3cx-pro4/price?partner=gold", ("0.0000", None), ("24.6900", None)),
        ("lines/price?quantity=15", ("0.0000", None), ("64.7500", None)),
        ("lines/price?quantity=20", ("0.0000", None), ("129.5000", None)),
    ],
)
async def test_a_price(shop, asked, nrc, mrc) -> None:
    price = await shop.json("GET", f"/v1/services/{asked}")
    assert [(price[kind]["charge"], price[kind]["margin"]) for kind in ("nrc", "mrc")] == [nrc, mrc]
    assert price["charges"] == []


async def test_a_price_charge_by_charge(shop) -> None:
    asked = "from=2026-01-31&until=2026-04-10&period=quarterly&align=start&quantity=2"
    price = await shop.json("GET", f"/v1/services/flat/price?{asked}")
    assert [(it["kind"], it["due"], it["from"], it["until"], it["charge"]) for it in price["charges"]] == [
        ("nrc", "2026-01-31", "2026-01-31", "2026-01-31", "50.0000"),
        ("mrc", "2026-01-31", "2026-01-31", "2026-04-10", "146.2900"),  # 70 of 89 days of 186.00
    ]
    first = await shop.json("GET", "/v1/services/flat/price?from=2026-01-01&charges=2")
    assert [it["from"] for it in first["charges"]] == ["2026-01-01", "2026-01-01", "2026-02-01"]


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ("nothing/price", 404),
        ("lines/price?quantity=21", 422),
        ("sip-trunk/price", 422),
        ("sip-trunk/price?price_list=nothing", 422),
        ("3cx-pro4/price?partner=nobody", 422),
        ("flat/price?from=2026-01-02&until=2026-01-01", 422),
        ("flat/price?quantity=0", 400),
        ("flat/price?quantity=many", 400),
        ("flat/price?colour=red", 400),
        ("flat/price?quantity=1&quantity=2", 400),
        ("flat/price?from=2026-02-30", 400),
        ("flat/price?from=2026-01-01&period=weekly", 400),
        ("flat/price?from=2026-01-01&charges=121", 400),
    ],
)
async def test_what_has_no_price_is_refused(shop, asked, status) -> None:
    await shop.refused(status, "GET", f"/v1/services/{asked}")


async def test_a_subscription_is_charged_and_its_charges_are_among_the_cdrs(shop) -> None:
    put = await shop.json("PUT", SUBSCRIPTION, json=TRUNK)
    assert put == {**TRUNK, **REST, "name": "trunk", "charged_until": None, "counts": {}}
    await charge(shop)
    assert (await shop.json("GET", SUBSCRIPTION))["charged_until"] is None  # acme is prepaid and has 10.00
    await shop.json("POST", "/v1/accounts/acme/topups", json={"id": "p1", "amount": "12.50"})
    await charge(shop)
    await charge(shop)
    assert await shop.json("GET", SUBSCRIPTION) == {**put, "charged_until": "2026-11-30"}
    assert (await shop.json("GET", "/v1/accounts/acme"))["balance"] == "0.0000"
    cdrs = (await shop.json("GET", "/v1/cdrs?account=acme"))["cdrs"]
    assert [(it["kind"], it["service"], it["quantity"], it["charge"], it["margin"]) for it in cdrs] == [
        ("nrc", "sip-trunk", 1, "15.0000", "5.0000"),
        ("mrc", "sip-trunk", 1, "7.5000", "2.5000"),
    ]
    ledger = (await shop.json("GET", "/v1/accounts/acme/ledger"))["entries"]
    assert [(it["kind"], it["amount"], it["note"]) for it in ledger[-2:]] == [
        ("charge", "-15.0000", "trunk"),
        ("charge", "-7.5000", "trunk"),
    ]


async def test_once_charged_only_the_end_moves_and_an_early_one_gives_back(shop) -> None:
    await shop.json("POST", "/v1/accounts/acme/topups", json={"id": "p1", "amount": "100.00"})
    await shop.json("PUT", SUBSCRIPTION, json=TRUNK)
    assert (await shop.json("PUT", SUBSCRIPTION, json={**TRUNK, "quantity": 2}))["quantity"] == 2
    await charge(shop)
    error = await shop.refused(422, "PUT", SUBSCRIPTION, json={**TRUNK, "quantity": 3})
    assert "only until can change" in error["message"]
    await shop.refused(422, "PUT", SUBSCRIPTION, json={**TRUNK, "quantity": 2, "until": "2026-10-31"})
    await shop.json("PUT", SUBSCRIPTION, json={**TRUNK, "quantity": 2, "until": "2026-11-10"})
    await charge(shop)
    *_, record = (await shop.json("GET", "/v1/cdrs?account=acme"))["cdrs"]
    assert (record["corrects"], record["charge"]) == ("charge:acme/trunk:2026-11-01:mrc", "-10.0000")
    assert (await shop.json("GET", "/v1/accounts/acme"))["balance"] == "75.0000"


async def test_deleting_takes_away_or_ends(shop) -> None:
    await shop.json("PUT", SUBSCRIPTION, json=TRUNK)
    assert await shop.json("DELETE", SUBSCRIPTION) == {"account": "acme", "subscriptions": []}
    await shop.refused(404, "GET", SUBSCRIPTION)
    await shop.json("POST", "/v1/accounts/acme/topups", json={"id": "p1", "amount": "100.00"})
    await shop.json("PUT", SUBSCRIPTION, json=TRUNK)
    await charge(shop)
    (left,) = (await shop.json("DELETE", SUBSCRIPTION))["subscriptions"]
    assert left["until"] == "2026-11-21"
    await charge(shop)
    assert await shop.json("DELETE", SUBSCRIPTION) == {"account": "acme", "subscriptions": []}
    await shop.json("PUT", SUBSCRIPTION, json={**TRUNK, "from": "2026-11-20"})
    shop.clock.pass_s(86_400)
    await charge(shop)
    *_, record = (await shop.json("GET", "/v1/cdrs?account=acme"))["cdrs"]
    assert record["id"] == "charge:acme/trunk:2026-11-22:mrc"  # goes on behind what was charged


async def test_extensions_are_counted(shop) -> None:
    path = "/v1/accounts/acme/subscriptions/pbx"
    await shop.json("PUT", path, json={"service": "extension", "from": "2026-10-01"})
    shown = await shop.json("POST", f"{path}/counts", json={"month": "2026-10", "count": 5})
    assert shown["counts"] == {"2026-10": 5}
    assert await shop.json("POST", f"{path}/counts", json={"month": "2026-10", "count": 4})
    await charge(shop)
    (record,) = (await shop.json("GET", "/v1/cdrs?account=acme"))["cdrs"]
    assert (record["quantity"], record["charge"], record["setup_time"]) == (4, "6.0000", "2026-10-01T00:00:00.000Z")
    assert await shop.json("POST", f"{path}/counts", json={"month": "2026-10", "count": 4})
    await shop.refused(422, "POST", f"{path}/counts", json={"month": "2026-10", "count": 5})


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, {"month": "2026-13", "count": 1}),
        (400, {"month": "2026-10\n", "count": 1}),
        (400, {"month": "2026-10", "count": -1}),
        (400, {"month": "2026-10"}),
        (422, {"month": "2026-12", "count": 1}),
        (422, {"month": "2026-10", "count": 1}),
    ],
)
async def test_a_wrong_count_is_refused(shop, status, body) -> None:
    path = "/v1/accounts/acme/subscriptions/pbx"
    await shop.refused(404, "POST", f"{path}/counts", json={"month": "2026-11", "count": 1})
    await shop.json("PUT", path, json={"service": "extension", "from": "2026-11-01"})
    await shop.refused(status, "POST", f"{path}/counts", json=body)


@pytest.mark.parametrize(
    ("status", "terms"),
    [
        (400, {"from": "2026-11-31"}),
        (400, {"quantity": 0}),
        (400, {"colour": "red"}),
        (422, {"service": "nothing"}),
        (422, {"price_list": None}),
        (422, {"until": "2026-10-31"}),
        (422, {"from": "2025-11-19"}),
        (422, {"service": "lines", "quantity": 21}),
    ],
)
async def test_a_wrong_subscription_is_refused(shop, status, terms) -> None:
    await shop.refused(status, "PUT", SUBSCRIPTION, json=TRUNK | terms)
    await shop.refused(404, "GET", SUBSCRIPTION)


async def test_an_account_in_another_currency_is_refused(shop) -> None:
    await shop.json("PUT", "/v1/services", json=DOCUMENT | {"currency": "USD"})
    error = await shop.refused(422, "PUT", SUBSCRIPTION, json=TRUNK)
    assert error["message"] == "the services are in USD, the account in EUR"


async def test_a_name_that_is_no_id_is_refused(shop) -> None:
    await shop.refused(400, "PUT", "/v1/accounts/acme/subscriptions/a:b", json=TRUNK)


async def test_prices_and_changes_are_the_providers_and_reading_is_for_whom_it_concerns(shop) -> None:
    path = "/v1/accounts/shop/subscriptions"
    await shop.json("PUT", f"{path}/trunk", json=TRUNK)
    for method, what in (
        ("GET", "/v1/services"), ("PUT", "/v1/services"), ("GET", "/v1/services/flat/price"),
        ("PUT", f"{path}/trunk"), ("DELETE", f"{path}/trunk"), ("POST", f"{path}/trunk/counts"),
    ):  # fmt: skip
        await shop.refused(403, method, what, "reseller", json={})
    for bearer in ("reseller", "middle", "shop"):
        assert (await shop.json("GET", path, bearer))["subscriptions"][0]["name"] == "trunk"
        assert (await shop.json("GET", f"{path}/trunk", bearer))["service"] == "sip-trunk"
    await shop.refused(404, "GET", path, "acme")
    await shop.refused(404, "GET", f"{path}/trunk", "acme")
    await shop.refused(404, "GET", "/v1/accounts/nobody/subscriptions")


async def test_nobody_but_the_provider_sees_what_a_charge_cost_the_provider(shop) -> None:
    await shop.json("POST", "/v1/accounts/shop/topups", json={"id": "p1", "amount": "100.00"})
    await shop.json("PUT", "/v1/accounts/shop/subscriptions/trunk", json=TRUNK)
    await charge(shop)
    for bearer, sees in (("ops", True), ("reseller", False), ("middle", False), ("shop", False)):
        once: dict[str, Any] = (await shop.json("GET", "/v1/cdrs?account=shop", bearer))["cdrs"][0]
        assert ({"cost", "margin"} <= set(once)) is sees
