"""`python -m callctl.simulators.ami`: a simulated Asterisk to connect a controller to, and phones that call."""

import argparse

from callctl.clock import SystemClock, format_time
from callctl.simulators import phones
from callctl.simulators.ami import AmiSimulator, Outcome, Script, Setup, User
from callctl.simulators.scaled_clock import ScaledClock


def read_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = phones.options("ami", 5038, __doc__)
    phones.add_caller(parser)
    parser.add_argument("--username", default="callctl")
    parser.add_argument("--secret", default="callctl")
    parser.add_argument("--release", type=int, default=22, help="Asterisk's major version: 22, or 16 as an old one")
    return parser.parse_args(arguments)


def describe(script: Script, outcome: Outcome) -> str:
    """One line for a person."""
    when = format_time(outcome.ended_us // 1_000)
    if outcome.answered_us is None:
        said = f", told {outcome.announcement}" if outcome.announcement else ""
        end = f"{outcome.sip} by {outcome.ended_by}{said}"
    else:
        end = f"talked {outcome.talked_ms / 1_000:.1f} s, ended by {outcome.ended_by}"
    return f"{when}  {script.caller} > {script.called}  {end}"


async def _outcome(switch: AmiSimulator, script: Script) -> str:
    return describe(script, await switch.place_call(script).outcome())


async def serve(asked: argparse.Namespace) -> None:
    clock = ScaledClock(SystemClock(), asked.speed)
    users = {asked.username: User(asked.secret)}
    setup = Setup(release=asked.release)
    async with AmiSimulator(users, host=asked.host, port=asked.port, setup=setup, clock=clock) as switch:
        phones.say(f"Asterisk {asked.release}, simulated: manager interface on {switch.host}:{switch.port}")
        await phones.call((_outcome(switch, Script(**terms)) for terms in phones.scripts(asked)), asked, clock)


if __name__ == "__main__":
    phones.run(serve(read_arguments()))
