"""What has happened to an account, over Redis: its ledger, and what was noted of its spend thresholds."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from callctl.call.takes import LedgerEntry
from callctl.store import books, keys
from callctl.store.link import Link
from callctl.store.rejected import Rejected

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
        """Before a move's first entry at the new root. May be repeated. What stood at the old root stays there."""
        for stream in (keys.ledger, keys.notes):
            await self._copy(stream(from_root, account), stream(to_root, account))

    async def _copy(self, source: str, target: str) -> None:
        """The entries behind the target's last one, as they are: their ids are the cursors that readers have."""
        last: Any = await self._link.call("XREVRANGE", target, "+", "-", "COUNT", 1)
        after = last[0][0].decode() if last else "0-0"
        while True:
            entries: Any = await self._link.call("XRANGE", source, f"({after}", "+", "COUNT", COPIED_AT_ONCE)
            if not entries:
                return
            await asyncio.gather(*(self._add(target, id, flat) for id, flat in entries))
            after = entries[-1][0].decode()

    async def _add(self, stream: str, id: bytes, flat: Sequence[bytes]) -> None:
        try:
            await self._link.call("XADD", stream, id, *flat)
        except Rejected as refused:
            if "equal or smaller" not in str(refused):  # else another process brings it, too
                raise
