"""The event loop of these tests, and the store under test: in memory, Redis, and the Valkey that callctl embeds."""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping

import pytest

from callctl.store.address import parse_address
from callctl.store.link import Link
from callctl.store.memory.store import MemoryStore
from callctl.store.redis import RedisStore
from tests.contract.links import PATIENT
from tests.patient import PatientLoop
from tests.servers import RedisServer

Store = MemoryStore | RedisStore


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], PatientLoop]]:
    """No time-out runs off while the machine does not let us run."""
    return {"patient": PatientLoop}


@pytest.fixture
def server(redis_server, tmp_path) -> Iterator[RedisServer]:
    """A server of its own, to be stopped, frozen and misconfigured."""
    server = RedisServer(tmp_path, redis_server.binary)
    server.start()
    yield server
    server.kill()


@pytest.fixture
async def link(redis_server) -> AsyncIterator[Link]:
    """An empty Redis."""
    link = Link(parse_address(redis_server.url), times=PATIENT)
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
    link = Link(parse_address(request.getfixturevalue(request.param).url), times=PATIENT)
    await link.open()
    await link.call("FLUSHALL")
    yield RedisStore(link)
    await link.close()
