"""What a real FreeSWITCH told, as our wire and our translator understand it, and whether the simulated one is true."""

import json
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callctl.adapters.freeswitch import listing
from callctl.adapters.freeswitch.ends import released_by, sip_code_of
from callctl.adapters.freeswitch.legs import ingress_of, trunk_of
from callctl.adapters.freeswitch.timers import Timers
from callctl.adapters.freeswitch.times import SwitchTime
from callctl.adapters.freeswitch.translate import SUBSCRIBED, Stray, Translator
from callctl.adapters.freeswitch.wire import Event, decoded, parse_dump, parse_event, parse_rows
from callctl.call.events import Alerting, Answered, Offered, Released, ReleasedBy
from callctl.clock import Instant
from callctl.simulators.esl import EslSimulator, Script, SimCall
from tests.replay.esl_recordings import CALL, FOLDER, event, frame, text, whole_call
from tests.waiting import until

NOW = Instant(1_795_300_000_000, 1_795_300_000_000)
FORMS = sorted(path.name for path in FOLDER.glob("*.raw") if not path.name.startswith("outbound_"))
REFUSED = "CHANNEL_HANGUP_COMPLETE-inbound-refused403.plain.raw"  # of which only the answer to a late question is left
JSON_AND_PLAIN = sorted(
    path.name.removesuffix(".json.raw")
    for path in FOLDER.glob("*.json.raw")
    if path.with_name(path.name.replace(".json.", ".plain.")).exists()
)


def translator() -> Translator:
    return Translator("fs1", SwitchTime(), lambda name: name == "rig")


# -------------------------------------------------------------------- the wire


@pytest.mark.parametrize("name", [name for name in FORMS if name != REFUSED])
def test_every_recorded_event_is_read(name: str) -> None:
    assert event(name)["Event-Name"] == name.partition("-")[0].partition(".")[0]


@pytest.mark.parametrize("name", JSON_AND_PLAIN)
def test_both_forms_tell_the_same_headers(name: str) -> None:
    """Of two calls: what the one has and the other has not are variables."""
    apart = set(event(f"{name}.json.raw")) ^ set(event(f"{name}.plain.raw"))
    assert {key for key in apart if not key.startswith("variable_")} <= {"Content-Length", "_body"}


def test_replies_are_read() -> None:
    assert frame("outbound_reply_api_3.raw").text.startswith("UP 0 years")
    assert frame("outbound_reply_event_7.raw").text == "+OK event listener enabled json"
    assert frame("outbound_reply_getvar_4.raw").text == "acct-1"
    assert frame("outbound_disconnect_notice_final.raw").kind == "text/disconnect-notice"
    assert frame(REFUSED).text == "-ERR No such channel!"


def test_several_values_are_one_in_both_forms() -> None:
    assert event("CHANNEL_PARK-inbound.json.raw")["variable_DP_MATCH"] == "15550123"
    assert event("CHANNEL_PARK-inbound.plain.raw")["variable_DP_MATCH"].isdigit()


def test_lists_and_dumps_are_read() -> None:
    rows = parse_rows(text("api_show_channels_as_json.txt"))
    assert rows is not None
    assert [(row["direction"], row["callstate"]) for row in rows] == [("inbound", "ACTIVE"), ("outbound", "ACTIVE")]
    assert parse_rows(text("api_show_registrations_as_json.txt")) == []
    dump = parse_dump(text("api_uuid_dump_json.txt"))
    assert dump is not None
    assert (dump["Answer-State"], dump["Caller-Channel-Answered-Time"]) == ("answered", "1795293518714560")


# -------------------------------------------------------------------- the translator


def test_the_recorded_call_is_understood() -> None:
    calls = translator()
    told = [it for event in whole_call() for it in calls.translate(event, NOW)]
    kinds = [type(it) for it in told]
    assert kinds == [Offered, Alerting, Alerting, Answered, Released]
    offered, _, _, answered, released = told
    assert isinstance(offered, Offered)
    assert (offered.call.call_id, offered.a_number, offered.b_number) == (CALL, "15551001", "15550123")
    assert (offered.trunk, offered.source_ip, offered.account) == ("rig", "127.0.0.1", None)
    assert isinstance(answered, Answered)
    assert (answered.at.wall_ms, answered.stated, answered.trunk_out) == (1795295449938, True, "127.0.0.1:5990")
    assert isinstance(released, Released)
    billed_us = int(event("CHANNEL_HANGUP_COMPLETE-inbound.json.raw")["variable_billusec"])
    assert released.at.wall_ms - answered.at.wall_ms == billed_us // 1000 == 1539
    assert (released.q850, released.sip_code, released.released_by) == (16, None, ReleasedBy.CALLER)
    assert not calls.book.ids()


