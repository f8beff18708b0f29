"""`callctl tariff`: plans and their decks, in and out of the daemon, and what a new deck would change."""

import argparse
import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from callctl.cli.account import definitions
from callctl.cli.client import Client, Json, client_options, segment
from callctl.cli.exits import Exit, SaidNoError, WrongUseError
from callctl.cli.rate import plan_of
from callctl.cli.terminal import cell_text, console, print_json, print_table, say

_CHUNK = 65_536
_TERMS = ("connection_fee", "per_minute", "percent")


class Advance(Protocol):
    """Tells how far a step has come."""

    def __call__(self, done: int) -> None: ...


def add(commands: Any) -> None:
    tariff = commands.add_parser("tariff", help="tariff plans and their rows")
    actions = tariff.add_subparsers(metavar="ACTION", required=True)
    common = [client_options()]

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
        parser.add_argument("file", type=Path, help="CSV with a header; delimiter , ; or tab")
        parser.add_argument("--encoding", default="utf-8-sig", help="of the file; default: UTF-8")
    export = actions.add_parser("export", parents=common, help="all rows of a plan as CSV")
    export.add_argument("plan")
    export.add_argument("file", type=Path, nargs="?", help="default: standard output")
    export.set_defaults(run=_export)


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
    client = Client.of(arguments)
    text = _read(arguments.file, arguments.encoding)
    with _progress(shown=not arguments.json) as step:
        _check(client, arguments.plan, text, step("reading", text.count("\n")))
        raw = text.encode()
        chunks = _chunks(raw, step("sending", len(raw)))
        dry_run = "true" if arguments.dry_run else None
        path = f"/v1/plans/{segment(arguments.plan)}/rows"
        answer = client.upload(path, chunks, len(raw), dry_run=dry_run)
    if arguments.json:
        print_json(answer)
    else:
        _show(answer)
    differs = answer["added"] or answer["removed"] or answer["changed"]
    return Exit.NO if differs and getattr(arguments, "compare", False) else Exit.OK


def _read(file: Path, encoding: str) -> str:
    try:
        return file.read_bytes().decode(encoding)
    except OSError as failed:
        raise WrongUseError(f"{file}: {failed.strerror}") from failed
    except UnicodeDecodeError as wrong:
        line = wrong.object.count(b"\n", 0, wrong.start) + 1
        raise WrongUseError(f"{file}: line {line} is not {encoding}; try --encoding latin-1") from wrong
    except LookupError as wrong:
        raise WrongUseError(f"--encoding {encoding}: there is no such encoding") from wrong


def _check(client: Client, plan_id: str, text: str, advance: Advance) -> None:
    """Every mistake by its line, before anything is sent. SaidNoError names them."""
    from callctl.rating.deck import import_deck

    deck = import_deck(io.StringIO(text, newline=""), plan_of(client, plan_id), advance)
    if deck.errors:
        mistakes = tuple(map(str, deck.errors))
        raise SaidNoError(f"{len(mistakes)} mistakes, nothing was imported:", mistakes)


def _chunks(raw: bytes, advance: Advance) -> Iterator[bytes]:
    for start in range(0, len(raw), _CHUNK):
        yield raw[start : start + _CHUNK]
        advance(start + _CHUNK)


@contextmanager
def _progress(*, shown: bool) -> Iterator[Any]:
    """A function that begins a step with a total, and answers how to advance it."""
    from rich.progress import Progress

    with Progress(console=console(stderr=True), transient=True, disable=not (shown and sys.stderr.isatty())) as bars:

        def step(name: str, total: int) -> Advance:
            task = bars.add_task(name, total=total)

            def advance(done: int) -> None:
                bars.update(task, completed=done)

            return advance

        yield step


def _show(answer: Json) -> None:
    done = "would be" if answer["dry_run"] else "are"
    counts = f"{answer['added']} added, {answer['removed']} removed, {answer['changed']} changed"
    say(f"{answer['plan']}: {answer['rows']} rows {done} in the deck; {counts}")
    rows = [("+", row, None, "") for row in answer["first_added"]]
    rows += [("-", row, None, "") for row in answer["first_removed"]]
    rows += [("~", change["new"], change["old"], change["movement"]) for change in answer["first_changed"]]
    if not rows:
        return
    shown = ((mark, new["prefix"], new.get("destination"), *_terms(new, old), way) for mark, new, old, way in rows)
    print_table(("", "prefix", "destination", *_TERMS, ""), shown, right=_TERMS)
    more = answer["added"] + answer["removed"] + answer["changed"] - len(rows)
    if more:
        say(f"and {more} more")


def _terms(new: Json, old: Json | None) -> list[str]:
    """What a row costs; where that has changed, from what to what."""
    cells = []
    for term in _TERMS:
        now, was = new.get(term), (old or new).get(term)
        cells.append(cell_text(now) if now == was else f"{cell_text(was)} → {cell_text(now)}")
    return cells


def _export(arguments: argparse.Namespace) -> int:
    chunks = Client.of(arguments).download(f"/v1/plans/{segment(arguments.plan)}/rows")
    if arguments.file is None:
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
        part.unlink(missing_ok=True)
    return Exit.OK
