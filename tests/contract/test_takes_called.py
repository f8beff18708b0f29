"""Calls that the called party pays for, too: one account on both sides, and accounts of two roots. Every store."""

from msgspec.structs import replace

from callctl.call.events import Extended, ExtendRefused, Taken, TakeRefused
from callctl.call.session import Session
from callctl.call.takes import Take
from callctl.limits.concurrency import Slot
from callctl.store import keys
from tests.contract.calls import ROOT, admitted, extend, extension, figures, session, settlement, take, top_up

OTHER = "globex"
TOTAL = (Slot("total", 2, 2),)


def across(call_id: str = "c1", hold: int = 0) -> Take:
    """A call of acme's to an account of globex's, which pays besides."""
    call = session(call_id, (ROOT, OTHER), root=ROOT)
    caller, called = call.levels
    proposed = take(replace(call, levels=(caller, replace(called, root=OTHER))), hold, slots=TOTAL)
    mine, theirs = proposed.levels
    return replace(proposed, levels=(mine, replace(theirs, root=OTHER)))


def ended(call: Session, *amounts: int):
    closing = settlement(call, *amounts)
    mine, theirs = closing.posts
    return replace(closing, posts=(mine, replace(theirs, root=OTHER)))


async def of_both(store) -> list[tuple[int, int, dict[str, int]]]:
    return [await figures(store, root, root) for root in (ROOT, OTHER)]


async def test_both_roots_are_taken_from_extended_and_settled(store) -> None:
    await store.top_up(top_up(100))
    await store.top_up(top_up(50, OTHER, root=OTHER))
    call = await admitted(store, across(hold=20))
    assert await of_both(store) == [(100, 20, {"total": 1}), (50, 20, {"total": 1})]
    assert await extend(store, extension(call, 10, 10)) == Extended(call.call, (70, 20))
    call = replace(call, version=call.version + 1)
    assert await extend(store, extension(call, 10, 30)) == ExtendRefused(call.call, (70, 20))
    assert await store.settle(ended(call, 25, 15)) is None
    assert await of_both(store) == [(75, 0, {}), (35, 0, {})]
    (entry,) = (await store.ledger(OTHER, OTHER, "", 10))[1:]
    assert (entry.kind, entry.amount, entry.call) == ("post", -15, "http/c1")


async def test_neither_is_taken_from_where_the_other_cannot_pay(store) -> None:
    await store.top_up(top_up(100))
    await store.top_up(top_up(19, OTHER, root=OTHER))
    answer = await store.admit(across(hold=20))
    assert isinstance(answer, TakeRefused)
    assert answer.available == (100, 19)
    assert await of_both(store) == [(100, 0, {}), (19, 0, {})]


async def test_channels_of_the_called_are_full(store) -> None:
    for number in (1, 2):
        await admitted(store, across(f"c{number}"))
    answer = await store.admit(across("c3"))
    assert isinstance(answer, TakeRefused)
    assert [(use.level, use.in_use) for use in answer.uses if use.full] == [(0, 2), (1, 2)]


def twice(call_id: str = "c1", *holds: int) -> Take:
    """A call whose reseller acme is above both sides."""
    call = session(call_id, ("shop", ROOT, "callee", ROOT))
    proposed = take(call, slots=TOTAL)
    pairs = zip(proposed.levels, holds, strict=True)
    return replace(proposed, levels=tuple(replace(level, hold=hold, hold_overflow=hold) for level, hold in pairs))


async def test_an_account_on_both_sides_pays_both(store) -> None:
    for account in ("shop", ROOT, "callee"):
        await store.top_up(top_up(100, account))
    proposed = twice("c1", 10, 20, 30, 40)
    answer = await store.admit(proposed)
    assert isinstance(answer, Taken)
    assert answer.available == (90, 40, 70, 40)
    assert [(use.level, use.in_use) for use in answer.uses] == [(0, 0), (1, 0), (2, 0), (3, 1)]
    assert await figures(store) == (100, 60, {"total": 2})
    call = replace(proposed.session, version=1)
    assert await extend(store, extension(call, 0, 10, 0, 20)) == Extended(call.call, (90, 10, 70, 10))
    call = replace(call, version=2)
    assert await extend(store, extension(call, 0, 6, 0, 6)) == ExtendRefused(call.call, (90, 10, 70, 10))
    assert await store.settle(settlement(call, 1, 2, 3, 4)) is None
    assert await figures(store) == (94, 0, {})
    posts = (await store.ledger(ROOT, ROOT, "", 10))[1:]
    assert [entry.amount for entry in posts] == [-2, -4]
    assert len({entry.id for entry in posts}) == 2


async def test_what_both_sides_need_is_judged_together(store) -> None:
    for account in ("shop", ROOT, "callee"):
        await store.top_up(top_up(50, account))
    answer = await store.admit(twice("c1", 0, 26, 0, 25))
    assert isinstance(answer, TakeRefused)
    assert answer.available == (50, 50, 50, 50)
    assert await figures(store) == (50, 0, {})


async def test_channels_of_both_sides_count(store) -> None:
    """A call takes one on each side: there is no second for the reseller's third channel."""
    await admitted(store, take(session("c0", ("shop", ROOT)), slots=TOTAL))
    answer = await store.admit(twice("c1", 0, 0, 0, 0))
    assert isinstance(answer, TakeRefused)
    assert [(use.level, use.in_use) for use in answer.uses if use.full] == [(3, 2)]


# ---- Redis


async def test_a_recount_sees_the_calls_of_other_roots(link, redis_store) -> None:
    await redis_store.top_up(top_up(100))
    await redis_store.top_up(top_up(100, OTHER, root=OTHER))
    call = await admitted(redis_store, across(hold=20))
    assert await redis_store.recount(OTHER, [OTHER]) == []
    await link.call("HSET", keys.account(OTHER, OTHER), "held", 77)
    (found,) = await redis_store.recount(OTHER, [OTHER])
    assert (found.field, found.found, found.counted) == ("held", 77, 20)
    assert await redis_store.settle(ended(call, 1, 1)) is None
    assert await link.call("EXISTS", keys.guests(OTHER)) == 0
    assert await redis_store.recount(OTHER, [OTHER]) == []


async def test_a_recount_forgets_calls_whose_records_were_lost(link, redis_store) -> None:
    await redis_store.top_up(top_up(100, OTHER, root=OTHER))
    await redis_store.top_up(top_up(100))
    call = await admitted(redis_store, across(hold=20))
    await link.call("DEL", keys.session(ROOT, call.trace_id))
    found = await redis_store.recount(OTHER, [OTHER])
    assert {(each.field, each.counted) for each in found} == {("held", 0), ("total", 0)}
    assert await link.call("EXISTS", keys.guests(OTHER)) == 0


async def test_a_call_is_read_again_as_it_was(store) -> None:
    await store.top_up(top_up(100))
    await store.top_up(top_up(100, OTHER, root=OTHER))
    call = await admitted(store, across(hold=20))
    again = await store.find(call.call)
    assert [(level.account, level.root, level.held) for level in again.levels] == [(ROOT, "", 20), (OTHER, OTHER, 20)]
