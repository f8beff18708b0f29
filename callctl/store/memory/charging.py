"""What the memory store does beside calls: subscriptions, blocks, and what operators see and say of thresholds."""

from collections import defaultdict

from callctl.call.purchase import Buying, Stock, Stocks
from callctl.call.subscription import Booked, Booking
from callctl.errors import CallConflict, StoreUnavailable
from callctl.limits.watching import Said, Statistics, Word
from callctl.rating.bundles import Block
from callctl.store.memory.accounts import MemoryAccount, move
from callctl.store.memory.feeds import Outbox
from callctl.store.moving import CLOSED
from callctl.store.watching import statistics


class MemoryCharging:
    """`outbox[root]`: the CDRs that are on their way."""

    def __init__(self) -> None:
        self.outbox: dict[str, Outbox] = defaultdict(Outbox)
        self._accounts: dict[tuple[str, str], MemoryAccount] = defaultdict(MemoryAccount)
        self._charged: dict[tuple[str, str], dict[str, bytes]] = defaultdict(dict)
        self._said: dict[tuple[str, str, str], Said] = {}

    async def charge(self, booking: Booking) -> Booked:
        """Post and record a step of a subscription, and note how far it is charged."""
        charged, account = self._charged[booking.root, booking.account], self._accounts[booking.root, booking.account]
        if charged.get(booking.subscription, b"") != booking.seen:
            return Booked.MOVED_ON
        if account.floor == CLOSED or not (booking.force or account.affords(booking.amount)):
            return Booked.NO_CREDIT
        for id, post in booking.posts:
            move(account, id, post.kind, -post.amount, booking.at_ms, note=booking.subscription)
        for record in booking.records:
            self.outbox[booking.root].add(record, booking.at_ms)
        charged[booking.subscription] = booking.charged
        return Booked.DONE

    async def charged(self, root: str, account: str) -> dict[str, bytes]:
        return dict(self._charged[root, account])

    async def keep_charged(self, root: str, account: str, charged: dict[str, bytes]) -> None:
        self._charged[root, account] = charged | self._charged[root, account]

    async def buy(self, buying: Buying) -> Block | None:
        """The block as it was bought, now or before under its id; None where the account cannot afford it."""
        account, block, price = self._accounts[buying.root, buying.post.account], buying.block, buying.post.amount
        known = account.blocks.get(block.source)
        if known is not None:
            return known
        if account.floor == CLOSED or not account.affords(price):
            return None
        account.blocks[block.source] = block
        account.stocks[block.source].balance = block.seconds or block.amount
        move(account, buying.id, buying.post.kind, -price, block.bought_ms, note=block.name)
        self.outbox[buying.root].add(buying.record, block.bought_ms)
        return block

    async def stocks(self, root: str, account: str) -> Stocks:
        has = self._accounts[root, account]
        stocks = {source: Stock(stock.balance, stock.held) for source, stock in has.stocks.items()}
        return Stocks(stocks, tuple(has.blocks.values()))

    # ---- thresholds

    async def statistics(self, root: str, account: str, day: int) -> Statistics:
        kept = self._accounts[root, account].watched
        return statistics(kept.day, kept.past, kept.since, day, kept.notes[::-1])

    async def say(self, word: Word) -> None:
        if self._accounts[word.root, word.account].floor == CLOSED:
            raise StoreUnavailable(f"account {word.account} has left root {word.root}")
        key = (word.root, word.account, word.id)
        if word.id and (before := self._said.get(key)) is not None:
            if before != word.said:
                raise CallConflict(f"{word.id} was another word about {word.account}")
            return
        self._said[key] = word.said
        self._accounts[word.root, word.account].watched.say(word)
