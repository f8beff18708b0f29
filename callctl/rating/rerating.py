"""Past calls rated anew, as if some accounts had had another plan: the same `price_levels` and `charge` as live.

A level is priced anew where its plan is replaced, or where its rows are percentages of one that is; every other level
keeps its charge, and its cost follows what the level above is charged. A call is as long as it was, and paid up to
the second that it was paid to.
"""

from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum

import msgspec

from callctl.accounts import Directory
from callctl.causes import PRECEDENCE, Refusal
from callctl.numbering import Number
from callctl.rating.charge import Price, charge, round_duration
from callctl.rating.match import NO_ROW, Deck, LevelPrice, NoRate, price_levels
from callctl.rating.pastcalls import Chain, PastRecord, number_of
from callctl.rating.rules import broken_rules
from callctl.rating.tariff import Direction

CORRECTABLE_AT_MOST = 200_000
"""Calls whose end nobody saw, the newest: what they cost anew is kept until their corrections come."""

_JUDGED = frozenset({Refusal.DESTINATION_BARRED, Refusal.NO_RATE, Refusal.MARGIN_TOO_LOW, Refusal.COST_TOO_HIGH})
_EMERGENCY, _ON_NET = "emergency", "on-net"  # `row` of calls that no deck prices

FindDeck = Callable[[str], Deck | None]


class Verdict(StrEnum):
    """What the new plan would do to a call. RESTORED: it was refused, and would be allowed."""

    UNTOUCHED = "untouched"
    RATED = "rated"
    REFUSED = "refused"
    RESTORED = "restored"
    STILL_REFUSED = "still_refused"
    UNKNOWN = "unknown"


class Money(msgspec.Struct, frozen=True, gc=False):
    """What a payer pays for a call, and what that costs its seller: micro-units. `cost` None: nobody knows."""

    revenue: int
    cost: int | None


NOTHING = Money(0, 0)


class Sale(msgspec.Struct, frozen=True, gc=False):
    """One payer's share of a call, then and now. Of a correction: the differences."""

    record: PastRecord
    then: Money
    now: Money


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """`why`: the refusal (of RESTORED: the one that was), or in words what is missing to rate it.

    No `sales`: the call was not answered, and nobody paid.
    """

    verdict: Verdict
    record: PastRecord
    sales: tuple[Sale, ...] = ()
    why: str = ""


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


class _Level(msgspec.Struct, frozen=True, gc=False):
    """A payer of the call: `deck` None where its plan is not at hand. `buy_plan`: as its record states it."""

    account: str
    plan: str | None
    deck: Deck | None
    replaced: bool
    buy_plan: str | None


class _UnknownError(Exception):
    """What is missing to rate the call."""


Prices = Sequence[LevelPrice | None]
"""By level; None: not priced anew, its deck is not at hand."""


