"""When FreeSWITCH's scheduler, which knows whole seconds, ends a call whose grant ends at any microsecond."""

from hypothesis import given
from hypothesis import strategies as st

from callctl.adapters.freeswitch.timers import ANSWERED, ENDED, Note, Timers, in_seconds, note, notes, until
from callctl.adapters.freeswitch.times import TICK_MS, SwitchTime
from callctl.clock import Instant

NOON_US = 1_795_300_000_000_000
SECOND_US = 1_000_000
MOMENTS = st.integers(NOON_US, NOON_US + 10 * SECOND_US)


@given(MOMENTS, st.integers(0, 10_000), st.integers(1, 100_000), st.integers(0, 3_000))
def test_a_grant_is_never_cut_short_and_seldom_a_second_too_long(
    answered_us: int, talked_ms: int, remaining_ms: int, behind_ms: int
) -> None:
    """`behind_ms`: by how much less than its clock shows we believe that it shows."""
    now_us, end_us = answered_us + talked_ms * 1000, answered_us + (talked_ms + remaining_ms) * 1000
    seconds = until(end_us, remaining_ms, now_us // 1000 - behind_ms)
    due_us = (now_us // SECOND_US + seconds) * SECOND_US
    assert end_us <= due_us < end_us + 2 * SECOND_US
    if (now_us // 1000 - behind_ms) // 1000 == now_us // SECOND_US:
        assert due_us < end_us + SECOND_US


@given(MOMENTS, st.integers(1, 100_000))
def test_of_an_unknown_clock_the_worst_is_assumed(now_us: int, remaining_ms: int) -> None:
    assert until(now_us + remaining_ms * 1000, remaining_ms, 0) == in_seconds(remaining_ms)
    due_us = (now_us // SECOND_US + in_seconds(remaining_ms)) * SECOND_US
    assert due_us >= now_us + remaining_ms * 1000


def test_the_clock_of_the_switch_is_never_believed_to_show_more() -> None:
    time, now = SwitchTime(), Instant(5_000, 5_000)
    assert time.at(now) == 0
    time.compare("7000000", now)  # and came 30 ms later
    time.compare("7100000", now.plus_ms(140))
    assert time.at(now.plus_ms(1_000)) == 8_000 - TICK_MS


def test_a_clock_that_was_never_compared_is_taken_to_show_what_ours_does() -> None:
    now = Instant(1_795_300_009_000, 5_000)
    assert SwitchTime().place(now.wall_ms - 3_000, now) == Instant(now.wall_ms - 3_000, 2_000)
    assert SwitchTime().place(now.wall_ms + 3_000, now) == Instant(now.wall_ms + 3_000, 5_000)


def test_of_all_tasks_the_notes_are_read() -> None:
    tasks = [
        {"task_group": "callctl-17-a-b", "task_runtime": "1795300000"},
        {"task_group": "callctl-answered-c", "task_runtime": "soon"},
        {"task_group": "mod_hash"},
    ]
    for group, at_s in ((ANSWERED, 1_795_300_000), (ENDED, 1_795_300_007)):
        when, name, command = note(group, "a-b-2", "a-b").split(" ", 3)[1:]
        assert command == "uuid_exists a-b"
        tasks.append({"task_group": name, "task_runtime": str(at_s + int(when))})
    assert notes(tasks) == {"a-b-2": Note(1_795_300_001_000, 1_795_300_008_000)}


def test_what_another_process_has_set_is_known_and_of_calls_that_are_gone_taken_away() -> None:
    timers = Timers(1)
    groups = ("callctl-7-up", "callctl-answered-up", "callctl-8-gone", "callctl-ended-gone", "mod_hash", "callctl-x-up")
    stale = timers.take_over([{"task_group": group} for group in groups], {"up"})
    assert stale == ["sched_del callctl-8-gone", "sched_del callctl-ended-gone"]
    assert timers.of("up", "leg") == ["leg", "callctl-answered-up", "callctl-7-up"]
    ended = ["sched_del callctl-answered-up", "sched_del callctl-7-up", "sched_del callctl-ended-up"]
    assert timers.forget("up") == ended
    assert timers.forget("up") == []


def test_a_leg_that_is_named_as_a_task_is_numbered_takes_no_task_away() -> None:
    assert Timers(1).of("17", "17") == ["callctl-answered-17"]
    assert Timers(1).of("17-a", "17-a") == ["17-a", "callctl-answered-17-a"]


def test_a_note_that_could_not_be_taken_away_goes_with_its_call() -> None:
    """The link was lost when the call was armed."""
    timers = Timers(1)
    timers.remove("up", timers.of("up", ""))
    timers.take_over([{"task_group": "callctl-answered-up"}], {"up"})
    assert timers.forget("up") == ["sched_del callctl-answered-up", "sched_del callctl-ended-up"]
