"""Pydantic's complaints in words that a provider can act on; the value of a secret is never among them."""

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple, get_args

from callctl.settings.sections import FileSink, Http, Limits, Log, MqttSink, Policy, Redis, Settings, Token
from callctl.settings.switches import SWITCHES, RadiusClient
from callctl.settings.values import Section

SECRETS = ("token", "secret", "password", "url")
_TABLES: dict[str, tuple[type[Section], ...]] = {
    "": (Settings,),
    "redis": (Redis,),
    "http": (Http,),
    "http.token": (Token,),
    "policy": (Policy,),
    "limits": (Limits,),
    "switch": SWITCHES,
    "switch.client": (RadiusClient,),
    "sink": (FileSink, MqttSink),
    "log": (Log,),
}
_REPEATED = ("token", "switch", "client", "sink")
_LATER = ("stream", "webhook", "postgres")
_PROSE = ("Value error, ", "Input should be ", "Value should have ")

Place = tuple[str | int, ...]


class Mistake(NamedTuple):
    """What is wrong, and at which key."""

    place: Place
    message: str


def dotted(place: Place) -> str:
    """ "sink.0.directory": also what the environment calls it, in capitals and with `__`."""
    return ".".join(map(str, place))


def translated(errors: Sequence[Any]) -> list[Mistake]:
    """One mistake per key. Of a table whose kind is wrong only that is told: its other keys depend on it.

    Of a list whose items are wrong only those are told: it lacks them because they are wrong.
    """
    found = [_translate(error) for error in errors]
    kindless = {mistake.place[:-1] for mistake in found if mistake.place[-1] == "kind"}
    within = {mistake.place[:depth] for mistake in found for depth in range(len(mistake.place))}
    told = [m for m in found if m.place not in within]
    return [m for m in told if m.place[-1] == "kind" or m.place[:-1] not in kindless]


def _translate(error: Any) -> Mistake:
    place: Place = error["loc"]
    own = None
    if len(place) > 2 and place[2] in _kinds(place[0]):
        own, place = place[2], (*place[:2], *place[3:])  # without the kind that chose the union's member
    found, kind = error["input"], error["type"]
    if kind.startswith("union_tag"):
        found = found.get("kind") if isinstance(found, dict) else None
        return Mistake((*place, "kind"), _unknown_kind(found, place[0]))
    if place[-1] == "kind":
        return Mistake(place, _unknown_kind(None if kind == "missing" else found, place[0]))
    if kind == "missing":
        also = f" or {place[-1]}_file" if place[-1] in SECRETS else ""
        return Mistake(place, f"missing; expected {place[-1]}{also}")
    if kind == "extra_forbidden":
        return Mistake(place, f"unknown key{_nearest(place, own)}")
    if kind == "tuple_type":
        return Mistake(place, f"expected [[{dotted(place)}]] tables" if place[-1] in _REPEATED else "expected a list")
    if kind == "model_type":
        return Mistake(place, f"expected a table [{dotted(place)}]")
    expected = error["msg"].partition(", unable")[0]
    for prose in _PROSE:
        expected = expected.removeprefix(prose)
    shown = "" if place[-1] in SECRETS or isinstance(found, (dict, list)) else f"found {found!r:.80}, "
    return Mistake(place, f"{shown}expected {expected}")


def _kinds(table: str | int) -> list[str]:
    return [kind for kind in map(_kind, _TABLES.get(str(table), ())) if kind is not None]


def _kind(section: type[Section]) -> str | None:
    field = section.model_fields.get("kind")
    return None if field is None else get_args(field.annotation)[0]


def _unknown_kind(found: Any, table: str | int) -> str:
    known = " or ".join(_kinds(table))
    if found is None:
        return f"missing; expected {known}"
    if found in _LATER:
        return f"{found} is not in this version, which has {known}"
    return f"found {found!r:.80}, expected {known}"


def _nearest(place: Place, own: str | int | None) -> str:
    """What may have been meant in a table, of the kind `own` where it has one."""
    table = ".".join(part for part in place[:-1] if isinstance(part, str))
    sections = _TABLES.get(table, ())
    others = [str(_kind(section)) for section in sections if place[-1] in section.model_fields]
    if others:
        return f"; it is one of kind {' and '.join(others)}"
    keys = [key for section in sections if _kind(section) in (own, None) for key in section.model_fields]
    near = get_close_matches(str(place[-1]), keys, n=1)
    return f"; did you mean {near[0]}?" if near else f"; expected one of {', '.join(keys)}"
