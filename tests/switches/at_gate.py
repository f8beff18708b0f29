"""What callctl does at the gate, by hand: for tests of the switch's own configuration."""

from collections.abc import Callable

from tests.switches.rig.manager import Fields, Manager
from tests.switches.sip.call import Call
from tests.switches.sip.ear import Heard
from tests.switches.sip.phone import Phone

NUMBER = "+31612345678"


async def waiting(gate: Manager, phone: Phone, number: str = NUMBER) -> tuple[Call, Fields]:
    """A call of `phone` that waits at the gate, and the event that asks for it."""
    call = await phone.call(number)
    return call, await gate.event("UserEvent", UserEvent="CCAuthorize", SIPCallID=call.call_id)


async def allow(gate: Manager, asked: Fields, **variables: str) -> None:
    await gate.set(asked["Channel"], **variables)
    redirect = {"Context": "callctl-dial", "Exten": NUMBER, "Priority": "1"}
    response = await gate.ask("Redirect", Channel=asked["Channel"], **redirect)
    assert response["Response"] == "Success"


async def talking(gate: Manager, acme: Phone, carrier: Phone, **variables: str) -> tuple[Call, Call, Fields]:
    """An allowed and answered call: the caller's side, the carrier's, and the event that asked for it."""
    call, asked = await waiting(gate, acme)
    await allow(gate, asked, **variables)
    await call.until_answered()
    return call, await carrier.next_call(), asked


def tones(*wanted_hz: int, voice: bool = False) -> Callable[[Heard], bool]:
    def accepts(heard: Heard) -> bool:
        return heard.tones == wanted_hz and heard.voice == voice

    return accepts
