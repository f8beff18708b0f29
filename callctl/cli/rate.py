"""`callctl rate`: what a call costs on a plan, and whether we agree with the examples of a contract.

A plan's price is worked out here, from the plans and rows that the daemon has, by the same code.
"""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from callctl.cli.client import Client, Json, client_options, count, segment
from callctl.cli.exits import Exit, SaidNoError, WrongUseError
from callctl.cli.terminal import minutes, print_json, say

if TYPE_CHECKING:
    from callctl.numbering import Number
    from callctl.rating.levels import LevelPrice
    from callctl.rating.tariff import Plan


def add(commands: Any) -> None:
    rate = commands.add_parser(
        "rate",
        parents=[client_options()],
        help="the price of a call on a plan, or of rated examples",
        usage="callctl rate --plan P --to N --seconds S [--at T] | callctl rate --cases FILE.json",
        description="The price of a call on a plan; or, with --cases, whether calls that a contract or the system you "
        "come from has rated cost the same here: the way to verify a migration. It needs no daemon, and exits 1 if a "
        "case disagrees, for pipelines. docs/migration.md says how cases are written and results are read.",
    )
    rate.add_argument("--plan", metavar="P")
    rate.add_argument("--to", metavar="N", help="in international form: +31612345678")
    rate.add_argument("--seconds", type=count, metavar="S", help="the call's duration")
    rate.add_argument("--at", metavar="T", help="when it is answered, RFC 3339; default: now")
    rate.add_argument("--cases", type=Path, metavar="FILE.json", help="verify these rated examples: a JSON line each")
    rate.set_defaults(run=_rate)


def _rate(arguments: argparse.Namespace) -> int:
    if arguments.cases is not None:
        return _rate_cases(arguments.cases)
    if arguments.plan is None or arguments.to is None or arguments.seconds is None:
        raise WrongUseError("rate: --plan, --to and --seconds are needed, or --cases")
    rated = _rate_call(Client.of(arguments), arguments)
    if arguments.json:
        print_json(rated)
        return Exit.OK
    say(f"{rated['charge']} {rated['currency']} for {minutes(rated['billed_s'])}")
    say(f"  {rated['number']}: {rated['destination']} {rated['type']}, row {rated['row']} of {rated['plan']}")
    band = f", {rated['band']}" if rated["band"] else ""
    say(f"  {rated['connection_fee']} + {rated['per_minute']} per minute{band}")
    if rated["taxes"]:
        levied = ", ".join(f"{tax['name']} {tax['amount']}" for tax in rated["taxes"])
        say(f"  {rated['gross']} {rated['currency']} with {levied}")
    return Exit.OK


def _rate_cases(file: Path) -> int:
    from callctl.rating.cases import rate_cases

    try:
        cases = json.loads(file.read_bytes())
    except OSError as failed:
        raise WrongUseError(f"{file}: {failed.strerror}") from failed
    except (ValueError, RecursionError) as wrong:
        raise WrongUseError(f"{file}: not JSON: {wrong}") from wrong
    if not isinstance(cases, list):
        raise WrongUseError(f"{file}: a list of cases is expected")
    if not cases:
        raise WrongUseError(f"{file}: no cases, so nothing was verified")
    agree = True
    for result in rate_cases(cases):
        print_json(result)
        agree = agree and result["agrees"]
    return Exit.OK if agree else Exit.NO


def _rate_call(client: Client, arguments: argparse.Namespace) -> Json:
    from callctl.clock import SystemClock, parse_time
    from callctl.money import format_amount
    from callctl.numbering import DialRules, normalise
    from callctl.rating.charge import charge
    from callctl.rating.tax import taxes

    number = normalise(arguments.to, DialRules())
    if number is None:
        raise WrongUseError(f"--to {arguments.to}: a number in international form is expected, +31612345678")
    try:
        at_ms = parse_time(arguments.at) if arguments.at else SystemClock().now().wall_ms
    except ValueError as wrong:
        raise WrongUseError(f"--at {arguments.at}: RFC 3339 with a zone is expected") from wrong
    price = _price(client, arguments.plan, number, at_ms)
    charged = charge(price.sell, arguments.seconds)
    levied = taxes(price.taxes, charged.micros, decimals=price.sell.decimals)
    return {
        "plan": price.plan,
        "number": number.e164,
        "destination": price.destination,
        "type": price.type,
        "row": price.row,
        "connection_fee": format_amount(price.sell.connection_fee),
        "per_minute": price.sell.per_minute,
        "band": price.sell.band[0] or None,
        "billed_s": charged.billed_s,
        "charge": format_amount(charged.micros),
        "taxes": [{"name": tax.name, "amount": format_amount(of)} for tax, of in zip(price.taxes, levied, strict=True)],
        "gross": format_amount(charged.micros + sum(levied)),
        "currency": plan_of(client, price.plan).currency,
    }


def _price(client: Client, plan_id: str, number: "Number", at_ms: int) -> "LevelPrice":
    """Of the row that prices the call. SaidNoError where there is none."""
    from callctl.cli.planbook import PlanBook, exchanges_of
    from callctl.rating.levels import NoRate, price_levels
    from callctl.rating.tariff import Direction

    book = PlanBook(client, (), {})
    deck = book.deck(plan_id)
    if deck is None:
        raise SaidNoError(f"no such plan: {plan_id}")
    buy_plan = deck.plan_at(at_ms).buy_plan
    carrier = book.deck(buy_plan) if buy_plan is not None else None
    exchanges = exchanges_of(client) if carrier is not None else {}
    found = price_levels([("", deck)], carrier, number, at_ms, Direction.OUTBOUND, exchanges)
    if isinstance(found, NoRate):
        why = f"{found.reason}: {found.no_buy}" if found.no_buy else found.reason
        raise SaidNoError(f"plan {found.plan} has no price for {number.e164}: {why}")
    return found[0]


def plan_of(client: Client, plan_id: str) -> "Plan":
    """A plan as the daemon has it."""
    from callctl.cli.planbook import plan_from

    return plan_from(client.get(f"/v1/plans/{segment(plan_id)}"))
