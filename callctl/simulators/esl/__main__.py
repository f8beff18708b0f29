"""`python -m callctl.simulators.esl`: a simulated FreeSWITCH to connect a controller to, and phones that call."""

import argparse
import asyncio
import contextlib
import itertools
import sys

from callctl.clock import SystemClock, format_time
from callctl.simulators.esl import EslSimulator, Outcome, Script, Setup, SimCall
from callctl.simulators.scaled_clock import ScaledClock


def read_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m callctl.simulators.esl", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8021)
    parser.add_argument("--secret", default="ClueCon")
    parser.add_argument("--gate", action="append", metavar="HOST:PORT", help="calls connect there; may be repeated")
    parser.add_argument("--speed", type=float, default=1.0, help="how many times as fast as real time")
    parser.add_argument("--calls", type=int, default=0, help="place so many calls, then stop; 0: only serve")
    parser.add_argument("--every", type=float, default=1.0, metavar="SECONDS", help="time between two calls")
    parser.add_argument("--caller", default="31201234567")
    parser.add_argument("--called", action="append", metavar="NUMBER", help="may be repeated: one after the other")
    parser.add_argument("--account", default="", help="the accountcode of the calling phone")
    parser.add_argument("--source-ip", default="192.0.2.10")
    parser.add_argument("--ring", type=float, default=2.0, metavar="SECONDS")
    parser.add_argument("--talk", type=float, default=10.0, metavar="SECONDS", help="0: until somebody cuts")
    return parser.parse_args(arguments)


def scripts(options: argparse.Namespace) -> list[Script]:
    """The calls to place, in order."""
    numbers = itertools.cycle(options.called or ["31612345678"])
    return [
        Script(
            caller=options.caller,
            called=called,
            account=options.account,
            source_ip=options.source_ip,
            ring_s=options.ring,
            talk_s=options.talk or None,
        )
        for called in itertools.islice(numbers, options.calls)
    ]


def describe(script: Script, outcome: Outcome) -> str:
    """One line for a person."""
    when = format_time(outcome.ended_us // 1_000)
    if not outcome.answered_us:
        said = f", told {outcome.announcement}" if outcome.announcement else ""
        end = f"{outcome.sip} {outcome.cause} by {outcome.ended_by}{said}"
    else:
        end = f"talked {outcome.talked_ms / 1_000:.1f} s, {outcome.cause} by {outcome.ended_by}"
    return f"{when}  {script.caller} > {script.called}  {end}"


async def report(call: SimCall) -> None:
    sys.stdout.write(describe(call.script, await call.outcome()) + "\n")
    sys.stdout.flush()


async def serve(options: argparse.Namespace) -> None:
    clock = ScaledClock(SystemClock(), options.speed)
    setup = Setup(gate=tuple(options.gate or ()))
    async with EslSimulator(options.secret, host=options.host, port=options.port, setup=setup, clock=clock) as switch:
        sys.stdout.write(f"FreeSWITCH, simulated: event socket on {switch.host}:{switch.port}\n")
        sys.stdout.flush()
        reports = []
        for script in scripts(options):
            reports.append(asyncio.create_task(report(switch.place_call(script))))
            await clock.sleep_ms(round(options.every * 1_000))
        if reports:
            await asyncio.gather(*reports)
        else:
            await asyncio.Event().wait()


def main(arguments: list[str] | None = None) -> None:
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(read_arguments(arguments)))


if __name__ == "__main__":
    main()
