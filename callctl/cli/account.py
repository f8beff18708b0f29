"""`callctl account`: accounts, their money and its history."""

import argparse
import json
import secrets
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

from callctl.cli.client import Client, Json, client_options, segment
from callctl.cli.exits import Exit, SaidNoError, WrongUseError
from callctl.cli.terminal import clock_time, print_json, print_table, say

_READ_ONLY = ("effective_plan", "balance", "held", "available", "channels")
"""What an answer has beyond a definition, so that `show --json` can be put again."""


def add(commands: Any) -> None:
    account = commands.add_parser("account", help="accounts, top-ups, ledgers")
    actions = account.add_subparsers(metavar="ACTION", required=True)
    common = [client_options()]

    actions.add_parser("list", parents=common, help="all accounts with their balances").set_defaults(run=_list)
    show = actions.add_parser("show", parents=common, help="one account")
    show.add_argument("id")
    show.set_defaults(run=_show)
    put = actions.add_parser("put", parents=common, help="create or replace accounts")
    put.add_argument("file", help='JSON: one account with its "id", or a list of them; - for standard input')
    put.set_defaults(run=_put)
    group = actions.add_parser("group", parents=common, help="the plan of a group of accounts, or a new one for it")
    group.add_argument("id")
    group.add_argument("plan", nargs="?", help="what all of it is charged by from now on")
    group.set_defaults(run=_group)
    topup = actions.add_parser("topup", parents=common, help="money into an account")
    topup.add_argument("id")
    topup.add_argument("amount", help="such as 10.00")
    topup.add_argument("--id", dest="payment", help="of the payment: the same twice moves money once; default: random")
    topup.add_argument("--note", default="")
    topup.set_defaults(run=_topup)
    ledger = actions.add_parser("ledger", parents=common, help="every movement, oldest first")
    ledger.add_argument("id")
    ledger.add_argument("--after", default="", metavar="CURSOR", help="only what follows it")
    ledger.set_defaults(run=_ledger)


def accounts(client: Client) -> Iterator[Json]:
    """All accounts that the token sees, by id."""
    after: str | None = ""
    while after is not None:
        page = client.get("/v1/accounts", after=after or None)
        yield from page["accounts"]
        after = page["next"]


def _list(arguments: argparse.Namespace) -> int:
    found = accounts(Client.of(arguments))
    if arguments.json:
        for account in found:
            print_json(account)
        return Exit.OK
    columns = ("account", "kind", "parent", "plan", "status", "balance", "held", "available", "", "channels")
    rows = (
        (it["id"], it["kind"], it.get("parent"), it["effective_plan"], it["status"], it["balance"], it["held"],
         "no limit" if it["available"] is None else it["available"], it["currency"], it["channels"]["total"])
        for it in found
    )  # fmt: skip
    print_table(columns, rows, right=("balance", "held", "available", "channels"))
    return Exit.OK


def _show(arguments: argparse.Namespace) -> int:
    account = Client.of(arguments).get(_path(arguments.id))
    if arguments.json:
        print_json(account)
    else:
        print_table(("account", account["id"]), ((key, value) for key, value in account.items() if key != "id"))
    return Exit.OK


def _put(arguments: argparse.Namespace) -> int:
    client = Client.of(arguments)
    wanted = _parents_first(arguments.file)
    if mistakes := tuple(_mistakes(client, wanted)):
        count = "1 mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
        raise SaidNoError(f"{count}, nothing was put:", mistakes)
    for done, (account_id, body) in enumerate(wanted.items()):
        try:
            account = client.put(_path(account_id), body)
        except SaidNoError as no:
            raise SaidNoError(f"{account_id}: {no}; of {len(wanted)} accounts {done} were put before it") from no
        if arguments.json:
            print_json(account)
        else:
            say(f"put {account['id']}")
    return Exit.OK


def _group(arguments: argparse.Namespace) -> int:
    client, path = Client.of(arguments), f"/v1/groups/{segment(arguments.id)}"
    group = client.get(path) if arguments.plan is None else client.put(path, {"plan": arguments.plan})
    if arguments.json:
        print_json(group)
    else:
        say(f"{group['id']}: plan {group['plan']}")
    return Exit.OK


def _path(account_id: str) -> str:
    return f"/v1/accounts/{segment(account_id)}"


