"""Fixtures of the end-to-end tests."""

from collections.abc import AsyncIterator

import pytest

from callctl.control.journal import Journal
from tests.e2e.daemon import daemon
from tests.e2e.front_door import FrontDoor

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
