"""Decks of 200,000 rows, half of them bands: read, kept, and taken by a working daemon that another one follows."""

import asyncio
import gc
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import aiohttp
import msgspec

from bench.daemon import TOKEN
from bench.figures import Figure, at_most, percentile
from bench.provider import ROWS, Callers, rows
from bench.server import Redis
from bench.serving import daemon
from callctl.rating.builder import DeckBuilder
from callctl.rating.decks.deck import export_deck, import_deck
from callctl.rating.tariff import Band, Plan, Row
from callctl.store.decks import decode_rows, encode_rows

_CALLS_PER_S = 100
_POLL_S = 0.01
_STARTED_S = 7  # a daemon learns the numbering plans of all countries in its first seconds
_NEW_PRICE = 98_765_432  # of every number, outside its band
_AT = "/v1/accounts/customer-0000/quote?to=%2B31612345678"


async def decks(server: Redis, scratch: Path) -> list[Figure]:
    plan, deck = Plan("retail"), _banded()
    text = "".join(export_deck(deck))
    file = scratch / "deck.csv"
    file.write_text(text)
    gc.collect()
    before_s = time.process_time()
    read = import_deck(text, plan)
    took_s = time.process_time() - before_s
    assert list(read.rows) == deck
    kept = [Figure(f"deck of {ROWS:,} rows read and validated", took_s, "s CPU"), _memory(plan, deck)]
    del read, deck, text
    return kept + await _taken(server, scratch, file)


def _banded() -> list[Row]:
    """Every prefix with a price, and another one for working days."""
    day = Band(days=(1, 2, 3, 4, 5), from_min=8 * 60, until_min=18 * 60)
    deck = []
    for row in rows(ROWS // 2):
        deck.append(msgspec.structs.replace(row, per_minute=_NEW_PRICE))
        deck.append(msgspec.structs.replace(row, per_minute=_NEW_PRICE, band=day))
    return deck


def _memory(plan: Plan, deck: list[Row]) -> Figure:
    """As a process holds it that has it from the store."""
    steps = [encode_rows(deck[start : start + 2_000]) for start in range(0, len(deck), 2_000)]
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    builder = DeckBuilder(plan)
    for step in steps:
        for row in decode_rows(step):
            builder.add(row)
    compiled = builder.build()
    taken = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    return Figure(f"memory of a deck of {len(deck):,} rows", taken / 2**20 if compiled else 0, "MB", (at_most(150),))


async def _taken(server: Redis, scratch: Path, file: Path) -> list[Figure]:
    """From the command line through the front door of one daemon to the price that another one quotes."""
    url = f"redis://127.0.0.1:{server.port}/0"
    async with (
        daemon("callctl", url, str(scratch)) as door,
        daemon("callctl", url, str(scratch)) as follower,
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {TOKEN}"}) as http,
    ):
        await asyncio.sleep(_STARTED_S)
        done = asyncio.Event()
        watched = [asyncio.create_task(_admit(http, each.port, done)) for each in (door, follower)]
        command = (sys.executable, "-m", "callctl", "tariff", "import", "retail", str(file), "--json")
        at = ("--url", f"http://127.0.0.1:{door.port}", "--token", TOKEN)
        began_s = time.perf_counter()
        importing = await asyncio.create_subprocess_exec(*command, *at, stdout=subprocess.DEVNULL)
        assert await importing.wait() == 0
        took_s = time.perf_counter() - began_s
        live = await _quoted(http, door.port)
        while await _quoted(http, follower.port) != live:  # noqa: ASYNC110  it is another process
            await asyncio.sleep(_POLL_S)
        followed_s = time.perf_counter() - began_s - took_s
        await asyncio.sleep(1)  # the old decks go, too
        done.set()
        here_ms, there_ms = await asyncio.gather(*watched)
    return [
        Figure(f"deck of {ROWS:,} rows from the command line to live", took_s, "s", (at_most(10),)),
        Figure("until another daemon follows", followed_s, "s", (at_most(1),)),
        Figure("slowest admission meanwhile", here_ms[-1], "ms", (at_most(20),)),
        Figure("its 99th percentile", percentile(here_ms, 99), "ms"),
        Figure("slowest admission of the daemon that follows", there_ms[-1], "ms", (at_most(20),)),
    ]


async def _admit(http: aiohttp.ClientSession, port: int, done: asyncio.Event) -> list[float]:
    """Calls that come and go at a steady pace; the latencies of their admissions in ms, sorted."""
    callers, latencies_ms = Callers(port), []
    while not done.is_set():
        call_id, payer, caller, dialled = callers.dial()
        asked = {"call_id": call_id, "account": payer, "from": caller, "to": dialled, "can_extend": True}
        began_s = time.perf_counter()
        async with http.post(f"http://127.0.0.1:{port}/v1/calls", json=asked) as answer:
            decision = await answer.json()
        latencies_ms.append((time.perf_counter() - began_s) * 1e3)
        assert decision["verdict"] == "allowed", decision
        async with http.post(f"http://127.0.0.1:{port}/v1/calls/{call_id}/end", json={}) as answer:
            await answer.read()
        await asyncio.sleep(1 / _CALLS_PER_S)
    return sorted(latencies_ms)


async def _quoted(http: aiohttp.ClientSession, port: int) -> str:
    async with http.get(f"http://127.0.0.1:{port}{_AT}") as answer:
        return str((await answer.json())["rate"]["per_minute"])
