"""What callers are told while Redis is in trouble, and that everything is counted and charged once when it is over."""

import asyncio
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from tests.e2e.provider import Provider
from tests.servers import RedisServer, system_redis
from tests.waiting import PATIENCE_S

POLICY = """[policy]
budget_ms = 600
redis_deadline_ms = 300
setup_timeout_s = 20
lease_grace_s = 1
blind_s = 60
"""
LATE = {"kind": "postpaid", "plan": "standard", "dial_rules": {"country": "NL"}}
ACCOUNTS: dict[str, dict[str, Any]] = {
    "late": {"ids": {"range": "500.00", "watch": ["MOB"]}},
    "reseller": {},
    "shop": {"parent": "reseller"},
    "under": {"parent": "acme"},
    "card": {"kind": "card"},
}
ASKED: dict[str, dict[str, Any]] = {
    "prepaid": {},
    "card": {"account": "card"},
    "chain": {"account": "under"},
    "postpaid": {"account": "late", "trunk_out": "carrier"},
    "longer": {"account": "late", "can_extend": True},
    "resold": {"account": "shop"},
    "wrong": {"account": "late", "to": "not a number"},
    "nobody": {"account": "nobody"},
    "help": {"to": "112"},
    "anonymous": {"to": "112", "account": "nobody"},
}
REFUSED: dict[str, tuple[str, int]] = {
    **dict.fromkeys(("prepaid", "card", "chain"), ("ours", 503)),
    "wrong": ("invalid_number", 484),
    "nobody": ("unknown_account", 403),
}
ADMITTED = {"postpaid": 60, "longer": 60, "resold": 60, "help": 86_400, "anonymous": 86_400}
OURS = {"store_unavailable", "budget_exceeded"}


class Breakable(RedisServer):
    """Its files can be moved, and its start can take its time."""

    extra: tuple[str, ...] = ()

    def command(self) -> list[str]:
        return [*super().command(), "--enable-protected-configs", "yes", *self.extra]

    def tell(self, *command: Any) -> Any:
        with Redis.from_url(self.url) as client:
            return client.execute_command(*command)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Breakable]:
    yield from system_redis(Breakable, tmp_path / "redis")


@pytest.fixture
def daemon(tmp_path: Path, server: Breakable) -> Provider:
    """Not started."""
    (tmp_path / "callctl").mkdir()
    return Provider(tmp_path / "callctl", redis_url=server.url, more=POLICY)


async def furnished(daemon: Provider) -> None:
    await daemon.furnish()
    for account, fields in ACCOUNTS.items():
        await daemon.good("PUT", f"/v1/accounts/{account}", LATE | fields)
    await daemon.good("POST", "/v1/accounts/card/topups", {"id": "first", "amount": "5.00"})
    await daemon.good("PUT", "/v1/trunks/carrier", {"account": "late"})
    await daemon.good("PUT", "/v1/limits/carrier", {"trunk": "carrier", "outbound": 9})


async def said(daemon: Provider) -> tuple[dict[str, tuple[str, int]], dict[str, int]]:
    """What each caller is refused with, and what each that is not is granted."""
    async with asyncio.timeout(PATIENCE_S):
        answers = await asyncio.gather(*(daemon.call(call_id, **asked) for call_id, asked in ASKED.items()))
    refused, granted = {}, {}
    for answer in answers:
        if answer["verdict"] == "allowed":
            granted[answer["call_id"]] = answer["granted_seconds"]
        else:
            why = "ours" if answer["refusal"] in OURS else answer["refusal"]
            refused[answer["call_id"]] = why, answer["sip_code"]
    return refused, granted


