"""Gateways' questions and reports as events: which call is meant, when it was answered, how long it lasted."""

from typing import Any

import pytest

from callctl.adapters.radius import translate
from callctl.adapters.radius.translate import Translator
from callctl.adapters.radius.wire import Ask, Client, Names, Status, Told
from callctl.call.events import Alerting, Answered, CallKey, Offered, Released, ReleasedBy, SeenAlive
from callctl.clock import Instant

NAS = Client("192.0.2.7", b"s")
OTHER = Client("192.0.2.8", b"s")
NOW = Instant(1_795_255_200_000, 5_000_000)
S = 1000
CALL = CallKey("gw", "A1@192.0.2.7")


def ask(names: Names = Names(session_id="A1"), **fields: Any) -> Ask:  # noqa: B008  frozen
    known = {"user": "acme", "caller": "+31201234567", "called": "+31612345678", "remote_address": ""}
    return Ask(names, **(known | {"password": None, "credential": None} | fields))


def told(status: Status, names: Names = Names(session_id="A1"), **fields: Any) -> Told:  # noqa: B008  frozen
    return Told(status, names, **fields)


@pytest.fixture
def book() -> Translator:
    book = Translator("gw", interim_s=60)
    book.offered(ask(), NAS, NOW)
    return book


def after(seconds: int) -> Instant:
    return NOW.plus_ms(seconds * S)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, ("acme", None, "+31201234567")),
        ({"user": "192.0.2.99"}, (None, "192.0.2.99", "+31201234567")),
        ({"user": "+31207654321"}, (None, None, "+31201234567")),
        ({"user": "+31207654321", "caller": ""}, (None, None, "+31207654321")),
        ({"user": "acme", "caller": ""}, ("acme", None, "")),
        ({"user": "192.0.2.99", "caller": ""}, (None, "192.0.2.99", "")),
        ({"user": "", "remote_address": "192.0.2.99"}, (None, "192.0.2.99", "+31201234567")),
    ],
)
def test_what_tells_the_payer(fields: dict[str, str], expected: tuple[str | None, str | None, str]) -> None:
    offered = Translator("gw", interim_s=60).offered(ask(**fields), NAS, NOW)
    assert (offered.account, offered.source_ip, offered.a_number) == expected
    assert isinstance(offered, Offered)
    assert (offered.call, offered.b_number, offered.attended, offered.can_extend) == (
        CALL,
        "+31612345678",
        False,
        False,
    )


def test_a_call_has_the_name_of_the_call_and_of_its_nas() -> None:
    book = Translator("gw", interim_s=60)
    names = Names(conf_id="C", call_id="i", session_id="s")
    assert book.offered(ask(names), NAS, NOW).call.call_id == "C@192.0.2.7"
    assert book.offered(ask(Names(session_id="s")), OTHER, NOW).call.call_id == "s@192.0.2.8"


@pytest.mark.parametrize("names", [Names(conf_id="C"), Names(call_id="i"), Names(session_id="s"), Names("C@192.0.2.7")])
def test_any_of_its_names_tells_a_call(names: Names) -> None:
    book = Translator("gw", interim_s=60)
    call = book.offered(ask(Names("", "C", "i", "s")), NAS, NOW).call
    (answered,) = book.told(told(Status.START, names), NAS, NOW)
    assert answered.call == call
    assert book.find(names, OTHER) is None


def test_no_nas_ends_another_ones_call(book: Translator) -> None:
    book.told(told(Status.START), NAS, NOW)
    (released,) = book.told(told(Status.STOP, Names(ours="A1@192.0.2.7", session_id="A1")), OTHER, NOW)
    assert released.call == CallKey("gw", "A1@192.0.2.8")
    assert book.find(Names(session_id="A1"), NAS) is not None


# ---- when, and how long


def test_a_start_is_the_answer_where_the_nas_says_when(book: Translator) -> None:
    event_ms = NOW.wall_ms - 7 * S
    (answered,) = book.told(told(Status.START, event_ms=event_ms, delay_s=2), NAS, NOW)
    assert answered == Answered(CALL, Instant(event_ms, NOW.monotonic_ms - 2 * S), stated=True)


@pytest.mark.parametrize("event_ms", [None, 86_400 * S, NOW.wall_ms + 90_000 * S])
def test_where_it_does_not_or_its_clock_is_days_wrong_it_is_now(book: Translator, event_ms: int | None) -> None:
    (answered,) = book.told(told(Status.START, event_ms=event_ms, delay_s=3), NAS, NOW)
    assert answered == Answered(CALL, NOW.plus_ms(-3 * S), stated=False)


def test_the_end_lies_as_far_behind_the_answer_as_the_nas_says(book: Translator) -> None:
    book.told(told(Status.START), NAS, NOW)
    (released,) = book.told(told(Status.STOP, talked_ms=65_250, q850=16), NAS, after(70))
    assert released == Released(CALL, NOW.plus_ms(65_250), q850=16, answered_at=NOW)


