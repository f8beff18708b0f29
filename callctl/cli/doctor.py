"""`callctl doctor`: is the configuration right, is everything there that it names, what would be lost in a crash?

It changes nothing (but with `--recount`), needs no running daemon, and asks the one that runs how its neighbours are.
"""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from callctl.cli.client import Client, client_options
from callctl.cli.exits import Exit, SaidNoError, UnreachableError
from callctl.cli.findings import Finding, Verdict, failed, fine, unwise
from callctl.cli.terminal import cell_text, clock_time, console, print_json
from callctl.printable import printable

if TYPE_CHECKING:
    from callctl.settings import Settings

_MARKS = {Verdict.FINE: ("✓", "green"), Verdict.UNWISE: ("!", "yellow"), Verdict.FAILED: ("✗", "bold red")}
_CONNECT_S = 2
WITHOUT = {
    "gate": "a call is connected before callctl has answered, and is hung up when the answer is no",
    "sip_codes": "the caller sees the status that the switch chooses; the CDR keeps what was asked",
    "announcements": "a refusal is told by its status alone",
    "timer": "callctl hangs up by itself; while it is dead, nobody ends a call",
    "extends": "the whole grant is held when the call is admitted",
    "warns": "a warning is recorded in the log and not heard",
    "tells_who": "a CDR does not say who hung up, unless callctl did",
    "hangs_up": "a call ends with its grant, and no sooner",
    "lists": "a call whose end was lost is settled when its lease is over",
}
"""What happens where a switch lacks one of `ports.Capabilities`; also the table in docs/adapters.md."""


def add(commands: Any) -> None:
    doctor = commands.add_parser("doctor", parents=[client_options()], help="check the configuration and neighbours")
    doctor.add_argument(
        "--recount", action="store_true", help="put right what is held and in use, from the records of the live calls"
    )
    doctor.set_defaults(run=_doctor)


def _doctor(arguments: argparse.Namespace) -> int:
    from callctl.settings import load, warnings

    settings = load(arguments.config)
    findings = [fine("configuration", "every key is understood")]
    findings += [unwise("configuration", warning) for warning in warnings(settings, arguments.config)]
    findings += _directories(settings)
    findings += _redis(settings, recount=arguments.recount)
    neighbours = _daemon(Client.of(arguments))
    findings += neighbours or [unwise("daemon", "is not running"), *_reachable(settings)]
    if arguments.json:
        print_json([{"verdict": it.verdict, "check": it.check, "detail": it.detail} for it in findings])
    else:
        _show(findings)
    return Exit.NO if any(finding.verdict is Verdict.FAILED for finding in findings) else Exit.OK


def _directories(settings: "Settings") -> list[Finding]:
    wanted = {"redis.data_dir": settings.redis.data_dir}
    wanted |= {f"sink {it.name}": it.directory for it in settings.sink if it.kind == "file"}
    findings = []
    for check, directory in wanted.items():
        nearest = directory.absolute()
        while not nearest.exists():
            nearest = nearest.parent
        if nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK):
            findings.append(fine(check, f"{directory} can be written"))
        else:
            findings.append(failed(check, f"{nearest} cannot be written"))
    return findings


def _redis(settings: "Settings", *, recount: bool) -> list[Finding]:
    if settings.redis.url is not None:
        url = settings.redis.url.get_secret_value()
    else:
        socket = (settings.redis.data_dir / "redis/redis.sock").absolute()
        if not _answers(socket):
            absent = fine("redis", f"the embedded server starts with callctl; its data: {socket.parent}")
            return [absent, *([failed("recount", "needs a running callctl")] if recount else [])]
        url = f"unix://{quote(str(socket))}"
    return [*_examined(url), *(_recounted(url) if recount else [])]


