"""The link to Redis: pipelining, deadlines, and every way in which a server can fail."""

import asyncio
import contextlib
import os
from signal import SIGKILL

import pytest

from callctl.clock import SystemClock
from callctl.errors import StoreUnavailable
from callctl.store.address import parse_address
from callctl.store.link import Link, LinkLost
from callctl.store.rejected import Rejected
from tests.contract.links import QUICK, Peer, linked, served
from tests.waiting import until


async def answering(link: Link) -> None:
    """Wait until the link is up again."""
    await link.ready(30_000)
    assert await link.call("PING") == b"PONG"


# ---- while all is well


async def test_answers_come_back_to_those_who_asked(link):
    answers = await asyncio.gather(*(link.call("ECHO", n) for n in range(3_000)))
    assert answers == [str(n).encode() for n in range(3_000)]


async def test_replies_of_every_kind(link):
    assert await link.call("SET", "k", b"\x00\r\n") == b"OK"
    assert await link.call("GET", "k") == b"\x00\r\n"
    assert await link.call("GET", "none") is None
    assert await link.call("INCR", "n") == 1
    assert await link.call("EVAL", "return {1, {'a', false}, {}}", 0) == [1, [b"a", None], []]
    assert await link.call("SET", "k", b"x" * 3_000_000) == b"OK"
    assert len(await link.call("GET", "k")) == 3_000_000


async def test_commands_of_one_turn_leave_in_one_write(link):
    await link.call("CONFIG", "RESETSTAT")
    answers = await asyncio.gather(*(link.call("PING") for _ in range(50)), link.call("INFO", "stats"))
    stats = dict(line.split(":") for line in answers[-1].decode().split("\r\n") if ":" in line)
    assert int(stats["total_reads_processed"]) <= 2


async def test_a_posted_command_is_done_in_order(link):
    link.post("SET", "k", "1")
    assert await link.call("GET", "k") == b"1"
    link.post("NO-SUCH-COMMAND")
    assert await link.call("PING") == b"PONG"
    assert link.counts.errors == 1


async def test_a_caller_that_gives_up_does_not_shift_the_answers(link):
    given_up = asyncio.create_task(asyncio.wait_for(link.call("ECHO", "a"), 10))
    other = link.call("ECHO", "b")
    await asyncio.sleep(0)
    given_up.cancel()
    assert await other == b"b"
    assert await link.call("ECHO", "c") == b"c"


async def test_an_error_reply_says_the_servers_words(link):
    with pytest.raises(Rejected, match="WRONGTYPE"):
        await asyncio.gather(link.call("SET", "k", "1"), link.call("XADD", "k", "*", "a", "b"))


async def test_the_window_is_bounded(redis_server):
    async with linked(redis_server.url, window=10) as link:
        calls = [link.call("ECHO", n) for n in range(10)]
        with pytest.raises(StoreUnavailable, match="10 calls"):
            await link.call("PING")
        with pytest.raises(StoreUnavailable, match="10 calls"):
            link.post("PING")
        assert link.counts.overflows == 2
        assert await asyncio.gather(*calls) == [str(n).encode() for n in range(10)]
        assert await link.call("PING") == b"PONG"


# ---- when the server fails


async def test_no_server(server):
    server.stop()
    link = Link(parse_address(server.url), times=QUICK)
    with pytest.raises(StoreUnavailable, match=f"127.0.0.1:{server.port}"):
        await link.open()
    assert not link.state().up
    with pytest.raises(StoreUnavailable):
        await link.call("PING")
    server.start()
    await answering(link)
    await link.close()


async def test_a_restart_loses_nothing_that_was_answered(server):
    async with linked(server.url, times=QUICK) as link:
        since_ms = link.state().since_ms
        await link.call("SET", "k", "1")
        server.stop()
        await until(lambda: not link.state().up)
        assert link.state().since_ms >= since_ms
        with pytest.raises(StoreUnavailable):
            await link.call("GET", "k")
        server.start()
        await answering(link)
        assert await link.call("GET", "k") == b"1"
        assert (link.counts.connections, link.counts.lost) == (2, 1)


async def test_a_crash_fails_what_is_under_way(server):
    async with linked(server.url, times=QUICK) as link:
        server.freeze()
        calls = [link.call("PING") for _ in range(5)]
        await asyncio.sleep(0)
        os.kill(server._process.pid, SIGKILL)  # not resumed before, as kill() does
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(answer) for answer in answers] == [LinkLost] * 5


async def test_a_hung_server_is_noticed_by_a_call(server):
    async with linked(server.url, times=QUICK) as link:
        server.freeze()
        with pytest.raises(StoreUnavailable, match=r"no answer within 1000 ms|silent"):
            await link.call("PING")
        await until(lambda: not link.state().up)
        with pytest.raises(StoreUnavailable, match="silent"):
            await link.call("PING")
        assert link.counts.overdue == 1
        server.resume()
        await answering(link)


