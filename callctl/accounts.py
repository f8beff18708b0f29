"""Who pays: accounts, the chain of resellers above them, trunks, and the directory that finds them.

Values, and a `Directory` of them that follows every change; each look-up on the way of a call is a dictionary access.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import TypeVar

import msgspec

from callctl.limits.concurrency import Caps
from callctl.limits.destinations import DestinationRules
from callctl.limits.ids import Thresholds
from callctl.limits.licence import Licence
from callctl.numbering import DialRules
from callctl.rating.margin import MarginRule, MaxCost
from callctl.rating.tax import Tax

Owner = TypeVar("Owner")

MAX_CHAIN = 16  # levels; a chain longer than this is refused as a configuration error
_DIGITS = frozenset("0123456789")


class Kind(StrEnum):
    """How an account pays."""

    PREPAID = "prepaid"
    POSTPAID = "postpaid"
    CARD = "card"


_POSTPAID = Kind.POSTPAID


class WarnTo(StrEnum):
    """Who hears that the credit is about to end."""

    CALLER = "caller"
    CALLEE = "callee"
    BOTH = "both"


class Warnings(msgspec.Struct, frozen=True):
    """Lead times in seconds before the credit ends, longest first, and who hears them."""

    seconds: tuple[int, ...] = ()
    to: WarnTo = WarnTo.CALLER


class DepartmentMatch(msgspec.Struct, frozen=True):
    """Which calls of a PBX: by its own number (`2xx`: x is any digit), a trunk, or a code dialled before the number."""

    extension: str | None = None
    trunk: str | None = None
    prefix: str | None = None

    def told_by(self, own: str, trunk: str | None, dialled: str) -> str:
        """In words by what a call is told to be meant; empty where it is not."""
        if self.extension is not None and _fits(self.extension, own):
            return f"extension {own}"
        if self.trunk is not None and self.trunk == trunk:
            return f"trunk {trunk}"
        if self.prefix is not None and dialled.startswith(self.prefix):
            return f"prefix {self.prefix}"
        return ""


def _fits(pattern: str, number: str) -> bool:
    if len(pattern) != len(number):
        return False
    return all(digit in _DIGITS if sign == "x" else digit == sign for sign, digit in zip(pattern, number, strict=True))


class Department(msgspec.Struct, frozen=True):
    """Calls of a PBX that another account pays for."""

    match: DepartmentMatch
    account: str


class Affiliate(msgspec.Struct, frozen=True, gc=False):
    """Who gets a share of what an account is charged for its calls. `percent` in millionths of it."""

    account: str
    percent: int


class Group(msgspec.Struct, frozen=True):
    """Customers with one plan: those of its accounts that state none of their own are charged by it.

    `plan_since_ms`: since when it is this plan, as of an account.
    """

    id: str
    plan: str
    plan_since_ms: int | None = None


class Account(msgspec.Struct, frozen=True):
    """One payer. Amounts in micro-units of `currency`; `credit_limit` None: a postpaid account without a limit.

    `plan` None: that of its group, or where it is in none that of its parent (`charged_by`). `plan_since_ms`: since
    when that is so, as far as the account says it; no bundle is rolled over from before.
    `also`: plans that charge its calls besides, where they have a row for them. `calls_per_second`: attempts, its own
    and those of all accounts below it.
    `untaxed`: names of taxes that it is not liable to; True: to none at all. `low_balance`: ops hear of it when it has
    less than this left.
    """

    id: str
    kind: Kind
    plan: str | None = None
    parent: str | None = None
    group: str | None = None
    plan_since_ms: int | None = None
    currency: str = "EUR"
    credit_limit: int | None = 0
    timezone: str = "UTC"
    dial_rules: DialRules = DialRules()
    source_ips: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    untaxed: bool | tuple[str, ...] = ()
    exempt: bool = False
    caps: Caps | None = None
    licence: Licence | None = None
    calls_per_second: int | None = None
    destinations: DestinationRules | None = None
    margin: MarginRule | None = None
    max_cost: MaxCost | None = None
    warnings: Warnings = Warnings()
    low_balance: int | None = None
    active: bool = True
    expires_ms: int | None = None
    attributes: dict[str, str] = {}
    thresholds: Thresholds | None = None
    departments: tuple[Department, ...] = ()
    affiliates: tuple[Affiliate, ...] = ()

    def department(
        self, a_number: str, b_number: str, trunk: str | None, *, inbound: bool
    ) -> tuple[Department, str] | None:
        """The first of its departments that a call is of, and in words what tells so. Numbers as they came."""
        own, dialled = (b_number, "") if inbound else (a_number, b_number)
        for department in self.departments:
            told_by = department.match.told_by(own.removeprefix("+"), trunk, dialled)
            if told_by:
                return department, told_by
        return None

    def bears(self, levied: tuple[Tax, ...]) -> tuple[Tax, ...]:
        """Which of a plan's taxes it is liable to; an exempt account to none."""
        if not levied or self.exempt or self.untaxed is True:
            return ()
        return tuple(tax for tax in levied if tax.name not in (self.untaxed or ()))

    @property
    def ruled(self) -> bool:
        """Whether it has an end, or a rule that hardly any account has: others are not asked about each of them."""
        rare = (self.destinations, self.max_cost, self.licence, self.calls_per_second, self.thresholds, self.expires_ms)
        return not self.active or any(rule is not None for rule in rare)

    @property
    def prepaid(self) -> bool:
        """Never charged beyond what was granted (`docs/rules.md`, Overrun)."""
        return self.kind is not _POSTPAID


