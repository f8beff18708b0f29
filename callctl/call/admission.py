"""May this call go ahead? Every check in order, with a full trace; then what to ask of the store.

All checks are evaluated, so that the answer lists every reason; the first in `Refusal`'s order decides. Money and
channels are judged by the store: `propose` says what to take, `findings` reads its verdict.
"""

import msgspec
from msgspec.structs import replace

from callctl.accounts import Account, Kind
from callctl.call import drawing
from callctl.call.anchor import possible
from callctl.call.channels import account_slots, rates, trunk_slots
from callctl.call.checks import Called, Facts, Finding, check_call
from callctl.call.events import Offered
from callctl.call.session import Level, Role, Session, State
from callctl.call.takes import Draw, Take, TakeLevel
from callctl.call.trace import PASS, Check, encode_trace
from callctl.call.watched import first_ask, watching
from callctl.causes import Refusal
from callctl.clock import Instant
from callctl.limits.classes import NumberLists, class_of
from callctl.limits.concurrency import Rate
from callctl.limits.ids import Thresholds
from callctl.prepaid import slicing
from callctl.rating.charge import affordable_together
from callctl.rating.margin import purchases
from callctl.rating.tariff import Direction

NOBODY = ""
"""The root under which attempts of unknown callers are recorded; no account can have this id."""
EMERGENCY_GRANT_S = 86_400  # an emergency call is never cut; this is what its answer says

_UNKNOWN = (Account(NOBODY, Kind.POSTPAID),)
_TAKING, _OUTBOUND, _CUSTOMER, _RESELLER = State.TAKING, Direction.OUTBOUND, Role.CUSTOMER, Role.RESELLER


class Policy(msgspec.Struct, frozen=True):
    """The house rules of admission; every default stands in the example configuration.

    `thresholds`: of who calls and states none. `blind_s`: how long a postpaid call may last that was admitted without
    the store; 0 refuses it. `clock`: this process and its monotonic clock, by `clock.clock_name`.
    """

    budget_ms: int = 1500
    setup_timeout_s: int = 120
    slice_first_s: int = 10
    slice_max_s: int = 300
    longest_unattended_s: int = 3600
    lease_grace_s: int = 30
    blind_s: int = 300
    lists: NumberLists = NumberLists()
    thresholds: Thresholds | None = None
    clock: str = ""


class Proposal(msgspec.Struct, frozen=True, gc=False):
    """A session that waits for the answer to its take, the take, and what the core's checks found against it."""

    session: Session
    take: Take
    refused: Finding | None


def propose(offered: Offered, facts: Facts, now: Instant, policy: Policy) -> Proposal:
    """Run the core's checks, and build the session and the take of its first slice."""
    number = facts.b_number.e164 if facts.b_number is not None else facts.dialled
    answer_by_s = offered.at.wall_ms // 1000 + policy.setup_timeout_s  # the last second, if it is set up in time
    ceiling_s = slicing.HORIZON_S if offered.can_extend else policy.longest_unattended_s
    if facts.ruled:
        ceiling_s = _bounded(facts, ceiling_s, answer_by_s)
    if facts.called is not None:
        ceiling_s = _bounded(facts.called, ceiling_s, answer_by_s)
    if facts.emergency:
        lines, refused = [Check("emergency", PASS, f"{number} is an emergency number")], None
    else:
        until_s = None if offered.can_extend else ceiling_s + _rings(facts, policy)
        lines, refused = check_call(offered, facts, now, number, ceiling_s, until_s)
    session = _session(offered, facts, now, number, answer_by_s, ceiling_s, encode_trace(lines), policy)
    paced = rates(facts, now) if facts.ruled or facts.trunk is not None else ()
    return Proposal(session, take_for(session, now, policy, paced), refused)


def _bounded(side: Facts | Called, longest_s: int, answer_by_s: int) -> int:
    """The longest grant that every level's bound on the purchase price of a call allows."""
    for standing, price in zip(side.standings, side.prices, strict=False):
        bound = standing.account.max_cost
        if bound is not None and bound.per_call is not None:
            for bought in possible(purchases(price), answer_by_s):
                longest_s = affordable_together(bought, bound.per_call, longest_s)
    return longest_s


def _rings(facts: Facts, policy: Policy) -> int:
    """How long after its set-up a call may be answered, where its prices depend on that."""
    prices = facts.prices if facts.called is None else facts.prices + facts.called.prices
    return policy.setup_timeout_s if any(price.in_bands for price in prices) else 0


def _session(
    offered: Offered,
    facts: Facts,
    now: Instant,
    number: str,
    answer_by_s: int,
    ceiling_s: int,
    trace: bytes,
    policy: Policy,
) -> Session:
    chain = facts.chain or _UNKNOWN
    payer = chain[0]
    levels = _levels_of_both(offered, facts, answer_by_s, policy)
    slice_s = granted_s = ceiling_s
    if offered.can_extend:
        slice_s, granted_s = slicing.opening(levels, policy.slice_first_s, ceiling_s, policy.longest_unattended_s)
    if facts.emergency:
        granted_s = EMERGENCY_GRANT_S
    # In two steps: more arguments than 30, a name counting twice, are handed over in a list and a dict made for it.
    session = Session(
        offered.call,
        facts.trace_id,
        _TAKING,
        offered.at,
        offered.direction,
        facts.a_number,
        number,
        chain[-1].id,
        payer.id,
        levels,
        facts.trunk.id if facts.trunk is not None else offered.trunk,
        trunk_slots(facts, offered, levels) if facts.trunk is not None else (),
        offered.fingerprint,
        offered.can_extend,
        offered.attended,
        facts.emergency,
        ceiling_s,
        payer.warnings.seconds,
        payer.warnings.to,
        None,  # it was not warned yet
        granted_s,
        slice_s,
        granted_s,
        trace=trace,
        busy=True,
        sliced_ms=now.wall_ms,
    )
    return replace(
        session,
        affiliates=() if facts.emergency else payer.affiliates,
        within=offered.within,
        limits=facts.limits,
        clock=policy.clock,
        ahead_ms=now.wall_ms - now.monotonic_ms,
    )


