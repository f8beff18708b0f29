"""What must be looked up before a call can be decided: the payer, the number, the rows. All of it in memory."""

import re

from callctl.accounts import Account, Chain, Trunk
from callctl.call.checks import Called, Facts
from callctl.call.events import Answered, Offered
from callctl.call.session import Purchase, Session
from callctl.clock import Instant, local_day, local_days
from callctl.control.parts import with_parts
from callctl.control.payer import NO_RULES, find_called, find_payer
from callctl.control.stock import with_sources
from callctl.limits.classes import NumberLists
from callctl.limits.concurrency import Slot
from callctl.limits.provider import ProviderLimits
from callctl.money import Rounding
from callctl.numbering import Number, caller, normalise, understood
from callctl.numbering.line import LONGEST_DIALLED
from callctl.ports import Tariffs
from callctl.rating.levels import NO_ROW, LevelPrice, NoRate, carrier_price, price_levels
from callctl.rating.price import Price, Tier, anchored
from callctl.rating.tariff import Direction, TrafficClass
from callctl.rating.tax import Tax
from callctl.rating.terms import Terms

EXTENSION = re.compile(r"[A-Za-z0-9._*#-]{1,32}")
LONGEST_TOLD = 256
"""Characters of what told the payer. A switch may hand on whatever a caller has made up; more is not recorded."""
_OUTBOUND, _INBOUND = Direction.OUTBOUND, Direction.INBOUND
_FREE = Price(0, 1, (Tier(0, 0, 1),), rounding=Rounding.HALF_UP)


def gather(offered: Offered, tariffs: Tariffs, now: Instant, lists: NumberLists, outer: Session | None = None) -> Facts:
    """Everything `admission.propose` asks about. Never raises: what is not found is a fact too.

    `outer`: the call that it is within; None where that is not up.
    """
    directory, outgoing = tariffs.directory, offered.direction is not _INBOUND
    payer = find_payer(offered, outer, directory, lists)
    chain, trunk, rules, dialled = payer.chain, payer.trunk, payer.rules, payer.dialled
    terms = tariffs.terms(chain, offered.at.wall_ms)
    helpline, number = understood(dialled, rules, lists.emergency) if outgoing else (None, normalise(dialled, rules))
    emergency = helpline is not None or (outgoing and offered.emergency)
    minute = now.wall_ms // 60_000
    prices: tuple[LevelPrice, ...] = ()
    unpriced = called = None
    if emergency:
        prices = _free(chain, tariffs, "emergency", TrafficClass.EMERGENCY)
    elif number is not None and chain:
        owned = directory.by_number(number.e164) is not None
        found = _prices(offered, chain, terms, trunk, number, tariffs, owned)
        if isinstance(found, NoRate):
            unpriced = found
        else:
            prices = found
        if owned and (other_side := find_called(offered, payer, number, directory)) is not None:
            called = _called(offered, directory.chain(other_side), number, tariffs, minute)
    elif offered.direction is Direction.INTERNAL and EXTENSION.fullmatch(dialled):
        prices = _free(chain, tariffs, offered.direction.value, TrafficClass.INTERNAL)
    return Facts(  # by place: so many names take a microsecond
        chain,
        terms.standings,
        terms.rules,
        trunk,
        helpline or dialled[:LONGEST_DIALLED],
        caller(offered.a_number, rules),
        number,
        emergency,
        offered.call.trace_id,
        payer.told_by[:LONGEST_TOLD],
        local_days(terms.zones, minute),
        prices,
        unpriced,
        payer.pbx,
        payer.unknown,
        called,
        rules.country or terms.home,
        lists,
        _trunk_day(trunk, tariffs, minute) if trunk is not None else "",
        tariffs.licences,
        _limits(offered, trunk, number, tariffs.limits) if tariffs.limits.by_id else (),
        terms.ruled,
    )


def _trunk_day(trunk: Trunk, tariffs: Tariffs, minute: int) -> str:
    """Where its owner is."""
    owner = tariffs.directory.accounts.get(trunk.account)
    return local_day(owner.timezone, minute) if owner is not None else ""


def _limits(offered: Offered, trunk: Trunk | None, number: Number | None, limits: ProviderLimits) -> tuple[Slot, ...]:
    """Of the provider's own: by the carrier that the call comes from or goes to, if that is known, and its number."""
    line = trunk.id if trunk is not None else offered.trunk
    carrier = line if offered.direction is Direction.INBOUND else offered.trunk_out
    return limits.slots(offered.direction, carrier, number.digits if number is not None else "")


