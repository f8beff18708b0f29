"""Fixtures of the end-to-end tests."""

import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from callctl.control.journal import Journal
from tests.e2e.daemon import daemon
from tests.e2e.front_door import FrontDoor
from tests.servers import RedisServer, missing

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
    binary = shutil.which("redis-server")
    if binary is None:
        missing("Redis", "redis-server is not installed")
    (tmp_path / "redis").mkdir()
    server = RedisServer(tmp_path / "redis", binary)
    server.start()
    yield server
    server.kill()
