"""The command line against the front door over HTTP, each command a process of its own."""

import asyncio
import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import quote

import pytest

from callctl import __version__
from callctl.rating.tariff import Plan, Row
from tests.e2e.command import CALLCTL, Ended, callctl
from tests.e2e.front_door import NL_MOB, NOW, FrontDoor
from tests.waiting import PATIENCE_S, until

Run = Callable[..., Awaitable[Ended]]
ROOT = Path(__file__).parents[2]


@pytest.fixture
def run(door: FrontDoor, tmp_path: Path) -> Run:
    """A command that talks to the door as its operator."""

    async def run(*arguments: str | Path, token: str = "ops", stdin: str = "") -> Ended:
        url = str(door.client.make_url("/"))
        return await callctl(*arguments, cwd=tmp_path, stdin=stdin, CALLCTL_URL=url, CALLCTL_TOKEN=token)

    return run


async def start_call(door: FrontDoor, call_id: str, a_number: str = "+31201234567") -> None:
    body = {"call_id": call_id, "from": a_number, "to": NL_MOB, "account": "acme", "can_extend": True}
    assert (await door.json("POST", "/v1/calls", json=body))["verdict"] == "allowed"
    await door.json("POST", f"/v1/calls/{quote(call_id, safe='')}/answer")


# ---- without a daemon


async def test_version_and_help(tmp_path: Path) -> None:
    assert (await callctl("--version", cwd=tmp_path)).out == f"callctl {__version__}\n"
    shown = await callctl("--help", cwd=tmp_path)
    assert shown.status == 0
    for command in ("run", "demo", "doctor", "explain", "rate", "tariff", "account", "calls", "cdr"):
        assert re.search(rf"^    {command} +\w", shown.out, re.MULTILINE), command


def test_as_a_module() -> None:
    shown = subprocess.run([sys.executable, "-m", "callctl", "--version"], capture_output=True, check=True, text=True)
    assert shown.stdout == f"callctl {__version__}\n"


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom callctl.cli import main\n"
        "try:\n  main(['--help'])\nexcept SystemExit:\n  pass\n"
        "heavy = {'aiohttp', 'rich', 'pydantic', 'redis', 'msgspec', 'structlog', 'http.client'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert done.stderr == "[]\n"


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["frobnicate"],
        ["explain"],
        ["account"],
        ["account", "show"],
        ["rate", "--plan", "retail"],
        ["rate", "--cases", "nowhere.json"],
        ["account", "put", "nowhere.json"],
        ["calls", "hangup"],
        ["cdr", "list", "--limit", "-1"],
        ["cdr", "list", "--limit", "ten"],
        ["account", "list", "--url", "ftp://h"],
        ["tariff", "import", "retail", "nowhere.csv"],
    ],
)
async def test_wrong_use_is_2(tmp_path: Path, arguments: list[str]) -> None:
    done = await callctl(*arguments, cwd=tmp_path, CALLCTL_TOKEN="t", CALLCTL_URL="http://127.0.0.1:9")
    assert done.status == 2
    assert done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize("command", ["run", "doctor", "calls"])
async def test_a_wrong_configuration_is_3(tmp_path: Path, command: str) -> None:
    (tmp_path / "c.toml").write_text("[http]\nhots = 1\n")
    done = await callctl(command, "-c", "c.toml", cwd=tmp_path)
    assert done.status == 3
    assert done.err == "callctl: c.toml: http.hots: unknown key; did you mean host?\n"


async def test_no_daemon_is_4(tmp_path: Path) -> None:
    done = await callctl("calls", cwd=tmp_path, CALLCTL_TOKEN="t", CALLCTL_URL="http://127.0.0.1:9")
    assert done.status == 4
    assert done.err == "callctl: http://127.0.0.1:9: Connection refused; is callctl running?\n"


