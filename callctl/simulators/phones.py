"""The command line of a simulated switch: it serves, phones call, and a line tells what became of each call."""

import argparse
import asyncio
import contextlib
import itertools
import sys
from collections.abc import Coroutine, Iterable
from typing import Any

from callctl.ports import Clock


def options(switch: str, port: int, about: str | None) -> argparse.ArgumentParser:
    """What every one of them understands. `port`: where it listens if nothing else is said."""
    parser = argparse.ArgumentParser(prog=f"python -m callctl.simulators.{switch}", description=about)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=port)
    parser.add_argument("--speed", type=float, default=1.0, help="how many times as fast as real time")
    parser.add_argument("--calls", type=int, default=0, help="place so many calls, then stop; 0: only serve")
    parser.add_argument("--every", type=float, default=1.0, metavar="SECONDS", help="time between two calls")
    parser.add_argument("--called", action="append", metavar="NUMBER", help="may be repeated: one after the other")
    parser.add_argument("--ring", type=float, default=2.0, metavar="SECONDS")
    parser.add_argument("--talk", type=float, default=10.0, metavar="SECONDS", help="0: until somebody cuts")
    return parser


def add_caller(parser: argparse.ArgumentParser) -> None:
    """Of a switch whose callers are phones at an address."""
    parser.add_argument("--caller", default="31201234567")
    parser.add_argument("--account", default="", help="the accountcode of the calling phone")
    parser.add_argument("--source-ip", default="192.0.2.10")


def called(asked: argparse.Namespace) -> list[str]:
    """Whom the phones call, in order."""
    return list(itertools.islice(itertools.cycle(asked.called or ["31612345678"]), asked.calls))


def scripts(asked: argparse.Namespace) -> list[dict[str, Any]]:
    """The calls to place, in order, as the keys of a `Script`; needs `add_caller`."""
    terms = {"caller": asked.caller, "account": asked.account, "source_ip": asked.source_ip}
    terms |= {"ring_s": asked.ring, "talk_s": asked.talk or None}
    return [{"called": number, **terms} for number in called(asked)]


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def call(calls: Iterable[Coroutine[Any, Any, str]], asked: argparse.Namespace, clock: Clock) -> None:
    """One call after the other; each returns what became of it. Where there are none, serve until interrupted."""
    reports = []
    for one in calls:
        reports.append(asyncio.create_task(_report(one)))
        await clock.sleep_ms(round(asked.every * 1_000))
    if reports:
        await asyncio.gather(*reports)
    else:
        await asyncio.Event().wait()


async def _report(one: Coroutine[Any, Any, str]) -> None:
    say(await one)


def run(serving: Coroutine[Any, Any, None]) -> None:
    """Until it is over, or interrupted."""
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serving)
