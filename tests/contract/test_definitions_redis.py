"""Definitions over Redis, between processes: everybody follows, writers do not undo each other, nothing broken wins."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from callctl.accounts import Account, Group, Kind, Trunk
from callctl.call.events import Taken
from callctl.clock import SystemClock
from callctl.errors import CallConflict, Contradiction, StoreUnavailable
from callctl.limits.licence import LicenceStatus, SwitchLicence
from callctl.limits.provider import ProviderLimit
from callctl.rating.bundles import Block
from callctl.rating.exchange import DatedRate, Exchange
from callctl.rating.tariff import Plan, Row
from callctl.store import decks, keys
from callctl.store.address import parse_address
from callctl.store.definitions import RedisDefinitions
from callctl.store.feeds import RedisFeeds
from callctl.store.follower import Follower
from callctl.store.history import COPIED_AT_ONCE
from callctl.store.link import Link
from callctl.store.redis import RedisStore
from callctl.store.registry import Registry
from tests.contract import calls
from tests.contract.links import PATIENT, QUICK
from tests.servers import RedisServer
from tests.waiting import until

NOW = calls.NOW.wall_ms
STANDARD = Plan("standard")
LICENCE = SwitchLicence("pbx1", LicenceStatus(16, "2027-01-01"), NOW)


class Process:
    """One callctl: it writes definitions, and follows them."""

    def __init__(self, link: Link, store: RedisStore | None = None) -> None:
        self.link = link
        self.topped_up: list[str] = []
        self.store = store or RedisStore(link)
        self.follower = Follower(link, SystemClock(), self.topped_up.append)
        self.definitions = RedisDefinitions(link, self.store, self.follower, SystemClock())

    @property
    def accounts(self) -> dict[str, Account]:
        return self.follower.tariffs.accounts

    def rows(self, plan: str) -> list[Any]:
        deck = self.follower.tariffs.deck(plan, NOW)
        return deck.entries() if deck is not None else []

    @asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.follower.follow())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


@pytest.fixture
async def one(link: Link) -> Process:
    """There is a plan for every account."""
    process = Process(link)
    await process.definitions.put_plan(STANDARD)
    return process


@pytest.fixture
def other(link: Link) -> Process:
    return Process(link)


def account(id: str, parent: str | None = None, **fields: Any) -> Account:
    return Account(id, Kind.PREPAID, "standard", parent, **fields)


async def test_everybody_follows_every_kind(one: Process, other: Process) -> None:
    async with other.following():
        await one.definitions.put_plan(Plan("special"))
        await one.definitions.put_rows("standard", [Row("31", per_minute=1)])
        await one.definitions.put_account(account("acme"))
        await one.definitions.put_exchange(Exchange("USD-EUR", (DatedRate("2026-11-01", 9),)))
        await one.definitions.put_licence(LICENCE)
        await one.definitions.put_trunk(Trunk("t1", "acme", source_ips=("192.0.2.1",)))
        await one.definitions.put_limit(ProviderLimit("all", total=5))
        known = other.follower.tariffs
        await until(lambda: known.limits.by_id == {"all": ProviderLimit("all", total=5)})
        assert known.directory.by_ip("192.0.2.1") == ("acme", "t1")
        assert known.licences == {"pbx1": LICENCE}
        assert known.plan("special") == Plan("special")
        assert known.exchanges == {"USD-EUR": Exchange("USD-EUR", (DatedRate("2026-11-01", 9),))}
        assert other.rows("standard") == [Row("31", per_minute=1)]
        await one.definitions.put_rows("standard", [Row("32", per_minute=2)])
        await until(lambda: other.rows("standard") == [Row("32", per_minute=2)])


async def test_a_group_that_is_given_another_plan_has_it_in_every_process(one: Process, other: Process) -> None:
    async with other.following():
        for plan in ("golden", "platinum"):
            await one.definitions.put_plan(Plan(plan))
        await one.definitions.put_group(Group("gold", "golden"))
        await one.definitions.put_account(Account("acme", Kind.PREPAID, group="gold"))
        await one.definitions.put_account(Account("shop", Kind.PREPAID, parent="acme"))
        known = other.follower.tariffs
        await until(lambda: known.directory.plans == {"acme": "golden", "shop": "golden"})
        await one.definitions.put_group(Group("gold", "platinum"))
        await until(lambda: known.directory.plans == {"acme": "platinum", "shop": "platinum"})


async def test_a_change_whose_bell_was_lost_is_seen_all_the_same(
    one: Process, other: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with other.following():
        await one.definitions.put_account(account("acme"))
        await until(lambda: "acme" in other.accounts)
        monkeypatch.setattr(one.link, "post", lambda *_: None)
        await one.definitions.put_account(account("globex"))
        await until(lambda: "globex" in other.accounts)


async def test_a_top_up_is_heard_by_every_process_and_once(link: Link, one: Process, other: Process) -> None:
    writer = Process(link)
    await writer.definitions.put_account(account("acme"))
    await writer.store.top_up(calls.top_up(1, id="before anybody listens"))
    async with one.following(), other.following():
        await writer.definitions.put_account(account("globex"))
        await until(lambda: "globex" in one.accounts and "globex" in other.accounts)
        await writer.store.top_up(calls.top_up(1_000_000))
        await until(lambda: one.topped_up and other.topped_up)
        await writer.store.top_up(calls.top_up(1_000_000, "globex", root="globex"))
        await until(lambda: "globex" in one.topped_up and "globex" in other.topped_up)
    assert one.topped_up == other.topped_up == ["acme", "globex"]


async def test_a_strange_change_is_passed_over(one: Process, other: Process) -> None:
    async with one.following():
        await other.definitions.put_account(account("acme"))
        await until(lambda: "acme" in one.accounts)
        await one.link.call("XADD", keys.CHANGES, "*", "what", "topup")
        await one.link.call("XADD", keys.CHANGES, "*", "a", "1", "b", "2", "c", "3")
        await one.store.top_up(calls.top_up(1_000_000))
        await until(lambda: one.topped_up == ["acme"])


async def test_of_two_who_claim_one_number_at_once_one_is_told(one: Process, other: Process) -> None:
    for n in range(20):
        answers = await asyncio.gather(
            one.definitions.put_account(account(f"a{n}", numbers=(f"+3120{n}",))),
            other.definitions.put_account(account(f"b{n}", numbers=(f"+3120{n}",))),
            return_exceptions=True,
        )
        assert sorted(map(type, answers), key=str) == [type(None), Contradiction]
    await one.follower.refresh()
    await other.follower.refresh()
    assert one.accounts == other.accounts
    assert len(one.accounts) == 20


async def test_writers_at_once_do_not_undo_each_other(one: Process, other: Process) -> None:
    await asyncio.gather(
        *(one.definitions.put_account(account(f"a{n}", credit_limit=n)) for n in range(25)),
        *(other.definitions.put_account(account(f"b{n}", credit_limit=n)) for n in range(25)),
        other.definitions.put_rows("standard", [Row("31", per_minute=1)]),
    )
    await one.follower.refresh()
    await other.follower.refresh()
    assert one.accounts == other.accounts
    assert len(one.accounts) == 50
    assert one.rows("standard") == other.rows("standard") == [Row("31", per_minute=1)]
    (balance,) = await one.store.balances("b7", ["b7"])
    assert balance.available == 7


async def test_decks_put_at_once_are_one_or_the_other_and_leave_no_litter(one: Process, other: Process) -> None:
    ours = [Row(str(10_000 + n), per_minute=1) for n in range(4_500)]
    theirs = [Row(str(20_000 + n), per_minute=2) for n in range(4_500)]
    await asyncio.gather(one.definitions.put_rows("standard", ours), other.definitions.put_rows("standard", theirs))
    await one.follower.refresh()
    await other.follower.refresh()
    assert one.rows("standard") == other.rows("standard")
    assert one.rows("standard") in (ours, theirs)
    chunks: Any = await one.link.call("KEYS", keys.rows("*"))
    staying = [chunk for chunk in chunks if await one.link.call("TTL", chunk) == -1]
    assert len(chunks) == 10
    assert len(staying) == 5


async def test_a_deck_that_never_came_to_be_vanishes(one: Process, monkeypatch: pytest.MonkeyPatch) -> None:

    async def dies(*_: Any, **__: Any) -> bool:
        raise StoreUnavailable("killed")

    monkeypatch.setattr(one.definitions, "_define", dies)
    with pytest.raises(StoreUnavailable):
        await one.definitions.put_rows("standard", [Row("31", per_minute=1)])
    (chunk,) = await one.link.call("KEYS", keys.rows("*"))  # type: ignore[misc]
    assert 0 < await one.link.call("TTL", chunk) <= 3_600  # type: ignore[operator]
    fresh = Process(one.link)
    await fresh.follower.refresh()
    assert fresh.rows("standard") == []


async def test_a_fresh_process_reads_parents_before_children(one: Process, other: Process) -> None:
    for id, parent in (("acme", None), ("shop", None), ("till", "shop")):
        await one.definitions.put_account(account(id, parent))
    await one.definitions.put_account(account("shop", "acme"))
    await one.definitions.put_account(account("acme"))
    await other.follower.refresh()
    assert [level.id for level in other.follower.tariffs.directory.chain("till")] == ["till", "shop", "acme"]


async def test_a_fresh_process_reads_groups_and_parents_before_who_inherits(one: Process, other: Process) -> None:
    await one.definitions.put_account(account("shop"))
    await one.definitions.put_group(Group("gold", "standard"))
    await one.definitions.put_account(Account("acme", Kind.PREPAID, group="gold"))
    await one.definitions.put_account(Account("shop", Kind.PREPAID, parent="acme"))
    await other.follower.refresh()
    assert other.follower.tariffs.directory.plans == {"acme": "standard", "shop": "standard"}


# ---- What is broken


async def write(link: Link, kind: str, id: str, value: Any) -> None:
    """As somebody does who goes behind our back."""
    revision: Any = await link.call("INCR", keys.REVISION)
    raw = value if isinstance(value, bytes) else msgspec.json.encode(value)
    await link.call("HSET", keys.definitions(kind), id, raw)
    await link.call("ZADD", keys.WRITTEN, revision, f"{kind}:{id}")


@pytest.fixture
def complaints() -> Iterator[list[Any]]:
    with capture_logs() as logs:
        yield logs


BROKEN_ACCOUNTS = {
    "not JSON": b"{",
    "not an account": {"id": "shop"},
    "unknown kind": {"id": "shop", "kind": "free", "plan": "standard"},
    "another's name": account("acme"),
    "parent that is missing": account("shop", "nobody"),
    "its own parent": account("shop", "shop"),
}


@pytest.mark.parametrize("value", BROKEN_ACCOUNTS.values(), ids=list(BROKEN_ACCOUNTS))
async def test_a_broken_account_does_not_replace_the_good_one(
    one: Process, other: Process, value: Any, complaints: list[Any]
) -> None:
    await one.definitions.put_account(account("acme"))
    await one.definitions.put_account(account("shop", "acme"))
    await write(one.link, "account", "shop", value)
    await write(one.link, "account", "good", account("good"))
    await one.follower.refresh()
    await other.follower.refresh()
    assert one.accounts == {"acme": account("acme"), "shop": account("shop", "acme"), "good": account("good")}
    assert other.accounts == {id: account(id) for id in ("acme", "good")}
    assert [(log["kind"], log["id"], log["log_level"]) for log in complaints] == [("account", "shop", "error")] * 2


async def test_accounts_that_became_a_loop_are_broken(one: Process, complaints: list[Any]) -> None:
    await write(one.link, "account", "a", account("a", "b"))
    await write(one.link, "account", "b", account("b", "a"))
    await one.follower.refresh()
    assert one.accounts == {}
    assert [log["id"] for log in complaints] == ["a", "b"]


async def test_who_would_have_no_plan_any_more_keeps_the_last_good_one(one: Process, complaints: list[Any]) -> None:
    await one.definitions.put_group(Group("gold", "standard"))
    await one.definitions.put_account(Account("acme", Kind.PREPAID, group="gold"))
    await write(one.link, "group", "gold", b"{}")
    await write(one.link, "account", "acme", Account("acme", Kind.PREPAID, group="lead"))
    await write(one.link, "account", "shop", Account("shop", Kind.PREPAID))
    await one.follower.refresh()
    assert one.follower.tariffs.directory.plans == {"acme": "standard"}
    assert {log["id"] for log in complaints} == {"gold", "acme", "shop"}


async def test_a_broken_trunk_or_plan_does_not_replace_the_good_one(one: Process, complaints: list[Any]) -> None:
    await one.definitions.put_account(account("acme"))
    await one.definitions.put_trunk(Trunk("t1", "acme"))
    await write(one.link, "trunk", "t1", b"[]")
    await write(one.link, "plan", "standard", Plan("standard", extends="standard"))
    await one.definitions.put_exchange(Exchange("USD-EUR"))
    await one.definitions.put_limit(ProviderLimit("all", total=5))
    await write(one.link, "limit", "all", {"id": "all", "total": "many"})
    await write(one.link, "exchange", "USD-EUR", {"id": "USD-EUR", "rates": [{"from_day": "2026-11-01", "rate": 0}]})
    await one.follower.refresh()
    assert one.follower.tariffs.trunks == {"t1": Trunk("t1", "acme")}
    assert one.follower.tariffs.plans == {"standard": Plan("standard")}
    assert one.follower.tariffs.exchanges == {"USD-EUR": Exchange("USD-EUR")}
    assert one.follower.tariffs.limits.by_id == {"all": ProviderLimit("all", total=5)}
    assert {log["id"] for log in complaints} == {"t1", "standard", "USD-EUR", "all"}


async def test_a_broken_deck_does_not_replace_the_good_one(one: Process, complaints: list[Any]) -> None:
    good = [Row("31", per_minute=1)]
    await one.definitions.put_rows("standard", good)
    twice = decks.encode_rows([Row("32", per_minute=1), Row("32", per_minute=2)])
    await one.link.call("SET", keys.rows("twice"), twice)
    await one.link.call("SET", keys.rows("garbage"), b"\x00")
    for broken in (["gone"], ["twice"], ["garbage"]):
        await write(one.link, "deck", "standard", {"chunks": broken})
        await one.follower.refresh()
        assert one.rows("standard") == good
    await write(one.link, "deck", "standard", b"?")
    await write(one.link, "deck", "of no plan", {"chunks": []})
    await one.follower.refresh()
    assert one.rows("standard") == good
    assert len(complaints) == 5


async def test_a_kind_of_a_newer_callctl_is_left_alone(one: Process) -> None:
    await write(one.link, "hologram", "x", {})
    await one.definitions.put_account(account("acme"))
    assert one.accounts == {"acme": account("acme")}


async def test_what_the_store_has_lost_is_kept_in_memory(one: Process, complaints: list[Any]) -> None:
    await one.definitions.put_account(account("acme"))
    await one.definitions.put_account(account("globex"))
    await one.link.call("FLUSHALL")
    await one.follower.refresh()
    assert set(one.accounts) == {"acme", "globex"}
    assert complaints[0]["event"] == "definitions_lost_by_store"
    await one.definitions.put_account(account("initech"))
    fresh = Process(one.link)
    await fresh.follower.refresh()
    assert set(fresh.accounts) == {"initech"}


async def test_what_the_store_has_lost_is_written_again(one: Process, other: Process, complaints: list[Any]) -> None:
    """By each process that knows it, whatever the other one has written; credit limits, too."""
    await one.definitions.put_exchange(Exchange("USD-EUR", (DatedRate("2026-11-01", 9),)))
    await one.definitions.put_rows("standard", [Row(f"31{n}", per_minute=n) for n in range(1_000, 5_000)])
    await one.definitions.put_group(Group("gold", "standard"))
    await one.definitions.put_account(account("child"))
    await one.definitions.put_account(account("parent", credit_limit=5))
    await one.definitions.put_account(account("child", "parent"))
    await one.definitions.put_trunk(Trunk("line", "child"))
    await one.definitions.put_blocks("child", lambda _: (Block(id="b1", name="hour", seconds=3_600),))
    await one.definitions.put_licence(LICENCE)
    await one.definitions.put_limit(ProviderLimit("all", total=9))
    await other.follower.refresh()
    await one.link.call("FLUSHALL")
    keepers = [asyncio.create_task(each.definitions.keep()) for each in (one, other)]
    await asyncio.gather(one.follower.refresh(), other.follower.refresh())
    await until(lambda: not one.follower.missing | other.follower.missing)
    for keeper in keepers:
        keeper.cancel()
    fresh = Process(one.link)
    await fresh.follower.refresh()
    assert fresh.follower.known() == one.follower.known()
    assert fresh.rows("standard") == one.rows("standard")
    assert await one.link.call("HGET", keys.account("parent", "parent"), "floor") == b"5"
    assert {complaint["event"] for complaint in complaints} == {"definitions_lost_by_store", "definitions_restored"}
    assert one.link.counts.losses == 2


# ---- What dies


@pytest.fixture
def server(tmp_path: Path, valkey_server: RedisServer) -> Iterator[RedisServer]:
    """A server of our own, to be killed."""
    server = RedisServer(tmp_path, valkey_server.binary)
    server.start()
    yield server
    server.kill()


async def test_a_follower_outlives_the_server_and_catches_up(server: RedisServer) -> None:
    near, far = (Link(parse_address(server.url), times=PATIENT) for _ in range(2))
    await near.open()
    await far.open()
    one, other = Process(near), Process(far)
    try:
        async with other.following():
            await one.definitions.put_plan(STANDARD)
            await one.definitions.put_account(account("acme"))
            await until(lambda: "acme" in other.accounts)
            for n in range(2):
                server.kill()
                await until(lambda: not near.state().up and not far.state().up)
                with pytest.raises(StoreUnavailable):
                    await one.definitions.put_account(account("never"))
                server.start()
                await near.ready(30_000)
                await one.definitions.put_account(account(f"after {n}"))
                await one.store.top_up(calls.top_up(1, id=f"pay-{n}"))
                await until(lambda n=n: f"after {n}" in other.accounts)
                await until(lambda n=n: len(other.topped_up) == n + 1)
            assert "never" not in other.accounts
    finally:
        await near.close()
        await far.close()


async def test_what_takes_over_may_have_counted_otherwise(server: RedisServer) -> None:
    """A server that lost its last writes, and got others since, is at a revision that we seem to know."""
    link = Link(parse_address(server.url), times=PATIENT)
    await link.open()
    one, other = Process(link), Process(link)
    try:
        async with other.following():
            await one.definitions.put_plan(STANDARD)
            await one.definitions.put_account(account("lost"))
            await until(lambda: "lost" in other.accounts)
            server.kill()
            await until(lambda: not link.state().up)
            shutil.rmtree(server.directory / "appendonlydir")
            server.start()
            await link.ready(30_000)
            writer = Process(link)
            await writer.definitions.put_plan(STANDARD)
            await writer.definitions.put_account(account("found"))
            await until(lambda: "found" in other.accounts)
    finally:
        await link.close()


async def test_nothing_is_compiled_again_that_is_known(one: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    await one.definitions.put_rows("standard", [Row("31", per_minute=1)])
    await one.definitions.put_group(Group("gold", "standard"))
    await one.definitions.put_account(account("acme"))
    await one.definitions.put_trunk(Trunk("line", "acme"))
    for put in ("put_plan", "put_deck", "put_group", "put_account", "put_trunk"):
        monkeypatch.setattr(Registry, put, None)
    await one.follower.refresh(anew=True)
    assert one.follower.missing == set()


# ---- What happens while an account moves to another root


class InterruptedLink(Link):
    """Before a command of it, the first being number 1, something else happens."""

    def __init__(self, link: Link, at: int, meanwhile: Callable[[], Awaitable[Any]]) -> None:
        super().__init__(link.address, times=PATIENT)
        self._at = at
        self._meanwhile = meanwhile
        self.sent = 0

    def call(self, *command: Any, timeout_ms: int | None = None) -> "asyncio.Future[Any]":
        self.sent += 1
        if self.sent != self._at:
            return super().call(*command, timeout_ms=timeout_ms)
        return asyncio.ensure_future(self._interrupted(command, timeout_ms))

    async def _interrupted(self, command: Any, timeout_ms: int | None) -> Any:
        await self._meanwhile()
        return await super().call(*command, timeout_ms=timeout_ms)


COMMANDS_OF_A_MOVE = 24
MOVED = account("shop", "globex", credit_limit=5)


@pytest.fixture
async def family(one: Process) -> Process:
    """Two roots; an account with one below it and a ledger, which is to go from the one to the other."""
    accounts = account("acme"), account("shop", "acme", credit_limit=5), account("till", "shop"), account("globex")
    for each in accounts:
        await one.definitions.put_account(each)
    for n, id in enumerate(("shop", "till", "shop"), start=1):
        await one.store.top_up(calls.top_up(10 * n, id, id=f"paid {n}"))
    return one


async def moving(link: Link, at: int, meanwhile: Callable[[], Awaitable[Any]]) -> int:
    """`meanwhile` happens before command `at` of a process that moves the account. How many there were."""
    interrupted = InterruptedLink(link, at, meanwhile)
    await interrupted.open()
    try:
        with suppress(Killed, CallConflict):
            await Process(interrupted).definitions.put_account(MOVED)
    finally:
        await interrupted.close()
    return interrupted.sent


async def audit(process: Process, **expected: int) -> None:
    """All their money is where they are, and can be spent to the limit that is defined; every ledger adds up to it."""
    await process.follower.refresh()
    for id, balance in expected.items():
        home = process.follower.tariffs.root(process.accounts[id])
        for root in ("acme", "globex"):
            (there,) = await process.store.balances(root, [id])
            entries = await process.store.ledger(root, id, "", 100_000)
            running = 0
            for entry in entries:
                running += entry.amount
                assert entry.balance == running
            if root == home:
                assert there.balance == running == balance
                assert there.available == balance + (process.accounts[id].credit_limit or 0)
                assert len({entry.id for entry in entries}) == len(entries)
            else:
                assert (there.balance, there.held) == (0, 0)


class Killed(StoreUnavailable):
    """A process was, between two commands."""


@pytest.mark.parametrize("at", range(1, COMMANDS_OF_A_MOVE + 1))
async def test_a_move_that_is_cut_off_anywhere_leaves_nothing_closed(link: Link, family: Process, at: int) -> None:
    """Nobody has to do anything about it: neither the one who asked, nor another process, nor a start."""

    async def killed() -> None:
        raise Killed("killed")

    await moving(link, at, killed)
    await audit(family, shop=40, till=20)
    paid = calls.top_up(7, "shop", root=family.follower.tariffs.directory.root("shop") or "", id="later")
    await family.store.top_up(paid)
    await family.definitions.put_account(MOVED)
    await audit(family, shop=47, till=20)
    assert family.follower.tariffs.directory.root("shop") == "globex"


async def test_a_server_that_is_killed_while_accounts_move_leaves_them_here_or_there(server: RedisServer) -> None:
    link, other = (Link(parse_address(server.url), times=QUICK) for _ in range(2))
    await link.open()
    await other.open()
    process = Process(link)
    try:
        await process.definitions.put_plan(STANDARD)
        for each in (account("acme"), account("globex"), account("shop", "acme")):
            await process.definitions.put_account(each)
        await process.store.top_up(calls.top_up(40, "shop", id="paid"))
        for n in range(5):

            async def to_and_fro() -> None:
                mover = Process(other)
                while True:
                    for root in ("globex", "acme"):
                        await mover.definitions.put_account(account("shop", root))

            moves = asyncio.create_task(to_and_fro())
            sent = other.counts.connections
            await asyncio.sleep(0.01 * n)  # nothing is waited for: it may be killed at any moment
            server.kill()
            with pytest.raises(StoreUnavailable):
                await moves
            server.start()
            await link.ready(30_000)
            await other.ready(30_000)
            assert other.counts.connections > sent
            await audit(process, shop=40)
    finally:
        await link.close()
        await other.close()


@pytest.mark.parametrize("at", range(1, COMMANDS_OF_A_MOVE + 1))
async def test_a_process_that_starts_while_an_account_moves_opens_nothing(link: Link, family: Process, at: int) -> None:
    paid = 0

    async def starts() -> None:
        nonlocal paid
        starting = Process(link)
        await starting.definitions.recover()
        root = starting.follower.tariffs.directory.root("shop") or ""
        await starting.store.top_up(calls.top_up(7, "shop", root=root, id="meanwhile"))
        paid = 7

    await moving(link, at, starts)
    await audit(family, shop=40 + paid, till=20)
    assert family.follower.tariffs.directory.root("shop") == "globex"


@pytest.mark.parametrize("at", range(1, COMMANDS_OF_A_MOVE + 1))
async def test_who_is_put_while_it_moves_has_the_limit_that_was_put_last(
    link: Link, family: Process, other: Process, at: int
) -> None:
    async def put() -> None:
        await other.definitions.put_account(account("till", "shop", credit_limit=9))
        await other.definitions.put_account(account("shop", "acme", credit_limit=6))

    await moving(link, at, put)
    await audit(family, shop=40, till=20)
    assert family.accounts["till"].credit_limit == (9 if other.accounts else 0)


@pytest.mark.parametrize("at", range(1, COMMANDS_OF_A_MOVE + 1))
async def test_a_call_that_begins_while_its_account_moves_keeps_it_or_is_refused(
    link: Link, family: Process, at: int
) -> None:
    call = calls.session(accounts=("till",), root="acme")
    answers: list[Any] = []

    async def begins() -> None:
        answers.append(await family.store.admit(calls.take(call, 15)))

    await moving(link, at, begins)
    await family.follower.refresh()
    home = family.follower.tariffs.directory.root("till")
    taken = any(isinstance(answer, Taken) for answer in answers)
    assert home == ("acme" if taken else "globex")
    if taken:
        await family.store.settle(calls.settlement(replace(call, version=1), 15))
    await audit(family, shop=40, till=5 if taken else 20)


@pytest.mark.parametrize("at", range(1, COMMANDS_OF_A_MOVE + 1))
async def test_a_correction_while_an_account_moves_is_where_the_account_is(
    link: Link, family: Process, at: int
) -> None:
    call = await calls.admitted(family.store, calls.take(calls.session(accounts=("till",), root="acme"), 15))
    await family.store.settle(calls.settlement(call, 15))
    sent = 0

    async def corrects() -> None:
        nonlocal sent
        sent += 1
        ended = replace(call, version=call.version + 1, corrections=1)
        await family.store.settle(calls.settlement(ended, -4, kind="correction"))

    await moving(link, at, corrects)
    if not sent:
        await corrects()
    await audit(family, shop=40, till=9)


async def test_what_was_paid_before_is_known_behind_a_move_and_not_taken_where_it_was(family: Process) -> None:
    await family.definitions.put_account(MOVED)
    with pytest.raises(StoreUnavailable, match="left root acme"):
        await family.store.top_up(calls.top_up(7, "shop", root="acme", id="later"))
    await family.store.top_up(calls.top_up(7, "shop", root="globex", id="later"))
    entries = await family.store.ledger("globex", "shop", "", 100)
    assert [(entry.amount, entry.balance) for entry in entries] == [(10, 10), (30, 40), (-40, 0), (40, 40), (7, 47)]


async def test_a_long_history_is_brought_first_also_what_comes_meanwhile(link: Link, family: Process) -> None:
    for paid in range(COPIED_AT_ONCE + 50):
        await family.store.top_up(calls.top_up(1, "shop", id=f"more {paid}"))
    before = await family.store.ledger("acme", "shop", "", 1000)

    async def pays() -> None:
        await family.store.top_up(calls.top_up(1, "shop", id="meanwhile"))

    await moving(link, 150, pays)
    after = await family.store.ledger("globex", "shop", "", 1000)
    assert [entry.cursor for entry in after[: len(before)]] == [entry.cursor for entry in before]
    assert [entry.id for entry in after[len(before) : -2]] == ["meanwhile"]
    assert [entry.balance for entry in after[-2:]] == [0, 40 + COPIED_AT_ONCE + 51]
    assert await family.store.top_up(calls.top_up(1, "shop", root="globex", id="meanwhile")) == after[-3]


async def test_what_waits_at_a_root_that_is_none_any_more_is_delivered(
    link: Link, family: Process, other: Process
) -> None:
    """Also a correction that is recorded there later, and by who comes later."""
    call = await calls.admitted(family.store, calls.take(calls.session(accounts=("till", "shop", "acme")), 0))
    await family.store.settle(calls.settlement(call, 0, 0, 0, kind="estimate"))
    await family.definitions.put_account(account("acme", "globex"))
    ended = replace(call, version=call.version + 1, corrections=1)
    await family.store.settle(calls.settlement(ended, 0, 0, 0, kind="correction"))
    await other.follower.refresh()
    feeds, roots = RedisFeeds(link), other.follower.tariffs.directory.all_roots()
    assert await feeds.filled(roots) == ["acme"]
    assert await feeds.move("billing", roots, 100) == 6
    await feeds.trim(roots, ["billing"])
    assert await feeds.filled(roots) == []


async def test_every_process_knows_who_was_a_root_once(family: Process, other: Process) -> None:
    await family.definitions.put_account(account("acme", "globex"))
    await other.follower.refresh()
    assert other.follower.tariffs.directory.roots() == ["globex"]
    assert other.follower.tariffs.directory.all_roots() == ["globex", "acme"]
    assert family.follower.tariffs.directory.all_roots() == ["globex", "acme"]
    await family.definitions.put_account(account("acme"))
    assert sorted(family.follower.tariffs.directory.all_roots()) == ["acme", "globex"]


@pytest.mark.parametrize("at", range(1, 20))
async def test_who_reads_while_somebody_writes_misses_nothing(
    link: Link, family: Process, at: int, complaints: list[Any]
) -> None:
    """Neither at a start nor when all is read anew; nor does the store seem to have lost what is just being written."""

    async def writes() -> None:
        await family.definitions.put_account(account("shop", "acme", credit_limit=at))

    interrupted = InterruptedLink(link, at, writes)
    await interrupted.open()
    try:
        reading = Process(interrupted)
        for _ in range(3):
            await reading.follower.refresh(anew=True)
            assert reading.accounts.keys() == family.accounts.keys()
            assert reading.follower.missing == set()
        assert reading.accounts == family.accounts
    finally:
        await interrupted.close()
    assert [complaint for complaint in complaints if complaint["log_level"] == "error"] == []


async def test_limits_are_written_by_the_hundred(link: Link, family: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    """To tens of thousands of accounts, and anew where somebody writes meanwhile."""
    for n in range(600):
        family.follower.tariffs.put_account(account(f"a{n}", credit_limit=n))
    wrote = False

    async def writes() -> None:
        nonlocal wrote
        wrote = True
        await family.definitions.put_account(account("a599", credit_limit=1_000))

    interrupted = InterruptedLink(link, 3, writes)
    await interrupted.open()
    starting = Process(interrupted)
    starting.follower.tariffs = family.follower.tariffs
    starting.definitions = RedisDefinitions(interrupted, starting.store, starting.follower, SystemClock())
    await starting.definitions.recover()
    await interrupted.close()
    assert wrote
    assert interrupted.sent < 20
    assert await link.call("HGET", keys.account("a598", "a598"), "floor") == b"598"
    assert await link.call("HGET", keys.account("a599", "a599"), "floor") == b"1000"


# ---- What must not take long


async def test_a_large_deck_is_compiled_and_let_go_in_steps(one: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two turns of the loop never more than one step of rows is worked on."""
    added: list[int] = [0]
    turns: list[int] = []
    add = decks.DeckBuilder.add

    def counted(self: decks.DeckBuilder, row: Row) -> None:
        added[-1] += 1
        add(self, row)

    monkeypatch.setattr(decks.DeckBuilder, "add", counted)
    writing = asyncio.create_task(
        one.definitions.put_rows("standard", [Row(str(100_000 + n), per_minute=n) for n in range(10_000)])
    )
    while not writing.done():
        await asyncio.sleep(0)
        turns.append(added[-1])
        added[-1] = 0
    assert sum(turns) == 10_000
    assert max(turns) <= decks.STEP_ROWS