def test_what_we_read_late_because_we_stood_still_is_placed_when_it_happened() -> None:
    first, *others = (event for event in whole_call() if event["Event-Name"] in SUBSCRIBED.split())
    calls, told_ms = translator(), int(first["Event-Date-Timestamp"]) // 1_000
    began = Instant(told_ms, 5_000)
    calls.translate(first, began)
    woken = began.plus_ms(90_000)
    *_, answered, released = [it for event in others for it in calls.translate(event, woken)]
    assert isinstance(answered, Answered)
    assert isinstance(released, Released)
    assert released.stated
    assert released.at.since_ms(answered.at) == 1539
    assert answered.at == began.at_wall(answered.at.wall_ms)


@pytest.mark.parametrize("lost", ["CHANNEL_ANSWER", "CHANNEL_BRIDGE", "CHANNEL_PROGRESS"])
def test_the_recorded_call_is_understood_with_less(lost: str) -> None:
    calls = translator()
    told = [it for event in whole_call() if event["Event-Name"] != lost for it in calls.translate(event, NOW)]
    answered, released = told[-2:]
    assert isinstance(answered, Answered)
    assert isinstance(released, Released)
    assert released.at.wall_ms - answered.at.wall_ms == 1539


def test_the_recorded_call_in_the_other_order_of_its_ends() -> None:
    calls, events = translator(), whole_call()
    ends = [event for event in events if event["Event-Name"] == "CHANNEL_HANGUP_COMPLETE"]
    others = [event for event in events if event not in ends]
    told = [it for event in [*others, *reversed(ends)] for it in calls.translate(event, NOW)]
    assert [it.at.wall_ms for it in told if isinstance(it, Released)] == [1795295449938 + 1539]


def test_the_end_alone_tells_the_whole_call() -> None:
    """Of a call of a former process, that ended before the list was there."""
    end = {**event("CHANNEL_HANGUP_COMPLETE-inbound.json.raw"), "variable_callctl_call": CALL}
    (released,) = translator().ended_unseen(end, NOW)
    assert isinstance(released, Released)
    assert released.answered_at is not None
    assert released.at.wall_ms - released.answered_at.wall_ms == 1539
    assert (released.at.since_ms(released.answered_at), released.stated) == (1539, True)


def test_the_end_alone_tells_that_a_call_was_answered() -> None:
    """Which answered and ended while the link was down, or before its list was there."""
    calls, events = translator(), whole_call()
    lost = ("CHANNEL_ANSWER", "CHANNEL_BRIDGE")
    told = [it for event in events if event["Event-Name"] not in lost for it in calls.translate(event, NOW)]
    (released,) = [it for it in told if isinstance(it, Released)]
    assert released.answered_at is not None
    assert released.at.wall_ms - released.answered_at.wall_ms == 1539
    assert released.sip_code is None


def test_a_call_never_answered_is_not_charged_for_the_one_before_it() -> None:
    """Of the same leg, which tells of the other side of the first call still."""
    calls, events = translator(), whole_call()
    end = next(it for it in events if it["Event-Name"] == "CHANNEL_HANGUP_COMPLETE" and it["Unique-ID"] == CALL)
    park = next(it for it in events if it["Event-Name"] == "CHANNEL_PARK")
    ours = {"variable_callctl_call": CALL}
    for it in events[: events.index(end)]:
        calls.translate(it, NOW)
    (again,) = calls.translate({**park, **ours}, NOW)
    assert isinstance(again, Offered)
    assert again.call.call_id == f"{CALL}-2"
    (released,) = calls.translate({**end, **ours}, NOW)
    assert isinstance(released, Released)
    assert (released.call, released.answered_at) == (again.call, None)


@pytest.mark.parametrize(
    ("call_id", "leg"),
    [
        (CALL, CALL),
        (f"{CALL}-2", CALL),
        (f"{CALL}-17", CALL),
        ("8a7f@192.0.2.1", "8a7f@192.0.2.1"),
        ("9" * 50, "9" * 50),
    ],
)
def test_a_call_is_named_after_its_leg(call_id: str, leg: str) -> None:
    assert ingress_of(call_id) == leg


def without(it: Event, *names: str) -> Event:
    return {name: value for name, value in it.items() if name not in names}


