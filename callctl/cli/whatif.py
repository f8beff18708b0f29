"""`callctl whatif`: what a plan would have earned on past calls, before it is activated."""

import argparse
import csv
import gc
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from callctl.cli.account import accounts, definitions
from callctl.cli.client import Client, client_options
from callctl.cli.exits import Exit, WrongUseError
from callctl.cli.terminal import cell_text, console, print_json, print_table, say

if TYPE_CHECKING:
    from callctl.cli.cdrfiles import Advance, CdrReader
    from callctl.rating.whatif.calls import PastRecord
    from callctl.rating.whatif.rerating import Trial
    from callctl.rating.whatif.totals import Group, Sums, WhatIf

FEED = "feed"
SAME = "same"
_SPOKEN = {
    "untouched": "not touched by it",
    "rated": "rated",
    "refused": "would be refused",
    "restored": "were refused and would be allowed",
    "still_refused": "were refused, and would be",
    "unknown": "could not be rated",
}


def add(commands: Any) -> None:
    whatif = commands.add_parser(
        "whatif",
        parents=[client_options()],
        help="what a plan would have earned on past calls",
        description="Rates past calls by another plan: revenue, cost and margin then and now, by customer and by "
        "destination, and which calls would be refused. Nothing is changed. Plans, rows and accounts are the "
        "daemon's; with --rows or --deck and no --url everything is out of files. Exit 1 if a line could not be read.",
    )
    whatif.add_argument("--plan", required=True, metavar="NEW", help=f'its id; "{SAME}": every call by its own plan')
    whose = whatif.add_mutually_exclusive_group()
    whose.add_argument(
        "--for",
        dest="accounts",
        action="append",
        metavar="ACCOUNT",
        help="who gets it; default: all below the provider",
    )
    whose.add_argument("--instead-of", action="append", metavar="PLAN", help="whoever had this plan gets it")
    whatif.add_argument(
        "--cdrs", nargs="+", required=True, metavar="FILE", help=f'files, patterns, directories (.gz too), or "{FEED}"'
    )
    whatif.add_argument("--since", metavar="TIME", help="RFC 3339: calls that were set up at or after it")
    whatif.add_argument("--until", metavar="TIME", help="RFC 3339: calls that were set up before it")
    files = whatif.add_argument_group("plans out of files")
    files.add_argument("--rows", type=Path, metavar="FILE.csv", help="the rows of NEW")
    files.add_argument("--plan-file", metavar="FILE.json", help="plans, as `tariff put` takes them; else defaults")
    files.add_argument("--buy", type=Path, metavar="FILE.csv", help="the carrier's rows, whatever the plan buys by")
    files.add_argument("--deck", action="append", default=[], metavar="PLAN=FILE.csv", help="the rows of another plan")
    files.add_argument("--accounts-file", metavar="FILE.json", help="accounts, as `account put` takes them")
    whatif.add_argument("--csv", action="store_true", help="print every line as CSV")
    whatif.set_defaults(run=_whatif)


def _whatif(arguments: argparse.Namespace) -> int:
    from callctl.cli.cdrfiles import CdrReader
    from callctl.rating.whatif.totals import WhatIf

    if arguments.json and arguments.csv:
        raise WrongUseError("whatif: --json or --csv")
    since_ms, until_ms = _moment("since", arguments.since), _moment("until", arguments.until)
    feed = arguments.cdrs == [FEED]
    from_files = arguments.rows is not None or arguments.deck
    client = None if from_files and not (feed or arguments.url) else Client.of(arguments)
    reader, found = CdrReader(), WhatIf()
    with _progress(shown=sys.stderr.isatty()) as step:
        trial = _trial(arguments, client, step)
        gc.freeze()  # plans stay: looking through 200,000 rows again and again takes longer than rating
        records = _records(reader, arguments, client if feed else None, since_ms, step)
        _rate(trial, found, records, since_ms, until_ms)
    if arguments.json:
        print_json({"plan": arguments.plan, **found.as_dict(), **_reading(reader)})
    elif arguments.csv:
        _write_csv(found)
    else:
        _show(found)
    _tell(reader, found)
    return Exit.NO if reader.broken else Exit.OK


def _moment(option: str, text: str | None) -> int | None:
    from callctl.clock import parse_time

    try:
        return None if text is None else parse_time(text)
    except ValueError as wrong:
        raise WrongUseError(f"--{option} {text}: RFC 3339 with a zone is expected") from wrong