class Trunk(msgspec.Struct, frozen=True):
    """A line by which calls arrive, or a carrier by which they leave: recognised by its id or source address.

    `switch`: the one whose endpoint of this name it is; None: whichever has one. `buy_plan`: what the calls that
    arrive by it are bought by, and what a carrier that has answered is paid by. `licence`: that of the PBX behind it.
    """

    id: str
    account: str
    source_ips: tuple[str, ...] = ()
    switch: str | None = None
    caps: Caps | None = None
    destinations: DestinationRules | None = None
    calls_per_second: int | None = None
    buy_plan: str | None = None
    licence: Licence | None = None

    def is_on(self, switch: str) -> bool:
        """Whether an endpoint of this name on that switch is this trunk."""
        return self.switch is None or self.switch == switch


_TOO_LONG = f"more than {MAX_CHAIN} levels, or a loop"
NO_PLAN = "no plan of its own, of its group or of a parent"

Chain = tuple[Account, ...]
"""The payer first, then every reseller above it; the last is the root, directly below the provider."""


def charged_by(chain: Iterable[Account], groups: Mapping[str, Group]) -> str | None:
    """The plan of an account, given with all above it: its own, else its group's, else its parent's. None: nowhere."""
    for account in chain:
        if account.plan is not None:
            return account.plan
        if account.group is not None:
            group = groups.get(account.group)
            return group.plan if group is not None else None
    return None


