"""FreeSWITCH's event socket as bytes, whatever TCP, a caller or chance makes of them."""

import json
import tracemalloc
from itertools import pairwise
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callctl.adapters.freeswitch.wire import (
    MAX_BODY_BYTES,
    MAX_COMMAND_BYTES,
    MAX_HEADERS_BYTES,
    Frame,
    Reader,
    Unsendable,
    assignments,
    decoded,
    encode_command,
    parse_dump,
    parse_event,
    parse_headers,
    parse_rows,
    word,
)

NAMES = st.from_regex(r"[A-Za-z][A-Za-z0-9_-]{0,20}", fullmatch=True).filter(lambda name: name != "Content-Length")
VALUES = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=40)
HEADERS = st.dictionaries(NAMES, VALUES, min_size=1, max_size=6)
BODIES = st.binary(max_size=200)


def frame(headers: dict[str, str], body: bytes = b"") -> bytes:
    length = {"Content-Length": str(len(body))} if body else {}
    return "".join(f"{name}: {value}\n" for name, value in {**length, **headers}.items()).encode() + b"\n" + body


def fed(reader: Reader, data: bytes, cuts: list[int]) -> list[Frame]:
    """What comes of `data`, cut at these places."""
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [found for a, b in pairwise(places) for found in reader.feed(data[a:b])]


@given(st.lists(st.tuples(HEADERS, BODIES), min_size=1, max_size=5), st.lists(st.integers(min_value=0), max_size=20))
def test_frames_are_the_same_however_they_were_cut(told: list[tuple[dict[str, str], bytes]], cuts: list[int]) -> None:
    reader = Reader()
    frames = fed(reader, b"".join(frame(headers, body) for headers, body in told), cuts)
    assert reader.fault == ""
    assert [found.body for found in frames] == [body for _, body in told]
    for found, (headers, _) in zip(frames, told, strict=True):
        assert {name: value.strip(" ") for name, value in found.headers.items() if name != "Content-Length"} == {
            name: value.strip(" ") for name, value in headers.items()
        }


@given(st.lists(st.binary(max_size=300), max_size=8))
def test_nothing_that_is_sent_makes_the_reader_raise(chunks: list[bytes]) -> None:
    reader = Reader()
    for chunk in chunks:
        for found in reader.feed(chunk):
            assert isinstance(found.text, str)
            assert isinstance(found.kind, str)


@given(st.binary(max_size=200))
def test_nothing_that_is_sent_makes_a_parser_raise(data: bytes) -> None:
    parse_event(data)
    parse_dump(data.decode("latin-1"))
    parse_rows(data.decode("latin-1"))
    decoded(parse_headers(data))


@given(HEADERS, BODIES.filter(bool), st.integers(min_value=0))
def test_a_frame_that_ends_in_the_middle_is_none(headers: dict[str, str], body: bytes, cut: int) -> None:
    data = frame(headers, body)
    reader = Reader()
    assert reader.feed(data[: cut % len(data)]) == []
    assert reader.fault == ""


def test_a_huge_frame_comes_whole() -> None:
    reader, body = Reader(), b"x" * 5_000_000
    data = frame({"Content-Type": "api/response"}, body)
    frames = [found for begin in range(0, len(data), 65_536) for found in reader.feed(data[begin : begin + 65_536])]
    assert [found.body for found in frames] == [body]


@pytest.mark.parametrize("length", [str(MAX_BODY_BYTES + 1), "-1", "1e3", "x", "٣", "9" * 30, "1 1"])
def test_a_length_that_cannot_be_is_the_end_of_the_connection(length: str) -> None:
    reader = Reader()
    assert reader.feed(f"Content-Length: {length}\n\n".encode() + frame({"A": "b"})) == []
    assert reader.fault
    assert reader.feed(frame({"A": "b"})) == []


def test_nothing_is_kept_after_a_fault() -> None:
    reader = Reader()
    reader.feed(b"Content-Length: -1\n\n")
    tracemalloc.start()
    reader.feed(bytes(1_000_000))
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 100_000


def test_headers_without_end_are_the_end_of_the_connection() -> None:
    reader = Reader()
    assert reader.feed(b"A: " + b"x" * MAX_HEADERS_BYTES) == []
    assert reader.fault


def test_empty_lines_between_frames_are_nothing() -> None:
    assert [found.headers["A"] for found in Reader().feed(b"\n\n" + frame({"A": "b"}) + b"\n" + frame({"A": "c"}))] == [
        "b",
        "c",
    ]


# -------------------------------------------------------------------- what callers put in


