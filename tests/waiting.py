"""Waiting for a condition with a deadline, never for a time."""

import asyncio
from collections.abc import Callable


async def until(condition: Callable[[], object], within_s: float = 5.0) -> None:
    """Return as soon as `condition` holds; TimeoutError after `within_s`."""
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110  anything may be waited for
            await asyncio.sleep(0.002)
