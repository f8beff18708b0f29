"""Plans and their rows through the front door."""

import asyncio
import csv

import pytest

from callctl.errors import StoreUnavailable
from callctl.http import body as bodies
from callctl.http import deckwork
from callctl.http.tariffs import ARRIVING_AT_ONCE
from callctl.rating.decks.deck import import_deck
from callctl.rating.tariff import PERCENT, Plan, Row
from tests.waiting import PATIENCE_S

PLAN = {
    "currency": "EUR", "timezone": "Europe/Amsterdam", "buy_plan": "carrier", "round_seconds": 6, "round_decimals": 5,
    "rounding": "up", "duration_rounding": "half_up", "increment_basis": "total", "grace_beats_minimum": False,
    "bill_on_net": True, "effective": "2026-12-01T00:00:00.000Z", "extends": "retail", "preset": "kolmisoft",
    "taxes": [{"name": "VAT", "percent": "21"}],
    "bundles": [{
        "name": "nl-free", "seconds": 6000, "prefixes": ["31"], "types": ["FIX"], "direction": "outbound",
        "rollover": True, "since": "2026-12-01T00:00:00.000Z",
    }],
    "owner": "shop",
}  # fmt: skip
DECK = (
    "prefix;destination;type;connection_fee;per_minute\r\n"
    "31;Netherlands;FIX;0,025;0,02\r\n"
    "31;Netherlands;MOB;0,025;0,08\r\n"
    "32;Belgium;;;0,12\r\n"
)
CSV = {"Content-Type": "text/csv; charset=utf-8"}


async def put_rows(door, deck: str, query: str = ""):
    return await door.json("PUT", f"/v1/plans/retail/rows{query}", data=deck, headers=CSV)


async def test_a_plan_is_read_as_it_was_put(door) -> None:
    put = await door.json("PUT", "/v1/plans/new", json=PLAN)
    assert put == await door.json("GET", "/v1/plans/new") == {"id": "new", **PLAN}
    assert (await door.json("PUT", "/v1/plans/plain", json={}))["round_decimals"] == 4


@pytest.mark.parametrize(
    ("change", "status", "field"),
    [
        ({"round_seconds": 0}, 400, "round_seconds"),
        ({"round_decimals": 7}, 400, "round_decimals"),
        ({"rounding": "banker"}, 400, "rounding"),
        ({"bill_on_net": 1}, 400, "bill_on_net"),
        ({"effective_ms": 1}, 400, "effective_ms"),
        ({"effective": "2026-12-01"}, 422, "effective"),
        ({"effective": "0001-01-01T00:00:00+02:00"}, 422, "effective"),
        ({"preset": "abacus"}, 400, "preset"),
        ({"timezone": "Amsterdam"}, 422, "timezone"),
        ({"extends": "nothing"}, 422, "extends"),
    ],
)
async def test_a_wrong_plan_changes_nothing(door, change, status, field) -> None:
    error = await door.refused(status, "PUT", "/v1/plans/new", json={**PLAN, **change})
    assert error.get("field") == field
    await door.refused(404, "GET", "/v1/plans/new")


async def test_until_a_plan_is_effective_the_one_that_it_extends_says_what_is_bought_and_billed(door) -> None:
    for carrier, per_minute in (("dear", 20), ("cheap", 10)):
        await door.definitions.put_plan(Plan(carrier))
        await door.definitions.put_rows(carrier, [Row("31", per_minute=per_minute * 1_000_000)])
    await door.definitions.put_plan(Plan("now", buy_plan="cheap"))
    await door.definitions.put_rows("now", [Row("31", percent=200 * PERCENT)])
    effective_ms = door.clock.instant.wall_ms + 60_000
    await door.definitions.put_plan(
        Plan("next", buy_plan="dear", extends="now", effective_ms=effective_ms, bill_on_net=True)
    )
    await door.json("PUT", "/v1/accounts/acme", json={"kind": "prepaid", "plan": "next", "numbers": ["+31207654321"]})

    async def per_minute(to: str) -> str:
        decision = await door.json(
            "POST", "/v1/explain", json={"call_id": "c", "from": "", "to": to, "account": "acme"}
        )
        return decision["rate"]["per_minute"]

    assert [await per_minute(to) for to in ("+31612345678", "+31207654321")] == ["0.2000", "0.0000"]
    door.clock.pass_s(60)
    assert [await per_minute(to) for to in ("+31612345678", "+31207654321")] == ["0.4000", "0.4000"]


