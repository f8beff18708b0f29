"""What is worked out once for all calls of an account: the next call sees every change of a definition."""

import weakref
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from callctl.accounts import Account, Group, Kind, Trunk
from callctl.call.checks import Facts
from callctl.call.events import Offered
from callctl.clock import Instant
from callctl.control.facts import gather
from callctl.limits.classes import NumberLists
from callctl.limits.concurrency import Caps, Overflow
from callctl.limits.destinations import Barring, DestinationRules
from callctl.limits.ids import RECOMMENDED
from callctl.limits.licence import Licence
from callctl.limits.provider import ProviderLimit
from callctl.numbering import DialRules
from callctl.rating.builder import DeckBuilder
from callctl.rating.bundles import Block, Blocks
from callctl.rating.exchange import DatedRate, Exchange
from callctl.rating.levels import NoRate
from callctl.rating.margin import MarginRule, MaxCost
from callctl.rating.tariff import Bundle, Direction, Plan, Row
from callctl.rating.tax import Tax
from callctl.store import registry as registry_module
from callctl.store.registry import Registry
from tests.core.calls import CALL, START

CENT = 1_000_000  # 10^-8 of the currency
LATER = START.plus_ms(86_400_000)
MOBILE, DID, CALLER_DID = "+31612345678", "+31201234567", "+31207654321"


def put_rows(known: Registry, plan: str, *rows: Row) -> None:
    builder = DeckBuilder(known.plans[plan])
    for row in rows:
        builder.add(row)
    known.put_deck(builder.build())


def put(known: Registry, definition: Plan | Account | Group | Trunk) -> None:
    match definition:
        case Plan():
            known.put_plan(definition)
        case Account():
            known.put_account(definition)
        case Group():
            known.put_group(definition)
        case Trunk():
            known.put_trunk(definition)


def priced(per_minute_cents: int) -> tuple[Row, Row]:
    """For outbound calls and for inbound ones."""
    row = Row("31", per_minute=per_minute_cents * CENT)
    return row, replace(row, direction=Direction.INBOUND)


PLANS = (
    Plan("carrier"),
    Plan("dear carrier"),
    Plan("american carrier", currency="USD"),
    Plan("wholesale", buy_plan="carrier"),
    Plan("base"),
    Plan("retail"),
    Plan("golden"),
    Plan("airtime"),
    Plan("to come", extends="base", effective_ms=LATER.wall_ms),
)
ACCOUNTS = (
    Account("house", Kind.POSTPAID, "wholesale", credit_limit=None),
    Account("agent", Kind.PREPAID, "wholesale", parent="house"),
    Account("acme", Kind.PREPAID, "retail", parent="house", numbers=(DID,)),
    Account("member", Kind.PREPAID, group="friends", parent="house", numbers=(CALLER_DID,)),
    Account("heir", Kind.PREPAID, parent="acme"),
    Account("early", Kind.PREPAID, "to come"),
)


def house() -> Registry:
    known = Registry()
    for plan in PLANS:
        known.put_plan(plan)
    for cents, plan in enumerate(PLANS, start=1):
        put_rows(known, plan.id, *priced(cents))
    known.put_exchange(Exchange("USD-EUR", (DatedRate("2020-01-01", 900_000_000_000),)))
    known.put_group(Group("friends", "golden"))
    for account in ACCOUNTS:
        known.put_account(account)
    known.put_trunk(Trunk("line", "acme"))
    return known


def rebuilt(known: Registry) -> Registry:
    """The same definitions, of which nothing has been worked out yet."""
    anew = Registry()
    for plan in known.plans.values():
        anew.put_plan(plan)
    for plan in known.plans:
        entries = known.own_deck(plan).entries()
        put_rows(anew, plan, *(row for entry in entries for row in (entry if isinstance(entry, tuple) else (entry,))))
    for group in known.groups.values():
        anew.put_group(group)
    for account in sorted(known.accounts.values(), key=lambda each: len(known.directory.chain(each.id))):
        anew.put_account(account)
    for trunk in known.trunks.values():
        anew.put_trunk(trunk)
    for exchange in known.exchanges.values():
        anew.put_exchange(exchange)
    for id, blocks in known.blocks.items():
        anew.put_blocks(Blocks(id, blocks))
    anew.limits = known.limits
    return anew


def calls() -> Iterator[Offered]:
    for at in (START, LATER):
        for account in (*(each.id for each in ACCOUNTS), "newcomer"):
            yield Offered(CALL, at, "+31101234567", MOBILE, account=account)
            yield Offered(CALL, at, "+31101234567", DID, account=account)
            yield Offered(CALL, at, "+31101234567", "+31881234567", Direction.INBOUND, account=account)
        yield Offered(CALL, at, "+31101234567", MOBILE, trunk="line")


