"""The machine's clocks as several processes see them."""

import asyncio
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest

from callctl import clock
from callctl.clock import SystemClock, clock_name, is_one_clock
from tests.servers import missing

TELL = "from callctl.clock import *; print(clock_name(), SystemClock().now().monotonic_ms)"


async def told_by_another_process(*under: str) -> tuple[str, int]:
    """Its name, and a moment on its monotonic clock; RuntimeError where it may not run `under` that."""
    process = await asyncio.create_subprocess_exec(
        *(*under, sys.executable, "-c", TELL), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    if process.returncode:
        raise RuntimeError(err.decode())
    name, at_ms = out.decode().split()
    return name, int(at_ms)


async def test_processes_of_one_boot_go_by_one_clock() -> None:
    before, ours = SystemClock().now(), clock_name()
    theirs, at_ms = await told_by_another_process()
    assert before.monotonic_ms <= at_ms <= SystemClock().now().monotonic_ms
    assert is_one_clock(ours, theirs)
    assert ours != theirs


async def test_in_a_time_namespace_it_is_another_clock() -> None:
    try:
        theirs, at_ms = await told_by_another_process("unshare", "--time", "--boottime", "1000")
    except (OSError, RuntimeError) as error:
        missing("time namespaces", f"none can be made: {error}")
    assert at_ms >= SystemClock().now().monotonic_ms + 900_000
    assert not is_one_clock(clock_name(), theirs)


def test_another_boot_has_another_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = clock_name()
    booted_anew = tmp_path / "boot_id"
    booted_anew.write_text("5c7e5d5b-3f0c-4d57-b5c5-2a8d3a6f4a11\n")
    monkeypatch.setattr(clock, "_BOOT_ID", booted_anew)
    assert not is_one_clock(before, clock_name())


def test_without_a_name_for_its_boot_no_process_shares_the_clock_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock, "_BOOT_ID", tmp_path / "boot_id")
    ours, theirs = clock_name(), clock_name()
    assert is_one_clock(ours, ours)
    assert not is_one_clock(ours, theirs)


def test_a_kernel_without_time_namespaces_has_one_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "_OFFSETS", tmp_path / "timens_offsets")
    assert is_one_clock(clock_name(), clock_name())


def test_both_clocks_begin_a_millisecond_at_once() -> None:
    """Else a call of which both ends are stated to the second would be a millisecond longer, and so a second."""
    system = SystemClock()
    read = [system.now() for _ in range(200_000)]
    assert len({now.wall_ms - now.monotonic_ms for now in read}) == 1
    assert all(one.monotonic_ms <= next_.monotonic_ms for one, next_ in pairwise(read))


def test_it_is_read_again_where_much_comes_between_both_clocks(monkeypatch: pytest.MonkeyPatch) -> None:
    system = SystemClock()
    ahead_ms = system.now().wall_ms - system.now().monotonic_ms
    late = iter([3_000_000, 0, 0])
    read = clock.clock_gettime_ns
    monkeypatch.setattr(clock, "clock_gettime_ns", lambda which: read(which) + next(late, 0))
    now = system.now()
    assert now.wall_ms - now.monotonic_ms == ahead_ms


def test_a_step_of_the_wall_clock_is_none_of_the_monotonic_one(monkeypatch: pytest.MonkeyPatch) -> None:
    system = SystemClock()
    before = system.now()
    monkeypatch.setattr(clock, "time_ns", lambda: time.time_ns() - 3600 * 10**9)
    stepped = system.now()
    monkeypatch.undo()
    assert stepped.wall_ms < before.wall_ms - 3_500_000
    assert before.monotonic_ms <= stepped.monotonic_ms <= system.now().monotonic_ms
