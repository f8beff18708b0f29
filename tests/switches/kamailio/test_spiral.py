"""A call that comes by twice: a carrier that is a proxy sends it back, for it is for another customer of ours.

To callctl it is two calls, of the caller and of the one who is called. Both halves have one Call-ID and the same tags.
"""

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

from callctl.call.events import Answered, Offered, Released
from callctl.rating.tariff import Direction
from tests.switches.kamailio.desk import Desk
from tests.switches.kamailio.relay import Relay
from tests.switches.kamailio.test_alone import kamailio_with
from tests.switches.rig.asterisk import ACME, CARRIER_A, GLOBEX
from tests.switches.sip.message import Message
from tests.switches.sip.phone import Phone
from tests.waiting import PATIENCE_S, until

Address = tuple[str, int]

ROUTES = 'event_route[htable:mod-init] {{ $sht(customer=>globex) = "sip:127.0.0.12:{port}"; }}\n'


class ProxyingCarrier(asyncio.DatagramProtocol):
    """Sends every INVITE on to all of `onward`, and stays on the way of what follows (RFC 3261, 16)."""

    def __init__(self, here: Address, *onward: Address) -> None:
        self._here = f"{here[0]}:{here[1]}"
        self._onward = onward

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Address) -> None:
        message = Message.parse(data)
        headers = [pair for pair in message.headers if pair[0] not in ("content-length", "route")]
        if message.status is not None:
            headers.remove(message.all("via")[0])
            return self._send(message, headers, _address(message.all("via")[1][1]))
        routes = [route for _, value in message.all("route") for route in value.split(",") if self._here not in route]
        branch = f"{message['via'].partition('branch=')[2].partition(';')[0]}p"
        headers.insert(0, ("via", f"SIP/2.0/UDP {self._here};branch={branch}"))
        if message.method == "INVITE":
            headers.insert(1, ("record-route", f"<sip:{self._here};lr>"))
            for to in self._onward:
                self._send(message, headers, to)
            return
        headers += [("route", value) for value in routes]
        self._send(message, headers, _address(routes[0] if routes else message.first))

    def _send(self, message: Message, headers: list[tuple[str, str]], to: Address) -> None:
        self._transport.sendto(Message(message.first, tuple(headers), message.body).encode(), to)


def _address(text: str) -> Address:
    found = re.search(r"([0-9.]+):([0-9]+)", text)
    assert found is not None, text
    return found[1], int(found[2])


@pytest.mark.parametrize("by", ["caller", "callee", "callctl"])
async def test_both_halves_end(tmp_path: Path, by: str) -> None:
    with kamailio_with(tmp_path, routes=ROUTES) as rig:
        here = (CARRIER_A, rig.peer_port)
        async with (
            Relay(rig.host, rig.link_port) as relay,
            Desk(rig, relay) as desk,
            Phone(ACME, rig.sip_address, port=rig.peer_port, tone_hz=None) as acme,
            Phone(GLOBEX, rig.sip_address, port=rig.peer_port, tone_hz=None) as globex,
        ):
            carrier, _ = await asyncio.get_running_loop().create_datagram_endpoint(
                lambda: ProxyingCarrier(here, rig.sip_address), local_addr=here
            )
            try:
                globex.answer_calls()
                call, outbound = await desk.gated(acme)
                await desk.admit(outbound)
                await until(lambda: len(desk.told(Offered)) == 2)
                inbound = desk.told(Offered)[1]
                assert inbound.direction is Direction.INBOUND
                await desk.admit(inbound.call, account="globex")
                await call.until_answered()
                incoming = await globex.next_call()
                await until(lambda: len(desk.told(Answered)) == 2)
                if by == "callctl":
                    await desk.switch.hang_up(outbound, 16)
                else:
                    await (call if by == "caller" else incoming).hang_up()
                await call.until_ended()
                await incoming.until_ended()
                await until(lambda: len(desk.told(Released)) == 2)
                assert {event.call for event in desk.told(Released)} == {outbound, inbound.call}
                async with asyncio.timeout(PATIENCE_S):  # Kamailio tells of an end before it forgets the dialog
                    while await desk.switch.live_calls():  # noqa: ASYNC110  it is asked again
                        await asyncio.sleep(0.002)
            finally:
                carrier.close()
