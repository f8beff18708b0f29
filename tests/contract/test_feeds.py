"""The feeds: every record once, in one gap-free sequence per feed, whoever dies in between. Memory and Redis alike."""

import json
from collections.abc import AsyncIterator
from typing import Protocol

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from callctl.call.takes import Record
from callctl.errors import StoreUnavailable
from callctl.ports import Feeds
from callctl.store import keys
from callctl.store.address import parse_address
from callctl.store.feeds import _OUTBOXES_AT_ONCE, RedisFeeds
from callctl.store.link import Link
from callctl.store.memory.feeds import MemoryFeeds, Outbox
from tests.contract.links import PATIENT, CountingLink
from tests.servers import RedisServer

ROOTS = ("acme", "globex", "über {co}")
ARCHIVES = {"api": 100}


class Bench(Protocol):
    """Feeds, and the outboxes that they read."""

    feeds: Feeds

    async def write(self, root: str, account: str, n: int, at_ms: int) -> None: ...
    async def left(self, root: str) -> int: ...


class MemoryBench:
    def __init__(self) -> None:
        self._outboxes: dict[str, Outbox] = {}
        self.feeds: Feeds = MemoryFeeds(self._outboxes, ARCHIVES)

    async def write(self, root: str, account: str, n: int, at_ms: int) -> None:
        self._outboxes.setdefault(root, Outbox()).add(Record(account, payload(n)), at_ms)

    async def left(self, root: str) -> int:
        return len(self._outboxes[root].entries) if root in self._outboxes else 0


class RedisBench:
    def __init__(self, link: Link) -> None:
        self.link = link
        self.redis_feeds = RedisFeeds(link, ARCHIVES)
        self.feeds: Feeds = self.redis_feeds

    async def write(self, root: str, account: str, n: int, at_ms: int) -> None:
        id = f"{at_ms}-{n}"
        await self.link.call("XADD", keys.outbox(root), id, "account", account, "payload", payload(n))

    async def left(self, root: str) -> int:
        return await self.link.call("XLEN", keys.outbox(root))  # type: ignore[return-value]


def payload(n: int) -> bytes:
    return b'{"id":%d}' % n


@pytest.fixture
async def link(valkey_server: RedisServer) -> AsyncIterator[Link]:
    link = Link(parse_address(valkey_server.url), times=PATIENT)
    await link.open()
    await link.call("FLUSHALL")
    yield link
    await link.close()


@pytest.fixture(params=["memory", "redis"])
def bench(request: pytest.FixtureRequest) -> Bench:
    return MemoryBench() if request.param == "memory" else RedisBench(request.getfixturevalue("link"))


async def records(bench: Bench, feed: str, after: int = 0) -> list[tuple[int, str, int]]:
    """What is pending: sequence, account, and which record it is. The payload says the sequence first."""
    found = []
    for record in await bench.feeds.pending(feed, after, 1_000):
        body = json.loads(record.payload)
        assert list(body) == ["sequence", "id"]
        assert body["sequence"] == record.sequence
        found.append((record.sequence, record.account, body["id"]))
    return found


async def test_records_of_all_roots_become_one_sequence(bench: Bench) -> None:
    await bench.write("acme", "acme", 1, at_ms=1000)
    await bench.write("acme", "acme-sales", 2, at_ms=1001)
    await bench.write("über {co}", "ü", 3, at_ms=1002)
    assert await bench.feeds.move("billing", ROOTS, 100) == 3
    assert await records(bench, "billing") == [(1, "acme", 1), (2, "acme-sales", 2), (3, "ü", 3)]
    assert await bench.feeds.move("billing", ROOTS, 100) == 0
    await bench.write("acme", "acme", 4, at_ms=1003)
    assert await bench.feeds.move("billing", ROOTS, 100) == 1
    assert await records(bench, "billing", after=3) == [(4, "acme", 4)]


async def test_outboxes_that_have_something_are_found(bench: Bench) -> None:
    roots = [f"root-{n}" for n in range(1_100)]
    assert await bench.feeds.filled(()) == []
    assert await bench.feeds.filled(roots) == []
    written = ["root-0", "root-499", "root-500", "root-1099"]
    for n, root in enumerate(written):
        await bench.write(root, root, n, at_ms=1000)
    assert await bench.feeds.filled(roots) == written
    assert await bench.feeds.filled(["nobody", "root-500"]) == ["root-500"]
    await bench.feeds.move("billing", written, 10)
    assert await bench.feeds.filled(roots) == written  # other feeds may want it
    await bench.feeds.trim(written[:3], ["billing"])
    assert await bench.feeds.filled(roots) == ["root-1099"]


