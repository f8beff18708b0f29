"""`definitions` without Redis: the same rules, in one process."""

from collections.abc import AsyncIterator, Callable, Sequence

from callctl.accounts import Account, Group, Trunk
from callctl.limits.licence import SwitchLicence
from callctl.limits.provider import ProviderLimit
from callctl.ports import Clock
from callctl.rating.bundles import Block, Blocks
from callctl.rating.exchange import Exchange
from callctl.rating.tariff import Plan, Row
from callctl.store.decks import compile_deck, in_steps, let_go, rows_of
from callctl.store.memory.store import MemoryStore
from callctl.store.moving import move_of
from callctl.store.registry import Registry


class MemoryDefinitions:
    """`ports.Definitions`; `tariffs` is `ports.Tariffs`."""

    def __init__(self, store: MemoryStore, clock: Clock) -> None:
        self.tariffs = Registry()
        self._store = store
        self._clock = clock

    async def put_account(self, account: Account, *, dry_run: bool = False) -> None:
        """CallConflict: it would change its root with a call up or money held."""
        self.tariffs.check_account(account)
        if dry_run:
            return
        move = move_of(self.tariffs, account)
        await self._store.place(move, self._clock.now().wall_ms)
        self.tariffs.put_account(account)
        if move.former_root is not None:
            self.tariffs.put_former_root(move.former_root.id)

    async def put_group(self, group: Group) -> None:
        self.tariffs.check_group(group)
        self.tariffs.put_group(group)

    async def put_trunk(self, trunk: Trunk) -> None:
        self.tariffs.check_trunk(trunk)
        self.tariffs.put_trunk(trunk)

    async def put_exchange(self, exchange: Exchange) -> None:
        self.tariffs.put_exchange(exchange)

    async def put_blocks(self, account: str, change: Callable[[Sequence[Block]], Sequence[Block]]) -> None:
        self.tariffs.put_blocks(Blocks(account, tuple(change(self.tariffs.blocks.get(account, ())))))

    async def put_licence(self, licence: SwitchLicence) -> None:
        self.tariffs.put_licence(licence)

    async def put_limit(self, limit: ProviderLimit) -> None:
        self.tariffs.check_limit(limit)
        self.tariffs.put_limit(limit)

    async def put_plan(self, plan: Plan) -> None:
        self.tariffs.check_plan(plan)
        self.tariffs.put_plan(plan)

    async def put_rows(self, plan: str, rows: Sequence[Row]) -> None:
        deck = await compile_deck(self.tariffs.own_deck(plan).plan, in_steps(rows))
        await let_go([self.tariffs.put_deck(deck)])

    async def rows(self, plan: str) -> AsyncIterator[Row]:
        async for row in rows_of(self.tariffs.own_deck(plan)):
            yield row
