"""`python -m callctl.simulators.esl`: a simulated FreeSWITCH to connect a controller to, and phones that call."""

import argparse

from callctl.clock import SystemClock, format_time
from callctl.simulators import phones
from callctl.simulators.esl import EslSimulator, Outcome, Script, Setup
from callctl.simulators.scaled_clock import ScaledClock


def read_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = phones.options("esl", 8021, __doc__)
    phones.add_caller(parser)
    parser.add_argument("--secret", default="ClueCon")
    parser.add_argument("--gate", action="append", metavar="HOST:PORT", help="calls connect there; may be repeated")
    return parser.parse_args(arguments)


def describe(script: Script, outcome: Outcome) -> str:
    """One line for a person."""
    when = format_time(outcome.ended_us // 1_000)
    if not outcome.answered_us:
        said = f", told {outcome.announcement}" if outcome.announcement else ""
        end = f"{outcome.sip} {outcome.cause} by {outcome.ended_by}{said}"
    else:
        end = f"talked {outcome.talked_ms / 1_000:.1f} s, {outcome.cause} by {outcome.ended_by}"
    return f"{when}  {script.caller} > {script.called}  {end}"


async def _outcome(switch: EslSimulator, script: Script) -> str:
    return describe(script, await switch.place_call(script).outcome())


async def serve(asked: argparse.Namespace) -> None:
    clock = ScaledClock(SystemClock(), asked.speed)
    setup = Setup(gate=tuple(asked.gate or ()))
    async with EslSimulator(asked.secret, host=asked.host, port=asked.port, setup=setup, clock=clock) as switch:
        phones.say(f"FreeSWITCH, simulated: event socket on {switch.host}:{switch.port}")
        await phones.call((_outcome(switch, Script(**terms)) for terms in phones.scripts(asked)), asked, clock)


if __name__ == "__main__":
    phones.run(serve(read_arguments()))
