"""Every recorded call of a real Asterisk, as our translator understands it and as call control charges it.

The calls were recorded behind an AsyncAGI gate, so what our own gate would have asked is put where that one did.
"""

import asyncio
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callctl.adapters.asterisk.translate import Translator
from callctl.adapters.asterisk.wire import Message
from callctl.adapters.switch_time import SwitchTime, to_ms
from callctl.call.events import Alerting, Answered, CallEvent, Offered, Released, ReleasedBy
from callctl.clock import Instant
from tests.control_room import EURO, PER_SECOND, ControlRoom
from tests.replay.recordings import ASTERISK_16, FOLDER, received

EARLY = Instant(1_795_292_000_000, 0)
OUR_CLOCK_IS_AHEAD_MS = 3_600_000  # so that a duration over two clocks would be seen

# What each recording tells; "+ms" is from the answer to the end, by Asterisk's own clock.
TOLD: dict[str, list[str]] = {
    "10": ["6 offered", "6 rings", "6 answered by uas", "6 released by caller +2006, q850 16, sip None"],
    "11": ["0 offered", "0 rings", "0 answered by uas", "0 released by caller +2009, q850 16, sip None"],
    "16": ["303 offered", "303 rings", "303 answered by uas", "303 released by caller +2006, q850 16, sip None"],
    "20": ["645 offered", "645 released by network, q850 21, sip 403"],
    "21": ["659 offered", "659 released by caller, q850 127, sip 402"],
    "22": ["669 offered", "669 released by network, q850 21, sip 403"],
    "23": ["671 offered", "671 released by caller, q850 127, sip 402"],
    "24": ["679 offered", "679 released by caller, q850 127, sip 402"],
    "25": ["681 offered", "681 released by network, q850 21, sip 403"],
    "26": ["691 offered", "691 released by caller, q850 127, sip 402"],
    "30": ["693 offered", "693 rings", "693 answered by uas", "693 released by network +2889, q850 16, sip None"],
    "31": ["696 offered", "696 rings", "696 answered by uas", "696 released by network +3001, q850 16, sip None"],
    "32": ["702 offered", "702 rings", "702 answered by uas", "702 released by network +6003, q850 16, sip None"],
    "33": ["723 offered", "723 rings", "723 answered by uas", "723 released by network +1005, q850 16, sip None"],
    "40": ["729 offered", "729 rings", "729 answered by uas", "729 released by network +6001, q850 16, sip None"],
    "41": ["738 offered", "738 rings", "738 answered by uas", "738 released by network +6889, q850 16, sip None"],
    "42": ["745 offered", "745 rings", "745 answered by uas", "745 released by network +6895, q850 16, sip None"],
    "43": ["752 offered", "752 rings", "752 answered by uas", "752 released by network +6883, q850 16, sip None"],
    "44": ["759 offered", "759 rings", "759 answered by uas", "759 released by network +6878, q850 16, sip None"],
    "45": ["797 offered", "797 rings", "797 answered by uas", "797 released by network +6887, q850 16, sip None"],
    "46": ["816 offered", "816 rings", "816 answered by uas", "816 released by network +6887, q850 16, sip None"],
    "61": ["857 offered", "857 rings", "857 answered by uas"],
    "62": ["917 offered", "917 released by caller, q850 127, sip 487"],
    "70-ivr-info": ["924 offered", "924 released by caller, q850 None, sip None"],
    "70-ivr-rtp": ["922 offered", "922 released by caller, q850 None, sip None"],
    "80": ["926 offered", "926 released by callee, q850 17, sip 486"],
    "81": ["958 offered", "958 rings", "958 released by caller, q850 127, sip 487"],
    "82": ["963 offered", "963 rings", "963 answered by uas", "963 released by callee +1003, q850 16, sip None"],
    "83": ["966 offered", "966 released by callee, q850 21, sip 403"],
    "84": [
        "974 offered",
        "974 rings",
        "974 answered by uas",
        "975 offered",
        "975 rings",
        "975 answered by uas",
        "975 released by caller +2888, q850 16, sip None",
        "974 released by callee +4012, q850 16, sip None",
    ],
    "85": ["981 offered", "981 rings", "981 answered by uas", "981 released by network +1007, q850 16, sip None"],
    "86": [
        "984 offered",
        "984 rings",
        "984 answered by uas",
        "986 offered",
        "986 rings",
        "986 answered by uas",
        "984 released by callee +3599, q850 16, sip None",
        "986 released by caller +2758, q850 16, sip None",
    ],
    "87": ["991 offered", "991 rings", "991 answered by uas", "991 released by caller +2210, q850 16, sip None"],
    "88": ["994 offered", "994 rings", "994 answered by uas", "994 released by callee +1011, q850 16, sip None"],
    "89": ["999 offered", "999 rings", "999 answered by uas", "999 released by callee +504, q850 16, sip None"],
    "90": ["1002 offered", "1002 rings", "1002 answered by uas", "1002 released by caller +505, q850 16, sip None"],
    "91": ["1007 offered", "1007 rings", "1007 answered by uas", "1007 released by caller +1511, q850 16, sip None"],
    "92": [
        "49 offered",
        "52 offered",
        "52 rings",
        "49 rings",
        "52 answered by uas",
        "52 released by caller +2345, q850 16, sip None",
        "49 released by caller, q850 16, sip None",
    ],
    "96": ["65 offered", "65 rings", "65 answered by uac", "65 released by caller +1502, q850 16, sip None"],
}
TALKS = [name for name, story in TOLD.items() if any("+" in line for line in story)]
HANDLED = ["UserEvent", "DialBegin", "DialState", "DialEnd", "BridgeEnter", "HangupRequest", "Hangup"]
NO_CALL_OF_OURS = ["50", "60", "63", "93", "94"]


