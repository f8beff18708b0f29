"""Definitions: what contradicts is refused and changes nothing; what is put is there. Memory and Redis alike."""

from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from callctl.accounts import MAX_CHAIN, Account, Group, Kind, Trunk
from callctl.call.events import TakeRefused
from callctl.call.purchase import Stock
from callctl.call.session import Session
from callctl.call.takes import Draw, Take, TopUp
from callctl.clock import SystemClock
from callctl.errors import CallConflict, Contradiction
from callctl.limits.concurrency import Caps
from callctl.limits.ids import Settled
from callctl.limits.licence import LicenceStatus, SwitchLicence
from callctl.limits.provider import ProviderLimit
from callctl.limits.watching import Allow, Word
from callctl.numbering import Number, NumberType
from callctl.ports import Definitions
from callctl.rating.builder import RowConflictError
from callctl.rating.bundles import Source
from callctl.rating.exchange import DatedRate, Exchange
from callctl.rating.tariff import Direction, Plan, Row
from callctl.store.definitions import RedisDefinitions
from callctl.store.follower import Follower
from callctl.store.memory.definitions import MemoryDefinitions
from callctl.store.memory.store import MemoryStore
from callctl.store.registry import Registry
from tests.contract import calls
from tests.contract.watched import DAY

NOW = calls.NOW.wall_ms
MOBILE = Number("+31612345678", "31612345678", "NL", "31", NumberType.MOB)


class House(msgspec.Struct):
    definitions: Definitions
    tariffs: Registry
    store: Any

    async def put(self, *definitions: Account | Group | Trunk | Plan | Exchange) -> None:
        for definition in definitions:
            match definition:
                case Account():
                    await self.definitions.put_account(definition)
                case Group():
                    await self.definitions.put_group(definition)
                case Trunk():
                    await self.definitions.put_trunk(definition)
                case Exchange():
                    await self.definitions.put_exchange(definition)
                case Plan():
                    await self.definitions.put_plan(definition)

    async def rows(self, plan: str) -> list[Row]:
        return [row async for row in self.definitions.rows(plan)]

    def price(self, plan: str, at_ms: int = NOW) -> int | None:
        deck = self.tariffs.deck(plan, at_ms)
        match = deck.find(MOBILE, at_ms, Direction.OUTBOUND) if deck is not None else None
        return match.rows[0].per_minute if match is not None else None


@pytest.fixture
async def house(store: Any) -> House:
    """There is a plan for every account."""
    if isinstance(store, MemoryStore):
        definitions = MemoryDefinitions(store, SystemClock())
        house = House(definitions, definitions.tariffs, store)
    else:
        follower = Follower(store._link, SystemClock())
        house = House(RedisDefinitions(store._link, store, follower, SystemClock()), follower.tariffs, store)
    await house.put(Plan("standard"))
    return house


def account(id: str, parent: str | None = None, **fields: Any) -> Account:
    return Account(id, fields.pop("kind", Kind.PREPAID), "standard", parent, **fields)


# ---- Accounts


async def test_an_account_is_found_by_all_its_names(house: House) -> None:
    acme = account("acme", numbers=("+31201234567",), source_ips=("192.0.2.10",), caps=Caps(outbound=4))
    shop = account("shop", "acme", attributes={"crm": "42"})
    await house.put(acme, shop, Trunk("t1", "shop", source_ips=("192.0.2.11",), calls_per_second=5))
    directory = house.tariffs.directory
    assert directory.chain("shop") == (shop, acme)
    assert directory.by_number("+31201234567") == "acme"
    assert directory.by_ip("192.0.2.10") == ("acme", None)
    assert directory.by_ip("192.0.2.11") == ("shop", "t1")
    assert directory.trunks["t1"].calls_per_second == 5


async def test_a_replaced_account_gives_up_what_it_no_longer_claims(house: House) -> None:
    await house.put(account("acme", numbers=("+31201234567",)), account("acme"))
    await house.put(account("globex", numbers=("+31201234567",)))
    assert house.tariffs.directory.by_number("+31201234567") == "globex"


