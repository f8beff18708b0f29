"""CDRs on their way out: from the outbox of each root account into one gap-free sequence per feed.

A record is moved by one script on the feed's side, which notes in the same step how far the outbox was read. So a
deliverer may die between any two steps, or two may work at once: no record is lost, no sequence is given twice.
"""

import asyncio
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from callctl.ports import ARCHIVE, FeedPage, FeedRecord, Hear
from callctl.store import keys
from callctl.store.link import Argument, Link
from callctl.store.scripts import DEPTH, MOVE_ON, run

ARCHIVES: Final = {ARCHIVE: 1_000_000}
"""Feeds that nobody accepts from and everybody may read: they keep about this many records."""

_TIMEOUT_MS = 5_000
_ROOTS_AT_ONCE = 500  # asked by one command: some 0.3 ms of the server's time where nothing waits
_OUTBOXES_AT_ONCE = 64
_COUNTED = 1_000
_SCANNED = 1_000
_SCANS_OF_PAGE = 20

Entries = list[tuple[bytes, list[bytes]]]
"""Of a stream: id and fields, name after value after name."""


class Batch(msgspec.Struct, frozen=True):
    """What was read of one outbox, after one id ("": from its beginning) and up to another."""

    root: str
    after: str
    to: str
    records: tuple[tuple[bytes, int, bytes], ...]  # account, at_ms, payload


