"""The api commands that admit a call, refuse it, warn and end it. Values in, values out: no I/O, no clock."""

from collections.abc import Mapping
from typing import Final

import msgspec

from callctl.adapters.freeswitch.causes import PAID_TIME_OVER, refusal
from callctl.adapters.freeswitch.legs import CALL, FORMER, PAYER, Legs
from callctl.adapters.freeswitch.timers import ANSWERED, ENDED, NOTED_S, in_seconds, note
from callctl.adapters.freeswitch.wire import assignments, word
from callctl.causes import Cause

HANDED_ON: Final = (CALL, PAYER, "outbound_redirect_fatal")
"""The variables that the legs inherit which a leg dials."""
OUR_HOOK: Final = f"sched_api +{NOTED_S} {ENDED}"


class Contexts(msgspec.Struct, frozen=True):
    """The contexts of docker/freeswitch/dialplan, where an installation names them otherwise."""

    dial: str = "callctl-dial"
    refuse: str = "callctl-refuse"


def admit(legs: Legs, *, granted_s: int, setup_s: int, b_number: str, account: str, context: str) -> list[str]:
    """Let the call go on to `context`, where it dials. From its answer on the switch ends it with its grant."""
    variables = {
        CALL: legs.call_id,
        PAYER: account,
        FORMER: legs.former,
        "callctl_go": "yes",
        "callctl_dial": account if legs.inbound else "",
        "call_timeout": str(setup_s),
        "bridge_answer_timeout": str(setup_s),  # for early media, with which the other one ends
        "outbound_redirect_fatal": "true",  # a 302 would lead to a number that nobody has authorized
        "export_vars": ",".join(filter(None, dict.fromkeys([*legs.exports.split(","), *HANDED_ON]))),
    }
    if not legs.ingress_answered_us:
        variables["execute_on_answer"] = f"sched_hangup +{in_seconds(granted_s * 1000)} {PAID_TIME_OVER}"
        variables["api_on_answer"] = note(ANSWERED, legs.call_id, legs.ingress)
    if not legs.hook or legs.hook.startswith(OUR_HOOK):
        variables["api_hangup_hook"] = note(ENDED, legs.call_id, legs.ingress)
    return [_set(legs.ingress, variables), _transfer(legs.ingress, b_number, context)]


def refuse(legs: Legs, cause: Cause, sound: str | None, context: str) -> list[str]:
    """Refuse the call with its SIP status; after the sound, in `context`, where there is one."""
    name, variables = refusal(cause)
    if sound is not None:
        said = {**variables, "callctl_sound": sound, "callctl_cause": name}
        number = legs.called.lstrip("-") or "unknown"  # a hyphen would begin an option
        return [_set(legs.ingress, said), _transfer(legs.ingress, number, context)]
    return [*([_set(legs.ingress, variables)] if variables else []), kill(legs.ingress, name)]


def warn(leg: str, sound: str) -> str:
    """Mix a sound into what the party of the leg hears: nobody is cut off from the talk."""
    return f"uuid_displace {word(leg)} start {word(sound)} 0 mux"


def kill(leg: str, cause: str) -> str:
    return f"uuid_kill {word(leg)} {cause}"


def _set(leg: str, variables: Mapping[str, str]) -> str:
    return f"uuid_setvar_multi {word(leg)} {assignments(variables)}"


def _transfer(leg: str, number: str, context: str) -> str:
    return f"uuid_transfer {word(leg)} {word(number)} XML {word(context)}"
