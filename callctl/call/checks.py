"""What the core itself asks of an offered call, from what was looked up for it: one line of the trace per question.

All of it is asked, so that the answer lists every reason.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain

import msgspec

from callctl.accounts import Account, Chain, Trunk
from callctl.call.events import Offered
from callctl.causes import Refusal
from callctl.clock import Instant
from callctl.limits.classes import NumberLists
from callctl.limits.concurrency import Slot
from callctl.limits.licence import SwitchLicence
from callctl.numbering import Number
from callctl.rating.margin import Found, costs_within, margins_kept
from callctl.rating.match import LevelPrice, NoRate
from callctl.rating.rules import Dialled
from callctl.rating.tariff import Direction

PROVIDER = "(provider)"
"""The level of what is the provider's own business; no account can have this id."""


class Called(msgspec.Struct, frozen=True, gc=False):
    """The account that is called and pays for it, and all above it; as the payer's in `Facts`."""

    chain: Chain
    prices: tuple[LevelPrice, ...]
    days: tuple[str, ...]


class Facts(msgspec.Struct, frozen=True, gc=False):
    """What was looked up for one offered call. `prices` and `days` (local, ISO): payer first, as the chain.

    `b_number` is None where the dialled number is invalid; `unpriced`: the level without a price.
    `caller` says what told the payer; `pbx`: whom it told, where a department of that account pays; `unknown`: why
    nobody does. `free`: nobody buys or sells this call itself (on-net; inbound or internal without a row). `home`: the
    country from which the call is seen. `trunk_day`: local to whose trunk it is. `licences`: what switches say of
    theirs. `limits`: the provider's own counters that the call takes.
    """

    chain: Chain
    trunk: Trunk | None
    dialled: str
    a_number: str
    b_number: Number | None
    emergency: bool
    trace_id: str
    caller: str
    days: tuple[str, ...] = ()
    prices: tuple[LevelPrice, ...] = ()
    unpriced: NoRate | None = None
    free: bool = False
    pbx: str = ""
    unknown: str = "no such account"
    called: Called | None = None
    home: str = ""
    lists: NumberLists = NumberLists()
    trunk_day: str = ""
    licences: Mapping[str, SwitchLicence] = {}
    limits: tuple[Slot, ...] = ()

    @property
    def payers(self) -> Iterable[tuple[Account, LevelPrice]]:
        """Every payer and its price: the caller's chain, and then that of the called party."""
        callers = zip(self.chain, self.prices, strict=False)
        if self.called is None:
            return callers
        return chain(callers, zip(self.called.chain, self.called.prices, strict=True))

    @property
    def trunk_level(self) -> int:
        """As whose call its trunk's rules see it: its owner's, or the root's where the owner is none of the chain.

        The rows of those below may say of it what suits whoever sells by them.
        """
        owner = self.trunk.account if self.trunk is not None else ""
        return next((depth for depth, each in enumerate(self.chain) if each.id == owner), len(self.chain) - 1)

    def above(self, account: str) -> str:
        """The account's name where it is not the caller's own: such lines of a trace are not for everybody."""
        return account if account != self.chain[0].id else ""

    def seller(self, depth: int) -> str:
        """Who sells to the account at `depth`: its margin and what it pays are not for the account to see."""
        return self.chain[depth + 1].id if depth + 1 < len(self.chain) else PROVIDER


class Finding(msgspec.Struct, frozen=True, gc=False):
    """One line of the trace, and the refusal that it means, if any.

    `asked`: what the call itself would add to what was seen. `since`: since when the limit is what it is (a day or a
    time). `enforced` False: the refusal is reported, and the call goes ahead. `words`: all of it in words, where these
    are not put together from its parts.
    """

    check: str
    saw: str
    refusal: Refusal | None = None
    limit: str = ""
    level: str = ""
    asked: str = ""
    since: str = ""
    enforced: bool = True
    words: str = ""

    def __str__(self) -> str:
        """In words, for whoever was refused."""
        if self.words:
            return self.words
        asked = f"{self.asked} asked for" if self.asked else ""
        limit = f"{self.limit} since {self.since}" if self.limit and self.since else self.limit
        return ", ".join(filter(None, (self.saw, asked, limit)))


Checker = Callable[[Offered, Facts, Instant, int | None], Iterable[Finding]]  # a generator costs as much as its check
"""The last is how long the call can last by what is granted now; None: it can be extended."""


def _account(_: Offered, facts: Facts, now: Instant, __: int | None) -> Iterable[Finding]:
    if not facts.chain:
        return (Finding("account", facts.caller, Refusal.UNKNOWN_ACCOUNT, facts.unknown),)
    found = []
    for account in facts.chain:
        above = facts.above(account.id)
        if not account.active:
            refusal = Refusal.PROVIDER_LIMIT if above else Refusal.ACCOUNT_SUSPENDED
            found.append(Finding("account", account.id, refusal, "suspended", above))
        elif account.expires_ms is not None and account.expires_ms <= now.wall_ms:
            refusal = Refusal.PROVIDER_LIMIT if above else Refusal.ACCOUNT_EXPIRED
            found.append(Finding("account", account.id, refusal, "expired", above))
        elif not above:
            found.append(Finding("account", facts.caller, level=facts.above(facts.pbx)))
    return found


