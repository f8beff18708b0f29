"""Reading an uploaded deck, in a process of its own: 200,000 rows must not hold up an admission.

`python -m callctl.http.deckwork` reads frames (four bytes of length, then so many bytes): the task, the sheet, then
decks, each ended by an empty frame. It writes the outcome, and where there are rows, them.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import BinaryIO

import msgspec

from callctl.clock import give_way
from callctl.errors import DeckError, PortError
from callctl.http.deckanswer import (
    SHOWN_AT_MOST,
    Margin,
    RowsAnswer,
    changes_shown,
    difference_csv,
    margin_shown,
    rows_shown,
)
from callctl.rating.builder import DeckBuilder
from callctl.rating.decks.deck import DeckImport, import_deck
from callctl.rating.decks.difference import DeckDiff, Movement, diff_decks
from callctl.rating.decks.margins import DeckMargin, Purchases, all_rows, judge_deck, no_purchase
from callctl.rating.decks.sheet import Layout, decode
from callctl.rating.exchange import Conversion
from callctl.rating.margin import MarginRule
from callctl.rating.match import Deck
from callctl.rating.tariff import Plan, Row

STEP_ROWS = 250  # a decision gives way several times, and each time waits for a whole step
_MAX_ERRORS = 100
_NICENESS = 5  # calls go first

_rows_encoder = msgspec.msgpack.Encoder()
_rows_decoder = msgspec.msgpack.Decoder(list[Row])


class Seller(msgspec.Struct, frozen=True):
    """A plan that buys by another one. `sells`, `buys`: whose rows price its calls, and whose its purchases."""

    id: str
    buy_plan: str
    sells: tuple[str, ...]
    buys: tuple[str, ...]


class Task(msgspec.Struct, frozen=True):
    """What is to be made of a sheet. `own`, `buy`: the plans that it is read under, and that it buys from.

    Each begins with the plan that extends none. `rule`, `at_ms`: the margin of a dry run, from when on.
    `exchange`: by which its purchases are converted where they are in another currency, or why they are not.
    `sellers`: the other plans that sell or buy by its rows; `theirs`: the plans behind them, but for its own.
    """

    layout: Layout
    own: tuple[Plan, ...]
    buy: tuple[Plan, ...]
    dry_run: bool
    as_csv: bool
    rule: MarginRule
    at_ms: int
    exchange: Conversion | str | None = None
    sellers: tuple[Seller, ...] = ()
    theirs: tuple[str, ...] = ()


class Outcome(msgspec.Struct, frozen=True):
    """The answer, or what is wrong with the sheet, line by line."""

    answer: bytes
    first_line: int = 0
    errors: tuple[str, ...] = ()


async def work(task: Task, sheet: bytearray, decks: AsyncIterator[list[Row]]) -> tuple[Outcome, list[Row]]:
    """Have it done. `decks`: the rows of the plan as it is, of every plan of `own` but the last, of `buy` and `theirs`.

    They come in steps; an empty one ends each. PortError when the process ends before its work.
    """
    pipe = asyncio.subprocess.PIPE
    program = (sys.executable, "-P", "-m", "callctl.http.deckwork")
    process = await asyncio.create_subprocess_exec(*program, stdin=pipe, stdout=pipe)
    try:
        assert process.stdin is not None and process.stdout is not None  # noqa: PT018, S101  as was asked for
        await _say(process.stdin, msgspec.msgpack.encode(task))
        await _say(process.stdin, sheet)
        async for step in decks:
            await _say(process.stdin, _rows_encoder.encode(step) if step else b"")
            await give_way()
        process.stdin.close()
        outcome = msgspec.msgpack.decode(await _frame(process.stdout), type=Outcome)
        rows: list[Row] = []
        while packed := await _frame(process.stdout):
            rows += _rows_decoder.decode(packed)
            await give_way()
    except (OSError, asyncio.IncompleteReadError) as failed:
        raise PortError("the process that reads the deck has ended") from failed
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
    return outcome, rows


def _framed(frame: bytes) -> bytes:
    return len(frame).to_bytes(4, "big") + frame


async def _say(stream: asyncio.StreamWriter, frame: bytes | bytearray) -> None:
    """A frame, uncopied, for a sheet has megabytes."""
    stream.write(len(frame).to_bytes(4, "big"))
    stream.write(frame)
    await stream.drain()


async def _frame(stream: asyncio.StreamReader) -> bytes:
    return await stream.readexactly(int.from_bytes(await stream.readexactly(4), "big"))


def main() -> None:
    os.nice(_NICENESS)
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    task = msgspec.msgpack.decode(_read(source), type=Task)
    outcome, rows = _done(task, _read(source), source)
    sink.write(_framed(msgspec.msgpack.encode(outcome)))
    for start in range(0, len(rows), STEP_ROWS):
        sink.write(_framed(_rows_encoder.encode(rows[start : start + STEP_ROWS])))
    sink.write(_framed(b""))
    sink.flush()
    os._exit(0)  # freeing some 100 MB object by object takes longer than all the rest of an end


def _read(source: BinaryIO) -> bytes:
    return source.read(int.from_bytes(source.read(4), "big"))


def _deck_rows(source: BinaryIO) -> Iterator[Row]:
    while packed := _read(source):
        yield from _rows_decoder.decode(packed)


def _family(plans: tuple[Plan, ...], source: BinaryIO) -> Deck | None:
    """The deck of the last plan, over those that it extends."""
    deck: Deck | None = None
    for plan in plans:
        builder = DeckBuilder(plan, deck)
        for row in _deck_rows(source):
            builder.add(row)
        deck = builder.build()
    return deck


def _done(task: Task, sheet: bytes, source: BinaryIO) -> tuple[Outcome, tuple[Row, ...]]:
    plan = task.own[-1]
    before = list(_deck_rows(source))
    parent = _family(task.own[:-1], source)
    buy = _family(task.buy, source)
    theirs = {plan_id: list(_deck_rows(source)) for plan_id in task.theirs}
    try:
        read = import_deck(decode(sheet, task.layout.encoding), plan, task.layout)
    except DeckError as error:
        read = DeckImport((), (error,))
    errors = read.errors or tuple(_percentages_of_nothing(task, read, buy))
    if errors or read.deck is None:
        return Outcome(b"", errors[0].line, tuple(map(str, errors))), ()
    diff = diff_decks(before, read.rows)
    margin = None
    if task.dry_run and buy is not None and not isinstance(task.exchange, str):
        deck, at_ms = read.deck.under(plan, parent), max(task.at_ms, plan.effective_ms or 0)
        margin = judge_deck(deck, buy, task.rule, at_ms, task.exchange)
    if task.as_csv:
        return Outcome(difference_csv(diff, margin)), ()
    lost = tuple(_lost_purchases(task, {**theirs, plan.id: read.rows}))
    answer = msgspec.json.encode(_answer(task, read, diff, margin, lost))
    return Outcome(answer), () if task.dry_run else read.rows


def _percentages_of_nothing(task: Task, read: DeckImport, buy: Deck | None) -> Iterator[DeckError]:
    """A reseller's plan names no `buy_plan`; where one is named, it must have a price for every percentage."""
    buy_plan = task.own[-1].buy_plan
    if buy_plan is not None:
        for index in islice(Purchases(all_rows(buy), task.at_ms).missing(read.rows), _MAX_ERRORS):
            yield DeckError(read.lines[index], f"percent: {no_purchase(buy_plan)}")