@given(st.text(max_size=30))
def test_no_value_of_a_caller_becomes_a_header(name: str) -> None:
    """Neither encoded as FreeSWITCH encodes it, nor with a %0A that it did not encode again."""
    sent = quote(name, safe="%") + "%0AX-Injected: yes%0A%0A"
    event = decoded(parse_headers(f"Caller-Name: {sent}\nA: b".encode()))
    assert set(event) == {"Caller-Name", "A"}
    assert event["Caller-Name"].endswith("\nX-Injected: yes\n\n")


@given(st.dictionaries(NAMES, st.text(max_size=30), max_size=5))
def test_a_json_event_is_read_as_it_was_written(told: dict[str, str]) -> None:
    data = json.dumps(told, ensure_ascii=False).encode("utf-8", "replace")
    assert parse_event(data) == {name: value.encode("utf-8", "replace").decode() for name, value in told.items()}


def test_latin_1_is_no_reason_to_fail() -> None:
    event = parse_event(b'{"Caller-Caller-ID-Name":"Ren\xe9","Unique-ID":"u"}')
    assert event == {"Caller-Caller-ID-Name": "Ren\ufffd", "Unique-ID": "u"}
    frames = Reader().feed(b"Reply-Text: +OK Ren\xe9\n\n")
    assert frames[0].text == "+OK Ren\ufffd"


def test_a_newline_in_a_value_is_part_of_it() -> None:
    assert parse_event(b'{"A":"one\\nX-Injected: yes","B":"two"}') == {"A": "one\nX-Injected: yes", "B": "two"}


def test_of_several_values_the_first_is_told_in_both_forms() -> None:
    assert parse_event(b'{"A":["1","2"],"B":[],"C":null,"D":7}') == {"A": "1"}
    assert decoded({"A": "ARRAY%3A%3A1%7C%3A2"}) == {"A": "1"}


def test_a_key_told_twice_has_one_value() -> None:
    assert parse_event(b'{"Hangup-Cause":"A","Hangup-Cause":"B"}') == {"Hangup-Cause": "B"}


@pytest.mark.parametrize("text", ["", "-ERR No such channel!", "[1]", '"x"', "{", "[" * 100_000, '{"A":' * 10_000])
def test_what_is_no_object_is_no_dump_and_no_list(text: str) -> None:
    assert parse_dump(text) is None
    assert parse_rows(text) is None


def test_an_empty_list_has_no_rows() -> None:
    assert parse_rows('{"row_count": 0}\n') == []
    assert parse_rows('{"row_count":1,"rows":[{"uuid":"u","n":1}, 3]}') == [{"uuid": "u"}]
    assert parse_rows('{"rows":[]}') is None


# -------------------------------------------------------------------- what we send


@given(st.text(max_size=30))
def test_a_command_is_one_command_or_none(value: str) -> None:
    try:
        data = encode_command(f"api uuid_kill {value}")
    except Unsendable:
        return
    assert data.count(b"\n") == 2
    assert data.endswith(b"\n\n")
    assert b"\r" not in data
    assert b"\0" not in data


@given(st.text(max_size=30))
def test_a_word_is_one_argument_or_none(value: str) -> None:
    try:
        assert word(value).split(" ") == [value]
    except Unsendable:
        return
    assert encode_command(word(value)).decode("utf-8", "replace").split() or value.isspace()


@pytest.mark.parametrize("value", ["a b", "", "a\nb", "a\tb", " a", "a\x00"])
def test_what_would_be_several_arguments_is_refused(value: str) -> None:
    with pytest.raises(Unsendable):
        word(value)


@pytest.mark.parametrize("value", ["a;b", "a'b", 'a"b', "a\\b", "${x}", "a\nb", "$x"])
def test_what_would_be_another_assignment_is_refused(value: str) -> None:
    with pytest.raises(Unsendable):
        assignments({"x": value})


@pytest.mark.parametrize("name", ["", "a b", "a=b", "1a", "a;b"])
def test_a_strange_variable_is_refused(name: str) -> None:
    with pytest.raises(Unsendable):
        assignments({name: "x"})


def test_variables_are_assigned_in_one_go() -> None:
    told = {"execute_on_answer": "sched_hangup +6 ALLOTTED_TIMEOUT", "callctl_dial": "", "a": "b,c=d"}
    assert assignments(told) == "execute_on_answer=sched_hangup +6 ALLOTTED_TIMEOUT;callctl_dial=;a=b,c=d"


def test_a_command_has_a_bound() -> None:
    with pytest.raises(Unsendable, match="bytes"):
        encode_command("x" * (MAX_COMMAND_BYTES + 1))