def test_a_leg_that_only_the_variable_names_is_the_calls() -> None:
    """As those are that are dialled beside others, by `:_:`."""
    named = ("variable_originator", "variable_originating_leg_uuid", "Other-Leg-Unique-ID", "Other-Type")
    calls, told = translator(), []
    for it in whole_call():
        beside = {**without(it, *named), "variable_callctl_call": CALL}
        told += calls.translate(beside if it["Event-Name"] == "CHANNEL_ANSWER" else without(it, "Other-Type"), NOW)
    (answered,) = [it for it in told if isinstance(it, Answered)]
    (released,) = [it for it in told if isinstance(it, Released)]
    assert (answered.trunk_out, released.at.wall_ms - answered.at.wall_ms) == ("127.0.0.1:5990", 1539)


@pytest.mark.parametrize(("talks_on_s", "is_listed"), [(0, False), (60, False), (60, True)])
def test_who_is_answered_after_the_caller_has_left_is_charged_if_it_talks_on(talks_on_s: int, is_listed: bool) -> None:
    """A caller that transfers before the answer leaves unanswered; one that gives up in that moment does, too."""
    calls, events = translator(), whole_call()
    end, carriers_end = [it for it in events if it["Event-Name"] == "CHANNEL_HANGUP_COMPLETE"]
    answers = [it for it in events if it["Event-Name"] == "CHANNEL_ANSWER" and it["Unique-ID"] != CALL]
    for it in [*events[: events.index(answers[0])], *answers]:
        calls.translate(it, NOW)
    left = {**end, "Caller-Channel-Answered-Time": "0", "Other-Leg-Channel-Answered-Time": "0"}
    assert calls.translate(left, NOW) == ()
    if is_listed:
        listing.strike_out(
            calls.book, [{"uuid": carrier} for legs in calls.book for carrier in legs.both], {}, set(), {CALL}
        )
    heartbeat = {"Event-Name": "HEARTBEAT", "Event-Date-Timestamp": end["Event-Date-Timestamp"]}
    told = calls.translate(heartbeat, NOW.plus_ms(20_000)) if talks_on_s else ()
    assert [type(it) for it in told] == ([Answered] if talks_on_s else [])
    late_us = str(int(end["Event-Date-Timestamp"]) + talks_on_s * 1_000_000)
    last = {**carriers_end, "variable_end_uepoch": late_us, "Event-Date-Timestamp": late_us}
    (released,) = calls.translate(last, NOW.plus_ms(talks_on_s * 1_000))
    assert isinstance(released, Released)
    talked_ms = released.answered_at and released.at.wall_ms - released.answered_at.wall_ms
    assert talked_ms == (talks_on_s * 1_000 + 1539 if talks_on_s else None)
    assert not calls.book.ids()


@pytest.mark.parametrize(
    "other",
    [{"Caller-Dialplan": "inline"}, {"variable_callctl_gate": "no"}, {"variable_current_application": "bridge"}],
)
def test_what_the_switch_parks_for_itself_is_no_call(other: Event) -> None:
    park = event("CHANNEL_PARK-inbound.json.raw")
    assert translator().translate({**park, **other}, NOW) == ()
    assert translator().translate(park, NOW)


def test_a_recorded_cancel_is_the_callers() -> None:
    calls, end = translator(), event("CHANNEL_HANGUP_COMPLETE-inbound-cancelled.plain.raw")
    parked = {**end, "Event-Name": "CHANNEL_PARK"}
    calls.translate(parked, NOW)
    (released,) = calls.translate(end, NOW)
    assert isinstance(released, Released)
    assert (released.sip_code, released.released_by, released.answered_at) == (487, ReleasedBy.CALLER, None)


def test_a_recorded_end_by_the_scheduler_is_callctls() -> None:
    end = event("CHANNEL_HANGUP_COMPLETE-inbound-allotted_timeout.plain.raw")
    assert released_by(end, ingress=True) is ReleasedBy.CALLCTL
    assert sip_code_of(event("CHANNEL_HANGUP_COMPLETE-inbound-cancelled.plain.raw")) == 487


def test_the_answer_to_connect_offers_the_call() -> None:
    (offered,) = translator().parked(decoded(frame("outbound_connect_response.raw").headers), NOW)
    assert isinstance(offered, Offered)
    assert (offered.call.call_id, offered.b_number) == ("b2c9eb3f-338c-48dd-9612-1c8f646e59a7", "25550123")
    assert offered.a_number == "15551001"