class Trial:
    """A plan tried on past calls; `deck` None: every call's own plan, as it is today.

    `find_deck` answers a plan's deck, None where there is none.
    `carrier`: bought by instead of by the plan's own `buy_plan`. `directory`: the accounts, for their rules and for
    the resellers of calls that were not answered; None: they are not known. `partial`: not every plan is at hand,
    so that one that is not found says nothing.
    """

    def __init__(
        self,
        deck: Deck | None,
        scope: Scope,
        find_deck: FindDeck,
        *,
        directory: Directory | None = None,
        carrier: Deck | None = None,
        partial: bool = False,
    ) -> None:
        self._deck = deck
        self._scope = scope
        self._find_deck = find_deck
        self._directory = directory
        self._carrier = carrier
        self._partial = partial
        self._correctable: dict[str, Money] = {}

    def rate(self, chain: Chain) -> Outcome:
        """One call. Its corrections come after it."""
        payer = chain[0]
        answered = payer.answer_time is not None and payer.verdict == "allowed"
        if not answered:
            self._remember(chain, [NOTHING])
        try:
            levels = self._levels(chain) if answered else self._levels_of_attempt(payer)
            if payer.row == _EMERGENCY or not any(level.replaced for level in levels):
                return Outcome(Verdict.UNTOUCHED, payer)
            if not answered:
                return self._judge(payer, levels)
            prices = self._prices(payer, levels)
            if isinstance(prices, Refusal):
                sales = tuple([Sale(record, Money(record.revenue, record.paid), NOTHING) for record in chain])
                self._remember(chain, [NOTHING] * len(chain))
                return Outcome(Verdict.REFUSED, payer, sales, prices)
            return Outcome(Verdict.RATED, payer, self._sales(chain, levels, prices))
        except _UnknownError as missing:
            return Outcome(Verdict.UNKNOWN, payer, why=str(missing))

    # ---- who pays, by which plan

    def _levels(self, chain: Chain) -> list[_Level]:
        if chain[0].role == "affiliate":
            raise _UnknownError("an affiliate's share")
        return [self._level(each.account or "", each.parent, each.plan, each.buy_plan) for each in chain]

    def _levels_of_attempt(self, record: PastRecord) -> list[_Level]:
        """An attempt has the record of its customer alone: the resellers above are today's."""
        above = self._directory.chain(record.account or "")[1:] if self._directory is not None else ()
        if record.parent is not None and not above:
            raise _UnknownError("not answered, and the resellers above its account are not known")
        known = self._directory.accounts.get(record.account or "") if self._directory is not None else None
        plan = record.plan or (known.plan if known is not None else None)
        own = self._level(record.account or "", record.parent, plan, record.buy_plan)
        return [own, *(self._level(level.id, level.parent, level.plan, None) for level in above)]

    def _level(self, account: str, parent: str | None, plan: str | None, buy_plan: str | None) -> _Level:
        replaced = bool(account) and self._scope.holds(account, parent, plan)
        deck = self._deck if replaced and self._deck is not None else self._find(plan)
        if replaced and deck is None:
            raise _UnknownError(f"plan {plan or '(none)'} is not at hand")
        return _Level(account, plan, deck, replaced, buy_plan)

    def _find(self, plan: str | None) -> Deck | None:
        return None if plan is None else self._find_deck(plan)

    # ---- prices, or the refusal

    def _prices(self, record: PastRecord, levels: Sequence[_Level]) -> Prices | Refusal:
        """Of every level that can be priced; none at all for a call that costs nothing."""
        number = number_of(record.to)
        if number is None:
            if record.direction is Direction.INTERNAL:
                return ()
            raise _UnknownError("what was called is not a number")
        prices = () if self._on_net(record, levels[0], number) else self._looked_up(record, levels, number)
        found = [Refusal.NO_RATE] if prices is None else []
        if self._directory is not None:
            for depth, level in enumerate(levels):
                account = self._directory.accounts.get(level.account)
                if account is not None:
                    price = prices[depth] if prices else None
                    found += broken_rules(account, price, number, record.direction, buy_unknown=self._partial)
        if prices is None or found:
            return min(found, key=PRECEDENCE.__getitem__)
        return prices

    def _on_net(self, record: PastRecord, payer: _Level, number: Number) -> bool:
        """Whether nobody is charged, for the call stays among our customers. The payer's plan decides."""
        if not payer.replaced or payer.deck is None:
            return record.row == _ON_NET
        if record.direction is not Direction.OUTBOUND or payer.deck.plan.bill_on_net:
            return False
        own = self._find(payer.plan)
        if self._directory is None or own is None or not own.plan.bill_on_net:
            return record.row == _ON_NET
        return self._directory.by_number(number.e164) is not None

    def _looked_up(self, record: PastRecord, levels: Sequence[_Level], number: Number) -> Prices | None:
        """None where a level has no price: `no_rate`."""
        prices: list[LevelPrice | None] = []
        for run in _runs(levels):
            if not any(level.replaced for level in run):
                prices += [None] * len(run)
                continue
            carrier = self._bought_by(run[-1], record.setup_ms, root=run[-1] is levels[-1])
            decks = [(level.account, level.deck) for level in run if level.deck is not None]
            found = price_levels(decks, carrier, number, record.setup_ms, record.direction)
            if not isinstance(found, NoRate):
                prices += found
            elif found.reason == NO_ROW:  # who is called, or calls within the house, pays nothing where no row says so
                return None if record.direction is Direction.OUTBOUND else ()
            elif carrier is None and self._partial:
                raise _UnknownError(
                    f"plan {found.plan} is a percentage of a purchase price, and that deck is not given"
                )
            else:
                return None
        return prices

    def _bought_by(self, top: _Level, at_ms: int, *, root: bool) -> Deck | None:
        """What the highest of some levels buys by: the root by the new plan's carrier, unless its trunk had another."""
        if root and self._carrier is not None:
            return self._carrier
        bought = self._find(top.buy_plan)
        if not root or not top.replaced or top.deck is None:
            return bought
        own = self._find(top.plan)
        if own is not None and top.buy_plan is not None:
            usual = self._find(own.plan.buy_plan)
            if usual is None or usual.plan_at(at_ms).id != top.buy_plan:
                return bought
        return self._find(top.deck.plan.buy_plan)

    def _judge(self, record: PastRecord, levels: Sequence[_Level]) -> Outcome:
        """An unanswered call, or one that was refused for a reason that a plan can take away."""
        if record.corrects is not None or (record.verdict == "refused" and record.refusal not in _JUDGED):
            return Outcome(Verdict.UNTOUCHED, record)
        prices = self._prices(record, levels)
        if record.verdict == "refused":
            verdict = Verdict.STILL_REFUSED if isinstance(prices, Refusal) else Verdict.RESTORED
            return Outcome(verdict, record, why=record.refusal or "")
        if isinstance(prices, Refusal):
            return Outcome(Verdict.REFUSED, record, why=prices)
        return Outcome(Verdict.RATED, record)

    # ---- money

    def _sales(self, chain: Chain, levels: Sequence[_Level], prices: Prices) -> tuple[Sale, ...]:
        """Every payer's share, worked out from the root down, as live."""
        sales: list[Sale] = []
        wholes: list[Money] = []
        anew = False
        for depth in reversed(range(len(chain))):
            record, price = chain[depth], prices[depth] if prices else None
            then = Money(record.revenue, record.paid)
            anew = not prices or levels[depth].replaced or (anew and self._follows(levels[depth], record))
            whole = self._whole(record, price, levels[depth].deck) if anew else Money(0, None)
            now = self._now(record, whole, then) if anew else then
            if sales:
                moved = sales[-1].now.revenue - sales[-1].then.revenue
                now = Money(now.revenue, None if then.cost is None else then.cost + moved)
            elif record.parent is not None or (self._partial and price is not None and price.buy is None):
                now = Money(now.revenue, then.cost)  # what it was bought for is not worked out here
            sales.append(Sale(record, then, now))
            wholes.append(whole)
        self._remember(chain, wholes[::-1])
        return tuple(reversed(sales))

    def _follows(self, level: _Level, record: PastRecord) -> bool:
        """Whether its rows for the call are percentages, of the level above, which is priced anew."""
        number = number_of(record.to)
        if level.deck is None or number is None:
            return False
        match = level.deck.find(number, record.setup_ms, record.direction)
        return match is not None and any(row.percent is not None for row in match.rows)

    def _whole(self, record: PastRecord, price: LevelPrice | None, deck: Deck | None) -> Money:
        """What the call costs on the new plan, and at the carrier's; before surcharges."""
        if price is None or deck is None:
            return Money(0, None)
        if record.currency != deck.plan.currency:
            raise _UnknownError(f"it was charged in {record.currency}, plan {deck.plan.id} is in {deck.plan.currency}")
        if record.bundle_s:
            raise _UnknownError("a bundle has paid for it")
        cost = _charged(price.buy, record.duration_ms, None) if price.buy is not None else None
        paid_s = record.duration_s - record.unbilled_s if record.unbilled_s else None
        return Money(0 if record.exempt else _charged(price.sell, record.duration_ms, paid_s), cost)

    def _now(self, record: PastRecord, whole: Money, then: Money) -> Money:
        if record.corrects is None:
            return Money(whole.revenue + record.surcharged, whole.cost)
        before = self._correctable.get(record.corrects)
        if before is None:
            raise _UnknownError("it corrects a record that is not among these")
        cost = None if whole.cost is None or before.cost is None else whole.cost - before.cost
        return Money(whole.revenue - before.revenue + record.surcharged, cost)

    def _remember(self, chain: Chain, wholes: Sequence[Money]) -> None:
        """What a call whose end nobody saw costs anew: a correction states the difference to it."""
        for record, whole in zip(chain, wholes, strict=True):
            if record.corrects is not None or record.may_be_corrected:
                self._correctable[record.corrects or record.id] = whole
        while len(self._correctable) > CORRECTABLE_AT_MOST:
            del self._correctable[next(iter(self._correctable))]


def _charged(price: Price, duration_ms: int, at_most_s: int | None) -> int:
    seconds = round_duration(price, duration_ms)
    return charge(price, seconds if at_most_s is None else min(seconds, at_most_s)).micros


def _runs(levels: Sequence[_Level]) -> Iterator[Sequence[_Level]]:
    """The levels in order, in pieces whose decks are all at hand, or that are one level without."""
    begun = 0
    for depth, level in enumerate(levels):
        if level.deck is None:
            if begun < depth:
                yield levels[begun:depth]
            yield levels[depth : depth + 1]
            begun = depth + 1
    if begun < len(levels):
        yield levels[begun:]
