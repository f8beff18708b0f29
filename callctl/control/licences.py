"""Asks switches for their own licences, and keeps what they last said: an account or trunk may go by that.

A switch's silence is not absence: what it said last holds until it says something else, also over a restart.
"""

from collections.abc import Mapping

import structlog

from callctl.errors import PortError, StoreUnavailable
from callctl.limits.licence import SwitchLicence
from callctl.ports import Clock, Definitions, LicenceSource, Switch, Tariffs

log = structlog.get_logger(__name__)

ASK_EVERY_MS = 600_000


class Licences:
    """`definitions` keeps what was heard, for every process; `tariffs` knows it."""

    def __init__(
        self, switches: Mapping[str, Switch], definitions: Definitions, tariffs: Tariffs, clock: Clock
    ) -> None:
        self._clock = clock
        self._switches = switches
        self._definitions = definitions
        self._tariffs = tariffs

    async def run(self) -> None:
        """For ever."""
        while True:
            for name in tuple(self._switches):
                await self.ask(name)
            await self._clock.sleep_ms(ASK_EVERY_MS)

    async def ask(self, switch: str) -> None:
        """Ask one switch now: when its link is up again, say. One that has no licence is not asked."""
        source = self._switches.get(switch)
        if not isinstance(source, LicenceSource):
            return
        try:
            status = await source.licence()
            known = self._tariffs.licences.get(switch)
            if known is None or known.status != status:
                await self._definitions.put_licence(SwitchLicence(switch, status, self._clock.now().wall_ms))
                channels = "unlimited" if status.channels is None else status.channels
                log.warning("licence_changed", switch=switch, channels=channels, expires=status.expires_day)
        except StoreUnavailable as error:
            log.warning("licence_not_kept", switch=switch, error=str(error))
        except PortError as error:
            log.info("licence_not_told", switch=switch, error=str(error))
