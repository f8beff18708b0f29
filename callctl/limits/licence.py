"""The channels that a PBX's licence allows on a day (`docs/rules.md`, Licence). Days are ISO, in the account's zone."""

import msgspec


class LicenceChange(msgspec.Struct, frozen=True):
    """From this day on the licence is of another size; None: unlimited."""

    from_day: str
    channels: int | None


class Licence(msgspec.Struct, frozen=True):
    """`channels` None: unlimited (per-user licences). From its expiry on `fallback_channels` are left.

    A perpetual licence never falls back.
    """

    channels: int | None
    expires_day: str | None = None
    fallback_channels: int = 2
    perpetual: bool = False
    changes: tuple[LicenceChange, ...] = ()

    def on(self, day: str) -> int | None:
        """What it allows on `day`; None: unlimited."""
        if not self.perpetual and self.expires_day is not None and day >= self.expires_day:
            return self.fallback_channels
        size = self.channels
        for change in sorted(self.changes, key=lambda change: change.from_day):
            if change.from_day <= day:
                size = change.channels
        return size
