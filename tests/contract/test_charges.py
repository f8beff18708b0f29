"""Subscriptions are charged at their dates, each charge once: in memory and in Redis alike."""

import asyncio
import json
from typing import Any

import msgspec
import pytest

from callctl.accounts import Account, Kind
from callctl.call.takes import TopUp
from callctl.clock import Instant, parse_time
from callctl.control.charges import SWEEP_MS, Charges
from callctl.errors import StoreUnavailable
from callctl.rating.services import Catalogue
from callctl.rating.subscriptions import ServiceBook, Subscription, Subscriptions
from callctl.rating.tariff import Plan
from callctl.rating.tax import Tax
from callctl.store import keys
from callctl.store.definitions import RedisDefinitions
from callctl.store.follower import Follower
from callctl.store.memory.definitions import MemoryDefinitions
from callctl.store.memory.services import MemoryServices
from callctl.store.memory.store import MemoryStore
from callctl.store.moving import CLOSED
from callctl.store.redis import RedisStore
from callctl.store.services import RedisServices
from tests.contract.calls import set_limit
from tests.core.catalogue import CATALOGUE
from tests.waiting import until

AMSTERDAM = "Europe/Amsterdam"


class SetClock:
    def __init__(self) -> None:
        self.wall_ms = parse_time("2026-01-15T12:00:00+01:00")
        self.sleeping: dict[int, asyncio.Event] = {}

    def now(self) -> Instant:
        return Instant(self.wall_ms, self.wall_ms)

    async def sleep_ms(self, ms: int) -> None:
        self.sleeping[ms] = asyncio.Event()
        await self.sleeping[ms].wait()

    def wake(self, ms: int) -> None:
        self.sleeping.pop(ms).set()

    def set(self, time: str) -> None:
        self.wall_ms = parse_time(time)


class House:
    """Definitions, services and money on one store; `charges` makes another process that charges."""

    def __init__(self, store: Any) -> None:
        self.store = store
        self.clock = SetClock()
        self.woken: list[str] = []
        self.services: Any
        self.definitions: Any
        if isinstance(store, MemoryStore):
            self.services = MemoryServices()
            self.definitions = MemoryDefinitions(store, self.clock)
            self.tariffs = self.definitions.tariffs
        else:
            follower = Follower(store._link, self.clock)
            self.services = RedisServices(store._link)
            self.definitions = RedisDefinitions(store._link, store, follower, self.clock)
            self.tariffs = follower.tariffs

    def charges(self, charging: Any = None) -> Charges:
        services = self.services if isinstance(self.store, MemoryStore) else RedisServices(self.store._link)
        return Charges(
            clock=self.clock,
            tariffs=self.tariffs,
            services=services,
            charging=charging or self.store,
            wake=self.woken.append,
        )

    async def furnish(self, account: str = "acme", kind: Kind = Kind.POSTPAID, **fields: Any) -> None:
        await self.definitions.put_plan(Plan("retail"))
        await self.services.put_catalogue(CATALOGUE)
        limit = None if kind is Kind.POSTPAID else 0
        await self.definitions.put_account(
            Account(account, kind, "retail", timezone=AMSTERDAM, credit_limit=limit, **fields)
        )

    async def subscribe(self, name: str, service: str, from_day: str, account: str = "acme", **terms: Any) -> None:
        subscription = msgspec.convert({"service": service, "from": from_day, **terms}, Subscription)
        await self.services.change(
            account, lambda book: Subscriptions(account, book.of(account).by_name | {name: subscription})
        )

    async def count(self, month: str, count: int) -> None:
        def counted(book: ServiceBook) -> Subscriptions:
            own = book.of("acme")
            return Subscriptions("acme", own.by_name, {"pbx": own.counts.get("pbx", {}) | {month: count}})

        await self.services.change("acme", counted)

    async def ledger(self, account: str = "acme", root: str = "") -> list[tuple[str, str, int]]:
        entries = await self.store.ledger(root or account, account, "", 100)
        return [(entry.id, entry.kind, entry.amount) for entry in entries]

    async def balance(self, account: str = "acme", root: str = "") -> int:
        (balance,) = await self.store.balances(root or account, [account])
        assert balance.balance == sum(amount for _, _, amount in await self.ledger(account, root))
        return balance.balance

    async def records(self, root: str = "acme") -> list[dict[str, Any]]:
        if isinstance(self.store, MemoryStore):
            return [json.loads(record.payload) for _, _, record in self.store.outbox[root].entries]
        entries = await self.store._link.call("XRANGE", keys.outbox(root), "-", "+")
        return [json.loads(fields[3]) for _, fields in entries]