async def test_url_and_token_come_from_the_configuration(door: FrontDoor, tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config/callctl.toml").write_text(
        f"[http]\nport = {door.client.port}\n"
        '[[http.token]]\nname = "sbc"\ntoken = "sbc"\nscopes = ["call"]\n'
        '[[http.token]]\nname = "ops"\ntoken = "ops"\nscopes = ["read", "call", "admin"]\n'
        '[[http.token]]\nname = "acme"\ntoken = "acme"\naccount = "acme"\nscopes = ["read", "call", "admin"]\n'
    )
    done = await callctl("account", "list", "--json", cwd=tmp_path)
    assert [account["id"] for account in done.jsons] == ["acme", "middle", "reseller", "shop"]


# ---- explain


async def test_explain_allowed(run: Run) -> None:
    done = await run("explain", "--account", "acme", "--from", "+31201234567", "--to", NL_MOB)
    assert done.status == 0
    assert done.out.startswith("allowed   10 s at first")
    assert f"acme → {NL_MOB}" in done.out
    assert "✗" not in done.out


async def test_explain_refused_says_which_check_and_why(run: Run, door: FrontDoor) -> None:
    body = {"kind": "prepaid", "plan": "retail"}
    await door.json("PUT", "/v1/accounts/broke", json=body)
    done = await run("explain", "--account", "broke", "--to", NL_MOB)
    assert done.status == 1, done
    headline, detail = done.out.splitlines()[:2]
    assert headline.startswith("refused: no_credit   SIP 402, Q.850 21")
    assert "0.00" in detail
    assert len([line for line in done.out.splitlines() if line.startswith("  ✗")]) == 1


async def test_explain_takes_nothing(run: Run, door: FrontDoor) -> None:
    await run("explain", "--account", "acme", "--to", NL_MOB)
    assert (await door.json("GET", "/v1/accounts/acme"))["held"] == "0.0000"
    assert (await door.json("GET", "/v1/calls"))["total"] == 0


async def test_explain_json_is_the_answer_of_the_api(run: Run) -> None:
    done = await run("explain", "--account", "nobody", "--to", NL_MOB, "--json")
    assert done.status == 1
    assert done.json["refusal"] == "unknown_account"


async def test_a_token_of_the_wrong_scope_is_told_so(run: Run) -> None:
    done = await run("explain", "--account", "acme", "--to", NL_MOB, token="reader")
    assert done.status == 1
    assert done.err == "callctl: this token has no scope 'call' (403 forbidden)\n"


# ---- accounts


async def test_accounts_are_put_shown_and_put_again(run: Run, tmp_path: Path) -> None:
    account = {
        "id": "new",
        "kind": "prepaid",
        "plan": "retail",
        "warnings": {"seconds": [60, 30]},
        "ids": {"range": "40.00"},
    }
    (tmp_path / "new.json").write_text(json.dumps(account))
    assert (await run("account", "put", "new.json")).out == "put new\n"
    shown = (await run("account", "show", "new", "--json")).json
    assert shown["warnings"]["seconds"] == [60, 30]
    again = await run("account", "put", "-", "--json", stdin=json.dumps(shown))
    assert again.status == 0, again.err
    assert again.json == shown


NEW = {"kind": "prepaid", "plan": "retail"}


async def test_accounts_of_a_file_are_put_parents_first(run: Run, door: FrontDoor) -> None:
    family = [
        {"id": "child", "parent": "mother", **NEW},
        {"id": "mother", "parent": "grandmother", **NEW},
        {"id": "grandmother", "parent": "acme", **NEW},
    ]
    for _ in range(2):
        done = await run("account", "put", "-", stdin=json.dumps(family))
        assert (done.status, done.out.splitlines()) == (0, ["put grandmother", "put mother", "put child"]), done.err
    chain = door.tariffs.directory.chain("child")
    assert [account.id for account in chain] == ["child", "mother", "grandmother", "acme"]


