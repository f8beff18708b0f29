"""What goes wrong and stays so is said once in the log, and not again until it was well in between."""

import structlog

log = structlog.get_logger(__name__)


class Troubles:
    """Those of one switch, each by the name of its event in the log."""

    def __init__(self, switch: str) -> None:
        self._switch = switch
        self._begun: dict[str, str] = {}

    def __str__(self) -> str:
        """What is wrong now; empty where nothing is."""
        return "; ".join(f"{event}: {error}" for event, error in self._begun.items())

    def begin(self, event: str, error: object) -> None:
        if event not in self._begun:
            self._begun[event] = str(error)
            log.warning(event, switch=self._switch, error=str(error))

    def over(self, event: str) -> None:
        self._begun.pop(event, None)
