"""Every call leaves exactly one record in the files, in one gap-free sequence, whenever callctl is killed."""

import asyncio
import json
from pathlib import Path

import aiohttp

from tests.e2e.command import callctl
from tests.e2e.daemon import TOKEN, Daemon
from tests.waiting import until

CALLS = 300
AT_ONCE = 10


async def place(session: aiohttp.ClientSession, daemon: Daemon, call_id: str) -> None:
    """One call to its end, tried again until callctl has confirmed both."""
    body = {"call_id": call_id, "from": "+31201234567", "to": "+31612345678", "account": "acme"}
    for path, said in (("/v1/calls", body), (f"/v1/calls/{call_id}/end", {"q850": 16})):
        while True:
            try:
                async with session.post(f"http://127.0.0.1:{daemon.port}{path}", json=said) as response:
                    answer = await response.json()
                    assert response.status == 200, answer
                    assert answer.get("verdict") in ("allowed", None), answer
                    break
            except (aiohttp.ClientError, ConnectionError):
                await asyncio.sleep(0.02)


def written(home: Path) -> list[dict[str, object]]:
    text = "".join(path.read_text() for path in sorted((home / "cdr").glob("billing-*")))
    whole, _, _ = text.rpartition("\n")  # a line may be half there
    return [json.loads(line) for line in whole.splitlines()]


async def test_killed_in_the_middle_of_calls(daemon: Daemon, tmp_path: Path) -> None:
    await daemon.start()
    (tmp_path / "deck.csv").write_text("prefix,destination,per_minute\n31,Netherlands,0.08\n")
    account = '{"id": "acme", "kind": "postpaid", "plan": "retail", "credit_limit": null}'
    for arguments, stdin in (
        (("tariff", "put", "-"), '{"id": "retail"}'),
        (("tariff", "import", "retail", "deck.csv"), ""),
        (("account", "put", "-"), account),
    ):
        done = await callctl(*arguments, cwd=tmp_path, stdin=stdin)
        assert done.status == 0, done.err
    done_calls = 0

    async def worker(session: aiohttp.ClientSession, first: int) -> None:
        nonlocal done_calls
        for number in range(first, CALLS, AT_ONCE):
            await place(session, daemon, f"c{number}")
            done_calls += 1

    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {TOKEN}"}) as session:
        workers = asyncio.gather(*(worker(session, first) for first in range(AT_ONCE)))
        for kill_after in (CALLS // 5, CALLS // 2):
            await until(lambda after=kill_after: done_calls >= after, within_s=30)
            assert daemon.process is not None
            daemon.process.kill()
            await daemon.process.wait()
            await daemon.start()
        await asyncio.wait_for(workers, 60)
    await until(lambda: len(written(tmp_path)) >= CALLS)
    assert await daemon.stop() == 0
    records = written(tmp_path)
    assert sorted(str(record["call_id"]) for record in records) == sorted(f"c{n}" for n in range(CALLS))
    assert [record["sequence"] for record in records] == list(range(1, CALLS + 1))
    assert not list((tmp_path / "cdr").glob("*.part"))
