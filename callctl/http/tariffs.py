"""Tariff plans and their rows: JSON for what holds for the whole plan, CSV for the rows. The provider's alone."""

import asyncio
import csv
import io
from collections.abc import AsyncIterator, Iterable, Sequence

import msgspec
from aiohttp import web

from callctl.errors import PortError
from callctl.http import body, schemas
from callctl.http.auth import Holder, Scope
from callctl.http.errors import HttpError, bad_request, not_found, unacceptable
from callctl.http.fields import new_id
from callctl.http.routes import Query, Route, flag, json_response, refuse_unknown_queries
from callctl.ports import Definitions, Tariffs
from callctl.rating.deck import export_deck, import_deck
from callctl.rating.deckdiff import DeckDiff, diff_decks
from callctl.rating.tariff import Plan, Row

CSV = "text/csv"
SHOWN_AT_MOST = 100
ROWS_PER_WRITE = 1000
SLOWEST_READER_S = 30
UPLOADS_AT_ONCE = 2

RowShown = dict[str, str]
"""A row by column, as the CSV says it; empty cells left out."""


class RowChange(msgspec.Struct, frozen=True):
    """A row that is in both decks, with other terms."""

    old: RowShown
    new: RowShown
    movement: str


class RowsAnswer(msgspec.Struct, frozen=True):
    """What taking the deck does, or would do (`dry_run`): how many rows, and of each kind the first hundred."""

    plan: str
    rows: int
    dry_run: bool
    added: int
    removed: int
    changed: int
    first_added: tuple[RowShown, ...]
    first_removed: tuple[RowShown, ...]
    first_changed: tuple[RowChange, ...]


class TariffPlans:
    """The routes of plans."""

    def __init__(self, definitions: Definitions, tariffs: Tariffs) -> None:
        self._definitions = definitions
        self._tariffs = tariffs
        self._uploads = asyncio.Semaphore(UPLOADS_AT_ONCE)

    def routes(self) -> tuple[Route, ...]:
        read, admin, plan, rows = Scope.READ, Scope.ADMIN, "/v1/plans/{id}", "/v1/plans/{id}/rows"
        put, put_rows = (400, 408, 413, 415, 422, 503), (400, 404, 408, 413, 415, 422, 503)
        plan_body, shown = schemas.PlanBody, schemas.PlanAnswer
        dry_run = (Query("dry_run", "`true`: answer the difference, change nothing"),)
        return (
            Route("PUT", plan, self.put_plan, admin, "create or replace", plan_body, shown, (), put, True),
            Route("GET", plan, self.show_plan, read, "one plan", None, shown, (), (404,), True),
            Route("PUT", rows, self.put_rows, admin, "replace all rows", CSV, RowsAnswer, dry_run, put_rows, True),
            Route("GET", rows, self.show_rows, read, "all rows", None, CSV, (), (404, 503), True),
        )

    async def put_plan(self, request: web.Request, _: Holder) -> web.Response:
        asked = body.parse(schemas.PlanBody, await body.read(request, body.JSON_LIMIT))
        plan = asked.becomes(Plan, id=new_id(request.match_info["id"]))
        await self._definitions.put_plan(plan)
        return json_response({"id": plan.id, **asked.shown()})

    async def show_plan(self, request: web.Request, _: Holder) -> web.Response:
        plan = self._plan(request)
        return json_response({"id": plan.id, **schemas.PlanBody.of(plan).shown()})

    async def put_rows(self, request: web.Request, _: Holder) -> web.Response:
        """A deck is taken whole or not at all; what is wrong with it is said line by line."""
        refuse_unknown_queries(request, "dry_run")
        plan, dry_run = self._plan(request), flag(request, "dry_run")
        if request.content_type != CSV:
            raise HttpError(415, "unsupported_media_type", f"Content-Type: {CSV} is expected")
        if self._uploads.locked():
            raise HttpError(503, "busy", "other decks are being read", headers={"Retry-After": "5"})
        async with self._uploads:
            raw = await body.read(request, body.ROWS_LIMIT, timeout_s=body.ROWS_ARRIVAL_TIMEOUT_S)
            rows = await asyncio.to_thread(_rows, raw, plan)
            before = [row async for row in self._definitions.rows(plan.id)]
            diff = await asyncio.to_thread(diff_decks, before, rows)
            if not dry_run:
                try:
                    await self._definitions.put_rows(plan.id, rows)
                except ValueError as exc:
                    raise unacceptable(str(exc)) from None
        return json_response(_answer(plan, len(rows), diff, dry_run))

    async def show_rows(self, request: web.Request, _: Holder) -> web.StreamResponse:
        chunks = _csv(self._definitions.rows(self._plan(request).id))
        first = await anext(chunks)  # A store that is down is still a 503 here.
        response = web.StreamResponse(headers={"Content-Type": f"{CSV}; charset=utf-8"})
        await response.prepare(request)
        try:
            await _write(response, first)
            async for chunk in chunks:
                await _write(response, chunk)
            await response.write_eof()
        except (PortError, TimeoutError):
            # Too late for another status: the reader must see that this is not the whole deck.
            if request.transport is not None:
                request.transport.abort()
        return response

    def _plan(self, request: web.Request) -> Plan:
        plan = self._tariffs.plan(request.match_info["id"])
        if plan is None:
            raise not_found("plan")
        return plan


def _rows(raw: bytes, plan: Plan) -> tuple[Row, ...]:
    """The rows of a CSV. HttpError 422 with every line that is wrong."""
    try:
        text = raw.decode()
    except UnicodeDecodeError as exc:
        raise bad_request(f"the rows are not UTF-8: {exc}") from None
    deck = import_deck(io.StringIO(text, newline=""), plan)
    if deck.errors:
        first = deck.errors[0]
        every = tuple(str(error) for error in deck.errors)
        raise HttpError(422, "wrong_rows", str(first), f"line {first.line}", details=every)
    return deck.rows


def _answer(plan: Plan, rows: int, diff: DeckDiff, dry_run: bool) -> RowsAnswer:
    changed = diff.changed[:SHOWN_AT_MOST]
    old, new = _shown([change.old for change in changed]), _shown([change.new for change in changed])
    return RowsAnswer(
        plan=plan.id,
        rows=rows,
        dry_run=dry_run,
        added=len(diff.added),
        removed=len(diff.removed),
        changed=len(diff.changed),
        first_added=_shown(diff.added[:SHOWN_AT_MOST]),
        first_removed=_shown(diff.removed[:SHOWN_AT_MOST]),
        first_changed=tuple(
            RowChange(was, now, change.movement.value) for was, now, change in zip(old, new, changed, strict=True)
        ),
    )


def _shown(rows: Iterable[Row]) -> tuple[RowShown, ...]:
    return tuple({name: cell for name, cell in row.items() if cell} for row in csv.DictReader(export_deck(rows)))


async def _csv(rows: AsyncIterator[Row]) -> AsyncIterator[bytes]:
    """The export in pieces of some rows; the first begins with the header."""
    batch: list[Row] = []
    header = True
    async for row in rows:
        batch.append(row)
        if len(batch) == ROWS_PER_WRITE:
            yield _lines(batch, header)
            batch, header = [], False
    if batch or header:
        yield _lines(batch, header)


def _lines(rows: Sequence[Row], header: bool) -> bytes:
    lines = export_deck(rows)
    if not header:
        next(lines)
    return "".join(lines).encode()


async def _write(response: web.StreamResponse, chunk: bytes) -> None:
    async with asyncio.timeout(SLOWEST_READER_S):
        await response.write(chunk)
