"""`make bench`: every figure of callctl, each beside its limit, measured in the same run.

    python -m bench [--json] [--only WORD]

Nothing fails here: what misses its target is marked. CPU times are of this machine, ratios of any.
"""

import argparse
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import uvloop

from bench import (
    deciding,
    figures,
    gates,
    importing,
    limiting,
    neighbours,
    provider,
    rating,
    real,
    serving,
    storing,
    switching,
    whatif,
)
from bench.figures import Figure
from bench.server import NotInstalledError, redis
from callctl.app import spare_the_garbage_collector
from callctl.logs import set_up

GROUPS = ("rating", "decision", "deck", "whatif", "store", "memory", "http", "ami", "switches")


async def measure(wanted: set[str], scratch: Path, not_measured: list[str]) -> AsyncIterator[list[Figure]]:
    """The groups that are wanted, one after the other, for they would disturb each other."""
    defined = await provider.definitions()
    spare_the_garbage_collector()  # as the daemon does
    if "rating" in wanted:
        yield rating.figures()
    if "decision" in wanted:
        yield await deciding.decision(defined, scratch)
    if "deck" in wanted:
        yield [deciding.lookup(defined.tariffs.own_deck("retail"))]
        yield await deciding.swap(defined)
    if "whatif" in wanted:
        decks = defined.tariffs.own_deck("retail"), defined.tariffs.own_deck("carrier")
        yield [whatif.past_calls(*decks, scratch)]
    try:
        async with redis(scratch) as server:
            await storing.fund(server)
            if "store" in wanted:
                yield await storing.throughput(defined, server)
                yield [await storing.alone(defined, server)]
                yield await storing.rechecks(defined, server, scratch)
                yield await storing.at_rest(server)
                yield await limiting.limits(scratch)
            if "memory" in wanted:
                yield await storing.memory(defined, server, scratch)
        if "deck" in wanted:
            async with redis(scratch) as server:
                yield await importing.decks(server, scratch)
        if "http" in wanted:
            async with redis(scratch) as server:
                yield await serving.http(server, scratch)
        async for some in through_switches(wanted, scratch, not_measured):
            yield some
    except NotInstalledError as missing:
        not_measured.append(str(missing))


async def through_switches(wanted: set[str], scratch: Path, not_measured: list[str]) -> AsyncIterator[list[Figure]]:
    """Each adapter over its simulator or a small client, then the real switches that are here."""
    parts = [switching.ami] if "ami" in wanted else []
    if "switches" in wanted:
        parts += [switching.esl, gates.threecx, gates.evapi, gates.call_control, gates.radius, neighbours.neighbours]
    for part in parts:
        async with redis(scratch) as server:
            yield await part(server, scratch)
    for through_real in (real.asterisk, real.kamailio) if "switches" in wanted else ():
        try:
            yield await through_real(scratch)
        except NotInstalledError as missing:
            not_measured.append(str(missing))


async def bench(wanted: set[str], *, as_json: bool) -> None:
    found: list[Figure] = []
    not_measured: list[str] = []
    with tempfile.TemporaryDirectory(prefix="callctl-bench-") as scratch:
        async for some in measure(wanted, Path(scratch), not_measured):
            found += some
            print(*(figure.name for figure in some), sep="\n", file=sys.stderr)
    if as_json:
        print(figures.as_json(found, not_measured).decode())
    else:
        figures.show(found, not_measured)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument("--only", choices=GROUPS, action="append", help="this group; may be repeated")
    asked = parser.parse_args()
    set_up(level="critical")
    uvloop.run(bench(set(asked.only or GROUPS), as_json=asked.json))


main()
