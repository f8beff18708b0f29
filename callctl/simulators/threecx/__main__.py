"""`python -m callctl.simulators.threecx`: a simulated 3CX to connect a controller to, and phones that call."""

import argparse

from callctl.clock import SystemClock, format_time
from callctl.simulators import phones
from callctl.simulators.scaled_clock import ScaledClock
from callctl.simulators.threecx import Far, Setup, SimCall, ThreeCxSimulator


def read_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = phones.options("threecx", 5001, __doc__)
    parser.add_argument("--client-id", default="900", help="also the DN of the route point")
    parser.add_argument("--secret", default="callctl")
    parser.add_argument("--extension", default="112", help="which extension calls")
    parser.add_argument("--via", metavar="DN", help="calls are routed to this DN, as to the route point")
    return parser.parse_args(arguments)


def describe(call: SimCall) -> str:
    """One line for a person."""
    ended = call.ended or call.began
    end = f"talked {call.talked_ms / 1_000:.1f} s" if call.answered is not None else "not answered"
    return f"{format_time(ended.wall_ms)}  {call.caller.number} > {call.dialled}  {end}, ended by {call.ended_by}"


async def _outcome(simulator: ThreeCxSimulator, asked: argparse.Namespace, number: str) -> str:
    call = simulator.phone_dials(asked.extension, number, via=asked.via)
    if call is None:
        return f"{asked.extension} > {number}  not taken"
    await call.over.wait()
    return describe(call)


async def serve(asked: argparse.Namespace) -> None:
    clock = ScaledClock(SystemClock(), asked.speed)
    setup = Setup(client_id=asked.client_id, secret=asked.secret)
    async with ThreeCxSimulator(setup, host=asked.host, port=asked.port, clock=clock) as simulator:
        simulator.pbx.any_far = Far(rings_s=asked.ring, talks_s=asked.talk or None)
        phones.say(f"3CX, simulated: {simulator.url}, client id {setup.client_id}")
        await phones.call((_outcome(simulator, asked, it) for it in phones.called(asked)), asked, clock)


if __name__ == "__main__":
    phones.run(serve(read_arguments()))