@pytest.fixture
def house(store: Any) -> House:
    return House(store)


async def test_a_subscription_is_charged_at_its_dates(house: House) -> None:
    await house.furnish()
    await house.subscribe("net", "flat", "2026-01-16")
    charges = house.charges()
    await charges.sweep()
    assert await house.ledger() == []
    house.clock.set("2026-01-16T00:00:00+01:00")
    await charges.sweep()
    first = [
        ("charge:acme/net:2026-01-16:nrc", "charge", -25_000_000),
        ("charge:acme/net:2026-01-16:mrc", "charge", -16_000_000),
    ]
    assert await house.ledger() == first
    house.clock.set("2026-01-31T23:59:59+01:00")
    await charges.sweep()
    assert await house.ledger() == first
    house.clock.set("2026-02-01T00:00:00+01:00")
    await charges.sweep()
    assert await house.ledger() == [*first, ("charge:acme/net:2026-02-01:mrc", "charge", -31_000_000)]
    assert await house.balance() == -72_000_000
    assert house.woken == ["acme", "acme"]


async def test_missed_days_are_caught_up_and_steps_of_the_clock_change_nothing(house: House) -> None:
    await house.furnish()
    await house.subscribe("net", "flat", "2026-01-01", waive_nrc=True)
    house.clock.set("2026-04-10T12:00:00+02:00")
    await house.charges().sweep()
    months = [f"charge:acme/net:2026-0{month}-01:mrc" for month in (1, 2, 3, 4)]
    assert [id for id, _, _ in await house.ledger()] == months
    for time in ("2026-01-01T00:00:00+01:00", "2026-03-31T00:00:00+02:00", "2026-04-10T12:00:00+02:00"):
        house.clock.set(time)
        await house.charges().sweep()
    assert [id for id, _, _ in await house.ledger()] == months
    assert [record["id"] for record in await house.records()] == months


async def test_many_processes_at_once_charge_once(house: House) -> None:
    await house.furnish()
    for number in range(5):
        await house.subscribe(f"net{number}", "flat", "2026-01-01")
    house.clock.set("2026-03-02T12:00:00+01:00")
    await asyncio.gather(*(house.charges().sweep() for _ in range(8)))
    ids = [id for id, _, _ in await house.ledger()]
    assert len(ids) == len(set(ids)) == 5 * (1 + 3)
    assert sorted(record["id"] for record in await house.records()) == sorted(ids)
    assert await house.balance() == -5 * (25 + 3 * 31) * 1_000_000


