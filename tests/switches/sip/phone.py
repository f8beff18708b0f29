"""A SIP phone on loopback for tests: places and takes calls, speaks a tone, hears, and keeps times.

    async with Phone(ACME, rig.sip_address, tone_hz=400) as phone:
        call = await phone.call("+31612345678")
        await call.until_answered()
        await call.hang_up()

It resends nothing (loopback loses nothing), but understands what the other side resends. Times are Unix time.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import secrets
from collections.abc import Coroutine
from types import TracebackType
from typing import Self

from tests.switches.sip.call import Call
from tests.switches.sip.ear import Ear
from tests.switches.sip.message import Headers, Message
from tests.waiting import PATIENCE_S


class Phone(asyncio.DatagramProtocol):
    """A phone, a PBX or a carrier at one loopback address. Incoming calls ring until told otherwise."""

    def __init__(
        self,
        address: str,
        switch: tuple[str, int],
        *,
        port: int = 0,
        user: str = "phone",
        password: str | None = None,
        tone_hz: int | None = 400,
    ) -> None:
        """Listen on `port` of `address` (0: any) once entered; `tone_hz` None sends no audio at all."""
        self.address, self.switch, self.port = address, switch, port
        self.user, self.password, self.tone_hz = user, password, tone_hz
        self.calls: list[Call] = []
        self._incoming: asyncio.Queue[Call] = asyncio.Queue()
        self._policy = self._ring
        self._taking: set[str] = set()
        self._jobs: set[asyncio.Task[None]] = set()
        self._registered: asyncio.Future[Message] | None = None

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=(self.address, self.port))
        self.port = self._transport.get_extra_info("sockname")[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for job in self._jobs:
            job.cancel()
        await asyncio.gather(*self._jobs, return_exceptions=True)
        for call in self.calls:
            await call.ear.close()
        self._transport.close()

    @property
    def contact(self) -> str:
        """The Contact header of this phone."""
        return f"<sip:{self.user}@{self.address}:{self.port}>"

    def via(self) -> str:
        """The Via header of a new request."""
        return f"SIP/2.0/UDP {self.address}:{self.port};branch=z9hG4bK{secrets.token_hex(8)};rport"

    # ---------------------------------------------------------------- calling

    async def call(self, number: str, caller: str = "+31201234567", call_id: str | None = None) -> Call:
        """Send an INVITE for `number`, showing `caller` (a number or an address); what comes of it is in the call."""
        ear = await Ear.open(self.address, self.tone_hz)
        call = Call(self, call_id or f"{secrets.token_hex(8)}@{self.address}", number, ear, incoming=False)
        self.calls.append(call)
        call.invite(caller)
        return call

    async def register(self) -> int:
        """Register for half an hour with user and password; the final status."""
        host, port = self.switch
        uri, sequence, call_id = f"sip:{host}:{port}", 0, secrets.token_hex(8)
        credentials: Headers = ()
        while True:
            sequence += 1
            self._registered = asyncio.get_running_loop().create_future()
            headers: Headers = (
                ("via", self.via()),
                ("from", f"<sip:{self.user}@{host}>;tag={call_id}"),
                ("to", f"<sip:{self.user}@{host}>"),
                ("call-id", call_id),
                ("cseq", f"{sequence} REGISTER"),
                ("contact", self.contact),
                ("max-forwards", "70"),
                ("expires", "1800"),
                *credentials,
            )
            self.send(Message(f"REGISTER {uri} SIP/2.0", headers))
            response = await asyncio.wait_for(self._registered, PATIENCE_S)
            if response.status != 401 or credentials:
                assert response.status is not None
                return response.status
            answer = self.credentials(response["www-authenticate"], "REGISTER", uri)
            credentials = (("authorization", answer),)

    # ---------------------------------------------------------------- being called

    def answer_calls(self, after_s: float = 0.0) -> None:
        """Let later calls ring for `after_s`, then answer them."""

        async def policy(call: Call) -> None:
            call.ring()
            await asyncio.sleep(after_s)
            await call.answer()

        self._policy = policy

    def refuse_calls(self, status: int, contact: str | None = None) -> None:
        """Turn later calls away; 302 with the `contact` to try instead."""

        async def policy(call: Call) -> None:
            call.refuse(status, contact)

        self._policy = policy

    async def next_call(self, within_s: float = PATIENCE_S) -> Call:
        """The next incoming call, in the order of their arrival."""
        return await asyncio.wait_for(self._incoming.get(), within_s)

    async def _ring(self, call: Call) -> None:
        call.ring()

    # ---------------------------------------------------------------- the wire

    def send(self, message: Message) -> None:
        """One datagram to the switch."""
        self._transport.sendto(message.encode(), self.switch)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Called by asyncio: to the call it belongs to."""
        message = Message.parse(data)
        call = next((call for call in self.calls if call.call_id == message["call-id"]), None)
        if message.status is not None and message.method == "REGISTER":
            if self._registered and not self._registered.done():
                self._registered.set_result(message)
        elif call and message.status is not None:
            call.on_response(message)
        elif call:
            call.on_request(message)
        elif message.status is None and message.method == "INVITE":
            if message["call-id"] not in self._taking:  # the INVITE may come twice
                self._taking.add(message["call-id"])
                self._start(self._take(message))
        elif message.status is None and message.method != "ACK":
            headers = (*message.all("via"), *message.all("from"), *message.all("to"))
            headers += (*message.all("call-id"), *message.all("cseq"))
            self.send(Message("SIP/2.0 200 OK", headers))  # OPTIONS, or a BYE that came twice

    async def _take(self, invite: Message) -> None:
        found = re.match(r"INVITE (?:sips?:)?([^@;> ]*)", invite.first)
        ear = await Ear.open(self.address, self.tone_hz)
        call = Call(self, invite["call-id"], found[1] if found else "", ear, incoming=True)
        self.calls.append(call)
        call.on_invite(invite)
        self._incoming.put_nowait(call)
        await self._policy(call)

    def _start(self, job: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(job)
        self._jobs.add(task)
        task.add_done_callback(self._jobs.discard)

    def credentials(self, challenge: str, method: str, uri: str) -> str:
        """The Authorization header that answers a digest challenge (RFC 7616, MD5, qop=auth)."""
        asked = dict(re.findall(r'(\w+)="?([^",]+)"?', challenge))
        secret = _md5(f"{self.user}:{asked['realm']}:{self.password}")
        nonce = secrets.token_hex(8)
        response = _md5(f"{secret}:{asked['nonce']}:00000001:{nonce}:auth:{_md5(f'{method}:{uri}')}")
        fields = {"username": self.user, "realm": asked["realm"], "nonce": asked["nonce"], "uri": uri}
        fields |= {"response": response, "cnonce": nonce, "opaque": asked["opaque"]}
        quoted = ", ".join(f'{key}="{value}"' for key, value in fields.items())
        return f"Digest {quoted}, algorithm=MD5, qop=auth, nc=00000001"


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
