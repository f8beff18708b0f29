"""Calls of the past as their CDRs tell them (`call/cdr.py` writes these), for rating them anew."""

from array import array
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Annotated, Literal

import msgspec

from callctl.money import parse_amount
from callctl.numbering import DialRules, Number, normalise, stated
from callctl.rating.tariff import Direction

UNFINISHED_AT_MOST = 10_000
"""Calls that wait for the record of a reseller. A feed writes a call's records one after the other."""

Time = Annotated[datetime, msgspec.Meta(tz=True)]
Count = Annotated[int, msgspec.Meta(ge=0)]

_NO_RULES = DialRules()
_64_BITS = 2**64 - 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND, _SECOND = timedelta(milliseconds=1), timedelta(seconds=1)


@lru_cache(maxsize=65_536)
def _micros(amount: str) -> int:
    return parse_amount(amount)


class PastPart(msgspec.Struct, frozen=True, gc=False):
    """What of a charge another plan took, and what of the cost it was bought for."""

    charge: str
    cost: str | None = None


class PastRecord(msgspec.Struct, frozen=True, gc=False):
    """What rating anew needs of a CDR. ValueError (in decoding, msgspec.ValidationError) for what is none."""

    id: str
    call_id: str
    switch: str
    account: str | None
    role: str
    direction: Direction
    to: str
    setup_time: Time
    duration_ms: Count
    duration_s: Count
    plan: str | None
    charge: str
    currency: str | None
    verdict: Literal["allowed", "refused"]
    parent: str | None = None
    corrects: str | None = None
    destination: str | None = None
    type: str | None = None
    row: str | None = None
    answer_time: Time | None = None
    unbilled_s: Count = 0
    bundle_s: Count = 0
    buy_plan: str | None = None
    surcharge: str = "0"
    parts: tuple[PastPart, ...] | None = None
    cost: str | None = None
    exempt: bool = False
    refusal: str | None = None
    q850: int | None = None
    released_by: str | None = None
    estimated: bool = False

    def __post_init__(self) -> None:
        if self.role == "affiliate":
            raise ValueError("an affiliate's share is no call")
        _micros(self.charge)
        _micros(self.surcharge)
        for part in self.parts or ():
            _micros(part.charge)
            _micros(part.cost or "0")
        if self.cost is not None:
            _micros(self.cost)

    @property
    def setup_ms(self) -> int:
        return (self.setup_time - _EPOCH) // _MILLISECOND

    @property
    def answer_s(self) -> int:
        """The wall second of the answer; of the set-up where there was none."""
        return ((self.answer_time or self.setup_time) - _EPOCH) // _SECOND

    @property
    def revenue(self) -> int:
        """What the payer was charged, with its surcharge, before taxes. Micro-units."""
        return _micros(self.charge) + _micros(self.surcharge)

    @property
    def besides(self) -> int:
        """What of the revenue its plan's row did not say: the surcharge, and what other plans took."""
        surcharge = _micros(self.surcharge)
        return surcharge + sum(_micros(part.charge) for part in self.parts) if self.parts else surcharge

    @property
    def besides_cost(self) -> int:
        """What of the cost other plans' parts were bought for."""
        return sum(_micros(part.cost or "0") for part in self.parts) if self.parts else 0

    @property
    def paid(self) -> int | None:
        """What the payer's seller paid, in micro-units; None where nobody knows."""
        return None if self.cost is None else _micros(self.cost)

    @property
    def may_be_corrected(self) -> bool:
        """Whether nobody saw the call's end, so that a correction may follow."""
        unseen = self.answer_time is None and self.q850 is None and self.released_by is None
        return self.estimated or (unseen and self.verdict == "allowed")


Chain = tuple[PastRecord, ...]
"""The records of one call: its payer's first, then those of every reseller above it."""


class Chains:
    """Puts the records of each call together, as they come in the order of a feed."""

    def __init__(self) -> None:
        self._unfinished: dict[tuple[str, str], list[PastRecord]] = {}

    def add(self, record: PastRecord) -> Iterator[Chain]:
        """What is whole with this record: an unanswered call has no other, an answered one ends at its root."""
        key = (record.switch, record.call_id)
        begun = self._unfinished.get(key)
        if begun is not None and begun[-1].parent != record.account:
            yield tuple(self._unfinished.pop(key))
            begun = None
        if record.parent is None or record.answer_time is None:
            yield (*self._unfinished.pop(key, ()), record)
        elif begun is not None:
            begun.append(record)
        else:
            self._unfinished[key] = [record]
            if len(self._unfinished) > UNFINISHED_AT_MOST:
                yield tuple(self._unfinished.pop(next(iter(self._unfinished))))

    def rest(self) -> Iterator[Chain]:
        """Calls of which the record of a reseller never came."""
        yield from map(tuple, self._unfinished.values())
        self._unfinished.clear()


class Known:
    """Records that were there before: of each 64 bits of a hash, which make no two of ten million the same.

    A switch may use the id of a call again some day: with its set-up it is another one.
    """

    def __init__(self) -> None:
        self._marks = array("Q", bytes(8 * 1024))  # a table with open addressing; 0 is a free place
        self._count = 0

    def again(self, record: PastRecord) -> bool:
        """Whether it was there before; from now on it was."""
        mark = (hash((record.id, record.setup_time)) & _64_BITS) or 1
        at = self._place(mark)
        if self._marks[at]:
            return True
        self._marks[at] = mark
        self._count += 1
        if self._count * 2 > len(self._marks):
            self._grow()
        return False

    def _place(self, mark: int) -> int:
        """Where it is, or where there is room for it."""
        marks, last = self._marks, len(self._marks) - 1
        at = mark & last
        while marks[at] and marks[at] != mark:
            at = (at + 1) & last
        return at

    def _grow(self) -> None:
        before, self._marks = self._marks, array("Q", bytes(2 * self._marks.itemsize * len(self._marks)))
        for mark in filter(None, before):
            self._marks[self._place(mark)] = mark


@lru_cache(maxsize=4_096)
def number_of(to: str) -> Number | None:
    """The number that a CDR names; a short code's target, which need not be in its plan, too."""
    return stated(to) or normalise(to, _NO_RULES)
