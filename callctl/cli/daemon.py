"""`callctl run` and `callctl demo`: the programs that stay."""

import argparse
from typing import Any

from callctl.cli.client import configuration_option, count
from callctl.cli.exits import Exit, SaidNoError


def add(commands: Any) -> None:
    run = commands.add_parser(
        "run", parents=[configuration_option()], help="start the daemon; it stays in the foreground"
    )
    run.set_defaults(run=_run)
    demo = commands.add_parser("demo", help="see everything at work, without a PBX and without root")
    demo.add_argument("--seconds", type=count, metavar="N", help="end after this time")
    demo.add_argument("--port", type=count, default=0, metavar="P", help="of the API; default: a free one")
    demo.set_defaults(run=_demo)


def _run(arguments: argparse.Namespace) -> int:
    from callctl import logs
    from callctl.settings import load, warnings

    settings = load(arguments.config)
    logs.set_up(settings.log.level, settings.log.format)

    import structlog
    import uvloop

    from callctl.app import serve

    for warning in warnings(settings, arguments.config):
        structlog.get_logger("callctl").warning("unwise_setting", detail=warning)
    try:
        uvloop.run(serve(settings, lambda: load(arguments.config)))
    except OSError as failed:  # an address in use, a directory that cannot be written
        raise SaidNoError(f"cannot run: {failed}") from failed
    return Exit.OK


def _demo(arguments: argparse.Namespace) -> int:
    import asyncio

    from callctl.cli.demo import demo
    from callctl.cli.terminal import console

    try:
        return asyncio.run(demo(arguments.seconds, arguments.port, console()))
    except asyncio.CancelledError:  # SIGTERM
        return Exit.INTERRUPTED