async def test_a_preset_states_what_the_plan_does_not(door) -> None:
    plan = await door.json("PUT", "/v1/plans/new", json={"preset": "kazoo", "round_decimals": 6})
    assert (plan["preset"], plan["rounding"], plan["round_decimals"]) == ("kazoo", "down", 6)
    assert plan == await door.json("GET", "/v1/plans/new")


async def test_rows_are_read_as_they_were_put(door) -> None:
    answer = await put_rows(door, DECK)
    assert (answer["rows"], answer["added"], answer["removed"], answer["changed"]) == (3, 3, 1, 0)
    response = await door.ask("GET", "/v1/plans/retail/rows")
    assert response.headers["Content-Type"] == "text/csv; charset=utf-8"
    exported = import_deck(await response.text(), Plan("retail"))
    assert exported.rows == import_deck(DECK, Plan("retail")).rows
    again = await put_rows(door, await response.text())
    assert (again["added"], again["removed"], again["changed"]) == (0, 0, 0)


async def test_a_dry_run_answers_the_difference_and_changes_nothing(door) -> None:
    await put_rows(door, DECK)
    dearer = DECK.replace("0,12", "0,15").replace("31;Netherlands;FIX", "33;France;FIX")
    answer = await put_rows(door, dearer, "?dry_run=true")
    assert answer["dry_run"] is True
    assert [row["prefix"] for row in answer["first_added"]] == ["33"]
    assert [row["type"] for row in answer["first_removed"]] == ["FIX"]
    (change,) = answer["first_changed"]
    assert (change["old"]["per_minute"], change["new"]["per_minute"], change["movement"]) == (
        "0.1200",
        "0.1500",
        "dearer",
    )
    assert (await put_rows(door, DECK))["changed"] == 0
    error = await door.refused(400, "PUT", "/v1/plans/retail/rows?dry_run=maybe", data=DECK, headers=CSV)
    assert error["field"] == "dry_run"


async def test_a_deck_with_broken_rows_is_refused_whole_and_line_by_line(door) -> None:
    broken = DECK + "3x;Nowhere;;;0,10\r\n34;Spain;;;\r\n"
    error = await door.refused(422, "PUT", "/v1/plans/retail/rows", data=broken, headers=CSV)
    assert (error["code"], error["field"]) == ("wrong_rows", "line 5")
    assert [detail.partition(":")[0] for detail in error["details"]] == ["line 5", "line 6"]
    assert [row async for row in door.definitions.rows("retail")] == [Row("31", "Netherlands", per_minute=8_000_000)]


async def test_rows_are_csv(door) -> None:
    await door.refused(415, "PUT", "/v1/plans/retail/rows", json={"prefix": "31"})
    await door.refused(422, "PUT", "/v1/plans/retail/rows", data=b"prefix\n\xff", headers=CSV)
    for charset in ("x-klingon", "hex", "undefined"):
        strange = {"Content-Type": f"text/csv; charset={charset}"}
        error = await door.refused(400, "PUT", "/v1/plans/retail/rows", data=DECK, headers=strange)
        assert error["field"] == "Content-Type"
    await door.refused(422, "PUT", "/v1/plans/retail/rows", data=b"", headers=CSV)
    await door.refused(404, "PUT", "/v1/plans/nothing/rows", data=DECK, headers=CSV)
    await door.refused(404, "GET", "/v1/plans/nothing/rows")


async def test_a_deck_that_is_too_large_is_refused(door, monkeypatch) -> None:
    monkeypatch.setattr(bodies, "ROWS_LIMIT", 100)
    await door.refused(413, "PUT", "/v1/plans/retail/rows", data=DECK, headers=CSV)


