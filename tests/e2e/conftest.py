"""Fixtures of the end-to-end tests."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from callctl.control.journal import Journal
from tests.e2e.daemon import daemon
from tests.e2e.front_door import FrontDoor
from tests.servers import RedisServer, system_redis

__all__ = ["daemon", "door"]


@pytest.fixture
async def door(tmp_path) -> AsyncIterator[FrontDoor]:
    """The front door with `FrontDoor.furnish`'s accounts."""
    journal = Journal(tmp_path / "journal")
    door = FrontDoor(journal)
    await door.furnish()
    async with door.client:
        yield door
    journal.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis of the test's own, to be killed and started again."""
    yield from system_redis(RedisServer, tmp_path / "redis")