async def test_no_roots_and_empty_outboxes_move_nothing(bench: Bench) -> None:
    assert await bench.feeds.move("billing", (), 100) == 0
    assert await bench.feeds.move("billing", ROOTS, 100) == 0
    assert await bench.feeds.pending("billing", 0, 10) == []
    assert await bench.feeds.depth("billing", ()) == (0, None)
    assert await bench.feeds.depth("billing", ROOTS) == (0, None)


async def test_a_limit_is_a_limit_and_the_rest_comes_next(bench: Bench) -> None:
    for n in range(1, 8):
        await bench.write("acme", "acme", n, at_ms=1000 + n)
    assert [await bench.feeds.move("billing", ("acme",), 3) for _ in range(4)] == [3, 3, 1, 0]
    assert [n for _, _, n in await records(bench, "billing")] == [1, 2, 3, 4, 5, 6, 7]
    assert [r.sequence for r in await bench.feeds.pending("billing", 2, 2)] == [3, 4]


async def test_each_feed_counts_by_itself(bench: Bench) -> None:
    await bench.write("acme", "acme", 1, at_ms=1000)
    await bench.feeds.move("billing", ROOTS, 100)
    await bench.write("acme", "acme", 2, at_ms=1001)
    await bench.feeds.move("mqtt", ROOTS, 100)
    assert await records(bench, "billing") == [(1, "acme", 1)]
    assert await records(bench, "mqtt") == [(1, "acme", 1), (2, "acme", 2)]


async def test_what_is_accepted_goes_and_its_sequences_do_not_come_back(bench: Bench) -> None:
    for n in (1, 2, 3):
        await bench.write("acme", "acme", n, at_ms=1000 + n)
    await bench.feeds.move("billing", ROOTS, 100)
    await bench.feeds.accepted("billing", 2)
    assert await records(bench, "billing") == [(3, "acme", 3)]
    await bench.feeds.accepted("billing", 3)
    await bench.feeds.accepted("billing", 1)
    await bench.write("acme", "acme", 4, at_ms=1004)
    await bench.feeds.move("billing", ROOTS, 100)
    assert await records(bench, "billing") == [(4, "acme", 4)]


async def test_depth_counts_what_nobody_has_accepted_and_says_since_when(bench: Bench) -> None:
    await bench.write("acme", "acme", 1, at_ms=1000)
    await bench.write("acme", "acme", 2, at_ms=2000)
    assert await bench.feeds.depth("billing", ROOTS) == (2, 1000)
    await bench.feeds.move("billing", ("acme",), 1)
    assert await bench.feeds.depth("billing", ROOTS) == (2, 1000)
    await bench.feeds.accepted("billing", 1)
    assert await bench.feeds.depth("billing", ROOTS) == (1, 2000)
    await bench.feeds.move("billing", ROOTS, 100)
    await bench.feeds.accepted("billing", 2)
    assert await bench.feeds.depth("billing", ROOTS) == (0, None)


async def test_depth_of_outboxes_that_were_read_in_part_or_trimmed(bench: Bench) -> None:
    """Of one that the feed has a part of, at most 1,000 are counted."""
    for n in range(1, 6):
        await bench.write("acme", "acme", n, at_ms=1000 + n)
        await bench.write("globex", "globex", n, at_ms=2000 + n)
    await bench.feeds.move("api", ("acme",), 3)
    await bench.feeds.move("api", ("globex",), 3)
    await bench.feeds.move("billing", ("acme",), 2)
    await bench.feeds.move("mqtt", ("globex",), 5)
    await bench.feeds.accepted("billing", 2)
    await bench.feeds.accepted("mqtt", 5)
    assert await bench.feeds.depth("billing", ROOTS) == (8, 1003)
    assert await bench.feeds.depth("mqtt", ROOTS) == (5, 1001)
    assert await bench.feeds.depth("api", ROOTS) == (4, 1004)
    await bench.feeds.trim(ROOTS, ("billing", "api"))
    assert await bench.feeds.depth("billing", ROOTS) == (8, 1003)
    assert await bench.feeds.depth("mqtt", ROOTS) == (3, 1003)


