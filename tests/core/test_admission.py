"""Rules on prices hold for every band and tier that the grant can reach, and not beyond it (`rules.md`, Margin)."""

import pytest
from msgspec.structs import replace

from callctl.accounts import Chain, Trunk
from callctl.call.admission import propose
from callctl.call.checks import Called
from callctl.causes import Refusal
from callctl.limits.concurrency import Caps
from callctl.numbering import DialRules
from callctl.rating.levels import NO_ROW, NoRate
from callctl.rating.margin import MarginRule, MaxCost
from callctl.rating.price import Price, Tier
from callctl.rating.terms import standings
from tests.core.calls import POLICY, START, account, facts, offered, price

LATER_S = POLICY.longest_unattended_s
"""The first second that a grant which cannot be extended does not reach."""


def refusal_of(chain: Chain, sold: Price, bought: Price, *, can_extend: bool) -> Refusal | None:
    looked_up = facts(chain=chain, prices=(sold,), buy=bought)
    refused = propose(offered(attended=False, can_extend=can_extend), looked_up, START, POLICY).refused
    return refused.refusal if refused is not None else None


def stepped(first: int, then: int, from_s: int) -> Price:
    return Price(0, 1, (Tier(0, first, 1), Tier(from_s, then, 1)))


@pytest.mark.parametrize(
    ("can_extend", "cheaper_from_s", "refusal"),
    [
        (False, LATER_S, None),
        (False, LATER_S - 1, Refusal.MARGIN_TOO_LOW),
        (True, LATER_S, Refusal.MARGIN_TOO_LOW),
    ],
)
def test_a_margin_is_kept_as_far_as_the_grant_reaches(
    can_extend: bool, cheaper_from_s: int, refusal: Refusal | None
) -> None:
    chain = (account(margin=MarginRule(min_per_minute=0)),)
    sold = stepped(60_000, 1_000, cheaper_from_s)
    assert refusal_of(chain, sold, price(30_000), can_extend=can_extend) is refusal


@pytest.mark.parametrize(
    ("can_extend", "dearer_from_s", "refusal"),
    [
        (False, LATER_S, None),
        (False, LATER_S - 1, Refusal.COST_TOO_HIGH),
        (True, LATER_S, Refusal.COST_TOO_HIGH),
    ],
)
def test_the_purchase_price_is_bounded_as_far_as_the_grant_reaches(
    can_extend: bool, dearer_from_s: int, refusal: Refusal | None
) -> None:
    chain = (account(max_cost=MaxCost(per_minute=3_000_000)),)
    bought = stepped(30_000, 40_000, dearer_from_s)
    assert refusal_of(chain, price(), bought, can_extend=can_extend) is refusal


def test_a_grant_that_max_cost_shortens_reaches_no_further() -> None:
    chain = (account(max_cost=MaxCost(per_minute=3_000_000, per_call=30_000)),)
    assert refusal_of(chain, price(), stepped(30_000, 40_000, 60), can_extend=False) is None
    assert refusal_of(chain, price(), stepped(30_000, 40_000, 58), can_extend=False) is Refusal.COST_TOO_HIGH


def test_what_no_row_names_is_the_country_and_its_class_seen_from_there_or_from_the_customer() -> None:
    """Were it always the customer's country, a reseller could make calls abroad calls at home."""
    nowhere, abroad = account("nowhere", dial_rules=DialRules()), account("reseller", dial_rules=DialRules("DE"))
    chain = (account(), nowhere, abroad)
    told = facts(chain)
    told = replace(told, prices=tuple(replace(each, destination="", traffic_class="") for each in told.prices))
    levels = propose(offered(), told, START, POLICY).session.levels
    found = [(level.destination, level.traffic_class) for level in levels]
    assert found == [("NL", "MOB"), ("NL", "MOB"), ("NL", "INTL")]


def test_a_call_that_no_row_prices_is_refused_on_a_trunk_too_when_whoever_is_called_has_a_price() -> None:
    chain = (account(), account("reseller"))
    called = Called(standings((account("shop"),)), facts().prices, ("2027-01-15",))
    trunk = Trunk("line", "reseller", caps=Caps(outbound=1))
    told = replace(facts(chain, trunk=trunk, unpriced=NoRate("acme", "standard", NO_ROW)), called=called)
    proposal = propose(offered(), told, START, POLICY)
    assert proposal.refused is not None
    assert proposal.refused.refusal is Refusal.NO_RATE
    assert [slot.name for slot in proposal.session.trunk_slots] == ["outbound", "total"]
