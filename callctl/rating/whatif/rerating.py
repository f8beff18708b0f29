"""Past calls rated anew, as if some accounts had had another plan: the same prices and `charge` as live.

A level is priced anew where its plan is replaced, or where its rows are percentages of one that is; every other level
keeps its charge, and its cost follows what the level above is charged. A call is as long as it was, and paid up to
the second that it was paid to.
"""

from collections.abc import Sequence
from enum import StrEnum

import msgspec

from callctl.accounts import Account, Directory
from callctl.causes import PRECEDENCE, Refusal
from callctl.limits.classes import NumberLists
from callctl.numbering import Number
from callctl.rating.charge import Price, anchored_for, bundled, charge, round_duration
from callctl.rating.exchange import Exchanges
from callctl.rating.ladder import Ladders
from callctl.rating.levels import NO_ROW, LevelPrice, NoRate
from callctl.rating.match import Deck
from callctl.rating.parts import Dialling, FindDeck, parts_of
from callctl.rating.rules import Dialled, broken_rules, home_of
from callctl.rating.tariff import Direction, TrafficClass
from callctl.rating.whatif.calls import Chain, PastRecord, number_of
from callctl.rating.whatif.lineup import Level, Lineup, Lineups, Scope, UnknownError

CORRECTABLE_AT_MOST = 200_000
"""Calls whose end nobody saw, the newest: what they cost anew is kept until their corrections come."""

_JUDGED = frozenset({Refusal.DESTINATION_BARRED, Refusal.NO_RATE, Refusal.MARGIN_TOO_LOW, Refusal.COST_TOO_HIGH})
_EMERGENCY, _ON_NET = "emergency", "on-net"  # `row` of calls that no deck prices


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


Prices = Sequence[LevelPrice | None]
"""By level; None: not priced anew, its deck is not at hand."""


