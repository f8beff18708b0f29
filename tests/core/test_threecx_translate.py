"""The wire and the book of calls of a 3CX: values in, events out; whatever JSON comes, nothing raises."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callctl.adapters.threecx import wire
from callctl.adapters.threecx.calls import Active, Mode, Site, Wanted, same_number
from callctl.adapters.threecx.legs import GONE_FOR_MS
from callctl.adapters.threecx.remembered import Remembered
from callctl.adapters.threecx.tokens import grant_of
from callctl.adapters.threecx.translate import Book
from callctl.adapters.threecx.wire import Participant, Snapshot, Status
from callctl.call.events import Alerting, Answered, CallEvent, CallKey, Offered, Released
from callctl.clock import Instant
from callctl.rating.tariff import Direction

FAR = "0612345678"
OBSERVE = Site(mode=Mode.OBSERVE, route_point="900", account="acme", numbers={"10000": "+31201234567"})
GATED = Site(mode=Mode.ROUTE_POINT, route_point="900", account="acme")
DNS = ("900", "111", "112", "113")

RECORD = {
    "id": 6, "status": "Connected", "dn": "209", "party_caller_name": "Ann", "party_dn": "101",
    "party_caller_id": "101", "party_did": "",
    "device_id": "sip:209@127.0.0.1:5483", "party_dn_type": "Wextension", "direct_control": False,
    "originated_by_dn": "", "originated_by_type": "None", "referred_by_dn": "", "referred_by_type": "None",
    "on_behalf_of_dn": "", "on_behalf_of_type": "None", "callid": 2, "legid": 2,
}  # fmt: skip


def at(ms: int) -> Instant:
    return Instant(1_795_000_000_000 + ms, 1_795_000_000_000 + ms)


def leg(
    dn: str = "112", id: str = "21", call: str = "5", status: Status | None = Status.DIALING, **more: Any
) -> Participant:
    known = {"number": FAR, "party": "10000", "party_type": wire.EXTERNAL_LINE, **more}
    return Participant(dn=dn, id=id, call=call, status=status, **known)


def book(site: Site = OBSERVE, **options: Any) -> Book:
    made = Book("pbx1", site, **options)
    made.snapshot(Snapshot(DNS, ()), (), at(0), fresh=True)
    return made


def kinds(events: tuple[CallEvent, ...]) -> list[str]:
    return [type(event).__name__ for event in events]


def admitted(book: Book, events: tuple[CallEvent, ...]) -> CallKey:
    (offered,) = [event for event in events if isinstance(event, Offered)]
    book.admitted(offered.call.call_id, offered.at)
    return offered.call


def ended(book: Book, key: tuple[str, str], ms: int) -> tuple[CallEvent, ...]:
    """What is told when a participant has gone, and is followed by none."""
    return (*book.removed(key, at(ms)), *book.left(at(ms + 300), 300))


# -------------------------------------------------------------------- the wire


def test_a_participant_as_it_was_seen_on_a_real_pbx() -> None:
    found = wire.participant(RECORD)
    assert found == Participant(
        dn="209", id="6", call="2", status=Status.CONNECTED, number="101", party="101", party_type="extension"
    )


def test_names_of_fields_in_either_fashion_and_ids_as_text() -> None:
    pascal = {"".join(part.title() for part in key.split("_")): value for key, value in RECORD.items()}
    pascal["Id"], pascal["Callid"] = "6", "2"
    assert wire.participant(pascal) == wire.participant(RECORD)


@pytest.mark.parametrize(
    "told", [None, [], "x", 3, {}, {"dn": "112"}, {"id": 3}, {"dn": "1/2", "id": 3}, {"dn": [], "id": 3}]
)
def test_what_is_no_participant(told: object) -> None:
    assert wire.participant(told) is None


def test_an_event_of_every_shape() -> None:
    frame = {
        "sequence": 7,
        "event": {"event_type": 0, "entity": "/callcontrol/900/participants/6", "attached_data": None},
    }
    assert wire.event(json.dumps(frame)) == wire.Event(0, "900", "participants", "6", 7)
    assert wire.event(json.dumps(frame).encode()) == wire.event(json.dumps(frame))
    frame["event"] = {
        "event_type": "2",
        "entity": "callcontrol/a%2Bb/participants/6",
        "attached_data": {"dtmf_input": 0},
    }
    assert wire.event(json.dumps(frame)) == wire.Event(2, "a+b", "participants", "6", 7, "0")
    assert wire.event('{"event": {"event_type": 1, "entity": "/callcontrol/900"}}') == wire.Event(1, "900", "", "")
    for entity in ("/CallControl/Ivr/Participants/6", "https://pbx/callcontrol/Ivr/PARTICIPANTS/6/"):
        frame["event"] = {"event_type": 0, "entity": entity}
        assert wire.event(json.dumps(frame)) == wire.Event(0, "Ivr", "participants", "6", 7)


@pytest.mark.parametrize("entity", ["", "/somewhere/else", None, 5])
def test_an_event_about_nothing_that_we_know_is_counted_all_the_same(entity: object) -> None:
    """Its number counts: the next one leaves no gap."""
    frame = {"sequence": 8, "event": {"event_type": 4, "entity": entity, "attached_data": {"RequestID": "1"}}}
    assert wire.event(json.dumps(frame)) == wire.Event(4, "", "", "", 8)


def test_a_status_that_nobody_knows() -> None:
    found = wire.participant({**RECORD, "status": "Parked"})
    assert found is not None
    assert (found.status, found.other_status) == (None, "Parked")


@pytest.mark.parametrize(
    "frame",
    [
        "", "no json", "[]", "null", '{"event": null}', '{"event": {"event_type": true, "entity": "/callcontrol/1"}}',
        '{"event": {"event_type": 0, "entity": "/somewhere/else"}}', '{"event": {"event_type": 0, "entity": 5}}',
        '{"event": {"event_type": 0, "entity": "/callcontrol/1/participants"}}', "[" * 10_000, "\ud800",
    ],
)  # fmt: skip
def test_what_is_no_event(frame: str) -> None:
    assert wire.event(frame) is None


@pytest.mark.parametrize(
    ("told", "succeeded"),
    [
        (None, True), ({}, True), ({"finalstatus": "Success"}, True), ({"finalstatus": 1}, True),
        ({"FinalStatus": "success"}, True), ({"finalstatus": "Failed"}, False), ({"finalstatus": 0}, False),
        ({"finalstatus": -1}, False), ({"finalstatus": "Rejected"}, False), ({"finalstatus": True}, False),
    ],
)  # fmt: skip
def test_the_outcome_of_an_action(told: object, succeeded: bool) -> None:
    assert wire.outcome(told).succeeded is succeeded


@pytest.mark.parametrize(
    "told",
    [
        "busy", {"reasontext": "busy"}, {"finalstatus": "Failed", "reason": "busy"}, {"error": {"message": "busy"}},
        {"title": "busy", "status": 422}, {"error": "invalid", "error_description": "busy"}, {"detail": "busy"},
    ],
)  # fmt: skip
def test_the_reason_wherever_it_stands(told: object) -> None:
    assert wire.reason(told) == "busy"


def test_lines_with_and_without_participants() -> None:
    told = [{"dn": "900", "participants": None}, {"dn": "112", "participants": [RECORD]}, {"type": "nobody"}, 5]
    lines = wire.lines(told)
    assert lines is not None
    assert [(line.dn, line.participants is None) for line in lines] == [("900", True), ("112", False)]
    assert wire.lines({"dn": "900", "participants": []}) == (wire.Line("900", ()),)
    assert wire.lines("no list") is None
    assert wire.lines(None) is None


@pytest.mark.parametrize(
    ("told", "lifetime_ms"),
    [
        ({"access_token": "t", "expires_in": 60}, 3_600_000), ({"access_token": "t", "expires_in": 3600}, 3_600_000),
        ({"access_token": "t", "expires_in": 299}, 299 * 60_000), ({"access_token": "t", "expires_in": 300}, 300_000),
        ({"access_token": "t", "expires_in": "3600"}, 3_600_000), ({"access_token": "t"}, 0),
        ({"access_token": "t", "expires_in": -5}, 0), ({"access_token": "t", "expires_in": True}, 0),
        ({"access_token": "e30.eyJpYXQiOiAxMDAsICJleHAiOiAxNjB9.x", "expires_in": 60}, 60_000),
        ({"access_token": "e30.e30.x", "expires_in": 60}, 3_600_000), ({"access_token": "a.!.c"}, 0),
    ],
)  # fmt: skip
def test_how_long_a_token_is_good_for(told: dict[str, object], lifetime_ms: int) -> None:
    grant = grant_of(told)
    assert grant is not None
    assert grant.lifetime_ms == lifetime_ms


def test_a_token_is_not_printed() -> None:
    assert "secret" not in repr(grant_of({"access_token": "secret", "expires_in": 60}))


@pytest.mark.parametrize("told", [None, [], {}, {"access_token": ""}, {"access_token": 5}, {"access_token": "a\r\nb"}])
def test_what_holds_no_token(told: object) -> None:
    assert grant_of(told) is None


def test_two_writings_of_one_number() -> None:
    assert same_number("0049301234567", "+49301234567")
    assert same_number("", "+49301234567")
    assert not same_number("+49301234567", "+49301234568")
    assert not same_number("113", "+4930123113")
    assert same_number("113", "113")


# -------------------------------------------------------------------- the book


def test_a_call_as_it_is_told_on_a_real_pbx() -> None:
    """Repeats while it rings; where it goes is known later."""
    calls = book()
    told = calls.seen(leg(party="", party_type=""), at(1_000))
    key = admitted(calls, told)
    assert calls.seen(leg(), at(1_750)) == ()
    assert calls.seen(leg(), at(2_500)) == ()
    assert calls.seen(leg(status=Status.CONNECTED), at(3_000)) == (Answered(key, at(3_000), trunk_out="10000"),)
    assert calls.seen(leg(), at(3_100)) == ()  # a read that was late
    assert calls.removed(("112", "21"), at(9_000)) == ()
    assert calls.removed(("112", "21"), at(9_001)) == ()
    assert calls.left(at(9_299), 300) == ()  # it may have been transferred
    assert calls.left(at(9_300), 300) == (Released(key, at(9_000), answered_at=at(3_000)),)
    assert calls.calls() == ()


def test_a_removed_participant_stays_away_for_a_while() -> None:
    calls = book()
    calls.seen(leg(), at(0))
    calls.removed(("112", "21"), at(1))
    assert calls.seen(leg(), at(GONE_FOR_MS + 1)) == ()
    assert kinds(calls.seen(leg(), at(GONE_FOR_MS + 2))) == ["Offered"]


def test_a_participant_that_was_only_not_found_is_there_when_it_is_told_of_again() -> None:
    calls = book()
    assert calls.missing(("112", "21"), at(0), at(5)) == ()
    assert calls.seen(leg(), at(5)) == ()
    assert kinds(calls.seen(leg(), at(6))) == ["Offered"]


def test_a_participant_that_a_snapshot_lacked_is_there_when_it_is_told_of_again() -> None:
    calls = book()
    calls.seen(leg(), at(0))
    assert kinds(calls.snapshot(Snapshot(DNS, ()), calls.legs.keys(), at(5), fresh=False)) == ["Released"]
    assert calls.seen(leg(), at(5)) == ()
    assert kinds(calls.seen(leg(), at(6))) == ["Offered"]


def test_a_removal_before_the_first_read() -> None:
    calls = book()
    assert calls.removed(("112", "21"), at(0)) == ()
    assert calls.seen(leg(), at(10)) == ()


@pytest.mark.parametrize(
    ("fields", "direction", "numbers"),
    [
        ({"status": Status.DIALING}, Direction.OUTBOUND, ("112", FAR)),
        ({"status": Status.CONNECTED}, Direction.OUTBOUND, ("112", FAR)),
        ({"status": Status.CONNECTED, "originated_by": "112"}, Direction.OUTBOUND, ("112", FAR)),
        ({"status": Status.CONNECTED, "originated_by": "10000"}, Direction.INBOUND, (FAR, "+31201234567")),
        ({"status": Status.CONNECTED, "did": "+31207654321"}, Direction.INBOUND, (FAR, "+31207654321")),
        ({"status": Status.CONNECTED, "on_behalf_of_type": "queue"}, Direction.INBOUND, (FAR, "+31201234567")),
        ({"status": Status.RINGING}, Direction.INBOUND, (FAR, "+31201234567")),
        ({"status": Status.RINGING, "did": "+31207654321"}, Direction.INBOUND, (FAR, "+31207654321")),
        ({"number": "800", "party": "800", "party_type": "queue"}, Direction.INTERNAL, ("112", "800")),
        ({"number": "113", "party": "", "party_type": ""}, Direction.INTERNAL, ("112", "113")),
        ({"status": Status.RINGING, "originated_by": "112"}, Direction.OUTBOUND, ("112", FAR)),  # its own makecall
        ({"status": None}, Direction.OUTBOUND, ("112", FAR)),
        ({"status": None, "did": "+31207654321"}, Direction.INBOUND, (FAR, "+31207654321")),
        ({"number": "*31#0612345678", "party": "10000"}, Direction.OUTBOUND, ("112", "*31#0612345678")),
        (
            {"status": Status.RINGING, "number": "115", "party": "115", "party_type": "extension"},
            Direction.INTERNAL, ("115", "112"),
        ),
    ],
)  # fmt: skip
def test_who_calls_whom(fields: dict[str, Any], direction: Direction, numbers: tuple[str, str]) -> None:
    (offered, *_) = book().seen(leg(**fields), at(0))
    assert isinstance(offered, Offered)
    assert (offered.direction, (offered.a_number, offered.b_number)) == (direction, numbers)


def test_xapi_settles_who_made_a_call_that_is_up() -> None:
    calls = book()
    calls.active({"5": Active("10000", at(-60_000))})
    key = admitted(calls, calls.seen(leg(status=Status.CONNECTED), at(0)))
    (seen,) = calls.alive(at(1))
    assert (seen.call, seen.answered_at) == (key, at(-60_000))


@pytest.mark.parametrize("number", ["110", "*777", "#31#0612345678"])
def test_what_may_be_inside_the_pbx_waits_for_its_route(number: str) -> None:
    calls = book()
    assert calls.seen(leg(number=number, party="", party_type=""), at(0)) == ()
    assert kinds(calls.seen(leg(number=number), at(700))) == ["Offered"]


def test_a_phone_that_rings_itself_before_it_dials_has_made_the_call() -> None:
    calls = book(Site(mode=Mode.OBSERVE, route_point="900"))
    assert calls.seen(leg(status=Status.RINGING), at(0)) == ()
    (offered,) = calls.seen(leg(), at(1))
    assert isinstance(offered, Offered)
    assert offered.direction is Direction.OUTBOUND


def test_every_ringing_extension_of_a_group_is_in_one_call() -> None:
    calls = book()
    key = admitted(calls, calls.seen(leg("112", "1", status=Status.RINGING), at(0)))
    assert kinds(calls.seen(leg("113", "2", status=Status.RINGING), at(1))) == ["Alerting"]
    assert calls.removed(("112", "1"), at(2)) == ()
    assert calls.seen(leg("113", "2", status=Status.CONNECTED), at(3)) == (Answered(key, at(3)),)
    assert kinds(ended(calls, ("113", "2"), 4)) == ["Released"]


@pytest.mark.parametrize("callid", ["5", "6"])
def test_a_transfer_to_another_extension_is_the_same_call(callid: str) -> None:
    calls = book()
    key = admitted(calls, calls.seen(leg(status=Status.CONNECTED), at(0)))
    arriving = leg("113", "30", callid, Status.CONNECTED, referred_by="112")
    assert calls.seen(arriving, at(1)) == ()
    assert ended(calls, ("112", "21"), 2) == ()
    (released,) = ended(calls, ("113", "30"), 3)
    assert released.call == key


def test_a_transfer_may_be_told_after_the_end_of_the_leg_that_made_it() -> None:
    calls = book()
    key = admitted(calls, calls.seen(leg(status=Status.CONNECTED), at(0)))
    calls.removed(("112", "21"), at(1))
    assert calls.seen(leg("113", "30", "6", Status.CONNECTED, referred_by="112"), at(200)) == ()
    assert calls.left(at(1_000), 300) == ()
    (released,) = ended(calls, ("113", "30"), 2_000)
    assert released == Released(key, at(2_000), answered_at=at(0))


@pytest.mark.parametrize(("callid", "status"), [("5", Status.RINGING), ("6", Status.CONNECTED)])
def test_a_transfer_of_which_nobody_says_who_made_it(callid: str, status: Status) -> None:
    calls = book()
    key = admitted(calls, calls.seen(leg(status=Status.CONNECTED), at(0)))
    calls.removed(("112", "21"), at(1_000))
    assert calls.seen(leg("113", "30", callid, status), at(1_100)) == ()
    (released,) = ended(calls, ("113", "30"), 3_000)
    assert released == Released(key, at(3_000), answered_at=at(0))


@pytest.mark.parametrize("callid", ["5", "6"])
def test_a_consulted_extension_that_is_given_the_call_goes_on_with_it(callid: str) -> None:
    """112 talks outside (5), asks 113 (6), and joins them; whichever participant 3CX tells of first."""
    calls = book()
    outside = admitted(calls, calls.seen(leg(status=Status.CONNECTED), at(0)))
    asked = leg("113", "30", "6", Status.CONNECTED, number="112", party="112", party_type="extension")
    asks = leg("112", "22", "6", Status.CONNECTED, number="113", party="113", party_type="extension")
    inside = admitted(calls, calls.seen(asks, at(1)))
    calls.seen(asked, at(2))
    calls.removed(asks.key, at(1_000))
    told = calls.seen(leg("113", "30", callid, Status.CONNECTED, originated_by="112"), at(1_001))
    told += calls.removed(("112", "21"), at(1_002))
    told += calls.left(at(2_000), 300)
    assert [event for event in told if isinstance(event, Offered)] == []
    assert [(it.call, it.estimated) for it in told if isinstance(it, Released)] == [(inside, False)]
    (released,) = ended(calls, ("113", "30"), 5_000)
    assert released == Released(outside, at(5_000), answered_at=at(0))


def test_a_call_that_the_pbx_gives_another_number_goes_on() -> None:
    calls = book()
    key = admitted(calls, calls.seen(leg(status=Status.CONNECTED), at(0)))
    assert calls.seen(leg(call="9", status=Status.CONNECTED), at(1)) == ()
    assert calls.left(at(1_000), 300) == ()
    (call,) = calls.calls()
    assert (call.id, call.group) == (key.call_id, "9")


@pytest.mark.parametrize("callid", ["5", "9"])
def test_who_takes_a_call_into_a_conference_goes_on_paying_for_it(callid: str) -> None:
    calls = book()
    key = admitted(calls, calls.seen(leg(status=Status.CONNECTED), at(0)))
    conference = leg(call=callid, number="SP0", party="SP0", party_type=wire.CONFERENCE, status=Status.CONNECTED)
    assert calls.seen(conference, at(1_000)) == ()
    assert ended(calls, ("112", "21"), 9_000) == (Released(key, at(9_000), answered_at=at(0)),)


@pytest.mark.parametrize(("ms", "ended_ms"), [(4_000, 1_000), (4_001, 4_001)])
def test_xapi_may_be_late_to_list_a_call_no_more(ms: int, ended_ms: int) -> None:
    calls = book()
    key = admitted(calls, calls.seen(leg(status=Status.CONNECTED), at(0)))
    calls.removed(("112", "21"), at(1_000))
    transferred = {"5": Active("10000", at(0))}
    assert calls.left(at(1_300), 300, transferred) == ()
    assert calls.left(at(2_000), 300) == ()
    assert calls.listed([key.call_id], transferred, at(2_000)) == ()
    assert calls.listed([key.call_id], {}, at(ms)) == (Released(key, at(ended_ms), answered_at=at(0)),)


@pytest.mark.parametrize("active", [Active("112", at(0), FAR), Active("10000", at(0), "112")])
def test_a_row_of_xapi_that_names_who_has_gone_keeps_no_call_up(active: Active) -> None:
    """Its list may be late: that is waited for. What it shows for longer is stuck there."""
    calls = book()
    key = admitted(calls, calls.seen(leg(status=Status.CONNECTED), at(0)))
    calls.removed(("112", "21"), at(1_000))
    assert calls.left(at(3_999), 300, {"5": active}) == ()
    assert calls.left(at(4_000), 300, {"5": active}) == (Released(key, at(1_000), answered_at=at(0)),)


def test_who_talks_to_the_outside_after_all_is_listed_on() -> None:
    """The row named who has gone for a moment longer."""
    calls = book()
    key = admitted(calls, calls.seen(leg(status=Status.CONNECTED), at(0)))
    calls.removed(("112", "21"), at(1_000))
    assert calls.left(at(1_300), 300, {"5": Active("112", at(0), FAR)}) == ()
    assert calls.left(at(1_600), 300, {"5": Active("10000", at(0), FAR)}) == ()
    assert calls.left(at(9_000), 300, {}) == ()
    assert calls.listed([key.call_id], {}, at(9_000)) == (Released(key, at(9_000), answered_at=at(0)),)


def test_a_transfer_told_too_late_is_paid_by_who_transferred() -> None:
    calls = book()
    admitted(calls, calls.seen(leg(), at(0)))
    calls.removed(("112", "21"), at(1))
    (offered,) = calls.seen(leg("113", "30", "6", Status.CONNECTED, referred_by="112"), at(2))
    assert isinstance(offered, Offered)
    assert (offered.direction, offered.a_number, offered.b_number) == (Direction.OUTBOUND, "112", FAR)


def test_a_leg_to_another_outside_number_is_a_call_of_its_own() -> None:
    """An inbound call that 112 forwards to a mobile: 112 pays for that."""
    calls = book()
    inbound = admitted(calls, calls.seen(leg(status=Status.RINGING, number="+49301234567"), at(0)))
    (offered,) = calls.seen(leg("112", "22", number="0687654321"), at(1))
    assert isinstance(offered, Offered)
    assert (offered.direction, offered.a_number, offered.b_number) == (Direction.OUTBOUND, "112", "0687654321")
    assert offered.call != inbound


def test_a_party_that_is_transferred_outside_begins_a_call_of_whoever_did_it() -> None:
    calls = book()
    inside = leg(number="113", party="113", party_type="extension", status=Status.CONNECTED)
    internal = admitted(calls, calls.seen(inside, at(0)))
    released, offered = calls.seen(leg(status=Status.DIALING, referred_by="113"), at(1))
    assert (released.call, released.answered_at) == (internal, at(0))
    assert isinstance(offered, Offered)
    assert (offered.a_number, offered.b_number) == ("113", FAR)


@pytest.mark.parametrize("callid", ["5", "6"])
def test_a_call_that_has_rung_is_no_call_of_ours_when_it_is_answered(callid: str) -> None:
    """Nobody says which number was called: it passes, and is not paid for as if we had called."""
    calls = book(Site(mode=Mode.OBSERVE, route_point="900"))
    assert calls.seen(leg(status=Status.RINGING), at(0)) == ()
    assert calls.seen(leg(status=Status.CONNECTED), at(1)) == ()
    assert calls.seen(leg(status=Status.CONNECTED, call=callid), at(2)) == ()
    assert calls.asking.unnumbered == 1


@pytest.mark.parametrize("status", [Status.DIALING, Status.CONNECTED])
def test_a_call_beside_that_of_an_anonymous_caller_is_a_call_of_its_own(status: Status) -> None:
    calls = book()
    inbound = admitted(calls, calls.seen(leg(status=Status.RINGING, number=""), at(0)))
    calls.seen(leg(status=Status.CONNECTED, number=""), at(1))
    told = calls.seen(leg("112", "22", number="0687654321", status=status), at(2))
    assert isinstance(told[0], Offered)
    assert (told[0].direction, told[0].b_number) == (Direction.OUTBOUND, "0687654321")
    assert told[0].call != inbound


def test_a_call_to_an_extension_that_is_forwarded_outside_is_a_call_of_its_own() -> None:
    """Also where the PBX has never said that it was one inside."""
    calls = book()
    internal = admitted(calls, calls.seen(leg(number="113", party="", party_type=""), at(0)))
    released, offered = calls.seen(leg(status=Status.DIALING), at(1))
    assert (released.call, kinds((offered,))) == (internal, ["Offered"])


def test_a_call_that_goes_on_outside_is_not_taken_for_the_one_that_control_still_has() -> None:
    known: list[Remembered] = []
    calls = book(known=lambda: known)
    inside = leg(number="113", party="113", party_type="extension", status=Status.CONNECTED)
    internal = admitted(calls, calls.seen(inside, at(0)))
    known.append(Remembered(internal, "112", "113", at(0)))
    assert kinds(calls.seen(leg(status=Status.DIALING, referred_by="113"), at(1))) == ["Released", "Offered"]


def test_another_writing_of_the_same_number_is_no_new_call() -> None:
    calls = book()
    calls.seen(leg(number="0031612345678"), at(0))
    assert calls.seen(leg(number="+31612345678"), at(1)) == ()
    assert len(calls.calls()) == 1


def test_what_a_snapshot_lacks_has_ended_unseen() -> None:
    calls = book()
    key = admitted(calls, calls.seen(leg(status=Status.CONNECTED), at(0)))
    before = calls.legs.keys()
    calls.seen(leg("113", "30", "6"), at(1))
    told = calls.snapshot(Snapshot(DNS, ()), before, at(9), fresh=False)
    assert told == ()
    assert calls.left(at(500), 300) == (Released(key, at(9), answered_at=at(0), estimated=True),)
    assert len(calls.calls()) == 1  # of what began since we asked it says nothing


def test_after_a_restart_of_the_pbx_an_id_is_another_participant() -> None:
    calls = book()
    key = admitted(calls, calls.seen(leg(status=Status.CONNECTED), at(0)))
    told = calls.snapshot(Snapshot(DNS, (leg(),)), calls.legs.keys(), at(6), fresh=True)
    assert kinds(told) == ["Released", "Offered"]
    assert told[1].call != key


def test_what_xapi_says_of_the_run_before_is_not_believed() -> None:
    calls = book()
    calls.active({"5": Active("112", at(-60_000))})
    calls.snapshot(Snapshot(DNS, (leg(),)), calls.legs.keys(), at(0), fresh=True)
    calls.active(None)
    key = CallKey("pbx1", calls.calls()[0].id)
    calls.admitted(key.call_id, at(1))
    assert calls.seen(leg(status=Status.CONNECTED), at(2)) == (Answered(key, at(2), trunk_out="10000"),)


def test_by_xapi_the_same_number_dialled_again_after_a_restart_is_another_call() -> None:
    calls = book()
    key = admitted(calls, calls.seen(leg(status=Status.CONNECTED), at(0)))
    calls.active({"5": Active("112", at(3_000))})
    told = calls.snapshot(Snapshot(DNS, (leg(status=Status.CONNECTED),)), calls.legs.keys(), at(6_000), fresh=True)
    assert kinds(told) == ["Released", "Offered"]
    assert told[1].call != key
    calls.active({"5": Active("112", at(2_990))})
    assert (
        calls.snapshot(Snapshot(DNS, (leg(status=Status.CONNECTED),)), calls.legs.keys(), at(9_000), fresh=True) == ()
    )


OLD = CallKey("pbx1", "1794999990000-5-21-112")


@pytest.mark.parametrize(
    ("fields", "established", "is_old"),
    [
        ({}, None, True), ({}, at(-9_000), True), ({}, at(-5_000), False), ({"number": "0687654321"}, None, False),
        ({"number": ""}, None, True), ({"call": "6"}, None, False), ({"dn": "113", "id": "30"}, None, True),
        ({"dn": "113", "id": "30", "number": "0687654321"}, None, False),
    ],
)  # fmt: skip
def test_which_call_of_those_before_our_start_a_participant_is_of(
    fields: dict[str, Any], established: Instant | None, is_old: bool
) -> None:
    """Both may have been started anew: then its ids are those of another call."""
    calls = book(known=lambda: [Remembered(OLD, "112", "+31612345678", at(-9_000))])
    calls.active({"5": Active("112", established)})
    calls.seen(leg(status=Status.CONNECTED, **fields), at(0))
    assert [call.id == OLD.call_id for call in calls.calls()] == [is_old]


@pytest.mark.parametrize(
    ("caller", "established", "is_old"),
    [("+49301234567", at(-9_000), True), ("113", at(-9_000), False), ("+49301234567", at(-5_000), False)],
)
def test_which_call_of_those_before_our_start_xapi_lists(caller: str, established: Instant, is_old: bool) -> None:
    calls = book(GATED, known=lambda: [Remembered(OLD, "+49301234567", "+31612345678", at(-9_000))])
    calls.active({"5": Active(caller, established)})
    assert calls.take_up_listed(at(0)) == ()
    assert [call.id for call in calls.calls()] == [OLD.call_id] * is_old


def test_a_stuck_row_of_xapi_is_no_call_of_those_before_our_start() -> None:
    """It names an extension that we are shown, and that is in no call."""
    old = Remembered(CallKey("pbx1", "1794999990000-5-2-112"), "112", "+31612345678", at(-9_000))
    calls = book(known=lambda: [old])
    calls.active({"5": Active("112", at(-9_000), FAR)})
    assert calls.take_up_listed(at(0)) == ()
    assert calls.calls() == ()


def test_a_call_that_ended_while_we_were_down_is_looked_up_once() -> None:
    """The PBX's own record may tell when that was."""
    gated = Remembered(CallKey("pbx1", "1794999990000-5-2-900"), "112", "+31612345678", at(-9_000))
    dialled = Remembered(CallKey("pbx1", "1794999990000-6-3-113"), "+31201234567", "+31612345678", at(-9_000))
    ringing = Remembered(CallKey("pbx1", "1794999990000-7-4-111"), "111", "+31612345678")
    calls = book(GATED, known=lambda: [gated, dialled, ringing])
    calls.take_up_listed(at(0))
    assert [(it.id, it.wanted and it.wanted.own, it.answered, it.ended, it.estimated) for it in calls.finished] == [
        (gated.call.call_id, "112", at(-9_000), at(0), True),
        (dialled.call.call_id, "113", at(-9_000), at(0), True),
    ]
    calls.take_up_listed(at(1))
    assert len(calls.finished) == 2


