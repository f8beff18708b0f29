"""The simulated switch itself: its legs, its clock, its scheduler, and who hears of what happens."""

import asyncio
import contextlib
import uuid
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from callctl.ports import Clock
from callctl.simulators import connections
from callctl.simulators.ended import EndedBy
from callctl.simulators.esl.causes import cause_named
from callctl.simulators.esl.channel import Channel

Headers = Mapping[str, object]
Listener = Callable[[Headers, str], None]
"""Told of an event: its headers and its body."""

GRAIN_US = 20_000
SCHEDULER_MS = 500


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """What the configuration files of a real FreeSWITCH would say."""

    gate: tuple[str, ...] = ()
    """Where the gate's `socket` application connects, `host:port`; none: calls are parked."""
    trunks: tuple[str, ...] = ("carrier-a",)
    park_timeout_s: int = 8
    heartbeat_ms: int = 20_000
    list_lag_ms: int = 200
    """By how much the list of channels is behind."""
    playback_ms: int = 3_000
    emergency: frozenset[str] = frozenset({"112", "911", "999"})


class Faults(connections.Faults):
    """What else goes wrong here."""

    fail_api: frozenset[str] = frozenset()
    """These api commands answer `-ERR` and do nothing."""


class Task(msgspec.Struct, frozen=True):
    """One task of the scheduler, due at a whole second."""

    id: int
    group: str
    due_s: int
    command: str


class Core:
    """Legs by uuid, the scheduler, and the events. Times in microseconds of a clock that ticks every 20 ms."""

    def __init__(self, setup: Setup, clock: Clock) -> None:
        self.setup = setup
        self.clock = clock
        self.faults = Faults()
        self.uuid = str(uuid.uuid4())
        self.listeners: list[Listener] = []
        self.execute: Callable[[str], str] = lambda command: "-ERR\n"
        """Carries out an api command; the commands put themselves here."""
        self.tasks: list[Task] = []
        self._channels: dict[str, Channel] = {}
        self._gone: list[tuple[int, Channel]] = []
        self._sequence = 0
        self._numbered = 0

    def __iter__(self) -> Iterator[Channel]:
        return iter(list(self._channels.values()))

    def find(self, leg: str) -> Channel | None:
        return self._channels.get(leg)

    def now_us(self) -> int:
        return self.clock.now().wall_ms * 1_000 // GRAIN_US * GRAIN_US + 345

    def now_ms(self) -> int:
        return self.clock.now().monotonic_ms

    def listed(self) -> list[Channel]:
        """The legs as the lagging list has them."""
        seen_us = (self.clock.now().wall_ms - self.setup.list_lag_ms) * 1_000
        self._gone = [(at_ms, leg) for at_ms, leg in self._gone if at_ms + self.setup.list_lag_ms > self.now_ms()]
        return [leg for leg in self if leg.created_us <= seen_us] + [leg for _, leg in self._gone]

    def add(self, channel: Channel) -> None:
        self._channels[channel.uuid] = channel
        self.emit("CHANNEL_CREATE", channel)

    def hang_up(self, channel: Channel) -> None:
        """The leg's last events. Its `ending` says why."""
        if channel.uuid not in self._channels:
            return
        self.emit("CHANNEL_HANGUP", channel)
        channel.note_end(self.now_us())
        if hook := channel.variables.get("api_hangup_hook"):
            self.execute(hook)
        del self._channels[channel.uuid]
        self._gone.append((self.now_ms(), channel))
        self.tasks = [task for task in self.tasks if task.group != channel.uuid]
        self.emit("CHANNEL_HANGUP_COMPLETE", channel)
        self.emit("CHANNEL_DESTROY", channel)

    def forget_all(self) -> None:
        """Without a word."""
        self._channels.clear()
        self._gone.clear()
        self.tasks.clear()

    def emit(self, name: str, channel: Channel | None = None, extra: Headers | None = None, body: str = "") -> int:
        """Tell everybody; the event's own time."""
        at_us = self.now_us()
        self._sequence += 1
        when = datetime.fromtimestamp(at_us / 1_000_000, UTC)
        headers: Headers = {
            "Event-Name": name,
            "Core-UUID": self.uuid,
            "FreeSWITCH-Hostname": "sim",
            "FreeSWITCH-Switchname": "sim",
            "FreeSWITCH-IPv4": "127.0.0.1",
            "Event-Date-Local": when.strftime("%Y-%m-%d %H:%M:%S"),
            "Event-Date-GMT": when.strftime("%a, %d %b %Y %H:%M:%S GMT"),
            "Event-Date-Timestamp": str(at_us),
            "Event-Sequence": str(self._sequence),
            **(channel.headers() if channel is not None else {}),
            **(extra or {}),
        }
        for listener in list(self.listeners):
            listener(headers, body)
        return at_us

    # ---- the scheduler

    def schedule(self, when: str, group: str, command: str) -> Task:
        """`+N` from now, or a second since the epoch."""
        now_s = self.clock.now().wall_ms // 1_000
        due_s = now_s + int(when[1:]) if when.startswith("+") else int(when)
        self._numbered += 1
        task = Task(self._numbered, group, due_s, command)
        self.tasks.append(task)
        named = {"Task-ID": str(task.id), "Task-Group": group, "Task-Runtime": str(due_s)}
        self.emit("ADD_SCHEDULE", None, named | {"Task-Desc": "sched_api_function"})
        return task

    def unschedule(self, group: str) -> int:
        """By group, or by number; how many there were."""
        kept = [task for task in self.tasks if task.group != group and str(task.id) != group]
        gone = len(self.tasks) - len(kept)
        self.tasks = kept
        return gone

    async def keep_schedule(self) -> None:
        while True:
            await self.clock.sleep_ms(SCHEDULER_MS)
            now_s = self.clock.now().wall_ms // 1_000
            for task in [task for task in self.tasks if task.due_s <= now_s]:
                with contextlib.suppress(ValueError):
                    self.tasks.remove(task)
                self.run_task(task)

    def run_task(self, task: Task) -> None:
        """A leg that the scheduler kills has met its limit."""
        name, _, arguments = task.command.partition(" ")
        leg = self.find(arguments.partition(" ")[0]) if name == "uuid_kill" else None
        if leg is not None:
            leg.end(cause_named(arguments.rpartition(" ")[2]), EndedBy.LIMIT)
        else:
            self.execute(task.command)

    async def keep_beating(self) -> None:
        while True:
            await self.clock.sleep_ms(self.setup.heartbeat_ms)
            count = {"Event-Info": "System Ready", "Session-Count": str(len(self._channels))}
            self.emit("HEARTBEAT", None, {**count, "Max-Sessions": "5000"})


async def first_of(*futures: "asyncio.Future[Any]") -> None:
    """Until one of them is done; none is cancelled."""
    await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)
