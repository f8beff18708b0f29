"""`callctl ids`: an account's spend thresholds, drawn; and an operator's word about them."""

import argparse
from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from callctl.cli.client import Client, Json, client_options, segment
from callctl.cli.exits import Exit
from callctl.cli.terminal import clock_time, console, print_json
from callctl.money import format_amount, parse_amount
from callctl.printable import printable

if TYPE_CHECKING:
    from rich.text import Text

DAYS = 60
HEIGHT = 12  # lines
_EIGHTHS = " ▁▂▃▄▅▆▇█"
_NOTES = 8


def add(commands: Any) -> None:
    ids = commands.add_parser("ids", help="spend thresholds: the last 60 days, today, release")
    actions = ids.add_subparsers(metavar="ACTION", required=True)
    common = [client_options()]
    show = actions.add_parser("show", parents=common, help="the last 60 days, the threshold and today")
    show.add_argument("id", metavar="ACCOUNT")
    show.set_defaults(run=_show)
    release = actions.add_parser(
        "release", parents=common, help="forget what was spent today, or allow more (--extra), or all of it (--until)"
    )
    release.add_argument("id", metavar="ACCOUNT")
    instead = release.add_mutually_exclusive_group()
    instead.add_argument("--extra", metavar="AMOUNT", help="so much more may be spent today; nothing is forgotten")
    instead.add_argument("--until", metavar="TIME", help="and nothing is refused until then, RFC 3339 with a zone")
    release.add_argument("--id", dest="word", help="of what is said: the same twice is heard once")
    _who_and_why(release)
    release.set_defaults(run=_release)
    incident = actions.add_parser("incident", parents=common, help="leave a day out of the average")
    incident.add_argument("id", metavar="ACCOUNT")
    incident.add_argument("day", metavar="DAY", help="2026-11-21")
    incident.add_argument("--clear", action="store_true", help="it was none after all")
    _who_and_why(incident)
    incident.set_defaults(run=_incident)


def _who_and_why(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--by", default="", help="default: the name of the token")
    parser.add_argument("--why", default="")


def _show(arguments: argparse.Namespace) -> int:
    return _print(Client.of(arguments).get(_path(arguments)), arguments)


def _release(arguments: argparse.Namespace) -> int:
    said = {"id": arguments.word, "extra_today": arguments.extra, "until": arguments.until}
    said |= {"by": arguments.by, "why": arguments.why}
    body = {key: value for key, value in said.items() if value}
    return _print(Client.of(arguments).post(f"{_path(arguments)}/release", body), arguments)


def _incident(arguments: argparse.Namespace) -> int:
    days = [{"day": arguments.day, "incident": not arguments.clear}]
    body = {"days": days, "by": arguments.by, "why": arguments.why}
    return _print(Client.of(arguments).put(f"{_path(arguments)}/days", body), arguments)


def _path(arguments: argparse.Namespace) -> str:
    return f"/v1/accounts/{segment(arguments.id)}/ids"


def _print(shown: Json, arguments: argparse.Namespace) -> int:
    if arguments.json:
        print_json(shown)
        return Exit.OK
    out = console()
    for line in picture(shown):
        out.print(line, soft_wrap=True)
    return Exit.OK


class Bar(NamedTuple):
    """One day of the drawing, micro-units: settled below, held on top of it."""

    settled: int
    held: int
    cap: int
    incident: bool = False


def picture(shown: Json) -> "Iterator[Text]":
    """The account's days as lines of a terminal."""
    from rich.text import Text

    today, currency = shown["today"], shown["currency"]
    bars = _bars(shown)
    limit = None if today["threshold"] is None else parse_amount(today["threshold"])
    top = max([1, limit or 0, *(bar.settled + bar.held for bar in bars)])
    yield Text(printable(f"{shown['account']}: watched calls of the last {DAYS} days and today, in {currency}"), "bold")
    yield from _drawing(bars, top, limit)
    first, last = date.fromisoformat(today["day"]) - timedelta(DAYS), date.fromisoformat(today["day"])
    yield Text(f"{'':>12} └{'─' * (DAYS + 2)}")
    yield Text(f"{'':>12}  {first:%d %b}{f'{last:%d %b}':>{DAYS - 5}}")
    yield Text("")
    yield from (Text(line) for line in _figures(shown))
    for note in shown["log"][:_NOTES]:
        told = " ".join(f"{key}={value}" for key, value in note["detail"].items() if value)
        yield Text(printable(f"{clock_time(note['at'])}  {note['what']}  {told}"), "dim")


def _bars(shown: Json) -> list[Bar]:
    today = date.fromisoformat(shown["today"]["day"])
    by_day = {each["day"]: each for each in shown["days"]}
    bars = []
    for ago in range(DAYS, 0, -1):
        day = by_day.get((today - timedelta(ago)).isoformat())
        spent, cap = (parse_amount(day[key]) for key in ("spent", "threshold")) if day else (0, 0)
        bars.append(Bar(spent, 0, cap, bool(day and day["incident"])))
    settled, held = (parse_amount(shown["today"][key]) for key in ("settled", "held"))
    return [*bars, Bar(0, 0, 0), Bar(settled, held, 0)]  # a gap before today


def _drawing(bars: Sequence[Bar], top: int, limit: int | None) -> "Iterator[Text]":
    from rich.text import Text

    for row in range(HEIGHT, 0, -1):
        at_limit = limit is not None and row == max(1, -(-limit * HEIGHT // top))
        label = format_amount(limit) if at_limit and limit is not None else ""
        if not label and row in (HEIGHT, HEIGHT // 2):
            label = format_amount(top * row // HEIGHT)
        line = Text(f"{label:>12} {'┤' if label else '│'}")
        for bar in bars:
            line.append(*_cell(bar, row, top, at_limit=at_limit))
        if at_limit:
            line.append(" threshold", "red")
        yield line


def _cell(bar: Bar, row: int, top: int, *, at_limit: bool) -> tuple[str, str]:
    """What stands in one row of a day's column, and its colour."""
    eighths = (bar.settled + bar.held) * HEIGHT * 8 // top - (row - 1) * 8
    if eighths <= 0:
        return ("┄", "red") if at_limit else (" ", "")
    below = bar.settled * HEIGHT * 8 // top - (row - 1) * 8
    if bar.incident:
        return "░", "bright_black"
    if below < min(eighths, 8):
        return "▒", "yellow"
    return _EIGHTHS[min(eighths, 8)], "red" if bar.cap and bar.settled > bar.cap else "green"


def _figures(shown: Json) -> Iterator[str]:
    today, agreed = shown["today"], shown["agreed"]
    yield f"today    {today['settled']} settled + {today['held']} held = {today['spent']} {shown['currency']}"
    if today["estimated"] != format_amount(0):
        yield f"         {today['estimated']} of it by calls whose end nobody saw"
    if today["released"] != format_amount(0):
        yield f"         {today['released']} of it released: it does not count"
    if agreed is None:
        yield "nothing is agreed"
        return
    terms = f"{today['average']} average + {agreed['range']} range"
    extra = f" + {today['extra']} for today" if today["extra"] != format_amount(0) else ""
    yield f"limit    {today['threshold']}: {terms}{extra}; {agreed['mode']}"
    if today["tripped_at"] is not None:
        yield f"tripped  {clock_time(today['tripped_at'])}"
    if today["free_until"] is not None:
        yield f"free     until {clock_time(today['free_until'])}"
