"""`callctl tariff`: plans and their decks, in and out of the daemon, and what a new deck would change."""

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from callctl.cli.account import definitions
from callctl.cli.client import Client, Json, client_options, segment
from callctl.cli.exits import Exit, SaidNoError, WrongUseError
from callctl.cli.rate import plan_of
from callctl.cli.terminal import cell_text, console, print_json, print_table, say
from callctl.errors import DeckError

if TYPE_CHECKING:
    from callctl.rating.decks.sheet import Layout

_CHUNK = 65_536
_STDOUT = Path("-")
_TERMS = ("connection_fee", "per_minute", "percent")
_NO_CHANGE = (b"below_margin,", b"without_purchase,")  # lines of a difference that say what is earned


class Advance(Protocol):
    """Tells how far a step has come."""

    def __call__(self, done: int) -> None: ...


class Step(Protocol):
    """Begins a step of so much; None where nobody knows how much it is."""

    def __call__(self, name: str, total: int | None) -> Advance: ...


def add(commands: Any) -> None:
    tariff = commands.add_parser("tariff", help="tariff plans and their rows")
    actions = tariff.add_subparsers(metavar="ACTION", required=True)
    common = [client_options()]

    actions.add_parser("list", parents=common, help="all plans").set_defaults(run=_list)
    put = actions.add_parser("put", parents=common, help="create or replace plans, without their rows")
    put.add_argument("file", help='JSON: one plan with its "id", or a list of them; - for standard input')
    put.set_defaults(run=_put)
    importing = actions.add_parser("import", parents=common, help="replace all rows of a plan by those of a CSV")
    importing.add_argument("--dry-run", action="store_true", help="only say what would change")
    importing.set_defaults(run=_import)
    diff = actions.add_parser("diff", parents=common, help="what an import would change; exit 1 if anything")
    diff.set_defaults(run=_import, dry_run=True, compare=True)
    for parser in (importing, diff):
        parser.add_argument("plan")
        parser.add_argument("file", type=Path, help="CSV")
        _add_sheet_options(parser)
    export = actions.add_parser("export", parents=common, help="all rows of a plan as CSV")
    export.add_argument("plan")
    export.add_argument("file", type=Path, nargs="?", default=_STDOUT, help="default: standard output")
    export.set_defaults(run=_export)


def _add_sheet_options(parser: argparse.ArgumentParser) -> None:
    """What is said of a sheet; by default it is found out."""
    sheet = parser.add_argument_group("the sheet, where it does not show it by itself")
    sheet.add_argument("--map", metavar='prefix=Code,per_minute="Rate (EUR)"', help="our columns by its headings")
    sheet.add_argument("--columns", metavar="prefix,,per_minute", help="our columns in its order: it has no headings")
    sheet.add_argument("--delimiter", choices=(";", ",", "|", "tab"))
    sheet.add_argument("--decimal", choices=("point", "comma"))
    sheet.add_argument("--dates", choices=("dmy", "mdy"))
    sheet.add_argument("--encoding", help="default: UTF-8, UTF-16 or Windows-1252")
    shown = parser.add_argument_group("what is shown before it is taken")
    shown.add_argument("--min-per-minute", metavar="0.0050", help="rows that earn less over the purchase; default 0")
    shown.add_argument("--min-percent", metavar="10", help="the same, in percent of the purchase")
    shown.add_argument("--csv", action="store_true", help="every change, as CSV")


def _list(arguments: argparse.Namespace) -> int:
    plans = Client.of(arguments).get("/v1/plans")["plans"]
    if arguments.json:
        for plan in plans:
            print_json(plan)
        return Exit.OK
    keys = ("id", "currency", "timezone", "buy_plan", "extends", "effective", "owner")
    print_table(("plan", *keys[1:]), ([plan[key] for key in keys] for plan in plans))
    return Exit.OK