class RedisFeeds:
    """`ports.Feeds`. `archives`: how many records those feeds keep that are read, not accepted."""

    def __init__(self, link: Link, archives: Mapping[str, int] = ARCHIVES) -> None:
        self._link = link
        self._archives = archives

    async def filled(self, roots: Sequence[str]) -> list[str]:
        found: list[str] = []
        for some in _split(roots, _ROOTS_AT_ONCE):
            found += await self._behind(some, [b"0"] * len(some), 1)
        return found

    async def move(self, feed: str, roots: Sequence[str], limit: int, before: Hear | None = None) -> int:
        moved = 0
        for some in _split(roots, _OUTBOXES_AT_ONCE):
            batches = await self.read(feed, some, limit - moved)
            if before is not None:
                await before([payload for batch in batches for _, _, payload in batch.records])
            moved += await self.commit(feed, batches)
            if moved >= limit:
                break
        return moved

    async def read(self, feed: str, roots: Sequence[str], limit: int) -> list[Batch]:
        """The first half of `move`: the next records of these outboxes, about `limit` in all."""
        places = await self._places(feed, roots)
        unread = await self._behind(roots, [place or b"0" for place in places.values()], max(1, limit // len(roots)))
        return [
            Batch(
                root,
                after=places[root].decode(),
                to=entries[-1][0].decode(),
                records=tuple((account, _ms(id), payload) for id, (_, account, _, payload) in entries),
            )
            for root, entries in unread.items()
        ]

    async def commit(self, feed: str, batches: Sequence[Batch]) -> int:
        """The second half of `move`: how many records it moved, without outboxes that were moved on meanwhile."""
        if not batches:
            return 0
        arguments: list[Argument] = [self._archives.get(feed, "")]
        for batch in batches:
            arguments += (batch.root, batch.after, batch.to, len(batch.records))
            arguments += (value for record in batch.records for value in record)
        moved: Any = await run(self._link, MOVE_ON, (keys.feed(feed), keys.feed_place(feed)), *arguments)
        return int(moved)

    async def pending(self, feed: str, after: int, limit: int) -> list[FeedRecord]:
        return [record for record, _ in await self._records(feed, after, limit)]

    async def accepted(self, feed: str, sequence: int) -> None:
        await self._call("XTRIM", keys.feed(feed), "MINID", f"{sequence + 1}-0")

    async def depth(self, feed: str, roots: Sequence[str]) -> tuple[int, int | None]:
        count, written_ms = 0, []
        for some in _split(roots, _OUTBOXES_AT_ONCE):
            touched = [keys.feed_place(feed), *map(keys.outbox, some)]
            told: Any = await run(self._link, DEPTH, touched, _COUNTED, *some, timeout_ms=_TIMEOUT_MS)
            waiting, *oldest_ms = told
            count += waiting
            written_ms += oldest_ms
        if feed not in self._archives:
            count += await self._call("XLEN", keys.feed(feed))
            written_ms += [at_ms for _, at_ms in await self._records(feed, after=0, limit=1)]
        return count, min(written_ms, default=None)

    async def trim(self, roots: Sequence[str], feeds: Sequence[str]) -> None:
        served = await self._served(feeds) if feeds else ()
        for some in _split(roots, _OUTBOXES_AT_ONCE) if served else ():
            places = await asyncio.gather(*(self._places(feed, some) for feed in served))
            reached = [min(_id(place[root]) for place in places) for root in some]
            await asyncio.gather(
                *(
                    self._call("XTRIM", keys.outbox(root), "MINID", f"{ms}-{n + 1}")
                    for root, (ms, n) in zip(some, reached, strict=True)
                    if (ms, n) > (0, 0)
                )
            )

    async def _served(self, feeds: Sequence[str]) -> list[str]:
        """These, and those of other processes, also of one that is down: a week after its last sign it is forgotten."""
        now_s = int((await self._call("TIME"))[0])
        await self._call("ZADD", keys.FEEDS, *(word for feed in feeds for word in (now_s, feed)))
        await self._call("ZREMRANGEBYSCORE", keys.FEEDS, "-inf", now_s - keys.UNSERVED_FEED_S)
        return [name.decode() for name in await self._call("ZRANGE", keys.FEEDS, 0, -1)]

    async def page(
        self, feed: str, accounts: Collection[str] | None, after: int, since_ms: int | None, limit: int
    ) -> FeedPage:
        if since_ms is not None:
            after = max(after, await self._before(feed, since_ms))
        found: list[FeedRecord] = []
        for _ in range(_SCANS_OF_PAGE) if limit else ():
            scanned = await self._records(feed, after, _SCANNED)
            for record, _ in scanned:
                after = record.sequence
                if accounts is None or record.account in accounts:
                    found.append(record)
                    if len(found) >= limit:
                        return FeedPage(tuple(found), after, more=True)
            if len(scanned) < _SCANNED:
                return FeedPage(tuple(found), after, more=False)
        return FeedPage(tuple(found), after, more=True)

    async def _before(self, feed: str, since_ms: int) -> int:
        """The last sequence before the moment; times never fall along a feed."""
        first = await self._records(feed, after=0, limit=1)
        if not first:
            return 0
        low, high = first[0][0].sequence - 1, int(await self._call("HGET", keys.feed_place(feed), "sequence"))
        while low < high:
            middle = (low + high) // 2
            [(_, at_ms)] = await self._records(feed, after=middle, limit=1)
            if at_ms < since_ms:
                low = middle + 1
            else:
                high = middle
        return low

    async def _records(self, feed: str, after: int, limit: int) -> list[tuple[FeedRecord, int]]:
        """Records and the times (ms) that they were written at."""
        entries: Entries = await self._call("XRANGE", keys.feed(feed), f"({after}-0", "+", "COUNT", limit)
        return [
            (FeedRecord(_ms(id), account.decode(), payload), int(at_ms))
            for id, (_, account, _, at_ms, _, payload) in entries
        ]

    async def _places(self, feed: str, roots: Sequence[str]) -> dict[str, bytes]:
        """The last id moved of each outbox; empty where none was."""
        found = await self._call("HMGET", keys.feed_place(feed), *(f"root:{root}" for root in roots))
        return {root: id or b"" for root, id in zip(roots, found, strict=True)}

    async def _behind(self, roots: Sequence[str], places: Sequence[bytes], count: int) -> dict[str, Entries]:
        """The first entries behind a place in each outbox; without those that have none, which cost next to nothing."""
        outboxes = list(map(keys.outbox, roots))
        found = await self._call("XREAD", "COUNT", count, "STREAMS", *outboxes, *places)
        entries = {outbox.decode(): of_root for outbox, of_root in found or ()}
        return {root: entries[outbox] for root, outbox in zip(roots, outboxes, strict=True) if outbox in entries}

    def _call(self, *command: Argument) -> "asyncio.Future[Any]":
        return self._link.call(*command, timeout_ms=_TIMEOUT_MS)


def _split(roots: Sequence[str], count: int) -> Iterator[Sequence[str]]:
    return (roots[start : start + count] for start in range(0, len(roots), count))


def _id(place: bytes) -> tuple[int, int]:
    ms, _, n = (place or b"0-0").partition(b"-")
    return int(ms), int(n)


def _ms(id: bytes) -> int:
    """What stands before the dash of a stream's id: wall ms in an outbox, the sequence in a feed."""
    return int(id.partition(b"-")[0])