async def test_an_archive_waits_for_nobody_and_keeps_its_last_records(bench: Bench) -> None:
    for n in range(1, 401):
        await bench.write("acme", "acme", n, at_ms=1000 + n)
    while await bench.feeds.move("api", ROOTS, 90):
        pass
    assert await bench.feeds.depth("api", ROOTS) == (0, None)
    kept = [record.sequence for record in await bench.feeds.pending("api", 0, 1_000)]
    assert kept == list(range(kept[0], 401))
    assert 100 <= len(kept) < 400


async def test_an_outbox_is_trimmed_up_to_the_slowest_feed(bench: Bench) -> None:
    for n in (1, 2, 3):
        await bench.write("acme", "acme", n, at_ms=1000)
    await bench.feeds.move("billing", ("acme",), 3)
    await bench.feeds.move("api", ("acme",), 2)
    await bench.feeds.trim(ROOTS, ())
    assert await bench.left("acme") == 3
    await bench.feeds.trim(ROOTS, ("billing", "api"))
    assert await bench.left("acme") == 1
    await bench.feeds.move("api", ("acme",), 9)
    await bench.feeds.trim(ROOTS, ("billing", "api"))
    assert await bench.left("acme") == 0
    await bench.write("acme", "acme", 4, at_ms=1001)
    await bench.feeds.move("api", ("acme",), 9)
    assert [n for _, _, n in await records(bench, "api")] == [1, 2, 3, 4]


async def test_what_the_feed_of_another_process_has_not_got_is_kept(bench: Bench) -> None:
    await bench.feeds.trim((), ("mqtt",))  # it was there, and is down
    for n in (1, 2, 3):
        await bench.write("acme", "acme", n, at_ms=1000)
    await bench.feeds.move("billing", ("acme",), 3)
    await bench.feeds.trim(ROOTS, ("billing",))
    assert await bench.left("acme") == 3
    await bench.feeds.move("mqtt", ("acme",), 3)
    await bench.feeds.trim(ROOTS, ("billing",))
    assert await bench.left("acme") == 0


async def test_a_feed_that_nobody_has_served_for_a_week_is_forgotten(link: Link) -> None:
    bench = RedisBench(link)
    await bench.feeds.trim((), ("mqtt",))
    await link.call("ZINCRBY", keys.FEEDS, -keys.UNSERVED_FEED_S, "mqtt")
    await bench.write("acme", "acme", 1, at_ms=1000)
    await bench.feeds.move("billing", ("acme",), 3)
    await bench.feeds.trim(ROOTS, ("billing",))
    assert await bench.left("acme") == 0


async def test_pages_go_by_account_and_time(bench: Bench) -> None:
    for n in range(1, 11):
        await bench.write("acme", "odd" if n % 2 else "even", n, at_ms=1000 + n)
    await bench.feeds.move("api", ROOTS, 100)

    async def page(accounts: set[str] | None, after: int, since_ms: int | None, limit: int) -> tuple[list[int], int]:
        found = await bench.feeds.page("api", accounts, after, since_ms, limit)
        return [record.sequence for record in found.records], found.after

    assert await page(None, 2, None, 0) == ([], 2)
    assert await page(None, 0, None, 4) == ([1, 2, 3, 4], 4)
    assert await page(None, 4, None, 100) == ([5, 6, 7, 8, 9, 10], 10)
    assert await page({"odd"}, 0, None, 2) == ([1, 3], 3)
    assert await page({"odd", "even"}, 8, None, 100) == ([9, 10], 10)
    assert await page(set(), 0, None, 100) == ([], 10)
    assert await page({"even"}, 0, 1005, 2) == ([6, 8], 8)
    assert await page(None, 9, 1005, 100) == ([10], 10)
    assert await page(None, 0, 1011, 100) == ([], 10)
    assert await page(None, 0, 1, 1) == ([1], 1)
    assert not (await bench.feeds.page("api", None, 9, None, 100)).more
    assert (await bench.feeds.page("api", None, 0, None, 1)).more


async def test_a_record_that_was_moved_late_is_still_found_by_its_time(bench: Bench) -> None:
    await bench.write("acme", "acme", 1, at_ms=5000)
    await bench.feeds.move("api", ("acme",), 100)
    await bench.write("globex", "globex", 2, at_ms=3000)
    await bench.feeds.move("api", ROOTS, 100)
    found = await bench.feeds.page("api", None, 0, 3000, 10)
    assert [record.sequence for record in found.records] == [1, 2]