async def test_accounts_of_a_file_are_put_behind_their_affiliates(run: Run, door: FrontDoor) -> None:
    agency = [
        {"id": "customer", "affiliates": [{"account": "agent", "percent": "10"}], **NEW},
        {"id": "agent", "kind": "postpaid", "plan": "retail"},
    ]
    done = await run("account", "put", "-", stdin=json.dumps(agency))
    assert (done.status, done.out.splitlines()) == (0, ["put agent", "put customer"]), done.err
    agency[1]["affiliates"] = [{"account": "customer", "percent": "1"}]
    looped = await run("account", "put", "-", stdin=json.dumps(agency))
    assert (looped.status, "affiliates count as above" in looped.err) == (2, True), looped.err
    abroad = [agency[0] | {"id": "other", "affiliates": [{"account": "abroad", "percent": "1"}]},
              {"id": "abroad", "kind": "postpaid", "plan": "retail", "currency": "USD"}]  # fmt: skip
    done = await run("account", "put", "-", stdin=json.dumps(abroad))
    assert (done.status, "other: currency: its affiliate abroad has another one" in done.err) == (1, True), done.err
    unknown = [agency[0] | {"affiliates": [{"account": "nobody", "percent": "1"}]}]
    done = await run("account", "put", "-", stdin=json.dumps(unknown))
    assert (done.status, "its affiliate cannot be nobody" in done.err) == (1, True), done.err


async def test_accounts_of_a_file_may_have_their_plan_from_each_other_and_from_groups(
    run: Run, door: FrontDoor
) -> None:
    done = await run("account", "group", "gold", "retail", token="ops")
    assert (done.status, done.out) == (0, "gold: plan retail\n")
    assert (await run("account", "group", "gold")).out == "gold: plan retail\n"
    family = [
        {"id": "child", "parent": "mother", "kind": "prepaid"},
        {"id": "mother", "parent": "grandmother", "kind": "prepaid"},
        {"id": "grandmother", "kind": "prepaid", "group": "gold"},
    ]
    done = await run("account", "put", "-", stdin=json.dumps(family))
    assert done.status == 0, done.err
    assert {door.tariffs.directory.plans[each["id"]] for each in family} == {"retail"}
    assert (await run("account", "group", "gold", "nothing")).status == 1
    assert (await run("account", "group", "silver")).status == 1


async def test_of_a_file_with_mistakes_nothing_is_put_and_each_is_told(run: Run, door: FrontDoor) -> None:
    listed = [
        {"id": "good", **NEW},
        {"id": "planless", **NEW, "plan": "nothing"},
        {"id": "orphan", **NEW, "parent": "nobody"},
        {"id": "below", **NEW, "parent": "orphan"},
        {"id": "rich", **NEW, "credit_limit": "+1"},
        {"id": "odd", **NEW, "parent": ["good"]},
        {"id": "foreign", **NEW, "parent": "good", "currency": "EUR"},
        {"id": "dollars", **NEW, "plan": "dollars", "currency": "USD"},
        {"id": "mixed", **NEW, "parent": "dollars"},
    ]
    await door.definitions.put_plan(Plan("dollars", currency="USD"))
    done = await run("account", "put", "-", stdin=json.dumps(listed))
    assert (done.status, done.out) == (1, "")
    first, *lines = done.err.splitlines()
    assert first == "callctl: 6 mistakes, nothing was put:"
    assert sorted(line.strip().partition(" (")[0] for line in lines) == [
        "below: parent: account below: parent nobody does not exist",
        "mixed: currency: its parent dollars has another one",
        "odd: parent: Input should be a valid string",
        "orphan: parent: account orphan: parent nobody does not exist",
        "planless: plan: account planless: plan nothing does not exist",
        "rich: credit_limit: '+1' is not a decimal number",
    ]
    assert not {account["id"] for account in listed} & door.tariffs.directory.accounts.keys()


@pytest.mark.parametrize(
    ("listed", "reason"),
    [
        ([{"id": "a", **NEW}, {"id": "a", **NEW}], "account a is there twice"),
        ([{"id": "a", "parent": "a", **NEW}], "above themselves: a, a"),
        ([{"id": "a", "parent": "b", **NEW}, {"id": "b", "parent": "a", **NEW}], "above themselves: "),
    ],
)
async def test_a_file_that_contradicts_itself(run: Run, listed: list[object], reason: str) -> None:
    done = await run("account", "put", "-", stdin=json.dumps(listed))
    assert (done.status, done.out) == (2, "")
    assert reason in done.err


