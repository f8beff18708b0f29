"""What operators see of an account's spend thresholds, and what they may say about them."""

import msgspec

from callctl.limits.exposure import Day


class Release(msgspec.Struct, frozen=True):
    """What was spent so far stops counting for today. Until `until_ms` (0: not at all) nothing is refused."""

    until_ms: int = 0


class Allow(msgspec.Struct, frozen=True):
    """So much more may be spent today; micro-units."""

    extra: int


class Told(msgspec.Struct, frozen=True, omit_defaults=True):
    """A day as an operator tells it; None: as it was. Micro-units; `cap` clips it in later averages."""

    day: int
    spent: int | None = None
    cap: int | None = None
    peak: int | None = None
    incident: bool | None = None


class Tell(msgspec.Struct, frozen=True):
    """Days that another system has counted, or that are (no) incidents."""

    days: tuple[Told, ...]


class Note(msgspec.Struct, frozen=True):
    """An alert, or a word of an operator, as it was noted: names and values as text."""

    fields: dict[str, str]


Said = Release | Allow | Tell


class Word(msgspec.Struct, frozen=True):
    """What an operator says about the thresholds of an account whose local day is `day`.

    `id`: by which it is heard once, however often it is said; empty: each time.
    """

    account: str
    root: str
    day: int
    at_ms: int
    by: str
    why: str
    said: Said
    id: str = ""

    @property
    def note(self) -> Note:
        """It as it is noted."""
        match self.said:
            case Release(until_ms):
                what, said = "release", until_ms
            case Allow(extra):
                what, said = "allow", extra
            case Tell(days):
                what, said = "tell", len(days)
        fields = {"at": str(self.at_ms), "what": what, "by": self.by, "why": self.why, "said": str(said)}
        return Note(fields)


class Statistics(msgspec.Struct, frozen=True):
    """`today`, the days that its average is of (oldest first), the first day that is known, and the latest notes."""

    today: Day
    past: tuple[Day, ...]
    since: int
    notes: tuple[Note, ...] = ()
