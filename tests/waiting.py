"""Waiting for a condition with a deadline, never for a time."""

import asyncio
from collections.abc import Callable

PATIENCE_S = 30.0
"""What is there at once on a quiet machine is there by then on a busy one; only a failure takes so long."""


async def until(condition: Callable[[], object], within_s: float = PATIENCE_S) -> None:
    """Return as soon as `condition` holds; TimeoutError after `within_s`."""
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110  anything may be waited for
            await asyncio.sleep(0.002)
