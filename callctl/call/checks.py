"""What the core itself asks of an offered call, from what was looked up for it: one line of the trace per question.

All of it is asked, so that the answer lists every reason.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TypeGuard

import msgspec

from callctl.accounts import Chain, Trunk
from callctl.call.events import Offered
from callctl.call.trace import PASS, Check, Verdict
from callctl.causes import PRECEDENCE, Refusal
from callctl.clock import Instant
from callctl.limits.classes import NumberLists
from callctl.limits.concurrency import Slot
from callctl.limits.licence import SwitchLicence
from callctl.numbering import Number
from callctl.rating.levels import PRICES_KEPT, LevelPrice, NoRate
from callctl.rating.margin import Found, MarginRule, MaxCost, costs_within, margins_kept
from callctl.rating.rules import Dialled
from callctl.rating.tariff import Direction
from callctl.rating.terms import PriceRules, Standing

PROVIDER = "(provider)"
"""The level of what is the provider's own business; no account can have this id."""


class Called(msgspec.Struct, frozen=True, gc=False):
    """The account that is called and pays for it, and all above it; as the payer's in `Facts`."""

    standings: tuple[Standing, ...]
    prices: tuple[LevelPrice, ...]
    days: tuple[str, ...]


class Facts(msgspec.Struct, frozen=True, gc=False):
    """What was looked up for one offered call. `chain`, `standings`, `rules`, `prices` and `days` (ISO): payer first.

    `b_number` is None where the dialled number is invalid; `unpriced`: the level without a price.
    `caller` says what told the payer; `pbx`: whom it told, where a department of that account pays; `unknown`: why
    nobody does. `home`: the country from which the call is seen. `trunk_day`: local to whose trunk it is. `licences`:
    what switches say of theirs. `limits`: the provider's own counters that the call takes. `ruled`: the chain may have
    what hardly any has (`Account.ruled`).
    """

    chain: Chain
    standings: tuple[Standing, ...]
    rules: tuple[PriceRules, ...]
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
    pbx: str = ""
    unknown: str = "no such account"
    called: Called | None = None
    home: str = ""
    lists: NumberLists = NumberLists()
    trunk_day: str = ""
    licences: Mapping[str, SwitchLicence] = {}
    limits: tuple[Slot, ...] = ()
    ruled: bool = True

    @property
    def free(self) -> bool:
        """Whether nobody buys or sells this call itself: on-net, emergency; inbound or internal without a row."""
        return bool(self.prices) and self.prices[0].unsold

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


Said = Check | Finding
"""What passes is said as the line that will stand in the trace."""

TOO_DEAR_LATER = Finding(
    "max_cost",
    "a purchase that is dearer when the call is answered later",
    Refusal.COST_TOO_HIGH,
    "its first increment then is more than a call may cost",
    PROVIDER,
)

_INBOUND = Direction.INBOUND


def check_call(
    offered: Offered, facts: Facts, now: Instant, number: str, ceiling_s: int, until_s: int | None
) -> tuple[list[Check], Finding | None]:
    """Every check in order: the lines of the trace, and what of it refuses the call.

    `ceiling_s`: how much of the call the bounds on its purchase allow. `until_s`: how long it can last by what is
    granted now; None: it can be extended. Checks answer with tuples and lists: a generator costs as much as its check.
    """
    found = [Check("emergency", PASS, number), *_account(facts, now), *_number(facts)]
    if facts.ruled or facts.trunk is not None:
        found += _destination(offered, facts)
    if facts.unpriced is None:
        found += _priced(facts.prices, facts.rules, until_s)
    else:
        found += _unpriced(offered, facts, facts.unpriced)
    if facts.called is not None:
        found += _other_side(facts.called, now, until_s)
    if ceiling_s and _are_lines(found):
        lines, refused = found, None
    else:
        lines, refused = _with_findings(found, ceiling_s)
    if facts.ruled:
        lines += _licence(facts)
    return lines, refused


def _are_lines(found: list[Said]) -> TypeGuard[list[Check]]:
    return Finding not in map(type, found)


def _with_findings(found: list[Said], ceiling_s: int) -> tuple[list[Check], Finding | None]:
    refused = deciding(found)
    if refused is None and not ceiling_s:
        refused = TOO_DEAR_LATER
        found.append(refused)
    return lines_of(found), refused


def deciding(found: Iterable[Said]) -> Finding | None:
    """The finding that decides: the first in the order of `Refusal`, the caller's own before those of levels above."""
    # isinstance takes five times as long where it is another of msgspec's classes
    refusing = [each for each in found if type(each) is Finding and each.refusal is not None and each.enforced]
    return min(refusing, key=_rank) if refusing else None


def _rank(finding: Finding) -> tuple[int, bool]:
    return PRECEDENCE[finding.refusal or Refusal.OVERLOADED], bool(finding.level)


def lines_of(found: Iterable[Said]) -> list[Check]:
    """What was found, as it stands in the trace."""
    return [each if isinstance(each, Check) else _traced(each) for each in found]


def _traced(finding: Finding) -> Check:
    verdict = PASS
    if finding.refusal is not None:
        verdict = Verdict.REFUSE if finding.enforced else Verdict.WOULD_REFUSE
    return Check(finding.check, verdict, finding.saw, finding.limit, finding.level, finding.asked, finding.since)


