"""What-if over the records of calls that were really made: the same plan gives the same amounts, to the last digit."""

import csv
import json
import random
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from aiohttp import ClientSession

from callctl.accounts import Account, Kind
from callctl.call.takes import TopUp
from callctl.cli.cdrfiles import CdrReader
from callctl.clock import SystemClock, format_time
from callctl.limits.concurrency import Caps, Overflow
from callctl.numbering import NumberType
from callctl.rating.builder import DeckBuilder
from callctl.rating.match import Deck
from callctl.rating.tariff import PERCENT, Band, IncrementBasis, Plan, Row
from callctl.rating.tax import Tax
from callctl.rating.whatif.calls import Chains, PastRecord
from callctl.rating.whatif.lineup import Scope
from callctl.rating.whatif.rerating import Outcome, Trial, Verdict
from callctl.sinks.lines import Csv, JsonLines, LineFormat
from callctl.sinks.record import COLUMNS, columns_of
from tests.e2e.command import Ended, callctl
from tests.e2e.daemon import TOKEN, Daemon
from tests.e2e.front_door import NOW, FrontDoor
from tests.waiting import until

CENT = 1_000_000  # in 10^-8 per minute
NUMBERS = ("+31612345678", "+31201234567", "+4915112345678", "+12125550123")
MOB, FIX = NumberType.MOB, NumberType.FIX


def plans() -> dict[Plan, list[Row]]:
    """A chain of percentages and amounts, with most of the shapes that a price can have."""
    return {
        Plan("carrier"): [
            Row("31", "Netherlands", FIX, per_minute=CENT, increment_s=1),
            Row("31", "Netherlands", MOB, per_minute=333_333, tier_from_s=0),
            Row("31", "Netherlands", MOB, per_minute=222_221, tier_from_s=100),
            Row("", "World", per_minute=7 * CENT, initial_s=60, increment_s=60),
        ],
        Plan("wholesale", buy_plan="carrier", round_decimals=6): [
            Row("31", "Netherlands", FIX, percent=115 * PERCENT, connection_fee=3_000),
            Row("31", "Netherlands", MOB, percent=133 * PERCENT + 1, initial_s=30, increment_s=6),
            Row("", "World", percent=120 * PERCENT, increment_s=6),
        ],
        Plan("middleman", increment_basis=IncrementBasis.TOTAL): [
            Row("31", "Netherlands", per_minute=4 * CENT, initial_s=20, increment_s=6, grace_s=3),
            Row("", "World", percent=150 * PERCENT, min_charge=50_000, max_charge=900_000),
        ],
        Plan("retail", buy_plan="carrier", taxes=(Tax("VAT", percent=210_000),)): [
            Row("31", "Netherlands", percent=175 * PERCENT, connection_fee=25_000, free_s=7),
            Row("", "World", per_minute=29 * CENT + 17, extra_at_s=200, extra_fee=111_111, band=Band(until_min=780)),
            Row("", "World", per_minute=19 * CENT, connection_fee=12_300, band=Band(from_min=780)),
        ],
    }


async def furnish(door: FrontDoor) -> None:
    for plan, rows in plans().items():
        await door.definitions.put_plan(plan)
        await door.definitions.put_rows(plan.id, rows)
    await door.definitions.put_plan(Plan("network"))
    await door.definitions.put_rows("network", [Row("", per_minute=2_000_000)])
    await door.definitions.put_plan(Plan("airtime", buy_plan="network", taxes=(Tax("levy", fixed=10_000),)))
    await door.definitions.put_rows("airtime", [Row("", per_minute=3_000_000, connection_fee=10_000)])
    overflow = Caps(outbound=0, overflow=Overflow(at_most=2, per_call=50_000, per_minute=10_000))
    for account in (
        Account("reseller", Kind.PREPAID, "wholesale"),
        Account("middle", Kind.PREPAID, "middleman", "reseller"),
        Account("shop", Kind.PREPAID, "retail", "middle"),
        Account("own", Kind.PREPAID, "retail", "reseller", exempt=True),
        Account("busy", Kind.PREPAID, "retail", caps=overflow),
        Account("poor", Kind.PREPAID, "retail"),
        Account("acme", Kind.PREPAID, "retail", also=("airtime",)),
        Account("gift", Kind.PREPAID, "retail", exempt=True, also=("airtime",)),
    ):
        await door.definitions.put_account(account)
        if account.id != "poor":
            root = door.tariffs.directory.chain(account.id)[-1].id
            await door.store.top_up(TopUp(account.id, root, "more", 100_000_000, NOW.wall_ms))


