"""The framing of Kamailio's evapi, whatever comes."""

from itertools import pairwise

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from callctl.adapters.kamailio.wire import MAX_COMMAND_BYTES, MAX_MESSAGE_BYTES, Dialog, Message, Reader, decode, encode

contents = st.lists(st.binary(max_size=300), max_size=8)
values = st.text(st.characters(categories=("L", "N", "P", "S")), max_size=40)


def netstring(content: bytes) -> bytes:
    return b"%d:%b," % (len(content), content)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    at = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[a:b] for a, b in pairwise(at)]


@given(contents, st.lists(st.integers(0, 3000)))
def test_however_the_stream_is_cut_it_is_the_same(sent: list[bytes], cuts: list[int]) -> None:
    reader = Reader()
    stream = b"".join(map(netstring, sent))
    assert [frame for piece in pieces(stream, cuts) for frame in reader.feed(piece)] == sent
    assert reader.fault == ""


@given(st.lists(st.binary(max_size=100), max_size=8))
def test_no_bytes_make_it_raise_and_after_a_fault_nothing_comes(received: list[bytes]) -> None:
    reader = Reader()
    for data in received:
        before = reader.fault
        frames = reader.feed(data)
        assert not (before and frames)
        assert not before or reader.fault == before


@given(contents, st.binary(min_size=1, max_size=50), st.lists(st.integers(0, 3000)))
def test_what_is_told_does_not_depend_on_how_rubbish_is_cut(sent: list[bytes], tail: bytes, cuts: list[int]) -> None:
    stream = b"".join(map(netstring, sent)) + tail
    whole, cut = Reader(), Reader()
    frames = whole.feed(stream)
    assert [frame for piece in pieces(stream, cuts) for frame in cut.feed(piece)] == frames
    assert bool(cut.fault) == bool(whole.fault)


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"abc", "not a netstring: b'abc'"),
        (b":{},", "not a netstring: b''"),
        (b"-1:x,", "not a netstring: b'-1'"),
        (b"+1:x,", "not a netstring: b'+1'"),
        (b"1 :x,", "not a netstring: b'1 '"),
        ("٣:abc,".encode(), "not a netstring"),
        (b"2:{}x", "without its comma"),
        (b"%d:" % (MAX_MESSAGE_BYTES + 1), "more than"),
        (b"9" * 30, "more than"),
        (b"0" * 30, "more than"),
    ],
)
def test_what_is_no_netstring_is_a_fault(data: bytes, fault: str) -> None:
    reader = Reader()
    assert reader.feed(b"2:{}," + data) == [b"{}"]
    assert fault in reader.fault
    assert reader.feed(b"2:{},") == []


@pytest.mark.parametrize("cut", range(9))
def test_the_largest_one_passes(cut: int) -> None:
    reader, length = Reader(), b"%d:" % MAX_MESSAGE_BYTES
    assert reader.feed(length[:cut]) == []
    assert reader.feed(length[cut:]) == []
    content = bytes(MAX_MESSAGE_BYTES)
    assert reader.feed(content) == []
    assert reader.feed(b",") == [content]


@given(st.dictionaries(st.text("abcdefghij_", min_size=1, max_size=12), st.one_of(values, st.integers()), max_size=8))
def test_a_command_is_read_as_it_was_meant(command: dict[str, str | int]) -> None:
    (frame,) = Reader().feed(encode(command))
    assert msgspec.json.decode(frame) == command


@pytest.mark.parametrize("value", ["a\r\nReason: x", "a\nb", "a\0b", "a\tb", "a\x7fb", "a\u2028b", "\ud800"])
def test_a_value_cannot_begin_a_line(value: str) -> None:
    with pytest.raises(ValueError, match="number: control character"):
        encode({"id": 1, "number": value})


def test_too_long_a_command_is_refused() -> None:
    with pytest.raises(ValueError, match="more than"):
        encode({"number": "1" * MAX_COMMAND_BYTES})


@given(st.binary(max_size=200))
@example(b'{"event":"\xff"}')
@example(b'{"event":"\\ud800"}')
@example(b'{"id":1e400}')
@example(b'{"from":' + b"[" * 5_000)
@example(b'{"x":' + b"[" * 100_000)
def test_any_content_is_a_message_or_none(content: bytes) -> None:
    message = decode(content)
    assert message is None or isinstance(message, Message)


def test_an_answer_is_a_word_or_a_list() -> None:
    done, listed = decode(b'{"id":7,"result":"done"}'), decode(b'{"id":8,"result":[{"h_entry":1,"h_id":2,"state":4}]}')
    assert done is not None
    assert listed is not None
    assert (done.id, done.word, listed.word) == (7, "done", "")
    assert listed.dialogs() == [Dialog(1, 2, 4)]
    with pytest.raises(ValueError, match="array"):
        done.dialogs()
