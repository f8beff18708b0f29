"""Writing definitions to Redis: each in one script, which refuses a writer who has not seen the latest.

So what was checked still holds when it is written, whichever processes write at once. What Redis has lost is written
again by whoever still knows it.
"""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Final

import msgspec
import structlog

from callctl.accounts import Account, Group, Trunk
from callctl.errors import StoreUnavailable
from callctl.limits.licence import SwitchLicence
from callctl.limits.provider import ProviderLimit
from callctl.ports import Clock
from callctl.rating.bundles import Block, Blocks
from callctl.rating.exchange import Exchange
from callctl.rating.tariff import Plan, Row
from callctl.store import keys
from callctl.store.decks import compile_deck, encode_rows, in_steps, let_go, rows_of
from callctl.store.follower import Follower, StoredDeck
from callctl.store.history import RedisHistory
from callctl.store.link import Argument, Link
from callctl.store.moving import CLOSED, Move, move_of
from callctl.store.scripts import DEFINE, LIMITS, PUT_ACCOUNT, run

log = structlog.get_logger(__name__)

_AT_ONCE: Final = 500
_BROUGHT_AT_ONCE: Final = 50
_RETRY_MS: Final = 200
_TIMEOUT_MS: Final = 5_000
_UPLOAD_TTL_S: Final = 3_600
_OLD_DECK_TTL_S: Final = 600


