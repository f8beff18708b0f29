"""Port Takes: bundles and blocks are held, used and given back in the same step as money."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from callctl.call.events import Extended, ExtendRefused, Taken, TakeRefused
from callctl.call.session import Session
from callctl.call.takes import Draw, Extension, Post, Settlement, Take
from callctl.ports import Existing
from callctl.rating.bundles import Source
from callctl.store import keys
from tests.contract.calls import COUNTED, LEASE_MS, NOW, ROOT, extend, figures, session, settlement, take, top_up

MONTH = Source("2026-11/nl free", "nl free", False, 600, 600)
MONEY = Source("block/b1", "b1", True, 500, 500)


def drawing(
    call_id: str, *amounts: int, hold: int = 0, sources: Sequence[Source] = (MONTH, MONEY), **more: Any
) -> Take:
    """A take of one level that draws `amounts` of the sources."""
    call = session(call_id)
    call = replace(call, levels=tuple(replace(level, sources=tuple(sources)) for level in call.levels))
    asked = take(call, hold, **more)
    draws = tuple(Draw(each.id, each.allowance, amount) for each, amount in zip(sources, amounts, strict=True))
    return replace(asked, levels=tuple(replace(level, draws=draws) for level in asked.levels))


async def taken(store: Any, asked: Take) -> Session:
    """Admit it; the session as the store remembers it."""
    answer = await store.admit(asked)
    assert isinstance(answer, Taken), answer
    found: Session = await store.find(asked.session.call)
    return found


def longer(call: Session, more: int, *draws: int, force: bool = False) -> Extension:
    return Extension(call, (more,), LEASE_MS, force, (draws,))


def ended(call: Session, amount: int, *used: int, kind: str = "post") -> Settlement:
    closing = settlement(call, amount, kind=kind)
    drawn = tuple((source.id, each) for source, each in zip(call.levels[0].sources, used, strict=True))
    return replace(closing, posts=(Post(ROOT, kind, amount, drawn),))


def held(call: Session) -> list[int]:
    return [source.held for source in call.levels[0].sources]


async def left(store: Any) -> tuple[int, ...]:
    """What is left of each source, for whoever asks next."""
    answer = await store.admit(drawing("asking", 0, 0, dry=True))
    found: tuple[int, ...] = answer.left[0]
    return found


async def test_a_take_holds_seconds_and_money_together(store):
    await store.top_up(top_up(100))
    answer = await store.admit(drawing("c1", 70, 30, hold=40))
    assert isinstance(answer, Taken)
    assert (answer.available, answer.left) == ((60,), ((530, 470),))
    assert await figures(store) == (100, 40, {"outbound": 1, "total": 1})
    call = await store.find(answer.call)
    assert held(call) == [70, 30]
    assert await left(store) == (530, 470)


@pytest.mark.parametrize(("amounts", "hold"), [((601, 0), 0), ((0, 501), 0), ((600, 500), 101)])
async def test_what_one_source_lacks_nothing_is_taken_of(store, amounts, hold):
    await store.top_up(top_up(100))
    answer = await store.admit(drawing("c1", *amounts, hold=hold))
    assert isinstance(answer, TakeRefused)
    assert (answer.available, answer.left) == ((100,), ((600, 500),))
    assert await figures(store) == (100, 0, {})
    assert await left(store) == (600, 500)


async def test_no_force_takes_more_than_there_is(store):
    answer = await store.admit(drawing("c1", 601, 0, hold=700, force=True))
    assert isinstance(answer, TakeRefused)
    assert answer.left == ((600, 500),)
    assert isinstance(await store.admit(drawing("c1", 600, 500, hold=700, force=True)), Taken)


async def test_parallel_takes_never_use_more_than_the_bundle(store):
    answers = await asyncio.gather(*(store.admit(drawing(f"c{n}", 70, 0)) for n in range(20)))
    assert sum(isinstance(answer, Taken) for answer in answers) == 8  # 560 of 600 s
    assert await left(store) == (40, 500)
    assert min(answer.left[0][0] for answer in answers) == 40


async def test_sources_of_a_month_do_not_know_each_other(store):
    await store.admit(drawing("c1", 600, 0))
    december = replace(MONTH, id="2026-12/nl free")
    answer = await store.admit(drawing("c2", 600, 0, sources=(december, MONEY)))
    assert isinstance(answer, Taken)
    assert answer.left == ((0, 500),)


async def test_an_extension_holds_more_of_each(store):
    await store.top_up(top_up(100))
    call = await taken(store, drawing("c1", 70, 30, hold=40))
    assert await extend(store, longer(call, 10, 100, 20)) == Extended(call.call, (50,), ((430, 450),))
    found = await store.find(call.call)
    assert (held(found), found.levels[0].held, found.version) == ([170, 50], 50, 2)
    assert await extend(store, longer(found, 0, -70, 0)) == Extended(call.call, (50,), ((500, 450),))
    assert held(await store.find(call.call)) == [100, 50]


@pytest.mark.parametrize("force", [False, True])
async def test_an_extension_that_a_source_cannot_cover_changes_nothing(store, force):
    call = await taken(store, drawing("c1", 70, 30))
    assert await extend(store, longer(call, 0, 531, 0, force=force)) == ExtendRefused(call.call, (0,), ((530, 470),))
    found = await store.find(call.call)
    assert (held(found), found.version) == ([70, 30], 1)
    assert await extend(store, longer(call, 0, 530, 0, force=force)) == Extended(call.call, (0,), ((0, 470),))


async def test_the_end_keeps_what_was_used_and_gives_back_the_rest(store):
    await store.top_up(top_up(100))
    call = await taken(store, drawing("c1", 70, 30, hold=40))
    await extend(store, longer(call, 0, 50, 0))
    call = await store.find(call.call)
    assert await store.settle(ended(call, 15, 60, 10)) is None
    assert await figures(store) == (85, 0, {})
    assert await left(store) == (540, 490)
    assert isinstance(await store.settle(ended(call, 15, 60, 10)), Existing)
    assert await left(store) == (540, 490)
    (_, entry) = await store.ledger(ROOT, ROOT, "", 10)
    assert (entry.kind, entry.amount) == ("post", -15)


async def test_a_correction_gives_back_what_an_estimate_used(store):
    call = await taken(store, drawing("c1", 70, 30))
    await store.settle(ended(call, 0, 70, 30, kind="estimate"))
    assert await left(store) == (530, 470)
    call = await store.find(call.call)
    await store.settle(ended(call, 0, -50, -30, kind="correction"))
    assert await left(store) == (580, 500)


async def test_a_refusal_gives_back_what_was_drawn(store):
    call = await taken(store, drawing("c1", 70, 30))
    await store.settle(settlement(call))
    assert await left(store) == (600, 500)


async def test_a_repeated_take_draws_once(store):
    await taken(store, drawing("c1", 70, 30))
    again = await store.admit(drawing("c1", 70, 30))
    assert isinstance(again, Existing)
    assert held(again.session) == [70, 30]
    assert again.session.taken.left == ((530, 470),)
    assert await left(store) == (530, 470)


async def test_each_level_draws_upon_its_own(store):
    call = session(accounts=("shop", ROOT))
    levels = (replace(call.levels[0], sources=(MONTH,)), replace(call.levels[1], sources=(MONTH, MONEY)))
    asked = take(replace(call, levels=levels))
    draws = ((Draw(MONTH.id, 600, 10),), (Draw(MONTH.id, 600, 20), Draw(MONEY.id, 500, 5)))
    asked = replace(asked, levels=tuple(replace(each, draws=of) for each, of in zip(asked.levels, draws, strict=True)))
    answer = await store.admit(asked)
    assert isinstance(answer, Taken)
    assert answer.left == ((590,), (580, 495))
    call = await store.find(call.call)
    extended = await extend(store, Extension(call, (0, 0), LEASE_MS, draws=((1,), (2, 3))))
    assert extended.left == ((589,), (578, 492))
    assert [[source.held for source in level.sources] for level in (await store.find(call.call)).levels] == [
        [11],
        [22, 8],
    ]


async def test_a_level_without_sources_beside_one_with(store):
    call = session(accounts=("shop", ROOT))
    asked = take(replace(call, levels=(replace(call.levels[0], sources=(MONTH,)), call.levels[1])))
    of_shop = replace(asked.levels[0], draws=(Draw(MONTH.id, 600, 10),))
    answer = await store.admit(replace(asked, levels=(of_shop, asked.levels[1])))
    assert isinstance(answer, Taken)
    assert answer.left == ((590,), ())
    call = await store.find(call.call)
    extended = await extend(store, Extension(call, (0, 0), LEASE_MS, draws=((5,), ())))
    assert extended.left == ((585,), ())


async def test_names_of_sources_may_hold_anything(store):
    nasty = Source("2026-11/a|b {c}\n=1 é", "x", False, 10, 10)
    call = await taken(store, drawing("c1", 4, 0, sources=(nasty, MONEY), slots=COUNTED))
    assert held(call) == [4, 0]
    await store.settle(ended(call, 0, 3, 0))
    answer = await store.admit(drawing("c2", 7, 0, sources=(nasty, MONEY)))
    assert isinstance(answer, Taken)
    assert answer.left == ((0, 500),)


async def test_a_lapsed_lease_gives_back(store):
    call = await taken(store, drawing("c1", 70, 30))
    (found,) = await store.lapsed([ROOT], LEASE_MS, 10)
    assert held(found) == [70, 30]
    await store.settle(ended(found, 0, 0, 0))
    assert await left(store) == (600, 500)
    assert call.setup == NOW


async def test_a_recount_puts_right_what_is_held_of_a_source(link, redis_store):
    call = await taken(redis_store, drawing("c1", 70, 30))
    await extend(redis_store, longer(call, 0, 5, 0))
    stock = keys.account(ROOT, ROOT).replace("}:a:", "}:b:")
    await link.call("HSET", stock, "held 2026-11/nl%20free", 400, "held gone", 3, "bal 2026-11/nl%20free", -12)
    found = await redis_store.recount(ROOT, [ROOT])
    assert sorted((each.field, each.found, each.counted) for each in found) == [
        ("held 2026-11/nl free", 400, 75),
        ("held gone", 3, 0),
    ]
    assert await left(redis_store) == (600 - 12 - 75, 470)
    assert await redis_store.recount(ROOT, [ROOT]) == []