class Switch:
    """The recorded Asterisk, read by our translator, beside a clock that runs with the recording."""

    def __init__(self) -> None:
        self.now = EARLY
        self.translator = Translator("pbx1", SwitchTime(), is_trunk=lambda endpoint: False)
        self.translator.listed([], frozenset(), EARLY)

    def tell(self, message: Message) -> tuple[CallEvent, ...]:
        wall_ms = to_ms(message.get("Timestamp"))
        if wall_ms is not None:
            self.now = EARLY.at_wall(wall_ms + OUR_CLOCK_IS_AHEAD_MS)
        return self.translator.translate(message, self.now)


@cache
def recorded(name: str) -> tuple[Message, ...]:
    """The messages, with our gate's event behind each AsyncAGIStart; a recording without one begins with a call."""
    messages = received(name, ASTERISK_16 if name == "16" else FOLDER)
    gates = [at for at, message in enumerate(messages) if message.event == "AsyncAGIStart"]
    if name == "96":
        gates = [0]
    for at in reversed(gates):
        messages.insert(at + 1, asked(messages[at]))
    return tuple(messages)


def asked(gated: Message) -> Message:
    own = [("UserEvent", "CCAuthorize"), ("Caller", "+31201234567"), ("Called", "+31612345678")]
    own += [("Endpoint", "uac"), ("Account", "acme"), ("Source", "192.0.2.10"), ("Direction", "outbound")]
    pairs = [("Event", "UserEvent"), *gated.pairs()[1:], *own]
    return Message("\r\n".join(f"{name}: {value}" for name, value in pairs).encode())


def told(messages: Sequence[Message]) -> list[str]:
    """What was understood, in words."""
    switch, answers, story = Switch(), {}, []
    for message in messages:
        for event in switch.tell(message):
            call = event.call.call_id.partition(".")[2]
            match event:
                case Offered():
                    story.append(f"{call} offered")
                case Alerting() if f"{call} rings" not in story:
                    story.append(f"{call} rings")
                case Answered(at=at, stated=True, trunk_out=trunk):
                    answers[call] = at.wall_ms
                    story.append(f"{call} answered by {trunk}")
                case Released(at=at, stated=True, q850=q850, sip_code=sip, released_by=by):
                    lasted = f" +{at.wall_ms - answers[call]}" if call in answers else ""
                    story.append(f"{call} released by {by}{lasted}, q850 {q850}, sip {sip}")
    return story


