"""The timer wheel: each deadline once, at its time or up to a tick later; what is moved or dropped never."""

from typing import Any

import pytest

from callctl.call.effects import SetDeadline
from callctl.call.events import CallKey, Deadline, DeadlineReached
from callctl.clock import Instant
from callctl.control.deadlines import TICK_MS, Deadlines
from callctl.control.mailbox import Mailbox

CALL = CallKey("pbx", "c1")
BEGUN_MS = 1_000_000


class Wheel:
    """Deadlines of one call, on a clock that is set."""

    def __init__(self) -> None:
        self.now_ms = BEGUN_MS
        unused: Any = None
        self.box = Mailbox(unused, unused, {}, unused)
        self.boxes = {CALL: self.box}
        self.reached: list[tuple[int, Deadline]] = []
        self.deadlines = Deadlines(self, self.boxes, self._note)

    def now(self) -> Instant:
        return Instant(self.now_ms, self.now_ms)

    async def sleep_ms(self, ms: int) -> None:
        self.now_ms += ms

    def _note(self, event: DeadlineReached) -> None:
        assert event.call is CALL
        self.reached.append((self.now_ms - BEGUN_MS, event.deadline))

    def set(self, deadline: Deadline, after_ms: int | None) -> None:
        at_ms = None if after_ms is None else BEGUN_MS + after_ms
        self.deadlines.set(self.box, SetDeadline(CALL, deadline, None if at_ms is None else Instant(at_ms, at_ms)))

    def turn_until(self, after_ms: int) -> None:
        while self.now_ms < BEGUN_MS + after_ms:
            self.now_ms += 1
            self.deadlines.turn()


@pytest.fixture
def wheel() -> Wheel:
    return Wheel()


@pytest.mark.parametrize("after_ms", [0, 1, TICK_MS, TICK_MS + 1, 990])
def test_it_is_reached_once_and_not_before_its_time(wheel: Wheel, after_ms: int) -> None:
    wheel.set(Deadline.CUT, after_ms)
    wheel.turn_until(2_000)
    ((reached_ms, deadline),) = wheel.reached
    assert deadline is Deadline.CUT
    assert after_ms <= reached_ms <= after_ms + TICK_MS


def test_what_is_past_is_reached_at_the_next_turn(wheel: Wheel) -> None:
    wheel.turn_until(100)
    wheel.set(Deadline.CUT, 10)
    wheel.turn_until(100 + TICK_MS)
    assert wheel.reached == [(100 + TICK_MS, Deadline.CUT)]


def test_those_of_one_moment_are_reached_in_the_order_in_which_they_were_set(wheel: Wheel) -> None:
    for deadline in (Deadline.WARN, Deadline.CUT, Deadline.EXTEND):
        wheel.set(deadline, 100)
    wheel.turn_until(200)
    assert [deadline for _, deadline in wheel.reached] == [Deadline.WARN, Deadline.CUT, Deadline.EXTEND]


@pytest.mark.parametrize("moved_ms", [40, 500])
def test_one_that_is_moved_is_reached_at_its_new_time_alone(wheel: Wheel, moved_ms: int) -> None:
    wheel.set(Deadline.CUT, 200)
    wheel.set(Deadline.CUT, moved_ms)
    wheel.turn_until(1_000)
    assert wheel.reached == [(moved_ms, Deadline.CUT)]


def test_one_that_is_set_again_as_it_was_is_reached_once(wheel: Wheel) -> None:
    wheel.set(Deadline.CUT, 200)
    wheel.set(Deadline.CUT, 200)
    wheel.turn_until(1_000)
    assert wheel.reached == [(200, Deadline.CUT)]


def test_one_that_is_dropped_is_not_reached(wheel: Wheel) -> None:
    wheel.set(Deadline.CUT, 200)
    wheel.set(Deadline.CUT, None)
    wheel.set(Deadline.WARN, None)
    wheel.turn_until(1_000)
    assert not wheel.reached


def test_those_of_a_call_that_is_gone_are_not_reached(wheel: Wheel) -> None:
    wheel.set(Deadline.CUT, 200)
    del wheel.boxes[CALL]
    assert wheel.deadlines.next_ms() is None
    wheel.turn_until(1_000)
    assert not wheel.reached


def test_the_nearest_is_told_to_a_clock_that_jumps(wheel: Wheel) -> None:
    assert wheel.deadlines.next_ms() is None
    wheel.set(Deadline.CUT, 200)
    wheel.set(Deadline.WARN, 120)
    assert wheel.deadlines.next_ms() == BEGUN_MS + 120
    wheel.set(Deadline.WARN, 500)
    assert wheel.deadlines.next_ms() == BEGUN_MS + 200
    wheel.turn_until(300)
    assert wheel.deadlines.next_ms() == BEGUN_MS + 500
