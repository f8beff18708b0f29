"""Real call control over a store in memory, wired as app.py does it, to be tested with a switch.

The store and the definitions outlive the process: `kill` and `start` are a crash and a restart.
"""

import asyncio
from collections.abc import Coroutine
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from callctl.accounts import Account, Kind, WarnTo
from callctl.call.admission import NOBODY, Policy
from callctl.call.session import Session
from callctl.call.takes import Balance, Settlement, TopUp
from callctl.clock import SystemClock
from callctl.control.calls import CallControl
from callctl.control.journal import Journal
from callctl.control.reconciler import Reconciler
from callctl.limits.ids import Alert, Seen
from callctl.numbering import DialRules
from callctl.ports import Clock, SwitchAdapter
from callctl.rating.tariff import Plan, Row
from callctl.store.memory.definitions import MemoryDefinitions
from callctl.store.memory.store import MemoryStore

PLAN = "plan"
PER_SECOND = 1_000  # micro-units: 0.06 a minute, 0.001 a second
EURO = 1_000_000


class Notes:
    """An observer that keeps what it is told."""

    def __init__(self) -> None:
        self.unexpected_events: list[tuple[str, str]] = []

    def decided(self, session: Session, took_s: float) -> None: ...
    def answered(self, session: Session) -> None: ...
    def warned(self, session: Session, left_s: int, to: WarnTo) -> None: ...
    def settled(self, settlement: Settlement) -> None: ...
    def alerted(self, session: Session, seen: Seen, alert: Alert) -> None: ...
    def low(self, session: Session | None, account: Account, left: int, threshold: int) -> None: ...
    def overflowed(self, queue: str) -> None: ...
    def not_enforced(self, check: str) -> None: ...

    def unexpected(self, state: str, event: str) -> None:
        self.unexpected_events.append((state, event))


class ControlRoom:
    """Call control, its store and its definitions. Every account pays 0.001 a second, by the second.

    `async with ControlRoom(...) as room`, then `await room.furnish()` and `await room.start(switch)`.
    `relinked`: the switches whose calls this process has looked at since it began.
    """

    calls: CallControl

    def __init__(self, directory: Path, *, clock: Clock | None = None, policy: Policy | None = None) -> None:
        self.clock: Clock = clock or SystemClock()
        self.policy = policy or Policy(slice_first_s=10)
        self.store = MemoryStore()
        self.definitions = MemoryDefinitions(self.store, self.clock)
        self.tariffs = self.definitions.tariffs
        self.notes = Notes()
        self._directory = directory
        self._paid = 0
        self._journal: Journal | None = None
        self.relinked: set[str] = set()
        self._running: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.kill()

    async def furnish(self, account: str = "acme", balance: int = 10 * EURO, **fields: Any) -> None:
        """An account in the Netherlands that can call everywhere, prepaid unless told otherwise."""
        if self.tariffs.plan(PLAN) is None:
            await self.definitions.put_plan(Plan(PLAN, buy_plan=fields.pop("buy_plan", None)))
            await self.definitions.put_rows(PLAN, [Row(prefix="", per_minute=6_000_000)])
        known = {"kind": Kind.PREPAID, "plan": PLAN, "dial_rules": DialRules(country="NL"), **fields}
        await self.definitions.put_account(Account(account, **known))
        await self.pay(balance, account)

    async def pay(self, amount: int, account: str = "acme") -> None:
        """A top-up, as the front door makes it."""
        self._paid += 1
        await self.store.top_up(TopUp(account, account, f"pay-{self._paid}", amount, self.clock.now().wall_ms))
        if self._running:
            self.calls.topped_up(account)

    async def balance(self, account: str = "acme") -> Balance:
        (balance,) = await self.store.balances(account, [account])
        return balance

    def cdrs(self, account: str = "acme") -> list[dict[str, Any]]:
        """What was recorded so far, oldest first."""
        return [msgspec.json.decode(record.payload) for _, _, record in self.store.outbox[account].entries]

    async def start(self, *switches: SwitchAdapter) -> None:
        """A process begins: it takes up what the store remembers, then links to the switches."""
        by_name = {switch.name: switch for switch in switches}
        self._journal = Journal(self._directory / "journal")
        self.calls = CallControl(
            clock=self.clock,
            tariffs=self.tariffs,
            takes=self.store,
            sessions=self.store,
            switches=by_name,
            journal=self._journal,
            observer=self.notes,
            policy=self.policy,
            wake=lambda _root: None,
        )
        reconciler = Reconciler(
            clock=self.clock,
            calls=self.calls,
            switches=by_name,
            takes=self.store,
            sessions=self.store,
            journal=self._journal,
            observer=self.notes,
            policy=self.policy,
            roots=lambda: [NOBODY, *self.tariffs.directory.accounts],
        )
        await reconciler.recover()
        self._start(self.calls.deadlines.run())
        self._start(reconciler.run())
        for switch in switches:
            relinked = partial(self._relinked, reconciler, switch.name)
            self._start(switch.run(self.calls.receive, relinked))

    async def kill(self) -> None:
        """The process is gone: no command is sent, nobody is told."""
        self.relinked.clear()
        running, self._running = self._running, []
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        if self._journal is not None:
            self._journal.close()
            self._journal = None

    def _relinked(self, reconciler: Reconciler, name: str) -> None:
        self._start(self._compare(reconciler, name))

    async def _compare(self, reconciler: Reconciler, name: str) -> None:
        await reconciler.compare(name)
        self.relinked.add(name)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        self._running.append(asyncio.create_task(work))
