"""Signed events by POST to one URL. Whoever receives them needs the secret, HMAC-SHA256, and nothing else.

`Callctl-Signature: t=<unix seconds>,v1=<hex>` signs "<t>.<body>". `Callctl-Delivery` names the delivery: one whose kept
connection broke before an answer came is tried once more, on a new one, under the same name.
"""

import asyncio
import hashlib
import hmac
import secrets
import ssl
from types import TracebackType
from typing import Final, Self

import aiohttp
import msgspec

from callctl.accounts import WarnTo
from callctl.errors import SwitchUnavailable
from callctl.ports import Clock

CONNECTIONS: Final = 32
MOST_UNDER_WAY: Final = 1_000
GONE: Final = (404, 410)
DROPPED: Final = (aiohttp.ServerDisconnectedError, ConnectionResetError, BrokenPipeError)
"""What became of a kept connection that the other side has closed meanwhile."""


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="event"):
    """Of which switch, and when: RFC 3339. What is older than the last that was heard of a call is out of date."""

    switch: str
    at: str


class Ping(Event, frozen=True, tag="ping"):
    """Is anybody there, who knows the secret?"""


class HangUp(Event, frozen=True, kw_only=True, tag="hang_up"):
    """End the call now. `reason`: the name of `q850`."""

    call_id: str
    q850: int
    reason: str


class Granted(Event, frozen=True, kw_only=True, tag="extended"):
    """The call may last until then: `remaining_ms` from now."""

    call_id: str
    granted_until: str
    remaining_ms: int


class Warn(Event, frozen=True, kw_only=True, tag="warn"):
    """So much is left: tell the parties."""

    call_id: str
    left_s: int
    to: WarnTo


class Counts(msgspec.Struct):
    """Deliveries since the start, by what became of them."""

    confirmed: int = 0
    gone: int = 0
    refused: int = 0
    unanswered: int = 0
    overflowed: int = 0


_encode = msgspec.json.Encoder().encode


def signature(secret: bytes, unix_s: int, body: bytes) -> str:
    signed = hmac.new(secret, b"%d.%b" % (unix_s, body), hashlib.sha256)
    return f"t={unix_s},v1={signed.hexdigest()}"


class Courier:
    """Delivers while it is entered. `timeout_ms`: for a delivery with all that belongs to it, also the second try."""

    def __init__(
        self, url: str, secret: bytes, *, clock: Clock, timeout_ms: int, tls: ssl.SSLContext | None = None
    ) -> None:
        self.counts = Counts()
        self._url = url
        self._secret = secret
        self._clock = clock
        self._timeout_s = timeout_ms / 1000
        self._tls: ssl.SSLContext | bool = tls if tls is not None else True
        self._http: aiohttp.ClientSession | None = None
        self._under_way = 0

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=CONNECTIONS, ssl=self._tls),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),
            auto_decompress=False,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        http, self._http = self._http, None
        if http is not None:
            await http.close()

    async def deliver(self, event: Event) -> bool:
        """True: confirmed. False: such a call is not there. SwitchUnavailable: neither was said in time."""
        if self._under_way >= MOST_UNDER_WAY:
            self.counts.overflowed += 1
            raise SwitchUnavailable(f"{event.switch}: {MOST_UNDER_WAY} deliveries are under way")
        self._under_way += 1
        try:
            async with asyncio.timeout(self._timeout_s):
                status = await self._post(event)
        except (aiohttp.ClientError, OSError) as error:  # TimeoutError is one
            self.counts.unanswered += 1
            raise SwitchUnavailable(f"{event.switch}: {_why(error)}") from error
        finally:
            self._under_way -= 1
        if 200 <= status < 300:
            self.counts.confirmed += 1
            return True
        if status in GONE:
            self.counts.gone += 1
            return False
        self.counts.refused += 1
        raise SwitchUnavailable(f"{event.switch}: it answered {status}")

    async def _post(self, event: Event) -> int:
        """The status. An answer's body is left unread, with its connection where it is not a short one."""
        body, unix_s = _encode(event), self._clock.now().wall_ms // 1000
        headers = {
            "Content-Type": "application/json",
            "Callctl-Signature": signature(self._secret, unix_s, body),
            "Callctl-Delivery": secrets.token_hex(16),
        }
        for tried_before in (False, True):
            if self._http is None:
                raise SwitchUnavailable(f"{event.switch}: nothing is delivered now")
            try:
                async with self._http.post(self._url, data=body, headers=headers, allow_redirects=False) as answer:
                    return answer.status
            except DROPPED:
                if tried_before:
                    raise
        raise AssertionError("the second try has returned or raised")


def _why(error: BaseException) -> str:
    """Without the URL: it may be a secret itself."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    strerror = error.strerror if isinstance(error, OSError) else None
    return strerror or type(error).__name__