async def test_many_definitions_are_read_in_steps(
    link: Link, one: Process, other: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No call waits for more than some hundreds: also not when 50,000 are read again after a lost connection."""
    made = [account(f"a{n}") for n in range(2_000)]
    await link.call("HSET", keys.definitions("account"), *(x for it in made for x in (it.id, msgspec.json.encode(it))))
    revisions = (x for n, it in enumerate(made, start=2) for x in (n, f"account:{it.id}"))
    await link.call("ZADD", keys.WRITTEN, *revisions)
    await link.call("SET", keys.REVISION, 1 + len(made))
    put, turns = Registry.put_account, [0]

    def counted(self: Registry, account: Account) -> None:
        turns[-1] += 1
        put(self, account)

    monkeypatch.setattr(Registry, "put_account", counted)
    reading = asyncio.create_task(other.follower.refresh())
    while not reading.done():
        await asyncio.sleep(0)
        turns.append(0)
    assert sum(turns) == len(other.accounts) == len(made)
    assert max(turns) <= 500


@pytest.fixture
def at_each_row(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], None]]:
    """What is to be done before a row is added to a deck."""
    looks: list[Callable[[], None]] = []
    add = decks.DeckBuilder.add

    def looked(self: decks.DeckBuilder, row: Row) -> None:
        for look in looks:
            look()
        add(self, row)

    monkeypatch.setattr(decks.DeckBuilder, "add", looked)
    return looks


async def test_a_suspended_account_does_not_wait_for_a_deck_to_be_compiled(
    one: Process, other: Process, at_each_row: list[Callable[[], None]]
) -> None:
    await one.definitions.put_rows("standard", [Row("31", per_minute=1)])
    await one.definitions.put_account(account("acme"))
    await other.follower.refresh()
    await one.definitions.put_rows("standard", [Row("31", per_minute=2)])
    await one.definitions.put_account(account("acme", active=False))
    seen: list[bool] = []
    at_each_row.append(lambda: seen.append(other.accounts["acme"].active))
    await other.follower.refresh()
    assert seen == [False]


async def test_who_is_put_on_a_new_plan_has_the_old_one_until_the_rows_of_the_new_one_are_there(
    one: Process, other: Process, at_each_row: list[Callable[[], None]]
) -> None:
    """Without them its calls would have no price."""
    await one.definitions.put_account(account("acme"))
    await other.follower.refresh()
    await one.definitions.put_plan(Plan("gold"))
    await one.definitions.put_rows("gold", [Row("31", per_minute=1)])
    await one.definitions.put_account(Account("acme", Kind.PREPAID, "gold"))
    seen: list[str | None] = []
    at_each_row.append(lambda: seen.append(other.accounts["acme"].plan))
    await other.follower.refresh()
    assert seen == ["standard"]
    assert other.accounts["acme"].plan == "gold"
