"""May this call go ahead? Every check in order, with a full trace; then what to ask of the store.

All checks are evaluated, so that the answer lists every reason; the first in `Refusal`'s order decides. Money and
channels are judged by the store: `propose` says what to take, `findings` reads its verdict.
"""

from collections.abc import Iterable

import msgspec
from msgspec.structs import replace

from callctl.accounts import Account, WarnTo
from callctl.call import drawing
from callctl.call.anchor import possible
from callctl.call.channels import account_slots, rates, trunk_slots, untold_licences
from callctl.call.checks import CHECKS, PROVIDER, Called, Facts, Finding
from callctl.call.events import Offered
from callctl.call.session import Level, Role, Session, State
from callctl.call.takes import Draw, Take, TakeLevel
from callctl.call.trace import Check, Verdict, encode_trace
from callctl.call.watched import first_ask, watching
from callctl.causes import PRECEDENCE, Refusal
from callctl.clock import Instant
from callctl.limits.classes import NumberLists, class_of
from callctl.limits.concurrency import Rate
from callctl.limits.ids import Thresholds
from callctl.prepaid import slicing
from callctl.rating.charge import affordable_together
from callctl.rating.margin import purchases
from callctl.rating.match import LevelPrice
from callctl.rating.tariff import Direction

NOBODY = ""
"""The root under which attempts of unknown callers are recorded; no account can have this id."""
EMERGENCY_GRANT_S = 86_400  # an emergency call is never cut; this is what its answer says


TOO_DEAR_LATER = Finding(
    "max_cost",
    "a purchase that is dearer when the call is answered later",
    Refusal.COST_TOO_HIGH,
    "its first increment then is more than a call may cost",
    PROVIDER,
)


class Policy(msgspec.Struct, frozen=True):
    """The house rules of admission; every default stands in the example configuration.

    `thresholds`: of who calls and states none. `blind_s`: how long a postpaid call may last that was admitted without
    the store; 0 refuses it. `clock`: names the monotonic clock of this process among those of others.
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
    answer_by_s = _answer_by(offered, policy)
    longest_s = slicing.HORIZON_S if offered.can_extend else policy.longest_unattended_s
    ceiling_s = _ceiling(facts, longest_s, answer_by_s)
    if facts.emergency:
        trace = [Check("emergency", Verdict.PASS, f"{number} is an emergency number")]
        refused = None
    else:
        until_s = None if offered.can_extend else ceiling_s + _rings(facts, policy)
        found: list[Finding] = []
        for checker in CHECKS:
            found += checker(offered, facts, now, until_s)
        if not ceiling_s and deciding(found) is None:
            found.append(TOO_DEAR_LATER)
        trace = [Check("emergency", Verdict.PASS, number), *map(traced, found), *untold_licences(facts)]
        refused = deciding(found)
    session = _session(offered, facts, now, number, ceiling_s, encode_trace(trace), policy)
    return Proposal(session, take_for(session, now, policy, rates(facts, now)), refused)


def _rings(facts: Facts, policy: Policy) -> int:
    """How long after its set-up a call may be answered, where its prices depend on that."""
    return policy.setup_timeout_s if any(price.in_bands for _, price in facts.payers) else 0


def traced(finding: Finding) -> Check:
    verdict = Verdict.PASS
    if finding.refusal is not None:
        verdict = Verdict.REFUSE if finding.enforced else Verdict.WOULD_REFUSE
    return Check(finding.check, verdict, finding.saw, finding.limit, finding.level, finding.asked, finding.since)


def _session(
    offered: Offered, facts: Facts, now: Instant, number: str, ceiling_s: int, trace: bytes, policy: Policy
) -> Session:
    payer = facts.chain[0] if facts.chain else None
    answer_by_s = _answer_by(offered, policy)
    priced = enumerate(zip(facts.chain, facts.prices, facts.days, strict=False))
    levels = tuple(
        [
            _level(facts, depth, each, price, offered.direction, day, answer_by_s, within=offered.within is not None)
            for depth, (each, price, day) in priced
        ]
    )
    if offered.direction is Direction.OUTBOUND and not facts.emergency:
        levels = watching(levels, facts.chain, policy.thresholds, facts.b_number)
    if facts.called is not None:
        levels += _called_levels(facts, facts.called, answer_by_s)
    least_s = slicing.first_slice(levels, policy.slice_first_s) if offered.can_extend else ceiling_s
    granted_s = slicing.stretched(levels, min(least_s, ceiling_s), min(ceiling_s, policy.longest_unattended_s))
    return Session(
        call=offered.call,
        trace_id=facts.trace_id,
        state=State.TAKING,
        setup=offered.at,
        direction=offered.direction,
        a_number=facts.a_number,
        b_number=number,
        root=facts.chain[-1].id if facts.chain else NOBODY,
        account=payer.id if payer is not None else "",
        levels=levels,
        trunk=facts.trunk.id if facts.trunk is not None else offered.trunk,
        trunk_slots=trunk_slots(facts, offered, levels),
        fingerprint=offered.fingerprint,
        can_extend=offered.can_extend,
        attended=offered.attended,
        emergency=facts.emergency,
        ceiling_s=ceiling_s,
        warnings=payer.warnings.seconds if payer is not None else (),
        warn_to=payer.warnings.to if payer is not None else WarnTo.CALLER,
        granted_s=EMERGENCY_GRANT_S if facts.emergency else granted_s,
        slice_s=least_s,
        wanted_s=EMERGENCY_GRANT_S if facts.emergency else granted_s,
        trace=trace,
        busy=True,
        affiliates=payer.affiliates if payer is not None and not facts.emergency else (),
        within=offered.within,
        limits=facts.limits,
        sliced_ms=now.wall_ms,
        clock=policy.clock,
        ahead_ms=now.wall_ms - now.monotonic_ms,
    )


def _ceiling(facts: Facts, longest_s: int, answer_by_s: int) -> int:
    """The longest grant that every level's bound on the purchase price of a call allows."""
    for account, price in facts.payers:
        bound = account.max_cost.per_call if account.max_cost is not None else None
        if bound is not None:
            for bought in possible(purchases(price), answer_by_s):
                longest_s = affordable_together(bought, bound, longest_s)
    return longest_s


