"""`callctl subscription`: what an account pays beside its calls, from when until when."""

import argparse
from collections.abc import Iterable
from typing import Any

from callctl.cli.client import Client, Json, client_options, count, segment
from callctl.cli.exits import Exit
from callctl.cli.terminal import print_json, print_table

_TERMS = {
    "price_list": "by whose percentages",
    "partner": "whose discount",
    "until": "last day; default: none",
    "period": "monthly (default), quarterly, half-yearly or yearly",
    "align": "calendar (default), or start: periods begin with the subscription",
}
_COLUMNS = (
    "name",
    "service",
    "quantity",
    "price_list",
    "partner",
    "from",
    "until",
    "period",
    "align",
    "waive_nrc",
    "charged_until",
)
_ANSWERED = ("name", "charged_until", "counts")
"""What an answer has beyond a definition."""


def add(commands: Any) -> None:
    subscription = commands.add_parser("subscription", help="the services that an account pays for")
    actions = subscription.add_subparsers(metavar="ACTION", required=True)
    common = [client_options()]

    listing = actions.add_parser("list", parents=common, help="all of an account")
    listing.add_argument("account")
    listing.set_defaults(run=_list)

    put = actions.add_parser("put", parents=common, help="create one, or replace what was not charged yet")
    put.add_argument("account")
    put.add_argument("name")
    put.add_argument("service")
    put.add_argument("--from", dest="term_from", metavar="DAY", required=True, help="first day, 2026-01-15")
    put.add_argument("--quantity", dest="term_quantity", type=count, metavar="N", help="units; default 1")
    for term, about in _TERMS.items():
        put.add_argument(f"--{term.replace('_', '-')}", dest=f"term_{term}", metavar="X", help=about)
    put.add_argument(
        "--waive-nrc", dest="term_waive_nrc", action="store_const", const=True, help="without what is charged once"
    )
    put.set_defaults(run=_put)

    ending = actions.add_parser("end", parents=common, help="end one; unused days that were charged are given back")
    ending.add_argument("account")
    ending.add_argument("name")
    ending.add_argument("--until", metavar="DAY", help="its last day; default: today, and one never charged is gone")
    ending.set_defaults(run=_end)


def _list(arguments: argparse.Namespace) -> int:
    answer = Client.of(arguments).get(_path(arguments.account))
    _show(answer["subscriptions"], as_json=arguments.json)
    return Exit.OK


def _put(arguments: argparse.Namespace) -> int:
    terms = {name.removeprefix("term_"): value for name, value in vars(arguments).items() if name.startswith("term_")}
    stated = {name: value for name, value in terms.items() if value is not None}
    body = {"service": arguments.service, **stated}
    shown = Client.of(arguments).put(_path(arguments.account, arguments.name), body)
    _show([shown], as_json=arguments.json)
    return Exit.OK


def _end(arguments: argparse.Namespace) -> int:
    client, path = Client.of(arguments), _path(arguments.account, arguments.name)
    if arguments.until is None:
        _show(client.delete(path)["subscriptions"], as_json=arguments.json)
        return Exit.OK
    kept = {key: value for key, value in client.get(path).items() if key not in _ANSWERED}
    _show([client.put(path, {**kept, "until": arguments.until})], as_json=arguments.json)
    return Exit.OK


def _path(account: str, name: str | None = None) -> str:
    own = f"/v1/accounts/{segment(account)}/subscriptions"
    return own if name is None else f"{own}/{segment(name)}"


def _show(subscriptions: Iterable[Json], *, as_json: bool) -> None:
    if as_json:
        for each in subscriptions:
            print_json(each)
        return
    print_table(_COLUMNS, ([each[column] for column in _COLUMNS] for each in subscriptions), right=("quantity",))