# ---- what is tried, and on what


def _trial(arguments: argparse.Namespace, client: Client | None, step: Any) -> "Trial":
    from callctl.cli.planbook import PlanBook, directory_from, exchanges_of
    from callctl.rating.whatif.lineup import Scope
    from callctl.rating.whatif.rerating import Trial

    stated = definitions(arguments.plan_file) if arguments.plan_file else []
    rows = dict(map(_deck_option, arguments.deck))
    if arguments.rows is not None:
        rows[arguments.plan] = arguments.rows
    advance = step("plans and accounts", None)
    book = PlanBook(client, stated, rows)
    deck = None
    if arguments.plan != SAME:
        deck = book.deck(arguments.plan)
        if deck is None:
            raise WrongUseError(f"--plan {arguments.plan}: there is no such plan, or it has no rows")
    carrier = None
    if arguments.buy is not None:
        currency = deck.plan.currency if deck is not None else "EUR"
        carrier_id = (deck.plan.buy_plan if deck is not None else None) or "--buy"
        terms = [each for each in stated if each["id"] == carrier_id] or [{"id": carrier_id, "currency": currency}]
        carrier = PlanBook(client, terms, {carrier_id: arguments.buy}).deck(carrier_id)
    directory = None
    if arguments.accounts_file or client is not None:
        shown = definitions(arguments.accounts_file) if arguments.accounts_file else _counted(client, advance)
        directory = directory_from(shown)
    for account in arguments.accounts or ():
        if directory is not None and account not in directory.accounts:
            raise WrongUseError(f"--for {account}: there is no such account")
    named = arguments.accounts or arguments.instead_of
    scope = Scope(
        frozenset(arguments.accounts or ()), frozenset(arguments.instead_of or ()), everyone=deck is None and not named
    )
    partial, exchanges = client is None, exchanges_of(client)
    return Trial(deck, scope, book.deck, directory=directory, carrier=carrier, partial=partial, exchanges=exchanges)


def _deck_option(text: str) -> tuple[str, Path]:
    plan, equals, file = text.partition("=")
    if not (plan and equals and file):
        raise WrongUseError(f"--deck {text}: PLAN=FILE.csv is expected")
    return plan, Path(file)


def _counted(client: Client | None, advance: "Advance") -> Iterator[dict[str, Any]]:
    if client is not None:
        for number, account in enumerate(accounts(client), 1):
            advance(number)
            yield account


def _records(
    reader: "CdrReader", arguments: argparse.Namespace, feed: Client | None, since_ms: int | None, step: Any
) -> "Iterator[PastRecord]":
    from callctl.cli.cdrfiles import expand

    if feed is not None:
        return reader.feed(feed, since_ms, step("records", None))
    paths = expand(arguments.cdrs)
    return reader.files(paths, step("records", sum(path.stat().st_size for path in paths)))


def _rate(
    trial: "Trial", found: "WhatIf", records: "Iterable[PastRecord]", since_ms: int | None, until_ms: int | None
) -> None:
    from callctl.rating.whatif.calls import Chains

    chains = Chains()
    bounded = since_ms is not None or until_ms is not None
    for record in records:
        if bounded:
            setup_ms = record.setup_ms
            if (since_ms is not None and setup_ms < since_ms) or (until_ms is not None and setup_ms >= until_ms):
                continue
        for chain in chains.add(record):
            found.add(trial.rate(chain))
    for chain in chains.rest():
        found.add(trial.rate(chain))


@contextmanager
def _progress(*, shown: bool) -> Iterator[Any]:
    """A function that begins a step with a total (None: nobody knows), and answers how to advance it."""
    from rich.progress import Progress

    with Progress(console=console(stderr=True), transient=True, disable=not shown) as bars:

        def step(name: str, total: int | None) -> "Advance":
            task = bars.add_task(name, total=total)
            return lambda done: bars.update(task, completed=done)

        yield step


# ---- what came out


def _reading(reader: "CdrReader") -> dict[str, Any]:
    return {
        "records": reader.records,
        "broken_lines": reader.broken,
        "first_broken": reader.named,
        "half_lines": reader.torn,
        "no_calls": reader.besides,
        "repeated": reader.repeated,
    }