def _levels_of_both(offered: Offered, facts: Facts, answer_by_s: int, policy: Policy) -> tuple[Level, ...]:
    """The caller's side with what watches it, then the called one where that pays, too."""
    levels = _levels(facts, facts, offered.direction, answer_by_s, within=offered.within is not None)
    watched = facts.ruled or policy.thresholds is not None
    if watched and offered.direction is _OUTBOUND and not facts.emergency:
        levels = watching(levels, facts.chain, policy.thresholds, facts.b_number)
    if facts.called is not None:
        levels += _called_levels(facts, facts.called, answer_by_s)
    return levels


def _called_levels(facts: Facts, called: Called, answer_by_s: int) -> tuple[Level, ...]:
    """Of the called side: its channels are inbound ones, its money may be under another root."""
    root = called.standings[-1].account.id
    elsewhere = "" if root == facts.chain[-1].id else root
    levels = _levels(facts, called, Direction.INBOUND, answer_by_s, within=False)
    return tuple(
        [
            replace(level, role=Role.RESELLER if depth else Role.CALLED, root=elsewhere)
            for depth, level in enumerate(levels)
        ]
    )


def _levels(
    facts: Facts, side: Facts | Called, direction: Direction, answer_by_s: int, *, within: bool
) -> tuple[Level, ...]:
    """One for each price of a side; there are none where nobody sells the call."""
    number, trunk, levels = facts.b_number, facts.trunk, []
    for depth, price in enumerate(side.prices):  # to pair them with the standings takes longer
        standing, day = side.standings[depth], side.days[depth]
        account, overflow, traffic_class = standing.account, standing.overflow, price.traffic_class
        if overflow is None and trunk is not None and trunk.caps is not None and not facts.above(account.id):
            overflow = trunk.caps.overflow  # where the payer has no price of its own for it
        if not traffic_class and number is not None:
            traffic_class = class_of(number, account.dial_rules.country or facts.home, facts.lists)
        parts = price.parts
        if parts:
            parts = tuple([replace(part, taxes=account.bears(part.taxes)) for part in parts])
        level = Level(  # by place, as they are stored: so many names take a microsecond
            account.id,
            standing.prepaid,
            account.exempt,
            account.currency,
            price.plan,
            price.row,
            price.destination or (number.country if number is not None else ""),
            price.type,
            traffic_class,
            price.sell,
            price.buy_plan,
            price.buy_row,
            price.buy,
            account_slots(facts, account, direction, day, price.type, traffic_class, within=within),
            overflow.per_call if overflow is not None else 0,
            overflow.per_minute if overflow is not None else 0,
            False,  # the store tells what is beyond a cap
            0,
            price.conversion,
            account.bears(price.taxes) if price.taxes else (),
            parts,
            answer_by_s if price.in_bands else None,
            price.sources,
            _RESELLER if standing.level else _CUSTOMER,
            standing.above,
        )
        levels.append(level)
    return tuple(levels)


def take_for(session: Session, now: Instant, policy: Policy, rates: tuple[Rate, ...] = ()) -> Take:
    """What the store is asked for: the session's slice at every level, its channels, and the tokens of `rates`.

    The slice of a call that was admitted without the store belongs to the day on which it was granted.
    """
    granted_ms, again = now.wall_ms, session.tries > 0
    if session.state is not _TAKING:  # admitted without the store; what is being decided becomes so by the answer
        session = replace(session, state=State.ADMITTED, busy=False)
        granted_ms = session.sliced_ms
    seconds = 0 if session.emergency else session.granted_s
    return Take(
        session,
        _taken_of(session.levels, seconds, granted_ms, again=again),
        session.trunk_slots,
        rates,
        now.wall_ms + (policy.setup_timeout_s + policy.lease_grace_s) * 1000,
        now.wall_ms,
        session.emergency,
    )


def _taken_of(levels: tuple[Level, ...], seconds: int, granted_ms: int, *, again: bool) -> tuple[TakeLevel, ...]:
    taken = []
    for payer in levels:
        level, ask = payer, None
        draws: tuple[Draw, ...] = ()
        if payer.sources:
            level = drawing.kept(drawing.proposed(payer, seconds))
            draws = tuple([Draw(source.id, source.allowance, source.held) for source in level.sources])
        hold = hold_overflow = slicing.cost(level, seconds)
        if level.surcharge_call or level.surcharge_minute:
            hold_overflow = slicing.cost(replace(level, overflow=True), seconds)
        if level.watch is not None:
            ask = first_ask(level, level.watch, seconds, granted_ms, again=again)
        taken.append(TakeLevel(level.account, level.slots, hold, hold_overflow, draws, level.root, ask))
    return tuple(taken)


def refuse(session: Session, finding: Finding) -> Session:
    """The session with the refusal that this finding means, and its words."""
    refusal = finding.refusal or Refusal.PROVIDER_LIMIT
    return replace(session, refusal=refusal, refused_at=finding.level, detail=str(finding))
