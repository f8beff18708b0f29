"""The log keeps secrets to itself, is one line of JSON per event, and no caller can write on the terminal."""

import errno
import io
import json
import logging

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from callctl.logs import set_up
from callctl.printable import printable


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _undo():
    handlers, level = logging.root.handlers[:], logging.root.level
    yield
    structlog.reset_defaults()
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_json_away_from_a_terminal() -> None:
    stream = io.StringIO()
    set_up(stream=stream)
    structlog.get_logger().info("call_refused", refusal="no_credit")
    (line,) = lines(stream)
    assert (line["event"], line["refusal"], line["level"]) == ("call_refused", "no_credit", "info")
    assert str(line["timestamp"]).endswith("Z")


def test_readable_on_a_terminal() -> None:
    stream = Terminal()
    set_up(stream=stream)
    structlog.get_logger().info("call_refused", refusal="no_credit")
    assert "call_refused" in stream.getvalue()
    assert not stream.getvalue().startswith("{")


def test_the_level_holds() -> None:
    stream = io.StringIO()
    set_up(level="warning", stream=stream)
    structlog.get_logger().info("quiet")
    structlog.get_logger().warning("loud")
    assert [line["event"] for line in lines(stream)] == ["loud"]


def test_the_call_is_bound_once() -> None:
    stream = io.StringIO()
    set_up(stream=stream)
    with structlog.contextvars.bound_contextvars(call_id="c1"):
        structlog.get_logger().info("answered")
    structlog.get_logger().info("idle")
    assert [line.get("call_id") for line in lines(stream)] == ["c1", None]


@pytest.mark.parametrize("key", ["pin", "PIN", "secret", "ami_secret", "http.token", "password", "X-Token"])
@pytest.mark.parametrize("style", ["json", "text"])
def test_secrets_are_dropped(key: str, style: str) -> None:
    stream = io.StringIO()
    set_up(style=style, stream=stream)
    log = structlog.get_logger()
    log.info("x", **{key: "hush-1"})
    log.info("x", settings={"switch": [{key: "hush-2"}]})
    log.info("x", **{key: ["hush-3"]})
    assert "hush" not in stream.getvalue()
    assert stream.getvalue().count("[dropped]") == 3


def test_what_only_sounds_like_a_secret_is_kept() -> None:
    stream = io.StringIO()
    set_up(stream=stream)
    structlog.get_logger().info("x", spinning="kept", shipping_s=3)
    assert lines(stream)[0]["spinning"] == "kept"


def test_passwords_in_addresses_are_dropped() -> None:
    stream = io.StringIO()
    set_up(stream=stream)
    structlog.get_logger().info("x", redis="redis://user:hush@host:6379/0", detail="at redis://:hush@h, a@b")
    assert "hush" not in stream.getvalue()
    assert lines(stream)[0]["redis"] == "redis://host:6379/0"


def test_a_traceback_is_a_field_and_shows_no_password() -> None:
    stream = io.StringIO()
    set_up(stream=stream)
    try:
        raise ValueError("redis://:hush@host")
    except ValueError:
        structlog.get_logger().exception("broken")
    (line,) = lines(stream)
    assert "ValueError" in str(line["exception"])
    assert "hush" not in stream.getvalue()


def test_the_libraries_log_the_same_way() -> None:
    stream = io.StringIO()
    set_up(stream=stream)
    logging.getLogger("mqtt").warning("lost %s", "redis://:hush@host")
    logging.getLogger("mqtt").info("quiet")
    (line,) = lines(stream)
    assert (line["event"], line["logger"], line["level"]) == ("lost redis://host", "mqtt", "warning")


def test_no_caller_writes_on_the_terminal() -> None:
    stream = io.StringIO()
    set_up(style="text", stream=stream)
    structlog.get_logger().info("offered", name="\x1b[2J\rEve\nline")
    assert "\x1b" not in stream.getvalue()
    assert stream.getvalue().count("\n") == 1


@given(st.text())
def test_printable_text_prints(text: str) -> None:
    assert printable(text).isprintable()
    assert not text.isprintable() or printable(text) == text


class Full(io.StringIO):
    """A disk without room."""

    def write(self, text: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    def flush(self) -> None:
        self.write("")


def test_a_log_that_cannot_be_written_ends_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    set_up(stream=Full())
    structlog.get_logger().info("lost")
    logging.getLogger("mqtt").warning("lost")
    assert capsys.readouterr() == ("", "")
