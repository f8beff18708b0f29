"""How every process follows the definitions in Redis.

Each write counts a revision up, and notes at which revision what was written. So whoever knows how far it has read
finds exactly what has changed since, whatever it missed; the stream `changes` only rings the bell. A definition that
cannot be read is reported, and the last good one stays. So does what Redis has lost (a restart without its data, a
failover), until `RedisDefinitions.keep` has written it again.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec
import structlog

from callctl.accounts import Account, Group, Trunk
from callctl.errors import StoreUnavailable
from callctl.limits.licence import SwitchLicence
from callctl.limits.provider import ProviderLimit
from callctl.ports import Clock
from callctl.rating.bundles import Blocks
from callctl.rating.exchange import Exchange
from callctl.rating.tariff import Plan, Row
from callctl.store import keys
from callctl.store.decks import compile_deck, decode_rows, in_steps, let_go
from callctl.store.link import Argument, Link
from callctl.store.moving import FormerRoot
from callctl.store.registry import Registry

log = structlog.get_logger(__name__)

_TIMEOUT_MS: Final = 5_000
_AT_ONCE: Final = 500
_BELL_MS: Final = 1_000  # how long a change stays unseen when its bell was lost
_RETRY_MS: Final = 200

Definition = TypeVar(
    "Definition", Account, Group, Trunk, Plan, Exchange, Blocks, SwitchLicence, ProviderLimit, FormerRoot
)


class StoredDeck(msgspec.Struct, frozen=True):
    """Where a deck's rows are: the names of its chunks, in order."""

    chunks: tuple[str, ...] = ()


