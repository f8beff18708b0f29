"""Feed records as the store hands them to sinks."""

import json
from typing import Any

from callctl.clock import Instant
from callctl.ports import FeedRecord
from callctl.sinks.lines import Csv, JsonLines, LineFormat

START = Instant(1_795_255_200_000, 5_000)  # 2026-11-21T10:00:00Z

FORMATS: dict[str, LineFormat] = {"jsonl": JsonLines(), "csv": Csv()}


class SetClock:
    """A clock that stands still until it is told."""

    def __init__(self) -> None:
        self.instant = START

    def now(self) -> Instant:
        return self.instant

    def pass_s(self, seconds: int) -> None:
        self.instant = self.instant.plus_ms(seconds * 1000)

    async def sleep_ms(self, ms: int) -> None:
        self.instant = self.instant.plus_ms(ms)


def feed_record(sequence: int, account: str = "acme", **fields: Any) -> FeedRecord:
    cdr = {"sequence": sequence, "id": f"http/c{sequence}:{account}", "account": account, **fields}
    return FeedRecord(sequence, account, json.dumps(cdr).encode())


def feed(first: int, last: int) -> list[FeedRecord]:
    """Records `first` to `last`, both included."""
    return [feed_record(sequence) for sequence in range(first, last + 1)]
