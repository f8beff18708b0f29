"""Who has ended a simulated call."""

from enum import StrEnum


class EndedBy(StrEnum):
    """A party, the controller by a command, the limit that it set, or the switch by itself."""

    CALLER = "caller"
    CALLEE = "callee"
    CONTROLLER = "controller"
    LIMIT = "limit"
    DIALPLAN = "dialplan"
    SWITCH = "switch"
