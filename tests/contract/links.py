"""Links of a test's own, and how quickly they lose their patience."""

import contextlib
from collections.abc import AsyncIterator

from callctl.store.address import parse_address
from callctl.store.link import Link, LinkTimes

QUICK = LinkTimes(call_ms=100, connect_ms=300, ping_every_ms=50, tick_ms=10, retry_longest_ms=50)


@contextlib.asynccontextmanager
async def linked(url: str, **options) -> AsyncIterator[Link]:
    link = Link(parse_address(url), **options)
    try:
        await link.open()
        yield link
    finally:
        await link.close()
