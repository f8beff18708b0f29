"""How a command ends, as `callctl.cli` documents it."""

from enum import IntEnum
from typing import Any

from callctl.errors import CallctlError


class Exit(IntEnum):
    OK = 0
    NO = 1
    USAGE = 2
    CONFIG = 3
    UNREACHABLE = 4
    INTERRUPTED = 130


class WrongUseError(CallctlError):
    """An argument or a file that was named is not what it should be."""


class SaidNoError(CallctlError):
    """No. `details`: every mistake in a deck; `answer`: what the daemon answered, where it was JSON."""

    def __init__(self, message: str, details: tuple[str, ...] = (), answer: dict[str, Any] | None = None) -> None:
        super().__init__("\n  ".join((message, *details)))
        self.answer = answer or {}


class UnreachableError(CallctlError):
    """Nobody answers where the daemon should be."""
