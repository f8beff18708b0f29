"""What `doctor` found: fine, unwise, or failed."""

from enum import StrEnum
from typing import NamedTuple


class Verdict(StrEnum):
    FINE = "fine"
    UNWISE = "unwise"
    FAILED = "failed"


class Finding(NamedTuple):
    """One line of the report."""

    verdict: Verdict
    check: str
    detail: str


def fine(check: str, detail: str) -> Finding:
    return Finding(Verdict.FINE, check, detail)


def unwise(check: str, detail: str) -> Finding:
    return Finding(Verdict.UNWISE, check, detail)


def failed(check: str, detail: str) -> Finding:
    return Finding(Verdict.FAILED, check, detail)
