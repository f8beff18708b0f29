"""Ends calls: participants are dropped, and what XAPI alone shows by XAPI.

Who is gone is no failure, so that it may be asked for again and again: a caller whom nobody ends talks on for nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from callctl.adapters.threecx import wire
from callctl.adapters.threecx.calls import Call
from callctl.adapters.threecx.link import FORBIDDEN, GONE, OK, NotDone, ThreeCxLink, Times, path_of
from callctl.adapters.threecx.translate import Book
from callctl.adapters.threecx.wire import Key
from callctl.adapters.threecx.xapi import Xapi
from callctl.errors import SwitchUnavailable
from callctl.ports import Clock

log = structlog.get_logger(__name__)


class Ending:
    """`xapi`: it ends what cannot be dropped."""

    def __init__(self, link: ThreeCxLink, book: Book, xapi: Xapi | None, clock: Clock, times: Times) -> None:
        self._link = link
        self._book = book
        self._xapi = xapi
        self._clock = clock
        self._times = times

    async def end(self, call: Call) -> None:
        """All its participants at once: when one leaves, 3CX ends those of the other side, too. SwitchUnavailable."""
        dropped = await asyncio.gather(*map(self.drop, call.legs), return_exceptions=True)
        failed = [error for error in dropped if error is not None]
        barred = any(isinstance(error, NotDone) and error.status == FORBIDDEN for error in failed)
        if self._xapi is not None and (call.listed or barred):
            xapi = self._xapi
            await self._patiently(lambda: xapi.drop(call.group))
        elif failed:
            raise SwitchUnavailable(f"not dropped: {failed[0]}") from failed[0]

    async def drop(self, leg: Key) -> None:
        """SwitchUnavailable where that was not done, after some tries."""
        await self._patiently(lambda: self._drop(leg))

    async def insist(self, call_id: str, leg: Key) -> None:
        """Until it is dropped, or nobody is there.

        A PBX that was started anew gives the id to a participant of another call, which is none of ours to end.
        """
        pause_ms = self._times.poll_ms
        while not self._book.legs.is_others(leg, call_id):
            try:
                return await self._drop(leg)
            except SwitchUnavailable as error:
                log.info("threecx_not_dropped", participant=leg[1], error=str(error))
            await self._clock.sleep_ms(pause_ms)
            pause_ms = min(2 * pause_ms, self._times.resync_ms)
            if self._book.legs.get(leg) is None:
                return

    async def _patiently(self, done: Callable[[], Awaitable[None]]) -> None:
        """A call is over when its paid time is: control would ask again a second later."""
        for tried in range(self._times.drop_tries - 1):
            try:
                return await done()
            except SwitchUnavailable as error:
                if isinstance(error, NotDone) and error.is_final:
                    raise
            await self._clock.sleep_ms(self._times.again_ms << tried)
        await done()

    async def _drop(self, leg: Key) -> None:
        dn, id_ = leg
        path = path_of(dn, "participants", id_, "drop")
        try:
            outcome = wire.outcome(await self._link.post(path, None, timeout_ms=self._times.drop_ms))
        except NotDone as error:
            if error.status != GONE:
                raise
        else:
            if not outcome.succeeded:
                raise NotDone(OK, outcome.said)
