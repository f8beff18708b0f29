"""`callctl demo`, as whoever tries callctl for the first time starts it."""

import asyncio
import signal
from pathlib import Path

import pytest

from tests.e2e.command import CALLCTL, callctl
from tests.servers import mortal
from tests.waiting import PATIENCE_S


async def test_a_short_show_reconciles_its_books(tmp_path: Path) -> None:
    done = await callctl("demo", "--seconds", "5", cwd=tmp_path)
    assert (done.status, done.err) == (0, "")
    assert "ended by caller" in done.out
    assert "refused with SIP 503: channel_limit" in done.out
    assert "Each balance is its top-ups less its charges" in done.out
    assert "differs" not in done.out


def left_in(directory: Path) -> list[Path]:
    return list(directory.iterdir())


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
async def test_in_the_middle_of_the_show_it_ends_in_order(tmp_path: Path, ending: signal.Signals) -> None:
    show = await asyncio.create_subprocess_exec(
        *mortal([CALLCTL, "demo"]),
        env={"TMPDIR": str(tmp_path), "PATH": ""},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert show.stdout is not None
    try:
        async with asyncio.timeout(PATIENCE_S):
            while b"allowed" not in await show.stdout.readline():
                pass
            show.send_signal(ending)
            _, err = await show.communicate()
    finally:
        if show.returncode is None:
            show.kill()
            await show.wait()
    assert (show.returncode, err) == (130, b"")
    assert left_in(tmp_path) == []