async def test_only_so_many_decks_are_read_at_once(door) -> None:
    finish = asyncio.Event()

    async def slowly(begun: asyncio.Event):
        yield DECK.encode()
        begun.set()
        await finish.wait()

    begun = [asyncio.Event() for _ in range(ARRIVING_AT_ONCE)]
    path = "/v1/plans/retail/rows"
    uploads = [asyncio.ensure_future(door.ask("PUT", path, data=slowly(each), headers=CSV)) for each in begun]
    for each in begun:
        await each.wait()
    async with asyncio.timeout(PATIENCE_S):
        while (refused := await door.ask("PUT", path + "?dry_run=true", data=DECK, headers=CSV)).status != 503:
            pass  # the others may not have been read that far yet
    assert (await refused.json())["error"]["code"] == "busy"
    await door.json("PUT", "/v1/plans/own", "reseller", json={})
    own = await door.ask("PUT", "/v1/plans/own/rows", "reseller", data=DECK, headers=CSV)
    assert own.status == 200  # somebody else's slow line is not its own
    finish.set()
    assert [(await upload).status for upload in uploads] == [200] * ARRIVING_AT_ONCE
    await put_rows(door, DECK)


async def test_a_large_deck_is_streamed(door) -> None:
    rows = [Row(str(prefix), "Somewhere", per_minute=prefix) for prefix in range(10_000, 12_500)]
    await door.definitions.put_rows("retail", rows)
    text = await (await door.ask("GET", "/v1/plans/retail/rows")).text()
    assert import_deck(text, Plan("retail")).rows == tuple(rows)
    await door.definitions.put_rows("retail", [])
    assert (await (await door.ask("GET", "/v1/plans/retail/rows")).text()).startswith("prefix,")


async def test_a_store_that_goes_away_breaks_the_stream_off(door, monkeypatch) -> None:
    """Half a deck must not look like a whole one."""
    at = 1500

    async def rows(plan: str):
        for prefix in range(10_000, 10_000 + at):
            yield Row(str(prefix), per_minute=1)
        raise StoreUnavailable("gone")

    monkeypatch.setattr(door.definitions, "rows", rows)
    response = await door.ask("GET", "/v1/plans/retail/rows")
    with pytest.raises(Exception, match=r"(?i)not enough data|payload"):
        await response.read()
    at = 0
    await door.refused(503, "GET", "/v1/plans/retail/rows")


async def test_trunks_and_figures_are_the_providers_alone(door) -> None:
    for method, path in (("GET", "/v1/trunks/t1"), ("PUT", "/v1/trunks/t1"), ("GET", "/metrics")):
        assert (await door.refused(403, method, path, "reseller"))["code"] == "forbidden"


SHEET = "Country;Code;Rate (EUR);Since\r\nNetherlands;31;1.234;01/02/2026\r\nUK;4479-4480;2.500;01/02/2026\r\n"
SAID = {
    "map": 'prefix=Code,per_minute="Rate (EUR)",destination=Country,valid_from=Since',
    "decimal": "point",
    "dates": "mdy",
}


async def test_a_sheet_is_read_as_its_parameters_say(door) -> None:
    path = "/v1/plans/retail/rows"
    answer = await door.json(
        "PUT", path, params=SAID, data=SHEET.encode("latin-1"), headers={"Content-Type": "text/csv"}
    )
    assert (answer["rows"], answer["passed_over_headings"], answer["passed_over_lines"]) == (3, [], [])
    rows = {row["prefix"]: row for row in answer["first_added"]} | {"31": answer["first_added"][0]}
    assert rows["4480"] == {
        "prefix": "4480", "destination": "UK", "per_minute": "2.5000", "valid_from": "2026-01-02T00:00:00.000Z"
    }  # fmt: skip
    plain = {"columns": "prefix,,per_minute", "delimiter": "tab"}
    answer = await door.json("PUT", path, params=plain, data="31\tNL\t0.05\n", headers=CSV)
    assert answer["rows"] == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("map", "prefix"), ("decimal", "dot"), ("dates", "ymd"), ("delimiter", ":"), ("dry_run", "maybe"),
        ("min_percent", "-1"), ("min_per_minute", "much"), ("headings", "x"),
    ],
)  # fmt: skip
async def test_a_wrong_parameter_is_named(door, name, value) -> None:
    error = await door.refused(400, "PUT", "/v1/plans/retail/rows", params={name: value}, data=DECK, headers=CSV)
    assert error["field"] == name


async def test_a_name_in_another_charset_is_kept_right(door) -> None:
    for charset, said in (("latin-1", ""), ("cp850", "; charset=cp850"), ("utf-16", "")):
        raw = "prefix;destination;per_minute\n262;Réunion;0,1\n".encode(charset)
        answer = await door.json(
            "PUT", "/v1/plans/retail/rows?dry_run=true", data=raw, headers={"Content-Type": f"text/csv{said}"}
        )
        assert answer["first_added"][0]["destination"] == "Réunion"


