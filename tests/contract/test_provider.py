"""The provider's own channels: all counters of a call or none, however many ask at once; what is lost lapses."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from callctl.limits.concurrency import Slot
from callctl.ports import ProviderChannels
from callctl.store.address import parse_address
from callctl.store.link import Link
from callctl.store.provider import MemoryProviderChannels, RedisProviderChannels
from tests.contract.links import PATIENT

NOW, LEASE = 1_000_000, 1_060_000
FIVE, TWO = Slot("carrier a:outbound", 5, 5), Slot("cuba:outbound", 2, 2)
COUNTED = Slot("soft:total")


@pytest.fixture(params=["memory", "redis_server", "valkey_server"])
async def channels(request) -> AsyncIterator[ProviderChannels]:
    if request.param == "memory":
        yield MemoryProviderChannels()
        return
    link = Link(parse_address(request.getfixturevalue(request.param).url), times=PATIENT)
    await link.open()
    await link.call("FLUSHALL")
    yield RedisProviderChannels(link)
    await link.close()


async def in_use(channels: ProviderChannels, *slots: Slot, now_ms: int = NOW) -> list[int]:
    return list(await channels.take(slots, "nobody", now_ms, LEASE, look=True))


async def test_of_fifty_calls_at_once_as_many_go_ahead_as_there_are_channels(channels) -> None:
    answers = await asyncio.gather(*(channels.take((FIVE,), f"c{n}", NOW, LEASE) for n in range(50)))
    assert sorted(used for (used,) in answers) == [0, 1, 2, 3, *[4], *[5] * 45]
    assert await in_use(channels, FIVE) == [5]


async def test_all_counters_are_taken_or_none(channels) -> None:
    for n in range(3):
        assert list(await channels.take((FIVE, TWO), f"c{n}", NOW, LEASE)) == [n, n]
    assert await in_use(channels, FIVE, TWO) == [2, 2]


async def test_taking_again_takes_nothing_more(channels) -> None:
    for _ in range(3):
        assert list(await channels.take((TWO, COUNTED), "c1", NOW, LEASE)) == [0, 0]
    assert await in_use(channels, TWO, COUNTED) == [1, 1]


async def test_force_takes_what_is_full_and_a_look_takes_nothing(channels) -> None:
    none = Slot("none:total", 0, 0)
    assert list(await channels.take((none,), "c1", NOW, LEASE)) == [0]
    assert list(await channels.take((none,), "c1", NOW, LEASE, look=True)) == [0]
    assert await in_use(channels, none) == [0]
    assert list(await channels.take((none,), "c1", NOW, LEASE, force=True)) == [0]
    assert await in_use(channels, none) == [1]


async def test_what_only_counts_is_never_full(channels) -> None:
    for n in range(5):
        assert list(await channels.take((COUNTED,), f"c{n}", NOW, LEASE)) == [n]


async def test_a_channel_is_given_back_once(channels) -> None:
    await channels.take((TWO, COUNTED), "c1", NOW, LEASE)
    await channels.take((TWO, COUNTED), "c2", NOW, LEASE)
    await channels.give_back((TWO, COUNTED), "c1")
    await channels.give_back((TWO, COUNTED), "c1")
    await channels.give_back((TWO, COUNTED), "c9")
    assert await in_use(channels, TWO, COUNTED) == [1, 1]


async def test_what_nobody_renews_lapses(channels) -> None:
    await channels.take((TWO,), "c1", NOW, LEASE)
    await channels.take((TWO,), "c2", NOW, LEASE)
    channels.renew((TWO,), "c2", LEASE + 10_000)
    assert await in_use(channels, TWO, now_ms=LEASE - 1) == [2]
    assert await in_use(channels, TWO, now_ms=LEASE) == [1]
    assert list(await channels.take((TWO,), "c3", LEASE, LEASE + 60_000)) == [1]
    assert await in_use(channels, TWO, now_ms=LEASE + 10_000) == [1]


async def test_a_lapsed_call_that_still_runs_is_counted_again(channels) -> None:
    await channels.take((TWO,), "c1", NOW, LEASE)
    channels.renew((TWO,), "c1", LEASE + 90_000)
    assert await in_use(channels, TWO, now_ms=LEASE + 1) == [1]


async def test_a_root_account_of_any_name_counts_elsewhere(link) -> None:
    channels = RedisProviderChannels(link)
    await channels.take((FIVE,), "c1", NOW, LEASE)
    assert await link.call("KEYS", "*") == [b"{provider:limits}:carrier%20a:outbound"]


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["take", "look", "force", "renew", "give_back"]),
        st.integers(0, 4),  # the call
        st.lists(st.sampled_from([FIVE, TWO, COUNTED, Slot("one:total", 1, 1)]), min_size=1, max_size=3, unique=True),
        st.integers(0, 50),  # ms that pass before
        st.integers(1, 60),  # ms that a lease lasts
    ),
    max_size=30,
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(STEPS)
async def test_redis_does_what_memory_means(link, steps) -> None:
    await link.call("FLUSHALL")
    redis, memory, now_ms = RedisProviderChannels(link), MemoryProviderChannels(), NOW
    for what, call, slots, passes_ms, lease_ms in steps:
        now_ms += passes_ms
        for each in (redis, memory):
            if what == "renew":
                each.renew(slots, f"c{call}", now_ms + lease_ms)
            elif what == "give_back":
                await each.give_back(slots, f"c{call}")
        if what in ("take", "look", "force"):
            mode = {"look": what == "look", "force": what == "force"}
            asked = (slots, f"c{call}", now_ms, now_ms + lease_ms)
            assert list(await redis.take(*asked, **mode)) == list(await memory.take(*asked, **mode))
