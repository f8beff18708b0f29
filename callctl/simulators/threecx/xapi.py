"""The part of XAPI that tells of calls and of the licence: OData, names in PascalCase."""

import re
from typing import Any

from aiohttp import web

from callctl.clock import Instant, format_time
from callctl.ports import Clock
from callctl.simulators.threecx.calls import EndedBy, Leg, SimCall
from callctl.simulators.threecx.cdrlines import Segment
from callctl.simulators.threecx.pbx import Pbx
from callctl.simulators.threecx.setup import Setup

ROOT = "/xapi/v1"
VERSION = {"X-3CX-Version": "20.0.10.0"}


class XapiServer:
    def __init__(self, setup: Setup, clock: Clock, pbx: Pbx) -> None:
        self._setup = setup
        self._clock = clock
        self._pbx = pbx

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get(f"{ROOT}/ActiveCalls", self.active_calls),
            web.post(f"{ROOT}/ActiveCalls({{id}})/Pbx.DropCall", self.drop_call),
            web.get(f"{ROOT}/LicenseStatus", self.licence),
            web.get(f"{ROOT}/SystemStatus", self.system),
            web.get(f"{ROOT}/CDRSettings", self.cdr_settings),
            web.get(f"{ROOT}/Defs", self.definitions),
            web.get(f"{ROOT}/ReportCallLogData/{{function:Pbx.GetCallLogData.*}}", self.call_log),
        ]

    async def active_calls(self, _: web.Request) -> web.StreamResponse:
        stuck = self._pbx.history if self._pbx.faults.stuck_rows else []
        return _json({"value": [self._active(call) for call in (*stuck, *self._pbx.calls)]})

    async def drop_call(self, request: web.Request) -> web.StreamResponse:
        for call in self._pbx.calls:
            if str(call.id) == request.match_info["id"]:
                self._pbx.hang_up(call, EndedBy.APP)
                return _json({})
        return _error(404, "no such call")

    async def licence(self, _: web.Request) -> web.StreamResponse:
        setup = self._setup
        told = {"ProductCode": setup.product, "MaxSimCalls": setup.sim_calls, "LicenseActive": setup.licence_active}
        return _json({**told, "ExpirationDate": setup.licence_expires})

    async def system(self, _: web.Request) -> web.StreamResponse:
        return _json({"CallsActive": len(self._pbx.calls), "MaxSimCalls": self._setup.sim_calls})

    async def cdr_settings(self, _: web.Request) -> web.StreamResponse:
        modes = {"active": "ActiveSocket", "passive": "PassiveSocket", "none": "SingleFileForAllCalls"}
        fields = [{"Name": name, "Length": 0} for name in self._setup.cdr_fields]
        told = {"Enabled": self._setup.cdr != "none", "LogType": modes[self._setup.cdr], "EnabledFields": fields}
        return _json({**told, "SocketIpAddress": "127.0.0.1", "SocketPort": self._setup.cdr_port})

    async def definitions(self, _: web.Request) -> web.StreamResponse:
        return _json({"Id": 0})

    async def call_log(self, request: web.Request) -> web.StreamResponse:
        match = re.search(r"periodFrom=([^,]+),periodTo=([^,)]+)", request.match_info["function"])
        if match is None:
            return _error(404, "bad function parameters")
        since, until = match.groups()
        segments = ((call, segment) for call in self._pbx.history for segment in call.segments)
        rows = [_logged(call, it) for call, it in segments if since <= format_time(it.began_ms) <= until]
        top, skip = (int(request.query.get(name, default)) for name, default in (("$top", "50"), ("$skip", "0")))
        return _json({"value": rows[skip : skip + top]})

    def _active(self, call: SimCall) -> dict[str, Any]:
        now: Instant = self._clock.now()
        connected = call.connected
        return {
            "Id": call.id,
            "Caller": _named(call.caller),
            "Callee": _named(call.called) if call.called is not None else "",
            "Status": call.status,
            "EstablishedAt": format_time((connected or call.began).wall_ms),
            "LastChangeStatus": format_time((connected or call.began).wall_ms),
            "ServerNow": format_time(now.wall_ms),
        }


def _named(leg: Leg) -> str:
    return f"{leg.number} {leg.name}" if leg.kind == "Wexternalline" else f"{leg.dn} {leg.name}"


def _logged(call: SimCall, segment: Segment) -> dict[str, Any]:
    ended_ms = segment.ended_ms if segment.ended_ms is not None else segment.began_ms
    answered_ms = segment.answered_ms
    return {
        "CallHistoryId": segment.history,
        "MainCallHistoryId": segment.history,
        "CallId": call.id,
        "StartTime": format_time(segment.began_ms),
        "RingingDuration": _duration((answered_ms if answered_ms is not None else ended_ms) - segment.began_ms),
        "TalkingDuration": _duration(0 if answered_ms is None else ended_ms - answered_ms),
        "Answered": answered_ms is not None,
        "Source": {"Type": segment.from_type, "Dn": segment.from_dn, "CallerId": segment.from_number},
        "Destination": {"Type": segment.to_type, "Dn": segment.to_dn, "CallerId": segment.to_number},
        "Reason": segment.reason,
    }


def _duration(ms: int) -> str:
    return f"PT{ms // 1000}.{ms % 1000:03}S"


def _json(told: Any) -> web.Response:
    return web.json_response(told, headers=VERSION)


def _error(status: int, message: str) -> web.Response:
    told: Any = {"error": {"code": str(status), "message": message, "details": [], "target": None}}
    return web.json_response(told, status=status)