@pytest.mark.parametrize("name", TOLD)
def test_a_recorded_call_is_understood(name: str) -> None:
    assert told(recorded(name)) == TOLD[name]


@pytest.mark.parametrize("name", sorted(TOLD.keys() - {"61"}))  # which stops in the middle of a talk
def test_nothing_is_left_of_a_call_that_is_over(name: str) -> None:
    switch = Switch()
    for message in recorded(name):
        switch.tell(message)
    assert switch.translator.known() == frozenset()


@pytest.mark.parametrize("name", NO_CALL_OF_OURS)
def test_what_never_came_to_the_gate_is_no_call(name: str) -> None:
    assert told(recorded(name)) == []


@pytest.mark.parametrize("name", TOLD)
def test_events_that_come_twice_change_nothing(name: str) -> None:
    assert told([message for message in recorded(name) for _ in range(2)]) == TOLD[name]


@pytest.mark.parametrize("name", TOLD)
def test_no_lost_event_ends_a_call_twice(name: str) -> None:
    messages = recorded(name)
    for lost in [at for at, message in enumerate(messages) if message.event in HANDLED]:
        ends = [line.split()[0] for line in told(messages[:lost] + messages[lost + 1 :]) if _is_end(line)]
        assert set(ends) <= {line.split()[0] for line in TOLD[name]}
        assert len(ends) == len(set(ends))


def _is_end(line: str) -> bool:
    return "released" in line


@pytest.mark.parametrize("name", [name for name in TALKS if name != "96"])  # a leg that was never dialled has no call
def test_a_lost_answer_is_seen_in_the_bridge(name: str) -> None:
    before, after = TOLD[name], told([m for m in recorded(name) if m.get("DialStatus") != "ANSWER"])
    for line, whole in zip(after, before, strict=True):
        assert _WORDS.sub("", line) == _WORDS.sub("", whole)
        assert abs(_lasted_ms(line) - _lasted_ms(whole)) <= 5


_WORDS = re.compile(r" \+\d+")


def _lasted_ms(line: str) -> int:
    found = re.search(r"\+(\d+)", line)
    return int(found[1]) if found else 0


@given(st.data())
def test_the_order_of_the_end_does_not_matter(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(["10", "30", "33", "82", "91", "16"]))
    messages = recorded(name)
    end = next(at for at, message in enumerate(messages) if message.event in ("HangupRequest", "BridgeLeave"))
    end = max(end, max(at for at, message in enumerate(messages) if message.event == "BridgeEnter") + 1)
    story = told([*messages[:end], *data.draw(st.permutations(messages[end:]))])
    parties = re.compile("by (caller|callee|network)")
    assert [parties.sub("", line) for line in story] == [parties.sub("", line) for line in TOLD[name]]


IDS = st.sampled_from(["", "1.1", "1.2", "1.3"])
SAID = st.fixed_dictionaries(
    {"Event": st.sampled_from(HANDLED), "Uniqueid": IDS, "DestUniqueid": IDS},
    optional={
        "UserEvent": st.sampled_from(["CCAuthorize", "CCEmergency", "CCLimit", ""]),
        "DialStatus": st.sampled_from(["ANSWER", "RINGING", "BUSY"]),
        "ChanVariable": IDS.map("CC_CALL={}".format),
        **{name: st.text() for name in ("Timestamp", "Cause", "TechCause", "Channel", "DestChannel", "Direction")},
    },
)


@given(st.lists(SAID, max_size=12))
def test_nothing_that_asterisk_could_say_is_too_much(said: list[dict[str, str]]) -> None:
    switch = Switch()
    events: list[CallEvent] = []
    for headers in said:
        lines = [f"{name}: {value}" for name, value in headers.items()]
        events += switch.tell(Message("\r\n".join(lines).encode("utf-8", "surrogatepass")))
    offered = [event.call for event in events if isinstance(event, Offered)]
    assert {event.call for event in events} <= set(offered)
    for call in offered:
        ends = [event for event in events if isinstance(event, Released) and event.call == call]
        assert len(ends) <= offered.count(call)


