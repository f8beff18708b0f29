"""Accounts, trunks and their money through the front door."""

import json

import pytest

from callctl.accounts import Account, Group, Trunk
from callctl.http import schemas
from callctl.rating.tariff import Plan
from tests.e2e.front_door import NL_MOB

FULL = {
    "parent": "reseller", "kind": "prepaid", "currency": "EUR", "plan": "retail", "group": None,
    "credit_limit": "0.0000", "timezone": "Europe/Amsterdam",
    "source_ips": ["192.0.2.10"], "numbers": ["+31201234567"], "billing": "exempt",
    "dial_rules": {
        "country": "NL", "national_prefix": None, "international_prefix": None, "access_prefix": "9",
        "short_codes": {"1233": "+31612001233"}, "emergency": ["113"],
    },
    "caps": {
        "inbound": 10, "outbound": 4, "total": 12, "internal": None, "count_internal": False, "count_within": True,
        "overflow": {"at_most": 2, "per_call": "0.0500", "per_minute": "0.0100"},
        "packages": [{"channels": 5, "from": "2026-12-20", "until": "2027-01-03"}],
        "bandwidth": {"kbits": 1000, "codec": "g711", "per_call_kbits": "90.4"},
        "groups": [
            {
                "name": "mobile", "prefixes": ["316"], "types": ["MOB"], "classes": ["MOB"],
                "inbound": None, "outbound": 2, "total": 3,
            },
        ],
        "enforce": False, "since": "2026-11-01T00:00:00.000Z",
    },
    "licence": {
        "channels": 16, "expires": "2027-01-01", "fallback_channels": 4, "perpetual": False,
        "changes": [{"from": "2027-02-01", "channels": 8}, {"from": "2027-03-01", "channels": "unlimited"}],
        "annual_from": None, "from_switch": "pbx1", "enforce": True, "since": "2026-11-02T00:00:00.000Z",
    },
    "departments": [{"match": {"extension": "2xx", "trunk": None, "prefix": None}, "account": "shop"}],
    "affiliates": [{"account": "shop", "percent": "10"}],
    "ids": {
        "range": "40.0000", "mode": "hard", "ceiling": None, "watch": ["HIGHRISK", "PREMIUM", "INTL"],
        "hourly": False, "concurrent": False, "new_country": None, "attempts_per_minute": None, "office": None,
    },
    "destinations": {
        "presets": ["no_premium"], "allow": [], "allow_numbers": ["+31612345678"], "deny_numbers": [],
        "deny": [
            {
                "prefix": "882", "type": None, "class": None, "destination": None,
                "days": "", "from": "", "to": "", "dates": "", "holidays": "",
            },
        ],
    },
    "margin": {"min_per_minute": "0.0050", "min_percent": "12.5", "min_per_call": "0.0100", "assumed_seconds": 60},
    "max_cost": {"per_minute": "0.5000", "connection": "0.2000", "per_call": "25.0000"},
    "warnings": {"seconds": [60, 30, 10], "to": "caller"},
    "status": "suspended", "expires": "2027-01-01T00:00:00.000Z", "attributes": {"crm": "4711"},
    "calls_per_second": 5, "also": ["carrier"], "untaxed": ["VAT"], "plan_since": "2026-11-01T00:00:00.000Z",
    "low_balance": "5.0000",
}  # fmt: skip
LEAST = {"kind": "prepaid", "plan": "retail"}


async def test_an_account_is_read_as_it_was_put(door) -> None:
    put = await door.json("PUT", "/v1/accounts/new", json=FULL)
    read = await door.json("GET", "/v1/accounts/new")
    assert put == read
    money = {"balance": "0.0000", "held": "0.0000", "available": "0.0000"}
    assert read == {
        "id": "new",
        **FULL,
        "effective_plan": "retail",
        **money,
        "channels": {"inbound": 0, "outbound": 0, "total": 0},
    }