async def test_what_only_the_putting_shows_names_the_account_and_what_was_put(run: Run, door: FrontDoor) -> None:
    await start_call(door, "c1")
    listed = [{"id": "other", **NEW}, {"id": "acme", "parent": "reseller", **NEW}]
    done = await run("account", "put", "-", stdin=json.dumps(listed))
    assert (done.status, done.out) == (1, "put other\n")
    assert done.err.startswith("callctl: acme: parent: account acme cannot leave acme")
    assert done.err.endswith("of 2 accounts 1 were put before it\n")


@pytest.mark.parametrize("text", ["{", "[1]", '{"kind": "prepaid"}', '"x"'])
async def test_a_file_that_is_no_account_is_refused(run: Run, text: str) -> None:
    done = await run("account", "put", "-", stdin=text)
    assert done.status == 2
    assert "Traceback" not in done.err


async def test_the_field_at_fault_is_named(run: Run) -> None:
    done = await run("account", "put", "-", stdin='{"id": "x", "kind": "prepaid", "plan": "retail", "credit": "1"}')
    assert done.status == 1
    mistake = "x: credit: unknown field 'credit' (400 bad_request)"
    assert done.err == f"callctl: 1 mistake, nothing was put:\n  {mistake}\n"


async def test_accounts_are_listed_and_one_is_shown(run: Run) -> None:
    listed = (await run("account", "list")).out
    assert re.search(r"acme +prepaid .* 10\.0000 +0\.0000 +10\.0000 +EUR +0", listed)
    assert "10.0000" in (await run("account", "show", "acme")).out
    missing = await run("account", "show", "no/such")
    assert (missing.status, missing.err) == (1, "callctl: no such account (404 not_found)\n")


async def test_a_top_up_moves_money_once_per_payment(run: Run) -> None:
    for _ in range(2):
        done = await run("account", "topup", "acme", "5.00", "--id", "pay-1", "--note", "cash")
        assert done.out == "acme: 5.0000 by payment pay-1; the balance is 15.0000\n"
    other = await run("account", "topup", "acme", "6.00", "--id", "pay-1")
    assert other.status == 1
    assert "(409 conflict)" in other.err
    entries = (await run("account", "ledger", "acme", "--json")).jsons
    assert [entry["amount"] for entry in entries] == ["10.0000", "5.0000"]
    assert "cash" in (await run("account", "ledger", "acme")).out


async def test_a_top_up_without_an_id_is_a_payment_of_its_own(run: Run) -> None:
    for balance in ("11.0000", "12.0000"):
        assert (await run("account", "topup", "acme", "1.00", "--json")).json["balance"] == balance


# ---- tariffs


async def test_plans_are_listed(run: Run) -> None:
    table = (await run("tariff", "list")).out.splitlines()
    assert table[2].split() == ["carrier", "EUR", "UTC", "carrier", "-", "-", "-"]
    shown = (await run("tariff", "list", "--json")).jsons
    assert [plan["id"] for plan in shown] == ["carrier", "middleman", "retail", "wholesale"]
    assert (await run("tariff", "list", "--json", token="shop")).jsons == []  # it owns none


DECK = "prefix;destination;per_minute\n31;Netherlands;0,10\n32;Belgium;0,20\n"


async def test_a_deck_is_compared_imported_and_exported(run: Run, tmp_path: Path) -> None:
    (tmp_path / "deck.csv").write_text(DECK)
    diff = await run("tariff", "diff", "retail", "deck.csv")
    assert diff.status == 1
    assert "2 rows would be in the deck; 1 added, 0 removed, 1 changed" in diff.out
    assert re.search(r"~ +31 +Netherlands +.* 0\.0800 → 0\.1000 .*dearer", diff.out)
    dry = await run("tariff", "import", "retail", "deck.csv", "--dry-run", "--json")
    assert (dry.status, dry.json["dry_run"], dry.json["added"]) == (0, True, 1)
    done = await run("tariff", "import", "retail", "deck.csv")
    assert done.status == 0, done.err
    assert "2 rows are in the deck" in done.out
    assert (await run("tariff", "diff", "retail", "deck.csv")).status == 0
    exported = (await run("tariff", "export", "retail")).out
    assert (await run("tariff", "export", "retail", "-")).out == exported
    assert (await run("tariff", "export", "retail", "out.csv")).status == 0
    for nowhere in ("out.csv/under.csv", "none/out.csv"):
        assert (await run("tariff", "export", "retail", nowhere)).status == 2
    assert (tmp_path / "out.csv").read_bytes() == exported.encode()
    assert not (tmp_path / "out.csv.part").exists()
    assert (await run("tariff", "diff", "retail", "out.csv")).status == 0


