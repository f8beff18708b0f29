"""Where the parties of a call say to be: they move, say nothing, give a name that nobody knows, or come by TCP."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Self

import pytest

from callctl.call.events import Answered, Offered
from callctl.rating.tariff import Direction
from tests.servers import HOST, free_port
from tests.switches.kamailio.desk import NUMBER, Desk
from tests.switches.kamailio.relay import Relay
from tests.switches.kamailio.test_alone import around, kamailio_with
from tests.switches.kamailio.test_forged import heard_by, settled
from tests.switches.kamailio.test_spiral import ROUTES
from tests.switches.rig.asterisk import ACME, CARRIER_A, GLOBEX
from tests.switches.rig.kamailio import KamailioRig
from tests.switches.sip.message import Message
from tests.switches.sip.phone import Phone
from tests.waiting import until


@pytest.mark.parametrize("number", ["0612345678;rn=+88213", "tel:0612345678;rn=+88213", "tel:0612345678"])
async def test_the_carrier_gets_the_number_that_was_rated(desk: Desk, acme: Phone, carrier: Phone, number: str) -> None:
    """With parameters of the caller's it could send the call elsewhere, at our expense."""
    heard = heard_by(carrier)
    call, key = await desk.gated(acme, number)
    assert desk.told(Offered, key)[0].b_number == "0612345678"
    await desk.admit(key)
    await call.until_answered()
    assert heard[0].first == f"INVITE sip:{NUMBER}@{carrier.address}:{carrier.port} SIP/2.0"
    await call.hang_up()


@pytest.mark.parametrize("ended_by", ["caller", "callctl"])
@pytest.mark.parametrize("by", ["UPDATE", "the answer to a re-INVITE"])
async def test_a_bye_follows_who_has_moved(
    desk: Desk, acme: Phone, carrier: Phone, second_carrier: Phone, by: str, ended_by: str
) -> None:
    call, outgoing, key = await desk.talking(acme, carrier)
    outgoing.phone = second_carrier
    second_carrier.calls.append(outgoing)
    if by == "UPDATE":
        outgoing.forge("UPDATE")
        await until(lambda: outgoing.answers_to("UPDATE") == [200])
    else:
        call.offer_again()
        await until(lambda: call.answers_to("INVITE") == [200, 200])
    carrier.calls.remove(outgoing)
    await (call.hang_up() if ended_by == "caller" else desk.switch.hang_up(key, 16))
    await call.until_ended()
    await outgoing.until_ended()


@pytest.mark.parametrize("contact", ['<sip:"@127.0.0.11>', "<sip:\\@127.0.0.11>"])
async def test_a_place_that_would_be_another_command_is_none(
    kamailio: KamailioRig, desk: Desk, carrier: Phone, contact: str
) -> None:
    async with Somewhere(ACME, kamailio.sip_address, port=kamailio.peer_port, tone_hz=None) as acme:
        acme.contact = f"<sip:me@{ACME}:{kamailio.peer_port}>"
        call, outgoing, key = await desk.talking(acme, carrier)
        acme.contact = contact
        call.forge("UPDATE")
        await until(lambda: call.answers_to("UPDATE"))
        await desk.switch.hang_up(key, 16)
        await call.until_ended()
        await outgoing.until_ended()


class Somewhere(Phone):
    """A phone that writes what it likes into its Contact."""

    contact = ""


@pytest.mark.parametrize("contact", ["", "*", "<sip:a@127.0.0.21>, <sip:b@127.0.0.21>", '"x" <sip:a;b=",c@h>'])
async def test_an_answer_of_nobody_in_particular_is_not_passed_on(
    kamailio: KamailioRig, desk: Desk, acme: Phone, contact: str
) -> None:
    """The dialog would learn nothing of it, and nobody could end the call."""
    async with Somewhere(CARRIER_A, kamailio.sip_address, port=kamailio.peer_port, tone_hz=None) as carrier:
        carrier.contact = contact
        carrier.answer_calls()
        call, key = await desk.gated(acme)
        await desk.admit(key)
        await until(lambda: 180 in call.provisional)
        await settled(acme)
        assert call.answered_at is None
        assert desk.told(Answered, key) == []
        await desk.switch.hang_up(key, 16)
        await call.until_ended()


@pytest.mark.parametrize(
    "parameters", ['+sip.instance="<urn:uuid:1,2>";methods="INVITE, ACK"', "expires=60", "q=0.5;x=a<b>"]
)
async def test_an_answer_may_say_more_than_where(
    kamailio: KamailioRig, desk: Desk, acme: Phone, parameters: str
) -> None:
    async with Somewhere(CARRIER_A, kamailio.sip_address, port=kamailio.peer_port, tone_hz=None) as carrier:
        carrier.contact = f'"A, B" <sip:b@{carrier.address}:{carrier.port}>;{parameters}'
        carrier.answer_calls()
        call, outgoing, key = await desk.talking(acme, carrier)
        await desk.switch.hang_up(key, 16)
        await call.until_ended()
        await outgoing.until_ended()


# -------------------------------------------------------------------- names


class NamelessRig(KamailioRig):
    """Its name server is at `nobody`, and silent."""

    nobody = "127.0.0.54"

    def command(self) -> list[str]:
        resolver = self.directory / "resolv.conf"
        resolver.write_text(f"nameserver {self.nobody}\n")
        hidden = f'mount --bind {resolver} /etc/resolv.conf && exec "$@"'
        unshare, *rest = super().command()
        return [unshare, "--mount", *rest[:3], "sh", "-c", hidden, "sh", *rest[3:]]