@pytest.mark.parametrize(
    ("value", "body"),
    [
        (Account, schemas.AccountBody),
        (Group, schemas.CustomerGroupBody),
        (Trunk, schemas.TrunkBody),
        (Plan, schemas.PlanBody),
    ],
)
def test_nothing_of_a_definition_is_left_out(value, body) -> None:
    assert {*value.__struct_fields__} - {"id"} == {*body.model_fields}


async def test_everything_but_kind_has_a_default_and_a_plan_comes_from_somewhere(door) -> None:
    read = await door.json("PUT", "/v1/accounts/new", json=LEAST)
    assert (read["currency"], read["credit_limit"], read["timezone"]) == ("EUR", "0.0000", "UTC")
    assert (read["status"], read["billing"], read["parent"], read["caps"]) == ("active", "normal", None, None)
    assert (await door.refused(400, "PUT", "/v1/accounts/new", json={"plan": "retail"}))["field"] == "kind"
    assert (await door.refused(422, "PUT", "/v1/accounts/new", json={"kind": "prepaid"}))["field"] == "plan"
    for parent in ("reseller", "middle"):
        inherits = await door.json("PUT", "/v1/accounts/heir", json={"kind": "prepaid", "parent": parent})
        assert inherits["plan"] is None
        assert inherits["effective_plan"] == door.tariffs.directory.accounts[parent].plan


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"kind": "free"}, "kind"),
        ({"plan": "a b"}, "plan"),
        ({"group": "a b"}, "group"),
        ({"colour": "red"}, "colour"),
        ({"exempt": True}, "exempt"),
        ({"currency": "eur"}, "currency"),
        ({"credit_limit": 10}, "credit_limit"),
        ({"credit_limit": 10.5}, "credit_limit"),
        ({"margin": {"min_percent": 10}}, "margin.min_percent"),
        ({"margin": {"min_per_minute": 0.005}}, "margin.min_per_minute"),
        ({"max_cost": {"per_call": 25}}, "max_cost.per_call"),
        ({"low_balance": 5}, "low_balance"),
        ({"caps": {"overflow": {"at_most": 1, "per_call": 0.05}}}, "caps.overflow.per_call"),
        ({"caps": {"total": "4"}}, "caps.total"),
        ({"caps": {"total": -1}}, "caps.total"),
        ({"caps": {"total": True}}, "caps.total"),
        ({"caps": {"packages": [{"channels": 1, "from": "1 May", "until": "2027-01-01"}]}}, "caps.packages.0.from"),
        ({"caps": {"bandwidth": {"kbits": 1000, "codec": "mp3"}}}, "caps.bandwidth.codec"),
        ({"numbers": ["0201234567"]}, "numbers.0"),
        ({"status": "asleep"}, "status"),
        ({"billing": True}, "billing"),
        ({"warnings": {"seconds": [0]}}, "warnings.seconds.0"),
        ({"attributes": {"a": 1}}, "attributes.a"),
        ({"expires": 1795255200}, "expires"),
        ({"licence": {"channels": "all"}}, "licence.channels"),
        ({"licence": {"channels": None}}, "licence.channels"),
        (
            {"licence": {"channels": 4, "changes": [{"from": "2027-01-01", "channels": -1}]}},
            "licence.changes.0.channels",
        ),
        ({"ids": {"range": 40}}, "ids.range"),
        ({"departments": [{"match": {"floor": "2"}, "account": "a"}]}, "departments.0.match.floor"),
    ],
)
async def test_what_the_schema_does_not_say_is_a_400(door, change, field) -> None:
    error = await door.refused(400, "PUT", "/v1/accounts/new", json={**LEAST, **change})
    assert error["field"] == field
    await door.refused(404, "GET", "/v1/accounts/new")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"credit_limit": "-1"}, "credit_limit"),
        ({"credit_limit": "1e3"}, "credit_limit"),
        ({"credit_limit": "+1"}, "credit_limit"),
        ({"margin": {"min_percent": ".5"}}, "margin.min_percent"),
        ({"max_cost": {"per_minute": "1."}}, "max_cost.per_minute"),
        ({"low_balance": "1,00"}, "low_balance"),
        ({"caps": {"overflow": {"at_most": 1, "per_call": "\uff11"}}}, "caps.overflow.per_call"),
        ({"credit_limit": "0.0000001"}, "credit_limit"),
        ({"credit_limit": "9" * 39}, "credit_limit"),
        ({"credit_limit": None}, "credit_limit"),
        ({"timezone": "Mars/Olympus"}, "timezone"),
        ({"timezone": "../../etc/passwd"}, "timezone"),
        ({"source_ips": ["192.0.2"]}, "source_ips.0"),
        ({"dial_rules": {"country": "XX"}}, "dial_rules"),
        ({"caps": {"packages": [{"channels": 1, "from": "2027-01-02", "until": "2027-01-01"}]}}, "caps.packages.0"),
        (
            {"caps": {"packages": [{"channels": 1, "from": "2027-02-30", "until": "2027-03-01"}]}},
            "caps.packages.0.from",
        ),
        ({"expires": "tomorrow"}, "expires"),
        ({"departments": [{"match": {}, "account": "a"}]}, "departments.0.match"),
        ({"parent": "nobody"}, "parent"),
        ({"parent": "new"}, "parent"),
        ({"plan": "nothing"}, "plan"),
        ({"currency": "USD"}, "plan"),
        ({"currency": "USD", "parent": "acme"}, "parent"),
    ],
)
async def test_what_cannot_be_accepted_is_a_422(door, change, field) -> None:
    error = await door.refused(422, "PUT", "/v1/accounts/new", json={**LEAST, **change})
    assert error.get("field") == field
    await door.refused(404, "GET", "/v1/accounts/new")


