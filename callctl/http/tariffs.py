"""Tariff plans and their rows: JSON for what holds for the whole plan, CSV for the rows."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TypeVar

from aiohttp import web
from msgspec.structs import replace

from callctl.errors import PortError
from callctl.http import body, ownership, purchases, schemas
from callctl.http.auth import Holder, Scope
from callctl.http.deckanswer import RowsAnswer
from callctl.http.deckwork import STEP_ROWS, Outcome, Task, work
from callctl.http.errors import HttpError, bad_request, not_found, unacceptable
from callctl.http.fields import new_id
from callctl.http.routes import Query, Route, flag, json_response, refuse_unknown_queries
from callctl.money import parse_percent, parse_rate
from callctl.ports import Clock, Definitions, Tariffs
from callctl.rating.decks.deck import export_deck
from callctl.rating.decks.notation import DateOrder, DecimalSign
from callctl.rating.decks.sheet import Layout, parse_headings
from callctl.rating.margin import MarginRule
from callctl.rating.tariff import Plan, Row

CSV = "text/csv"
ROWS_PER_WRITE = 1000
SLOWEST_READER_S = 30
ARRIVING_AT_ONCE = 2
"""Decks of one reseller, or of the provider: a slow line of theirs holds up nobody else."""
READ_AT_ONCE = 2
"""Decks in all; others that have arrived wait for their turn."""

_DELIMITERS = {"tab": "\t", **{sign: sign for sign in ";,|\t"}}
_SHEET = (
    Query("dry_run", "`true`: answer the difference, change nothing; with `Accept: text/csv` every row of it"),
    Query("map", 'our columns by the headings of the sheet: `prefix=Code,per_minute="Rate (EUR)"`'),
    Query("columns", "our columns in the order of a sheet without headings; empty for those to pass over"),
    Query("delimiter", "`;` `,` `|` or `tab`, where it is not to be found out"),
    Query("decimal", "`point` or `comma`, where the numbers do not show it"),
    Query("dates", "`dmy` or `mdy`, where the dates do not show it"),
    Query("min_per_minute", "of a dry run: show rows that earn less than this more than the purchase; default 0"),
    Query("min_percent", "the same, in percent of the purchase"),
)
_Value = TypeVar("_Value")


class TariffPlans:
    """The routes of plans."""

    def __init__(self, definitions: Definitions, tariffs: Tariffs, clock: Clock) -> None:
        self._definitions = definitions
        self._tariffs = tariffs
        self._clock = clock
        self._arriving: defaultdict[str | None, asyncio.Semaphore] = defaultdict(
            lambda: asyncio.Semaphore(ARRIVING_AT_ONCE)
        )
        self._reading = asyncio.Semaphore(READ_AT_ONCE)

    def routes(self) -> tuple[Route, ...]:
        read, admin, plan, rows = Scope.READ, Scope.ADMIN, "/v1/plans/{id}", "/v1/plans/{id}/rows"
        put, put_rows = (400, 408, 413, 415, 422, 503), (400, 404, 408, 413, 415, 422, 503)
        plan_body, shown = schemas.PlanBody, schemas.PlanAnswer
        return (
            Route("PUT", plan, self.put_plan, admin, "create or replace", plan_body, shown, (), put),
            Route("GET", plan, self.show_plan, read, "one plan", None, shown, (), (404,)),
            Route("GET", "/v1/plans", self.list_plans, read, "all plans", None, schemas.PlanList, (), (400,)),
            Route("PUT", rows, self.put_rows, admin, "replace all rows", CSV, RowsAnswer, _SHEET, put_rows),
            Route("GET", rows, self.show_rows, read, "all rows", None, CSV, (), (404, 503)),
        )

    async def put_plan(self, request: web.Request, holder: Holder) -> web.Response:
        asked = body.parse(schemas.PlanBody, await body.read(request, body.JSON_LIMIT))
        plan = self._since(asked.becomes(Plan, id=new_id(request.match_info["id"])))
        plan = replace(plan, owner=plan.owner or holder.account)
        ownership.refuse_foreign(self._tariffs, holder.account, plan)
        now_ms = self._clock.now().wall_ms
        await purchases.refuse_without(self._definitions, self._tariffs, plan, now_ms)
        await self._definitions.put_plan(plan)
        return json_response({"id": plan.id, **schemas.PlanBody.of(plan).shown()})

    def _since(self, plan: Plan) -> Plan:
        """Each bundle since when the plan has had it: nothing is rolled over from before."""
        before = self._tariffs.plan(plan.id)
        known = {bundle.name: bundle.since_ms for bundle in before.bundles} if before is not None else {}
        now_ms = self._clock.now().wall_ms
        bundles = [
            bundle if bundle.since_ms is not None else replace(bundle, since_ms=known.get(bundle.name, now_ms))
            for bundle in plan.bundles
        ]
        return replace(plan, bundles=tuple(bundles))

    async def show_plan(self, request: web.Request, holder: Holder) -> web.Response:
        plan = self._plan(request, holder)
        return json_response({"id": plan.id, **schemas.PlanBody.of(plan).shown()})

    async def list_plans(self, request: web.Request, holder: Holder) -> web.Response:
        refuse_unknown_queries(request)
        known, directory = sorted(self._tariffs.plans.items()), self._tariffs.directory
        plans = [(id, plan) for id, plan in known if ownership.visible(directory, holder.account, plan)]
        return json_response({"plans": [{"id": id, **schemas.PlanBody.of(plan).shown()} for id, plan in plans]})

    async def put_rows(self, request: web.Request, holder: Holder) -> web.Response:
        """A deck is taken whole or not at all; what is wrong with it is said line by line."""
        refuse_unknown_queries(request, *(query.name for query in _SHEET))
        plan = self._plan(request, holder)
        ownership.refuse_foreign(self._tariffs, holder.account, plan)
        task = self._task(request, plan)
        if request.content_type != CSV:
            raise HttpError(415, "unsupported_media_type", f"Content-Type: {CSV} is expected")
        arriving = self._arriving[holder.account]
        if arriving.locked():
            raise HttpError(503, "busy", "other decks are being read", headers={"Retry-After": "5"})
        async with arriving:
            raw = await body.read_large(request, body.ROWS_LIMIT, timeout_s=body.ROWS_ARRIVAL_TIMEOUT_S)
            async with self._reading:
                outcome = await self._read(task, raw)
        content_type = CSV if task.as_csv else "application/json"
        return web.Response(body=outcome.answer, content_type=content_type, charset="utf-8")

    async def _read(self, task: Task, sheet: bytearray) -> Outcome:
        """Have the sheet read; where it is right and more than tried, its rows are the plan's."""
        outcome, rows = await work(task, sheet, self._decks(task))
        if outcome.errors:
            first = outcome.errors[0]
            raise HttpError(422, "wrong_rows", first, f"line {outcome.first_line}", details=outcome.errors)
        if not task.dry_run:
            try:
                await self._definitions.put_rows(task.own[-1].id, rows)
            except ValueError as exc:
                raise unacceptable(str(exc)) from None
        return outcome

    def _task(self, request: web.Request, plan: Plan) -> Task:
        dry_run, plans = flag(request, "dry_run"), self._tariffs.plans
        sellers = purchases.sellers(plans, plan.id)
        theirs = {each: None for seller in sellers for each in (*seller.sells, *seller.buys) if each != plan.id}
        now_ms = self._clock.now().wall_ms
        return Task(
            layout=_layout(request),
            own=self._family(plan.id),
            buy=self._family(plan.buy_plan),
            dry_run=dry_run,
            as_csv=dry_run and request.headers.get("Accept", "").startswith(CSV),
            rule=MarginRule(
                min_per_minute=_asked(request, "min_per_minute", parse_rate) or 0,
                min_percent=_asked(request, "min_percent", parse_percent),
            ),
            at_ms=now_ms,
            exchange=purchases.exchange(plans, self._tariffs.exchanges, plan, now_ms),
            sellers=sellers,
            theirs=tuple(theirs),
        )

    def _family(self, plan_id: str | None) -> tuple[Plan, ...]:
        return tuple(self._tariffs.plans[each] for each in purchases.family(self._tariffs.plans, plan_id))

    async def _decks(self, task: Task) -> AsyncIterator[list[Row]]:
        """As `work` wants them."""
        ids = (plan.id for plan in (task.own[-1], *task.own[:-1], *task.buy))
        for plan_id in (*ids, *task.theirs):
            step: list[Row] = []
            async for row in self._definitions.rows(plan_id):
                step.append(row)
                if len(step) == STEP_ROWS:
                    yield step
                    step = []
            if step:
                yield step
            yield []

    async def show_rows(self, request: web.Request, holder: Holder) -> web.StreamResponse:
        chunks = _csv(self._definitions.rows(self._plan(request, holder).id))
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

    def _plan(self, request: web.Request, holder: Holder) -> Plan:
        plan = self._tariffs.plan(request.match_info["id"])
        if plan is None or not ownership.visible(self._tariffs.directory, holder.account, plan):
            raise not_found("plan")
        return plan


def _layout(request: web.Request) -> Layout:
    """What the parameters say of the sheet. HttpError 400 where they are wrong."""
    charset = request.charset
    try:
        "a".encode(charset or "utf-8")  # `codecs.lookup` would also find what makes no text
    except (LookupError, UnicodeError):
        raise bad_request(f"unknown charset {charset!r}", "Content-Type") from None
    return Layout(
        headings=_asked(request, "map", parse_headings) or {},
        columns=_asked(request, "columns", lambda text: tuple(map(str.strip, text.split(",")))) or (),
        delimiter=_asked(request, "delimiter", _DELIMITERS.__getitem__),
        decimal=_asked(request, "decimal", DecimalSign),
        dates=_asked(request, "dates", DateOrder),
        encoding=charset,
    )


def _asked(request: web.Request, name: str, parse: Callable[[str], _Value]) -> _Value | None:
    """A parameter of the sheet; None where it is not there. HttpError 400 where it is wrong."""
    text = request.query.get(name)
    try:
        return parse(text) if text is not None else None
    except (ValueError, KeyError) as wrong:
        raise bad_request(str(wrong), name) from None


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