def _lost_purchases(task: Task, rows_of: dict[str, Sequence[Row]]) -> Iterator[str]:
    """Of other plans: percentages for which nothing is bought, once the rows of this one are these."""
    purchases: dict[tuple[str, ...], Purchases] = {}  # many buy by the same
    for seller in task.sellers:
        if seller.buys not in purchases:
            purchases[seller.buys] = Purchases(_rows(rows_of, seller.buys), task.at_ms)
        sold = list(_rows(rows_of, seller.sells))
        rows = [sold[index] for index in purchases[seller.buys].missing(sold)]
        if rows:
            yield f"plan {seller.id}: {no_purchase(seller.buy_plan, rows)}"


def _rows(rows_of: dict[str, Sequence[Row]], plan_ids: Iterable[str]) -> Iterator[Row]:
    return chain.from_iterable(rows_of[plan_id] for plan_id in plan_ids)


def _answer(
    task: Task, read: DeckImport, diff: DeckDiff, margin: DeckMargin | None, lost: tuple[str, ...]
) -> RowsAnswer:
    exchange = task.exchange if isinstance(task.exchange, Conversion) else None
    shown: Margin | None = margin_shown(task.buy[-1].id, margin, exchange) if margin is not None else None
    return RowsAnswer(
        plan=task.own[-1].id,
        rows=len(read.rows),
        dry_run=task.dry_run,
        added=len(diff.added),
        removed=len(diff.removed),
        changed=len(diff.changed),
        dearer=sum(1 for change in diff.changed if change.movement is Movement.DEARER),
        cheaper=sum(1 for change in diff.changed if change.movement is Movement.CHEAPER),
        unchanged=diff.unchanged,
        first_added=tuple(rows_shown(diff.added[:SHOWN_AT_MOST])),
        first_removed=tuple(rows_shown(diff.removed[:SHOWN_AT_MOST])),
        first_changed=tuple(changes_shown(diff.changed[:SHOWN_AT_MOST])),
        margin=shown,
        passed_over_lines=read.asides[:SHOWN_AT_MOST],
        passed_over_headings=read.ignored,
        warnings=(*_warnings(task, read), *lost),
    )


def _warnings(task: Task, read: DeckImport) -> Iterator[str]:
    if not read.rows:
        yield "no rows: the plan has no price of its own for any number"
    if not task.buy and any(row.percent is not None for row in read.rows):
        yield "percentages, and the plan has no buy_plan: only calls with a trunk's or a parent's have a price"
    if task.dry_run and isinstance(task.exchange, str):
        yield f"what is earned was not worked out: {task.exchange}"
    elif isinstance(task.exchange, str) and any(row.percent is not None for row in read.rows):
        yield f"percentages of {task.own[-1].buy_plan}, and {task.exchange}"


if __name__ == "__main__":
    main()