def _write_csv(found: "WhatIf") -> None:
    from callctl.rating.whatif.totals import CSV_COLUMNS, lines

    writer = csv.DictWriter(sys.stdout, CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    for line in lines(found):
        writer.writerow({key: _cell(value) for key, value in line.items()})


def _cell(value: Any) -> str:
    """As a spreadsheet shows it: a name that it would calculate gets a quote in front; amounts are numbers."""
    text = cell_text(value) if value is not None else ""
    is_name = isinstance(value, str) and not text.lstrip("-").replace(".", "").isdigit()
    return f"'{text}" if is_name and text.startswith(("=", "+", "-", "@")) else text


def _show(found: "WhatIf") -> None:
    from callctl.rating.whatif.totals import AMOUNTS, by_size, flat, largest

    totals = []
    for group, sums in by_size(found.totals):
        line = flat(group, sums)
        for amount in AMOUNTS:
            head = (group.seller or "the provider", group.currency) if amount == AMOUNTS[0] else ("", "")
            totals.append((*head, amount, *(line[f"{amount}_{which}"] for which in ("then", "now", "change"))))
    print_table(("", "", "in total", "then", "now", "change"), totals, right=("then", "now", "change"))
    for title, table in (("customer", found.customers), ("destination", found.destinations)):
        shown = largest(table)
        if shown:
            _show_changes(title, shown, several_sellers=len(found.totals) > 1)
            more = sum(bool(sums.change) for sums in table.values()) - len(shown)
            if more:
                say(f"and {more} more: --csv and --json have every one")
    if found.refused:
        _show_refused(by_size(found.refused), several_sellers=len(found.totals) > 1)


def _show_refused(refused: "Iterable[tuple[Group, Sums]]", *, several_sellers: bool) -> None:
    from callctl.money import format_amount

    columns = ("would be refused", "", "calls", "unanswered", "revenue", "margin")
    rows = []
    for group, sums in refused:
        label = _named(group, group.reason, several_sellers=several_sellers)
        lost = format_amount(sums.revenue_then), format_amount(sums.margin_then)
        rows.append((label, group.currency, sums.calls, sums.attempts, *lost))
    say("")
    print_table(columns, rows, right=columns[2:])


def _show_changes(title: str, shown: "Iterable[tuple[Group, Sums]]", *, several_sellers: bool) -> None:
    from callctl.money import format_amount

    columns = (title, "", "calls", "revenue", "now", "margin", "now ", "change")
    rows = []
    for group, sums in shown:
        name = group.account if title == "customer" else f"{group.destination} {group.type}".strip()
        amounts = (sums.revenue_then, sums.revenue_now, sums.margin_then, sums.margin_now)
        change = sums.margin_now - sums.margin_then
        label = _named(group, name, several_sellers=several_sellers)
        rows.append((label, group.currency, sums.calls, *map(format_amount, (*amounts, change))))
    say("")
    print_table(columns, rows, right=columns[2:])


def _named(group: "Group", name: str | None, *, several_sellers: bool) -> str:
    return f"{name or '-'}, of {group.seller or 'the provider'}" if several_sellers else name or "-"


def _tell(reader: "CdrReader", found: "WhatIf") -> None:
    """What a reader of the figures must know, beside them."""
    from callctl.printable import printable

    notices = [f"{count} calls {_SPOKEN[verdict]}" for verdict, count in sorted(found.verdicts.items()) if count]
    notices += [
        f"  {count} were refused with {why}, and would be allowed" for why, count in sorted(found.restored.items())
    ]
    notices += [f"  {count} left out: {why}" for why, count in sorted(found.unknown.items())]
    uncosted = sum(sums.uncosted for sums in found.totals.values())
    if uncosted:
        notices.append(f"{uncosted} sales without a known cost are in the revenue, not in cost and margin")
    if found.estimated:
        notices.append(f"{found.estimated} sales are of calls whose end nobody saw; a correction may follow")
    if reader.besides:
        notices.append(f"{reader.besides} records are of no call: charges of subscriptions, shares of affiliates")
    if reader.repeated:
        notices.append(f"{reader.repeated} records were there before, and count once")
    notices += reader.torn
    if reader.broken:
        notices.append(f"{reader.broken} lines could not be read, and are in no figure:")
        notices += [f"  {line}" for line in reader.named]
        if reader.broken > len(reader.named):
            notices.append(f"  and {reader.broken - len(reader.named)} more")
    for notice in notices:
        print(printable(notice), file=sys.stderr)
