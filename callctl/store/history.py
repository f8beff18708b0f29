"""What has happened to an account, over Redis: its ledger, and what was noted of its spend thresholds."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

from callctl.call.takes import LedgerEntry
from callctl.store import books, keys, scripts
from callctl.store.link import Link

COPIED_AT_ONCE: Final = 200


class RedisHistory:
    """What a `RedisStore` can tell of the past. Every method may raise StoreUnavailable."""

    _link: Link

    async def ledger(self, root: str, account: str, after: str, limit: int) -> list[LedgerEntry]:
        """Oldest first, from behind the cursor `after` ("": from the first). ValueError: that is no cursor."""
        start = "({}-{}".format(*books.parse_cursor(after))
        entries: Any = await self._link.call("XRANGE", keys.ledger(root, account), start, "+", "COUNT", limit)
        return [books.decode_entry(cursor, flat) for cursor, flat in entries]

    async def bring_history(self, from_root: str, to_root: str, account: str) -> None:
        """Before an account moves. May be repeated, by several at once. What stood at the old root stays there.

        A payment that was made there is not made again here: its id is remembered for as long as there.
        """
        source, target = keys.ledger(from_root, account), keys.ledger(to_root, account)
        async for entries in self._behind(source, target):
            await asyncio.gather(*(self._remember(to_root, account, books.decode_entry(*entry)) for entry in entries))
            await scripts.run(self._link, scripts.COPY, (source, target), entries[-1][0])
        source, target = keys.notes(from_root, account), keys.notes(to_root, account)
        async for entries in self._behind(source, target):
            await scripts.run(self._link, scripts.COPY, (source, target), entries[-1][0])

    async def _behind(self, source: str, target: str) -> AsyncIterator[list[tuple[bytes, list[bytes]]]]:
        """Entries behind the target's last one, some at a time."""
        last: Any = await self._link.call("XREVRANGE", target, "+", "-", "COUNT", 1)
        after = last[0][0].decode() if last else "0-0"
        while True:
            entries: Any = await self._link.call("XRANGE", source, f"({after}", "+", "COUNT", COPIED_AT_ONCE)
            if not entries:
                return
            yield entries
            after = entries[-1][0].decode()

    async def _remember(self, root: str, account: str, entry: LedgerEntry) -> None:
        """The answer to a top-up; a time that is over is none for Redis."""
        if not entry.call:
            key, until_ms = keys.top_up(root, account, entry.id), entry.at_ms + keys.TOP_UP_TTL_S * 1000
            await self._link.call("SET", key, books.encode_top_up(entry), "NX", "PXAT", until_ms)
