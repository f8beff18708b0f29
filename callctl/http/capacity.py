"""Caps, bandwidth, licences and the provider's own limits as the front door writes them: how many calls at once."""

from datetime import date
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from callctl.http.fields import Amount, Body, Channels, Count, Day, Id, Kbits, Prefix, Time
from callctl.limits.licence import YEAR
from callctl.numbering import NumberType
from callctl.rating.tariff import TrafficClass


class OverflowBody(Body):
    """Calls beyond the caps, at extra cost."""

    at_most: Count
    per_call: Amount = 0
    per_minute: Amount = 0


class PackageBody(Body):
    """Extra channels from the first to the last day, both of them included, by the account's time zone."""

    channels: Count
    from_day: Day = Field(alias="from")
    until_day: Day = Field(alias="until")

    @model_validator(mode="after")
    def _ends_after_it_begins(self) -> Self:
        if self.until_day < self.from_day:
            raise ValueError("until is before from")
        return self


class BandwidthBody(Body):
    """A line: as many calls as fit whole. `per_call_kbits`: where a call takes other than is usual for its codec."""

    kbits: Count
    codec: Literal["g711", "g722", "g729", "gsm", "opus"] = "g711"
    per_call_tenths: Kbits | None = Field(None, alias="per_call_kbits")


class GroupBody(Body):
    """A cap on calls to destinations: what matches each of `prefixes`, `types` and `classes` that is given."""

    name: Id
    prefixes: tuple[Prefix, ...] = ()
    types: tuple[NumberType, ...] = ()
    classes: tuple[TrafficClass, ...] = ()
    inbound: Count | None = None
    outbound: Count | None = None
    total: Count | None = None

    @model_validator(mode="after")
    def _limits_something(self) -> Self:
        if not (self.prefixes or self.types or self.classes):
            raise ValueError("one of prefixes, types and classes is expected")
        if self.inbound is None and self.outbound is None and self.total is None:
            raise ValueError("one of inbound, outbound and total is expected")
        return self


class CapsBody(Body):
    """How many calls at once. All of them hold together; what is absent or null limits nothing.

    `count_internal`: calls within the house count in `total`, too. `count_within`: so does a call within another.
    `enforce` false: what these caps would refuse is reported, and goes ahead. `since`: when they were last changed;
    kept by itself where it is not stated.
    """

    inbound: Count | None = None
    outbound: Count | None = None
    total: Count | None = None
    internal: Count | None = None
    count_internal: bool = False
    count_within: bool = True
    overflow: OverflowBody | None = None
    packages: tuple[PackageBody, ...] = ()
    bandwidth: BandwidthBody | None = None
    groups: tuple[GroupBody, ...] = ()
    enforce: bool = True
    since_ms: Time | None = Field(None, alias="since")

    @field_validator("groups")
    @classmethod
    def _each_once(cls, groups: tuple[GroupBody, ...]) -> tuple[GroupBody, ...]:
        if len({group.name for group in groups}) < len(groups):
            raise ValueError("two groups of one name")
        return groups


class LicenceChangeBody(Body):
    """From this day on the licence is of another size."""

    from_day: Day = Field(alias="from")
    channels: Channels


class LicenceBody(Body):
    """What a PBX's licence allows: `channels`, and from `expires` on `fallback_channels`.

    `annual_from`: the first day of a licence for a year, which expires 365 days later. `from_switch`: the switch that
    says itself what its licence is; until it has, what stands here holds. `enforce`, `since`: as of caps.
    """

    channels: Channels = None
    expires_day: Day | None = Field(None, alias="expires")
    fallback_channels: Count = 2
    perpetual: bool = False
    changes: tuple[LicenceChangeBody, ...] = ()
    annual_from: Day | None = None
    from_switch: Id | None = None
    enforce: bool = True
    since_ms: Time | None = Field(None, alias="since")

    @field_validator("annual_from")
    @classmethod
    def _has_a_year_behind_it(cls, first: str | None) -> str | None:
        if first is not None and date.max - date.fromisoformat(first) < YEAR:
            raise ValueError(f"a year's licence from {first} never ends")
        return first

    @field_validator("changes")
    @classmethod
    def _one_a_day(cls, changes: tuple[LicenceChangeBody, ...]) -> tuple[LicenceChangeBody, ...]:
        if len({change.from_day for change in changes}) < len(changes):
            raise ValueError("two changes on one day")
        return changes

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        if "channels" not in self.model_fields_set and self.from_switch is None:
            raise ValueError("channels or from_switch is expected")
        if sum((self.perpetual, self.expires_day is not None, self.annual_from is not None)) > 1:
            raise ValueError("only one of expires, annual_from and perpetual can hold")
        return self


class LimitBody(Body):
    """The provider's own limit: calls of all customers together by a carrier, to some prefixes, or to them by it."""

    trunk: Id | None = None
    prefixes: tuple[Prefix, ...] = ()
    inbound: Count | None = None
    outbound: Count | None = None
    total: Count | None = None
    enforce: bool = True
    since_ms: Time | None = Field(None, alias="since")


class LimitAnswer(LimitBody):
    """A limit as it is. `channels`: calls in progress by what it limits, and by `total`."""

    id: Id
    channels: dict[str, int]


class LimitList(Body):
    """All that there are, by id."""

    limits: tuple[LimitAnswer, ...]