def _answer_by(offered: Offered, policy: Policy) -> int:
    """The last wall second at which the call may be answered, if it is set up in time."""
    return offered.at.wall_ms // 1000 + policy.setup_timeout_s


def _called_levels(facts: Facts, called: Called, answer_by_s: int) -> tuple[Level, ...]:
    """Of the called side: its channels are inbound ones, its money may be under another root."""
    root, levels = called.chain[-1].id, []
    for depth, (account, price, day) in enumerate(zip(called.chain, called.prices, called.days, strict=True)):
        level = _level(facts, depth, account, price, Direction.INBOUND, day, answer_by_s)
        parent = called.chain[depth + 1].id if depth + 1 < len(called.chain) else None
        role = Role.RESELLER if depth else Role.CALLED
        levels.append(replace(level, role=role, parent=parent, root="" if root == facts.chain[-1].id else root))
    return tuple(levels)


def _level(
    facts: Facts,
    depth: int,
    account: Account,
    price: LevelPrice,
    direction: Direction,
    day: str,
    answer_by_s: int,
    *,
    within: bool = False,
) -> Level:
    number, overflow = facts.b_number, account.caps.overflow if account.caps is not None else None
    if overflow is None and facts.trunk is not None and facts.trunk.caps is not None and not facts.above(account.id):
        overflow = facts.trunk.caps.overflow  # where the payer has no price of its own for it
    home = account.dial_rules.country or facts.home
    traffic_class = price.traffic_class or (class_of(number, home, facts.lists) if number is not None else "")
    return Level(
        account=account.id,
        prepaid=account.prepaid,
        exempt=account.exempt,
        currency=account.currency,
        plan=price.plan,
        row=price.row,
        destination=price.destination or (number.country if number else ""),
        type=price.type,
        traffic_class=traffic_class,
        sell=price.sell,
        buy_plan=price.buy_plan,
        buy_row=price.buy_row,
        buy=price.buy,
        conversion=price.conversion,
        slots=account_slots(facts, account, direction, day, price.type, traffic_class, within=within),
        surcharge_call=overflow.per_call if overflow is not None else 0,
        surcharge_minute=overflow.per_minute if overflow is not None else 0,
        taxes=account.bears(price.taxes),
        parts=tuple([replace(part, taxes=account.bears(part.taxes)) for part in price.parts]) if price.parts else (),
        answer_by_s=answer_by_s if price.in_bands else None,
        sources=price.sources,
        role=Role.RESELLER if depth else Role.CUSTOMER,
        parent=facts.chain[depth + 1].id if depth + 1 < len(facts.chain) else None,
    )


def take_for(session: Session, now: Instant, policy: Policy, rates: tuple[Rate, ...] = ()) -> Take:
    """What the store is asked for: the session's slice at every level, its channels, and the tokens of `rates`.

    The slice of a call that was admitted without the store belongs to the day on which it was granted.
    """
    granted_ms, again = now.wall_ms, session.tries > 0
    if session.state is not State.TAKING:  # admitted without the store; what is being decided becomes so by the answer
        session = replace(session, state=State.ADMITTED, busy=False)
        granted_ms = session.sliced_ms
    seconds = 0 if session.emergency else session.granted_s
    return Take(
        session=session,
        levels=tuple([_take_of(level, seconds, granted_ms, again=again) for level in session.levels]),
        trunk_slots=session.trunk_slots,
        rates=rates,
        lease_until_ms=now.wall_ms + (policy.setup_timeout_s + policy.lease_grace_s) * 1000,
        now_ms=now.wall_ms,
        force=session.emergency,
    )


def _take_of(level: Level, seconds: int, granted_ms: int, *, again: bool) -> TakeLevel:
    draws: tuple[Draw, ...] = ()
    if level.sources:
        level = drawing.kept(drawing.proposed(level, seconds))
        draws = tuple([Draw(source.id, source.allowance, source.held) for source in level.sources])
    hold = hold_overflow = slicing.cost(level, seconds)
    if level.surcharge_call or level.surcharge_minute:
        hold_overflow = slicing.cost(replace(level, overflow=True), seconds)
    ask = first_ask(level, seconds, granted_ms, again=again)
    return TakeLevel(level.account, level.slots, hold, hold_overflow, draws, level.root, ask)


def deciding(findings: Iterable[Finding]) -> Finding | None:
    """The finding that decides: the first in the order of `Refusal`, the caller's own before those of levels above."""
    refusing = [finding for finding in findings if finding.refusal is not None and finding.enforced]
    return min(refusing, key=_rank) if refusing else None


def _rank(finding: Finding) -> tuple[int, bool]:
    return PRECEDENCE[finding.refusal or Refusal.OVERLOADED], bool(finding.level)


def refuse(session: Session, finding: Finding) -> Session:
    """The session with the refusal that this finding means, and its words."""
    refusal = finding.refusal or Refusal.PROVIDER_LIMIT
    return replace(session, refusal=refusal, refused_at=finding.level, detail=str(finding))
