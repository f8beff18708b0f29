"""The ports Charging and Blocks over Redis: what is bought beside calls, in one step with the money that it costs."""

from typing import Any

from callctl.call.purchase import Buying, Stocks
from callctl.call.subscription import Booked, Booking
from callctl.rating.bundles import Block
from callctl.store import books, keys, moving, scripts
from callctl.store.link import Argument, Link


class RedisCharging:
    """What a `RedisStore` can do about subscriptions and blocks. Every method may raise StoreUnavailable."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def charge(self, booking: Booking) -> Booked:
        """Post and record a step of a subscription, and note how far it is charged."""
        root, account = booking.root, booking.account
        arguments: list[Argument] = [
            booking.subscription,
            booking.seen,
            booking.charged,
            1 if booking.force else 0,
            moving.CLOSED,
            account,
            booking.at_ms,
            booking.amount,
            len(booking.posts),
        ]
        for id, post in booking.posts:
            arguments += (id, post.kind, -post.amount)
        arguments += (record.payload for record in booking.records)
        money = (keys.account(root, account), keys.ledger(root, account), keys.outbox(root))
        answer: Any = await scripts.run(self._link, scripts.CHARGE, (keys.charged(root, account), *money), *arguments)
        return Booked(answer.decode())

    async def charged(self, root: str, account: str) -> dict[str, bytes]:
        """How far the account's subscriptions are charged, as it is kept."""
        flat: Any = await self._link.call("HGETALL", keys.charged(root, account))
        return {name.decode(): kept for name, kept in zip(flat[::2], flat[1::2], strict=True)}

    async def keep_charged(self, root: str, account: str, charged: dict[str, bytes]) -> None:
        """How far was charged, where nothing is kept of it."""
        for name, kept in charged.items():
            await self._link.call("HSETNX", keys.charged(root, account), name, kept)

    async def buy(self, buying: Buying) -> Block | None:
        """The block as it was bought, now or before under its id; None where the account cannot afford it."""
        root, account, block = buying.root, buying.post.account, buying.block
        answer: Any = await scripts.run(
            self._link,
            scripts.BUY,
            (keys.account(root, account), keys.ledger(root, account), keys.outbox(root)),
            keys.word(block.source),
            books.encode_block(block),
            block.seconds or block.amount,
            buying.post.amount,
            moving.CLOSED,
            buying.id,
            block.bought_ms,
            block.name,
            account,
            buying.record.payload,
        )
        return None if answer is None else books.decode_block(answer)

    async def stocks(self, root: str, account: str) -> Stocks:
        """What the account has beside money. An account that never had any has none."""
        kept: Any = await self._link.call("HGETALL", keys.stock(root, account))
        return books.decode_stocks(kept)
