"""The call_control protocol: what its modules write is understood, what a caller smuggles into it means nothing."""

import contextlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from callctl.adapters.call_control.wire import Init, Reply, Start, Stop, parse, refusal, user_of
from callctl.causes import REFUSALS, Refusal


def init(**values: str) -> bytes:
    """As Kamailio writes it."""
    known = {
        "ruri": "sip:+31612345678@127.0.0.1:5060",
        "diverter": "None",
        "sourceip": "192.0.2.10",
        "callid": "a@b",
        "from": '"Alice" <sip:+31201234567@example.com>',
        "fromtag": "t1",
        "sip_application": "audio",
    }
    return "\r\n".join(["init", *(f"{key}: {value}" for key, value in (known | values).items())]).encode()


ASKED = Init("a@b", "+31201234567", "+31612345678", "192.0.2.10")


def test_what_kamailio_asks() -> None:
    assert parse(init()) == ASKED


def test_what_opensips_asks_with_keys_of_its_own() -> None:
    request = init().replace(b"sip_application: audio", b"prepaid: unknown\r\ncall_limit: 2\r\ncall_token: None")
    assert parse(request) == ASKED


def test_a_start_and_a_stop() -> None:
    assert parse(b"start\r\ncallid: a@b\r\ndialogid: 3954:5960") == Start("a@b", "3954:5960")
    assert parse(b"stop\r\ncallid: a@b") == Stop("a@b")


def test_dialog_ids_beyond_31_bits_and_those_of_opensips() -> None:
    assert parse(b"start\r\ncallid: a\r\ndialogid: 12:-2") == Start("a", "12:4294967294")
    assert parse(b"start\r\ncallid: a\r\ndialogid: 16981345738967") == Start("a", "16981345738967")


def test_a_diverter_is_its_user() -> None:
    request = parse(init(diverter="bob@example.com"))
    assert isinstance(request, Init)
    assert request.diverter == "bob"


@pytest.mark.parametrize(
    ("address", "user"),
    [
        ("sip:+31201234567@example.com", "+31201234567"),
        ("<sip:1000@127.0.0.1:5060;transport=udp>", "1000"),
        ("sips:alice:secret@example.com", "alice"),
        ("<SIP:+31201234567;npdi@example.com>", "+31201234567"),
        ("tel:+31-20-1234567;phone-context=x", "+31-20-1234567"),
        ("442071234567@carrier.example", "442071234567"),
        ("442071234567", "442071234567"),
        ("sip:example.com", ""),
        ("Alice <sip:al%69ce@example.com>", "alice"),
        ('"<sip:victim@example.com>" <sip:mallory@example.com>', "mallory"),
        ('"a\\" <sip:victim@x>" <sip:mallory@example.com>', "mallory"),
        ("sip:mallory%0d%0adiverter:%20victim@example.com", ""),
        ('"never closed <sip:victim@example.com>', ""),
        ("", ""),
    ],
)
def test_the_user_of_an_address(address: str, user: str) -> None:
    assert user_of(address) == user


@pytest.mark.parametrize(
    "smuggled",
    [
        "Al\r\n diverter: victim@example.com\r\n <sip:+31201234567@example.com>",
        "stop\r\n \r\n <sip:+31201234567@example.com>",
        "Al\r\n\tcallid: another\r\n\tsourceip: 203.0.113.9\r\n <sip:+31201234567@example.com>",
        "Al\n diverter: victim@example.com\n <sip:+31201234567@example.com>",
        "Al\r diverter: victim@example.com\r <sip:+31201234567@example.com>",
    ],
)
def test_what_a_caller_folds_into_its_name_stays_there(smuggled: str) -> None:
    assert parse(init(**{"from": smuggled})) == ASKED


def test_the_first_of_two_keys_counts() -> None:
    assert parse(init() + b"\r\ndiverter: victim\r\ncallid: another") == ASKED


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        (b"", "without 'callid'"),
        (b"debug\r\nshow: sessions", "without 'callid'"),
        (b"terminate\r\ncallid: a@b", "unknown verb"),
        (b"INIT\r\ncallid: a", "unknown verb"),
        (b"init", "without 'callid'"),
        (b"init\r\ncallid: a", "without 'from'"),
        (b"stop\r\ncallid: ", "empty"),
        (b"stop\r\ncallid: a\x00b", "printed"),
        (b"stop\r\ncallid", "without a key"),
        (b"start\r\ncallid: a\r\ndialogid: 1:2:3", "no dialog id"),
        (b"start\r\ncallid: a\r\ndialogid: rm", "no dialog id"),
        (b"src = 1.2.3.4 verb = 1 ", "without 'callid'"),
    ],
)
def test_anything_else_is_refused_with_its_reason(request_: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse(request_)


def test_a_call_id_that_is_no_text_still_tells_calls_apart() -> None:
    assert parse(b"stop\r\ncallid: \xff") != parse(b"stop\r\ncallid: \xfe")


LINES = st.lists(
    st.one_of(
        st.sampled_from(
            [b"init", b"start", b"stop", b"callid: a", b"from: <sip:a@b>", b"\x00", b" ", b"dialogid: 1:2"]
        ),
        st.binary(max_size=20),
    )
).map(b"\r\n".join)


@given(LINES)
@example(b'init\r\ncallid: a\r\nfromtag: t\r\nfrom: "\\\r\nruri: x\r\nsourceip: 1')
def test_whatever_comes_is_a_request_or_a_value_error(request_: bytes) -> None:
    with contextlib.suppress(ValueError):
        assert isinstance(parse(request_), Init | Start | Stop)


@given(st.text().filter(lambda text: "\r\n\r\n" not in text and not text.endswith("\r\n")))
def test_no_display_name_changes_anything_but_the_caller(name: str) -> None:
    """Folded as SIP allows it: behind every line break there is a blank."""
    folded = name.encode("utf-8", "surrogatepass").decode("utf-8", "replace").replace("\r\n", "\r\n ")
    asked = parse(init(**{"from": f"{folded} <sip:x@example.com>"}))
    assert isinstance(asked, Init)
    assert (asked.call_id, asked.called, asked.source_ip, asked.diverter) == ("a@b", "+31612345678", "192.0.2.10", None)


NEAREST = {402: Reply.NO_CREDIT, 403: Reply.LOCKED, 404: Reply.LOCKED, 484: Reply.LOCKED, 486: Reply.LOCKED}


@pytest.mark.parametrize("refused", Refusal)
def test_every_refusal_has_its_reply(refused: Refusal) -> None:
    cause = REFUSALS[refused]
    full = Reply.ERROR if cause.q850 == 41 else Reply.CALL_LIMIT
    assert refusal(cause) is NEAREST.get(cause.sip, full)


def test_a_reply_is_one_line() -> None:
    assert Reply.CALL_LIMIT.line == b"Call limit reached\r\n"
