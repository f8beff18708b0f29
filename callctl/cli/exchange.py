"""`callctl exchange`: what a unit of one currency costs in another, day by day."""

import argparse
from collections.abc import Sequence
from typing import Any

from callctl.cli.client import Client, Json, client_options, segment
from callctl.cli.exits import Exit, SaidNoError, WrongUseError
from callctl.cli.terminal import print_json, print_table, say


def add(commands: Any) -> None:
    exchange = commands.add_parser(
        "exchange",
        parents=[client_options()],
        help="exchange rates, for purchases in another currency",
        description="Without PAIR: all rates; without RATE: those of the pair. A rate holds from its day on, until the "
        "next one.",
    )
    exchange.add_argument("pair", nargs="?", metavar="PAIR", help="USD-EUR: what 1 USD costs in EUR")
    exchange.add_argument("rate", nargs="?", metavar="RATE", help="0.9250; needs --from")
    exchange.add_argument("--from", dest="from_day", metavar="DAY", help="2026-11-01: the first day of the rate")
    exchange.add_argument("--drop", metavar="DAY", help="take away the rate that begins on this day")
    exchange.set_defaults(run=_exchange)


def _exchange(arguments: argparse.Namespace) -> int:
    if (arguments.rate is None) is not (arguments.from_day is None):
        raise WrongUseError("exchange: RATE and --from DAY belong together")
    client = Client.of(arguments)
    if arguments.pair is None:
        if arguments.drop is not None:
            raise WrongUseError("exchange: --drop needs a PAIR")
        listed = client.get("/v1/exchange")["exchange"]
    elif arguments.rate is None and arguments.drop is None:
        listed = [client.get(_path(arguments.pair))]
    else:
        listed = [_change(client, arguments)]
    _show(listed, as_json=arguments.json)
    return Exit.OK


def _change(client: Client, arguments: argparse.Namespace) -> Json:
    """The pair with the rate that is set, without the one that is dropped."""
    rates = {dated["from"]: dated["rate"] for dated in _known(client, arguments.pair)}
    if arguments.drop is not None and rates.pop(arguments.drop, None) is None:
        raise SaidNoError(f"{arguments.pair} has no rate that begins on {arguments.drop}")
    if arguments.rate is not None:
        rates[arguments.from_day] = arguments.rate
    body = {"rates": [{"from": day, "rate": rate} for day, rate in rates.items()]}
    return client.put(_path(arguments.pair), body)


def _known(client: Client, pair: str) -> list[Json]:
    listed = client.get("/v1/exchange")["exchange"]
    return next((each["rates"] for each in listed if each["id"] == pair), [])


def _path(pair: str) -> str:
    return f"/v1/exchange/{segment(pair)}"


def _show(listed: Sequence[Json], *, as_json: bool) -> None:
    if as_json:
        for each in listed:
            print_json(each)
        return
    rows = ((each["id"], dated["from"], dated["rate"]) for each in listed for dated in each["rates"])
    print_table(("pair", "from", "rate"), rows, right=("rate",))
    for each in listed:
        for warning in each.get("warnings", ()):
            say(f"note: {warning}")
