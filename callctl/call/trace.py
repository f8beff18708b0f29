"""The trace: every check of an admission in order, with what it saw, its threshold and its verdict."""

from collections.abc import Sequence
from enum import StrEnum

import msgspec


class Verdict(StrEnum):
    PASS = "pass"
    REFUSE = "refuse"
    SKIP = "skip"


class Check(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One line of a trace. `level`: the account it speaks of, where that is not the caller's own."""

    check: str
    verdict: Verdict
    saw: str
    limit: str = ""
    level: str = ""


Trace = tuple[Check, ...]


def visible(trace: Trace, account: str | None) -> list[dict[str, str]]:
    """The trace as the front door shows it: to `account` (None: to the provider) nothing of the levels above.

    A refusal of a level above stays as `provider_limit`, without detail (`rules.md`, Seeing).
    """
    lines: list[dict[str, str]] = []
    for check in trace:
        if account is not None and check.level not in ("", account):
            if check.verdict is Verdict.REFUSE:
                lines.append({"check": "provider_limit", "verdict": "refuse", "saw": ""})
            continue
        line = {"check": check.check, "verdict": check.verdict.value, "saw": check.saw}
        if check.limit:
            line["limit"] = check.limit
        if check.level:
            line["account"] = check.level
        lines.append(line)
    return lines


def encode_trace(checks: Sequence[Check]) -> bytes:
    """The checks as a session keeps them: a line of JSON each, so that more can be put behind them."""
    return _encoder.encode_lines(checks)


def decode_trace(lines: bytes) -> Trace:
    return tuple(_decoder.decode_lines(lines))


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Check)