async def test_who_hears_that_no_answer_came_may_ask_again_at_once(server):
    async with linked(server.url, times=QUICK) as link:
        server.freeze()
        heard, faults = [], []
        asyncio.get_running_loop().set_exception_handler(lambda _, fault: faults.append(fault))

        def again(reply):
            heard.append(reply)
            with contextlib.suppress(StoreUnavailable):
                link.ask(("PING",), heard.append)

        for _ in range(3):
            link.ask(("PING",), again)
        await until(lambda: len(heard) >= 6)
        server.resume()
        assert not faults
        assert link.counts.overdue >= 3
        assert all(isinstance(reply, StoreUnavailable) for reply in heard)
        await answering(link)


async def test_a_hung_server_is_noticed_when_nobody_calls(server):
    async with linked(server.url, times=QUICK) as link:
        server.freeze()
        await until(lambda: not link.state().up)
        server.resume()
        await answering(link)


async def test_a_slow_answer_belongs_to_nobody_but_its_call(server):
    """The deadline passes, the connection stays: what comes late must not answer the next call."""
    async with linked(server.url, times=QUICK) as link, linked(server.url) as other:
        patient = link.call("BLPOP", "empty", 0, timeout_ms=30_000)
        with pytest.raises(StoreUnavailable, match="no answer within 50 ms"):
            await link.call("ECHO", "late", timeout_ms=50)
        mine = link.call("ECHO", "mine", timeout_ms=30_000)
        await other.call("RPUSH", "empty", "filled")
        assert await asyncio.gather(patient, mine) == [[b"empty", b"filled"], b"mine"]
        assert (link.counts.overdue, link.counts.lost) == (1, 0)


async def test_a_long_deadline_is_not_a_hung_server(server):
    async with linked(server.url, times=QUICK) as link:
        assert await link.call("BLPOP", "empty", "0.3", timeout_ms=2_000) is None
        assert link.counts.lost == 0


async def test_a_replica_refuses_writes(server):
    async with linked(server.url, times=QUICK) as link:
        await link.call("REPLICAOF", "127.0.0.1", "1")
        with pytest.raises(Rejected, match="READONLY"):
            await link.call("SET", "k", "1")
        assert link.state().detail.startswith("refuses writes: READONLY")
        await link.call("REPLICAOF", "NO", "ONE")
        assert await link.call("SET", "k", "1") == b"OK"


async def test_a_full_server_refuses_writes(server):
    async with linked(server.url, times=QUICK) as link:
        await link.call("CONFIG", "SET", "maxmemory", "1")
        with pytest.raises(Rejected, match="OOM"):
            await link.call("SET", "k", "1")
        assert await link.call("GET", "k") is None


@pytest.mark.parametrize(
    ("refusing", "taking"),
    [
        (("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE")),
        (("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "SET", "maxmemory", "0")),
        (("CONFIG", "SET", "min-replicas-to-write", "1"), ("CONFIG", "SET", "min-replicas-to-write", "0")),
    ],
)
async def test_a_server_without_writes_is_noticed_when_nobody_calls(server, refusing, taking):
    async with linked(server.url, times=QUICK) as link:
        assert await link.call(*refusing) == b"OK"
        await until(lambda: not link.state().up)
        await link.call(*taking)
        await until(lambda: link.state().up)
        assert (link.counts.connections, await link.call("DBSIZE")) == (1, 0)


async def test_a_server_that_cannot_save_refuses_writes(server, tmp_path):
    (tmp_path / "dump.rdb").mkdir()
    async with linked(server.url) as link:
        await link.call("CONFIG", "SET", "save", "3600 1")
        await link.call("BGSAVE")
        async with asyncio.timeout(30):
            while b"rdb_last_bgsave_status:err" not in await link.call("INFO", "persistence"):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        with pytest.raises(Rejected, match="MISCONF"):
            await link.call("SET", "k", "1")


# ---- when it is no Redis at all


def saying(*words: bytes) -> Peer:
    """Answers command after command with these words, and then no more."""

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for word in words:
            await reader.read(1_000)
            writer.write(word)
        await reader.read()

    return peer


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (b"HTTP/1.0 400 Bad Request\r\n\r\n", "not the Redis protocol"),
        (b"-LOADING Redis is loading the dataset in memory\r\n", "LOADING"),
        (b"+PONG\r\n:1\r\n", "an answer that nobody asked for"),
    ],
)
async def test_strange_greetings(words, reason):
    async with served(saying(words)) as url:
        link = Link(parse_address(url), times=QUICK)
        with contextlib.suppress(StoreUnavailable):
            await link.open()
        await until(lambda: reason in link.state().detail)
        await link.close()


async def test_a_server_that_accepts_and_says_nothing():
    async with served(saying()) as url:
        link = Link(parse_address(url), times=QUICK)
        with pytest.raises(StoreUnavailable):
            await link.open()
        await until(lambda: link.state().detail != "not yet connected")
        await link.close()


async def test_half_an_answer():
    async with served(saying(b"+PONG\r\n", b"$100\r\nhalf")) as url, linked(url, times=QUICK) as link:
        with pytest.raises(StoreUnavailable):
            await link.call("GET", "k")
        await until(lambda: link.counts.lost == 1)


async def test_closing_twice_and_before_opening(redis_server):
    link = Link(parse_address(redis_server.url), clock=SystemClock())
    await link.close()
    await link.open()
    await link.open()
    await link.close()
    await link.close()
    assert not link.state().up
    with pytest.raises(StoreUnavailable, match="closed"):
        await link.call("PING")
