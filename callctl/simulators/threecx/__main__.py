"""`python -m callctl.simulators.threecx`: a simulated 3CX to connect a controller to, and phones that call."""

import argparse
import asyncio
import contextlib
import itertools
import sys

from callctl.clock import SystemClock, format_time
from callctl.simulators.scaled_clock import ScaledClock
from callctl.simulators.threecx import Far, Setup, SimCall, ThreeCxSimulator


def read_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m callctl.simulators.threecx", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=5001)
    parser.add_argument("--client-id", default="900", help="also the DN of the route point")
    parser.add_argument("--secret", default="callctl")
    parser.add_argument("--speed", type=float, default=1.0, help="how many times as fast as real time")
    parser.add_argument("--calls", type=int, default=0, help="place so many calls, then stop; 0: only serve")
    parser.add_argument("--every", type=float, default=1.0, metavar="SECONDS", help="time between two calls")
    parser.add_argument("--extension", default="112", help="which extension calls")
    parser.add_argument("--called", action="append", metavar="NUMBER", help="may be repeated: one after the other")
    parser.add_argument("--via", metavar="DN", help="calls are routed to this DN, as to the route point")
    parser.add_argument("--ring", type=float, default=2.0, metavar="SECONDS")
    parser.add_argument("--talk", type=float, default=10.0, metavar="SECONDS", help="0: until somebody drops it")
    return parser.parse_args(arguments)


def describe(call: SimCall) -> str:
    """One line for a person."""
    ended = call.ended or call.began
    end = f"talked {call.talked_ms / 1_000:.1f} s" if call.answered is not None else "not answered"
    return f"{format_time(ended.wall_ms)}  {call.caller.number} > {call.dialled}  {end}, ended by {call.ended_by}"


async def report(call: SimCall) -> None:
    await call.over.wait()
    _say(describe(call))


async def serve(options: argparse.Namespace) -> None:
    clock = ScaledClock(SystemClock(), options.speed)
    setup = Setup(client_id=options.client_id, secret=options.secret)
    numbers = itertools.cycle(options.called or ["31612345678"])
    async with ThreeCxSimulator(setup, host=options.host, port=options.port, clock=clock) as simulator:
        simulator.pbx.any_far = Far(rings_s=options.ring, talks_s=options.talk or None)
        _say(f"3CX, simulated: {simulator.url}, client id {setup.client_id}")
        reports = []
        for number in itertools.islice(numbers, options.calls):
            call = simulator.phone_dials(options.extension, number, via=options.via)
            if call is not None:
                reports.append(asyncio.create_task(report(call)))
            await clock.sleep_ms(round(options.every * 1_000))
        if reports:
            await asyncio.gather(*reports)
        else:
            await asyncio.Event().wait()


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main(arguments: list[str] | None = None) -> None:
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(read_arguments(arguments)))


if __name__ == "__main__":
    main()
