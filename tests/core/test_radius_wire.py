"""RADIUS packets: what gateways send is understood, what is not signed is dropped, and nothing crashes the reader."""

import contextlib
import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callctl.adapters.radius.switch import RETURN_CODES
from callctl.adapters.radius.wire import (
    Ask,
    Client,
    Disconnect,
    Malformed,
    Names,
    Question,
    Report,
    Status,
    Told,
    Untrusted,
    still_here,
)
from callctl.causes import REFUSALS
from tests.radius_packets import (
    AUTHENTICATOR,
    SECRET,
    Attributes,
    cisco,
    number,
    pairs,
    question,
    reply_to,
    report,
)

NAS = Client("192.0.2.7", SECRET)
ASKS = [(1, b"acme"), (31, b"+31201234567"), (30, b"+31612345678"), (44, b"0000A1B2")]


def test_what_a_gateway_asks() -> None:
    sent = [
        *ASKS,
        cisco(24, b"h323-conf-id=ab12 CD34 0 1"),
        cisco(1, b"call-id=x@y"),
        cisco(23, b"h323-remote-address=192.0.2.9"),
    ]
    assert Question(question(sent), NAS).ask == Ask(
        Names("", "AB12 CD34 0 1", "x@y", "0000A1B2"), "acme", "+31201234567", "+31612345678", "192.0.2.9", None, None
    )


def test_what_is_no_text_is_no_obstacle_where_nobody_reads_it() -> None:
    sent = [*ASKS[:1], (31, b"J\xf6rg"), *ASKS[2:], cisco(1, b"name=a\nb\xff"), cisco(1, b"call-id=x@y")]
    ask = Question(question(sent), NAS).ask
    assert (ask.caller, ask.names.call_id) == ("J\\xf6rg", "x@y")
    with pytest.raises(Malformed):
        Question(question([*ASKS, cisco(1, b"call-id=x\ny")]), NAS)


def test_a_question_that_names_no_call_gets_a_name() -> None:
    assert Question(question(ASKS[:3]), NAS).ask.names.all() == (AUTHENTICATOR.hex(),)


@pytest.mark.parametrize(
    "forged",
    [
        question(ASKS, signed=False),
        question(ASKS, secret=b"another"),
        question(ASKS)[:-1] + b"\0",
        question([*ASKS, (80, b"short")], signed=False),
        question([*ASKS, (80, b"")], signed=False),
    ],
)
def test_an_unsigned_question_is_not_believed(forged: bytes) -> None:
    with pytest.raises(Untrusted):
        Question(forged, NAS)


def test_where_it_is_allowed_a_question_may_be_unsigned_but_not_wrongly_signed() -> None:
    lax = Client("192.0.2.7", SECRET, signed=False)
    assert Question(question(ASKS, signed=False), lax).ask.user == "acme"
    with pytest.raises(Untrusted):
        Question(question(ASKS, secret=b"another"), lax)


def test_a_report_is_signed_by_its_authenticator() -> None:
    with pytest.raises(Untrusted):
        Report(report([(40, number(1))], secret=b"another"), NAS)
    with pytest.raises(Untrusted):
        Report(report([(40, number(1)), (80, bytes(16))]), NAS)


@pytest.mark.parametrize("credential", [3, 79, 206, 207])
def test_a_credential_that_nobody_can_check_is_seen(credential: int) -> None:
    assert Question(question([*ASKS, (credential, b"\x01" * 17)]), NAS).ask.credential is not None


def test_what_gateways_report() -> None:
    sent = [(40, number(2)), (44, b"0000A1B2"), (46, number(65)), (41, number(3)), (55, number(1_795_255_200))]
    sent += [(49, number(6)), (102, number(200)), cisco(30, b"h323-disconnect-cause=10")]
    assert Report(report(sent), NAS).told == Told(
        Status.STOP,
        Names(session_id="0000A1B2"),
        event_ms=1_795_255_200_000,
        delay_s=3,
        talked_ms=65_000,
        q850=16,
        sip_code=200,
        terminate_cause=6,
    )


@pytest.mark.parametrize(
    ("connected", "disconnected", "talked_ms"),
    [
        (b"16:27:18.930 UTC Wed Dec 2 2026", b"16:28:19.180 UTC Wed Dec 2 2026", 60_250),
        (b"*23:59:59.000 CET Thu Dec 31 2026", b".00:00:01.500 CET Fri Jan 1 2027", 2_500),
        (b"16:27:18.930 UTC Wed Dec 2 2026", b"16:27:18.930 UTC Wed Dec 2 2026", 0),
        (b"16:28:18.930 UTC Wed Dec 2 2026", b"16:27:18.930 UTC Wed Dec 2 2026", 65_000),
        (b"yesterday", b"16:27:18.930 UTC Wed Dec 2 2026", 65_000),
        (b"25:00:00.000 UTC Wed Dec 2 2026", b"16:27:18.930 UTC Wed Dec 32 2026", 65_000),
    ],
)
def test_ciscos_times_tell_the_milliseconds(connected: bytes, disconnected: bytes, talked_ms: int) -> None:
    times = [cisco(28, b"h323-connect-time=" + connected), cisco(29, b"h323-disconnect-time=" + disconnected)]
    told = Report(report([(40, number(2)), (46, number(65)), *times]), NAS).told
    assert told.talked_ms == talked_ms