def test_a_call_that_xapi_alone_lists_ends_with_the_run_of_the_pbx() -> None:
    calls = book(GATED, known=lambda: [Remembered(OLD, "+49301234567", "+31612345678", at(-9_000))])
    calls.active({"5": Active("+49301234567", at(-9_000))})
    calls.take_up_listed(at(0))
    calls.active({"5": Active("113", at(5_000))})
    (released,) = calls.take_up_listed(at(6_000))
    assert released == Released(OLD, at(6_000), answered_at=at(-9_000), estimated=True)
    assert calls.calls() == ()


def test_the_route_point_is_left_alone_in_observe_mode() -> None:
    assert book().seen(leg("900", "7", status=Status.CONNECTED), at(0)) == ()


def waiting(number: str) -> tuple[Participant, Participant]:
    """Who has dialled that, and waits at the route point."""
    return (
        leg("112", "6", number=number, party="900", party_type="routepoint", status=Status.CONNECTED),
        leg("900", "7", number="112", party="112", party_type="extension", status=Status.CONNECTED),
    )


def gated() -> tuple[Book, str]:
    calls = book(GATED)
    for ms, shown in enumerate(waiting(FAR)):
        calls.seen(shown, at(ms))
    (call,) = calls.calls()
    wanted = Wanted(Direction.OUTBOUND, "112", FAR, "112", FAR)
    assert kinds(calls.asked(call.id, wanted, at(2))) == ["Offered"]
    assert calls.admitted(call.id, at(3)) == ()
    calls.routing(call.id)
    return calls, call.id


