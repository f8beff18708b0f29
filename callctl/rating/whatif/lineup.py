"""Who pays for a past call, level by level, and by which plans when one of them is tried in another's place.

Calls of one payer have one line-up; it is worked out once.
"""

from collections.abc import Iterator, Sequence

import msgspec

from callctl.accounts import Account, Directory
from callctl.rating.match import Deck
from callctl.rating.parts import FindDeck
from callctl.rating.whatif.calls import Chain, PastRecord

_Key = tuple[str | None, ...]
"""What a record says of its payer: account, parent, plan, buy_plan."""


class UnknownError(Exception):
    """What is missing to rate a call, in words."""


class Scope(msgspec.Struct, frozen=True):
    """Whose plan is replaced: these accounts', or these plans; else that of every account below the provider.

    `everyone`: at every level.
    """

    accounts: frozenset[str] = frozenset()
    plans: frozenset[str] = frozenset()
    everyone: bool = False

    def holds(self, account: str, parent: str | None, plan: str | None) -> bool:
        if self.accounts:
            return account in self.accounts
        if self.plans:
            return plan in self.plans
        return self.everyone or parent is None


class Purchase(msgspec.Struct, frozen=True, gc=False):
    """What the highest of some levels buys by: the root by the new plan's carrier, unless its trunk had another.

    `usual`: the carrier of its own plan, which a trunk's may have replaced; None: nothing tells them apart.
    """

    recorded: Deck | None
    usual: Deck | None = None
    new: Deck | None = None
    by_record: bool = True
    recorded_id: str | None = None

    def deck(self, at_ms: int) -> Deck | None:
        if self.by_record or (self.usual is not None and self.usual.plan_at(at_ms).id != self.recorded_id):
            return self.recorded
        return self.new


class Level(msgspec.Struct, frozen=True, gc=False):
    """A payer of the call: `deck` None where its plan is not at hand."""

    account: str
    plan: str | None
    deck: Deck | None
    replaced: bool
    buy_plan: str | None


class Run(msgspec.Struct, frozen=True, gc=False):
    """Levels next to each other whose decks are at hand, one of them replaced: `decks` as `price_levels` takes them."""

    first: int
    decks: tuple[tuple[str, Deck], ...]
    purchase: Purchase


class Lineup(msgspec.Struct, frozen=True, gc=False):
    """`runs` are what must be priced anew; none: the call is not touched. `judges`: accounts with rules, by depth."""

    levels: tuple[Level, ...]
    runs: tuple[Run, ...]
    judges: tuple[tuple[int, Account], ...]


class Lineups:
    """The line-ups of a trial. `deck`: of the plan that is tried; None: every level's own, as it is today.

    `carrier`: bought by instead of by a plan's own `buy_plan`. `directory` None: the accounts are not known.
    """

    def __init__(
        self, deck: Deck | None, scope: Scope, find_deck: FindDeck, directory: Directory | None, carrier: Deck | None
    ) -> None:
        self._deck = deck
        self._scope = scope
        self._find_deck = find_deck
        self._directory = directory or Directory()
        self._carrier = carrier
        self._known: dict[_Key | tuple[_Key, ...], Lineup] = {}

    def of_call(self, chain: Chain) -> Lineup:
        """Of an answered call: the payers are those of its records. UnknownError where a plan is not at hand."""
        key = _key(chain[0]) if len(chain) == 1 else tuple([_key(record) for record in chain])
        lineup = self._known.get(key)
        if lineup is None:
            levels = [self._level(each.account or "", each.parent, each.plan, each.buy_plan) for each in chain]
            lineup = self._known[key] = self._lineup(levels)
        return lineup

    def of_attempt(self, record: PastRecord) -> Lineup:
        """Of a call without an answer, which has the record of its customer alone: the resellers are today's."""
        chain, plans = self._directory.chain(record.account or ""), self._directory.plans
        if record.parent is None:
            chain = chain[:1]
        elif not chain:
            raise UnknownError("not answered, and the resellers above its account are not known")
        plan = record.plan or plans.get(record.account or "")
        own = self._level(record.account or "", record.parent, plan, record.buy_plan)
        return self._lineup([own, *(self._level(each.id, each.parent, plans[each.id], None) for each in chain[1:])])

    def _level(self, account: str, parent: str | None, plan: str | None, buy_plan: str | None) -> Level:
        replaced = bool(account) and self._scope.holds(account, parent, plan)
        deck = self._deck if replaced and self._deck is not None else self._find(plan)
        if replaced and deck is None:
            raise UnknownError(f"plan {plan or '(none)'} is not at hand")
        return Level(account, plan, deck, replaced, buy_plan)

    def _lineup(self, levels: Sequence[Level]) -> Lineup:
        known = ((depth, self._directory.accounts.get(level.account)) for depth, level in enumerate(levels))
        judges = tuple((depth, account) for depth, account in known if account is not None and _has_rules(account))
        return Lineup(tuple(levels), tuple(self._runs(levels)), judges)

    def _runs(self, levels: Sequence[Level]) -> Iterator[Run]:
        first = 0
        for after in range(1, len(levels) + 1):
            if after < len(levels) and levels[after].deck is not None and levels[after - 1].deck is not None:
                continue
            run = levels[first:after]
            if any(level.replaced for level in run):
                decks = tuple((level.account, level.deck) for level in run if level.deck is not None)
                yield Run(first, decks, self._purchase(run[-1], root=after == len(levels)))
            first = after

    def _purchase(self, top: Level, *, root: bool) -> Purchase:
        if root and self._carrier is not None:
            return Purchase(self._carrier)
        recorded = self._find(top.buy_plan)
        if not root or not top.replaced or top.deck is None:
            return Purchase(recorded)
        own = self._find(top.plan) if top.buy_plan is not None else None
        usual = self._find(own.plan.buy_plan) if own is not None else None
        new = self._find(top.deck.plan.buy_plan)
        return Purchase(recorded, usual, new, own is not None and usual is None, top.buy_plan)

    def _find(self, plan: str | None) -> Deck | None:
        return None if plan is None else self._find_deck(plan)


def _key(record: PastRecord) -> _Key:
    return (record.account, record.parent, record.plan, record.buy_plan)


def _has_rules(account: Account) -> bool:
    return account.destinations is not None or account.margin is not None or account.max_cost is not None