class Directory:
    """All accounts, their groups and trunks, indexed.

    A change takes as long as what is below the account, whatever else there is: 100,000 others are neither compiled
    again nor copied. It is made in place, so who loops over the directory does not wait in between.

    `plans`: what every account is charged by. `with_thresholds`, `with_low_balance`: the few that state any.
    `former_roots`: who was directly below the provider once. Raises ValueError for a parent that is missing, a chain
    that is a loop, and an account without a plan.
    """

    def __init__(
        self, accounts: Iterable[Account] = (), trunks: Iterable[Trunk] = (), groups: Iterable[Group] = ()
    ) -> None:
        self.accounts: dict[str, Account] = {}
        self.trunks: dict[str, Trunk] = {}
        self.groups = {group.id: group for group in groups}
        self.plans: dict[str, str] = {}
        self.with_thresholds: set[str] = set()
        self.with_low_balance: set[str] = set()
        self.former_roots: dict[str, None] = {}
        self._chains: dict[str, Chain] = {}
        self._children: dict[str | None, dict[str, None]] = {}
        self._by_number: dict[str, str] = {}
        self._by_ip: dict[str, tuple[str, str | None]] = {}
        given = {account.id: account for account in accounts}
        for account in given.values():
            self._put_below(account, given)
        for trunk in trunks:
            self.put_trunk(trunk)

    def _put_below(self, account: Account, given: Mapping[str, Account]) -> None:
        """An account behind those above it."""
        line: list[Account] = []
        above: Account | None = account
        while above is not None and above.id not in self.accounts:
            line.append(above)
            if len(line) > MAX_CHAIN:
                raise ValueError(f"account {account.id}: {_TOO_LONG}")
            above = given.get(above.parent or "")
        for each in reversed(line):
            self.put_account(each)

    def put_account(self, account: Account) -> None:
        """One account, new or changed. With ValueError nothing has changed."""
        above = self.chain(account.parent) if account.parent is not None else ()
        if account.parent is not None and not above:
            raise ValueError(f"account {account.id}: parent {account.parent} does not exist")
        chains = {account.id: (account, *above)}
        depth = len(self.chain(account.id))
        for below in self.below(account.id):
            chains[below] = self._chains[below][:-depth] + chains[account.id]
        if any(level.id == account.id for level in above) or max(map(len, chains.values())) > MAX_CHAIN:
            raise ValueError(f"account {account.id}: {_TOO_LONG}")
        plans = {each: self.plan_of(chain) for each, chain in chains.items()}
        before = self.accounts.get(account.id, account)
        _release(self._by_number, before.numbers, account.id)
        _release(self._by_ip, before.source_ips, (account.id, None))
        if before.parent != account.parent:
            del self._children[before.parent][account.id]
        self._children.setdefault(account.parent, {})[account.id] = None
        self.accounts[account.id] = account
        (self.with_thresholds.discard if account.thresholds is None else self.with_thresholds.add)(account.id)
        (self.with_low_balance.discard if account.low_balance is None else self.with_low_balance.add)(account.id)
        self._chains.update(chains)
        self.plans.update(plans)
        self._by_number.update(dict.fromkeys(account.numbers, account.id))
        self._by_ip.update(dict.fromkeys(account.source_ips, (account.id, None)))

    def put_trunk(self, trunk: Trunk) -> None:
        """One trunk, new or changed."""
        before = self.trunks.get(trunk.id, trunk)
        _release(self._by_ip, before.source_ips, (before.account, trunk.id))
        self.trunks[trunk.id] = trunk
        self._by_ip.update(dict.fromkeys(trunk.source_ips, (trunk.account, trunk.id)))

    def put_group(self, group: Group) -> None:
        """One group, new or changed."""
        self.groups[group.id] = group
        members = [account.id for account in self.accounts.values() if account.group == group.id]
        for account in {below for member in members for below in self.below(member)}:
            self.plans[account] = self.plan_of(self._chains[account])

    def plan_of(self, chain: Chain) -> str:
        """What the first account of a chain is charged by. ValueError where nothing says it."""
        plan = charged_by(chain, self.groups)
        if plan is None:
            raise ValueError(f"account {chain[0].id}: {NO_PLAN}")
        return plan

    def plan_since_ms(self, account_id: str) -> int:
        """Since when an account is charged by its plan, wherever that is stated: nothing is known from before."""
        since_ms = 0
        for account in self._chains[account_id]:
            since_ms = max(since_ms, account.plan_since_ms or 0)
            if account.plan is not None:
                break
            if account.group is not None:
                return max(since_ms, self.groups[account.group].plan_since_ms or 0)
        return since_ms

    def chain(self, account_id: str) -> Chain:
        """The account and all above it; empty when it is not known."""
        return self._chains.get(account_id, ())

    def root(self, account_id: str) -> str | None:
        chain = self._chains.get(account_id)
        return chain[-1].id if chain else None

    def roots(self) -> list[str]:
        """Every account directly below the provider."""
        return list(self._children.get(None, ()))

    def all_roots(self) -> list[str]:
        """Those, and every account that was one once: where calls and records may be."""
        return list(self._children.get(None, {}) | self.former_roots)

    def by_ip(self, source_ip: str) -> tuple[str, str | None] | None:
        """The account, and the trunk where it is a trunk's address."""
        return self._by_ip.get(source_ip)

    def by_number(self, e164: str) -> str | None:
        """The account that owns a DID or CLI."""
        return self._by_number.get(e164)

    def below(self, account_id: str) -> set[str]:
        """The account itself and every account below it; nothing when it is not known."""
        found = {account_id} & self.accounts.keys()
        level = list(found)
        while level:
            level = [child for each in level for child in self._children.get(each, ())]
            found.update(level)
        return found


def _release(owners: dict[str, Owner], given_up: Iterable[str], owner: Owner) -> None:
    for claim in given_up:
        if owners.get(claim) == owner:
            del owners[claim]
