"""The SBC's side of a webhook switch: a URL that checks what comes, keeps it, and answers as it is told to."""

import asyncio
import hashlib
import hmac
import ssl
from collections.abc import Awaitable, Callable
from typing import Any, Self

import msgspec
from aiohttp import web

SECRET = "0123456789abcdef0123456789abcdef"
PATH = "/told"

Told = dict[str, Any]
Answer = Callable[[web.Request, Told], Awaitable[web.StreamResponse]]


def is_genuine(secret: str, header: str, body: bytes) -> bool:
    """Whatever its time."""
    fields = dict(part.split("=", 1) for part in header.split(","))
    signed = hmac.new(secret.encode(), f"{fields['t']}.".encode() + body, hashlib.sha256)
    return hmac.compare_digest(signed.hexdigest(), fields["v1"])


class Receiver:
    """Events that are not genuine are answered 401. `told` has the others, without pings; `deliveries` their names.

    `status`: what is answered to all but pings; `pinged`: to those. `answer` takes the place of both.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.told: list[Told] = []
        self.deliveries: list[str] = []
        self.signatures: list[str] = []
        self.pings = 0
        self.status = 200
        self.pinged = 200
        self.answer: Answer | None = None
        self.port = 0
        self._tls = tls
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"{'http' if self._tls is None else 'https'}://127.0.0.1:{self.port}{PATH}"

    async def __aenter__(self) -> Self:
        await self.up()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.down()

    async def up(self) -> None:
        """Listen: the first time anywhere, then on the same port again."""
        app = web.Application()
        app.router.add_post(PATH, self._receive)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, ssl_context=self._tls)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def down(self) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    async def _receive(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        if not is_genuine(SECRET, request.headers["Callctl-Signature"], body):
            return web.Response(status=401)
        told: Told = msgspec.json.decode(body)
        if told["event"] == "ping":
            self.pings += 1
        else:
            self.told.append(told)
            self.deliveries.append(request.headers["Callctl-Delivery"])
            self.signatures.append(request.headers["Callctl-Signature"])
        if self.answer is not None:
            return await self.answer(request, told)
        return web.Response(status=self.pinged if told["event"] == "ping" else self.status)

    def of(self, event: str, call_id: str | None = None) -> list[Told]:
        return [it for it in self.told if it["event"] == event and call_id in (None, it["call_id"])]


async def silence(request: web.Request, told: Told) -> web.StreamResponse:
    """No answer, until the asker has gone."""
    transport = request.transport
    while transport is not None and not transport.is_closing():  # noqa: ASYNC110
        await asyncio.sleep(0.005)
    return web.Response()
