"""The port Charging over Redis: how far subscriptions are charged, beside the money that they cost."""

from typing import Any

from callctl.call.subscription import Booked, Booking
from callctl.store import keys, moving, scripts
from callctl.store.link import Argument, Link


class RedisCharging:
    """What a `RedisStore` can do about subscriptions. Every method may raise StoreUnavailable."""

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

    async def bring_charged(self, from_root: str, to_root: str, account: str, charged: dict[str, bytes]) -> None:
        """After a move. May be repeated: what has been charged at the new root since stays."""
        for name, kept in charged.items():
            await self._link.call("HSETNX", keys.charged(to_root, account), name, kept)
        await self._link.call("DEL", keys.charged(from_root, account))
