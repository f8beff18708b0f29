"""Port Books: balances and ledgers."""

import pytest

from callctl.call.takes import Balance
from callctl.errors import StoreUnavailable
from callctl.store.moving import CLOSED
from tests.contract.calls import ROOT, admitted, session, set_limit, settlement, take, top_up


async def test_balances_in_the_order_asked_for(store):
    await store.top_up(top_up(100, "a"))
    await set_limit(store, ROOT, "b", 50)
    await set_limit(store, ROOT, "c", None)
    assert await store.balances(ROOT, ["c", "nobody", "a", "b"]) == [
        Balance("c", 0, 0, None, {}),
        Balance("nobody", 0, 0, 0, {}),
        Balance("a", 100, 0, 100, {}),
        Balance("b", 0, 0, 50, {}),
    ]
    assert await store.balances(ROOT, []) == []


async def test_more_balances_than_calls_may_be_under_way(store):
    accounts = [f"a{n}" for n in range(5_000)]
    assert [balance.account for balance in await store.balances(ROOT, accounts)] == accounts


async def test_a_limit_can_be_taken_away_and_set_again(store):
    for limit, available in ((None, None), (7, 7), (0, 0)):
        await set_limit(store, ROOT, ROOT, limit)
        assert (await store.balances(ROOT, [ROOT]))[0].available == available


async def test_into_an_account_that_has_another_root_now_no_money_is_paid(store):
    await store.top_up(top_up(5, id="before"))
    await set_limit(store, ROOT, ROOT, CLOSED)
    with pytest.raises(StoreUnavailable, match="left root acme"):
        await store.top_up(top_up(7))
    assert (await store.top_up(top_up(5, id="before"))).balance == 5  # it is told again, not done again
    await set_limit(store, ROOT, ROOT, 0)
    assert (await store.top_up(top_up(7))).balance == 12


async def test_the_ledger_adds_up_to_the_balance(store):
    await store.top_up(top_up(1_000))
    for number in range(5):
        call = await admitted(store, take(session(f"c{number}"), 50))
        await store.settle(settlement(call, 10 * number))
    await store.top_up(top_up(-30, id="out", cause="charge", note="monthly"))
    entries = await store.ledger(ROOT, ROOT, "", 100)
    (balance,) = await store.balances(ROOT, [ROOT])
    assert sum(entry.amount for entry in entries) == balance.balance == 870
    assert [entry.balance for entry in entries] == [1_000, 1_000, 990, 970, 940, 900, 870]
    assert (entries[-1].kind, entries[-1].note, entries[-1].call) == ("charge", "monthly", "")


async def test_paging_through_a_ledger(store):
    for number in range(7):
        await store.top_up(top_up(1, id=f"pay-{number}"))
    seen, after = [], ""
    while page := await store.ledger(ROOT, ROOT, after, 3):
        assert len(page) <= 3
        seen += [entry.id for entry in page]
        after = page[-1].cursor
    assert seen == [f"pay-{number}" for number in range(7)]


@pytest.mark.parametrize("cursor", ["x", "1", "-", "+", "1-", "-1-1", "1-1 COUNT", "9" * 20 + "-0", "\u0661-\u0661"])
async def test_what_is_no_cursor_is_an_error(store, cursor):
    with pytest.raises(ValueError, match="cursor"):
        await store.ledger(ROOT, ROOT, cursor, 10)


async def test_an_unknown_ledger_is_empty(store):
    assert await store.ledger(ROOT, "nobody", "", 10) == []
