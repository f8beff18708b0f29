"""`callctl exchange` against the front door."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.e2e.command import Ended, callctl
from tests.e2e.front_door import FrontDoor

Run = Callable[..., Awaitable[Ended]]


@pytest.fixture
def run(door: FrontDoor, tmp_path: Path) -> Run:
    async def run(*arguments: str) -> Ended:
        url = str(door.client.make_url("/"))
        return await callctl("exchange", *arguments, cwd=tmp_path, CALLCTL_URL=url, CALLCTL_TOKEN="ops")

    return run


def told(done: Ended) -> list[list[str]]:
    assert done.status == 0, done.err
    return [line.split() for line in done.out.splitlines()[2:]]


async def test_rates_are_added_replaced_and_dropped_day_by_day(run: Run) -> None:
    assert told(await run()) == []
    await run("USD-EUR", "0.9250", "--from", "2026-11-01")
    await run("USD-EUR", "0.9300", "--from", "2026-10-01")
    changed = await run("USD-EUR", "0.9111", "--from", "2026-11-01")
    assert told(changed) == [["USD-EUR", "2026-10-01", "0.9300"], ["USD-EUR", "2026-11-01", "0.9111"]]
    assert told(await run("USD-EUR", "--drop", "2026-10-01")) == [["USD-EUR", "2026-11-01", "0.9111"]]
    await run("GBP-EUR", "1.15", "--from", "2026-01-01")
    assert [row[0] for row in told(await run())] == ["GBP-EUR", "USD-EUR"]
    shown = {"id": "GBP-EUR", "rates": [{"from": "2026-01-01", "rate": "1.1500"}]}
    assert (await run("GBP-EUR", "--json")).json == shown


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("USD-EUR", "0.92"), 2, "RATE and --from DAY belong together"),
        (("--drop", "2026-10-01"), 2, "--drop needs a PAIR"),
        (("USD-EUR", "--drop", "2026-10-01"), 1, "USD-EUR has no rate that begins on 2026-10-01"),
        (("USD-EUR",), 1, "no such exchange rates (404 not_found)"),
        (("USD-EUR", "0,92", "--from", "2026-11-01"), 1, "rates.0.rate"),
        (("USD", "0.92", "--from", "2026-11-01"), 1, "two currencies are expected"),
    ],
)
async def test_what_is_no_rate_is_refused(run: Run, arguments, status, said) -> None:
    done = await run(*arguments)
    assert done.status == status
    assert said in done.err