async def test_a_page_looks_only_so_far(link: Link) -> None:
    bench = RedisBench(link)
    bench.feeds = feeds = RedisFeeds(link, {"api": 1_000_000})
    fill = (
        "for n = 1, 20001 do redis.call('XADD', KEYS[1], n .. '-0', 'account', 'a', 'at_ms', '1', 'payload', '{}') end"
    )
    await link.call("EVAL", fill, 1, keys.feed("api"), timeout_ms=10_000)
    first = await feeds.page("api", {"b"}, 0, None, 10)
    assert (first.records, first.after, first.more) == ((), 20_000, True)
    rest = await feeds.page("api", {"b"}, first.after, None, 10)
    assert (rest.records, rest.after, rest.more) == ((), 20_001, False)


async def test_many_idle_outboxes_are_asked_with_few_commands(valkey_server: RedisServer) -> None:
    """To ask each with a command of its own took a fifth of a processor for 50,000 that were silent."""
    roots = [f"root-{n}" for n in range(5_000)]
    link = CountingLink(parse_address(valkey_server.url), times=PATIENT, window=_OUTBOXES_AT_ONCE)
    await link.open()
    await link.call("FLUSHALL")
    link.sent = 0
    assert await RedisFeeds(link).filled(roots) == []
    assert link.sent == 10
    await link.close()


async def test_no_number_of_filled_outboxes_is_too_much_for_the_link(valkey_server: RedisServer) -> None:
    roots = [f"root-{n}" for n in range(300)]
    link = CountingLink(parse_address(valkey_server.url), times=PATIENT, window=_OUTBOXES_AT_ONCE)
    await link.open()
    await link.call("FLUSHALL")
    bench = RedisBench(link)
    for n, root in enumerate(roots):
        await bench.write(root, root, n, at_ms=1000 + n)
    assert await bench.feeds.filled(roots) == roots
    assert await bench.feeds.depth("billing", roots) == (300, 1000)
    assert await bench.feeds.move("billing", roots, 300) == 300
    await bench.feeds.trim(roots, ["billing"])
    assert await bench.feeds.filled(roots) == []
    assert link.counts.overflows == 0
    await link.close()


async def test_a_dead_redis_is_said_to_be_so(link: Link) -> None:
    await link.close()
    with pytest.raises(StoreUnavailable):
        await RedisFeeds(link).move("billing", ROOTS, 10)


STEPS = st.lists(
    st.sampled_from(
        [
            *(("write", root) for root in ROOTS),
            *((step, who) for step in ("read", "commit", "commit", "die", "accept") for who in "AB"),
            ("trim", ""),
        ]
    ),
    min_size=15,
    max_size=40,
)
RACE = [("write", "acme"), ("read", "A"), ("read", "B"), ("commit", "A"), ("commit", "B"), ("commit", "A")]
LATE = [*RACE[:4], ("accept", "A"), ("trim", ""), ("write", "acme"), ("commit", "B"), ("read", "A"), ("commit", "A")]


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@example(steps=RACE, limit=5)
@example(steps=LATE, limit=5)
@given(steps=STEPS, limit=st.integers(1, 5))
async def test_two_deliverers_that_die_anywhere_neither_lose_nor_repeat(
    link: Link, steps: list[tuple[str, str]], limit: int
) -> None:
    """A deliverer reads, commits, then hands over to the sink and accepts; it may be cut between any two steps."""
    await link.call("FLUSHALL")
    bench = RedisBench(link)
    feeds = bench.redis_feeds
    read: dict[str, list] = {}  # type: ignore[type-arg]
    delivered: dict[int, int] = {}
    written: dict[str, list[int]] = {root: [] for root in ROOTS}
    count = 0

    async def deliver() -> int:
        last = 0
        for last, _, n in await records(bench, "billing"):
            assert delivered.setdefault(last, n) == n, "a sequence stands for two records"
        return last

    for step, who in steps:
        match step:
            case "write":
                count += 1
                written[who].append(count)
                await bench.write(who, who, count, at_ms=1000 + count)
            case "read":
                read[who] = await feeds.read("billing", ROOTS, limit)
            case "commit":
                await feeds.commit("billing", read.get(who, []))
            case "die":
                read.pop(who, None)
            case "accept":
                await feeds.accepted("billing", await deliver())
            case "trim":
                await feeds.trim(ROOTS, ["billing"])
    while await feeds.move("billing", ROOTS, limit):
        pass
    await deliver()
    assert sorted(delivered) == list(range(1, count + 1))
    for numbers in written.values():
        assert [n for _, n in sorted(delivered.items()) if n in numbers] == numbers
