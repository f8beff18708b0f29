"""The manager protocol as bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callctl.adapters.asterisk import wire
from callctl.adapters.asterisk.wire import Message, Reader, encode_action

CRLF = b"\r\n"

GATE_EVENT = CRLF.join(
    [
        b"Event: UserEvent",
        b"Channel: PJSIP/uac-000001ae",
        b"Uniqueid: 1795293598.857",
        b"ChanVariable: CC_CALL=1795293598.857",
        b"ChanVariable: CC_ACCT=a=b",
        b"UserEvent: CCAuthorize",
        b"Uniqueid: forged",
        b"Caller: 15550001",
        b"Account: ",
    ]
)


def read(data: bytes, *sizes: int) -> tuple[list[str], str]:
    """What a reader makes of `data` that arrives in pieces of these sizes, the rest at once."""
    reader, messages, at = Reader(), [], 0
    for size in (*sizes, len(data)):
        messages += reader.feed(data[at : at + size])
        at += size
    return [repr(message) for message in messages], reader.fault


def test_headers_in_order_and_the_first_of_a_repeated_name() -> None:
    message = Message(GATE_EVENT)
    assert message.event == "UserEvent"
    assert message["Uniqueid"] == "1795293598.857"
    assert message.all("Uniqueid") == ["1795293598.857", "forged"]
    assert message.variables() == {"CC_CALL": "1795293598.857", "CC_ACCT": "a=b"}
    assert message.user_headers() == {"Uniqueid": "forged", "Caller": "15550001", "Account": ""}
    assert [name for name, _ in message.pairs()][:3] == ["Event", "Channel", "Uniqueid"]


def test_a_header_that_is_not_there_is_an_error_unless_a_default_is_asked_for() -> None:
    message = Message(b"Event: Hangup")
    with pytest.raises(KeyError):
        message["Chanel"]
    assert message.get("TechCause") == ""
    assert message.get("TechCause", "none") == "none"
    assert "TechCause" not in message
    assert message.user_headers() == {}
    assert message.variables() == {}


def test_only_a_successful_response_has_succeeded() -> None:
    assert Message(b"Response: Success").succeeded
    assert not Message(b"Response: Error").succeeded
    assert not Message(b"Event: Hangup").succeeded


@pytest.mark.parametrize(
    ("line", "pair"),
    [
        (b"AccountCode:", ("AccountCode", "")),
        (b"AccountCode:x", ("AccountCode", "x")),
        (b'CallerID: "a: b" <1>', ("CallerID", '"a: b" <1>')),
        (b"Name: two\x0blines\x85\xe2\x80\xa8end", ("Name", "two\x0blines\ufffd\u2028end")),
        (b"Name: J\xf6rg", ("Name", "J\ufffdrg")),
        ("Name: Jörg".encode(), ("Name", "Jörg")),
    ],
)
def test_odd_lines(line: bytes, pair: tuple[str, str]) -> None:
    assert Message(line).pairs() == [pair]


def test_a_line_without_a_colon_is_left_out() -> None:
    assert Message(b"Event: A\r\nnonsense\r\nB: c").pairs() == [("Event", "A"), ("B", "c")]


def test_a_character_cut_in_two_by_tcp_survives() -> None:
    data = "CallerIDName: Zoë Ångström 😀\r\n\r\n".encode()
    for cut in range(len(data)):
        assert read(data, cut) == (["Message([('CallerIDName', 'Zoë Ångström 😀')])"], "")


@given(st.binary(max_size=400), st.lists(st.integers(0, 60), max_size=12))
def test_any_bytes_in_any_pieces_give_the_same_messages(data: bytes, sizes: list[int]) -> None:
    assert read(data, *sizes) == read(data)


_noise = st.lists(
    st.sampled_from([b"\r", b"\n", CRLF, CRLF + CRLF, b": ", b"Event: A", b"\xff", "é".encode(), b"B:c"]),
    max_size=30,
).map(b"".join)


@given(_noise, st.lists(st.integers(0, 9), max_size=20))
def test_broken_framing_in_any_pieces_gives_the_same_messages(data: bytes, sizes: list[int]) -> None:
    assert read(data, *sizes) == read(data)


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"A: " + b"x" * wire.MAX_LINE_BYTES + CRLF, "a header of more than"),
        (b"A: b\r\n" * (wire.MAX_HEADERS + 1), "headers"),
        ((b"A: " + b"x" * 50_000 + CRLF) * 6, "a message of more than"),
    ],
)
def test_a_message_beyond_a_bound_ends_the_reading(data: bytes, fault: str) -> None:
    good = b"Event: A\r\n\r\n"
    reader = Reader()
    assert [m.event for m in reader.feed(good + data + CRLF + good)] == ["A"]
    assert fault in reader.fault
    assert reader.feed(good) == []


def test_a_message_that_never_ends_is_not_kept() -> None:
    reader = Reader()
    for _ in range(wire.MAX_MESSAGE_BYTES // 1_000 + 1):
        reader.feed(b"x" * 1_000)
    assert "a message of more than" in reader.fault


def test_the_largest_allowed_message_is_read() -> None:
    reader = Reader()
    assert len(reader.feed(b"A: b\r\n" * (wire.MAX_HEADERS - 1) + b"Z: z\r\n\r\n")) == 1
    assert reader.fault == ""


def test_an_action_is_written_in_order_with_repeated_headers() -> None:
    data = encode_action("Originate", [("Variable", "A=1"), ("Variable", "B=2"), ("Timeout", 5000)], "c7")
    assert data == (b"Action: Originate\r\nActionID: c7\r\nVariable: A=1\r\nVariable: B=2\r\nTimeout: 5000\r\n\r\n")


@given(st.text(max_size=40))
def test_no_value_can_begin_a_header_of_its_own(value: str) -> None:
    try:
        data = encode_action("Setvar", [("Value", value)], "1")
    except ValueError:
        return
    assert data.count(CRLF) == 4
    assert data.count(b"\n") == 4
    assert data.count(b"\r") == 4
    assert b"\0" not in data


@pytest.mark.parametrize("character", ["\r", "\n", "\0", "\t", "\x1b", "\x7f", "\r\nAction: Originate"])
def test_a_control_character_is_refused(character: str) -> None:
    with pytest.raises(ValueError, match="control character"):
        encode_action("Setvar", [("Value", f"1{character}2")], "1")
    with pytest.raises(ValueError, match="control character"):
        encode_action(f"Setvar{character}", [], "1")


@pytest.mark.parametrize("name", ["", "A B", "A:B", "A\r\nB", "é"])
def test_a_strange_header_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="not a header name"):
        encode_action("Setvar", [(name, "1")], "1")


def test_an_action_that_asterisk_would_cut_is_refused() -> None:
    longest = "x" * (wire.MAX_ACTION_LINE_BYTES - len("Value: \r\n"))
    assert encode_action("Setvar", [("Value", longest)], "1")
    with pytest.raises(ValueError, match="bytes of a line"):
        encode_action("Setvar", [("Value", longest + "x")], "1")
    with pytest.raises(ValueError, match="headers"):
        encode_action("Originate", [("Variable", "a=b")] * wire.MAX_ACTION_HEADERS, "1")


def test_half_a_surrogate_pair_is_refused() -> None:
    with pytest.raises(ValueError, match="surrogates"):
        encode_action("Setvar", [("Value", "\ud800")], "1")
