"""`feeds` in plain lists: the reference of what the scripts do."""

from bisect import bisect_left
from collections.abc import Collection, Mapping, Sequence

import msgspec

from callctl.call.takes import Record
from callctl.ports import FeedPage, FeedRecord, Hear
from callctl.store.feeds import ARCHIVES


class Outbox:
    """What the settlements of one root have left: records by a number that only grows, and when (ms)."""

    def __init__(self) -> None:
        self.entries: list[tuple[int, int, Record]] = []
        self._last = 0

    def add(self, record: Record, at_ms: int) -> None:
        self._last += 1
        self.entries.append((self._last, at_ms, record))

    def after(self, number: int) -> list[tuple[int, int, Record]]:
        return [entry for entry in self.entries if entry[0] > number]


class _Feed(msgspec.Struct):
    records: list[FeedRecord] = []
    times_ms: list[int] = []
    places: dict[str, int] = {}
    sequence: int = 0
    latest_ms: int = 0


class MemoryFeeds:
    """`ports.Feeds` over the outboxes of a memory store, by root."""

    def __init__(self, outboxes: Mapping[str, Outbox], archives: Mapping[str, int] = ARCHIVES) -> None:
        self._outboxes = outboxes
        self._archives = archives
        self._feeds: dict[str, _Feed] = {}
        self._served: set[str] = set()

    async def filled(self, roots: Sequence[str]) -> list[str]:
        return [root for root in roots if root in self._outboxes and self._outboxes[root].entries]

    async def move(self, feed: str, roots: Sequence[str], limit: int, before: Hear | None = None) -> int:
        to = self._feed(feed)
        moved = 0
        for root in roots:
            batch = self._waiting(to, root)[: limit - moved]
            if before is not None:
                await before([record.payload for _, _, record in batch])
            for number, at_ms, record in batch:
                to.sequence += 1
                to.latest_ms = max(to.latest_ms, at_ms)
                payload = b'{"sequence":%d,' % to.sequence + record.payload[1:]
                to.records.append(FeedRecord(to.sequence, record.account, payload))
                to.times_ms.append(to.latest_ms)
                to.places[root] = number
                moved += 1
        if feed in self._archives:
            self._drop(to, len(to.records) - self._archives[feed])
        return moved

    async def pending(self, feed: str, after: int, limit: int) -> list[FeedRecord]:
        return [record for record in self._feed(feed).records if record.sequence > after][:limit]

    async def accepted(self, feed: str, sequence: int) -> None:
        of = self._feed(feed)
        self._drop(of, sum(record.sequence <= sequence for record in of.records))

    async def depth(self, feed: str, roots: Sequence[str]) -> tuple[int, int | None]:
        of = self._feed(feed)
        times_ms = [at_ms for root in roots for _, at_ms, _ in self._waiting(of, root)]
        if feed not in self._archives:
            times_ms += of.times_ms
        return len(times_ms), min(times_ms, default=None)

    async def trim(self, roots: Sequence[str], feeds: Sequence[str]) -> None:
        self._served.update(feeds)
        for root in roots:
            if root in self._outboxes and feeds:
                reached = min(self._feed(feed).places.get(root, 0) for feed in self._served)
                self._outboxes[root].entries = self._outboxes[root].after(reached)

    async def page(
        self, feed: str, accounts: Collection[str] | None, after: int, since_ms: int | None, limit: int
    ) -> FeedPage:
        of = self._feed(feed)
        if since_ms is not None:
            before = of.records[: bisect_left(of.times_ms, since_ms)]
            after = max(after, before[-1].sequence if before else 0)
        found: list[FeedRecord] = []
        for record in of.records if limit else ():
            if record.sequence > after:
                after = record.sequence
                if accounts is None or record.account in accounts:
                    found.append(record)
                    if len(found) >= limit:
                        return FeedPage(tuple(found), after, more=True)
        return FeedPage(tuple(found), after, more=not limit)

    def _feed(self, name: str) -> _Feed:
        return self._feeds.setdefault(name, _Feed())

    def _waiting(self, feed: _Feed, root: str) -> list[tuple[int, int, Record]]:
        outbox = self._outboxes.get(root)
        return outbox.after(feed.places.get(root, 0)) if outbox is not None else []

    def _drop(self, feed: _Feed, count: int) -> None:
        if count > 0:
            del feed.records[:count], feed.times_ms[:count]