# -------------------------------------------------------------------- the channel list


def listing() -> list[Message]:
    """Five calls: one at the gate, one ringing, one talking, one that listens to an announcement, one talking."""
    return [message for message in recorded("50") if message.event == "Status" and message.all("Variable")]


def test_a_channel_list_tells_the_calls_and_their_answers() -> None:
    switch = Switch()
    seen = switch.translator.listed(listing(), frozenset(), Instant(1_795_293_520_000, 5_000))
    answers = {alive.call.call_id: alive.answered_at and alive.answered_at.wall_ms for alive in seen}
    assert answers == {
        "1795293515.828": None,
        "1795293515.829": None,
        "1795293515.830": 1_795_293_515_838,
        "1795293515.831": None,
        "1795293515.832": 1_795_293_515_853,
    }
    legs = switch.translator.legs("1795293515.830")
    assert legs is not None
    assert (legs.channel, legs.carrier) == ("PJSIP/uac-000001a0", "1795293515.834")


def test_what_a_list_lacks_is_forgotten_unless_it_is_younger() -> None:
    switch = Switch()
    switch.translator.listed(listing(), frozenset(), switch.now)
    before = switch.translator.known()
    for message in recorded("10")[:3]:  # offered since
        switch.tell(message)
    assert switch.translator.listed([], before, switch.now) == []
    assert switch.translator.known() == {"1795292943.6"}


def test_a_channel_that_was_listed_before_it_asks_is_offered_once() -> None:
    """The list was made while the channel was on its way to the gate."""
    switch = Switch()
    switch.translator.listed(listing(), frozenset(), switch.now)
    asks = asked(next(channel for channel in listing() if channel["Uniqueid"] == "1795293515.828"))
    assert [type(event) for event in switch.tell(asks)] == [Offered]
    assert switch.tell(asks) == ()


@pytest.mark.parametrize("first_list", [True, False])
def test_what_has_ended_while_a_list_was_on_its_way_is_not_alive(first_list: bool) -> None:
    """A call that a process asked about while it came up, and refused, must not be asked about again."""
    switch = Switch()
    if first_list:
        switch.translator.relinked()
    before = switch.translator.known()
    told = "Variable: GOSUB_RETVAL=Caller: 1,Called: 2,Account: acme"
    channel = ["Event: Status", "Context: callctl-gate", "Uniqueid: 1.1", "Variable: CC_CALL=1.1", told]
    asks = INGRESS | {"Event": "UserEvent", "UserEvent": "CCAuthorize", "Caller": "1", "Called": "2"}
    assert [type(event) for event in switch.tell(said(asks))] == [Offered]
    assert [type(event) for event in switch.tell(said(INGRESS | ENDS))] == [Released]
    channels = [Message("\r\n".join(channel).encode())]
    assert switch.translator.missed(channels, switch.now) == ()
    assert switch.translator.listed(channels, before, switch.now) == []
    assert switch.translator.known() == frozenset()


def test_a_leg_without_an_ingress_channel_is_a_call_still() -> None:
    """After a transfer the carrier leg lives on."""
    channels = [message for message in listing() if message["Uniqueid"] == "1795293515.834"]
    (seen,) = Switch().translator.listed(channels, frozenset(), EARLY)
    assert (seen.call.call_id, seen.answered_at is not None) == ("1795293515.830", True)


# -------------------------------------------------------------------- before the first list


def relinked(*lines: dict[str, str]) -> list[CallEvent]:
    """What is told of a call that this process knows nothing of yet."""
    switch = Switch()
    switch.translator.relinked()
    return [event for line in lines for event in switch.tell(said(line))]


def said(headers: dict[str, str]) -> Message:
    return Message("\r\n".join(f"{name}: {value}" for name, value in headers.items()).encode())


