"""What only Redis can get wrong: lost scripts, drift, a server that is gone or refuses to write."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from msgspec.structs import replace

from callctl.call.events import Extended, ExtendRefused, Taken
from callctl.call.session import Purchase
from callctl.errors import StoreUnavailable, UnknownCall
from callctl.limits.concurrency import Slot
from callctl.ports import Existing
from callctl.store import keys
from callctl.store.address import parse_address
from callctl.store.link import Link
from callctl.store.redis import Difference, RedisStore
from callctl.store.rejected import Rejected
from tests.contract.calls import (
    ROOT,
    admitted,
    all_live,
    extend,
    extension,
    figures,
    outbox,
    rate,
    refusal,
    session,
    set_limit,
    settlement,
    take,
    top_up,
)
from tests.contract.links import PATIENT, QUICK, linked
from tests.servers import RedisServer

# ---- several processes


async def test_two_processes_share_one_balance(redis_server, redis_store):
    other_link = Link(parse_address(redis_server.url), times=PATIENT)
    await other_link.open()
    stores = (redis_store, RedisStore(other_link))
    await redis_store.top_up(top_up(8 * 100))
    answers = await asyncio.gather(*(stores[n % 2].admit(take(session(f"c{n}"), 100)) for n in range(50)))
    assert sum(isinstance(answer, Taken) for answer in answers) == 8
    both = await asyncio.gather(*(store.admit(take(session("same"), 0)) for store in stores))
    assert sorted(type(answer).__name__ for answer in both) == ["Existing", "Taken"]
    await other_link.close()


# ---- requests that travel together


async def test_extensions_of_one_turn_share_scripts(link, redis_store):
    calls = [await admitted(redis_store, take(session(f"c{n}", (f"root-{n % 3}",)))) for n in range(251)]
    await extend(redis_store, extension(calls.pop(), 0))  # the server knows the script
    before = await scripts_run(link)
    answers = await redis_store.extend([extension(call, 0) for call in calls])
    assert answers == [Extended(call.call, (0,)) for call in calls]
    assert await scripts_run(link) == before + 3  # 100, 100 and 50


async def test_each_extension_of_a_script_is_judged_by_itself(link, redis_store):
    await redis_store.top_up(top_up(100))
    rich, poor, broken, stale = [await admitted(redis_store, take(session(f"c{n}"))) for n in range(4)]
    lost = session("lost", version=3)
    await link.call("SET", keys.session(ROOT, broken.trace_id), "1 nonce live\nT 0\nnonsense x 0 y\n\n")
    asked = [extension(call, 60) for call in (rich, poor, broken, lost, replace(stale, version=7))]
    *judged, known, last = await redis_store.extend([*asked, extension(stale, 40)])
    assert judged[:2] == [Extended(rich.call, (40,)), ExtendRefused(poor.call, (40,))]
    assert [type(error) for error in judged[2:]] == [Rejected, UnknownCall]
    assert isinstance(known, Existing)
    assert last == Extended(stale.call, (0,))
    assert await figures(redis_store) == (100, 100, {"outbound": 4, "total": 4})


async def test_extensions_of_one_turn_fail_together_when_the_server_is_gone(server):
    async with linked(server.url, times=QUICK) as link:
        store = RedisStore(link)
        calls = [await admitted(store, take(session(f"c{n}"))) for n in range(3)]
        server.stop()
        failed = await store.extend([extension(call, 0) for call in calls])
    assert all(isinstance(error, StoreUnavailable) for error in failed)


async def scripts_run(link: Link) -> int:
    """How many scripts the server has carried out."""
    told = (await link.call("INFO", "commandstats")).decode()
    return sum(
        int(line.partition("calls=")[2].partition(",")[0])
        for line in told.splitlines()
        if line.startswith(("cmdstat_evalsha:", "cmdstat_eval:"))
    )


# ---- scripts and records


async def test_a_server_that_forgot_the_scripts(link, redis_store):
    call = session()
    for step in (
        lambda: redis_store.top_up(top_up(100)),
        lambda: redis_store.admit(take(call, 10)),
        lambda: extend(redis_store, extension(replace(call, version=1), 10)),
        lambda: redis_store.settle(settlement(replace(call, version=2), 15)),
        lambda: redis_store.recount(ROOT, [ROOT]),
    ):
        await link.call("SCRIPT", "FLUSH")
        await step()
    assert await figures(redis_store) == (85, 0, {})
    assert await redis_store.recount(ROOT, [ROOT]) == []


async def test_an_admission_is_six_commands(link, redis_store):
    await redis_store.top_up(top_up(100))
    await redis_store.admit(take(session("c1"), 10))
    await link.call("CONFIG", "RESETSTAT")
    await redis_store.admit(take(session("c2"), 10))
    stats = (await link.call("INFO", "commandstats")).decode().split()
    counted = {line.partition(":")[0][8:]: int(line.split("=")[1].split(",")[0]) for line in stats if "=" in line}
    assert counted == {
        "evalsha": 1,
        "get": 1,
        "hmget": 1,
        "hset": 1,
        "set": 2,
        "del": 1,
        "zadd": 1,
        "config|resetstat": 1,
    }


async def test_a_record_can_be_read_by_people(link, redis_store):
    await redis_store.top_up(top_up(100))
    call = session(trunk="line 1")
    await redis_store.admit(take(call, 30, trunk_slots=(Slot("outbound"),)))
    record = await link.call("GET", "{acme}:s:" + call.trace_id)
    first, *lines = record.partition(b"\n\n")[0].decode().split("\n")
    assert (first.split()[0], first.split()[2]) == ("1", "live")
    assert lines == ["T 0 0 70 0 0 0", "{acme}:t:line%201 - 0 outbound", "{acme}:a:acme 30 0 outbound total"]


async def test_what_never_changes_of_a_running_call_is_written_once(link, redis_store):
    call = await admitted(redis_store, take(session(trace=b"x" * 1_000)))
    key, running = keys.remembered(ROOT, call.trace_id)
    record = await link.call("GET", key)
    await extend(redis_store, extension(call, 0))
    assert await link.call("GET", key) == record
    assert 0 < await link.call("STRLEN", running) < 200
    await redis_store.settle(settlement(replace(call, version=2)))
    assert await link.call("EXISTS", running) == 0


@pytest.mark.parametrize("version", [2, 1])
async def test_a_running_call_whose_record_was_lost(link, redis_store, version):
    await redis_store.top_up(top_up(100))
    call = await admitted(redis_store, take(session(), 30))
    await extend(redis_store, extension(call, 20))
    await link.call("DEL", keys.session(ROOT, call.trace_id))
    if version == 1:  # which nobody can be told what is instead
        with pytest.raises(UnknownCall):
            await extend(redis_store, extension(call, 20))
    assert await redis_store.settle(settlement(replace(call, version=version), 40)) is None
    assert await figures(redis_store) == (60, 0, {})


async def test_what_is_left_of_a_lost_call_does_not_speak_for_its_new_record(link, redis_store):
    await redis_store.top_up(top_up(100))
    call = await admitted(redis_store, take(session(), 30))
    await extend(redis_store, extension(call, 20))
    await link.call("DEL", keys.session(ROOT, call.trace_id))
    again = await admitted(redis_store, take(session(), 10))
    assert (await redis_store.find(call.call)).version == 1
    assert await extend(redis_store, extension(again, 5)) == Extended(call.call, (35,))


async def test_how_long_calls_are_remembered(link, redis_store):
    day_s = 86_400
    call = await admitted(redis_store, take(session("c1")))
    record = keys.session(ROOT, call.trace_id)
    assert await link.call("TTL", record) == -1
    assert 36 * day_s < await link.call("TTL", keys.call(call.trace_id)) <= 37 * day_s
    await redis_store.settle(settlement(call))
    assert 29 * day_s < await link.call("TTL", record) <= 30 * day_s
    refused = session("c2")
    await redis_store.settle(refusal(refused))
    assert 6 * day_s < await link.call("TTL", keys.session(ROOT, refused.trace_id)) <= 7 * day_s
    await redis_store.admit(take(refused))
    assert await link.call("TTL", keys.session(ROOT, refused.trace_id)) == -1


async def test_a_record_that_cannot_be_read_keeps_no_other_from_being_read(link, redis_store):
    await admitted(redis_store, take(session("c1"), 0))
    await admitted(redis_store, take(session("c2"), 0))
    await link.call("SET", keys.session(ROOT, session("c1").trace_id), b"9 nonsense\n\n\xff")
    assert [call.call.call_id for call in await all_live(redis_store, [ROOT])] == ["c2"]


async def test_attempt_counters_do_not_stay(link, redis_store):
    await redis_store.admit(take(session(), rates=(rate("t1", 5),)))
    (counter,) = await link.call("KEYS", "*:cps:*")
    assert 0 < await link.call("TTL", counter) <= 2


async def test_every_process_hears_of_a_top_up(link, redis_store):
    await redis_store.top_up(top_up(100))
    ((_, fields),) = await link.call("XRANGE", keys.CHANGES, "-", "+")
    assert fields == [b"what", b"topup", b"id", b"acme"]


async def test_a_probe_leaves_nothing_behind(link, redis_store):
    before = await link.call("DBSIZE")
    await redis_store.admit(take(session(), dry=True, rates=(rate("t1", 5),)))
    await redis_store.admit(take(session(), probe=True))
    assert await link.call("DBSIZE") == before


async def test_an_extension_that_cannot_be_told_fails_alone(redis_store):
    calls = [await admitted(redis_store, take(session(f"c{n}"))) for n in range(3)]
    calls[1] = replace(calls[1], purchase=Purchase("\ud800"))
    first, unsaid, last = await redis_store.extend([extension(call, 0) for call in calls])
    assert [first, last] == [Extended(calls[n].call, (0,)) for n in (0, 2)]
    assert isinstance(unsaid, UnicodeEncodeError)


async def test_an_extension_of_more_than_can_be_told_fails_alone(redis_store):
    calls = [await admitted(redis_store, take(session(f"c{n}"))) for n in range(3)]
    first, unsaid, last = await redis_store.extend(
        [extension(call, more) for call, more in zip(calls, (0, 2**64, 0), strict=True)]
    )
    assert [first, last] == [Extended(calls[n].call, (0,)) for n in (0, 2)]
    assert isinstance(unsaid, OverflowError)


async def test_what_cannot_be_told_fails_for_who_waits_alone(redis_store):
    unsaid, said = redis_store.admit(take(session("c1", b_number="\ud800"))), redis_store.admit(take(session("c2")))
    with pytest.raises(UnicodeEncodeError):
        await unsaid
    assert isinstance(await said, Taken)


async def test_who_gives_up_on_an_admission_leaves_it_to_the_server(redis_store):
    given_up = asyncio.ensure_future(redis_store.admit(take(session("c1"))))
    await asyncio.sleep(0)
    given_up.cancel()
    assert isinstance(await redis_store.admit(take(session("c2"))), Taken)
    assert isinstance(await redis_store.admit(take(session("c1"))), Existing)


# ---- recount


async def test_a_recount_of_what_is_right_finds_nothing(redis_store):
    for account in ("shop", ROOT):
        await redis_store.top_up(top_up(1_000, account))
    for number in range(3):
        call = session(f"c{number}", ("shop", ROOT), trunk="t1")
        await admitted(redis_store, take(call, 50, trunk_slots=(Slot("outbound"),)))
    await extend(redis_store, extension(replace(call, version=1), 10, 20))
    await redis_store.settle(settlement(session("c0", ("shop", ROOT), trunk="t1", version=1), 40, 30))
    assert await redis_store.recount(ROOT, ["shop", ROOT, "nobody"], ["t1"]) == []


async def test_a_recount_puts_right_what_has_drifted(link, redis_store):
    await redis_store.top_up(top_up(1_000))
    await admitted(redis_store, take(session(trunk="t1"), 50, trunk_slots=(Slot("outbound"),)))
    account, trunk = keys.account(ROOT, ROOT), keys.trunk(ROOT, "t1")
    await link.call("HSET", account, "held", 77, "outbound", 5, "group:a%20b:inbound", 2)
    await link.call("HDEL", account, "total")
    await link.call("HSET", trunk, "outbound", -1)
    found = await redis_store.recount(ROOT, [ROOT], ["t1"])
    assert sorted(found, key=lambda difference: (difference.hash, difference.field)) == [
        Difference(account, "group:a b:inbound", 2, 0),
        Difference(account, "held", 77, 50),
        Difference(account, "outbound", 5, 1),
        Difference(account, "total", 0, 1),
        Difference(trunk, "outbound", -1, 1),
    ]
    assert await figures(redis_store) == (1_000, 50, {"outbound": 1, "total": 1})
    assert await redis_store.recount(ROOT, [ROOT], ["t1"]) == []


async def test_a_recount_frees_what_a_lost_record_had(link, redis_store):
    await redis_store.top_up(top_up(1_000))
    call = await admitted(redis_store, take(session(), 50))
    await link.call("DEL", keys.session(ROOT, call.trace_id))
    assert await all_live(redis_store, [ROOT]) == []
    assert len(await redis_store.recount(ROOT, [ROOT])) == 3
    assert await figures(redis_store) == (1_000, 0, {})
    assert await link.call("EXISTS", keys.live(ROOT)) == 0


# ---- the server fails


@pytest.fixture
async def failing(server) -> AsyncIterator[tuple[RedisServer, Link, RedisStore]]:
    """100 on the account, and one call that holds 30."""
    async with linked(server.url, times=QUICK) as link:
        store = RedisStore(link)
        await store.top_up(top_up(100))
        await admitted(store, take(session(), 30))
        yield server, link, store


async def refuses_everything(store: RedisStore, words: str | None = None) -> None:
    call = session(version=1)
    for attempt in (
        lambda: store.admit(take(session("c2"), 10)),
        lambda: extend(store, extension(call, 10)),
        lambda: store.settle(settlement(call, 10)),
        lambda: store.settle(refusal(session("c3"))),
        lambda: store.top_up(top_up(10, id="pay-2")),
        lambda: set_limit(store, ROOT, ROOT, 5),
    ):
        with pytest.raises(StoreUnavailable, match=words):
            await attempt()


async def all_as_before(store: RedisStore) -> None:
    assert await figures(store) == (100, 30, {"outbound": 1, "total": 1})
    assert [(call.call.call_id, call.version) for call in await all_live(store, [ROOT])] == [("c1", 1)]
    assert len(await store.ledger(ROOT, ROOT, "", 10)) == 1
    assert await outbox(store) == []


async def test_a_replica(failing):
    _, link, store = failing
    await link.call("REPLICAOF", "127.0.0.1", "1")
    await refuses_everything(store, "READONLY")
    await all_as_before(store)


async def test_out_of_memory(failing):
    _, link, store = failing
    await link.call("CONFIG", "SET", "maxmemory", "1")
    await refuses_everything(store, "OOM")
    await all_as_before(store)


async def test_a_hung_server_and_what_it_does_when_it_wakes_up(failing):
    server, link, store = failing
    server.freeze()
    with pytest.raises(StoreUnavailable):
        await store.admit(take(session("c2"), 10))
    with pytest.raises(StoreUnavailable):
        await all_live(store, [ROOT])
    server.resume()
    await link.ready(30_000)
    answer = await store.admit(take(session("c2"), 10))
    assert isinstance(answer, Taken | Existing)  # it may have been carried out when the server woke up
    assert (await figures(store))[1] == 40


async def test_a_restarted_server(failing):
    server, link, store = failing
    server.stop()
    await refuses_everything(store)
    server.start()
    await link.ready(30_000)
    await all_as_before(store)
    await store.settle(settlement(session(version=1), 10))
    assert await figures(store) == (90, 0, {})
