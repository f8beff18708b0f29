"""What is known of a call's channels, and what a channel's event says of itself."""

import re
from typing import Final

import msgspec
from msgspec.structs import replace

from callctl.adapters.freeswitch.times import to_us
from callctl.adapters.freeswitch.wire import Event
from callctl.call.events import Released
from callctl.clock import Instant
from callctl.rating.tariff import Direction

CALL: Final = "callctl_call"
"""The channel variable that names the call of a leg. The legs that a leg dials inherit it."""
FORMER: Final = "callctl_former"
"""On the carrier leg of one call that was sent on, and is the ingress leg of another: the first one."""
PAYER: Final = "callctl_payer"
DIRECTIONS: Final = {direction.value: direction for direction in Direction}
UUID_LENGTH: Final = 36
GATES: Final = frozenset({"park", "socket"})

_OF_A_NUMBER = re.compile(r"[^+*#0-9A-Za-z._-]")
_MOST_OF_A_NUMBER: Final = 64


class Legs(msgspec.Struct, frozen=True):
    """The channels of one call, by uuid.

    `ingress` asked for the call, `carrier` is the leg that answered it; each with the moment of its own answer.
    `offered`: it has been told of; a list may show it a moment before. `former`: the call that the ingress leg has
    answered before, and is the carrier of still. `hook`: what the ingress leg is to do when it ends. `answered`: when
    both had. `partner`: the leg that the ingress is connected to, if only by early media. `again`: the leg that it has
    dialled since, and that has answered. `left`: the ingress has ended or gone on to another call. `ended`: how one of
    the two has ended, until it is known whether the other one has, too.
    """

    call_id: str
    ingress: str
    offered: bool = False
    former: str = ""
    payer: str = ""
    direction: Direction = Direction.OUTBOUND
    emergency: bool = False
    exports: str = ""
    hook: str = ""
    called: str = ""
    carrier: str | None = None
    trunk_out: str | None = None
    ingress_answered_us: int = 0
    carrier_answered_us: int = 0
    answered: Instant | None = None
    partner: str = ""
    again: str = ""
    left: bool = False
    ended: Released | None = None

    @property
    def inbound(self) -> bool:
        return self.direction is Direction.INBOUND

    @property
    def both(self) -> list[str]:
        """The legs that are to be ended when the call is."""
        legs = [None if self.left else self.ingress, self.carrier]
        return [leg for leg in legs if leg is not None]

    @property
    def answered_us(self) -> int:
        """When the later of the two answered; 0 until then."""
        both = self.ingress_answered_us and self.carrier_answered_us
        return max(self.ingress_answered_us, self.carrier_answered_us) if both else 0


def begun(call_id: str, event: Event) -> Legs:
    """A call as its ingress leg tells of it."""
    return Legs(
        call_id,
        uuid_of(event),
        payer=variable(event, PAYER),
        direction=DIRECTIONS.get(variable(event, "callctl_direction"), Direction.OUTBOUND),
        emergency=variable(event, "callctl_emergency") == "yes",
        exports=variable(event, "export_vars"),
        hook=variable(event, "api_hangup_hook"),
        called=number_of(event.get("Caller-Destination-Number", "")),
        ingress_answered_us=answered_us(event),
    )


def met(legs: Legs, event: Event) -> Legs:
    """With the leg that answered it, if the ingress leg tells of one. `answered` is left to whom it may concern."""
    carrier_us = answered_us(event, "Other-Leg")
    if not answered_us(event) or not carrier_us or event.get("Other-Type") != "originatee":
        return legs
    other = event.get("Other-Leg-Unique-ID", "")
    return replace(
        legs,
        carrier=other,
        trunk_out=trunk_of({"Channel-Name": event.get("Other-Leg-Channel-Name", "")}),
        ingress_answered_us=answered_us(event),
        carrier_answered_us=carrier_us,
        partner=other,
    )


def uuid_of(event: Event) -> str:
    return event.get("Unique-ID", "")


def variable(event: Event, name: str) -> str:
    return event.get(f"variable_{name}", "")


def number_of(text: str) -> str:
    """A caller's word for a number: what is not part of one is dropped."""
    return _OF_A_NUMBER.sub("", text)[:_MOST_OF_A_NUMBER]


def answered_us(event: Event, of: str = "Caller") -> int:
    """When the leg itself (or `Other-Leg`) answered; 0 if it has not."""
    return to_us(event.get(f"{of}-Channel-Answered-Time", ""))


def originator(event: Event) -> str:
    """The leg that dialled this one. Not `Channel-Call-UUID`: that is the leg's own on some events."""
    return (
        variable(event, "originating_leg_uuid") or variable(event, "originator") or event.get("Other-Leg-Unique-ID", "")
    )


def is_at_gate(event: Event) -> bool:
    """It waits for a verdict.

    FreeSWITCH parks channels for reasons of its own, too: without that application, or with a dialplan of one line, as
    the party that is transferred to somebody whom it rings still.
    """
    is_ours = event.get("Caller-Dialplan") != "inline" and variable(event, "callctl_gate") != "no"
    return is_ours and variable(event, "current_application") in GATES


def ingress_of(call_id: str) -> str:
    """The leg that a call is named after: all of the name, less the number of a later call of that leg.

    A leg may have any name: that of its SIP Call-ID, where the profile says so.
    """
    leg, _, number = call_id.rpartition("-")
    return leg if len(leg) == UUID_LENGTH and number.isdigit() else call_id


def is_ingress(uuid: str, call_id: str) -> bool:
    return call_id == uuid or call_id.startswith(f"{uuid}-")


def next_call_id(event: Event) -> str:
    """The name of the call that the channel begins: its uuid; of one that was in a call already, with a number."""
    uuid, before = uuid_of(event), variable(event, CALL)
    if not is_ingress(uuid, before):
        return uuid
    number = before.removeprefix(f"{uuid}-")
    return f"{uuid}-{int(number) + 1 if number.isdigit() and len(number) < 9 else 2}"


def trunk_of(event: Event) -> str | None:
    """The gateway that a leg was sent to, or the host: in the name of a leg to a gateway there is none."""
    return variable(event, "sip_gateway_name") or event.get("Channel-Name", "").partition("@")[2] or None


def was_referred(event: Event) -> bool:
    """The other side has sent it on, by SIP."""
    return bool(variable(event, "sip_refer_to") or variable(event, "sip_h_Referred-By"))


def sent_on_by_a_customer(event: Event, former: Legs, by_ingress: bool) -> bool:
    """Whether the party that sent the leg on is the one that pays here.

    The ingress side is the customer of a call to outside, the other one the customer of a call from outside. What
    was not sent on by SIP is the switch's own doing, for the customer.
    """
    return not was_referred(event) or (former.direction is Direction.INBOUND) != by_ingress