def test_a_caller_at_the_route_point_is_not_answered_before_it_is_connected() -> None:
    calls, call_id = gated()
    assert calls.removed(("900", "7"), at(4)) == ()
    assert kinds(calls.seen(leg("112", "6", status=Status.CONNECTED), at(5))) == ["Answered"]
    assert calls.routed(call_id, at(6), connected=True, listed=False) == ()
    assert kinds(ended(calls, ("112", "6"), 7)) == ["Released"]


def test_a_trunk_that_has_no_name_is_somebody_who_answers() -> None:
    calls, _ = gated()
    connected = leg("112", "6", status=Status.CONNECTED, party="")
    assert kinds(calls.seen(connected, at(5))) == ["Answered"]


def test_a_caller_talks_for_xapi_while_it_waits_at_the_route_point() -> None:
    calls, _ = gated()
    calls.active({"5": Active("112", at(1))})
    (answered,) = calls.seen(leg("112", "6", status=Status.CONNECTED), at(9_000))
    assert answered.at == at(9_000)


def test_a_caller_who_was_answered_while_we_were_down_does_not_pay_for_its_wait() -> None:
    """For XAPI it has talked since it came to the route point."""
    old = Remembered(CallKey("pbx1", "1794999990000-5-7-900"), "112", FAR)
    calls = book(GATED, known=lambda: [old])
    calls.active({"5": Active("112", at(-9_000))})
    told = calls.snapshot(Snapshot(DNS, (leg("112", "6", status=Status.CONNECTED),)), (), at(1), fresh=True)
    assert told == (Answered(old.call, at(1), trunk_out="10000"),)