class Follower:
    """What this process knows of the definitions (`tariffs`), and up to which `revision`.

    `refresh` once before the first call, then `follow` for good. `topped_up` hears the account of every top-up, from
    any process, `tripped` of every block by a spend threshold, `lost_some` that Redis has lost something; they must not
    block or raise. Who writes holds `turn`. `lost` is set when Redis has lost something, `missing` names the
    definitions ("<kind>:<id>") that only we have.
    """

    def __init__(
        self,
        link: Link,
        clock: Clock,
        topped_up: Callable[[str], None] = lambda _: None,
        tripped: Callable[[str], None] = lambda _: None,
        lost_some: Callable[[], None] = lambda: None,
    ) -> None:
        self.tariffs = Registry(known=False)
        self.revision = 0
        self.stored: dict[str, StoredDeck] = {}
        self.turn = asyncio.Lock()
        self.missing: set[str] = set()
        self.lost = asyncio.Event()
        self._lost_some = lost_some
        self._link = link
        self._clock = clock
        self._told = {b"topup": topped_up, b"trip": tripped}

    async def refresh(self, *, anew: bool = False) -> None:
        """Read all that has changed; `anew`, everything, whatever the revision. StoreUnavailable."""
        async with self.turn:
            await self.catch_up(anew=anew)

    async def follow(self) -> None:
        """Stay up to date until cancelled, through every loss of the connection."""
        bell = Link(self._link.address, clock=self._clock)  # listening would hold up everything behind it
        heard: str | None = None
        up = True
        try:
            while True:
                try:
                    if heard is None:
                        await bell.open()
                        heard = await self._last_change(bell)
                    await self.refresh(anew=not up)  # what took over may have counted the same revisions otherwise
                    heard = await self._listen(bell, heard)
                    up = True
                except StoreUnavailable as error:
                    if up:
                        log.warning("definitions_not_followed", error=str(error))
                    up = False
                    await self._clock.sleep_ms(_RETRY_MS)
        finally:
            await bell.close()

    def known(self) -> Mapping[str, Mapping[str, Any]]:
        """Every definition by kind and id; a kind stands behind those that it needs. Blocks without their account."""
        known = self.tariffs
        return {
            "plan": known.plans,
            "exchange": known.exchanges,
            "deck": self.stored,
            "group": known.groups,
            "account": known.accounts,
            "former_root": {id: FormerRoot(id) for id in known.directory.former_roots},
            "trunk": known.trunks,
            "blocks": known.blocks,
            "licence": known.licences,
            "limit": known.limits.by_id,
        }

    async def catch_up(self, *, anew: bool = False) -> None:
        """`refresh` for who has the turn."""
        revision = int(await self._call("GET", keys.REVISION) or 0)
        lost = revision < self.revision
        if revision == self.revision and not anew:
            self.tariffs.known = True
            return
        everything = lost or anew
        since = 0 if everything else self.revision
        # What is written again meanwhile, too: it stands behind `revision` then, and what is below it needs it.
        written = [name.decode() for name in await self._call("ZRANGEBYSCORE", keys.WRITTEN, since + 1, "+inf")]
        if everything:
            await self._compare(written, revision, lost=lost)
        self.missing.difference_update(written)
        self.revision = since  # until all is read
        ids: dict[str, list[str]] = {kind: [] for kind in self.known()}
        async for step in in_steps(written):
            for kind, _, id in (name.partition(":") for name in step):
                ids.setdefault(kind, []).append(id)  # also of kinds that only a newer callctl knows
        async for plan in self._read("plan", ids["plan"], Plan):
            _keep("plan", plan.id, self.tariffs.put_plan, plan)
        async for exchange in self._read("exchange", ids["exchange"], Exchange):
            self.tariffs.put_exchange(exchange)
        changed = [plan for plan in ids["deck"] if plan in self.stored]
        # The others before who is put on them: without rows its calls would have no price.
        await self._read_decks([plan for plan in ids["deck"] if plan not in self.stored])
        async for group in self._read("group", ids["group"], Group):
            self.tariffs.put_group(group)
        await self._read_accounts(ids["account"])
        async for root in self._read("former_root", ids["former_root"], FormerRoot):
            self.tariffs.put_former_root(root.id)
        async for trunk in self._read("trunk", ids["trunk"], Trunk):
            self.tariffs.put_trunk(trunk)
        async for bought in self._read("blocks", ids["blocks"], Blocks):
            self.tariffs.put_blocks(bought)
        async for licence in self._read("licence", ids["licence"], SwitchLicence):
            self.tariffs.put_licence(licence)
        async for limit in self._read("limit", ids["limit"], ProviderLimit):
            self.tariffs.put_limit(limit)
        await self._read_decks(changed)  # last: a large one takes seconds
        self.revision = revision
        self.tariffs.known = True

    async def _compare(self, written: Sequence[str], revision: int, *, lost: bool) -> None:
        """What we know with all that Redis has."""
        found, self.missing = set(written), set()
        for kind, ids in self.known().items():
            async for step in in_steps(list(ids)):
                self.missing.update({f"{kind}:{id}" for id in step} - found)
        if lost or self.missing:
            log.error("definitions_lost_by_store", kept=self.revision, found=revision, missing=len(self.missing))
            self._link.counts.losses += 1
            self.lost.set()
            self._lost_some()

    async def _read_accounts(self, ids: Sequence[str]) -> None:
        """Parents first: a chain may have been written in any order."""
        waiting = [account async for account in self._read("account", ids, Account) if not self._put(account)]
        before = len(waiting) + 1
        while len(waiting) < before:
            before, waiting = len(waiting), [account for account in waiting if not self._put(account)]
        for account in waiting:
            _keep("account", account.id, self.tariffs.put_account, account)

    def _put(self, account: Account) -> bool:
        """Whether what it needs was there."""
        try:
            self.tariffs.put_account(account)
        except ValueError:
            return False
        return True

    async def _read_decks(self, plans: Sequence[str]) -> None:
        async for plan, stored in self._values("deck", plans):
            await self._read_deck(plan, stored)

    async def _read_deck(self, plan: str, value: bytes) -> None:
        try:
            stored = msgspec.json.decode(value, type=StoredDeck)
            if stored == self.stored.get(plan):
                return
            deck = await compile_deck(self.tariffs.own_deck(plan).plan, self._chunks(stored))
        except ValueError as error:
            _broken("deck", plan, error)
            return
        self.stored[plan] = stored
        await let_go([self.tariffs.put_deck(deck)])

    async def _chunks(self, stored: StoredDeck) -> AsyncIterator[list[Row]]:
        for chunk in stored.chunks:
            packed = await self._call("GET", keys.rows(chunk))
            if packed is None:
                raise ValueError(f"chunk {chunk} is missing")
            yield decode_rows(packed)

    async def _read(self, kind: str, ids: Sequence[str], type: type[Definition]) -> AsyncIterator[Definition]:
        """Those that are not as we know them."""
        known = self.known()[kind]
        async for id, value in self._values(kind, ids):
            try:
                definition = msgspec.json.decode(value, type=type)
                if definition.id != id:
                    raise ValueError(f"it calls itself {definition.id}")
            except ValueError as error:
                _broken(kind, id, error)
                continue
            if definition != known.get(id):
                yield definition

    async def _values(self, kind: str, ids: Sequence[str]) -> AsyncIterator[tuple[str, bytes]]:
        for start in range(0, len(ids), _AT_ONCE):
            some = ids[start : start + _AT_ONCE]
            for id, value in zip(some, await self._call("HMGET", keys.definitions(kind), *some), strict=True):
                if value is not None:
                    yield id, value

    async def _last_change(self, bell: Link) -> str:
        entries: Any = await bell.call("XREVRANGE", keys.CHANGES, "+", "-", "COUNT", 1)
        return entries[0][0].decode() if entries else "0-0"

    async def _listen(self, bell: Link, heard: str) -> str:
        """Wait for a change, a second at the most; answers the last one heard."""
        what = ("XREAD", "COUNT", _AT_ONCE, "BLOCK", _BELL_MS, "STREAMS", keys.CHANGES, heard)
        read: Any = await bell.call(*what, timeout_ms=_BELL_MS + _TIMEOUT_MS)
        for id, fields in read[0][1] if read else ():
            heard = id.decode()
            change = dict(zip(fields[::2], fields[1::2], strict=True))
            told = self._told.get(change.get(b"what", b""))
            if told is not None and b"id" in change:
                told(change[b"id"].decode())
        return heard

    def _call(self, *command: Argument) -> "asyncio.Future[Any]":
        return self._link.call(*command, timeout_ms=_TIMEOUT_MS)


def _keep(kind: str, id: str, put: Callable[[Definition], None], definition: Definition) -> None:
    try:
        put(definition)
    except ValueError as error:
        _broken(kind, id, error)


def _broken(kind: str, id: str, error: ValueError) -> None:
    log.error("definition_broken", kind=kind, id=id, error=str(error))
