"""Call control linked to the real Asterisk, and calls as its tests make them."""

import asyncio
from typing import Any

from callctl.adapters.asterisk.link import LinkTimes
from callctl.adapters.asterisk.switch import AsteriskSwitch
from callctl.call.events import CallKey
from callctl.call.session import Session
from callctl.clock import SystemClock
from tests.control_room import ControlRoom
from tests.switches.exactness import APART_MS
from tests.switches.rig.asterisk import AsteriskRig
from tests.switches.sip.call import Call
from tests.switches.sip.phone import Phone
from tests.waiting import PATIENCE_S, until

NUMBER = "+31612345678"
SOON = LinkTimes(retry_first_ms=50, retry_longest_ms=200)


def switch(asterisk: AsteriskRig, **options: Any) -> AsteriskSwitch:
    """Our adapter, with the rights of docker/asterisk/manager.conf."""
    user = {"username": asterisk.ami_user, "secret": asterisk.ami_secret}
    known = {"clock": SystemClock(), "times": SOON, **user, **options}
    return AsteriskSwitch(name="pbx1", host=asterisk.host, port=asterisk.ami_port, **known)


async def linked(room: ControlRoom, asterisk: AsteriskRig, **options: Any) -> AsteriskSwitch:
    """Start call control and wait until it hears the switch, and has looked at its calls."""
    pbx1 = switch(asterisk, **options)
    await room.start(pbx1)
    await until(lambda: pbx1.name in room.relinked)
    return pbx1


async def talking(acme: Phone, carrier: Phone, number: str = NUMBER) -> tuple[Call, Call]:
    """An answered call: the caller's side and the carrier's."""
    call = await acme.call(number)
    await call.until_answered()
    return call, await carrier.next_call()


async def recorded(room: ControlRoom, calls: int = 1, account: str = "acme") -> list[dict[str, Any]]:
    """The CDRs, once there are so many."""
    await until(lambda: len(room.cdrs(account)) >= calls)
    cdrs = room.cdrs(account)
    assert len(cdrs) == calls
    return cdrs


def agrees(cdr: dict[str, Any], call: Call) -> bool:
    """Whether a record tells the length that the phone has measured."""
    return bool(abs(cdr["duration_ms"] - call.talked_s * 1_000) <= APART_MS)


async def session(room: ControlRoom) -> Session:
    """The one call that is up."""
    await until(lambda: len(room.calls.live()) == 1)
    return room.calls.live()[0]


async def answered(room: ControlRoom) -> Session:
    """The one call that is up, once call control, and its store too, knows that it was answered."""
    await until(lambda: [it.answered is not None and not it.busy for it in room.calls.live()] == [True])
    return room.calls.live()[0]


async def gone(asterisk: AsteriskRig) -> None:
    """No channel is left on the switch."""
    await until(lambda: "0 active channels" in asterisk.cli("core show channels count"))


async def armed_s(pbx1: AsteriskSwitch, call: CallKey, more_than_s: float = 0, legs: int = 2) -> list[float]:
    """What the switch's own timers still give each of `legs` that bear the name of the call, once it is so much.

    The store knows of a slice, and of a leg in the place of another, before the switch's timers do.
    """
    async with asyncio.timeout(PATIENCE_S):
        while True:
            channels = await pbx1._link.query("Status", [("Variables", "CC_CALL,TIMEOUT(absolute)")])
            named = [channel.variables("Variable") for channel in channels]
            left_s = [float(told["TIMEOUT(absolute)"]) for told in named if told["CC_CALL"] == call.call_id]
            if len(left_s) == legs and min(left_s) > more_than_s:
                return left_s
