"""The channels that a PBX's licence allows on a day (`docs/rules.md`, Licence). Days are ISO, in the account's zone."""

from datetime import date, timedelta

import msgspec
from msgspec.structs import replace

from callctl.clock import format_time

YEAR = timedelta(days=365)


class LicenceChange(msgspec.Struct, frozen=True):
    """From this day on the licence is of another size; None: unlimited."""

    from_day: str
    channels: int | None


class LicenceStatus(msgspec.Struct, frozen=True):
    """What a PBX says of its own licence. `channels` None: unlimited; `expires_day` None: it does not expire."""

    channels: int | None
    expires_day: str | None = None


class SwitchLicence(msgspec.Struct, frozen=True):
    """The last that was heard from a switch of its licence; `since_ms`: since when it says so. `id`: the switch."""

    id: str
    status: LicenceStatus
    since_ms: int


class Licence(msgspec.Struct, frozen=True, cache_hash=True):
    """`channels` None: unlimited (per-user licences). From its expiry on `fallback_channels` are left.

    A perpetual licence never falls back. `annual_from`: the first day of a year's licence, which expires by itself.
    `from_switch`: the switch whose own word counts, as soon as it has been heard. `enforce` False: it is reported,
    and refuses nothing. `since_ms`: since when it is as it is, as far as that was told.
    """

    channels: int | None = None
    expires_day: str | None = None
    fallback_channels: int = 2
    perpetual: bool = False
    changes: tuple[LicenceChange, ...] = ()
    annual_from: str | None = None
    from_switch: str | None = None
    enforce: bool = True
    since_ms: int | None = None

    def on(self, day: str) -> int | None:
        """What it allows on `day`; None: unlimited."""
        return self.standing(day)[0]

    def standing(self, day: str) -> tuple[int | None, str]:
        """What it allows on `day`, and since when that is so (a day or a time, empty where nobody knows)."""
        since = "" if self.since_ms is None else format_time(self.since_ms)
        expires = self._expires()
        if expires is not None and day >= expires:
            return self.fallback_channels, max(since, expires)
        size = self.channels
        for change in sorted(self.changes, key=lambda change: change.from_day):
            if change.from_day <= day:
                size, since = change.channels, max(since, change.from_day)
        return size, since

    def _expires(self) -> str | None:
        if self.perpetual:
            return None
        if self.annual_from is not None:
            return (date.fromisoformat(self.annual_from) + YEAR).isoformat()
        return self.expires_day

    def as_told(self, told: SwitchLicence | None) -> "Licence":
        """This licence by the word of its switch; as it is written down until that was heard."""
        if told is None:
            return self
        status = told.status
        stated = {"expires_day": status.expires_day, "annual_from": None, "perpetual": False, "changes": ()}
        return replace(self, channels=status.channels, since_ms=told.since_ms, **stated)
