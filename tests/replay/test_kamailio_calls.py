"""Calls recorded on the link of a real Kamailio 5.6.3, understood by our translator: in order, and in any other."""

import re
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from callctl.adapters.kamailio.translate import Translator
from callctl.adapters.kamailio.wire import Dialog, Message, decode
from callctl.adapters.switch_time import SwitchTime, to_ms
from callctl.call.events import Alerting, Answered, CallEvent, Offered, Released
from callctl.clock import Instant
from callctl.rating.tariff import Direction

FOLDER = Path(__file__).parent / "kamailio"
EARLY = Instant(0, 0)
OUR_CLOCK_IS_AHEAD_MS = 3_600_000  # so that a duration over two clocks would be seen

# What each recording tells; "+ms" is from the answer to the end, by Kamailio's own clock.
TOLD = {
    "answer-resent": ["offered", "rings", "answered by carrier-a", "released by caller"],
    "busy-486": ["offered", "released by network, sip 486"],
    "callee-hangs-up": ["offered", "rings", "answered by carrier-a", "released by callee"],
    "caller-hangs-up": ["offered", "rings", "answered by carrier-a", "released by caller"],
    "cancel-at-gate": ["offered", "released by caller"],
    "cancel-ringing": ["offered", "rings", "released by caller, sip 487"],
    "emergency": ["offered, emergency", "rings", "answered by carrier-a", "released by caller"],
    "hung-up": ["offered", "rings", "answered by carrier-a", "released by callctl"],
    "hung-up-ringing": ["offered", "rings", "released by caller"],  # as long as nobody says that it was us
    "inbound-404": ["offered, inbound", "released by caller"],
    "link-lost-talking": ["offered", "rings", "answered by carrier-a", "released by caller"],
    "no-answer-of-callctl": ["offered", "released by network, sip 503"],
    "refused-402": ["offered", "released by caller"],  # the same
    "rings-too-long": ["offered", "rings", "released by network, sip 480"],
    "timer": ["offered", "rings", "answered by carrier-a", "released by callctl"],
}
RECORDINGS = sorted(TOLD)


@cache
def recorded(name: str) -> tuple[Message, ...]:
    lines = (FOLDER / f"{name}.jsonl").read_bytes().splitlines()
    messages = [decode(line) for line in lines]
    assert None not in messages
    return tuple(message for message in messages if message is not None)


def now(message: Message) -> Instant:
    """When we read it."""
    told_ms = to_ms(message.at) or 0
    return Instant(told_ms + OUR_CLOCK_IS_AHEAD_MS, told_ms)


def heard(messages: list[Message] | tuple[Message, ...]) -> list[CallEvent]:
    translator = Translator("sbc1", SwitchTime())
    translator.listed([], (), EARLY)
    events: list[CallEvent] = []
    read = EARLY
    for message in messages:
        read = max(read, now(message), key=lambda instant: instant.monotonic_ms)
        events += translator.translate(message, read)
    return events


def told(event: CallEvent) -> str:
    match event:
        case Offered():
            inbound = ", inbound" if event.direction is Direction.INBOUND else ""
            return f"offered{inbound}{', emergency' if event.emergency else ''}"
        case Alerting():
            return "rings"
        case Answered():
            return f"answered by {event.trunk_out}"
        case Released():
            return f"released by {event.released_by}{f', sip {event.sip_code}' if event.sip_code else ''}"
        case _:
            raise AssertionError(event)


def test_every_recording_is_read() -> None:
    assert sorted(path.stem for path in FOLDER.iterdir()) == RECORDINGS


@pytest.mark.parametrize("name", RECORDINGS)
def test_a_recording_tells_its_call(name: str) -> None:
    events = heard(recorded(name))
    assert [told(event) for event in events] == TOLD[name]
    (call,) = {event.call for event in events}
    assert re.fullmatch(r"[0-9a-f]+@127\.0\.0\.\d+;[0-9a-f]+;\d+\.\d+", call.call_id)


