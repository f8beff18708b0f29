"""FreeSWITCH's names of causes, and the SIP status that a caller sees for each before the answer (all measured)."""

from typing import Final

from callctl.causes import RECOVERY_ON_TIMER, Cause

NAMES: Final = {
    1: "UNALLOCATED_NUMBER",
    3: "NO_ROUTE_DESTINATION",
    16: "NORMAL_CLEARING",
    17: "USER_BUSY",
    18: "NO_USER_RESPONSE",
    19: "NO_ANSWER",
    21: "CALL_REJECTED",
    27: "DESTINATION_OUT_OF_ORDER",
    28: "INVALID_NUMBER_FORMAT",
    29: "FACILITY_REJECTED",
    31: "NORMAL_UNSPECIFIED",
    34: "NORMAL_CIRCUIT_CONGESTION",
    41: "NORMAL_TEMPORARY_FAILURE",
    42: "SWITCH_CONGESTION",
    52: "OUTGOING_CALL_BARRED",
    54: "INCOMING_CALL_BARRED",
    57: "BEARERCAPABILITY_NOTAUTH",
    102: "RECOVERY_ON_TIMER_EXPIRE",
}
"""By Q.850 number. A name that FreeSWITCH does not know would end the call with NORMAL_CLEARING and an `+OK`."""

SIP_STATUS: Final = {
    "UNALLOCATED_NUMBER": 404,
    "NO_ROUTE_DESTINATION": 404,
    "NORMAL_CLEARING": 480,
    "USER_BUSY": 486,
    "NO_USER_RESPONSE": 408,
    "NO_ANSWER": 480,
    "CALL_REJECTED": 603,
    "DESTINATION_OUT_OF_ORDER": 502,
    "INVALID_NUMBER_FORMAT": 484,
    "FACILITY_REJECTED": 501,
    "NORMAL_UNSPECIFIED": 480,
    "NORMAL_CIRCUIT_CONGESTION": 503,
    "NORMAL_TEMPORARY_FAILURE": 503,
    "SWITCH_CONGESTION": 503,
    "OUTGOING_CALL_BARRED": 403,
    "INCOMING_CALL_BARRED": 403,
    "BEARERCAPABILITY_NOTAUTH": 403,
    "RECOVERY_ON_TIMER_EXPIRE": 504,
    "ALLOTTED_TIMEOUT": 480,
    "USER_CHALLENGE": 480,
    "ORIGINATOR_CANCEL": 487,
    "DECLINE": 603,
    "UNWANTED": 607,
}
PAID_TIME_OVER: Final = "ALLOTTED_TIMEOUT"
STATUS_VARIABLE: Final = "last_bridge_proto_specific_hangup_cause"
"""Where FreeSWITCH keeps the status with which a called side refused, to refuse the caller with the same."""

_BY_STATUS: Final = {403: "OUTGOING_CALL_BARRED", 404: "NO_ROUTE_DESTINATION", 503: "NORMAL_TEMPORARY_FAILURE"}


def refusal(cause: Cause) -> tuple[str, dict[str, str]]:
    """The name of the cause to end the call with, and the variables to set before, so that the caller sees the status.

    The cause's own number where it has that status; else another that has it; else CALL_REJECTED with the status as
    if it were a called side's. So it is with 402, which no cause has.
    """
    name = NAMES.get(cause.q850, "")
    if SIP_STATUS.get(name) == cause.sip:
        return name, {}
    if cause.sip in _BY_STATUS:
        return _BY_STATUS[cause.sip], {}
    return "CALL_REJECTED", {STATUS_VARIABLE: f"sip:{cause.sip}"}


def ending(q850: int) -> str:
    """The name for a hang-up. Who rang for too long sees 480, as when the dialplan gives the call up."""
    return "NO_ANSWER" if q850 == RECOVERY_ON_TIMER else NAMES.get(q850, "NORMAL_CLEARING")