@pytest.mark.parametrize("party", ["10000", ""])
def test_who_talked_and_waits_at_the_route_point_now_calls_again_after_a_restart_of_the_pbx(party: str) -> None:
    calls, call_id = gated()
    calls.removed(("900", "7"), at(4))
    calls.seen(leg("112", "6", status=Status.CONNECTED, party=party), at(5))
    calls.routed(call_id, at(6), connected=True, listed=False)
    (released,) = calls.snapshot(Snapshot(DNS, waiting(FAR)), calls.legs.keys(), at(9_000), fresh=True)
    assert (released.call.call_id, isinstance(released, Released) and released.estimated) == (call_id, True)
    assert [call.gate for call in calls.calls()] == [("900", "7")]


@pytest.mark.parametrize(
    ("number", "established", "is_same"),
    [(FAR, None, True), (FAR, at(1), True), (FAR, at(5_000), False), ("0687654321", None, False)],
)
def test_who_waits_at_the_route_point_after_a_restart_of_the_pbx(
    number: str, established: Instant | None, is_same: bool
) -> None:
    """The extension calls again, and has the ids that it had."""
    calls, call_id = gated()
    calls.active({"5": Active("112", established)})
    calls.snapshot(Snapshot(DNS, waiting(number)), calls.legs.keys(), at(9_000), fresh=True)
    (call,) = [call for call in calls.calls() if call.gate in call.legs]
    assert (call.id == call_id) is is_same


