"""How a leg has ended, as its last event tells, and with it the call. Values in, values out: no I/O, no clock."""

from typing import Final

from callctl.adapters.freeswitch.causes import PAID_TIME_OVER, SIP_STATUS, STATUS_VARIABLE
from callctl.adapters.freeswitch.legs import Legs, answered_us, variable
from callctl.adapters.freeswitch.times import SwitchTime, to_us
from callctl.adapters.freeswitch.wire import Event
from callctl.adapters.switch_time import agree
from callctl.call.events import CallKey, Released, ReleasedBy
from callctl.clock import Instant

_BY_THE_CALLED: Final = frozenset({480, 486, 600, 603, 607})


def released(call: CallKey, legs: Legs, event: Event, now: Instant, time: SwitchTime, *, ingress: bool) -> Released:
    """The end of the call, if it is that of the leg."""
    at_us = end_us(event) or now.wall_ms * 1000
    wall_ms = at_us // 1000
    if legs.answered is not None:  # cut to whole ms once, as the difference: else a call of 3 s may have 3.001 s
        wall_ms = legs.answered.wall_ms + max(0, at_us - legs.answered_us) // 1000
    at = time.place(wall_ms, now)
    return Released(
        call,
        at,
        stated=agree(legs.answered, at),
        q850=q850_of(event),
        sip_code=sip_code_of(event) if legs.answered is None else None,
        released_by=released_by(event, ingress=ingress),
        answered_at=legs.answered,
    )


def apart_ms(first: Released, last: Released) -> int:
    """By FreeSWITCH's clock."""
    return last.at.wall_ms - first.at.wall_ms


def end_us(event: Event) -> int:
    """When the leg ended; 0 if nothing says so."""
    told = (variable(event, "end_uepoch"), event.get("Caller-Channel-Hangup-Time", ""))
    return next((us for us in map(to_us, told) if us), to_us(event.get("Event-Date-Timestamp", "")))


def q850_of(event: Event) -> int | None:
    told = variable(event, "hangup_cause_q850")
    return int(told) or None if told.isascii() and told.isdigit() and len(told) <= 3 else None


def sip_code_of(event: Event) -> int | None:
    """The status that the caller of a call without answer saw. (`sip_term_status` of an answered one is 200.)"""
    for name in (STATUS_VARIABLE, "sip_invite_failure_status", "sip_term_status"):
        told = variable(event, name).removeprefix("sip:")
        if told.isascii() and told.isdigit() and len(told) == 3 and int(told) >= 300:
            return int(told)
    return SIP_STATUS.get(event.get("Hangup-Cause", ""))


def released_by(event: Event, *, ingress: bool) -> ReleasedBy:
    """Who ended the leg, and with it the call."""
    this, other = (ReleasedBy.CALLER, ReleasedBy.CALLEE) if ingress else (ReleasedBy.CALLEE, ReleasedBy.CALLER)
    disposition, cause = variable(event, "sip_hangup_disposition"), event.get("Hangup-Cause", "")
    if cause == PAID_TIME_OVER and answered_us(event):  # of a leg that only rang it is the limit of its ringing
        return ReleasedBy.CALLCTL
    if disposition in ("recv_bye", "recv_cancel") or cause == "ORIGINATOR_CANCEL":
        return this
    if disposition == "send_bye" and cause == "NORMAL_CLEARING":
        return other
    if not answered_us(event) and sip_code_of(event) in _BY_THE_CALLED and variable(event, "originate_disposition"):
        return other
    return ReleasedBy.NETWORK
