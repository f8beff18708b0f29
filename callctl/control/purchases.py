"""Charges beside calls, after which it is looked whether the account has little left."""

import contextlib
from collections.abc import Callable

from callctl.call.purchase import Buying, Stocks
from callctl.call.subscription import Booked, Booking
from callctl.errors import PortError
from callctl.ports import Books, Charging
from callctl.rating.bundles import Block


class WatchedCharging:
    """`ports.Charging` over another. `spent` is told what an account that was charged can still spend."""

    def __init__(self, charging: Charging, books: Books, spent: Callable[[str, int | None], None]) -> None:
        self._charging = charging
        self._books = books
        self._spent = spent

    async def charged(self, root: str, account: str) -> dict[str, bytes]:
        return await self._charging.charged(root, account)

    async def keep_charged(self, root: str, account: str, charged: dict[str, bytes]) -> None:
        await self._charging.keep_charged(root, account, charged)

    async def stocks(self, root: str, account: str) -> Stocks:
        return await self._charging.stocks(root, account)

    async def charge(self, booking: Booking) -> Booked:
        booked = await self._charging.charge(booking)
        if booked is Booked.DONE:
            await self._look(booking.root, booking.account)
        return booked

    async def buy(self, buying: Buying) -> Block | None:
        block = await self._charging.buy(buying)
        await self._look(buying.root, buying.post.account)
        return block

    async def _look(self, root: str, account: str) -> None:
        with contextlib.suppress(PortError):  # it is charged all the same
            (balance,) = await self._books.balances(root, [account])
            self._spent(account, balance.available)
