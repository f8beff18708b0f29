"""Plans, decks and accounts for rating on this side: out of files where they are given, else of the daemon."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from callctl.cli.client import Client, Json, segment
from callctl.cli.exits import SaidNoError, WrongUseError
from callctl.errors import DeckError

if TYPE_CHECKING:
    from callctl.accounts import Account, Directory
    from callctl.rating.exchange import Exchange
    from callctl.rating.match import Deck
    from callctl.rating.tariff import Plan

LONGEST_FAMILY = 16  # plans that extend each other


class PlanBook:
    """Finds plans with their rows. `definitions`: plans as `tariff put` takes them; `rows`: CSV files, by plan.

    A plan that has a file of rows and no definition has every default.
    """

    def __init__(self, client: Client | None, definitions: Iterable[Json], rows: Mapping[str, Path]) -> None:
        self._client = client
        self._plans: dict[str, Plan | None] = {each["id"]: plan_from(each) for each in definitions}
        self._rows = rows
        self._decks: dict[str, Deck | None] = {}

    def deck(self, plan_id: str) -> "Deck | None":
        """None where there is no such plan. SaidNoError for a deck with mistakes."""
        if plan_id not in self._decks:
            self._decks[plan_id] = self._load(plan_id)
        return self._decks[plan_id]

    def _load(self, plan_id: str, younger: tuple[str, ...] = ()) -> "Deck | None":
        from callctl.rating.builder import DeckBuilder
        from callctl.rating.decks.deck import import_deck

        if plan_id in younger or len(younger) > LONGEST_FAMILY:
            raise SaidNoError(f"plans that extend each other in a loop, or too many: {', '.join((*younger, plan_id))}")
        plan = self._plan(plan_id)
        text = self._text(plan_id) if plan is not None else None
        if plan is None or text is None:
            return None
        parent = self._load(plan.extends, (*younger, plan_id)) if plan.extends else None
        if plan.extends and parent is None:
            raise SaidNoError(f"plan {plan_id} extends {plan.extends}, whose rows are not given")
        read = import_deck(text, plan)
        if read.errors:
            raise SaidNoError(f"the rows of plan {plan_id} have mistakes:", tuple(map(str, read.errors)))
        try:
            builder = DeckBuilder(plan, parent)
        except ValueError as wrong:
            raise SaidNoError(str(wrong)) from wrong
        for row in read.rows:
            builder.add(row)
        return builder.build()

    def _plan(self, plan_id: str) -> "Plan | None":
        if plan_id not in self._plans:
            if plan_id in self._rows:
                self._plans[plan_id] = plan_from({"id": plan_id})
            else:
                path = f"/v1/plans/{segment(plan_id)}"
                shown = _unless_missing(self._client.get, path) if self._client is not None else None
                self._plans[plan_id] = plan_from(shown) if shown is not None else None
        return self._plans[plan_id]

    def _text(self, plan_id: str) -> str | None:
        file = self._rows.get(plan_id)
        if file is not None:
            return _read(file)
        if self._client is None:
            return None
        chunks = _unless_missing(self._client.download, f"/v1/plans/{segment(plan_id)}/rows")
        return None if chunks is None else b"".join(chunks).decode()


def exchanges_of(client: Client | None) -> "dict[str, Exchange]":
    """The daemon's exchange rates; without one there are none."""
    from callctl.money import parse_exchange_rate
    from callctl.rating.exchange import DatedRate, Exchange

    listed = client.get("/v1/exchange")["exchange"] if client is not None else ()
    return {
        each["id"]: Exchange(
            each["id"], tuple(DatedRate(dated["from"], parse_exchange_rate(dated["rate"])) for dated in each["rates"])
        )
        for each in listed
    }


def _unless_missing(ask: Callable[[str], Any], path: str) -> Any:
    try:
        answer = ask(path)
        return answer if isinstance(answer, dict) else list(answer)
    except SaidNoError as no:
        if no.answer.get("error", {}).get("code") == "not_found":
            return None
        raise


