"""The listening socket: time-outs for connections that say nothing, and an end to how many there may be."""

import asyncio
import logging
import resource
import ssl
from collections.abc import Callable
from typing import cast

import msgspec
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from callctl.clock import give_way
from callctl.http.app import Site
from callctl.http.connection import Connection
from callctl.http.fast_path import MOST_FIELDS

_DESCRIPTORS_FOR_THE_REST = 256
"""Of the process: switches, store, sinks, journal."""
_DESCRIPTORS_WANTED = 65_536
_LOOK_EVERY_S = 1.0
_log = logging.getLogger(__name__)


class Limits(msgspec.Struct, frozen=True):
    """What a client may do to us.

    `silence_s`: before a request's headers are complete, and between requests; however slowly bytes trickle in.
    `shutdown_s`: for requests that are under way when the server stops.
    """

    silence_s: float = 30
    handshake_s: float = 10
    shutdown_s: float = 10
    connections: int = 4096


class HttpServer:
    """Serves `site` until it is stopped. `refused` is called for each connection beyond the limit.

    `reuse_port`: several processes may listen on the same port.
    """

    def __init__(
        self,
        site: Site,
        host: str,
        port: int,
        *,
        refused: Callable[[], None],
        limits: Limits | None = None,
        tls: ssl.SSLContext | None = None,
        reuse_port: bool = False,
    ) -> None:
        self._limits = limits = limits or Limits()
        self._host = host
        self._port = port
        self._tls = tls
        self._reuse_port = reuse_port
        self._refused = refused
        self._listening: asyncio.Server | None = None
        self._fast = site.fast
        self._connections: set[Connection] = set()  # that aiohttp has not
        self._looking: asyncio.TimerHandle | None = None
        self._runner = web.AppRunner(
            site.app,
            access_log=None,
            keepalive_timeout=limits.silence_s,
            shutdown_timeout=limits.shutdown_s,
            lingering_time=1,
            max_headers=MOST_FIELDS,
            auto_decompress=False,  # A small body must not become a large one.
            logger=_log,
        )
        _log.addFilter(_no_fault_of_ours)

    async def start(self) -> int:
        """Listen. Answers the port, for whoever asked for port 0; OSError when the address cannot be had."""
        await self._runner.setup()
        most = min(self._limits.connections, _descriptors() - _DESCRIPTORS_FOR_THE_REST)
        server = cast(web.Server, self._runner.server)

        def accept() -> asyncio.BaseProtocol:
            if len(self._connections) + len(server.connections) < most:
                return Connection(self._fast, server, self._connections)
            self._refused()
            return _Refused()

        self._listening = await asyncio.get_running_loop().create_server(
            accept,
            self._host,
            self._port,
            ssl=self._tls,
            ssl_handshake_timeout=self._limits.handshake_s if self._tls is not None else None,
            reuse_port=self._reuse_port or None,
            backlog=1024,
        )
        self._look()
        port: int = self._listening.sockets[0].getsockname()[1]
        return port

    async def stop(self) -> None:
        """No new connection, no new request; what is under way is finished."""
        if self._listening is not None and self._looking is not None:
            self._listening.close()
            self._looking.cancel()
        await asyncio.gather(self._end(), self._runner.cleanup())

    async def _end(self) -> None:
        await give_way()  # to requests that have just come
        ending = tuple(self._connections)
        for connection in ending:
            connection.end()
        if ending:
            await asyncio.wait([connection.over for connection in ending], timeout=self._limits.shutdown_s)
        for connection in tuple(self._connections):
            if not connection.over.done():
                connection.abort()

    def _look(self) -> None:
        self._looking = asyncio.get_running_loop().call_later(_LOOK_EVERY_S, self._look)
        for connection in tuple(self._connections):
            connection.look(self._limits.silence_s)


class _Refused(asyncio.Protocol):
    """A connection too many: closed before it costs anything."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


def _no_fault_of_ours(record: logging.LogRecord) -> bool:
    """A broken request is answered, not logged: aiohttp would quote it, with the token in it."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


def _descriptors() -> int:
    """How many files and sockets this process may have: the soft limit, raised as far as the system lets us."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= _DESCRIPTORS_WANTED:
        return _DESCRIPTORS_WANTED
    wanted = _DESCRIPTORS_WANTED if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS_WANTED)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted
