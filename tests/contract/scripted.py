"""A call that follows its script: rings, talks, and is ended by a party, by its limit, or from outside."""

import asyncio
from abc import ABC, abstractmethod
from typing import Any

from callctl.accounts import WarnTo
from callctl.ports import Clock
from tests.contract.switchboard import Party, Script, Seen
from tests.waiting import PATIENCE_S

BY_PARTY, BY_LIMIT, FROM_OUTSIDE = 1, 5, 6  # as Acct-Terminate-Cause has them
GIVEN_UP = 487


class ScriptedCall(ABC):
    """`switchboard.PlacedCall` without its protocol: `run` is what a kind of switch does with the call."""

    def __init__(self, clock: Clock, script: Script) -> None:
        loop = asyncio.get_running_loop()
        self.clock, self.script = clock, script
        self._hanging_up: asyncio.Future[tuple[Party | None, int]] = loop.create_future()
        self._answered: asyncio.Future[bool] = loop.create_future()
        self._seen: asyncio.Future[Seen] = loop.create_future()
        self._task = asyncio.create_task(self.run())

    @abstractmethod
    async def run(self) -> None: ...

    @property
    def warnings(self) -> list[WarnTo]:
        """A switch without a voice tells nobody."""
        return []

    async def answered(self) -> bool:
        return await asyncio.wait_for(asyncio.shield(self._answered), PATIENCE_S)

    async def over(self) -> Seen:
        return await asyncio.wait_for(asyncio.shield(self._seen), PATIENCE_S)

    async def hang_up(self, by: Party) -> None:
        self.end(by, BY_PARTY)

    async def transfer(self, by: Party, to: str) -> None:
        raise AssertionError("the rig says that it cannot")

    def end(self, by: Party | None, cause: int) -> None:
        if not self._hanging_up.done():
            self._hanging_up.set_result((by, cause))

    async def vanish(self) -> None:
        """The switch is gone, and its call with it."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self.ended(Seen(503))

    def was_answered(self) -> None:
        self._answered.set_result(True)

    def ended(self, seen: Seen) -> None:
        if not self._answered.done():
            self._answered.set_result(False)
        if not self._seen.done():
            self._seen.set_result(seen)

    async def ring(self, longest_s: float | None = None) -> Seen | None:
        """None: it was answered."""
        answer = self.script.answer
        refuses = answer not in (200, None)
        rings_s = 0 if refuses else longest_s if answer is None else self.script.rings_s
        if await self._until_hung_up(rings_s):
            return Seen(GIVEN_UP, hung_up_by=self._hanging_up.result()[0])
        if answer == 200:
            return None
        return Seen(GIVEN_UP if answer is None else answer)

    async def talk(self, longest_s: float | None) -> tuple[Seen, int]:
        """How it went, and what ended it."""
        begun = self.clock.now()
        talks_s = self.script.talks_s
        if talks_s is not None and (longest_s is None or talks_s < longest_s):
            await self._until_hung_up(talks_s)
            self.end(self.script.hung_up_by, BY_PARTY)
        else:
            await self._until_hung_up(longest_s)
            self.end(None, BY_LIMIT)
        by, cause = self._hanging_up.result()
        return Seen(200, self.clock.now().since_ms(begun), by), cause

    async def _until_hung_up(self, within_s: float | None) -> bool:
        alarm = None if within_s is None else asyncio.ensure_future(self.clock.sleep_ms(round(within_s * 1_000)))
        waited: list[asyncio.Future[Any]] = [self._hanging_up, *([alarm] if alarm is not None else [])]
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        if alarm is not None:
            alarm.cancel()
        return self._hanging_up.done()
