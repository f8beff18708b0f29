"""Reads participants that have changed: one GET at a time for each, and one more where it changed meanwhile.

3CX says only that something has changed, about every 750 ms while it rings, and has no events to be asked for again.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

import structlog

from callctl.adapters.threecx import wire
from callctl.adapters.threecx.link import FORBIDDEN, GONE, NotDone, ThreeCxLink, Times, Unanswered, path_of
from callctl.adapters.threecx.wire import Key, Participant, Snapshot
from callctl.clock import Instant
from callctl.errors import SwitchUnavailable
from callctl.ports import Clock

log = structlog.get_logger(__name__)

AT_ONCE: Final = 8
MOST_WAITING: Final = 10_000
MOST_WORDS: Final = 100


async def read_snapshot(link: ThreeCxLink, known: Iterable[Key], *, fresh: bool) -> Snapshot:
    """All DNs and participants. Of a DN that does not say who is there, the list is read where we know of somebody.

    `fresh`: of every such DN, for nobody has told us who came there.
    """
    lines = wire.lines(await link.get(path_of()))
    if lines is None:
        raise Unanswered("the list of DNs cannot be read")
    occupied = {dn for dn, _ in known}
    shown: list[Participant] = []
    for line in lines:
        participants = line.participants
        if participants is None and (fresh or line.dn in occupied):
            participants = await _list(link, line.dn)
        shown += participants or ()
    return Snapshot(tuple(line.dn for line in lines), tuple(shown))


async def _list(link: ThreeCxLink, dn: str) -> tuple[Participant, ...]:
    """The participants of a DN; none where there is no such DN for us."""
    try:
        return wire.participants(await link.get(path_of(dn, "participants")), dn)
    except NotDone as error:
        if error.status in (GONE, FORBIDDEN):
            return ()
        raise


class Reader:
    """`seen` is told what was read and when the PBX told of the change; `gone` what is there no more.

    A GET without an answer is repeated with growing pauses; when all came to nothing, `failed` is told.
    """

    def __init__(
        self,
        link: ThreeCxLink,
        clock: Clock,
        times: Times,
        *,
        seen: Callable[[Participant, Instant], None],
        gone: Callable[[Key, Instant], None],
        failed: Callable[[], None],
    ) -> None:
        self._link = link
        self._clock = clock
        self._times = times
        self._seen = seen
        self._gone = gone
        self._failed = failed
        self._changed: dict[Key, Instant] = {}
        self._reading: dict[Key, asyncio.Task[None]] = {}
        self._words: set[str] = set()
        self._free = asyncio.Semaphore(AT_ONCE)

    def changed(self, key: Key, at: Instant) -> None:
        """It has changed, the PBX says."""
        if len(self._changed) >= MOST_WAITING:
            self._failed()
            return
        self._changed[key] = at
        if key not in self._reading:
            self._reading[key] = asyncio.get_running_loop().create_task(self._read(key))

    def forget(self, key: Key) -> None:
        """It is gone: what is read of it is of no use any more."""
        self._changed.pop(key, None)
        task = self._reading.pop(key, None)
        if task is not None:
            task.cancel()

    def clear(self) -> None:
        for key in tuple(self._reading):
            self.forget(key)

    async def _read(self, key: Key) -> None:
        try:
            while key in self._changed:
                news = self._changed[key]
                try:
                    participant = await self._patiently(key)
                except SwitchUnavailable as error:
                    log.warning("threecx_read_failed", dn=key[0], participant=key[1], error=str(error))
                    self._changed.pop(key, None)
                    self._failed()
                    return
                latest = self._changed[key]  # the news that what was read is the best answer to
                if latest is news:
                    del self._changed[key]
                if participant is None:
                    self._gone(key, latest)
                else:
                    self._wonder_at(participant.other_status)
                    self._seen(participant, latest)
        finally:
            if self._reading.get(key) is asyncio.current_task():
                del self._reading[key]

    def _wonder_at(self, status: str) -> None:
        """A status that we do not know changes nothing, and is said once."""
        if status and status not in self._words and len(self._words) < MOST_WORDS:
            self._words.add(status)
            log.warning("threecx_unknown_status", status=status)

    async def _patiently(self, key: Key) -> Participant | None:
        pause_ms = self._times.again_ms
        for tried in range(self._times.tries):
            try:
                async with self._free:
                    return await self._once(key)
            except (NotDone, Unanswered) as error:
                if (isinstance(error, NotDone) and error.is_final) or tried + 1 == self._times.tries:
                    raise
            await self._clock.sleep_ms(pause_ms)
            pause_ms *= 2
        raise Unanswered("never tried")

    async def _once(self, key: Key) -> Participant | None:
        """None: it is gone. What may not be read by itself is found in the list of its DN."""
        dn, id_ = key
        try:
            told = await self._link.get(path_of(dn, "participants", id_))
        except NotDone as error:
            if error.status == GONE:
                return None
            if error.status != FORBIDDEN:
                raise
            try:
                told = await self._link.get(path_of(dn, "participants"))
            except NotDone as no:
                if no.status == GONE:
                    return None
                raise
        found = wire.participants(told, dn)
        if not found and not isinstance(told, list):
            raise Unanswered(f"participant {id_} of {dn}: not understood")
        return next((each for each in found if each.id == id_), None)
