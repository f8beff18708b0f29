"""What 3CX's configuration API (XAPI, OData) tells of calls and of the licence. It needs "XAPI access" ticked.

Field names are those of its OpenAPI document, version 20.0.10; the token is the same as for call control.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from callctl.adapters.threecx.calls import Active
from callctl.adapters.threecx.crosscheck import Logged
from callctl.adapters.threecx.link import NotDone, ThreeCxLink
from callctl.clock import Instant, parse_time
from callctl.errors import SwitchUnavailable
from callctl.limits.licence import LicenceStatus

ROOT: Final = "/xapi/v1"
PAGE: Final = 200
MOST_ROWS: Final = 10_000
DURATION: Final = re.compile(r"P(?:(\d{1,4})D)?T?(?:(\d{1,5})H)?(?:(\d{1,6})M)?(?:(\d{1,8})(?:\.(\d+))?S)?")
NO_DAY: Final = "1970-01-01"
"""A date before it is none: .NET writes 0001-01-01 for a licence that does not expire."""
CLOCKED: Final = re.compile(r"(?:(\d{1,4})\.)?(\d{1,4}):(\d{2}):(\d{2})(?:\.(\d+))?")


class Xapi:
    """Questions to one 3CX. SwitchUnavailable where it does not answer, or answers what cannot be read."""

    def __init__(self, link: ThreeCxLink) -> None:
        self._link = link

    async def licence(self, now: Instant) -> LicenceStatus:
        """A licence that is not active has expired, today at the latest."""
        told = await self._link.get(f"{ROOT}/LicenseStatus")
        channels = told.get("MaxSimCalls") if isinstance(told, Mapping) else None
        channels = int(channels) if isinstance(channels, str) and re.fullmatch("[0-9]{1,6}", channels) else channels
        if not isinstance(channels, int) or isinstance(channels, bool) or channels < 0:
            raise SwitchUnavailable("the licence status cannot be read")
        expires = told.get("ExpirationDate")
        day = expires[:10] if isinstance(expires, str) and re.match(r"\d{4}-\d\d-\d\d", expires) else None
        if day is not None and day < NO_DAY:
            day = None
        if told.get("LicenseActive") is False:
            today = _stamp(now.wall_ms)[:10]
            day = min(day or today, today)
        return LicenceStatus(channels, day)

    async def active(self, now: Instant) -> dict[str, Active]:
        """The calls that are up, by their id, which is the `callid` of call control. `now`: when the answer came."""
        found = {}
        for row in _rows(await self._link.get(f"{ROOT}/ActiveCalls")):
            if "Id" in row:
                connected = str(row.get("Status") or "").lower() not in ("routing", "ringing", "dialing", "initiating")
                since = _on_our_clock(row, now) if connected else None
                caller, callee = (str(row.get(side) or "").partition(" ")[0] for side in ("Caller", "Callee"))
                found[str(row["Id"])] = Active(caller, since, callee)
        return found

    async def drop(self, group: str) -> None:
        """End a call. One that is gone is no failure."""
        try:
            await self._link.post(f"{ROOT}/ActiveCalls({group})/Pbx.DropCall", None)
        except NotDone as error:
            if error.status != 404:
                raise

    async def log(self, since_ms: int, until_ms: int) -> list[Logged]:
        """The segments of calls in the PBX's own log that began between two wall times."""
        period = f"periodFrom={_stamp(since_ms)},periodTo={_stamp(until_ms)}"
        sides = "sourceType=0,sourceFilter='',destinationType=0,destinationFilter='',callsType=0"
        times = "callTimeFilterType=0,callTimeFilterFrom='0:00:0',callTimeFilterTo='0:00:0',hidePcalls=true"
        path = f"{ROOT}/ReportCallLogData/Pbx.GetCallLogData({period},{sides},{times})?$orderby=StartTime&$top={PAGE}"
        found: list[Mapping[str, Any]] = []
        for skip in range(0, MOST_ROWS, PAGE):
            page = list(_rows(await self._link.get(f"{path}&$skip={skip}")))
            found += page
            if len(page) < PAGE:
                break
        return [logged for row in found if (logged := _logged(row)) is not None]


def _rows(told: Any) -> Iterator[Mapping[str, Any]]:
    rows = told.get("value") if isinstance(told, Mapping) else told
    if not isinstance(rows, list):
        raise SwitchUnavailable("a list of the PBX cannot be read")
    return (row for row in rows if isinstance(row, Mapping))


def _on_our_clock(row: Mapping[str, Any], now: Instant) -> Instant | None:
    """Since when it is connected: so long before now as the PBX's own clock says."""
    established, server = _wall_ms(row.get("EstablishedAt")), _wall_ms(row.get("ServerNow"))
    if established is None:
        return None
    return now.plus_ms(-max(0, (server if server is not None else now.wall_ms) - established))


def _logged(row: Mapping[str, Any]) -> Logged | None:
    started = _wall_ms(row.get("StartTime"))
    if started is None:
        return None
    rang, talked = duration_ms(row.get("RingingDuration")) or 0, duration_ms(row.get("TalkingDuration")) or 0
    sides = [side if isinstance(side := row.get(name), Mapping) else {} for name in ("Source", "Destination")]
    flat = [row.get(f"{name}{key}") for name in ("Source", "Destination") for key in ("Dn", "CallerId")]
    names = [value for side in sides for value in (side.get("Dn"), side.get("CallerId"))] + flat
    answered = talked > 0 and row.get("Answered") is not False
    return Logged(
        history=str(row.get("MainCallHistoryId") or row.get("CallHistoryId") or row.get("CallId") or ""),
        names=frozenset(str(name) for name in names if name),
        began_ms=started,
        answered_ms=started + rang if answered else None,
        ended_ms=started + rang + talked,
    )


def duration_ms(told: Any) -> int | None:
    """Of `PT1M25.5S` as of `00:01:25.5`; None for anything else."""
    if not isinstance(told, str):
        return None
    match = CLOCKED.fullmatch(told) or (DURATION.fullmatch(told) if len(told) > 2 else None)
    if match is None:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups()[:4])
    length = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
    return length // timedelta(milliseconds=1) + int((match.group(5) or "")[:3].ljust(3, "0"))


def _wall_ms(told: Any) -> int | None:
    if not isinstance(told, str):
        return None
    try:
        moment = datetime.fromisoformat(told)
        return parse_time((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).isoformat())
    except ValueError:
        return None


def _stamp(wall_ms: int) -> str:
    return datetime.fromtimestamp(wall_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
