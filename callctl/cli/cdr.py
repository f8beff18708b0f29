"""`callctl cdr`: call detail records, listed or followed as they are written."""

import argparse
import asyncio
from collections.abc import Iterator
from typing import Any

from callctl.cli.client import Client, Json, client_options, count
from callctl.cli.exits import Exit
from callctl.cli.terminal import cell_text, clock_time, minutes, print_json, print_table, say

_POLL_MS = 1_000
_COLUMNS = ("seq", "released", "call", "account", "role", "from", "to", "verdict", "talked", "billed", "charge", "")


def add(commands: Any) -> None:
    cdr = commands.add_parser("cdr", help="call detail records")
    actions = cdr.add_subparsers(metavar="ACTION", required=True)
    listed = actions.add_parser("list", parents=[client_options()], help="in the order of their sequence")
    listed.add_argument("--since", metavar="TIME", help="RFC 3339: only what was written at or after it")
    listed.add_argument("--limit", type=count, metavar="N", help="at most so many")
    listed.set_defaults(run=_list)
    follow = actions.add_parser("follow", parents=[client_options()], help="as they come, until interrupted")
    follow.set_defaults(run=_follow)
    for parser in (listed, follow):
        parser.add_argument("--account", help="only this account's")
        parser.add_argument("--after", type=count, metavar="SEQUENCE", help="only what follows it")


def _list(arguments: argparse.Namespace) -> int:
    found = _records(Client.of(arguments), arguments)
    if arguments.json:
        for record in found:
            print_json(record)
    else:
        print_table(_COLUMNS, map(_row, found), right=("seq", "talked", "billed", "charge"))
    return Exit.OK


def _records(client: Client, arguments: argparse.Namespace) -> Iterator[Json]:
    after, left = arguments.after, arguments.limit
    while left is None or left > 0:
        asked = None if left is None else min(left, 1000)
        page = client.get("/v1/cdrs", account=arguments.account, since=arguments.since, after=after, limit=asked)
        yield from page["cdrs"]
        after = page["next"]
        left = None if left is None else left - len(page["cdrs"])
        if not page["more"]:
            return


def _follow(arguments: argparse.Namespace) -> int:
    asyncio.run(_print_as_they_come(Client.of(arguments), arguments))
    return Exit.OK


async def _print_as_they_come(client: Client, arguments: argparse.Namespace) -> None:
    from callctl.clock import SystemClock, format_time

    clock = SystemClock()
    after, since = arguments.after, None
    if after is None:
        since = format_time(clock.now().wall_ms)
    while True:
        page = client.get("/v1/cdrs", account=arguments.account, since=since, after=after)
        for record in page["cdrs"]:
            if arguments.json:
                print_json(record)
            else:
                say("  ".join(map(cell_text, _row(record))))
        after, since = page["next"], None
        if not page["more"]:
            await clock.sleep_ms(_POLL_MS)


def _row(record: Json) -> tuple[object, ...]:
    return (
        record["sequence"],
        clock_time(record["release_time"] or record["setup_time"]),
        record["call_id"],
        record["account"],
        record["role"],
        record["from"],
        record["to"],
        record["refusal"] or ("corrected" if record["corrects"] else record["verdict"]),
        minutes(record["duration_s"]),
        minutes(record["billed_s"]),
        record["charge"],
        record["currency"],
    )
