"""The answer of a script is lost on the way: it is repeated, and is not carried out twice."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from msgspec.structs import replace

from callctl.call.events import Extended, Taken
from callctl.errors import StoreUnavailable
from callctl.limits.concurrency import Slot
from callctl.ports import Existing
from callctl.store.link import LinkLost, LinkTimes
from callctl.store.redis import RedisStore
from tests.contract.calls import (
    ROOT,
    admitted,
    extend,
    extension,
    figures,
    outbox,
    rate,
    refusal,
    session,
    settlement,
    take,
    top_up,
)
from tests.contract.links import linked, served
from tests.contract.test_takes_draws import drawing, ended, left, longer

TIMES = LinkTimes(call_ms=30_000, retry_first_ms=1)


class Thief:
    """Stands between a link and the server. `steal` answers never arrive: the connection is cut instead.

    Greetings pass, so that the link comes back and what it repeats is robbed, too; and that a script is not known.
    """

    def __init__(self, port: int) -> None:
        self.steal = 0
        self.url = ""
        self._server_port = port

    async def relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Meet one link."""
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._server_port)
        requests = asyncio.create_task(_pass_on(reader, server_writer))
        try:
            while answer := await server_reader.read(65_536):
                if self.steal and not answer.startswith((b"+PONG", b"-NOSCRIPT")):
                    self.steal -= 1
                    return
                writer.write(answer)
        finally:
            requests.cancel()
            server_writer.close()
            await server_writer.wait_closed()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while request := await reader.read(65_536):
        writer.write(request)
    writer.close()


@pytest.fixture
async def thief(redis_server) -> AsyncIterator[Thief]:
    thief = Thief(redis_server.port)
    async with served(thief.relay) as thief.url:
        yield thief


@pytest.fixture
async def robbed(link, thief) -> AsyncIterator[RedisStore]:
    async with linked(thief.url, times=TIMES) as robbed:
        yield RedisStore(robbed)


async def test_a_lost_answer_to_an_admission(redis_store, robbed, thief):
    await redis_store.top_up(top_up(100))
    proposed = take(session(), 30, slots=(Slot("outbound", 0, 1),), overflow=5, rates=(rate("t1", 9),))
    thief.steal = 1
    answer = await robbed.admit(proposed)
    assert thief.steal == 0
    assert (answer.available, answer.overflow) == ((65,), (True,))
    assert [use.in_use for use in answer.uses] == [0]  # this call is not counted, though it is in by now
    assert await figures(redis_store) == (100, 35, {"outbound": 1})
    assert isinstance(await robbed.admit(proposed), Existing)


async def test_a_lost_answer_to_a_refused_admission(redis_store, robbed, thief):
    thief.steal = 1
    answer = await robbed.admit(take(session(), 30))
    assert thief.steal == 0
    assert answer.available == (0,)
    assert await figures(redis_store) == (0, 0, {})


async def test_a_lost_answer_to_an_extension(redis_store, robbed, thief):
    await redis_store.top_up(top_up(100))
    call = await admitted(redis_store, take(session(), 30))
    thief.steal = 1
    assert await extend(robbed, extension(call, 50)) == Extended(call.call, (20,))
    assert thief.steal == 0
    assert (await figures(redis_store))[1] == 80
    assert (await redis_store.find(call.call)).version == 2


async def test_a_lost_answer_of_a_server_that_forgot_the_scripts(link, redis_store, robbed, thief):
    await redis_store.top_up(top_up(100))
    thief.steal = 1
    await link.call("SCRIPT", "FLUSH")
    assert (await robbed.admit(take(session(), 30))).available == (70,)
    call = await redis_store.find(session().call)
    thief.steal = 1
    await link.call("SCRIPT", "FLUSH")
    assert await extend(robbed, extension(call, 50)) == Extended(call.call, (20,))
    thief.steal = 1
    await link.call("SCRIPT", "FLUSH")
    assert await robbed.settle(settlement(replace(call, version=2), 60)) is None
    assert thief.steal == 0
    assert await figures(redis_store) == (40, 0, {})


