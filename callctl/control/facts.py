"""What must be looked up before a call can be decided: the payer, the number, the rows. All of it in memory."""

import re
from collections.abc import Sequence

from callctl.accounts import Chain, Trunk
from callctl.call.checks import Called, Facts
from callctl.call.events import Answered, Offered
from callctl.call.session import Purchase, Session
from callctl.clock import Instant, local_day
from callctl.control.parts import with_parts
from callctl.control.payer import NO_RULES, find_called, find_payer
from callctl.control.stock import with_sources
from callctl.limits.classes import NumberLists
from callctl.limits.concurrency import Slot
from callctl.money import Rounding
from callctl.numbering import Number, caller, normalise, understood
from callctl.numbering.line import LONGEST_DIALLED
from callctl.ports import Tariffs
from callctl.rating.match import NO_ROW, Deck, LevelPrice, NoRate, carrier_price, price_levels
from callctl.rating.price import Price, Tier, anchored
from callctl.rating.rules import home_of
from callctl.rating.tariff import Direction, TrafficClass
from callctl.rating.tax import Tax

EXTENSION = re.compile(r"[A-Za-z0-9._*#-]{1,32}")
LONGEST_TOLD = 256
"""Characters of what told the payer. A switch may hand on whatever a caller has made up; more is not recorded."""
_FREE = Price(0, 1, (Tier(0, 0, 1),), rounding=Rounding.HALF_UP)


def gather(offered: Offered, tariffs: Tariffs, now: Instant, lists: NumberLists, outer: Session | None = None) -> Facts:
    """Everything `admission.propose` asks about. Never raises: what is not found is a fact too.

    `outer`: the call that it is within; None where that is not up.
    """
    directory = tariffs.directory
    payer = find_payer(offered, outer, directory, lists)
    chain, trunk, rules, dialled = payer.chain, payer.trunk, payer.rules, payer.dialled
    outgoing = offered.direction is not Direction.INBOUND
    helpline, number = understood(dialled, rules, lists.emergency) if outgoing else (None, normalise(dialled, rules))
    emergency = helpline is not None or (outgoing and offered.emergency)
    minute = now.wall_ms // 60_000
    prices: tuple[LevelPrice, ...] | NoRate = ()
    called = None
    if emergency:
        prices = _free(chain, tariffs, "emergency", TrafficClass.EMERGENCY)
    elif number is not None and chain:
        prices = _prices(offered, chain, trunk, number, tariffs)
        if not isinstance(prices, NoRate):
            prices = with_parts(prices, chain, number, offered.direction, tariffs, offered.at.wall_ms)
        if not isinstance(prices, NoRate):
            prices = with_sources(prices, chain, number, offered.direction, tariffs, offered.at.wall_ms)
        other_side = find_called(offered, payer, number, directory)
        if other_side is not None:
            called = _called(offered, directory.chain(other_side), number, tariffs, minute)
    elif offered.direction is Direction.INTERNAL and EXTENSION.fullmatch(dialled):
        prices = _free(chain, tariffs, offered.direction.value, TrafficClass.INTERNAL)
    return Facts(
        chain=chain,
        trunk=trunk,
        dialled=helpline or dialled[:LONGEST_DIALLED],
        a_number=caller(offered.a_number, rules),
        b_number=number,
        emergency=emergency,
        trace_id=offered.call.trace_id,
        caller=payer.told_by[:LONGEST_TOLD],
        pbx=payer.pbx,
        unknown=payer.unknown,
        called=called,
        home=rules.country or home_of(chain),
        lists=lists,
        days=tuple([local_day(level.timezone, minute) for level in chain]),
        trunk_day=_trunk_day(trunk, tariffs, minute),
        licences=tariffs.licences,
        limits=_limits(offered, trunk, number, tariffs),
        prices=() if isinstance(prices, NoRate) else prices,
        unpriced=prices if isinstance(prices, NoRate) else None,
        free=isinstance(prices, tuple) and bool(prices) and prices[0].sell is _FREE,
    )


def _trunk_day(trunk: Trunk | None, tariffs: Tariffs, minute: int) -> str:
    """Where its owner is."""
    owner = tariffs.directory.accounts.get(trunk.account) if trunk is not None else None
    return local_day(owner.timezone, minute) if owner is not None else ""


def _limits(offered: Offered, trunk: Trunk | None, number: Number | None, tariffs: Tariffs) -> tuple[Slot, ...]:
    """Of the provider's own: by the carrier that the call comes from or goes to, if that is known, and its number."""
    if not tariffs.limits:
        return ()
    line = trunk.id if trunk is not None else offered.trunk
    carrier = line if offered.direction is Direction.INBOUND else offered.trunk_out
    return tariffs.limits.slots(offered.direction, carrier, number.digits if number is not None else "")


def _prices(
    offered: Offered, chain: Chain, trunk: Trunk | None, number: Number, tariffs: Tariffs
) -> tuple[LevelPrice, ...] | NoRate:
    at_ms, directory = offered.at.wall_ms, tariffs.directory
    on_net = offered.direction is Direction.OUTBOUND and directory.by_number(number.e164) is not None
    own = tariffs.deck(directory.plans[chain[0].id], at_ms) if on_net else None
    if own is not None and not own.plan_at(at_ms).bill_on_net:
        return _free(chain, tariffs, "on-net", TrafficClass.ONNET)
    found = _sold(chain, trunk, number, offered.direction, tariffs, at_ms)
    unpriced = isinstance(found, NoRate) and found.reason == NO_ROW
    if unpriced and offered.direction is not Direction.OUTBOUND:  # what no row prices costs nothing
        return _free(chain, tariffs, offered.direction.value, TrafficClass.INTERNAL)
    return found


def _sold(
    chain: Chain, trunk: Trunk | None, number: Number, direction: Direction, tariffs: Tariffs, at_ms: int
) -> tuple[LevelPrice, ...] | NoRate:
    decks = _decks(chain, tariffs, at_ms)
    if isinstance(decks, NoRate):
        return decks
    _, root = decks[-1]
    bought = (trunk.buy_plan if trunk is not None else None) or root.plan_at(at_ms).buy_plan
    carrier = tariffs.deck(bought, at_ms) if bought is not None else None
    return price_levels(decks, carrier, number, at_ms, direction, tariffs.exchanges)


def _called(offered: Offered, chain: Chain, number: Number, tariffs: Tariffs, minute: int) -> Called | None:
    """The account whose number is called, where its plan and those above have an inbound row for it."""
    at_ms = offered.at.wall_ms
    prices = _sold(chain, None, number, Direction.INBOUND, tariffs, at_ms)
    if not isinstance(prices, NoRate):
        prices = with_parts(prices, chain, number, Direction.INBOUND, tariffs, at_ms)
    if isinstance(prices, NoRate):
        return None
    prices = with_sources(prices, chain, number, Direction.INBOUND, tariffs, at_ms)
    return Called(chain, prices, tuple([local_day(level.timezone, minute) for level in chain]))


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


def _decks(chain: Chain, tariffs: Tariffs, at_ms: int) -> Sequence[tuple[str, Deck]] | NoRate:
    decks = []
    plans = tariffs.directory.plans
    for level in chain:
        deck = tariffs.deck(plans[level.id], at_ms)
        if deck is None:
            return NoRate(level.id, plans[level.id], "the plan has no rows")
        decks.append((level.id, deck))
    return decks


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