async def test_a_deck_with_headings_of_its_own(run: Run, tmp_path: Path) -> None:
    sheet = "Country;Code;Rate (EUR);Since;Status\nNetherlands;31, 32;1,234;01/02/2026;new\n# old;;;;\n"
    (tmp_path / "deck.csv").write_bytes(sheet.encode("utf-16"))
    said = ("--map", 'prefix=Code,per_minute="Rate (EUR)",destination=Country,valid_from=Since')
    done = await run("tariff", "import", "retail", "deck.csv", *said)
    assert done.status == 1
    assert "line 2: per_minute: '1,234' could be 1234 or 1.234" in done.err
    done = await run("tariff", "import", "retail", "deck.csv", *said, "--decimal", "comma", "--dates", "dmy")
    assert (done.status, done.err) == (0, "")
    assert "passed over: line 3 (comments and totals)\npassed over: columns Status\n" in done.out
    exported = (await run("tariff", "export", "retail")).out.splitlines()
    assert [line.partition(",1.2340,")[0] for line in exported[1:]] == ["31,Netherlands,,", "32,Netherlands,,"]
    (tmp_path / "bare.csv").write_text("31|x|0.05\n")
    bare = ("--columns", "prefix,,per_minute", "--delimiter", "|")
    assert (await run("tariff", "import", "retail", "bare.csv", *bare)).status == 0
    for wrong in (("--map", "prefix"), ("--decimal", "dot"), ("--csv",)):
        assert (await run("tariff", "import", "retail", "bare.csv", *wrong)).status == 2


async def test_a_diff_shows_what_is_earned_and_all_of_it_as_csv(run: Run, tmp_path: Path) -> None:
    (tmp_path / "buy.csv").write_text("prefix;per_minute\n31;0,05\n316;0,15\n")
    assert (await run("tariff", "import", "carrier", "buy.csv")).status == 0
    (tmp_path / "deck.csv").write_text(DECK)
    diff = await run("tariff", "diff", "retail", "deck.csv")
    assert "rows over carrier: 1 earning too little, 1 without a purchase price" in diff.out
    assert re.search(r"31 +Netherlands +- +316 +0\.1000 +0\.1500 +0\.0500", diff.out)
    assert re.search(r"~ +31 .* 0\.0200 +25\.00 +dearer", diff.out)
    strict = await run(
        "tariff", "diff", "retail", "deck.csv", "--min-per-minute", "0.1", "--min-percent", "10", "--json"
    )
    assert strict.json["margin"]["first_short"][0]["short"] == "0.1500"
    table = await run("tariff", "diff", "retail", "deck.csv", "--csv")
    lines = table.out.splitlines()
    assert lines[0].startswith("change,prefix,destination,type,")
    assert [line.split(",")[0] for line in lines[1:]] == ["added", "dearer", "below_margin", "without_purchase"]
    assert table.status == 1
    await run("tariff", "import", "retail", "deck.csv")
    same = await run("tariff", "diff", "retail", "deck.csv", "--csv")
    assert [line.split(",")[0] for line in same.out.splitlines()[1:]] == ["below_margin", "without_purchase"]
    assert same.status == 0


async def test_every_mistake_of_a_deck_is_told_by_its_line(run: Run, tmp_path: Path) -> None:
    (tmp_path / "deck.csv").write_text(DECK + "3x;Nowhere;0,10\n33;France;dear\n")
    done = await run("tariff", "import", "retail", "deck.csv")
    assert done.status == 1
    first, *lines = done.err.splitlines()
    assert first == "callctl: 2 mistakes, nothing was imported:"
    assert [line.split(":")[0].strip() for line in lines] == ["line 4", "line 5"]
    assert "Belgium" not in (await run("tariff", "export", "retail")).out


