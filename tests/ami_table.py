"""A simulated Asterisk, a link to it, and a hand that answers its gate."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from callctl.adapters.asterisk.link import AmiLink, LinkEvents
from callctl.adapters.asterisk.wire import Message
from callctl.simulators.ami import AmiSimulator, Script, SimCall, User
from callctl.simulators.ami.channel import Channel
from callctl.simulators.scaled_clock import ScaledClock
from tests.patient import PatientClock
from tests.waiting import until

SPEED = 20


class Table:
    """A simulated switch, a link to it, and a hand that answers the gate."""

    def __init__(self, switch: AmiSimulator, link: AmiLink, events: list[Message]) -> None:
        self.switch = switch
        self.link = link
        self.events = events

    async def gated(self, script: Script) -> SimCall:
        call = self.switch.place_call(script)
        await until(lambda: any(event.event == "UserEvent" for event in self.events))
        return call

    async def allowed(self, script: Script, limit_s: int = 0) -> SimCall:
        call = await self.gated(script)
        if limit_s:
            await self.set_variable(call, "CC_LIMIT", str(limit_s))
        place = [("Context", "callctl-dial"), ("Exten", script.called), ("Priority", 1)]
        assert (await self.link.action("Redirect", [("Channel", call.uniqueid), *place])).succeeded
        return call

    async def act(self, name: str, leg: Channel | None, **headers: str | int) -> Message:
        """One action on one leg."""
        assert leg is not None
        return await self.link.action(name, [("Channel", leg.uniqueid), *headers.items()])

    async def set_variable(self, call: SimCall, name: str, value: str) -> None:
        headers = [("Channel", call.uniqueid), ("Variable", name), ("Value", value)]
        assert (await self.link.action("Setvar", headers)).succeeded

    async def told(self, call: SimCall) -> list[Message]:
        """Every event of the call, once it is over."""
        await call.outcome()
        await self.link.action("Ping")
        return [event for event in self.events if event.event != "FullyBooted"]


@asynccontextmanager
async def laid_table(user: User = User("pw"), **options: Any) -> AsyncIterator[Table]:  # noqa: B008  frozen
    """Time in the switch runs twenty times as fast as in the link."""
    clock = ScaledClock(PatientClock(), SPEED)
    async with AmiSimulator({"callctl": user}, clock=clock, **options) as switch:
        events: list[Message] = []
        told = LinkEvents(on_event=events.append)
        link = AmiLink("127.0.0.1", switch.port, "callctl", user.secret, told, clock=PatientClock())
        running = asyncio.create_task(link.run())
        await until(lambda: link.up)
        yield Table(switch, link, events)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