@pytest.mark.parametrize("name", [name for name in RECORDINGS if "answered by carrier-a" in TOLD[name]])
def test_a_talk_lasts_by_kamailios_clock(name: str) -> None:
    events = heard(recorded(name))
    (answered,) = [event for event in events if isinstance(event, Answered)]
    (released,) = [event for event in events if isinstance(event, Released)]
    stated = {message.event: to_ms(message.at) for message in reversed(recorded(name))}
    assert (answered.at.wall_ms, released.at.wall_ms) == (stated["answered"], stated["ended"])
    assert answered.stated
    assert released.stated
    assert released.answered_at == answered.at


@given(st.sampled_from(RECORDINGS), st.randoms(use_true_random=False), st.integers(0, 2**10 - 1))
def test_whatever_is_lost_repeated_or_out_of_order_a_call_begins_and_ends_once_at_most(
    name: str, random: object, kept: int
) -> None:
    messages = [message for i, message in enumerate(recorded(name) * 2) if kept >> i & 1]
    random.shuffle(messages)  # type: ignore[attr-defined]
    events = heard(messages)
    kinds = [type(event) for event in events]
    assert kinds.count(Offered) <= 2  # told again after its end, it is asked for again
    assert kinds.count(Released) <= kinds.count(Offered)
    assert kinds.count(Answered) <= kinds.count(Offered)
    for event in events:
        if isinstance(event, Released) and event.answered_at is not None:
            assert event.answered_at.wall_ms <= max(to_ms(message.at) or 0 for message in messages)


def test_the_end_proves_an_answer_that_was_lost() -> None:
    messages = [message for message in recorded("caller-hangs-up") if message.event != "answered"]
    (released,) = [event for event in heard(messages) if isinstance(event, Released)]
    assert released.answered_at is not None
    (message,) = [message for message in recorded("caller-hangs-up") if message.event == "answered"]
    assert abs(released.answered_at.wall_ms - (to_ms(message.at) or 0)) <= 1


def test_a_list_tells_what_is_up_since_when_and_what_is_gone() -> None:
    offer, _, answered, _ = (message for message in recorded("caller-hangs-up") if message.event)
    other = next(message for message in recorded("busy-486") if message.event == "offer")
    translator = Translator("sbc1", SwitchTime())
    for message in (offer, other):
        translator.translate(message, now(message))
    before = translator.known()
    start_ts = (to_ms(answered.at) or 0) // 1000
    listed = [
        Dialog(offer.h_entry, offer.h_id, 4, offer.call, offer.tag, start_ts),
        Dialog(other.h_entry, other.h_id, 5, other.call, other.tag, 0),
        Dialog(7, 8, 2, "x@y", "t", 0),
    ]
    talking, ringing = translator.listed(listed, before, now(answered))
    assert talking.answered_at is not None
    assert (
        talking.answered_at.wall_ms == start_ts * 1000 + 999
    )  # of a whole second nobody pays for what may not have been
    assert (ringing.call.call_id, ringing.answered_at) == ("x@y;t;7.8", None)
    assert translator.known() == {talking.call.call_id, "x@y;t;7.8"}


@pytest.mark.parametrize(("listed", "events"), [(False, ["answered by carrier-a", "released by caller"]), (True, [])])
def test_until_the_first_list_a_call_of_before_is_told_of_too(listed: bool, events: list[str]) -> None:
    translator = Translator("sbc1", SwitchTime())
    if listed:
        translator.listed([], (), EARLY)
    late = [message for message in recorded("caller-hangs-up") if message.event in ("answered", "ended")]
    assert [told(event) for message in late for event in translator.translate(message, now(message))] == events
    translator.relinked()
    (ended,) = translator.translate(late[1], now(late[1]))
    assert isinstance(ended, Released)
    assert ended.answered_at is not None


