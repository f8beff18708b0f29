"""Spend thresholds at the front door: what is agreed, what a day has seen, and an operator's word about it."""

from typing import Annotated, Any, Self

import msgspec
from aiohttp import web
from pydantic import Field, field_validator, model_validator

from callctl.accounts import Account
from callctl.clock import day_of, format_time, iso_day, local_moment
from callctl.errors import CallConflict
from callctl.http import body, seeing
from callctl.http.auth import Holder, Scope
from callctl.http.errors import conflict, unacceptable
from callctl.http.fields import Amount, Body, Count, Day, Id, Text, Time
from callctl.http.routes import Route, json_response, refuse_unknown_queries
from callctl.limits import exposure
from callctl.limits.ids import ALERTS, RECOMMENDED, WATCHED, Mode, Office, Thresholds
from callctl.limits.watching import Allow, Note, Release, Said, Statistics, Tell, Told, Word
from callctl.money import format_amount
from callctl.ports import Clock, Tariffs, Watching
from callctl.rating.tariff import TrafficClass

NUMBER_OF_DAYS = 400  # of one request; only the latest 60 matter


class OfficeBody(Body):
    """Office hours by the account's clock, and how much of the range is left outside them."""

    outside_percent: Annotated[int, Field(ge=0, le=100)]
    days: Text = "1-5"
    from_time: Text = Field("08:00", alias="from")
    until_time: Text = Field("18:00", alias="to")

    @model_validator(mode="after")
    def _hours(self) -> Self:
        self.becomes(Office)
        return self


class IdsBody(Body):
    """How far a day's watched calls may go over their average, and what happens then; `recommended`: what we would do.

    `ceiling`: and in all. `hourly`, `concurrent`: as the account's own statistics say. `new_country`: the range of a
    high-risk country that was not called for 60 days.
    """

    range: Amount
    mode: Mode = Mode.SOFT
    ceiling: Amount | None = None
    watch: Annotated[tuple[TrafficClass, ...], Field(min_length=1)] = WATCHED
    hourly: bool = False
    concurrent: bool = False
    new_country: Amount | None = None
    attempts_per_minute: Annotated[int, Field(ge=1, le=10_000)] | None = None
    office: OfficeBody | None = None

    @model_validator(mode="before")
    @classmethod
    def _by_name(cls, stated: object) -> object:
        """The word, or its keys with others beside them."""
        if stated == "recommended":
            return _RECOMMENDED
        if isinstance(stated, dict) and stated.get("profile") == "recommended":
            return _RECOMMENDED | {key: value for key, value in stated.items() if key != "profile"}
        return stated

    @field_validator("watch", mode="before")
    @classmethod
    def _a_list(cls, stated: object) -> object:
        return tuple(stated) if isinstance(stated, list) else stated  # `_by_name` answers Python's, not JSON's

    @field_validator("watch")
    @classmethod
    def _not_emergencies(cls, watch: tuple[TrafficClass, ...]) -> tuple[TrafficClass, ...]:
        if TrafficClass.EMERGENCY in watch:
            raise ValueError("emergency calls are never watched")
        return tuple(sorted(set(watch), key=list(TrafficClass).index))


_RECOMMENDED = IdsBody.of(RECOMMENDED).shown()


class ReleaseBody(Body):
    """What was spent so far stops counting for today; or so much more may be spent today.

    `until`: and nothing is refused until then. `by`: whoever says so; else the token's name. `id`: said again with the
    same id within 7 days, it is heard once; with another `until` or `extra_today` it is a conflict.
    """

    id: Id | None = None
    until: Time | None = None
    extra_today: Amount | None = None
    by: Text = ""
    why: Text = ""

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if self.until is not None and self.extra_today is not None:
            raise ValueError("one of until and extra_today is expected")
        return self


class DayBody(Body):
    """A day as it was: what is not stated stays. `threshold` clips it in later averages; an incident is left out."""

    day: Day
    spent: Amount | None = None
    threshold: Amount | None = None
    most_at_once: Count | None = None
    incident: bool | None = None


class DaysBody(Body):
    """Days that another system has counted, or that are (no) incidents."""

    days: Annotated[tuple[DayBody, ...], Field(min_length=1, max_length=NUMBER_OF_DAYS)]
    by: Text = ""
    why: Text = ""