async def test_names_that_nobody_knows_keep_nobody_else_waiting(tmp_path: Path) -> None:
    """Whoever calls writes one into his Contact, and our BYE is to go there. For each a process waits two seconds."""
    rig = NamelessRig(tmp_path / "kamailio")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.setblocking(False)
        silent.bind((rig.nobody, 53))
        rig.start()
        try:
            async with (
                Relay(rig.host, rig.link_port) as relay,
                Desk(rig, relay) as desk,
                around(rig) as (acme, carrier),
                Somewhere(ACME, rig.sip_address, tone_hz=None) as slow,
            ):
                waiting = []
                for number in range(4):
                    slow.contact = f"<sip:me@slow{number}.example>"
                    waiting.append(await desk.talking(slow, carrier))
                hanging_up = [asyncio.create_task(desk.switch.hang_up(key, 16)) for _, _, key in waiting]
                await asyncio.get_running_loop().sock_recv(silent, 512)
                call, _, other = await desk.talking(acme, carrier)
                await desk.switch.hang_up(other, 16)
                await call.until_ended()
                await asyncio.gather(*hanging_up, return_exceptions=True)
                for _, outgoing, _ in waiting:
                    await outgoing.until_ended()
        finally:
            rig.stop()


# -------------------------------------------------------------------- TCP


class TcpParty:
    """A party that keeps one connection to Kamailio, from any port. `heard`: all that comes by it."""

    def __init__(self, address: str, port: int) -> None:
        self.address = address
        self.heard: list[Message] = []
        self._port = port
        self._number = 0

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection(HOST, self._port, local_addr=(self.address, 0))
        self._here = f"{self.address}:{self._writer.get_extra_info('sockname')[1]}"
        self._listening = asyncio.create_task(self._listen())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._listening.cancel()
        await asyncio.gather(self._listening, return_exceptions=True)
        self._writer.close()

    def send(self, method: str, number: str = NUMBER, answer: Message | None = None) -> None:
        """An INVITE; or, with its answer, a request within its call."""
        self._number += method != "ACK"
        to = f"sip:{number}@{HOST}:{self._port};transport=tcp"
        routes = () if answer is None else tuple(("route", value) for _, value in answer.all("record-route")[::-1])
        headers = (
            ("via", f"SIP/2.0/TCP {self._here};branch=z9hG4bK{self._here}-{self._number}{method}"),
            ("from", f"<sip:+31201234567@{self.address}>;tag={self._here}"),
            ("to", f"<{to}>" if answer is None else answer["to"]),
            ("call-id", self._here),
            ("cseq", f"{self._number} {method}"),
            ("contact", f"<sip:me@{self._here};transport=tcp>"),
            ("max-forwards", "70"),
            *routes,
        )
        first = f"{method} {to if answer is None else answer.contact} SIP/2.0"
        self._writer.write(Message(first, headers).encode())

    async def until_told(self, status: int, method: str) -> Message:
        def told() -> list[Message]:
            return [it for it in self.heard if (it.status, it.method) == (status, method)]

        await until(told)
        return told()[0]

    async def _listen(self) -> None:
        """None of what Kamailio sends here has a body."""
        while True:
            message = Message.parse(await self._reader.readuntil(b"\r\n\r\n"))
            size = int(message["content-length"] or 0)
            await self._reader.readexactly(size)
            self.heard.append(message)
            if message.status is None and message.method != "ACK":
                names = ("via", "from", "to", "call-id", "cseq")
                answered = tuple(pair for name in names for pair in message.all(name))
                self._writer.write(Message("SIP/2.0 200 OK", answered).encode())


@asynccontextmanager
async def by_tcp(home: Path, address: str) -> AsyncIterator[tuple[KamailioRig, Desk, TcpParty]]:
    port = free_port(socket.SOCK_STREAM)
    with kamailio_with(home, f"#!define LISTEN_TCP tcp:{HOST}:{port}\n", ROUTES) as rig:
        async with (
            Relay(rig.host, rig.link_port) as relay,
            Desk(rig, relay) as desk,
            TcpParty(address, port) as party,
        ):
            yield rig, desk, party


@pytest.mark.parametrize("by", ["caller", "callee", "callctl"])
async def test_a_call_comes_by_tcp_and_goes_by_udp(tmp_path: Path, by: str) -> None:
    async with by_tcp(tmp_path, ACME) as (rig, desk, party), around(rig) as (_, carrier):
        party.send("INVITE")
        await until(lambda: desk.told(Offered))
        (offered,) = desk.told(Offered)
        assert (offered.source_ip, offered.direction) == (ACME, Direction.OUTBOUND)
        await desk.admit(offered.call)
        answer = await party.until_told(200, "INVITE")
        party.send("ACK", answer=answer)
        outgoing = await carrier.next_call()
        if by == "caller":
            party.send("BYE", answer=answer)
            await party.until_told(200, "BYE")
            await outgoing.until_ended()
            return
        if by == "callee":
            await outgoing.hang_up()
        else:
            await desk.switch.hang_up(offered.call, 16)
            await outgoing.until_ended()
        await until(lambda: [it for it in party.heard if it.first.startswith("BYE ")])


async def test_a_carrier_comes_by_tcp_from_any_port(tmp_path: Path) -> None:
    async with (
        by_tcp(tmp_path, CARRIER_A) as (rig, desk, party),
        Phone(GLOBEX, rig.sip_address, port=rig.peer_port, tone_hz=None) as globex,
    ):
        globex.answer_calls()
        party.send("INVITE")
        await until(lambda: desk.told(Offered))
        (offered,) = desk.told(Offered)
        assert offered.direction is Direction.INBOUND
        await desk.admit(offered.call, account="globex")
        await party.until_told(200, "INVITE")
        await desk.switch.hang_up(offered.call, 16)
        await (await globex.next_call()).until_ended()
