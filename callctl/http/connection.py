"""A connection: begins on the fast path, and goes over to aiohttp with the first request that is not plain.

The bytes that are not answered go with it, and it stays there: aiohttp serves every route. Requests are answered
in order, one at a time, by one task; what comes meanwhile waits, and the client waits when that is too much.
"""

import asyncio
from collections.abc import Callable
from typing import cast

from callctl.clock import give_way
from callctl.http.fast_path import LARGEST, FastPath, NotPlain

PATIENCE_S = 1.0
"""For the rest of a plain request. Then it is aiohttp's, which knows what to say of a slow one."""


class Connection(asyncio.Protocol):
    """One client. It stands in `ours` as long as it is open and has not gone over to `slow`."""

    def __init__(self, fast: FastPath, slow: Callable[[], asyncio.Protocol], ours: set["Connection"]) -> None:
        self._fast = fast
        self._slow = slow
        self._ours = ours
        self._loop = asyncio.get_running_loop()
        self._unread = b""
        self._since_s = self._loop.time()  # that nothing is heard, or that a request is not complete
        self._waiting = self._loop.create_future()  # for news; done while there is something to do
        self._waiting.set_result(None)
        self._ending = False
        self._all_said = False  # the client has closed its half
        self._full = False  # the client does not take what was written
        self._held_back = False  # it has said more than one request can be

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self._peer = str(peer[0]) if peer else ""  # it may be gone already
        self._ours.add(self)
        self.task = self._loop.create_task(self._serve())

    def data_received(self, data: bytes) -> None:
        if self._unread:
            data = self._unread + data
        else:
            self._since_s = self._loop.time()
        self._unread = data
        if len(data) > LARGEST:
            self._held_back = True
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> bool:
        """A client that asks, closes its half and listens gets its answers (TLS has no halves)."""
        self._all_said = True
        self._wake()
        return self._transport.get_extra_info("sslcontext") is None

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        self._wake()

    def connection_lost(self, _error: Exception | None) -> None:
        self.end()

    def end(self) -> None:
        """Answer what is under way, and close."""
        self._ending = True
        self._wake()

    def look(self, silence_s: float) -> None:
        """To be called about once a second: close it when it has said nothing, or taken nothing, for so long."""
        if self._waiting.done():
            return
        if self._unread and not self._full:
            self._wake()  # patience may be at its end
        elif self._loop.time() - self._since_s >= silence_s:
            self._transport.abort()

    def _wake(self) -> None:
        if not self._waiting.done():
            self._waiting.set_result(None)

    def _news(self) -> asyncio.Future[None]:
        """Until `_wake`."""
        self._waiting = self._loop.create_future()
        return self._waiting

    async def _serve(self) -> None:
        fast, transport = self._fast, self._transport
        try:
            while not self._ending:
                request = fast.read(self._unread) if self._unread else None
                if request is not None:
                    self._take_off(request.size)
                    answer = await fast.answer(request, self._peer)
                    self._since_s = self._loop.time()
                    if not transport.is_closing():  # the client may be gone: the decision stands all the same
                        transport.write(answer)
                    while self._full and not self._ending:
                        await self._news()
                    if self._unread:
                        await give_way()  # to other clients
                elif self._all_said:
                    break
                elif self._unread and self._loop.time() - self._since_s > PATIENCE_S:
                    raise NotPlain
                else:
                    await self._news()
        except NotPlain:
            self._hand_over()
        except BaseException:
            transport.abort()
            raise
        else:
            transport.close()
        finally:
            self._ours.discard(self)

    def _take_off(self, size: int) -> None:
        """So many bytes are a request that is being answered."""
        self._unread = self._unread[size:]
        if self._held_back and len(self._unread) <= LARGEST:
            self._held_back = False
            self._transport.resume_reading()

    def _hand_over(self) -> None:
        slow = self._slow()
        self._transport.set_protocol(slow)
        slow.connection_made(self._transport)
        self._transport.resume_reading()
        slow.data_received(self._unread)