def _put(arguments: argparse.Namespace) -> int:
    client = Client.of(arguments)
    for definition in definitions(arguments.file):
        body = {key: value for key, value in definition.items() if key != "id"}
        plan = client.put(f"/v1/plans/{segment(definition['id'])}", body)
        if arguments.json:
            print_json(plan)
        else:
            say(f"put {plan['id']}")
    return Exit.OK


def _import(arguments: argparse.Namespace) -> int:
    if arguments.csv and not arguments.dry_run:
        raise WrongUseError("--csv: with --dry-run alone; an import is not undone by a look at it")
    client = Client.of(arguments)
    text = _read(arguments.file, arguments.encoding)
    path = f"/v1/plans/{segment(arguments.plan)}/rows"
    with _progress(shown=not arguments.json) as step:
        _check(client, arguments, text, step("reading", text.count("\n")))
        raw = text.encode()
        chunks = _chunks(raw, step)
        if arguments.csv:
            table = b"".join(client.upload_for_csv(path, chunks, len(raw), **_query(arguments)))
        else:
            answer = client.upload(path, chunks, len(raw), **_query(arguments))
    if arguments.csv:
        sys.stdout.buffer.write(table)
        sys.stdout.buffer.flush()
        differs = not all(line.startswith(_NO_CHANGE) for line in table.splitlines()[1:])
    else:
        (print_json if arguments.json else _show)(answer)
        differs = any(answer[change] for change in ("added", "removed", "changed"))
    return Exit.NO if differs and getattr(arguments, "compare", False) else Exit.OK


def _query(arguments: argparse.Namespace) -> dict[str, object]:
    return {
        "dry_run": "true" if arguments.dry_run else None,
        **{name: getattr(arguments, name) for name in ("map", "columns", "delimiter", "decimal", "dates")},
        **{name: getattr(arguments, name) for name in ("min_per_minute", "min_percent")},
    }


def _read(file: Path, encoding: str | None) -> str:
    from callctl.rating.decks.sheet import decode

    try:
        return decode(file.read_bytes(), encoding)
    except OSError as failed:
        raise WrongUseError(f"{file}: {failed.strerror}") from failed
    except DeckError as wrong:
        raise WrongUseError(f"{file}: {wrong}; try --encoding") from wrong
    except LookupError as wrong:
        raise WrongUseError(f"--encoding {encoding}: there is no such encoding") from wrong


def _check(client: Client, arguments: argparse.Namespace, text: str, advance: Advance) -> None:
    """Every mistake by its line, before anything is sent. SaidNoError names them."""
    from callctl.rating.decks.deck import import_deck

    deck = import_deck(text, plan_of(client, arguments.plan), _layout(arguments), advance)
    if deck.errors:
        mistakes = tuple(map(str, deck.errors))
        count = "1 mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
        raise SaidNoError(f"{count}, nothing was imported:", mistakes)


def _layout(arguments: argparse.Namespace) -> "Layout":
    from callctl.rating.decks.notation import DateOrder, DecimalSign
    from callctl.rating.decks.sheet import Layout, parse_headings

    try:
        headings = parse_headings(arguments.map or "")
    except ValueError as wrong:
        raise WrongUseError(f"--map: {wrong}") from wrong
    return Layout(
        headings=headings,
        columns=tuple(map(str.strip, arguments.columns.split(","))) if arguments.columns else (),
        delimiter="\t" if arguments.delimiter == "tab" else arguments.delimiter,
        decimal=DecimalSign(arguments.decimal) if arguments.decimal else None,
        dates=DateOrder(arguments.dates) if arguments.dates else None,
    )


def _chunks(raw: bytes, step: Step) -> Iterator[bytes]:
    advance = step("sending", len(raw))
    for start in range(0, len(raw), _CHUNK):
        yield raw[start : start + _CHUNK]
        advance(start + _CHUNK)
    step("the daemon reads it", None)


