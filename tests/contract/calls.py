"""Calls, takes and settlements as the core proposes them, with only what a test is about."""

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from callctl.accounts import Account, Kind
from callctl.call.events import CallKey, Taken
from callctl.call.session import Level, Session, State
from callctl.call.takes import Extension, Post, Record, Settlement, Take, TakeLevel, TopUp
from callctl.causes import Refusal
from callctl.clock import Instant, SystemClock
from callctl.limits.concurrency import Rate, Slot
from callctl.ports import Definitions, Sessions, Takes
from callctl.rating.charge import Price, Tier
from callctl.rating.tariff import Direction, Plan
from callctl.store import keys
from callctl.store.definitions import RedisDefinitions
from callctl.store.follower import Follower
from callctl.store.memory.definitions import MemoryDefinitions
from callctl.store.memory.store import MemoryStore

NOW = Instant(1_795_255_200_000, 5_000)  # 2026-11-21T10:00:00Z
LEASE_MS = NOW.wall_ms + 150_000
PRICE = Price(connection_fee=25_000, denominator=1, tiers=(Tier(0, 80_000, 1),))
COUNTED = (Slot("outbound"), Slot("total"))
ROOT = "acme"


def session(call_id: str = "c1", accounts: Sequence[str] = (ROOT,), **fields: Any) -> Session:
    """A call that `accounts` pay for: the customer first, the root last."""
    call = CallKey("http", call_id)
    levels = tuple(
        Level(account, True, False, "EUR", "plan", "316:MOB", "Netherlands", "MOB", "MOB", PRICE)
        for account in accounts
    )
    known = {
        "call": call,
        "trace_id": call.trace_id,
        "state": State.TAKING,
        "setup": NOW,
        "direction": Direction.OUTBOUND,
        "a_number": "+31201234567",
        "b_number": "+31612345678",
        "root": accounts[-1],
        "account": accounts[0],
        "levels": levels,
    }
    return Session(**{**known, **fields})


def take(call: Session, hold: int = 0, *, slots: Sequence[Slot] = COUNTED, overflow: int = 0, **fields: Any) -> Take:
    """The same hold and the same counters at every level; `overflow` is what is held on top at a cap."""
    levels = tuple(TakeLevel(level.account, tuple(slots), hold, hold + overflow) for level in call.levels)
    counted = tuple(replace(level, slots=tuple(slots)) for level in call.levels)
    call = replace(call, levels=counted, trunk_slots=tuple(fields.get("trunk_slots", ())))
    return Take(call, levels, **{"lease_until_ms": LEASE_MS, "now_ms": NOW.wall_ms, **fields})


def rate(owner: str, per_second: int, *, after_s: int = 0) -> Rate:
    """The tokens of the second of `NOW`, or of one after it."""
    return Rate(owner, per_second, NOW.wall_ms // 1000 + after_s)


def extension(call: Session, *more: int, **fields: Any) -> Extension:
    return Extension(call, more, **{"lease_until_ms": LEASE_MS, **fields})


async def extend(store: Takes, asked: Extension) -> Any:
    """The answer to one extension alone."""
    (answer,) = await store.extend([asked])
    if isinstance(answer, Exception):
        raise answer
    return answer


def settlement(call: Session, *amounts: int, kind: str = "post", records: int | None = None) -> Settlement:
    """The end of a call: `amounts[i]` posted at level i, and one record each, or as many as `records` says."""
    correction = kind == "correction"
    ended = replace(
        call,
        state=State.ENDED,
        released=NOW.plus_ms(60_000),
        posted=amounts,
        corrections=call.corrections + correction,
    )
    posts = tuple(Post(lv.account, kind, amount) for lv, amount in zip(call.levels, amounts, strict=False))
    written = len(amounts) if records is None else records
    return Settlement(
        ended, posts, tuple(Record(lv.account, _payload(call, lv.account)) for lv in call.levels[:written])
    )


def refusal(call: Session) -> Settlement:
    refused = replace(call, state=State.REFUSED, refusal=Refusal.NO_CREDIT, released=NOW)
    return Settlement(refused, (), (Record(call.account, _payload(call, call.account)),))


def top_up(amount: int, account: str = ROOT, *, root: str = ROOT, id: str = "pay-1", **fields: Any) -> TopUp:
    return TopUp(account, root, id, amount, NOW.wall_ms, **fields)


async def all_live(store: Sessions, roots: Sequence[str]) -> list[Session]:
    """Every call that holds something, by the end of its lease, root by root."""
    return await store.read(await store.listed(roots))


async def admitted(store: Any, proposed: Take) -> Session:
    """Admit it, and go on as the call machine does."""
    answer = await store.admit(proposed)
    assert isinstance(answer, Taken), answer
    call = proposed.session
    levels = zip(call.levels, proposed.levels, answer.overflow, strict=True)
    return replace(
        call,
        state=State.ADMITTED,
        version=call.version + 1,
        levels=tuple(
            replace(level, held=asked.hold_overflow if over else asked.hold, overflow=over)
            for level, asked, over in levels
        ),
    )


async def figures(store: Any, account: str = ROOT, root: str = ROOT) -> tuple[int, int, dict[str, int]]:
    """Balance, held, and channels in use."""
    (balance,) = await store.balances(root, [account])
    return balance.balance, balance.held, balance.slots


async def set_limit(store: Any, root: str, account: str, floor: int | None) -> None:
    """As the account's definition does."""
    if isinstance(store, MemoryStore):
        store._accounts[root, account].floor = floor
    else:
        await store._link.call("HSET", keys.account(root, account), "floor", keys.floor(floor))


async def moved(store: Any, account: str = ROOT, *, to: str) -> None:
    """A root goes below another."""
    definitions: Definitions = (
        MemoryDefinitions(store, SystemClock())
        if isinstance(store, MemoryStore)
        else RedisDefinitions(store._link, store, Follower(store._link, SystemClock()), SystemClock())
    )
    await definitions.put_plan(Plan("standard"))
    for id, parent in ((account, None), (to, None), (account, to)):
        await definitions.put_account(Account(id, Kind.PREPAID, "standard", parent))


async def outbox(store: Any, root: str = ROOT) -> list[tuple[str, bytes]]:
    """The accounts and payloads written so far."""
    if hasattr(store, "outbox"):
        return [(record.account, record.payload) for _, _, record in store.outbox[root].entries]
    entries = await store._link.call("XRANGE", keys.outbox(root), "-", "+")
    return [(fields[1].decode(), fields[3]) for _, fields in entries]


def _payload(call: Session, account: str) -> bytes:
    return f'{{"id": "{call.call}:{account}"}}'.encode()