@pytest.mark.parametrize("how", ["ended", "refused"])
async def test_a_lost_answer_to_a_settlement(redis_store, robbed, thief, how):
    await redis_store.top_up(top_up(100))
    call = await admitted(redis_store, take(session(), 30))
    thief.steal = 1
    assert await robbed.settle(settlement(call, 20) if how == "ended" else refusal(call)) is None
    assert thief.steal == 0
    assert await figures(redis_store) == (80 if how == "ended" else 100, 0, {})
    assert len(await outbox(redis_store)) == 1


async def test_lost_answers_draw_upon_a_bundle_once(redis_store, robbed, thief):
    thief.steal = 1
    taken = await robbed.admit(drawing("c1", 70, 30))
    assert taken.left == ((530, 470),)
    call = await redis_store.find(taken.call)
    thief.steal = 1
    assert await extend(robbed, longer(call, 0, 10, 0)) == Extended(call.call, (0,), ((520, 470),))
    call = await redis_store.find(taken.call)
    thief.steal = 1
    assert await robbed.settle(ended(call, 0, 50, 20)) is None
    assert thief.steal == 0
    assert await left(redis_store) == (550, 480)


async def test_a_lost_answer_to_a_refused_attempt(redis_store, robbed, thief):
    thief.steal = 1
    assert await robbed.settle(refusal(session())) is None
    assert thief.steal == 0
    assert len(await outbox(redis_store)) == 1


async def test_a_lost_answer_to_a_correction(redis_store, robbed, thief):
    call = await admitted(redis_store, take(session()))
    await redis_store.settle(settlement(call, 60, kind="estimate"))
    ended = await redis_store.find(call.call)
    thief.steal = 1
    assert await robbed.settle(settlement(ended, -20, kind="correction")) is None
    assert await figures(redis_store) == (-40, 0, {})


async def test_a_lost_answer_to_a_top_up(redis_store, robbed, thief):
    thief.steal = 1
    entry = await robbed.top_up(top_up(100))
    assert thief.steal == 0
    assert (entry.amount, entry.balance) == (100, 100)
    assert await figures(redis_store) == (100, 0, {})
    assert [found.cursor for found in await redis_store.ledger(ROOT, ROOT, "", 10)] == [entry.cursor]


async def test_what_nobody_waits_for_any_more_is_not_repeated(robbed, monkeypatch):
    sent = []
    monkeypatch.setattr(robbed._link, "ask", lambda command, then: sent.append(then))
    given_up = asyncio.ensure_future(robbed.admit(take(session(), 30)))
    await asyncio.sleep(0)
    given_up.cancel()
    (then,) = sent
    then(LinkLost("cut", asyncio.get_running_loop().time() + 30))
    assert not robbed._admissions._repeats


async def test_many_lost_at_once(redis_store, robbed, thief):
    await redis_store.top_up(top_up(8 * 100))
    thief.steal = 1
    answers = await asyncio.gather(*(robbed.admit(take(session(f"c{n}"), 100)) for n in range(50)))
    assert thief.steal == 0
    assert sum(isinstance(answer, Taken) for answer in answers) == 8
    assert await figures(redis_store) == (800, 800, {"outbound": 8, "total": 8})


async def test_lost_twice_is_unknown_and_can_be_found_out(redis_store, robbed, thief):
    await redis_store.top_up(top_up(100))
    thief.steal = 2
    with pytest.raises(StoreUnavailable, match="connection lost"):
        await robbed.admit(take(session(), 30))
    answer = await redis_store.admit(take(session(), 30))
    assert isinstance(answer, Existing)
    assert await redis_store.settle(refusal(answer.session)) is None
    assert await figures(redis_store) == (100, 0, {})
