"""The port Sessions over Redis: what is remembered of calls, and which of them hold something."""

from collections.abc import Sequence
from itertools import islice
from typing import Any, Final

import msgspec
import structlog

from callctl.call.events import CallKey
from callctl.call.session import Session
from callctl.store import keys, records, scripts
from callctl.store.link import Link

log = structlog.get_logger(__name__)

ROOTS_AT_ONCE: Final = 500  # asked by one script: some 0.3 ms of the server's time where they have no calls
LISTED_AT_ONCE: Final = 1_000  # a root more or less
RECORDS_AT_ONCE: Final = 100  # decoding them takes some 3 ms

Remembered = tuple[bytes | None, bytes | None]
"""The record of a call, and that of its running; None where there is none."""


class RedisSessions:
    """What a `RedisStore` can tell of calls. Every method may raise StoreUnavailable."""

    _link: Link

    async def find(self, call: CallKey) -> Session | None:
        session = await self.by_trace(call.trace_id)
        return session if session is not None and session.call == call else None

    async def by_trace(self, trace_id: str) -> Session | None:
        root: Any = await self._link.call("GET", keys.call(trace_id))
        if root is None:
            return None
        record, running = await self._texts([(root.decode(), trace_id)])
        return None if record is None else records.decode_record(record, running)

    async def listed(self, roots: Sequence[str]) -> list[tuple[str, str]]:
        """(root, trace id) of every call that holds something, by the end of its lease, root by root."""
        return await self._leases(roots, "+inf", LISTED_AT_ONCE, of_one=-1)

    async def lapsed(self, roots: Sequence[str], now_ms: int, limit: int) -> list[Session]:
        """Calls whose lease ended at `now_ms` or before, at most `limit` in all."""
        return await self.read(await self._leases(roots, now_ms, limit, of_one=limit, limit=limit))

    async def _leases(
        self, roots: Sequence[str], latest: int | str, enough: int, *, of_one: int, limit: int | None = None
    ) -> list[tuple[str, str]]:
        """(root, trace id)s whose leases end at `latest` or before; `enough` and `of_one`: at once (`leases.lua`)."""
        found: list[tuple[str, str]] = []
        at = 0
        while at < len(roots) and (limit is None or len(found) < limit):
            some = roots[at : at + ROOTS_AT_ONCE]
            leases = list(map(keys.live, some))
            answer: Any = await scripts.run(self._link, scripts.LEASES, leases, latest, enough, of_one)
            looked, *of_roots = answer
            found += ((some[number - 1], id.decode()) for number, ids in of_roots for id in ids)
            at += looked
        return found[:limit]

    async def read(self, calls: Sequence[tuple[str, str]]) -> list[Session]:
        """The records of (root, trace id)s."""
        sessions: list[Session] = []
        waiting = iter(calls)
        while some := tuple(islice(waiting, RECORDS_AT_ONCE)):
            texts = iter(await self._texts(some))
            sessions += filter(None, map(_understood, zip(texts, texts, strict=True)))
        return sessions

    async def _texts(self, calls: Sequence[tuple[str, str]]) -> Any:
        """Of each its record, and that of its running."""
        return await self._link.call("MGET", *(key for root, id in calls for key in keys.remembered(root, id)))


def _understood(remembered: Remembered) -> Session | None:
    """One call that cannot be read (written by a later version, say) must not keep all others from being taken up."""
    record, running = remembered
    if record is None:
        return None
    try:
        return records.decode_record(record, running)
    except (msgspec.MsgspecError, ValueError) as error:
        log.error("call_record_unreadable", error=str(error), head=record[:80].decode("ascii", "replace"))
        return None