def _recounted(url: str) -> list[Finding]:
    import asyncio

    from callctl.errors import ConfigError, StoreUnavailable
    from callctl.store.recounting import recount

    try:
        differences = asyncio.run(recount(url))
    except (ConfigError, StoreUnavailable) as error:
        return [failed("recount", printable(str(error)))]
    if not differences:
        return [fine("recount", "what is held and in use is what the live calls add up to")]
    return [unwise("recount", f"{it.hash} {it.field}: {it.found} put right to {it.counted}") for it in differences]


def _examined(url: str) -> list[Finding]:
    import asyncio

    from callctl.errors import ConfigError, StoreUnavailable
    from callctl.store.doctor import Health, examine

    verdicts = {Health.OK: Verdict.FINE, Health.WARNING: Verdict.UNWISE, Health.BAD: Verdict.FAILED}
    try:
        diagnosis = asyncio.run(examine(url))
    except (ConfigError, StoreUnavailable) as error:
        return [failed("redis", printable(str(error)))]
    findings = [
        Finding(verdicts[it.health], f"redis {it.subject}", ". ".join(filter(None, (it.found, it.advice))))
        for it in diagnosis.findings
    ]
    return [*findings, Finding(verdicts[diagnosis.persistence], "redis loss", diagnosis.loss)]


def _answers(path: Path) -> bool:
    import socket

    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:  # also a path that is too long for a socket
            return False
    return True


def _daemon(client: Client) -> list[Finding]:
    """What the running daemon says of its neighbours; nothing where none runs."""
    try:
        readiness = client.get("/readyz")
    except UnreachableError:
        return []
    except SaidNoError as no:
        readiness = no.answer
    findings = [fine("daemon", f"answers at {client.url}")]
    for link in readiness.get("links", ()):
        up = "up" if link["up"] else "down"
        detail = " ".join(filter(None, (up, "since", clock_time(link["since"]), link["detail"])))
        verdict = Verdict.FINE if link["up"] else Verdict.FAILED
        findings.append(Finding(verdict, f"{link['kind']} {link['name']}", detail))
        if link["capabilities"] is not None:
            findings += _capable(f"switch {link['name']}", link["capabilities"])
    return findings


def _capable(switch: str, capabilities: dict[str, Any]) -> list[Finding]:
    """What a switch can do, and what happens for each thing that it cannot."""
    from callctl.accounts import WarnTo

    warned = capabilities["warns"]
    can = [name for name in WITHOUT if name != "warns" and capabilities[name]]
    can += [f"warns {party}" for party in warned]
    cannot = {name: name for name in WITHOUT if not capabilities[name]}
    if warned and len(warned) < len(WarnTo):
        cannot["warns"] = "warns " + " and ".join(party for party in WarnTo if party not in warned)
    missing = [unwise(f"{switch} without {named}", WITHOUT[name]) for name, named in cannot.items()]
    return [fine(f"{switch} can", ", ".join(can) or "nothing but report"), *missing]


def _reachable(settings: "Settings") -> list[Finding]:
    """Without a daemon to ask: does anybody listen where switches and brokers should?"""
    import socket

    from callctl.settings.switches import LISTENING

    places = [(f"switch {it.name}", it.host, it.port) for it in settings.switch if not isinstance(it, LISTENING)]
    places += [(f"sink {it.name}", it.host, it.port) for it in settings.sink if it.kind == "mqtt"]
    findings = []
    for check, host, port in places:
        try:
            socket.create_connection((host, port), _CONNECT_S).close()
            findings.append(fine(check, f"{host}:{port} accepts connections"))
        except OSError as problem:
            findings.append(failed(check, f"{host}:{port}: {problem.strerror or problem}"))
    return findings


def _show(findings: list[Finding]) -> None:
    from rich.text import Text

    screen = console()
    width = max(len(finding.check) for finding in findings)
    for finding in findings:
        mark, style = _MARKS[finding.verdict]
        line = Text(f"{mark} {cell_text(finding.check):{width}}  ", style)
        screen.print(line.append(cell_text(finding.detail), "default"))
