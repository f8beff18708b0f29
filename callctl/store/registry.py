"""All definitions as one process knows them: compiled, consistent, and read without waiting.

What contradicts the rest is refused with Contradiction and changes nothing. Readers get `Deck`s that never change: each
change puts others in their place.
"""

from collections.abc import Iterable, Iterator
from zoneinfo import ZoneInfo

from callctl.accounts import MAX_CHAIN, NO_PLAN, Account, Chain, Directory, Group, Kind, Trunk, charged_by
from callctl.errors import Contradiction
from callctl.limits.licence import SwitchLicence
from callctl.limits.provider import ProviderLimit, ProviderLimits
from callctl.money import MICROS
from callctl.rating.builder import DeckBuilder
from callctl.rating.bundles import Block, Blocks
from callctl.rating.exchange import Exchange
from callctl.rating.ladder import Ladders
from callctl.rating.match import Deck
from callctl.rating.tariff import Plan
from callctl.rating.terms import Terms, terms_of

TERMS_KEPT = 16_384  # of accounts; to drop them all is a pause of some 3 ms


class Registry:
    """`ports.Tariffs`, and how it changes. The `put_` methods refuse what could not be read any more; the `check_`
    methods, for who writes a definition, everything else that contradicts."""

    def __init__(self, *, known: bool = True) -> None:
        self.known = known
        self.directory = Directory()
        self.accounts = self.directory.accounts
        self.trunks = self.directory.trunks
        self.groups = self.directory.groups
        self.plans: dict[str, Plan] = {}
        self.exchanges: dict[str, Exchange] = {}
        self.blocks: dict[str, tuple[Block, ...]] = {}
        self.licences: dict[str, SwitchLicence] = {}
        self.limits = ProviderLimits()
        self._decks: dict[str, Deck] = {}
        self._claims: dict[str, str] = {}  # a number or address, and who has it
        self._terms: dict[str | None, Terms] = {}  # by payer, none from before a change
        self._ladders = Ladders()

    def plan(self, plan: str) -> Plan | None:
        return self.plans.get(plan)

    def deck(self, plan: str, at_ms: int) -> Deck | None:
        """None where there is no such plan, or neither it nor one that it extends is effective yet."""
        deck = self._decks.get(plan)
        return deck if deck is not None and deck.in_force(at_ms) else None

    def terms(self, chain: Chain, at_ms: int) -> Terms:
        """By what the calls of a chain's first account are priced at a moment."""
        payer = chain[0].id if chain else None
        terms = self._terms.get(payer)
        if terms is None:
            terms = terms_of(chain, self.directory.plans, self._decks, self.blocks, self._ladders, at_ms)
            if not terms.dated:
                if len(self._terms) >= TERMS_KEPT:
                    self._terms.clear()
                self._terms[payer] = terms
        return terms

    def _forget_terms(self, payers: Iterable[str]) -> None:
        """Of these; to drop all with every change would have all calls beside an import of accounts do them again."""
        for payer in payers:
            self._terms.pop(payer, None)

    def own_deck(self, plan: str) -> Deck:
        """The deck of a plan, effective or not. ValueError where there is no such plan."""
        if plan not in self._decks:
            raise ValueError(f"plan {plan} does not exist")
        return self._decks[plan]

    def root(self, account: Account) -> str:
        """Where the account's money is, or will be, once it is put."""
        *_, root = self._upwards(account)
        return root.id

    def _upwards(self, account: Account) -> Iterator[Account]:
        """The account and all above it, as they are once it is put."""
        yield account
        while account.parent is not None:
            account = self.accounts[account.parent]
            yield account

    # ---- Accounts, groups and trunks

    def check_account(self, account: Account) -> None:
        """Everything that a new or changed account must keep."""
        self._check_chain(account)
        _check_zone("account", account.id, account.timezone)
        before = self.accounts.get(account.id)
        if before is not None and before.currency != account.currency:
            raise Contradiction("currency", f"account {account.id}: its currency {before.currency} cannot change")
        if account.credit_limit is None and account.kind is not Kind.POSTPAID:
            raise Contradiction("credit_limit", "only a postpaid account can be without a credit limit")
        stated = f"account {account.id} in {account.currency}"
        if account.parent is not None and (currency := self.accounts[account.parent].currency) != account.currency:
            raise Contradiction("parent", f"{stated}: its parent's currency is {currency}")
        by = self._charged_by(account)
        for key, charged in (("plan", by), *(("also", besides) for besides in account.also)):
            plan = self.plans.get(charged)
            if plan is None:
                raise Contradiction(key, f"account {account.id}: plan {charged} does not exist")
            if plan.currency != account.currency:
                raise Contradiction(key, f"{stated}: plan {plan.id} is in {plan.currency}")
        if len({by, *account.also}) <= len(account.also):
            raise Contradiction("also", f"account {account.id}: a plan is there twice")
        self._check_affiliates(account)
        self._check_claims(f"account {account.id}", numbers=account.numbers, source_ips=account.source_ips)

    def _check_affiliates(self, account: Account) -> None:
        for affiliate in account.affiliates:
            other = self.accounts.get(affiliate.account)
            if other is None or other.id == account.id:
                wrong = "itself" if other is not None else f"{affiliate.account}, which does not exist"
                raise Contradiction("affiliates", f"account {account.id}: its affiliate cannot be {wrong}")
            if other.currency != account.currency:
                whose = f"affiliate {other.id} is in {other.currency}"
                raise Contradiction("affiliates", f"account {account.id} in {account.currency}: {whose}")
        if len({affiliate.account for affiliate in account.affiliates}) < len(account.affiliates):
            raise Contradiction("affiliates", f"account {account.id}: an affiliate is there twice")
        if sum(affiliate.percent for affiliate in account.affiliates) > MICROS:
            raise Contradiction("affiliates", f"account {account.id}: its affiliates get more than 100 percent")

    def put_account(self, account: Account) -> None:
        """ValueError: its parent is missing or below it, its group is missing, or it has no plan."""
        self._check_chain(account)
        self._charged_by(account)
        before = self.accounts.get(account.id)
        given_up = (*before.numbers, *before.source_ips) if before is not None else ()
        self.directory.put_account(account)
        self._claim(f"account {account.id}", given_up, (*account.numbers, *account.source_ips))
        self._forget_terms(self.directory.below(account.id))

    def _charged_by(self, account: Account) -> str:
        if account.group is not None and account.group not in self.groups:
            raise Contradiction("group", f"account {account.id}: group {account.group} does not exist")
        plan = charged_by(self._upwards(account), self.groups)
        if plan is None:
            raise Contradiction("plan", f"account {account.id}: {NO_PLAN}")
        return plan

    def check_group(self, group: Group) -> None:
        """Everything that a new or changed group must keep."""
        plan = self.plans.get(group.plan)
        if plan is None:
            raise Contradiction("plan", f"group {group.id}: plan {group.plan} does not exist")
        for account in self.accounts.values():
            if account.group == group.id and account.plan is None and account.currency != plan.currency:
                whose = f"account {account.id} is in {account.currency}"
                raise Contradiction("plan", f"group {group.id}: plan {plan.id} is in {plan.currency}, {whose}")

    def put_former_root(self, account_id: str) -> None:
        """An account that is, or was before it is put again, directly below the provider."""
        self.directory.former_roots[account_id] = None

    def put_group(self, group: Group) -> None:
        self.directory.put_group(group)
        self._terms.clear()

    def check_trunk(self, trunk: Trunk) -> None:
        """Everything that a new or changed trunk must keep."""
        if trunk.account not in self.accounts:
            raise Contradiction("account", f"trunk {trunk.id}: account {trunk.account} does not exist")
        if trunk.buy_plan is not None and trunk.buy_plan not in self.plans:
            raise Contradiction("buy_plan", f"trunk {trunk.id}: plan {trunk.buy_plan} does not exist")
        self._check_claims(f"trunk {trunk.id}", source_ips=trunk.source_ips)

    def put_trunk(self, trunk: Trunk) -> None:
        before = self.trunks.get(trunk.id)
        self._claim(f"trunk {trunk.id}", before.source_ips if before is not None else (), trunk.source_ips)
        self.directory.put_trunk(trunk)

    def _check_chain(self, account: Account) -> None:
        levels, above = 1, account.parent
        while above is not None:
            if above not in self.accounts:
                raise Contradiction("parent", f"account {account.id}: parent {above} does not exist")
            if above == account.id:
                raise Contradiction("parent", f"account {account.id} cannot be below itself")
            levels, above = levels + 1, self.accounts[above].parent
        before = self.accounts.get(account.id)
        if before is not None and before.parent != account.parent:
            chains = [len(self.directory.chain(below)) for below in self.directory.below(account.id)]
            levels += max(chains) - len(self.directory.chain(account.id))
        if levels > MAX_CHAIN:
            raise Contradiction("parent", f"account {account.id}: more than {MAX_CHAIN} levels")

    def _check_claims(self, owner: str, **claims: tuple[str, ...]) -> None:
        for field, claimed in claims.items():
            for claim in claimed:
                other = self._claims.get(claim, owner)
                if other != owner:
                    raise Contradiction(field, f"{claim} is claimed by {owner} and {other}")

    def _claim(self, owner: str, given_up: tuple[str, ...], claims: tuple[str, ...]) -> None:
        for claim in given_up:
            if self._claims.get(claim) == owner:
                del self._claims[claim]
        self._claims.update(dict.fromkeys(claims, owner))

    def put_blocks(self, bought: Blocks) -> None:
        self.blocks[bought.id] = bought.blocks
        self._forget_terms(self.directory.below(bought.id))

    def put_licence(self, licence: SwitchLicence) -> None:
        self.licences[licence.id] = licence

    def check_limit(self, limit: ProviderLimit) -> None:
        """Everything that a new or changed limit of the provider must keep."""
        if limit.trunk is not None and limit.trunk not in self.trunks:
            raise Contradiction("trunk", f"limit {limit.id}: trunk {limit.trunk} does not exist")

    def put_limit(self, limit: ProviderLimit) -> None:
        self.limits = self.limits.with_limit(limit)

    # ---- Plans, decks and exchange rates

    def put_exchange(self, exchange: Exchange) -> None:
        self.exchanges[exchange.id] = exchange

    def check_plan(self, plan: Plan) -> None:
        """Everything that a new or changed plan must keep."""
        self._check_extends(plan)
        _check_zone("plan", plan.id, plan.timezone)
        if plan.extends is not None and plan.extends not in self.plans:
            raise Contradiction("extends", f"plan {plan.id}: plan {plan.extends}, which it extends, does not exist")
        related = [other for other in self.plans.values() if other.extends == plan.id or other.id == plan.extends]
        for other in related:
            if other.currency != plan.currency:
                raise Contradiction(
                    "currency", f"plan {plan.id} in {plan.currency}: plan {other.id} is in {other.currency}"
                )
        charged = self.directory.plans
        for account in self.accounts.values():
            if account.currency != plan.currency and plan.id in (charged[account.id], *account.also):
                whose = f"account {account.id} is in {account.currency}"
                raise Contradiction("currency", f"plan {plan.id} in {plan.currency}: {whose}")

    def put_plan(self, plan: Plan) -> None:
        """Its rows stay. ValueError: it would extend itself."""
        self._check_extends(plan)
        self.plans[plan.id] = plan
        self._seat(self._decks.get(plan.id) or DeckBuilder(plan).build())

    def put_deck(self, deck: Deck) -> Deck:
        """Seat new rows in the place of a plan's old ones, under today's plan; answers the old deck."""
        before = self._decks[deck.plan.id]
        self._seat(deck)
        return before

    def _seat(self, deck: Deck) -> None:
        """Seat a deck under what its plan extends, and all that extend it upon it."""
        plan = self.plans[deck.plan.id]
        parent = self._decks.get(plan.extends) if plan.extends is not None else None
        self._decks[plan.id] = deck.under(plan, parent)
        self._terms.clear()
        self._ladders.clear()
        for other in self.plans.values():
            if other.extends == plan.id and other.id in self._decks:
                self._seat(self._decks[other.id])

    def _check_extends(self, plan: Plan) -> None:
        above = plan.extends
        while above is not None:
            if above == plan.id:
                raise Contradiction("extends", f"plan {plan.id} cannot extend itself")
            above = self.plans[above].extends if above in self.plans else None


def _check_zone(kind: str, id: str, zone: str) -> None:
    try:
        ZoneInfo(zone)
    except (KeyError, ValueError, OSError):
        raise Contradiction("timezone", f"{kind} {id}: {zone!r} is not a time zone") from None
