"""Port Blocks: what is bought is paid and there, in one step and once."""

import asyncio
import json
from typing import Any

from msgspec.structs import replace

from callctl.accounts import Account, Kind
from callctl.call.purchase import Buying, Stock, buy
from callctl.call.takes import Draw
from callctl.rating.bundles import Block, Source
from callctl.store.moving import CLOSED
from tests.contract.calls import NOW, ROOT, figures, moved, outbox, session, set_limit, take, top_up

ACME = Account(ROOT, Kind.PREPAID, "plan")
BLOCK = Block(id="buy-1", name="100 minutes", seconds=6_000, price=5_000_000, bought_ms=NOW.wall_ms, prefixes=("31",))


def buying(account: Account = ACME, **terms: Any) -> Buying:
    return buy((account,), replace(BLOCK, **terms))


async def test_a_block_is_paid_and_there(store):
    await store.top_up(top_up(5_000_000))
    assert await store.buy(buying()) == BLOCK
    assert await figures(store) == (0, 0, {})
    stocks = await store.stocks(ROOT, ROOT)
    assert (stocks.by_source, stocks.blocks) == ({"block/buy-1": Stock(6_000, 0)}, (BLOCK,))
    (_, entry) = await store.ledger(ROOT, ROOT, "", 10)
    assert (entry.id, entry.kind, entry.amount, entry.balance) == ("block:acme/buy-1", "charge", -5_000_000, 0)
    assert (entry.at_ms, entry.note) == (NOW.wall_ms, "100 minutes")
    ((account, payload),) = await outbox(store)
    told = json.loads(payload)
    assert (account, told["kind"], told["service"], told["charge"]) == (ROOT, "block", "buy-1", "5.0000")


async def test_money_is_bought_ahead_too(store):
    await store.top_up(top_up(5_000_000))
    bought = await store.buy(buying(seconds=0, amount=6_500_000))
    assert bought.amount == 6_500_000
    assert (await store.stocks(ROOT, ROOT)).by_source == {"block/buy-1": Stock(6_500_000, 0)}


async def test_it_is_bought_once_per_id(store):
    await store.top_up(top_up(50_000_000))
    answers = await asyncio.gather(*(store.buy(buying(bought_ms=NOW.wall_ms + n)) for n in range(8)))
    assert len(set(map(repr, answers))) == 1
    assert await store.buy(buying(price=9_000_000)) == answers[0]
    assert await figures(store) == (45_000_000, 0, {})
    assert len(await outbox(store)) == 1


async def test_what_is_not_affordable_is_not_bought(store):
    await store.top_up(top_up(4_999_999))
    assert await store.buy(buying()) is None
    assert await figures(store) == (4_999_999, 0, {})
    assert (await store.stocks(ROOT, ROOT)).blocks == ()
    assert await outbox(store) == []


async def test_money_that_is_held_buys_nothing(store):
    await store.top_up(top_up(5_000_000))
    await store.admit(take(session(), 1))
    assert await store.buy(buying()) is None


async def test_a_credit_limit_buys(store):
    await set_limit(store, ROOT, ROOT, 5_000_000)
    assert await store.buy(buying()) == BLOCK
    assert await figures(store) == (-5_000_000, 0, {})


async def test_an_account_without_limit_buys(store):
    await set_limit(store, ROOT, ROOT, None)
    assert await store.buy(buying()) == BLOCK


async def test_a_gift_needs_no_money_but_an_account(store):
    await set_limit(store, ROOT, ROOT, 0)
    assert await store.buy(buying(price=0)) is not None


async def test_an_account_that_has_another_root_now_buys_nothing(store):
    await set_limit(store, ROOT, ROOT, CLOSED)
    assert await store.buy(buying(price=0)) is None


async def test_an_exempt_account_gets_it_for_nothing(store):
    await set_limit(store, ROOT, ROOT, 0)
    assert await store.buy(buying(replace(ACME, exempt=True))) == BLOCK
    assert (await figures(store))[0] == 0
    ((_, payload),) = await outbox(store)
    assert (json.loads(payload)["charge"], json.loads(payload)["list_charge"]) == ("0.0000", "5.0000")


async def test_blocks_and_bundles_move_with_the_account(store):
    await store.top_up(top_up(5_000_000))
    await store.buy(buying())
    await moved(store, to="other")
    come = await store.stocks("other", ROOT)
    assert (come.by_source, come.blocks) == ({"block/buy-1": Stock(6_000, 0)}, (BLOCK,))
    assert (await store.stocks(ROOT, ROOT)).by_source == {}


async def test_a_bought_block_is_drawn_upon(store):
    await set_limit(store, ROOT, ROOT, 5_000_000)
    await store.buy(buying())
    source = Source("block/buy-1", "100 minutes", False, 0, 6_000)
    call = session()
    call = replace(call, levels=(replace(call.levels[0], sources=(source,)),))
    asked = take(call)
    drawing = replace(asked, levels=(replace(asked.levels[0], draws=(Draw(source.id, 0, 60),)),))
    answer = await store.admit(drawing)
    assert answer.left == ((5_940,),)
    assert (await store.stocks(ROOT, ROOT)).by_source == {"block/buy-1": Stock(6_000, 60)}
