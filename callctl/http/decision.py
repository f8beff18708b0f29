"""The way of a call over HTTP: authorize, answer, extend, end, look, hang up, explain. A decision is always 200.

The same call id with the same body is answered as before; another body is a 409. "The same" is what decides who
pays for what: a retry may state another `at` or `ring_at`.
"""

from collections.abc import Awaitable, Collection, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import msgspec
from aiohttp import web
from msgspec import Struct

from callctl.accounts import Directory
from callctl.call.admission import NOBODY
from callctl.call.answer import decision
from callctl.call.events import (
    Alerting,
    Answered,
    CallKey,
    ExtendAsked,
    HangUpAsked,
    Offered,
    Released,
)
from callctl.call.session import Session, State
from callctl.call.takes import Record
from callctl.clock import Instant, format_time, give_way, parse_time
from callctl.http import body, seeing
from callctl.http.answers import CallShown, Decision, Ended, LiveCalls
from callctl.http.asked import (
    DEFAULT_SWITCH,
    AnswerReport,
    Authorize,
    EndReport,
    ExtendReport,
    fingerprint,
)
from callctl.http.auth import Holder, Scope
from callctl.http.errors import bad_request, conflict, not_found, unacceptable
from callctl.http.routes import (
    Asked,
    Decide,
    Query,
    Route,
    json_response,
    refuse_unknown_queries,
    through_aiohttp,
    whole_number,
)
from callctl.numbering import DialRules, emergency_number
from callctl.ports import Calls, Clock, HttpSwitch, Switch, Tariffs
from callctl.promise import then
from callctl.rating.tariff import Direction

OLDEST_REPORT_MS = 24 * 3600 * 1000
FASTEST_CLOCK_MS = 5_000
CLOCKS_APART_MS = 60_000  # how far a caller's clock may be behind ours within one call
LISTED_AT_MOST = 1000
_SHOWN_AT_ONCE = 100  # some 2 ms

Report = TypeVar("Report", bound=Struct)

_authorize = msgspec.json.Decoder(Authorize)
_answer = msgspec.json.Decoder(AnswerReport)
_extend = msgspec.json.Decoder(ExtendReport)
_end = msgspec.json.Decoder(EndReport)
_encode = msgspec.json.Encoder().encode