def test_without_a_length_the_two_moments_are_subtracted(book: Translator) -> None:
    book.told(told(Status.START), NAS, NOW)
    (released,) = book.told(told(Status.STOP, delay_s=5), NAS, after(70))
    assert released == Released(CALL, after(65), answered_at=NOW)


@pytest.mark.parametrize(("first", "last"), [(600 * S, None), (-600 * S, None), (None, 600 * S), (None, -600 * S)])
def test_a_time_that_only_one_of_two_reports_tells_is_no_length(
    book: Translator, first: int | None, last: int | None
) -> None:
    """The clock of the NAS is ten minutes wrong."""
    began, ended = (None if wrong is None else NOW.wall_ms + wrong for wrong in (first, last))
    (answered,) = book.told(told(Status.START, event_ms=began), NAS, NOW)
    (released,) = book.told(told(Status.STOP, event_ms=ended and ended + 70 * S), NAS, after(70))
    assert isinstance(released, Released)
    assert not released.stated
    assert released.at == answered.at.plus_ms(70 * S)


def test_a_dead_nas_is_told_by_its_own_clock(book: Translator) -> None:
    (answered,) = book.told(told(Status.START, event_ms=NOW.wall_ms + 600 * S), NAS, NOW)
    book.told(told(Status.INTERIM), NAS, after(60))
    (released,) = book.overdue(after(1_000))
    assert released.at == answered.at.plus_ms(60 * S)


def test_a_stop_without_a_start_proves_the_answer(book: Translator) -> None:
    (released,) = book.told(told(Status.STOP, talked_ms=60 * S), NAS, after(70))
    assert released == Released(CALL, after(70), answered_at=after(10))


@pytest.mark.parametrize("fields", [{"talked_ms": 0}, {}])
def test_a_stop_without_a_start_and_a_length_is_of_a_call_that_nobody_answered(
    book: Translator, fields: dict[str, int]
) -> None:
    (released,) = book.told(told(Status.STOP, **fields), NAS, after(20))
    assert released == Released(CALL, after(20))


def test_kamailios_failed_calls(book: Translator) -> None:
    (released,) = book.told(told(Status.FAILED, sip_code=486), NAS, after(20))
    assert released == Released(CALL, after(20), sip_code=486)


@pytest.mark.parametrize("cause", [5, 6])
def test_an_end_that_was_ours(book: Translator, cause: int) -> None:
    (released,) = book.told(told(Status.STOP, terminate_cause=cause), NAS, NOW)
    assert isinstance(released, Released)
    assert released.released_by is ReleasedBy.CALLCTL


def test_a_set_up_rings_and_the_next_report_with_a_length_is_the_answer(book: Translator) -> None:
    assert book.told(told(Status.START, rings=True), NAS, NOW) == (Alerting(CALL, NOW),)
    assert book.told(told(Status.INTERIM), NAS, after(10)) == (Alerting(CALL, after(10)),)
    assert book.told(told(Status.INTERIM, talked_ms=50 * S), NAS, after(60)) == (Answered(CALL, after(10)),)
    assert book.told(told(Status.INTERIM, talked_ms=110 * S), NAS, after(120)) == (SeenAlive(CALL, after(120)),)


def test_reports_of_the_called_partys_leg_mean_nothing_where_there_are_others(book: Translator) -> None:
    book.told(told(Status.START, rings=True), NAS, NOW)
    assert book.told(told(Status.STOP, talked_ms=0, egress=True), NAS, after(5)) == ()  # a route that failed
    book.told(told(Status.INTERIM, talked_ms=S), NAS, after(10))
    (released,) = book.told(told(Status.STOP, talked_ms=5 * S), NAS, after(14))
    assert released == Released(CALL, after(14), answered_at=after(9))


def test_reports_of_the_called_partys_leg_alone_are_all_there_is(book: Translator) -> None:
    assert book.told(told(Status.START, egress=True), NAS, NOW) == (Answered(CALL, NOW),)
    (released,) = book.told(told(Status.STOP, talked_ms=5 * S, egress=True), NAS, after(5))
    assert released == Released(CALL, after(5), answered_at=NOW)


# ---- silence


def test_three_missed_interims_are_an_end_at_the_last_one(book: Translator) -> None:
    book.told(told(Status.START), NAS, NOW)
    book.told(told(Status.INTERIM, talked_ms=60 * S), NAS, after(60))
    assert book.overdue(after(60 + 180)) == []
    assert book.overdue(after(60 + 181)) == [Released(CALL, after(60), estimated=True)]
    assert book.overdue(after(1_000)) == []


