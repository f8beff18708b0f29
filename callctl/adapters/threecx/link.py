"""The connection to one 3CX: requests with a bearer token, and the websocket that tells of changes.

A request that was refused as unauthorised is made once more with a new token; nothing else is ever sent twice.
`ThreeCxLink.run` keeps the websocket: it connects again with growing pauses until it is cancelled.
"""

import asyncio
import random
import ssl
from collections.abc import AsyncIterable, Awaitable, Callable
from typing import Any, Final
from urllib.parse import quote

import aiohttp
import msgspec
import structlog

from callctl.adapters.threecx import wire
from callctl.adapters.threecx.tokens import CredentialsRefused, Grant, Tokens, grant_of
from callctl.errors import SwitchUnavailable
from callctl.ports import Clock

log = structlog.get_logger(__name__)

LONGEST_BODY: Final = 8 * 1024 * 1024
LONGEST_FRAME: Final = 1024 * 1024
OK: Final = 200
UNAUTHORIZED: Final = 401
FORBIDDEN: Final = 403
GONE: Final = 404
TOO_MANY: Final = 429
BUSY: Final = frozenset({TOO_MANY, 503})
"""A PBX that answers so has not looked at what it was asked."""
WEBSOCKET: Final = "/callcontrol/ws"

Headers = dict[str, str]


class Times(msgspec.Struct, frozen=True, kw_only=True):
    """How long things may take, in ms. `tries` and `drop_tries`: how often a GET and a drop are made that fail.

    `linger_ms`: how much later than its last participant a talk has ended, for it may have been transferred.
    """

    connect_ms: int = 5_000
    request_ms: int = 5_000
    ping_every_ms: int = 5_000
    retry_first_ms: int = 1_000
    retry_longest_ms: int = 30_000
    refused_ms: int = 60_000
    again_ms: int = 100
    linger_ms: int = 300
    tries: int = 8
    drop_ms: int = 1_000
    drop_tries: int = 4
    resync_ms: int = 10_000
    ringing_resync_ms: int = 2_000
    resync_apart_ms: int = 1_000
    poll_ms: int = 500
    key_pause_ms: int = 4_000
    handover_grace_ms: int = 10_000
    check_ms: int = 20_000
    unlogged_ms: int = 120_000


class LinkCounts(msgspec.Struct):
    """What has happened since the start.

    `superseded`: tokens refused before their time: something else uses our client id. `differences`: calls that the
    PBX's own records have otherwise; `unlogged`: those that they lack; `unnumbered`: inbound calls of which nobody
    says what number was called; `ungated`: calls that went past the route point.
    """

    connections: int = 0
    events: int = 0
    malformed: int = 0
    gaps: int = 0
    missed: int = 0
    stalls: int = 0
    tokens: int = 0
    superseded: int = 0
    failed_reads: int = 0
    differences: int = 0
    unlogged: int = 0
    unnumbered: int = 0
    ungated: int = 0