REFUSED = {
    "plan that is missing": (Account("new", Kind.PREPAID, "nothing"), "plan nothing does not exist"),
    "no plan at all": (Account("new", Kind.PREPAID), "new: no plan of its own, of its group or of a parent"),
    "no plan any more": (Account("acme", Kind.PREPAID), "acme: no plan of its own"),
    "group that is missing": (account("new", group="lead"), "account new: group lead does not exist"),
    "currency of the group": (Account("new", Kind.PREPAID, group="green"), "new in EUR: plan dollars is in USD"),
    "plan of a group that is missing": (Group("gold", "nothing"), "group gold: plan nothing does not exist"),
    "plan of a group in another currency": (Group("gold", "dollars"), "plan dollars is in USD, account gilt is in EUR"),
    "currency of who has the plan by the group": (Plan("golden", currency="USD"), "account gilt is in EUR"),
    "parent that is missing": (account("new", "nobody"), "parent nobody does not exist"),
    "its own parent": (account("acme", "acme"), "acme cannot be below itself"),
    "a loop": (account("acme", "shop"), "acme cannot be below itself"),
    "currency of a child": (account("new", "acme", currency="USD"), "new in USD: its parent's currency is EUR"),
    "currency that changes": (account("lone", currency="USD"), "lone: its currency EUR cannot change"),
    "currency of the plan": (Account("new", Kind.PREPAID, "dollars"), "new in EUR: plan dollars is in USD"),
    "prepaid without a limit": (account("new", credit_limit=None), "only a postpaid account"),
    "card without a limit": (account("new", kind=Kind.CARD, credit_limit=None), "only a postpaid account"),
    "time zone": (account("new", timezone="Europe/Atlantis"), "'Europe/Atlantis' is not a time zone"),
    "zone that is a path": (account("new", timezone="../secret"), "is not a time zone"),
    "number of another": (account("new", numbers=("+31201234567",)), "claimed by account new and account acme"),
    "address of another": (account("new", source_ips=("192.0.2.10",)), "claimed by account new and account acme"),
    "address of a trunk": (account("new", source_ips=("192.0.2.11",)), "claimed by account new and trunk t1"),
    "purchase plan that is missing": (Trunk("t2", "acme", buy_plan="nothing"), "plan nothing does not exist"),
    "trunk of nobody": (Trunk("t2", "nobody"), "trunk t2: account nobody does not exist"),
    "address of an account": (Trunk("t2", "acme", ("192.0.2.10",)), "claimed by trunk t2 and account acme"),
    "address of a trunk, by a trunk": (Trunk("t2", "acme", ("192.0.2.11",)), "claimed by trunk t2 and trunk t1"),
    "plan on nothing": (Plan("new", extends="nothing"), "nothing, which it extends, does not exist"),
    "plan on itself": (Plan("dollars", currency="USD", extends="dollars"), "dollars cannot extend itself"),
    "plan in a loop": (Plan("standard", extends="special"), "standard cannot extend itself"),
    "currency of the plan it extends": (Plan("new", currency="USD", extends="standard"), "plan standard is in EUR"),
    "currency of a plan that extends it": (Plan("special2", currency="USD"), "plan special3 is in EUR"),
    "currency of who has the plan": (Plan("used", currency="USD"), "account lone is in EUR"),
    "plan's time zone": (Plan("new", timezone=""), "'' is not a time zone"),
}


@pytest.mark.parametrize(("definition", "why"), REFUSED.values(), ids=list(REFUSED))
async def test_a_contradiction_is_refused_and_changes_nothing(
    house: House, definition: Account | Group | Trunk | Plan, why: str
) -> None:
    await house.put(Plan("standard"), Plan("special", extends="standard"), Plan("dollars", currency="USD"))
    await house.put(Plan("special2"), Plan("special3", extends="special2"), Plan("used"))
    await house.put(account("acme", numbers=("+31201234567",), source_ips=("192.0.2.10",)), account("shop", "acme"))
    await house.put(Account("lone", Kind.PREPAID, "used"), Trunk("t1", "acme", source_ips=("192.0.2.11",)))
    await house.put(Plan("golden"), Group("gold", "golden"), Group("green", "dollars"))
    await house.put(Account("gilt", Kind.PREPAID, group="gold"))
    known = house.tariffs
    before = dict(known.accounts), dict(known.trunks), dict(known.plans), dict(known.groups)
    with pytest.raises(Contradiction, match=why):
        await house.put(definition)
    assert (known.accounts, known.trunks, known.plans, known.groups) == before