async def test_a_dry_run_says_by_how_much_and_what_is_earned(door) -> None:
    await door.json("PUT", "/v1/plans/wholesale", json={})
    await door.json("PUT", "/v1/plans/wholesale/rows", data="prefix;per_minute\n31;0,10\n316;0,30\n", headers=CSV)
    await door.json("PUT", "/v1/plans/shop", json={"buy_plan": "wholesale"})
    path = "/v1/plans/shop/rows"
    await door.json("PUT", path, data="prefix;per_minute\n31;0,20\n32;0,20\n33;0,20\n", headers=CSV)
    new = "prefix;per_minute\n31;0,25\n32;0,15\n33;0,20\n"
    dry = await door.json("PUT", path + "?dry_run=true", data=new, headers=CSV)
    assert {key: dry[key] for key in ("changed", "dearer", "cheaper", "unchanged")} == {
        "changed": 2, "dearer": 1, "cheaper": 1, "unchanged": 1
    }  # fmt: skip
    assert [(each["difference"], each["difference_percent"]) for each in dry["first_changed"]] == [
        ("0.0500", "25.00"), ("-0.0500", "-25.00")
    ]  # fmt: skip
    margin = dry["margin"]
    assert (margin["buy_plan"], margin["short"], margin["without_purchase"]) == ("wholesale", 1, 2)
    assert margin["first_short"] == [
        {
            "row": {"prefix": "31", "per_minute": "0.2500"}, "at_prefix": "316", "buy_row": "316",
            "sell_per_minute": "0.2500", "buy_per_minute": "0.3000", "short": "0.0500",
        }
    ]  # fmt: skip
    strict = await door.json("PUT", path + "?dry_run=true&min_percent=50", data=new, headers=CSV)
    assert strict["margin"]["first_short"][0]["short"] == "0.2000"
    response = await door.ask("PUT", path + "?dry_run=true", data=new, headers={**CSV, "Accept": "text/csv"})
    lines = list(csv.DictReader((await response.text()).splitlines()))
    assert response.headers["Content-Type"].startswith("text/csv")
    assert [(each["change"], each["prefix"], each["difference"], each["short"]) for each in lines] == [
        ("dearer", "31", "0.0500", ""), ("cheaper", "32", "-0.0500", ""), ("below_margin", "31", "", "0.0500"),
        ("without_purchase", "32", "", ""), ("without_purchase", "33", "", ""),
    ]  # fmt: skip
    assert lines[0]["old_per_minute"] == "0.2000"
    assert (await door.json("PUT", path, data=new, headers=CSV))["margin"] is None


async def test_a_purchase_in_another_currency_is_compared_at_the_rate_of_the_day(door) -> None:
    await door.json("PUT", "/v1/plans/dollars", json={"currency": "USD"})
    bought = "prefix;per_minute;days;weight\n31;$0,10;;\n32;$0,10;;\n32;$0,30;1-5;1\n33;$0,10;;\n"
    await door.json("PUT", "/v1/plans/dollars/rows", data=bought, headers=CSV)
    await door.json("PUT", "/v1/plans/shop", json={"buy_plan": "dollars"})
    sold, path = "prefix;per_minute;percent\n31;0,08;\n32;0,10;\n33;;90\n", "/v1/plans/shop/rows?dry_run=true"
    dry = await door.json("PUT", path, data=sold, headers=CSV)
    assert dry["margin"] is None
    missing = "what is earned was not worked out: no exchange rate USD-EUR on 2026-11-21"
    assert dry["warnings"] == [missing]
    rates = [{"from": "2026-11-01", "rate": "0.9"}, {"from": "2026-11-22", "rate": "0.1"}]
    await door.json("PUT", "/v1/exchange/USD-EUR", json={"rates": rates})
    dry = await door.json("PUT", path, data=sold, headers=CSV)
    margin = dry["margin"]
    assert (margin["exchange"], margin["short"], dry["warnings"]) == ("0.9000", 3, [])
    told = [(it["at_prefix"], it["sell_per_minute"], it["buy_per_minute"], it["short"]) for it in margin["first_short"]]
    assert told == [
        ("32", "0.1000", "0.2700", "0.1700"),
        ("31", "0.0800", "0.0900", "0.0100"),
        ("33", "0.0810", "0.0900", "0.0090"),
    ]


