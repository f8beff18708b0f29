"""The daemon as a process: killed in mid-call, its Redis stopped, frozen and started, money counted afterwards."""

import asyncio
import signal
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from redis import Redis

from tests.e2e.provider import Provider

POLICY = "[policy]\nsetup_timeout_s = 5\nlease_grace_s = 1\nblind_s = 60\n"


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Provider]:
    """On the embedded Redis, with leases that lapse soon."""
    async with Provider(tmp_path, more=POLICY) as running:
        yield running


@pytest.fixture
async def patient(tmp_path: Path) -> AsyncIterator[Provider]:
    """Its leases outlast any restart."""
    async with Provider(tmp_path) as running:
        yield running


@pytest.fixture
def redis(redis_server: Any) -> Any:
    """A real Redis, empty."""
    with Redis.from_url(redis_server.url) as client:
        client.flushall()
    return redis_server


async def books(daemon: Provider, account: str = "acme") -> tuple[Decimal, Decimal, int]:
    """Balance, held, channels in use."""
    now = await daemon.account(account)
    return Decimal(now["balance"]), Decimal(now["held"]), now["channels"].get("total", 0)


async def test_fifty_at_once_on_a_balance_that_affords_eight(daemon: Provider) -> None:
    await daemon.furnish("0.80")
    answers = await asyncio.gather(*(daemon.call(f"c{n}", can_extend=True) for n in range(50)))
    allowed = [answer for answer in answers if answer["verdict"] == "allowed"]
    assert len(allowed) == 8
    assert {answer["refusal"] for answer in answers if answer["verdict"] == "refused"} == {"no_credit"}
    assert await books(daemon) == (Decimal("0.80"), Decimal("0.80"), 8)
    await asyncio.gather(*(daemon.good("POST", f"/v1/calls/{a['call_id']}/end", {}) for a in allowed))
    assert await books(daemon) == (Decimal("0.80"), 0, 0)


async def test_what_is_reported_of_a_refused_call_changes_nothing(daemon: Provider) -> None:
    await daemon.furnish("0")
    assert (await daemon.call("c1"))["refusal"] == "no_credit"
    for report in ("answer", "extend", "end"):
        said = await daemon.good("POST", f"/v1/calls/c1/{report}", {})
    assert [(cdr["verdict"], cdr["refusal"]) for cdr in said["cdrs"]] == [("refused", "no_credit")]
    await daemon.until(lambda: _has_records(daemon, 1))
    assert len(await daemon.cdrs()) == 1


async def test_killed_in_mid_call_nothing_is_lost_or_doubled(patient: Provider) -> None:
    await patient.furnish()
    begun = datetime.now(UTC)
    for n in range(5):
        await patient.call(f"c{n}", can_extend=True)
        await patient.good("POST", f"/v1/calls/c{n}/answer", {"at": begun.isoformat()})
    await patient.kill()
    await patient.start()
    assert await books(patient) == (10, Decimal("0.50"), 5)
    live = (await patient.good("GET", "/v1/calls"))["calls"]
    assert {call["call_id"] for call in live} == {f"c{n}" for n in range(5)}
    again = await patient.call("c0", can_extend=True)
    assert (again["verdict"], again["granted_seconds"]) == ("allowed", 10)
    for _ in range(2):  # an end that is reported twice is posted once
        for n in range(5):
            end = {"at": (begun + timedelta(seconds=3)).isoformat()}
            assert (await patient.good("POST", f"/v1/calls/c{n}/end", end))["cdrs"][0]["charge"] == "0.0300"
    assert await books(patient) == (Decimal("9.85"), 0, 0)
    await patient.until(lambda: _has_records(patient, 5))
    records = await patient.cdrs()
    assert [record["sequence"] for record in records] == [1, 2, 3, 4, 5]
    assert len({record["id"] for record in records}) == 5


async def test_what_ended_while_we_were_dead_is_estimated_and_then_corrected(daemon: Provider) -> None:
    await daemon.furnish()
    begun = datetime.now(UTC) - timedelta(seconds=8)
    await daemon.call("c1", can_extend=True)
    await daemon.good("POST", "/v1/calls/c1/answer", {"at": begun.isoformat()})
    await daemon.call("c2", can_extend=True)  # never answered
    await daemon.kill()
    await daemon.start()
    await daemon.until(lambda: _has_records(daemon, 2))
    assert await books(daemon) == (Decimal("9.90"), 0, 0)
    await daemon.good("POST", "/v1/calls/c1/end", {"at": (begun + timedelta(seconds=4)).isoformat()})
    assert await books(daemon) == (Decimal("9.96"), 0, 0)
    await daemon.until(lambda: _has_records(daemon, 3))
    told = [(r["call_id"], r["charge"], r["estimated"], r["corrects"]) for r in await daemon.cdrs()]
    assert ("c1", "0.1000", True, None) in told
    assert ("c1", "-0.0600", False, "http/c1:acme") in told
    entries = (await daemon.good("GET", "/v1/accounts/acme/ledger"))["entries"]
    assert [(e["kind"], e["amount"]) for e in entries] == [
        ("topup", "10.0000"),
        ("estimate", "-0.1000"),
        ("correction", "0.0600"),
    ]