class NotDone(SwitchUnavailable):
    """The PBX answered, with this status: it was not done. With 200 it said so in words."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(f"{status} {said}".strip())
        self.status = status

    @property
    def is_final(self) -> bool:
        """Asking again would not change it."""
        return 400 <= self.status < 500 and self.status != TOO_MANY


class Unanswered(SwitchUnavailable):
    """No answer in time, or half of one: whether it was done is unknown."""


class ThreeCxLink:
    """One 3CX, one API client, one websocket at a time. `base_url`: `https://pbx.example.com[:port]`.

    `on_event` must only enqueue. `on_connected` is awaited while events are buffered; it reads the snapshot.
    """

    def __init__(
        self,
        base_url: str,
        client_id: str,
        secret: str,
        *,
        clock: Clock,
        tls: ssl.SSLContext | None = None,
        times: Times = Times(),  # noqa: B008  frozen
    ) -> None:
        self.counts = LinkCounts()
        self.detail = "not connected yet"
        self._base = base_url.rstrip("/")
        self._credentials = {"client_id": client_id, "client_secret": secret, "grant_type": "client_credentials"}
        self._clock = clock
        self._tls: ssl.SSLContext | bool = tls if tls is not None else True
        self._times = times
        self.tokens = Tokens(self._grant, clock)
        self._http: aiohttp.ClientSession | None = None
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._up_ms: int | None = None

    async def open(self) -> None:
        timeout = aiohttp.ClientTimeout(total=None, connect=self._times.connect_ms / 1000)
        self._http = aiohttp.ClientSession(
            timeout=timeout,
            connector=aiohttp.TCPConnector(limit=0, ssl=self._tls),  # each call that is being routed has one
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def close(self) -> None:
        if self._http is not None:
            await self._http.close()
            self._http = None

    # ---- requests

    async def get(self, path: str) -> Any:
        """The JSON of it. NotDone with its status; Unanswered; SwitchUnavailable where there is no token."""
        return await self._request("GET", path, None, self._times.request_ms)

    async def post(self, path: str, body: Any, *, timeout_ms: int | None = None) -> Any:
        """The JSON of the answer. An action needs a JSON body even where it says nothing."""
        return await self._request("POST", path, {} if body is None else body, timeout_ms or self._times.request_ms)

    async def stream(self, path: str, chunks: Callable[[], AsyncIterable[bytes]], lasts_ms: int) -> None:
        """One long POST of raw bytes, as fast as `chunks` yields them, which takes them so long."""

        async def send(headers: Headers) -> tuple[int, Any]:
            try:
                async with (
                    asyncio.timeout((lasts_ms + self._times.request_ms) / 1000),
                    self._session().post(
                        self._base + path,
                        data=chunks(),
                        headers={**headers, "Content-Type": "application/octet-stream"},
                        allow_redirects=False,
                    ) as answer,
                ):
                    return answer.status, wire.decoded(await _body(answer))
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
                raise Unanswered(f"POST {path}: {_why(error)}") from error

        with self.tokens.streaming():
            await self._authorised(send)

    async def _request(self, method: str, path: str, body: Any, timeout_ms: int) -> Any:
        return await self._authorised(lambda headers: self._exchange(method, path, headers, body, timeout_ms))

    async def _authorised(self, exchange: Callable[[Headers], Awaitable[tuple[int, Any]]]) -> Any:
        """With our token; where that has run out or was superseded, once more with a new one."""
        self._session()  # before that is open nobody is to blame
        token = await self.tokens.current()
        status, told = await exchange(_bearer(token))
        if status == UNAUTHORIZED:
            self._refused(token)
            status, told = await exchange(_bearer(await self.tokens.current()))
        if not 200 <= status < 300:
            raise NotDone(status, wire.reason(told))
        return told

    async def _exchange(self, method: str, path: str, headers: Headers, body: Any, timeout_ms: int) -> tuple[int, Any]:
        try:
            async with (
                asyncio.timeout(timeout_ms / 1000),
                self._session().request(
                    method, self._base + path, headers=headers, json=body, allow_redirects=False
                ) as answer,
            ):
                data = await _body(answer)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise Unanswered(f"{method} {path}: {_why(error)}") from error
        told = wire.decoded(data)
        if told is None and data.strip() not in (b"", b"null"):
            told = data[: wire.LONGEST_TEXT].decode("utf-8", "replace")
        return answer.status, told

    async def _grant(self) -> Grant:
        try:
            async with (
                asyncio.timeout(self._times.request_ms / 1000),
                self._session().post(
                    self._base + "/connect/token", data=self._credentials, allow_redirects=False
                ) as answer,
            ):
                told = wire.decoded(await _body(answer))
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise Unanswered(f"no token: {_why(error)}") from error
        self.counts.tokens += 1
        if answer.status in (400, 401, 403):
            raise CredentialsRefused(f"no token: {answer.status} {wire.reason(told)}".strip())
        grant = grant_of(told) if 200 <= answer.status < 300 else None
        if grant is None:
            raise Unanswered(f"no token: {answer.status}")
        return grant

    def _refused(self, token: str) -> None:
        self.tokens.rejected(token)
        self.counts.superseded = self.tokens.superseded

    def _session(self) -> aiohttp.ClientSession:
        if self._http is None:
            raise Unanswered("the link is not running")
        return self._http

    # ---- the websocket

    async def run(
        self, connected: Callable[[], None], on_event: Callable[[wire.Event], None], lost: Callable[[str], None]
    ) -> None:
        """Keep the websocket until cancelled. `connected` and `lost` are told each time, in order with the events."""
        failures = 0
        while True:
            self._up_ms = None
            longest_ms = self._times.retry_longest_ms
            try:
                await self._listen(connected, on_event)
                reason = "the PBX closed the websocket"
            except CredentialsRefused as error:
                reason, longest_ms = str(error), self._times.refused_ms
            except (SwitchUnavailable, aiohttp.ClientError, OSError) as error:
                reason = _why(error)
            up_ms = 0 if self._up_ms is None else self._clock.now().monotonic_ms - self._up_ms
            failures = 0 if up_ms >= self._times.retry_first_ms else failures
            pause_ms = min(longest_ms, self._times.retry_first_ms << min(failures, 20))
            failures += 1
            self._socket, self.detail = None, reason
            lost(reason)
            await self._clock.sleep_ms(random.randint(pause_ms // 2, pause_ms))

    async def drop(self) -> None:
        """End the websocket; `run` makes another one."""
        if self._socket is not None:
            await self._socket.close()

    async def _listen(self, connected: Callable[[], None], on_event: Callable[[wire.Event], None]) -> None:
        token = await self.tokens.current()
        try:
            socket = await self._open_socket(token)
        except NotDone as error:
            if error.status != UNAUTHORIZED:
                raise
            self._refused(token)
            socket = await self._open_socket(await self.tokens.current())
        async with socket:
            self._socket = socket
            self._up_ms = self._clock.now().monotonic_ms
            self.counts.connections += 1
            connected()
            async for frame in socket:
                if frame.type not in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
                    break
                self.counts.events += 1
                event = wire.event(frame.data)
                if event is None:
                    self.counts.malformed += 1
                else:
                    on_event(event)
            error_ = socket.exception()
            if error_ is not None:
                raise Unanswered(f"the websocket broke: {_why(error_)}")

    async def _open_socket(self, token: str) -> aiohttp.ClientWebSocketResponse:
        try:
            async with asyncio.timeout(self._times.connect_ms / 1000):
                return await self._session().ws_connect(
                    self._base + WEBSOCKET,
                    headers=_bearer(token),
                    heartbeat=self._times.ping_every_ms / 1000,
                    max_msg_size=LONGEST_FRAME,
                )
        except aiohttp.WSServerHandshakeError as error:
            raise NotDone(error.status, "to the websocket") from error
        except TimeoutError as error:
            raise Unanswered("no websocket in time") from error


def path_of(*segments: str) -> str:
    """`/callcontrol/900/participants/7/drop`, every segment encoded."""
    return "/callcontrol" + "".join("/" + quote(segment, safe="") for segment in segments)


def _bearer(token: str) -> Headers:
    return {"Authorization": f"Bearer {token}"}


async def _body(answer: aiohttp.ClientResponse) -> bytes:
    data = bytearray()
    async for chunk in answer.content.iter_chunked(65_536):
        data += chunk
        if len(data) > LONGEST_BODY:
            raise ValueError(f"more than {LONGEST_BODY} bytes")
    return bytes(data)


def _why(error: BaseException) -> str:
    return str(error) or type(error).__name__