def _number(_: Offered, facts: Facts, __: Instant, ___: int | None) -> Iterable[Finding]:
    number = facts.b_number
    if number is not None:
        return (Finding("number", f"{number.e164} {number.country} {number.type}"),)
    if facts.free:
        return (Finding("number", f"extension {facts.dialled}"),)
    if facts.chain:
        return (Finding("number", facts.dialled, Refusal.INVALID_NUMBER, "not a valid number"),)
    return ()


def _destination(offered: Offered, facts: Facts, _: Instant, __: int | None) -> Iterable[Finding]:
    if facts.b_number is None or offered.direction is Direction.INBOUND:  # an inbound call's number is our own
        return ()
    owned = [(each.destinations, depth, each.id, "") for depth, each in enumerate(facts.chain) if each.destinations]
    if facts.trunk is not None and facts.trunk.destinations is not None and facts.chain:
        owned.append((facts.trunk.destinations, facts.trunk_level, facts.trunk.account, f"trunk {facts.trunk.id}: "))
    if not owned:
        return ()
    found = []
    dialled = Dialled(facts.b_number, offered.at.wall_ms // 1000, facts.home, facts.lists)
    for rules, depth, owner, whose in owned:
        seen = dialled.seen_by(facts.chain[depth], facts.prices[depth] if facts.prices else None)
        barred = rules.barred_by(seen)
        saw = f"{whose}{seen.name} {seen.type}, class {seen.traffic_class}"
        refusal = Refusal.DESTINATION_BARRED if barred else None
        found.append(Finding("destination", saw, refusal, barred or "", facts.above(owner)))
    return found


def _rate(offered: Offered, facts: Facts, _: Instant, __: int | None) -> Iterable[Finding]:
    found = []
    if facts.unpriced is not None and facts.b_number is not None:
        saw = f"{facts.b_number.e164} {facts.b_number.type}"
        limit = f"{facts.unpriced.reason} in plan {facts.unpriced.plan} for {offered.direction} calls"
        found.append(Finding("rate", saw, Refusal.NO_RATE, limit, facts.above(facts.unpriced.account)))
        if facts.unpriced.no_buy:
            found.append(Finding("exchange", facts.unpriced.no_buy, level=PROVIDER))
    for account, price in zip(facts.chain, facts.prices, strict=False):
        above = facts.above(account.id)
        found.append(Finding("rate", f"{price.plan} {price.row}", level=above))
        found += [Finding("rate", f"besides {part.plan} {part.row}", level=above) for part in price.parts]
        if price.no_buy:
            found.append(Finding("exchange", price.no_buy, level=PROVIDER))
    return found


def _margin(_: Offered, facts: Facts, __: Instant, until_s: int | None) -> Iterable[Finding]:
    found = []
    for depth, (account, price) in enumerate(zip(facts.chain, facts.prices, strict=False)):
        if account.margin is not None:
            kept = margins_kept(account.margin, price, until_s)
            found += [_ruled("margin", each, Refusal.MARGIN_TOO_LOW, facts.seller(depth)) for each in kept]
    return found


def _max_cost(_: Offered, facts: Facts, __: Instant, until_s: int | None) -> Iterable[Finding]:
    found = []
    for depth, (account, price) in enumerate(zip(facts.chain, facts.prices, strict=False)):
        if account.max_cost is not None:
            kept = costs_within(account.max_cost, price, until_s)
            found += [_ruled("max_cost", each, Refusal.COST_TOO_HIGH, facts.seller(depth)) for each in kept]
    return found


def _ruled(check: str, found: Found, broken: Refusal, seller: str) -> Finding:
    refusal = None if found.kept else Refusal.NO_RATE if found.no_buy else broken
    return Finding(check, found.saw, refusal, found.limit, seller)


def _called(_: Offered, facts: Facts, now: Instant, until_s: int | None) -> Iterable[Finding]:
    """Whoever is called and pays for it: what limits that side is the provider's business to the caller."""
    return () if facts.called is None else _other_side(facts.called, now, until_s)


def _other_side(called: Called, now: Instant, until_s: int | None) -> Iterator[Finding]:
    for depth, (account, price) in enumerate(zip(called.chain, called.prices, strict=True)):
        expired = account.expires_ms is not None and account.expires_ms <= now.wall_ms
        wrong = "" if account.active and not expired else "expired" if account.active else "suspended"
        refusal = Refusal.PROVIDER_LIMIT if wrong else None
        yield Finding("called", f"{account.id}: {price.plan} {price.row}", refusal, wrong, account.id)
        seller = called.chain[depth + 1].id if depth + 1 < len(called.chain) else PROVIDER
        judged = margins_kept(account.margin, price, until_s) if account.margin is not None else []
        judged += costs_within(account.max_cost, price, until_s) if account.max_cost is not None else []
        for found in judged:
            yield Finding("called", found.saw, None if found.kept else Refusal.PROVIDER_LIMIT, found.limit, seller)


CHECKS: tuple[Checker, ...] = (_account, _number, _destination, _rate, _margin, _max_cost, _called)