@pytest.mark.parametrize(
    ("number", "answered", "established", "is_old"),
    [
        (FAR, None, None, True), (FAR, None, at(-10_000), True), (FAR, None, at(0), False),
        (FAR, at(-9_000), None, False), ("0687654321", None, None, False), ("900", None, None, True),
    ],
)  # fmt: skip
def test_who_waits_at_the_route_point_after_our_own_start(
    number: str, answered: Instant | None, established: Instant | None, is_old: bool
) -> None:
    old = CallKey("pbx1", "1794999990000-5-7-900")
    calls = book(GATED, known=lambda: [Remembered(old, "112", FAR, answered)])
    calls.active({"5": Active("112", established)})
    calls.snapshot(Snapshot(DNS, waiting(number)), (), at(1), fresh=True)
    assert [call.id == old.call_id for call in calls.calls()] == [is_old]


def test_a_restart_while_3cx_is_asked_to_connect_a_caller_ends_its_call() -> None:
    """Its answer will never come, and the ids are those of the next call."""
    calls, call_id = gated()
    told = calls.snapshot(Snapshot(DNS, waiting("0687654321")), calls.legs.keys(), at(9_000), fresh=True)
    assert [(type(it).__name__, it.call.call_id, it.answered_at) for it in told] == [("Released", call_id, None)]


