"""The real Kamailio, its own call_control module and the shipped configuration, with calls by SIPp."""

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from callctl.accounts import Kind
from callctl.adapters.call_control.server import Local
from callctl.adapters.call_control.switch import CallControlSwitch
from callctl.call.admission import Policy
from callctl.call.events import HangUpAsked
from callctl.clock import SystemClock
from callctl.limits.concurrency import Caps
from tests.control_room import EURO, PER_SECOND, ControlRoom
from tests.switches.exactness import CUT_MS, in_time, is_ever_within
from tests.switches.linked import answered
from tests.switches.rig.proxy import CALLER, CARRIER, STRANGER, CallControlProxy
from tests.switches.sip.sipp import CallsFailed, Outcome, call_many, carrier, expect_refusals
from tests.waiting import PATIENCE_S, until

NUMBER = "+31612345678"
LONGEST_S = 20


class Bench:
    """Kamailio, a carrier behind it, and call control that may come and go."""

    def __init__(self, proxy: CallControlProxy, room: ControlRoom) -> None:
        self.proxy = proxy
        self.room = room

    async def start(self) -> None:
        clock, place = SystemClock(), Local(self.proxy.socket)
        self.switch = CallControlSwitch(name="sbc", place=place, clock=clock, management=self.proxy.management)
        await self.room.start(self.switch)
        await until(lambda: self.switch.state().up)

    async def calls(self, calls: int = 1, *, per_second: float = 50, talk_s: float = 1) -> Outcome:
        return await call_many(self.proxy, CALLER, NUMBER, calls=calls, per_second=per_second, talk_s=talk_s)

    async def recorded(self, calls: int) -> list[dict]:
        await until(lambda: len(self.room.cdrs()) >= calls and not self.room.calls.live())
        cdrs = self.room.cdrs()
        assert len(cdrs) == calls
        return cdrs

    async def talking(self) -> None:
        await answered(self.room)

    async def squares(self, topped_up: int) -> None:
        spent = sum(cdr["billed_s"] for cdr in self.room.cdrs()) * PER_SECOND
        balance = await self.room.balance()
        assert (balance.balance, balance.held, balance.slots) == (topped_up - spent, 0, {})
        assert balance.balance >= 0


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    proxy = CallControlProxy(tmp_path)
    policy = Policy(longest_unattended_s=LONGEST_S, lease_grace_s=5)
    async with ControlRoom(tmp_path, policy=policy) as room, carrier(proxy, address=CARRIER):
        bench = Bench(proxy, room)
        try:
            await bench.start()
            proxy.start()
            await until(lambda: bench.switch.counts.shared)  # the connection from before the fork
            yield bench
        finally:
            proxy.kill()


async def test_calls_are_allowed_billed_and_recorded_once(bench: Bench) -> None:
    await bench.room.furnish(source_ips=(CALLER,))
    outcome = await bench.calls(20, talk_s=1.5)
    assert outcome == Outcome(20, ended_by_caller=20, ended_by_switch=0)
    cdrs = await bench.recorded(20)
    assert all(outcome.agrees(cdr["duration_ms"]) for cdr in cdrs)
    assert {cdr["estimated"] for cdr in cdrs} == {False}
    await bench.squares(10 * EURO)
    assert bench.switch.counts.shared == 1
    assert bench.switch.counts.malformed == 0


async def test_every_refusal_has_its_status(bench: Bench) -> None:
    await bench.room.furnish(balance=0, source_ips=(CALLER,))
    await expect_refusals(bench.proxy, CALLER, NUMBER, status=402)
    await expect_refusals(bench.proxy, STRANGER, NUMBER, status=403)
    await bench.room.furnish(balance=EURO, source_ips=(CALLER,), caps=Caps(outbound=0))
    await expect_refusals(bench.proxy, CALLER, NUMBER, status=503)
    assert bench.switch.counts.unanswered == 0
    await bench.recorded(2)


async def test_a_call_is_cut_with_its_last_second(bench: Bench) -> None:
    await bench.room.furnish(balance=0, source_ips=(CALLER,))

    async def cut() -> int:
        calls = len(bench.room.cdrs()) + 1
        await bench.room.pay(3 * PER_SECOND)
        assert await bench.calls(talk_s=10) == Outcome(1, ended_by_caller=0, ended_by_switch=1)
        cdr = (await bench.recorded(calls))[-1]
        assert in_time(cdr["duration_ms"], 3)
        assert (cdr["charge"], cdr["released_by"]) == ("0.0030", "callctl")
        return int(cdr["duration_ms"]) - 3_000

    assert await is_ever_within(cut, -CUT_MS, CUT_MS)
    await bench.squares(3 * PER_SECOND * len(bench.room.cdrs()))


async def test_fifty_at_once_on_a_balance_for_eight(bench: Bench) -> None:
    await bench.room.furnish(balance=8 * LONGEST_S * PER_SECOND, source_ips=(CALLER,))
    with pytest.raises(CallsFailed, match="402") as others:  # sipp tells how they were refused
        await bench.calls(50, per_second=500, talk_s=3)
    assert others.value.ended == 8
    cdrs = await bench.recorded(50)
    assert sorted(cdr["verdict"] for cdr in cdrs) == ["allowed"] * 8 + ["refused"] * 42
    assert {cdr["refusal"] for cdr in cdrs} == {None, "no_credit"}
    await bench.squares(8 * LONGEST_S * PER_SECOND)