class Forgetful:
    """A store that does what it is asked, and loses each first answer."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self._lost = False

    async def charged(self, root: str, account: str) -> dict[str, bytes]:
        return await self._store.charged(root, account)  # type: ignore[no-any-return]

    async def keep_charged(self, root: str, account: str, charged: dict[str, bytes]) -> None:
        await self._store.keep_charged(root, account, charged)

    async def charge(self, booking: Any) -> Any:
        booked = await self._store.charge(booking)
        self._lost = not self._lost
        if self._lost:
            raise StoreUnavailable("gone")
        return booked


async def test_an_answer_that_is_lost_charges_nothing_twice(house: House) -> None:
    await house.furnish()
    await house.subscribe("net", "flat", "2026-01-01")
    charges = house.charges(Forgetful(house.store))
    with pytest.raises(StoreUnavailable):
        await charges.sweep()
    await charges.sweep()
    assert len(await house.ledger()) == 2


async def test_an_emptied_redis_is_told_again_what_was_charged_and_for_what(redis_store: RedisStore) -> None:
    house = House(redis_store)
    await house.furnish()
    await house.subscribe("net", "flat", "2026-01-01")
    await house.subscribe("pbx", "extension", "2026-01-01")
    await house.count("2026-01", 12)
    charges, other = house.charges(), house.charges()
    await asyncio.gather(charges.sweep(), other.sweep())
    assert len(await house.ledger()) == 2
    before, book = await redis_store.charged("acme", "acme"), await house.services.book()
    await redis_store._link.call("FLUSHALL")
    await set_limit(redis_store, "acme", "acme", None)  # as the definitions do that are written again
    await asyncio.gather(charges.sweep(), other.sweep())
    assert await redis_store.charged("acme", "acme") == before
    new = RedisServices(redis_store._link)
    assert await new.book() == book
    assert await house.ledger() == []
    house.clock.set("2026-02-01T00:00:00+01:00")
    for each in (house.charges(), charges, other):
        await each.sweep()
    assert sorted(await house.ledger()) == [
        ("charge:acme/net:2026-02-01:mrc", "charge", -31_000_000),
        ("charge:acme/pbx:2026-01-01:mrc", "charge", -18_000_000),
    ]
    await new.put_catalogue(CATALOGUE)
    assert not (await new.book()).lost


class Emptied:
    """A store that loses everything, and has the accounts again, just before it is asked for a charge."""

    def __init__(self, store: RedisStore) -> None:
        self._store = store
        self.emptied = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def charge(self, booking: Any) -> Any:
        if not self.emptied:
            self.emptied = True
            await self._store._link.call("FLUSHALL")
            await set_limit(self._store, "acme", "acme", None)
        return await self._store.charge(booking)


async def test_a_redis_that_is_emptied_while_it_is_charged_is_told_again_what_was(redis_store: RedisStore) -> None:
    house = House(redis_store)
    await house.furnish()
    await house.subscribe("net", "flat", "2026-01-01")
    store = Emptied(redis_store)
    store.emptied = True
    charges = house.charges(store)
    await charges.sweep()
    before = await redis_store.charged("acme", "acme")
    house.clock.set("2026-02-01T00:00:00+01:00")
    store.emptied = False
    await charges.sweep()
    assert await house.ledger() == []
    await charges.sweep()  # hears of the loss
    assert before
    assert [id for id, _, _ in await house.ledger()] == ["charge:acme/net:2026-02-01:mrc"]


async def test_an_older_copy_of_redis_is_told_what_it_lacks(redis_store: RedisStore) -> None:
    """What it has stays as it has it: the money that was charged since is gone from it, too."""
    house = House(redis_store)
    await house.furnish()
    await house.subscribe("net", "flat", "2026-01-01")
    charges = house.charges()
    await charges.sweep()
    older = await redis_store.charged("acme", "acme")
    await house.subscribe("late", "flat", "2026-01-15", waive_nrc=True)
    house.clock.set("2026-02-01T00:00:00+01:00")
    await charges.sweep()
    assert len(await house.ledger()) == 5
    link = redis_store._link
    await link.call("ZREM", keys.SERVICES_WRITTEN, "subscriptions:acme")
    await link.call("HDEL", keys.services("subscriptions"), "acme")
    await link.call("SET", keys.SERVICES_REVISION, 1)
    await link.call("DEL", keys.charged("acme", "acme"))
    await link.call("HSET", keys.charged("acme", "acme"), "net", older["net"])
    await charges.sweep()
    assert set((await RedisServices(link).book()).of("acme").by_name) == {"net", "late"}
    assert [id for id, _, _ in await house.ledger()][5:] == ["charge:acme/net:2026-02-01:mrc"]


async def test_a_record_has_the_shape_of_a_cdr(house: House) -> None:
    await house.furnish()
    await house.subscribe("trunk", "sip-trunk", "2026-01-15", price_list="standard", quantity=2)
    await house.charges().sweep()
    once, monthly = await house.records()
    assert once | {"chain": None} == {
        "id": "charge:acme/trunk:2026-01-15:nrc", "corrects": None, "call_id": "trunk", "switch": "callctl",
        "trunk": None, "account": "acme", "parent": None, "role": "customer", "direction": "charge",
        "from": "", "to": "", "destination": "SIP trunk", "type": None, "class": None,
        "setup_time": "2026-01-14T23:00:00.000Z", "answer_time": "2026-01-14T23:00:00.000Z",
        "release_time": "2026-01-14T23:00:00.000Z", "ring_s": 0, "duration_ms": 0, "duration_s": 0, "billed_s": 0,
        "unbilled_s": 0, "plan": "standard", "row": "sip-trunk", "buy_plan": None, "buy_row": None, "exchange": None,
        "connection_fee": None, "per_minute": None, "charge": "30.0000", "list_charge": None, "gross": "30.0000",
        "taxes": [], "surcharge": "0.0000", "parts": [], "bundle_s": 0, "cost": "20.0000", "margin": "10.0000",
        "affiliates": [], "exempt": False, "currency": "EUR", "verdict": "allowed", "refusal": None,
        "detail": "2 x sip-trunk, once", "trace": None, "q850": None, "sip_code": None, "released_by": None,
        "estimated": False, "trace_id": "", "kind": "nrc", "service": "sip-trunk", "quantity": 2, "chain": None,
    }  # fmt: skip
    assert (monthly["kind"], monthly["charge"], monthly["cost"]) == ("mrc", "8.2300", "5.4800")
    assert monthly["release_time"] == "2026-01-31T23:00:00.000Z"
    assert monthly["detail"] == "2 x sip-trunk, 2026-01-15 to 2026-01-31"


async def test_an_exempt_account_is_charged_nothing(house: House) -> None:
    await house.furnish(exempt=True)
    await house.subscribe("trunk", "sip-trunk", "2026-01-01", price_list="standard")
    await house.charges().sweep()
    assert await house.balance() == 0
    shown = [(it["charge"], it["list_charge"], it["margin"], it["exempt"]) for it in await house.records()]
    assert shown == [("0.0000", "15.0000", "-10.0000", True), ("0.0000", "7.5000", "-5.0000", True)]


async def test_the_taxes_of_the_account_s_plan_are_on_its_charges_and_come_back_with_them(house: House) -> None:
    await house.furnish(kind=Kind.PREPAID, untaxed=("city",))
    taxes = (Tax("VAT", percent=210_000), Tax("city", percent=50_000), Tax("levy", fixed=10_000))
    await house.definitions.put_plan(Plan("retail", taxes=taxes))
    await house.subscribe("net", "flat", "2026-01-01", waive_nrc=True)
    charges = house.charges()
    await house.store.top_up(TopUp("acme", "acme", "p1", 37_509_999, 0))
    await charges.sweep()
    assert await house.records() == []  # 31.00 and 21 % of it are not there
    await house.store.top_up(TopUp("acme", "acme", "p2", 1, 0))
    await charges.sweep()
    assert await house.balance() == 0
    (record,) = await house.records()
    assert (record["charge"], record["gross"]) == ("31.0000", "37.5100")
    assert record["taxes"] == [{"name": "VAT", "amount": "6.5100"}]
    await house.subscribe("net", "flat", "2026-01-01", waive_nrc=True, until="2026-01-20")
    await house.charges().sweep()
    _, back = await house.records()
    assert (back["charge"], back["gross"]) == ("-11.0000", "-13.3100")
    assert back["taxes"] == [{"name": "VAT", "amount": "-2.3100"}]
    assert await house.balance() == 13_310_000


async def test_prepaid_waits_for_its_credit_and_never_falls_below_it(house: House) -> None:
    await house.furnish(kind=Kind.PREPAID)
    await house.subscribe("net", "flat", "2026-01-01")
    charges = house.charges()
    await house.store.top_up(TopUp("acme", "acme", "p1", 55_999_999, 0))
    await charges.sweep()
    assert await house.balance() == 55_999_999
    assert await house.records() == []
    await house.store.top_up(TopUp("acme", "acme", "p2", 1, 0))
    await charges.sweep()
    assert await house.balance() == 0
    assert len(await house.records()) == 2


async def test_postpaid_owes_beyond_its_limit(house: House) -> None:
    await house.furnish()
    account = house.tariffs.accounts["acme"]
    await house.definitions.put_account(msgspec.structs.replace(account, credit_limit=0))
    await house.subscribe("net", "flat", "2026-01-01")
    await house.charges().sweep()
    assert await house.balance() == -56_000_000


async def test_extensions_are_charged_after_the_month_when_they_are_counted(house: House) -> None:
    await house.furnish()
    await house.subscribe("pbx", "extension", "2026-01-01")
    await house.count("2026-01", 12)
    charges = house.charges()
    house.clock.set("2026-01-31T23:59:59+01:00")
    await charges.sweep()
    assert await house.ledger() == []
    house.clock.set("2026-02-01T00:00:00+01:00")
    await charges.sweep()
    assert await house.ledger() == [("charge:acme/pbx:2026-01-01:mrc", "charge", -18_000_000)]
    house.clock.set("2026-03-05T00:00:00+01:00")
    await charges.sweep()
    assert len(await house.ledger()) == 1  # nobody has counted in February
    await house.count("2026-02", 0)
    await charges.sweep()
    assert (await house.ledger())[1:] == [("charge:acme/pbx:2026-02-01:mrc", "charge", 0)]


async def test_an_early_end_gives_the_unused_days_back(house: House) -> None:
    await house.furnish()
    await house.subscribe("net", "flat", "2026-01-01", waive_nrc=True)
    await house.charges().sweep()
    await house.subscribe("net", "flat", "2026-01-01", waive_nrc=True, until="2026-01-20")
    charges = house.charges()
    await charges.sweep()
    await charges.sweep()
    original = "charge:acme/net:2026-01-01:mrc"
    assert await house.ledger() == [(original, "charge", -31_000_000), (f"{original}:c1", "correction", 11_000_000)]
    _, record = await house.records()
    assert (record["corrects"], record["charge"]) == (original, "-11.0000")
    house.clock.set("2026-06-01T00:00:00+02:00")
    await charges.sweep()
    assert await house.balance() == -20_000_000


async def test_what_is_charged_moves_with_the_account(house: House) -> None:
    await house.furnish("one")
    await house.furnish("two")
    await house.furnish("acme", parent="one")
    await house.subscribe("net", "flat", "2026-01-01", waive_nrc=True)
    charges, account = house.charges(), house.tariffs.accounts["acme"]
    await charges.sweep()
    for parent in ("two", "one", "two"):
        await house.definitions.put_account(msgspec.structs.replace(account, parent=parent))
        await charges.sweep()
        await house.charges().sweep()
        assert await house.balance(root=parent) == -31_000_000
    house.clock.set("2026-02-01T00:00:00+01:00")
    await charges.sweep()
    assert await house.balance(root="two") == -62_000_000
    await house.definitions.put_account(account)
    await charges.sweep()
    await house.charges().sweep()
    assert await house.balance(root="one") == -62_000_000
    assert len(await house.records("one")) == len(await house.records("two")) == 1


async def test_an_account_that_has_another_root_now_waits(house: House) -> None:
    await house.furnish()
    await house.subscribe("net", "flat", "2026-01-01")
    await set_limit(house.store, "acme", "acme", CLOSED)
    await house.charges().sweep()
    assert await house.ledger() == []
    await set_limit(house.store, "acme", "acme", None)
    await house.charges().sweep()
    assert len(await house.ledger()) == 2


async def test_who_was_overtaken_goes_on_from_there(house: House) -> None:
    await house.furnish()
    await house.subscribe("net", "flat", "2026-01-01", waive_nrc=True)
    one, other = house.charges(), house.charges()
    for month, charges in enumerate((one, other, one, other), 1):
        house.clock.set(f"2026-0{month}-15T12:00:00Z")
        await charges.sweep()
        assert len(await house.ledger()) == month


async def test_one_subscription_without_a_price_does_not_hold_up_the_others(house: House) -> None:
    await house.furnish()
    await house.subscribe("broken", "no-such-service", "2026-01-01")
    await house.subscribe("net", "flat", "2026-01-01")
    await house.charges().sweep()
    assert len(await house.ledger()) == 2


async def test_a_catalogue_that_leaves_a_subscription_without_its_price_is_refused(house: House) -> None:
    await house.furnish()
    await house.subscribe("net", "flat", "2026-01-01")
    with pytest.raises(ValueError, match="subscription net of acme: service flat does not exist"):
        await house.services.put_catalogue(Catalogue())
    with pytest.raises(ValueError, match="subscription net of acme is in EUR, not in USD"):
        await house.services.put_catalogue(msgspec.structs.replace(CATALOGUE, currency="USD"))
    assert (await house.services.book()).catalogue == CATALOGUE


async def test_writers_of_one_account_do_not_lose_what_the_other_wrote(store: Any) -> None:
    houses = [House(store) for _ in range(4)]
    if isinstance(store, MemoryStore):
        houses = houses[:1] * 4
    await asyncio.gather(*(house.subscribe(f"net{n}", "flat", "2026-01-01") for n, house in enumerate(houses)))
    for house in houses:
        assert set((await house.services.book()).of("acme").by_name) == {"net0", "net1", "net2", "net3"}


async def test_it_begins_with_the_start_and_goes_on_every_minute(house: House) -> None:
    await house.furnish()
    await house.subscribe("net", "flat", "2026-01-01")
    running = asyncio.create_task(house.charges().run())
    await until(lambda: house.clock.sleeping)
    assert len(await house.ledger()) == 2
    house.clock.set("2026-02-01T00:00:00+01:00")
    house.clock.wake(SWEEP_MS)
    await until(lambda: house.clock.sleeping)
    assert len(await house.ledger()) == 3
    running.cancel()