class ThresholdRoutes:
    """The routes of an account's spend thresholds. `default`: of accounts that state none."""

    def __init__(self, watching: Watching, tariffs: Tariffs, clock: Clock, default: Thresholds | None) -> None:
        self._watching = watching
        self._tariffs = tariffs
        self._clock = clock
        self._default = default

    def routes(self) -> tuple[Route, ...]:
        read, admin, one = Scope.READ, Scope.ADMIN, "/v1/accounts/{id}/ids"
        said = (400, 404, 408, 413, 415, 422, 503)
        once = (*said, 409)
        shown = ThresholdsShown
        return (
            Route("GET", one, self.show, read, "spend thresholds", None, shown, (), (400, 404, 503)),
            Route("POST", f"{one}/release", self.release, admin, "spend more today", ReleaseBody, shown, (), once),
            Route("PUT", f"{one}/days", self.put_days, admin, "days as they were", DaysBody, shown, (), said),
        )

    async def show(self, request: web.Request, holder: Holder) -> web.Response:
        refuse_unknown_queries(request)
        account = seeing.visible_account(self._tariffs.directory, holder.account, request.match_info["id"])
        return await self._answer(account)

    async def release(self, request: web.Request, holder: Holder) -> web.Response:
        account = seeing.writable_account(self._tariffs.directory, holder.account, request.match_info["id"])
        asked = body.parse(ReleaseBody, await body.read(request, body.JSON_LIMIT))
        if asked.until is not None and asked.until <= self._clock.now().wall_ms:
            raise unacceptable("is in the past", "until")
        said = Release(asked.until or 0) if asked.extra_today is None else Allow(asked.extra_today)
        try:
            return await self._say(account, asked, holder, said, asked.id or "")
        except CallConflict as exc:
            raise conflict(str(exc), "id") from None

    async def put_days(self, request: web.Request, holder: Holder) -> web.Response:
        account = seeing.writable_account(self._tariffs.directory, holder.account, request.match_info["id"])
        asked = body.parse(DaysBody, await body.read(request, body.JSON_LIMIT))
        told = [
            Told(day_of(each.day), each.spent, each.threshold, each.most_at_once, each.incident) for each in asked.days
        ]
        today = self._day(account)
        for each in told:
            if each.day > today:
                raise unacceptable(f"{iso_day(each.day)} is yet to come", "days")
            if each.day == today and each.spent is not None:
                raise unacceptable(f"{iso_day(each.day)} is not over: what is spent is being counted", "days")
        return await self._say(account, asked, holder, Tell(tuple(told)))

    async def _say(
        self, account: Account, asked: ReleaseBody | DaysBody, holder: Holder, said: Said, id: str = ""
    ) -> web.Response:
        root, day, now_ms = self._root(account), self._day(account), self._clock.now().wall_ms
        await self._watching.say(Word(account.id, root, day, now_ms, asked.by or holder.name, asked.why, said, id))
        return await self._answer(account)

    async def _answer(self, account: Account) -> web.Response:
        found = await self._watching.statistics(self._root(account), account.id, self._day(account))
        return json_response(_shown(account, account.thresholds or self._default, found, self._clock.now().wall_ms))

    def _day(self, account: Account) -> int:
        return local_moment(account.timezone, self._clock.now().wall_ms // 60_000)[0]

    def _root(self, account: Account) -> str:
        return self._tariffs.directory.chain(account.id)[-1].id


class DayShown(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A day of watched calls. `threshold`: what it could be, and what it is clipped at in averages."""

    day: str
    spent: str
    threshold: str
    most_at_once: int
    incident: bool


class TodayShown(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`spent` is `settled` and what running calls have `held`; `estimated` of it by calls whose end nobody saw.

    `released`: of it, what does not count; `extra`: what may be spent besides. `threshold` null: there is none.
    """

    day: str
    spent: str
    settled: str
    held: str
    estimated: str
    released: str
    extra: str
    average: str
    threshold: str | None
    tripped_at: str | None
    free_until: str | None
    alerts: tuple[str, ...]


class NoteShown(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An alert, or what an operator said."""

    at: str
    what: str
    detail: dict[str, str]


class ThresholdsShown(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`agreed` null: nothing is. `days`: those of the average, oldest first; days without calls are left out."""

    account: str
    currency: str
    agreed: dict[str, Any] | None
    since: str
    today: TodayShown
    days: tuple[DayShown, ...]
    log: tuple[NoteShown, ...]


def _shown(account: Account, agreed: Thresholds | None, found: Statistics, now_ms: int) -> ThresholdsShown:
    today, limit = found.today, None
    if agreed is not None:
        _, weekday, minute = local_moment(account.timezone, now_ms // 60_000)
        limit = exposure.threshold(today, agreed.range_at(weekday, minute), agreed.ceiling)
    return ThresholdsShown(
        account=account.id,
        currency=account.currency,
        agreed=None if agreed is None else IdsBody.of(agreed).shown(),
        since=iso_day(found.since),
        today=TodayShown(
            day=iso_day(today.day),
            spent=format_amount(today.spent),
            settled=format_amount(today.settled),
            held=format_amount(today.held),
            estimated=format_amount(today.estimated),
            released=format_amount(today.released),
            extra=format_amount(today.extra),
            average=format_amount(today.baseline),
            threshold=None if limit is None else format_amount(limit),
            tripped_at=format_time(today.tripped_ms) if today.tripped_ms else None,
            free_until=format_time(today.free_until_ms) if today.free_until_ms > now_ms else None,
            alerts=_alerts(today.told),
        ),
        days=tuple(
            DayShown(iso_day(it.day), format_amount(it.spent), format_amount(it.cap), it.peak, bool(it.incident))
            for it in found.past
        ),
        log=tuple(map(_noted, found.notes)),
    )


def _alerts(bits: int) -> tuple[str, ...]:
    return tuple(alert for place, alert in enumerate(ALERTS) if bits >> place & 1)


def _noted(note: Note) -> NoteShown:
    fields = dict(note.fields)
    at, what = format_time(int(fields.pop("at"))), fields.pop("what")
    if what == "alert":
        what = ", ".join(_alerts(int(fields.pop("alerts"))))
        fields = {name: format_amount(int(value)) for name, value in fields.items()}
    elif what == "allow":
        fields["extra"] = format_amount(int(fields.pop("said")))
    elif what == "release":
        until_ms = int(fields.pop("said"))
        fields |= {"until": format_time(until_ms)} if until_ms else {}
    else:
        fields["days"] = fields.pop("said")
    return NoteShown(at, what, fields)