def test_a_nas_that_reports_less_often_is_given_longer(book: Translator) -> None:
    book.told(told(Status.START), NAS, NOW)
    for minutes in (5, 10):
        book.told(told(Status.INTERIM, talked_ms=minutes * 60 * S), NAS, after(minutes * 60))
    assert book.overdue(after(600 + 900)) == []
    assert len(book.overdue(after(600 + 901))) == 1


def test_a_nas_that_never_reports_is_not_missed(book: Translator) -> None:
    book.told(told(Status.START), NAS, NOW)
    assert book.overdue(after(100_000)) == []


@pytest.mark.parametrize("status", [Status.ON, Status.OFF])
def test_a_nas_that_restarts_has_no_calls(book: Translator, status: Status) -> None:
    other = book.offered(ask(), OTHER, NOW).call
    book.told(told(Status.START), NAS, NOW)
    book.told(told(Status.INTERIM), NAS, after(30))
    assert book.told(told(status, Names()), NAS, after(40)) == (Released(CALL, after(30), estimated=True),)
    assert book.find(Names(session_id="A1"), NAS) is None
    assert book.find(Names(session_id="A1"), OTHER) is not None
    assert other.call_id.endswith(OTHER.address)


# ---- what we did not see begin


def test_a_call_that_was_admitted_before_we_began_is_seen_alive() -> None:
    book = Translator("gw", interim_s=60)
    (seen,) = book.told(told(Status.INTERIM, Names(ours="C@192.0.2.7", session_id="s"), talked_ms=30 * S), NAS, NOW)
    assert seen == SeenAlive(CallKey("gw", "C@192.0.2.7"), NOW, NOW.plus_ms(-30 * S))
    (released,) = book.told(told(Status.STOP, Names(session_id="s"), talked_ms=40 * S), NAS, after(12))
    assert released == Released(CallKey("gw", "C@192.0.2.7"), after(10), answered_at=after(-30))


def test_where_a_call_is(book: Translator) -> None:
    book.told(told(Status.START, Names(call_id="i", session_id="A1")), NAS, NOW)
    assert book.whereabouts(CALL) == ("192.0.2.7", Names("", "", "i", "A1"), "acme")
    assert book.whereabouts(CallKey("gw", "B@2@192.0.2.8")) == ("192.0.2.8", Names(session_id="B@2"), "")


def test_the_book_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(translate, "MOST_CALLS", 2)
    book = Translator("gw", interim_s=60)
    for name in "abc":
        book.offered(ask(Names(session_id=name)), NAS, NOW)
    assert [book.find(Names(session_id=name), NAS) is not None for name in "abc"] == [False, True, True]


def test_nothing_is_left_of_a_call_that_is_over(book: Translator) -> None:
    book.told(told(Status.START, Names("", "C", "i", "A1")), NAS, NOW)
    book.told(told(Status.STOP, Names(session_id="A1")), NAS, NOW)
    assert (book._calls, book._named) == ({}, {})


# ---- what cannot be

HUGE_S = 0xFFFF_FFFF
"""What a gateway says of a call that lasted a second less than none."""


def test_no_call_has_lasted_for_years(book: Translator) -> None:
    book.told(told(Status.START), NAS, after(2))
    (released,) = book.told(told(Status.STOP, talked_ms=HUGE_S * S), NAS, after(9))
    assert released == Released(CALL, after(9), answered_at=after(2))


def test_where_nobody_told_of_the_answer_it_was_so_long_at_most(book: Translator) -> None:
    (released,) = book.told(told(Status.STOP, talked_ms=HUGE_S * S), NAS, after(9))
    assert released == Released(CALL, after(9), answered_at=NOW)


def test_nor_has_one_from_before_we_began() -> None:
    book = Translator("gw", interim_s=60)
    (released,) = book.told(told(Status.STOP, talked_ms=HUGE_S * S), NAS, NOW)
    assert released == Released(CALL, NOW)


def test_no_report_was_under_way_for_weeks(book: Translator) -> None:
    (answered,) = book.told(told(Status.START, delay_s=4_000_000), NAS, after(3))
    assert answered == Answered(CALL, after(3))


def test_a_restart_of_long_ago_ends_no_call_that_began_since(book: Translator) -> None:
    """A NAS repeats what was not acknowledged."""
    assert book.told(told(Status.ON, Names(), delay_s=60), NAS, after(40)) == ()
    assert book.told(told(Status.ON, Names(), delay_s=10), NAS, after(40)) == (Released(CALL, NOW, estimated=True),)


def test_a_report_that_is_overtaken_by_the_end_is_forgotten_in_time(book: Translator) -> None:
    book.told(told(Status.STOP, talked_ms=20 * S), NAS, after(30))
    book.told(told(Status.INTERIM, talked_ms=10 * S, delay_s=11), NAS, after(31))
    assert len(book.overdue(after(31 + 181))) == 1
    assert book.find(Names(session_id="A1"), NAS) is None
