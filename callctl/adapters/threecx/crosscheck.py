"""Our calls beside the PBX's own records of them: XAPI's call log, or the lines of its CDR socket. Pure.

There is no common key, so a call and a record belong together when they name the same extension and the same number
and began within five seconds of each other. A call may have several records (segments), joined by their history id.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec

from callctl.adapters.threecx.calls import Call, digits_of, same_number
from callctl.clock import Instant, wall_ms

NEAR_MS: Final = 5_000
APART_MS: Final = 2_000
MOST_WAITING: Final = 10_000

FIELDS: Final = (
    *("historyid", "callid", "duration", "time-start", "time-answered", "time-end", "reason-terminated"),
    *("from-no", "to-no", "from-dn", "to-dn", "dial-no", "reason-changed", "final-number", "final-dn"),
    *("bill-code", "bill-rate", "bill-cost", "bill-name", "chain", "from-type", "to-type", "final-type"),
    *("from-dispname", "to-dispname", "final-dispname", "missed-queue-calls"),
)
"""The columns of a CDR line in their usual order; the administrator of the PBX may have chosen others."""
NAMING: Final = ("from-no", "to-no", "from-dn", "to-dn")


class Logged(msgspec.Struct, frozen=True):
    """A segment of a call by the PBX's record: the DNs and numbers that it names, wall ms by the PBX's clock."""

    history: str
    names: frozenset[str]
    began_ms: int
    answered_ms: int | None
    ended_ms: int


class Comparison(msgspec.Struct, frozen=True):
    """What the PBX says of a call. None: it has no record of it. Lengths in ms; 0 is unanswered."""

    call: Call
    ours_ms: int
    theirs_ms: int | None

    @property
    def is_alarming(self) -> bool:
        return self.theirs_ms is None or abs(self.theirs_ms - self.ours_ms) > APART_MS

    @property
    def true_end(self) -> Instant | None:
        """When it ended by the PBX's record, where we could only guess it."""
        if not self.call.estimated or self.call.answered is None or not self.theirs_ms:
            return None
        return self.call.answered.plus_ms(self.theirs_ms)


class Crosscheck:
    """Calls that have ended wait here for the PBX's record of them, at most `unlogged_ms`."""

    def __init__(self, unlogged_ms: int) -> None:
        self._unlogged_ms = unlogged_ms
        self._waiting: list[Call] = []
        self._segments: dict[Logged, None] = {}
        self._used: dict[str, None] = {}

    def ended(self, call: Call) -> None:
        if len(self._waiting) < MOST_WAITING:
            self._waiting.append(call)

    @property
    def since_ms(self) -> int | None:
        """The wall time since which records are wanted; None where no call waits."""
        return min((call.began.wall_ms for call in self._waiting), default=None)

    def logged(self, segments: Iterable[Logged]) -> None:
        """Records as they come, perhaps again."""
        self._segments.update(dict.fromkeys(it for it in segments if it.history not in self._used))
        _shorten(self._segments)
        _shorten(self._used)

    def compared(self, now: Instant) -> list[Comparison]:
        """The calls that have a record now, or have waited too long for one. They wait no longer."""
        found, waiting = [], []
        for call in self._waiting:
            histories = self._histories(call)
            theirs_ms = self._talked_ms(call, histories)
            overdue = call.ended is not None and now.since_ms(call.ended) > self._unlogged_ms
            if theirs_ms is None and not overdue:
                waiting.append(call)
            else:
                found.append(Comparison(call, _length_ms(call), theirs_ms))
                self._used.update(dict.fromkeys(histories))
        self._waiting = waiting
        if not waiting:
            self._segments.clear()
        return found

    def _histories(self, call: Call) -> set[str]:
        """Those of its records. One that two calls may have, for somebody dialled again, is that of the nearest."""
        found: set[str] = set()
        for segment in self._segments:
            if segment.history not in self._used and _is_of(segment, call):
                claims = [it for it in self._waiting if _is_of(segment, it) and _names_far(segment, it)]
                if not any(_apart_ms(segment, it) < _apart_ms(segment, call) for it in claims):
                    found.add(segment.history)
        return found

    def _talked_ms(self, call: Call, histories: set[str]) -> int | None:
        """From the first answer to the last end in all segments of it; None: there is no record."""
        segments = [it for it in self._segments if it.history in histories and _names_far(it, call)]
        if not segments:
            return None
        answered = [segment.answered_ms for segment in segments if segment.answered_ms is not None]
        ended = [segment.ended_ms for segment in segments if segment.answered_ms is not None]
        return max(ended) - min(answered) if answered else 0


def _shorten(remembered: dict[Any, None]) -> None:
    while len(remembered) > MOST_WAITING:
        del remembered[next(iter(remembered))]


def _length_ms(call: Call) -> int:
    return call.ended.since_ms(call.answered) if call.ended is not None and call.answered is not None else 0


def _is_of(segment: Logged, call: Call) -> bool:
    """Whether the call may have begun with this segment, or have been connected by it from the route point."""
    wanted = call.wanted
    if wanted is None or wanted.own not in segment.names:
        return False
    return _apart_ms(segment, call) <= NEAR_MS


def _apart_ms(segment: Logged, call: Call) -> int:
    return abs(segment.began_ms - call.began.wall_ms)


def _names_far(segment: Logged, call: Call) -> bool:
    wanted = call.wanted
    if wanted is None:
        return False
    others = [name for name in segment.names if name != wanted.own and digits_of(name)]
    numbers = [number for number in (wanted.far, wanted.b_number) if number]
    return not numbers or any(same_number(name, number) for name in others for number in numbers)


def parse_line(line: str, fields: tuple[str, ...], zone: ZoneInfo) -> Logged | None:
    """One CDR line; None where it is none. `fields`: the columns that the PBX was told to send.

    Display names may hold commas, and stand last in the usual order: what comes before them is right all the same.
    """
    values = dict(zip(fields, (value.strip() for value in line.split(",")), strict=False))
    began = _moment(values.get("time-start", ""), zone)
    ended = _moment(values.get("time-end", ""), zone)
    if began is None or ended is None or not values.get("historyid"):
        return None
    names = frozenset(values.get(name, "").removeprefix("Ext.") for name in NAMING) - {""}
    answered = _moment(values.get("time-answered", ""), zone)
    return Logged(values["historyid"].removeprefix("Call "), names, began, answered, ended)


def _moment(text: str, zone: ZoneInfo) -> int | None:
    """Wall ms of `2024/06/17 05:59:49`."""
    try:
        return wall_ms(datetime.strptime(text, "%Y/%m/%d %H:%M:%S").replace(tzinfo=zone))
    except ValueError:
        return None
