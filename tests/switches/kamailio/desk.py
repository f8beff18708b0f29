"""Our adapter on the real Kamailio, without call control: what it reports, and calls as its tests make them."""

import asyncio
from typing import Any, Self

from callctl.adapters.kamailio.link import LinkTimes
from callctl.adapters.kamailio.switch import KamailioSwitch
from callctl.call.events import CallEvent, CallKey, Offered
from callctl.call.session import Session
from callctl.clock import SystemClock
from tests.control_room import ControlRoom
from tests.switches.kamailio.relay import Relay
from tests.switches.rig.asterisk import ACME
from tests.switches.rig.kamailio import LINK_SECRET, KamailioRig
from tests.switches.sip.call import Call
from tests.switches.sip.phone import Phone
from tests.waiting import until

NUMBER = "+31612345678"
SOON = LinkTimes(retry_first_ms=20, retry_longest_ms=100)


def switch(port: int, *, secret: str = LINK_SECRET, times: LinkTimes = SOON) -> KamailioSwitch:
    return KamailioSwitch(name="sbc1", host="127.0.0.1", port=port, secret=secret, clock=SystemClock(), times=times)


class Desk:
    """`events`: all that the adapter has reported. `relinks`: how often it was linked."""

    def __init__(self, kamailio: KamailioRig, relay: Relay, times: LinkTimes = SOON) -> None:
        self.kamailio = kamailio
        self.relay = relay
        self.switch = switch(relay.port, times=times)
        self.events: list[CallEvent] = []
        self.relinks = 0

    async def __aenter__(self) -> Self:
        self._running = asyncio.create_task(self.switch.run(self.events.append, self._relinked))
        await until(lambda: self.relinks)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)

    def _relinked(self) -> None:
        self.relinks += 1

    def told(self, kind: type[CallEvent], call: CallKey | None = None) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind) and call in (None, event.call)]

    async def gated(self, phone: Phone, number: str = NUMBER, caller: str = "+31201234567") -> tuple[Call, CallKey]:
        """A call of `phone` that waits at the gate."""
        call = await phone.call(number, caller)
        await until(lambda: any(it.call.call_id.startswith(f"{call.call_id};") for it in self.told(Offered)))
        (offered,) = [it for it in self.told(Offered) if it.call.call_id.startswith(f"{call.call_id};")]
        return call, offered.call

    async def admit(self, key: CallKey, *, granted_s: int = 60, setup_s: int = 60, account: str = "acme") -> None:
        await self.switch.admit(key, granted_s=granted_s, setup_s=setup_s, b_number=NUMBER, account=account)

    async def talking(self, phone: Phone, carrier: Phone, *, granted_s: int = 60) -> tuple[Call, Call, CallKey]:
        """An admitted and answered call: the caller's side, the carrier's, its name."""
        call, key = await self.gated(phone)
        await self.admit(key, granted_s=granted_s)
        await call.until_answered()
        return call, await carrier.next_call(), key


async def linked(room: ControlRoom, port: int) -> KamailioSwitch:
    """Start call control and wait until it hears the switch, and has looked at its calls."""
    sbc1 = switch(port)
    await room.start(sbc1)
    await until(lambda: sbc1.name in room.relinked)
    return sbc1


async def furnish(room: ControlRoom, **fields: Any) -> None:
    """The account acme, known by its address."""
    await room.furnish(source_ips=(ACME,), **fields)


async def talking(room: ControlRoom, acme: Phone, carrier: Phone) -> tuple[Call, Call]:
    """An answered call that call control, and its store too, knows to be."""
    call = await acme.call(NUMBER)
    await call.until_answered()
    outgoing = await carrier.next_call()

    def is_known(session: Session) -> bool:
        ours = session.call.call_id.startswith(f"{call.call_id};")
        return ours and session.answered is not None and not session.busy

    await until(lambda: any(map(is_known, room.calls.live())))
    return call, outgoing


async def recorded(room: ControlRoom, calls: int = 1) -> list[dict[str, Any]]:
    """The CDRs, once there are so many."""
    await until(lambda: len(room.cdrs()) >= calls)
    cdrs = room.cdrs()
    assert len(cdrs) == calls
    return cdrs