async def test_a_percentage_needs_a_purchase_where_the_plan_names_one(door) -> None:
    deck = "prefix;percent\n;175\n31;120\n33;120\n"
    reseller = await door.json("PUT", "/v1/plans/plain", json={}) and await door.json(
        "PUT", "/v1/plans/plain/rows", data=deck, headers=CSV
    )
    assert (reseller["rows"], len(reseller["warnings"])) == (3, 1)
    await door.json("PUT", "/v1/plans/wholesale", json={})
    await door.json("PUT", "/v1/plans/wholesale/rows", data="prefix;per_minute\n31;0,10\n", headers=CSV)
    await door.json("PUT", "/v1/plans/shop", json={"buy_plan": "wholesale"})
    for dry_run in ("", "?dry_run=true"):
        error = await door.refused(422, "PUT", f"/v1/plans/shop/rows{dry_run}", data=deck, headers=CSV)
        assert error["details"] == ["line 4: percent: the buy plan wholesale has no price for these numbers"]
    await door.json("PUT", "/v1/plans/wholesale/rows", data="prefix;percent\n31;110\n", headers=CSV)
    for buy_plan in ("wholesale", "nothing"):  # that has percentages alone; that does not exist
        await door.json("PUT", "/v1/plans/shop", json={"buy_plan": buy_plan})
        error = await door.refused(422, "PUT", "/v1/plans/shop/rows", data="prefix;percent\n31;120\n", headers=CSV)
        assert error["field"] == "line 2"
    assert [row async for row in door.definitions.rows("shop")] == []


async def _percentages(door) -> None:
    """shop sells 31 and 44 by percentages of what wholesale has; other buys 31 alone."""
    for plan, terms, deck in (
        ("wholesale", {}, "prefix;per_minute\n31;0,10\n44;0,10\n"),
        ("other", {}, "prefix;per_minute\n31;0,10\n"),
        ("base", {}, "prefix;percent\n44;120\n"),
        ("shop", {"buy_plan": "wholesale", "extends": "base"}, "prefix;percent;per_minute\n31;120;\n49;;0,10\n"),
    ):
        await door.json("PUT", f"/v1/plans/{plan}", json=terms)
        await door.json("PUT", f"/v1/plans/{plan}/rows", data=deck, headers=CSV)


@pytest.mark.parametrize("buy_plan", ["other", "nothing"])
async def test_a_plan_does_not_buy_where_its_percentages_have_no_price(door, buy_plan) -> None:
    await _percentages(door)
    shop = {"buy_plan": buy_plan, "extends": "base"}
    error = await door.refused(422, "PUT", "/v1/plans/shop", json=shop)
    assert (error["code"], error["field"]) == ("percentages_of_nothing", "buy_plan")
    lost, some = (["44", "31"], "2 percentages") if buy_plan == "nothing" else (["44"], "1 percentage")
    assert error["message"] == f"the buy plan {buy_plan} has no price for {some} ({', '.join(lost)})"
    assert len(error["details"]) == len(lost)
    assert (await door.json("GET", "/v1/plans/shop"))["buy_plan"] == "wholesale"
    if buy_plan == "other":
        await door.json("PUT", "/v1/plans/shop", json=shop | {"extends": None})
    await door.json("PUT", "/v1/plans/shop", json=shop | {"buy_plan": None})


async def test_a_plan_that_the_provider_sells_by_buys_somewhere(door) -> None:
    """But for what is bought by a trunk's plan, or from the account above."""
    await _percentages(door)
    kid = {"kind": "prepaid", "plan": "shop", "parent": "reseller"}
    await door.json("PUT", "/v1/accounts/kid", json=kid)
    await door.json("PUT", "/v1/accounts/own", json={"kind": "prepaid", "plan": "shop"})
    error = await door.refused(422, "PUT", "/v1/plans/shop", json={"extends": "base"})
    assert error["message"] == "without a buy plan there is no price for 2 percentages (44, 31)"
    await door.json("PUT", "/v1/trunks/line", json={"account": "own", "buy_plan": "wholesale"})
    await door.json("PUT", "/v1/plans/shop", json={"extends": "base"})


