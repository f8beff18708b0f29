"""The trace: every check of an admission in order, with what it saw, its threshold and its verdict."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Final

import msgspec


class Verdict(StrEnum):
    PASS = "pass"
    REFUSE = "refuse"
    WOULD_REFUSE = "would_refuse"  # by a limit that is not enforced
    SKIP = "skip"


PASS: Final = Verdict.PASS
"""A member of an enumeration that is asked for by name takes as long as the line of the trace itself."""


class Check(msgspec.Struct, frozen=True, omit_defaults=True, rename={"level": "account"}, gc=False):
    """One line of a trace. `level`: the account it speaks of, where that is not the caller's own.

    `asked` and `since`: as of a `checks.Finding`.
    """

    check: str
    verdict: Verdict
    saw: str
    limit: str = ""
    level: str = ""
    asked: str = ""
    since: str = ""


def visible(trace: bytes, account: str | None) -> msgspec.Raw:
    """The trace as the front door shows it, in JSON: to `account` (None: to the provider) nothing of the levels above.

    A refusal of a level above stays as `provider_limit`, without detail (`docs/rules.md`, Seeing).
    """
    if account is not None:
        trace = encode_trace(_without_levels_above(decode_trace(trace), account))
    return msgspec.Raw(b"[%b]" % trace.rstrip().replace(b"\n", b","))


def _without_levels_above(trace: Iterable[Check], account: str) -> list[Check]:
    own = ("", account)
    hidden = Check("provider_limit", Verdict.REFUSE, "")
    return [
        check if check.level in own else hidden
        for check in trace
        if check.level in own or check.verdict is Verdict.REFUSE
    ]


def encode_trace(checks: Iterable[Check], before: bytes = b"") -> bytes:
    """The checks as a session keeps them: a line of JSON each, behind those of `before`.

    Joined, they are as long as they say: the encoder's own buffer would keep a kilobyte for every call.
    """
    return b"".join((before, _encode_lines(checks)))


def decode_trace(lines: bytes) -> tuple[Check, ...]:
    return tuple(_decoder.decode_lines(lines))


_encode_lines = msgspec.json.Encoder().encode_lines
_decoder = msgspec.json.Decoder(Check)