async def make_calls(door: FrontDoor) -> None:
    rng = random.Random(7)
    for number in range(150):
        account = rng.choice(("shop", "shop", "middle", "own", "busy", "acme", "gift", "poor"))
        if account == "poor":
            await door.store.top_up(TopUp(account, account, f"more-{number}", 40_000, NOW.wall_ms))
        body = {"call_id": f"c{number}", "from": "+31201230000", "to": rng.choice(NUMBERS), "account": account}
        decision = await door.json("POST", "/v1/calls", json=body)
        if decision["verdict"] == "refused":
            continue
        door.clock.instant = door.clock.instant.plus_ms(rng.randrange(9_000))
        if rng.random() < 0.9:
            await door.json("POST", f"/v1/calls/c{number}/answer")
            door.clock.instant = door.clock.instant.plus_ms(rng.randrange(400_000))
        await door.json("POST", f"/v1/calls/c{number}/end", json={"q850": 16})


def write(door: FrontDoor, file: Path, form: LineFormat) -> int:
    """What the file sink writes of everything in the outboxes. How many records."""
    payloads = [record.payload for outbox in door.store.outbox.values() for _, _, record in outbox.entries]
    lines = [form.header, *(form.line(columns_of(payload) | {"sequence": n}) for n, payload in enumerate(payloads, 1))]
    file.write_bytes(b"".join(lines))
    return len(payloads)


def decks() -> dict[str, Deck]:
    found = {}
    for plan, rows in plans().items():
        builder = DeckBuilder(plan)
        for row in rows:
            builder.add(row)
        found[plan.id] = builder.build()
    return found


def outcomes(trial: Trial, records: Iterator[PastRecord]) -> list[Outcome]:
    chains = Chains()
    found = [trial.rate(chain) for record in records for chain in chains.add(record)]
    return found + [trial.rate(chain) for chain in chains.rest()]


@pytest.mark.parametrize(("name", "form"), [("calls.jsonl", JsonLines()), ("calls.csv", Csv())])
async def test_the_same_plans_give_the_same_amounts(
    door: FrontDoor, tmp_path: Path, name: str, form: LineFormat
) -> None:
    await furnish(door)
    await make_calls(door)
    written = write(door, tmp_path / name, form)
    reader = CdrReader()
    trial = Trial(None, Scope(everyone=True), decks().get, directory=door.tariffs.directory)
    found = outcomes(trial, reader.files([tmp_path / name], lambda _: None))
    assert (reader.records, reader.broken, reader.torn) == (written, 0, [])
    sales = [sale for outcome in found for sale in outcome.sales]
    assert {outcome.verdict for outcome in found} == {Verdict.RATED}
    assert [sale.now for sale in sales] == [sale.then for sale in sales]
    assert any(sale.record.unbilled_s for sale in sales), "a prepaid call that outlived its grant"
    assert any(sale.record.surcharge != "0.0000" for sale in sales)
    assert any(sale.record.besides_cost for sale in sales), "a part that is bought, too"
    assert any(sale.record.exempt and sale.then.revenue == 0 for sale in sales)
    assert {len(outcome.sales) for outcome in found} >= {0, 1, 2, 3}