async def test_the_plan_of_who_states_none_follows_its_group_and_its_parent(house: House) -> None:
    await house.put(Plan("golden"), Plan("platinum"), Group("gold", "golden"), account("acme"))
    await house.put(replace(account("shop", "acme"), plan=None), replace(account("till", "shop"), plan=None))
    assert house.tariffs.directory.plans == {"acme": "standard", "shop": "standard", "till": "standard"}
    await house.put(replace(account("shop", "acme"), plan=None, group="gold"))
    assert house.tariffs.directory.plans == {"acme": "standard", "shop": "golden", "till": "golden"}
    await house.put(Group("gold", "platinum"))
    assert house.tariffs.directory.plans == {"acme": "standard", "shop": "platinum", "till": "platinum"}
    await house.put(Account("acme", Kind.PREPAID, "golden"), replace(account("till", "acme"), plan=None))
    assert house.tariffs.directory.plans == {"acme": "golden", "shop": "platinum", "till": "golden"}
    assert house.tariffs.directory.accounts["till"].plan is None


async def test_a_chain_has_its_limit_from_either_end(house: House) -> None:
    for n in range(1, MAX_CHAIN + 1):
        await house.put(account(f"level{n}", f"level{n - 1}" if n > 1 else None))
    with pytest.raises(ValueError, match=f"more than {MAX_CHAIN} levels"):
        await house.put(account("deeper", f"level{MAX_CHAIN}"))
    await house.put(account("above"))
    with pytest.raises(ValueError, match=f"more than {MAX_CHAIN} levels"):
        await house.put(account("level1", "above"))
    assert len(house.tariffs.directory.chain(f"level{MAX_CHAIN}")) == MAX_CHAIN


# ---- Money and moving


async def available(house: House, id: str, root: str) -> int | None:
    (balance,) = await house.store.balances(root, [id])
    return balance.available  # type: ignore[no-any-return]


async def test_the_credit_limit_counts_at_once(house: House) -> None:
    await house.put(account("acme", credit_limit=5_000_000), account("shop", "acme", credit_limit=1_000_000))
    assert await available(house, "acme", "acme") == 5_000_000
    assert await available(house, "shop", "acme") == 1_000_000
    await house.put(account("acme", kind=Kind.POSTPAID, credit_limit=None))
    assert await available(house, "acme", "acme") is None


async def test_within_a_root_an_account_moves_with_calls_up(house: House) -> None:
    await house.put(account("acme"), account("north", "acme"), account("south", "acme"), account("shop", "north"))
    call = calls.session(accounts=("shop", "north", "acme"))
    for each in ("shop", "north", "acme"):
        await house.store.top_up(calls.top_up(10_000_000, each))
    await calls.admitted(house.store, calls.take(call, 1_000_000))
    await house.put(account("shop", "south"))
    assert [level.id for level in house.tariffs.directory.chain("shop")] == ["shop", "south", "acme"]
    assert await calls.figures(house.store, "shop") == (10_000_000, 1_000_000, {"outbound": 1, "total": 1})


async def test_to_another_root_it_takes_its_money_and_all_below_it(house: House) -> None:
    await house.put(account("acme"), account("shop", "acme", credit_limit=5), account("till", "shop", credit_limit=7))
    await house.put(account("globex"))
    await house.store.top_up(calls.top_up(10_000_000, "shop"))
    await house.store.top_up(calls.top_up(-2_000_000, "till"))
    await house.put(account("shop", "globex", credit_limit=6))
    assert [level.id for level in house.tariffs.directory.chain("till")] == ["till", "shop", "globex"]
    assert await calls.figures(house.store, "shop", "globex") == (10_000_000, 0, {})
    assert await available(house, "shop", "globex") == 10_000_006
    assert await available(house, "till", "globex") == -1_999_993
    for id, was in (("shop", 10_000_000), ("till", -2_000_000)):
        ledger = await house.store.ledger("globex", id, "", 10)
        assert [(entry.kind, entry.amount, entry.balance) for entry in ledger] == [
            ("topup", was, was),
            ("correction", -was, 0),
            ("correction", was, was),
        ]
    await house.put(account("shop", "acme"))
    assert await available(house, "shop", "acme") == 10_000_000
    entries = await house.store.ledger("acme", "shop", "", 10)
    assert ([entry.note for entry in entries], sum(entry.amount for entry in entries)) == (
        ["", "globex", "acme", "acme", "globex"],
        10_000_000,
    )
    after_first = await house.store.ledger("acme", "shop", entries[0].cursor, 10)
    assert after_first == entries[1:]