def test_a_recorded_dump_takes_the_call_up() -> None:
    dump = parse_dump(text("api_uuid_dump_json.txt"))
    rows = parse_rows(text("api_show_channels_as_json.txt"))
    assert dump is not None
    assert rows is not None
    uuid, calls = dump["Unique-ID"], translator()
    assert listing.to_look_at(calls.book, rows, after_outage=True) == [uuid]
    ours = {**dump, "variable_callctl_call": uuid, "variable_callctl_payer": "acme"}
    assert listing.take_up(calls.book, SwitchTime(), {uuid: ours}, set(), lambda *_: [], NOW) == []
    (seen,) = listing.seen_alive(calls.book, "fs1", NOW)
    assert seen.answered_at is not None
    assert (seen.call.call_id, seen.answered_at.wall_ms) == (uuid, 1795293518714)
    (legs,) = calls.book
    assert (legs.carrier, legs.payer) == ("3060b7bf-d345-4af5-9113-b230ffdedc6b", "acme")
    assert listing.to_look_at(calls.book, rows, after_outage=False) == []


@pytest.mark.parametrize("lived_on", [False, True])
def test_an_end_of_which_one_leg_has_told_is_known_when_the_list_has_neither(lived_on: bool) -> None:
    """As when the link is lost between the two. Unless a list has shown that the other one lived on."""
    calls, events = translator(), whole_call()
    end = next(it for it in events if it["Event-Name"] == "CHANNEL_HANGUP_COMPLETE")
    told = [it for event in events[: events.index(end) + 1] for it in calls.translate(event, NOW)]
    assert not [it for it in told if isinstance(it, Released)]
    if lived_on:
        rows = [{"uuid": carrier} for legs in calls.book for carrier in legs.both]
        assert not listing.strike_out(calls.book, rows, {}, set(), calls.book.ids())
    ends = listing.strike_out(calls.book, [], {}, set(), calls.book.ids())
    talked_ms = [it.at.wall_ms - it.answered_at.wall_ms for it in ends if it.answered_at is not None]
    assert talked_ms == ([] if lived_on else [1539])
    assert not calls.book.ids()


def test_recorded_tasks_of_others_are_left_alone() -> None:
    tasks = parse_rows(text("api_show_tasks_as_json.txt"))
    assert tasks is not None
    assert Timers(1).take_over(tasks, set()) == []


def test_the_trunk_of_a_recorded_leg() -> None:
    leg = event("CHANNEL_ANSWER-outbound.json.raw")
    assert trunk_of(leg) == "127.0.0.1:5990"
    by_gateway = {**leg, "Channel-Name": "sofia/external/5550123"}
    assert trunk_of(by_gateway) is None
    assert trunk_of({**by_gateway, "variable_sip_gateway_name": "carrier-a"}) == "carrier-a"


def test_a_leg_that_the_caller_has_not_dialled_is_left_to_talk() -> None:
    """As after an attended transfer within the house; one that it has dialled past the gate is not."""
    calls, events = translator(), whole_call()
    bridge = next(it for it in events if it["Event-Name"] == "CHANNEL_BRIDGE")
    answer = next(it for it in events if it["Event-Name"] == "CHANNEL_ANSWER" and it["Call-Direction"] == "outbound")
    for it in events[: events.index(bridge) + 1]:
        calls.translate(it, NOW)
    elsewhere = {**bridge, "Other-Leg-Unique-ID": "another-leg", "Bridge-B-Unique-ID": "another-leg"}
    assert calls.translate(elsewhere, NOW) == calls.translate(elsewhere, NOW) == ()
    assert calls.translate({**answer, "Unique-ID": "another-leg"}, NOW) == (Stray("another-leg"),)


@pytest.mark.parametrize("order", ["answer first", "bridge first"])
def test_a_leg_dialled_past_the_gate_is_found_with_early_media_too(order: str) -> None:
    """Then the one BRIDGE comes before the answer, and tells of none: of the first leg, or of the other one, too."""
    calls, events = translator(), whole_call()
    bridge = next(it for it in events if it["Event-Name"] == "CHANNEL_BRIDGE")
    answer = next(it for it in events if it["Event-Name"] == "CHANNEL_ANSWER" and it["Call-Direction"] == "outbound")
    early = {**bridge, "Caller-Channel-Answered-Time": "0", "Other-Leg-Channel-Answered-Time": "0"}
    before = [it for it in events[: events.index(bridge)] if it["Event-Name"] != "CHANNEL_ANSWER"]
    answers = [it for it in events if it["Event-Name"] == "CHANNEL_ANSWER"]
    told = [it for told in [*before, early, *answers] for it in calls.translate(told, NOW)]
    assert [type(it) for it in told] == [Offered, Alerting, Alerting, Answered]
    past = [
        {**answer, "Unique-ID": "another-leg"},
        {**bridge, "Other-Leg-Unique-ID": "another-leg", "Bridge-B-Unique-ID": "another-leg"},
    ]
    first, second = past if order == "answer first" else reversed(past)
    assert calls.translate(first, NOW) == calls.translate(first, NOW) == ()
    assert calls.translate(second, NOW) == (Stray("another-leg"),)


