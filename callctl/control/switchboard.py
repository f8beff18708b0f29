"""The switches that this process is linked to, by name: they come and go while the others run on."""

import asyncio
from collections.abc import Callable, Collection, Coroutine
from typing import Any

import structlog

from callctl.ports import Clock, Report, SwitchAdapter

log = structlog.get_logger(__name__)

AGAIN_MS = 1_000

Relinked = Callable[[str], Coroutine[Any, Any, None]]
"""What is to be done when the link of this switch is up (again)."""


class Switchboard(dict[str, SwitchAdapter]):
    """Each adapter runs in a task of its own: a fault in one of them is logged, and its link alone begins anew.

    Every decision looks up its switch, over HTTP mostly one that is not here: a `Mapping` takes 2 us to say so.
    """

    def __init__(self, switches: Collection[SwitchAdapter], clock: Clock) -> None:
        super().__init__((switch.name, switch) for switch in switches)
        self._clock = clock
        self._links: dict[str, asyncio.Task[None]] = {}
        self._begin: Callable[[SwitchAdapter], None] = lambda switch: None

    async def run(self, report: Callable[[str], Report], relinked: Relinked) -> None:
        """Keep every link until cancelled, also of those that come meanwhile. `report`: where each tells its events."""
        async with asyncio.TaskGroup() as group:

            def begin(switch: SwitchAdapter) -> None:
                self._links[switch.name] = group.create_task(self._keep(switch, report(switch.name), relinked))

            for switch in self.values():
                begin(switch)
            self._begin = begin
            await asyncio.Event().wait()

    async def change(self, coming: Collection[SwitchAdapter], going: Collection[str]) -> None:
        """Who comes under the name of one that is here takes its place. Nobody else is touched."""
        ending = [self._links.pop(name) for name in {*going, *(it.name for it in coming)} if name in self._links]
        for link in ending:
            link.cancel()
        if ending:
            await asyncio.wait(ending)
        for name in going:
            self.pop(name, None)
        for switch in coming:
            self[switch.name] = switch
            self._begin(switch)

    async def _keep(self, switch: SwitchAdapter, report: Report, relinked: Relinked) -> None:
        while True:
            try:
                async with asyncio.TaskGroup() as group:
                    await switch.run(report, lambda: _start(group, relinked(switch.name)))
            except Exception:  # our own fault, and this switch's alone
                log.exception("switch_adapter_failed", switch=switch.name)
            await self._clock.sleep_ms(AGAIN_MS)


def _start(group: asyncio.TaskGroup, work: Coroutine[Any, Any, None]) -> None:
    group.create_task(work)