INGRESS = {"Uniqueid": "1.1", "Channel": "PJSIP/acme-1", "ChanVariable": "CC_CALL=1.1"}
CARRIER = {"Uniqueid": "1.2", "Channel": "PJSIP/carrier-a-2", "ChanVariable": "CC_CALL=1.1", "ChannelState": "6"}
ENDS = {"Event": "Hangup", "Timestamp": "1795292004.5", "Cause": "16"}


@pytest.mark.parametrize("first", ["carrier", "caller"])
def test_the_end_of_a_talk_before_the_list_is_told_once(first: str) -> None:
    ends = [CARRIER | ENDS, INGRESS | ENDS | {"ChannelState": "6"}]
    (released,) = relinked(*(ends if first == "carrier" else reversed(ends)))
    assert isinstance(released, Released)
    assert released.stated
    assert (released.call.call_id, released.at.wall_ms - EARLY.wall_ms, released.q850) == ("1.1", 4_500, 16)


def test_a_party_that_hangs_up_before_the_list_is_named() -> None:
    (released,) = relinked(CARRIER | {"Event": "HangupRequest"}, CARRIER | ENDS)
    assert isinstance(released, Released)
    assert released.released_by is ReleasedBy.CALLEE


def test_an_answer_and_an_end_before_the_list_are_told() -> None:
    answer = {"Event": "DialEnd", "DialStatus": "ANSWER", "DestUniqueid": "1.2", "DestChannel": "PJSIP/carrier-a-2"}
    events = relinked(INGRESS | answer | {"ChannelState": "4"}, CARRIER | ENDS)
    assert [type(event) for event in events] == [Answered, Released]


def test_the_end_of_a_call_that_rang_is_told_before_the_list_and_that_of_a_carrier_that_failed_is_not() -> None:
    failed = CARRIER | ENDS | {"ChannelState": "5", "Cause": "17"}
    (released,) = relinked(failed, INGRESS | {"Event": "HangupRequest", "ChannelState": "4"}, INGRESS | ENDS)
    assert isinstance(released, Released)
    assert (released.q850, released.released_by) == (16, ReleasedBy.CALLER)


# -------------------------------------------------------------------- who talks with whom

SWAPS: dict[str, list[dict[str, str]]] = {
    "the caller comes into the carrier's bridge": [
        {"Event": "BridgeEnter", "Uniqueid": "0.9", "SwapUniqueid": "1.1", "BridgeUniqueid": "b2"},
        {"Event": "HangupRequest", "Uniqueid": "0.8"},
    ],
    "the carrier comes into the caller's": [
        CARRIER | {"Event": "BridgeEnter", "SwapUniqueid": "0.8", "BridgeUniqueid": "b1"},
        INGRESS | {"Event": "HangupRequest"},
    ],
}


@pytest.mark.parametrize("swap", SWAPS)
@pytest.mark.parametrize("by", ReleasedBy)
def test_who_hangs_up_is_known_when_a_local_channel_has_gone_from_between(swap: str, by: ReleasedBy) -> None:
    """Asterisk takes it out in one of two ways: 0.9 called by Local/0.8 and 1.1, which is the ingress."""
    switch = Switch()
    asks = {"Event": "UserEvent", "UserEvent": "CCAuthorize", **INGRESS}
    answer = {"Event": "DialEnd", "DialStatus": "ANSWER", "DestUniqueid": "1.2", "DestChannel": "PJSIP/carrier-a-2"}
    bridged = [("0.9", "b1"), ("0.8", "b1"), ("1.1", "b2"), ("1.2", "b2")]
    enters = [{"Event": "BridgeEnter", "Uniqueid": channel, "BridgeUniqueid": bridge} for channel, bridge in bridged]
    requests = {ReleasedBy.CALLER: [{"Event": "HangupRequest", "Uniqueid": "0.9"}]}
    requests[ReleasedBy.CALLEE] = [CARRIER | {"Event": "HangupRequest"}]
    for line in (asks, INGRESS | answer, *enters, *SWAPS[swap], INGRESS | ENDS):
        switch.tell(said(line))
    legs = switch.translator.legs("1.1")
    assert legs is not None
    assert switch.translator.caller(legs) == "0.9"
    if by is ReleasedBy.CALLCTL:
        switch.translator.armed("1.1", EARLY)
    (released,) = [event for line in (*requests.get(by, []), CARRIER | ENDS) for event in switch.tell(said(line))]
    assert isinstance(released, Released)
    assert released.released_by is by