def _read(file: Path) -> str:
    from callctl.rating.decks.sheet import decode

    try:
        return decode(file.read_bytes())
    except OSError as failed:
        raise WrongUseError(f"{file}: {failed.strerror}") from failed
    except DeckError as wrong:
        raise WrongUseError(f"{file}: {wrong}") from wrong


def plan_from(stated: Json) -> "Plan":
    """A plan as the API shows it and takes it. WrongUseError for keys and values that it does not know."""
    import msgspec

    from callctl.clock import parse_time
    from callctl.rating.presets import with_preset
    from callctl.rating.tariff import Plan
    from callctl.rating.tax import tax_from

    try:
        fields = with_preset(stated)
        if fields.get("effective") is not None:
            fields["effective_ms"] = parse_time(fields["effective"])
        fields.pop("effective", None)
        fields["taxes"] = [tax_from(**tax) for tax in fields.get("taxes", ())]
        fields["bundles"] = [_bundle(**bundle) for bundle in fields.get("bundles", ())]
        unknown = sorted(fields.keys() - set(Plan.__struct_fields__))
        if unknown:
            raise ValueError(f"unknown key {', '.join(unknown)}")
        return msgspec.convert(fields, Plan)
    except (ValueError, TypeError) as wrong:
        raise WrongUseError(f"plan {stated.get('id')}: {wrong}") from wrong


def _bundle(*, minutes: int | None = None, since: str | None = None, **stated: Any) -> Json:
    """What `Bundle` is made of."""
    from callctl.clock import parse_time

    size = {} if minutes is None else {"seconds": minutes * 60}
    return stated | size | {"since_ms": None if since is None else parse_time(since)}


def directory_from(shown: Iterable[Json]) -> "Directory":
    """Accounts as the API shows them and takes them: their chains, their numbers, their rules on what is sold."""
    from callctl.accounts import Directory

    try:
        return Directory(map(_account, shown))
    except ValueError as wrong:
        raise WrongUseError(str(wrong)) from wrong


def _rule(shown: Json) -> Json:
    """A rule on destinations, by the names inside."""
    inside = {"class": "traffic_class", "from": "from_time", "to": "until_time"}
    return {inside.get(key, key): value for key, value in shown.items()}


def _account(shown: Json) -> "Account":
    import msgspec

    from callctl.accounts import Account, Kind
    from callctl.limits.destinations import DestinationRules
    from callctl.money import parse_amount, parse_percent, parse_rate
    from callctl.numbering import DialRules
    from callctl.rating.margin import MarginRule, MaxCost

    parsers: dict[str, Callable[[str], int]] = {
        **dict.fromkeys(("min_per_minute", "per_minute"), parse_rate),
        **dict.fromkeys(("min_per_call", "connection", "per_call"), parse_amount),
        "min_percent": parse_percent,
    }

    def rule(key: str, of: Any) -> Any:
        stated = {name: value for name, value in (shown.get(key) or {}).items() if value is not None}
        return of(**{name: parsers.get(name, int)(value) for name, value in stated.items()}) if stated else None

    try:
        destinations = shown.get("destinations")
        if destinations is not None:
            rules = {key: list(map(_rule, destinations.get(key, ()))) for key in ("allow", "deny")}
            destinations = msgspec.convert(destinations | rules, DestinationRules)
        return Account(
            id=shown["id"],
            kind=Kind(shown["kind"]),
            plan=shown.get("effective_plan") or shown.get("plan"),
            parent=shown.get("parent"),
            group=shown.get("group"),
            timezone=shown.get("timezone", "UTC"),
            dial_rules=msgspec.convert(shown.get("dial_rules", {}), DialRules),
            numbers=tuple(shown.get("numbers", ())),
            destinations=destinations,
            margin=rule("margin", MarginRule),
            max_cost=rule("max_cost", MaxCost),
        )
    except (KeyError, TypeError, ValueError) as wrong:
        raise ValueError(f"account {shown.get('id')}: {wrong}") from wrong
