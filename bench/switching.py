"""Whole calls over simulated switches: they and their phones are in this process, callctl is in another."""

import asyncio
import time
from pathlib import Path
from typing import Any

from bench.daemon import TOKEN
from bench.figures import Figure, percentile
from bench.provider import Callers
from bench.server import Redis
from bench.serving import LINKED_WITHIN_S, Daemon, callctl
from callctl.simulators import ami as asterisk
from callctl.simulators import esl as freeswitch

PHONES = 50
CALLS = 20  # of each phone, one after the other
ANSWERED_WITHIN_S = 10

Simulator = asterisk.AmiSimulator | freeswitch.EslSimulator


async def ami(server: Redis, scratch: Path) -> list[Figure]:
    """Whole calls that nobody lets ring: gate, decision, dialling, answer, hang-up, CDR."""
    async with asterisk_simulator() as switch, callctl(server, scratch, table(switch)) as door:
        answers_s, took_s, cpu_s = await _loaded(switch, door)
        one: list[float] = []
        await phone(switch, Callers(seed=3), CALLS, one)
        one.sort()
        return [
            Figure("whole calls through the AMI simulator", len(answers_s) / took_s, "calls/s"),
            Figure("callctl's CPU for such a call", cpu_s / len(answers_s) * 1e6, "us CPU"),
            Figure(f"from dialling to answer, {PHONES} at once: median", percentile(answers_s, 50) * 1e3, "ms"),
            Figure("the same, 99th percentile", percentile(answers_s, 99) * 1e3, "ms"),
            Figure("from dialling to answer, one at a time: median", percentile(one, 50) * 1e3, "ms"),
        ]


async def esl(server: Redis, scratch: Path) -> list[Figure]:
    """The same through a FreeSWITCH's event socket."""
    async with freeswitch.EslSimulator(TOKEN) as switch, callctl(server, scratch, table(switch)) as door:
        answers_s, took_s, cpu_s = await _loaded(switch, door)
        return [
            Figure("whole calls through the ESL simulator", len(answers_s) / took_s, "calls/s"),
            Figure("callctl's CPU for such a call of FreeSWITCH", cpu_s / len(answers_s) * 1e6, "us CPU"),
        ]


def asterisk_simulator() -> asterisk.AmiSimulator:
    return asterisk.AmiSimulator({"ccgate": asterisk.User(TOKEN, filtered=True)})


def table(switch: Simulator) -> dict[str, Any]:
    """Its `[[switch]]`."""
    kind = "asterisk" if isinstance(switch, asterisk.AmiSimulator) else "freeswitch"
    return {"name": f"{kind}-{switch.port}", "kind": kind, "port": switch.port, "secret": TOKEN}


async def phone(switch: Simulator, callers: Callers, calls: int, answers_s: list[float]) -> None:
    """Calls one after the other; TimeoutError where one is not decided."""
    for _ in range(calls):
        took_s = await call(switch, callers)
        answers_s.append(took_s)


async def call(switch: Simulator, callers: Callers) -> float:
    """Seconds from dialling to the answer, of a call that is hung up at once. RuntimeError where it was refused."""
    _, payer, caller, dialled = callers.dial()
    script: dict[str, Any] = {"caller": caller, "called": dialled, "account": payer, "ring_s": 0, "talk_s": 0}
    before = time.perf_counter()
    placed: asterisk.SimCall | freeswitch.SimCall
    if isinstance(switch, asterisk.AmiSimulator):
        placed = switch.place_call(asterisk.Script(**script))
    else:
        placed = switch.place_call(freeswitch.Script(**script))
    async with asyncio.timeout(ANSWERED_WITHIN_S):
        answered = await placed.answer()
        took_s = time.perf_counter() - before
        await placed.outcome()
    if not answered:
        raise RuntimeError("a call was not connected: what is measured is not what was meant")
    return took_s


async def until_linked(switch: Simulator) -> None:
    """Until callctl decides its calls. A link that has broken often is tried again after a pause."""
    async with asyncio.timeout(LINKED_WITHIN_S):
        while True:
            try:
                await call(switch, Callers(seed=4))
            except RuntimeError:
                continue
            return


async def _loaded(switch: Simulator, door: Daemon) -> tuple[list[float], float, float]:
    """Each call's seconds to its answer, sorted; the seconds and callctl's CPU seconds in all."""
    await until_linked(switch)
    callers = Callers()
    answers_s: list[float] = []
    await phone(switch, callers, CALLS, [])
    cpu_s, before = door.cpu_s(), time.perf_counter()
    await asyncio.gather(*(phone(switch, callers, CALLS, answers_s) for _ in range(PHONES)))
    return sorted(answers_s), time.perf_counter() - before, door.cpu_s() - cpu_s