def looked_up(known: Registry) -> list[tuple[object, ...]]:
    """What every call meets."""
    return [seen(gather(call, known, call.at, NumberLists())) for call in calls()]


def seen(facts: Facts) -> tuple[object, ...]:
    called = facts.called
    other_side = (called.standings, called.prices, called.days) if called is not None else None
    rest = facts.unpriced, facts.days, facts.home, facts.trunk_day, facts.limits, facts.ruled
    return facts.standings, facts.rules, facts.prices, other_side, *rest


def of(known: Registry, account: str, at: Instant = START) -> Facts:
    return gather(Offered(CALL, at, "", MOBILE, account=account), known, at, NumberLists())


def changed(id: str, **terms: object) -> Callable[[Registry], None]:
    """An account with other terms."""
    return lambda known: known.put_account(replace(known.accounts[id], **terms))


def plan(id: str, **terms: object) -> Callable[[Registry], None]:
    return lambda known: known.put_plan(replace(known.plans[id], **terms))


def rows(id: str, cents: int) -> Callable[[Registry], None]:
    return lambda known: put_rows(known, id, *priced(cents))


def added(definition: Plan | Account | Group | Trunk) -> Callable[[Registry], None]:
    return lambda known: put(known, definition)


CHANGES: dict[str, Callable[[Registry], None]] = {
    "rows of the customer's plan": rows("retail", 50),
    "rows of the plan above": rows("wholesale", 50),
    "rows of the carrier": rows("carrier", 50),
    "rows of what a plan extends": rows("base", 50),
    "rows of a plan to come": rows("to come", 50),
    "no rows": lambda known: put_rows(known, "retail"),
    "terms of the customer's plan": plan("retail", taxes=(Tax("VAT", percent=210_000),)),
    "terms of the plan above": plan("wholesale", round_seconds=60),
    "terms of the carrier": plan("carrier", round_seconds=60),
    "another carrier": plan("wholesale", buy_plan="dear carrier"),
    "no carrier": plan("wholesale", buy_plan=None),
    "a carrier in dollars": plan("wholesale", buy_plan="american carrier"),
    "a carrier to come": plan("carrier", extends="dear carrier", effective_ms=LATER.wall_ms),
    "a plan is dated": plan("retail", extends="base", effective_ms=LATER.wall_ms),
    "a lone plan is dated": plan("wholesale", effective_ms=LATER.wall_ms),
    "a plan is effective": plan("to come", effective_ms=START.wall_ms),
    "a plan is effective at any time": plan("to come", effective_ms=None),
    "what a plan to come extends": plan("to come", extends="golden"),
    "what a plan extends is dated": plan("base", effective_ms=START.wall_ms + 1),
    "calls on net": plan("retail", bill_on_net=True),
    "free minutes": plan("retail", bundles=(Bundle(name="free", seconds=600),)),
    "free minutes above": plan("wholesale", bundles=(Bundle(name="free", seconds=600),)),
    "free minutes of a plan to come": plan("to come", bundles=(Bundle(name="free", seconds=600),)),
    "free minutes of what a plan to come extends": plan("base", bundles=(Bundle(name="free", seconds=600),)),
    "a block": lambda known: known.put_blocks(Blocks("acme", (Block(id="b", name="block", seconds=600),))),
    "a block above": lambda known: known.put_blocks(Blocks("house", (Block(id="b", name="block", amount=600),))),
    "another plan": changed("acme", plan="golden"),
    "the plan of the account above": changed("acme", plan=None),
    "the plan of a group": changed("acme", plan=None, group="friends"),
    "another plan above": changed("house", plan="golden"),
    "a plan besides": changed("acme", also=("airtime",)),
    "a plan besides, above": changed("house", also=("airtime",)),
    "another account above": changed("acme", parent="agent"),
    "no account above": changed("acme", parent=None),
    "another account above the one above": changed("house", parent="early"),
    "a time zone": changed("acme", timezone="Pacific/Pago_Pago"),
    "a time zone above": changed("house", timezone="Pacific/Pago_Pago"),
    "a country": changed("acme", dial_rules=DialRules("NL")),
    "a country above": changed("house", dial_rules=DialRules("NL")),
    "an account is suspended": changed("acme", active=False),
    "an account is to expire": changed("acme", expires_ms=LATER.wall_ms),
    "attempts in a second": changed("acme", calls_per_second=5),
    "where it may call": changed("acme", destinations=DestinationRules(presets=(Barring.NO_PREMIUM,))),
    "what a call may cost": changed("acme", max_cost=MaxCost(per_minute=50 * CENT)),
    "how it pays": changed("acme", kind=Kind.POSTPAID),
    "caps": changed("acme", caps=Caps(total=5, overflow=Overflow(5, per_call=CENT))),
    "caps above": changed("house", caps=Caps(total=5, overflow=Overflow(5, per_call=CENT))),
    "a margin": changed("acme", margin=MarginRule(min_per_minute=CENT)),
    "a licence": changed("acme", licence=Licence(channels=5)),
    "spend thresholds": changed("acme", thresholds=RECOMMENDED),
    "spend thresholds above": changed("house", thresholds=RECOMMENDED),
    "numbers": changed("acme", numbers=()),
    "whose number it is": changed("agent", numbers=("+31881234567",)),
    "an account": added(Account("newcomer", Kind.PREPAID, "retail")),
    "another plan of a group": added(Group("friends", "airtime")),
    "a trunk's carrier": added(Trunk("line", "acme", buy_plan="dear carrier")),
    "whose trunk it is": added(Trunk("line", "member")),
    "a limit": lambda known: known.put_limit(ProviderLimit("all", total=1)),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_the_next_call_sees_a_change(change: Callable[[Registry], None]) -> None:
    known = house()
    before = looked_up(known)
    assert looked_up(known) == before
    change(known)
    after = looked_up(known)
    assert after == looked_up(rebuilt(known))
    assert after != before


@given(st.lists(st.sampled_from(list(CHANGES.values())), min_size=2, max_size=6))
def test_the_next_call_sees_any_changes(changes: list[Callable[[Registry], None]]) -> None:
    known = house()
    for change in changes:
        looked_up(known)
        try:
            change(known)
        except ValueError:  # it contradicts what another has changed
            continue
        assert looked_up(known) == looked_up(rebuilt(known))


def test_an_exchange_rate_is_todays() -> None:
    known = house()
    plan("wholesale", buy_plan="american carrier")(known)
    bought = of(known, "house").prices[0].buy
    known.put_exchange(Exchange("USD-EUR", (DatedRate("2020-01-01", 500_000_000_000),)))
    assert of(known, "house").prices[0].buy != bought
    assert of(known, "house") == of(rebuilt(known), "house")


def test_a_dated_plan_is_looked_up_for_every_call() -> None:
    known = house()
    for at, row_of in ((START, "base"), (LATER, "to come"), (START, "base")):
        assert of(known, "early", at).prices[0].plan == row_of


def test_the_first_account_without_rows_is_named() -> None:
    known = house()
    plan("wholesale", effective_ms=LATER.wall_ms)(known)
    assert of(known, "acme").unpriced == NoRate("house", "wholesale", "the plan has no rows")
    assert of(known, "acme", LATER).unpriced is None


def test_what_was_worked_out_is_used_again_and_ends() -> None:
    known = house()
    terms = known.terms(known.directory.chain("acme"), START.wall_ms)
    assert known.terms(known.directory.chain("acme"), LATER.wall_ms) is terms
    rows("airtime", 50)(known)
    assert known.terms(known.directory.chain("acme"), START.wall_ms) is not terms


def test_a_change_of_one_account_leaves_what_was_worked_out_for_others() -> None:
    known = house()
    terms = {id: known.terms(known.directory.chain(id), START.wall_ms) for id in ("house", "acme", "member")}
    known.put_trunk(Trunk("another line", "acme"))
    known.put_account(replace(known.accounts["acme"], timezone="Asia/Tokyo"))
    again = {id: known.terms(known.directory.chain(id), START.wall_ms) for id in terms}
    assert [id for id in terms if again[id] is terms[id]] == ["house", "member"]


def test_what_a_deck_said_goes_with_it() -> None:
    known = house()
    before = weakref.ref(known.own_deck("retail"))
    looked_up(known)
    rows("retail", 50)(known)
    assert before() is None


def test_no_more_is_kept_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_module, "TERMS_KEPT", 2)
    known = house()
    assert looked_up(known) == looked_up(rebuilt(known))
    terms = known.terms(known.directory.chain("acme"), START.wall_ms)
    for other in ("house", "member"):
        known.terms(known.directory.chain(other), START.wall_ms)
    assert known.terms(known.directory.chain("acme"), START.wall_ms) is not terms


def test_nobody_has_no_terms() -> None:
    known = house()
    terms = known.terms((), START.wall_ms)
    assert (terms.levels, terms.unpriced, terms.standings, terms.home, terms.zones) == ((), None, (), "", ())
