"""Calls through the manager interface: the simulated Asterisk in this process, callctl in another."""

import asyncio
import time
from pathlib import Path

from bench.daemon import TOKEN
from bench.figures import Figure, percentile
from bench.provider import Callers
from bench.server import Redis
from bench.serving import daemon
from callctl.simulators.ami import AmiSimulator, Script, User

PHONES = 50
CALLS = 20  # of each phone, one after the other


async def ami(server: Redis, scratch: Path) -> list[Figure]:
    """Whole calls that nobody lets ring: gate, decision, dialling, answer, hang-up, CDR."""
    async with AmiSimulator({"ccgate": User(TOKEN)}) as asterisk:
        url = f"redis://127.0.0.1:{server.port}/0"
        async with daemon("callctl", url, str(scratch), str(asterisk.port)) as door:
            await _until_linked(asterisk)
            callers = Callers()
            await _phone(asterisk, callers, [])
            answers_s: list[float] = []
            cpu_s, before = door.cpu_s(), time.perf_counter()
            await asyncio.gather(*(_phone(asterisk, callers, answers_s) for _ in range(PHONES)))
            took_s = time.perf_counter() - before
            cpu_s = door.cpu_s() - cpu_s
            one: list[float] = []
            await _phone(asterisk, callers, one)
            answers_s.sort()
            one.sort()
            made = PHONES * CALLS
            return [
                Figure("whole calls through the AMI simulator", made / took_s, "calls/s"),
                Figure("callctl's CPU for such a call", cpu_s / made * 1e6, "us CPU"),
                Figure(f"from dialling to answer, {PHONES} at once: median", percentile(answers_s, 50) * 1e3, "ms"),
                Figure("the same, 99th percentile", percentile(answers_s, 99) * 1e3, "ms"),
                Figure("from dialling to answer, one at a time: median", percentile(one, 50) * 1e3, "ms"),
            ]


async def _until_linked(asterisk: AmiSimulator) -> None:
    async with asyncio.timeout(10):
        while not asterisk.logins:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    await asyncio.sleep(0.2)  # it looks at the channels first


async def _phone(asterisk: AmiSimulator, callers: Callers, answers_s: list[float]) -> None:
    for _ in range(CALLS):
        _, payer, caller, dialled = callers.dial()
        before = time.perf_counter()
        call = asterisk.place_call(
            Script(caller=caller, called=dialled, account=payer, endpoint=payer, ring_s=0, talk_s=0)
        )
        await call.answer()
        answers_s.append(time.perf_counter() - before)
        await call.outcome()