def test_a_set_up_is_no_answer() -> None:
    setup = cisco(25, b"h323-setup-time=16:27:10.000 UTC Wed Dec 2 2026")
    answer = cisco(28, b"h323-connect-time=16:27:18.930 UTC Wed Dec 2 2026")
    assert Report(report([(40, number(1)), setup]), NAS).told.rings
    assert not Report(report([(40, number(1)), setup, answer]), NAS).told.rings
    assert not Report(report([(40, number(1))]), NAS).told.rings


@pytest.mark.parametrize(
    "sent",
    [
        report([(40, number(99))]),
        report([]),
        report([(40, b"\0")]),
        report([(40, number(1)), (44, b"a\nb")]),
        report([(40, number(1))], code=1),
        report([(40, number(1))])[:-1],
        b"",
        b"\x04" * 19,
    ],
)
def test_a_report_that_makes_no_sense(sent: bytes) -> None:
    with pytest.raises((Malformed, Untrusted)):
        Report(sent, NAS)


def test_our_name_for_a_call_comes_back() -> None:
    accepted = Question(question(ASKS), NAS).accept("0000A1B2@192.0.2.7", 77, 60)
    ours = next(value for kind, value in pairs(accepted) if kind == 25)
    assert (
        Report(report([(40, number(1)), (25, ours), (25, b"another's")]), NAS).told.names.ours == "0000A1B2@192.0.2.7"
    )


def test_a_name_that_is_too_long_for_a_class_is_left_out() -> None:
    accepted = Question(question(ASKS), NAS).accept("x" * 250, 77, 60)
    assert 25 not in [kind for kind, _ in pairs(accepted)]


def test_an_answer_is_signed_first_of_all_and_takes_the_proxys_state_back() -> None:
    asked = Question(question([*ASKS, (33, b"state")]), NAS)
    for answer in (asked.accept("a@192.0.2.7", 77, 60), asked.reject(4, "no credit")):
        kinds = [kind for kind, _ in pairs(answer)]
        assert kinds[0] == 80
        assert (33, b"state") in pairs(answer)
        unsigned = answer[:4] + AUTHENTICATOR + answer[20:22] + bytes(16) + answer[38:]
        assert hmac.digest(SECRET, unsigned, "md5") == answer[22:38]
        assert hashlib.md5(answer[:4] + AUTHENTICATOR + answer[20:] + SECRET).digest() == answer[4:20]


def test_what_an_acceptance_says() -> None:
    told = pairs(Question(question(ASKS), NAS).accept("a@192.0.2.7", 77, 60))
    assert (27, number(77)) in told
    assert (85, number(60)) in told
    assert cisco(102, b"h323-credit-time=77") in told
    assert cisco(103, b"h323-return-code=0") in told


def test_a_disconnect_names_the_call_and_only_its_nas_can_answer() -> None:
    request = Disconnect(NAS, 5, Names("", "AB", "x@y", "0000A1B2"), "acme")
    told = pairs(request.datagram)
    assert {(1, b"acme"), (44, b"0000A1B2"), cisco(24, b"h323-conf-id=AB"), cisco(1, b"call-id=x@y")} <= set(told)
    assert request.outcome(reply_to(request.datagram, 42, 503)) == (42, 503)
    for forged in (reply_to(request.datagram, 41, secret=b"another"), reply_to(question([]), 41)):
        with pytest.raises(Untrusted):
            request.outcome(forged)
    with pytest.raises(Malformed):
        request.outcome(b"\x29")


@pytest.mark.parametrize("cause", REFUSALS.values())
def test_every_refusal_has_a_return_code(cause) -> None:
    code = RETURN_CODES.get(cause.announcement, 7)
    assert 1 <= code <= 9
    assert (cause.sip == 402) == (code == 4)


def test_every_return_code_is_of_an_announcement() -> None:
    assert RETURN_CODES.keys() <= {cause.announcement for cause in REFUSALS.values()}


KNOWN = st.sampled_from([1, 2, 3, 25, 26, 30, 31, 33, 40, 41, 44, 46, 49, 55, 80, 102, 206])
VENDORS = st.tuples(st.sampled_from([1, 23, 24, 25, 26, 28, 29, 30]), st.binary(max_size=60)).map(lambda it: cisco(*it))
ATTRIBUTES = st.lists(st.one_of(st.tuples(KNOWN, st.binary(max_size=60)), VENDORS), max_size=12)


@given(ATTRIBUTES, st.booleans())
def test_whatever_a_nas_signs_is_understood_or_dropped(attributes: Attributes, signed: bool) -> None:
    lax = Client("192.0.2.7", SECRET, signed=False)
    health = question(attributes, signed=signed, code=12)
    for read in (
        lambda: Question(question(attributes, signed=signed), lax),
        lambda: Report(report(attributes), lax),
        lambda: still_here(health, lax, accounting=signed),
    ):
        with contextlib.suppress(Untrusted, Malformed):
            assert read() is not None


def test_who_asks_whether_we_live_must_sign() -> None:
    with pytest.raises(Untrusted):
        still_here(question([], signed=False, code=12), Client("192.0.2.7", SECRET, signed=False), accounting=False)
    assert still_here(question(ASKS), NAS, accounting=False) is None


@given(st.binary(max_size=100))
def test_whatever_anybody_sends_is_dropped(datagram: bytes) -> None:
    for read in (Question, Report):
        with pytest.raises((Untrusted, Malformed)):
            read(datagram, NAS)