async def test_a_dry_run_says_what_is_wrong_and_changes_nothing(door) -> None:
    path = "/v1/accounts/new?dry_run=true"
    shown = await door.json("PUT", path, json={**LEAST, "parent": "reseller"})
    assert (shown["id"], shown["parent"], shown["balance"]) == ("new", "reseller", "0.0000")
    assert (await door.refused(422, "PUT", path, json={**LEAST, "plan": "nothing"}))["field"] == "plan"
    await door.refused(404, "GET", "/v1/accounts/new")
    await door.json("PUT", "/v1/accounts/acme?dry_run=true", json={**LEAST, "status": "suspended"})
    assert (await door.json("GET", "/v1/accounts/acme"))["status"] == "active"
    for query in ("dry_run=yes", "dry_rum=true"):
        await door.refused(400, "PUT", f"/v1/accounts/new?{query}", json=LEAST)
    await door.refused(404, "GET", "/v1/accounts/new")


async def test_what_an_account_is_cannot_change(door) -> None:
    await door.definitions.put_plan(Plan("dollars", currency="USD"))
    changed = {**LEAST, "plan": "dollars", "currency": "USD"}
    assert (await door.refused(422, "PUT", "/v1/accounts/acme", json=changed))["field"] == "currency"
    below = {**LEAST, "parent": "shop"}
    assert (await door.refused(422, "PUT", "/v1/accounts/reseller", json=below))["field"] == "parent"


async def test_an_account_that_is_not_json(door) -> None:
    await door.refused(400, "PUT", "/v1/accounts/new", data=b'{"kind": "prepaid", "plan": NaN}')
    await door.refused(400, "PUT", "/v1/accounts/new", data=b"[" * 100_000)
    await door.refused(400, "PUT", "/v1/accounts/new", data=b"\xff\xfe")
    twice = b'{"kind": "prepaid", "plan": "retail", "caps": {"total": 1, "total": 2}}'
    assert (await door.refused(400, "PUT", "/v1/accounts/new", data=twice))["field"] == "total"
    long = json.dumps({**LEAST, "attributes": {"a": "x" * 2_000_000}}).encode()
    await door.refused(413, "PUT", "/v1/accounts/new", data=_pieces(long))


