"""FreeSWITCH's hang-up causes: Q.850 number and the SIP status before the answer, as a real one sent them."""

from typing import Final

CAUSES: Final[dict[str, tuple[int, int]]] = {
    "UNALLOCATED_NUMBER": (1, 404),
    "NO_ROUTE_DESTINATION": (3, 404),
    "NORMAL_CLEARING": (16, 480),
    "USER_BUSY": (17, 486),
    "NO_USER_RESPONSE": (18, 408),
    "NO_ANSWER": (19, 480),
    "CALL_REJECTED": (21, 603),
    "DESTINATION_OUT_OF_ORDER": (27, 502),
    "INVALID_NUMBER_FORMAT": (28, 484),
    "FACILITY_REJECTED": (29, 501),
    "NORMAL_UNSPECIFIED": (31, 480),
    "NORMAL_CIRCUIT_CONGESTION": (34, 503),
    "NORMAL_TEMPORARY_FAILURE": (41, 503),
    "SWITCH_CONGESTION": (42, 503),
    "OUTGOING_CALL_BARRED": (52, 403),
    "INCOMING_CALL_BARRED": (54, 403),
    "BEARERCAPABILITY_NOTAUTH": (57, 403),
    "RECOVERY_ON_TIMER_EXPIRE": (102, 504),
    "ORIGINATOR_CANCEL": (16, 487),
    "SYSTEM_SHUTDOWN": (16, 480),
    "LOSE_RACE": (16, 480),
    "BLIND_TRANSFER": (16, 480),
    "ATTENDED_TRANSFER": (16, 480),
    "ALLOTTED_TIMEOUT": (16, 480),
    "USER_CHALLENGE": (16, 480),
    "MEDIA_TIMEOUT": (16, 480),
    "DECLINE": (16, 603),
    "UNWANTED": (16, 607),
}
OF_STATUS: Final = {
    403: "CALL_REJECTED",
    404: "UNALLOCATED_NUMBER",
    408: "RECOVERY_ON_TIMER_EXPIRE",
    480: "NO_USER_RESPONSE",
    486: "USER_BUSY",
    503: "NORMAL_TEMPORARY_FAILURE",
    603: "CALL_REJECTED",
}
"""What a called side's refusal is to FreeSWITCH."""
_BY_NUMBER: Final = {q850: name for name, (q850, _) in reversed(CAUSES.items()) if q850 != 16} | {16: "NORMAL_CLEARING"}


def cause_named(asked: str) -> str:
    """As `uuid_kill` reads it: a name or a number; anything else is NORMAL_CLEARING."""
    if asked in CAUSES:
        return asked
    return _BY_NUMBER.get(int(asked), "NORMAL_CLEARING") if asked.isdigit() else "NORMAL_CLEARING"
