"""An account as the memory store keeps it: its money, its channels, and what it has beside money."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import msgspec

from callctl.call.takes import Draw, LedgerEntry
from callctl.rating.bundles import Block, Source
from callctl.store.memory.watch import WatchedDays


class HeldStock(msgspec.Struct):
    """A source: what was bought less what was used, and what running calls hold."""

    balance: int = 0
    held: int = 0


class MemoryAccount(msgspec.Struct):
    """`floor`: how far below zero the balance may go, None for any amount. Who was never put may owe nothing."""

    balance: int = 0
    held: int = 0
    floor: int | None = 0
    in_use: Counter[str] = msgspec.field(default_factory=Counter)
    ledger: list[LedgerEntry] = msgspec.field(default_factory=list)
    stocks: defaultdict[str, HeldStock] = msgspec.field(default_factory=lambda: defaultdict(HeldStock))
    blocks: dict[str, Block] = {}
    watched: WatchedDays = msgspec.field(default_factory=WatchedDays)

    def left(self, sources: Iterable[Source | Draw]) -> tuple[int, ...]:
        """What is left of each source."""
        return tuple([_left(self.stocks[_name(source)], source.allowance) for source in sources])

    @property
    def available(self) -> int | None:
        return None if self.floor is None else self.balance - self.held + self.floor

    @property
    def busy(self) -> bool:
        return bool(self.held or any(self.in_use.values()) or any(stock.held for stock in self.stocks.values()))

    def affords(self, amount: int) -> bool:
        """Nothing is always affordable: a free call needs no credit, and a record is saved without any."""
        return self.available is None or amount <= 0 or amount <= self.available


def sums_by_account(accounts: Sequence[MemoryAccount], amounts: Sequence[int]) -> Counter[int]:
    """What is taken of each account (its identity) in all: one may be on both sides of a call."""
    sums: Counter[int] = Counter()
    for account, amount in zip(accounts, amounts, strict=True):
        sums[id(account)] += amount
    return sums


def all_afford(accounts: Sequence[MemoryAccount], amounts: Sequence[int]) -> bool:
    """Whether each can pay, one after the other."""
    so_far: Counter[int] = Counter()
    for account, amount in zip(accounts, amounts, strict=True):
        if amount > 0 and not account.affords(so_far[id(account)] + amount):
            return False
        so_far[id(account)] += amount
    return True


def _name(source: Source | Draw) -> str:
    return source.id if isinstance(source, Source) else source.source


def _left(stock: HeldStock, allowance: int) -> int:
    return stock.balance - stock.held + allowance


def covers(left: Sequence[int], more: Sequence[int]) -> bool:
    return all(amount <= 0 or amount <= there for there, amount in zip(left, more, strict=True))


def move(
    account: MemoryAccount, id: str, kind: str, amount: int, at_ms: int, *, call: str = "", note: str = ""
) -> LedgerEntry:
    account.balance += amount
    entry = LedgerEntry(f"{len(account.ledger) + 1}-0", id, kind, amount, account.balance, at_ms, call, note)
    account.ledger.append(entry)
    return entry
