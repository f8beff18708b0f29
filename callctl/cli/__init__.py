"""The command line. What it answers with:

    0    done; for `explain`: the call would be allowed
    1    no: the daemon refused, a call would be refused, examples disagree, decks differ, a check of `doctor` failed
    2    the command line itself is wrong
    3    the configuration is wrong
    4    the daemon cannot be reached
    130  interrupted

Nothing heavy is imported before a command needs it, so that `--help` and completion stay instant.
"""

import argparse
import os
import sys
from collections.abc import Sequence

from callctl import __version__
from callctl.cli import (
    account,
    calls,
    cdr,
    daemon,
    doctor,
    exchange,
    explain,
    ids,
    rate,
    services,
    subscription,
    tariff,
    whatif,
)
from callctl.cli.exits import Exit, UnreachableError, WrongUseError
from callctl.errors import CallctlError, ConfigError

_GROUPS = (daemon, doctor, explain, rate, whatif, tariff, exchange, services, subscription, account, ids, calls, cdr)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command. The exit status."""
    parsed = _parser().parse_args(arguments)
    try:
        status: int = parsed.run(parsed)
        sys.stdout.flush()
    except WrongUseError as wrong:
        return _fail(Exit.USAGE, wrong)
    except ConfigError as wrong:
        return _fail(Exit.CONFIG, wrong)
    except UnreachableError as failed:
        return _fail(Exit.UNREACHABLE, failed)
    except CallctlError as no:
        return _fail(Exit.NO, no)
    except BrokenPipeError:  # `callctl cdr list | head`: the reader has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.OK
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    return status


def _fail(status: Exit, error: Exception) -> Exit:
    print(f"callctl: {error}", file=sys.stderr)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="callctl",
        description="May this call go ahead, for how long, and what does it cost?",
        epilog="exit status: 0 done, 1 no, 2 wrong usage, 3 wrong configuration, 4 daemon unreachable",
    )
    parser.add_argument("--version", action="version", version=f"callctl {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for group in _GROUPS:
        group.add(commands)
    return parser