def test_a_caller_who_leaves_while_it_is_connected() -> None:
    calls, call_id = gated()
    calls.removed(("900", "7"), at(4))
    assert calls.removed(("112", "6"), at(5)) == ()
    (released,) = calls.routed(call_id, at(6), connected=False, listed=False)
    assert isinstance(released, Released)
    assert released.answered_at is None


# -------------------------------------------------------------------- fuzz

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=5),
    max_leaves=12,
)
FIELD = JSON | st.sampled_from(["112", "900", 5, "Connected", "Dialing", "Wexternalline", "0612345678", "\r\nX: y"])
RECORDS = st.fixed_dictionaries({}, optional=dict.fromkeys(RECORD, FIELD))
ENTITY = FIELD | st.just("/callcontrol/112/participants/5")
TOLD = st.fixed_dictionaries({}, optional={"event_type": FIELD, "entity": ENTITY, "attached_data": JSON})
FRAMES = st.fixed_dictionaries({}, optional={"sequence": JSON, "event": TOLD})


@given(st.binary(max_size=200) | JSON.map(lambda told: json.dumps(told).encode()) | FRAMES.map(json.dumps))
def test_no_frame_raises(data: bytes | str) -> None:
    event = wire.event(data)
    assert event is None or wire.short(event.dn) or event.kind not in wire.CHANGES


