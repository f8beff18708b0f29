"""Charges subscriptions when they are due: at the start, and then about every minute.

What is due follows from the subscription, the catalogue and how far it is charged, which the store moves on in the
same step as the money. So it does not matter how often this runs, in how many processes, or what the clocks did
meanwhile: each charge is made once, and days that were missed are caught up.
"""

import asyncio
from collections.abc import Callable

import structlog

from callctl.accounts import Account
from callctl.call.subscription import Booked, book, decode_charged, local_day
from callctl.clock import first_of, give_way
from callctl.errors import StoreUnavailable
from callctl.ports import Charging, Clock, Services, Tariffs
from callctl.rating.subscriptions import ServiceBook, Subscription, next_step
from callctl.rating.tax import Tax

log = structlog.get_logger(__name__)

SWEEP_MS = 60_000


class Charges:
    """`wake` hears the root whose outbox has grown."""

    def __init__(
        self, *, clock: Clock, tariffs: Tariffs, services: Services, charging: Charging, wake: Callable[[str], None]
    ) -> None:
        self._clock = clock
        self._tariffs = tariffs
        self._services = services
        self._charging = charging
        self._wake = wake
        self._charged: dict[str, dict[str, bytes]] = {}  # by account and subscription, as last seen in the store
        self._waiting: set[tuple[str, str]] = set()  # for credit, and that is known
        self._hurried = asyncio.Event()

    def hurry(self) -> None:
        """The store has lost something: see at once to what is lost of this."""
        self._hurried.set()

    async def run(self) -> None:
        """For ever."""
        while True:
            self._hurried.clear()
            try:
                await self.sweep()
            except StoreUnavailable:
                pass  # told where the store is watched
            except Exception:  # our fault, and not the daemon's end
                log.exception("charges_not_made")
            await first_of(self._hurried.wait(), self._clock.sleep_ms(SWEEP_MS))

    async def sweep(self) -> None:
        """Make every charge that is due now. StoreUnavailable: the rest of them next time."""
        known = await self._services.book()
        if known.lost:
            await self._restore()
        for own in list(known.subscriptions.values()):
            account = self._tariffs.directory.accounts.get(own.id)
            if account is not None:
                for name, subscription in own.by_name.items():
                    await self._charge(account, known, name, subscription)
                await give_way()

    async def _restore(self) -> None:
        """What the store has lost: first how far is charged, or all of it would be charged again."""
        for id, charged in self._charged.items():
            root = self._tariffs.directory.chain(id)[-1].id
            await self._charging.keep_charged(root, id, charged)
            await self._look(root, id)
        await self._services.restore()

    async def _charge(self, account: Account, known: ServiceBook, name: str, subscription: Subscription) -> None:
        chain = self._tariffs.directory.chain(account.id)
        counts = known.of(account.id).counts.get(name, {})
        now_ms = self._clock.now().wall_ms
        today = local_day(account, now_ms)
        if account.id not in self._charged:
            await self._look(chain[-1].id, account.id)
        while True:
            seen = self._charged[account.id].get(name, b"")
            try:
                step = next_step(known.catalogue, subscription, counts, decode_charged(seen), today)
            except ValueError as wrong:
                log.error("subscription_not_charged", account=account.id, subscription=name, error=str(wrong))
                return
            if step is None:
                return
            booking = book(chain, known.catalogue, name, subscription, seen, step, now_ms, self._levied(account))
            match await self._charging.charge(booking):
                case Booked.DONE:
                    self._charged[account.id][name] = booking.charged
                    self._waiting.discard((account.id, name))
                    self._wake(booking.root)
                case Booked.MOVED_ON:
                    await self._look(booking.root, account.id)
                    if self._charged[account.id].get(name, b"") == seen:
                        return  # the store has lost it, and is told again by the next sweep
                case Booked.NO_CREDIT:
                    if (account.id, name) not in self._waiting:
                        log.warning("charge_waits_for_credit", account=account.id, subscription=name, due=str(step.due))
                    self._waiting.add((account.id, name))
                    return

    def _levied(self, account: Account) -> tuple[Tax, ...]:
        plan = self._tariffs.plan(self._tariffs.directory.plans[account.id])
        return account.bears(plan.taxes) if plan is not None else ()

    async def _look(self, root: str, account: str) -> None:
        """What has been charged since; what the store knows no more of stays known."""
        self._charged[account] = self._charged.get(account, {}) | await self._charging.charged(root, account)