def _parents_first(file: str) -> dict[str, Json]:
    """The definitions of a file by id, each behind its parent and affiliates that are among them. WrongUseError."""
    bodies: dict[str, Json] = {}
    for definition in definitions(file):
        if definition["id"] in bodies:
            raise WrongUseError(f"{file}: account {definition['id']} is there twice")
        bodies[definition["id"]] = {k: v for k, v in definition.items() if k not in ("id", *_READ_ONLY)}
    order = TopologicalSorter(
        {each: filter(None, [_parent(bodies, each), *_affiliates(bodies, each)]) for each in bodies}
    )
    try:
        return {each: bodies[each] for each in order.static_order()}
    except CycleError as loop:
        names = ", ".join(loop.args[1])
        raise WrongUseError(f"{file}: above themselves: {names}; affiliates count as above their customers") from loop


def _parent(bodies: dict[str, Json], account_id: str) -> str | None:
    """The account above, where it is among them."""
    parent = bodies[account_id].get("parent")
    return parent if isinstance(parent, str) and parent in bodies else None


def _affiliates(bodies: dict[str, Json], account_id: str) -> list[str]:
    """Its affiliates that are among them."""
    stated = bodies[account_id].get("affiliates")
    named = [each.get("account") for each in stated if isinstance(each, dict)] if isinstance(stated, list) else []
    return [account for account in named if isinstance(account, str) and account in bodies]


def _mistakes(client: Client, wanted: dict[str, Json]) -> Iterator[str]:
    """What the daemon would refuse. What is new is tried below the nearest account that is not of the same file."""
    for account_id, body in wanted.items():
        above, trial = account_id, body
        while parent := _parent(wanted, above):
            above = parent
            if not trial.get("plan") and not trial.get("group"):  # it is charged by what its parent is charged by
                trial = {**trial, **{key: wanted[above].get(key) for key in ("plan", "group")}}
        for affiliate in _affiliates(wanted, account_id):
            if wanted[affiliate].get("currency", "EUR") != body.get("currency", "EUR"):
                yield f"{account_id}: currency: its affiliate {affiliate} has another one"
        if coming := _affiliates(wanted, account_id):
            known = [each for each in trial["affiliates"] if each.get("account") not in coming]
            trial = {**trial, "affiliates": known}
        try:
            client.put(_path(account_id), {**trial, "parent": wanted[above].get("parent")}, dry_run="true")
        except SaidNoError as no:
            yield f"{account_id}: {no}"
            continue
        nearest = _parent(wanted, account_id)
        if nearest and wanted[nearest].get("currency", "EUR") != body.get("currency", "EUR"):
            yield f"{account_id}: currency: its parent {nearest} has another one"


def definitions(file: str) -> list[Json]:
    """The objects of a JSON file, each with an id. WrongUseError when it is not that."""
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text("utf-8")
        found = json.loads(text)
    except OSError as failed:
        raise WrongUseError(f"{file}: {failed.strerror}") from failed
    except ValueError as wrong:
        raise WrongUseError(f"{file}: not JSON: {wrong}") from wrong
    listed: list[Json] = found if isinstance(found, list) else [found]
    for number, each in enumerate(listed, 1):
        if not isinstance(each, dict) or not isinstance(each.get("id"), str):
            raise WrongUseError(f'{file}: number {number} is not an object with an "id"')
    return listed


def _topup(arguments: argparse.Namespace) -> int:
    body = {"id": arguments.payment or f"cli-{secrets.token_hex(8)}", "amount": arguments.amount}
    if arguments.note:
        body["note"] = arguments.note
    entry = Client.of(arguments).post(f"{_path(arguments.id)}/topups", body)
    if arguments.json:
        print_json(entry)
    else:
        say(f"{arguments.id}: {entry['amount']} by payment {entry['id']}; the balance is {entry['balance']}")
    return Exit.OK


def _ledger(arguments: argparse.Namespace) -> int:
    entries = _entries(Client.of(arguments), arguments.id, arguments.after)
    if arguments.json:
        for entry in entries:
            print_json(entry)
        return Exit.OK
    columns = ("time", "kind", "amount", "balance", "call", "id", "note")
    rows = (
        (clock_time(it["at"]), it["kind"], it["amount"], it["balance"], it["call"], it["id"], it["note"])
        for it in entries
    )
    print_table(columns, rows, right=("amount", "balance"))
    return Exit.OK


def _entries(client: Client, account: str, after: str) -> Iterator[Json]:
    while True:
        page = client.get(f"{_path(account)}/ledger", after=after or None)
        yield from page["entries"]
        if not page["entries"]:
            return
        after = page["next"]