async def test_a_deck_in_another_encoding(run: Run, tmp_path: Path) -> None:
    (tmp_path / "deck.csv").write_bytes("prefix,destination,per_minute\n262,Réunion,0.10\n".encode("latin-1"))
    done = await run("tariff", "import", "retail", "deck.csv", "--encoding", "utf-8")
    assert (done.status, done.err) == (
        2,
        "callctl: deck.csv: line 2: is not utf-8: name its encoding; try --encoding\n",
    )
    assert (await run("tariff", "import", "retail", "deck.csv")).status == 0
    assert "Réunion" in (await run("tariff", "export", "retail")).out
    assert (await run("tariff", "import", "retail", "deck.csv", "--encoding", "x-klingon")).status == 2


async def test_plans_are_put(run: Run) -> None:
    plan = {"id": "night", "currency": "EUR", "round_seconds": 60}
    assert (await run("tariff", "put", "-", stdin=json.dumps(plan))).out == "put night\n"


async def test_no_such_plan(run: Run, tmp_path: Path) -> None:
    (tmp_path / "deck.csv").write_text(DECK)
    for arguments in (("import", "nope", "deck.csv"), ("export", "nope")):
        done = await run("tariff", *arguments)
        assert (done.status, done.err) == (1, "callctl: no such plan (404 not_found)\n")


# ---- rate


async def test_rate_on_a_plan(run: Run) -> None:
    done = await run("rate", "--plan", "retail", "--to", NL_MOB, "--seconds", "90", "--json")
    assert done.json["charge"] == "0.1200"
    assert (done.json["billed_s"], done.json["destination"], done.json["currency"]) == (90, "Netherlands", "EUR")
    shown = await run("rate", "--plan", "retail", "--to", NL_MOB, "--seconds", "90")
    assert shown.out.startswith("0.1200 EUR for 1:30\n")


async def test_rate_says_taxes_and_the_price_of_the_band(run: Run, tmp_path: Path) -> None:
    plan = {"id": "retail", "taxes": [{"name": "VAT", "percent": "21"}, {"name": "levy", "fixed": "0.0100"}]}
    await run("tariff", "put", "-", stdin=json.dumps(plan))
    (tmp_path / "deck.csv").write_text("prefix,per_minute,from,to\n31,0.02,18:00,08:00\n31,0.10,08:00,18:00\n")
    await run("tariff", "import", "retail", "deck.csv")
    rate = ("rate", "--plan", "retail", "--to", NL_MOB, "--seconds", "60")
    night = await run(*rate, "--at", "2026-11-21T07:59:30Z", "--json")
    assert (night.json["charge"], night.json["per_minute"]) == ("0.0600", "0.0200")
    assert night.json["band"] == "18:00-08:00"
    day = await run(*rate, "--at", "2026-11-21T08:00:00Z", "--json")
    assert (day.json["charge"], day.json["per_minute"], day.json["gross"]) == ("0.1000", "0.1000", "0.1310")
    assert day.json["taxes"] == [{"name": "VAT", "amount": "0.0210"}, {"name": "levy", "amount": "0.0100"}]
    shown = await run(*rate, "--at", "2026-11-21T08:00:00Z")
    assert shown.out.endswith("  0.1310 EUR with VAT 0.0210, levy 0.0100\n")


async def test_rate_of_a_percentage_uses_the_purchase_plan(run: Run, tmp_path: Path) -> None:
    (tmp_path / "deck.csv").write_text("prefix,destination,percent\n31,Netherlands,150\n")
    await run("tariff", "import", "retail", "deck.csv")
    done = await run("rate", "--plan", "retail", "--to", NL_MOB, "--seconds", "60", "--json")
    assert done.json["charge"] == "0.0300"


async def test_rate_buys_by_the_plan_that_is_effective(run: Run, door: FrontDoor) -> None:
    await door.definitions.put_plan(Plan("dear"))
    await door.definitions.put_rows("dear", [Row("31", per_minute=20_000_000)])
    await door.definitions.put_rows("retail", [Row("31", percent=2_000_000)])
    await door.definitions.put_plan(Plan("next", buy_plan="dear", extends="retail", effective_ms=NOW.wall_ms))
    call = ("rate", "--plan", "next", "--to", NL_MOB, "--seconds", "60", "--json", "--at")
    before, after = [await run(*call, at) for at in ("2026-11-21T09:59:59Z", "2026-11-21T10:00:00Z")]
    assert (before.json["charge"], after.json["charge"]) == ("0.0400", "0.4000")


