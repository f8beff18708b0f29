"""`callctl calls`: the live calls as they come and go, and the end of one."""

import argparse
import asyncio
import sys
from typing import TYPE_CHECKING, Any

from callctl.cli.client import Client, Json, client_options, segment
from callctl.cli.exits import Exit, WrongUseError
from callctl.cli.terminal import clock_time, console, minutes, print_json, say, table

if TYPE_CHECKING:
    from rich.table import Table

_REFRESH_MS = 1_000
_ASKED = {
    "commanded": "the switch is told to end it",
    "requested": "callctl cannot reach it: it gets no more time, and whoever carries it is asked to end it",
    None: "nothing to end",
}
_COLUMNS = ("call", "switch", "account", "from", "to", "destination", "state", "since", "talks", "granted", "affords")


def add(commands: Any) -> None:
    calls = commands.add_parser(
        "calls", parents=[client_options()], help="live calls: on a terminal a table that follows them"
    )
    calls.add_argument("--account", help="only this customer's")
    calls.add_argument("--once", action="store_true", help="print the table once")
    calls.add_argument("--switch", help="only this one's; of the call to hang up, where it is not http")
    calls.add_argument("action", nargs="?", choices=("hangup",), help="end a call")
    calls.add_argument("id", nargs="?", help="of the call")
    calls.set_defaults(run=_calls)


def _calls(arguments: argparse.Namespace) -> int:
    client = Client.of(arguments)
    if arguments.action == "hangup":
        return _hangup(client, arguments)
    filters = {"account": arguments.account, "switch": arguments.switch}
    answer = client.get("/v1/calls", **filters)
    if arguments.json:
        print_json(answer)
    elif arguments.once or not sys.stdout.isatty():
        console().print(_table(answer))
    else:
        asyncio.run(_follow(client, filters))
    return Exit.OK


async def _follow(client: Client, filters: dict[str, str | None]) -> None:
    from rich.live import Live

    from callctl.clock import SystemClock

    with Live(console=console(), auto_refresh=False, screen=True) as live:
        while True:
            live.update(_table(client.get("/v1/calls", **filters)), refresh=True)
            await SystemClock().sleep_ms(_REFRESH_MS)


def _table(answer: Json) -> "Table":
    from callctl.clock import SystemClock

    now_ms = SystemClock().now().wall_ms
    made = table(_COLUMNS, (_row(call, now_ms) for call in answer["calls"]), right=("talks", "granted", "affords"))
    made.caption = f"{answer['total']} live"
    made.caption_justify = "left"
    return made


def _row(call: Json, now_ms: int) -> tuple[object, ...]:
    from callctl.clock import parse_time

    answered = call["answer_time"]
    talks_s = max(0, now_ms - parse_time(answered)) // 1000 if answered else None
    return (
        call["call_id"],
        call["switch"],
        call["account"],
        call["from"],
        call["b_number"],
        (call.get("rate") or {}).get("destination"),
        call["state"],
        clock_time(answered or call["setup_time"]),
        None if talks_s is None else minutes(talks_s),
        minutes(call["granted_seconds"]),
        minutes(call["max_seconds"]),
    )


def _hangup(client: Client, arguments: argparse.Namespace) -> int:
    if arguments.id is None:
        raise WrongUseError("calls hangup: which call?")
    call = client.delete(f"/v1/calls/{segment(arguments.id)}", switch=arguments.switch)
    if arguments.json:
        print_json(call)
    else:
        say(f"{call['call_id']}: {_ASKED[call.get('hang_up')]}; it was {call['state']}")
    return Exit.OK