async def _pieces(whole: bytes):
    for start in range(0, len(whole), 65_536):
        yield whole[start : start + 65_536]


@pytest.mark.parametrize("name", ["a%20b", "%7Ba%7D", "x" * 65, "-a", "a%2Fb"])
async def test_an_id_is_a_plain_word(door, name) -> None:
    assert (await door.refused(400, "PUT", f"/v1/accounts/{name}", json=LEAST))["field"] == "id"


async def test_an_address_or_number_has_one_owner(door) -> None:
    for _ in range(2):
        await door.json("PUT", "/v1/accounts/a", json={**LEAST, "source_ips": ["192.0.2.1"], "numbers": ["+31201"]})
    for field, claimed in {"source_ips": ["192.0.2.1"], "numbers": ["+31201"]}.items():
        error = await door.refused(422, "PUT", "/v1/accounts/b", json={**LEAST, field: claimed})
        assert error["field"] == field
    await door.refused(422, "PUT", "/v1/trunks/t1", json={"account": "acme", "source_ips": ["192.0.2.1"]})


async def test_an_account_moves_to_another_root_only_with_no_call_up(door) -> None:
    await door.json("POST", "/v1/calls", json={"call_id": "c1", "from": "1", "to": NL_MOB, "account": "acme"})
    moved = {**LEAST, "parent": "reseller"}
    assert (await door.refused(409, "PUT", "/v1/accounts/acme", json=moved))["field"] == "parent"
    await door.json("PUT", "/v1/accounts/acme", json={**LEAST, "attributes": {"moved": "no"}})
    await door.json("POST", "/v1/calls/c1/end")
    assert (await door.json("PUT", "/v1/accounts/acme", json=moved))["parent"] == "reseller"


async def test_a_postpaid_account_without_a_limit_has_no_available(door) -> None:
    body = {"kind": "postpaid", "plan": "retail", "credit_limit": None}
    assert (await door.json("PUT", "/v1/accounts/big", json=body))["credit_limit"] is None
    assert (await door.json("GET", "/v1/accounts/big"))["available"] is None


async def test_accounts_page_by_id(door) -> None:
    first = await door.json("GET", "/v1/accounts?limit=3")
    assert ([account["id"] for account in first["accounts"]], first["next"]) == (
        ["acme", "middle", "reseller"],
        "reseller",
    )
    rest = await door.json("GET", f"/v1/accounts?limit=3&after={first['next']}")
    assert ([account["id"] for account in rest["accounts"]], rest["next"]) == (["shop"], None)
    assert rest["accounts"][0]["balance"] == "10.0000"
    assert (await door.refused(400, "GET", "/v1/accounts?limit=0.5"))["field"] == "limit"


async def test_the_same_top_up_twice_moves_money_once(door) -> None:
    body = {"id": "pay-1", "amount": "2.50", "note": "cash"}
    first = await door.json("POST", "/v1/accounts/acme/topups", json=body)
    assert (first["amount"], first["balance"], first["kind"], first["note"]) == ("2.5000", "12.5000", "topup", "cash")
    assert await door.json("POST", "/v1/accounts/acme/topups", json=body) == first
    error = await door.refused(409, "POST", "/v1/accounts/acme/topups", json={**body, "amount": "2.60"})
    assert error["field"] == "id"
    assert (await door.json("GET", "/v1/accounts/acme"))["balance"] == "12.5000"


@pytest.mark.parametrize("amount", ["0", "0.00", "-5", "1000000.01", "99999999999", "0.0000001", "ten", ""])
async def test_an_amount_that_cannot_be_paid_in(door, amount) -> None:
    error = await door.refused(422, "POST", "/v1/accounts/acme/topups", json={"id": "p", "amount": amount})
    assert error["field"] == "amount"
    assert (await door.json("GET", "/v1/accounts/acme"))["balance"] == "10.0000"


