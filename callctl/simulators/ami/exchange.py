"""The simulated switch itself: its channels, its clock, and who hears of what happens."""

import asyncio
import uuid
from collections.abc import Callable, Iterator

import msgspec

from callctl.ports import Clock
from callctl.simulators import connections
from callctl.simulators.ami.channel import UP, ArmedLimit, Channel, Ending, Headers
from callctl.simulators.ended import EndedBy

Block = Headers
Listener = Callable[[str, Block], None]
"""Told of an event: its class (`call`, `user`, `system`) and its headers."""


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """What the configuration files of a real Asterisk would say."""

    release: int = 22
    """Asterisk's major version. Before 18 there is no PJSIPHangup and no TechCause."""
    listed_variables: tuple[str, ...] = ("CC_CALL", "CC_ACCT")
    trunks: tuple[str, ...] = ("carrier-a",)
    gate_ms: int = 3_000
    asks_once: bool = False
    """Calls wait in AsyncAGI."""
    ring_limit_ms: int = 120_000
    playback_ms: int = 3_000
    emergency: frozenset[str] = frozenset({"112", "911", "999"})
    fail_open: bool = False
    fail_open_limit_ms: int = 3_600_000

    @property
    def is_modern(self) -> bool:
        return self.release >= 18


class Faults(connections.Faults):
    """What else goes wrong here."""

    reorder_hangups: bool = False
    """Of the two legs of a talk, the one that left last is hung up first."""


class Exchange:
    """Channels by name and unique id. Emits events with the switch's own microseconds."""

    def __init__(self, setup: Setup, clock: Clock) -> None:
        self.setup = setup
        self.clock = clock
        self.faults = Faults()
        self.listeners: list[Listener] = []
        self._channels: dict[str, Channel] = {}
        self._by_uniqueid: dict[str, Channel] = {}
        self._numbered = 0
        self._last_us = 0

    def __iter__(self) -> Iterator[Channel]:
        return iter(list(self._channels.values()))

    def __len__(self) -> int:
        return len(self._channels)

    def find(self, name: str) -> Channel | None:
        """The living channel of this name or unique id, as Asterisk looks it up."""
        return self._channels.get(name) or self._by_uniqueid.get(name)

    def now_us(self) -> int:
        """The switch's wall clock; never the same twice, so that events keep their order."""
        self._last_us = max(self.clock.now().wall_ms * 1_000, self._last_us + 1)
        return self._last_us

    def take_number(self) -> int:
        """The next of the numbers in channel names and unique ids."""
        self._numbered += 1
        return self._numbered

    def add(
        self, name: str, *, linkedid: str = "", uniqueid: str = "", state: int, context: str, exten: str
    ) -> Channel:
        """A new channel, not announced yet: its owner fills it and emits Newchannel."""
        uniqueid = uniqueid or f"{self.clock.now().wall_ms // 1_000}.{self.take_number()}"
        channel = Channel(name, uniqueid, linkedid or uniqueid, state=state, context=context, exten=exten)
        channel.created_ms = self.clock.now().wall_ms
        self._channels[channel.name] = channel
        self._by_uniqueid[channel.uniqueid] = channel
        return channel

    def remove(self, channel: Channel) -> None:
        self.disarm(channel)
        self._channels.pop(channel.name, None)
        self._by_uniqueid.pop(channel.uniqueid, None)

    def emit(self, event: str, *headers: Headers, of: str = "call") -> int:
        """Tell everybody; the event's Timestamp in microseconds."""
        at_us = self.now_us()
        stamp = ("Timestamp", format_us(at_us))
        block = [("Event", event), ("Privilege", f"{of},all"), stamp]
        for some in headers:
            block += some
        for listener in list(self.listeners):
            listener(of, block)
        return at_us

    def snapshot(self, channel: Channel, prefix: str = "") -> Headers:
        return channel.headers(self.setup.listed_variables, prefix)

    def tech_cause(self, sip: int | None) -> Headers:
        return [("TechCause", str(sip))] if sip is not None and self.setup.is_modern else []

    def new_bridge_id(self) -> str:
        return str(uuid.uuid4())

    def arm(self, channel: Channel, seconds: float) -> None:
        """TIMEOUT(absolute): the channel ends `seconds` from now; 0 takes the limit away."""
        self.disarm(channel)
        channel.limits.append(ArmedLimit(self.now_us(), channel.name, seconds))
        if seconds > 0:
            wait_ms = round(seconds * 1_000)
            channel.limit_at_ms = self.clock.now().wall_ms + wait_ms
            channel.limit_timer = asyncio.create_task(self._expire(channel, wait_ms))

    def disarm(self, channel: Channel) -> None:
        channel.limit_at_ms = None
        if channel.limit_timer is not None:
            channel.limit_timer.cancel()
            channel.limit_timer = None

    async def _expire(self, channel: Channel, wait_ms: int) -> None:
        await self.clock.sleep_ms(wait_ms)
        channel.end(Ending(EndedBy.LIMIT, 16 if channel.state == UP else 19))


def format_us(us: int) -> str:
    return f"{us // 1_000_000}.{us % 1_000_000:06d}"
