"""Calls over HTTP: an SBC that asks, enforces what it was granted by itself, and repeats what was not answered."""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import TypeVar

from callctl.call.events import Alerting, Answered, ExtendAsked, HangUpAsked, Offered, Released, ReleasedBy
from callctl.call.session import Session
from callctl.clock import Instant
from callctl.errors import CallConflict, PortError, UnknownCall
from callctl.ports import Calls
from tests.simulation.clock import VirtualLoop, WallClock
from tests.simulation.faults import Faults
from tests.simulation.story import Story, TrueCall
from tests.simulation.switch import Script

PATIENCE_MS = 3_000
AGAIN_MS = 2_000
EXTEND_LEAD_MS = 3_000
T = TypeVar("T")


class Unanswered(Exception):
    """Callctl died, or took too long."""


Ask = Callable[[Callable[[Calls], Awaitable[T]]], Awaitable[T]]
"""Puts a question to the callctl that lives; raises Unanswered, or what callctl raises."""


class Client:
    """Plays calls by the front door. `hears`: told of every report that callctl has accepted."""

    def __init__(
        self,
        loop: VirtualLoop,
        rng: Random,
        faults: Faults,
        story: Story,
        wall: WallClock,
        ask: Ask[Session],
        places: Callable[[int, int], Instant | None],
    ) -> None:
        self.healed = False
        self.accepted: Callable[[Answered | Released, TrueCall], None] = lambda event, call: None
        self.wrong: Callable[[str], None] = lambda what: None
        self._loop = loop
        self._rng = rng
        self._faults = faults
        self._story = story
        self._wall = wall
        self._ask = ask
        self._places = places

    async def play(self, call: TrueCall, script: Script, offered: Callable[[Instant], Offered]) -> None:
        decided = await self._authorize(call, offered)
        if decided is None or decided.refusal is not None:
            call.ended_ms = self._loop.now_ms
            return
        call.admitted_ms = self._loop.now_ms
        call.granted_s = decided.granted_s
        await asyncio.sleep((script.answer_ms if script.answer_ms is not None else script.give_up_ms) / 1000)
        if script.answer_ms is not None:
            call.answered_ms = self._loop.now_ms
            self._story.tell("client: answered", call.key.call_id)
            said = self._report(call, lambda at: Answered(call.key, at, stated=True), call.answered_ms)
            saying = asyncio.ensure_future(said)
            await self._talk(call, script.talk_ms, saying)
        call.ended_ms = self._loop.now_ms
        self._story.tell("client: ended", call.key.call_id)
        answered_ms = call.answered_ms
        if answered_ms is not None:
            await saying

        def over(at: Instant) -> Released:
            begun = None if answered_ms is None else self._places(answered_ms, self._wall.at(answered_ms))
            return Released(call.key, at, True, 16, None, ReleasedBy.CALLER, begun)

        await self._report(call, over, call.ended_ms)

    async def _authorize(self, call: TrueCall, offered: Callable[[Instant], Offered]) -> Session | None:
        rng = self._rng

        async def once() -> Session:
            async def asking(calls: Calls) -> Session:
                now = self._places(self._loop.now_ms, self._wall.now_ms())
                assert now is not None
                call.offered_ms.append(self._loop.now_ms)
                self._story.tell("client: authorize", call.key.call_id, call.account, call.dialled)
                return await calls.authorize(offered(now))

            return await self._ask(asking)

        for _ in range(3):
            try:
                answers = await asyncio.gather(*(once() for _ in range(1 + (rng.random() < 0.2))))
            except (Unanswered, PortError, CallConflict):
                call.harmed.add("authorize unanswered")
                await asyncio.sleep(AGAIN_MS / 1000)
                continue
            if len({(a.refusal, a.first_granted_s) for a in answers}) > 1:
                self.wrong(f"{call.key}: two answers to one question: {answers}")
            self._story.tell("client: got", call.key.call_id, answers[0].refusal or f"{answers[0].granted_s} s")
            if answers[0].refusal is not None:
                call.decided.append("reject")
            return answers[0]
        return None

    async def _talk(self, call: TrueCall, talk_ms: int, saying: asyncio.Future[None]) -> None:
        """As long as people talk, or as was granted; asks for more where it may."""
        assert call.answered_ms is not None
        over_ms = call.answered_ms + talk_ms
        await asyncio.wait({saying}, timeout=min(talk_ms, call.granted_s * 1000) / 1000)  # it may be granted less
        while True:
            granted_ms = call.answered_ms + call.granted_s * 1000
            lead_ms = EXTEND_LEAD_MS if call.granted_s > 6 else 500
            if over_ms < granted_ms - lead_ms or call.emergency:
                return await self._until(over_ms)
            await self._until(granted_ms - lead_ms)
            longer = await self._extended(call)
            if longer is None or longer <= call.granted_s:
                return await self._until(min(over_ms, granted_ms))
            call.granted_s = longer

    async def _extended(self, call: TrueCall) -> int | None:
        try:
            session = await self._ask(lambda calls: calls.report(ExtendAsked(call.key)))
        except (Unanswered, PortError, UnknownCall):
            return None
        return session.granted_s if session.answered is not None else None

    async def _until(self, at_ms: int) -> None:
        await asyncio.sleep(max(0, at_ms - self._loop.now_ms) / 1000)

    async def _report(
        self, call: TrueCall, say: Callable[[Instant], Answered | Released | Alerting | HangUpAsked], at_ms: int
    ) -> None:
        if not self.healed and self._rng.random() < self._faults.clients_silent:
            call.harmed.add("client silent")
            return
        wall_ms = self._wall.at(at_ms)
        for _ in range(60):
            said = None

            async def asking(calls: Calls) -> Session:
                nonlocal said
                at = self._places(at_ms, wall_ms)
                assert at is not None
                said = say(at)
                session = await calls.report(said)
                if isinstance(said, Answered):
                    call.granted_s = session.granted_s
                return session

            try:
                await self._ask(asking)
            except (Unanswered, PortError):
                await asyncio.sleep(AGAIN_MS / 1000)
                continue
            except UnknownCall:
                call.harmed.add("report of an unknown call")
                self._story.tell("client: callctl does not know", call.key.call_id)
                return
            assert isinstance(said, Answered | Released)
            self._story.tell("client: told", call.key.call_id, type(said).__name__)
            self.accepted(said, call)
            return
        call.harmed.add("report never accepted")