@given(JSON | RECORDS | st.lists(RECORDS, max_size=3))
def test_no_answer_raises(told: Any) -> None:
    wire.lines(told)
    wire.participants(told)
    wire.outcome(told)
    grant_of(told)


@given(st.lists(RECORDS, max_size=8), st.sampled_from([OBSERVE, GATED]))
def test_the_book_takes_whatever_participants_come(records: list[dict[str, Any]], site: Site) -> None:
    calls = book(site)
    for ms, record in enumerate(records):
        for found in wire.participants(record, "112"):
            for event in calls.seen(found, at(ms)):
                msgspec.json.encode(event)


LEGS = st.builds(
    leg,
    dn=st.sampled_from(["112", "113", "900"]),
    id=st.sampled_from(["1", "2", "3"]),
    call=st.sampled_from(["5", "6"]),
    status=st.sampled_from([*Status, None]),
    number=st.sampled_from(["", FAR, "0687654321", "113", "900"]),
    party=st.sampled_from(["", "10000", "113", "900"]),
    party_type=st.sampled_from(["", wire.EXTERNAL_LINE, "extension", "routepoint"]),
    referred_by=st.sampled_from(["", "112", "113"]),
)


@given(st.lists(LEGS | st.tuples(st.sampled_from(["112", "113"]), st.sampled_from(["1", "2", "3"])), max_size=25))
def test_in_any_order_each_call_is_offered_once_and_released_once(steps: list[Any]) -> None:
    calls = book()
    offered: list[CallKey] = []
    released: list[CallKey] = []
    for ms, step in enumerate(steps):
        events = calls.seen(step, at(ms)) if isinstance(step, Participant) else calls.removed(step, at(ms))
        events += calls.left(at(ms), 3)
        for event in events:
            if isinstance(event, Offered):
                assert event.call not in offered
                offered.append(event.call)
                events_ = calls.admitted(event.call.call_id, at(ms))
                assert all(isinstance(it, Alerting | Answered) for it in events_)
            elif isinstance(event, Released):
                released.append(event.call)
            assert event.call in offered
    rest = calls.snapshot(Snapshot(DNS, ()), calls.legs.keys(), at(1_000), fresh=False)
    for event in (*rest, *calls.left(at(9_000), 300)):
        assert isinstance(event, Released)
        released.append(event.call)
    assert sorted(map(str, released)) == sorted(map(str, offered))
    assert calls.calls() == ()
    assert calls.legs.keys() == frozenset()
