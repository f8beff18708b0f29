"""CDRs in the order of a feed, and the trace of any call."""

from collections.abc import Collection

import msgspec
from aiohttp import web

from callctl.clock import give_way, parse_time
from callctl.http import seeing
from callctl.http.answers import CallShown, CdrPage
from callctl.http.auth import Holder, Scope
from callctl.http.decision import describe
from callctl.http.errors import bad_request, not_found
from callctl.http.routes import Query, Route, json_response, refuse_unknown_queries, whole_number
from callctl.ports import Feeds, Sessions, Tariffs

RECORDS_AT_MOST = 1000
_SHOWN_AT_ONCE = 100  # some 2 ms
_LARGEST_SEQUENCE = 2**53 - 1


class Cdrs:
    """The routes of records. `feed`: the one that is read; its sequence is what `after` counts in."""

    def __init__(self, feeds: Feeds, sessions: Sessions, tariffs: Tariffs, feed: str) -> None:
        self._feeds = feeds
        self._sessions = sessions
        self._tariffs = tariffs
        self._feed = feed

    def routes(self) -> tuple[Route, ...]:
        read, records, trace = Scope.READ, "/v1/cdrs", "/v1/traces/{trace_id}"
        return (
            Route("GET", records, self.list_records, read, "CDRs", None, CdrPage, _FILTERS, (400, 404, 503)),
            Route("GET", trace, self.trace, read, "why a call was decided so", None, CallShown, (), (404, 503)),
        )

    async def list_records(self, request: web.Request, holder: Holder) -> web.Response:
        """Records after a sequence. `next` is what to give as `after` for what follows; `more`: something may."""
        refuse_unknown_queries(request, *(query.name for query in _FILTERS))
        directory, account = self._tariffs.directory, request.query.get("account")
        accounts: Collection[str] | None = None
        if account is not None:
            accounts = (account,)
            if holder.account is not None:
                seeing.visible_account(directory, holder.account, account)
        elif holder.account is not None:
            accounts = directory.below(holder.account)
        page = await self._feeds.page(
            self._feed,
            accounts,
            whole_number(request, "after", 0, _LARGEST_SEQUENCE),
            _since_ms(request),
            whole_number(request, "limit", RECORDS_AT_MOST, RECORDS_AT_MOST),
        )
        cdrs = []
        for n, record in enumerate(page.records, start=1):
            seen = seeing.record_seen(directory, holder.account, msgspec.json.decode(record.payload))
            if seen is not None:
                cdrs.append(seen)
            if n % _SHOWN_AT_ONCE == 0:
                await give_way()
        return json_response({"cdrs": cdrs, "next": page.after, "more": page.more})

    async def trace(self, request: web.Request, holder: Holder) -> web.Response:
        session = await self._sessions.by_trace(request.match_info["trace_id"])
        if session is None or not seeing.sees_call(self._tariffs.directory, holder.account, session):
            raise not_found("trace")
        return json_response(describe(session, holder.account))


_FILTERS = (
    Query("account", "whose records"),
    Query("after", "a sequence: only what follows it"),
    Query("limit", f"at most so many, default {RECORDS_AT_MOST}"),
    Query("since", "RFC 3339: only what was written at or after it"),
)


def _since_ms(request: web.Request) -> int | None:
    since = request.query.get("since")
    if since is None:
        return None
    try:
        return parse_time(since)
    except ValueError as exc:
        raise bad_request(f"RFC 3339 with a zone is expected: {exc}", "since") from None
