"""Which plans a token that is bound to an account sees and writes: those that it, or an account below it, owns.

By such a plan it sells. What it pays itself, and what others pay, is not its to say, whoever owns that plan.
"""

from callctl.accounts import Directory
from callctl.http import seeing
from callctl.http.errors import HttpError
from callctl.http.purchases import family
from callctl.ports import Tariffs
from callctl.rating.tariff import Plan


def visible(directory: Directory, viewer: str | None, plan: Plan) -> bool:
    return viewer is None or (plan.owner is not None and seeing.may_see(directory, viewer, plan.owner))


def refuse_foreign(tariffs: Tariffs, viewer: str | None, plan: Plan) -> None:
    """HttpError 403 where the plan, as it would be or as it is, is none that the viewer may write."""
    if viewer is None:
        return
    directory, plans = tariffs.directory, tariffs.plans
    for each in (plan, plans.get(plan.id)):
        if each is not None and not visible(directory, viewer, each):
            raise HttpError(403, "forbidden", f"the owner must be {viewer} or an account below it", "owner")
    if plan.buy_plan is not None:
        raise HttpError(403, "forbidden", f"{viewer} buys by what it is charged", "buy_plan")
    inherited = plans.get(plan.extends) if plan.extends is not None else plan
    if inherited is None or not visible(directory, viewer, inherited):
        raise HttpError(403, "forbidden", f"{viewer} has no such plan", "extends")
    heirs = {plan.id, *(each for each in plans if plan.id in family(plans, each))}
    below = {each for each in directory.below(viewer) if each != viewer}
    accounts = directory.accounts.items()
    charged = {id for id, it in accounts if directory.plans[id] in heirs or not heirs.isdisjoint(it.also)}
    buying = {each.buy_plan for each in plans.values()} | {each.buy_plan for each in directory.trunks.values()}
    if charged - below or heirs & buying or any(not visible(directory, viewer, plans.get(id, plan)) for id in heirs):
        raise HttpError(403, "forbidden", f"others than the customers of {viewer} pay by this plan", "id")