async def test_rate_converts_a_purchase_in_another_currency(run: Run, door: FrontDoor) -> None:
    await door.definitions.put_plan(Plan("carrier", currency="USD"))
    await door.definitions.put_rows("retail", [Row("31", percent=1_500_000)])
    call = ("rate", "--plan", "retail", "--to", NL_MOB, "--seconds", "60", "--at", "2026-11-21T10:00:00Z", "--json")
    assert "no exchange rate USD-EUR on 2026-11-21" in (await run(*call)).err
    rates = {"rates": [{"from": "2026-11-21", "rate": "0.9"}]}
    await door.json("PUT", "/v1/exchange/USD-EUR", json=rates)
    assert (await run(*call)).json["charge"] == "0.0270"


@pytest.mark.parametrize(
    ("arguments", "status", "reason"),
    [
        (("--plan", "retail", "--to", "+4930123456", "--seconds", "60"), 1, "no row"),
        (("--plan", "nope", "--to", NL_MOB, "--seconds", "60"), 1, "no such plan"),
        (("--plan", "retail", "--to", "0612", "--seconds", "60"), 2, "international form"),
        (("--plan", "retail", "--to", NL_MOB, "--seconds", "-1"), 2, "--seconds"),
        (("--plan", "retail", "--to", NL_MOB, "--seconds", "1", "--at", "noon"), 2, "RFC 3339"),
    ],
)
async def test_rate_says_what_is_wrong(run: Run, arguments: tuple[str, ...], status: int, reason: str) -> None:
    done = await run("rate", *arguments)
    assert done.status == status
    assert reason in done.err


CASE = {
    "id": "a",
    "tariff": {"rate_per_min": "0.10", "rounding": {"decimals": 4, "mode": "half_up"}},
    "duration_s": "60",
}


async def test_cases_that_agree(tmp_path: Path) -> None:
    (tmp_path / "cases.json").write_text(json.dumps([CASE | {"expected_cost": "0.1", "expected_billed_s": 60}]))
    done = await callctl("rate", "--cases", "cases.json", cwd=tmp_path)
    assert done.status == 0
    (line,) = done.jsons
    assert {key: line[key] for key in ("id", "billed_s", "charge", "expected", "agrees")} == {
        "id": "a", "billed_s": 60, "charge": "0.1000", "expected": "0.1", "agrees": True,
    }  # fmt: skip


@pytest.mark.parametrize("cases", [[CASE | {"expected_cost": "0.2"}], [CASE], [1], [{"id": "b"}]])
async def test_cases_that_disagree(tmp_path: Path, cases: list[object]) -> None:
    good = CASE | {"expected_cost": "0.1"}
    (tmp_path / "cases.json").write_text(json.dumps([*cases, good]))
    done = await callctl("rate", "--cases", "cases.json", cwd=tmp_path)
    assert done.status == 1
    assert [line["agrees"] for line in done.jsons] == [False, True]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not JSON"),
        ("[", "not JSON"),
        ("\xff", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("{}", "a list of cases is expected"),
        ("[]", "no cases, so nothing was verified"),
    ],
)
async def test_a_file_without_cases(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "cases.json").write_bytes(text.encode("latin-1"))
    done = await callctl("rate", "--cases", "cases.json", cwd=tmp_path)
    assert (done.status, done.out) == (2, "")
    assert done.err.startswith(f"callctl: cases.json: {reason}")


# ---- calls and records


async def test_live_calls(run: Run, door: FrontDoor) -> None:
    await start_call(door, "c1")
    answer = (await run("calls", "--json")).json
    assert [call["call_id"] for call in answer["calls"]] == ["c1"]
    shown = (await run("calls")).out
    assert re.search(rf"c1 +http +acme +\+31201234567 +\{NL_MOB} +Netherlands +answered", shown)
    assert "1 live" in shown
    assert "0 live" in (await run("calls", "--account", "shop")).out


