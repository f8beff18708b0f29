"""Caps, bandwidth and licences as the front door writes them: how many calls there may be at once."""

from typing import Literal, Self

from pydantic import Field, model_validator

from callctl.http.fields import Amount, Body, Channels, Count, Day, Id, Prefix


class OverflowBody(Body):
    at_most: Count
    per_call: Amount = 0
    per_minute: Amount = 0


class PackageBody(Body):
    channels: Count
    from_day: Day = Field(alias="from")
    until_day: Day = Field(alias="until")

    @model_validator(mode="after")
    def _ends_after_it_begins(self) -> Self:
        if self.until_day < self.from_day:
            raise ValueError("until is before from")
        return self


class BandwidthBody(Body):
    kbits: Count
    codec: Literal["g711", "g722", "g729", "gsm", "opus"] = "g711"


class GroupBody(Body):
    name: Id
    prefixes: tuple[Prefix, ...]
    inbound: Count | None = None
    outbound: Count | None = None


class CapsBody(Body):
    inbound: Count | None = None
    outbound: Count | None = None
    total: Count | None = None
    internal: Count | None = None
    count_internal: bool = False
    overflow: OverflowBody | None = None
    packages: tuple[PackageBody, ...] = ()
    bandwidth: BandwidthBody | None = None
    groups: tuple[GroupBody, ...] = ()


class LicenceChangeBody(Body):
    from_day: Day = Field(alias="from")
    channels: Channels


class LicenceBody(Body):
    """What a PBX's licence allows: `channels`, and from `expires` on `fallback_channels`."""

    channels: Channels
    expires_day: Day | None = Field(None, alias="expires")
    fallback_channels: Count = 2
    perpetual: bool = False
    changes: tuple[LicenceChangeBody, ...] = ()