def test_a_list_may_show_a_call_before_its_offer() -> None:
    offer = recorded("busy-486")[1]
    assert offer.event == "offer"
    translator = Translator("sbc1", SwitchTime())
    translator.listed([Dialog(offer.h_entry, offer.h_id, 1, offer.call, offer.tag)], (), now(offer))
    assert [told(event) for event in translator.translate(offer, now(offer))] == ["offered"]


def test_of_a_call_that_is_not_in_the_book_its_name_tells_enough() -> None:
    translator = Translator("sbc1", SwitchTime())
    leg = translator.leg("a;b@c;tag;12.345")
    assert leg is not None
    assert (leg.call, leg.h_entry, leg.h_id) == ("a;b@c", 12, 345)
    for name in ("", "abc", "a;b;c", "a;b;1.", "a;b;.2", "1795293598.872345", "a;b;1.2.3", "a;b;-1.2", "a;b;²."):
        assert translator.leg(name) is None


@pytest.mark.parametrize("set_by_s", [3_600, 20, 3, -3, -20, -3_600])
def test_a_talk_during_which_the_clock_was_set_lasts_by_ours(set_by_s: int) -> None:
    """The pings have told so meanwhile, or not."""
    messages = recorded("caller-hangs-up")
    translator = Translator("sbc1", time := SwitchTime())
    time.compare(messages[0].at, now(messages[0]))
    *_, answered = [event for it in messages[:-1] for event in translator.translate(it, now(it))]
    end = messages[-1]
    seconds, _, fraction = end.at.partition(".")
    if set_by_s < 0:
        time.compare(f"{int(seconds) + set_by_s}.{fraction}", now(end))
    (released,) = translator.translate(replace(end, at=f"{int(seconds) + set_by_s}.{fraction}"), now(end))
    assert isinstance(released, Released)
    assert not released.stated
    assert released.at.since_ms(answered.at) == (to_ms(end.at) or 0) - answered.at.wall_ms


def test_what_we_read_late_because_we_stood_still_is_placed_when_it_happened() -> None:
    first, *others = (message for message in recorded("caller-hangs-up") if message.event)
    translator = Translator("sbc1", time := SwitchTime())
    time.compare(first.at, now(first))
    woken = now(others[-1]).plus_ms(60_000)
    events = [event for message in (first, *others) for event in translator.translate(message, woken)]
    assert [told(event) for event in events] == TOLD["caller-hangs-up"]
    answered, released = events[-2:]
    assert isinstance(answered, Answered)
    assert isinstance(released, Released)
    assert answered.stated
    assert released.stated
    assert released.at.since_ms(answered.at) == released.at.wall_ms - answered.at.wall_ms
    assert woken.since_ms(released.at) == 60_000


@pytest.mark.parametrize("set_by_s", [-3, -10, -20, -3_600])
def test_a_clock_that_was_set_back_is_not_believed_before_it_is_compared(set_by_s: int) -> None:
    """No ping has told so yet: what has happened before what was told before it is not stated."""
    *before, end = (message for message in recorded("caller-hangs-up") if message.event)
    translator = Translator("sbc1", time := SwitchTime())
    time.compare(before[0].at, now(before[0]))
    *_, answered = [event for it in before for event in translator.translate(it, now(it))]
    seconds, _, fraction = end.at.partition(".")
    (released,) = translator.translate(replace(end, at=f"{int(seconds) + set_by_s}.{fraction}"), now(end))
    assert isinstance(released, Released)
    assert not released.stated
    assert released.at == now(end)
    assert released.at.since_ms(answered.at) == (to_ms(end.at) or 0) - answered.at.wall_ms


@given(st.binary(max_size=300))
def test_no_message_makes_it_raise(content: bytes) -> None:
    message = decode(content)
    if message is not None:
        Translator("sbc1", SwitchTime()).translate(message, Instant(1, 1))