async def test_a_day_of_a_pricing_manager(daemon: Daemon, tmp_path: Path) -> None:
    """Real calls over HTTP, their file, the feed, a dearer plan, the margin rule, and the same without a daemon."""
    await daemon.start()

    async def run(*arguments: str, stdin: str = "", status: int = 0) -> Ended:
        done = await callctl(*arguments, cwd=tmp_path, stdin=stdin)
        assert done.status == status, done
        return done

    (tmp_path / "carrier.csv").write_text("prefix,destination,per_minute\n31,Netherlands,0.05\n49,Germany,0.06\n")
    (tmp_path / "old.csv").write_text("prefix,destination,percent\n31,Netherlands,160\n49,Germany,150\n")
    (tmp_path / "new.csv").write_text("prefix,destination,per_minute\n31,Netherlands,0.10\n49,Germany,0.05\n")
    plans = [{"id": "carrier"}, {"id": "old", "buy_plan": "carrier"}, {"id": "new", "buy_plan": "carrier"}]
    await run("tariff", "put", "-", stdin=json.dumps(plans))
    for plan in ("carrier", "old", "new"):
        await run("tariff", "import", plan, f"{plan}.csv")
    account = {"id": "acme", "kind": "postpaid", "plan": "old", "margin": {"min_per_minute": "0.0000"}}
    (tmp_path / "accounts.json").write_text(json.dumps([account]))
    await run("account", "put", "accounts.json")
    async with ClientSession(f"http://127.0.0.1:{daemon.port}", headers={"Authorization": f"Bearer {TOKEN}"}) as sbc:
        for number, to in enumerate(("+31612345678", "+31201234567", "+4915112345678")):
            at = format_time(SystemClock().now().wall_ms - 600_000)
            body = {"call_id": f"c{number}", "from": "+31201230000", "to": to, "account": "acme", "at": at}
            decision = await (await sbc.post("/v1/calls", json=body)).json()
            assert decision["verdict"] == "allowed", decision
            await sbc.post(f"/v1/calls/c{number}/answer", json={"at": at})
            await sbc.post(f"/v1/calls/c{number}/end", json={"q850": 16})
    cdrs = tmp_path / "cdr"
    await until(lambda: cdrs.is_dir() and b"".join(each.read_bytes() for each in cdrs.iterdir()).count(b"\n") == 3)

    for source in ("cdr/*", "feed"):
        for plan in ("old", "same"):
            same = (await run("whatif", "--plan", plan, "--cdrs", source, "--json")).json
            assert same["calls"]["rated"] == 3
            assert all(line["revenue_change"] == line["cost_change"] == "0.0000" for line in same["totals"])
            assert same["largest_changes"] == {"customers": [], "destinations": []}
            assert Decimal(same["totals"][0]["revenue_then"]) > 2

    tried = (await run("whatif", "--plan", "new", "--cdrs", "cdr/*", "--json")).json
    [refused] = tried["refused"]
    assert (refused["reason"], refused["calls"], refused["revenue_now"]) == ("margin_too_low", 1, "0.0000")
    moved = {(line["destination"], line["type"]) for line in tried["largest_changes"]["destinations"]}
    assert moved == {("Germany", "MOB"), ("Netherlands", "FIX"), ("Netherlands", "MOB")}
    [total] = tried["totals"]
    assert Decimal(total["margin_now"]) > 0

    offline = ("--rows", "new.csv", "--buy", "carrier.csv", "--accounts-file", "accounts.json", "--deck", "old=old.csv")
    assert (await run("whatif", "--plan", "new", "--cdrs", "cdr/*", *offline, "--json")).json == tried
    lines = list(csv.DictReader((await run("whatif", "--plan", "new", "--cdrs", "cdr/*", "--csv")).out.splitlines()))
    assert {line["section"] for line in lines} == {"total", "customer", "destination", "refused"}
    people = await run("whatif", "--plan", "new", "--cdrs", "cdr/*")
    assert "would be refused" in people.out
    assert max(map(len, people.out.splitlines())) <= 80
    assert "1 calls would be refused" in people.err
    nothing = await run("whatif", "--plan", "new", "--cdrs", "cdr/*", "--for", "nobody", status=2)
    assert "--for nobody: there is no such account" in nothing.err
    assert "no such plan" in (await run("whatif", "--plan", "newer", "--cdrs", "cdr/*", status=2)).err


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A directory with rows, and a file of three lines of which the second is broken."""
    (tmp_path / "new.csv").write_text("prefix,per_minute\n31,0.12\n")
    call = dict.fromkeys(COLUMNS) | {
        "id": "a", "call_id": "c1", "switch": "http", "account": "acme", "role": "customer", "direction": "outbound",
        "to": "+31612345678", "setup_time": "2026-11-01T10:00:00.000Z", "answer_time": "2026-11-01T10:00:05.250Z",
        "duration_ms": 60_000, "duration_s": 60, "billed_s": 60, "unbilled_s": 0, "plan": "old", "charge": "0.1000",
        "surcharge": "0.0000", "parts": [], "bundle_s": 0, "cost": "0.0500", "exempt": False, "currency": "EUR",
        "verdict": "allowed", "estimated": False,
    }  # fmt: skip
    later = call | {"id": "b", "call_id": "c2", "setup_time": "2026-11-02T10:00:00.000Z"}
    (tmp_path / "a.jsonl").write_bytes(JsonLines().line(call) + b"{}\n" + JsonLines().line(later))
    return tmp_path


TRIED = ("whatif", "--plan", "new", "--rows", "new.csv", "--cdrs", "a.jsonl")


async def test_a_broken_line_is_told_and_the_rest_is_rated(files: Path) -> None:
    done = await callctl(*TRIED, "--json", cwd=files)
    assert done.status == 1
    assert done.json["broken_lines"] == 1
    assert done.json["first_broken"] == ["a.jsonl: line 2: Object missing required field `id`"]
    assert "1 lines could not be read" in done.err
    [total] = done.json["totals"]
    assert (total["calls"], total["revenue_now"], total["cost_now"]) == (2, "0.2400", "0.1000")


@pytest.mark.parametrize(
    ("since", "until", "calls"),
    [
        ("2026-11-01T10:00:00Z", "2026-11-02T10:00:00Z", 1),
        ("2026-11-01T10:00:00.001Z", "2026-11-02T10:00:00.001Z", 1),
        ("2026-11-01T11:00:00+01:00", "2026-11-03T00:00:00Z", 2),
    ],
)
async def test_since_is_in_and_until_is_out(files: Path, since: str, until: str, calls: int) -> None:
    done = await callctl(*TRIED, "--json", "--since", since, "--until", until, cwd=files)
    assert done.json["calls"]["rated"] == calls


@pytest.mark.parametrize(
    ("more", "why"),
    [
        (("--json", "--csv"), "--json or --csv"),
        (("--since", "yesterday"), "--since yesterday: RFC 3339 with a zone is expected"),
        (("--deck", "old"), "--deck old: PLAN=FILE.csv is expected"),
        (("--buy", "none.csv"), "none.csv: No such file"),
        (("--plan-file", "new.csv"), "not JSON"),
    ],
)
async def test_wrong_use_is_told(files: Path, more: tuple[str, ...], why: str) -> None:
    done = await callctl(*TRIED, *more, cwd=files)
    assert done.status == 2
    assert why in done.err
    assert "Traceback" not in done.err


async def test_rows_with_mistakes_are_refused(files: Path) -> None:
    (files / "new.csv").write_text("prefix,per_minute\n31,much\n")
    done = await callctl(*TRIED, cwd=files)
    assert done.status == 1
    assert "the rows of plan new have mistakes" in done.err
    (files / "new.csv").write_text("prefix,per_minute\n31,0.12\n")
    (files / "plan.json").write_text('{"id": "new", "colour": "red"}')
    done = await callctl(*TRIED, "--plan-file", "plan.json", cwd=files)
    assert (done.status, "unknown key colour" in done.err) == (2, True)


async def test_plans_out_of_files_extend_each_other(files: Path) -> None:
    (files / "plan.json").write_text('[{"id": "new", "extends": "base"}, {"id": "base", "extends": "new"}]')
    (files / "base.csv").write_text("prefix,per_minute\n316,0.06\n")
    options = ("--plan-file", "plan.json", "--deck", "base=base.csv", "--json")
    done = await callctl(*TRIED, *options, cwd=files)
    assert (done.status, "in a loop" in done.err) == (1, True)
    (files / "plan.json").write_text('[{"id": "new", "extends": "base"}, {"id": "base"}]')
    assert (await callctl(*TRIED, *options, cwd=files)).json["totals"][0]["revenue_now"] == "0.1200"
    done = await callctl(*TRIED, "--plan-file", "plan.json", cwd=files)
    assert "plan new extends base, whose rows are not given" in done.err
