"""The daemon as a process, killed with calls up, on a machine whose wall clock is set before its next start."""

import time
from decimal import Decimal
from pathlib import Path

import pytest

from tests.e2e.provider import Provider

STEPPED = "import time\n_time_ns = time.time_ns\ntime.time_ns = lambda: _time_ns() + {step_s} * 1_000_000_000\n"
"""What Python runs before callctl: the wall clock as it would be read after the step."""


@pytest.mark.parametrize("step_s", [-3600, 3600])
async def test_a_call_is_charged_as_long_as_it_lasted(tmp_path: Path, step_s: int) -> None:
    async with Provider(tmp_path) as daemon:
        await daemon.furnish()
        await daemon.call("c1")
        before_ms = time.monotonic_ns() // 1_000_000
        await daemon.good("POST", "/v1/calls/c1/answer", {})
        answered_ms = time.monotonic_ns() // 1_000_000
        await daemon.kill()
        (tmp_path / "sitecustomize.py").write_text(STEPPED.format(step_s=step_s))
        daemon.settings = {**daemon.settings, "PYTHONPATH": str(tmp_path)}
        await daemon.start()
        assert [call["call_id"] for call in await daemon.talking(1)] == ["c1"]
        ends_ms = time.monotonic_ns() // 1_000_000
        (cdr,) = (await daemon.good("POST", "/v1/calls/c1/end", {}))["cdrs"]
        ended_ms = time.monotonic_ns() // 1_000_000
        assert ends_ms - answered_ms - 1 <= cdr["duration_ms"] <= ended_ms - before_ms + 1
        assert Decimal(cdr["charge"]) == cdr["duration_s"] * Decimal("0.01")
        assert not cdr["estimated"]
