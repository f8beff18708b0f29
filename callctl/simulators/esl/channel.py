"""One leg in the simulated FreeSWITCH, and what its events say of it."""

import asyncio
import uuid

import msgspec

from callctl.simulators.ended import EndedBy
from callctl.simulators.esl.causes import CAUSES


class Ending(msgspec.Struct, frozen=True):
    """Why a leg ends. `disposition`: recv_bye, send_bye, recv_cancel, send_cancel or send_refuse."""

    cause: str
    by: EndedBy
    disposition: str


class Route(msgspec.Struct, frozen=True):
    """Where a transfer sends a leg."""

    exten: str
    context: str


class Channel:
    """A leg from its creation to HANGUP_COMPLETE. `ending` and `goto` are how others reach into its dialplan."""

    def __init__(self, direction: str, name: str, exten: str, context: str, created_us: int) -> None:
        self.uuid = str(uuid.uuid4())
        self.direction = direction
        self.name = name
        self.exten, self.context, self.rdnis = exten, context, ""
        self.initial = Route(exten, context)
        self.caller_name = self.caller_number = self.source_ip = ""
        self.variables: dict[str, str] = {}
        self.created_us = created_us
        self.answered_us = self.progress_us = self.bridged_us = self.ended_us = 0
        self.other: Channel | None = None
        """The leg it dialled, is dialled by, or talks to."""
        self.originator: Channel | None = None
        self.joins: Channel | None = None
        """Whom an attended transfer lets it talk to, when the leg that dialled it is gone."""
        self.is_bridged = False
        self.is_early = False
        loop = asyncio.get_running_loop()
        self.ending: asyncio.Future[Ending] = loop.create_future()
        self.goto: asyncio.Future[Route] = loop.create_future()

    @property
    def is_answered(self) -> bool:
        return self.answered_us > 0

    def end(self, cause: str, by: EndedBy, disposition: str = "") -> None:
        """Ask the leg to hang up; the first to ask decides how."""
        if self.ending.done():
            return
        if not disposition:
            refused = "send_refuse" if self.direction == "inbound" else "send_cancel"
            disposition = "send_bye" if self.is_answered else refused
        self.ending.set_result(Ending(cause, by, disposition))

    def send_to(self, route: Route) -> None:
        """Transfer it; a later one replaces an earlier one that was not begun yet."""
        if self.goto.done():
            self.goto = asyncio.get_running_loop().create_future()
        self.goto.set_result(route)

    def take_route(self) -> Route:
        """Begin the transfer."""
        route = self.goto.result()
        self.goto = asyncio.get_running_loop().create_future()
        self.rdnis, self.exten, self.context = self.exten, route.exten, route.context
        return route

    def set_variable(self, name: str, value: str) -> None:
        if value:
            self.variables[name] = value
        else:
            self.variables.pop(name, None)

    def exported(self) -> dict[str, str]:
        """What the legs that it dials inherit."""
        names = self.variables.get("export_vars", "").split(",")
        return {name: self.variables[name] for name in names if name in self.variables}

    @property
    def state(self) -> str:
        if self.ending.done():
            return "CS_REPORTING" if self.ended_us else "CS_HANGUP"
        if self.direction == "inbound" or self.rdnis:
            return "CS_EXECUTE"
        return "CS_EXCHANGE_MEDIA" if self.is_bridged else "CS_CONSUME_MEDIA"

    @property
    def call_state(self) -> str:
        if self.ending.done():
            return "HANGUP"
        if self.is_answered:
            return "ACTIVE"
        if self.direction == "outbound":
            return "DOWN" if not self.progress_us else "RINGING"
        return "EARLY" if self.is_early else "RINGING"

    @property
    def answer_state(self) -> str:
        return "hangup" if self.ending.done() else "answered" if self.is_answered else "ringing"

    def headers(self) -> dict[str, object]:
        """The leg as every event of it shows it."""
        head: dict[str, object] = {
            "Channel-State": self.state,
            "Channel-Call-State": self.call_state,
            "Channel-Name": self.name,
            "Unique-ID": self.uuid,
            "Call-Direction": self.direction,
            "Presence-Call-Direction": self.direction,
            "Channel-Call-UUID": self.call_uuid,
            "Answer-State": self.answer_state,
        }
        if self.ending.done():
            head["Hangup-Cause"] = self.ending.result().cause
        head |= self._profile("Caller")
        if self.other is not None:
            head["Other-Type"] = "originator" if self.other is self.originator else "originatee"
            head |= self.other._profile("Other-Leg")
        head |= {f"variable_{name}": value for name, value in self._variables().items()}
        return head

    @property
    def call_uuid(self) -> str:
        """Of a dialled leg that of the leg that dialled it, but its own at its end."""
        return self.originator.uuid if self.originator and not self.ended_us else self.uuid

    def _profile(self, prefix: str) -> dict[str, object]:
        profile: dict[str, object] = {
            f"{prefix}-Direction": self.direction,
            f"{prefix}-Caller-ID-Name": self.caller_name,
            f"{prefix}-Caller-ID-Number": self.caller_number,
            f"{prefix}-Network-Addr": self.source_ip,
            f"{prefix}-ANI": self.caller_number,
            f"{prefix}-Destination-Number": self.exten,
            f"{prefix}-Unique-ID": self.uuid,
            f"{prefix}-Context": self.context,
            f"{prefix}-Channel-Name": self.name,
            f"{prefix}-Channel-Created-Time": str(self.created_us),
            f"{prefix}-Channel-Answered-Time": str(self.answered_us),
            f"{prefix}-Channel-Progress-Time": str(self.progress_us),
            f"{prefix}-Channel-Hangup-Time": str(self.ended_us),
            f"{prefix}-Channel-Bridged-Time": str(self.bridged_us),
        }
        if self.rdnis:
            profile[f"{prefix}-RDNIS"] = self.rdnis
        return profile

    def _variables(self) -> dict[str, str]:
        return {"direction": self.direction, "uuid": self.uuid, "channel_name": self.name, **self.variables}

    def note_end(self, now_us: int) -> None:
        """The variables that exist only at the end."""
        ending = self.ending.result()
        self.ended_us = max(now_us, self.answered_us)
        answered_us = self.answered_us
        billed_us = self.ended_us - answered_us if answered_us else 0
        whole_s = self.ended_us // 1_000_000 - answered_us // 1_000_000 if answered_us else 0
        self.variables |= {
            "sip_hangup_disposition": ending.disposition,
            "hangup_cause": ending.cause,
            "hangup_cause_q850": str(CAUSES[ending.cause][0]),
            "start_uepoch": str(self.created_us),
            "answer_uepoch": str(answered_us),
            "bridge_uepoch": str(self.bridged_us),
            "end_uepoch": str(self.ended_us),
            "billsec": str(whole_s),
            "billmsec": str((billed_us + 500) // 1_000),
            "billusec": str(billed_us),
            "uduration": str(self.ended_us - self.created_us),
        }
        if not answered_us and self.direction == "inbound":
            status = self.refused_with()
            self.variables |= {"sip_term_status": str(status), "proto_specific_hangup_cause": f"sip:{status}"}
            if ending.disposition == "recv_cancel":
                self.variables["sip_invite_failure_status"] = str(status)
        elif answered_us:
            self.variables |= {"sip_term_status": "200", "proto_specific_hangup_cause": "sip:200"}

    def refused_with(self) -> int:
        """The SIP status of a caller that was not answered."""
        ending = self.ending.result()
        told = self.variables.get("last_bridge_proto_specific_hangup_cause", "")
        if ending.disposition == "send_refuse" and told.startswith("sip:"):
            return int(told.removeprefix("sip:"))
        return CAUSES[ending.cause][1]