NEVER_BRIDGED = {
    "gone first": ["old", "enters", "new", "caller"],
    "gone last": ["enters", "old", "new", "caller"],
    "the caller ends first": ["old", "enters", "caller", "new"],
    "nobody came": ["old", "caller"],
    "nobody came, the caller is gone": ["caller", "old"],
}


@pytest.mark.parametrize("story", NEVER_BRIDGED)
def test_another_leg_in_the_place_of_one_that_did_not_talk_yet_is_the_call(story: str) -> None:
    """An INVITE with Replaces within some ms of the answer: the leg that has answered is gone before it is bridged."""
    another = CARRIER | {"Uniqueid": "1.3", "Channel": "PJSIP/carrier-a-3"}
    lines = {
        "old": CARRIER | ENDS | {"Cause": "0", "Timestamp": "1795292002.0"},
        "enters": another | {"Event": "BridgeEnter", "BridgeUniqueid": "b1"},
        "new": another | ENDS,
        "caller": INGRESS | ENDS,
    }
    switch = Switch()
    answer = {"Event": "DialEnd", "DialStatus": "ANSWER", "DestUniqueid": "1.2", "DestChannel": "PJSIP/carrier-a-2"}
    switch.tell(said({"Event": "UserEvent", "UserEvent": "CCAuthorize", **INGRESS}))
    switch.tell(said(INGRESS | answer | {"Timestamp": "1795292001.9"}))
    told = [(line, event) for line in NEVER_BRIDGED[story] for event in switch.tell(said(lines[line]))]
    ends = [(line, event.at.wall_ms) for line, event in told if isinstance(event, Released)]
    came = "enters" in NEVER_BRIDGED[story]
    assert ends == [("new", 1_795_292_004_500)] if came else [(NEVER_BRIDGED[story][-1], 1_795_292_002_000)]
    assert not switch.translator.known()


def test_a_channel_that_is_connected_anew_after_its_call_is_noticed() -> None:
    switch = Switch()
    answer = INGRESS | {"Event": "DialEnd", "DialStatus": "ANSWER", "DestUniqueid": "1.2", "DestChannel": "PJSIP/c-2"}
    switch.tell(said({"Event": "UserEvent", "UserEvent": "CCAuthorize", **INGRESS}))
    assert not switch.translator.goes_on(said(answer))
    switch.tell(said(answer))
    switch.tell(said(CARRIER | ENDS))
    assert switch.translator.goes_on(said(answer))
    assert not switch.translator.goes_on(said(answer | {"DialStatus": "BUSY"}))
    assert not switch.translator.goes_on(said(answer | {"ChanVariable": "CC_CALL="}))
    switch.translator.relinked()
    assert not switch.translator.goes_on(said(answer))


def test_a_warning_is_no_channel_that_is_connected_anew() -> None:
    """An Originate tells of a dial that no channel has made."""
    originated = [told for told in received("43") if told.event == "DialEnd" and "Channel" not in told]
    assert [told["DialStatus"] for told in originated] == ["ANSWER"]
    assert not Switch().translator.goes_on(originated[0])


# -------------------------------------------------------------------- two clocks


def test_before_the_clocks_are_compared_a_thing_happens_when_it_is_read() -> None:
    now = Instant(5_000, 700)
    assert SwitchTime().place("4.321987", now) == (Instant(4_321, 700), True)
    assert SwitchTime().place("", now) == (now, False)


def test_what_is_told_late_is_placed_when_it_happened() -> None:
    time = SwitchTime()
    time.compare("100.000", Instant(5_000_000, 40_000))
    assert time.place("101.500000", Instant(5_009_000, 49_000)) == (Instant(101_500, 41_500), True)
    assert time.place("110.000000", Instant(5_009_000, 49_000)) == (Instant(110_000, 49_000), True)  # not in the future


