"""What the calls of one switch notice of another that hangs, is slow, or whose link breaks all the time.

Rounds with a good and with a bad neighbour by turns, the same calls in each, on both switches.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from bench.figures import Figure, Limit, at_most, percentile, ratio_at_most
from bench.provider import Callers
from bench.server import Redis
from bench.serving import callctl
from bench.switching import asterisk_simulator, call, phone, table, until_linked
from callctl.simulators.ami import AmiSimulator

ROUNDS = 8
PHONES = 4
CALLS = 25  # of each phone in a round
NEIGHBOURS_CALLS = 20  # in a round, all at once
BREAKS_EVERY_S = 0.1
LATE_MS = 1_000

Trouble = Callable[[AmiSimulator], contextlib.AbstractAsyncContextManager[None]]


@contextlib.asynccontextmanager
async def hung(switch: AmiSimulator) -> AsyncIterator[None]:
    """Accepts everything, says nothing."""
    switch.freeze()
    yield
    switch.thaw()


@contextlib.asynccontextmanager
async def slow(switch: AmiSimulator) -> AsyncIterator[None]:
    """Says everything a second late."""
    switch.faults.delay_ms = LATE_MS
    yield
    switch.faults.delay_ms = 0


@contextlib.asynccontextmanager
async def flapping(switch: AmiSimulator) -> AsyncIterator[None]:
    """Breaks every link ten times a second."""

    async def breaking() -> None:
        while True:
            await switch.drop_links()
            await asyncio.sleep(BREAKS_EVERY_S)

    task = asyncio.create_task(breaking())
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def neighbours(server: Redis, scratch: Path) -> list[Figure]:
    """The median from dialling to answer, and how many calls were not connected, beside each bad neighbour."""
    found = []
    lost = 0
    async with (
        asterisk_simulator() as switch,
        asterisk_simulator() as neighbour,
        callctl(server, scratch, table(switch), table(neighbour)),
    ):
        await until_linked(switch)
        for trouble in (hung, slow, flapping):
            good: list[float] = []
            bad: list[float] = []
            for _ in range(ROUNDS):
                await until_linked(neighbour)
                await _round(switch, neighbour, good)
                async with trouble(neighbour):
                    await _round(switch, neighbour, bad)
            lost += 2 * ROUNDS * PHONES * CALLS - len(good) - len(bad)
            good_ms, bad_ms = (percentile(sorted(answers_s), 50) * 1e3 for answers_s in (good, bad))
            limit = Limit("its neighbour well", good_ms)
            name = f"from dialling to answer, its neighbour {trouble.__name__}: median"
            found.append(Figure(name, bad_ms, "ms", (ratio_at_most(1.2),), limit))
    return [*found, Figure("calls not connected beside bad neighbours", lost, "calls", (at_most(0),))]


async def _round(switch: AmiSimulator, neighbour: AmiSimulator, answers_s: list[float]) -> None:
    """A phone stops at the first call that is not connected. What becomes of the neighbour's calls is not asked."""
    callers = Callers()
    beside = [asyncio.create_task(call(neighbour, callers)) for _ in range(NEIGHBOURS_CALLS)]
    phones = [phone(switch, callers, CALLS, answers_s) for _ in range(PHONES)]
    await asyncio.gather(*phones, return_exceptions=True)
    for task in beside:
        task.cancel()
    await asyncio.gather(*beside, return_exceptions=True)
