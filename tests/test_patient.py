"""Time that waits for whoever was kept waiting."""

import asyncio
import socket
import time
from collections.abc import Iterator

import pytest

from tests.patient import LONGEST_NS, PatientClock, PatientLoop

PAUSE_S = 0.2
A_FEW_TURNS_MS = 4 * LONGEST_NS // 1_000_000


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner(loop_factory=PatientLoop) as runner:
        yield runner


def test_a_pause_of_the_machine_is_left_out(runner: asyncio.Runner) -> None:
    async def paused() -> int:
        clock = PatientClock()
        before = clock.now()
        time.sleep(PAUSE_S)  # noqa: ASYNC251  nobody runs
        await asyncio.sleep(0)
        assert abs(PatientClock().now().wall_ms - clock.now().wall_ms) <= A_FEW_TURNS_MS
        return clock.now().since_ms(before)

    assert runner.run(paused()) <= A_FEW_TURNS_MS


def test_who_answered_during_a_pause_has_answered_in_time(runner: asyncio.Runner) -> None:
    async def asked() -> bytes:
        ours, theirs = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=ours)

        def answer_late() -> None:
            time.sleep(PAUSE_S)
            theirs.sendall(b"yes\n")
            theirs.close()

        asyncio.get_running_loop().call_soon(answer_late)
        async with asyncio.timeout(PAUSE_S / 2):
            answer = await reader.readline()
        writer.close()
        return answer

    assert runner.run(asked()) == b"yes\n"


def test_nobody_wakes_before_his_time(runner: asyncio.Runner) -> None:
    async def slept() -> tuple[int, float]:
        clock, began_s = PatientClock(), time.monotonic()
        before = clock.now()
        await clock.sleep_ms(50)
        return clock.now().since_ms(before), time.monotonic() - began_s

    by_the_clock_ms, really_s = runner.run(slept())
    assert by_the_clock_ms >= 50
    assert really_s >= 0.05


def test_what_is_no_pause_is_counted_in_full(runner: asyncio.Runner) -> None:
    async def waited() -> tuple[int, int]:
        clock = PatientClock()
        before = clock.now()
        counted_ns = 0
        for _ in range(100):
            began_ns = time.monotonic_ns()
            await asyncio.sleep(0.001)
            counted_ns += min(time.monotonic_ns() - began_ns, LONGEST_NS)
        return clock.now().since_ms(before), counted_ns // 1_000_000

    by_the_clock_ms, counted_ms = runner.run(waited())
    assert by_the_clock_ms >= counted_ms - A_FEW_TURNS_MS