def ago(seconds: float) -> dict[str, str]:
    return {"at": (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat()}


async def begin(daemon: Provider, call_id: str, **more: Any) -> None:
    assert (await daemon.call(call_id, **more))["verdict"] == "allowed"
    await daemon.good("POST", f"/v1/calls/{call_id}/answer", {})


async def report(daemon: Provider, what: str, *call_ids: str) -> None:
    for call_id in call_ids:
        await daemon.good("POST", f"/v1/calls/{call_id}/{what}", {})


async def channels(daemon: Provider) -> dict[str, int]:
    """In use: of the accounts, the watched calls of one, and the provider's own."""
    used = {}
    for account in ("acme", "late", "shop", "reseller"):
        status, now = await daemon.ask("GET", f"/v1/accounts/{account}")
        used[account] = now["channels"].get("total", 0) if status == 200 else None
    status, limit = await daemon.ask("GET", "/v1/limits/carrier")
    return used | {"carrier": limit["channels"]["outbound"] if status == 200 else None}


async def held_for_today(daemon: Provider) -> Decimal:
    return Decimal((await daemon.good("GET", "/v1/accounts/late/ids"))["today"]["held"])


async def settled_once(daemon: Provider, *call_ids: str) -> None:
    """Wait for the records: one of each call and payer, each posted once, nothing held, every balance its ledger's."""

    async def all_there() -> bool:
        status, said = await daemon.ask("GET", "/v1/cdrs?limit=1000")
        return status == 200 and {cdr["call_id"] for cdr in said["cdrs"]} >= set(call_ids)

    await daemon.until(all_there)
    cdrs = [cdr for cdr in await daemon.cdrs() if cdr["verdict"] == "allowed"]
    assert {cdr["corrects"] for cdr in cdrs} == {None}
    assert set(Counter((cdr["call_id"], cdr["account"]) for cdr in cdrs).values()) == {1}
    assert [cdr["account"] for cdr in cdrs if cdr["call_id"] == "resold"] == ["shop", "reseller"]
    spent = Decimal((await daemon.good("GET", "/v1/accounts/late/ids"))["today"]["spent"])
    assert spent == sum(Decimal(cdr["charge"]) for cdr in cdrs if cdr["account"] == "late") > 0
    for account in ("acme", "late", "shop", "reseller"):
        now = await daemon.account(account)
        entries = (await daemon.good("GET", f"/v1/accounts/{account}/ledger?limit=1000"))["entries"]
        assert (Decimal(now["balance"]), Decimal(now["held"])) == (sum(Decimal(e["amount"]) for e in entries), 0)
        charged = sum(Decimal(cdr["gross"]) for cdr in cdrs if cdr["account"] == account)
        assert -charged == sum(Decimal(e["amount"]) for e in entries if e["kind"] != "topup")
    assert set((await channels(daemon)).values()) == {0}


async def store_is_told_down(daemon: Provider, why: str) -> None:
    """By /readyz and by /metrics."""

    async def down() -> bool:
        status, said = await daemon.ask("GET", "/readyz")
        (store,) = (link for link in said["links"] if link["kind"] == "store")
        return status == 503 and not store["up"] and why in store["detail"]

    await daemon.until(down)
    assert daemon.session is not None
    async with daemon.session.get("/metrics") as answer:
        assert 'callctl_link_up{kind="store",name="redis"} 0.0' in await answer.text()


# ---- troubles: each answers how it is ended

Trouble = Callable[[Breakable], Callable[[], Any]]


def killed(server: Breakable) -> Callable[[], Any]:
    server.kill()
    return server.start


def hung(server: Breakable) -> Callable[[], Any]:
    server.freeze()
    return server.resume


def read_only(server: Breakable) -> Callable[[], Any]:
    server.tell("REPLICAOF", "127.0.0.1", "1")
    return lambda: server.tell("REPLICAOF", "NO", "ONE")


def full(server: Breakable) -> Callable[[], Any]:
    server.tell("CONFIG", "SET", "maxmemory", "1mb")
    return lambda: server.tell("CONFIG", "SET", "maxmemory", 0)


def disk_full(server: Breakable) -> Callable[[], Any]:
    """It cannot save, and says so to who writes."""
    (server.directory / "taken").mkdir()
    server.tell("CONFIG", "SET", "save", "3600 1", "dbfilename", "taken")
    server.tell("BGSAVE")
    deadline = time.monotonic() + 10
    while server.tell("INFO", "persistence")["rdb_last_bgsave_status"] != "err":
        assert time.monotonic() < deadline
    return lambda: server.tell("CONFIG", "SET", "save", "")


@pytest.mark.parametrize(
    ("trouble", "why"),
    [
        (killed, "refused"),
        (hung, "silent"),
        (read_only, "READONLY"),
        (full, "OOM"),
        (disk_full, "MISCONF"),
    ],
)
async def test_each_kind_of_account(server: Breakable, daemon: Provider, trouble: Trouble, why: str) -> None:
    async with daemon:
        await furnished(daemon)
        await begin(daemon, "running", can_extend=True)
        await report(daemon, "extend", "running", "running")
        before = (await daemon.call("running", can_extend=True))["granted_until"]
        over = trouble(server)
        assert await said(daemon) == (REFUSED, ADMITTED)
        await store_is_told_down(daemon, why)
        await report(daemon, "answer", "postpaid", "longer", "resold", "help")
        await report(daemon, "extend", "running")
        over()

        async def counted() -> bool:
            return await channels(daemon) == {"acme": 2, "late": 2, "shop": 1, "reseller": 1, "carrier": 1}

        await daemon.until(counted)
        assert await held_for_today(daemon) >= Decimal("1.20")

        async def extended() -> bool:  # once what it was told without Redis is held for
            longer = await daemon.good("POST", "/v1/calls/longer/extend", {})
            running = await daemon.good("POST", "/v1/calls/running/extend", {})
            return longer["granted_seconds"] > 60 and running["granted_until"] > before

        await daemon.until(extended)
        await report(daemon, "end", "running", *ADMITTED)
        await settled_once(daemon, "running", *ADMITTED)
        assert (await daemon.ask("GET", "/readyz"))[0] == 200
        assert '"level": "error"' not in daemon.log


async def test_we_are_killed_too_and_start_before_redis_is_back(server: Breakable, daemon: Provider) -> None:
    async with daemon:
        await furnished(daemon)
        begun: dict[str, dict[str, Any]] = {"ended": {"account": "late"}, "prepaid-ended": {"can_extend": True}}
        for call_id, asked in begun.items():
            await begin(daemon, call_id, **asked)
        await begin(daemon, "prepaid-up")
        server.kill()
        assert await said(daemon) == (REFUSED, ADMITTED)
        await report(daemon, "answer", "postpaid", "longer", "resold", "help")
        await report(daemon, "end", "ended", "prepaid-ended")
        for call_id, asked in begun.items():  # repeated, long after: what the journal has of it stays
            assert (await daemon.call(call_id, **asked))["verdict"] == "allowed"
        await daemon.kill()
        await daemon.start()

        assert (await daemon.call("help2", to="112"))["verdict"] == "allowed"
        assert (await daemon.call("new", account="late"))["refusal"] == "store_unavailable"
        again = await daemon.call("postpaid", account="late", trunk_out="carrier")
        assert (again["verdict"], again["granted_seconds"]) == ("allowed", 60)
        await report(daemon, "end", "help", "resold")
        for path in ("/v1/accounts/late", "/v1/plans/standard", "/v1/limits/carrier"):
            assert (await daemon.ask("GET", path))[0] == 503
        await store_is_told_down(daemon, "refused")

        server.start()

        async def counted() -> bool:
            return await channels(daemon) == {"acme": 1, "late": 2, "shop": 0, "reseller": 0, "carrier": 1}

        await daemon.until(counted)
        await report(daemon, "end", "help2", "anonymous", "postpaid", "longer", "prepaid-up")
        await settled_once(daemon, "prepaid-up", "ended", "prepaid-ended", "help2", *ADMITTED)


async def test_postpaid_is_refused_where_the_policy_says_so(server: Breakable, tmp_path: Path) -> None:
    home = tmp_path / "callctl"
    home.mkdir()
    async with Provider(home, redis_url=server.url, more=f'{POLICY}postpaid = "refuse"\n') as daemon:
        await furnished(daemon)
        server.kill()
        refused, granted = await said(daemon)
        assert granted == dict.fromkeys(("help", "anonymous"), 86_400)
        assert refused == REFUSED | dict.fromkeys(("postpaid", "longer", "resold"), ("ours", 503))


class Slow:
    """A way to a server on which all that comes back takes `delay_s`."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.delay_s = 0.0

    async def __aenter__(self) -> int:
        self._listening = await asyncio.start_server(self._pass_on, "127.0.0.1")
        port: int = self._listening.sockets[0].getsockname()[1]
        return port

    async def __aexit__(self, *_: object) -> None:
        self._listening.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server = await asyncio.open_connection("127.0.0.1", self._port)
        await asyncio.gather(self._copy(reader, server[1]), self._copy(server[0], writer, delayed=True))

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, delayed: bool = False) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                if delayed:
                    await asyncio.sleep(self.delay_s)
                writer.write(data)
        writer.close()


async def test_answers_that_come_too_late(server: Breakable, tmp_path: Path) -> None:
    """Redis does all that it is asked for, and nobody hears of it: what is refused is given back, the rest goes on."""
    home = tmp_path / "callctl"
    home.mkdir()
    slow = Slow(server.port)
    async with slow as port, Provider(home, redis_url=f"redis://127.0.0.1:{port}", more=POLICY) as daemon:
        await furnished(daemon)
        slow.delay_s = 0.4
        assert await said(daemon) == (REFUSED, ADMITTED)
        await report(daemon, "answer", "postpaid", "longer", "resold", "help")
        slow.delay_s = 0

        async def counted() -> bool:
            return await channels(daemon) == {"acme": 1, "late": 2, "shop": 1, "reseller": 1, "carrier": 1}

        await daemon.until(counted)
        await report(daemon, "end", *ADMITTED)
        await settled_once(daemon, *ADMITTED)


async def test_while_redis_loads_its_data(server: Breakable, daemon: Provider) -> None:
    async with daemon:
        await furnished(daemon)
        with Redis.from_url(server.url) as client, client.pipeline(transaction=False) as much:
            for n in range(10_000):
                much.set("much", n)
            much.execute()
        server.kill()
        server.extra = ("--key-load-delay", "150")  # us; it answers after every 1,024
        loading = asyncio.create_task(asyncio.to_thread(server.start))
        await store_is_told_down(daemon, "LOADING")
        assert await said(daemon) == (REFUSED, ADMITTED)
        assert not loading.done()
        await loading

        async def counted() -> bool:
            return await channels(daemon) == {"acme": 1, "late": 2, "shop": 1, "reseller": 1, "carrier": 1}

        await daemon.until(counted)


@pytest.mark.parametrize("how", ["flushed", "another server"])
async def test_redis_comes_back_empty(server: Breakable, daemon: Provider, how: str) -> None:
    """Definitions are written to it again, credit limits too; calls that are up are taken again and charged once."""
    async with daemon:
        await furnished(daemon)
        await begin(daemon, "up", account="late", trunk_out="carrier")
        await begin(daemon, "resold", account="shop")
        await begin(daemon, "ending")
        if how == "flushed":
            server.tell("FLUSHALL")
            server.tell("SCRIPT", "FLUSH")
        else:
            server.kill()
            shutil.rmtree(server.directory / "appendonlydir")
            server.start()

        async def written_again() -> bool:
            return "definitions_restored" in daemon.log

        async def taken_again() -> bool:
            return await channels(daemon) == {"acme": 1, "late": 1, "shop": 1, "reseller": 1, "carrier": 1}

        await daemon.until(written_again)
        await daemon.until(taken_again)
        assert "definitions_lost_by_store" in daemon.log
        assert daemon.session is not None
        async with daemon.session.get("/metrics") as answer:
            assert 'link_events_total{event="losses",kind="store",name="redis"} 1.0' in await answer.text()
        await daemon.kill()
        await daemon.start()
        assert (await daemon.call("new", account="late"))["granted_seconds"] == 3_600
        assert (await daemon.call("poor"))["refusal"] == "no_credit"
        assert (await daemon.call("help", to="112"))["verdict"] == "allowed"
        await report(daemon, "end", "new", "help", "up", "resold", "ending")
        await settled_once(daemon, "new", "help", "up", "resold", "ending")
