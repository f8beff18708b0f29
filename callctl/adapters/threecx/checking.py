"""Compares every call that has ended with the PBX's own record of it, and raises the alarm where they differ."""

import asyncio
from collections.abc import Callable
from typing import Final
from zoneinfo import ZoneInfo

import structlog

from callctl.adapters.threecx.calls import Call
from callctl.adapters.threecx.cdr import CdrSocket
from callctl.adapters.threecx.crosscheck import FIELDS, NEAR_MS, Comparison, Crosscheck, parse_line
from callctl.adapters.threecx.link import LinkCounts, Times
from callctl.adapters.threecx.translate import Events
from callctl.adapters.threecx.troubles import Troubles
from callctl.adapters.threecx.xapi import Xapi
from callctl.call.events import CallKey, Released
from callctl.errors import SwitchUnavailable
from callctl.ports import Clock

log = structlog.get_logger(__name__)

MARGIN_MS: Final = 60_000


class Checking:
    """By XAPI's call log (`log`), the CDR socket (`socket`, its columns and their time zone), or both."""

    def __init__(
        self,
        switch: str,
        *,
        call_log: bool,
        socket: CdrSocket | None = None,
        fields: tuple[str, ...] = FIELDS,
        zone: str = "UTC",
        times: Times = Times(),  # noqa: B008  frozen
    ) -> None:
        self._switch = switch
        self._call_log = call_log
        self._socket = socket
        self._fields = fields
        self._zone = ZoneInfo(zone)
        self._times = times
        self._check = Crosscheck(times.unlogged_ms)
        self._troubles = Troubles(switch)

    def ended(self, call: Call) -> None:
        """A call that was answered or not; one that was never admitted is none of ours."""
        if call.admitted:
            self._check.ended(call)

    async def run(self, xapi: Xapi | None, clock: Clock, counts: LinkCounts, correct: Callable[[Events], None]) -> None:
        """Until cancelled. `correct` is told the true end of a call of which we could only guess it."""
        async with asyncio.TaskGroup() as group:
            if self._socket is not None:
                group.create_task(self._socket.run(self._on_line, clock))
            group.create_task(self._compare(xapi if self._call_log else None, clock, counts, correct))

    def _on_line(self, line: str) -> None:
        segment = parse_line(line, self._fields, self._zone)
        if segment is not None:
            self._check.logged([segment])

    async def _compare(
        self, xapi: Xapi | None, clock: Clock, counts: LinkCounts, correct: Callable[[Events], None]
    ) -> None:
        while True:
            await clock.sleep_ms(self._times.check_ms)
            since_ms = self._check.since_ms
            if since_ms is None:
                continue
            if xapi is not None:
                try:
                    until_ms = clock.now().wall_ms + MARGIN_MS
                    self._check.logged(await xapi.log(since_ms - NEAR_MS - MARGIN_MS, until_ms))
                except SwitchUnavailable as error:
                    self._troubles.begin("threecx_call_log_not_read", error)
                    if self._socket is None:
                        continue
                else:
                    self._troubles.over("threecx_call_log_not_read")
            for compared in self._check.compared(clock.now()):
                if compared.is_alarming:
                    self._alarm(compared, counts)
                end = compared.true_end
                if end is not None:
                    key = CallKey(self._switch, compared.call.id)
                    correct((Released(key, end, answered_at=compared.call.answered),))

    def _alarm(self, compared: Comparison, counts: LinkCounts) -> None:
        call = f"{self._switch}/{compared.call.id}"
        if compared.theirs_ms is None:
            counts.unlogged += 1
            log.error("call_not_in_the_log_of_the_pbx", call_id=call, ours_ms=compared.ours_ms)
        else:
            counts.differences += 1
            log.error(
                "call_differs_from_the_log_of_the_pbx",
                call_id=call,
                ours_ms=compared.ours_ms,
                theirs_ms=compared.theirs_ms,
            )
