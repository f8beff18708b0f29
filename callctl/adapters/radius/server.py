"""The UDP ports that gateways ask and report at. Each datagram is dealt with once, however often it is sent.

What a NAS repeats because it heard no answer is the same packet again: same address, port, identifier and
authenticator (RFC 5080, 2.2.2). It gets the same answer, and while that is being found none.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import msgspec
import structlog

from callctl.adapters.radius.wire import LONGEST, Client, Malformed, Question, Report, Untrusted, still_here
from callctl.ports import Clock

log = structlog.get_logger(__name__)

REPEATED_WITHIN_MS: Final = 30_000
MOST_REMEMBERED: Final = 20_000
MOST_UNDER_WAY: Final = 2_000
MOST_STRANGERS: Final = 100  # are named in the log; the others are only counted

Source = tuple[str, int]
Seen = tuple[Source, bytes]

Answer = Callable[[bytes], None]
Decide = Callable[[Question, Client], Awaitable[bytes]]
Note = Callable[[Report, Client], None]


class Counts(msgspec.Struct):
    """What the ports have seen. `untrusted`: with a wrong signature, or none. `overflowed`: too many at once."""

    questions: int = 0
    reports: int = 0
    repeated: int = 0
    strangers: int = 0
    untrusted: int = 0
    malformed: int = 0
    overflowed: int = 0
    unanswered: int = 0
    disconnects: int = 0


class Places(msgspec.Struct, frozen=True):
    """Where to listen; port 0: any."""

    host: str = "127.0.0.1"
    auth_port: int = 1812
    acct_port: int = 1813


class Server:
    """`decide` finds the answer to a question; `note` takes a report, which is then acknowledged."""

    def __init__(
        self, places: Places, clients: Mapping[str, Client], decide: Decide, note: Note, clock: Clock, counts: Counts
    ) -> None:
        self.counts = counts
        self._places = places
        self._clients = clients
        self._decide = decide
        self._note = note
        self._clock = clock
        self._answers: dict[Seen, tuple[int, bytes | None]] = {}
        self._under_way: set[asyncio.Task[None]] = set()
        self._strangers: set[str] = set()
        self.ports = (places.auth_port, places.acct_port)

    async def run(self, listening: Callable[[], None]) -> None:
        """Serve until cancelled; OSError where it cannot listen."""
        loop = asyncio.get_running_loop()
        host = self._places.host
        asked, _ = await loop.create_datagram_endpoint(
            lambda: _Port(self._asked, self.counts), (host, self._places.auth_port)
        )
        try:
            told, _ = await loop.create_datagram_endpoint(
                lambda: _Port(self._told, self.counts), (host, self._places.acct_port)
            )
            try:
                self.ports = (asked.get_extra_info("sockname")[1], told.get_extra_info("sockname")[1])
                listening()
                await loop.create_future()
            finally:
                told.close()
        finally:
            asked.close()
            for task in self._under_way:
                task.cancel()
            await asyncio.gather(*self._under_way, return_exceptions=True)

    def _asked(self, datagram: bytes, source: Source, answer: Answer) -> None:
        if (client := self._trusted(datagram, source, answer)) is None:
            return
        if (alive := still_here(datagram, client, accounting=False)) is not None:
            return answer(alive)
        question = Question(datagram, client)
        self.counts.questions += 1
        if len(self._under_way) >= MOST_UNDER_WAY:
            self.counts.overflowed += 1
            return
        seen = (source, datagram[:20])
        self._remember(seen, None)
        task = asyncio.get_running_loop().create_task(self._answer(question, client, seen, answer))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _answer(self, question: Question, client: Client, seen: Seen, answer: Answer) -> None:
        found = await self._decide(question, client)
        self._remember(seen, found)
        answer(found)

    def _told(self, datagram: bytes, source: Source, answer: Answer) -> None:
        if (client := self._trusted(datagram, source, answer)) is None:
            return
        if (alive := still_here(datagram, client, accounting=True)) is not None:
            return answer(alive)
        report = Report(datagram, client)
        self.counts.reports += 1
        self._note(report, client)
        acknowledgement = report.acknowledge()
        self._remember((source, datagram[:20]), acknowledgement)
        answer(acknowledgement)

    def _trusted(self, datagram: bytes, source: Source, answer: Answer) -> Client | None:
        """Who sent it; None where it is nobody that we know, or was answered before."""
        client = self._clients.get(source[0])
        if client is None:
            self._stranger(source[0])
            return None
        if len(datagram) > LONGEST:
            raise Malformed(f"{len(datagram)} octets")
        before = self._answers.get((source, datagram[:20]))
        if before is None or self._clock.now().monotonic_ms - before[0] > REPEATED_WITHIN_MS:
            return client
        self.counts.repeated += 1
        if before[1] is not None:
            answer(before[1])
        return None

    def _stranger(self, address: str) -> None:
        self.counts.strangers += 1
        if address not in self._strangers and len(self._strangers) < MOST_STRANGERS:
            self._strangers.add(address)
            log.warning("radius_stranger", address=address)

    def _remember(self, seen: Seen, answer: bytes | None) -> None:
        now_ms = self._clock.now().monotonic_ms
        self._answers.pop(seen, None)
        self._answers[seen] = (now_ms, answer)
        oldest = next(iter(self._answers))
        while len(self._answers) > MOST_REMEMBERED or now_ms - self._answers[oldest][0] > REPEATED_WITHIN_MS:
            del self._answers[oldest]
            oldest = next(iter(self._answers))


class _Port(asyncio.DatagramProtocol):
    """`received` gets each datagram, whom it is from, and how to answer."""

    _transport: asyncio.DatagramTransport

    def __init__(self, received: Callable[[bytes, Source, Answer], None], counts: Counts) -> None:
        self._received = received
        self._counts = counts

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]  # it is one
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        try:
            self._received(data, addr[:2], lambda answer: self._transport.sendto(answer, addr))
        except Untrusted as why:
            self._counts.untrusted += 1
            log.warning("radius_untrusted", address=addr[0], why=str(why))
        except Malformed as why:
            self._counts.malformed += 1
            log.warning("radius_malformed", address=addr[0], why=str(why))
