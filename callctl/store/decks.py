"""Decks in steps: compiling, storing and letting go of 200,000 rows without one long pause."""

from collections.abc import AsyncIterable, AsyncIterator, Sequence
from typing import TypeVar

import msgspec

from callctl.clock import give_way
from callctl.rating.builder import DeckBuilder
from callctl.rating.match import Deck
from callctl.rating.tariff import Plan, Row

Each = TypeVar("Each")

STEP_ROWS = 1_000  # of one chunk in the store: to read it takes a ms
_AT_ONCE = 250  # a decision gives way several times, and each time waits for so many

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[Row])


async def in_steps(many: Sequence[Each]) -> AsyncIterator[Sequence[Each]]:
    """Rows, or what takes no longer, with a pause for everybody else after each step."""
    for start in range(0, len(many), STEP_ROWS):
        yield many[start : start + STEP_ROWS]
        await give_way()


async def compile_deck(plan: Plan, steps: AsyncIterable[Sequence[Row]]) -> Deck:
    """A deck of these rows alone. Raises RowConflictError."""
    builder = DeckBuilder(plan)
    async for step in steps:
        for n, row in enumerate(step):
            if n % _AT_ONCE == 0:
                await give_way()
            builder.add(row)
    for n, _ in enumerate(builder.checking(), start=1):
        if n % _AT_ONCE == 0:
            await give_way()
    return builder.build()


async def rows_of(deck: Deck) -> AsyncIterator[Row]:
    """A plan's own rows."""
    for n, entry in enumerate(deck.entries(), start=1):
        for row in entry if isinstance(entry, tuple) else (entry,):
            yield row
        if n % _AT_ONCE == 0:
            await give_way()


async def let_go(retired: list[Deck]) -> None:
    """Free decks that nobody uses any more; to free one at once would be a pause of its own."""
    while retired:
        entries = retired.pop().entries()
        while entries:
            await give_way()
            del entries[-_AT_ONCE:]


def encode_rows(rows: Sequence[Row]) -> bytes:
    return _encoder.encode(rows)


def decode_rows(packed: bytes) -> list[Row]:
    """ValueError when it is not what `encode_rows` made."""
    return _decoder.decode(packed)