class RedisDefinitions:
    """`ports.Definitions`, by way of what `follower` knows. Every method may raise StoreUnavailable."""

    def __init__(self, link: Link, history: RedisHistory, follower: Follower, clock: Clock) -> None:
        self._link = link
        self._history = history
        self._known = follower
        self._tariffs = follower.tariffs
        self._clock = clock

    async def put_account(self, account: Account, *, dry_run: bool = False) -> None:
        """CallConflict: it would change its root with a call up or money held."""
        async with self._known.turn:
            while True:
                await self._known.catch_up()
                self._tariffs.check_account(account)
                if dry_run:
                    return
                move = move_of(self._tariffs, account)
                if await self._place(account, move):
                    self._tariffs.put_account(account)
                    if move.former_root is not None:
                        self._tariffs.put_former_root(move.former_root.id)
                    return

    async def put_group(self, group: Group) -> None:
        async with self._known.turn:
            while True:
                await self._known.catch_up()
                self._tariffs.check_group(group)
                if await self._define("group", group.id, group):
                    return self._tariffs.put_group(group)

    async def put_trunk(self, trunk: Trunk) -> None:
        async with self._known.turn:
            while True:
                await self._known.catch_up()
                self._tariffs.check_trunk(trunk)
                if await self._define("trunk", trunk.id, trunk):
                    return self._tariffs.put_trunk(trunk)

    async def put_exchange(self, exchange: Exchange) -> None:
        async with self._known.turn:
            while not await self._define("exchange", exchange.id, exchange):
                await self._known.catch_up()
            self._tariffs.put_exchange(exchange)

    async def put_blocks(self, account: str, change: Callable[[Sequence[Block]], Sequence[Block]]) -> None:
        """`change`: from what the account is known to have bought to what it then is."""
        async with self._known.turn:
            while True:
                await self._known.catch_up()
                bought = Blocks(account, tuple(change(self._tariffs.blocks.get(account, ()))))
                if await self._define("blocks", account, bought):
                    return self._tariffs.put_blocks(bought)

    async def put_licence(self, licence: SwitchLicence) -> None:
        async with self._known.turn:
            while not await self._define("licence", licence.id, licence):
                await self._known.catch_up()
            self._tariffs.put_licence(licence)

    async def put_limit(self, limit: ProviderLimit) -> None:
        async with self._known.turn:
            while True:
                await self._known.catch_up()
                self._tariffs.check_limit(limit)
                if await self._define("limit", limit.id, limit):
                    return self._tariffs.put_limit(limit)

    async def put_plan(self, plan: Plan) -> None:
        async with self._known.turn:
            while True:
                await self._known.catch_up()
                self._tariffs.check_plan(plan)
                if await self._define("plan", plan.id, plan):
                    return self._tariffs.put_plan(plan)

    async def put_rows(self, plan: str, rows: Sequence[Row]) -> None:
        await self._known.refresh()
        deck = await compile_deck(self._tariffs.own_deck(plan).plan, in_steps(rows))
        stored = await self._upload(plan, rows)
        async with self._known.turn:
            while not await self._define("deck", plan, stored):
                await self._known.catch_up()
            self._known.stored[plan] = stored
            retired = [self._tariffs.put_deck(deck)]
        await let_go(retired)

    async def rows(self, plan: str) -> AsyncIterator[Row]:
        async for row in rows_of(self._tariffs.own_deck(plan)):
            yield row

    async def recover(self) -> None:
        """At the start: read all, and write how far each may go below zero, whatever the scripts found so far."""
        async with self._known.turn:
            await self._known.catch_up()
            await self._set_limits()

    async def keep(self) -> None:
        """For ever: what Redis has lost is written to it again, as we know it."""
        while True:
            await self._known.lost.wait()
            self._known.lost.clear()
            try:
                async with self._known.turn:
                    await self._set_limits()  # without which postpaid has no credit
                await self._restore()
            except StoreUnavailable:
                self._known.lost.set()
                await self._clock.sleep_ms(_RETRY_MS)

    async def _restore(self) -> None:
        """Definitions only: no money, no call and no subscription, of which we know a part at the most."""
        restored = 0
        for kind, known in self._known.known().items():
            for id in sorted((id for id in known if f"{kind}:{id}" in self._known.missing), key=self._depth(kind)):
                async with self._known.turn:  # others may write between two
                    while f"{kind}:{id}" in self._known.missing and not await self._write_again(kind, id, known[id]):
                        await self._known.catch_up()
                restored += 1
        log.warning("definitions_restored", count=restored)

    def _depth(self, kind: str) -> Callable[[str], int]:
        """By which accounts stand behind those above them."""
        directory = self._tariffs.directory
        return lambda id: len(directory.chain(id)) if kind == "account" else 0

    async def _write_again(self, kind: str, id: str, value: Any) -> bool:
        """`_define`, of what we know."""
        if kind == "blocks":
            value = Blocks(id, value)
        if kind == "deck":
            value = await self._upload(id, [row async for row in self.rows(id)])
        written = await self._define(kind, id, value)
        if written and kind == "deck":
            self._known.stored[id] = value
        return written

    async def _set_limits(self) -> None:
        """How far below zero each account may go, where the scripts find it."""
        ids = list(self._tariffs.accounts)
        for start in range(0, len(ids), _AT_ONCE):
            while not await self._limits_set(ids[start : start + _AT_ONCE]):
                await self._known.catch_up()

    async def _limits_set(self, ids: Sequence[str]) -> bool:
        """Whether they were: not when somebody has written since our revision, who may have moved one of them."""
        accounts = [self._tariffs.accounts[id] for id in ids]
        hashes = (keys.account(self._tariffs.root(each), each.id) for each in accounts)
        floors = (keys.floor(each.credit_limit) for each in accounts)
        touched = (keys.REVISION, keys.WRITTEN, *hashes)
        written = await run(self._link, LIMITS, touched, self._known.revision, *floors, timeout_ms=_TIMEOUT_MS)
        return written is not None

    async def _place(self, account: Account, move: Move) -> bool:
        """Whether it was written, with all that it means: not when it is to be tried again as things are now.

        CallConflict: it would leave its root with a call up or money held.
        """
        hashes = [keys.account(root, id) for id in move.limits for root in (move.from_root, move.to_root)]
        kinds = keys.definitions("account"), keys.definitions("former_root")
        arguments: list[Argument] = [
            self._known.revision,
            account.id,
            msgspec.json.encode(account),
            msgspec.json.encode(move.former_root) if move.former_root is not None else "",
            f"move-{secrets.token_hex(8)}",
            self._clock.now().wall_ms,
            move.from_root,
            move.to_root,
            CLOSED,
        ]
        arguments += map(keys.floor, move.limits.values())
        touched = (keys.REVISION, keys.WRITTEN, *kinds, *hashes)
        answer: Any = await run(self._link, PUT_ACCOUNT, touched, *arguments, timeout_ms=_TIMEOUT_MS)
        if not isinstance(answer, list):
            return self._is_written(answer, "account", account.id)
        ids = list(move.limits)
        why, whose = answer[0], [ids[number - 1] for number in answer[1:]]
        if why == b"busy":
            raise move.refused(whose)
        for start in range(0, len(whose), _BROUGHT_AT_ONCE):  # while calls go on
            some = whose[start : start + _BROUGHT_AT_ONCE]
            await asyncio.gather(*(self._history.bring_history(move.from_root, move.to_root, id) for id in some))
        return False

    async def _upload(self, plan: str, rows: Sequence[Row]) -> StoredDeck:
        """The chunks of a new deck. They vanish by themselves if it never comes to be."""
        generation = secrets.token_hex(8)
        chunks: list[str] = []
        async for step in in_steps(rows):
            chunks.append(f"{keys.word(plan)}:{generation}:{len(chunks)}")
            command = ("SET", keys.rows(chunks[-1]), encode_rows(step), "EX", _UPLOAD_TTL_S)
            await self._link.call(*command, timeout_ms=_TIMEOUT_MS)
        return StoredDeck(tuple(chunks))

    async def _define(
        self,
        kind: str,
        id: str,
        value: Account | Group | Trunk | Plan | Exchange | Blocks | SwitchLicence | ProviderLimit | StoredDeck,
    ) -> bool:
        """Whether it was written: not when somebody else has written since our revision."""
        new = value.chunks if isinstance(value, StoredDeck) else ()
        old = self._known.stored.get(id, StoredDeck()).chunks if isinstance(value, StoredDeck) else ()
        revision: Any = await run(
            self._link,
            DEFINE,
            (keys.REVISION, keys.WRITTEN, keys.definitions(kind), *map(keys.rows, (*new, *old))),
            self._known.revision,
            kind,
            id,
            msgspec.json.encode(value),
            len(new),
            _OLD_DECK_TTL_S,
        )
        return self._is_written(revision, kind, id)

    def _is_written(self, revision: int | None, kind: str, id: str) -> bool:
        """What a script has answered."""
        if revision is None:
            return False
        self._known.revision = revision
        self._known.missing.discard(f"{kind}:{id}")
        with contextlib.suppress(StoreUnavailable):  # it is written; others hear of it a little later
            kept = ("MAXLEN", "~", keys.CHANGES_KEPT)
            self._link.post("XADD", keys.CHANGES, *kept, "*", "what", kind, "id", id)
        return True
