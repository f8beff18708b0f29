"""Who calls: accounts in chains of resellers, with their prices, caps and money; and tariffs that change meanwhile."""

from random import Random

from msgspec.structs import replace

from callctl.accounts import Account, Kind, Trunk, Warnings
from callctl.call.purchase import buy
from callctl.call.takes import TopUp
from callctl.limits.concurrency import Caps, Overflow
from callctl.limits.ids import Mode, Thresholds
from callctl.numbering import DialRules
from callctl.rating.bundles import Block, Blocks, month_before, month_of
from callctl.rating.tariff import Bundle, Plan, TrafficClass
from callctl.rating.tax import Tax
from callctl.store.memory.store import MemoryStore
from callctl.store.moving import move_of
from callctl.store.registry import Registry
from tests.simulation.clock import EPOCH_MS, VirtualLoop
from tests.simulation.prices import Table, any_table, any_taxes, deck
from tests.simulation.store import at_once
from tests.simulation.story import Story

TRUNK = "trunk-1"
ZONES = ("Africa/Cairo", "Europe/Amsterdam", "UTC")  # in the first two a day turns while people call


class Market:
    """`tables[plan]`: every price table that the plan has had, with the virtual ms from which it held."""

    def __init__(
        self, loop: VirtualLoop, rng: Random, store: MemoryStore, story: Story, watched: Random | None = None
    ) -> None:
        self.registry = Registry()
        self.tables: dict[str, list[tuple[int, Table]]] = {}
        self.accounts: dict[str, Account] = {}
        self.customers: list[str] = []
        self._loop = loop
        self._rng = rng
        self._store = store
        self._story = story
        self._paid = 0
        self._watched = watched
        for n in range(rng.randint(1, 2)):
            self._family(f"r{n}")
        self.registry.put_trunk(
            Trunk(TRUNK, self.customers[0], caps=Caps(total=rng.randint(1, 4)), calls_per_second=rng.randint(1, 3))
        )

    @property
    def roots(self) -> list[str]:
        return ["", *(account.id for account in self.accounts.values() if account.parent is None)]

    def chain(self, account: str) -> list[Account]:
        return list(self.registry.directory.chain(account))

    def _family(self, name: str) -> None:
        """A root, perhaps resellers below it, and customers at different depths."""
        rng = self._rng
        line = [self._account(name, None, rng.random() < 0.2)]
        for depth in range(rng.randint(0, 2)):
            line.append(self._account(f"{name}-s{depth}", line[-1], False))
        for n in range(rng.randint(1, 3)):
            self.customers.append(self._account(f"{name}-c{n}", rng.choice(line), True))
        if rng.random() < 0.3:
            self.customers.append(name)

    def _account(self, id: str, parent: str | None, small: bool) -> str:
        rng = self._rng
        kind = Kind.PREPAID if rng.random() < 0.6 else Kind.POSTPAID
        limit: int | None = 0 if rng.random() < 0.8 else rng.randrange(0, 300_000, 100)
        if kind is Kind.POSTPAID and rng.random() < 0.7:
            limit = None
        caps = None
        if rng.random() < 0.4:
            over = Overflow(rng.randint(1, 2), rng.choice([0, 12_345]), rng.choice([0, 20_001]))
            caps = Caps(total=rng.randint(1, 5), overflow=over if rng.random() < 0.5 else None)
        account = Account(
            id=id,
            kind=kind,
            plan=f"plan-{id}",
            parent=parent,
            credit_limit=limit,
            dial_rules=DialRules("NL"),
            exempt=rng.random() < 0.1,
            untaxed=rng.choice([(), (), (), ("VAT",), True]),
            caps=caps,
            warnings=Warnings(rng.choice([(), (10,), (30, 10)])),
            active=rng.random() < 0.97,
            timezone=self._watched.choice(ZONES) if self._watched is not None else "UTC",
            thresholds=self.thresholds(),
        )
        self.accounts[id] = account
        self.registry.put_plan(Plan(account.plan, taxes=any_taxes(rng), bundles=self._bundles()))
        self.set_price(account.plan, any_table(rng))
        self.registry.put_account(account)
        at_once(self._store.place(move_of(self.registry, account), EPOCH_MS))
        most = 2_000_000 if not small else rng.choice([0, 5_000, 60_000, 400_000, 2_000_000])
        self.pay(id, rng.randint(0, most // 100) * 100)
        self._sell_blocks(id)
        return id

    def thresholds(self) -> Thresholds | None:
        """What may be agreed: much or little beside what a call costs. All calls are watched."""
        rng = self._watched
        if rng is None or rng.random() < 0.4:
            return None
        return Thresholds(
            rng.choice([0, 20_000, 100_000, 500_000, 2_000_000]),
            mode=rng.choice([Mode.MONITOR, Mode.SOFT, Mode.SOFT, Mode.HARD]),
            ceiling=rng.choice([None, None, 150_000]),
            watch=(TrafficClass.MOB,),
        )

    def agree(self, account: str) -> None:
        """Other thresholds, or none any more."""
        self.accounts[account] = replace(self.accounts[account], thresholds=self.thresholds())
        self.registry.put_account(self.accounts[account])
        self._story.tell("agreed", account, self.accounts[account].thresholds)

    def _bundles(self) -> tuple[Bundle, ...]:
        """Small ones, so that parallel calls use them up."""
        rng = self._rng
        if rng.random() < 0.6:
            return ()
        first = Bundle(name="free", seconds=rng.randint(5, 200), rollover=rng.random() < 0.3)
        return (first, Bundle(name="more", seconds=rng.randint(1, 50)))[: rng.randint(1, 2)]

    def _sell_blocks(self, account: str) -> None:
        rng, blocks = self._rng, []
        if rng.random() < 0.2:
            blocks.append(Block(id="minutes", name="minutes", seconds=rng.randint(5, 300)))
        if rng.random() < 0.2:
            blocks.append(Block(id="money", name="money", amount=rng.randint(1, 400_000)))
        chain = self.registry.directory.chain(account)
        for block in blocks:
            assert at_once(self._store.buy(buy(chain, block))) == block
        self.registry.put_blocks(Blocks(account, tuple(blocks)))

    def had(self, account: str) -> dict[str, int]:
        """By source: how much of it there was to use at all, in what people use while a run lasts."""
        bundles = self.registry.plans[self.accounts[account].plan or ""].bundles
        month, before = month_of("UTC", EPOCH_MS), month_before(month_of("UTC", EPOCH_MS))
        monthly = {f"{each}/{bundle.name}": bundle.seconds for bundle in bundles for each in (month, before)}
        bought = {block.source: block.seconds or block.amount for block in self.registry.blocks[account]}
        return monthly | bought

    def set_price(self, plan: str, table: Table) -> None:
        """From now on, for calls that begin from now on."""
        self.tables.setdefault(plan, []).append((self._loop.now_ms, table))
        self.registry.put_deck(deck(self.registry.plans[plan], table))
        self._story.tell("price of", plan, table)

    def taxes(self, account: Account) -> tuple[Tax, ...]:
        """What the account's charges are taxed by."""
        if account.exempt or account.untaxed is True:
            return ()
        exempted = account.untaxed or ()
        return tuple(tax for tax in self.registry.plans[account.plan or ""].taxes if tax.name not in exempted)

    def pay(self, account: str, micros: int) -> None:
        self._paid += 1
        root = self.registry.root(self.accounts[account])
        now_ms = EPOCH_MS + self._loop.now_ms
        at_once(self._store.top_up(TopUp(account, root, f"pay-{self._paid}", micros, now_ms)))
        self._story.tell("paid", account, micros)

    def reload(self) -> None:
        """A new deck for somebody."""
        plan = self._rng.choice(sorted(self.tables))
        self.set_price(plan, any_table(self._rng))

    def prices_at(self, account: str, moments_ms: list[int]) -> list[list[Table]]:
        """For each level of the account's chain: the tables in force when the call was offered."""
        found = []
        for level in self.chain(account):
            history = self.tables[level.plan]
            found.append([[table for from_ms, table in history if from_ms <= at_ms][-1] for at_ms in moments_ms])
        return found
