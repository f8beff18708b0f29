"""Calls through the real Asterisk and the real Kamailio, with callctl at the gate and without.

What callctl adds to the set-up: rounds by turns on two switches of the same configuration, one with callctl and one
whose gate stands open; all phones are in this process, so that every time is of one clock. Load: calls by SIPp.
"""

import asyncio
import contextlib
import math
import os
import shutil
import subprocess
import time
from collections.abc import AsyncIterator
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import ClientSession

from bench.daemon import ROWS
from bench.figures import Figure, Limit, at_most, percentile
from bench.provider import Callers, account, rows
from bench.server import NotInstalledError, redis
from bench.serving import Daemon, callctl, linked
from tests.switches.rig.asterisk import ACME, CARRIER_A, AsteriskRig, built_root
from tests.switches.rig.kamailio import LINK_SECRET, KamailioRig
from tests.switches.sip.call import Call
from tests.switches.sip.phone import Phone
from tests.switches.sip.sipp import CallsFailed, call_many, carrier

PAYER = account(0).id
NUMBER = "+31612345678"
ROUNDS = 5
CALLS = 100  # in a round
PER_S = 50
TALK_S = 0.2
LOAD_S = 10
LOAD_TALK_S = 1.0
EARLY_MS, LATE_MS = 50, 1_000  # that SIPp may hang up
SETTLED_WITHIN_S = 30.0

GATE_OPEN = """
[callctl-out](+)
exten => _+X.,1,Goto(callctl-dial,${EXTEN},1)
"""
MY_PARTIES = "#!define WITH_MY_PARTIES\n"
PAID = f'route[MY_PARTIES] {{{{ $var(account) = "{PAYER}"; }}}}\n'
UNASKED = "route[MY_PARTIES] {{ route(CARRIER); exit; }}\n"
"""Carriers are called before the gate is reached."""

Rig = AsteriskRig | KamailioRig


class Aim(msgspec.Struct, frozen=True):
    """What a switch with callctl is to reach."""

    switch: str
    added_ms: float
    per_s: int


class Line(msgspec.Struct, frozen=True):
    """A switch, and a phone on each side of it."""

    caller: Phone
    callee: Phone
    setups_ms: list[float]


async def asterisk(scratch: Path) -> list[Figure]:
    """With the gate as it ships: UserEvent, and Wait. NotInstalledError where it cannot run."""
    _need("Asterisk", "debootstrap", "sipp")
    try:
        root = built_root()
    except subprocess.CalledProcessError:
        raise NotInstalledError("Asterisk cannot be built here: tests/switches/rig/build.sh") from None
    gated, bare = AsteriskRig(root), AsteriskRig(root)
    payer = gated.etc / "pjsip.local.conf"
    payer.write_text(payer.read_text().replace("accountcode = acme", f"accountcode = {PAYER}"))
    dialplan = bare.etc / "extensions.local.conf"
    dialplan.write_text(dialplan.read_text() + GATE_OPEN)
    table = {"kind": "asterisk", "name": "pbx", "port": gated.ami_port, "secret": gated.ami_secret}
    try:
        return await _figures(scratch, Aim("Asterisk", 5, 100), gated, bare, table)
    finally:
        gated.remove()
        bare.remove()


async def kamailio(scratch: Path) -> list[Figure]:
    """Over evapi. NotInstalledError where it cannot run."""
    _need("Kamailio", "kamailio", "sipp")
    gated = KamailioRig(scratch / "gated", more=MY_PARTIES, routes=PAID)
    bare = KamailioRig(scratch / "bare", more=MY_PARTIES, routes=UNASKED)
    table = {"kind": "kamailio", "name": "sbc", "port": gated.link_port, "secret": LINK_SECRET}
    try:
        return await _figures(scratch, Aim("Kamailio", 3, 400), gated, bare, table)
    finally:
        gated.stop()
        bare.stop()


def _need(switch: str, *programs: str) -> None:
    if os.geteuid() != 0:
        raise NotInstalledError(f"calls through the real {switch} need root")
    for program in programs:
        if not shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin"):
            raise NotInstalledError(f"calls through the real {switch} need {program}")


async def _figures(scratch: Path, aim: Aim, gated: Rig, bare: Rig, table: dict[str, Any]) -> list[Figure]:
    """A Redis of its own, with no CDR of other calls."""
    gated.start()
    bare.start()
    home = scratch / aim.switch
    home.mkdir()
    async with redis(home) as server, callctl(server, home, table) as door, door.api() as api:
        await linked(api)
        return [*await _set_up(aim, gated, bare), *await _load(aim, gated, door, api)]


# -------------------------------------------------------------------- set-up


async def _set_up(aim: Aim, gated: Rig, bare: Rig) -> list[Figure]:
    """From the caller's INVITE to the callee's."""
    callers = Callers()
    async with _line(gated) as asked, _line(bare) as unasked:
        for _ in range(ROUNDS):
            for line in (unasked, asked):
                await _round(line, callers)
        failed = 2 * ROUNDS * CALLS - len(asked.setups_ms) - len(unasked.setups_ms)
        with_ms, without_ms = sorted(asked.setups_ms), sorted(unasked.setups_ms)
    if not with_ms or not without_ms:
        raise RuntimeError("no call was connected: what is measured is not what was meant")
    name = f"real {aim.switch}, {PER_S} calls/s: from INVITE to INVITE"
    median, last = (Limit("without callctl", percentile(without_ms, percent)) for percent in (50, 99))
    added_ms = percentile(with_ms, 50) - median.measured
    return [
        Figure(f"{name}, median", percentile(with_ms, 50), "ms", (), median),
        Figure("the same, 99th percentile", percentile(with_ms, 99), "ms", (), last),
        Figure("what callctl adds to the median", added_ms, "ms", (at_most(aim.added_ms),)),
        Figure("calls that failed meanwhile", failed, "calls", (at_most(0),)),
    ]


