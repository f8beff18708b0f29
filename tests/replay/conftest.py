"""The event loop of these tests."""

from tests.contract.conftest import pytest_asyncio_loop_factories

__all__ = ["pytest_asyncio_loop_factories"]