async def test_a_payment_that_is_told_again_after_a_move_is_made_once(house: House) -> None:
    def paid(amount: int, root: str, *, now_ms: int = SystemClock().now().wall_ms) -> TopUp:
        return TopUp("shop", root, "payment", amount, now_ms, note="by card")

    await house.put(account("acme"), account("shop", "acme"), account("globex"))
    first = await house.store.top_up(paid(5, "acme"))
    await house.put(account("shop", "globex"))
    assert await house.store.top_up(paid(5, "globex")) == first
    assert await available(house, "shop", "globex") == 5
    with pytest.raises(CallConflict):
        await house.store.top_up(paid(6, "globex"))


async def test_a_payment_whose_id_is_not_remembered_any_more_moves_along(house: House) -> None:
    await house.put(account("acme"), account("shop", "acme"), account("globex"))
    await house.store.top_up(TopUp("shop", "acme", "payment", 5, 1))
    await house.put(account("shop", "globex"))
    ledger = await house.store.ledger("globex", "shop", "", 10)
    assert [entry.amount for entry in ledger] == [5, -5, 5]


async def test_an_account_without_money_takes_its_ledger_along(house: House) -> None:
    await house.put(account("acme"), account("shop", "acme"), account("globex"))
    for amount in (5, -5):
        await house.store.top_up(calls.top_up(amount, "shop", id=f"pay{amount}"))
    before = await house.store.ledger("acme", "shop", "", 10)
    await house.put(account("shop", "globex"))
    assert await house.store.ledger("globex", "shop", "", 10) == before


async def test_with_a_call_up_below_it_no_account_leaves_its_root(house: House) -> None:
    await house.put(account("acme"), account("shop", "acme", credit_limit=5_000_000), account("till", "shop"))
    await house.put(account("globex"))
    await house.store.top_up(calls.top_up(10_000_000, "till"))
    call = calls.session(accounts=("till", "acme"))
    running = await calls.admitted(house.store, calls.take(call, 0))
    with pytest.raises(CallConflict, match="shop cannot leave acme: till has calls or holds"):
        await house.put(account("shop", "globex"))
    assert house.tariffs.directory.root("shop") == "acme"
    assert await available(house, "shop", "acme") == 5_000_000
    assert await available(house, "till", "acme") == 10_000_000
    await house.store.settle(calls.settlement(running, 0, 0))
    await house.put(account("shop", "globex"))
    assert await available(house, "till", "globex") == 10_000_000


async def test_a_bundle_that_a_call_draws_upon_keeps_its_account(house: House) -> None:
    """It holds no money and no channel."""
    await house.put(account("acme"), account("shop", "acme"), account("globex"))
    call = calls.session(accounts=("shop", "acme"))
    sources = (Source("month", "month", False, 100, 100),)
    call = replace(call, levels=(replace(call.levels[0], sources=sources), *call.levels[1:]))
    asked = calls.take(call, slots=())
    drawing = replace(asked.levels[0], draws=(Draw("month", 100, 60),))
    running = await calls.admitted(house.store, replace(asked, levels=(drawing, *asked.levels[1:])))
    with pytest.raises(CallConflict, match="shop has calls or holds"):
        await house.put(account("shop", "globex"))
    await house.store.settle(calls.settlement(running, 0, 0))
    await house.put(account("shop", "globex"))


@pytest.mark.parametrize(
    "roots", [["globex"], ["globex", "initech"], ["globex", "acme"], ["globex", "acme", "initech"]]
)
async def test_a_correction_goes_where_the_account_is_by_then(house: House, roots: list[str]) -> None:
    """With what it gives back of a bundle, and of a watched day."""
    await house.put(account("acme"), account("shop", "acme"), account("globex"), account("initech"))
    await house.store.top_up(calls.top_up(100, "shop"))
    call = await calls.admitted(house.store, calls.take(calls.session(accounts=("shop", "acme")), 0))
    guessed = calls.settlement(call, 30, 0, kind="estimate")
    await house.store.settle(replace(guessed, watched=(Settled("shop", 30, DAY),)))
    for root in roots:
        await house.put(account("shop", root))
    ended = replace(call, version=call.version + 1, corrections=1)
    corrected = calls.settlement(ended, -10, 0, kind="correction")
    given_back = replace(corrected.posts[0], used=(("month", -5),))
    day = Settled("shop", -10, DAY, more=True)
    await house.store.settle(replace(corrected, posts=(given_back, *corrected.posts[1:]), watched=(day,)))
    for root in ("acme", "globex", "initech"):
        is_there = root == roots[-1]
        ledger = await house.store.ledger(root, "shop", "", 100)
        assert await calls.figures(house.store, "shop", root) == (80 if is_there else 0, 0, {})
        assert [entry.amount for entry in ledger if entry.id.startswith("http/c1:correction")] == [10] * is_there
        stocks = await house.store.stocks(root, "shop")
        assert stocks.by_source == ({"month": Stock(5, 0)} if is_there else {})
        days = await house.store.statistics(root, "shop", DAY)
        assert days.today.spent == (20 if is_there else 0)


