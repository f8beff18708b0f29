"""One channel of the simulated Asterisk, and what its events say of it."""

import asyncio
from typing import Final

import msgspec

from callctl.simulators.ended import EndedBy

DOWN, RING, RINGING, UP = 0, 4, 5, 6
STATE_NAMES: Final = {DOWN: "Down", RING: "Ring", RINGING: "Ringing", UP: "Up"}
UNKNOWN: Final = "<unknown>"

Headers = list[tuple[str, str]]

# The SIP status that chan_pjsip of Asterisk 22 sends for a Q.850 cause (all of 0-127 tried); else 603.
SIP_OF_CAUSE: Final = (
    dict.fromkeys((1, 2, 3), 404)
    | dict.fromkeys((19, 20, 31), 480)
    | dict.fromkeys((34, 42, 66), 503)
    | dict.fromkeys((38, 127), 500)
    | {17: 486, 18: 408, 21: 403, 22: 410, 23: 302, 27: 502, 28: 484, 29: 501, 58: 488}
)
# The Q.850 cause that chan_pjsip of Asterisk 22 makes of a SIP status, received or asked for by PJSIPHangup.
CAUSE_OF_SIP: Final = (
    dict.fromkeys((401, 403, 407, 603), 21)
    | dict.fromkeys((404, 485, 604), 1)
    | dict.fromkeys((480, 483), 19)
    | dict.fromkeys((486, 600), 17)
    | dict.fromkeys((488, 606), 58)
    | {408: 18, 409: 41, 410: 22, 420: 3, 484: 28, 500: 38, 501: 29, 502: 27, 504: 102, 505: 127}
)
DIAL_STATUS: Final = {486: "BUSY", 600: "BUSY", 503: "CONGESTION"}
CAUSE_TEXTS: Final = {
    0: "Unknown",
    1: "Unallocated (unassigned) number",
    3: "No route to destination",
    16: "Normal Clearing",
    17: "User busy",
    18: "No user responding",
    19: "User alerting, no answer",
    21: "Call Rejected",
    22: "Number changed",
    26: "Answered elsewhere",
    27: "Destination out of order",
    28: "Invalid number format",
    29: "Facility rejected",
    34: "Circuit/channel congestion",
    38: "Network out of order",
    41: "Temporary failure",
    42: "Switching equipment congestion",
    58: "Bearer capability not available",
    102: "Recover on timer expiry",
    127: "Interworking, unspecified",
}


def sip_of_cause(q850: int) -> int:
    return SIP_OF_CAUSE.get(q850, 603)


def cause_of_sip(status: int) -> int:
    return CAUSE_OF_SIP.get(status, 34 if 500 <= status <= 599 else 127)


class Ending(msgspec.Struct, frozen=True):
    """Why a channel hangs up. `sip`: the status that a PJSIPHangup or a party asked for."""

    by: EndedBy
    q850: int
    sip: int | None = None


class ArmedLimit(msgspec.Struct, frozen=True):
    """A TIMEOUT(absolute) set on a channel; `seconds` 0 took the former one away."""

    at_us: int
    channel: str
    seconds: float


class Channel:
    """A channel from Newchannel to Hangup. `ending` and `goto` are how others reach into its dialplan."""

    def __init__(self, name: str, uniqueid: str, linkedid: str, *, state: int, context: str, exten: str) -> None:
        self.name = name
        self.uniqueid = uniqueid
        self.linkedid = linkedid
        self.state = state
        self.context, self.exten, self.priority = context, exten, 1
        self.caller_num = self.caller_name = UNKNOWN
        self.connected_num = self.connected_name = UNKNOWN
        self.account = ""
        self.variables: dict[str, str] = {}
        self.inherited: set[str] = set()
        self.application = self.data = ""
        self.bridge_id = self.bridge_peer = ""
        self.sip_call_id = ""
        self.created_ms = 0
        self.answered_us: int | None = None
        self.limits: list[ArmedLimit] = []
        self.limit_at_ms: int | None = None
        self.limit_timer: asyncio.Task[None] | None = None
        loop = asyncio.get_running_loop()
        self.ending: asyncio.Future[Ending] = loop.create_future()
        self.goto: asyncio.Future[tuple[str, str]] = loop.create_future()

    def end(self, ending: Ending) -> None:
        """Ask the channel to hang up; the first to ask decides how."""
        if not self.ending.done():
            self.ending.set_result(ending)

    def set_variable(self, name: str, value: str) -> None:
        """`__` before the name: channels that this one dials inherit it (Asterisk's own notation)."""
        plain = name.lstrip("_")
        self.variables[plain] = value
        if name.startswith("__"):
            self.inherited.add(plain)

    def inheritance(self) -> dict[str, str]:
        return {name: self.variables[name] for name in self.inherited}

    def headers(self, listed: tuple[str, ...], prefix: str = "") -> Headers:
        """The channel as every event shows it; `listed` are the `channelvars` of manager.conf."""
        fields = (
            ("Channel", self.name),
            ("ChannelState", str(self.state)),
            ("ChannelStateDesc", STATE_NAMES[self.state]),
            ("CallerIDNum", self.caller_num),
            ("CallerIDName", self.caller_name),
            ("ConnectedLineNum", self.connected_num),
            ("ConnectedLineName", self.connected_name),
            ("Language", "en"),
            ("AccountCode", self.account),
            ("Context", self.context),
            ("Exten", self.exten),
            ("Priority", str(self.priority)),
            ("Uniqueid", self.uniqueid),
            ("Linkedid", self.linkedid),
        )
        variables = ((prefix + "ChanVariable", f"{name}={self.variables.get(name, '')}") for name in listed)
        return [*((prefix + name, value) for name, value in fields), *variables]