def _prices(
    offered: Offered, chain: Chain, terms: Terms, trunk: Trunk | None, number: Number, tariffs: Tariffs, owned: bool
) -> tuple[LevelPrice, ...] | NoRate:
    """`owned`: an account has the number."""
    at_ms, direction = offered.at.wall_ms, offered.direction
    if owned and direction is _OUTBOUND and not _bills_on_net(chain[0], tariffs, at_ms):
        found: tuple[LevelPrice, ...] | NoRate = _free(chain, tariffs, "on-net", TrafficClass.ONNET)
    else:
        found = _sold(terms, trunk, number, direction, tariffs, at_ms)
        if direction is not _OUTBOUND and isinstance(found, NoRate) and found.reason == NO_ROW:
            # what no row prices costs nothing
            found = _free(chain, tariffs, direction.value, TrafficClass.INTERNAL)
    return found if terms.bare else _in_full(found, chain, number, direction, tariffs, at_ms)


def _bills_on_net(payer: Account, tariffs: Tariffs, at_ms: int) -> bool:
    """Whether calls between accounts of ours are priced as any others."""
    own = tariffs.deck(tariffs.directory.plans[payer.id], at_ms)
    return own is None or own.plan_at(at_ms).bill_on_net


def _sold(
    terms: Terms, trunk: Trunk | None, number: Number, direction: Direction, tariffs: Tariffs, at_ms: int
) -> tuple[LevelPrice, ...] | NoRate:
    if terms.unpriced is not None:
        return terms.unpriced
    if trunk is not None and trunk.buy_plan is not None:
        carrier = tariffs.deck(trunk.buy_plan, at_ms)
        return price_levels(terms.levels, carrier, number, at_ms, direction, tariffs.exchanges)
    return terms.ladder.prices(terms.levels, number, at_ms, direction, tariffs.exchanges)


def _in_full(
    prices: tuple[LevelPrice, ...] | NoRate,
    chain: Chain,
    number: Number,
    direction: Direction,
    tariffs: Tariffs,
    at_ms: int,
) -> tuple[LevelPrice, ...] | NoRate:
    """With what other plans charge besides, and what the levels draw upon before money."""
    if not isinstance(prices, NoRate):
        prices = with_parts(prices, chain, number, direction, tariffs, at_ms)
    if not isinstance(prices, NoRate):
        prices = with_sources(prices, chain, number, direction, tariffs, at_ms)
    return prices


def _called(offered: Offered, chain: Chain, number: Number, tariffs: Tariffs, minute: int) -> Called | None:
    """The account whose number is called, where its plan and those above have an inbound row for it."""
    at_ms = offered.at.wall_ms
    terms = tariffs.terms(chain, at_ms)
    prices = _sold(terms, None, number, Direction.INBOUND, tariffs, at_ms)
    if not terms.bare:
        prices = _in_full(prices, chain, number, Direction.INBOUND, tariffs, at_ms)
    if isinstance(prices, NoRate):
        return None
    return Called(terms.standings, prices, local_days(terms.zones, minute))


def purchase(session: Session, event: Answered, tariffs: Tariffs) -> Purchase | None:
    """What the carrier that answered is paid by; None where nobody knows it, or it has no plan of its own.

    The rows are those of the setup, as all rows of the call. What the call sells for was told, and stays.
    """
    trunk = tariffs.directory.trunks.get(event.trunk_out) if event.trunk_out is not None else None
    if trunk is None or trunk.buy_plan is None or session.direction is not Direction.OUTBOUND or not session.levels:
        return None
    if session.attended and not trunk.is_on(session.call.switch):
        return None
    number, deck = normalise(session.b_number, NO_RULES), tariffs.deck(trunk.buy_plan, session.setup.wall_ms)
    if number is None or deck is None:
        return Purchase(trunk.buy_plan)
    at_ms, currency = session.setup.wall_ms, session.levels[session.called_from - 1].currency
    found = carrier_price(deck, currency, number, at_ms, Direction.OUTBOUND, tariffs.exchanges)
    if isinstance(found, str):
        return Purchase(trunk.buy_plan)
    price = anchored(found.level.sell, event.at.wall_ms // 1000)
    return Purchase(found.level.plan, found.level.row, price, found.conversion)


def _free(chain: Chain, tariffs: Tariffs, what: str, traffic_class: TrafficClass) -> tuple[LevelPrice, ...]:
    plans = [tariffs.directory.plans[level.id] for level in chain]
    return tuple(
        LevelPrice(
            plan, what, what, "", traffic_class, _FREE, None, None, None, taxes=_taxes(plan, tariffs), unsold=True
        )
        for plan in plans
    )


def _taxes(plan_id: str, tariffs: Tariffs) -> tuple[Tax, ...]:
    """Of what a free call may cost all the same: a surcharge."""
    plan = tariffs.plan(plan_id)
    return plan.taxes if plan is not None else ()
