"""The log: one event a line, JSON in production and readable on a terminal, without a secret in it.

What `structlog.contextvars` binds stands on every line. The libraries' own warnings (standard `logging`) come out
the same way.
"""

import logging
import re
import sys
from collections.abc import MutableMapping
from contextlib import suppress
from typing import Any, TextIO, cast

import structlog

from callctl.printable import printable

_SECRET_WORDS = {"pin", "pins", "secret", "token", "password", "passwd", "authorization", "credentials"}
_CREDENTIALS_IN_URL = re.compile(r"(?<=://)[^/@\s]*@")
_DROPPED = "[dropped]"

Event = MutableMapping[str, Any]


class _Lossy:
    """A stream that loses what cannot be written: no full disk and no reader that is gone may end a call."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()


def set_up(level: str = "info", style: str = "auto", stream: TextIO = sys.stderr) -> None:
    """Every logger of this process writes to `stream` from now on. `style`: auto, json or text."""
    as_text = style == "text" or (style == "auto" and stream.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        drop_secrets,
    ]
    last: list[structlog.typing.Processor] = [structlog.processors.JSONRenderer()]
    if as_text:
        last = [_made_printable, structlog.dev.ConsoleRenderer(colors=stream.isatty())]
    threshold = getattr(logging, level.upper())
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.WriteLoggerFactory(cast(TextIO, _Lossy(stream))),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(_Lossy(stream))
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    logging.basicConfig(handlers=[handler], level=max(threshold, logging.WARNING), force=True)


def drop_secrets(_logger: Any, _method: str, event: Event) -> Event:
    """A structlog processor: drops what a secret's name stands before, at any depth; passwords in URLs."""
    return {key: _without_secrets(key, value) for key, value in event.items()}


def _without_secrets(key: Any, value: Any) -> Any:
    if isinstance(key, str) and not _SECRET_WORDS.isdisjoint(re.split(r"[^a-z]+", key.lower())):
        return _DROPPED
    if isinstance(value, str):
        return _CREDENTIALS_IN_URL.sub("", value) if "@" in value else value
    if isinstance(value, dict):
        return {inner: _without_secrets(inner, item) for inner, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_secrets(None, item) for item in value]
    return value


def _made_printable(_logger: Any, _method: str, event: Event) -> Event:
    """No control character reaches a terminal; a traceback keeps its lines."""
    return {key: _printable_value(key, value) for key, value in event.items()}


def _printable_value(key: str, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if key == "exception":
        return "\n".join(printable(line) for line in value.splitlines())
    return printable(value)
