"""What happens to calls, as it happens, to an MQTT broker: `<prefix>/event/<kind>/<account>`, one JSON object each.

Events are advice, and CDRs are the books: an event waits for its broker in memory, the oldest is dropped where too many
wait, and those that wait when callctl ends are gone. Until then each is acknowledged (QoS 1), in order; what was on its
way when a connection broke comes again. A call waits for none of it: it leaves a note, the document is made here.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Collection
from functools import partial
from typing import Any
from urllib.parse import quote

import aiomqtt
import msgspec
import structlog

from callctl.accounts import Account, WarnTo
from callctl.call import news
from callctl.call.news import Kind
from callctl.call.session import Session, State
from callctl.call.takes import Settlement
from callctl.clock import format_time
from callctl.limits.ids import Alert, Seen
from callctl.ports import Clock, LinkState
from callctl.sinks.broker import Broker, leave, until_lost

log = structlog.get_logger(__name__)

MOST_WAITING = 10_000
BATCH = 200  # more than are in flight at once, so that there is always one to send when one is acknowledged
BACK_OFF_MS = 500  # after a failure, doubled up to the longest
BACK_OFF_MAX_MS = 10_000

_encode = msgspec.json.Encoder().encode


class EventCounts(msgspec.Struct):
    """Since the start. `dropped`: too many were waiting."""

    published: int = 0
    dropped: int = 0


class _Note(msgspec.Struct, frozen=True, gc=False):
    """What is to be told. `account`: whom it is about, empty for nobody we know."""

    kind: Kind
    account: str
    at_ms: int
    fields: Callable[[], dict[str, Any]]


class Events:
    """Implements `ports.Observer`. Tells what is of one of `kinds`, as long as `run` runs."""

    def __init__(self, name: str, broker: Broker, *, topic_prefix: str, kinds: Collection[str], clock: Clock) -> None:
        self.counts = EventCounts()
        self._broker = broker
        self._prefix = topic_prefix
        self._kinds = frozenset(map(Kind, kinds))
        self._clock = clock
        self._waiting: deque[_Note] = deque(maxlen=MOST_WAITING)
        self._some = asyncio.Event()
        self._sending: list[tuple[str, bytes]] = []  # on its way, until all of it is acknowledged
        self._state = LinkState(name, up=False, since_ms=clock.now().wall_ms, detail="not tried yet")

    # ---- ports.Observer

    def decided(self, session: Session, took_s: float) -> None:
        if session.refusal is None:
            self._note(Kind.ADMITTED, session.account, partial(news.admitted, session))
        else:
            self._note(Kind.REFUSED, session.account, partial(news.refused, session))
        if session.emergency:
            self._note(Kind.EMERGENCY_CALL, session.account, partial(news.call, session))

    def answered(self, session: Session) -> None:
        self._note(Kind.ANSWERED, session.account, partial(news.answered, session))

    def warned(self, session: Session, left_s: int, to: WarnTo) -> None:
        self._note(Kind.WARNED, session.account, partial(news.warned, session, left_s, to))

    def settled(self, settlement: Settlement) -> None:
        """The end of a call, once: a correction is told by its CDR alone, a refusal was told when it was decided."""
        session = settlement.session
        if session.state is State.ENDED and not session.corrections:
            self._note(Kind.ENDED, session.account, partial(news.ended, settlement.records[0].payload))

    def alerted(self, session: Session, seen: Seen, alert: Alert) -> None:
        account = session.levels[seen.level].account
        self._note(Kind.IDS_ALERT, account, lambda: news.call(session) | news.alert(session, seen, alert))

    def low(self, session: Session | None, account: Account, left: int, threshold: int) -> None:
        which = news.no_call if session is None else partial(news.call, session)
        self._note(Kind.LOW_BALANCE, account.id, lambda: which() | news.low(account, left, threshold))

    def unexpected(self, state: str, event: str) -> None:
        """Counted, not told."""

    def overflowed(self, queue: str) -> None:
        """Counted, not told."""

    def not_enforced(self, check: str) -> None:
        """Counted, not told."""

    # ---- to the broker

    def state(self) -> LinkState:
        return self._state

    async def run(self) -> None:
        """Until it is cancelled: keeps a connection, and publishes what waits."""
        back_off_ms = BACK_OFF_MS
        while True:
            try:
                client = await self._broker.client("-events").__aenter__()
                self._is_up()
                back_off_ms = BACK_OFF_MS
                await self._serve(client)
            except aiomqtt.MqttError as failed:
                self._is_down(f"{self._broker}: {failed}")
            except Exception as broken:  # our fault; the event that has done it is gone, the others go on
                log.exception("events_broken", sink=self._state.name)
                self._is_down(f"{type(broken).__name__}: {broken}")
            await self._clock.sleep_ms(back_off_ms)
            back_off_ms = min(2 * back_off_ms, BACK_OFF_MAX_MS)

    async def _serve(self, client: aiomqtt.Client) -> None:
        """Until the connection is lost, which is raised."""
        lost = asyncio.create_task(until_lost(client))
        publishing = asyncio.create_task(self._publish(client))
        both = (lost, publishing)
        try:  # a TaskGroup of Python 3.11 forgets a cancellation that comes with the loss
            done, _ = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            for ended in done:
                ended.result()
        finally:
            publishing.cancel()
            await leave(client)  # and so `lost` ends by itself
            await asyncio.gather(*both, return_exceptions=True)

    def _note(self, kind: Kind, account: str, fields: Callable[[], dict[str, Any]]) -> None:
        if kind in self._kinds:
            if len(self._waiting) == self._waiting.maxlen:
                self.counts.dropped += 1  # the oldest
            self._waiting.append(_Note(kind, account, self._clock.now().wall_ms, fields))
            self._some.set()

    async def _publish(self, client: aiomqtt.Client) -> None:
        while True:
            while self._waiting and len(self._sending) < BATCH:
                self._sending.append(self._message(self._waiting.popleft()))
            await asyncio.gather(*(client.publish(topic, payload, qos=1) for topic, payload in self._sending))
            self.counts.published += len(self._sending)
            self._sending.clear()
            if not self._waiting:
                self._some.clear()
                await self._some.wait()

    def _message(self, note: _Note) -> tuple[str, bytes]:
        """Topic and payload. An account's id is one level whatever is in it: `/`, `+` and `#` are percent-encoded."""
        topic = f"{self._prefix}/event/{note.kind}/{quote(note.account, safe='')}"
        return topic, _encode({"event": note.kind, "at": format_time(note.at_ms), **note.fields()})

    def _is_up(self) -> None:
        self._state = LinkState(self._state.name, up=True, since_ms=self._clock.now().wall_ms)
        log.info("events_up", sink=self._state.name)

    def _is_down(self, detail: str) -> None:
        since_ms = self._clock.now().wall_ms if self._state.up else self._state.since_ms
        if self._state.detail != detail:
            log.warning("events_down", sink=self._state.name, detail=detail)
        self._state = LinkState(self._state.name, up=False, since_ms=since_ms, detail=detail)
