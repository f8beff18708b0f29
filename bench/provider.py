"""The provider that is measured: 1,000 prepaid accounts, a deck of 200,000 rows to sell by, one to buy by.

Every call goes to a number that was never called before, in one of some 1,000 rows: as traffic does, to few
destinations and many people.
"""

import asyncio
import random
from collections.abc import Sequence
from pathlib import Path

from callctl.accounts import Account, Kind, Warnings, WarnTo
from callctl.call.admission import Policy
from callctl.call.events import CallKey, Offered
from callctl.call.session import Level, Session
from callctl.call.takes import Settlement
from callctl.clock import SystemClock
from callctl.control.calls import CallControl
from callctl.control.journal import Journal
from callctl.limits.concurrency import Caps
from callctl.limits.ids import Alert, Seen
from callctl.numbering import DialRules
from callctl.ports import Takes
from callctl.rating.margin import MarginRule
from callctl.rating.tariff import Plan, Row
from callctl.store.memory.definitions import MemoryDefinitions
from callctl.store.memory.store import MemoryStore

ROWS = 200_000
ACCOUNTS = 1_000
SWITCH = "http"
_CODES = ("1", "7", "20", "27", "31", "32", "33", "34", "39", "44", "49", "52", "55", "61", "81", "86", "91", "234")


def rows(count: int, *, seed: int = 1) -> list[Row]:
    """A deck as carriers send them: a thousand Dutch mobile prefixes, the rest all over the world."""
    rng = random.Random(seed)
    prefixes = {"", *(f"316{digits:03}" for digits in range(1_000))}
    while len(prefixes) < count:
        prefixes.add(f"{rng.choice(_CODES)}{rng.randrange(10 ** rng.randint(3, 6)):03}")
    return [
        Row(prefix, destination=f"Destination {n}", per_minute=rng.randrange(1, 50) * 200_000, connection_fee=25_000)
        for n, prefix in enumerate(sorted(prefixes))
    ]


def account(number: int) -> Account:
    return Account(
        id=f"customer-{number:04}",
        kind=Kind.PREPAID,
        plan="retail",
        dial_rules=DialRules("NL"),
        numbers=(f"+3120{2_000_000 + number}",),
        caps=Caps(outbound=1_000_000, total=1_000_000),
        margin=MarginRule(min_per_minute=0),
        warnings=Warnings((60, 30, 10)),
    )


async def definitions() -> MemoryDefinitions:
    """All of the provider's definitions, compiled."""
    defined = MemoryDefinitions(MemoryStore(), SystemClock())
    await defined.put_plan(Plan("carrier"))
    await defined.put_plan(Plan("retail", buy_plan="carrier"))
    bought = rows(ROWS)
    await defined.put_rows("carrier", bought)
    await defined.put_rows("retail", [_sold(row) for row in bought])
    for number in range(ACCOUNTS):
        await defined.put_account(account(number))
    return defined


def _sold(row: Row) -> Row:
    """At twice the purchase price."""
    return Row(row.prefix, destination=row.destination, per_minute=2 * (row.per_minute or 0), connection_fee=50_000)


class Callers:
    """An endless supply of calls that nobody made before."""

    def __init__(self, seed: int = 2) -> None:
        self._rng = random.Random(seed)
        self._made = 0

    def dial(self) -> tuple[str, str, str, str]:
        """Call id, account, caller and the number dialled: a Dutch mobile one."""
        self._made += 1
        number = self._rng.randrange(ACCOUNTS)
        dialled = f"06{self._rng.randrange(10_000_000, 59_999_999)}"
        return f"bench-{id(self):x}-{self._made}", f"customer-{number:04}", f"020{2_000_000 + number}", dialled

    def offers(self, count: int, clock: SystemClock) -> list[Offered]:
        made = []
        for _ in range(count):
            call_id, payer, caller, dialled = self.dial()
            at = clock.now()
            made.append(
                Offered(CallKey(SWITCH, call_id), at, caller, dialled, account=payer, can_extend=True, fingerprint="f")
            )
        return made


class Counting:
    """An observer that counts decisions, and can be waited for."""

    def __init__(self) -> None:
        self.allowed = 0
        self.refused = 0

    async def until(self, allowed: int) -> None:
        """Turn the loop until so many calls are allowed: an event for each would be measured, too."""
        while self.allowed < allowed:
            if self.refused:
                raise RuntimeError("a call was refused: what is measured is not what was meant")
            await asyncio.sleep(0)

    def decided(self, session: Session, took_s: float) -> None:
        if session.refusal is None:
            self.allowed += 1
        else:
            self.refused += 1

    def answered(self, session: Session) -> None: ...
    def warned(self, session: Session, left_s: int, to: WarnTo) -> None: ...
    def settled(self, settlement: Settlement) -> None: ...
    def alerted(self, session: Session, seen: Seen, alert: Alert) -> None: ...
    def low(self, session: Session, level: Level, left: int, threshold: int) -> None: ...
    def unexpected(self, state: str, event: str) -> None: ...
    def overflowed(self, queue: str) -> None: ...
    def not_enforced(self, check: str) -> None: ...


def control(defined: MemoryDefinitions, takes: Takes, observer: Counting, scratch: Path) -> CallControl:
    """Call control as app.py wires it, over this store of takes."""
    return CallControl(
        clock=SystemClock(),
        tariffs=defined.tariffs,
        takes=takes,
        sessions=MemoryStore(),
        switches={},
        journal=Journal(scratch / "journal"),
        observer=observer,
        policy=Policy(),
        wake=lambda _: None,
    )


def roots(count: int = ACCOUNTS) -> Sequence[str]:
    return [account(number).id for number in range(count)]