async def test_the_table_follows_the_calls_on_a_terminal(door: FrontDoor, tmp_path: Path) -> None:
    await start_call(door, "c1")
    main, terminal = pty.openpty()
    environ = {**os.environ, "CALLCTL_URL": str(door.client.make_url("/")), "CALLCTL_TOKEN": "ops", "COLUMNS": "200"}
    process = await asyncio.create_subprocess_exec(
        CALLCTL, "calls", cwd=tmp_path, env=environ, stdout=terminal, stdin=terminal
    )
    os.close(terminal)
    os.set_blocking(main, False)
    screen = bytearray()

    def shows(text: bytes) -> bool:
        with contextlib.suppress(OSError):  # nothing there yet, or the command has ended
            screen.extend(os.read(main, 65_536))
        return text in screen

    try:
        await until(lambda: shows(b"1 live"))
        await start_call(door, "c2")
        await until(lambda: shows(b"2 live"))
        process.send_signal(signal.SIGINT)
        await until(lambda: shows(b"\x1b[?1049l"))  # the terminal is as it was
        assert await process.wait() == 130
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        os.close(main)


async def test_no_caller_writes_on_the_terminal(run: Run, door: FrontDoor) -> None:
    await start_call(door, "c1", a_number="\x1b[2J\x9b31m")
    for arguments in (("calls",), ("calls", "--json")):
        shown = (await run(*arguments)).out
        assert "c1" in shown
        assert not set(shown) & {"\x1b", "\x9b"}


async def test_a_call_is_hung_up(run: Run, door: FrontDoor) -> None:
    await start_call(door, "a/b c")
    done = await run("calls", "hangup", "a/b c")
    assert done.status == 0
    assert done.out.startswith("a/b c: callctl cannot reach it: it gets no more time")
    assert (await run("calls", "hangup", "a/b c", "--json")).json["call_id"] == "a/b c"
    missing = await run("calls", "hangup", "a/b c", "--switch", "pbx9")
    assert missing.status == 1


async def test_records_are_listed(run: Run, door: FrontDoor) -> None:
    for number in range(3):
        await door.call(f"c{number}", seconds=60)
    await door.deliver()
    records = (await run("cdr", "list", "--json")).jsons
    assert [record["call_id"] for record in records] == ["c0", "c1", "c2"]
    assert [it["sequence"] for it in (await run("cdr", "list", "--json", "--limit", "2")).jsons] == [1, 2]
    assert [it["sequence"] for it in (await run("cdr", "list", "--json", "--after", "2")).jsons] == [3]
    assert (await run("cdr", "list", "--json", "--since", "2030-01-01T00:00:00Z")).jsons == []
    shown = (await run("cdr", "list")).out
    assert re.search(r"^ *1 .* c0 +acme +customer .* allowed +1:00 +1:00 +0\.0800 +EUR", shown, re.MULTILINE)


async def test_a_closed_pipe_is_no_error(door: FrontDoor, tmp_path: Path) -> None:
    for number in range(3):
        await door.call(f"c{number}")
    await door.deliver()
    environ = {**os.environ, "CALLCTL_URL": str(door.client.make_url("/")), "CALLCTL_TOKEN": "ops"}
    command = f"{CALLCTL} cdr list --json | true; exit ${{PIPESTATUS[0]}}"
    process = await asyncio.create_subprocess_exec(
        "bash", "-c", command, env=environ, cwd=tmp_path, stderr=asyncio.subprocess.PIPE
    )
    _, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")


async def test_records_are_followed(door: FrontDoor, tmp_path: Path) -> None:
    await door.call("before")
    await door.deliver()
    environ = {**os.environ, "CALLCTL_URL": str(door.client.make_url("/")), "CALLCTL_TOKEN": "ops"}
    process = await asyncio.create_subprocess_exec(
        CALLCTL, "cdr", "follow", "--after", "0", "--json", env=environ, cwd=tmp_path, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(PATIENCE_S):
            assert json.loads(await process.stdout.readline())["call_id"] == "before"
            await door.call("later")
            await door.deliver()
            assert json.loads(await process.stdout.readline())["call_id"] == "later"
            process.send_signal(signal.SIGINT)
            assert await process.wait() == 130
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