# -------------------------------------------------------------------- the simulator


class Story:
    """One simulated call, and all that was told of it."""

    def __init__(self, switch: EslSimulator) -> None:
        self.switch = switch
        self.told: list[Event] = []
        switch.core.listeners.append(
            lambda headers, _: self.told.append(parse_event(json.dumps(headers).encode()) or {})
        )

    async def call(self, script: Script) -> SimCall:
        call = self.switch.place_call(script)
        await until(lambda: self.names().count("CHANNEL_PARK"))
        self.switch.commands.execute(f"uuid_setvar_multi {call.uuid} callctl_go=yes")
        self.switch.commands.execute(f"uuid_transfer {call.uuid} 5550123 XML callctl-dial")
        return call

    def names(self) -> list[str]:
        return [it["Event-Name"] for it in self.told]


@pytest.fixture
async def story() -> AsyncIterator[Story]:
    async with EslSimulator("ClueCon") as switch:
        yield Story(switch)


def steps(events: list[Event]) -> list[tuple[str, str]]:
    """Which leg did what, less the events that nobody subscribes to."""
    wanted = set(SUBSCRIBED.split())
    return [(it["Event-Name"], it["Call-Direction"]) for it in events if it["Event-Name"] in wanted]


async def test_a_call_is_told_as_recorded(story: Story) -> None:
    call = await story.call(Script(caller="15551001", called="15550123", ring_s=0.1, talk_s=0.2))
    await call.outcome()
    assert steps(story.told) == steps(whole_call())


# What the shipped dialplan and callctl set, and what this installation's dialplan and phones did not.
OURS = {"callctl_direction", "callctl_go", "callctl_call", "export_vars", "accountcode", "sip_gateway_name"}


async def test_every_header_is_one_that_was_recorded(story: Story) -> None:
    call = await story.call(Script(caller="15551001", called="15550123", ring_s=0.1, talk_s=0.2))
    await call.outcome()
    recorded: dict[tuple[str, str], set[str]] = {}
    for path in FOLDER.glob("CHANNEL_*.raw"):
        if path.name != REFUSED:
            it = event(path.name)
            recorded.setdefault((it["Event-Name"], it["Call-Direction"]), set()).update(it)
    variables = {name for names in recorded.values() for name in names if name.startswith("variable_")}
    variables |= {f"variable_{name}" for name in OURS}
    checked = 0
    for it in story.told:
        known = recorded.get((it["Event-Name"], it.get("Call-Direction", "")))
        if known is not None:
            headers = {name for name in it if not name.startswith("variable_")}
            assert headers <= known, (it["Event-Name"], headers - known)
            assert set(it) - headers <= variables, set(it) - headers - variables
            checked += 1
    assert checked >= 12


async def test_lists_are_told_as_recorded(story: Story) -> None:
    rows = parse_rows(text("api_show_channels_as_json.txt"))
    tasks = parse_rows(text("api_show_tasks_as_json.txt"))
    assert rows is not None
    assert tasks is not None
    call = await story.call(Script(caller="15551001", called="15550123", ring_s=0.1))
    await call.answer()
    execute = story.switch.commands.execute
    execute(f"sched_api +60 group-{call.uuid} uuid_kill {call.uuid} ALLOTTED_TIMEOUT")
    await until(lambda: len(parse_rows(execute("show channels as json")) or []) == 2)
    for row in parse_rows(execute("show channels as json")) or []:
        assert set(row) <= set(rows[0])
    (task,) = parse_rows(execute("show tasks as json")) or []
    assert set(task) == set(tasks[0])
    dump = parse_dump(execute(f"uuid_dump {call.uuid} json"))
    recorded = parse_dump(text("api_uuid_dump_json.txt"))
    assert dump is not None
    assert recorded is not None
    assert {name for name in dump if not name.startswith("variable_")} <= set(recorded)


@given(st.lists(st.sampled_from(range(len(whole_call()))), max_size=40))
def test_whatever_order_they_come_in_a_call_ends_at_most_once(order: list[int]) -> None:
    """And is never longer than it was, nor answered after its end."""
    calls, events = translator(), whole_call()
    told = [it for number in order for it in calls.translate(events[number], NOW)]
    offers = sum(isinstance(it, Offered) for it in told)
    ends = [it for it in told if isinstance(it, Released)]
    assert len(ends) <= offers
    for end in ends:
        assert end.answered_at is None or end.at.wall_ms - end.answered_at.wall_ms == 1539
