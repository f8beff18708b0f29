"""What limits cost Redis: an admission with resellers, caps, thresholds and credit beside a plain prepaid one.

All of Redis' CPU time is counted, one admission after the other: what it reads and answers, too.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.figures import Figure, Limit, best, ratio_at_most
from bench.server import Redis, redis
from callctl.accounts import Account, Kind
from callctl.call.admission import Policy, propose
from callctl.call.events import CallKey, Offered, Taken
from callctl.call.takes import Take, TopUp
from callctl.clock import SystemClock
from callctl.control.facts import gather
from callctl.limits.concurrency import Caps
from callctl.limits.ids import Thresholds
from callctl.money import MICROS
from callctl.numbering import DialRules
from callctl.rating.tariff import Plan, Row
from callctl.store.memory.definitions import MemoryDefinitions
from callctl.store.memory.store import MemoryStore
from callctl.store.redis import RedisStore

LEVELS = 4
ROUNDS = 6
ADMISSIONS = 2_000  # of a round
CAPS = Caps(outbound=1_000_000, total=1_000_000)
THRESHOLDS = Thresholds(1_000_000 * MICROS, hourly=True)


async def limits(scratch: Path) -> list[Figure]:
    """By turns, so that whatever disturbs the one disturbs the other."""
    plain, full = (
        await _defined("plain", 1, {}),
        await _defined("full", LEVELS, {"caps": CAPS, "thresholds": THRESHOLDS}),
    )
    async with redis(scratch) as server:
        store = RedisStore(server.link)
        for defined in (plain, full):
            directory = defined.tariffs.directory
            for account in directory.accounts:
                await store.top_up(TopUp(account, directory.root(account) or "", "bench", 10**15, 0))
        plain_us, full_us = [], []
        for number in range(ROUNDS):
            plain_us.append(await _admission_us(server, store, _takes(plain, "plain", number)))
            full_us.append(await _admission_us(server, store, _takes(full, "full", number)))
    limit = Limit("one level, prepaid", best(plain_us))
    name = f"Redis' CPU of an admission: {LEVELS} levels with caps and thresholds"
    return [Figure(name, best(full_us), "us CPU", (ratio_at_most(3),), limit)]


async def _defined(name: str, levels: int, fields: dict[str, Any]) -> MemoryDefinitions:
    """A customer of this name below `levels` - 1 resellers; what is abroad is watched."""
    defined = MemoryDefinitions(MemoryStore(), SystemClock())
    parent = None
    for depth in reversed(range(levels)):
        id = f"{name}-{depth}"
        await defined.put_plan(Plan(id))
        await defined.put_rows(id, [Row("33", "France", per_minute=60_000_000)])
        await defined.put_account(Account(id, Kind.PREPAID, id, parent, dial_rules=DialRules("NL"), **fields))
        parent = id
    return defined


def _takes(defined: MemoryDefinitions, name: str, round: int) -> Iterator[Take]:
    clock, policy = SystemClock(), Policy()
    for number in range(ADMISSIONS):
        now = clock.now()
        call = CallKey("http", f"{name}-{round}-{number}")
        offered = Offered(call, now, "0201234567", "+33123456789", account=f"{name}-0", can_extend=True)
        yield propose(offered, gather(offered, defined.tariffs, now, policy.lists), now, policy).take


async def _admission_us(server: Redis, store: RedisStore, takes: Iterator[Take]) -> float:
    waiting = list(takes)
    before = await server.cpu_s()
    for take in waiting:
        assert isinstance(await store.admit(take), Taken)
    return (await server.cpu_s() - before) / ADMISSIONS * 1e6