@pytest.mark.parametrize(
    ("trunk", "told"),
    [
        ({"buy_plan": "wholesale"}, []),
        ({"buy_plan": "other"}, ["plan shop: the buy plan other has no price for 1 percentage (44)"]),
        ({"buy_plan": "dollars"}, ["plan shop: percentages of dollars, and no exchange rate USD-EUR on 2026-11-21"]),
        ({}, []),
    ],
)
async def test_a_trunk_tells_which_percentages_it_leaves_without_a_purchase(door, trunk, told) -> None:
    await _percentages(door)
    await door.json("PUT", "/v1/plans/dollars", json={"currency": "USD"})
    await door.json("PUT", "/v1/plans/dollars/rows", data="prefix;per_minute\n;0,10\n", headers=CSV)
    await door.json("PUT", "/v1/accounts/own", json={"kind": "prepaid", "plan": "shop"})
    await door.json("PUT", "/v1/accounts/kid", json={"kind": "prepaid", "plan": "base", "parent": "own"})
    answer = await door.json("PUT", "/v1/trunks/line", json={"account": "kid", **trunk})
    assert answer.get("warnings", []) == told


async def test_where_nothing_is_a_percentage_no_deck_is_read_for_a_trunk(door, monkeypatch) -> None:
    """Or 20,000 trunks of a provider take half an hour."""
    await _percentages(door)
    await door.json("PUT", "/v1/accounts/own", json={"kind": "prepaid", "plan": "other"})
    monkeypatch.setattr(door.definitions, "rows", None)
    await door.json("PUT", "/v1/trunks/line", json={"account": "own", "buy_plan": "wholesale"})
    await door.json("PUT", "/v1/trunks/line", json={"account": "own"})


async def test_percentages_of_a_plan_to_come_are_missed_already(door) -> None:
    await _percentages(door)
    await door.json("PUT", "/v1/plans/base", json={"effective": "2100-01-01T00:00:00Z"})
    error = await door.refused(422, "PUT", "/v1/plans/shop", json={"buy_plan": "other", "extends": "base"})
    assert error["message"] == "the buy plan other has no price for 1 percentage (44)"


async def test_a_trunk_that_buys_no_more_tells_what_its_calls_lose(door) -> None:
    await _percentages(door)
    await door.json("PUT", "/v1/accounts/own", json={"kind": "prepaid", "plan": "shop"})
    await door.json("PUT", "/v1/trunks/line", json={"account": "own", "buy_plan": "wholesale"})
    await door.json("PUT", "/v1/plans/shop", json={"extends": "base"})
    answer = await door.json("PUT", "/v1/trunks/line", json={"account": "own"})
    assert answer["warnings"] == ["plan shop: without a buy plan there is no price for 2 percentages (44, 31)"]


async def test_a_deck_tells_whose_percentages_lose_their_purchase(door) -> None:
    """A carrier's deck is taken as it is: what it has no more, it sells no more."""
    await _percentages(door)
    await door.json("PUT", "/v1/plans/heir", json={"extends": "shop", "buy_plan": "wholesale"})
    deck, path = "prefix;per_minute\n31;0,20\n", "/v1/plans/wholesale/rows"
    told = [f"plan {plan}: the buy plan wholesale has no price for 1 percentage (44)" for plan in ("shop", "heir")]
    for query in ("?dry_run=true", ""):
        assert (await door.json("PUT", path + query, data=deck, headers=CSV))["warnings"] == told
    whole = await door.json("PUT", path, data="prefix;per_minute\n;0,20\n", headers=CSV)
    assert whole["warnings"] == []


async def test_a_deck_of_percentages_is_held_against_what_its_heirs_buy(door) -> None:
    await _percentages(door)
    answer = await door.json("PUT", "/v1/plans/base/rows", data="prefix;percent\n33;120\n", headers=CSV)
    assert answer["warnings"][1:] == ["plan shop: the buy plan wholesale has no price for 1 percentage (33)"]


async def test_a_deck_without_rows_is_taken_and_said(door) -> None:
    answer = await put_rows(door, "prefix;per_minute\r\n")
    assert (answer["rows"], answer["removed"]) == (0, 1)
    assert answer["warnings"] == ["no rows: the plan has no price of its own for any number"]


async def test_a_reader_that_dies_changes_nothing(door, monkeypatch) -> None:
    monkeypatch.setattr(deckwork.sys, "executable", "false")
    await door.refused(503, "PUT", "/v1/plans/retail/rows", data=DECK * 5_000, headers=CSV)
    monkeypatch.undo()
    assert (await put_rows(door, DECK))["removed"] == 1