class Trial:
    """A plan tried on past calls; `deck` None: every call's own plan, as it is today.

    `find_deck` answers a plan's deck, None where there is none.
    `carrier`: bought by instead of by the plan's own `buy_plan`. `directory`: the accounts, for their rules and for
    the resellers of calls that were not answered; None: they are not known. `partial`: not every plan is at hand,
    so that one that is not found says nothing. `exchanges`: by which purchases in another currency are converted.
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
        exchanges: Exchanges | None = None,
    ) -> None:
        self._lineups = Lineups(deck, scope, find_deck, directory, carrier)
        self._find_deck = find_deck
        self._directory = directory
        self._partial = partial
        self._exchanges = exchanges or {}
        self._correctable: dict[str, Money] = {}
        self._ladders = Ladders()

    def rate(self, chain: Chain) -> Outcome:
        """One call. Its corrections come after it."""
        payer = chain[0]
        answered = payer.answer_time is not None and payer.verdict == "allowed"
        if not answered:
            self._remember(chain, [NOTHING])
        try:
            lineup = self._lineups.of_call(chain) if answered else self._lineups.of_attempt(payer)
            if payer.row == _EMERGENCY or not lineup.runs:
                return Outcome(Verdict.UNTOUCHED, payer)
            if not answered:
                return self._judge(payer, lineup)
            prices = self._prices(payer, lineup)
            if isinstance(prices, Refusal):
                sales = tuple([Sale(record, Money(record.revenue, record.paid), NOTHING) for record in chain])
                self._remember(chain, [NOTHING] * len(chain))
                return Outcome(Verdict.REFUSED, payer, sales, prices)
            return Outcome(Verdict.RATED, payer, self._sales(chain, lineup.levels, prices))
        except UnknownError as missing:
            return Outcome(Verdict.UNKNOWN, payer, why=str(missing))

    # ---- prices, or the refusal

    def _prices(self, record: PastRecord, lineup: Lineup) -> Prices | Refusal:
        """Of every level that can be priced; none at all for a call that costs nothing."""
        number = number_of(record.to)
        if number is None:
            if record.direction is Direction.INTERNAL:
                return ()
            raise UnknownError("what was called is not a number")
        on_net = self._on_net(record, lineup.levels[0], number)
        prices = () if on_net else self._looked_up(record, lineup, number)
        unsold = TrafficClass.ONNET if on_net else TrafficClass.INTERNAL if prices == () else None
        broken = [Refusal.NO_RATE] if prices is None else []
        if lineup.judges:
            called = self._called(record, number, unsold) if record.direction is not Direction.INBOUND else None
            for depth, account in lineup.judges:
                price = self._with_parts(account, prices, depth, record, number) if prices else None
                broken += broken_rules(account, price, called, buy_unknown=self._partial)
        if prices is None or broken:
            return min(broken, key=PRECEDENCE.__getitem__)
        return prices

    def _with_parts(
        self, account: Account, prices: Prices, depth: int, record: PastRecord, number: Number
    ) -> LevelPrice | None:
        """The level's price as rules judge it: with what other plans charge for the call today."""
        price = prices[depth]
        if price is None or not account.also or self._partial or self._directory is None:
            return price
        on_net = record.direction is Direction.OUTBOUND and self._directory.by_number(number.e164) is not None
        bought = {each.buy_plan for each in prices if each is not None} if account.parent is None else None
        call = Dialling(number, record.setup_ms, record.direction, on_net)
        parts = parts_of(account, call, bought, self._find_deck, self._exchanges)
        return price if isinstance(parts, NoRate) else msgspec.structs.replace(price, parts=parts)

    def _called(self, record: PastRecord, number: Number, unsold: TrafficClass | None) -> Dialled:
        """As today's accounts have it; which numbers are risky is what callctl says of them by default."""
        chain = self._directory.chain(record.account or "") if self._directory is not None else ()
        return Dialled(number, record.setup_ms // 1000, home_of(chain), NumberLists(), unsold)

    def _on_net(self, record: PastRecord, payer: Level, number: Number) -> bool:
        """Whether nobody is charged, for the call stays among our customers. The payer's plan decides."""
        if not payer.replaced or payer.deck is None:
            return record.row == _ON_NET
        if record.direction is not Direction.OUTBOUND or payer.deck.plan.bill_on_net:
            return False
        own = self._find_deck(payer.plan) if payer.plan is not None else None
        if self._directory is None or own is None or not own.plan.bill_on_net:
            return record.row == _ON_NET
        return self._directory.by_number(number.e164) is not None

    def _looked_up(self, record: PastRecord, lineup: Lineup, number: Number) -> Prices | None:
        """None where a level has no price: `no_rate`."""
        prices: list[LevelPrice | None] = [None] * len(lineup.levels)
        at_ms = record.setup_ms
        for run in lineup.runs:
            carrier = run.purchase.deck(at_ms)
            ladder = self._ladders.of(run.decks, carrier)
            found = ladder.prices(run.decks, number, at_ms, record.direction, self._exchanges)
            if not isinstance(found, NoRate):
                prices[run.first : run.first + len(found)] = found
            elif found.reason == NO_ROW:  # who is called, or calls within the house, pays nothing where no row says so
                return None if record.direction is Direction.OUTBOUND else ()
            elif carrier is None and self._partial:
                raise UnknownError(f"plan {found.plan} is a percentage of a purchase price, and that deck is not given")
            else:
                return None
        return prices

    def _judge(self, record: PastRecord, lineup: Lineup) -> Outcome:
        """An unanswered call, or one that was refused for a reason that a plan can take away."""
        if record.corrects is not None or (record.verdict == "refused" and record.refusal not in _JUDGED):
            return Outcome(Verdict.UNTOUCHED, record)
        prices = self._prices(record, lineup)
        if record.verdict == "refused":
            verdict = Verdict.STILL_REFUSED if isinstance(prices, Refusal) else Verdict.RESTORED
            return Outcome(verdict, record, why=record.refusal or "")
        if isinstance(prices, Refusal):
            return Outcome(Verdict.REFUSED, record, why=prices)
        return Outcome(Verdict.RATED, record)

    # ---- money

    def _sales(self, chain: Chain, levels: Sequence[Level], prices: Prices) -> tuple[Sale, ...]:
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

    def _follows(self, level: Level, record: PastRecord) -> bool:
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
            raise UnknownError(f"it was charged in {record.currency}, plan {deck.plan.id} is in {deck.plan.currency}")
        cost = _charged(price.buy, record, None) if price.buy is not None else None
        paid_s = record.duration_s - record.unbilled_s if record.unbilled_s else None
        sell = bundled(price.sell, record.bundle_s) if record.bundle_s else price.sell
        return Money(0 if record.exempt else _charged(sell, record, paid_s), cost)

    def _now(self, record: PastRecord, whole: Money, then: Money) -> Money:
        if record.corrects is None:
            return Money(whole.revenue + record.besides, _plus(whole.cost, record.besides_cost))
        before = self._correctable.get(record.corrects)
        if before is None:
            raise UnknownError("it corrects a record that is not among these")
        cost = None if before.cost is None else _plus(whole.cost, record.besides_cost - before.cost)
        return Money(whole.revenue - before.revenue + record.besides, cost)

    def _remember(self, chain: Chain, wholes: Sequence[Money]) -> None:
        """What a call whose end nobody saw costs anew: a correction states the difference to it."""
        for record, whole in zip(chain, wholes, strict=True):
            if record.corrects is not None or record.may_be_corrected:
                self._correctable[record.corrects or record.id] = whole
        while len(self._correctable) > CORRECTABLE_AT_MOST:
            del self._correctable[next(iter(self._correctable))]


def _plus(cost: int | None, more: int) -> int | None:
    return None if cost is None else cost + more


def _charged(price: Price, record: PastRecord, at_most_s: int | None) -> int:
    """Micro-units of the call, or of its first seconds."""
    seconds = round_duration(price, record.duration_ms)
    if at_most_s is not None:
        seconds = min(seconds, at_most_s)
    if price.course is not None:
        price = anchored_for(price, record.answer_s, seconds)
    return charge(price, seconds).micros
