"""Port Sessions: what is remembered of calls."""

import asyncio

from msgspec.structs import replace

from callctl.call import grant
from callctl.call.events import CallKey
from callctl.call.judgement import whole_trace
from callctl.call.session import State
from callctl.call.trace import decode_trace
from callctl.clock import Instant
from callctl.control import elsewhere
from callctl.control.elsewhere import everywhere
from callctl.control.mailbox import Mailbox
from callctl.limits.concurrency import Slot
from callctl.ports import Existing
from callctl.store import sessions
from callctl.store.address import parse_address
from callctl.store.memory.store import MemoryStore
from callctl.store.redis import RedisStore
from callctl.store.sessions import RECORDS_AT_ONCE
from callctl.turn import Turn
from tests.contract.calls import (
    LEASE_MS,
    NOW,
    ROOT,
    admitted,
    all_live,
    extend,
    extension,
    session,
    settlement,
    take,
    top_up,
)
from tests.contract.links import PATIENT, CountingLink


async def test_a_session_comes_back_as_it_went(store):
    rich = session(
        accounts=("shop", ROOT),
        trunk="t1",
        trace=b"\x00\n\n\xff",
        detail="1 2\n\n3 \u2013 é",
        warnings=(60, 30),
        alerting=NOW.plus_ms(900),
        ceiling_s=3_600,
        first_granted_s=10,
    )
    await admitted(store, take(rich, slots=()))
    assert await store.find(rich.call) == replace(rich, version=1)
    assert await store.by_trace(rich.trace_id) == replace(rich, version=1)


async def test_a_running_call_comes_back_with_what_has_changed(store):
    proposed = take(session(accounts=("shop", ROOT), granted_s=10))
    await store.admit(proposed)
    first = await store.find(proposed.session.call)
    setup = Instant(first.setup.wall_ms, first.setup.monotonic_ms + 77)  # by the clock of who took it up
    now = replace(
        first,
        state=State.ANSWERED,
        alerting=NOW.plus_ms(900),
        answered=NOW.plus_ms(2_000),
        answer_stated=True,
        warned_s=30,
        granted_s=30,
        slice_s=20,
        sliced_ms=NOW.wall_ms + 10_000,
        affordable_s=None,
        warn_due=True,
        cut=True,
        taken_up=("another process", setup),
        clock="another process",
        setup=setup,
    )
    asking = replace(now, granted_s=20, wanted_s=30, sliced_ms=0, asked_ms=now.sliced_ms, busy=True)
    for version, more in ((1, (7, 9)), (2, (0, 5))):
        await extend(store, extension(replace(asking, version=version), *more, force=True))
    levels = (replace(first.levels[0], held=7), replace(first.levels[1], held=14))
    expected = replace(now, version=3, levels=levels)
    assert await store.find(first.call) == expected
    assert await all_live(store, [ROOT]) == [expected]
    assert await store.lapsed([ROOT], LEASE_MS, 1) == [expected]
    assert await store.admit(proposed) == Existing(expected)
    assert await extend(store, extension(now, 0, 0)) == Existing(expected)
    assert await store.settle(settlement(now)) == Existing(expected)


async def test_what_the_take_was_answered_is_remembered(store):
    await store.top_up(top_up(1_000_000))
    call = session(accounts=("shop", ROOT), trunk="t1", granted_s=10, wanted_s=10, trace=b"")
    proposed = take(
        call, 38_300, slots=(Slot("outbound", 0, 2), Slot("a b")), trunk_slots=(Slot("total", 5, 5),), force=True
    )
    taken = await store.admit(proposed)
    found, asked_again = await store.find(call.call), await store.admit(proposed)
    assert (found, asked_again) == (expected(proposed.session, taken), Existing(found))
    assert (found.first_granted_s, found.first_affordable_s) == (10, 0)
    assert [line.saw for line in decode_trace(whole_trace(found))][-3:-1] == ["total: 0 in use", "0.0000 EUR available"]


def expected(asked, taken):
    """What a process knows that heard the answer; here every level held what it was asked for."""
    known = grant.admitted(asked, taken)
    return known


async def test_unknown_calls(store):
    assert await store.find(CallKey("http", "never")) is None
    assert await store.by_trace("0123456789abcdef") is None
    assert await store.by_trace("no trace id \r\n") is None


async def test_another_call_under_the_same_trace_id_is_not_taken_for_it(store):
    call = session()
    await admitted(store, replace(take(call), session=replace(call, trace_id=CallKey("x", "y").trace_id)))
    assert await store.find(CallKey("x", "y")) is None


async def test_live_calls_of_the_roots_asked_for(store):
    for number, root in enumerate(("r1", "r2", "r3")):
        await admitted(store, take(session(f"c{number}", (root,)), lease_until_ms=LEASE_MS - number))
    assert [call.root for call in await all_live(store, ["r2", "r1"])] == ["r2", "r1"]
    assert await all_live(store, []) == []


async def test_only_calls_that_hold_something_are_live(store):
    call = await admitted(store, take(session()))
    assert [live.call for live in await all_live(store, [ROOT])] == [call.call]
    await store.settle(settlement(call))
    assert await all_live(store, [ROOT]) == []
    assert (await store.find(call.call)).state is State.ENDED


async def test_more_live_calls_than_are_read_at_once(store):
    for number in range(RECORDS_AT_ONCE + 1):
        await store.admit(take(session(f"c{number}")))
    live = await all_live(store, [ROOT])
    assert len({call.call for call in live}) == RECORDS_AT_ONCE + 1


