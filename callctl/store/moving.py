"""An account's money when the account is put: how far it may fall, and where it goes with another root.

Within a root an account moves at once, its money stays where it is. Another root is another slot of the store: then
no call may be up and nothing held, by it or any account below it (`docs/rules.md`, Moving an account). Its ledger and
what was noted of its thresholds are there, too, before it can pay again.
"""

import secrets
from collections.abc import Sequence
from typing import Protocol

import msgspec

from callctl.accounts import Account
from callctl.call.takes import Balance, LedgerEntry, TopUp
from callctl.errors import CallConflict
from callctl.money import MAX_MICROS
from callctl.store.registry import Registry

CLOSED = -MAX_MICROS  # a limit that no credit reaches; no subscription is charged and nothing paid in meanwhile


class Money(Protocol):
    """What is needed of a store of money."""

    async def set_limit(self, root: str, account: str, floor: int | None) -> None: ...
    async def balances(self, root: str, accounts: Sequence[str]) -> list[Balance]: ...
    async def top_up(self, top_up: TopUp) -> LedgerEntry: ...
    async def bring_history(self, from_root: str, to_root: str, account: str) -> None: ...
    async def charged(self, root: str, account: str) -> dict[str, bytes]: ...
    async def bring_charged(self, from_root: str, to_root: str, account: str, charged: dict[str, bytes]) -> None: ...
    async def stock_kept(self, root: str, account: str) -> dict[str, bytes]: ...
    async def bring_stock(self, from_root: str, to_root: str, account: str, kept: dict[str, bytes]) -> None: ...
    async def watched_kept(self, root: str, account: str) -> dict[str, bytes]: ...
    async def bring_watched(self, from_root: str, to_root: str, account: str, kept: dict[str, bytes]) -> None: ...


class Move(msgspec.Struct, frozen=True):
    """Money on its way: balances (micro-units) and credit limits of an account and all below it.

    `id` makes repeating it harmless. `charged`: how far the subscriptions of each are charged; `stocks`: what each has
    of bundles and blocks, `watched`: its days of watched calls.
    """

    id: str
    from_root: str
    to_root: str
    at_ms: int
    balances: dict[str, int]
    limits: dict[str, int | None]
    charged: dict[str, dict[str, bytes]] = {}
    stocks: dict[str, dict[str, bytes]] = {}
    watched: dict[str, dict[str, bytes]] = {}


async def prepare(money: Money, registry: Registry, account: Account, at_ms: int) -> Move | None:
    """Before the definition is written: limits set, or a move to another root to be finished after it.

    Raises CallConflict when the root would change with a call up or money held.
    """
    to_root = registry.root(account)
    from_root = registry.root(registry.accounts.get(account.id, account))
    if from_root == to_root:
        await money.set_limit(to_root, account.id, account.credit_limit)
        return None
    accounts = [registry.accounts[id] for id in registry.directory.below(account.id)]
    for each in accounts:  # while its calls go on: behind it will stand what is paid in at the new root
        await money.bring_history(from_root, to_root, each.id)
    for each in accounts:  # from here on no new call can hold anything
        await money.set_limit(from_root, each.id, CLOSED)
    balances = await money.balances(from_root, [each.id for each in accounts])
    busy = sorted(each.account for each in balances if each.held or any(each.slots.values()))
    if busy:
        await reopen(money, registry, account)
        raise CallConflict(f"account {account.id} cannot leave {from_root}: {', '.join(busy)} has calls or holds")
    for each in accounts:  # what is paid in there before the balance has come would stand amid its history
        await money.set_limit(to_root, each.id, CLOSED)
    return Move(
        id=f"move-{secrets.token_hex(8)}",
        from_root=from_root,
        to_root=to_root,
        at_ms=at_ms,
        balances={each.account: each.balance for each in balances if each.balance},
        limits={each.id: each.credit_limit for each in accounts} | {account.id: account.credit_limit},
        charged={each.id: await money.charged(from_root, each.id) for each in accounts},
        stocks={each.id: await money.stock_kept(from_root, each.id) for each in accounts},
        watched={each.id: await money.watched_kept(from_root, each.id) for each in accounts},
    )


async def reopen(money: Money, registry: Registry, account: Account) -> None:
    """The move did not come about: limits as they are defined."""
    for id in registry.directory.below(account.id):
        await money.set_limit(registry.directory.chain(id)[-1].id, id, registry.accounts[id].credit_limit)


async def finish(money: Money, move: Move) -> None:
    """Bring the money after the definition. May be repeated, by any process."""
    for account in move.limits:
        balance = move.balances.get(account, 0)
        out = TopUp(account, move.from_root, f"{move.id}-out", -balance, move.at_ms, "correction", move.to_root)
        come = TopUp(account, move.to_root, f"{move.id}-in", balance, move.at_ms, "correction", move.from_root)
        if balance:
            await money.top_up(out)
        await money.bring_history(move.from_root, move.to_root, account)
        if balance:
            await money.top_up(come)
    for account, charged in move.charged.items():
        await money.bring_charged(move.from_root, move.to_root, account, charged)
    for account, kept in move.stocks.items():
        await money.bring_stock(move.from_root, move.to_root, account, kept)
    for account, kept in move.watched.items():
        await money.bring_watched(move.from_root, move.to_root, account, kept)
    for account, limit in move.limits.items():
        await money.set_limit(move.to_root, account, limit)