@pytest.fixture
async def gone(house: House) -> House:
    """The account shop was below acme, and is below globex."""
    await house.put(account("acme"), account("shop", "acme"), account("globex"))
    await house.store.top_up(calls.top_up(100, "shop"))
    await house.put(account("shop", "globex"))
    return house


def drawing(call: Session) -> Take:
    """A call that the bundle pays for, by a process to which shop is below acme still."""
    sources = (Source("month", "month", False, 100, 100),)
    asked = calls.take(replace(call, levels=(replace(call.levels[0], sources=sources), *call.levels[1:])))
    return replace(asked, levels=(replace(asked.levels[0], draws=(Draw("month", 100, 60),)), *asked.levels[1:]))


async def test_who_has_left_calls_for_nothing_neither_where_it_was(gone: House) -> None:
    """Nor from its bundle, of which nothing is known there."""
    for n, asked in enumerate((calls.take, drawing)):
        call = calls.session(f"c{n}", accounts=("shop", "acme"))
        assert isinstance(await gone.store.admit(asked(call)), TakeRefused)
        running = await calls.admitted(gone.store, replace(asked(call), force=True))
        await gone.store.settle(calls.settlement(running, 0, 0))


async def test_a_call_that_was_let_go_on_where_the_account_was_keeps_it_from_coming_back(gone: House) -> None:
    """It was admitted while the store was away."""
    call = calls.session(accounts=("shop", "acme"))
    running = await calls.admitted(gone.store, replace(drawing(call), force=True))
    with pytest.raises(CallConflict, match="shop has calls or holds"):
        await gone.put(account("shop", "acme"))
    await gone.store.settle(calls.settlement(running, 30, 0))
    await gone.put(account("shop", "acme"))
    assert await calls.figures(gone.store, "shop") == (70, 0, {})
    assert all(stock.held == 0 for stock in (await gone.store.stocks("acme", "shop")).by_source.values())


async def test_what_an_operator_said_before_a_move_is_not_said_again_behind_it(house: House) -> None:
    word = Word("shop", "acme", DAY, calls.NOW.wall_ms, "ops", "", Allow(5), "w1")
    await house.put(account("acme"), account("shop", "acme"), account("globex"))
    await house.store.say(word)
    for root in ("globex", "acme", "globex"):
        await house.put(account("shop", root))
        again = replace(word, root=root)
        await house.store.say(again)
        assert (await house.store.statistics(root, "shop", DAY)).today.extra == 5
        with pytest.raises(CallConflict):
            await house.store.say(replace(again, said=Allow(6)))


# ---- Plans and decks

CHEAP = Row("31", per_minute=1_000_000)
MOBILES = Row("316", "Netherlands mobile", NumberType.MOB, per_minute=8_000_000, connection_fee=25_000)


async def test_rows_replace_rows_as_a_whole(house: House) -> None:
    await house.put(Plan("standard"))
    assert house.price("standard") is None
    await house.definitions.put_rows("standard", [CHEAP, MOBILES])
    assert house.price("standard") == 8_000_000
    assert await house.rows("standard") == [CHEAP, MOBILES]
    await house.definitions.put_rows("standard", [CHEAP])
    assert house.price("standard") == 1_000_000
    await house.definitions.put_rows("standard", [])
    assert house.price("standard") is None
    assert await house.rows("standard") == []


async def test_a_large_deck_is_all_there(house: House) -> None:
    rows = [Row(str(100_000 + n), per_minute=n, traffic_class=None, valid_from_ms=n or None) for n in range(5_001)]
    await house.put(Plan("standard"))
    await house.definitions.put_rows("standard", rows)
    assert await house.rows("standard") == rows


async def test_broken_rows_leave_the_good_ones(house: House) -> None:
    await house.put(Plan("standard"))
    await house.definitions.put_rows("standard", [MOBILES])
    with pytest.raises(RowConflictError, match="same prefix"):
        await house.definitions.put_rows("standard", [CHEAP, replace(CHEAP, per_minute=2)])
    assert await house.rows("standard") == [MOBILES]