def _account(facts: Facts, now: Instant) -> Iterable[Said]:
    if not facts.chain:
        return (Finding("account", facts.caller, Refusal.UNKNOWN_ACCOUNT, facts.unknown),)
    payer = Check("account", PASS, facts.caller, "", facts.pbx and facts.above(facts.pbx))
    if not facts.ruled:
        return (payer,)
    found: list[Said] = []
    for depth, account in enumerate(facts.chain):
        if not account.active:
            refusal = Refusal.PROVIDER_LIMIT if depth else Refusal.ACCOUNT_SUSPENDED
            found.append(Finding("account", account.id, refusal, "suspended", facts.above(account.id)))
        elif account.expires_ms is not None and account.expires_ms <= now.wall_ms:
            refusal = Refusal.PROVIDER_LIMIT if depth else Refusal.ACCOUNT_EXPIRED
            found.append(Finding("account", account.id, refusal, "expired", facts.above(account.id)))
        elif not depth:
            found.append(payer)
    return found


def _number(facts: Facts) -> Iterable[Said]:
    number = facts.b_number
    if number is not None:
        return (Check("number", PASS, " ".join((number.e164, number.country, number.type))),)
    if facts.free:
        return (Check("number", PASS, f"extension {facts.dialled}"),)
    if facts.chain:
        return (Finding("number", facts.dialled, Refusal.INVALID_NUMBER, "not a valid number"),)
    return ()


def _destination(offered: Offered, facts: Facts) -> Iterable[Said]:
    if facts.b_number is None or offered.direction is _INBOUND:  # an inbound call's number is our own
        return ()
    owned = []
    for depth, account in enumerate(facts.chain):
        if account.destinations is not None:
            owned.append((account.destinations, depth, account.id, ""))
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


@lru_cache(maxsize=PRICES_KEPT)
def _priced(prices: tuple[LevelPrice, ...], rules: tuple[PriceRules, ...], until_s: int | None) -> Sequence[Said]:
    """The rows of every level; then the margins of all, and the bounds on what they buy.

    Prices repeat with the rows, and rules with the accounts.
    """
    rows: list[Said] = []
    margins: list[Said] = []
    bounds: list[Said] = []
    for price, held in zip(prices, rules, strict=False):
        row, margin, bound = _of_level(price, held.margin, held.max_cost, until_s, held.level, held.above or PROVIDER)
        rows += row
        margins += margin
        bounds += bound
    return (*rows, *margins, *bounds)


def _of_level(
    price: LevelPrice, margin: MarginRule | None, bound: MaxCost | None, until_s: int | None, level: str, seller: str
) -> tuple[Sequence[Said], Sequence[Said], Sequence[Said]]:
    """What there is to say of a price and rules on it. `seller`: what it earns and pays the account may not see."""
    rows = [Check("rate", PASS, f"{price.plan} {price.row}", "", level)]
    rows += [Check("rate", PASS, f"besides {part.plan} {part.row}", "", level) for part in price.parts]
    if price.no_buy:
        rows.append(Check("exchange", PASS, price.no_buy, "", PROVIDER))
    margins = margins_kept(margin, price, until_s) if margin is not None else ()
    bounds = costs_within(bound, price, until_s) if bound is not None else ()
    return (
        rows,
        [_ruled("margin", each, Refusal.MARGIN_TOO_LOW, seller) for each in margins],
        [_ruled("max_cost", each, Refusal.COST_TOO_HIGH, seller) for each in bounds],
    )


def _ruled(check: str, found: Found, broken: Refusal, seller: str) -> Said:
    if found.kept:
        return Check(check, PASS, found.saw, found.limit, seller)
    return Finding(check, found.saw, Refusal.NO_RATE if found.no_buy else broken, found.limit, seller)


def _unpriced(offered: Offered, facts: Facts, unpriced: NoRate) -> Iterable[Said]:
    if facts.b_number is None:
        return
    saw = f"{facts.b_number.e164} {facts.b_number.type}"
    limit = f"{unpriced.reason} in plan {unpriced.plan} for {offered.direction} calls"
    yield Finding("rate", saw, Refusal.NO_RATE, limit, facts.above(unpriced.account))
    if unpriced.no_buy:
        yield Check("exchange", PASS, unpriced.no_buy, "", PROVIDER)


def _other_side(called: Called, now: Instant, until_s: int | None) -> Iterator[Finding]:
    """Whoever is called and pays for it: what limits that side is the provider's business to the caller."""
    for standing, price in zip(called.standings, called.prices, strict=True):
        account, seller = standing.account, standing.above or PROVIDER
        expired = account.expires_ms is not None and account.expires_ms <= now.wall_ms
        wrong = "" if account.active and not expired else "expired" if account.active else "suspended"
        refusal = Refusal.PROVIDER_LIMIT if wrong else None
        yield Finding("called", f"{account.id}: {price.plan} {price.row}", refusal, wrong, account.id)
        _, margins, bounds = _of_level(price, account.margin, account.max_cost, until_s, account.id, seller)
        for each in (*margins, *bounds):
            refusal = Refusal.PROVIDER_LIMIT if isinstance(each, Finding) else None
            yield Finding("called", each.saw, refusal, each.limit, seller)


def _licence(facts: Facts) -> Iterator[Check]:
    """Who goes by the word of a switch that nobody has heard yet: its name may be mistyped."""
    for account in facts.chain:
        switch = account.licence.from_switch if account.licence is not None else None
        if switch is not None and switch not in facts.licences:
            saw = f"{switch} has not told its licence yet: what is written down holds"
            yield Check("licence", Verdict.SKIP, saw, level=facts.above(account.id))
