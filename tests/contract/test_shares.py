"""Affiliates are credited once, whoever dies between crediting a share and moving its record on. Memory and Redis."""

import json
from collections.abc import Sequence

import pytest
from structlog.testing import capture_logs

from callctl.accounts import Account, Directory, Kind
from callctl.call.events import CallKey
from callctl.call.session import Session, State
from callctl.call.takes import Record, Settlement
from callctl.clock import Instant
from callctl.control.shares import Shares
from callctl.errors import StoreUnavailable
from callctl.rating.tariff import Direction
from callctl.store.feeds import RedisFeeds
from callctl.store.memory.feeds import MemoryFeeds
from callctl.store.memory.store import MemoryStore

CALL = CallKey("sw", "c1")
NOW = Instant(1_795_255_200_000, 5_000)


class Tariffs:
    """Two roots: the customer's, and that of its affiliate."""

    directory = Directory([Account("acme", Kind.PREPAID, "p"), Account("agent", Kind.POSTPAID, "p")])


class Now:
    def now(self) -> Instant:
        return NOW


@pytest.fixture
def feeds(store):
    return MemoryFeeds(store.outbox) if isinstance(store, MemoryStore) else RedisFeeds(store._link)


@pytest.fixture
def shares(store) -> Shares:
    return Shares(takes=store, tariffs=Tariffs(), clock=Now())  # type: ignore[arg-type]


def share(id: str = "share:1:agent", amount: str = "0.0090", **more: str) -> Record:
    return Record("agent", json.dumps({"id": id, "role": "affiliate", "account": "agent", "share": amount} | more,
                                      separators=(",", ":")).encode())  # fmt: skip


async def write(store, *records: Record, version: int = 0) -> None:
    """The end of a call of acme, with these records."""
    ended = Session(CALL, CALL.trace_id, State.ENDED, NOW, Direction.OUTBOUND, "", "", "acme", "acme", (),
                    version=version)  # fmt: skip
    assert await store.settle(Settlement(ended, (), records)) is None


async def ledger(store) -> list[tuple[str, str, int]]:
    return [(entry.id, entry.kind, entry.amount) for entry in await store.ledger("agent", "agent", "", 100)]


async def test_a_share_is_credited_with_its_record(store, feeds, shares) -> None:
    other = Record("acme", b'{"id":"sw/c1:acme","role":"customer","from":"\\"role\\":\\"affiliate\\""}')
    await write(store, other, share(), share("share:2:agent", "0.0000"))
    assert await feeds.move("api", ["acme"], 10, shares.credit) == 3
    assert await ledger(store) == [("share:1:agent", "affiliate", 9_000)]
    (balance,) = await store.balances("agent", ["agent"])
    assert balance.balance == 9_000


async def test_who_dies_behind_the_credit_doubles_nothing(store, feeds, shares) -> None:
    await write(store, share())

    async def dies(payloads: Sequence[bytes]) -> None:
        await shares.credit(payloads)
        raise StoreUnavailable("killed")

    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            await feeds.move("api", ["acme"], 10, dies)
    assert await feeds.pending("api", 0, 10) == []
    assert await feeds.move("api", ["acme"], 10, shares.credit) == 1
    assert await ledger(store) == [("share:1:agent", "affiliate", 9_000)]


async def test_who_dies_before_the_credit_loses_nothing(store, feeds, shares) -> None:
    await write(store, share())

    async def dies(_: Sequence[bytes]) -> None:
        raise StoreUnavailable("killed")

    with pytest.raises(StoreUnavailable):
        await feeds.move("api", ["acme"], 10, dies)
    await feeds.move("api", ["acme"], 10, shares.credit)
    assert len(await ledger(store)) == 1


async def test_a_correction_takes_back(store, feeds, shares) -> None:
    await write(store, share())
    await write(store, share("share:1:agent:c1", "-0.0050"), version=1)
    await feeds.move("api", ["acme"], 10, shares.credit)
    assert [amount for _, _, amount in await ledger(store)] == [9_000, -5_000]


async def test_what_cannot_be_credited_is_told_and_keeps_no_record(store, feeds, shares) -> None:
    nobody = Record("x", b'{"id":"share:1:x","role":"affiliate","account":"x","share":"1.0000"}')
    await write(store, share(), share(amount="0.0100"), nobody)
    with capture_logs() as logs:
        assert await feeds.move("api", ["acme"], 10, shares.credit) == 3
    assert [line["event"] for line in logs] == ["share_not_credited"] * 2
    assert len(await ledger(store)) == 1
