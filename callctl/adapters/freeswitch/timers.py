"""FreeSWITCH's scheduler, which ends the legs of a call when its grant is over, whatever becomes of callctl.

A task comes at a whole second of FreeSWITCH's clock, or up to 0.5 s after it, and `+N` counts from the second that has
begun. So it may come N - 1 s from now (measured): one second more is asked for, unless that second begins after the end
of the grant anyway. An end is never too early, and up to 1.5 s late (2.5 s, one time in twenty: where we cannot tell
which second has begun).

Tasks add up and the earliest wins, so the older ones are taken away; after the new ones are there, or the call would
have no limit meanwhile. FreeSWITCH removes the tasks of a group that has the name of a leg when that leg ends; a group
of any other name stays, and is removed by us. The first timer of a call is such a task, set by `execute_on_answer`; as
that is done a moment after the answer was told, it is taken away each time.

The scheduler also is the only memory of FreeSWITCH that outlives a call. So `api_on_answer` and `api_hangup_hook` leave
a note there, a task that does nothing, for a day: in which second a call was answered and has ended, for when nobody
listened. Notes go once we know.
"""

from collections.abc import Collection, Iterable
from itertools import count
from typing import Final

import msgspec
from msgspec.structs import replace

from callctl.adapters.freeswitch.causes import PAID_TIME_OVER
from callctl.adapters.freeswitch.times import to_us
from callctl.adapters.freeswitch.wire import Event, word

PREFIX: Final = "callctl-"
ANSWERED: Final = f"{PREFIX}answered-"
ENDED: Final = f"{PREFIX}ended-"
NOTED_S: Final = 86_400


class Note(msgspec.Struct, frozen=True):
    """When a call was answered and has ended: the end of that second, in ms of FreeSWITCH's clock; None: it was not."""

    answered_ms: int | None = None
    ended_ms: int | None = None


class Timers:
    """The groups of tasks of each call. A group is named after its call, so that another process knows it again."""

    def __init__(self, first: int) -> None:
        """`first`: a number above that of every group that a former process has made."""
        self._numbers = count(first)
        self._groups: dict[str, list[str]] = {}

    def begin(self, call_id: str) -> None:
        """From now on there may be notes of the call."""
        self._groups.setdefault(call_id, [f"{ANSWERED}{call_id}"])

    def calls(self) -> frozenset[str]:
        """Of which there may be any."""
        return frozenset(self._groups)

    def of(self, call_id: str, ingress: str) -> list[str]:
        """The groups that there may be now, oldest first, but for the note of its end.

        A leg may have the name that its caller gave it; of digits alone it would be the number of somebody else's task.
        """
        self.begin(call_id)
        return [*([ingress] if ingress and not ingress.isdigit() else []), *self._groups[call_id]]

    def add(self, call_id: str, seconds: int, legs: Iterable[str]) -> list[str]:
        """The commands that end `legs` in `seconds`, as FreeSWITCH counts them."""
        group = f"{PREFIX}{next(self._numbers)}-{call_id}"
        self.begin(call_id)
        self._groups[call_id].append(group)
        return [f"sched_api +{seconds} {word(group)} uuid_kill {word(leg)} {PAID_TIME_OVER}" for leg in legs]

    def remove(self, call_id: str, groups: Collection[str]) -> list[str]:
        """The commands that take these away."""
        kept = [group for group in self._groups.get(call_id, []) if group not in groups]
        if call_id in self._groups:
            self._groups[call_id] = kept
        return [f"sched_del {word(group)}" for group in groups]

    def forget(self, call_id: str) -> list[str]:
        """The commands after the end of a call. A leg of it may live on, in another one."""
        groups = self._groups.pop(call_id, None)
        return [] if groups is None else [*(f"sched_del {word(group)}" for group in groups), *self.clear(call_id)]

    def clear(self, call_id: str) -> list[str]:
        """The command that takes the note of its end away."""
        return [f"sched_del {ENDED}{word(call_id)}"]

    def forget_all(self) -> None:
        self._groups.clear()

    def take_over(self, tasks: Iterable[Event], calls: Collection[str]) -> list[str]:
        """Know what there is for each call, by `show tasks`; the commands that remove what is of no call any more."""
        known = {call_id: self.of(call_id, "") for call_id in calls}
        stale = []
        for group in dict.fromkeys(task.get("task_group", "") for task in tasks):
            kind, dash, call_id = group.removeprefix(PREFIX).partition("-")
            if not group.startswith(PREFIX) or not (kind.isdigit() or kind in ("answered", "ended")) or not dash:
                continue
            if call_id not in calls:
                stale.append(f"sched_del {word(group)}")
            elif kind != "ended" and group not in known[call_id]:
                known[call_id].append(group)
        self._groups = known
        return stale


def note(group: str, call_id: str, leg: str) -> str:
    """The api command that leaves a note."""
    return f"sched_api +{NOTED_S} {group}{word(call_id)} uuid_exists {word(leg)}"


def notes(tasks: Iterable[Event]) -> dict[str, Note]:
    """By call, from `show tasks`."""
    found: dict[str, Note] = {}
    for task in tasks:
        group, at_s = task.get("task_group", ""), to_us(task.get("task_runtime", ""))
        prefix = next((prefix for prefix in (ANSWERED, ENDED) if group.startswith(prefix)), None)
        if prefix is None or not at_s:
            continue
        call_id, at_ms = group.removeprefix(prefix), (at_s - NOTED_S + 1) * 1000
        told = {"answered_ms": at_ms} if prefix is ANSWERED else {"ended_ms": at_ms}
        found[call_id] = replace(found.get(call_id, Note()), **told)
    return found


def in_seconds(remaining_ms: int) -> int:
    """What to ask the scheduler for, so that it does not come sooner, whatever its clock shows."""
    return -(-max(0, remaining_ms) // 1000) + 1


def until(end_us: int, remaining_ms: int, clock_ms: int) -> int:
    """What to ask it for, so that it does not come before `end_us`, which is in `remaining_ms`.

    `clock_ms`: FreeSWITCH's clock, at the least; 0 where it is not known. Both ends are times of that clock.
    """
    seconds = in_seconds(remaining_ms)
    sooner_us = (clock_ms // 1000 + seconds - 1) * 1_000_000
    return seconds - 1 if sooner_us >= end_us else seconds
