"""A gateway: asks and reports from one UDP port, and ends calls when it is told to by a Disconnect-Request."""

import asyncio
import itertools
from typing import Any, Self

from tests.radius_packets import Attributes, number, pairs, question, reply_to, report
from tests.waiting import PATIENCE_S

HOST = "127.0.0.1"
ACCEPT, REJECT, ACKNOWLEDGED = 2, 3, 5
START, STOP, INTERIM = 1, 2, 3


def asked(session: str, to: str = "+31612345678", user: str = "acme") -> Attributes:
    """For a call from +31201234567."""
    return [(1, user.encode()), (31, b"+31201234567"), (30, to.encode()), (44, session.encode())]


def told(status: int, session: str, talked_s: int | None = None) -> Attributes:
    length = [(46, number(talked_s))] if talked_s is not None else []
    return [(40, number(status)), (44, session.encode()), *length]


class Nas(asyncio.DatagramProtocol):
    """`disconnects`: every Disconnect-Request; each is answered with `obeys`, and with nothing where that is None.

    A call that it ends is reported by a Stop to `acct_port`.
    """

    def __init__(self, auth_port: int = 0, acct_port: int = 0) -> None:
        self.auth_port = auth_port
        self.acct_port = acct_port
        self.obeys: tuple[int, int | None] | None = (41, None)
        self.disconnects: list[bytes] = []
        self._answers: asyncio.Queue[bytes] = asyncio.Queue()
        self._nonces = itertools.count(1)

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._asking, _ = await loop.create_datagram_endpoint(lambda: self, (HOST, 0))
        self._obeying, _ = await loop.create_datagram_endpoint(lambda: _Obeying(self), (HOST, 0))
        self.disconnect_port: int = self._obeying.get_extra_info("sockname")[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._asking.close()
        self._obeying.close()

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._answers.put_nowait(data)

    async def ask(self, session: str, **fields: str) -> tuple[int, list[tuple[int, bytes]]]:
        """The code of the answer and its attributes."""
        answer = await self.exchange(question(asked(session, **fields), nonce=self.nonce()), self.auth_port)
        return answer[0], pairs(answer)

    async def tell(self, status: int, session: str, talked_s: int | None = None) -> None:
        assert (await self.exchange(report(told(status, session, talked_s)), self.acct_port))[0] == ACKNOWLEDGED

    def nonce(self) -> bytes:
        return next(self._nonces).to_bytes(16, "big")

    def send(self, datagram: bytes, port: int) -> None:
        self._asking.sendto(datagram, (HOST, port))

    async def answer(self) -> bytes:
        async with asyncio.timeout(PATIENCE_S):
            return await self._answers.get()

    async def exchange(self, datagram: bytes, port: int) -> bytes:
        self.send(datagram, port)
        return await self.answer()

    @property
    def unread(self) -> int:
        return self._answers.qsize()


class _Obeying(asyncio.DatagramProtocol):
    def __init__(self, nas: Nas) -> None:
        self._nas = nas

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._nas.disconnects.append(data)
        if self._nas.obeys is not None:
            code, error = self._nas.obeys
            self._transport.sendto(reply_to(data, code, error), addr)
