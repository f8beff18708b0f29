"""`callctl services`: the catalogue of services, their prices, and what was counted for a subscription."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from callctl.cli.client import Client, Json, client_options, count, json_option, segment
from callctl.cli.exits import Exit, SaidNoError, WrongUseError
from callctl.cli.terminal import print_json, print_table, say

if TYPE_CHECKING:
    from callctl.rating.services import Catalogue

_TERMS = {
    "quantity": "units; default 1",
    "price_list": "by whose percentages",
    "partner": "whose discount",
    "from": "first day: then every charge is listed",
    "until": "last day",
    "period": "monthly (default), quarterly, half-yearly or yearly",
    "align": "calendar (default), or start: periods begin with the subscription",
    "charges": "list at most so many days of charging; default 12",
}


def add(commands: Any) -> None:
    services = commands.add_parser("services", help="subscription prices: services, price lists, counts")
    actions = services.add_subparsers(metavar="ACTION", required=True)
    common = [client_options()]

    price = actions.add_parser("price", parents=common, help="what a service costs, and when it is charged")
    price.add_argument("service")
    price.add_argument("--catalogue", type=Path, metavar="FILE", help="JSON or TOML; default: the daemon's")
    for term, about in _TERMS.items():
        price.add_argument(f"--{term.replace('_', '-')}", dest=f"term_{term}", metavar="X", help=about)
    price.add_argument("--waive-nrc", dest="term_waive_nrc", action="store_const", const="true", help="without the NRC")
    price.set_defaults(run=_price)

    put = actions.add_parser("put", parents=common, help="replace the daemon's catalogue")
    put.add_argument("file", type=Path, help="JSON or TOML")
    put.set_defaults(run=_put)

    vps = actions.add_parser("vps", parents=[json_option()], help="the VPS bundle that a licence runs on")
    vps.add_argument("licence", help="edition and size: PRO8")
    vps.add_argument("--catalogue", type=Path, metavar="FILE", help="JSON or TOML; default: the usual table")
    vps.set_defaults(run=_vps)

    counting = actions.add_parser("count", parents=common, help="what a PBX counted at the end of a month")
    counting.add_argument("account")
    counting.add_argument("subscription")
    counting.add_argument("month", help="2026-01")
    counting.add_argument("count", type=count)
    counting.set_defaults(run=_count)


def _price(arguments: argparse.Namespace) -> int:
    terms = {name.removeprefix("term_"): value for name, value in vars(arguments).items() if name.startswith("term_")}
    stated = {name: value for name, value in terms.items() if value is not None}
    if arguments.catalogue is None:
        price = Client.of(arguments).get(f"/v1/services/{segment(arguments.service)}/price", **stated)
    else:
        price = _priced_here(_catalogue(arguments.catalogue), {"service": arguments.service, **stated})
    if arguments.json:
        print_json(price)
    else:
        _show(price)
    return Exit.OK


def _priced_here(catalogue: "Catalogue", terms: dict[str, str]) -> Json:
    import msgspec

    from callctl.rating.quotation import CHARGES, MOST_CHARGES, asked, quote

    charges = terms.pop("charges", str(CHARGES))
    if not charges.isascii() or not charges.isdigit() or len(charges) > len(str(MOST_CHARGES)):
        raise WrongUseError(f"--charges {charges}: a whole number up to {MOST_CHARGES} is expected")
    try:
        wanted = asked(terms)
    except ValueError as wrong:
        raise WrongUseError(f"services price: {wrong}") from wrong
    try:
        price = quote(catalogue, wanted, min(int(charges), MOST_CHARGES))
    except ValueError as no:
        raise SaidNoError(str(no)) from no
    shown: Json = json.loads(msgspec.json.encode(price))
    return shown


def _show(price: Json) -> None:
    terms = (
        f"{word} {price[key]}" for key, word in (("price_list", "price list"), ("partner", "partner")) if price[key]
    )
    say(", ".join((f"{price['quantity']} x {price['service']} ({price['name']})", *terms, f"in {price['currency']}")))
    columns = ("", "price", "purchase", "margin")
    rows = [(kind.upper(), *(price[kind][key] for key in ("charge", "cost", "margin"))) for kind in ("nrc", "mrc")]
    print_table(columns, rows, right=columns[1:])
    if price["charges"]:
        keys = ("due", "kind", "from", "until", "charge", "cost", "margin")
        print_table(keys, ([it[key] for key in keys] for it in price["charges"]), right=keys[4:])


def _put(arguments: argparse.Namespace) -> int:
    answer = Client.of(arguments).put("/v1/services", _document(arguments.file))
    if arguments.json:
        print_json(answer)
    else:
        say(f"put {len(answer.get('services', ()))} services and {len(answer.get('price_lists', ()))} price lists")
    return Exit.OK


def _vps(arguments: argparse.Namespace) -> int:
    from callctl.rating.services import Catalogue, vps_bundle

    catalogue = Catalogue() if arguments.catalogue is None else _catalogue(arguments.catalogue)
    try:
        bundle = vps_bundle(catalogue, arguments.licence)
    except ValueError as no:
        raise SaidNoError(str(no)) from no
    if arguments.json:
        print_json({"licence": arguments.licence, "vps": bundle})
    else:
        say(bundle)
    return Exit.OK


def _count(arguments: argparse.Namespace) -> int:
    path = f"/v1/accounts/{segment(arguments.account)}/subscriptions/{segment(arguments.subscription)}/counts"
    answer = Client.of(arguments).post(path, {"month": arguments.month, "count": arguments.count})
    if arguments.json:
        print_json(answer)
    else:
        say(f"{arguments.account}/{answer['name']}: {answer['counts'][arguments.month]} in {arguments.month}")
    return Exit.OK


def _catalogue(file: Path) -> "Catalogue":
    """A catalogue in which everything is right. WrongUseError with the place otherwise."""
    import msgspec

    from callctl.rating.services import Catalogue, check_catalogue

    try:
        catalogue = msgspec.convert(_document(file), Catalogue)
        check_catalogue(catalogue)
    except ValueError as wrong:
        raise WrongUseError(f"{file}: {wrong}") from wrong
    return catalogue


def _document(file: Path) -> Json:
    import tomllib

    try:
        text = file.read_text("utf-8")
        document: Json = tomllib.loads(text) if file.suffix == ".toml" else json.loads(text)
    except OSError as failed:
        raise WrongUseError(f"{file}: {failed.strerror}") from failed
    except ValueError as wrong:
        raise WrongUseError(f"{file}: not {'TOML' if file.suffix == '.toml' else 'JSON'}: {wrong}") from wrong
    return document