@pytest.mark.parametrize("amount", [10, 10.0, None, True, ["1"]])
async def test_money_is_a_decimal_string(door, amount) -> None:
    error = await door.refused(400, "POST", "/v1/accounts/acme/topups", json={"id": "p", "amount": amount})
    assert error["field"] == "amount"
    assert '"10.00"' in error["message"]


async def test_the_ledger_pages_oldest_first(door) -> None:
    await door.call("c1")
    await door.json("POST", "/v1/accounts/acme/topups", json={"id": "pay-1", "amount": "1"})
    ledger = await door.json("GET", "/v1/accounts/acme/ledger")
    assert [(e["id"], e["amount"], e["balance"]) for e in ledger["entries"]] == [
        ("opening", "10.0000", "10.0000"),
        (ledger["entries"][1]["id"], "-0.0800", "9.9200"),
        ("pay-1", "1.0000", "10.9200"),
    ]
    one = await door.json("GET", "/v1/accounts/acme/ledger?limit=1")
    rest = await door.json("GET", f"/v1/accounts/acme/ledger?after={one['next']}")
    assert one["entries"] + rest["entries"] == ledger["entries"]
    assert await door.json("GET", f"/v1/accounts/acme/ledger?after={rest['next']}") == {
        "entries": [],
        "next": rest["next"],
    }
    assert (await door.refused(400, "GET", "/v1/accounts/acme/ledger?after=yesterday"))["field"] == "after"


async def test_a_quote(door) -> None:
    quote = await door.json("GET", "/v1/accounts/acme/quote?to=%2B31612345678")
    assert (quote["verdict"], quote["rate"]["per_minute"], quote["max_seconds"]) == ("allowed", "0.0800", 7500)
    refused = await door.json("GET", "/v1/accounts/acme/quote?to=nonsense&from=123")
    assert (refused["verdict"], refused["refusal"], refused["max_seconds"]) == ("refused", "invalid_number", None)
    assert (await door.refused(400, "GET", "/v1/accounts/acme/quote"))["field"] == "to"
    assert (await door.refused(400, "GET", "/v1/accounts/acme/quote?to=1&from=" + "1" * 65))["field"] == "from"
    assert (await door.json("GET", "/v1/accounts/acme"))["held"] == "0.0000"


async def test_a_trunk_is_read_as_it_was_put(door) -> None:
    body = {
        "account": "acme", "source_ips": ["192.0.2.10"], "switch": "sbc1", "calls_per_second": 5, "buy_plan": "carrier",
        "caps": {"outbound": 4}, "licence": None, "destinations": None,
    }  # fmt: skip
    put = await door.json("PUT", "/v1/trunks/t1", json=body)
    assert put == await door.json("GET", "/v1/trunks/t1")
    assert {**put, "caps": {"outbound": put["caps"]["outbound"]}} == {"id": "t1", **body}
    for wrong in ({"account": "nobody"}, {"buy_plan": "nothing"}):
        error = await door.refused(422, "PUT", "/v1/trunks/t2", json=body | wrong)
        assert error["field"] in wrong
    await door.refused(404, "GET", "/v1/trunks/t2")


async def test_a_store_that_is_away_is_a_503(door) -> None:
    door.store.away = True
    for method, path, body in (
        ("GET", "/v1/accounts/acme", None),
        ("GET", "/v1/accounts", None),
        ("POST", "/v1/accounts/acme/topups", {"id": "p", "amount": "1"}),
    ):
        response = await door.ask(method, path, json=body)
        assert response.status == 503
        assert response.headers["Retry-After"] == "1"
        assert (await response.json())["error"]["code"] == "store_unavailable"