@contextmanager
def _progress(*, shown: bool) -> Iterator[Step]:
    """Bars for people to see."""
    from rich.progress import Progress

    with Progress(console=console(stderr=True), transient=True, disable=not (shown and sys.stderr.isatty())) as bars:

        def step(name: str, total: int | None) -> Advance:
            task = bars.add_task(name, total=total)

            def advance(done: int) -> None:
                bars.update(task, completed=done)

            return advance

        yield step


def _show(answer: Json) -> None:
    done = "would be" if answer["dry_run"] else "are"
    ways = f"{answer['dearer']} dearer, {answer['cheaper']} cheaper"
    counts = f"{answer['added']} added, {answer['removed']} removed, {answer['changed']} changed ({ways})"
    say(f"{answer['plan']}: {answer['rows']} rows {done} in the deck; {counts}, {answer['unchanged']} as before")
    if answer["passed_over_lines"]:
        say(f"passed over: line {', '.join(map(str, answer['passed_over_lines']))} (comments and totals)")
    if answer["passed_over_headings"]:
        say(f"passed over: columns {', '.join(answer['passed_over_headings'])}")
    for warning in answer["warnings"]:
        say(f"note: {warning}")
    _show_changes(answer)
    if answer["margin"] is not None:
        _show_margin(answer["margin"])


def _show_changes(answer: Json) -> None:
    rows: list[tuple[str, Json, Json, Json]] = [("+", row, row, {}) for row in answer["first_added"]]
    rows += [("-", row, row, {}) for row in answer["first_removed"]]
    rows += [("~", change["new"], change["old"], change) for change in answer["first_changed"]]
    if not rows:
        return
    columns = ("", "prefix", "destination", "type", *_TERMS, "by", "%", "")
    shown = (
        (mark, new["prefix"], new.get("destination"), new.get("type"), *_terms(new, old), *_movement(change))
        for mark, new, old, change in rows
    )
    print_table(columns, shown, right=(*_TERMS, "by", "%"))
    more = answer["added"] + answer["removed"] + answer["changed"] - len(rows)
    if more:
        say(f"and {more} more")


def _movement(change: Json) -> tuple[Any, ...]:
    return tuple(change.get(key, "") for key in ("difference", "difference_percent", "movement"))


def _terms(new: Json, old: Json) -> list[str]:
    """What a row costs; where that has changed, from what to what."""
    cells = []
    for term in _TERMS:
        now, was = new.get(term), old.get(term)
        cells.append(cell_text(now) if now == was else f"{cell_text(was)} → {cell_text(now)}")
    return cells


def _show_margin(margin: Json) -> None:
    counts = f"{margin['short']} earning too little, {margin['without_purchase']} without a purchase price"
    at = f" at {margin['exchange']}" if margin["exchange"] is not None else ""
    say(f"rows over {margin['buy_plan']}{at}: {counts}")
    if not margin["short"]:
        return
    prices = ("sell_per_minute", "buy_per_minute", "short")
    rows = (
        (
            *(row["row"].get(key) for key in ("prefix", "destination", "type")),
            *(row[key] for key in ("at_prefix", *prices)),
        )
        for row in margin["first_short"]
    )
    print_table(("prefix", "destination", "type", "worst at", *prices), rows, right=prices)
    if margin["short"] > len(margin["first_short"]):
        say(f"and {margin['short'] - len(margin['first_short'])} more")


def _export(arguments: argparse.Namespace) -> int:
    chunks = Client.of(arguments).download(f"/v1/plans/{segment(arguments.plan)}/rows")
    if arguments.file == _STDOUT:
        for chunk in chunks:
            sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()
        return Exit.OK
    part = arguments.file.with_name(f"{arguments.file.name}.part")
    try:
        with part.open("wb") as out:
            out.writelines(chunks)
        part.replace(arguments.file)
    except OSError as failed:
        raise WrongUseError(f"{arguments.file}: {failed.strerror}") from failed
    finally:
        with suppress(OSError):  # it is in its place, or never was
            part.unlink()
    return Exit.OK
