"""`callctl explain`: what would be decided about a call, check by check, without taking anything."""

import argparse
from typing import Any

from callctl.cli.client import Client, Json, client_options
from callctl.cli.exits import Exit
from callctl.cli.terminal import cell_text, console, minutes, print_json

_MARKS = {"pass": ("✓", "green"), "refuse": ("✗", "bold red"), "would_refuse": ("!", "yellow"), "skip": ("·", "dim")}
_CALL = "callctl-explain"


def add(commands: Any) -> None:
    explain = commands.add_parser(
        "explain", parents=[client_options()], help="what would be decided about a call, and why"
    )
    explain.add_argument("--from", dest="a_number", default="", metavar="NUMBER", help="the caller")
    explain.add_argument("--to", dest="b_number", required=True, metavar="NUMBER", help="as it is dialled")
    payer = explain.add_mutually_exclusive_group()
    payer.add_argument("--account", help="who pays; else it is told by --trunk, --source-ip or --from")
    payer.add_argument("--trunk")
    payer.add_argument("--source-ip", metavar="ADDRESS")
    explain.add_argument("--trunk-out", metavar="TRUNK", help="the carrier by which the call would leave")
    explain.add_argument("--direction", choices=("outbound", "inbound", "internal"), default="outbound")
    explain.set_defaults(run=_explain)


def _explain(arguments: argparse.Namespace) -> int:
    asked = {
        "call_id": _CALL,
        "from": arguments.a_number,
        "to": arguments.b_number,
        "direction": arguments.direction,
        "account": arguments.account,
        "trunk": arguments.trunk,
        "source_ip": arguments.source_ip,
        "trunk_out": arguments.trunk_out,
        "can_extend": True,
    }
    body = {key: value for key, value in asked.items() if value is not None}
    decision = Client.of(arguments).post("/v1/explain", body)
    if arguments.json:
        print_json(decision)
    else:
        show_decision(decision)
    return Exit.OK if decision["verdict"] == "allowed" else Exit.NO


def show_decision(decision: Json) -> None:
    """The verdict first, then the trace: at a glance which check refused, and on what grounds."""
    from rich.text import Text

    screen = console()
    allowed = decision["verdict"] == "allowed"
    headline = Text("allowed", "bold green") if allowed else Text(f"refused: {decision['refusal']}", "bold red")
    headline.append(f"   {_grounds(decision)}", "default")
    screen.print(headline)
    if decision.get("detail"):
        screen.print(Text(f"  {cell_text(decision['detail'])}", "bold"))
    screen.print(Text(f"  {cell_text(decision['account'])} → {cell_text(decision['b_number'])}"))
    screen.print()
    width = max((len(check["check"]) for check in decision["trace"]), default=0)
    for check in decision["trace"]:
        mark, style = _MARKS[check["verdict"]]
        line = Text(f"  {mark} {cell_text(check['check']):{width}}  ", style)
        line.append(cell_text(check["saw"]))
        if check.get("asked"):
            line.append(f", {cell_text(check['asked'])} asked for")
        if check.get("limit"):
            since = f" since {cell_text(check['since'])}" if check.get("since") else ""
            line.append(f"  (limit: {cell_text(check['limit'])}{since})")
        if check.get("account"):
            line.append(f"  at {cell_text(check['account'])}", "cyan")
        screen.print(line)


def _grounds(decision: Json) -> str:
    if decision["verdict"] == "refused":
        shown = f"SIP {decision['sip_code']}, Q.850 {decision['q850']}"
        return f"{shown}, announcement {decision['announcement']}" if decision["announcement"] else shown
    parts = [f"{decision['granted_seconds']} s at first, {minutes(decision['max_seconds'])} affordable"]
    if rate := decision["rate"]:
        name = f"{rate['destination']} {rate['type']}".strip()
        parts.append(f"{cell_text(name)}: {rate['connection_fee']} + {rate['per_minute']} per minute")
    parts.append(f"{decision['hold']} held")
    return "; ".join(parts)
