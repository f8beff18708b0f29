"""A connection: begins on the fast path, and goes over to aiohttp with the first request that is not plain.

The bytes that are not answered go with it, and it stays there: aiohttp serves every route. Requests are answered
in order, one at a time; what comes meanwhile waits, and the client waits when that is too much. What is promised is
written in the turn of the event loop in which it is kept: a task is made only for what must be waited for otherwise.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import cast

from callctl.http.fast_path import LARGEST, FastPath, NotPlain
from callctl.promise import Promise

PATIENCE_S = 1.0
"""For the rest of a plain request. Then it is aiohttp's, which knows what to say of a slow one."""


class Connection(asyncio.Protocol):
    """One client. `over` is done when it is served no more; in `ours` it stands until it is closed, or is aiohttp's."""

    def __init__(self, fast: FastPath, slow: Callable[[], asyncio.Protocol], ours: set["Connection"]) -> None:
        self._fast = fast
        self._slow = slow
        self._ours = ours
        self._loop = asyncio.get_running_loop()
        self.over: asyncio.Future[None] = self._loop.create_future()
        self._unread = b""
        self._since_s = self._loop.time()  # that nothing is heard, or that a request is not complete
        self._answering = False
        self._task: asyncio.Task[None] | None = None  # that waits for the answer, where nobody promised it
        self._ending = False
        self._lost = False  # the connection is closed
        self._all_said = False  # the client has closed its half
        self._full = False  # the client does not take what was written
        self._held_back = False  # it has said more than one request can be

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self._peer = str(peer[0]) if peer else ""  # it may be gone already
        self._ours.add(self)

    def data_received(self, data: bytes) -> None:
        if self._unread:
            data = self._unread + data
        else:
            self._since_s = self._loop.time()
        self._unread = data
        if len(data) > LARGEST:
            self._held_back = True
            self._transport.pause_reading()
        self._go_on()

    def eof_received(self) -> bool:
        """A client that asks, closes its half and listens gets its answers (TLS has no halves)."""
        self._all_said = True
        self._go_on()
        return self._transport.get_extra_info("sslcontext") is None

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        self._go_on()

    def connection_lost(self, _error: Exception | None) -> None:
        self._lost = True
        if self.over.done():
            self._ours.discard(self)
        else:
            self.end()

    def end(self) -> None:
        """Answer what is under way, and close."""
        self._ending = True
        self._go_on()

    def abort(self) -> None:
        """Close it now."""
        if self._task is not None:
            self._task.cancel()
        self._transport.abort()
        self._finish()

    def look(self, silence_s: float) -> None:
        """To be called about once a second: close it when it has said nothing, or taken nothing, for so long."""
        if self._answering:
            return
        if self._unread and not self._full and not self.over.done():
            self._go_on()  # patience may be at its end
        elif self._loop.time() - self._since_s >= silence_s:
            self._transport.abort()

    def _go_on(self) -> None:
        """With whatever is next, if it is time for it."""
        if self._answering or self.over.done() or (self._full and not self._ending):
            return
        try:
            request = self._fast.read(self._unread) if self._unread and not self._ending else None
        except NotPlain:
            self._hand_over()
            return
        if request is not None:
            self._take_off(request.size)
            self._answering = True
            try:
                decided = self._fast.decide(request, self._peer)
            except Exception as error:  # the client is to hear of it
                self._answer(error)
                return
            if isinstance(decided, Promise):
                decided.hear(self._answer)
            else:
                self._task = self._loop.create_task(self._wait(decided))
        elif self._ending or self._all_said:
            self._transport.close()
            self._finish()
        elif self._unread and self._loop.time() - self._since_s > PATIENCE_S:
            self._hand_over()

    async def _wait(self, decided: Awaitable[bytes]) -> None:
        try:
            body = await decided
        except Exception as error:  # the client is to hear of it
            self._answer(error)
        except BaseException:  # it was broken off: there is nothing to hear
            self.abort()
            raise
        else:
            self._answer(body)

    def _answer(self, decided: bytes | Exception) -> None:
        self._answering = False
        self._since_s = self._loop.time()
        if not self._transport.is_closing():  # the client may be gone: the decision stands all the same
            self._transport.write(self._fast.response(decided))
        if self._unread or self._ending or self._all_said:
            self._loop.call_soon(self._go_on)  # behind other clients

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
        self._lost = True  # for us
        self._finish()

    def _finish(self) -> None:
        if not self.over.done():
            self.over.set_result(None)
        if self._lost:
            self._ours.discard(self)