async def test_lapsed_calls_oldest_first(store):
    for number, root in enumerate(("r1", "r1", "r1", "r2")):
        await admitted(store, take(session(f"c{number}", (root,)), lease_until_ms=1_000 - 10 * number))
    roots = ["r1", "r2"]

    async def lapsed(now_ms: int, limit: int = 10) -> list[str]:
        return [call.call.call_id for call in await store.lapsed(roots, now_ms, limit)]

    assert await lapsed(969) == []
    assert await lapsed(970) == ["c3"]
    assert await lapsed(1_000) == ["c2", "c1", "c0", "c3"]
    assert await lapsed(1_000, limit=2) == ["c2", "c1"]


async def test_live_and_lapsed_calls_among_many_roots(store):
    roots = [f"r{number}" for number in range(1_200)]
    for root, lease_ms in (("r3", 1_000), ("r499", 2_000), ("r500", 1_000), ("r1199", 1_000)):
        for number in range(2):
            await admitted(store, take(session(f"{root}-{number}", (root,)), lease_until_ms=lease_ms + number))
    found = [f"{root}-{number}" for root in ("r3", "r499", "r500", "r1199") for number in range(2)]
    assert [call.call.call_id for call in await all_live(store, roots)] == found
    assert [root for root, _ in await store.listed(roots)] == [name.partition("-")[0] for name in found]

    async def lapsed(now_ms: int, limit: int) -> list[str]:
        return [call.call.call_id for call in await store.lapsed(roots, now_ms, limit)]

    assert await lapsed(999, 10) == []
    assert await lapsed(1_000, 10) == ["r3-0", "r500-0", "r1199-0"]
    assert await lapsed(1_001, 3) == ["r3-0", "r3-1", "r500-0"]
    assert await lapsed(2_001, 8) == await lapsed(2_001, 100) == found


async def test_many_roots_are_asked_with_few_commands(redis_server, link):
    """To ask each with a command of its own took longer than all else that an idle daemon does."""
    counting = CountingLink(parse_address(redis_server.url), times=PATIENT)
    await counting.open()
    store, roots = RedisStore(counting), [f"r{number}" for number in range(5_000)]
    await admitted(RedisStore(link), take(session("c1", ("r4999",))))
    await store.lapsed(["r0"], LEASE_MS, 1)  # the server knows the script then
    counting.sent = 0
    assert len(await all_live(store, roots)) == 1
    assert counting.sent == 10 + 1
    assert len(await store.lapsed(roots, LEASE_MS, 10)) == 1
    assert counting.sent == 2 * (10 + 1)
    await counting.close()


async def test_a_list_of_very_many_calls_comes_in_parts(redis_store, monkeypatch):
    """One script for all calls of 500 roots could keep the server from everything else."""
    monkeypatch.setattr(sessions, "LISTED_AT_ONCE", 3)
    roots = [f"r{number}" for number in range(9)]
    for number, root in enumerate(roots):
        for n in range(number % 4):
            await admitted(redis_store, take(session(f"{root}-{n}", (root,)), lease_until_ms=1_000 + n))
    expected = [f"{root}-{n}" for number, root in enumerate(roots) for n in range(number % 4)]
    assert [call.call.call_id for call in await all_live(redis_store, roots)] == expected


async def test_an_extension_renews_the_lease(store):
    call = await admitted(store, take(session(), lease_until_ms=1_000))
    await extend(store, extension(call, 0, lease_until_ms=2_000))
    assert await store.lapsed([ROOT], 1_999, 10) == []
    assert len(await store.lapsed([ROOT], 2_000, 10)) == 1


async def test_many_calls_of_many_roots_are_listed_in_steps_between_which_others_have_their_turn(
    redis_store, monkeypatch
):
    monkeypatch.setattr(sessions, "RECORDS_AT_ONCE", 5)
    roots = [f"root{n}" for n in range(50)]
    for root in roots:
        await admitted(redis_store, take(session(f"of-{root}", (root,)), force=True))
    listing = asyncio.ensure_future(everywhere({}, redis_store, roots))
    turns = 0
    while not listing.done():
        turns += 1
        await asyncio.sleep(0)
    assert {call.root for call in await listing} == set(roots)
    assert turns > 50 / 5


async def test_the_calls_of_one_process_are_gone_through_in_steps_too(monkeypatch):
    monkeypatch.setattr(elsewhere, "LOOKED_AT_ONCE", 5)
    store, calls = MemoryStore(), [replace(session(f"c{n}"), state=State.ADMITTED) for n in range(50)]
    tells = Turn(Mailbox.tell)
    boxes = {call.call: Mailbox(call, lambda it, _: (it, ()), {}, tells) for call in calls}
    listing = asyncio.ensure_future(everywhere(boxes, store, [ROOT]))
    await asyncio.sleep(0)
    ended, begun = boxes.pop(calls[-1].call), replace(session("later"), state=State.ADMITTED)
    ended.session = replace(ended.session, state=State.ENDED)
    boxes[begun.call] = Mailbox(begun, ended.step, ended.ways, tells)
    turns = 0
    while not listing.done():
        turns += 1
        await asyncio.sleep(0)
    assert sorted(call.trace_id for call in await listing) == sorted(it.trace_id for it in (*calls[:-1], begun))
    assert turns >= 2 * 50 / 5
