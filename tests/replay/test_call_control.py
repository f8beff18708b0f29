"""What the real call_control module of Kamailio 5.6.3 has written, byte for byte: ordinary calls, and hostile ones."""

from pathlib import Path

import pytest

from callctl.adapters.call_control.wire import END, Init, Start, Stop, parse

FOLDER = Path(__file__).parent / "call_control"
CALL = "1-25229@127.0.0.21"
CALLED = "+31687654321"


def recorded(name: str) -> bytes:
    request = (FOLDER / f"{name}.request").read_bytes()
    assert request.count(END) == 1, "nobody can end a request but the module"
    return request.removesuffix(END)


def test_a_call_from_its_beginning_to_its_end() -> None:
    assert parse(recorded("init")) == Init(CALL, "+31201234567", "+31612345678", "127.0.0.21")
    assert parse(recorded("start")) == Start(CALL, "3739:6739")
    assert parse(recorded("stop")) == Stop(CALL)


@pytest.mark.parametrize("call_id", ["folded", "blank", "quoted", "authorization"])
def test_a_caller_who_pretends(call_id: str) -> None:
    """By a From that is folded into other keys, has a blank line, or quotes an address; by a Proxy-Authorization."""
    assert parse(recorded(f"init-{call_id}")) == Init(call_id, "mallory", CALLED, "127.0.0.23")


def test_every_recording_is_played() -> None:
    played = {"init", "start", "stop", "init-folded", "init-blank", "init-quoted", "init-authorization"}
    assert {path.stem for path in FOLDER.iterdir()} == played
