"""What plans buy by: whose percentages a new deck, or another `buy_plan`, would leave without a purchase price."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from itertools import islice

from msgspec.structs import replace

from callctl.accounts import Directory, Trunk
from callctl.clock import local_day
from callctl.http.deckwork import Seller
from callctl.http.errors import HttpError
from callctl.ports import Definitions, Tariffs
from callctl.rating.decks.margins import Purchases, no_purchase
from callctl.rating.exchange import Conversion, Exchanges, find_conversion
from callctl.rating.tariff import Plan, Row

Plans = Mapping[str, Plan]

_TOLD_AT_MOST = 100


def family(plans: Plans, plan_id: str | None) -> tuple[str, ...]:
    """A plan behind those that it extends, the eldest first; nothing where there is no such plan."""
    found: list[str] = []
    while plan_id is not None and plan_id in plans and plan_id not in found:
        found.append(plan_id)
        plan_id = plans[plan_id].extends
    return tuple(reversed(found))


def sellers(plans: Plans, changed: str) -> tuple[Seller, ...]:
    """The other plans with a buy plan that sell or buy by the rows of this one."""
    found = (
        Seller(plan.id, plan.buy_plan, family(plans, plan.id), family(plans, plan.buy_plan))
        for plan in plans.values()
        if plan.buy_plan is not None and plan.id != changed
    )
    return tuple(seller for seller in found if changed in (*seller.sells, *seller.buys))


def exchange(plans: Plans, exchanges: Exchanges, plan: Plan, now_ms: int) -> Conversion | str | None:
    """By which today's purchases of a plan are converted, or why they are not; None in its own currency."""
    buy = plans.get(plan.buy_plan or "")
    if buy is None or buy.currency == plan.currency:
        return None
    at_ms = max(now_ms, plan.effective_ms or 0)
    return find_conversion(exchanges, buy.currency, plan.currency, local_day(buy.timezone, at_ms // 60_000))


async def refuse_without(definitions: Definitions, tariffs: Tariffs, plan: Plan, at_ms: int) -> None:
    """HttpError 422 where a plan, as it would be, has percentages for which nothing would be bought any more."""
    before = tariffs.plans.get(plan.id)
    if before is None or (before.buy_plan, before.extends) == (plan.buy_plan, plan.extends):
        return
    if plan.buy_plan is None and not _sold_by_provider(tariffs.directory, plan.id):
        return  # who is below another account buys from that one
    rows = await _unbought(definitions, tariffs, {**tariffs.plans, plan.id: plan}, plan, at_ms)
    if rows:
        details = tuple(f"row {row.name}: {no_purchase(plan.buy_plan)}" for row in islice(rows, _TOLD_AT_MOST))
        raise HttpError(422, "percentages_of_nothing", no_purchase(plan.buy_plan, rows), "buy_plan", details=details)


async def _unbought(definitions: Definitions, tariffs: Tariffs, plans: Plans, plan: Plan, at_ms: int) -> list[Row]:
    """A plan's percentages for which nothing is bought."""
    sold = _percentages(tariffs, plans, plan, at_ms)
    if not sold:
        return []
    bought = [row async for row in _rows(definitions, family(plans, plan.buy_plan))]
    return [sold[index] for index in await asyncio.to_thread(lambda: [*Purchases(bought, at_ms).missing(sold)])]


def _percentages(tariffs: Tariffs, plans: Plans, plan: Plan, at_ms: int) -> list[Row]:
    """A plan's, whether it is effective yet or not."""
    decks = (tariffs.deck(each, tariffs.plans[each].effective_ms or at_ms) for each in family(plans, plan.id))
    return [row for deck in decks if deck is not None for row in deck.percentages]


async def lost_by_trunk(definitions: Definitions, tariffs: Tariffs, trunk: Trunk, at_ms: int) -> tuple[str, ...]:
    """In words, which percentages have no purchase price for the calls of a trunk, as it is now."""
    plan = tariffs.plans.get(_root_plan(tariffs.directory, trunk))
    if plan is None or (trunk.buy_plan is None and plan.buy_plan is not None):
        return ()
    plan = replace(plan, buy_plan=trunk.buy_plan)
    rows = await _unbought(definitions, tariffs, tariffs.plans, plan, at_ms)
    if rows:
        return (f"plan {plan.id}: {no_purchase(plan.buy_plan, rows)}",)
    return _unconverted(tariffs, plan, at_ms)


def lost_by_exchange(tariffs: Tariffs, pair: str, at_ms: int) -> tuple[str, ...]:
    """In words, which plans' percentages have no purchase price for want of a rate between these currencies."""
    plans, directory = tariffs.plans, tariffs.directory
    sales = {(plan.id, plan.buy_plan or "") for plan in plans.values()}
    sales |= {(_root_plan(directory, trunk), trunk.buy_plan or "") for trunk in directory.trunks.values()}
    lost: list[str] = []
    for plan_id, buy_plan in sorted((plan, buy) for plan, buy in sales if plan in plans and buy in plans):
        if pair == f"{plans[buy_plan].currency}-{plans[plan_id].currency}":
            lost += _unconverted(tariffs, replace(plans[plan_id], buy_plan=buy_plan), at_ms)
    return tuple(lost)


def _unconverted(tariffs: Tariffs, plan: Plan, at_ms: int) -> tuple[str, ...]:
    reason = exchange(tariffs.plans, tariffs.exchanges, plan, at_ms)
    if isinstance(reason, str) and _percentages(tariffs, tariffs.plans, plan, at_ms):
        return (f"plan {plan.id}: percentages of {plan.buy_plan}, and {reason}",)
    return ()


def told(lost: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """As an answer shows it: nothing where nothing is lost."""
    return {"warnings": lost} if lost else {}


def _root_plan(directory: Directory, trunk: Trunk) -> str:
    return directory.plans[directory.chain(trunk.account)[-1].id]


def _sold_by_provider(directory: Directory, plan_id: str) -> bool:
    """Whether it charges an account directly below the provider whose trunks do not say what it buys by."""
    trunks = (trunk for trunk in directory.trunks.values() if trunk.buy_plan is not None)
    by_trunk = {directory.root(trunk.account) for trunk in trunks}
    return any(directory.plans[root] == plan_id and root not in by_trunk for root in directory.roots())


async def _rows(definitions: Definitions, plan_ids: tuple[str, ...]) -> AsyncIterator[Row]:
    for plan_id in plan_ids:
        async for row in definitions.rows(plan_id):
            yield row