async def test_no_worker_gets_anothers_answer(bench: Bench) -> None:
    await bench.room.furnish(source_ips=(CALLER,), kind=Kind.POSTPAID, credit_limit=None)
    refused = expect_refusals(bench.proxy, STRANGER, NUMBER, status=403, calls=60, per_second=100)
    allowed, _ = await asyncio.gather(bench.calls(60, per_second=100), refused)
    assert allowed == Outcome(60, ended_by_caller=60, ended_by_switch=0)
    await bench.recorded(60)


async def test_a_call_id_is_no_ticket_for_a_second_call(bench: Bench) -> None:
    """The same INVITE in a transaction of its own, by the caller of a call that is up."""
    await bench.room.furnish(source_ips=(CALLER,))
    calling = asyncio.create_task(bench.calls(talk_s=1))
    await bench.talking()
    (session,) = bench.room.calls.live()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as again:
        again.setblocking(False)
        again.bind((CALLER, 0))
        here = f"{CALLER}:{again.getsockname()[1]}"
        to = f"sip:{NUMBER}@{bench.proxy.host}:{bench.proxy.sip_port}"
        lines = [f"INVITE {to} SIP/2.0", f"Via: SIP/2.0/UDP {here};branch=z9hG4bKagain", "Max-Forwards: 70"]
        lines += [f"From: <sip:+31201234567@{here}>;tag=again", f"To: <{to}>", f"Contact: <sip:{here}>"]
        lines += [f"Call-ID: {session.call.call_id}", "CSeq: 1 INVITE", "Content-Length: 0", "", ""]
        again.connect((bench.proxy.host, bench.proxy.sip_port))
        again.send("\r\n".join(lines).encode())
        async with asyncio.timeout(PATIENCE_S):
            while not (answer := await asyncio.get_running_loop().sock_recv(again, 4_000)).startswith(b"SIP/2.0 403"):
                assert answer.startswith(b"SIP/2.0 1")
    assert await calling == Outcome(1, ended_by_caller=1, ended_by_switch=0)
    await bench.recorded(1)


async def test_an_operator_hangs_up(bench: Bench) -> None:
    await bench.room.furnish(source_ips=(CALLER,))
    calling = asyncio.create_task(bench.calls(talk_s=10))
    await bench.talking()
    (session,) = bench.room.calls.live()
    await bench.room.calls.report(HangUpAsked(session.call))
    assert await calling == Outcome(1, ended_by_caller=0, ended_by_switch=1)
    (cdr,) = await bench.recorded(1)
    assert cdr["released_by"] == "callctl"


async def test_callctl_is_killed_and_started_again_during_a_call(bench: Bench) -> None:
    await bench.room.furnish(source_ips=(CALLER,))
    calling = asyncio.create_task(bench.calls(talk_s=2))
    await bench.talking()
    await bench.room.kill()
    await bench.start()
    await bench.talking()
    outcome = await calling
    assert outcome == Outcome(1, ended_by_caller=1, ended_by_switch=0)
    (cdr,) = await bench.recorded(1)
    assert cdr["estimated"] is False
    assert outcome.agrees(cdr["duration_ms"])
    await bench.squares(10 * EURO)


async def test_the_time_of_a_call_ends_although_callctl_was_restarted(bench: Bench) -> None:
    await bench.room.furnish(balance=3 * PER_SECOND, source_ips=(CALLER,))
    calling = asyncio.create_task(bench.calls(talk_s=10))
    await bench.talking()
    await bench.room.kill()
    await bench.start()
    assert await calling == Outcome(1, ended_by_caller=0, ended_by_switch=1)
    (cdr,) = await bench.recorded(1)
    assert in_time(cdr["duration_ms"], 3)


async def test_a_kamailio_that_died_has_no_calls_any_more(bench: Bench) -> None:
    await bench.room.furnish(source_ips=(CALLER,))
    calling = asyncio.create_task(bench.calls(talk_s=3))
    await bench.talking()
    bench.proxy.kill()
    await bench.room.kill()
    bench.proxy.start()
    await bench.start()
    (cdr,) = await bench.recorded(1)
    assert cdr["estimated"] is True
    await bench.squares(10 * EURO)
    calling.cancel()
    await asyncio.gather(calling, return_exceptions=True)


async def test_without_callctl_only_emergency_calls_pass(bench: Bench) -> None:
    await bench.room.kill()
    outcome = await call_many(bench.proxy, CALLER, "112", calls=4, per_second=20, talk_s=0.3)
    assert outcome.ended_by_caller == 4
    await expect_refusals(bench.proxy, CALLER, NUMBER, status=503)


async def test_without_callctl_all_calls_pass_where_that_is_wanted(tmp_path: Path) -> None:
    proxy = CallControlProxy(tmp_path, "FAIL_OPEN")
    proxy.start()
    try:
        async with carrier(proxy, address=CARRIER):
            outcome = await call_many(proxy, CALLER, NUMBER, calls=1, per_second=1, talk_s=0.3)
        assert outcome.ended_by_caller == 1
    finally:
        proxy.kill()