@contextlib.asynccontextmanager
async def _line(rig: Rig) -> AsyncIterator[Line]:
    async with (
        Phone(ACME, rig.sip_address, port=rig.peer_port, tone_hz=None) as caller,
        Phone(CARRIER_A, rig.sip_address, port=rig.peer_port, tone_hz=None) as callee,
    ):
        callee.answer_calls()
        yield Line(caller, callee, [])


async def _round(line: Line, callers: Callers) -> None:
    began = time.monotonic()
    placed = []
    for call in range(CALLS):
        await asyncio.sleep(began + call / PER_S - time.monotonic())
        placed.append(asyncio.create_task(_call(line, f"+31{callers.dial()[3][1:]}")))
    await asyncio.gather(*placed, return_exceptions=True)  # one that fails is missing among `setups_ms`


async def _call(line: Line, number: str) -> None:
    """A call of a moment. AssertionError or TimeoutError where it fails."""
    outgoing = await line.caller.call(number)
    await outgoing.until_answered()
    incoming = next(call for call in line.callee.calls if call.number == number)
    await asyncio.sleep(TALK_S)
    await outgoing.hang_up()
    await incoming.until_ended()
    line.setups_ms.append((incoming.began_at - outgoing.began_at) * 1e3)
    for call in (outgoing, incoming):
        await _forget(call)


async def _forget(call: Call) -> None:
    """A phone looks through all of its calls at every message."""
    call.phone.calls.remove(call)
    await call.ear.close()


# -------------------------------------------------------------------- load


async def _load(aim: Aim, rig: Rig, door: Daemon, api: ClientSession) -> list[Figure]:
    """Short calls at the rate of the aim, and their records."""
    calls = aim.per_s * LOAD_S
    before = (await _settled(api, 0, ROUNDS * CALLS))[-1]["sequence"]
    balance = await _balance(api)
    cpu_s, failed = door.cpu_s(), 0
    async with carrier(rig):
        try:
            await call_many(rig, ACME, NUMBER, calls=calls, per_second=aim.per_s, talk_s=LOAD_TALK_S)
        except CallsFailed as some:
            failed = calls - some.ended
    cpu_us = (door.cpu_s() - cpu_s) / calls * 1e6
    records = await _settled(api, before, calls)
    distinct = len({record["call_id"] for record in records})
    wrong = abs(calls - distinct) + len(records) - distinct + sum(map(_wrong, records))
    unaccounted = balance - await _balance(api) - sum(Decimal(record["charge"]) for record in records)
    name = f"real {aim.switch}, {aim.per_s} calls/s for {LOAD_S} s"
    return [
        Figure(f"{name}: calls that failed", failed, "calls", (at_most(0),)),
        Figure("CDRs of them missing or wrong", wrong, "CDRs", (at_most(0),)),
        Figure("what was paid beside what they say", int(abs(unaccounted) * 1_000_000), "micro-EUR", (at_most(0),)),
        Figure(f"callctl's CPU for such a call of {aim.switch}", cpu_us, "us CPU"),
    ]


def _wrong(record: dict[str, Any]) -> bool:
    """Whether it is not of an answered call that its caller has ended in time, at the price of the deck."""
    late_ms = record["duration_ms"] - LOAD_TALK_S * 1e3
    price = _FEE + _PER_MINUTE * record["billed_s"] / 60
    return (
        (record["account"], record["verdict"], record["released_by"]) != (PAYER, "allowed", "caller")
        or record["estimated"]
        or not -EARLY_MS <= late_ms <= LATE_MS
        or record["billed_s"] != math.ceil(record["duration_ms"] / 1e3)
        or Decimal(record["charge"]) != price.quantize(Decimal("0.0001"), ROUND_HALF_UP)
    )


_ROW = next(row for row in rows(ROWS) if row.prefix == NUMBER[1:7])
_FEE = Decimal(_ROW.connection_fee).scaleb(-6)
_PER_MINUTE = Decimal(_ROW.per_minute or 0).scaleb(-8)


# -------------------------------------------------------------------- what callctl says


async def _settled(api: ClientSession, after: int, records: int) -> list[dict[str, Any]]:
    """The CDRs beyond this sequence, once there are so many, or once it is too late for them."""
    found: list[dict[str, Any]] = []
    until = time.monotonic() + SETTLED_WITHIN_S
    while True:
        page = await (await api.get("/v1/cdrs", params={"after": after})).json()
        found, after = found + page["cdrs"], page["next"]
        if not page["more"]:
            if len(found) >= records or time.monotonic() > until:
                return found
            await asyncio.sleep(0.1)  # they are settled in another process


async def _balance(api: ClientSession) -> Decimal:
    """Of the payer."""
    account = await (await api.get(f"/v1/accounts/{PAYER}")).json()
    return Decimal(account["balance"])