@pytest.mark.parametrize("seed", range(3))
async def test_killed_at_a_random_moment_the_books_agree(daemon: Provider, seed: int) -> None:
    """Calls begin and end all the time; the kill comes after a number of answers that depends on the seed."""
    await daemon.furnish("5.00")
    answered = 0

    async def talk(n: int) -> None:
        nonlocal answered
        begun = datetime.now(UTC) - timedelta(seconds=2)
        await daemon.call(f"c{n}", can_extend=True)
        await daemon.good("POST", f"/v1/calls/c{n}/answer", {"at": begun.isoformat()})
        answered += 1
        await daemon.good("POST", f"/v1/calls/c{n}/end", {"at": (begun + timedelta(seconds=2)).isoformat()})

    talks = [asyncio.create_task(talk(n)) for n in range(40)]
    await daemon.until(lambda: _reached(lambda: answered > 7 * (seed + 1)))
    await daemon.kill()
    await asyncio.gather(*talks, return_exceptions=True)
    await daemon.start()

    async def at_rest() -> bool:
        return (await books(daemon))[1:] == (0, 0)

    await daemon.until(at_rest)
    entries = (await daemon.good("GET", "/v1/accounts/acme/ledger?limit=1000"))["entries"]
    balance = (await books(daemon))[0]
    assert balance == sum(Decimal(entry["amount"]) for entry in entries)
    posted = -sum(Decimal(entry["amount"]) for entry in entries if entry["kind"] != "topup")
    await daemon.until(lambda: _charged(daemon, posted))
    originals = [record["id"] for record in await daemon.cdrs() if record["corrects"] is None]
    assert len(originals) == len(set(originals))


async def test_redis_is_stopped_and_started(redis: Any, tmp_path: Path) -> None:
    async with Provider(tmp_path, redis_url=redis.url, more=POLICY) as daemon:
        await daemon.furnish()
        await daemon.good(
            "PUT", "/v1/accounts/late", {"kind": "postpaid", "plan": "standard", "dial_rules": {"country": "NL"}}
        )
        begun = datetime.now(UTC) - timedelta(seconds=1)
        await daemon.call("before", can_extend=True)
        await daemon.good("POST", "/v1/calls/before/answer", {"at": begun.isoformat()})
        redis.stop()

        refused = await daemon.call("prepaid")
        assert (refused["refusal"], refused["sip_code"]) == ("store_unavailable", 503)
        blind = await daemon.call("postpaid", account="late")
        assert (blind["verdict"], blind["granted_seconds"]) == ("allowed", 60)
        assert (await daemon.call("help", to="112"))["verdict"] == "allowed"
        await daemon.good("POST", "/v1/calls/postpaid/answer", {"at": begun.isoformat()})
        end = {"at": (begun + timedelta(seconds=5)).isoformat()}
        await daemon.good("POST", "/v1/calls/postpaid/end", end)
        await daemon.good("POST", "/v1/calls/before/end", end)
        assert (await daemon.ask("GET", "/readyz"))[0] == 503
        assert (await daemon.ask("GET", "/v1/accounts/acme"))[0] == 503

        await daemon.kill()  # what was admitted blind survives this too
        redis.start()
        await daemon.start()
        await daemon.until(lambda: _has_records(daemon, 4))
        assert await books(daemon) == (Decimal("9.95"), 0, 0)
        assert await books(daemon, "late") == (Decimal("-0.05"), 0, 0)
        verdicts = {record["call_id"]: (record["verdict"], record["refusal"]) for record in await daemon.cdrs()}
        assert verdicts == {
            "before": ("allowed", None),
            "postpaid": ("allowed", None),
            "help": ("allowed", None),
            "prepaid": ("refused", "store_unavailable"),
        }


async def test_a_frozen_redis_costs_the_budget_and_no_more(redis: Any, tmp_path: Path) -> None:
    async with Provider(tmp_path, redis_url=redis.url, more=POLICY) as daemon:
        await daemon.furnish()
        redis.freeze()
        try:
            answers = await asyncio.gather(*(daemon.call(f"c{n}") for n in range(20)))
        finally:
            redis.resume()
        assert {answer.get("refusal") for answer in answers} <= {"store_unavailable", "budget_exceeded"}

        async def at_rest() -> bool:
            status, now = await daemon.ask("GET", "/v1/accounts/acme")
            return status == 200 and Decimal(now["held"]) == 0 and not any(now["channels"].values())

        await daemon.until(at_rest)
        await daemon.until(lambda: _has_records(daemon, 20))
        assert len(await daemon.cdrs()) == 20


async def test_sigterm_ends_it_in_order(patient: Provider) -> None:
    await patient.furnish()
    await patient.call("c1", can_extend=True)
    await patient.kill(signal.SIGTERM)
    await patient.start()
    assert await books(patient) == (10, Decimal("0.10"), 1)


async def test_records_reach_the_file_once_over_restarts(tmp_path: Path) -> None:
    async with Provider(tmp_path, more=POLICY) as daemon:
        await daemon.furnish()
        for n in range(3):
            await daemon.call(f"c{n}", to="not a number")
            await daemon.kill()
            await daemon.start()
        await daemon.until(lambda: _reached(lambda: len(_lines(tmp_path)) == 3))
    assert [line["sequence"] for line in _lines(tmp_path)] == [1, 2, 3]


def _lines(home: Path) -> list[Any]:
    written = b"".join(path.read_bytes() for path in sorted((home / "cdr").glob("*.jsonl*")))
    whole, _, _ = written.rpartition(b"\n")  # a line may be half there
    return [msgspec.json.decode(line) for line in whole.splitlines()]


async def _reached(condition: Any) -> bool:
    return bool(condition())


async def _has_records(daemon: Provider, count: int) -> bool:
    status, said = await daemon.ask("GET", "/v1/cdrs?limit=1000")
    return status == 200 and len(said["cdrs"]) >= count


async def _charged(daemon: Provider, posted: Decimal) -> bool:
    return sum((Decimal(record["gross"]) for record in await daemon.cdrs()), Decimal(0)) == posted
