"""Services in Redis: the catalogue, and who subscribes to what.

Definitions are few and off the way of any call: who needs them asks, and gets what has changed since it asked last.
They are written like all others, by the script that refuses a writer who has not seen the latest. How far a
subscription is charged stands beside its account's money (`RedisStore`).
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final

import msgspec
import structlog
from msgspec.structs import replace

from callctl.rating.services import Catalogue
from callctl.rating.subscriptions import ServiceBook, Subscriptions, check_book
from callctl.store import keys
from callctl.store.decks import in_steps
from callctl.store.link import Argument, Link
from callctl.store.scripts import DEFINE, run

log = structlog.get_logger(__name__)

_CATALOGUE: Final = "catalogue"
_SUBSCRIPTIONS: Final = "subscriptions"
_TIMEOUT_MS: Final = 5_000


class RedisServices:
    """`ports.Services`. Every method may raise StoreUnavailable."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._book = ServiceBook()
        self._revision = 0
        self._turn = asyncio.Lock()

    async def book(self) -> ServiceBook:
        async with self._turn:
            await self._catch_up()
            return self._book

    async def put_catalogue(self, catalogue: Catalogue) -> None:
        async with self._turn:
            while True:  # until nobody else has written meanwhile
                await self._catch_up()
                check_book(self._book, catalogue)
                if await self._define(_CATALOGUE, _CATALOGUE, catalogue):
                    self._book = replace(self._book, catalogue=catalogue)
                    return

    async def change(self, account: str, change: Callable[[ServiceBook], Subscriptions]) -> Subscriptions:
        async with self._turn:
            while True:
                await self._catch_up()
                changed = change(self._book)
                if await self._define(_SUBSCRIPTIONS, account, changed):
                    self._book.subscriptions[account] = changed
                    return changed

    async def restore(self) -> None:
        async with self._turn:
            while self._book.lost:
                await self._catch_up()
                kept = {name.decode() for name in await self._call("ZRANGE", keys.SERVICES_WRITTEN, 0, -1)}
                known: dict[tuple[str, str], Any] = {(_CATALOGUE, _CATALOGUE): self._book.catalogue}
                known |= {(_SUBSCRIPTIONS, id): own for id, own in self._book.subscriptions.items()}
                missing = [(*name, value) for name, value in known.items() if ":".join(name) not in kept]
                if all([await self._define(*each) for each in missing]):  # unless somebody else has written
                    log.warning("services_restored", count=len(missing))
                    self._book = replace(self._book, lost=False)

    async def _catch_up(self) -> None:
        revision = int(await self._call("GET", keys.SERVICES_REVISION) or 0)
        if revision < self._revision:
            log.error("services_lost_by_store", kept=self._revision, found=revision)
            self._revision, self._book = 0, replace(self._book, lost=True)
        if revision == self._revision:
            return
        written = await self._call("ZRANGEBYSCORE", keys.SERVICES_WRITTEN, self._revision + 1, revision)
        async for step in in_steps(written):
            changed = [entry.decode().partition(":") for entry in step]
            if any(kind == _CATALOGUE for kind, _, _ in changed):
                kept = await self._call("HGET", keys.services(_CATALOGUE), _CATALOGUE)
                self._book = replace(self._book, catalogue=_read(kept, Catalogue, _CATALOGUE, self._book.catalogue))
            if accounts := [id for kind, _, id in changed if kind == _SUBSCRIPTIONS]:
                found = await self._call("HMGET", keys.services(_SUBSCRIPTIONS), *accounts)
                for id, kept in zip(accounts, found, strict=True):
                    self._book.subscriptions[id] = _read(kept, Subscriptions, id, self._book.of(id))
        self._revision = revision

    async def _define(self, kind: str, id: str, value: Catalogue | Subscriptions) -> bool:
        """Whether it was written: not when somebody else has written since our revision."""
        touched = (keys.SERVICES_REVISION, keys.SERVICES_WRITTEN, keys.services(kind))
        written = (self._revision, kind, id, msgspec.json.encode(value), 0, 0)
        revision: Any = await run(self._link, DEFINE, touched, *written, timeout_ms=_TIMEOUT_MS)
        if revision is None:
            return False
        self._revision = revision
        return True

    def _call(self, *command: Argument) -> "asyncio.Future[Any]":
        return self._link.call(*command, timeout_ms=_TIMEOUT_MS)


def _read(kept: bytes | None, kind: Any, id: str, last_good: Any) -> Any:
    """A definition as it is kept; one that cannot be read is reported, and the last good one stays."""
    try:
        return last_good if kept is None else msgspec.json.decode(kept, type=kind)
    except ValueError as error:
        log.error("definition_broken", kind=kind.__name__, id=id, error=str(error))
        return last_good