async def test_rows_need_a_plan(house: House) -> None:
    with pytest.raises(ValueError, match="plan nothing does not exist"):
        await house.definitions.put_rows("nothing", [CHEAP])
    with pytest.raises(ValueError, match="plan nothing does not exist"):
        await house.rows("nothing")
    assert house.tariffs.deck("nothing", NOW) is None
    assert house.tariffs.plan("nothing") is None


async def test_a_plan_inherits_and_follows_what_it_extends(house: House) -> None:
    await house.put(Plan("base"), Plan("middle", extends="base"), Plan("top", extends="middle"))
    await house.definitions.put_rows("base", [MOBILES])
    assert [house.price(plan) for plan in ("base", "middle", "top")] == [8_000_000] * 3
    assert await house.rows("top") == []
    await house.definitions.put_rows("middle", [replace(MOBILES, per_minute=7_000_000)])
    assert [house.price(plan) for plan in ("base", "middle", "top")] == [8_000_000, 7_000_000, 7_000_000]
    await house.put(Plan("top", extends="base"))
    assert house.price("top") == 8_000_000
    await house.put(Plan("top"))
    assert house.price("top") is None


async def test_a_changed_plan_keeps_its_rows(house: House) -> None:
    await house.put(Plan("standard"))
    await house.definitions.put_rows("standard", [MOBILES])
    await house.put(Plan("standard", round_seconds=60))
    deck = house.tariffs.deck("standard", NOW)
    assert deck is not None
    assert deck.plan.round_seconds == 60
    assert house.tariffs.plan("standard") == deck.plan
    assert house.price("standard") == 8_000_000


async def test_before_it_is_effective_a_plan_is_what_it_extends(house: House) -> None:
    await house.put(Plan("lone", effective_ms=NOW), Plan("base"), Plan("next", extends="base", effective_ms=NOW))
    await house.definitions.put_rows("lone", [MOBILES])
    await house.definitions.put_rows("base", [MOBILES])
    await house.definitions.put_rows("next", [replace(MOBILES, per_minute=7_000_000)])
    assert house.tariffs.deck("lone", NOW - 1) is None
    assert house.price("lone", NOW) == 8_000_000
    assert house.price("next", NOW - 1) == 8_000_000
    assert house.price("next", NOW) == 7_000_000


async def test_exchange_rates_replace_each_other_as_a_whole(house: House) -> None:
    assert house.tariffs.exchanges == {}
    dollars = Exchange("USD-EUR", (DatedRate("2026-11-01", 10**12), DatedRate("2026-12-01", 9 * 10**11)))
    pounds = Exchange("GBP-EUR", (DatedRate("2026-11-01", 12 * 10**11),))
    await house.put(dollars, pounds)
    assert house.tariffs.exchanges == {"USD-EUR": dollars, "GBP-EUR": pounds}
    await house.put(replace(pounds, rates=()))
    assert house.tariffs.exchanges == {"USD-EUR": dollars, "GBP-EUR": Exchange("GBP-EUR")}


async def test_a_limit_of_the_provider_names_a_carrier_that_exists(house: House) -> None:
    limit = ProviderLimit("carrier", trunk="t1", total=5)
    with pytest.raises(Contradiction, match="trunk t1 does not exist"):
        await house.definitions.put_limit(limit)
    assert not house.tariffs.limits
    await house.put(account("acme"), Trunk("t1", "acme"))
    await house.definitions.put_limit(limit)
    await house.definitions.put_limit(replace(limit, id="more", total=None))
    assert house.tariffs.limits.by_id == {"carrier": limit, "more": replace(limit, id="more", total=None)}


async def test_what_a_switch_says_of_its_licence_is_kept(house: House) -> None:
    for status in (LicenceStatus(16, "2027-01-01"), LicenceStatus(None)):
        await house.definitions.put_licence(SwitchLicence("pbx1", status, NOW))
        assert house.tariffs.licences == {"pbx1": SwitchLicence("pbx1", status, NOW)}


async def test_a_deck_in_hand_does_not_change(house: House) -> None:
    await house.put(Plan("standard"))
    await house.definitions.put_rows("standard", [MOBILES])
    deck = house.tariffs.deck("standard", NOW)
    assert deck is not None
    await house.definitions.put_rows("standard", [CHEAP])
    match = deck.find(MOBILE, NOW, Direction.OUTBOUND)
    assert match is not None
    assert match.rows == (MOBILES,)
