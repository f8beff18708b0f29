"""A take that is repeated while Redis refuses to write is answered, and nothing goes wrong unheard."""

import asyncio
import gc
from typing import Any

from callctl.ports import Existing
from callctl.store.redis import RedisStore
from tests.contract.calls import session, take
from tests.contract.links import linked


async def test_a_known_call_is_told_by_a_server_without_memory(server) -> None:
    unheard: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unheard.append(context))
    async with linked(server.url) as link:
        store = RedisStore(link)
        await store.admit(take(session("c1"), 0))
        await link.call("CONFIG", "SET", "maxmemory", "1mb")
        assert isinstance(await store.admit(take(session("c1"), 0)), Existing)
    gc.collect()
    assert unheard == []
