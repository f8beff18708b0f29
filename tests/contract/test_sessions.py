"""Port Sessions: what is remembered of calls."""

from msgspec.structs import replace

from callctl.call.events import CallKey
from callctl.call.session import State
from callctl.store import keys
from callctl.store.redis import RECORDS_AT_ONCE
from tests.contract.calls import LEASE_MS, NOW, ROOT, admitted, extension, session, settlement, take


async def test_a_session_comes_back_as_it_went(store):
    rich = session(
        accounts=("shop", ROOT),
        trunk="t1",
        trace=b"\x00\n\n\xff",
        detail="1 2\n\n3 \u2013 é",
        warnings=(60, 30),
        alerting=NOW.plus_ms(900),
        ceiling_s=3_600,
    )
    await admitted(store, take(rich))
    assert await store.find(rich.call) == replace(rich, version=1)
    assert await store.by_trace(rich.trace_id) == replace(rich, version=1)


async def test_unknown_calls(store):
    assert await store.find(CallKey("http", "never")) is None
    assert await store.by_trace("0123456789abcdef") is None
    assert await store.by_trace("no trace id \r\n") is None


async def test_another_call_under_the_same_trace_id_is_not_taken_for_it(store):
    call = session()
    await admitted(store, replace(take(call), session=replace(call, trace_id=keys.trace_id(CallKey("x", "y")))))
    assert await store.find(CallKey("x", "y")) is None


async def test_live_calls_of_the_roots_asked_for(store):
    for number, root in enumerate(("r1", "r2", "r3")):
        await admitted(store, take(session(f"c{number}", (root,)), lease_until_ms=LEASE_MS - number))
    assert [call.root for call in await store.live(["r2", "r1"])] == ["r2", "r1"]
    assert await store.live([]) == []


async def test_only_calls_that_hold_something_are_live(store):
    call = await admitted(store, take(session()))
    assert [live.call for live in await store.live([ROOT])] == [call.call]
    await store.settle(settlement(call))
    assert await store.live([ROOT]) == []
    assert (await store.find(call.call)).state is State.ENDED


async def test_more_live_calls_than_are_read_at_once(store):
    for number in range(RECORDS_AT_ONCE + 1):
        await store.admit(take(session(f"c{number}")))
    live = await store.live([ROOT])
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


async def test_an_extension_renews_the_lease(store):
    call = await admitted(store, take(session(), lease_until_ms=1_000))
    await store.extend(extension(call, 0, lease_until_ms=2_000))
    assert await store.lapsed([ROOT], 1_999, 10) == []
    assert len(await store.lapsed([ROOT], 2_000, 10)) == 1