class Decisions:
    """The routes of calls. `switches`: most of them report their calls themselves, and nobody else does it for them.

    `emergency`: the house's own emergency numbers.
    """

    def __init__(
        self, calls: Calls, tariffs: Tariffs, clock: Clock, switches: Mapping[str, Switch], emergency: Collection[str]
    ) -> None:
        self._calls = calls
        self._tariffs = tariffs
        self._clock = clock
        self._switches = switches
        self._emergency = emergency

    def routes(self) -> tuple[Route, ...]:
        read, one, looked = Scope.READ, "/v1/calls/{call_id}", (400, 404, 503)
        return (
            _deciding("/v1/calls", self.authorize, "authorize", Authorize),
            _deciding("/v1/explain", self.explain, "what would be decided", Authorize),
            _deciding(f"{one}/answer", self.answer, "answered", AnswerReport, Decision, _SWITCH),
            _deciding(f"{one}/extend", self.extend, "more time", ExtendReport, Decision, _SWITCH, _REPORTED),
            _deciding(f"{one}/end", self.end, "over: its CDRs", EndReport, Ended, _SWITCH, _REPORTED),
            Route("DELETE", one, self.hang_up, Scope.CALL, "hang up", None, CallShown, _SWITCH, looked),
            Route("GET", one, self.show, read, "one call", None, CallShown, _SWITCH, looked),
            Route("GET", "/v1/calls", self.list_live, read, "live calls", None, LiveCalls, _FILTERS, (400,)),
        )

    def authorize(self, request: Asked, holder: Holder) -> Awaitable[bytes]:
        asked = body.decode(_authorize, request.body)
        self._refuse_hearsay(asked.switch)
        if asked.within is not None or asked.ring_at is not None:
            return self._authorize_further(asked, holder)
        return then(self._calls.authorize(self._offered(asked, holder)), partial(_decided, holder))

    async def _authorize_further(self, asked: Authorize, holder: Holder) -> bytes:
        if asked.within is not None:
            await self._refuse_hidden_outer(asked, asked.within, holder)
        offered = self._offered(asked, holder)
        rang_at = self._instant(asked.ring_at, "ring_at") if asked.ring_at is not None else None
        session = await self._calls.authorize(offered)
        if rang_at is not None and session.state is State.ADMITTED:
            session = await self._calls.report(Alerting(session.call, rang_at))
        return _decided(holder, session)

    async def explain(self, request: Asked, holder: Holder) -> bytes:
        asked = body.decode(_authorize, request.body)
        if asked.within is not None:
            await self._refuse_hidden_outer(asked, asked.within, holder)
        return _decided(holder, await self._calls.explain(self._offered(asked, holder)))

    async def answer(self, request: Asked, holder: Holder) -> bytes:
        said = _report(_answer, request)
        call = await self._call(request, holder, said.switch)
        self._refuse_hearsay(call.switch)
        at = self._instant(said.at, "at")
        if said.at is not None and at.wall_ms < (await self._calls.find(call)).setup.wall_ms - CLOCKS_APART_MS:
            raise unacceptable("long before the call was set up", "at")
        event = Answered(call, at, stated=said.at is not None, trunk_out=said.trunk_out)
        session = await self._calls.report(event)
        if session.answered is None and session.state in (State.SETTLING, State.ENDED):
            raise conflict("the call was over before it was answered: hang it up", "call_id")
        return _decided(holder, session)

    async def extend(self, request: Asked, holder: Holder) -> bytes:
        said = _report(_extend, request)
        call = await self._call(request, holder, said.switch)
        return _decided(holder, await self._calls.report(ExtendAsked(call)))

    async def end(self, request: Asked, holder: Holder) -> bytes:
        said = _report(_end, request)
        call = await self._call(request, holder, said.switch)
        self._refuse_hearsay(call.switch)
        at = self._instant(said.at, "at")
        event = Released(call, at, said.at is not None, said.q850, said.sip_code, released_by=said.released_by)
        session, records = await self._calls.end(event)
        cdrs = self._seen(records, holder)
        return _encode({"call_id": call.call_id, "state": session.state.value, "cdrs": cdrs})

    async def hang_up(self, request: web.Request, holder: Holder) -> web.Response:
        call = await self._call(_looked_for(request), holder, None)
        return json_response(describe(await self._calls.report(HangUpAsked(call)), holder.account))

    async def show(self, request: web.Request, holder: Holder) -> web.Response:
        session = await self._calls.find(await self._call(_looked_for(request), holder, None))
        return json_response(describe(session, holder.account))

    async def list_live(self, request: web.Request, holder: Holder) -> web.Response:
        refuse_unknown_queries(request, *(query.name for query in _FILTERS))
        account, switch = request.query.get("account"), request.query.get("switch")
        limit = whole_number(request, "limit", LISTED_AT_MOST, LISTED_AT_MOST)
        directory = self._tariffs.directory
        of = account if account is not None else holder.account
        roots = [NOBODY, *directory.all_roots()] if of is None else [directory.root(of) or NOBODY]
        live = [
            session
            for session in await self._calls.everywhere(roots)
            if (switch is None or session.call.switch == switch)
            and (account is None or session.account == account)
            and seeing.sees_call(directory, holder.account, session)
        ]
        shown = []
        for n, session in enumerate(live[:limit], start=1):
            shown.append(_without_trace(describe(session, holder.account)))
            if n % _SHOWN_AT_ONCE == 0:
                await give_way()
        return json_response({"calls": shown, "total": len(live)})

    def _offered(self, asked: Authorize, holder: Holder) -> Offered:
        if not asked.call_id.isprintable():
            raise bad_request("printable characters are expected", "call_id")
        if asked.call_id in (".", ".."):
            raise bad_request("nobody could name it in a path", "call_id")
        if holder.account is not None:
            _refuse_other_payers(self._tariffs.directory, holder.account, asked)
        offered = Offered(
            CallKey(asked.switch, asked.call_id),
            self._instant(asked.at, "at"),
            asked.a_number if asked.a_number is not None else self._unnamed_caller(asked),
            asked.b_number,
            asked.direction,
            asked.account,
            asked.trunk,
            asked.source_ip,
            asked.can_extend,
            within=asked.within,
            trunk_out=asked.trunk_out,
            fingerprint=fingerprint(asked),
        )
        switch = self._switches.get(asked.switch)
        return switch.offered(offered) if switch is not None and isinstance(switch, HttpSwitch) else offered

    def _unnamed_caller(self, asked: Authorize) -> str:
        """Who dials an emergency number is not asked for his own; HttpError 400 for anybody else."""
        directory = self._tariffs.directory
        trunk, by_ip = directory.trunks.get(asked.trunk or ""), directory.by_ip(asked.source_ip or "")
        told = asked.account or (trunk.account if trunk is not None else by_ip[0] if by_ip is not None else "")
        payer = directory.accounts.get(told)
        rules = payer.dial_rules if payer is not None else DialRules()
        if emergency_number(asked.b_number, rules, self._emergency) is None:
            raise bad_request("Object missing required field `from`", "from")
        return ""

    async def _refuse_hidden_outer(self, asked: Authorize, within: str, holder: Holder) -> None:
        """A call within another has that one's payer, whom no field may contradict, and a bound token must see it."""
        for field in ("account", "source_ip"):
            if getattr(asked, field) is not None:
                raise bad_request("a call within another one is paid by that one's payer", field)
        if holder.account is not None:
            outer = await self._calls.find(CallKey(asked.switch, within))
            if not seeing.sees_call(self._tariffs.directory, holder.account, outer):
                raise not_found("call")

    def _instant(self, stated: str | None, field: str) -> Instant:
        """The stated moment on our clocks; now where none is stated."""
        now = self._clock.now()
        if stated is None:
            return now
        try:
            at_ms = parse_time(stated)
        except ValueError as exc:
            raise bad_request(f"RFC 3339 with a zone is expected: {exc}", field) from None
        if at_ms < now.wall_ms - OLDEST_REPORT_MS:
            raise unacceptable("more than 24 h ago", field)
        if at_ms > now.wall_ms + FASTEST_CLOCK_MS:
            raise unacceptable("more than 5 s ahead of this server's clock", field)
        return now.at_wall(at_ms)

    def _refuse_hearsay(self, switch: str) -> None:
        """When a call of a switch with a link began or ended is the switch's to say: money hangs on it."""
        known = self._switches.get(switch)
        if known is not None and not isinstance(known, HttpSwitch):
            raise unacceptable(f"{switch} reports its calls itself", "switch")

    async def _call(self, request: Asked, holder: Holder, switch: str | None) -> CallKey:
        """The call that the path names. A bound token gets no further than a call that it may see."""
        asked = request.switch
        if switch is not None and asked is not None and switch != asked:
            raise bad_request("body and query name different switches", "switch")
        call = CallKey(switch or asked or DEFAULT_SWITCH, request.call_id)
        if holder.account is not None:
            session = await self._calls.find(call)
            if not seeing.sees_call(self._tariffs.directory, holder.account, session):
                raise not_found("call")
        return call

    def _seen(self, records: Sequence[Record], holder: Holder) -> list[seeing.Record]:
        directory, cdrs = self._tariffs.directory, []
        for record in records:
            seen = seeing.record_seen(directory, holder.account, msgspec.json.decode(record.payload))
            if seen is not None:
                cdrs.append(seen)
        return cdrs


