"""The store under test: the reference in memory, Redis, and the Valkey that callctl embeds."""

from collections.abc import AsyncIterator

import pytest

from callctl.store.address import parse_address
from callctl.store.link import Link
from callctl.store.memory import MemoryStore
from callctl.store.redis import RedisStore

Store = MemoryStore | RedisStore


@pytest.fixture
async def link(redis_server) -> AsyncIterator[Link]:
    """An empty Redis."""
    link = Link(parse_address(redis_server.url))
    await link.open()
    await link.call("FLUSHALL")
    yield link
    await link.close()


@pytest.fixture
def redis_store(link) -> RedisStore:
    return RedisStore(link)


@pytest.fixture(params=["memory", "redis_server", "valkey_server"])
async def store(request) -> AsyncIterator[Store]:
    if request.param == "memory":
        yield MemoryStore()
        return
    link = Link(parse_address(request.getfixturevalue(request.param).url))
    await link.open()
    await link.call("FLUSHALL")
    yield RedisStore(link)
    await link.close()