def test_what_we_read_late_because_we_stood_still_is_placed_when_it_happened() -> None:
    switch, heard = Switch(), []
    messages = recorded("87")
    switch.tell(messages[0])
    switch.translator.compare(messages[0].get("Timestamp"), switch.now)
    woken = switch.now.plus_ms(60_000)
    for message in messages[1:]:
        heard += switch.translator.translate(message, woken)
    (answered,) = [event for event in heard if isinstance(event, Answered)]
    (released,) = [event for event in heard if isinstance(event, Released)]
    assert answered.stated
    assert released.stated
    assert released.at.since_ms(answered.at) == 2_210
    assert woken.since_ms(released.at) > 55_000


@pytest.mark.parametrize("set_by_ms", [3_600_000, -3_600_000, 20_000, -20_000, 10_000, -10_000, 3_000, -3_000])
@pytest.mark.parametrize("compared", [True, False])
def test_a_clock_that_is_set_during_a_call_does_not_change_its_length(set_by_ms: int, compared: bool) -> None:
    """Asterisk's clock jumps between answer and end; with or without our noticing before the end."""
    switch = Switch()
    time = switch.translator._time
    answered, told_ms = None, 0
    for message in recorded("87"):
        told_ms = to_ms(message.get("Timestamp")) or told_ms
        now = EARLY.at_wall(told_ms + OUR_CLOCK_IS_AHEAD_MS)
        stamp = told_ms if answered is None else told_ms + set_by_ms
        if answered is None or compared:
            time.compare(f"{stamp / 1000:.3f}", now)
        pairs = [("Timestamp", f"{stamp / 1000:.3f}"), *message.pairs()]
        dated = Message("\r\n".join(f"{name}: {value}" for name, value in pairs).encode())
        for event in switch.translator.translate(dated, now):
            if isinstance(event, Answered):
                answered = event
            if isinstance(event, Released):
                assert answered is not None
                assert not event.stated
                assert event.at.since_ms(answered.at) == 2_210
                return
    raise AssertionError("the call did not end")


@pytest.mark.parametrize("timestamp", ["", "x", "0.000000", "(null)", "-1.5", "1.x", "9" * 40, "\u0661.5"])
def test_what_is_no_timestamp(timestamp: str) -> None:
    assert to_ms(timestamp) is None


# -------------------------------------------------------------------- what it costs


class RecordedClock:
    """The clock of whoever listens to the recording."""

    def __init__(self, switch: Switch) -> None:
        self._switch = switch

    def now(self) -> Instant:
        return self._switch.now

    async def sleep_ms(self, ms: int) -> None:
        await asyncio.get_running_loop().create_future()  # for ever: what is recorded is over before anything is due


@pytest.mark.parametrize("name", sorted(TOLD.keys() - {"61"}))  # which has no account, and no end
async def test_a_recorded_call_is_charged_to_the_millisecond(name: str, tmp_path: Path) -> None:
    switch = Switch()
    async with ControlRoom(tmp_path, clock=RecordedClock(switch)) as room:
        await room.furnish(balance=EURO)
        await room.start()
        for message in recorded(name):
            for event in switch.tell(message):
                room.calls.receive(event)
            await room.calls.performer.drain()
        cdrs, balance = room.cdrs(), await room.balance()
    ends = [line for line in TOLD[name] if _is_end(line)]
    for cdr, line in zip(cdrs, ends, strict=True):
        seconds = -(-_lasted_ms(line) // 1000)
        assert cdr["duration_ms"] == _lasted_ms(line)
        assert (cdr["billed_s"], cdr["charge"]) == (seconds, f"{seconds / 1000:.4f}")
        assert f"released by {cdr['released_by']}" in line
        assert f"q850 {cdr['q850']}, sip {cdr['sip_code']}" in line
    assert balance.balance == EURO - sum(cdr["billed_s"] for cdr in cdrs) * PER_SECOND
    assert balance.held == 0
    assert room.notes.unexpected_events == []