_REPORTED = (400, 404, 408, 413, 415, 422, 503)
_DECIDED = (*_REPORTED, 409)
_SWITCH = (Query("switch", "where it is not `http`"),)
_FILTERS = (
    Query("account", "of this customer"),
    Query("switch", "on this switch"),
    Query("limit", f"at most so many, default {LISTED_AT_MOST}"),
)


def _deciding(
    path: str,
    decide: Decide,
    about: str,
    reads: type[Struct],
    answers: Any = Decision,
    query: tuple[Query, ...] = (),
    codes: tuple[int, ...] = _DECIDED,
) -> Route:
    handler = through_aiohttp(decide, *(each.name for each in query))
    return Route("POST", path, handler, Scope.CALL, about, reads, answers, query, codes, decide=decide)


def _refuse_other_payers(directory: Directory, viewer: str, asked: Authorize) -> None:
    """A bound token names the payer, and only itself or one below it; others look as if they did not exist."""
    trunk = directory.trunks.get(asked.trunk) if asked.trunk is not None else None
    by_ip = directory.by_ip(asked.source_ip) if asked.source_ip is not None else None
    payers = []
    if asked.account is not None:
        payers.append(("account", asked.account, asked.trunk))
    if asked.trunk is not None:
        payers.append(("trunk", trunk.account if trunk is not None else "", asked.trunk))
    if asked.source_ip is not None:
        payers.append(("source_ip", *(by_ip if by_ip is not None else ("", None))))
    if not payers and asked.within is None:
        raise bad_request("with this token, account, trunk or source_ip is required", "account")
    for field, told, line in payers:
        account = directory.accounts.get(told)
        inbound = asked.direction is Direction.INBOUND
        found = account.department(asked.a_number or "", asked.b_number, line, inbound=inbound) if account else None
        for each in (told, found[0].account if found is not None else told):
            if not seeing.may_see(directory, viewer, each):
                raise not_found(field)


def _report(decoder: "msgspec.json.Decoder[Report]", request: Asked) -> Report:
    """A report may come without a body."""
    return body.decode(decoder, request.body or b"{}")


def _looked_for(request: web.Request) -> Asked:
    refuse_unknown_queries(request, "switch")
    return Asked(b"", request.match_info["call_id"], request.query.get("switch"))


def _decided(holder: Holder, session: Session) -> bytes:
    return _encode(decision(session, holder.account))


def describe(session: Session, viewer: str | None) -> dict[str, Any]:
    """A call for people: who, where it stands and since when, beside what was decided."""
    times = {"setup_time": session.setup, "answer_time": session.answered, "release_time": session.released}
    return {
        "call_id": session.call.call_id,
        "switch": session.call.switch,
        "state": session.state.value,
        "direction": session.direction.value,
        "from": session.a_number,
        "to": session.b_number,
        **{name: format_time(at.wall_ms) if at is not None else None for name, at in times.items()},
        "trace_id": session.trace_id,
        **decision(session, viewer),
    }


def _without_trace(call: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in call.items() if key != "trace"}
