"""Which calls of extensions are asked for. What cannot be passes, and is counted once."""

from collections.abc import Container

from callctl.adapters.threecx import calls
from callctl.adapters.threecx.calls import Active, Mode, Site, Wanted
from callctl.adapters.threecx.wire import Key, Participant, Status
from callctl.rating.tariff import Direction


class Asking:
    """`unnumbered`: inbound calls of which nobody says what was called; `ungated`: calls past the route point."""

    def __init__(self, site: Site) -> None:
        self.unnumbered = 0
        self.ungated = 0
        self._site = site
        self._passed: set[Key] = set()

    def wanted(self, leg: Participant, watched: Container[str], active: Active | None) -> Wanted | None:
        """What the call of an extension is; None where it is not to be asked for (yet)."""
        if self._site.mode is Mode.ROUTE_POINT:
            self.ungated += leg.is_external and leg.status is Status.DIALING and self._passes(leg.key)
            return None
        wanted = calls.wanted_by(leg, self._site, watched, active)
        if wanted is not None and wanted.direction is Direction.INBOUND and not wanted.b_number:
            self.unnumbered += self._passes(leg.key)
            return None
        return wanted

    def forget(self, key: Key) -> None:
        self._passed.discard(key)

    def _passes(self, key: Key) -> bool:
        """Whether that is news."""
        is_news = key not in self._passed
        self._passed.add(key)
        return is_news
