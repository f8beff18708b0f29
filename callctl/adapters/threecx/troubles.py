"""What goes wrong and stays so is said once in the log, and not again until it was well in between."""

import structlog

log = structlog.get_logger(__name__)


class Troubles:
    """Those of one switch, each by the name of its event in the log."""

    def __init__(self, switch: str) -> None:
        self._switch = switch
        self._begun: set[str] = set()

    def begin(self, event: str, error: object) -> None:
        if event not in self._begun:
            self._begun.add(event)
            log.warning(event, switch=self._switch, error=str(error))

    def over(self, event: str) -> None:
        self._begun.discard(event)
